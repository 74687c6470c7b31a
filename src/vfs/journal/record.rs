//! What the journal remembers, one record after another, and what is left to do by all of them.

use std::collections::BTreeMap;
use std::ops::Range;

use rangemap::RangeSet;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};

use crate::cache::{Version, is_scratch_name};
use crate::ftp::RemotePath;
use crate::ftp::list::Kind;

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Record {
    /// `content` holds this of a file; in place of what was said of it before.
    Staged(u64, Pending),
    /// These bytes of `content` were written, where some of the base counts as well.
    Wrote(u64, Range<u64>),
    /// What of `content` the server gets first gets there under this name.
    SentTo(u64, RemotePath),
    /// The server has `content`, or nobody wants it any more.
    Settled(u64),
    /// A change of names or attributes, by its number in the order.
    Queued(u64, Intent),
    /// The change of this number is done, or given up.
    Done(u64),
    /// What `content` belongs to is about to lose its name on the server.
    Leaving(u64),
    /// Bytes of `content` are about to be changed that the server may have got.
    Rewritten(u64),
}

/// A file whose bytes the server lacks. Its size is that of the content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// Where it is to be.
    pub path: RemotePath,
    /// Its number in the order of changes once a program has closed it; `None` while it is being written.
    pub closed: Option<u64>,
    /// What the server has there; `None` for a new file.
    pub base: Option<Version>,
    /// Bytes of the base that still count.
    pub base_end: u64,
    /// Bytes that the content holds, as far as the base counts.
    #[serde(deserialize_with = "ranges")]
    pub local: RangeSet<u64>,
    /// Bytes that were written, as far as the base counts.
    #[serde(deserialize_with = "ranges")]
    pub dirty: RangeSet<u64>,
    /// Whether all that was written was to be added at the end, wherever that is.
    pub at_any_end: bool,
    /// A time of modification to be set, Unix seconds.
    pub mtime: Option<i64>,
    /// Permission bits to be set.
    pub mode: Option<u32>,
    /// Where parts of it may be on the server.
    pub sent_to: SentTo,
    /// Whether it was about to lose its name on the server, and may have.
    #[serde(skip)]
    pub leaving: bool,
    /// Whether bytes were changed that the server may have got: by its end alone a part cannot be told to be true.
    #[serde(skip)]
    pub rewritten: bool,
}

/// Where parts of a file may be on the server: where it was sent last, and under its own name if it was sent there before.
///
/// Other names of ours are not among them: those are cleared away by themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentTo(Vec<RemotePath>);

impl SentTo {
    /// It is sent to `path` from here on.
    pub fn add(&mut self, path: RemotePath) {
        self.0
            .retain(|other| *other != path && !is_scratch_name(other));
        self.0.push(path);
    }

    /// Where it was sent last.
    pub fn last(&self) -> Option<&RemotePath> {
        self.0.last()
    }

    /// Whether a part may be at `path`.
    pub fn has(&self, path: &RemotePath) -> bool {
        self.0.contains(path)
    }

    /// Whether no part is anywhere.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// From the last on.
    pub fn newest_first(&self) -> impl Iterator<Item = &RemotePath> {
        self.0.iter().rev()
    }
}

/// A change of names or attributes that the server has yet to be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Intent {
    /// A new folder, with its permission bits.
    MakeDir(RemotePath, u32),
    /// The removal of what is at a path, which was of this kind, and of this version if it was a file.
    Remove(RemotePath, Kind, Option<Version>),
    /// What is at the first path, a name of ours, belongs to the second, unless something is there.
    PutBack(RemotePath, RemotePath),
    /// Permission bits.
    SetMode(RemotePath, u32),
    /// A time of modification, Unix seconds.
    SetMtime(RemotePath, i64),
    /// An empty folder is at a path, unless something else is there.
    KeepDir(RemotePath),
}

/// What is left to do by all records so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// Files by content.
    pub files: BTreeMap<u64, Pending>,
    /// Changes by number.
    pub changes: BTreeMap<u64, Intent>,
}

impl Left {
    /// Takes one more record in. One that belongs to nothing known says nothing.
    pub fn take(&mut self, record: Record) {
        match record {
            Record::Staged(content, mut pending) => {
                // Until nothing of it is on the server.
                let before = self.files.get(&content);
                pending.rewritten =
                    !pending.sent_to.is_empty() && before.is_some_and(|before| before.rewritten);
                self.files.insert(content, pending);
            }
            Record::Wrote(content, range) => {
                if let Some(pending) = self.files.get_mut(&content)
                    && !range.is_empty()
                {
                    pending.at_any_end = false;
                    pending.local.insert(range.clone());
                    pending.dirty.insert(range);
                }
            }
            Record::SentTo(content, path) => {
                if let Some(pending) = self.files.get_mut(&content) {
                    pending.sent_to.add(path);
                }
            }
            Record::Leaving(content) => {
                if let Some(pending) = self.files.get_mut(&content) {
                    pending.leaving = true;
                }
            }
            Record::Rewritten(content) => {
                if let Some(pending) = self.files.get_mut(&content) {
                    pending.rewritten = true;
                }
            }
            Record::Settled(content) => {
                self.files.remove(&content);
            }
            Record::Queued(number, change) => {
                self.changes.insert(number, change);
            }
            Record::Done(number) => {
                self.changes.remove(&number);
            }
        }
    }

    /// Records that say the same in as few steps as there are.
    pub fn records(&self) -> impl Iterator<Item = Record> + '_ {
        let files = self.files.iter();
        let files = files.flat_map(|(&content, pending)| {
            let leaving = pending.leaving.then_some(Record::Leaving(content));
            let rewritten = pending.rewritten.then_some(Record::Rewritten(content));
            std::iter::once(Record::Staged(content, pending.clone()))
                .chain(leaving)
                .chain(rewritten)
        });
        let changes = self.changes.iter();
        files.chain(changes.map(|(&number, change)| Record::Queued(number, change.clone())))
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty() && self.changes.is_empty()
    }

    /// The last number of the order that was used.
    pub fn last_number(&self) -> u64 {
        let closed = self.files.values().filter_map(|pending| pending.closed);
        closed
            .chain(self.changes.keys().copied())
            .max()
            .unwrap_or(0)
    }
}

/// Ranges none of which is empty: rangemap 1.8 panics at one that is.
fn ranges<'de, D: Deserializer<'de>>(from: D) -> Result<RangeSet<u64>, D::Error> {
    let ranges = Vec::<(u64, u64)>::deserialize(from)?.into_iter();
    ranges
        .map(|(start, end)| match start < end {
            true => Ok(start..end),
            false => Err(D::Error::custom("an empty range")),
        })
        .collect()
}
