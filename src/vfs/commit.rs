//! Commits: what was staged becomes what the server has, by the cheapest way that cannot lose anything.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::OwnedMutexGuard;
use tracing::debug;

use super::attr::{unix_seconds, version};
use super::staging::{Staged, State};
use super::{Result, Vfs};
use crate::cache::{self, End, Recall, Resumed, Version, WORTH, scratch_name};
use crate::ftp::list::{Entry, Modified, Precision};
use crate::ftp::{RemotePath, Wishes};

/// How a staged file is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// The server has the same bytes.
    Nothing,
    /// One `STOR`: there is nothing on the server that could be lost.
    Store,
    /// `APPE` of what lies behind this version.
    Append(Version, End),
    /// `REST` and `STOR` of these ranges over this version.
    Overwrite(Version, Vec<Range<u64>>),
    /// All of it under another name, then renamed over the old file.
    Replace,
}

impl Vfs {
    /// Sends what is staged for `ino`, then the attributes that were set meanwhile.
    ///
    /// Success means that the server has confirmed every byte, and its size. After an error everything is still staged,
    /// and the file that was to be replaced is whole.
    pub(super) async fn commit(&self, ino: u64) -> Result<()> {
        self.commit_and_hold(ino).await.map(drop)
    }

    /// [`Vfs::commit`]; nobody changes or sends it while the guard lives. `None` where nothing is staged.
    pub(super) async fn commit_and_hold(&self, ino: u64) -> Result<Option<OwnedMutexGuard<()>>> {
        loop {
            let Some((staged, order)) = self.hold_staged(ino).await else {
                return Ok(None);
            };
            match self.commit_held(ino, &staged).await {
                // By somebody who waits for the guard.
                Err(error) if error.is_recall() => drop(order),
                committed => return committed.map(|()| Some(order)),
            }
        }
    }

    /// Stops sending what is staged for `ino`, until dropped: for one who is going to hold it, and needs nothing of it.
    pub(super) fn recall(&self, ino: u64) -> Option<Recall> {
        Some(self.staged(ino)?.recalls.recall())
    }

    /// The staged file of `ino`, which nobody else changes or sends while the guard lives; `None` where there is none.
    ///
    /// Those who hold several take them by rising inode number.
    pub(super) async fn hold_staged(&self, ino: u64) -> Option<(Arc<Staged>, OwnedMutexGuard<()>)> {
        loop {
            let staged = self.staged(ino)?;
            let order = staged.order.clone().lock_owned().await;
            // Let go meanwhile, and perhaps made anew: that one is the one.
            let same = |now: Arc<Staged>| Arc::ptr_eq(&now, &staged);
            if self.staged(ino).is_some_and(same) {
                return Some((staged, order));
            }
        }
    }

    /// [`Vfs::commit`], of what is staged as `staged`, whose `order` the caller holds.
    ///
    /// # Errors
    /// Also where it is recalled ([`Error::is_recall`](super::Error::is_recall)): whoever wants it is to have the `order` first.
    pub(super) async fn commit_held(&self, ino: u64, staged: &Staged) -> Result<()> {
        let mut state = staged.state().clone();
        if !state.pending() {
            return Ok(());
        }
        let Some((parent, name)) = self.inodes().place(ino) else {
            // It has no name any more: nobody will ever ask the server for it.
            return Ok(());
        };
        let path = self.path(parent)?.join(&name);
        if state.changed && plan(&state, &path, true) == Plan::Nothing {
            // The same bytes were written again, which makes the file a new one all the same: `: >stamp`.
            state.mtime = state.mtime.or(Some(unix_seconds(state.written)));
            // Shown until the server has it.
            staged.state().mtime = state.mtime;
        }
        if state.changed {
            // Whoever closed or synced it wants it as it is.
            staged.note_whole(&path, || self.queue.number())?;
            let sent = match state.restored {
                true => self.send_restored(ino, &path, staged, &state).await,
                false => self.send(ino, &path, staged, &state).await,
            };
            let entry = sent.inspect_err(|error| {
                let mut state = staged.state();
                state.failed = (!error.is_recall()).then(|| error.to_string());
                // Some of it may be there: only over the version that is known it is sent again.
                state.at_any_end = false;
            })?;
            if state.restored {
                // Unless what is there is of others, whose times and bits stay as they are.
                let now = staged.state();
                (state.mode, state.mtime) = (now.mode, now.mtime);
            }
            let now = version(&entry);
            self.with_node(ino, |node| {
                node.entry = Some(entry);
                node.cached = Some(now);
                node.stored = Some(Instant::now());
            })?;
            staged.committed(now);
            if now.size != state.size {
                debug!(%path, "others have written to it as well");
                staged.rebased(now)?;
            }
            self.remote.forget_content(ino);
            self.overlay().forget_times(&path);
            self.inodes().server_has(parent, &name);
            if state.base.is_none() {
                self.touch_dir(parent);
            }
        }
        let (mode, mtime) = self.with_node(ino, |node| {
            let entry = node.entry.as_ref();
            let exact = entry.and_then(|entry| {
                let exact = |time: &Modified| time.precision == Precision::Second;
                entry.modified.filter(exact)
            });
            let mode = entry.and_then(|entry| entry.mode);
            (mode, exact.map(|time| time.seconds))
        })?;
        // What was wished and came with the upload is done.
        if let Some(wanted) = state.mode.filter(|&wanted| mode != Some(wanted)) {
            self.send_pending_mode(ino, &path, wanted).await?;
        }
        let timed = state.changed && mtime == state.mtime;
        if let Some(seconds) = state.mtime.filter(|_| !timed) {
            self.send_mtime(ino, &path, seconds).await?;
        }
        {
            // What was set while this was sent is still to be sent.
            let mut now = staged.state();
            now.mode = now.mode.filter(|_| now.mode != state.mode);
            now.mtime = now.mtime.filter(|_| now.mtime != state.mtime);
        }
        if let Ok(Some(entry)) = self.with_node(ino, |node| node.entry.clone()) {
            staged.state().base = Some(version(&entry));
        }
        if !staged.state().pending() {
            staged.settle();
        }
        Ok(())
    }

