//! The asker's end of the sockets.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::net::sockopt::socket_peercred;
use rustix::process::geteuid;

use super::report::{Totals, Unsent};
use super::{Answer, Report, Request, place};

/// A mount that listens.
#[derive(Debug)]
pub struct Mount {
    socket: PathBuf,
    stream: UnixStream,
}

/// Why a mount does not answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It has ended.
    #[error("the mount has ended")]
    Gone,
    /// Something else.
    #[error("the mount behind {socket} does not answer: {error}")]
    Silent {
        /// Where it listens.
        socket: PathBuf,
        /// What the system says.
        error: io::Error,
    },
}

/// All mounts with sockets in `folders`. Those that were killed, and those of others, are passed over.
pub fn all(folders: &[PathBuf]) -> Vec<Mount> {
    let ours = folders.iter().filter(|folder| place::is_ours_alone(folder));
    let files = ours.flat_map(|folder| fs::read_dir(folder).into_iter().flatten().flatten());
    let sockets = files.map(|file| file.path()).filter(|path| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.ends_with(place::SUFFIX))
    });
    sockets.filter_map(Mount::of).collect()
}

/// The mount at `mountpoint`.
///
/// # Errors
/// There is none, or none of ours.
pub fn at(folders: &[PathBuf], mountpoint: &Path) -> Result<Mount, String> {
    // As it was written first: a question to the mount itself may take long.
    let as_written = std::path::absolute(mountpoint).ok();
    let resolved = || mountpoint.canonicalize().ok();
    let listens = |path: PathBuf| {
        let ours = folders.iter().filter(|folder| place::is_ours_alone(folder));
        let mut sockets = ours.map(|folder| place::socket(folder, &path));
        sockets.find_map(Mount::of)
    };
    let found = as_written
        .and_then(listens)
        .or_else(|| resolved().and_then(listens));
    found.ok_or_else(|| {
        let shown = mountpoint.display();
        format!("no ftpfs of yours is mounted on {shown}; `ftpfs status` shows those that are")
    })
}

impl Mount {
    /// Whoever listens on `socket`, if that is a process of ours.
    fn of(socket: PathBuf) -> Option<Self> {
        let stream = UnixStream::connect(&socket).ok()?;
        let listener = socket_peercred(&stream).ok()?;
        (listener.uid == geteuid()).then_some(Self { socket, stream })
    }

    /// What it does.
    pub fn status(&self) -> Result<Report, Error> {
        let mut answers = self.ask(&Request::Status)?;
        match self.next(&mut answers)? {
            Answer::Status(report) => Ok(*report),
            _ => Err(self.silent(io::ErrorKind::InvalidData.into())),
        }
    }

    /// Has it send all that is not sent yet, and tells `left` how far that is; what cannot be sent.
    pub fn flush(&self, mut left: impl FnMut(Totals)) -> Result<Vec<Unsent>, Error> {
        let mut answers = self.ask(&Request::Flush)?;
        loop {
            match self.next(&mut answers)? {
                Answer::Left(totals) => left(totals),
                Answer::Flushed(unsent) => return Ok(unsent),
                Answer::Status(_) => return Err(self.silent(io::ErrorKind::InvalidData.into())),
            }
        }
    }

    fn ask(&self, request: &Request) -> Result<BufReader<&UnixStream>, Error> {
        let asked = || {
            self.stream.set_read_timeout(Some(PATIENCE))?;
            self.stream.set_write_timeout(Some(PATIENCE))?;
            (&self.stream).write_all(&[&*serde_json::to_vec(request)?, b"\n"].concat())
        };
        asked().map_err(|error| self.silent(error))?;
        Ok(BufReader::new(&self.stream))
    }

    fn next(&self, answers: &mut BufReader<&UnixStream>) -> Result<Answer, Error> {
        let mut line = Vec::new();
        match answers.read_until(b'\n', &mut line) {
            Ok(0) => Err(Error::Gone),
            Ok(_) => serde_json::from_slice(&line).map_err(|error| self.silent(error.into())),
            Err(error) => Err(self.silent(error)),
        }
    }

    fn silent(&self, error: io::Error) -> Error {
        match error.kind() {
            io::ErrorKind::WouldBlock => Error::Silent {
                socket: self.socket.clone(),
                error: io::ErrorKind::TimedOut.into(),
            },
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Error::Gone,
            _ => Error::Silent {
                socket: self.socket.clone(),
                error,
            },
        }
    }
}

/// It answers from memory, and while it sends it says so all the time.
const PATIENCE: Duration = Duration::from_secs(10);
