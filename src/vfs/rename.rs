//! Renaming: of what is open, over what is open.

use std::sync::Arc;

use tokio::sync::OwnedMutexGuard;
use tracing::{debug, error, warn};

use super::attr::version;
use super::journal::{Intent, Record};
use super::namespace::check_name;
use super::queue::Work;
use super::staging::Staged;
use super::unlink::Aside;
use super::{Attr, Error, Result, Vfs};
use crate::cache::Version;
use crate::ftp::list::Kind;
use crate::ftp::{RemotePath, Wishes};

/// What a rename does about something that has the new name already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replace {
    /// It is replaced.
    Yes,
    /// The rename fails.
    No,
}

/// Attributes that are queued for what is renamed: set in the same flight. Dropped, they are set in their turn at the old
/// name.
struct Carried<'a> {
    vfs: &'a Vfs,
    works: Vec<(u64, Work)>,
}

impl Carried<'_> {
    /// What they come to.
    fn wishes(&self) -> Wishes {
        let mut wishes = Wishes::default();
        for (_, work) in &self.works {
            match work {
                Work::SetMode(_, mode) => wishes.mode = Some(*mode),
                Work::SetMtime(_, seconds) => wishes.mtime = Some(*seconds),
                _ => {}
            }
        }
        wishes
    }

    /// It was renamed `to`, and these are `set`; those that are not are queued there.
    async fn land(&mut self, ino: u64, to: &RemotePath, set: Wishes) {
        let (queue, journal) = (&self.vfs.queue, self.vfs.staging.journal());
        let carried = std::mem::take(&mut self.works);
        if carried.is_empty() {
            return;
        }
        for (_, work) in &carried {
            let unset = match work {
                Work::SetMode(_, mode) if set.mode.is_none() => Intent::SetMode(to.clone(), *mode),
                Work::SetMtime(_, seconds) if set.mtime.is_none() => {
                    Intent::SetMtime(to.clone(), *seconds)
                }
                _ => continue,
            };
            let number = queue.number();
            journal.note_end(Record::Queued(number, unset));
            queue.add(number, to, work.clone());
        }
        if let Err(error) = self.vfs.refresh(ino, to).await {
            debug!(%to, %error, "not looked at again");
        }
        // The kernel's pages are those of the same content, whose version may have another time now.
        self.vfs.carry_version(ino);
        for (number, _) in carried.into_iter().rev() {
            journal.note_end(Record::Done(number));
            queue.end(number);
        }
    }
}

impl Drop for Carried<'_> {
    fn drop(&mut self) {
        let numbers = self.works.iter().map(|(number, _)| *number);
        self.vfs.queue.leave(numbers);
    }
}

/// What had the name that a rename takes.
enum Replaced {
    /// A file.
    File(Aside),
    /// An empty folder, which is removed; by this number the journal has that it was there.
    Dir(u64),
}

