//! fuser's session with the kernel: started, watched, and known to answer.

use std::os::fd::OwnedFd;
use std::panic::PanicHookInfo;
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use fuser::{Config, Session, SessionACL};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::StartError;
use crate::fuse::{Adapter, Doubts};
use crate::sys;

/// A session that answers the kernel on threads of its own.
#[derive(Debug)]
pub struct Running(UnboundedReceiver<End>);

/// How a session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The mount is gone.
    Unmounted,
    /// The mount is there, but not everybody answers any more; why.
    Lost(String),
}

impl Running {
    /// Shakes hands with the kernel on `device`, and starts answering.
    ///
    /// From now on a panic on one of the session's threads ends it: fuser would go on silently
    /// with a thread fewer.
    ///
    /// # Errors
    /// The handshake failed.
    pub fn start(
        adapter: Adapter,
        doubts: Doubts,
        device: OwnedFd,
        allow_other: bool,
    ) -> Result<Self, StartError> {
        let acl = match allow_other {
            true => SessionACL::All,
            false => SessionACL::Owner,
        };
        let mut config = Config::default();
        // A handler never waits, so one thread would do for throughput; the second keeps the
        // mount responsive while a 1 MiB answer is copied.
        config.n_threads = Some(2);
        config.clone_fd = false;
        let cannot = |e: std::io::Error| StartError(format!("the kernel refuses the mount: {e}"));
        let session = Session::from_fd(adapter, device, acl, config).map_err(cannot)?;

        let notifier = session.notifier();
        thread::Builder::new()
            .name("doubts".to_owned())
            .spawn(move || doubts.tell(&notifier))
            .map_err(cannot)?;
        let (sender, receiver) = unbounded_channel();
        watch_panics(sender.clone());
        let serve = move || {
            let end = match session.run() {
                Ok(()) => End::Unmounted,
                Err(e) => End::Lost(e.to_string()),
            };
            // Nobody listens when the process is ending anyway.
            let _ = sender.send(end);
        };
        thread::Builder::new()
            .name("session".to_owned())
            .spawn(serve)
            .map_err(cannot)?;
        Ok(Self(receiver))
    }

    /// Waits for the end. Cancel safe.
    pub async fn ended(&mut self) -> End {
        let unheard = || End::Lost("its thread is gone".to_owned());
        self.0.recv().await.unwrap_or_else(unheard)
    }
}

/// Logs every panic, and ends the session for those on its threads.
fn watch_panics(sender: UnboundedSender<End>) {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic: &PanicHookInfo<'_>| {
        match tracing::enabled!(tracing::Level::ERROR) {
            true => tracing::error!("{panic}"),
            false => usual(panic),
        }
        let name = thread::current().name().unwrap_or_default().to_owned();
        // fuser calls its threads `fuser-0`, ..
        if name.starts_with("fuser-") || name == "session" {
            let _ = sender.send(End::Lost(format!("thread {name} panicked")));
        }
    }));
}

/// Waits until the mount on `path` answers a question about its root, at most for `patience`.
///
/// # Errors
/// What the root answers, or that it does not: then a thread hangs in the question until the
/// connection is cut.
pub fn answers(path: &Path, patience: Duration) -> Result<(), StartError> {
    let (sender, receiver) = channel();
    let asked = path.to_owned();
    let ask = move || {
        // So that this process can end even if the question never does. On old kernels it is
        // left to `Mounted::abort`.
        let _ = sys::close_descriptors_of_this_thread();
        // Nobody listens after the deadline.
        let _ = sender.send(rustix::fs::stat(&asked).map(drop));
    };
    let silent = |e: std::io::Error| StartError(format!("cannot ask the new mount: {e}"));
    thread::Builder::new()
        .name("first-question".to_owned())
        .spawn(ask)
        .map_err(silent)?;
    match receiver.recv_timeout(patience) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(errno)) => Err(StartError(format!("the new mount does not work: {errno}"))),
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
            Err(StartError(format!(
                "the new mount does not answer within {} s",
                patience.as_secs_f32()
            )))
        }
    }
}
