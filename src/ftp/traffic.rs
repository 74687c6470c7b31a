//! What has crossed the wire, for those who look: counted where it passes, by nobody who waits.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts what all sessions with a server send and receive.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    commands: AtomicU64,
    flights: AtomicU64,
    sent_bytes: AtomicU64,
    received_bytes: AtomicU64,
}

/// What has crossed the wire so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crossed {
    /// Commands sent.
    pub commands: u64,
    /// Flights that they left in: each is a round trip at least.
    pub flights: u64,
    /// Bytes of files sent.
    pub sent_bytes: u64,
    /// Bytes of files and listings received.
    pub received_bytes: u64,
}

impl Traffic {
    /// So many commands leave together.
    pub(super) fn flight(&self, commands: usize) {
        self.flights.fetch_add(1, Ordering::Relaxed);
        self.commands.fetch_add(commands as u64, Ordering::Relaxed);
    }

    /// So many bytes were sent on a data connection.
    pub(super) fn sent(&self, bytes: usize) {
        self.sent_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// So many bytes were received on a data connection.
    pub(super) fn received(&self, bytes: usize) {
        self.received_bytes
            .fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn crossed(&self) -> Crossed {
        Crossed {
            commands: self.commands.load(Ordering::Relaxed),
            flights: self.flights.load(Ordering::Relaxed),
            sent_bytes: self.sent_bytes.load(Ordering::Relaxed),
            received_bytes: self.received_bytes.load(Ordering::Relaxed),
        }
    }
}
