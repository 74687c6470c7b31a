//! Operations done on a leased session, and done again where the connection was lost.

use std::ops::ControlFlow;

use tracing::debug;

use super::{Lease, Pool, Purpose, RETRIES};
use crate::ftp::{Result, Session};

/// Whether an operation may be done twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// It changes nothing: repeated when the connection is lost.
    Idempotent,
    /// It sets the same thing again: repeated as well, when what was sent before is over. Done late, that would undo what
    /// comes next.
    AfterEcho,
    /// Done once; after a lost reply the caller asks the server what happened. What was sent is over by then.
    Never,
}

/// A lease, and how often its operation may still be tried. See `on_session!`.
#[derive(Debug)]
pub struct Attempts {
    lease: Lease,
    retry: Retry,
    made: usize,
}

impl Attempts {
    /// Leases a session of `pool` for commands, or a listing.
    pub async fn begin(pool: &Pool, purpose: Purpose, retry: Retry) -> Result<Self> {
        let lease = pool.lease(purpose).await?;
        Ok(Self {
            lease,
            retry,
            made: 0,
        })
    }

    /// The session to try on.
    pub fn session(&mut self) -> &mut Session {
        &mut self.lease
    }

    /// Ends with `outcome`, or goes on with a new session in the same lease.
    pub async fn after<T>(&mut self, outcome: Result<T>) -> ControlFlow<Result<T>> {
        let lost = matches!(&outcome, Err(error) if error.is_connection());
        if lost && self.retry != Retry::Idempotent {
            self.lease.lose().await;
        }
        match outcome {
            Err(error) if lost && self.retry != Retry::Never && self.made < RETRIES.len() => {
                debug!(%error, attempt = self.made, "again on a new session");
                tokio::time::sleep(RETRIES[self.made]).await;
                self.made += 1;
                match self.lease.reconnect().await {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(error) => ControlFlow::Break(Err(error)),
                }
            }
            outcome => ControlFlow::Break(outcome),
        }
    }
}

/// Runs an operation on a leased session: `on_session!(pool, Retry::Never, session => session.delete(path))`.
///
/// A macro, because a future made by an async closure that borrows its surroundings cannot be spawned (the compiler
/// does not find it `Send` for every lifetime of the session).
macro_rules! on_session {
    ($pool:expr, $retry:expr, $session:ident => $operation:expr) => {
        $crate::pool::on_session!($pool, $crate::pool::Purpose::Metadata, $retry, $session => $operation)
    };
    ($pool:expr, $purpose:expr, $retry:expr, $session:ident => $operation:expr) => {
        match $crate::pool::Attempts::begin($pool, $purpose, $retry).await {
            Err(error) => Err(error),
            Ok(mut attempts) => loop {
                let $session = attempts.session();
                let outcome = $operation.await;
                if let std::ops::ControlFlow::Break(outcome) = attempts.after(outcome).await {
                    break outcome;
                }
            },
        }
    };
}
pub(crate) use on_session;
