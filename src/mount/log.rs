//! Where the log goes, and how much of it.

use std::fmt::Debug;
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, stderr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::Mutex;

use rustix::io::Errno;
use tracing::field::Field;
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use super::StartError;

/// Where the log goes, and how much of it.
#[derive(Clone, Debug, Default)]
pub struct LogConfig {
    /// Append here; `None` = standard error in the foreground, nowhere in the background.
    pub file: Option<PathBuf>,
    /// Each request and command.
    pub debug: bool,
}

/// Starts logging for the whole process. To be called after the fork, before any thread.
///
/// `$FTPFS_LOG` chooses what is logged, as `RUST_LOG` does elsewhere: `ftpfs::pool=trace,warn`.
///
/// # Errors
/// The file cannot be opened, or the filter is not one.
pub fn start(config: &LogConfig, foreground: bool) -> Result<(), StartError> {
    let filter = filter(config.debug)
        .map_err(|e| StartError(format!("$FTPFS_LOG is not a filter of the log: {e}")))?;
    // A request is a span: one line for each, with the time it took.
    let spans = if config.debug {
        FmtSpan::CLOSE
    } else {
        FmtSpan::NONE
    };
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_span_events(spans);
    match &config.file {
        Some(path) => {
            let file = open(path)
                .map_err(|e| StartError(format!("cannot open the log {}: {e}", path.display())))?;
            subscriber
                .with_ansi(false)
                .with_writer(Mutex::new(file))
                .finish()
                .with(Awaited)
                .init();
        }
        None if foreground => subscriber
            .with_ansi(stderr().is_terminal())
            .with_writer(stderr)
            .finish()
            .with(Awaited)
            .init(),
        // The place for a system log.
        None => {}
    }
    Ok(())
}

fn filter(debug: bool) -> Result<EnvFilter, ParseError> {
    match std::env::var("FTPFS_LOG") {
        Ok(text) if !text.is_empty() => EnvFilter::try_new(text),
        // fuser's own words repeat what the adapter logs, and warn of each request that we leave to the kernel.
        _ if debug => EnvFilter::try_new("warn,fuser=error,ftpfs=debug"),
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

fn open(path: &PathBuf) -> std::io::Result<File> {
    // Paths of the server's files are nobody else's business.
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
}

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
