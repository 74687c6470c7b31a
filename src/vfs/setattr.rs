//! Changing attributes.

use std::time::{Duration, SystemTime};

use super::journal::Intent;
use super::queue::Work;
use super::{Attr, Error, Result, Vfs, unix_seconds};
use crate::cache;
use crate::ftp::RemotePath;
use crate::ftp::list::Kind;

/// Which attributes are to change.
#[derive(Clone, Copy, Debug, Default)]
pub struct Change {
    /// Permission bits.
    pub mode: Option<u32>,
    /// Owner: only the one that is shown already.
    pub uid: Option<u32>,
    /// Group: only the one that is shown already.
    pub gid: Option<u32>,
    /// Size in bytes.
    pub size: Option<u64>,
    /// Time of modification.
    pub mtime: Option<SystemTime>,
    /// Handle that the size is changed through.
    pub fh: Option<u64>,
}

impl Vfs {
    /// Changes the attributes of `ino`; they are as returned when this is done.
    pub async fn setattr(&self, ino: u64, change: Change) -> Result<Attr> {
        let changes = [
            change.mode.is_some(),
            change.uid.is_some(),
            change.gid.is_some(),
        ];
        if changes.contains(&true) || change.size.is_some() || change.mtime.is_some() {
            self.writable()?;
        }
        let other = |wanted: Option<u32>, shown: u32| wanted.is_some_and(|wanted| wanted != shown);
        if other(change.uid, self.config.uid) || other(change.gid, self.config.gid) {
            return Err(Error::NotPermitted);
        }
        if let Some(size) = change.size {
            self.truncate(ino, size, change.fh).await?;
        }
        if let Some(mode) = change.mode {
            self.change_mode(ino, mode).await?;
        }
        if let Some(mtime) = change.mtime {
            self.change_mtime(ino, unix_seconds(mtime)).await?;
        }
        self.getattr(ino).await
    }

    /// Whether `uid` of group `gid` may access `ino` in the ways of `mask` (`R_OK`, `W_OK`, `X_OK`), by the bits shown.
    ///
    /// # Errors
    /// [`Error::Forbidden`], or [`Error::ReadOnly`] for writing to a mount that is.
    pub async fn check_access(&self, ino: u64, uid: u32, gid: u32, mask: u32) -> Result<()> {
        const EXECUTE: u32 = 1;
        const WRITE: u32 = 2;
        let attr = self.getattr(ino).await?;
        if mask & WRITE != 0 {
            self.writable()?;
        }
        let perm = u32::from(attr.perm);
        let allowed = match uid {
            // Root may do all, but execute only what somebody may.
            0 if perm & 0o111 != 0 || attr.kind == Kind::Dir => 0o7,
            0 => 0o7 & !EXECUTE,
            uid if uid == attr.uid => perm >> 6,
            _ if gid == attr.gid => perm >> 3,
            _ => perm,
        };
        if mask & !allowed & 0o7 == 0 {
            Ok(())
        } else {
            Err(Error::Forbidden)
        }
    }

    /// Sets permission bits: after the next commit where something is staged, else now.
    pub(super) async fn change_mode(&self, ino: u64, mode: u32) -> Result<()> {
        let mode = mode & 0o7777;
        if let Some(staged) = self.staged(ino)
            && staged.set_pending(|state| state.mode = Some(mode))
        {
            return self.note(ino, &staged, None);
        }
        let _names = self.names.read().await;
        // Attributes of what has no name change for nobody.
        let Some(path) = self.named_path(ino) else {
            return Ok(());
        };
        let known = || {
            self.remote
                .pool()
                .with_profile(|profile| profile.sets_modes())
        };
        if self.is_set_later(ino, known) {
            let change = Intent::SetMode(path.clone(), mode);
            return self
                .queue_change(&path, change, Work::SetMode(ino, mode))
                .await;
        }
        self.settled(&path).await?;
        self.send_mode(ino, &path, mode).await
    }

