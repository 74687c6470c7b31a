//! Reading a file's content through the block cache: shared downloads, and read-ahead.
//!
//! A [`Content`] is one version of one file. Its readers take what is in the cache; for what is missing they extend the
//! stream that is about to bring it, or start one. A stream is a task that downloads from its position up to its limit
//! and tells the readers at every step: a read is answered as soon as its own bytes are there.

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::sync::Notify;
use tracing::debug;

use super::blocks::{BLOCK, Blocks, ContentKey};
use super::error::{Error, Result};
use crate::ftp::list::{Modified, Precision};
use crate::ftp::{ErrorKind, RemotePath, SizeAndTime};
use crate::pool::{Download, Pool, Retry, on_session};

/// Which content a file has: a change of either number is another content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    pool: Pool,
    blocks: Arc<Mutex<Blocks>>,
    key: ContentKey,
    /// What the size and time of this content are.
    pub version: Version,
    bounds: Bounds,
    /// Never held across an await, nor together with `blocks`.
    state: Mutex<Streams>,
    /// Told whenever a stream got further, ended or failed.
    progress: Notify,
    /// It was read ahead as a whole.
    ahead: AtomicBool,
}

#[derive(Debug, Default)]
struct Streams {
    running: Vec<Stream>,
    next_id: u64,
    /// The last failures, and how many there were in all: a reader takes those that came while it waited.
    failures: VecDeque<Failure>,
    failed: u64,
    /// Where readers stand, the latest last.
    cursors: VecDeque<Cursor>,
    /// Reads in a row that went on from none of them.
    jumps: u32,
    /// Where streams of their own were begun, far ahead of a reader.
    lanes: BTreeSet<u64>,
    /// How much each of the latest of those brings.
    segment: u64,
}

/// A reader, as far as it can be told from where it reads.
#[derive(Debug)]
struct Cursor {
    /// Where its last read ended.
    end: u64,
    /// How far to read ahead if the next one goes on from there.
    ahead: u64,
}

#[derive(Debug)]
struct Stream {
    id: u64,
    /// The next byte it will bring.
    position: u64,
    /// Readers wait for bytes before this.
    demanded: u64,
    /// It goes on to here without being asked.
    limit: u64,
    /// Nobody is expected to go on from its limit: it was started by one of many jumps, or another stream begins there.
    ends_at_limit: bool,
    extended: Arc<Notify>,
}

/// Why a stream ended early, and where.
#[derive(Clone, Debug)]
struct Failure {
    position: u64,
    error: Error,
}

impl Content {
    /// The content known by `key`; nothing is read yet. Streams read ahead within `bounds`.
    pub fn new(
        pool: Pool,
        blocks: Arc<Mutex<Blocks>>,
        key: ContentKey,
        version: Version,
        bounds: Bounds,
    ) -> Self {
        Self {
            pool,
            blocks,
            key,
            version,
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
            self.bounds,
        )
    }

