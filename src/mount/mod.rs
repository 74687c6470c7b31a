//! The composition root: goes to the background, builds the layers, mounts, waits for the end,
//! sends what is not sent, unmounts.
//!
//! Nothing is left behind when a step fails: each step's guard undoes it.

mod background;
mod kernel;
mod mountpoint;
mod service;
mod session;
mod table;

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::exit;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use thiserror::Error;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{debug, error, info, warn};

use self::background::{Notice, Side};
use self::kernel::{Mounted, Unmounted};
pub use self::kernel::{Way, unmount};
use self::session::{End, Running};
use crate::cache::CacheConfig;
use crate::ftp::config::ServerConfig;
use crate::fuse::{Adapter, FuseConfig};
use crate::log::{self, Detail, Ground, LogConfig, Recent, Terminal};
use crate::pool::PoolConfig;
use crate::status::{self, Listening, Told};
use crate::sys;
use crate::vfs::{Vfs, VfsConfig};

/// Everything that a mount is made from.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The server.
    pub server: ServerConfig,
    /// The sessions with it.
    pub pool: PoolConfig,
    /// The caches.
    pub cache: CacheConfig,
    /// What its files look like.
    pub vfs: VfsConfig,
    /// What the kernel is told.
    pub fuse: FuseConfig,
    /// Where and how the mount is made.
    pub mount: MountConfig,
    /// What is logged.
    pub log: LogConfig,
}

/// Where and how the mount is made.
#[derive(Clone, Debug)]
pub struct MountConfig {
    /// Where.
    pub place: Place,
    /// What the mount table shows as source; without password.
    pub source: String,
    /// What the mount table shows after `fuse.`.
    pub subtype: String,
    /// Whether the kernel refuses every change.
    pub read_only: bool,
    /// Whether other users get in.
    pub allow_other: bool,
    /// Whether the kernel checks owners and permissions.
    pub default_permissions: bool,
    /// Whether the folder may hold files, which the mount then hides.
    pub nonempty: bool,
    /// Whether programs cannot be run from it.
    pub no_exec: bool,
    /// Whether reading does not ask for a new access time.
    pub no_atime: bool,
    /// Whether the kernel follows no symbolic link of it.
    pub no_symfollow: bool,
    /// What SELinux is to take its files for, if it runs: `context` and the like, by name.
    pub labels: Vec<(&'static str, String)>,
    /// Whether each write is to be on the server before it returns.
    pub synchronous: bool,
    /// The same for changes of folders.
    pub dir_synchronous: bool,
    /// Folders for the socket that the mount is asked for its status on: the first that is fit is used.
    pub sockets: Vec<PathBuf>,
    /// Whether [`run`] returns only at the end of the mount.
    pub foreground: bool,
}

/// Where a mount is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// On this folder; an absolute path.
    Folder(PathBuf),
    /// It is made already, and this is the number of the open `/dev/fuse`.
    Descriptor(i32),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) => path.display().fmt(f),
            Self::Descriptor(number) => write!(f, "/dev/fd/{number}"),
        }
    }
}

/// What kept the mount from being made, or from ending well: a sentence for the user.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct StartError(pub String);

/// Mounts as `setup` says. Returns when the mount answers; in the foreground when it has ended.
///
/// To be called before any thread is started: unless in the foreground, the process forks.
///
/// # Errors
/// A sentence for the user. Nothing is left mounted.
pub fn run(setup: Setup) -> Result<(), StartError> {
    if setup.mount.foreground {
        return serve(setup, &mut None);
    }
    let mut notice = match background::split()? {
        Side::Parent(outcome) => return outcome,
        Side::Child(notice) => Some(notice),
    };
    let outcome = serve(setup, &mut notice);
    let code = i32::from(outcome.is_err());
    match (outcome, notice) {
        (Ok(()), _) => {}
        (Err(error), Some(notice)) => notice.failed(&error),
        (Err(error), None) => error!("{error}"),
    }
    // The other process is the one that returns to its caller.
    exit(code)
}

