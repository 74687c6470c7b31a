//! Renaming: of what is open, over what is open.

use tokio::sync::OwnedMutexGuard;
use tracing::warn;

use super::namespace::check_name;
use super::unlink::Aside;
use super::{Attr, Error, Result, Vfs};
use crate::ftp::RemotePath;
use crate::ftp::list::Kind;

/// What a rename does about something that has the new name already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replace {
    /// It is replaced.
    Yes,
    /// The rename fails.
    No,
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
            self.remote.check_new_name(&to).await?;
        }
        // Held until the end: nothing is sent to a name that something else is about to have.
        let mut orders = Vec::new();
        let earlier = target.filter(|target| target.ino < source.ino);
        if let Some(target) = earlier {
            orders.extend(self.hold_staged(target.ino).await.map(|(_, order)| order));
        }
        orders.extend(self.commit_and_hold(source.ino).await?);
        orders.extend(self.commit_below(source.ino, &from).await?);
        if let (Some(target), None) = (target, earlier) {
            orders.extend(self.hold_staged(target.ino).await.map(|(_, order)| order));
        }
        if source.kind == Kind::Dir {
            self.move_kept_out(&from).await?;
        }
        let item = self.remote.stat(&from).await?.ok_or(Error::NotFound)?;
        let _leaving = target.map(|target| self.leave(target.ino));
        let moving = self.remote.moving(&from);
        let aside = match &target {
            Some(target) => self.make_way(target, &to).await?,
            None => Aside::NotNeeded,
        };
        let renamed = self.remote.rename(&from, &to, &item.entry).await;
        if renamed.is_err() {
            if let Some(target) = target {
                self.take_back(target, &to, aside).await;
            }
            return Ok(renamed?);
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
        if let Some(target) = target {
            self.end_aside(target.ino, aside).await;
        }
        self.touch_dir(parent);
        self.touch_dir(new_parent);
        Ok(())
    }

    /// Frees the name that a rename takes: an empty folder is removed, an open file is set aside.
    async fn make_way(&self, target: &Attr, to: &RemotePath) -> Result<Aside> {
        if target.kind == Kind::Dir {
            if !self.inodes().created_in(target.ino).is_empty() {
                return Err(Error::NotEmpty);
            }
            // Some servers merge, some refuse: the folder is removed first, which fails unless it is empty.
            self.move_kept_out(to).await?;
            self.remote.remove_dir(to).await?;
            return Ok(Aside::NotNeeded);
        }
        self.set_aside(target.ino, to).await
    }

    /// Undoes [`Vfs::make_way`] for a rename that failed.
    async fn take_back(&self, target: Attr, to: &RemotePath, aside: Aside) {
        if target.kind == Kind::Dir {
            if let Err(error) = self.remote.make_dir(to).await {
                warn!(path = %to, %error, "an empty folder that was to be replaced is gone");
            }
            return;
        }
        self.take_back_aside(target.ino, to, aside).await;
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
