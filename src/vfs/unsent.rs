//! What the server has yet to get: told to those who look, and sent at once for those who ask.

use std::collections::HashSet;

use tracing::debug;

use super::queue::{Turn, Work};
use super::{Result, Vfs};
use crate::ftp::RemotePath;

/// Something that was done here, and that the server has yet to get.
#[derive(Clone, Debug)]
pub struct Unsent {
    /// Where.
    pub path: RemotePath,
    /// What was done.
    pub what: &'static str,
    /// Bytes to be sent for it.
    pub bytes: u64,
    /// Where a part of it may be on the server.
    pub sent_to: Option<RemotePath>,
    /// Whether the next mount sends it if this one ends now; else it is a part of a file, and what was written is put aside.
    pub resumable: bool,
    /// Why the server does not have it yet.
    pub kept: Kept,
}

/// Why the server does not have something yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// A program has it open, and has not closed it since it wrote.
    Open,
    /// It waits for its turn.
    Waits,
    /// It is on its way.
    Runs,
    /// It could not be sent for this reason, and is tried again.
    Rests(String),
    /// It could not be sent for this reason, and is tried again when somebody asks.
    Failed(String),
}

impl Vfs {
    /// What the server has yet to get, in the order of the changes; then what is not queued.
    pub fn unsent(&self) -> Vec<Unsent> {
        let mut contents = HashSet::new();
        let mut unsent = Vec::new();
        for (path, work, turn) in self.queue.all() {
            let (mut bytes, mut sent_to) = (0, None);
            if let Work::Send { ino, content, .. } = work {
                // Closed more than once, it is sent once.
                if !contents.insert(content) {
                    continue;
                }
                let staged = self.staged(ino);
                if let Some(staged) = staged.filter(|staged| staged.content() == content) {
                    let state = staged.state();
                    (bytes, sent_to) = (state.unsent_bytes(), state.sent_to.last().cloned());
                }
            }
            unsent.push(Unsent {
                path,
                what: name(&work),
                bytes,
                sent_to,
                resumable: true,
                kept: match turn {
                    Turn::Waits => Kept::Waits,
                    Turn::Runs => Kept::Runs,
                    Turn::Rests(error) => Kept::Rests(error.to_string()),
                },
            });
        }
        let staged = self.inodes().staged();
        let staged = staged.into_iter().filter(|&ino| !self.is_queued(ino));
        unsent.extend(staged.filter_map(|ino| self.unsent_file(ino)));
        unsent
    }

    /// The file `ino`, which is not queued, if the server lacks something of it that it has to get.
    fn unsent_file(&self, ino: u64) -> Option<Unsent> {
        let path = self.named_path(ino)?;
        let staged = self.staged(ino)?;
        let state = staged.state();
        let untold = state.untold.as_ref().map(ToString::to_string);
        state.pending().then(|| Unsent {
            path,
            what: FILE,
            bytes: state.unsent_bytes(),
            sent_to: state.sent_to.last().cloned(),
            resumable: state.outlives(),
            kept: match untold.or_else(|| state.failed.clone()) {
                Some(error) => Kept::Failed(error),
                None => Kept::Open,
            },
        })
    }

    /// Sends all that was written until now, open files included, and tries again what could not be sent; what of it the
    /// server lacks after that.
    ///
    /// Not cancel safe: an upload may break off.
    pub async fn send_all(&self) -> Vec<Unsent> {
        self.remote.pool().ask_at_once();
        self.queue.wake_all();
        self.queue.quiet(self.queue.last_number()).await;
        let staged = self.inodes().staged();
        for ino in staged {
            if let Err(error) = self.send_now(ino).await {
                debug!(ino, %error, "not sent, though asked for");
            }
        }
        // What was just queued, and not what others go on to change.
        let left = self.queue.quiet(self.queue.last_number()).await;
        let mut unsent = self.unsent();
        unsent.retain_mut(|one| match &one.kept {
            Kept::Open => false,
            Kept::Rests(_) | Kept::Failed(_) => true,
            Kept::Waits | Kept::Runs => {
                let found = left.iter().find(|(path, _)| *path == one.path);
                if let Some((_, Some(error))) = found {
                    // Tried again by now.
                    one.kept = Kept::Rests(error.to_string());
                }
                found.is_some()
            }
        });
        unsent
    }

    /// Sends the file `ino` if it is not queued, or queues it where that is how files are sent.
    async fn send_now(&self, ino: u64) -> Result<()> {
        if self.is_queued(ino) {
            return Ok(());
        }
        if !self.config.write_back {
            return self.commit(ino).await;
        }
        if let Some(staged) = self.staged(ino) {
            let mut state = staged.state();
            if state.pending() {
                // Given up, but asked for again.
                state.closed = false;
                state.untold = None;
            }
        }
        self.acknowledge(ino).await
    }
}

const FILE: &str = "file";

fn name(work: &Work) -> &'static str {
    match work {
        Work::Send { .. } => FILE,
        Work::MakeDir(_) => "new folder",
        Work::Remove(..) => "removal",
        Work::SetMode(..) => "permissions",
        Work::SetMtime(..) => "time",
    }
}
