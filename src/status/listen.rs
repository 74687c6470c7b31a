//! The mount's end of the socket.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustix::process::geteuid;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;
use tracing::{debug, warn};

use super::report::{Report, Totals, Unsent};
use super::{Answer, Request, STEP, place};
use crate::log::Recent;
use crate::vfs::Vfs;

/// What a mount tells of itself.
#[derive(Debug)]
pub struct Told {
    /// What is mounted, without a password.
    pub source: String,
    /// Where; what the mount was made by, if we do not know where.
    pub mountpoint: PathBuf,
    /// Since when.
    pub since: SystemTime,
    /// The filesystem.
    pub vfs: Arc<Vfs>,
    /// The log's latest.
    pub recent: Recent,
}

/// A mount that can be asked; dropped, it cannot any more, and its socket is gone.
#[derive(Debug)]
pub struct Listening {
    socket: PathBuf,
    /// Which file that is: a later mount at the same place may have put another there.
    file: (u64, u64),
    task: JoinHandle<()>,
}

/// Answers from now on, on a socket in the first of `folders` that is fit. Must be called on a tokio runtime.
///
/// # Errors
/// What the system says of the folders, or of the socket.
pub fn listen(folders: &[PathBuf], told: Told) -> io::Result<Listening> {
    let folder = place::first_of_ours(folders)?;
    let socket = place::socket(folder, &told.mountpoint);
    // Of a mount that was killed; or of one under this, which nobody sees any more.
    match fs::remove_file(&socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&socket)?;
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o600))?;
    Ok(Listening {
        file: identity(&socket)?,
        socket,
        task: tokio::spawn(serve(listener, Arc::new(told))),
    })
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.task.abort();
        if identity(&self.socket).is_ok_and(|file| file == self.file)
            && let Err(error) = fs::remove_file(&self.socket)
        {
            debug!(%error, "the socket is left behind");
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

async fn serve(listener: UnixListener, told: Arc<Told>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let told = told.clone();
                tokio::spawn(async move {
                    if let Err(error) = converse(stream, &told).await {
                        debug!(%error, "somebody asked, and left");
                    }
                });
            }
            Err(error) => {
                warn!(%error, "the mount cannot be asked for its status for a moment");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Where descriptors are short, they may be there again after this long.
const PAUSE: Duration = Duration::from_secs(1);

async fn converse(stream: UnixStream, told: &Told) -> io::Result<()> {
    let asker = stream.peer_cred()?.uid();
    // The folder keeps others out as well; this holds wherever the socket is.
    if asker != geteuid().as_raw() && asker != 0 {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader.take(LONGEST_TALK)).lines();
    while let Some(line) = lines.next_line().await? {
        match serde_json::from_str(&line)? {
            Request::Status => {
                let report = Box::new(Report::new(told));
                answer(&mut writer, &Answer::Status(report)).await?;
            }
            Request::Flush => flush(&mut writer, told).await?,
        }
    }
    Ok(())
}

/// Bytes that one asker may send: a request is some ten.
const LONGEST_TALK: u64 = 1 << 20;

async fn flush(writer: &mut OwnedWriteHalf, told: &Told) -> io::Result<()> {
    let vfs = told.vfs.clone();
    // A task of its own: if the asker leaves, no upload is broken off.
    let mut sending = tokio::spawn(async move { vfs.send_all().await });
    loop {
        tokio::select! {
            sent = &mut sending => {
                let left = sent.map_err(io::Error::other)?;
                let left = left.iter().map(Unsent::new).collect();
                return answer(writer, &Answer::Flushed(left)).await;
            }
            () = tokio::time::sleep(STEP) => {
                let totals = Totals::left(&told.vfs);
                answer(writer, &Answer::Left(totals)).await?;
            }
        }
    }
}

async fn answer(writer: &mut OwnedWriteHalf, answer: &Answer) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    writer.write_all(&line).await
}
