//! Write-back: a change is acknowledged when it is safe on this machine's disk, and made on the server behind the user.
//!
//! The same tasks finish what an earlier mount left, in either mode.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tracing::{debug, error, warn};

use super::handles::Handle;
use super::journal::{Intent, Record};
use super::queue::Work;
use super::staging::Staged;
use super::{Error, Result, Vfs, unix_seconds};
use crate::cache;
use crate::ftp::list::{Entry, Kind, Modified, Precision};
use crate::ftp::{NameKind, RemotePath, is_odd};

impl Vfs {
    /// Begins to make on the server what is queued, as many at once as there are sessions.
    pub fn start(self: &Arc<Self>) {
        for _ in 0..self.remote.pool().most_sessions() {
            tokio::spawn(self.clone().work());
        }
    }

    async fn work(self: Arc<Self>) {
        loop {
            let pool = self.remote.pool();
            let (number, path, work) = self.queue.next(|| pool.most_uploads()).await;
            match self.perform(&path, &work).await {
                Ok(()) => {
                    if !matches!(work, Work::Send { .. }) {
                        self.staging.journal().note_end(Record::Done(number));
                    }
                    self.queue.end(number);
                }
                Err(error) if error.may_pass() => {
                    warn!(%path, %error, "not on the server yet; it will be tried again");
                    let rest = self.queue.rest(number, Arc::new(error));
                    let vfs = self.clone();
                    tokio::spawn(async move {
                        tokio::time::sleep(rest).await;
                        vfs.queue.wake(number);
                    });
                }
                Err(error) => self.give_up(number, &path, &work, error),
            }
        }
    }

    /// Makes one change on the server.
    pub(super) async fn perform(&self, path: &RemotePath, work: &Work) -> Result<()> {
        debug!(%path, ?work, "behind the user");
        match work {
            Work::Send { ino, content, .. } => self.send_queued(path, *ino, *content).await,
            Work::MakeDir(entry) => {
                match self.remote.make_dir(path).await {
                    // By somebody else, or by an earlier mount whose journal ended before it said so.
                    Err(cache::Error::Exists(_)) => match self.remote.stat_now(path).await? {
                        Some(item) if item.entry.kind == Kind::Dir => {}
                        _ => return Err(Error::Exists),
                    },
                    made => made?,
                }
                match entry.mode {
                    Some(mode) if mode != self.config.default_dir_mode() => {
                        self.set_mode_or_keep(None, path, mode).await
                    }
                    _ => Ok(()),
                }
            }
            Work::Remove(kind, was) => {
                self.remote.at_rest(path).await;
                if let Some(was) = was {
                    let now = self.remote.version_of(path).await;
                    match now {
                        Err(cache::Error::Absent(_)) => return Ok(()),
                        Ok(now) if self.remote.is_same(*was, now) => {}
                        Ok(_) => return Err(cache::Error::Stale(path.clone()).into()),
                        Err(error) => return Err(error.into()),
                    }
                }
                let removed = match kind {
                    Kind::Dir => self.remote.remove_dir(path).await,
                    _ => self.remote.remove_file(path).await,
                };
                match removed {
                    // Somebody else was faster: it is gone, as was asked.
                    Err(cache::Error::Absent(_)) => Ok(()),
                    removed => Ok(removed?),
                }
            }
            Work::SetMode(ino, mode) => self.set_mode_or_keep(Some(*ino), path, *mode).await,
            Work::SetMtime(ino, seconds) => self.send_mtime(*ino, path, *seconds).await,
        }
    }

    /// Sends what is staged for `ino`, unless a program is about to close it again; then lets it go.
    ///
    /// Only to `path`: what was renamed meanwhile has a turn of its own at its new name, behind what is queued there.
    async fn send_queued(&self, path: &RemotePath, ino: u64, content: u64) -> Result<()> {
        while let Some((staged, order)) = self.hold_staged(ino).await {
            // Or another file of the same name by now, which has a turn of its own.
            let due = staged.content() == content && {
                let state = staged.state();
                state.closed && state.pending()
            };
            if !due || self.named_path(ino).as_ref() != Some(path) {
                break;
            }
            // Once more for attributes that are set while it is sent; or for nothing, if it was recalled.
            match self.commit_held(ino, &staged).await {
                Err(error) if error.is_recall() => {}
                committed => committed?,
            }
            drop(order);
        }
        self.let_go(ino).await;
        Ok(())
    }

