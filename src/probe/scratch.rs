//! What can only be learned by writing: tried in a folder of our own, which is removed at once.

use std::fs::File;
use std::io::Write;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use rustix::rand::{GetRandomFlags, getrandom};
use tokio::signal::ctrl_c;

use super::Setup;
use super::look::Seen;
use crate::cache::{CacheConfig, Compare, End, Error, Recalls, Remote, Result, Source};
use crate::ftp::list::Kind;
use crate::ftp::{NameKind, RemotePath, Server, Wishes};
use crate::pool::{Pool, PoolConfig, Purpose, Retry, on_session};

/// What a mount can do on this server; the reason where it cannot.
pub struct Written {
    /// A new file is stored.
    pub store: Result<()>,
    /// A time of modification is set.
    pub set_mtime: Result<()>,
    /// Permissions are set.
    pub set_mode: Result<()>,
    /// Bytes are added to a file's end alone.
    pub append: Result<()>,
    /// Bytes within a file are sent alone.
    pub range: Result<()>,
    /// A file is renamed over another.
    pub rename: Result<()>,
    /// A symbolic link is made.
    pub link: Result<()>,
    /// Kinds of names that the server would not show again.
    pub names_lost: Vec<NameKind>,
}

/// Tries, and leaves in `seen` what was learned by it.
///
/// # Errors
/// A sentence for the user: no folder could be made, or it could not be removed again, or we were interrupted.
pub async fn try_writing(setup: &Setup, seen: &mut Seen) -> std::result::Result<Written, String> {
    let server = Server::new(setup.server.clone()).map_err(|error| error.to_string())?;
    let config = PoolConfig {
        max_sessions: setup.pool.max_sessions.min(seen.sessions.open),
        ..setup.pool.clone()
    };
    let pool = Pool::new(server, config);
    // What is known already need not be asked again.
    let known = seen.profile.clone();
    pool.with_profile(|profile| *profile = known);
    // What is shown for a moment only is of no use here.
    let attr_ttl = Duration::ZERO;
    let cache = CacheConfig {
        capacity_bytes: 0,
        attr_ttl,
    };
    // The folder holds all names of ours, and is removed with them here.
    let remote = Remote::new(pool, &cache, Arc::new(|_| ()));
    // The root of a server with a path relative to its home is known after a login.
    let folder = seen.root.join(scratch_name()?.as_bytes());
    remote
        .make_dir(&folder)
        .await
        .map_err(|error| format!("cannot make a folder to try writing in: {error}"))?;
    let tried = tokio::select! {
        tried = attempts(&remote, &folder) => Some(tried),
        _ = ctrl_c() => None,
    };
    let removed = remove(&remote, &folder).await;
    seen.profile = remote.pool().profile();
    remote.pool().close().await;
    removed.map_err(|error| format!("the folder {folder} is to be removed by hand: {error}"))?;
    tried.ok_or_else(|| "interrupted".to_owned())?
}

fn scratch_name() -> std::result::Result<String, String> {
    let mut random = [0; 8];
    getrandom(&mut random, GetRandomFlags::empty()).map_err(|e| format!("no randomness: {e}"))?;
    Ok(format!(".ftpfs-{:016x}", u64::from_ne_bytes(random)))
}

async fn attempts(remote: &Remote, folder: &RemotePath) -> std::result::Result<Written, String> {
    let staged = staged().map_err(|error| format!("no temporary file: {error}"))?;
    let at = |size| Source {
        file: staged.clone(),
        size,
        recalls: Recalls::default(),
        compare: Compare::End,
    };
    let file = folder.join(b"file");
    let none = Wishes::default();
    let store = remote.store(&file, &at(FEW), none).await.map(drop);
    let set_mtime = remote.set_mtime(&file, SOME_TIME).await;
    let set_mode = remote.set_mode(&file, 0o600).await;
    let append = async {
        let base = remote.version_of(&file).await?;
        let grown = at(MORE);
        let added = remote.append(&file, &grown, base, End::Known, none);
        added.await.map(drop)
    };
    let append = append.await;
    let range = async {
        let base = remote.version_of(&file).await?;
        let same = at(base.size);
        let within = std::slice::from_ref(&WITHIN);
        let sent = remote.overwrite(&file, &same, base, within, none);
        sent.await.map(drop)
    };
    let range = range.await;
    let rename = rename_over(remote, &folder.join(b"other"), &file, &at(FEW)).await;
    let link = remote.make_link(b"/", &folder.join(b"link")).await;
    let mut names_lost = Vec::new();
    for kind in NameKind::ALL {
        let sample = folder.join(kind.sample());
        match remote.check_new_name(&sample).await {
            Ok(()) => {}
            Err(Error::Wire(error)) if error.is_connection() => return Err(error.to_string()),
            Err(_) => names_lost.push(kind),
        }
    }
    Ok(Written {
        store,
        set_mtime,
        set_mode,
        append,
        range,
        rename,
        link,
        names_lost,
    })
}

async fn rename_over(
    remote: &Remote,
    from: &RemotePath,
    to: &RemotePath,
    source: &Source,
) -> Result<()> {
    let entry = remote.store(from, source, Wishes::default()).await?;
    let none = Wishes::default();
    remote.rename(from, to, &entry, none).await.map(drop)
}

/// Removes what is in `folder`, and it.
async fn remove(remote: &Remote, folder: &RemotePath) -> Result<()> {
    let listing = on_session!(remote.pool(), Purpose::Brief, Retry::Idempotent, session => session.list(folder, |_| {}))?;
    for entry in listing.entries {
        let path = folder.join(&entry.name);
        match entry.kind {
            Kind::Dir => remote.remove_dir(&path).await?,
            _ => remote.remove_file(&path).await?,
        }
    }
    remote.remove_dir(folder).await
}

/// What is sent.
fn staged() -> std::io::Result<Arc<File>> {
    let mut file = tempfile::tempfile()?;
    file.write_all(&[b'f'; MORE as usize])?;
    Ok(Arc::new(file))
}

/// Bytes of a file, and of one with something added.
const FEW: u64 = 6;
const MORE: u64 = 9;

/// Those of them that are sent again.
const WITHIN: Range<u64> = 2..4;

/// A time that no file has by itself: 2001-09-09.
const SOME_TIME: i64 = 1_000_000_000;
