//! Files that are moved aside on the server, under a name of ours: so that another can take their name, or because they
//! are open and lose it. Whatever happens on the way, they are moved back unless something else is there by then.

use std::time::Duration;

use tracing::{debug, warn};

use super::mutations::at;
use super::names::scratch_name;
use super::uploads::is_lost;
use super::{Moving, Patch, Remote, Result};
use crate::ftp::RemotePath;
use crate::ftp::list::Entry;
use crate::pool::{Retry, echo, on_session};

impl Remote {
    /// Gives the file `path` the name `aside`, of our own, which is not shown. It is shown at `path` as `entry` until the
    /// [`Moving`] is dropped.
    ///
    /// # Errors
    /// It is at `path`, now or as soon as the server answers.
    pub async fn hide_away(
        &self,
        path: &RemotePath,
        aside: &RemotePath,
        entry: &Entry,
    ) -> Result<Moving> {
        self.hide_aside(aside, path);
        let moving = self.moving_aside(path, entry);
        match self.rename_once(path, aside).await {
            Ok(()) => Ok(moving),
            Err(error) => {
                match is_lost(&error) {
                    true => self.bring_back_later(aside, path, moving),
                    false => self.show(aside),
                }
                Err(error)
            }
        }
    }

    /// Takes [`Remote::hide_away`] back: the file `aside`, which is shown at `path` as `entry`, is there again, and is all
    /// that is shown there once the [`Moving`] is dropped.
    ///
    /// # Errors
    /// It will be, as soon as the server answers; refused, it stays where it is and is shown there.
    pub async fn put_back(
        &self,
        aside: &RemotePath,
        path: &RemotePath,
        entry: &Entry,
        moving: Moving,
    ) -> Result<Moving> {
        match self.rename_once(aside, path).await {
            Ok(()) => {
                self.show(aside);
                self.patch(path, Patch::Put(at(path, entry)));
                Ok(moving)
            }
            Err(error) => {
                self.bring_back_later(aside, path, moving);
                Err(error)
            }
        }
    }

    /// The file shown at `path` has been moved to `aside` for good: it is ours alone now.
    pub fn keep_aside(&self, aside: &RemotePath, path: &RemotePath) {
        self.hide(aside);
        self.patch(path, Patch::Remove(path.name().to_vec()));
    }

    /// Moves the hidden file `path` to the hidden name `other`.
    pub async fn hide_elsewhere(&self, path: &RemotePath, other: &RemotePath) -> Result<()> {
        self.hide(other);
        let outcome = self.rename_once(path, other).await;
        self.show(if outcome.is_ok() { path } else { other });
        outcome
    }

    /// Moves the file at `to`, which is `old`, aside, renames, and removes it; everything back if the renaming fails.
    pub(super) async fn rename_aside(
        &self,
        from: &RemotePath,
        to: &RemotePath,
        entry: &Entry,
        old: &Entry,
    ) -> Result<()> {
        let aside = scratch_name(to);
        self.hide_aside(&aside, to);
        let moving = self.moving_aside(to, old);
        if let Err(error) = self.rename_once(to, &aside).await {
            match is_lost(&error) {
                true => self.bring_back_later(&aside, to, moving),
                false => self.show(&aside),
            }
            return Err(error);
        }
        if let Err(error) = self.rename_once(from, to).await {
            if is_lost(&error) {
                self.bring_back_later(&aside, to, moving);
            } else if let Err(back) = self.put_back(&aside, to, old, moving).await {
                debug!(path = %aside, error = %back, "not moved back yet");
            }
            return Err(error);
        }
        self.renamed(from, to, entry);
        drop(moving);
        let removed = on_session!(self.pool(), Retry::Never, session => session.delete(&aside));
        if let Err(error) = removed {
            warn!(path = %aside, %error, "the replaced file could not be removed");
        }
        self.show(&aside);
        Ok(())
    }

    /// Moves what is at `aside` back to `path`, where it belongs, if it is there; away, if something else is at `path`.
    pub async fn bring_back(&self, aside: &RemotePath, path: &RemotePath) -> Result<()> {
        if self.stat_now(aside).await?.is_none() {
            return Ok(());
        }
        match self.stat_now(path).await? {
            Some(_) => self.remove_file(aside).await?,
            None => self.rename_once(aside, path).await?,
        }
        self.expire(path);
        Ok(())
    }

    /// [`Remote::bring_back`], as soon as the server answers, of a file that may have been moved or not: while nobody
    /// knows, it is shown at `path`.
    fn bring_back_later(&self, aside: &RemotePath, path: &RemotePath, moving: Moving) {
        // Should this mount end before that, the next one does it.
        self.hide_aside(aside, path);
        let Ok(tidying) = self.inner.tidying.clone().try_read_owned() else {
            return;
        };
        let (remote, aside, path) = (self.clone(), aside.clone(), path.clone());
        tokio::spawn(async move {
            let _tidying = tidying;
            let mut pause = Duration::ZERO;
            loop {
                // Those who have just failed have waited long enough, the server has not.
                echo().await;
                match remote.bring_back(&aside, &path).await {
                    Err(error) if is_lost(&error) => {
                        debug!(%path, at = %aside, %error, "not moved back yet");
                        tokio::time::sleep(pause).await;
                        pause = (pause + PAUSE).min(LONGEST_PAUSE);
                    }
                    Err(error) => {
                        warn!(%path, at = %aside, %error, "the file moved aside could not be moved back");
                        break;
                    }
                    Ok(()) => break,
                }
            }
            remote.patch(&path, Patch::Doubt);
            drop(moving);
            remote.show(&aside);
        });
    }
}

/// By how much the pauses grow between attempts on a server that does not answer.
const PAUSE: Duration = Duration::from_millis(500);

/// The longest of them.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
