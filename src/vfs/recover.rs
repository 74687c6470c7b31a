//! What an earlier mount left: killed, or cut off from the server before everything was sent.
//!
//! It is shown at once and sent behind the user, in its old order. What others have changed on the server meanwhile is
//! never overwritten: then the local version is stored beside it, under a name that says so.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use jiff::Zoned;
use tracing::{error, info, warn};

use super::commit::{Plan, plan};
use super::inodes::ROOT;
use super::journal::{Intent, Pending, Record};
use super::queue::Work;
use super::staging::{Staged, State};
use super::{Result, Vfs};
use crate::cache::{self, Compare, Resumed, Source, Version};
use crate::ftp::list::{Entry, Kind};
use crate::ftp::{RemotePath, Wishes};
use crate::pool::echo;

impl Vfs {
    /// Queues what the journal has.
    pub(super) async fn recover(&self) -> Result<()> {
        let left = self.staging.journal().left();
        if left.is_empty() {
            return Ok(());
        }
        info!(
            files = left.files.len(),
            changes = left.changes.len(),
            "an earlier mount left changes that were not sent: they are sent now"
        );
        // The server may still be doing what the earlier mount had sent.
        echo().await;
        let resumed: Vec<&RemotePath> = left
            .files
            .values()
            .filter_map(|pending| pending.sent_to.last())
            .collect();
        let removed: HashMap<RemotePath, u64> = left
            .changes
            .iter()
            .filter_map(|(&number, change)| match change {
                Intent::Remove(path, ..) => Some((path.clone(), number)),
                _ => None,
            })
            .collect();
        let mut works = Vec::new();
        for (number, change) in left.changes {
            match change {
                Intent::PutBack(aside, path) => {
                    // The last mount ended while it replaced that file.
                    self.remote.bring_back(&aside, &path).await?;
                    self.staging.journal().note_end(Record::Done(number));
                }
                Intent::KeepDir(path) => {
                    if self.remote.stat_now(&path).await?.is_none() {
                        self.remote.make_dir(&path).await?;
                    }
                    self.staging.journal().note_end(Record::Done(number));
                }
                // What it holds is gone on with.
                Intent::Remove(own, ..) if resumed.contains(&&own) => {
                    self.remote.hide(&own);
                    self.staging.journal().note_end(Record::Done(number));
                }
                change => {
                    let work = self.work_left(change).await?;
                    works.extend(work.map(|(path, work)| (number, path, work)));
                }
            }
        }
        for (content, pending) in left.files {
            let staged = match self.staging.restore(content, &pending) {
                Ok(staged) => staged,
                Err(error) => {
                    error!(path = %pending.path, %error, "what was written to this file by an earlier mount is lost");
                    self.staging.journal().note_end(Record::Settled(content));
                    continue;
                }
            };
            // The last mount ended within its removal, which is noted already.
            let removal = removed.get(&pending.path);
            let removed = pending.closed.is_some_and(|closed| removal > Some(&closed));
            if removed || (pending.leaving && self.has_left(&pending).await?) {
                staged.settle();
                continue;
            }
            if !staged.state().outlives() {
                self.keep_unfinished(&staged, &pending)?;
                continue;
            }
            let number = pending.closed.unwrap_or_else(|| self.queue.number());
            let ino = self.intern_path(&pending.path, Kind::File);
            let place = self.inodes().place(ino);
            if let Some((parent, name)) = place.filter(|_| pending.base.is_none()) {
                self.inodes().server_lacks(parent, &name);
            }
            let work = self.work_of(ino, &staged);
            self.with_node(ino, |node| node.staged = Some(Arc::new(staged)))
                .ok();
            works.push((number, pending.path, work));
        }
        // Each waits for those before it.
        works.sort_unstable_by_key(|(number, ..)| *number);
        for (number, path, work) in works {
            self.queue.add(number, &path, work);
        }
        Ok(())
    }

