//! A session on loan.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tracing::debug;

use super::{Direction, Permits, Pool, Progress, Purpose, RETRIES, echo};
use crate::ftp::{ErrorKind, RemotePath, Result, Session};

/// A session on loan. Dropped, it goes back to the pool if nothing is outstanding on it, and is discarded otherwise.
#[derive(Debug)]
pub struct Lease {
    pool: Pool,
    /// `None` only while it is reconnected or dropped, and once it is lost.
    session: Option<Session>,
    permits: Permits,
    purpose: Purpose,
}

impl Lease {
    pub(super) fn new(pool: Pool, session: Session, permits: Permits, purpose: Purpose) -> Self {
        pool.inner.leased[purpose as usize].fetch_add(1, Ordering::Relaxed);
        Self {
            pool,
            session: Some(session),
            permits,
            purpose,
        }
    }

    /// It is used for a transfer of `file`, for those who look.
    pub(super) fn begin_transfer(&self, file: &RemotePath, direction: Direction) -> Arc<Progress> {
        self.pool.inner.transfers.begin(file, direction)
    }

    /// Whether one waits, for a purpose up to `last`, whom it is to be given up for: promised then.
    pub(super) fn gives_way(&mut self, last: Purpose) -> bool {
        self.permits.promise = self.pool.inner.turns.promise(last);
        self.permits.promise.is_some()
    }

    /// It counts no longer among those for data, though its session is not free yet.
    pub(super) fn ends_transfer(&mut self) {
        self.permits.data = None;
    }

    /// Replaces the session by a new one, as soon as the server takes one: it may be restarting.
    ///
    /// # Errors
    /// What connecting can fail by; the lease is of no use then.
    pub async fn reconnect(&mut self) -> Result<()> {
        self.discard();
        let mut pauses = RETRIES.iter();
        loop {
            match self.pool.connect().await {
                Ok(session) => {
                    self.session = Some(session);
                    return Ok(());
                }
                Err(error) => {
                    // What did not answer in all that time is not asked again: whoever waits is to know.
                    let passes = error.kind != ErrorKind::TimedOut
                        && self.pool.inner.backoff().may_pass(&error);
                    let pause = pauses.next().filter(|_| passes).ok_or(error)?;
                    tokio::time::sleep(*pause).await;
                }
            }
        }
    }

    /// Gives up a session that is lost, and waits for what was sent on it: the server may have got that and not done it yet,
    /// and would do it after what is sent on another. A session that has had all its answers is kept.
    pub(super) async fn lose(&mut self) {
        if self.session.as_ref().is_some_and(Session::is_idle) {
            return;
        }
        self.discard();
        echo().await;
    }

    fn discard(&mut self) {
        if let Some(session) = self.session.take() {
            debug!(session = session.id, "session discarded");
            session.reset();
            self.pool.inner.open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Deref for Lease {
    type Target = Session;

    fn deref(&self) -> &Session {
        self.session
            .as_ref()
            .expect("taken only by reconnect and lose, which end the lease, and by drop")
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut Session {
        self.session
            .as_mut()
            .expect("taken only by reconnect and lose, which end the lease, and by drop")
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.pool.inner.leased[self.purpose as usize].fetch_sub(1, Ordering::Relaxed);
        match self.session.take() {
            Some(session) if session.is_idle() => self.pool.give_back(session, &mut self.permits),
            session => {
                self.session = session;
                self.discard();
            }
        }
    }
}
