//! Where the log goes, and how much of it.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::fs::OpenOptions;
use std::io::{self, IsTerminal, Write, stderr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use indicatif::MultiProgress;
use rustix::io::Errno;
use syslog_tracing::{Facility, Options, Syslog};
use tracing::field::Field;
use tracing::{Event, Level, Subscriber, info, warn};
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

/// Where the log goes, and how much of it.
#[derive(Clone, Debug, Default)]
pub struct LogConfig {
    /// Append here; `None` = standard error in the foreground, the system's log in the background.
    pub file: Option<PathBuf>,
    /// Each request and command.
    pub debug: bool,
}

/// Whether whoever started us sees our standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ground {
    /// Yes.
    Fore,
    /// Not for long.
    Back,
}

/// How much is logged, which can be changed while the process runs.
#[derive(Debug)]
pub struct Detail {
    filter: reload::Handle<EnvFilter, Registry>,
    /// Each request and command.
    all: AtomicBool,
    recent: Recent,
    terminal: Terminal,
}

/// Standard error, where lines and bars are written: lines go above the bars. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Terminal(MultiProgress);

/// The latest warnings and errors of the log, the oldest first. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Recent(Arc<Mutex<VecDeque<(SystemTime, String)>>>);

/// Starts logging for the whole process. To be called after the fork, before any thread.
///
/// `$FTPFS_LOG` chooses what is logged, as `RUST_LOG` does elsewhere: `ftpfs::pool=trace,warn`.
///
/// # Errors
/// The file cannot be opened, or the filter is not one.
pub fn start(config: &LogConfig, ground: Ground) -> Result<Detail, String> {
    let filter =
        usual(config.debug).map_err(|e| format!("$FTPFS_LOG is not a filter of the log: {e}"))?;
    let (filter, handle) = reload::Layer::new(filter);
    let terminal = Terminal::default();
    let output = match (&config.file, ground) {
        (Some(path), _) => Some(to_file(path)?),
        (None, Ground::Fore) => {
            let lines = lines().with_ansi(stderr().is_terminal());
            let terminal = terminal.clone();
            Some(lines.with_writer(move || terminal.clone()).boxed())
        }
        (None, Ground::Back) => to_system(),
    };
    let recent = Recent::default();
    tracing_subscriber::registry()
        .with(filter)
        .with(output)
        .with(Awaited)
        .with(recent.clone())
        .init();
    Ok(Detail {
        filter: handle,
        all: AtomicBool::new(config.debug),
        recent,
        terminal,
    })
}

impl Detail {
    /// The latest warnings and errors.
    pub fn recent(&self) -> &Recent {
        &self.recent
    }

    /// Where bars may be shown.
    pub fn terminal(&self) -> &Terminal {
        &self.terminal
    }

    /// Logs each request and command from now on, or what is usual if that is done already.
    pub fn switch(&self) {
        let all = !self.all.fetch_xor(true, Ordering::Relaxed);
        let filter = match all {
            true => EnvFilter::try_new(ALL),
            false => usual(false),
        };
        let switched = filter
            .map_err(|e| e.to_string())
            .and_then(|filter| self.filter.reload(filter).map_err(|e| e.to_string()));
        match switched {
            Ok(()) => info!(all, "each request and command is logged"),
            Err(error) => warn!(error, "what is logged cannot be changed"),
        }
    }
}

impl Terminal {
    /// Bars, below all lines. Nothing is shown where standard error is no terminal.
    pub fn bars(&self) -> &MultiProgress {
        &self.0
    }
}

impl Write for Terminal {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.suspend(|| stderr().write(buf))
    }

    fn flush(&mut self) -> io::Result<()> {
        stderr().flush()
    }
}

/// What is said passes the filter first.
type Filtered = tracing_subscriber::layer::Layered<reload::Layer<EnvFilter, Registry>, Registry>;

type Output = Box<dyn Layer<Filtered> + Send + Sync>;

