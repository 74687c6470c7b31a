//! How far transfers are, for those who look.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::ftp::RemotePath;

/// How far one transfer is.
#[derive(Debug)]
pub struct Progress {
    /// What is transferred.
    pub file: RemotePath,
    /// Which way.
    pub direction: Direction,
    begun: Instant,
    passed_bytes: AtomicU64,
    /// 0 as long as nobody has said it.
    expected_bytes: AtomicU64,
}

/// Which way a transfer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// To the server.
    Up,
    /// From it.
    Down,
}

impl Progress {
    /// Bytes that have passed.
    pub fn passed_bytes(&self) -> u64 {
        self.passed_bytes.load(Ordering::Relaxed)
    }

    /// Bytes that are to pass in all; `None` if that is not known, or not yet.
    pub fn expected_bytes(&self) -> Option<u64> {
        Some(self.expected_bytes.load(Ordering::Relaxed)).filter(|&bytes| bytes > 0)
    }

    /// Since when it has been going on.
    pub fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    pub(super) fn passed(&self, bytes: usize) {
        self.passed_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn expect(&self, bytes: u64) {
        self.expected_bytes.store(bytes, Ordering::Relaxed);
    }
}

/// The transfers that are going on: each ends with what holds its progress.
#[derive(Debug, Default)]
pub(super) struct Transfers(Mutex<Vec<Weak<Progress>>>);

impl Transfers {
    /// Another one begins.
    pub(super) fn begin(&self, file: &RemotePath, direction: Direction) -> Arc<Progress> {
        let progress = Arc::new(Progress {
            file: file.clone(),
            direction,
            begun: Instant::now(),
            passed_bytes: AtomicU64::new(0),
            expected_bytes: AtomicU64::new(0),
        });
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|one| one.strong_count() > 0);
        all.push(Arc::downgrade(&progress));
        progress
    }

    pub(super) fn going_on(&self) -> Vec<Arc<Progress>> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().filter_map(Weak::upgrade).collect()
    }
}
