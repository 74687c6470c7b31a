//! `ftpfs probe`: learns what a server can do, and prints what that means for a mount of it.
//!
//! Asks by the sessions that a mount would use, so that what is printed is what a mount will do. Knows no kernel.

mod look;
mod report;
mod scratch;
mod text;

use std::io::{Write, stdout};

use tokio::runtime;
use tokio::signal::ctrl_c;

use crate::ftp::config::ServerConfig;
use crate::log::{self, Ground, LogConfig};
use crate::pool::PoolConfig;
pub use report::Report;

/// What is probed, and how it is told.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The server.
    pub server: ServerConfig,
    /// Bounds of the sessions with it.
    pub pool: PoolConfig,
    /// The address as written, without a password.
    pub source: String,
    /// Words for the fourth field of a line in fstab: those that were given here, and those that a mount at boot needs.
    pub fstab: Vec<String>,
    /// Whether what can only be learned by writing is tried, in a folder of our own.
    pub write: bool,
    /// JSON in place of text.
    pub json: bool,
    /// What is logged, where that was asked for.
    pub log: Option<LogConfig>,
}

/// Probes as `setup` says, and prints what was found.
///
/// # Errors
/// A sentence for the user: the server cannot be used, or the report not be printed.
pub fn run(setup: Setup) -> Result<(), String> {
    if let Some(config) = &setup.log {
        log::start(config, Ground::Fore)?;
    }
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| format!("cannot start: {e}"))?;
    let json = setup.json;
    let report = runtime.block_on(probe(setup))?;
    let text = match json {
        true => serde_json::to_string_pretty(&report).map_err(|e| e.to_string())? + "\n",
        false => text::of(&report),
    };
    let printed = stdout().write_all(text.as_bytes());
    printed.map_err(|e| format!("cannot print the report: {e}"))
}

async fn probe(setup: Setup) -> Result<Report, String> {
    let host = setup.server.host.clone();
    let looked = tokio::select! {
        seen = look::look(&setup) => seen,
        _ = ctrl_c() => return Err("interrupted".to_owned()),
    };
    let mut seen = looked.map_err(|error| {
        let reason = error.to_string();
        let reason = reason.trim_end_matches('.');
        format!("cannot use {host}: {reason}{}", error.advice())
    })?;
    let written = match setup.write {
        true => Some(scratch::try_writing(&setup, &mut seen).await?),
        false => None,
    };
    Ok(Report::new(&setup, seen, written))
}
