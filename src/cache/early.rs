//! Sending a file while it is still being written: closing it waits for the rest alone.
//!
//! The bytes stay in their local file until the server has confirmed all of them: whatever goes wrong here, they are sent
//! again the usual way.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::debug;

use super::appends::Part;
use super::names::scratch_name;
use super::uploads::{ATTEMPTS, PIECE, WORTH, is_lost};
use super::{Compare, Error, Patch, Recalls, Remote, Result, Source};
use crate::ftp::list::Entry;
use crate::ftp::{ErrorKind, RemotePath, UploadKind, Wishes};
use crate::pool::{Purpose, Upload};

/// An upload of a file that is still being written. Dropped, it is given up, and what it has sent is removed.
#[derive(Debug)]
pub struct EarlyStore {
    path: RemotePath,
    /// Another name, that it is sent under while `path` holds a file.
    scratch: Option<RemotePath>,
    claimed: Arc<AtomicU64>,
    /// Bytes on their way, until it ends.
    sent: watch::Receiver<u64>,
    /// `None` once it is given up.
    goal: Option<watch::Sender<Goal>>,
    task: JoinHandle<std::result::Result<Entry, Over>>,
}

/// What the server has where a file is going to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UntilThen {
    /// No such name.
    Nothing,
    /// A file without a byte, which cannot lose any.
    Empty,
    /// A file that stays until the new one is whole.
    File,
}

/// What is to be sent by now.
#[derive(Clone, Copy, Debug, Default)]
struct Goal {
    /// Bytes from the start of the file that are written.
    ready: u64,
    /// The file's size and its wishes, once it is whole.
    end: Option<(u64, Wishes)>,
}

/// Why a file was not sent early.
#[derive(Debug)]
enum Over {
    /// Nobody wrote for long, or others needed the session.
    GivenUp,
    Failed(Error),
}

impl From<Error> for Over {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl EarlyStore {
    /// Where the server gets its bytes first.
    pub fn sent_to(&self) -> &RemotePath {
        self.scratch.as_ref().unwrap_or(&self.path)
    }

    /// Bytes before this may have been sent: a change of one of them comes too late.
    ///
    /// To be asked after the change was made.
    pub fn claimed(&self) -> u64 {
        self.claimed.load(Ordering::SeqCst)
    }

    /// The bytes before `ready` are written.
    pub fn advance(&self, ready: u64) {
        if let Some(goal) = &self.goal {
            goal.send_if_modified(|goal| {
                let more = ready > goal.ready;
                goal.ready = goal.ready.max(ready);
                more
            });
        }
    }

    /// Waits while much more is written than sent: whoever shows how far a copy is shows the truth then, and closing it
    /// does not take long. Not for ever: whatever the wire does, the writer goes on after a moment.
    pub fn pace(&self) -> impl Future<Output = ()> + use<> {
        let ready = self.goal.as_ref().map_or(0, |goal| goal.borrow().ready);
        let mut sent = self.sent.clone();
        async move {
            let soon = sent.wait_for(|sent| ready <= sent + LEAD);
            // An upload that has ended, well or not, holds nobody up; nor does a moment that is over.
            let _over = tokio::time::timeout(MOMENT, soon).await;
        }
    }

    /// Gives it up.
    pub fn stop(&mut self) {
        self.goal = None;
    }

    /// Gives it up, and waits until what it has sent is removed.
    pub async fn give_up(mut self) {
        self.stop();
        // However it ended: nothing of it is used.
        let _over = self.task.await;
    }
}

impl Remote {
    /// Begins to send `file`, which is going to be at `path`, where `until_then` is. `None` where sessions are too few for
    /// it.
    pub fn store_early(
        &self,
        path: &RemotePath,
        file: Arc<File>,
        until_then: UntilThen,
    ) -> Option<EarlyStore> {
        if self.pool().lanes() == 0 {
            return None;
        }
        let scratch = (until_then == UntilThen::File).then(|| scratch_name(path));
        if let Some(scratch) = &scratch {
            self.hide(scratch);
        }
        let (goal, goals) = watch::channel(Goal::default());
        let claimed = Arc::new(AtomicU64::new(0));
        let (teller, sent) = watch::channel(0);
        let sending = Sending {
            remote: self.clone(),
            path: scratch.as_ref().unwrap_or(path).clone(),
            file,
            claimed: claimed.clone(),
            sent: teller,
            goals,
        };
        Some(EarlyStore {
            path: path.clone(),
            scratch,
            claimed,
            sent,
            goal: Some(goal),
            task: tokio::spawn(sending.run(until_then)),
        })
    }