    /// A change that cannot be made is not tried again by this mount. What was written is kept.
    fn give_up(&self, number: u64, path: &RemotePath, work: &Work, error: Error) {
        match work {
            Work::Send { ino, .. } => {
                let kept = self.staging.journal().folder().display().to_string();
                error!(%path, %error, kept, "cannot be sent; its content is kept, and tried again by the next mount or write");
                if let Some(staged) = self.staged(*ino) {
                    staged.state().untold = Some(Arc::new(error));
                }
            }
            _ => {
                error!(%path, ?work, %error, "a change that was acknowledged cannot be made on the server");
                self.staging.journal().note_end(Record::Done(number));
                self.remote.expire(path);
            }
        }
        self.queue.end(number);
    }

    /// What `close` does: sends what is staged for `ino`, or with write-back acknowledges it.
    pub(super) async fn deliver(&self, ino: u64) -> Result<()> {
        match self.config.write_back {
            true => self.acknowledge(ino).await,
            false => {
                // Set before it was written to.
                if let Some(path) = self.named_path(ino) {
                    self.settled(&path).await?;
                }
                self.commit(ino).await
            }
        }
    }

    /// Acknowledges what was written to `ino` and closed: it is safe on this machine's disk, and queued to be sent.
    ///
    /// # Errors
    /// Local ones; or why what was closed before could not be sent.
    pub(super) async fn acknowledge(&self, ino: u64) -> Result<()> {
        let settled = |staged: &Staged| {
            let (untold, done) = {
                let mut state = staged.state();
                (state.untold.take(), !state.pending())
            };
            if let Some(error) = untold {
                return Some(Err(Error::Before(error)));
            }
            // Every close of a copy of a descriptor comes here. What was given up is tried again.
            let queued = { staged.state().closed } && self.is_queued(ino);
            (done || queued).then_some(Ok(()))
        };
        if let Some(staged) = self.staged(ino)
            && let Some(outcome) = settled(&staged)
        {
            return outcome;
        }
        let Some((staged, order)) = self.hold_staged(ino).await else {
            return Ok(());
        };
        if let Some(outcome) = settled(&staged) {
            return outcome;
        }
        let _names = self.names.read().await;
        let Some(path) = self.named_path(ino) else {
            return Ok(());
        };
        staged.sync().await?;
        self.queue_to_send(ino, &staged, &path).await?;
        drop(order);
        self.not_too_much().await
    }

    /// Queues what is staged for `ino`, whose `order` the caller holds, to be sent to `path`.
    pub(super) async fn queue_to_send(
        &self,
        ino: u64,
        staged: &Staged,
        path: &RemotePath,
    ) -> Result<()> {
        let number = self.queue.number();
        staged.note_closed(path, number)?;
        self.staging.journal().sync().await?;
        self.queue_noted(number, ino, staged, path);
        Ok(())
    }

    /// Queues what is staged for `ino` to be sent to `path`, by its `number` in the order: the journal has it by then.
    pub(super) fn queue_noted(&self, number: u64, ino: u64, staged: &Staged, path: &RemotePath) {
        staged.state().closed = true;
        self.queue_in_a_moment(number, path, self.work_of(ino, staged));
    }

    /// Queues `work`, left alone for a moment: what comes next may go with it, or make it another.
    fn queue_in_a_moment(&self, number: u64, path: &RemotePath, work: Work) {
        self.queue.add_held(number, path, work);
        let queue = self.queue.clone();
        tokio::spawn(async move {
            tokio::time::sleep(MOMENT).await;
            queue.release(number);
        });
    }

    /// Sending what is staged for `ino`.
    pub(super) fn work_of(&self, ino: u64, staged: &Staged) -> Work {
        Work::Send {
            ino,
            content: staged.content(),
            size: staged.state().size,
        }
    }

    /// Waits while more is queued than may be.
    async fn not_too_much(&self) -> Result<()> {
        self.queue.less_than(MOST_QUEUED, MOST_BYTES).await
    }

