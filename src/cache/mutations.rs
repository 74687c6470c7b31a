//! Changes of names and attributes: done on the server, then in what is remembered.
//!
//! None is repeated blindly. Where the answer was lost, the server is asked what happened.

use super::{Error, Patch, Remote, Result, dir_entry};
use crate::ftp::list::{Entry, Kind, Modified, Precision};
use crate::ftp::{self, ErrorKind, RemotePath, Wishes};
use crate::pool::{Purpose, Retry, on_session};

/// How a change ended whose answer may have been lost.
enum Outcome {
    Done,
    NotDone,
}

impl Remote {
    /// Makes the folder `path`, whose name the caller knows to be free.
    pub async fn make_dir(&self, path: &RemotePath) -> Result<()> {
        let mut done = on_session!(self.pool(), Retry::Never, session => session.make_dir(path));
        if self.is_undone(path, &done, Expected::Dir).await? {
            let again = on_session!(self.pool(), Retry::Never, session => session.make_dir(path));
            done = self.unless_done(path, again, Expected::Dir).await;
        }
        match self.settle_doubt(path, done, Expected::Dir).await {
            Ok(()) => {
                self.patch(path, Patch::Put(fresh_dir(path)));
                self.listings().made(path);
                Ok(())
            }
            Err(error) => Err(match self.refused_at(path, &error).await {
                Some(Some(_)) => Error::Exists(path.clone()),
                _ => error,
            }),
        }
    }

