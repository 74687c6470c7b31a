//! Names on the server that are ours for the moment, and what is shown of them.
//!
//! A scratch file is not shown. A file that is moved aside so that another can take its name, or that loses it, is shown
//! by that name until this is over: for whoever looks, it happens in one step.

use std::collections::{HashMap, HashSet};

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::timeout;

use super::{Patch, Remote};
use crate::ftp::list::Entry;
use crate::ftp::{Listing, RemotePath};

/// What the server's listings are changed by before they are shown.
#[derive(Debug, Default)]
pub(super) struct Veil {
    hidden: HashSet<RemotePath>,
    moving: HashMap<RemotePath, Moved>,
    moves: u64,
}

/// What is told of names of ours on the server, so that they are not forgotten should this process end.
#[derive(Clone, Copy, Debug)]
pub enum OwnName<'a> {
    /// It is about to hold something of ours, which may be removed.
    Ours(&'a RemotePath),
    /// It is about to hold what belongs to the other path, unless there is something by then.
    Aside(&'a RemotePath, &'a RemotePath),
    /// It is not ours any more.
    Free(&'a RemotePath),
}

/// Who is told.
pub type Tell = Arc<dyn Fn(OwnName<'_>) + Send + Sync>;

/// Something that the server may have elsewhere by now.
#[derive(Debug)]
struct Moved {
    id: u64,
    /// Shown all the while.
    entry: Option<Entry>,
    /// Dropped when it is over.
    over: watch::Sender<()>,
}

/// While this lives, what is at a path is being moved away from there. Drop it when memory says what is there now.
#[derive(Debug)]
#[must_use]
pub struct Moving {
    remote: Remote,
    path: RemotePath,
    id: u64,
}

impl Drop for Moving {
    fn drop(&mut self) {
        let mut veil = self.remote.veil();
        if veil
            .moving
            .get(&self.path)
            .is_some_and(|moved| moved.id == self.id)
        {
            veil.moving.remove(&self.path);
        }
    }
}

impl Veil {
    fn change(&self, dir: &RemotePath, listing: &mut Listing) {
        if !self.hidden.is_empty() {
            let shown = |entry: &Entry| !self.hidden.contains(&dir.join(&entry.name));
            listing.entries.retain(shown);
        }
        for (path, moved) in &self.moving {
            let missing = || {
                listing
                    .entries
                    .iter()
                    .all(|entry| entry.name != path.name())
            };
            if let Some(entry) = &moved.entry
                && path.parent().as_ref() == Some(dir)
                && missing()
            {
                listing.entries.push(entry.clone());
            }
        }
    }
}

impl Remote {
    /// Names `path` as ours for the moment: it is not shown until [`Remote::show`].
    pub fn hide(&self, path: &RemotePath) {
        (self.inner.tell)(OwnName::Ours(path));
        self.veil().hidden.insert(path.clone());
    }

    /// The same for a name that is to hold what is at `other`, while that is replaced.
    pub(super) fn hide_aside(&self, path: &RemotePath, other: &RemotePath) {
        (self.inner.tell)(OwnName::Aside(path, other));
        self.veil().hidden.insert(path.clone());
    }

    /// Ends [`Remote::hide`]: whatever is there by now is shown at the next listing, not at one that is on its way and
    /// may have seen what was there before.
    pub fn show(&self, path: &RemotePath) {
        self.patch(path, Patch::Remove(path.name().to_vec()));
        self.veil().hidden.remove(path);
        (self.inner.tell)(OwnName::Free(path));
    }

    /// Notes that `path` is about to be moved.
    pub fn moving(&self, path: &RemotePath) -> Moving {
        self.begin_moving(path, None)
    }

    /// The same, with `entry` shown there until it is over.
    pub(super) fn moving_aside(&self, path: &RemotePath, entry: &Entry) -> Moving {
        self.begin_moving(path, Some(entry.clone()))
    }

    fn begin_moving(&self, path: &RemotePath, entry: Option<Entry>) -> Moving {
        let mut veil = self.veil();
        veil.moves += 1;
        let id = veil.moves;
        let over = watch::Sender::new(());
        veil.moving.insert(path.clone(), Moved { id, entry, over });
        Moving {
            remote: self.clone(),
            path: path.clone(),
            id,
        }
    }

    /// Waits until nothing is being moved away from `path`, or it takes too long.
    pub async fn at_rest(&self, path: &RemotePath) {
        let over = {
            let veil = self.veil();
            veil.moving.get(path).map(|moved| moved.over.subscribe())
        };
        if let Some(mut over) = over {
            // Ends with the sender: nothing is ever sent.
            let _ended = timeout(self.pool().patience(), over.changed()).await;
        }
    }

    /// Whether the file shown at `path` has been moved aside.
    pub(super) fn is_aside(&self, path: &RemotePath) -> bool {
        let veil = self.veil();
        veil.moving
            .get(path)
            .is_some_and(|moved| moved.entry.is_some())
    }

    pub(super) fn is_hidden(&self, path: &RemotePath) -> bool {
        self.veil().hidden.contains(path)
    }

    /// `listing` of `dir` as it is shown.
    pub(super) fn veiled(&self, dir: &RemotePath, mut listing: Listing) -> Listing {
        self.veil().change(dir, &mut listing);
        listing
    }

    fn veil(&self) -> std::sync::MutexGuard<'_, Veil> {
        self.inner.veil.lock().expect("no panic while locked")
    }
}