    /// Acknowledges a change of names or attributes at `path`.
    pub(super) async fn queue_change(
        &self,
        path: &RemotePath,
        change: Intent,
        work: Work,
    ) -> Result<()> {
        let journal = self.staging.journal();
        let number = self.queue.number();
        journal.note(Record::Queued(number, change))?;
        if let Err(error) = journal.sync().await {
            journal.note_end(Record::Done(number));
            return Err(error.into());
        }
        // What was kept here because the server could not be told is of the past.
        match work {
            Work::SetMode(..) => self.overlay().forget_mode(path),
            Work::SetMtime(..) => self.overlay().forget_times(path),
            _ => {}
        }
        match work {
            Work::SetMode(..) | Work::SetMtime(..) => self.queue_in_a_moment(number, path, work),
            work => self.queue.add(number, path, work),
        }
        self.not_too_much().await
    }

    /// Waits until nothing is queued that bears on `path`.
    pub(super) async fn settled(&self, path: &RemotePath) -> Result<()> {
        self.queue.settled(path).await
    }

    /// Waits until the server has all that was done in the folder `ino`.
    pub async fn sync_dir(&self, ino: u64) -> Result<()> {
        match self.named_path(ino) {
            Some(path) => self.settled(&path).await,
            None => Ok(()),
        }
    }

    /// Sends what was written to the file that is open as `fh`, by anybody and in either mode: success means that the server
    /// has it.
    pub async fn sync_file(&self, fh: u64) -> Result<()> {
        let Some(Handle::File { ino, .. }) = self.handle(fh) else {
            return Err(Error::BadHandle);
        };
        self.deliver(ino).await?;
        if let Some(path) = self.named_path(ino) {
            self.settled(&path).await?;
        }
        let untold = self
            .staged(ino)
            .and_then(|staged| staged.state().untold.take());
        untold.map_or(Ok(()), |error| Err(Error::Before(error)))
    }

    /// Sees that the server takes `path` for a new name, as [`crate::cache::Remote::check_new_name`] does.
    pub(super) async fn check_new_name(&self, path: &RemotePath) -> Result<()> {
        let plain = !is_odd(path) && NameKind::of(path.name()).next().is_none();
        if let (false, Some(dir)) = (plain, path.parent())
            && self.queue.view(&dir).is_made()
        {
            // What is tried there needs the folder.
            self.settled(&dir).await?;
        }
        Ok(self.remote.check_new_name(path).await?)
    }

    /// Makes a folder that the server gets later; how it is shown.
    pub(super) async fn make_dir_later(&self, path: &RemotePath, mode: u32) -> Result<Entry> {
        let entry = Entry {
            name: path.name().to_vec(),
            kind: Kind::Dir,
            size: None,
            modified: Some(Modified {
                seconds: unix_seconds(SystemTime::now()),
                precision: Precision::Minute,
            }),
            mode: Some(mode & 0o7777),
            target: None,
            line: None,
        };
        let change = Intent::MakeDir(path.clone(), mode & 0o7777);
        self.queue_change(path, change, Work::MakeDir(entry.clone()))
            .await?;
        Ok(entry)
    }

    /// Sets permission bits on the server; a refusal does not matter to those who set them long ago: they are kept here.
    async fn set_mode_or_keep(&self, ino: Option<u64>, path: &RemotePath, mode: u32) -> Result<()> {
        let set = match ino {
            Some(ino) => self.send_mode(ino, path, mode).await,
            None => self.remote.set_mode(path, mode).await.map_err(Error::from),
        };
        match set {
            Err(Error::Remote(cache::Error::Denied(error) | cache::Error::Unsupported(error))) => {
                debug!(%path, %error, "permission bits refused");
                if let Some(item) = self.remote.stat(path).await? {
                    self.overlay().keep_mode(path, &item.entry, mode);
                }
                Ok(())
            }
            set => set,
        }
    }
}

/// How long a closed file waits before it is sent, and so do its attributes: programs that write a file under another name
/// rename it at once, and then it is sent to its right name alone, or all of that in one flight.
const MOMENT: Duration = Duration::from_millis(30);

/// Changes queued at most: some 20 MB of memory; those who make more wait.
const MOST_QUEUED: usize = 50_000;

/// Bytes queued at most, on this machine's disk: an hour of 10 Mbit/s.
const MOST_BYTES: u64 = 4 << 30;