    /// The bytes from `offset` on, `length` of them or fewer at the end of the file; `path` is where the file is now.
    ///
    /// # Errors
    /// [`Error::Stale`] if the file on the server turns out to be of another version.
    ///
    /// Cancel safe.
    pub async fn read(
        self: &Arc<Self>,
        path: &RemotePath,
        offset: u64,
        length: u64,
    ) -> Result<Vec<Bytes>> {
        let end = (offset + length).min(self.version.size);
        let mut found = Vec::new();
        let mut at = offset;
        let mut failures_seen = self.streams().failed;
        let mut first = true;
        loop {
            let progress = self.progress.notified();
            tokio::pin!(progress);
            // Before looking, so that no step is missed between looking and waiting.
            progress.as_mut().enable();
            if at < end {
                at = self.blocks().collect(self.key, at, end, &mut found);
            }
            let (ahead, failure) = self.plan(path, offset, at, end, first, &mut failures_seen);
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
        path: &RemotePath,
        offset: u64,
        at: u64,
        end: u64,
        first: bool,
        failures_seen: &mut u64,
    ) -> (u64, Option<Error>) {
        let mut state = self.streams();
        let ahead = state.follow(offset, end, first, self.bounds.window_bytes);
        if first && ahead >= LONG {
            self.add_lanes(&mut state, path, end);
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
            stream.ends_at_limit =
                (stream.ends_at_limit && ahead == 0) || Some(stream.limit) == lane;
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
        let by_chance = ahead == 0 && state.jumps >= JUMPS;
        let ends_at_limit = by_chance || Some(limit) == lane;
        self.start(&mut state, path, at, end, limit, ends_at_limit);
        (ahead, None)
    }

    /// Starts a stream at `position`.
    fn start(
        self: &Arc<Self>,
        state: &mut Streams,
        path: &RemotePath,
        position: u64,
        demanded: u64,
        limit: u64,
        ends_at_limit: bool,
    ) {
        let id = state.next_id;
        state.next_id += 1;
        let extended = Arc::new(Notify::new());
        state.running.push(Stream {
            id,
            position,
            demanded,
            limit,
            ends_at_limit,
            extended: extended.clone(),
        });
        let fetch = Fetch {
            content: self.clone(),
            id,
            path: path.clone(),
            extended,
        };
        tokio::spawn(fetch.run(position));
    }

    /// On a long link one connection fills only a part of it: the segments ahead of a reader of a long file are brought by
    /// streams of their own, side by side.
    fn add_lanes(self: &Arc<Self>, state: &mut Streams, path: &RemotePath, end: u64) {
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
        // The reader's own stream takes a part as well, but for what follows the last lane.
        let parts = lanes + u64::from(next.is_none());
        let rest = self.version.size.saturating_sub(from);
        let most = self.bounds.lanes_bytes / lanes.max(1);
        let segment = (rest / parts.max(1)).min(most);
        if lanes == 0 || segment < SHORTEST_SEGMENT {
            return;
        }
        state.segment = segment;
        for lane in 0..lanes {
            let start = from + segment * (lane + u64::from(next.is_none()));
            let limit = (start + segment).min(self.version.size);
            // Each once: what is dropped before it is read comes by the usual way.
            if start < limit && state.lanes.insert(start) {
                self.start(state, path, start, start, limit, true);
            }
        }
    }

    fn streams(&self) -> std::sync::MutexGuard<'_, Streams> {
        self.state.lock().expect("no panic while locked")
    }

    fn blocks(&self) -> std::sync::MutexGuard<'_, Blocks> {
        self.blocks.lock().expect("no panic while locked")
    }
}

impl Streams {
    /// How far to read ahead of a read from `offset` to `end`, by whether it goes on from an earlier one; noted once.
    fn follow(&mut self, offset: u64, end: u64, first: bool, window_bytes: u64) -> u64 {
        // One that has not gone on yet does so at its very end: near it, chance comes by too often.
        let near = |cursor: &Cursor| match cursor.ahead {
            0 => offset == cursor.end,
            _ => offset.abs_diff(cursor.end) <= GAP,
        };
        let found = self
            .cursors
            .iter()
            .enumerate()
            .filter(|(_, cursor)| near(cursor))
            .min_by_key(|(_, cursor)| cursor.end.abs_diff(offset));
        let found = found.map(|(index, _)| index);
        if !first {
            return found.map_or(0, |index| self.cursors[index].ahead);
        }
        // The start of a file is where a reader of all of it begins.
        let known = found.and_then(|index| self.cursors.remove(index));
        let ahead = match &known {
            Some(cursor) => (cursor.ahead * 2).clamp(FIRST_AHEAD, window_bytes),
            None if offset == 0 => (FIRST_AHEAD / 4).min(window_bytes),
            None => 0,
        };
        self.jumps = match known {
            Some(_) => 0,
            None => self.jumps + 1,
        };
        if self.cursors.len() >= CURSORS {
            self.cursors.pop_front();
        }
        self.cursors.push_back(Cursor { end, ahead });
        ahead
    }
}

/// The task behind one stream.
struct Fetch {
    content: Arc<Content>,
    id: u64,
    path: RemotePath,
    extended: Arc<Notify>,
}

