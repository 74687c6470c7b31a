//! Listing ahead of a tree walk: a program that opens one folder after another finds the next ones listed.
//!
//! A walk is told by its haste: a folder opened right after its parent, or after a folder beside it. Then those behind it
//! are listed before they are asked for, many in one flight where the server can, and so are the exact times of their
//! files, once such times were asked for in one of them.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lru::LruCache;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::debug;

use super::exact::unsettled;
use super::listings::{Folder, Lookup};
use super::{Remote, Result};
use crate::ftp::RemotePath;
use crate::ftp::list::Kind;
use crate::pool::{Purpose, Retry, on_session};

/// Folders that were opened lately.
#[derive(Debug)]
pub struct Walks {
    opened: Mutex<LruCache<RemotePath, Walk>>,
}

/// What happened lately in one folder.
#[derive(Clone, Copy, Debug)]
struct Walk {
    /// When it, or a folder in it, was opened.
    last: Instant,
    /// Folders within its folders were opened.
    deep: bool,
    /// Exact times were asked in it, or in a folder in it.
    exact: bool,
}

/// A listing to be fetched, and whom to tell.
type Wanted = (RemotePath, watch::Sender<Option<Result<Arc<Folder>>>>);

impl Walks {
    /// Nothing opened yet.
    pub fn new() -> Self {
        Self {
            opened: Mutex::new(LruCache::new(MOST_WALKS)),
        }
    }

    /// Notes that `dir` is opened; the folders above it that are being walked, the nearest first.
    fn open(&self, dir: &RemotePath) -> Vec<(RemotePath, Walk)> {
        let now = Instant::now();
        let mut opened = self.opened.lock().expect("no panic while locked");
        let mut walked = Vec::new();
        let above = std::iter::successors(dir.parent(), RemotePath::parent);
        for (distance, above) in above.take(LEVELS).enumerate() {
            let Some(walk) = opened.get_mut(&above) else {
                break;
            };
            if now - walk.last > PAUSE {
                break;
            }
            walk.last = now;
            walk.deep |= distance > 0;
            walked.push((above, *walk));
        }
        let fresh = Walk {
            last: now,
            deep: false,
            exact: false,
        };
        opened.put(dir.clone(), fresh);
        walked
    }

    /// Notes that exact times are asked in `dir`; the folders above it that this is new for, the nearest first.
    fn ask_exact(&self, dir: &RemotePath) -> Vec<RemotePath> {
        let mut opened = self.opened.lock().expect("no panic while locked");
        let above = std::iter::successors(dir.parent(), RemotePath::parent);
        let mut news = Vec::new();
        for above in above.take(LEVELS) {
            let Some(walk) = opened.get_mut(&above) else {
                break;
            };
            if !std::mem::replace(&mut walk.exact, true) {
                news.push(above);
            }
        }
        news
    }

    /// Whether exact times were asked in a folder beside `dir`, or beside the one above it.
    fn is_exact(&self, dir: &RemotePath) -> bool {
        let mut opened = self.opened.lock().expect("no panic while locked");
        let mut above = std::iter::successors(dir.parent(), RemotePath::parent).take(LEVELS);
        above.any(|above| opened.get(&above).is_some_and(|walk| walk.exact))
    }
}

impl Remote {
    /// Notes that the folder `dir` is opened; lists ahead if that is part of a walk.
    pub fn opened(&self, dir: &RemotePath) {
        let walked = self.inner.walks.open(dir);
        let mut below = dir.clone();
        for (above, walk) in walked {
            self.list_ahead(&above, Some(&below), walk.deep, MOST_AHEAD);
            if walk.deep {
                for beside in self.folders_in(&above, Some(&below), MOST_AHEAD) {
                    self.list_ahead(&beside, None, false, MOST_WITHIN);
                }
            }
            below = above;
        }
    }

    /// Notes that exact times are asked in `dir`: those in the folders beside it will be as well.
    pub(super) fn asked_exactly(&self, dir: &RemotePath) {
        let mut below = dir.clone();
        let mut folders = Vec::new();
        for above in self.inner.walks.ask_exact(dir) {
            for beside in self.folders_in(&above, Some(&below), MOST_AHEAD) {
                folders.extend(self.folders_in(&beside, None, MOST_WITHIN));
                folders.push(beside);
            }
            below = above;
        }
        self.settle_ahead(folders);
    }

    /// Fetches the listings of the folders in `parent` behind `after`, at most `most`.
    fn list_ahead(&self, parent: &RemotePath, after: Option<&RemotePath>, deep: bool, most: usize) {
        let dirs = self.folders_in(parent, after, most);
        let mut wanted: Vec<Wanted> = Vec::new();
        for dir in dirs {
            let lookup = self.listings().look(&dir);
            if let Lookup::Fetch(teller, _) = lookup {
                wanted.push((dir, teller));
            }
        }
        if !wanted.is_empty() {
            debug!(%parent, folders = wanted.len(), "listing ahead");
            let remote = self.clone();
            tokio::spawn(async move { remote.fetch_ahead(wanted, deep).await });
        }
    }