    /// Ends `early`, whose file is whole by now: `source`, to be at `path`. `None` if it has to be sent the usual way.
    ///
    /// # Errors
    /// As for [`Remote::store`] and [`Remote::replace`], where sending it again would fail as well; [`Error::Recalled`].
    pub async fn finish_early(
        &self,
        mut early: EarlyStore,
        path: &RemotePath,
        source: &Source,
        wishes: Wishes,
    ) -> Result<Option<Entry>> {
        match &early.goal {
            Some(goal) if early.path == *path => goal.send_modify(|goal| {
                goal.ready = source.size;
                goal.end = Some((source.size, wishes));
            }),
            _ => {
                early.give_up().await;
                return Ok(None);
            }
        }
        let ended = tokio::select! {
            biased;
            () = source.recalls.made() => {
                early.stop();
                let stored = (&mut early.task).await;
                if let (Ok(Ok(_)), Some(scratch)) = (stored, &early.scratch) {
                    self.clean(scratch).await;
                    self.show(scratch);
                }
                return Err(Error::Recalled);
            }
            ended = &mut early.task => ended,
        };
        let stored = match ended {
            Ok(Ok(entry)) => entry,
            Ok(Err(Over::Failed(error))) if is_final(&error) => return Err(error),
            Ok(Err(over)) => {
                debug!(%path, ?over, "not sent early");
                return Ok(None);
            }
            Err(error) => {
                debug!(%path, %error, "not sent early");
                return Ok(None);
            }
        };
        let Some(scratch) = early.scratch else {
            return Ok(Some(stored));
        };
        let placed = self
            .put_in_place(path, &scratch, stored, source, wishes)
            .await;
        if placed.is_err() {
            self.clean(&scratch).await;
        }
        self.show(&scratch);
        Ok(Some(placed?))
    }
}

/// Whether the same would happen again.
fn is_final(error: &Error) -> bool {
    matches!(error, Error::Wire(error) if error.kind == ErrorKind::NoSpace)
}

/// The task behind an [`EarlyStore`].
struct Sending {
    remote: Remote,
    path: RemotePath,
    file: Arc<File>,
    claimed: Arc<AtomicU64>,
    sent: watch::Sender<u64>,
    goals: watch::Receiver<Goal>,
}

impl Sending {
    async fn run(mut self, until_then: UntilThen) -> std::result::Result<Entry, Over> {
        let stored = self.store(until_then).await;
        if until_then == UntilThen::File && stored.is_err() {
            self.remote.show(&self.path);
        }
        stored
    }

    async fn store(&mut self, until_then: UntilThen) -> std::result::Result<Entry, Over> {
        // Only a name that nobody has: what it holds later is ours, and may be removed.
        if until_then == UntilThen::Nothing && self.remote.stat(&self.path).await?.is_some() {
            return Err(Over::GivenUp);
        }
        let lease = tokio::select! {
            lease = self.remote.pool().lease(Purpose::Upload) => lease.map_err(Error::from)?,
            () = self.given_up() => return Err(Over::GivenUp),
        };
        let mut upload = match Upload::open(lease, &self.path, UploadKind::Store).await {
            Ok(upload) => upload,
            Err(error) if error.is_refusal() => {
                return Err(self.remote.why_not_stored(&self.path, error).await.into());
            }
            Err(error) => {
                self.clean(until_then).await;
                return Err(Error::from(error).into());
            }
        };
        debug!(path = %self.path, "sent while it is written");
        let (mut from, mut tries) = (0, ATTEMPTS);
        loop {
            let mut at = from;
            let error = match self.send(&mut upload, &mut at).await {
                Ok((size, wishes)) => {
                    let remote = &self.remote;
                    let range = from..size;
                    match remote
                        .conclude(&self.path, upload, size, range, wishes)
                        .await
                    {
                        Ok(entry) => return Ok(entry),
                        Err(error) => error,
                    }
                }
                Err(Over::Failed(error)) => {
                    drop(upload);
                    error
                }
                Err(Over::GivenUp) => {
                    match self.is_given_up() && until_then != UntilThen::Empty {
                        true => upload.cut().await,
                        // All that was written has been sent. Some servers remove a file into which an upload breaks off.
                        false => upload.give_up().await,
                    }
                    self.clean(until_then).await;
                    return Err(Over::GivenUp);
                }
            };
            match self.begin_again(at, &error, &mut tries).await {
                Some((again, there)) => {
                    // As often as it takes while it gets on.
                    if there.saturating_sub(from) >= WORTH {
                        tries = ATTEMPTS;
                    }
                    (upload, from) = (again, there);
                }
                None => {
                    self.clean(until_then).await;
                    return Err(error.into());
                }
            }
        }
    }