/// Mounts and serves until the end. Takes `notice` when the mount answers.
fn serve(setup: Setup, notice: &mut Option<Notice>) -> Result<(), StartError> {
    let ground = match setup.mount.foreground {
        true => Ground::Fore,
        false => Ground::Back,
    };
    let detail = log::start(&setup.log, ground).map_err(StartError)?;
    let place = match &setup.mount.place {
        Place::Folder(path) => {
            stay_outside(path, &setup)?;
            Place::Folder(mountpoint::prepare(path, &setup.mount)?)
        }
        descriptor => descriptor.clone(),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        // Their work is waiting and copying; the session threads do the rest.
        .worker_threads(2)
        .thread_name("ftpfs-worker")
        .enable_all()
        .build()
        .map_err(|e| StartError(format!("cannot start threads: {e}")))?;
    let (recent, terminal) = (detail.recent().clone(), detail.terminal().clone());
    let outcome = switch_on_signal(&runtime, detail)
        .and_then(|()| serve_on(&runtime, setup, &place, notice, recent, &terminal));
    // A blocking task may hang in local file I/O; the process ends all the same.
    runtime.shutdown_timeout(Duration::from_secs(1));
    outcome
}

fn serve_on(
    runtime: &Runtime,
    setup: Setup,
    place: &Place,
    notice: &mut Option<Notice>,
    recent: Recent,
    terminal: &Terminal,
) -> Result<(), StartError> {
    // From here on an interrupt is an order, not the end of the process.
    let mut signals = {
        let _inside = runtime.enter();
        Signals::listen().map_err(|e| StartError(format!("cannot handle signals: {e}")))?
    };
    let patience = setup.server.connect_timeout + setup.server.timeout;
    let vfs = runtime.block_on(async {
        tokio::select! {
            vfs = Vfs::connect(setup.server, setup.pool, setup.cache, setup.vfs) => {
                vfs.map_err(StartError)
            }
            () = signals.next() => Err(StartError("interrupted".to_owned())),
        }
    })?;
    let vfs = Arc::new(vfs);
    {
        let _inside = runtime.enter();
        vfs.start();
    }
    let (adapter, doubts) = Adapter::new(vfs.clone(), runtime.handle().clone(), setup.fuse);

    let (mounted, device) = match place {
        Place::Folder(path) => kernel::mount(path, &setup.mount)?,
        Place::Descriptor(number) => {
            let device = sys::inherited_descriptor(*number)
                .map_err(|e| StartError(format!("/dev/fd/{number} is not open for us: {e}")))?;
            (Mounted::by_caller(), device)
        }
    };
    let running = Running::start(adapter, doubts, device, setup.mount.allow_other)?;
    if let Place::Folder(path) = place
        && let Err(error) = session::answers(path, patience)
    {
        // The thread that waits for the answer is freed.
        mounted.abort();
        return Err(error);
    }
    raise_read_ahead(&mounted);
    let told = Told {
        source: setup.mount.source.clone(),
        mountpoint: match place {
            Place::Folder(path) => path.clone(),
            // Another process's may have the same number.
            descriptor => format!("{descriptor} of process {}", std::process::id()).into(),
        },
        since: SystemTime::now(),
        vfs: vfs.clone(),
        recent,
    };
    // Until all is sent, and the process ends. Who started us may ask at once.
    let _listening = listen(runtime, &setup.mount.sockets, told);
    if let Some(notice) = notice.take() {
        notice
            .ready()
            .map_err(|e| StartError(format!("cannot go to the background: {e}")))?;
    }
    info!(source = setup.mount.source, "mounted");
    service::ready(&setup.mount.source);
    let outcome = runtime.block_on(until_the_end(
        &vfs,
        &mounted,
        running,
        &mut signals,
        terminal,
    ));
    info!("ended");
    outcome
}

/// Serves until a signal comes or the session ends; then sends what is not sent and unmounts.
async fn until_the_end(
    vfs: &Vfs,
    mounted: &Mounted,
    mut running: Running,
    signals: &mut Signals,
    terminal: &Terminal,
) -> Result<(), StartError> {
    let end = tokio::select! {
        () = signals.next() => None,
        end = running.ended() => Some(end),
    };
    match &end {
        None => info!("unmounting"),
        Some(End::Unmounted) => info!("unmounted from outside"),
        Some(End::Lost(reason)) => error!("the session with the kernel is lost: {reason}"),
    }
    service::ending();
    if let Some(left) = status::left(vfs) {
        info!(
            left,
            "sending it; a second signal ends at once, and what is not sent is kept"
        );
    }
    // The mount stays up meanwhile: whoever is still writing is not cut off.
    if drain(vfs, mounted, signals, terminal).await?.is_err() {
        warn!("not everything could be sent; trying once more after unmounting");
    }
    if !matches!(end, Some(End::Unmounted)) {
        take_off(mounted).await;
        // A mount that is still in use, here or in another mount namespace, ends with us.
        if end.is_none()
            && tokio::time::timeout(LAST_USERS, running.ended())
                .await
                .is_err()
        {
            warn!("the mount is still in use, and ends under its users");
        }
    }
    // What was closed since the first time.
    let drained = drain(vfs, mounted, signals, terminal).await?;
    match (end, drained) {
        (_, Err(unsent)) => Err(StartError(unsent.join("\n"))),
        (Some(End::Lost(reason)), Ok(())) => Err(StartError(format!(
            "the session with the kernel was lost: {reason}"
        ))),
        (_, Ok(())) => Ok(()),
    }
}

/// Answers what `ftpfs status` asks; without that it is a mount all the same.
fn listen(runtime: &Runtime, folders: &[PathBuf], told: Told) -> Option<Listening> {
    let _inside = runtime.enter();
    // Below the mountpoint nobody would find it.
    let outside = folders
        .iter()
        .filter(|folder| !folder.starts_with(&told.mountpoint));
    let outside: Vec<PathBuf> = outside.cloned().collect();
    status::listen(&outside, told)
        .inspect_err(|error| warn!(%error, "`ftpfs status` cannot ask this mount: no socket"))
        .ok()
}

/// SIGUSR1: each request and command is logged, or no longer.
fn switch_on_signal(runtime: &Runtime, detail: Detail) -> Result<(), StartError> {
    let _inside = runtime.enter();
    let mut asked = signal(SignalKind::user_defined1())
        .map_err(|e| StartError(format!("cannot handle signals: {e}")))?;
    runtime.spawn(async move {
        while asked.recv().await.is_some() {
            detail.switch();
        }
    });
    Ok(())
}

/// How long the users of a mount that is out of sight have to finish.
const LAST_USERS: Duration = Duration::from_secs(5);

/// Sends what is not sent; a second signal gives up at once, which is the outer error.
async fn drain(
    vfs: &Vfs,
    mounted: &Mounted,
    signals: &mut Signals,
    terminal: &Terminal,
) -> Result<Result<(), Vec<String>>, StartError> {
    tokio::select! {
        drained = status::shown(vfs, terminal, vfs.drain()) => Ok(drained),
        () = signals.second() => {
            if let Err(error) = mounted.detach() {
                error!(%error, "cannot unmount");
            }
            let kept = status::kept(vfs);
            Err(StartError(format!("stopped by a second signal before everything was sent; {kept}")))
        }
    }
}

/// Unmounts; lazily if it stays busy.
async fn take_off(mounted: &Mounted) {
    for _ in 0..BUSY_TRIES {
        match mounted.unmount() {
            Ok(Unmounted::Yes) => return,
            Ok(Unmounted::Busy) => tokio::time::sleep(BUSY_PAUSE).await,
            Err(error) => {
                warn!(%error, "cannot unmount plainly");
                break;
            }
        }
    }
    info!("the mount is busy: taking it out of sight");
    if let Err(error) = mounted.detach() {
        error!(%error, "cannot unmount");
    }
}

/// File managers and indexers look in for a moment; half a second sees them leave.
const BUSY_TRIES: u32 = 5;
const BUSY_PAUSE: Duration = Duration::from_millis(100);

/// SIGINT, SIGTERM and SIGHUP, each an order to unmount.
struct Signals {
    each: [Signal; 3],
    /// One has come.
    heard: bool,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        let each = [
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        ];
        Ok(Self { each, heard: false })
    }

    /// The next of them. Cancel safe.
    async fn next(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.each;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
        self.heard = true;
    }

    /// The next one after the first: what was unmounted from outside ends anyway, as the first would have it, and is told so
    /// when the machine is shut down. Cancel safe.
    async fn second(&mut self) {
        if !self.heard {
            self.next().await;
            info!("it ends when all is sent");
        }
        self.next().await;
    }
}