/// One line for each event, and one for each request with the time it took: a request is a span.
fn lines() -> fmt::Layer<Filtered> {
    fmt::layer().with_span_events(FmtSpan::CLOSE)
}

fn to_file(path: &PathBuf) -> Result<Output, String> {
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        // Paths of the server's files are nobody else's business.
        .mode(0o600)
        .open(path)
        .map_err(|e| format!("cannot open the log {}: {e}", path.display()))?;
    Ok(lines()
        .with_ansi(false)
        .with_writer(Mutex::new(file))
        .boxed())
}

/// To syslog(3), behind which systemd's journal listens as well; its own interface would show none of the fields.
fn to_system() -> Option<Output> {
    let syslog = Syslog::new(c"ftpfs", Options::LOG_PID, Facility::Daemon)?;
    let lines = lines().with_ansi(false).without_time().with_level(false);
    Some(lines.with_writer(syslog).boxed())
}

/// Each request and command. fuser's own words repeat what the adapter logs, and warn of each request that we leave to
/// the kernel.
const ALL: &str = "warn,fuser=error,ftpfs=debug";

fn usual(debug: bool) -> Result<EnvFilter, ParseError> {
    match std::env::var("FTPFS_LOG") {
        Ok(text) if !text.is_empty() => EnvFilter::try_new(text),
        _ if debug => EnvFilter::try_new(ALL),
        _ => EnvFilter::try_new("warn,fuser=error,ftpfs=info"),
    }
}

/// Leaves out fuser's word on an answer that the kernel awaits no more: it does not wait for that to the closing of a file
/// when it is unmounted.
struct Awaited;

impl<S: Subscriber> Layer<S> for Awaited {
    fn event_enabled(&self, event: &Event<'_>, _context: Context<'_, S>) -> bool {
        let mut awaited = true;
        event.record(&mut |field: &Field, value: &dyn Debug| {
            if field.name() == "message" {
                let gone = io::Error::from(Errno::NOENT);
                awaited &= format!("{value:?}") != format!("Failed to send FUSE reply: {gone}");
            }
        });
        awaited
    }
}

impl Recent {
    /// When each was logged, and what it says.
    pub fn all(&self) -> Vec<(SystemTime, String)> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().cloned().collect()
    }
}

impl<S: Subscriber> Layer<S> for Recent {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        if *event.metadata().level() > Level::WARN {
            return;
        }
        // The path first and what happened last, however the event has them.
        let (mut path, mut error, mut others, mut message) =
            <(String, String, String, String)>::default();
        event.record(&mut |field: &Field, value: &dyn Debug| match field.name() {
            "path" => path = format!("{value:?}: "),
            "error" => error = format!("{value:?}"),
            "message" => message = format!("{value:?}"),
            name => others += &format!(", {name} {value:?}"),
        });
        let text = match error.as_str() {
            "" => format!("{path}{message}{others}"),
            error => format!("{path}{message}{others}: {error}"),
        };
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == RECENT {
            kept.pop_front();
        }
        kept.push_back((SystemTime::now(), text));
    }
}

/// As many as one looks through.
const RECENT: usize = 20;

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek};

    use super::*;

    #[test]
    fn an_answer_that_nobody_awaits_is_no_error() {
        let mut file = tempfile::tempfile().expect("a temporary file");
        let copy = file.try_clone().expect("it is open");
        let subscriber = tracing_subscriber::fmt()
            .with_writer(Mutex::new(copy))
            .finish()
            .with(Awaited);
        tracing::subscriber::with_default(subscriber, || {
            for errno in [Errno::NOENT, Errno::INVAL] {
                let error = io::Error::from(errno);
                tracing::error!(target: "fuser::reply", "Failed to send FUSE reply: {error}");
            }
        });
        let mut logged = String::new();
        file.rewind().expect("it is a file");
        file.read_to_string(&mut logged).expect("it is text");
        assert_eq!(logged.lines().count(), 1, "{logged}");
        assert!(logged.contains("Invalid argument"), "{logged}");
    }
}
