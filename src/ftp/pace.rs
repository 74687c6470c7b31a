//! Limits per second: of bytes, for all data connections together in one direction, and of commands.

use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::traffic::Traffic;

/// Says when more bytes, or commands, may pass.
#[derive(Debug)]
pub(super) struct Pace {
    per_second: NonZeroU64,
    /// When all that has passed is paid for.
    paid: Mutex<Instant>,
}

/// The limits; `None` = without one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes per second to the server.
    pub up: Option<NonZeroU64>,
    /// Bytes per second from it.
    pub down: Option<NonZeroU64>,
    /// Commands per second to it.
    pub commands: Option<NonZeroU64>,
}

/// The limits that connections keep to, and what counts what passes.
#[derive(Clone, Debug, Default)]
pub(super) struct Paces {
    /// Of what is sent.
    pub(super) up: Option<Arc<Pace>>,
    /// Of what is received.
    pub(super) down: Option<Arc<Pace>>,
    /// Of commands.
    pub(super) commands: Option<Arc<Pace>>,
    /// Of all.
    pub(super) traffic: Arc<Traffic>,
}

impl Paces {
    pub(super) fn new(limits: Limits, traffic: Arc<Traffic>) -> Self {
        let pace = |limit| Arc::new(Pace::new(limit));
        Self {
            up: limits.up.map(pace),
            down: limits.down.map(pace),
            commands: limits.commands.map(pace),
            traffic,
        }
    }
}

impl Pace {
    fn new(per_second: NonZeroU64) -> Self {
        Self {
            per_second,
            paid: Mutex::new(Instant::now()),
        }
    }

    /// Waits until something may pass. Cancel safe.
    pub(super) async fn wait(&self) {
        let paid = *self.paid.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(debt) = paid.checked_duration_since(Instant::now())
            && debt > CREDIT
        {
            sleep_until(paid - CREDIT).await;
        }
    }

    /// As many bytes as are to pass at once: a whole file would fit into the buffers of a socket.
    pub(super) fn piece(&self) -> usize {
        let piece = self.per_second.get() as f64 * CREDIT.as_secs_f64();
        (piece as usize).max(SMALLEST_PIECE)
    }

    /// Counts `bytes` that have passed.
    pub(super) fn passed(&self, bytes: usize) {
        self.pay(bytes);
    }

    /// Waits for the turn of one command; those who ask first have theirs first. Dropped, the turn is spent.
    pub(super) async fn turn(&self) {
        sleep_until(self.pay(1)).await;
    }

    /// When all before was paid for, and these `units` begin.
    fn pay(&self, units: usize) -> Instant {
        let price = units as f64 / self.per_second.get() as f64;
        let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
        let begin = (*paid).max(Instant::now());
        *paid = begin + Duration::from_secs_f64(price);
        begin
    }
}

/// So much is sent at once, that small files are not held up.
const CREDIT: Duration = Duration::from_millis(50);

/// A packet or two.
const SMALLEST_PIECE: usize = 2 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bytes_pass_no_faster_than_allowed() {
        let pace = Pace::new(NonZeroU64::new(100_000).expect("not zero"));
        let begun = Instant::now();
        for _ in 0..10 {
            pace.wait().await;
            pace.passed(2000);
        }
        pace.wait().await;
        let took = begun.elapsed();
        assert!(took > Duration::from_millis(200) - CREDIT, "{took:?}");
    }

    #[tokio::test]
    async fn commands_have_their_turns_one_by_one() {
        let pace = Pace::new(NonZeroU64::new(100).expect("not zero"));
        let begun = Instant::now();
        tokio::join!(pace.turn(), pace.turn(), pace.turn(), pace.turn());
        let took = begun.elapsed();
        assert!(took >= Duration::from_millis(30), "{took:?}");
    }
}
