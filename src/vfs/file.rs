//! Open files: reading through the cache and the staged file, writing into the staged file.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::OwnedMutexGuard;
use tracing::warn;

use super::attr::version;
use super::copies;
use super::handles::Handle;
use super::staging::Staged;
use super::{Attr, Error, Result, Vfs};
use crate::cache::{self, Content, Version};
use crate::ftp::RemotePath;
use crate::ftp::list::{Entry, Kind};

/// How a file is opened.
#[derive(Clone, Copy, Debug, Default)]
pub struct Access {
    /// For reading.
    pub read: bool,
    /// For writing.
    pub write: bool,
    /// Every write goes to the end.
    pub append: bool,
    /// Its content is dropped first.
    pub truncate: bool,
    /// It must not be there yet.
    pub exclusive: bool,
}

/// An opened file.
#[derive(Clone, Copy, Debug)]
pub struct Opened {
    /// Its handle.
    pub fh: u64,
    /// Whether what the kernel has cached of it is still true.
    pub keep_cache: bool,
    /// Whether the kernel had better not cache it.
    pub direct_io: bool,
}

/// A handle that is about to be closed.
#[derive(Debug)]
#[must_use]
pub struct Closing {
    ino: u64,
    write: bool,
}

impl Vfs {
    /// Opens the file `ino`.
    pub async fn open(&self, ino: u64, access: Access) -> Result<Opened> {
        if access.write || access.truncate {
            self.writable()?;
        }
        // First of all: whatever loses its name from here on is kept for this handle.
        self.hold(ino).await?;
        let opened = self.open_held(ino, access).await;
        if opened.is_err()
            && let Some(kept) = self.drop_handle(ino)
        {
            self.remove_kept(&kept).await;
        }
        opened
    }

    async fn open_held(&self, ino: u64, access: Access) -> Result<Opened> {
        let kind = self.with_node(ino, |node| node.kind)?;
        if kind == Kind::Dir {
            return Err(Error::IsDir);
        }
        let staged = self.staged(ino);
        if let Some(staged) = &staged
            && let Some(error) = { staged.state().untold.take() }
            && !access.truncate
        {
            return Err(Error::Before(error));
        }
        let mut keep_cache = staged.is_some();
        let direct_io = (access.write && !access.read) || access.append;
        if staged.is_none() {
            let entry = self.entry_to_open(ino).await?;
            if entry.kind == Kind::Dir {
                return Err(Error::IsDir);
            }
            if entry.size.is_none() {
                return Err(Error::SizeUnknown);
            }
            let now = version(&entry);
            self.with_node(ino, |node| {
                keep_cache = node.cached == Some(now);
                node.cached = Some(now);
                node.entry = Some(entry);
            })?;
        }
        if access.truncate {
            let (staged, _order) = self.stage_to_empty(ino).await?;
            staged.truncate(0)?;
            self.note(ino, &staged, None)?;
        }
        self.with_node(ino, |node| node.writers += u32::from(access.write))?;
        if !access.write && staged.is_none() {
            self.read_beside(ino);
        }
        let fh = self.handles().add(Handle::File {
            ino,
            write: access.write,
            append: access.append,
        });
        Ok(Opened {
            fh,
            keep_cache,
            direct_io,
        })
    }

    /// What the server has of `ino`, which somebody holds. As known for less than the TTL: a version that has changed on the
    /// server is noticed here.
    async fn entry_to_open(&self, ino: u64) -> Result<Entry> {
        loop {
            let path = {
                let inodes = self.inodes();
                let node = inodes.get(ino).ok_or(Error::Stale)?;
                if node.kept_at.is_some() {
                    return node.entry.clone().ok_or(Error::Stale);
                }
                // Without a name: whoever looks that up again finds what has it now.
                inodes.path(ino).ok_or(Error::Stale)?
            };
            let item = self.remote.stat(&path).await?;
            if self.inodes().path(ino).as_ref() == Some(&path) {
                return Ok(item.ok_or(Error::NotFound)?.entry);
            }
            // Moved meanwhile: that was something else.
        }
    }

