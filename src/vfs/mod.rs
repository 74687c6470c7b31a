//! Filesystem meaning.
//!
//! Owns inodes, handles, namespace operations, staged writes and how they are committed. Knows nothing of fuser, reply
//! codes and sockets.

mod attr;
mod beside;
mod commit;
mod copies;
mod error;
mod file;
mod handles;
pub mod inodes;
mod journal;
mod namespace;
mod overlay;
mod queue;
mod recover;
mod rename;
mod setattr;
mod staging;
#[cfg(test)]
mod tests;
mod unlink;
mod unsent;
mod view;
mod writeback;
mod xattr;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

use tokio::sync::Notify;
use tracing::{error, info};

use crate::cache::{CacheConfig, Item, OwnName, Remote, Tell};
use crate::ftp::config::ServerConfig;
use crate::ftp::list::{Entry, Kind};
use crate::ftp::{RemotePath, Server};
use crate::pool::{Pool, PoolConfig, Purpose};

use beside::Runs;
use handles::{Handle, Handles};
use inodes::{Inodes, Node};
use journal::{Intent, Record};
use overlay::Overlay;
use queue::Queue;
use staging::{Staged, Staging};

pub use attr::{Attr, system_time, unix_seconds};
pub use error::{Error, Result};
pub use file::{Access, Closing, Opened};
pub use inodes::ROOT;
#[cfg(any(fuzzing, test))]
pub use journal::fuzzed;
pub use namespace::{DirEntry, Enough};
pub use rename::Replace;
pub use setattr::Change;
pub use unsent::{Kept, Unsent};

/// How the server's files appear, and where changes are staged.
#[derive(Clone, Debug)]
pub struct VfsConfig {
    /// Owner shown for everything.
    pub uid: u32,
    /// Group shown for everything.
    pub gid: u32,
    /// Permission bits of every file; `None` = the server's word, else `0o666 & !umask`.
    pub file_mode: Option<u32>,
    /// Permission bits of every folder; `None` = the server's word, else `0o777 & !umask`.
    pub dir_mode: Option<u32>,
    /// Bits taken away from what the server says, and from defaults; `None` = taken from nothing the server says, `0o022` from defaults.
    pub umask: Option<u32>,
    /// Whether every change is refused.
    pub read_only: bool,
    /// The address of the folder that is shown, as a URL without password.
    pub url: String,
    /// Folder that the journals are in.
    pub staging: PathBuf,
    /// Names the journal in it: the same for the same server, login and root.
    pub journal: String,
    /// Whether changes are acknowledged when they are safe on this machine, and made on the server behind the user.
    pub write_back: bool,
}

/// The filesystem.
///
/// Lock order: a staged file's `order`, then the mutexes as the crate's invariants say, none of which is held across an
/// await.
#[derive(Debug)]
pub struct Vfs {
    config: VfsConfig,
    remote: Remote,
    staging: Staging,
    inodes: Mutex<Inodes>,
    handles: Mutex<Handles>,
    overlay: Mutex<Overlay>,
    runs: Mutex<Runs>,
    queue: Arc<Queue>,
    /// Held by whoever renames a folder on the server, and shared by those who queue changes, whose paths it would change.
    names: tokio::sync::RwLock<()>,
    /// Told whenever a file has lost its name, or keeps it after all.
    left: Notify,
    mounted: SystemTime,
}

impl Vfs {
    /// Logs in once, learns the server's profile and sees that the folder to be shown is there.
    ///
    /// # Errors
    /// A sentence for the user: what failed and what to do.
    pub async fn connect(
        server: ServerConfig,
        pool: PoolConfig,
        cache: CacheConfig,
        config: VfsConfig,
    ) -> std::result::Result<Self, String> {
        let staging = Staging::new(&config.staging, &config.journal).map_err(|error| {
            let path = config.staging.display();
            format!(
                "cannot stage changes in {path}: {error}; name another folder with -o staging=DIR"
            )
        })?;
        let server = Server::new(server).map_err(|error| error.to_string())?;
        let host = server.config.host.clone();
        let pool = Pool::new(server, pool);
        let lease = pool
            .lease(Purpose::Metadata)
            .await
            .map_err(|error| explain(&host, &error))?;
        drop(lease);
        let root = pool.root();
        let queue: Arc<Queue> = Arc::default();
        queue.go_on_behind(staging.journal().left().last_number());
        let remote = Remote::new(pool, &cache, own_names(&staging, &queue));
        remote
            .list(&root)
            .await
            .map_err(|error| format!("cannot show {root} of {host}: {error}"))?;
        remote.pool().warm_up();
        info!(%root, greeting = remote.pool().profile().greeting, "connected");
        let vfs = Self {
            config,
            queue,
            names: tokio::sync::RwLock::default(),
            inodes: Mutex::new(Inodes::new(root)),
            handles: Mutex::default(),
            overlay: Mutex::default(),
            runs: Mutex::default(),
            left: Notify::new(),
            remote,
            staging,
            mounted: SystemTime::now(),
        };
        vfs.recover()
            .await
            .map_err(|error| format!("cannot read what an earlier mount left: {error}"))?;
        Ok(vfs)
    }

