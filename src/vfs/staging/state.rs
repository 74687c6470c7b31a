//! What a staged file holds, and what of it the server lacks.

use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

use rangemap::RangeSet;

use super::Noted;
use crate::cache::{Compare, Version};
use crate::vfs::Error;
use crate::vfs::journal::SentTo;

/// What a staged file holds, and what of it the server lacks.
#[derive(Clone, Debug)]
pub struct State {
    /// The version that the server has below; `None` if it has no such file yet.
    pub base: Option<Version>,
    /// Bytes of the base that still count: everything from here on was cut off at some time.
    pub base_end: u64,
    /// The file's size.
    pub size: u64,
    /// Bytes that the local file holds.
    pub(super) local: RangeSet<u64>,
    /// Bytes written since the last commit.
    pub(super) dirty: RangeSet<u64>,
    /// Whether all that was written since the last commit was to be added at the end, wherever that is.
    pub at_any_end: bool,
    /// Whether anything is to be sent, be it only an empty file.
    pub changed: bool,
    /// Why the last commit failed, if nothing was written since.
    pub failed: Option<String>,
    /// When it was last written to here.
    pub written: SystemTime,
    /// A time of modification to be set after the next commit, Unix seconds.
    pub mtime: Option<i64>,
    /// Permission bits to be set after the next commit.
    pub mode: Option<u32>,
    /// Whether a program that wrote to it has closed it since: it is as that program wants it.
    pub closed: bool,
    /// Whether an earlier process staged it: what the server has may be ours, or of others since.
    pub restored: bool,
    /// Why it could not be sent after its close had succeeded, until somebody is told.
    pub untold: Option<Arc<Error>>,
    /// Where parts of it may be on the server.
    pub sent_to: SentTo,
    /// Whether bytes were changed since that such a part may hold.
    pub rewritten: bool,
    /// Whether it was begun to be sent while it is written: that is tried once.
    pub(super) begun_early: bool,
    /// What the journal has of it.
    pub(super) noted: Noted,
}

impl State {
    /// The first part of `offset..end` that is not here but in the base; `None` if all of it can be read here.
    pub fn missing(&self, offset: u64, end: u64) -> Option<Range<u64>> {
        let end = end.min(self.base_end);
        if offset >= end {
            return None;
        }
        self.local.gaps(&(offset..end)).next()
    }

    /// Whether only bytes behind the base were added, and the base is whole.
    pub fn only_grown(&self) -> bool {
        let base = self.base.map_or(0, |version| version.size);
        self.base_end == base
            && self.size >= base
            && self.dirty.first().is_none_or(|first| first.start >= base)
    }

    /// What was written since the last commit, if that is little and within the file, not at its start, and the base has
    /// the same size and was never cut.
    pub fn small_changes(&self) -> Option<Vec<Range<u64>>> {
        let base = self.base?;
        let bytes: u64 = self.dirty.iter().map(|range| range.end - range.start).sum();
        let little = bytes <= LITTLE && self.dirty.len() <= FEW && bytes < base.size / 2;
        let within = self.dirty.first().is_some_and(|first| first.start > 0);
        let same = self.size == base.size && self.base_end == base.size;
        (little && within && same).then(|| self.dirty.iter().cloned().collect())
    }

    /// Whether any byte of the base is part of the file.
    pub fn uses_base(&self) -> bool {
        self.missing(0, self.size).is_some()
    }

    /// How a part that may be on the server is told to be the beginning of this.
    pub fn compare(&self) -> Compare {
        match self.rewritten {
            true => Compare::All,
            false => Compare::End,
        }
    }

    /// Whether there is anything that the server lacks.
    pub fn pending(&self) -> bool {
        self.changed || self.mtime.is_some() || self.mode.is_some()
    }

    /// Whether it is sent by the next mount if this process ends: it was to be sent as it is; or nothing that the server has
    /// is lost by it, as on a local disk after a crash.
    pub fn outlives(&self) -> bool {
        matches!(self.noted, Noted::Closed(_)) || self.base.is_none() || self.only_grown()
    }

    /// Bytes that the server lacks.
    pub fn unsent_bytes(&self) -> u64 {
        match (self.changed, self.base) {
            (false, _) => 0,
            (true, None) => self.size,
            (true, Some(_)) => self.dirty.iter().map(|range| range.end - range.start).sum(),
        }
    }

    /// The base has another time now, which we set ourselves.
    pub fn carry_base(&mut self, now: Version) {
        if let Some(base) = self.base.as_mut().filter(|base| base.size == now.size) {
            base.modified = now.modified;
        }
    }

    /// Takes the place of `base`, of which it has nothing.
    pub fn stands_over(&mut self, base: Option<Version>) {
        self.base = base;
        self.base_end = 0;
        self.at_any_end = false;
    }

    pub(super) fn touch(&mut self) {
        self.changed = true;
        self.closed = false;
        self.at_any_end = false;
        self.failed = None;
        self.untold = None;
        self.written = SystemTime::now();
        // A time that was set before this write would not be true any more.
        self.mtime = None;
    }
}

/// Bytes that are written into the file on the server, as a program that changes a file in its middle asks: more is sent
/// as a whole new file, since the old one could be left with a part of it for long.
const LITTLE: u64 = 256 << 10;

/// Places of those bytes: each costs round trips of its own.
const FEW: usize = 8;
