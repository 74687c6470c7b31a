//! Reading a file's content through the block cache: shared downloads, and read-ahead.
//!
//! A [`Content`] is one version of one file. Its readers take what is in the cache; for what is missing they extend the
//! stream that is about to bring it, or start one. A stream is a task that downloads from its position up to its limit
//! and tells the readers at every step: a read is answered as soon as its own bytes are there.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::blocks::{BLOCK, Blocks, ContentKey};
use super::error::{Error, Result};
use super::fetch::Fetch;
use super::streams::{Behind, GAP, SMALL_REST, Stream, Streams};
use crate::ftp::list::{Modified, Precision};
use crate::ftp::{RemotePath, SizeAndTime};
use crate::pool::Pool;

/// Which content a file has: a change of either number is another content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// Size in bytes.
    pub size: u64,
    /// Time of modification, as exactly as known.
    pub modified: Option<Modified>,
}

impl Version {
    /// What `SIZE` and `MDTM` say.
    pub fn exactly((size, mtime): SizeAndTime) -> Self {
        let modified = mtime.map(|seconds| Modified {
            seconds,
            precision: Precision::Second,
        });
        Self { size, modified }
    }

    /// Whether a file that is `now` as said can be this one: a time that is known less exactly says nothing.
    pub fn is_of(&self, now: Self) -> bool {
        let differs = match (self.modified, now.modified) {
            (Some(then), Some(now)) => {
                then.precision == now.precision && then.seconds != now.seconds
            }
            _ => false,
        };
        self.size == now.size && !differs
    }
}

/// How far a content may be read ahead of its readers.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// By one stream.
    pub window_bytes: u64,
    /// By several streams side by side, in all.
    pub lanes_bytes: u64,
}

/// One version of one file's content.
#[derive(Debug)]
pub struct Content {
    pub(super) pool: Pool,
    blocks: Arc<Mutex<Blocks>>,
    pub(super) key: ContentKey,
    /// What the size and time of this content are.
    pub version: Version,
    /// Where it is on the server. Held for a look or a change only.
    path: Mutex<RemotePath>,
    bounds: Bounds,
    /// Never held across an await, nor together with `blocks`.
    state: Mutex<Streams>,
    /// Told whenever a stream got further, ended or failed.
    pub(super) progress: Notify,
    /// It was read ahead as a whole.
    ahead: AtomicBool,
}

impl Content {
    /// The content known by `key`, which is at `path`; nothing is read yet. Streams read ahead within `bounds`.
    pub fn new(
        pool: Pool,
        blocks: Arc<Mutex<Blocks>>,
        key: ContentKey,
        version: Version,
        path: RemotePath,
        bounds: Bounds,
    ) -> Self {
        Self {
            pool,
            blocks,
            key,
            version,
            path: Mutex::new(path),
            bounds,
            state: Mutex::default(),
            progress: Notify::new(),
            ahead: AtomicBool::new(false),
        }
    }

    /// Whether nobody has read it yet, nor begun to read it ahead; from now on somebody has.
    pub fn begin_ahead(&self) -> bool {
        let unread = self.streams().cursors.is_empty();
        !self.ahead.swap(true, Ordering::Relaxed) && unread
    }

    /// The same content under another version, since only its time was set.
    pub fn with_version(&self, version: Version) -> Self {
        Self::new(
            self.pool.clone(),
            self.blocks.clone(),
            self.key,
            version,
            self.path(),
            self.bounds,
        )
    }

    /// Where it is on the server.
    pub(super) fn path(&self) -> RemotePath {
        self.path.lock().expect("no panic while locked").clone()
    }

    /// It is at `path` now.
    pub(super) fn moved(&self, path: &RemotePath) {
        let mut known = self.path.lock().expect("no panic while locked");
        if *known != *path {
            *known = path.clone();
        }
    }

    /// The bytes from `offset` on, `length` of them or fewer at the end of the file.
    ///
    /// # Errors
    /// [`Error::Stale`] if the file on the server turns out to be of another version.
    ///
    /// Cancel safe.
    pub async fn read(self: &Arc<Self>, offset: u64, length: u64) -> Result<Vec<Bytes>> {
        let end = (offset + length).min(self.version.size);
        let mut found = Vec::new();
        let mut at = offset;
        let mut failures_seen = self.streams().failed;
        let mut first = true;
        if self.may_be_out_of_turn(offset) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        loop {
            let progress = self.progress.notified();
            tokio::pin!(progress);
            // Before looking, so that no step is missed between looking and waiting.
            progress.as_mut().enable();
            if at < end {
                let mut blocks = self.blocks();
                at = blocks.collect(self.key, at, end, &mut found);
                if first {
                    blocks.count(end - offset, at - offset);
                }
            }
            let (ahead, failure) = self.plan(offset, at, end, first, &mut failures_seen);
            first = false;
            if at >= end {
                if ahead >= LONG {
                    self.let_go_behind(offset);
                }
                return Ok(found);
            }
            if let Some(error) = failure {
                return Err(error);
            }
            progress.await;
        }
    }

    /// Whether a read at `offset` may be the part behind one that is not heard yet: of a program that reads on, the kernel
    /// asks for the next parts before the first is answered.
    fn may_be_out_of_turn(&self, offset: u64) -> bool {
        let state = self.streams();
        if state.cursors.is_empty() {
            return (1..=NEAR).contains(&offset);
        }
        let goes_on = state.cursors.iter().any(|cursor| cursor.end == offset);
        let behind = |stream: &Stream| (stream.limit + 1..=stream.limit + NEAR).contains(&offset);
        !goes_on && state.running.iter().any(behind)
    }