    /// The server below.
    pub fn remote(&self) -> &Remote {
        &self.remote
    }

    /// Where what is not sent yet is kept, whatever becomes of this process.
    pub fn journal_folder(&self) -> &Path {
        self.staging.journal().folder()
    }

    /// Sends everything not yet sent, and logs out.
    ///
    /// # Errors
    /// A sentence for each file that could not be sent, with where its bytes are kept.
    pub async fn drain(&self) -> std::result::Result<(), Vec<String>> {
        let mut unsent = Vec::new();
        self.remote.pool().ask_at_once();
        let staged = self.inodes().staged();
        for ino in staged {
            // What is queued is waited for below.
            if self.is_queued(ino) {
                continue;
            }
            let sent = match self.config.write_back {
                true => self.acknowledge(ino).await,
                false => self.commit(ino).await,
            };
            if let Err(error) = sent {
                unsent.push(match self.config.write_back {
                    true => self.kept(ino, &error),
                    false => self.rescue(ino, &error.to_string()),
                });
            }
        }
        for (path, error) in self.queue.quiet(u64::MAX).await {
            let reason = error.map_or_else(String::new, |error| format!(": {error}"));
            unsent.push(format!(
                "{path}: not on the server yet{reason}; it is kept, and sent by the next mount"
            ));
        }
        self.remote.close().await;
        if unsent.is_empty() {
            Ok(())
        } else {
            Err(unsent)
        }
    }

    /// What to tell the user of a file that stays in the journal.
    fn kept(&self, ino: u64, error: &Error) -> String {
        let journal = self.staging.journal().folder().display();
        let path = self.named_path(ino);
        let shown = path.map_or_else(|| "a file".to_owned(), |path| path.to_string());
        format!("{shown}: not sent: {error}; it is kept in {journal}, and sent by the next mount")
    }

    /// Keeps the bytes of a staged file that could not be sent; what to tell the user.
    fn rescue(&self, ino: u64, error: &str) -> String {
        let (staged, name) = {
            let inodes = self.inodes();
            let name = inodes
                .path(ino)
                .map_or_else(|| b"unnamed".to_vec(), |path| path.name().to_vec());
            (inodes.get(ino).and_then(|node| node.staged.clone()), name)
        };
        let shown = crate::ftp::printable(&name);
        let Some(staged) = staged else {
            return format!("{shown}: not sent: {error}");
        };
        let told = match self.staging.rescue(&staged, &name) {
            Ok(path) if staged.state().uses_base() => {
                let path = path.display();
                format!(
                    "{shown}: not sent: {error}; what was written is kept in {path}, zeros stand for the rest"
                )
            }
            Ok(path) => format!(
                "{shown}: not sent: {error}; its content is kept in {}",
                path.display()
            ),
            Err(local) => {
                format!("{shown}: not sent: {error}; and its content could not be kept: {local}")
            }
        };
        error!("{told}");
        staged.settle();
        let mut inodes = self.inodes();
        if let Some(node) = inodes.get_mut(ino) {
            node.staged = None;
            // The kernel's pages may hold what the server does not have.
            node.cached = None;
        }
        if let Some((parent, name)) = inodes.place(ino) {
            inodes.server_has(parent, &name);
        }
        told
    }

    /// The attributes of `ino`, whose name the server says is `item`.
    fn attr_of(&self, ino: u64, path: &RemotePath, item: &Item) -> Attr {
        let mut entry = item.entry.clone();
        self.overlay().apply(path, &mut entry);
        self.config.attr(ino, &entry, item.settled)
    }