    /// Whether a file that was about to lose its name has lost it: what the server has there is not what it was.
    async fn has_left(&self, pending: &Pending) -> Result<bool> {
        let now = match self.remote.version_of(&pending.path).await {
            Ok(now) => Some(now),
            Err(cache::Error::Absent(_)) => None,
            Err(error) => return Err(error.into()),
        };
        // A part of it is no sign.
        let is_ours = pending.sent_to.has(&pending.path);
        Ok(match (pending.base, now) {
            (base, None) => base.is_some(),
            (_, Some(_)) if is_ours => false,
            (None, Some(_)) => true,
            (Some(base), Some(now)) => !self.remote.is_same(base, now),
        })
    }

    /// What is to be done for `change`, and where; `None` for what is done before anything is shown.
    async fn work_left(&self, change: Intent) -> Result<Option<(RemotePath, Work)>> {
        Ok(Some(match change {
            Intent::MakeDir(path, mode) => {
                let entry = Entry {
                    name: path.name().to_vec(),
                    mode: Some(mode),
                    ..self.root_entry()
                };
                (path, Work::MakeDir(entry))
            }
            Intent::Remove(path, kind, was) => (path, Work::Remove(kind, was)),
            Intent::PutBack(..) | Intent::KeepDir(_) => return Ok(None),
            Intent::SetMode(path, mode) => {
                let ino = self.intern_path(&path, self.kind_left(&path).await?);
                (path, Work::SetMode(ino, mode))
            }
            Intent::SetMtime(path, seconds) => {
                let ino = self.intern_path(&path, self.kind_left(&path).await?);
                (path, Work::SetMtime(ino, seconds))
            }
        }))
    }

    /// What is at `path`, whose attributes are to be set; where the server has nothing yet, a folder that is to be made.
    async fn kind_left(&self, path: &RemotePath) -> Result<Kind> {
        match self.remote.stat(path).await {
            Ok(item) => Ok(item.map_or(Kind::Dir, |item| item.entry.kind)),
            Err(cache::Error::Absent(_) | cache::Error::NotDir(_)) => Ok(Kind::Dir),
            Err(error) => Err(error.into()),
        }
    }

    /// The inode of `path`, which is below the root, and of `kind`.
    fn intern_path(&self, path: &RemotePath, kind: Kind) -> u64 {
        let mut inodes = self.inodes();
        let depth = inodes.path(ROOT).map_or(0, |root| root.parts().count());
        let mut parts = path.parts().skip(depth).peekable();
        let mut at = ROOT;
        while let Some(name) = parts.next() {
            let kind = match parts.peek() {
                Some(_) => Kind::Dir,
                None => kind,
            };
            at = inodes.intern(at, name, kind);
        }
        at
    }

    /// A program was in the middle of changing a file that is whole on the server: that stays, and the change is kept.
    fn keep_unfinished(&self, staged: &Staged, pending: &Pending) -> io::Result<()> {
        let kept = self.staging.rescue(staged, pending.path.name())?;
        let kept = kept.display();
        warn!(path = %pending.path, %kept, "a program was changing this file when the mount ended: the file stays as it was, and what was written is kept");
        staged.settle();
        Ok(())
    }

    /// Sends what an earlier mount staged.
    pub(super) async fn send_restored(
        &self,
        ino: u64,
        path: &RemotePath,
        staged: &Staged,
        state: &State,
    ) -> Result<Entry> {
        let source = staged.source(state.size);
        let wishes = self.wishes(ino, state);
        let (resumed, now) = self.resume(path, state, &source, wishes).await?;
        let unchanged = match (resumed, state.base, now) {
            (Resumed::Done(entry), ..) => return Ok(entry),
            // What is there is ours.
            (Resumed::Part, ..) => true,
            (Resumed::Nothing, Some(base), Some(now)) => self.remote.is_same(base, now),
            (Resumed::Nothing, base, now) => base.is_none() && now.is_none(),
        };
        if unchanged {
            return self.send(ino, path, staged, state).await;
        }
        let uses_base = state.uses_base();
        let same = match now {
            Some(now) if now.size == state.size && !uses_base => {
                self.remote
                    .is_head(path, &source, 0..now.size, Compare::All)
                    .await?
            }
            _ => false,
        };
        if same {
            // The answer came, and the journal ended before it.
            let item = self.remote.stat_now(path).await?;
            return Ok(item.ok_or(super::Error::NotFound)?.entry);
        }
        if uses_base {
            self.load(ino, staged, state).await?;
        }
        let beside = self.store_beside(path, &source).await?;
        {
            let mut state = staged.state();
            (state.mode, state.mtime) = (None, None);
        }
        match self.remote.stat_now(path).await? {
            Some(item) => Ok(item.entry),
            // Removed by others: what is beside it is all that there is to send.
            None => Ok(beside),
        }
    }