impl Vfs {
    /// Renames `name` in `parent` to `new_name` in `new_parent`.
    ///
    /// What is open stays usable on both sides. What is staged under the old name is sent first.
    pub async fn rename(
        &self,
        parent: u64,
        name: &[u8],
        new_parent: u64,
        new_name: &[u8],
        replace: Replace,
    ) -> Result<()> {
        self.writable()?;
        check_name(new_name)?;
        let source = self.find(parent, name).await?.ok_or(Error::NotFound)?;
        let target = self.find(new_parent, new_name).await?;
        if let Some(target) = &target {
            if replace == Replace::No {
                return Err(Error::Exists);
            }
            match (source.kind == Kind::Dir, target.kind == Kind::Dir) {
                (true, false) => return Err(Error::NotDir),
                (false, true) => return Err(Error::IsDir),
                _ => {}
            }
            if target.ino == source.ino {
                return Ok(());
            }
        }
        let from = self.path(parent)?.join(name);
        let to = self.path(new_parent)?.join(new_name);
        if source.kind == Kind::Dir && to.is_within(&from) {
            return Err(Error::Invalid("a folder cannot be moved into itself"));
        }
        if target.is_none() {
            self.check_new_name(&to).await?;
        }
        if self.config.write_back
            && self
                .rename_unsent(parent, name, new_parent, new_name, &source, target.as_ref())
                .await?
        {
            return Ok(());
        }
        // What is queued has the paths of now; attributes alone go with it.
        let mut carried = self.carry(&from);
        if carried.works.is_empty() {
            self.settled(&from).await?;
        }
        self.settled(&to).await?;
        let (_shared, _alone) = match source.kind {
            Kind::Dir => (None, Some(self.names.write().await)),
            _ => (Some(self.names.read().await), None),
        };
        if carried.works.is_empty() {
            self.settled(&from).await?;
        }
        self.settled(&to).await?;
        self.remote.at_rest(&from).await;
        self.remote.at_rest(&to).await;
        // Held until the end: nothing is sent to a name that something else is about to have.
        let earlier = target.filter(|target| target.ino < source.ino);
        let mut unsent = match earlier {
            Some(target) => self.hold_staged(target.ino).await,
            None => None,
        };
        let _order = self.commit_and_hold(source.ino).await?;
        let _orders = self.commit_below(source.ino, &from).await?;
        if let (Some(target), None) = (target, earlier) {
            unsent = self.hold_staged(target.ino).await;
        }
        if source.kind == Kind::Dir {
            self.move_kept_out(&from).await?;
        }
        let item = self.remote.stat(&from).await?.ok_or(Error::NotFound)?;
        let _leaving = target.map(|target| self.leave(target.ino));
        let moving = self.remote.moving(&from);
        let replaced = match &target {
            Some(target) => Some(self.make_way(target, &to).await?),
            None => None,
        };
        let renamed = async {
            if let Some((staged, _)) = &unsent {
                staged.note_leaving()?;
            }
            let renamed = self
                .remote
                .rename(&from, &to, &item.entry, carried.wishes());
            Ok(renamed.await?)
        };
        let set = match renamed.await {
            Ok(set) => set,
            Err(error) => {
                if let (Some(target), Some(replaced)) = (target, replaced) {
                    self.take_back(target, &to, replaced).await;
                }
                if let Some((staged, _)) = &unsent {
                    staged.note_staying(&to)?;
                }
                return Err(error);
            }
        };
        if let Some(Replaced::File(Aside::Kept { kept, .. })) = &replaced {
            // It has lost its name for good.
            self.remote.hide(kept);
        }
        self.overlay().rename(&from, &to);
        if let Some(target) = target {
            self.remember(target.ino, target);
            self.remote.forget_content(target.ino);
        }
        {
            let mut inodes = self.inodes();
            inodes.rename(parent, name, new_parent, new_name);
            self.remote.moved(source.ino, &to);
        }
        drop(moving);
        carried.land(source.ino, &to, set).await;
        if let (Some(target), Some(replaced)) = (target, replaced) {
            self.discard_staged(target.ino);
            match replaced {
                Replaced::File(aside) => self.end_aside(target.ino, aside).await,
                Replaced::Dir(number) => self.staging.journal().note_end(Record::Done(number)),
            }
        }
        self.touch_dir(parent);
        self.touch_dir(new_parent);
        Ok(())
    }