    /// The folders in `parent` behind `after`, by what is known of it.
    fn folders_in(
        &self,
        parent: &RemotePath,
        after: Option<&RemotePath>,
        most: usize,
    ) -> Vec<RemotePath> {
        let Some(folder) = self.listings().fresh(parent) else {
            return Vec::new();
        };
        let first = after.map_or(&b""[..], RemotePath::name);
        folder
            .entries
            .range(first.to_vec()..)
            .filter(|(name, item)| item.entry.kind == Kind::Dir && name.as_slice() != first)
            .take(most)
            .map(|(name, _)| parent.join(name))
            .collect()
    }

    /// Fetches what is `wanted`, and what is in those folders if the walk is `deep`.
    async fn fetch_ahead(&self, wanted: Vec<Wanted>, deep: bool) {
        let profile = self.pool().profile();
        let (by_stat, by_list): (Vec<Wanted>, Vec<Wanted>) = wanted
            .into_iter()
            .partition(|(dir, _)| profile.stat_may_list(dir));
        let mut tasks = JoinSet::new();
        let mut by_stat = by_stat.into_iter().peekable();
        while by_stat.peek().is_some() {
            let flight: Vec<Wanted> = by_stat.by_ref().take(FLIGHT).collect();
            let remote = self.clone();
            tasks.spawn(async move { remote.fetch_by_stat(flight, deep).await });
        }
        for (dir, teller) in by_list {
            let remote = self.clone();
            tasks.spawn(async move {
                let _turn = remote.inner.ahead.acquire().await;
                let fetched = remote.fetch(&dir, &teller.subscribe()).await;
                teller.send_replace(Some(fetched));
                remote.listed_ahead(vec![dir], deep);
            });
        }
        tasks.join_all().await;
    }

    async fn fetch_by_stat(&self, wanted: Vec<Wanted>, deep: bool) {
        let begun = Instant::now();
        let dirs: Vec<RemotePath> = wanted.iter().map(|(dir, _)| dir.clone()).collect();
        let listed = on_session!(self.pool(), Purpose::Metadata, Retry::Never, session => session.stat_lists(&dirs));
        let mut listed = listed.unwrap_or_default().into_iter();
        for (dir, teller) in wanted {
            let told = teller.subscribe();
            let fetched = match listed.next().flatten() {
                Some(listing) => {
                    let listing = self.veiled(&dir, listing);
                    self.listings().fetched(&dir, begun, &told, Ok(listing))
                }
                // Somebody may wait for it by now.
                None => self.fetch(&dir, &told).await,
            };
            teller.send_replace(Some(fetched));
        }
        self.listed_ahead(dirs, deep);
    }

    /// Goes on from folders that were listed ahead.
    fn listed_ahead(&self, dirs: Vec<RemotePath>, deep: bool) {
        if deep {
            for dir in &dirs {
                self.list_ahead(dir, None, false, MOST_WITHIN);
            }
        }
        let exact = dirs
            .into_iter()
            .filter(|dir| self.inner.walks.is_exact(dir));
        self.settle_ahead(exact.collect());
    }

    /// Asks the exact times in those of `dirs` that are listed.
    fn settle_ahead(&self, dirs: Vec<RemotePath>) {
        let (mut settling, mut files) = (Vec::new(), Vec::new());
        for dir in dirs {
            let Some(folder) = self.listings().fresh(&dir) else {
                continue;
            };
            let unsettled = unsettled(&dir, &folder, b"");
            if unsettled.is_empty() || files.len() > MOST_FILES {
                continue;
            }
            if let Ok(begun) = self.begin_settling(&dir) {
                settling.push(begun);
                files.extend(unsettled);
            }
        }
        if files.is_empty() {
            return;
        }
        let remote = self.clone();
        tokio::spawn(async move { remote.settle_all(files, &settling).await });
    }
}

/// Folders opened within this time of each other are opened by a program that walks; people take longer.
const PAUSE: Duration = Duration::from_millis(500);

/// Folders listed ahead in one folder.
const MOST_AHEAD: usize = 64;

/// Folders listed ahead in each of those.
const MOST_WITHIN: usize = 16;

/// Files whose exact times are asked ahead at once.
const MOST_FILES: usize = 2000;

/// How many folders above one another a walk is followed in.
const LEVELS: usize = 2;

/// Folders listed by one flight of `STAT`.
const FLIGHT: usize = 50;

/// Folders that are remembered as opened lately.
const MOST_WALKS: NonZeroUsize = NonZeroUsize::new(256).expect("not zero");
