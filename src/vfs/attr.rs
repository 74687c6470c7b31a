//! Attributes: what the server says of an entry, as a filesystem shows it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::VfsConfig;
use crate::cache::Version;
use crate::ftp::list::{Entry, Kind};

/// Attributes of one inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attr {
    /// Inode number.
    pub ino: u64,
    /// What it is.
    pub kind: Kind,
    /// Size in bytes; for a link, of its target's name.
    pub size: u64,
    /// Time of modification.
    pub mtime: SystemTime,
    /// Permission bits, `0o7777`.
    pub perm: u16,
    /// Names it has: 0 for a file that was removed while open.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Whether the kernel may keep it: not while the server does not have it like this, or while a time is inexact.
    pub lasting: bool,
}

impl VfsConfig {
    /// The attributes of `entry` as inode `ino`.
    pub fn attr(&self, ino: u64, entry: &Entry, settled: bool) -> Attr {
        Attr {
            ino,
            kind: entry.kind,
            size: match entry.kind {
                Kind::Dir => 4096,
                Kind::Symlink => entry
                    .target
                    .as_ref()
                    .map_or(entry.size.unwrap_or(0), |target| target.len() as u64),
                Kind::File | Kind::Other => entry.size.unwrap_or(0),
            },
            mtime: entry
                .modified
                .map_or(UNIX_EPOCH, |time| system_time(time.seconds)),
            perm: self.perm(entry.kind, entry.mode),
            nlink: if entry.kind == Kind::Dir { 2 } else { 1 },
            uid: self.uid,
            gid: self.gid,
            lasting: settled,
        }
    }

    /// Permission bits of something of `kind` whose mode the server says is `mode`.
    pub fn perm(&self, kind: Kind, mode: Option<u32>) -> u16 {
        let forced = match kind {
            Kind::Dir => self.dir_mode,
            Kind::Symlink => Some(0o777),
            Kind::File | Kind::Other => self.file_mode,
        };
        let plain = if kind == Kind::Dir { 0o777 } else { 0o666 };
        let bits = match (forced, mode, self.umask) {
            (Some(forced), _, _) => forced,
            (None, Some(mode), umask) => mode & !umask.unwrap_or(0),
            (None, None, umask) => plain & !umask.unwrap_or(DEFAULT_UMASK),
        };
        (bits & 0o7777) as u16
    }

    /// The mode that a file made on the server is taken to have without a word from us.
    pub fn default_file_mode(&self) -> u32 {
        0o666 & !DEFAULT_UMASK
    }

    /// The same for folders.
    pub fn default_dir_mode(&self) -> u32 {
        0o777 & !DEFAULT_UMASK
    }
}

/// The version of a file's content that `entry` names.
pub fn version(entry: &Entry) -> Version {
    Version {
        size: entry.size.unwrap_or(0),
        modified: entry.modified,
    }
}

/// Unix seconds as the system's time.
pub fn system_time(seconds: i64) -> SystemTime {
    let distance = Duration::from_secs(seconds.unsigned_abs());
    if seconds < 0 {
        UNIX_EPOCH - distance
    } else {
        UNIX_EPOCH + distance
    }
}

/// The system's time as whole Unix seconds, rounded down.
pub fn unix_seconds(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => since.as_secs() as i64,
        Err(before) => {
            let before = before.duration();
            -(before.as_secs() as i64) - i64::from(before.subsec_nanos() > 0)
        }
    }
}

/// What every measured server takes away from new files' bits by default.
const DEFAULT_UMASK: u32 = 0o022;