impl Fetch {
    async fn run(self, start: u64) {
        let mut at = start;
        let mut attempts = 0;
        let failure = loop {
            let begun = at;
            match self.download(&mut at).await {
                Ok(()) => break None,
                Err(Error::Wire(error))
                    if error.is_connection() && (attempts < ATTEMPTS || at > begun) =>
                {
                    attempts = if at > begun { 1 } else { attempts + 1 };
                    debug!(path = %self.path, at, %error, "download goes on after a failure");
                    if let Err(error) = self.verify().await {
                        break Some(error);
                    }
                }
                Err(error) => break Some(error),
            }
        };
        let mut state = self.content.streams();
        state.running.retain(|stream| stream.id != self.id);
        if let Some(error) = failure {
            state.failed += 1;
            state.failures.push_back(Failure {
                position: at,
                error,
            });
            if state.failures.len() > FAILURES_KEPT {
                state.failures.pop_front();
            }
        }
        drop(state);
        self.content.progress.notify_waiters();
    }

    /// Downloads from `at` until nobody wants more.
    async fn download(&self, at: &mut u64) -> Result<()> {
        let content = &self.content;
        let size = content.version.size;
        // Received and not yet in the cache; stands at `at`.
        let mut fresh = BytesMut::new();
        let begun = *at;
        let mut download = match Download::open(&content.pool, &self.path, *at).await {
            // Without REST the way to a byte leads through all those before it.
            Err(error) if error.kind == ErrorKind::NotImplemented && *at > 0 => {
                let mut download = Download::open(&content.pool, &self.path, 0).await?;
                let mut skipped = 0;
                while skipped < *at {
                    fresh.reserve(PIECE);
                    if download.receive(&mut fresh).await? == 0 {
                        return Err(Error::Stale(self.path.clone()));
                    }
                    let surplus = fresh.len().min((*at - skipped) as usize);
                    fresh.advance(surplus);
                    skipped += surplus as u64;
                }
                download
            }
            opened => opened?,
        };
        loop {
            let Wishes {
                demanded,
                limit,
                ends_at_limit,
            } = self.wishes();
            let received = *at + fresh.len() as u64;
            if received >= limit && received < size {
                self.deliver(at, &mut fresh);
                if ends_at_limit {
                    return Ok(());
                }
                // A reader that is about to go on is cheaper than a new stream, even while others wait.
                let patience = match content.pool.is_wanted() {
                    true => GRACE,
                    false => PARKED,
                };
                tokio::select! {
                    () = self.extended.notified() => continue,
                    () = content.pool.wanted(), if patience == PARKED => {
                        if tokio::time::timeout(GRACE, self.extended.notified()).await.is_ok() {
                            continue;
                        }
                        return Ok(());
                    }
                    () = tokio::time::sleep(patience) => return Ok(()),
                }
            }
            if received >= demanded && *at < demanded {
                self.deliver(at, &mut fresh);
            }
            // Read-ahead gives way to whoever waits for a session, after its turn; what readers wait for does not, nor a
            // short rest.
            let gives_way = content.pool.is_wanted_for_commands()
                || (received - begun >= TURN && content.pool.is_wanted());
            if *at >= demanded && size - received > SMALL_REST && gives_way {
                self.deliver(at, &mut fresh);
                return Ok(());
            }
            if fresh.capacity() == fresh.len() {
                self.deliver(at, &mut fresh);
                // As much as is wanted, to the end of the block: a read of a whole block is one piece then.
                let wanted = (limit.saturating_sub(*at)).clamp(SMALLEST_PIECE, BLOCK);
                fresh = BytesMut::with_capacity(wanted.min(BLOCK - *at % BLOCK) as usize);
            }
            let length = match download.receive(&mut fresh).await {
                Ok(length) => length,
                Err(error) => {
                    self.deliver(at, &mut fresh);
                    // All of it is here: a server that resets instead of closing has done no harm.
                    return if *at >= size {
                        Ok(())
                    } else {
                        Err(error.into())
                    };
                }
            };
            if *at + fresh.len() as u64 > size {
                // It has grown since: what is behind the size of this version belongs to the next one.
                fresh.truncate((size - *at) as usize);
                self.deliver(at, &mut fresh);
                return Ok(());
            }
            if length == 0 {
                self.deliver(at, &mut fresh);
                return if *at < size {
                    Err(Error::Stale(self.path.clone()))
                } else {
                    Ok(())
                };
            }
            if *at + fresh.len() as u64 == size {
                self.deliver(at, &mut fresh);
            }
        }
    }

