//! What a mount tells, as it goes over the socket and is printed as JSON.

use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use indicatif::HumanCount;
use serde::{Deserialize, Serialize};

use super::listen::Told;
use crate::cache::Usage;
use crate::columns::bytes;
use crate::ftp::printable;
use crate::pool::{Direction, Progress, Sessions};
use crate::vfs::{self, Kept, Vfs};

/// One mount.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// What is mounted, without a password.
    pub source: String,
    /// Where.
    pub mountpoint: String,
    /// The process that serves it.
    pub process: u32,
    /// Since when, Unix seconds.
    pub since: u64,
    /// Its sessions with the server.
    pub sessions: Sessions,
    /// What has crossed the wire since it was mounted.
    pub traffic: Traffic,
    /// Its memory for the content of files.
    pub cache: Usage,
    /// The transfers that are going on.
    pub transfers: Vec<Transfer>,
    /// How much the server has yet to get.
    pub unsent: Totals,
    /// What that is: the first of it.
    pub changes: Vec<Unsent>,
    /// The latest warnings and errors, the oldest first.
    pub errors: Vec<Failure>,
}

/// What has crossed the wire.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Traffic {
    /// Commands sent.
    pub commands: u64,
    /// Flights that they left in: each is a round trip at least.
    pub round_trips: u64,
    /// Bytes of files sent.
    pub sent_bytes: u64,
    /// Bytes of files and listings received.
    pub received_bytes: u64,
}

/// A transfer that is going on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Transfer {
    /// What is transferred.
    pub path: String,
    /// Which way.
    pub direction: Direction,
    /// Bytes that have passed.
    pub passed_bytes: u64,
    /// Bytes in all; `None` if that is not known yet.
    pub expected_bytes: Option<u64>,
    /// How fast it is.
    pub bytes_per_second: f64,
    /// How long it has been going on.
    pub seconds: f64,
}

/// Changes and their bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// How many changes.
    pub changes: usize,
    /// How many bytes of files.
    pub bytes: u64,
}

/// A change that the server has yet to get.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Unsent {
    /// Where.
    pub path: String,
    /// What was done.
    pub what: String,
    /// Bytes to be sent for it.
    pub bytes: u64,
    /// Whether it waits, or what else.
    pub state: State,
    /// Why it is not sent, where something has failed.
    pub reason: Option<String>,
}

/// Whether a change waits, or what else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// A program has the file open, and has not closed it since it wrote.
    Open,
    /// It waits for its turn.
    Waits,
    /// It is being sent.
    Runs,
    /// It has failed, and is tried again.
    Rests,
    /// It has failed, and is not tried again before somebody asks.
    Failed,
}

/// Something that went wrong.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Failure {
    /// When, Unix seconds.
    pub time: u64,
    /// What, with the server's words.
    pub text: String,
}

impl Report {
    /// What there is to tell at this moment.
    pub(super) fn new(told: &Told) -> Self {
        let remote = told.vfs.remote();
        let crossed = remote.pool().crossed();
        let unsent = told.vfs.unsent();
        let recent = told.recent.all().into_iter();
        Self {
            source: told.source.clone(),
            mountpoint: printable(told.mountpoint.as_os_str().as_bytes()),
            process: std::process::id(),
            since: unix(told.since),
            sessions: remote.pool().sessions(),
            traffic: Traffic {
                commands: crossed.commands,
                round_trips: crossed.flights,
                sent_bytes: crossed.sent_bytes,
                received_bytes: crossed.received_bytes,
            },
            cache: remote.usage(),
            transfers: remote
                .pool()
                .transfers()
                .iter()
                .map(|progress| Transfer::new(progress, &unsent))
                .collect(),
            unsent: Totals::of(&unsent),
            changes: unsent.iter().take(MOST_TOLD).map(Unsent::new).collect(),
            errors: recent
                .map(|(time, text)| Failure {
                    time: unix(time),
                    text: printable(text.as_bytes()),
                })
                .collect(),
        }
    }

    /// Says of transfers how fast they were since the reports of `before`, some `time` ago.
    pub(super) fn measure(&mut self, before: &[Self], time: Duration) {
        let same = |other: &&Self| other.process == self.process;
        let Some(before) = before.iter().find(same) else {
            return;
        };
        for transfer in &mut self.transfers {
            let then = before.transfers.iter().find(|then| {
                (&then.path, then.direction) == (&transfer.path, transfer.direction)
                    && then.seconds < transfer.seconds
                    && then.passed_bytes <= transfer.passed_bytes
            });
            if let Some(then) = then {
                let passed = transfer.passed_bytes - then.passed_bytes;
                transfer.bytes_per_second = passed as f64 / time.as_secs_f64().max(0.001);
            }
        }
    }
}

/// Changes that are told one by one: there may be tens of thousands.
const MOST_TOLD: usize = 1000;

impl Transfer {
    fn new(progress: &Progress, unsent: &[vfs::Unsent]) -> Self {
        let passed = progress.passed_bytes();
        let seconds = progress.elapsed().as_secs_f64();
        // By the name that it is going to have.
        let sent = |one: &&vfs::Unsent| one.sent_to.as_ref() == Some(&progress.file);
        let file = unsent.iter().find(sent);
        let file = file.map_or(&progress.file, |one| &one.path);
        Self {
            path: printable(file.as_bytes()),
            direction: progress.direction,
            passed_bytes: passed,
            // A file that grows meanwhile has more.
            expected_bytes: progress.expected_bytes().map(|bytes| bytes.max(passed)),
            bytes_per_second: passed as f64 / seconds.max(0.001),
            seconds,
        }
    }
}

impl Totals {
    /// What a mount has yet to send.
    pub(super) fn left(vfs: &Vfs) -> Self {
        let all = Self::of(&vfs.unsent());
        let transfers = vfs.remote().pool().transfers();
        let up = |transfer: &&Arc<Progress>| transfer.direction == Direction::Up;
        let passed = transfers.iter().filter(up).map(|up| up.passed_bytes());
        let bytes = all.bytes.saturating_sub(passed.sum());
        Self { bytes, ..all }
    }

    /// Of all of `unsent`.
    pub(super) fn of(unsent: &[vfs::Unsent]) -> Self {
        Self {
            changes: unsent.len(),
            bytes: unsent.iter().map(|one| one.bytes).sum(),
        }
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = bytes(self.bytes as f64);
        match self.changes {
            1 => write!(f, "1 change, {size}"),
            count => write!(f, "{} changes, {size}", HumanCount(count as u64)),
        }
    }
}

impl Unsent {
    pub(super) fn new(unsent: &vfs::Unsent) -> Self {
        let (state, reason) = match &unsent.kept {
            Kept::Open => (State::Open, None),
            Kept::Waits => (State::Waits, None),
            Kept::Runs => (State::Runs, None),
            Kept::Rests(reason) => (State::Rests, Some(reason.clone())),
            Kept::Failed(reason) => (State::Failed, Some(reason.clone())),
        };
        Self {
            path: printable(unsent.path.as_bytes()),
            what: unsent.what.to_owned(),
            bytes: unsent.bytes,
            state,
            reason,
        }
    }
}

fn unix(time: SystemTime) -> u64 {
    // Before 1970 no clock is right.
    time.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}
