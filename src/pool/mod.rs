//! How many sessions there are, and who has one.
//!
//! Owns leasing, reconnecting, keepalive and the server's limit. Knows nothing of what a listing or a block means.

mod attempt;
mod backoff;
mod keep;
mod lease;
mod limits;
mod progress;
#[cfg(test)]
mod tests;
mod transfer;
mod turns;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use tracing::debug;

use crate::ftp::{Crossed, Error, ErrorKind, Profile, RemotePath, Result, Server, Session};

use backoff::{Backoff, Turn};
use limits::{Limits, Permits};
use progress::Transfers;
use turns::{Turns, Waiting};

pub(crate) use attempt::on_session;
pub use attempt::{Attempts, Retry};
pub use lease::Lease;
pub use progress::{Direction, Progress};
pub use transfer::{Download, SMALL, Unconfirmed, Upload};

/// Bounds of the pool.
#[derive(Clone, Debug)]
pub struct PoolConfig {
    /// Most sessions at once, at least 1.
    pub max_sessions: usize,
    /// An unused session is closed after this long.
    pub idle_timeout: Duration,
}

/// What a session is leased for; the shorter, the earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// Commands: short.
    Metadata,
    /// Listings, and small files: short, but on a data connection.
    Brief,
    /// The content of a file that is sent: at most all sessions but two, so that others can be read meanwhile.
    Upload,
    /// The content of a file that is read. Together with those above: at most all sessions but one.
    Data,
    /// The same, where a part of it has come and it is the others' turn, or nobody waits for it yet.
    Rest,
}

impl Purpose {
    fn is_data(self) -> bool {
        self >= Self::Upload
    }
}

/// How many sessions there are at a moment, and what for.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Sessions {
    /// Those that exist.
    pub open: usize,
    /// As many as there may be.
    pub most: usize,
    /// On loan for commands.
    pub commands: usize,
    /// On loan for listings, and for small files.
    pub brief: usize,
    /// On loan for the content of files.
    pub transfers: usize,
}

/// The sessions to one server. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Pool {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    server: Arc<Server>,
    config: PoolConfig,
    limits: Limits,
    idle: Mutex<Vec<Idle>>,
    backoff: Mutex<Backoff>,
    /// Sessions that exist, idle ones included.
    open: AtomicUsize,
    /// Sessions that are being opened, and that nobody asked for.
    ahead: AtomicUsize,
    turns: Turns,
    /// Leases by purpose, for those who look.
    leased: [AtomicUsize; PURPOSES],
    /// The transfers that are going on, likewise.
    transfers: Transfers,
}

#[derive(Debug)]
struct Idle {
    session: Session,
    since: Instant,
    noop: Instant,
}

impl Pool {
    /// A pool of sessions to `server`; none is opened yet. Must be called on a tokio runtime.
    pub fn new(server: Server, config: PoolConfig) -> Self {
        let inner = Arc::new(Inner {
            server: Arc::new(server),
            limits: Limits::new(config.max_sessions),
            idle: Mutex::new(Vec::new()),
            backoff: Mutex::new(Backoff::new(Instant::now())),
            open: AtomicUsize::new(0),
            ahead: AtomicUsize::new(0),
            turns: Turns::default(),
            leased: Default::default(),
            transfers: Transfers::default(),
            config,
        });
        tokio::spawn(keep::keep(Arc::downgrade(&inner)));
        Self { inner }
    }

    /// What is known of the server.
    pub fn profile(&self) -> Profile {
        self.inner.server.profile()
    }

    /// Reads or changes what is known of the server. `look` must not wait.
    pub fn with_profile<T>(&self, look: impl FnOnce(&mut Profile) -> T) -> T {
        self.inner.server.with_profile(look)
    }

    /// Sees that `path` has a place in the server's charset.
    ///
    /// # Errors
    /// [`ErrorKind::Name`] if it has none.
    pub fn check_charset(&self, path: &RemotePath) -> Result<()> {
        self.inner.server.sent(path).map(drop)
    }