    /// After a lost connection: whether the file is still the version that the first bytes came from.
    async fn verify(&self) -> Result<()> {
        let Version {
            size: known_size,
            modified,
        } = self.content.version;
        let known_mtime = modified
            .filter(|time| time.precision == Precision::Second)
            .map(|time| time.seconds);
        let pool = &self.content.pool;
        let asked =
            on_session!(pool, Retry::Idempotent, session => session.size_and_mtime(&self.path));
        match asked {
            Ok((size, _)) if size != known_size => Err(Error::Stale(self.path.clone())),
            Ok((_, Some(mtime))) if known_mtime.is_some_and(|known| known != mtime) => {
                Err(Error::Stale(self.path.clone()))
            }
            Ok(_) => Ok(()),
            // A server without SIZE cannot be asked; the size at the end of the transfer tells.
            Err(error) if error.kind == ErrorKind::NotImplemented => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn deliver(&self, at: &mut u64, fresh: &mut BytesMut) {
        if fresh.is_empty() {
            return;
        }
        let bytes = fresh.split().freeze();
        self.content.blocks().insert(self.content.key, *at, &bytes);
        *at += bytes.len() as u64;
        if let Some(stream) = self
            .content
            .streams()
            .running
            .iter_mut()
            .find(|stream| stream.id == self.id)
        {
            stream.position = *at;
        }
        self.content.progress.notify_waiters();
    }

    fn wishes(&self) -> Wishes {
        let state = self.content.streams();
        let stream = state.running.iter().find(|stream| stream.id == self.id);
        stream.map_or_else(Wishes::default, |stream| Wishes {
            demanded: stream.demanded,
            limit: stream.limit,
            ends_at_limit: stream.ends_at_limit,
        })
    }
}

/// What is wanted of a stream by now; see [`Stream`].
#[derive(Default)]
struct Wishes {
    demanded: u64,
    limit: u64,
    ends_at_limit: bool,
}

/// A gap that is read through: as many bytes as come in the round trips that a new stream costs on a fast link.
const GAP: u64 = 512 << 10;

/// Read-ahead from which a reader is taken to read all of a long file.
const LONG: u64 = 2 << 20;

/// Round-trip time from which one connection does not fill a link: servers' send buffers hold some 4 MiB.
const LONG_LINK: Duration = Duration::from_millis(40);

/// Shortest part of a file that a stream of its own is started for: its slow start takes as long as half of it.
const SHORTEST_SEGMENT: u64 = 8 << 20;

/// First read-ahead of a sequential reader; doubled by each further read.
const FIRST_AHEAD: u64 = 512 << 10;

/// A rest of the file that is fetched to its end: ending a transfer properly is cheaper than stopping it.
const SMALL_REST: u64 = 256 << 10;

/// Bytes that are skipped at once.
const PIECE: usize = 128 << 10;

/// Smallest buffer to receive in: what comes in the first flight of a new connection.
const SMALLEST_PIECE: u64 = 16 << 10;

/// How long a stream that reached its limit is kept for a reader that goes on: less than servers wait for a stalled
/// download.
const PARKED: Duration = Duration::from_secs(10);

/// How long a stream at its limit waits for its reader while others wait for a session: less than a new stream takes.
const GRACE: Duration = Duration::from_millis(20);

/// Bytes that a stream brings before it gives way to others.
const TURN: u64 = 4 << 20;

/// Readers of one file that are told apart.
const CURSORS: usize = 64;

/// Jumps in a row after which a file is taken to be read by chance.
const JUMPS: u32 = 3;

/// Connections in a row that may be lost without a byte.
const ATTEMPTS: u32 = 3;

/// Failures remembered for readers that wait at the same time.
const FAILURES_KEPT: usize = 16;