    pub(super) async fn send(
        &self,
        ino: u64,
        path: &RemotePath,
        staged: &Staged,
        state: &State,
    ) -> Result<Entry> {
        self.remote.at_rest(path).await;
        if let Some(early) = staged.take_early() {
            let source = staged.source(state.size);
            let wishes = self.wishes(ino, state);
            let sent = self.remote.finish_early(early, path, &source, wishes);
            if let Some(entry) = sent.await? {
                return Ok(entry);
            }
        }
        let occupied = match state.base {
            Some(_) => true,
            None => self.remote.stat(path).await?.is_some(),
        };
        let plan = plan(state, path, occupied);
        debug!(%path, size = state.size, ?plan, "commit");
        let wishes = Wishes {
            mode: state.mode,
            mtime: state.mtime,
        };
        let source = staged.source(state.size);
        let long = state.size >= WORTH && matches!(plan, Plan::Store | Plan::Replace);
        if long && !state.sent_to.is_empty() && !state.restored {
            // An attempt that failed, or was called back.
            let wishes = self.wishes(ino, state);
            match self.resume(path, state, &source, wishes).await {
                Ok((Resumed::Done(entry), _)) => return Ok(entry),
                // What is left of it is not as it was a moment ago.
                Ok(_) | Err(super::Error::Remote(cache::Error::Stale(_))) => {}
                Err(error) => return Err(error),
            }
        }
        match plan {
            Plan::Nothing => {
                let item = self
                    .remote
                    .stat(path)
                    .await?
                    .ok_or(super::Error::NotFound)?;
                Ok(item.entry)
            }
            Plan::Store => {
                staged.note_sent_to(path)?;
                match self.remote.store(path, &source, wishes).await {
                    // ProFTPD without AllowOverwrite lets nobody store over an existing file, not even an empty one.
                    Err(cache::Error::Denied(_)) if occupied => {
                        self.replace(ino, path, staged, state).await
                    }
                    // Nor over a part of it that an earlier attempt has left.
                    Err(cache::Error::Denied(_)) if state.sent_to.has(path) => {
                        self.remote.clean(path).await;
                        Ok(self.remote.store(path, &source, wishes).await?)
                    }
                    Err(error) if error.is_silence() => {
                        debug!(%path, %error, "under another name first");
                        self.replace(ino, path, staged, state).await
                    }
                    outcome => Ok(outcome?),
                }
            }
            Plan::Append(mut base, end) => {
                // An attempt that failed may have added some of it, or all, and its answer was lost.
                if end == End::Known && state.sent_to.has(path) {
                    let resumed = self.remote.resume(path, &source, base.size, wishes).await?;
                    if let Resumed::Done(entry) = resumed {
                        return Ok(entry);
                    }
                    // Or nothing, and its time is another since: what counts is that the bytes go to their place.
                    base.modified = None;
                }
                staged.note_sent_to(path)?;
                match self.remote.append(path, &source, base, end, wishes).await {
                    Err(cache::Error::Unsupported(_)) => {
                        self.replace(ino, path, staged, state).await
                    }
                    outcome => Ok(outcome?),
                }
            }
            Plan::Overwrite(base, ranges) => {
                staged.note_sent_to(path)?;
                let sent = self.remote.overwrite(path, &source, base, &ranges, wishes);
                match sent.await {
                    Err(cache::Error::Unsupported(_)) => {
                        self.replace(ino, path, staged, state).await
                    }
                    outcome => Ok(outcome?),
                }
            }
            Plan::Replace => self.replace(ino, path, staged, state).await,
        }
    }

