//! One stream: a task that downloads from its position up to its limit, and tells the readers at every step.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use tokio::sync::Notify;
use tokio::time::timeout;
use tracing::debug;

use super::blocks::BLOCK;
use super::error::{Error, Result};
use super::reader::{Content, Version};
use super::streams::{Behind, Failure, SMALL_REST};
use crate::ftp::list::Precision;
use crate::ftp::{self, ErrorKind};
use crate::pool::{Download, Purpose, Retry, SMALL, on_session};

/// The task behind one stream.
pub(super) struct Fetch {
    pub(super) content: Arc<Content>,
    pub(super) id: u64,
    pub(super) extended: Arc<Notify>,
}

impl Fetch {
    pub(super) async fn run(self, start: u64) {
        let mut at = start;
        let mut attempts = 0;
        let mut purpose = match self.content.version.size - start {
            // Nobody waits for it yet.
            _ if self.wishes().demanded <= start => Purpose::Rest,
            ..=SMALL => Purpose::Brief,
            _ => Purpose::Data,
        };
        let failure = loop {
            let begun = at;
            match self.download(purpose, &mut at).await {
                Ok(End::NotWanted) => break None,
                Ok(End::GaveWay) => {
                    debug!(path = %self.content.path(), at, "others have their turn");
                    purpose = Purpose::Rest;
                    if let Err(error) = self.verify().await {
                        break Some(error);
                    }
                }
                Err(Error::Wire(error))
                    if error.is_connection() && (attempts < ATTEMPTS || at > begun) =>
                {
                    attempts = if at > begun { 1 } else { attempts + 1 };
                    debug!(path = %self.content.path(), at, %error, "download goes on after a failure");
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

    /// Downloads from `at` until nobody wants more, or others have waited for long enough.
    async fn download(&self, purpose: Purpose, at: &mut u64) -> Result<End> {
        let content = &self.content;
        let size = content.version.size;
        // Received and not yet in the cache; stands at `at`.
        let mut fresh = BytesMut::new();
        let begun = *at;
        let mut download = self.open(purpose, begun, &mut fresh).await?;
        download.expect(size - begun);
        let since = Instant::now();
        let profile = content.pool.profile();
        let round_trip = profile.round_trip.unwrap_or_default();
        // Without REST another stream would begin with the file.
        let may_go_on_later = profile.rest != Some(false);
        let mut flow = Flow::new(round_trip);
        let long_turn = LONG_TURN.max(round_trip * LONG_TURN_ROUND_TRIPS);
        loop {
            let Wishes {
                demanded,
                limit,
                behind,
            } = self.wishes();
            let received = *at + fresh.len() as u64;
            // Others that wait for a session want more than what may be wanted here.
            let limit = match behind {
                Behind::Reader if content.pool.is_wanted() => demanded.min(limit),
                _ => limit,
            };
            if received >= limit && received < size {
                self.deliver(at, &mut fresh);
                // A reader that is about to go on is cheaper than a new stream, even while others wait.
                let goes_on =
                    async |patience| timeout(patience, self.extended.notified()).await.is_ok();
                match behind {
                    Behind::Stream => return Ok(End::NotWanted),
                    Behind::Nobody if goes_on(CHANCE).await => continue,
                    Behind::Nobody => return Ok(End::NotWanted),
                    Behind::Reader if goes_on(INSTANT).await => continue,
                    Behind::Reader => download.want(0),
                }
                let in_time = match content.pool.is_wanted() {
                    true => goes_on(GRACE).await,
                    false => tokio::select! {
                        goes_on = goes_on(PARKED) => goes_on,
                        () = content.pool.wanted() => goes_on(GRACE).await,
                    },
                };
                match in_time {
                    true => continue,
                    false => return Ok(End::NotWanted),
                }
            }
            if received >= demanded && *at < demanded {
                self.deliver(at, &mut fresh);
            }
            // Read-ahead gives way to commands at once, and what readers wait for to others after its turn; a short rest does
            // not.
            let ran = since.elapsed();
            let to = match ran {
                _ if ran >= long_turn => Some(Purpose::Rest),
                _ if ran >= TURN || received - begun >= TURN_BYTES => Some(Purpose::Data),
                _ => (*at >= demanded).then_some(Purpose::Brief),
            };
            let to = to.filter(|_| may_go_on_later && size - received > SMALL_REST);
            if to.is_some_and(|to| download.gives_way(to)) {
                self.deliver(at, &mut fresh);
                return Ok(match *at < demanded {
                    true => End::GaveWay,
                    false => End::NotWanted,
                });
            }
            if fresh.capacity() == fresh.len() {
                self.deliver(at, &mut fresh);
                // As much as is wanted, to the end of the block: a read of a whole block is one piece then.
                let wanted = (limit.saturating_sub(*at)).clamp(SMALLEST_PIECE, BLOCK);
                fresh = BytesMut::with_capacity(wanted.min(BLOCK - *at % BLOCK) as usize);
            }
            let wanted = limit.saturating_sub(received);
            download.want(match behind {
                Behind::Reader => wanted.max(flow.window()),
                Behind::Nobody | Behind::Stream => wanted,
            });
            let length = match download.receive(&mut fresh).await {
                Ok(length) => {
                    flow.passed(length as u64);
                    length
                }
                Err(error) => {
                    self.deliver(at, &mut fresh);
                    // All of it is here: a server that resets instead of closing has done no harm.
                    return if *at >= size {
                        Ok(End::NotWanted)
                    } else {
                        Err(error.into())
                    };
                }
            };
            if *at + fresh.len() as u64 > size {
                // It has grown since: what is behind the size of this version belongs to the next one.
                fresh.truncate((size - *at) as usize);
                self.deliver(at, &mut fresh);
                return Ok(End::NotWanted);
            }
            if length == 0 {
                self.deliver(at, &mut fresh);
                return match *at < size {
                    true => Err(self.why_short(*at).await),
                    false => Ok(End::NotWanted),
                };
            }
            if *at + fresh.len() as u64 == size {
                self.deliver(at, &mut fresh);
            }
        }
    }

    /// A download that goes on at `at`, of whose bytes `fresh` may hold the first.
    async fn open(&self, purpose: Purpose, at: u64, fresh: &mut BytesMut) -> Result<Download> {
        let content = &self.content;
        loop {
            let path = content.path();
            let download = match Download::open(&content.pool, purpose, &path, at).await {
                // Without REST the way to a byte leads through all those before it.
                Err(error) if error.kind == ErrorKind::NotImplemented && at > 0 => {
                    let mut download =
                        Download::open(&content.pool, Purpose::Data, &path, 0).await?;
                    let mut skipped = 0;
                    while skipped < at {
                        fresh.reserve(PIECE);
                        if download.receive(fresh).await? == 0 {
                            return Err(Error::Stale(path));
                        }
                        let surplus = fresh.len().min((at - skipped) as usize);
                        fresh.advance(surplus);
                        skipped += surplus as u64;
                    }
                    download
                }
                opened => opened?,
            };
            if content.path() == path {
                return Ok(download);
            }
            // Moved before the server began: by this name it may have sent another file.
            debug!(%path, "moved while it was opened");
            fresh.clear();
        }
    }

    /// Why a download ended properly at `at`, which is not the end: the file is another by now, or what looked like the
    /// end was none, as where something between cuts a connection and the server has sent all by then.
    async fn why_short(&self, at: u64) -> Error {
        match self.verify().await {
            Err(error) => error,
            Ok(Known::No) => Error::Stale(self.content.path()),
            Ok(Known::Same) => {
                let operation = format!("RETR {}", self.content.path());
                let detail = format!("it ended at byte {at} of {}", self.content.version.size);
                ftp::Error::new(ErrorKind::Cut, operation, detail).into()
            }
        }
    }

    /// After a lost connection: whether the file is still the version that the first bytes came from.
    async fn verify(&self) -> Result<Known> {
        let Version {
            size: known_size,
            modified,
        } = self.content.version;
        let known_mtime = modified
            .filter(|time| time.precision == Precision::Second)
            .map(|time| time.seconds);
        let pool = &self.content.pool;
        loop {
            let path = self.content.path();
            let asked =
                on_session!(pool, Retry::Idempotent, session => session.size_and_mtime(&path));
            return match asked {
                Ok((size, _)) if size != known_size => Err(Error::Stale(path)),
                Ok((_, Some(mtime))) if known_mtime.is_some_and(|known| known != mtime) => {
                    Err(Error::Stale(path))
                }
                Ok(_) => Ok(Known::Same),
                // A server without SIZE cannot be asked; the size at the end of the transfer tells.
                Err(error) if error.kind == ErrorKind::NotImplemented => Ok(Known::No),
                // Asked for by a name that it had until then.
                Err(error) if error.is_refusal() && self.content.path() != path => continue,
                Err(error) if matches!(error.kind, ErrorKind::Refused(_)) => {
                    debug!(%path, %error, "it is not there any more");
                    Err(Error::Stale(path))
                }
                Err(error) => Err(error.into()),
            };
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
            behind: stream.behind,
        })
    }
}

/// Why a download has ended.
enum End {
    /// Nobody wants more.
    NotWanted,
    /// A reader does, but others have waited for a session.
    GaveWay,
}

/// How fast a stream flows, and so how much a server must be let send ahead that it does not wait for us.
struct Flow {
    /// In which what came is counted.
    interval: Duration,
    since: Instant,
    /// Bytes since then, and in the interval before.
    now: u64,
    before: u64,
}

impl Flow {
    fn new(round_trip: Duration) -> Self {
        Self {
            interval: round_trip.max(SHORTEST_INTERVAL),
            since: Instant::now(),
            now: 0,
            before: 0,
        }
    }

    fn passed(&mut self, bytes: u64) {
        if self.since.elapsed() >= self.interval {
            self.before = std::mem::take(&mut self.now);
            self.since = Instant::now();
        }
        self.now += bytes;
    }

    /// Four times what comes in a round trip: a server doubles its speed in each at first, and a full link makes them longer.
    fn window(&self) -> u64 {
        4 * self.now.max(self.before) + LEAST_WINDOW
    }
}

/// What is known of a file that is not known to have changed.
enum Known {
    /// It has not.
    Same,
    /// Nothing.
    No,
}

/// What is wanted of a stream by now; see [`Stream`](super::streams::Stream).
#[derive(Default)]
struct Wishes {
    demanded: u64,
    limit: u64,
    behind: Behind,
}

/// Bytes that are skipped at once.
const PIECE: usize = 128 << 10;

/// Smallest buffer to receive in: what comes in the first flight of a new connection.
const SMALLEST_PIECE: u64 = 16 << 10;

/// Shortest time in which the flow of a stream is told: long enough for a scheduler's whims.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(20);

/// What a server may send ahead at least: what the kernel lets a new connection do.
const LEAST_WINDOW: u64 = 64 << 10;

/// How long a stream that reached its limit is kept for a reader that goes on: less than servers wait for a stalled
/// download.
const PARKED: Duration = Duration::from_secs(10);

/// How long a stream at its limit waits for its reader while others wait for a session: less than a new stream takes.
const GRACE: Duration = Duration::from_millis(20);

/// How long a stream waits that nobody is expected to go on from: several readers at once look like one that jumps.
const CHANCE: Duration = Duration::from_millis(1);

/// How long one at its limit is left as it is: a program that goes on does so at once.
const INSTANT: Duration = Duration::from_millis(5);

/// How long a stream runs, or how many bytes it brings, before it gives way to one that was not served yet.
const TURN: Duration = Duration::from_millis(500);
const TURN_BYTES: u64 = 4 << 20;

/// How long it runs before it gives way to one that did so before: a new stream takes some round trips to get to full speed.
const LONG_TURN: Duration = Duration::from_secs(3);
const LONG_TURN_ROUND_TRIPS: u32 = 64;

/// Connections in a row that may be lost without a byte.
const ATTEMPTS: u32 = 3;

/// Failures remembered for readers that wait at the same time.
const FAILURES_KEPT: usize = 16;
