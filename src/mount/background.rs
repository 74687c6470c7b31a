//! Going to the background: the process splits, and the parent ends when the mount answers or
//! cannot be made.
//!
//! The pipe between them carries `+` for a mount that answers, or the sentence of what failed.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, WaitOptions, setsid, waitpid};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};

use super::StartError;
use crate::sys::{self, Fork};

/// Which process this is now.
pub enum Side {
    /// The one that was started, with the outcome for its exit code.
    Parent(Result<(), StartError>),
    /// The one that mounts.
    Child(Notice),
}

/// What the child owes its parent.
#[derive(Debug)]
pub struct Notice(File);

/// Splits the process. Returns in the parent when the child has said how it went, or has died.
///
/// # Errors
/// No pipe, or no second process.
pub fn split() -> Result<Side, StartError> {
    let cannot = |e: io::Error| StartError(format!("cannot go to the background: {e}"));
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).map_err(|e| cannot(e.into()))?;
    match sys::fork().map_err(cannot)? {
        Fork::Parent(child) => {
            drop(writer);
            Ok(Side::Parent(wait(reader, child)))
        }
        Fork::Child => {
            drop(reader);
            Ok(Side::Child(Notice(writer.into())))
        }
    }
}

impl Notice {
    /// Tells the parent that the mount answers, and leaves its terminal and its session: only
    /// now, so that an interrupt at the terminal has ended both until here.
    ///
    /// # Errors
    /// The parent is gone: whoever started us has given up.
    pub fn ready(mut self) -> io::Result<()> {
        self.0.write_all(READY)?;
        // It can only fail for the leader of a group, which a child of fork(2) is not.
        let _ = setsid();
        std::env::set_current_dir("/")?;
        let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
        dup2_stdin(&null)?;
        dup2_stdout(&null)?;
        dup2_stderr(&null)?;
        Ok(())
    }

    /// Tells the parent what failed.
    pub fn failed(mut self, error: &StartError) {
        // If nobody reads it, nobody wants it.
        let _ = write!(self.0, "{error}");
    }
}

const READY: &[u8] = b"+";

fn wait(reader: OwnedFd, child: Pid) -> Result<(), StartError> {
    let mut said = Vec::new();
    let read = File::from(reader).read_to_end(&mut said);
    if said == READY {
        return Ok(());
    }
    // It has closed the pipe, so it is ending.
    let status = rustix::io::retry_on_intr(|| waitpid(Some(child), WaitOptions::empty()));
    if read.is_ok() && !said.is_empty() {
        return Err(StartError(String::from_utf8_lossy(&said).into_owned()));
    }
    Err(StartError(
        match status
            .ok()
            .flatten()
            .and_then(|(_, s)| s.terminating_signal())
        {
            Some(signal) => format!("ftpfs was killed by signal {signal} before the mount was up"),
            None => "ftpfs ended before the mount was up".to_owned(),
        },
    ))
}