    /// The attributes of `ino` with what is staged for it; `entry` is the server's word, if it has it.
    fn staged_attr(&self, ino: u64, entry: Option<&Entry>, staged: &Staged) -> Attr {
        let entry = entry.map(|entry| self.with_kept(ino, entry));
        let state = staged.state();
        let mode = state.mode.or(entry.as_ref().and_then(|entry| entry.mode));
        let mtime = match (state.mtime, state.changed) {
            (Some(seconds), _) => system_time(seconds),
            (None, true) => state.written,
            (None, false) => entry
                .and_then(|entry| entry.modified)
                .map_or(state.written, |modified| system_time(modified.seconds)),
        };
        Attr {
            ino,
            kind: Kind::File,
            size: state.size,
            mtime,
            perm: self.config.perm(Kind::File, mode),
            nlink: 1,
            uid: self.config.uid,
            gid: self.config.gid,
            lasting: !state.pending(),
        }
    }

    /// The server's word of `ino` with what is kept here because the server cannot be told.
    fn with_kept(&self, ino: u64, entry: &Entry) -> Entry {
        let mut entry = entry.clone();
        if let Ok(path) = self.path(ino) {
            self.overlay().apply(&path, &mut entry);
        }
        entry
    }

    fn path(&self, ino: u64) -> Result<RemotePath> {
        self.inodes().path(ino).ok_or(Error::Stale)
    }

    /// Where `ino` is; `None` if it has lost its name.
    fn named_path(&self, ino: u64) -> Option<RemotePath> {
        let inodes = self.inodes();
        let node = inodes.get(ino).filter(|node| !node.unlinked);
        node.and_then(|_| inodes.path(ino))
    }

    fn with_node<T>(&self, ino: u64, look: impl FnOnce(&mut Node) -> T) -> Result<T> {
        self.inodes().get_mut(ino).map(look).ok_or(Error::Stale)
    }

    fn staged(&self, ino: u64) -> Option<Arc<Staged>> {
        self.inodes().get(ino).and_then(|node| node.staged.clone())
    }

    /// Whether what is staged for `ino` waits to be sent, or is being sent.
    fn is_queued(&self, ino: u64) -> bool {
        self.named_path(ino)
            .zip(self.staged(ino))
            .is_some_and(|(path, staged)| self.queue.has_send(&path, staged.content()))
    }

    fn writable(&self) -> Result<()> {
        if self.config.read_only {
            Err(Error::ReadOnly)
        } else {
            Ok(())
        }
    }

    fn inodes(&self) -> MutexGuard<'_, Inodes> {
        self.inodes.lock().expect("no panic while locked")
    }

    fn handles(&self) -> MutexGuard<'_, Handles> {
        self.handles.lock().expect("no panic while locked")
    }

    fn handle(&self, fh: u64) -> Option<Handle> {
        self.handles().get(fh).cloned()
    }

    fn runs(&self) -> MutexGuard<'_, Runs> {
        self.runs.lock().expect("no panic while locked")
    }

    fn overlay(&self) -> MutexGuard<'_, Overlay> {
        self.overlay.lock().expect("no panic while locked")
    }
}

/// Notes names of ours on the server in the journal: should this mount be killed, the next one clears them away.
fn own_names(staging: &Staging, queue: &Arc<Queue>) -> Tell {
    let (journal, queue) = (staging.journal().clone(), queue.clone());
    let numbers = Mutex::new(HashMap::new());
    Arc::new(move |name| {
        let mut numbers = numbers.lock().expect("no panic while locked");
        let (path, intent) = match name {
            OwnName::Ours(path) => (path, Intent::Remove(path.clone(), Kind::File, None)),
            OwnName::Aside(path, other) => (path, Intent::PutBack(path.clone(), other.clone())),
            OwnName::Free(path) => {
                if let Some(number) = numbers.remove(path) {
                    journal.note_end(Record::Done(number));
                }
                return;
            }
        };
        let number = queue.number();
        journal.note_end(Record::Queued(number, intent));
        if let Some(before) = numbers.insert(path.clone(), number) {
            journal.note_end(Record::Done(before));
        }
    })
}

/// Why the first login failed, and what to do.
fn explain(host: &str, error: &crate::ftp::Error) -> String {
    let advice = error.advice();
    let reason = error.to_string();
    // A server's own full stop would stand before the advice.
    format!(
        "cannot use {host}: {}{advice}",
        reason.trim_end_matches('.')
    )
}