    /// Goes on where an upload broke off, if that is what the server has; and what it had at `path` before.
    pub(super) async fn resume(
        &self,
        path: &RemotePath,
        state: &State,
        source: &Source,
        wishes: Wishes,
    ) -> Result<(Resumed, Option<Version>)> {
        let now = match self.remote.version_of(path).await {
            Ok(now) => Some(now),
            Err(cache::Error::Absent(_)) => None,
            Err(error) => return Err(error.into()),
        };
        for at in state.sent_to.newest_first() {
            match self.resume_at(at, path, state, now, source, wishes).await? {
                Resumed::Nothing => {}
                resumed => return Ok((resumed, now)),
            }
        }
        Ok((Resumed::Nothing, now))
    }

    /// [`Vfs::resume`], of the part at `at`.
    async fn resume_at(
        &self,
        at: &RemotePath,
        path: &RemotePath,
        state: &State,
        now: Option<Version>,
        source: &Source,
        wishes: Wishes,
    ) -> Result<Resumed> {
        if at != path {
            // Under a name of our own, to take the place of what is at `path` if that is the same.
            let same = match (state.base, now) {
                (Some(base), Some(now)) => self.remote.is_same(base, now),
                (base, now) => base.is_none() && now.is_none(),
            };
            self.remote.hide(at);
            let sent = match same && !state.uses_base() {
                true => self.remote.resume(at, source, 0, wishes).await,
                false => Ok(Resumed::Nothing),
            };
            let placed = match sent {
                Ok(Resumed::Done(sent)) => {
                    let placed = self.remote.put_in_place(path, at, sent, source, wishes);
                    placed.await.map(Resumed::Done)
                }
                Ok(Resumed::Part | Resumed::Nothing) => {
                    self.remote.clean(at).await;
                    Ok(Resumed::Nothing)
                }
                Err(error) => Err(error),
            };
            self.remote.show(at);
            return Ok(placed?);
        }
        match plan(state, path, now.is_some()) {
            // A part of a new file, or of one that was empty.
            Plan::Store | Plan::Replace
                if !state.uses_base() && state.base.is_none_or(|base| base.size == 0) =>
            {
                Ok(self.remote.resume(at, source, 0, wishes).await?)
            }
            Plan::Append(base, _) => Ok(self.remote.resume(at, source, base.size, wishes).await?),
            // The same bytes at the same places: once more.
            Plan::Overwrite(base, ranges) => match now.filter(|now| now.size == base.size) {
                Some(now) => {
                    let sent = self.remote.overwrite(at, source, now, &ranges, wishes);
                    match sent.await {
                        Err(cache::Error::Unsupported(_)) => Ok(Resumed::Nothing),
                        sent => Ok(Resumed::Done(sent?)),
                    }
                }
                None => Ok(Resumed::Nothing),
            },
            _ => Ok(Resumed::Nothing),
        }
    }

    /// Stores what was to be at `path` beside it; what the server has there.
    async fn store_beside(&self, path: &RemotePath, source: &Source) -> Result<Entry> {
        let stamp = Zoned::now().strftime("%Y-%m-%d-%H%M%S").to_string();
        let dir = path.parent().unwrap_or_else(RemotePath::root);
        for at in 0.. {
            let mark = match at {
                0 => format!(".unsent-{stamp}"),
                _ => format!(".unsent-{stamp}-{at}"),
            };
            let name = path.name();
            // Names of 255 bytes are common bounds.
            let name = &name[..name.len().min(255 - mark.len())];
            let beside = dir.join(&[name, mark.as_bytes()].concat());
            if self.remote.stat_now(&beside).await?.is_some() {
                continue;
            }
            let stored = self
                .remote
                .store(&beside, source, Wishes::default())
                .await?;
            error!(%path, %beside, "changed on the server since it was changed here: both are there now");
            return Ok(stored);
        }
        unreachable!("fewer files than numbers")
    }
}
