//! Attributes that the server cannot be told: kept here for the life of the mount, and said once in the log.

use std::collections::HashMap;

use tracing::warn;

use crate::ftp::RemotePath;
use crate::ftp::list::{Entry, Kind, Modified, Precision};

/// Attributes by path.
#[derive(Debug, Default)]
pub struct Overlay {
    kept: HashMap<RemotePath, Kept>,
    told_mtime: bool,
    told_mode: bool,
}

#[derive(Debug, Default)]
struct Kept {
    /// With what the server said when it was set: once it says something else, this time is of the past.
    mtime: Option<(i64, Basis)>,
    /// As on a local disk, it outlives changes of the content. The kind it was set for: another is another file.
    mode: Option<(u32, Kind)>,
}

#[derive(Debug)]
struct Basis {
    kind: Kind,
    size: Option<u64>,
    modified: Option<Modified>,
}

impl Basis {
    fn of(entry: &Entry) -> Self {
        let size = if entry.kind == Kind::File {
            entry.size
        } else {
            None
        };
        Self {
            kind: entry.kind,
            size,
            modified: entry.modified,
        }
    }

    /// Whether the server still says the same. libunftp 0.24 writes a file's end after its 226, and so gives it another
    /// time a moment later.
    fn is_of(&self, entry: &Entry) -> bool {
        const MOMENT: u64 = 2;
        let now = Self::of(entry);
        let same_time = match (self.modified, now.modified) {
            (Some(then), Some(now)) => then.seconds.abs_diff(now.seconds) <= MOMENT,
            (then, now) => then == now,
        };
        self.kind == now.kind && self.size == now.size && same_time
    }
}

impl Overlay {
    /// Keeps a time of modification for `path`, of which the server says `entry`.
    pub fn keep_mtime(&mut self, path: &RemotePath, entry: &Entry, seconds: i64) {
        if !std::mem::replace(&mut self.told_mtime, true) {
            warn!(%path, "this server cannot set this time of modification: such times are kept by the mount only");
        }
        if let Some(kept) = self.entry(path) {
            kept.mtime = Some((seconds, Basis::of(entry)));
        }
    }

    /// Keeps permission bits for `path`, of which the server says `entry`.
    pub fn keep_mode(&mut self, path: &RemotePath, entry: &Entry, mode: u32) {
        if !std::mem::replace(&mut self.told_mode, true) {
            warn!(%path, "this server cannot set permission bits: they are kept by the mount only");
        }
        if let Some(kept) = self.entry(path) {
            kept.mode = Some((mode, entry.kind));
        }
    }

    /// Shows what is kept for `path` in `entry`, which is the server's word.
    pub fn apply(&self, path: &RemotePath, entry: &mut Entry) {
        if self.kept.is_empty() {
            return;
        }
        let Some(kept) = self.kept.get(path) else {
            return;
        };
        if let Some((mode, kind)) = kept.mode
            && kind == entry.kind
        {
            entry.mode = Some(mode);
        }
        if let Some((seconds, basis)) = &kept.mtime
            && basis.is_of(entry)
        {
            entry.modified = Some(Modified {
                seconds: *seconds,
                precision: Precision::Second,
            });
        }
    }

    /// Follows a rename.
    pub fn rename(&mut self, from: &RemotePath, to: &RemotePath) {
        self.forget(to);
        let moved: Vec<RemotePath> = self
            .kept
            .keys()
            .filter(|path| path.is_within(from))
            .cloned()
            .collect();
        for path in moved {
            if let Some(kept) = self.kept.remove(&path) {
                let rest = &path.as_bytes()[from.as_bytes().len()..];
                self.kept.insert(to.descend(rest), kept);
            }
        }
    }

    /// Forgets the time kept for `path`, whose content has changed.
    pub fn forget_times(&mut self, path: &RemotePath) {
        if let Some(kept) = self.kept.get_mut(path) {
            kept.mtime = None;
        }
    }

    /// Forgets the permission bits kept for `path`, which are to be others.
    pub fn forget_mode(&mut self, path: &RemotePath) {
        if let Some(kept) = self.kept.get_mut(path) {
            kept.mode = None;
        }
    }

    /// Forgets what is kept for `path` and below it.
    pub fn forget(&mut self, path: &RemotePath) {
        if !self.kept.is_empty() {
            self.kept.retain(|kept, _| !kept.is_within(path));
        }
    }

    fn entry(&mut self, path: &RemotePath) -> Option<&mut Kept> {
        if self.kept.len() >= MOST_KEPT && !self.kept.contains_key(path) {
            return None;
        }
        Some(self.kept.entry(path.clone()).or_default())
    }
}

/// Paths with attributes of their own, some 30 MB; beyond that the server's word is shown.
const MOST_KEPT: usize = 200_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(seconds: i64) -> Entry {
        let modified = Some(Modified {
            seconds,
            precision: Precision::Second,
        });
        Entry {
            name: b"f".to_vec(),
            kind: Kind::File,
            size: Some(3),
            modified,
            mode: None,
            target: None,
            line: None,
        }
    }

    fn shown(overlay: &Overlay, path: &str, mut entry: Entry) -> (Option<i64>, Option<u32>) {
        overlay.apply(&RemotePath::new(path.as_bytes()), &mut entry);
        (entry.modified.map(|time| time.seconds), entry.mode)
    }

    #[test]
    fn what_is_kept_follows_a_rename_and_a_time_ends_when_the_server_says_something_else() {
        let mut overlay = Overlay::default();
        let path = RemotePath::new(b"/d/f");
        overlay.keep_mtime(&path, &entry(50), 7);
        overlay.keep_mode(&path, &entry(50), 0o755);
        assert_eq!(shown(&overlay, "/d/f", entry(50)), (Some(7), Some(0o755)));
        overlay.rename(&RemotePath::new(b"/d"), &RemotePath::new(b"/e"));
        assert_eq!(shown(&overlay, "/d/f", entry(50)), (Some(50), None));
        assert_eq!(shown(&overlay, "/e/f", entry(50)), (Some(7), Some(0o755)));
        assert_eq!(shown(&overlay, "/e/f", entry(90)), (Some(90), Some(0o755)));
        let folder = Entry {
            kind: Kind::Dir,
            ..entry(50)
        };
        assert_eq!(shown(&overlay, "/e/f", folder), (Some(50), None));
    }
}
