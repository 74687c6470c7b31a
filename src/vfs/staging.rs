//! Staged files: what was written to a file, in a sparse local file, until the server has it.
//!
//! A staged file stands over a base, the content that the server has. Bytes that are neither written nor fetched are read
//! from the base; what was cut off, and what lies behind the base, is zero.

use std::fs::File;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

use rangemap::RangeSet;

use crate::cache::{EarlyStore, UntilThen, Version};

/// Where staged files live. They have no names, so that nobody else can open them and nothing is left behind.
#[derive(Debug)]
pub struct Staging {
    dir: PathBuf,
}

/// One staged file.
#[derive(Debug)]
pub struct Staged {
    /// The local file. Its length is the file's size; holes are zeros, or bytes of the base.
    pub file: Arc<File>,
    /// Taken by whatever changes the file or sends it, for as long as that takes: what is sent is not changed meanwhile.
    /// Taken before `state`, and before no other lock.
    pub order: Arc<tokio::sync::Mutex<()>>,
    state: Mutex<State>,
    /// Sent while it is written. Taken before `state`.
    early: Mutex<Option<EarlyStore>>,
}

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
    local: RangeSet<u64>,
    /// Bytes written since the last commit.
    dirty: RangeSet<u64>,
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
    /// Whether it was begun to be sent while it is written: that is tried once.
    begun_early: bool,
}

impl Staging {
    /// Stages in `dir`, which is made, for its owner alone, if it is not there.
    ///
    /// # Errors
    /// If no file can be made in it.
    pub fn new(dir: &Path) -> io::Result<Self> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)?;
        tempfile::tempfile_in(dir)?;
        Ok(Self {
            dir: dir.to_owned(),
        })
    }

    /// A staged file of `size` bytes over `base`.
    pub fn stage(&self, base: Option<Version>) -> io::Result<Staged> {
        let file = tempfile::tempfile_in(&self.dir)?;
        let size = base.map_or(0, |version| version.size);
        file.set_len(size)?;
        Ok(Staged {
            file: Arc::new(file),
            order: Arc::default(),
            state: Mutex::new(State {
                base,
                base_end: size,
                size,
                local: RangeSet::new(),
                dirty: RangeSet::new(),
                at_any_end: base.is_some(),
                changed: base.is_none(),
                failed: None,
                written: SystemTime::now(),
                mtime: None,
                mode: None,
                begun_early: false,
            }),
            early: Mutex::default(),
        })
    }

    /// Copies bytes that could not be sent to a file that stays; its path.
    pub fn rescue(&self, staged: &Staged, name: &[u8]) -> io::Result<PathBuf> {
        let readable: String = String::from_utf8_lossy(name)
            .chars()
            .map(|c| if c.is_control() { '_' } else { c })
            .take(60)
            .collect();
        let dir = self.dir.join("unsent");
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&dir)?;
        let mut copy = tempfile::Builder::new()
            .prefix("")
            .suffix(&format!("-{readable}"))
            .tempfile_in(&dir)?;
        let size = staged.state().size;
        let mut at = 0;
        let mut piece = vec![0; 1 << 20];
        while at < size {
            let length = piece.len().min((size - at) as usize);
            staged.file.read_exact_at(&mut piece[..length], at)?;
            io::Write::write_all(&mut copy, &piece[..length])?;
            at += length as u64;
        }
        copy.as_file().sync_all()?;
        let (_, path) = copy.keep().map_err(|error| error.error)?;
        Ok(path)
    }
}

