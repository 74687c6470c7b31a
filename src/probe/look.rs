//! What can be learned without changing anything.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;

use super::Setup;
use crate::ftp::list::Kind;
use crate::ftp::{Encryption, ErrorKind, Profile, RemotePath, Result, Server, Session};

/// What was seen.
pub struct Seen {
    /// What the sessions have learned.
    pub profile: Profile,
    /// The folder that a mount would show.
    pub root: RemotePath,
    /// The server's end of the connection.
    pub peer: SocketAddr,
    /// How the control connection is encrypted.
    pub encryption: Option<Encryption>,
    /// The median answer to a command that does nothing.
    pub round_trip: Duration,
    /// How many sessions there were at once, and why there were no more.
    pub sessions: Sessions,
    /// How fast a file came.
    pub read: Option<Read>,
}

/// How many sessions there were at once.
pub struct Sessions {
    /// So many.
    pub open: usize,
    /// The server's words where it refused one more.
    pub refused: Option<String>,
}

/// A part of a file that was read.
pub struct Read {
    /// Which file.
    pub path: RemotePath,
    /// How many bytes of it.
    pub bytes: u64,
    /// From the command to the last of them.
    pub took: Duration,
}

/// Looks at the server.
///
/// # Errors
/// It cannot be used at all, or cannot list the folder.
pub async fn look(setup: &Setup) -> Result<Seen> {
    let server = Arc::new(Server::new(setup.server.clone())?);
    let mut session = Session::connect(server.clone()).await?;
    let root = server.root();
    let file = find_file(&mut session, &root).await?;
    let round_trip = round_trip(&mut session).await?;
    let (peer, encryption) = (session.peer(), session.encryption());
    let read = match file {
        Some((path, size)) => read(&mut session, path, size).await?,
        None => None,
    };
    let sessions = count(&server, session, setup.pool.max_sessions).await;
    Ok(Seen {
        profile: server.profile(),
        root,
        peer,
        encryption,
        round_trip,
        sessions,
        read,
    })
}

/// The largest file of `root`, or of the first of its folders that has one.
///
/// An error is that of `root`; folders that cannot be listed are passed over.
async fn find_file(session: &mut Session, root: &RemotePath) -> Result<Option<(RemotePath, u64)>> {
    let mut left = vec![root.clone()];
    for look in 0..MOST_FOLDERS {
        let Some(dir) = (!left.is_empty()).then(|| left.remove(0)) else {
            break;
        };
        let listing = match session.list(&dir, |_| {}).await {
            Ok(listing) => listing,
            Err(error) if look > 0 && error.is_refusal() => continue,
            Err(error) => return Err(error),
        };
        let files = listing.entries.iter().filter(|e| e.kind == Kind::File);
        let largest = files
            .filter_map(|entry| Some((dir.join(&entry.name), entry.size?)))
            .max_by_key(|(_, size)| *size);
        if let Some(found) = largest.filter(|(_, size)| *size > 0) {
            return Ok(Some(found));
        }
        let folders = listing.entries.iter().filter(|e| e.kind == Kind::Dir);
        left.extend(folders.map(|entry| dir.join(&entry.name)));
    }
    Ok(None)
}

/// A few: whoever has files has one there.
const MOST_FOLDERS: usize = 4;

async fn round_trip(session: &mut Session) -> Result<Duration> {
    let mut took = Vec::with_capacity(NOOPS);
    for _ in 0..NOOPS {
        let begun = Instant::now();
        session.noop().await?;
        took.push(begun.elapsed());
    }
    took.sort_unstable();
    Ok(took[NOOPS / 2])
}

const NOOPS: usize = 5;

/// Reads the beginning of the file `path`, and then its end if that shows whether the server can begin there; `None` where
/// the server refuses.
async fn read(session: &mut Session, path: RemotePath, size: u64) -> Result<Option<Read>> {
    let begun = Instant::now();
    let mut stream = match session.retrieve(&path, 0).await {
        Ok(stream) => stream,
        Err(error) if error.is_refusal() => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = 0;
    let mut buf = BytesMut::new();
    let ended = loop {
        if bytes >= MOST_BYTES || begun.elapsed() > LONGEST {
            break false;
        }
        buf.clear();
        buf.reserve(PIECE);
        match stream.receive(&mut buf).await? {
            0 => break true,
            length => bytes += length as u64,
        }
    };
    let took = begun.elapsed();
    if ended {
        stream.close_receiving().await;
        session.finish("RETR").await?;
    } else {
        session.abandon(stream).await;
    }
    if session
        .server()
        .with_profile(|profile| profile.rest.is_none())
        && size > 1
        && session.is_idle()
    {
        match session.retrieve(&path, size - 1).await {
            Ok(stream) => session.abandon(stream).await,
            Err(error) if error.is_refusal() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Some(Read { path, bytes, took }))
}

/// As much as shows the rate of most links.
const MOST_BYTES: u64 = 4 << 20;
const LONGEST: Duration = Duration::from_secs(2);
const PIECE: usize = 256 << 10;

/// Opens sessions beside `first` one by one, until there are `most` or the server refuses, and logs all of them out.
async fn count(server: &Arc<Server>, first: Session, most: usize) -> Sessions {
    let mut sessions = vec![first];
    let mut refused = None;
    while sessions.len() < most {
        match Session::connect(server.clone()).await {
            Ok(session) => sessions.push(session),
            Err(error) => {
                refused = Some(match error.kind {
                    // Without what was tried, which is the same each time.
                    ErrorKind::TooManySessions => error.detail().to_owned(),
                    _ => error.to_string(),
                });
                break;
            }
        }
    }
    let open = sessions.len();
    for session in sessions {
        session.quit().await;
    }
    Sessions { open, refused }
}