    async fn replace(
        &self,
        ino: u64,
        path: &RemotePath,
        staged: &Staged,
        state: &State,
    ) -> Result<Entry> {
        if state.uses_base() {
            self.load(ino, staged, state).await?;
            self.check_base(path, state).await?;
        }
        let source = staged.source(state.size);
        let wishes = self.wishes(ino, state);
        let mut attempt = 0;
        loop {
            let scratch = scratch_name(path);
            staged.note_sent_to(&scratch)?;
            match self.remote.replace(path, &scratch, &source, wishes).await {
                Err(error) if error.is_silence() && attempt < SILENCES => {
                    debug!(%path, %error, "under yet another name");
                    attempt += 1;
                }
                outcome => return Ok(outcome?),
            }
        }
    }

    /// What a new file that takes the place of `ino` is to have: its mode too, unless new files have that anyway.
    pub(super) fn wishes(&self, ino: u64, state: &State) -> Wishes {
        let known = self
            .with_node(ino, |node| node.entry.as_ref().and_then(|entry| entry.mode))
            .ok()
            .flatten();
        let mode = known.filter(|&mode| mode != self.config.default_file_mode());
        Wishes {
            mode: state.mode.or(mode),
            mtime: state.mtime,
        }
    }

    /// Fetches all bytes of the base that are part of the file.
    pub(super) async fn load(&self, ino: u64, staged: &Staged, state: &State) -> Result<()> {
        let Some(base) = state.base else {
            return Ok(());
        };
        let mut at = 0;
        while let Some(missing) = { staged.state().missing(at, state.size) } {
            if staged.recalls.is_made() {
                return Err(cache::Error::Recalled.into());
            }
            let length = (missing.end - missing.start).min(PIECE);
            let bytes: Vec<Bytes> = self.read_remote(ino, base, missing.start, length).await?;
            at = missing.start;
            for bytes in bytes {
                staged.fill(at, &bytes)?;
                at += bytes.len() as u64;
            }
        }
        Ok(())
    }

    /// Whether the server still has the version that the staged file stands over.
    async fn check_base(&self, path: &RemotePath, state: &State) -> Result<()> {
        let now = self.remote.version_of(path).await?;
        let same = state
            .base
            .is_some_and(|base| self.remote.is_same(base, now));
        if same {
            Ok(())
        } else {
            Err(cache::Error::Stale(path.clone()).into())
        }
    }

    /// Sets the bits that a file was made with, or that were set while it was open. A refusal does not undo what was
    /// sent: the bits are kept here then.
    async fn send_pending_mode(&self, ino: u64, path: &RemotePath, mode: u32) -> Result<()> {
        match self.send_mode(ino, path, mode).await {
            Err(super::Error::Remote(cache::Error::Denied(error))) => {
                debug!(%path, %error, "permission bits refused");
                if let Some(item) = self.remote.stat(path).await? {
                    self.overlay().keep_mode(path, &item.entry, mode);
                }
                Ok(())
            }
            outcome => outcome,
        }
    }
}

/// The cheapest plan that cannot lose anything, for a file at `path`, where there is one if that is `occupied`.
pub(super) fn plan(state: &State, path: &RemotePath, occupied: bool) -> Plan {
    let Some(base) = state.base else {
        return if occupied { Plan::Replace } else { Plan::Store };
    };
    let same = state.only_grown() && state.size == base.size;
    // An attempt that was given up may have added to the base what has been cut off since.
    if same && !state.sent_to.has(path) {
        return Plan::Nothing;
    }
    if state.size == 0 || base.size == 0 {
        return Plan::Store;
    }
    if state.only_grown() && !same {
        let end = match state.at_any_end {
            true => End::Any,
            false => End::Known,
        };
        return Plan::Append(base, end);
    }
    match state.small_changes() {
        Some(ranges) => Plan::Overwrite(base, ranges),
        None => Plan::Replace,
    }
}

/// Bytes fetched at once where a part of the base is needed.
const PIECE: u64 = 4 << 20;

/// Times that a file is sent under another name, where the server did not answer.
const SILENCES: u32 = 1;
