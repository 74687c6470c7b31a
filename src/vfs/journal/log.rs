//! An append-only file of records, each with its length and its checksum.
//!
//! A record that was cut by a loss of power, and whatever stands behind it, was never acknowledged: it is cut off when
//! the log is opened.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::record::{Left, Record};

/// The log and what its records leave to do.
#[derive(Debug)]
pub struct Log {
    path: PathBuf,
    file: Arc<File>,
    left: Left,
    bytes: u64,
    /// Length from which on it is written anew.
    bound: u64,
    /// Records that were added since it was opened.
    added: u64,
    /// Of those, how many are known to outlive a loss of power.
    synced: u64,
}

impl Log {
    /// The log at `path`, made if it is not there.
    ///
    /// # Errors
    /// Local ones, and [`io::ErrorKind::InvalidData`] for a file that is no such log, which is left as it is.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let (left, whole) = read(&bytes).ok_or_else(|| {
            let text = format!("{} is no journal of this version", path.display());
            io::Error::new(io::ErrorKind::InvalidData, text)
        })?;
        file.set_len(whole as u64)?;
        let mut log = Self {
            path: path.to_owned(),
            file: Arc::new(file),
            left,
            bytes: whole as u64,
            bound: SHORTEST,
            added: 0,
            synced: 0,
        };
        if whole == 0 {
            log.file.write_all_at(HEADER, 0)?;
            log.bytes = HEADER.len() as u64;
        }
        log.shorten()?;
        Ok(log)
    }

    /// What is left to do.
    pub fn left(&self) -> &Left {
        &self.left
    }

    /// Adds `record`: it outlives this process, and a loss of power after [`Log::to_sync`].
    pub fn add(&mut self, record: Record) -> io::Result<()> {
        let frame = frame(&record)?;
        if let Err(error) = (&*self.file).write_all(&frame) {
            // A part of it would hide whatever is added behind it.
            self.file.set_len(self.bytes)?;
            return Err(error);
        }
        self.bytes += frame.len() as u64;
        self.added += 1;
        self.left.take(record);
        // Without anything left the file is done with as soon as that is worth it.
        let idle = self.left.is_empty() && self.bytes > IDLE;
        if idle || self.bytes > self.bound {
            self.shorten()?;
        }
        Ok(())
    }

    /// The file to be synced for all records so far, and the number to be told by [`Log::synced`] then; `None` if they all
    /// outlive a loss of power.
    pub fn to_sync(&self) -> Option<(Arc<File>, u64)> {
        (self.synced < self.added).then(|| (self.file.clone(), self.added))
    }

    /// The first `added` records outlive a loss of power.
    pub fn synced(&mut self, added: u64) {
        self.synced = self.synced.max(added);
    }

    /// Writes what is left into a new file, which takes the place of the old one.
    fn shorten(&mut self) -> io::Result<()> {
        let mut bytes = HEADER.to_vec();
        for record in self.left.records() {
            bytes.extend(frame(&record)?);
        }
        if bytes.len() as u64 == self.bytes {
            return Ok(());
        }
        let new = self.path.with_extension("new");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)?;
        file.write_all(&bytes)?;
        if !self.left.is_empty() {
            file.sync_all()?;
        }
        std::fs::rename(&new, &self.path)?;
        if !self.left.is_empty() {
            sync_folder(&self.path)?;
        }
        // Every write goes to its end.
        self.file = Arc::new(OpenOptions::new().append(true).open(&self.path)?);
        self.bytes = bytes.len() as u64;
        self.bound = (2 * self.bytes).max(SHORTEST);
        self.synced = self.added;
        Ok(())
    }
}

/// Makes the names in the folder of `path` outlive a loss of power.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

/// What the records in `bytes` leave to do, and how many bytes belong to whole records. `None` if this is no journal.
pub fn read(bytes: &[u8]) -> Option<(Left, usize)> {
    if bytes.len() < HEADER.len() {
        // Cut before anything was noted.
        return HEADER.starts_with(bytes).then(|| (Left::default(), 0));
    }
    let mut rest = bytes.strip_prefix(HEADER)?;
    let mut left = Left::default();
    while let Some((record, behind)) = first(rest) {
        left.take(record);
        rest = behind;
    }
    Some((left, bytes.len() - rest.len()))
}

