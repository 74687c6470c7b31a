//! The journal: what the server has yet to get, on this machine's disk, where it outlives this process.
//!
//! A folder for each server, login and root, with a lock, a log of records ([`log`]) and a file for each staged content.
//! Knows no server and no inodes.

#[cfg(any(fuzzing, test))]
pub mod fuzzed;
mod log;
mod record;

use std::collections::HashSet;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use tracing::{debug, warn};

use log::Log;
pub use record::{Intent, Left, Pending, Record, SentTo};

/// The journal of one mount. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Journal {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    folder: PathBuf,
    /// No other process has this folder for its journal while this is open.
    _lock: File,
    /// Held for a record or a look, never together with another lock, nor across an await.
    state: Mutex<State>,
    /// One syncs at a time, for all who wait.
    syncing: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct State {
    log: Log,
    last_content: u64,
    /// Contents were made since the folder was synced.
    names_changed: bool,
}

/// A file of the journal with the bytes of one staged file.
#[derive(Debug)]
pub struct Content {
    /// Its number in the journal.
    pub number: u64,
    /// The file itself.
    pub file: Arc<File>,
    path: PathBuf,
}

impl Journal {
    /// The journal `id` in `folder`, or one of its siblings where other mounts have it: rather one that has something left.
    ///
    /// # Errors
    /// Where no folder can be made, locked and written to, and for a log that is not understood.
    pub fn open(folder: &Path, id: &str) -> io::Result<Self> {
        let mut free = Vec::new();
        let given_up = Instant::now() + DYING;
        for sibling in 0..MOST_MOUNTS {
            let name = match sibling {
                0 => id.to_owned(),
                _ => format!("{id}.{sibling}"),
            };
            let own = folder.join(name);
            // The last one that was ever used is followed by none.
            let used = own.exists();
            if !used && !free.is_empty() {
                break;
            }
            make_private(&own)?;
            let Some(lock) = lock_by(&own, given_up)? else {
                continue;
            };
            let log = Log::open(&own.join(LOG))?;
            let found = !log.left().is_empty();
            free.push((own, lock, log));
            if found {
                break;
            }
        }
        // The last one that was looked at has something left, or any of them will do.
        let (own, lock, log) = free.pop().ok_or_else(|| {
            io::Error::other(format!(
                "all {MOST_MOUNTS} journals of this server are in use"
            ))
        })?;
        for (other, lock, _) in free {
            remove(&other, &lock);
        }
        Self::of(own, lock, log)
    }

    fn of(folder: PathBuf, lock: File, log: Log) -> io::Result<Self> {
        let wanted: HashSet<u64> = log.left().files.keys().copied().collect();
        let mut last_content = 0;
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?;
            let Some(number) = content_number(&entry.path()) else {
                continue;
            };
            last_content = last_content.max(number);
            if !wanted.contains(&number) {
                debug!(number, "content that nothing refers to");
                std::fs::remove_file(entry.path())?;
            }
        }
        last_content = wanted.into_iter().fold(last_content, u64::max);
        Ok(Self {
            inner: Arc::new(Inner {
                folder,
                _lock: lock,
                state: Mutex::new(State {
                    log,
                    last_content,
                    names_changed: false,
                }),
                syncing: tokio::sync::Mutex::default(),
            }),
        })
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.inner.folder
    }

    /// What is left to do.
    pub fn left(&self) -> Left {
        self.state().log.left().clone()
    }

    /// A new content, empty.
    pub fn content(&self) -> io::Result<Content> {
        let number = {
            let mut state = self.state();
            state.last_content += 1;
            state.names_changed = true;
            state.last_content
        };
        let path = self.content_path(number);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        Ok(Content {
            number,
            file: Arc::new(file),
            path,
        })
    }

    /// A content that an earlier process left.
    pub fn reopen(&self, number: u64) -> io::Result<Content> {
        let path = self.content_path(number);
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        Ok(Content {
            number,
            file: Arc::new(file),
            path,
        })
    }

    /// Adds `record`. It outlives this process from now on, and a loss of power after the next [`Journal::sync`].
    pub fn note(&self, record: Record) -> io::Result<()> {
        self.state().log.add(record)
    }

    /// Notes an end, after which it matters little if that is lost: it would be done once more, with care.
    pub fn note_end(&self, record: Record) {
        if let Err(error) = self.note(record) {
            warn!(%error, journal = %self.inner.folder.display(), "cannot write to the journal");
        }
    }

    /// Makes all records so far, and the names of all contents, outlive a loss of power.
    pub async fn sync(&self) -> io::Result<()> {
        let _one = self.inner.syncing.lock().await;
        let (log, names_changed) = {
            let mut state = self.state();
            let changed = std::mem::take(&mut state.names_changed);
            (state.log.to_sync(), changed)
        };
        let Some((file, added)) = log else {
            return Ok(());
        };
        let path = self.inner.folder.join(LOG);
        let synced = tokio::task::spawn_blocking(move || {
            if names_changed {
                log::sync_folder(&path)?;
            }
            file.sync_data()
        });
        if let Err(error) = synced.await.map_err(io::Error::other)? {
            self.state().names_changed |= names_changed;
            return Err(error);
        }
        self.state().log.synced(added);
        Ok(())
    }

    fn content_path(&self, number: u64) -> PathBuf {
        self.inner.folder.join(format!("{number:016x}"))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().expect("no panic while locked")
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let left = self
            .state
            .get_mut()
            .map(|state| state.log.left().is_empty());
        if matches!(left, Ok(true)) {
            remove(&self.folder, &self._lock);
        }
    }
}

