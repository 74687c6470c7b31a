//! Where the log goes, and how much of it.

use std::fs::{File, OpenOptions};
use std::io::{IsTerminal, stderr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::Mutex;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt::format::FmtSpan;

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
                .init();
        }
        None if foreground => subscriber
            .with_ansi(stderr().is_terminal())
            .with_writer(stderr)
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

fn open(path: &PathBuf) -> std::io::Result<File> {
    // Paths of the server's files are nobody else's business.
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
}
