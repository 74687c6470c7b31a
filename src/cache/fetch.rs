//! One stream: a task that downloads from its position up to its limit, and tells the readers at every step.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::sync::Notify;
use tracing::debug;

use super::blocks::BLOCK;
use super::error::{Error, Result};
use super::reader::{Content, Version};
use super::streams::{Failure, SMALL_REST};
use crate::ftp::list::Precision;
use crate::ftp::{self, ErrorKind};
use crate::pool::{Download, Retry, on_session};

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
        let failure = loop {
            let begun = at;
            match self.download(&mut at).await {
                Ok(()) => break None,
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

    /// Downloads from `at` until nobody wants more.
    async fn download(&self, at: &mut u64) -> Result<()> {
        let content = &self.content;
        let size = content.version.size;
        // Received and not yet in the cache; stands at `at`.
        let mut fresh = BytesMut::new();
        let begun = *at;
        let mut download = self.open(begun, &mut fresh).await?;
        download.expect(size - begun);
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
                return match *at < size {
                    true => Err(self.why_short(*at).await),
                    false => Ok(()),
                };
            }
            if *at + fresh.len() as u64 == size {
                self.deliver(at, &mut fresh);
            }
        }
    }

    /// A download that goes on at `at`, of whose bytes `fresh` may hold the first.
    async fn open(&self, at: u64, fresh: &mut BytesMut) -> Result<Download> {
        let content = &self.content;
        loop {
            let path = content.path();
            let download = match Download::open(&content.pool, &path, at).await {
                // Without REST the way to a byte leads through all those before it.
                Err(error) if error.kind == ErrorKind::NotImplemented && at > 0 => {
                    let mut download = Download::open(&content.pool, &path, 0).await?;
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
            ends_at_limit: stream.ends_at_limit,
        })
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
    ends_at_limit: bool,
}

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

/// Connections in a row that may be lost without a byte.
const ATTEMPTS: u32 = 3;

/// Failures remembered for readers that wait at the same time.
const FAILURES_KEPT: usize = 16;