    /// Removes the empty folder `path`, which the caller knows to be a folder.
    pub async fn remove_dir(&self, path: &RemotePath) -> Result<()> {
        let mut done = on_session!(self.pool(), Retry::Never, session => session.remove_dir(path));
        if self.is_undone(path, &done, Expected::Nothing).await? {
            let again = on_session!(self.pool(), Retry::Never, session => session.remove_dir(path));
            done = self.unless_done(path, again, Expected::Nothing).await;
        }
        match self.settle_doubt(path, done, Expected::Nothing).await {
            Ok(()) => {
                self.patch(path, Patch::Remove(path.name().to_vec()));
                self.listings().forget_tree(path);
                Ok(())
            }
            Err(error @ Error::Denied(_)) => {
                self.listings().expire(path);
                match self.list(path).await {
                    Ok(folder) if !folder.entries.is_empty() => Err(Error::NotEmpty(path.clone())),
                    Err(meaning @ (Error::Absent(_) | Error::NotDir(_))) => Err(meaning),
                    _ => Err(error),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// Removes the file or link `path`, which the caller knows not to be a folder.
    pub async fn remove_file(&self, path: &RemotePath) -> Result<()> {
        let mut done = on_session!(self.pool(), Retry::Never, session => session.delete(path));
        if self.is_undone(path, &done, Expected::Nothing).await? {
            let again = on_session!(self.pool(), Retry::Never, session => session.delete(path));
            done = self.unless_done(path, again, Expected::Nothing).await;
        }
        match self.settle_doubt(path, done, Expected::Nothing).await {
            Ok(()) => {
                self.patch(path, Patch::Remove(path.name().to_vec()));
                Ok(())
            }
            Err(error) => Err(match self.refused_at(path, &error).await {
                Some(None) => Error::Absent(path.clone()),
                _ => error,
            }),
        }
    }

    /// Renames `from` to `to`, replacing a file there.
    ///
    /// Where the server will not replace, the old file is moved aside, and back if the renaming fails: at every moment
    /// one of the names holds it whole.
    ///
    /// What is wished of it is set on the way where that costs nothing; what of it is set is said.
    pub async fn rename(
        &self,
        from: &RemotePath,
        to: &RemotePath,
        item: &Entry,
        wishes: Wishes,
    ) -> Result<Wishes> {
        let replaced = match self.is_aside(to) {
            true => None,
            false => self.stat(to).await?.map(|item| item.entry),
        };
        let replaced = replaced.filter(|entry| entry.kind != Kind::Dir);
        let mut set = Wishes::default();
        let outcome = match &replaced {
            Some(old) if self.pool().profile().rename_over == Some(false) => {
                self.rename_aside(from, to, item, old).await
            }
            _ => match self.rename_with(from, to, wishes).await {
                Ok(done) => {
                    self.renamed(from, to, item);
                    set = done;
                    Ok(())
                }
                Err(error @ Error::Denied(_)) => match &replaced {
                    Some(old) => match self.rename_aside(from, to, item, old).await {
                        Ok(()) => {
                            self.pool()
                                .with_profile(|profile| profile.rename_over = Some(false));
                            Ok(())
                        }
                        Err(_) => Err(error),
                    },
                    None => Err(error),
                },
                Err(error) => Err(error),
            },
        };
        match outcome {
            Ok(()) => {
                let name = || to.name().to_vec();
                if let Some(mode) = set.mode {
                    self.patch(to, Patch::Mode(name(), mode));
                }
                if let Some(seconds) = set.mtime {
                    self.patch(to, Patch::Time(name(), seconds));
                }
                Ok(set)
            }
            Err(error) => Err(match self.refused_at(from, &error).await {
                Some(None) => Error::Absent(from.clone()),
                _ => error,
            }),
        }
    }

    /// Sets the permission bits of `path`.
    pub async fn set_mode(&self, path: &RemotePath, mode: u32) -> Result<()> {
        let done =
            on_session!(self.pool(), Retry::AfterEcho, session => session.set_mode(path, mode));
        self.understand(path, done).await?;
        self.patch(path, Patch::Mode(path.name().to_vec(), mode));
        Ok(())
    }

    /// Sets the time of modification of `path`, Unix seconds.
    pub async fn set_mtime(&self, path: &RemotePath, seconds: i64) -> Result<()> {
        if self.pool().with_profile(|profile| profile.needs_clock()) {
            self.ask_clock(path).await;
        }
        let done =
            on_session!(self.pool(), Retry::AfterEcho, session => session.set_mtime(path, seconds));
        self.understand(path, done).await?;
        self.patch(path, Patch::Time(path.name().to_vec(), seconds));
        Ok(())
    }

    /// Makes `path` a symbolic link to `target`, and looks whether it is one.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where the server makes a link to something else of it: ProFTPD's `SITE SYMLINK` writes an
    /// absolute path for a relative one. That link is removed again.
    pub async fn make_link(&self, target: &[u8], path: &RemotePath) -> Result<()> {
        let done = on_session!(self.pool(), Retry::Never, session => session.symlink(target, path));
        self.settle_doubt(path, done, Expected::Link).await?;
        let dir = path.parent().unwrap_or_else(RemotePath::root);
        let targets = on_session!(self.pool(), Purpose::Brief, Retry::Idempotent, session => session.link_targets(&dir))?;
        let made = targets.into_iter().find(|(name, _)| name == path.name());
        if made.as_ref().is_none_or(|(_, made)| made != target) {
            self.remove_file(path).await?;
            let detail = "the server made a link to something else of it";
            let error =
                ftp::Error::new(ErrorKind::NotImplemented, format!("symlink {path}"), detail);
            return Err(Error::Unsupported(error));
        }
        let entry = Entry {
            kind: Kind::Symlink,
            target: Some(target.to_vec()),
            size: Some(target.len() as u64),
            mode: Some(0o777),
            ..fresh_dir(path)
        };
        self.patch(path, Patch::Put(entry));
        Ok(())
    }

    /// RNFR and RNTO, and nothing else.
    pub async fn rename_once(&self, from: &RemotePath, to: &RemotePath) -> Result<()> {
        let renamed = self.rename_with(from, to, Wishes::default()).await;
        renamed.map(drop)
    }

    /// [`Remote::rename_once`], with what is wished in the same flight; what of that is set.
    async fn rename_with(
        &self,
        from: &RemotePath,
        to: &RemotePath,
        wishes: Wishes,
    ) -> Result<Wishes> {
        let done =
            on_session!(self.pool(), Retry::Never, session => session.rename(from, to, wishes));
        match done {
            // It is done if the old name is gone and the new one is there; a rename is one step on every server.
            Err(error) if error.is_connection() => {
                match (self.stat_now(from).await, self.stat_now(to).await) {
                    (Ok(None), Ok(Some(_))) => Ok(Wishes::default()),
                    (Ok(Some(_)), _) => {
                        let again = self.rename_again(from, to).await;
                        // The first one may have been under way when the server was asked, or this answer was lost too.
                        if again.is_err()
                            && let (Ok(None), Ok(Some(_))) =
                                (self.stat_now(from).await, self.stat_now(to).await)
                        {
                            return Ok(Wishes::default());
                        }
                        self.understand(from, again).await
                    }
                    _ => {
                        self.patch(from, Patch::Doubt);
                        self.patch(to, Patch::Doubt);
                        Err(error.into())
                    }
                }
            }
            done => self.understand(from, done).await,
        }
    }

    async fn rename_again(&self, from: &RemotePath, to: &RemotePath) -> ftp::Result<Wishes> {
        let none = Wishes::default();
        on_session!(self.pool(), Retry::Never, session => session.rename(from, to, none))
    }

    /// What a rename that was done changes in memory.
    pub(super) fn renamed(&self, from: &RemotePath, to: &RemotePath, entry: &Entry) {
        if entry.kind == Kind::Dir {
            self.listings().forget_tree(from);
            self.listings().forget_tree(to);
        }
        self.patch(from, Patch::Remove(from.name().to_vec()));
        self.patch(to, Patch::Put(at(to, entry)));
    }

    /// After a lost connection: whether the server is sure that nothing was done, so that it may be tried once more.
    ///
    /// Not after a timeout: then it may yet be done.
    async fn is_undone(
        &self,
        path: &RemotePath,
        done: &ftp::Result<()>,
        expected: Expected,
    ) -> Result<bool> {
        match done {
            Err(error) if error.kind == ErrorKind::Lost => {
                self.patch(path, Patch::Doubt);
                let found = self.stat_now(path).await?;
                let outcome = expected.compare(found.map(|item| item.entry.kind));
                Ok(matches!(outcome, Outcome::NotDone))
            }
            _ => Ok(false),
        }
    }

    /// A second attempt that is refused, because the first one was under way when the server was asked whether it was
    /// done, is done.
    async fn unless_done(
        &self,
        path: &RemotePath,
        again: ftp::Result<()>,
        expected: Expected,
    ) -> ftp::Result<()> {
        let Err(error) = again else {
            return Ok(());
        };
        if error.is_refusal()
            && let Ok(found) = self.stat_now(path).await
            && matches!(
                expected.compare(found.map(|item| item.entry.kind)),
                Outcome::Done
            )
        {
            return Ok(());
        }
        Err(error)
    }

    /// After a lost answer: whether `path` is as `expected` now.
    async fn settle_doubt(
        &self,
        path: &RemotePath,
        done: ftp::Result<()>,
        expected: Expected,
    ) -> Result<()> {
        match done {
            Err(error) if error.is_connection() => {
                self.patch(path, Patch::Doubt);
                let found = self.stat_now(path).await?;
                match expected.compare(found.map(|item| item.entry.kind)) {
                    Outcome::Done => Ok(()),
                    Outcome::NotDone => Err(error.into()),
                }
            }
            done => self.understand(path, done).await,
        }
    }

    /// For a refusal: what is at `path` now. `None` for any other error, or where that could not be asked.
    async fn refused_at(&self, path: &RemotePath, error: &Error) -> Option<Option<super::Item>> {
        match error {
            Error::Denied(_) => self.stat_now(path).await.ok(),
            _ => None,
        }
    }

    /// Classifies a refusal.
    pub(super) async fn understand<T>(
        &self,
        path: &RemotePath,
        outcome: ftp::Result<T>,
    ) -> Result<T> {
        outcome.map_err(|error| {
            if error.is_connection() {
                self.patch(path, Patch::Doubt);
            }
            match error.kind {
                ErrorKind::NotImplemented => Error::Unsupported(error),
                ErrorKind::Refused(_) | ErrorKind::Transient(_) => Error::Denied(error),
                _ => Error::Wire(error),
            }
        })
    }
}

/// What a change leaves at its path.
#[derive(Clone, Copy)]
enum Expected {
    Nothing,
    Dir,
    Link,
}

impl Expected {
    fn compare(self, found: Option<Kind>) -> Outcome {
        match (self, found) {
            (Self::Nothing, None)
            | (Self::Dir, Some(Kind::Dir))
            | (Self::Link, Some(Kind::Symlink)) => Outcome::Done,
            _ => Outcome::NotDone,
        }
    }
}

/// `entry` by the name that it has at `path`.
pub(super) fn at(path: &RemotePath, entry: &Entry) -> Entry {
    Entry {
        name: path.name().to_vec(),
        ..entry.clone()
    }
}

/// A folder made a moment ago.
fn fresh_dir(path: &RemotePath) -> Entry {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs() as i64);
    Entry {
        modified: Some(Modified {
            seconds: now,
            precision: Precision::Minute,
        }),
        ..dir_entry(path.name())
    }
}