/// Files of ours below the mountpoint would be read through ourselves, and hang.
fn stay_outside(mountpoint: &Path, setup: &Setup) -> Result<(), StartError> {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mountpoint = real(mountpoint);
    let inside = |path: &PathBuf| real(path).starts_with(&mountpoint);
    for (what, path) in [
        ("staging", Some(&setup.vfs.staging)),
        ("log_file", setup.log.file.as_ref()),
    ] {
        if let Some(path) = path.filter(|path| inside(path)) {
            return Err(StartError(format!(
                "{what} is below the mountpoint ({}): choose a place outside, with -o {what}=",
                path.display()
            )));
        }
    }
    Ok(())
}

/// On a thread of its own, since nothing says that the kernel asks the mount nothing meanwhile.
fn raise_read_ahead(mounted: &Mounted) {
    let Some(raise) = mounted.read_ahead() else {
        return;
    };
    let raise = move || {
        if let Err(error) = raise() {
            debug!(%error, "read-ahead stays at the kernel's default");
        }
    };
    // Best effort: without the thread, only the default remains.
    let _ = std::thread::Builder::new()
        .name("read-ahead".to_owned())
        .spawn(raise);
}

#[cfg(test)]
impl MountConfig {
    fn example() -> Self {
        Self {
            place: Place::Folder("/mnt".into()),
            source: "ftp://h/".to_owned(),
            subtype: "ftpfs".to_owned(),
            read_only: false,
            allow_other: false,
            default_permissions: false,
            nonempty: false,
            no_exec: false,
            no_atime: false,
            no_symfollow: false,
            labels: Vec::new(),
            synchronous: false,
            dir_synchronous: false,
            sockets: Vec::new(),
            foreground: true,
        }
    }
}
