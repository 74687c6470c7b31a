//! Removing names. What is open outlives its name: under another, hidden one if it is still needed from the server.

use tokio::sync::OwnedMutexGuard;
use tracing::warn;

use super::attr::version;
use super::journal::Intent;
use super::queue::Work;
use super::{Attr, Error, Result, Vfs, unix_seconds};
use crate::cache::{self, Moving, Version, scratch_name};
use crate::ftp::RemotePath;
use crate::ftp::list::{Entry, Kind, Modified, Precision};

impl Vfs {
    /// Removes the empty folder `name` in `parent`.
    pub async fn remove_dir(&self, parent: u64, name: &[u8]) -> Result<()> {
        self.writable()?;
        let attr = self.find(parent, name).await?.ok_or(Error::NotFound)?;
        if attr.kind != Kind::Dir {
            return Err(Error::NotDir);
        }
        if !self.inodes().created_in(attr.ino).is_empty() {
            return Err(Error::NotEmpty);
        }
        let _names = self.names.read().await;
        let path = self.path(parent)?.join(name);
        if !self.config.write_back || !self.inodes().kept_within(&path).is_empty() {
            self.settled(&path).await?;
            self.move_kept_out(&path).await?;
        }
        match self.config.write_back {
            false => self.remote.remove_dir(&path).await?,
            true if !self.snapshot(attr.ino).await?.is_empty() => return Err(Error::NotEmpty),
            true => self.remove_later(&path, Kind::Dir, None).await?,
        }
        self.overlay().forget(&path);
        self.remember(attr.ino, attr);
        self.inodes().unlink(parent, name);
        self.touch_dir(parent);
        Ok(())
    }

    /// Removes the file or link `name` in `parent`. An open file stays readable and writable until it is closed.
    pub async fn remove_file(&self, parent: u64, name: &[u8]) -> Result<()> {
        self.writable()?;
        let attr = self.find(parent, name).await?.ok_or(Error::NotFound)?;
        if attr.kind == Kind::Dir {
            return Err(Error::IsDir);
        }
        let _names = self.names.read().await;
        let path = self.path(parent)?.join(name);
        self.remote.at_rest(&path).await;
        let _leaving = self.leave(attr.ino);
        // Rather not sent at all.
        let queued = self.staged(attr.ino).and_then(|staged| {
            let number = self.queue.take_back(&path, staged.content())?;
            Some((number, self.work_of(attr.ino, &staged)))
        });
        let (aside, _order) = match self.remove_from_server(&attr, &path).await {
            Ok(removed) => removed,
            Err(error) => {
                if let Some((number, work)) = queued {
                    self.queue.add(number, &path, work);
                }
                return Err(error);
            }
        };
        self.overlay().forget(&path);
        self.remember(attr.ino, attr);
        self.remote.forget_content(attr.ino);
        self.inodes().unlink(parent, name);
        self.discard_staged(attr.ino);
        self.end_aside(attr.ino, aside).await;
        self.touch_dir(parent);
        Ok(())
    }

    /// The server's part of [`Vfs::remove_file`]; later, with write-back, where nobody has it open. Nobody begins to send
    /// what is staged while the guard lives.
    async fn remove_from_server(
        &self,
        attr: &Attr,
        path: &RemotePath,
    ) -> Result<(Aside, Option<OwnedMutexGuard<()>>)> {
        let open = self.with_node(attr.ino, |node| node.handles > 0);
        let later = self.config.write_back && !open.unwrap_or(false);
        if !later {
            self.settled(path).await?;
        }
        // What is being sent at this moment would have the name again after it was removed.
        let held = {
            let _recall = self.recall(attr.ino);
            self.hold_staged(attr.ino).await
        };
        let aside = self.set_aside(attr.ino, path).await?;
        let is_there = match &aside {
            Aside::Kept { kept, .. } => {
                self.remote.keep_aside(kept, path);
                false
            }
            // But for a part of it that was left by an upload that broke off.
            Aside::NotOnServer => held
                .as_ref()
                .is_some_and(|(staged, _)| staged.state().sent_to.has(path)),
            Aside::NotNeeded => true,
        };
        if is_there && later {
            let was = match &held {
                Some((staged, _)) => staged.state().base,
                None => self.with_node(attr.ino, |node| node.entry.as_ref().map(version))?,
            };
            let was = was.filter(|_| attr.kind == Kind::File);
            // As it is when what is queued before is done.
            let was = was.map(|was| self.queue.view(path).version(was));
            self.remove_later(path, attr.kind, was).await?;
        } else if is_there {
            if let Some((staged, _)) = &held {
                staged.note_leaving()?;
            }
            match self.remote.remove_file(path).await {
                // Somebody else was faster: it is gone, as was asked.
                Ok(()) | Err(cache::Error::Absent(_)) => {}
                Err(error) => {
                    if let Some((staged, _)) = &held {
                        staged.note_staying(path)?;
                    }
                    return Err(error.into());
                }
            }
        }
        Ok((aside, held.map(|(_, order)| order)))
    }