    /// The folder that the mount shows; known after the first login.
    pub fn root(&self) -> RemotePath {
        self.inner.server.root()
    }

    /// How many sessions there may be at once.
    pub fn most_sessions(&self) -> usize {
        self.inner.limits.most()
    }

    /// Downloads that may run beside that of a reader: one session is left for commands.
    pub fn lanes(&self) -> usize {
        self.inner.limits.left().saturating_sub(2)
    }

    /// Uploads that may run at once, but for those of small files.
    pub fn most_uploads(&self) -> usize {
        self.lanes().max(1)
    }

    /// How many sessions there are, and what for.
    pub fn sessions(&self) -> Sessions {
        let leased = |purpose| self.inner.leased[purpose as usize].load(Ordering::Relaxed);
        Sessions {
            open: self.inner.open.load(Ordering::Relaxed),
            most: self.most_sessions(),
            commands: leased(Purpose::Metadata),
            brief: leased(Purpose::Brief),
            transfers: [Purpose::Upload, Purpose::Data, Purpose::Rest]
                .map(leased)
                .iter()
                .sum(),
        }
    }

    /// The transfers that are going on.
    pub fn transfers(&self) -> Vec<Arc<Progress>> {
        self.inner.transfers.going_on()
    }

    /// What has crossed the wire so far.
    pub fn crossed(&self) -> Crossed {
        self.inner.server.crossed()
    }

    /// Longest wait for an answer or for progress.
    pub fn patience(&self) -> Duration {
        self.inner.server.config.timeout
    }

    /// A session, idle and in a known state; waits until one is free.
    ///
    /// Must not be called while holding another lease. Cancel safe. The wait to be one of the uploads has no limit: those
    /// before it go on, or fail.
    ///
    /// # Errors
    /// What connecting can fail by; [`ErrorKind::TimedOut`] if none became free.
    pub async fn lease(&self, purpose: Purpose) -> Result<Lease> {
        let upload = match purpose {
            Purpose::Upload => Some(self.inner.limits.upload().await),
            _ => None,
        };
        let patience = self.patience() * 2;
        let mut permits = {
            let _waiting = self.inner.wait(purpose);
            timeout(patience, self.inner.limits.permits(purpose))
                .await
                .map_err(|_| none_free())?
        };
        permits._upload = upload;
        // What kept it from connecting says more than that the time is up.
        let mut last = None;
        let lease = timeout(patience, self.occupy(permits, purpose, &mut last))
            .await
            .unwrap_or_else(|_| Err(last.unwrap_or_else(none_free)))?;
        if purpose.is_data() {
            self.have_spare();
        }
        Ok(lease)
    }

    /// [`Pool::lease`], to send so many bytes.
    pub async fn lease_to_send(&self, bytes: u64) -> Result<Lease> {
        let purpose = match bytes {
            0..=SMALL => Purpose::Brief,
            _ => Purpose::Upload,
        };
        self.lease(purpose).await
    }

    /// Opens a session in the background if there may be one more and none is idle: a login on a link that is full of data
    /// takes long, and commands are not to wait for it.
    fn have_spare(&self) {
        let inner = &self.inner;
        let none_idle = inner.idle.lock().expect("no panic while locked").is_empty();
        if none_idle && inner.ahead.load(Ordering::Relaxed) == 0 {
            let pool = self.clone();
            tokio::spawn(async move { pool.open_ahead().await });
        }
    }

    /// Waits until somebody waits for a session: time to give one up that is only kept.
    pub async fn wanted(&self) {
        self.inner.turns.wanted().await;
    }

    /// Waits until somebody waits for a session, or to be one of the uploads.
    pub async fn upload_wanted(&self) {
        tokio::select! {
            () = self.wanted() => {}
            () = self.inner.limits.upload_wanted() => {}
        }
    }

    /// Whether somebody waits for a session.
    pub fn is_wanted(&self) -> bool {
        self.inner.turns.waiting(Purpose::Rest) > 0
    }