    /// Makes the file `name` in `parent` and opens it. Counts as one mention to the kernel.
    ///
    /// The name is shown at once; the server has it after the first flush.
    pub async fn create(
        &self,
        parent: u64,
        name: &[u8],
        mode: u32,
        access: Access,
    ) -> Result<(Attr, Opened)> {
        self.writable()?;
        if let Some(attr) = self.lookup(parent, name).await? {
            let opened = match access.exclusive {
                true => Err(Error::Exists),
                false => self.open_shown(attr.ino, access).await,
            };
            if opened.is_err() {
                self.forget(attr.ino, 1);
            }
            return opened;
        }
        let path = self.path(parent)?.join(name);
        self.check_new_name(&path).await?;
        let staged = Arc::new(self.staging.stage(None)?);
        if mode & 0o7777 != self.config.default_file_mode() && self.config.file_mode.is_none() {
            staged.state().mode = Some(mode & 0o7777);
        }
        self.overlay().forget(&path);
        staged.note(&path, None)?;
        let ino = {
            let mut inodes = self.inodes();
            let ino = inodes.introduce(parent, name, Kind::File);
            inodes.server_lacks(parent, name);
            if let Some(node) = inodes.get_mut(ino) {
                node.staged = Some(staged.clone());
                node.entry = None;
                node.handles += 1;
                node.writers += 1;
            }
            ino
        };
        self.remote.forget_content(ino);
        let fh = self.handles().add(Handle::File {
            ino,
            write: true,
            append: access.append,
        });
        let direct_io = !access.read || access.append;
        Ok((
            self.staged_attr(ino, None, &staged),
            Opened {
                fh,
                keep_cache: false,
                direct_io,
            },
        ))
    }

    /// Opens `ino`, and says what it is then.
    async fn open_shown(&self, ino: u64, access: Access) -> Result<(Attr, Opened)> {
        let opened = self.open(ino, access).await?;
        match self.getattr(ino).await {
            Ok(attr) => Ok((attr, opened)),
            Err(error) => {
                self.release(opened.fh).await;
                Err(error)
            }
        }
    }

    /// The bytes of the file `fh` from `offset` on, `length` of them or fewer at its end.
    pub async fn read(&self, fh: u64, offset: u64, length: u64) -> Result<Vec<Bytes>> {
        let Some(Handle::File { ino, .. }) = self.handle(fh) else {
            return Err(Error::BadHandle);
        };
        if let Some(staged) = self.staged(ino) {
            return self.read_staged(ino, &staged, offset, length).await;
        }
        let entry = self
            .with_node(ino, |node| node.entry.clone())?
            .ok_or(Error::Stale)?;
        self.read_remote(ino, version(&entry), offset, length).await
    }

    /// Writes `bytes` to the file `fh` at `offset`, or at its end where it was opened to append.
    pub async fn write(&self, fh: u64, offset: u64, bytes: &[u8]) -> Result<()> {
        let Some(Handle::File {
            ino,
            write: true,
            append,
        }) = self.handle(fh)
        else {
            return Err(Error::BadHandle);
        };
        let (staged, order) = self.stage_to_change(ino).await?;
        // Local and short: a page cache away. Mostly on the kernel session's own thread, which may wait.
        let wrote = match append {
            true => staged.append(bytes)?,
            false => staged.write(offset, bytes)?,
        };
        self.note(ino, &staged, Some(wrote))?;
        staged.send_early(|until_then| {
            // What has no name any more is never sent.
            let path = self.named_path(ino)?;
            // Nor is anything before what is queued there.
            if !self.queue.is_free(&path) {
                return None;
            }
            self.remote
                .store_early(&path, staged.file.clone(), until_then)
        })?;
        drop(order);
        if !self.config.write_back {
            staged.keep_pace().await;
        }
        Ok(())
    }

    /// Notes in the journal what is staged for `ino`, after the bytes in `wrote` were changed, or anything.
    pub(super) fn note(&self, ino: u64, staged: &Staged, wrote: Option<Range<u64>>) -> Result<()> {
        match self.named_path(ino) {
            Some(path) => Ok(staged.note(&path, wrote)?),
            // Nobody will ever ask for it.
            None => Ok(()),
        }
    }

    /// Sends what was written to the file `fh`, of which `process` has closed a descriptor: success means that the server
    /// has it, or with write-back this machine's disk.
    ///
    /// A file without a byte waits for the last descriptor of the process: what a shell's `>` replaces is replaced once,
    /// and stays whole until then.
    pub async fn flush(&self, fh: u64, process: u32) -> Result<()> {
        match self.handle(fh) {
            Some(Handle::File {
                ino, write: true, ..
            }) => {
                let empty = self
                    .staged(ino)
                    .is_some_and(|staged| staged.state().size == 0);
                if empty && copies::is_still_writable(process, ino) {
                    return Ok(());
                }
                self.deliver(ino).await
            }
            Some(_) => Ok(()),
            None => Err(Error::BadHandle),
        }
    }

    /// Closes the file `fh`: [`Vfs::closing`] and [`Vfs::close`].
    pub async fn release(&self, fh: u64) {
        if let Some(closing) = self.closing(fh) {
            self.close(closing).await;
        }
    }

