//! The streams of one content, and its readers as far as they can be told from where they read.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use tokio::sync::Notify;

use super::Error;

#[derive(Debug, Default)]
pub(super) struct Streams {
    pub(super) running: Vec<Stream>,
    pub(super) next_id: u64,
    /// The last failures, and how many there were in all: a reader takes those that came while it waited.
    pub(super) failures: VecDeque<Failure>,
    pub(super) failed: u64,
    /// Where readers stand, the latest last.
    pub(super) cursors: VecDeque<Cursor>,
    /// Reads in a row that went on from none of them, nor began with the file.
    pub(super) jumps: u32,
    /// Where streams of their own were begun, far ahead of a reader.
    pub(super) lanes: BTreeSet<u64>,
    /// How much each of the latest of those brings.
    pub(super) segment: u64,
}

/// A reader, as far as it can be told from where it reads.
#[derive(Debug)]
pub(super) struct Cursor {
    /// Where its last read ended.
    pub(super) end: u64,
    /// How far to read ahead if the next one goes on from there.
    pub(super) ahead: u64,
    /// How much it has read, one part behind the other.
    pub(super) run: u64,
    /// How much that has to be before it is taken to go on.
    pub(super) enough: u64,
}

#[derive(Debug)]
pub(super) struct Stream {
    pub(super) id: u64,
    /// The next byte it will bring.
    pub(super) position: u64,
    /// Readers wait for bytes before this.
    pub(super) demanded: u64,
    /// It goes on to here without being asked.
    pub(super) limit: u64,
    pub(super) behind: Behind,
    pub(super) extended: Arc<Notify>,
}

/// Who is expected to go on from the limit of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Behind {
    /// A reader.
    Reader,
    /// Nobody: it was started by one of many jumps.
    #[default]
    Nobody,
    /// Another stream, which begins there.
    Stream,
}

/// Why a stream ended early, and where.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) position: u64,
    pub(super) error: Error,
}

impl Streams {
    /// How far to read ahead of a read from `offset` to `end`, by whether it goes on from an earlier one; noted once.
    pub(super) fn follow(&mut self, offset: u64, end: u64, first: bool, window_bytes: u64) -> u64 {
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
            return found.map_or(0, |index| self.cursors[index].trusted());
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
            None => self.jumps + u32::from(offset > 0),
        };
        if self.cursors.len() >= CURSORS {
            self.cursors.pop_front();
        }
        let enough = match (&known, offset) {
            (Some(cursor), _) => cursor.enough,
            (None, 0) => HEAD,
            (None, _) => PART,
        };
        let run = known.map_or(0, |cursor| cursor.run) + (end - offset);
        let cursor = Cursor {
            end,
            ahead,
            run,
            enough,
        };
        let trusted = cursor.trusted();
        self.cursors.push_back(cursor);
        trusted
    }
}

impl Cursor {
    /// How far to read ahead of it: as much again as it has read, but little as long as it may be after the head of the
    /// file, or a part of it, alone.
    fn trusted(&self) -> u64 {
        match self.run >= self.enough {
            true => self.ahead.min(self.run),
            false => self.ahead.min(self.run / 4),
        }
    }
}

/// A gap that is read through: as many bytes as come in the round trips that a new stream costs on a fast link.
pub(super) const GAP: u64 = 512 << 10;

/// First read-ahead of a sequential reader; doubled by each further read.
const FIRST_AHEAD: u64 = 512 << 10;

/// What programs read that want to know what a file is, a thumbnail of it, or its title: the kernel reads ahead of them as
/// well, so that they ask us for some three times what they want.
const HEAD: u64 = 1 << 20;

/// What programs read that began within the file and may want a part of it: a chapter, a record, a piece of a download.
const PART: u64 = 4 << 20;

/// Readers of one file that are told apart.
const CURSORS: usize = 64;

/// A rest of the file that is fetched to its end: ending a transfer properly is cheaper than stopping it.
pub(super) const SMALL_REST: u64 = 256 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: u64 = 8 << 20;

    /// How far is read ahead of a reader from the start, when it has read `length` in steps as the kernel's.
    fn ahead_after(length: u64, mut step: u64) -> u64 {
        let mut streams = Streams::default();
        let (mut at, mut ahead) = (0, 0);
        while at < length {
            ahead = streams.follow(at, at + step, true, WINDOW);
            at += step;
            step = (step * 2).min(1 << 20);
        }
        ahead
    }

    #[test]
    fn little_is_read_ahead_of_who_reads_a_head_and_all_of_who_goes_on() {
        assert_eq!(ahead_after(128 << 10, 128 << 10), 32 << 10);
        assert!(ahead_after(240 << 10, 16 << 10) <= 60 << 10);
        assert_eq!(ahead_after(8 << 20, 256 << 10), WINDOW);
    }
}