    /// Sets the time of modification: after the next commit where something is staged, else now.
    pub(super) async fn change_mtime(&self, ino: u64, seconds: i64) -> Result<()> {
        if let Some(staged) = self.staged(ino)
            && staged.set_pending(|state| state.mtime = Some(seconds))
        {
            return self.note(ino, &staged, None);
        }
        let _names = self.names.read().await;
        // Attributes of what has no name change for nobody.
        let Some(path) = self.named_path(ino) else {
            return Ok(());
        };
        let known = || {
            self.remote
                .pool()
                .with_profile(|profile| profile.sets_times())
        };
        if self.is_set_later(ino, known) {
            let change = Intent::SetMtime(path.clone(), seconds);
            return self
                .queue_change(&path, change, Work::SetMtime(ino, seconds))
                .await;
        }
        self.settled(&path).await?;
        self.send_mtime(ino, &path, seconds).await
    }

    /// Whether attributes of `ino` are set behind the user, in a moment: those of a file that we have stored just now, if
    /// they are `known` to be taken, since what copies files sets one after another, and then renames it, all of which is
    /// one flight; and with write-back those of folders, which come after all that is in them.
    fn is_set_later(&self, ino: u64, known: impl FnOnce() -> bool) -> bool {
        // Of an open file the server's word is shown.
        let node = self.with_node(ino, |node| {
            let closed = node.staged.is_none();
            (node.kind, node.stored.filter(|_| closed))
        });
        match node {
            Ok((Kind::Dir, _)) => self.config.write_back && ino != super::ROOT,
            Ok((Kind::File, Some(stored))) => stored.elapsed() < JUST_NOW && known(),
            _ => false,
        }
    }

    pub(super) async fn send_mode(&self, ino: u64, path: &RemotePath, mode: u32) -> Result<()> {
        match self.remote.set_mode(path, mode).await {
            Ok(()) => {}
            Err(cache::Error::Unsupported(_)) => {
                if let Some(item) = self.remote.stat(path).await? {
                    self.overlay().keep_mode(path, &item.entry, mode);
                }
            }
            Err(error) => return Err(error.into()),
        }
        // Read again, so that what is shown from now on has it.
        self.refresh(ino, path).await
    }

    pub(super) async fn send_mtime(&self, ino: u64, path: &RemotePath, seconds: i64) -> Result<()> {
        let is_dir = matches!(self.with_node(ino, |node| node.kind), Ok(Kind::Dir));
        match self.remote.set_mtime(path, seconds).await {
            Ok(()) => {}
            // Some servers set the times of files only: a folder's is kept here like any that cannot be set.
            Err(cache::Error::Denied(_)) if is_dir => self.keep_mtime(ino, path, seconds).await?,
            Err(cache::Error::Unsupported(_)) => self.keep_mtime(ino, path, seconds).await?,
            Err(error) => return Err(error.into()),
        }
        // The kernel's pages are those of the same content, whose version has another time now.
        self.refresh(ino, path).await?;
        self.carry_version(ino);
        Ok(())
    }

    async fn keep_mtime(&self, ino: u64, path: &RemotePath, seconds: i64) -> Result<()> {
        if ino == super::ROOT {
            let entry = self.root_entry();
            self.overlay().keep_mtime(path, &entry, seconds);
            return Ok(());
        }
        // What is kept ends when the server says something else: so its own word of now is needed, not ours.
        if let Some(item) = self.remote.stat_now(path).await? {
            self.overlay().keep_mtime(path, &item.entry, seconds);
        }
        Ok(())
    }

    pub(super) async fn refresh(&self, ino: u64, path: &RemotePath) -> Result<()> {
        if ino != super::ROOT
            && let Some(item) = self.remote.stat(path).await?
        {
            self.with_node(ino, |node| node.entry = Some(item.entry))
                .ok();
        }
        Ok(())
    }
}

/// How long a file counts as stored just now.
const JUST_NOW: Duration = Duration::from_secs(1);
