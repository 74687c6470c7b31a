//! A limit of bytes per second, for all data connections together in one direction.

use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::traffic::Traffic;

/// Says when more bytes may pass.
#[derive(Debug)]
pub(super) struct Pace {
    bytes_per_second: NonZeroU64,
    /// When all that has passed is paid for.
    paid: Mutex<Instant>,
}

/// The two directions; `None` = without a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes per second to the server.
    pub up: Option<NonZeroU64>,
    /// Bytes per second from it.
    pub down: Option<NonZeroU64>,
}

/// The limits that a data connection keeps to, and what counts its bytes.
#[derive(Clone, Debug, Default)]
pub(super) struct Paces {
    /// Of what is sent.
    pub(super) up: Option<Arc<Pace>>,
    /// Of what is received.
    pub(super) down: Option<Arc<Pace>>,
    /// Of both.
    pub(super) traffic: Arc<Traffic>,
}

impl Paces {
    pub(super) fn new(limits: Limits, traffic: Arc<Traffic>) -> Self {
        let pace = |limit| Arc::new(Pace::new(limit));
        Self {
            up: limits.up.map(pace),
            down: limits.down.map(pace),
            traffic,
        }
    }
}

impl Pace {
    fn new(bytes_per_second: NonZeroU64) -> Self {
        Self {
            bytes_per_second,
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
        let piece = self.bytes_per_second.get() as f64 * CREDIT.as_secs_f64();
        (piece as usize).max(SMALLEST_PIECE)
    }

    /// Counts `bytes` that have passed.
    pub(super) fn passed(&self, bytes: usize) {
        let price = bytes as f64 / self.bytes_per_second.get() as f64;
        let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
        *paid = (*paid).max(Instant::now()) + Duration::from_secs_f64(price);
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
}