impl Content {
    /// Removes its name: nobody needs it any more, but for those who have it open.
    pub fn remove(&self) {
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                warn!(%error, content = %self.path.display(), "a content that is not needed any more stays");
            }
            _ => {}
        }
    }
}

/// Makes the folder `path`, for its owner alone.
fn make_private(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    // Somebody else may have made one of that name in a folder for all.
    let found = std::fs::symlink_metadata(path)?;
    let own = found.is_dir() && found.uid() == rustix::process::geteuid().as_raw();
    match own && found.mode() & 0o077 == 0 {
        true => Ok(()),
        false => Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!(
                "{} is not a folder of yours alone (mode 0700)",
                path.display()
            ),
        )),
    }
}

/// [`lock`], waiting until `given_up` for another process that may be ending.
fn lock_by(path: &Path, given_up: Instant) -> io::Result<Option<File>> {
    loop {
        let locked = lock(path)?;
        if locked.is_some() || Instant::now() > given_up {
            return Ok(locked);
        }
        std::thread::sleep(DYING / 20);
    }
}

/// Locks the folder `path` for this process; `None` if another one has it.
fn lock(path: &Path) -> io::Result<Option<File>> {
    let name = path.join(LOCK);
    loop {
        make_private(path)?;
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&name)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        // The one who had it may have removed it at its end.
        let same = |found: std::fs::Metadata| Ok(found.ino() == file.metadata()?.ino());
        match std::fs::metadata(&name).and_then(same) {
            Ok(true) => return Ok(Some(file)),
            Ok(false) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
}

/// Removes the folder of a journal with nothing left, whose lock is still held.
fn remove(folder: &Path, _lock: &File) {
    for name in [LOG, LOCK] {
        // What stays is found empty by the next one.
        let _ = std::fs::remove_file(folder.join(name));
    }
    let _ = std::fs::remove_dir(folder);
}

fn content_number(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?;
    let hex = name.len() == 16 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    hex.then(|| u64::from_str_radix(name, 16).ok()).flatten()
}

const LOG: &str = "log";
const LOCK: &str = "lock";

/// Mounts of the same folder by the same login at once.
const MOST_MOUNTS: u32 = 64;

/// How long a mount that was killed may still hold its journal: measured 20 ms, until its memory is freed.
const DYING: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ftp::RemotePath;

    fn make_dir(path: &str) -> Record {
        Record::Queued(1, Intent::MakeDir(RemotePath::new(path.as_bytes()), 0o755))
    }

    #[test]
    fn two_mounts_have_two_journals_and_what_one_left_is_found_first() {
        let folder = tempfile::tempdir().expect("a folder");
        let open = || Journal::open(folder.path(), "server").expect("a journal");
        let (one, two) = (open(), open());
        assert_ne!(one.folder(), two.folder());
        two.note(make_dir("/d")).expect("noted");
        let left = two.folder().to_owned();
        drop((one, two));
        let found = open();
        assert_eq!(found.folder(), left);
        assert_eq!(found.left().changes.len(), 1);
        found.note(Record::Done(1)).expect("noted");
        drop(found);
        let kept: Vec<_> = folder.path().read_dir().expect("read").collect();
        assert!(kept.is_empty(), "{kept:?}");
    }

    #[test]
    fn what_a_mount_that_is_just_ending_left_is_found() {
        let folder = tempfile::tempdir().expect("a folder");
        let ending = Journal::open(folder.path(), "server").expect("a journal");
        ending.note(make_dir("/d")).expect("noted");
        let found = std::thread::scope(|scope| {
            let next = scope.spawn(|| Journal::open(folder.path(), "server"));
            std::thread::sleep(DYING / 4);
            drop(ending);
            next.join().expect("no panic").expect("a journal")
        });
        assert_eq!(found.left().changes.len(), 1);
    }

    #[test]
    fn contents_that_nothing_refers_to_are_removed() {
        let folder = tempfile::tempdir().expect("a folder");
        let journal = Journal::open(folder.path(), "server").expect("a journal");
        journal.note(make_dir("/d")).expect("noted");
        let content = journal.content().expect("a content");
        drop(journal);
        let journal = Journal::open(folder.path(), "server").expect("a journal");
        assert!(!content.path.exists());
        assert_ne!(journal.content().expect("a content").number, content.number);
    }

    #[test]
    fn a_folder_that_others_can_read_is_not_used() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a folder");
        let own = folder.path().join("server");
        std::fs::create_dir(&own).expect("made");
        std::fs::set_permissions(&own, PermissionsExt::from_mode(0o755)).expect("set");
        let error = Journal::open(folder.path(), "server").expect_err("refused");
        assert!(error.to_string().contains("0700"), "{error}");
    }
}