    /// Lets go of what a reader of a long stretch has left behind: the kernel has it in its page cache, and memory that is
    /// used again is faster than new. Two blocks stay, since reads may come out of order, and the head of the file.
    fn let_go_behind(&self, offset: u64) {
        if offset >= 3 * BLOCK {
            self.blocks().forget(self.key, offset - 2 * BLOCK);
        }
    }

    /// Sees to it that a stream brings the bytes from `at` to `end`, and reads ahead behind a sequential reader: by how
    /// much, and what kept the bytes from coming.
    fn plan(
        self: &Arc<Self>,
        offset: u64,
        at: u64,
        end: u64,
        first: bool,
        failures_seen: &mut u64,
    ) -> (u64, Option<Error>) {
        let mut state = self.streams();
        let ahead = state.follow(offset, end, first, self.bounds.window_bytes);
        if first && ahead >= LONG {
            self.add_lanes(&mut state, end);
        }
        let whole = self.version.size.saturating_sub(end) <= SMALL_REST;
        let limit = if whole {
            self.version.size
        } else {
            (end + ahead).min(self.version.size)
        };
        // Where the next lane begins, which brings the rest.
        let lane = state.lanes.range(at + 1..).next().copied();
        let limit = lane.map_or(limit, |lane| limit.min(lane));
        let new_failures = (state.failed - *failures_seen) as usize;
        *failures_seen = state.failed;
        let covering = state
            .running
            .iter_mut()
            .filter(|stream| {
                stream.position <= at && (at < stream.limit || at - stream.position <= GAP)
            })
            .max_by_key(|stream| stream.position);
        if let Some(stream) = covering {
            let was = (stream.demanded, stream.limit);
            if at < end {
                stream.demanded = stream.demanded.max(end);
            }
            stream.limit = stream.limit.max(limit);
            stream.behind = match stream.behind {
                _ if Some(stream.limit) == lane => Behind::Stream,
                Behind::Nobody if ahead == 0 => Behind::Nobody,
                _ => Behind::Reader,
            };
            if was != (stream.demanded, stream.limit) {
                stream.extended.notify_one();
            }
            return (ahead, None);
        }
        if at >= end {
            return (ahead, None);
        }
        // A stream that should have come by here failed.
        let failure = state
            .failures
            .iter()
            .rev()
            .take(new_failures)
            .find(|failure| failure.position <= at);
        if let Some(failure) = failure {
            return (ahead, Some(failure.error.clone()));
        }
        let behind = match ahead {
            _ if Some(limit) == lane => Behind::Stream,
            0 if state.jumps >= JUMPS => Behind::Nobody,
            _ => Behind::Reader,
        };
        self.start(&mut state, at, end, limit, behind);
        (ahead, None)
    }

    /// Starts a stream at `position`.
    fn start(
        self: &Arc<Self>,
        state: &mut Streams,
        position: u64,
        demanded: u64,
        limit: u64,
        behind: Behind,
    ) {
        let id = state.next_id;
        state.next_id += 1;
        let extended = Arc::new(Notify::new());
        state.running.push(Stream {
            id,
            position,
            demanded,
            limit,
            behind,
            extended: extended.clone(),
        });
        let fetch = Fetch {
            content: self.clone(),
            id,
            extended,
        };
        tokio::spawn(fetch.run(position));
    }

    /// On a long link one connection fills only a part of it: the segments ahead of a reader of a long file are brought by
    /// streams of their own, side by side.
    fn add_lanes(self: &Arc<Self>, state: &mut Streams, end: u64) {
        let pool = &self.pool;
        let long = pool
            .profile()
            .round_trip
            .is_some_and(|rtt| rtt >= LONG_LINK);
        let mut ahead = state.lanes.range(end..);
        let (next, after_next) = (ahead.next().copied(), ahead.next());
        if !long || after_next.is_some() || pool.is_wanted() {
            return;
        }
        let lanes = pool.lanes() as u64;
        let from = next.map_or(end, |next| next + state.segment);
        // The reader's own stream, which is at full speed by now, takes half as much again; but for what follows the last
        // lane.
        let own_halves = if next.is_none() { 3 } else { 0 };
        let rest = self.version.size.saturating_sub(from);
        let most = self.bounds.lanes_bytes / lanes.max(1);
        let segment = (rest * 2 / (lanes * 2 + own_halves).max(1)).min(most);
        if lanes == 0 || segment < SHORTEST_SEGMENT {
            return;
        }
        state.segment = segment;
        for lane in 0..lanes {
            let start = from + segment * own_halves / 2 + segment * lane;
            let limit = match self.version.size.saturating_sub(start + segment) {
                ..=SMALL_REST => self.version.size,
                _ => start + segment,
            };
            // Each once: what is dropped before it is read comes by the usual way.
            if start < limit && state.lanes.insert(start) {
                self.start(state, start, start, limit, Behind::Stream);
            }
        }
    }

    pub(super) fn streams(&self) -> std::sync::MutexGuard<'_, Streams> {
        self.state.lock().expect("no panic while locked")
    }

    pub(super) fn blocks(&self) -> std::sync::MutexGuard<'_, Blocks> {
        self.blocks.lock().expect("no panic while locked")
    }
}

/// Longest part that the kernel asks for at once.
const NEAR: u64 = 1 << 20;

/// Read-ahead from which a reader is taken to read all of a long file.
const LONG: u64 = 1 << 20;

/// Round-trip time from which one connection does not fill a link: servers' send buffers hold some 4 MiB.
const LONG_LINK: Duration = Duration::from_millis(40);

/// Shortest part of a file that a stream of its own is started for: its slow start takes as long as half of it.
const SHORTEST_SEGMENT: u64 = 8 << 20;

/// Jumps in a row after which a file is taken to be read by chance.
const JUMPS: u32 = 3;