    /// Removes what is at `path` behind the user. Should the journal outlive this mount, only a file in the version `was`.
    async fn remove_later(
        &self,
        path: &RemotePath,
        kind: Kind,
        was: Option<Version>,
    ) -> Result<()> {
        let change = Intent::Remove(path.clone(), kind, was);
        self.queue_change(path, change, Work::Remove(kind, None))
            .await
    }

    /// What is staged for `ino`, which has lost its name, is never sent; and forgotten unless somebody has it open.
    pub(super) fn discard_staged(&self, ino: u64) {
        let Some(staged) = self.staged(ino) else {
            return;
        };
        staged.settle();
        let mut inodes = self.inodes();
        if let Some(node) = inodes.get_mut(ino).filter(|node| node.handles == 0) {
            node.staged = None;
        }
        inodes.release(ino);
    }

    /// Before a folder loses its name: what is kept in it, of files that lost theirs, goes to the folder above.
    pub(super) async fn move_kept_out(&self, dir: &RemotePath) -> Result<()> {
        let kept = self.inodes().kept_within(dir);
        for (ino, path) in kept {
            // One handle is ours until this is over: the last one removes what is kept, where it is by then.
            let held = self.with_node(ino, |node| {
                let held = node.kept_at.as_ref() == Some(&path);
                node.handles += u32::from(held);
                held
            });
            if !matches!(held, Ok(true)) {
                continue;
            }
            let own = scratch_name(dir);
            let moved = self.remote.hide_elsewhere(&path, &own).await;
            if moved.is_ok() {
                let mut inodes = self.inodes();
                self.remote.moved(ino, &own);
                if let Some(node) = inodes.get_mut(ino) {
                    node.kept_at = Some(own.clone());
                }
            }
            if let Some(kept) = self.drop_handle(ino) {
                self.remove_kept(&kept).await;
            }
            moved?;
        }
        Ok(())
    }

    /// Keeps the last attributes of something that loses its name, for those who have it open.
    pub(super) fn remember(&self, ino: u64, attr: Attr) {
        if let Some(node) = self.inodes().get_mut(ino)
            && node.handles > 0
        {
            node.entry = Some(Entry {
                name: Vec::new(),
                kind: attr.kind,
                size: Some(attr.size),
                modified: Some(Modified {
                    seconds: unix_seconds(attr.mtime),
                    precision: Precision::Second,
                }),
                mode: Some(u32::from(attr.perm)),
                target: None,
                line: None,
            });
        }
    }

    /// Before a file loses its name: what is open and not all here is moved to a name of our own.
    pub(super) async fn set_aside(&self, ino: u64, path: &RemotePath) -> Result<Aside> {
        let (staged, open) = self
            .with_node(ino, |node| (node.staged.clone(), node.is_open()))
            .unwrap_or((None, false));
        if let Some(staged) = &staged {
            // What was sent of it so far would stay under the name that it loses.
            if let Some(early) = staged.take_early() {
                early.give_up().await;
            }
            let state = staged.state().clone();
            if state.base.is_none() {
                return Ok(Aside::NotOnServer);
            }
            if !state.uses_base() {
                return Ok(Aside::NotNeeded);
            }
        }
        let size = self.with_node(ino, |node| node.entry.as_ref().and_then(|entry| entry.size));
        let empty = matches!(size, Ok(Some(0)));
        if !open || (staged.is_none() && empty) {
            return Ok(Aside::NotNeeded);
        }
        let item = self.remote.stat(path).await?.ok_or(Error::NotFound)?;
        // One handle is ours until this is over: the last one removes what is kept.
        let still_open = self.with_node(ino, |node| {
            let open = node.is_open();
            node.handles += u32::from(open);
            open
        });
        if !matches!(still_open, Ok(true)) {
            return Ok(Aside::NotNeeded);
        }
        let kept_at = scratch_name(path);
        let hidden = self.remote.hide_away(path, &kept_at, &item.entry).await;
        let moving = hidden.inspect_err(|_| drop(self.drop_handle(ino)))?;
        let mut inodes = self.inodes();
        self.remote.moved(ino, &kept_at);
        if let Some(node) = inodes.get_mut(ino) {
            node.kept_at = Some(kept_at.clone());
            node.entry = Some(item.entry.clone());
        }
        Ok(Aside::Kept {
            entry: item.entry,
            kept: kept_at,
            moving,
        })
    }