    /// Begins to close the file `fh`, without waiting: removed from now on, it needs not be kept for this handle. `None` if
    /// there is no such handle.
    pub fn closing(&self, fh: u64) -> Option<Closing> {
        let Some(Handle::File { ino, write, .. }) = self.handles().remove(fh) else {
            return None;
        };
        if let Some(node) = self.inodes().get_mut(ino) {
            node.closing += 1;
        }
        Some(Closing { ino, write })
    }

    /// Ends what [`Vfs::closing`] began. What was written after the last flush (through a mapping) is sent; a failure is
    /// logged, and the bytes are kept.
    pub async fn close(&self, closing: Closing) {
        let Closing { ino, write } = closing;
        if write {
            let last = self.with_node(ino, |node| {
                node.writers = node.writers.saturating_sub(1);
                node.writers == 0
            });
            if matches!(last, Ok(true)) {
                self.unstage(ino).await;
            }
        }
        if let Some(node) = self.inodes().get_mut(ino) {
            node.closing = node.closing.saturating_sub(1);
        }
        if let Some(kept) = self.drop_handle(ino) {
            self.remove_kept(&kept).await;
        }
    }

    /// Cuts or extends the file `ino`. Without a writer to flush it, it is sent at once.
    pub(super) async fn truncate(&self, ino: u64, size: u64, fh: Option<u64>) -> Result<()> {
        match self.with_node(ino, |node| node.kind)? {
            Kind::File => {}
            Kind::Dir => return Err(Error::IsDir),
            Kind::Symlink | Kind::Other => return Err(Error::Invalid("not a regular file")),
        }
        if let Some(fh) = fh
            && !matches!(
                self.handles().get(fh),
                Some(Handle::File { write: true, .. })
            )
        {
            return Err(Error::BadHandle);
        }
        // Of a file without a name everything is known already, and nobody else changes it.
        if self.staged(ino).is_none() && !self.with_node(ino, |node| node.unlinked)? {
            let path = self.path(ino)?;
            let item = self.remote.stat(&path).await?.ok_or(Error::NotFound)?;
            self.with_node(ino, |node| node.entry = Some(item.entry))?;
        }
        {
            let (staged, _order) = match size {
                0 => self.stage_to_empty(ino).await?,
                _ => self.stage_to_change(ino).await?,
            };
            staged.truncate(size)?;
            self.note(ino, &staged, None)?;
        }
        if self.with_node(ino, |node| node.writers)? == 0 {
            let sent = self.deliver(ino).await;
            if sent.is_err() {
                // Nobody wrote anything: the file stays as it is on the server, and the caller is told.
                // Unless a writer has come meanwhile, who will flush it.
                let given_up = self.with_node(ino, |node| match node.writers {
                    0 => node.staged.take(),
                    _ => None,
                })?;
                if let Some(staged) = given_up {
                    staged.settle();
                }
            }
            sent?;
            self.unstage(ino).await;
        }
        Ok(())
    }

    /// The staged file of `ino`, made if there is none, which nobody else changes, sends or lets go while the guard lives.
    pub(super) async fn stage_to_change(
        &self,
        ino: u64,
    ) -> Result<(Arc<Staged>, OwnedMutexGuard<()>)> {
        loop {
            if self.staged(ino).is_none() {
                self.settle_version(ino).await;
            }
            self.stage(ino)?;
            // Let go by the last release meanwhile: what is changed in it then would be lost.
            if let Some(held) = self.hold_staged(ino).await {
                return Ok(held);
            }
        }
    }

    /// [`Vfs::stage_to_change`], to change all of it: what is on its way is not waited for.
    async fn stage_to_empty(&self, ino: u64) -> Result<(Arc<Staged>, OwnedMutexGuard<()>)> {
        let _recall = self.recall(ino);
        self.stage_to_change(ino).await
    }

    /// Waits until the time of `ino` that is to be set is a part of its version, unless that has to be tried again: what is
    /// written over another version would be taken for a change of others by the next mount.
    async fn settle_version(&self, ino: u64) {
        if let Some(path) = self.named_path(ino)
            && self.queue.view(&path).mtime().is_some()
        {
            self.settled(&path).await.ok();
        }
    }

    /// The staged file of `ino`, made over what the server has if there is none.
    fn stage(&self, ino: u64) -> Result<Arc<Staged>> {
        if let Some(staged) = self.staged(ino) {
            return Ok(staged);
        }
        let base = self
            .with_node(ino, |node| node.entry.clone())?
            .ok_or(Error::Stale)?;
        if base.size.is_none() {
            return Err(Error::SizeUnknown);
        }
        let base = version(&base);
        let staged = Arc::new(self.staging.stage(Some(base))?);
        // Another writer may have been faster: its staged file is the one.
        self.with_node(ino, |node| node.staged.get_or_insert(staged).clone())
    }