    /// Logs all idle sessions out.
    pub async fn close(&self) {
        let idle = std::mem::take(&mut *self.inner.idle.lock().expect("no panic while locked"));
        for Idle { session, .. } in idle {
            self.inner.open.fetch_sub(1, Ordering::Relaxed);
            session.quit().await;
        }
    }

    /// An idle session that still lives, or a new one.
    /// The latest failure that was not the end is left in `last`.
    async fn occupy(
        &self,
        mut permits: Permits,
        purpose: Purpose,
        last: &mut Option<Error>,
    ) -> Result<Lease> {
        while let Some(idle) = self.inner.pop(purpose) {
            match idle.session.ended() {
                None => return Ok(Lease::new(self.clone(), idle.session, permits, purpose)),
                Some(error) => {
                    debug!(session = idle.session.id, %error, "session ended while idle");
                    self.inner.open.fetch_sub(1, Ordering::Relaxed);
                }
            }
        }
        let mut pauses = RETRIES.iter();
        loop {
            match self.connect().await {
                Ok(session) => return Ok(Lease::new(self.clone(), session, permits, purpose)),
                Err(error) if self.inner.is_limit(&error) => {
                    // The server has enough of us: fewer sessions from now on, and this lease waits for one of those.
                    if self.inner.has_open() {
                        let withheld = self.inner.withhold(&mut permits);
                        if !withheld {
                            // All that are left are open, one of them without a lease for the moment.
                            let pause = pauses.next().ok_or(error)?;
                            tokio::time::sleep(*pause).await;
                        }
                        let _waiting = self.inner.wait(purpose);
                        permits.session =
                            self.inner.limits.permits(Purpose::Metadata).await.session;
                        if let Some(idle) = self.inner.pop(purpose) {
                            return Ok(Lease::new(self.clone(), idle.session, permits, purpose));
                        }
                    } else {
                        let pause = pauses.next().ok_or(error)?;
                        tokio::time::sleep(*pause).await;
                    }
                }
                // What did not answer in all that time is not asked again: whoever waits is to know.
                Err(error) if error.kind == ErrorKind::TimedOut => return Err(error),
                Err(error) if self.inner.backoff().may_pass(&error) => match pauses.next() {
                    Some(pause) => {
                        *last = Some(error);
                        tokio::time::sleep(*pause).await;
                    }
                    None => return Err(error),
                },
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes an idle session back: at once, or after arming it for the next transfer.
    fn give_back(&self, mut session: Session, permits: &mut Permits) {
        let runtime = tokio::runtime::Handle::try_current();
        match runtime {
            Ok(runtime) if session.wants_arming() => {
                let (pool, permit) = (self.clone(), permits.session.take());
                runtime.spawn(async move {
                    match session.arm().await {
                        Ok(()) => pool.inner.push(session),
                        // Armed or not, it is usable unless the connection is gone.
                        Err(_) if session.is_idle() => pool.inner.push(session),
                        Err(error) => {
                            debug!(session = session.id, %error, "session lost while it was armed");
                            pool.inner.open.fetch_sub(1, Ordering::Relaxed);
                        }
                    }
                    drop(permit);
                });
            }
            _ => self.inner.push(session),
        }
    }

    /// Opens and arms sessions in the background, so that the first to need them do not wait for logins.
    pub fn warm_up(&self) {
        let more = self.most_sessions().min(WARM).saturating_sub(1);
        // Two by two, until the server says no.
        for side in 0..2 {
            let pool = self.clone();
            tokio::spawn(async move {
                for _ in (side..more).step_by(2) {
                    if !pool.open_ahead().await {
                        break;
                    }
                }
            });
        }
    }

    /// Opens and arms one session that nobody asked for; whether that worked.
    async fn open_ahead(&self) -> bool {
        let Some(mut permits) = self.inner.limits.spare() else {
            return false;
        };
        // Those that are idle have no permit: there may be as many as there may be already.
        let most = self.most_sessions();
        let taken = self.inner.ahead.fetch_add(1, Ordering::Relaxed)
            + self.inner.open.load(Ordering::Relaxed);
        let connected = match taken < most {
            true => Some(self.connect().await),
            false => None,
        };
        self.inner.ahead.fetch_sub(1, Ordering::Relaxed);
        let Some(connected) = connected else {
            return false;
        };
        match connected {
            Ok(session) => {
                self.give_back(session, &mut permits);
                true
            }
            Err(error) => {
                // Whoever needs one will see for himself.
                debug!(%error, "no session in advance");
                if self.inner.is_limit(&error) {
                    self.inner.withhold(&mut permits);
                }
                false
            }
        }
    }

    /// Opens a session, counted as open, when its turn comes.
    async fn connect(&self) -> Result<Session> {
        let begun = Instant::now();
        loop {
            let turn = self.inner.backoff().turn(begun, Instant::now());
            match turn {
                Turn::Now => break,
                Turn::In(wait) => tokio::time::sleep(wait).await,
                Turn::Not(error) => return Err(error),
            }
        }
        let connected = Session::connect(self.inner.server.clone()).await;
        match &connected {
            Ok(_) => {
                self.inner.backoff().succeeded();
                self.inner.open.fetch_add(1, Ordering::Relaxed);
            }
            // It serves those that it has.
            Err(error) if self.inner.is_limit(error) && self.inner.has_open() => {}
            Err(error) => self.inner.backoff().failed(error, Instant::now()),
        }
        connected
    }

    /// The server is asked at once the next time, however often it has refused: the user wants to know.
    pub fn ask_at_once(&self) {
        self.inner.backoff().forgive(Instant::now());
    }
}

fn none_free() -> Error {
    Error::new(
        ErrorKind::TimedOut,
        "lease",
        "no session became free in time",
    )
}

impl Inner {
    /// The idle session that suits best: for a transfer the one that has been armed for longest, so that the others have
    /// time to be; for commands one that is not armed.
    fn pop(&self, purpose: Purpose) -> Option<Idle> {
        let mut idle = self.idle.lock().expect("no panic while locked");
        let wanted = purpose != Purpose::Metadata;
        let suited = idle
            .iter_mut()
            .position(|one| one.session.is_armed() == wanted);
        match suited {
            Some(index) => Some(idle.remove(index)),
            None => idle.pop(),
        }
    }

    fn push(&self, session: Session) {
        let now = Instant::now();
        self.idle.lock().expect("no panic while locked").push(Idle {
            session,
            since: now,
            noop: now,
        });
    }

    fn wait(&self, purpose: Purpose) -> Waiting {
        self.turns.wait(purpose, self.limits.is_reached())
    }

    fn backoff(&self) -> MutexGuard<'_, Backoff> {
        self.backoff.lock().expect("no panic while locked")
    }

    fn has_open(&self) -> bool {
        self.open.load(Ordering::Relaxed) > 0
    }

    /// Whether `error` at a connect means the server's limit: said so, or a refusal of a login that works elsewhere.
    fn is_limit(&self, error: &Error) -> bool {
        match error.kind {
            ErrorKind::TooManySessions => true,
            ErrorKind::Login | ErrorKind::Lost | ErrorKind::Transient(_) => self.has_open(),
            _ => false,
        }
    }

    /// See [`Limits::withhold`].
    fn withhold(&self, permits: &mut Permits) -> bool {
        let open = self.open.load(Ordering::Relaxed);
        self.limits.withhold(permits.session.take(), open)
    }
}

/// Waits as long as a server may need for what it has got on a connection that is lost.
pub async fn echo() {
    tokio::time::sleep(ECHO).await;
}

/// Purposes that there are.
const PURPOSES: usize = Purpose::Rest as usize + 1;

/// How long a server may need for what it has got: measured, a loaded one took 5 ms.
const ECHO: Duration = Duration::from_millis(250);

/// Pauses before each repetition: a stale session is replaced at once, a restarting server gets two seconds.
const RETRIES: [Duration; 3] = [
    Duration::ZERO,
    Duration::from_millis(500),
    Duration::from_millis(1500),
];

/// Sessions that a mount opens before they are needed, and keeps for a while.
const WARM: usize = 6;