impl Staged {
    /// What it holds. Never kept across an await.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while locked")
    }

    /// Sends what is written so far while more is, by what `begin` gives for a file that is written from its start on:
    /// where that is worth it, and where nothing of it needs the base.
    pub fn send_early(&self, begin: impl FnOnce(UntilThen) -> Option<EarlyStore>) {
        let mut early = self.early();
        let ready = {
            let mut state = self.state();
            let written = state.dirty.first().filter(|first| first.start == 0);
            let Some(ready) = written.map(|first| first.end) else {
                return;
            };
            let first = !state.begun_early && state.base_end == 0 && ready >= EARLY;
            if first {
                state.begun_early = true;
                let until_then = match state.base {
                    None => UntilThen::Nothing,
                    Some(Version { size: 0, .. }) => UntilThen::Empty,
                    Some(_) => UntilThen::File,
                };
                drop(state);
                *early = begin(until_then);
            }
            ready
        };
        if let Some(early) = &*early {
            early.advance(ready);
        }
    }

    /// The upload that was begun early, to be finished or given up before anything else is done at that name.
    pub fn take_early(&self) -> Option<EarlyStore> {
        self.early().take()
    }

    /// The bytes from `offset` on were changed.
    fn changed_from(&self, offset: u64) {
        let mut early = self.early();
        if let Some(early) = early.as_mut().filter(|early| offset < early.claimed()) {
            early.stop();
        }
    }

    fn early(&self) -> MutexGuard<'_, Option<EarlyStore>> {
        self.early.lock().expect("no panic while locked")
    }

    /// Adds `bytes` at the end; the caller holds `order`.
    pub fn append(&self, bytes: &[u8]) -> io::Result<()> {
        let (offset, at_any_end) = {
            let state = self.state();
            (state.size, state.at_any_end)
        };
        self.write(offset, bytes)?;
        self.state().at_any_end = at_any_end;
        Ok(())
    }

    /// Writes `bytes` at `offset`; the caller holds `order`.
    pub fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)?;
        self.changed_from(offset);
        let end = offset + bytes.len() as u64;
        let mut state = self.state();
        if end > offset {
            state.local.insert(offset..end);
            state.dirty.insert(offset..end);
        }
        state.size = state.size.max(end);
        state.touch();
        Ok(())
    }

    /// Cuts or extends the file to `size` bytes; the caller holds `order`.
    pub fn truncate(&self, size: u64) -> io::Result<()> {
        self.file.set_len(size)?;
        self.changed_from(size);
        let mut state = self.state();
        if size < state.size {
            state.local.remove(size..u64::MAX);
            state.dirty.remove(size..u64::MAX);
            state.base_end = state.base_end.min(size);
        }
        state.size = size;
        state.touch();
        Ok(())
    }

    /// Takes `bytes` of the base at `offset`; what was written meanwhile stays. The caller holds `order`.
    pub fn fill(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        let end = offset + bytes.len() as u64;
        let gaps: Vec<_> = state.local.gaps(&(offset..end)).collect();
        for gap in gaps {
            let slice = &bytes[(gap.start - offset) as usize..(gap.end - offset) as usize];
            self.file.write_all_at(slice, gap.start)?;
            state.local.insert(gap);
        }
        Ok(())
    }

    /// The server has it as `version` now.
    pub fn committed(&self, version: Version) {
        let mut state = self.state();
        let (zeros, size) = (state.base_end, state.size);
        if zeros < size {
            // What lay behind the old base is here: written bytes, and holes that are zeros.
            state.local.insert(zeros..size);
        }
        state.base = Some(version);
        state.base_end = version.size;
        state.dirty.clear();
        state.at_any_end = true;
        state.changed = false;
        state.failed = None;
    }

    /// The server has it as `version` now, in which others have changed what lies before the bytes that were added: all of
    /// it is read from there. The caller holds `order`.
    pub fn rebased(&self, version: Version) -> io::Result<()> {
        let mut state = self.state();
        self.file.set_len(version.size)?;
        state.local = RangeSet::new();
        state.base_end = version.size;
        state.size = version.size;
        Ok(())
    }
}

impl State {
    /// The first part of `offset..end` that is not here but in the base; `None` if all of it can be read here.
    pub fn missing(&self, offset: u64, end: u64) -> Option<std::ops::Range<u64>> {
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
    pub fn small_changes(&self) -> Option<Vec<std::ops::Range<u64>>> {
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

    /// Whether there is anything that the server lacks.
    pub fn pending(&self) -> bool {
        self.changed || self.mtime.is_some() || self.mode.is_some()
    }

    fn touch(&mut self) {
        self.changed = true;
        self.at_any_end = false;
        self.failed = None;
        self.written = SystemTime::now();
        // A time that was set before this write would not be true any more.
        self.mtime = None;
    }
}

/// Bytes that are written into the file on the server, as a program that changes a file in its middle asks: more is sent
/// as a whole new file, since the old one could be left with a part of it for long.
const LITTLE: u64 = 256 << 10;

/// Bytes from which on a file is sent while it is written: programs write less than this in one go.
const EARLY: u64 = 1 << 20;

/// Places of those bytes: each costs round trips of its own.
const FEW: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn staged(base: u64) -> (tempfile::TempDir, Staged) {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let staging = Staging::new(dir.path()).expect("a staging folder");
        let staged = staging
            .stage(Some(Version {
                size: base,
                modified: None,
            }))
            .expect("a staged file");
        (dir, staged)
    }

    #[test]
    fn what_was_cut_off_never_comes_back_from_the_base() {
        let (_dir, staged) = staged(100);
        staged.truncate(10).expect("cut");
        staged.truncate(100).expect("extended");
        let state = staged.state().clone();
        assert_eq!(state.missing(0, 100), Some(0..10));
        assert_eq!(state.missing(10, 100), None);
        assert!(!state.only_grown());
    }

    #[test]
    fn bytes_behind_the_base_are_growth_and_a_byte_before_its_end_is_not() {
        let (_dir, staged) = staged(100);
        staged.write(120, b"x").expect("written");
        assert!(
            staged.state().only_grown(),
            "the hole up to 120 is zeros behind the base"
        );
        assert_eq!(staged.state().missing(0, 200), Some(0..100));
        staged.write(99, b"x").expect("written");
        assert!(!staged.state().only_grown());
    }

    #[test]
    fn after_a_commit_of_the_tail_the_head_is_still_read_from_the_base() {
        let (_dir, staged) = staged(100);
        staged.write(120, b"x").expect("written");
        staged.committed(Version {
            size: 121,
            modified: None,
        });
        let state = staged.state().clone();
        assert_eq!(state.missing(0, 121), Some(0..100));
        assert_eq!(state.missing(100, 121), None);
        assert!(!state.pending());
    }

    #[test]
    fn bytes_of_the_base_do_not_replace_what_was_written() {
        let (_dir, staged) = staged(6);
        staged.write(2, b"XY").expect("written");
        staged.fill(0, b"abcdef").expect("filled");
        let mut all = [0; 6];
        staged.file.read_exact_at(&mut all, 0).expect("read");
        assert_eq!(&all, b"abXYef");
        assert!(!staged.state().uses_base());
    }
}