    /// Lets the staged file of `ino` go once the server has it; what cannot be sent is kept.
    async fn unstage(&self, ino: u64) {
        if self.config.write_back {
            // What was written through a mapping since. What is queued is let go when it was sent.
            if let Err(error) = self.acknowledge(ino).await {
                warn!(ino, %error, "not acknowledged");
            }
            return self.let_go(ino).await;
        }
        // What was refused at close, and said there, is not sent once more.
        let failed = self
            .staged(ino)
            .and_then(|staged| staged.state().failed.clone());
        let failed = match failed {
            Some(reason) => Some(reason),
            None => self.commit(ino).await.err().map(|error| error.to_string()),
        };
        if let Some(reason) = failed {
            self.rescue(ino, &reason);
        }
        self.let_go(ino).await;
    }

    /// Lets the staged file of `ino` go if the server has all of it, and nobody writes to it.
    pub(super) async fn let_go(&self, ino: u64) {
        // Not one that somebody else has staged meanwhile and is about to change.
        let Some((staged, _order)) = self.hold_staged(ino).await else {
            return;
        };
        let mut inodes = self.inodes();
        if let Some(node) = inodes.get_mut(ino)
            && node.writers == 0
            && (!node.unlinked || node.handles == 0)
            && (node.unlinked || !staged.state().pending())
        {
            node.staged = None;
            inodes.release(ino);
        }
    }

    pub(super) async fn read_staged(
        &self,
        ino: u64,
        staged: &Staged,
        offset: u64,
        length: u64,
    ) -> Result<Vec<Bytes>> {
        let (size, base) = {
            let state = staged.state();
            (state.size, state.base)
        };
        let end = (offset + length).min(size);
        let mut found = Vec::new();
        let mut at = offset;
        while at < end {
            let missing = staged.state().missing(at, end);
            let stop = missing.as_ref().map_or(end, |missing| missing.start);
            if at < stop {
                let bytes = read_up_to(&staged.file, at, stop - at)?;
                let cut = (bytes.len() as u64) < stop - at;
                found.push(bytes.into());
                if cut {
                    // Truncated since its size was looked at.
                    break;
                }
                at = stop;
            }
            if let (Some(missing), Some(base)) = (missing, base) {
                let bytes = self.read_remote(ino, base, at, missing.end - at).await?;
                at += bytes.iter().map(|bytes| bytes.len() as u64).sum::<u64>();
                found.extend(bytes);
            }
        }
        Ok(found)
    }

    pub(super) async fn read_remote(
        &self,
        ino: u64,
        version: Version,
        offset: u64,
        length: u64,
    ) -> Result<Vec<Bytes>> {
        let (path, content) = self.content(ino, version)?;
        let error = match content.read(offset, length).await {
            Ok(bytes) => return Ok(bytes),
            Err(error) => error,
        };
        // Moved meanwhile, with or without its folder: the server was asked for the old name.
        self.remote.at_rest(&path).await;
        let (now, content) = self.content(ino, version)?;
        let refused = matches!(&error, cache::Error::Wire(error) if error.is_refusal());
        if now != path || refused {
            return Ok(content.read(offset, length).await?);
        }
        if let cache::Error::Stale(path) = &error {
            warn!(%path, "the file on the server is not the one that was opened");
            self.remote.forget_content(ino);
            self.remote.expire(path);
        }
        Err(error.into())
    }

    /// Where `ino` is, and its content there.
    fn content(&self, ino: u64, version: Version) -> Result<(RemotePath, Arc<Content>)> {
        // While nobody renames it.
        let inodes = self.inodes();
        let path = inodes.path(ino).ok_or(Error::Stale)?;
        let content = self.remote.content(ino, version, &path);
        Ok((path, content))
    }

    /// The same content has another time now: what is cached of it stays.
    pub(super) fn carry_version(&self, ino: u64) {
        let now = self.with_node(ino, |node| {
            let now = node.entry.as_ref().map(version);
            if node.cached.is_some() {
                node.cached = now;
            }
            now
        });
        if let Ok(Some(now)) = now {
            self.remote.carry_content(ino, now);
            if let Some(staged) = self.staged(ino) {
                staged.state().carry_base(now);
            }
        }
    }
}

/// The bytes of `file` from `offset` on, `length` of them or fewer at its end.
fn read_up_to(file: &File, offset: u64, length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length as usize];
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}
