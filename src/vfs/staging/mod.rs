//! Staged files: what was written to a file, in a sparse local file, until the server has it.
//!
//! A staged file stands over a base, the content that the server has. Bytes that are neither written nor fetched are read
//! from the base; what was cut off, and what lies behind the base, is zero.

mod state;

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

use rangemap::RangeSet;

use super::journal::{Content, Journal, Pending, Record};
use crate::cache::{EarlyStore, Recalls, Source, UntilThen, Version};
use crate::ftp::RemotePath;
pub use state::State;

/// Where staged files live: in the journal, so that they outlive this process.
#[derive(Debug)]
pub struct Staging {
    journal: Journal,
    /// Where copies of what could not be sent are kept.
    unsent: PathBuf,
}

/// One staged file.
#[derive(Debug)]
pub struct Staged {
    /// The local file. Its length is the file's size; holes are zeros, or bytes of the base.
    pub file: Arc<File>,
    /// Taken by whatever changes the file or sends it, for as long as that takes: what is sent is not changed meanwhile.
    /// Taken before `state`, and before no other lock.
    pub order: Arc<tokio::sync::Mutex<()>>,
    /// Those who wait for `order` and need nothing of what is sent.
    pub recalls: Recalls,
    state: Mutex<State>,
    /// Sent while it is written. Taken before `state`.
    early: Mutex<Option<EarlyStore>>,
    content: Content,
    journal: Journal,
}

/// What the journal has of a staged file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Noted {
    /// Nothing: it does not outlive this process.
    No,
    /// What was written, by a program that goes on.
    Open,
    /// All of it, at this number in the order of changes.
    Closed(u64),
}

impl Staging {
    /// Stages in the journal `id` in `folder`.
    ///
    /// # Errors
    /// As for [`Journal::open`].
    pub fn new(folder: &Path, id: &str) -> io::Result<Self> {
        Ok(Self {
            journal: Journal::open(folder, id)?,
            unsent: folder.join("unsent"),
        })
    }

    /// The journal below.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// A staged file over `base`, as long as that.
    pub fn stage(&self, base: Option<Version>) -> io::Result<Staged> {
        let content = self.journal.content()?;
        let size = base.map_or(0, |version| version.size);
        content.file.set_len(size)?;
        Ok(self.staged(
            content,
            State {
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
                closed: false,
                restored: false,
                untold: None,
                sent_to: Default::default(),
                rewritten: false,
                begun_early: false,
                noted: Noted::No,
            },
        ))
    }

    /// What an earlier process staged as `content`, of which the journal says `pending`.
    pub fn restore(&self, content: u64, pending: &Pending) -> io::Result<Staged> {
        let content = self.journal.reopen(content)?;
        let metadata = content.file.metadata()?;
        Ok(self.staged(
            content,
            State {
                base: pending.base,
                base_end: pending.base_end,
                size: metadata.len(),
                local: pending.local.clone(),
                dirty: pending.dirty.clone(),
                at_any_end: pending.at_any_end,
                changed: true,
                failed: None,
                written: metadata.modified()?,
                mtime: pending.mtime,
                mode: pending.mode,
                closed: true,
                restored: true,
                untold: None,
                sent_to: pending.sent_to.clone(),
                rewritten: pending.rewritten,
                begun_early: true,
                noted: pending.closed.map_or(Noted::Open, Noted::Closed),
            },
        ))
    }

    fn staged(&self, content: Content, state: State) -> Staged {
        Staged {
            file: content.file.clone(),
            order: Arc::default(),
            recalls: Recalls::default(),
            state: Mutex::new(state),
            early: Mutex::default(),
            content,
            journal: self.journal.clone(),
        }
    }