    /// After a file has lost its name: nobody looks for it there any more.
    pub(super) async fn end_aside(&self, ino: u64, aside: Aside) {
        if let Aside::Kept { moving, .. } = aside {
            drop(moving);
            if let Some(kept) = self.drop_handle(ino) {
                self.remove_kept(&kept).await;
            }
        }
    }

    /// A file that was set aside keeps its name `path` after all.
    pub(super) async fn take_back_aside(&self, ino: u64, path: &RemotePath, aside: Aside) {
        let Aside::Kept { entry, moving, .. } = aside else {
            return;
        };
        let kept = self.with_node(ino, |node| node.kept_at.clone());
        if let Ok(Some(kept)) = kept {
            let back = self.remote.put_back(&kept, path, &entry, moving).await;
            if let Err(error) = &back {
                warn!(%path, at = %kept, %error, "the file moved aside is not back yet");
            }
            let mut inodes = self.inodes();
            if let Some(node) = inodes.get_mut(ino) {
                node.kept_at = None;
            }
            self.remote.moved(ino, path);
            // Now that memory says where it is.
            drop(back);
        }
        self.drop_handle(ino);
    }

    /// Nobody can open `ino`, which is about to lose its name, until this is dropped.
    pub(super) fn leave(&self, ino: u64) -> Leaving<'_> {
        if let Some(node) = self.inodes().get_mut(ino) {
            node.leaving = true;
        }
        Leaving { vfs: self, ino }
    }

    /// Counts one more handle of `ino`, once it is sure whether it keeps its name.
    pub(super) async fn hold(&self, ino: u64) -> Result<()> {
        loop {
            let left = self.left.notified();
            tokio::pin!(left);
            // Before looking, so that no end is missed between looking and waiting.
            left.as_mut().enable();
            {
                let mut inodes = self.inodes();
                let node = inodes.get_mut(ino).ok_or(Error::Stale)?;
                if !node.leaving {
                    node.handles += 1;
                    return Ok(());
                }
            }
            left.await;
        }
    }

    /// Closes one handle of `ino`; the last one removes what was kept for a file without a name.
    pub(super) fn drop_handle(&self, ino: u64) -> Option<RemotePath> {
        let mut inodes = self.inodes();
        let node = inodes.get_mut(ino)?;
        node.handles = node.handles.saturating_sub(1);
        let last = node.handles == 0;
        let kept = if last { node.kept_at.take() } else { None };
        if last && node.unlinked {
            // Nobody can ask for it any more.
            node.staged = None;
        }
        inodes.release(ino);
        kept
    }

    /// Removes what was kept of a file that lost its name.
    pub(super) async fn remove_kept(&self, kept: &RemotePath) {
        if let Err(error) = self.remote.remove_file(kept).await {
            warn!(path = %kept, %error, "a removed file that was open is left on the server");
        }
        self.remote.show(kept);
    }
}

/// See [`Vfs::leave`].
pub(super) struct Leaving<'a> {
    vfs: &'a Vfs,
    ino: u64,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        if let Some(node) = self.vfs.inodes().get_mut(self.ino) {
            node.leaving = false;
        }
        self.vfs.left.notify_waiters();
    }
}

/// What became of a file before it loses its name.
pub(super) enum Aside {
    /// It has another name on the server, hidden.
    Kept {
        entry: Entry,
        kept: RemotePath,
        moving: Moving,
    },
    /// The server never had it.
    NotOnServer,
    /// Nobody needs it there any more.
    NotNeeded,
}