    /// After an `error` behind the first `sent` bytes: goes on, if that is worth it, as often as there are `tries` left.
    async fn begin_again(
        &self,
        sent: u64,
        error: &Error,
        tries: &mut u32,
    ) -> Option<(Upload, u64)> {
        if sent < WORTH || !is_lost(error) || error.is_silence() {
            return None;
        }
        while *tries > 0 {
            *tries -= 1;
            match self.go_on(sent).await {
                Err(error) if is_lost(&error) && !self.is_given_up() => {}
                begun => return begun.ok().flatten(),
            }
        }
        None
    }

    /// Begins once more, behind what the server has of the first `sent` bytes; where that is. `None` where that is nothing,
    /// or this server cannot go on with it.
    async fn go_on(&self, sent: u64) -> Result<Option<(Upload, u64)>> {
        let source = Source {
            file: self.file.clone(),
            size: sent,
            recalls: Recalls::default(),
            // What is claimed and changed is not sent at all.
            compare: Compare::End,
        };
        let Part::Head(there @ WORTH..) = self.remote.part_of(&self.path, &source, 0).await? else {
            return Ok(None);
        };
        debug!(path = %self.path, there, of = sent, "goes on where it broke off");
        let begun = self.remote.add_behind(&self.path, there, u64::MAX).await;
        match begun {
            Ok(upload) => Ok(Some((upload, there))),
            Err(Error::Unsupported(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Removes what was sent. Not the user's own file, however empty it was: it is written once more, or removed by the user.
    async fn clean(&self, until_then: UntilThen) {
        match until_then {
            UntilThen::Nothing | UntilThen::File => self.remote.clean(&self.path).await,
            UntilThen::Empty => self.remote.patch(&self.path, Patch::Doubt),
        }
    }

    /// Sends what is written behind `at`, which it moves on, until the file is whole; its size and wishes.
    async fn send(
        &mut self,
        upload: &mut Upload,
        at: &mut u64,
    ) -> std::result::Result<(u64, Wishes), Over> {
        loop {
            let Goal { ready, end } = *self.goals.borrow_and_update();
            if let Some((size, _)) = end {
                upload.expect(size);
            }
            let offset = *at;
            if offset < ready {
                let length = (ready - offset).min(PIECE) as usize;
                // Before it is read: whoever changes these bytes from here on sees that it may be too late.
                self.claimed
                    .fetch_max(offset + length as u64, Ordering::SeqCst);
                let file = self.file.clone();
                let read = tokio::task::spawn_blocking(move || {
                    let mut piece = vec![0; length];
                    file.read_exact_at(&mut piece, offset).map(|()| piece)
                });
                let piece = match read.await {
                    Ok(Ok(piece)) => piece,
                    Ok(Err(error)) => return Err(Error::Local(error.to_string()).into()),
                    Err(error) => return Err(Error::Local(error.to_string()).into()),
                };
                tokio::select! {
                    biased;
                    () = self.given_up() => return Err(Over::GivenUp),
                    sent = upload.send(&piece) => sent.map_err(Error::from)?,
                }
                *at += length as u64;
                self.sent.send_replace(*at);
                continue;
            }
            if let Some(end) = end {
                return Ok(end);
            }
            self.more().await?;
        }
    }

    /// Whether nobody wants it any more.
    fn is_given_up(&self) -> bool {
        self.goals.has_changed().is_err()
    }

    /// Waits until nobody wants it any more.
    async fn given_up(&self) {
        let mut goals = self.goals.clone();
        while goals.changed().await.is_ok() {}
    }

    /// Waits until more is written.
    async fn more(&mut self) -> std::result::Result<(), Over> {
        let pool = self.remote.pool();
        tokio::select! {
            changed = self.goals.changed() => changed.map_err(|_| Over::GivenUp),
            // Whoever waits may be the one who is to be read from, so that more can be written.
            () = pool.upload_wanted() => {
                match tokio::time::timeout(GRACE, self.goals.changed()).await {
                    Ok(Ok(())) => Ok(()),
                    _ => Err(Over::GivenUp),
                }
            }
            () = tokio::time::sleep(PAUSE) => Err(Over::GivenUp),
        }
    }
}

/// How much more may be written than is sent: more than a link holds, so that it never waits for the writer.
const LEAD: u64 = 8 << 20;

/// Longest that one write waits for the wire: nobody can interrupt it meanwhile.
const MOMENT: Duration = Duration::from_secs(2);

/// How long a writer may pause: much less than servers wait for a stalled upload.
const PAUSE: Duration = Duration::from_secs(5);

/// How long while others wait for a session.
const GRACE: Duration = Duration::from_millis(20);