    /// Copies bytes that could not be sent to a file that stays; its path.
    pub fn rescue(&self, staged: &Staged, name: &[u8]) -> io::Result<PathBuf> {
        let readable: String = String::from_utf8_lossy(name)
            .chars()
            .map(|c| if c.is_control() { '_' } else { c })
            .take(60)
            .collect();
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.unsent)?;
        let mut copy = tempfile::Builder::new()
            .prefix("")
            .suffix(&format!("-{readable}"))
            .tempfile_in(&self.unsent)?;
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
    /// The number of its content in the journal, which no other staged file has.
    pub fn content(&self) -> u64 {
        self.content.number
    }

    /// Its first `size` bytes, to be sent. Not to be called while its state is looked at.
    pub fn source(&self, size: u64) -> Source {
        Source {
            file: self.file.clone(),
            size,
            recalls: self.recalls.clone(),
            compare: self.state().compare(),
        }
    }

    /// What it holds. Never kept across an await.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while locked")
    }

    /// Sends what is written so far while more is, by what `begin` gives for a file that is written from its start on:
    /// where that is worth it, and where nothing of it needs the base.
    ///
    /// # Errors
    /// Those of the journal.
    pub fn send_early(
        &self,
        begin: impl FnOnce(UntilThen) -> Option<EarlyStore>,
    ) -> io::Result<()> {
        let mut early = self.early();
        let ready = {
            let mut state = self.state();
            let written = state.dirty.first().filter(|first| first.start == 0);
            let Some(ready) = written.map(|first| first.end) else {
                return Ok(());
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
                if let Some(early) = &*early {
                    self.note_sent_to(early.sent_to())?;
                }
            }
            ready
        };
        if let Some(early) = &*early {
            early.advance(ready);
        }
        Ok(())
    }

    /// Waits while much more is written than sent, if it is sent while it is written.
    pub async fn keep_pace(&self) {
        let pace = self.early().as_ref().map(EarlyStore::pace);
        if let Some(pace) = pace {
            pace.await;
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

    /// Notes in the journal that this is to be at `path`, after a change of it: of the bytes in `wrote`, or of anything.
    /// It outlives this process then.
    pub fn note(&self, path: &RemotePath, wrote: Option<Range<u64>>) -> io::Result<()> {
        let mut state = self.state();
        if let (Noted::Open, Some(range)) = (state.noted, wrote) {
            // Where nothing of the base counts, the content says it all.
            return match state.base_end {
                0 => Ok(()),
                _ => self.journal.note(Record::Wrote(self.content.number, range)),
            };
        }
        let closed = match state.noted {
            Noted::Closed(number) if state.closed => Some(number),
            _ => None,
        };
        self.note_all(&mut state, path, closed)
    }

    /// Notes that this is closed, and is to be at `path` by its `number` in the order of changes.
    pub fn note_closed(&self, path: &RemotePath, number: u64) -> io::Result<()> {
        self.note_all(&mut self.state(), path, Some(number))
    }

    fn note_all(
        &self,
        state: &mut State,
        path: &RemotePath,
        closed: Option<u64>,
    ) -> io::Result<()> {
        let counts = state.base_end > 0;
        let ranges = |ranges: &RangeSet<u64>| match counts {
            true => ranges.clone(),
            false => RangeSet::new(),
        };
        let pending = Pending {
            path: path.clone(),
            closed,
            base: state.base,
            base_end: state.base_end,
            local: ranges(&state.local),
            dirty: ranges(&state.dirty),
            at_any_end: state.at_any_end,
            mtime: state.mtime,
            mode: state.mode,
            sent_to: state.sent_to.clone(),
            leaving: false,
            rewritten: state.rewritten,
        };
        self.journal
            .note(Record::Staged(self.content.number, pending))?;
        if state.noted == Noted::No && state.rewritten {
            self.journal.note(Record::Rewritten(self.content.number))?;
        }
        state.noted = closed.map_or(Noted::Open, Noted::Closed);
        Ok(())
    }

    /// Notes that this is as somebody wants it, at `path`, if that is not noted yet: by a `number` of its own in the order.
    pub fn note_whole(&self, path: &RemotePath, number: impl FnOnce() -> u64) -> io::Result<()> {
        let mut state = self.state();
        match state.noted {
            Noted::Closed(_) => Ok(()),
            _ => self.note_all(&mut state, path, Some(number())),
        }
    }

    /// Notes that a part of it may be at `path` on the server from here on.
    pub fn note_sent_to(&self, path: &RemotePath) -> io::Result<()> {
        let mut state = self.state();
        if state.noted != Noted::No && state.sent_to.last() != Some(path) {
            self.journal
                .note(Record::SentTo(self.content.number, path.clone()))?;
        }
        state.sent_to.add(path.clone());
        Ok(())
    }

    /// Notes that this is about to lose its name on the server: should this process end, the next mount looks whether it has.
    /// [`Staged::note_staying`] takes that back.
    pub fn note_leaving(&self) -> io::Result<()> {
        let noted = self.state().noted;
        match noted {
            Noted::No => Ok(()),
            _ => self.journal.note(Record::Leaving(self.content.number)),
        }
    }

    /// Takes [`Staged::note_leaving`] back: it keeps its name, `path`.
    pub fn note_staying(&self, path: &RemotePath) -> io::Result<()> {
        let noted = self.state().noted;
        match noted {
            Noted::No => Ok(()),
            _ => self.note(path, None),
        }
    }

    /// Changes an attribute that is sent with what is pending; `false` if nothing is.
    pub fn set_pending(&self, set: impl FnOnce(&mut State)) -> bool {
        let mut state = self.state();
        let pending = state.pending();
        if pending {
            set(&mut state);
        }
        pending
    }

    /// Makes the bytes of the content outlive a loss of power.
    pub async fn sync(&self) -> io::Result<()> {
        let file = self.file.clone();
        let synced = tokio::task::spawn_blocking(move || file.sync_data());
        synced.await.map_err(io::Error::other)?
    }

    /// The journal need not have it any more: the server has it, or nobody wants it.
    pub fn settle(&self) {
        let mut state = self.state();
        state.sent_to = Default::default();
        state.rewritten = false;
        state.restored = false;
        if std::mem::replace(&mut state.noted, Noted::No) != Noted::No {
            self.journal.note_end(Record::Settled(self.content.number));
        }
    }

    /// Adds `bytes` at the end; the caller holds `order`.
    pub fn append(&self, bytes: &[u8]) -> io::Result<Range<u64>> {
        let (offset, at_any_end) = {
            let state = self.state();
            (state.size, state.at_any_end)
        };
        let range = self.write(offset, bytes)?;
        self.state().at_any_end = at_any_end;
        Ok(range)
    }

    /// Writes `bytes` at `offset`; where they are. The caller holds `order`.
    pub fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<Range<u64>> {
        self.note_rewriting(offset)?;
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
        Ok(offset..end)
    }

    /// Cuts or extends the file to `size` bytes; the caller holds `order`.
    pub fn truncate(&self, size: u64) -> io::Result<()> {
        self.note_rewriting(size)?;
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

    /// Before the bytes from `offset` on are changed: what the server may have of them is noted not to be true any more.
    fn note_rewriting(&self, offset: u64) -> io::Result<()> {
        let mut state = self.state();
        if offset < state.size && !state.sent_to.is_empty() && !state.rewritten {
            if state.noted != Noted::No {
                self.journal.note(Record::Rewritten(self.content.number))?;
            }
            state.rewritten = true;
        }
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
        state.sent_to = Default::default();
        state.rewritten = false;
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

impl Drop for Staged {
    fn drop(&mut self) {
        let noted = self.state.get_mut().map(|state| state.noted);
        // What the journal has, the next mount of this server goes on with.
        if !matches!(noted, Ok(Noted::Open | Noted::Closed(_))) {
            self.content.remove();
        }
    }
}

/// Bytes from which on a file is sent while it is written: programs write less than this in one go.
const EARLY: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn staged(base: u64) -> (tempfile::TempDir, Staged) {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let staging = Staging::new(dir.path(), "server").expect("a journal");
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