/// The first record of `bytes` and what stands behind it; `None` where it is cut or damaged.
fn first(bytes: &[u8]) -> Option<(Record, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (checksum, rest) = rest.split_first_chunk::<4>()?;
    let (record, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    if crc32fast::hash(record) != u32::from_le_bytes(*checksum) {
        return None;
    }
    Some((postcard::from_bytes(record).ok()?, rest))
}

/// `record` as the log holds it.
pub fn frame(record: &Record) -> io::Result<Vec<u8>> {
    checked(&postcard::to_stdvec(record).map_err(io::Error::other)?)
}

/// The bytes of a record behind their length and checksum.
pub fn checked(record: &[u8]) -> io::Result<Vec<u8>> {
    let length = u32::try_from(record.len()).map_err(io::Error::other)?;
    let checksum = crc32fast::hash(record);
    Ok([&length.to_le_bytes()[..], &checksum.to_le_bytes(), record].concat())
}

/// What every log begins with.
pub const HEADER: &[u8] = b"ftpfs journal 1\n";

/// Length that a log may always have: a thousand records or so are read in no time.
const SHORTEST: u64 = 1 << 20;

/// Length from which on a log of which nothing is left is emptied.
const IDLE: u64 = 64 << 10;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::record::{Intent, Pending};
    use super::*;
    use crate::ftp::RemotePath;

    fn pending(path: &str) -> Pending {
        Pending {
            path: RemotePath::new(path.as_bytes()),
            closed: None,
            base: None,
            base_end: 0,
            local: Default::default(),
            dirty: Default::default(),
            at_any_end: false,
            mtime: Some(-1),
            mode: None,
            sent_to: Default::default(),
            leaving: false,
            rewritten: false,
        }
    }

    fn steps() -> Vec<Record> {
        vec![
            Record::Staged(1, pending("/a")),
            Record::Wrote(1, 3..9),
            Record::Queued(7, Intent::MakeDir(RemotePath::new(b"/d"), 0o755)),
            Record::SentTo(1, RemotePath::new(b"/b")),
            Record::Staged(2, pending("/c")),
            Record::Leaving(2),
            Record::Settled(1),
            Record::Done(7),
        ]
    }

    fn left_after(steps: &[Record]) -> Left {
        let mut left = Left::default();
        steps.iter().cloned().for_each(|step| left.take(step));
        left
    }

    #[test]
    fn a_log_cut_anywhere_holds_all_whole_records_and_goes_on() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log");
        let mut ends = Vec::new();
        let mut log = Log::open(&path).expect("a log");
        for step in steps() {
            log.add(step).expect("added");
            ends.push(log.bytes as usize);
        }
        drop(log);
        let bytes = std::fs::read(&path).expect("read");
        for cut in 0..=bytes.len() {
            std::fs::write(&path, &bytes[..cut]).expect("written");
            let whole = ends.iter().filter(|&&end| end <= cut).count();
            let mut log = Log::open(&path).unwrap_or_else(|error| panic!("{cut}: {error}"));
            assert_eq!(*log.left(), left_after(&steps()[..whole]), "cut at {cut}");
            log.add(Record::Staged(9, pending("/z"))).expect("added");
            let again = Log::open(&path).expect("a log");
            assert_eq!(again.left(), log.left(), "cut at {cut}");
            assert!(again.left().files.contains_key(&9));
        }
    }

    #[test]
    fn a_long_log_is_written_anew_and_says_the_same() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log");
        let mut log = Log::open(&path).expect("a log");
        log.add(Record::Staged(1, pending("/a"))).expect("added");
        log.add(Record::Leaving(1)).expect("added");
        for at in 0..100_000u64 {
            log.add(Record::Wrote(1, 2 * at..2 * at + 2))
                .expect("added");
        }
        assert!(log.bytes < SHORTEST, "{} bytes", log.bytes);
        assert_eq!(Log::open(&path).expect("a log").left(), log.left());
        log.add(Record::Settled(1)).expect("added");
        assert!(log.left().is_empty());
        assert!(Log::open(&path).expect("a log").left().is_empty());
    }

    #[test]
    fn a_record_with_an_empty_range_is_damaged() {
        let mut some = pending("/a");
        some.local.insert(5..6);
        let whole = postcard::to_stdvec(&Record::Staged(1, some)).expect("a record");
        let at = whole.windows(2).position(|pair| pair == [5, 6]);
        let mut empty = whole.clone();
        empty[at.expect("as a number is written") + 1] = 5;
        for (record, is_read) in [(whole, true), (empty, false)] {
            let log = [HEADER, &checked(&record).expect("it is short")].concat();
            let (left, _) = read(&log).expect("a journal");
            assert_eq!(!left.is_empty(), is_read);
        }
    }

    #[test]
    fn another_file_is_no_journal_and_stays_as_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log");
        std::fs::write(&path, b"ftpfs journal 2\nwhatever").expect("written");
        assert!(Log::open(&path).is_err());
        assert_eq!(
            std::fs::read(&path).expect("read"),
            b"ftpfs journal 2\nwhatever"
        );
    }

    proptest! {
        #[test]
        fn damage_is_never_more_than_a_shorter_log(at in 0usize..400, byte: u8) {
            let mut bytes = HEADER.to_vec();
            for step in steps() {
                bytes.extend(frame(&step).expect("a frame"));
            }
            let at = HEADER.len() + at % (bytes.len() - HEADER.len());
            bytes[at] = byte;
            let (left, whole) = read(&bytes).expect("a journal");
            prop_assert!(whole <= bytes.len());
            prop_assert!((0..=steps().len()).any(|whole| left == left_after(&steps()[..whole])));
        }

        #[test]
        fn any_bytes_are_read_without_harm(tail: Vec<u8>) {
            let bytes = [HEADER, &tail].concat();
            prop_assert!(read(&bytes).is_some());
        }
    }
}