    /// Takes the attributes that are queued for `path`, and nothing else, along.
    fn carry(&self, path: &RemotePath) -> Carried<'_> {
        Carried {
            vfs: self,
            works: self.queue.take_attributes(path),
        }
    }

    /// Renames a file that the server has nothing of yet, here alone: it is sent to its new name. `false` where that cannot
    /// be done.
    async fn rename_unsent(
        &self,
        parent: u64,
        name: &[u8],
        new_parent: u64,
        new_name: &[u8],
        source: &Attr,
        target: Option<&Attr>,
    ) -> Result<bool> {
        if source.kind != Kind::File || target.is_some_and(|target| target.kind != Kind::File) {
            return Ok(false);
        }
        let _names = self.names.read().await;
        let from = self.path(parent)?.join(name);
        let to = self.path(new_parent)?.join(new_name);
        // By rising number, as all who hold several.
        let mut held = Vec::new();
        let mut numbers: Vec<u64> = std::iter::once(source)
            .chain(target)
            .map(|attr| attr.ino)
            .collect();
        numbers.sort_unstable();
        for ino in numbers {
            held.extend(
                self.hold_staged(ino)
                    .await
                    .map(|(staged, order)| (ino, staged, order)),
            );
        }
        let staged_of = |ino: u64| {
            held.iter()
                .find(|(held, ..)| *held == ino)
                .map(|(_, staged, _)| staged)
        };
        let Some(staged) = staged_of(source.ino) else {
            return Ok(false);
        };
        let unsent = {
            let state = staged.state();
            state.changed && state.base.is_none() && state.sent_to.is_empty() && !state.restored
        };
        let open = |ino: u64| self.with_node(ino, |node| node.handles > 0);
        if !unsent || target.map(|target| open(target.ino)).transpose()? == Some(true) {
            return Ok(false);
        }
        // What the server has at the new name stays there until this is whole.
        let mut base = None;
        if let Some(target) = target {
            base = match staged_of(target.ino) {
                Some(staged) => staged.state().base,
                None => self.with_node(target.ino, |node| node.entry.as_ref().map(version))?,
            };
            // As it is when what is queued before is done.
            base = base.map(|base| self.queue.view(&to).version(base));
            let part = |staged: &Arc<Staged>| !staged.state().sent_to.is_empty();
            if staged_of(target.ino).is_some_and(part) {
                return Ok(false);
            }
        }
        let closed = staged.state().closed;
        if self.queue.take_back(&from, staged.content()).is_none() && closed {
            // Just about to be sent.
            return Ok(false);
        }
        let replaced = target.and_then(|target| Some((target, staged_of(target.ino)?)));
        let queued = replaced.and_then(|(_, staged)| self.queue.take_back(&to, staged.content()));
        // As the journal has them: the source, and what the target was to become.
        let put_back = || {
            if closed {
                self.queue_noted(self.queue.number(), source.ino, staged, &from);
            }
            if let (Some(_), Some((target, replaced))) = (queued, replaced) {
                self.queue_noted(self.queue.number(), target.ino, replaced, &to);
            }
        };
        if queued.is_none() && replaced.is_some_and(|(_, staged)| staged.state().closed) {
            put_back();
            return Ok(false);
        }
        let number = closed.then(|| self.queue.number());
        if let Err(error) = self.note_moved(staged, &from, &to, base, number).await {
            put_back();
            return Err(error);
        }
        if let Some(target) = target {
            self.remember(target.ino, *target);
            self.remote.forget_content(target.ino);
        }
        self.overlay().rename(&from, &to);
        {
            let mut inodes = self.inodes();
            inodes.server_has(parent, name);
            inodes.rename(parent, name, new_parent, new_name);
            if base.is_none() {
                inodes.server_lacks(new_parent, new_name);
            }
        }
        if let Some(number) = number {
            self.queue_noted(number, source.ino, staged, &to);
        }
        if let Some(target) = target {
            self.discard_staged(target.ino);
        }
        self.touch_dir(parent);
        self.touch_dir(new_parent);
        Ok(true)
    }

    /// Notes in the journal that what is staged for `from`, over nothing, is to be at `to`, over `base`: closed, by its
    /// `number` in the order, or still open.
    ///
    /// # Errors
    /// All is as it was then.
    async fn note_moved(
        &self,
        staged: &Staged,
        from: &RemotePath,
        to: &RemotePath,
        base: Option<Version>,
        number: Option<u64>,
    ) -> Result<()> {
        let note = |path: &RemotePath| match number {
            Some(number) => staged.note_closed(path, number),
            None => staged.note(path, None),
        };
        staged.state().stands_over(base);
        if let Err(error) = note(to) {
            staged.state().stands_over(None);
            return Err(error.into());
        }
        if let Err(error) = self.staging.journal().sync().await {
            staged.state().stands_over(None);
            if let Err(error) = note(from) {
                error!(path = %from, %to, %error, "the journal has a new name for what has kept its old one");
            }
            return Err(error.into());
        }
        Ok(())
    }

    /// Frees the name that a rename takes: an empty folder is removed, an open file is set aside.
    async fn make_way(&self, target: &Attr, to: &RemotePath) -> Result<Replaced> {
        if target.kind == Kind::Dir {
            if !self.inodes().created_in(target.ino).is_empty() {
                return Err(Error::NotEmpty);
            }
            // Some servers merge, some refuse: the folder is removed first, which fails unless it is empty.
            self.move_kept_out(to).await?;
            // If this mount ends before the other folder has the name, the next one makes it again.
            let (journal, number) = (self.staging.journal(), self.queue.number());
            journal.note(Record::Queued(number, Intent::KeepDir(to.clone())))?;
            let removed = self.remote.remove_dir(to).await;
            if removed.is_err() {
                journal.note_end(Record::Done(number));
            }
            return Ok(removed.map(|()| Replaced::Dir(number))?);
        }
        self.set_aside(target.ino, to).await.map(Replaced::File)
    }

    /// Undoes [`Vfs::make_way`] for a rename that failed.
    async fn take_back(&self, target: Attr, to: &RemotePath, replaced: Replaced) {
        match replaced {
            Replaced::File(aside) => self.take_back_aside(target.ino, to, aside).await,
            Replaced::Dir(number) => {
                if let Err(error) = self.remote.make_dir(to).await {
                    warn!(path = %to, %error, "an empty folder that was to be replaced is gone");
                }
                self.staging.journal().note_end(Record::Done(number));
            }
        }
    }

    /// Sends what is staged below the folder `ino`, before its name changes; nobody changes it while the guards live.
    async fn commit_below(&self, ino: u64, dir: &RemotePath) -> Result<Vec<OwnedMutexGuard<()>>> {
        let mut below: Vec<u64> = {
            let inodes = self.inodes();
            let staged = inodes.staged().into_iter();
            staged
                .filter(|&at| at != ino && inodes.path(at).is_some_and(|path| path.is_within(dir)))
                .collect()
        };
        below.sort_unstable();
        let mut guards = Vec::new();
        for ino in below {
            guards.extend(self.commit_and_hold(ino).await?);
        }
        Ok(guards)
    }
}
