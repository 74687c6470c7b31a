//! Uploads: sent, confirmed by the server's reply and by its size, and remembered.

use std::fs::File;
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use tracing::{debug, warn};

use super::proofs::Proof;
use super::{Compare, Error, Patch, Recalls, Remote, Result, Resumed, Version, file_entry};
use crate::ftp::list::{Entry, Modified, Precision};
use crate::ftp::{self, Confirmed, ErrorKind, RemotePath, SizeAndTime, UploadKind, Wishes};
use crate::pool::{Lease, Retry, Unconfirmed, Upload, on_session};

/// What is sent: a local file, of which every byte up to `size` is there.
#[derive(Clone, Debug)]
pub struct Source {
    /// The local file.
    pub file: Arc<File>,
    /// Bytes of it that count.
    pub size: u64,
    /// Those for whose sake it is not sent.
    pub recalls: Recalls,
    /// How a part of it that the server has is told to be one.
    pub compare: Compare,
}

impl Remote {
    /// Makes or replaces the file at `path` by one `STOR` of all of `source`.
    ///
    /// What was there is lost the moment this begins: only for a name that holds nothing, or nothing yet.
    ///
    /// # Errors
    /// After an error, [`Error::Recalled`] too, `path` may hold a part. After [`Error::is_silence`] another name may do.
    pub async fn store(&self, path: &RemotePath, source: &Source, wishes: Wishes) -> Result<Entry> {
        let mut attempt = 0;
        loop {
            // The name is ours and holds nothing else: sending it again from the start can only complete it.
            let opened = async {
                let lease = self.lease_to_send(source, source.size).await?;
                Ok(Upload::store(lease, path, attempt > 0).await?)
            };
            let opened = opened.await;
            let outcome = self
                .send(path, opened, source, 0..source.size, wishes)
                .await;
            match outcome {
                Ok(entry) => return Ok(entry),
                Err(error) if attempt < ATTEMPTS && is_lost(&error) && !error.is_silence() => {
                    debug!(%path, %error, "upload again");
                    if source.size >= WORTH {
                        match self.resume(path, source, 0, wishes).await {
                            Ok(Resumed::Done(entry)) => return Ok(entry),
                            Err(Error::Recalled) => return Err(Error::Recalled),
                            resumed => debug!(%path, ?resumed, "from the start"),
                        }
                    }
                }
                // Not over the part that we sent ourselves, says a server that lets nobody overwrite.
                Err(Error::Denied(error)) if attempt > 0 && attempt <= ATTEMPTS => {
                    debug!(%path, %error, "upload again, without the part that is there");
                    self.clean(path).await;
                }
                Err(error) => {
                    self.patch(path, Patch::Doubt);
                    return Err(error);
                }
            }
            attempt += 1;
        }
    }

    /// Replaces the file at `path`, with its wishes: all of `source` under the name `scratch` beside it, then renamed over it.
    ///
    /// # Errors
    /// After an error the file at `path` is whole and unchanged.
    pub async fn replace(
        &self,
        path: &RemotePath,
        scratch: &RemotePath,
        source: &Source,
        wishes: Wishes,
    ) -> Result<Entry> {
        self.hide(scratch);
        let outcome = self.replace_by(path, scratch, source, wishes).await;
        if outcome.is_err() {
            self.clean(scratch).await;
        }
        self.show(scratch);
        outcome
    }

    /// Writes the bytes of `source` in `ranges` over those of the file at `path`, which has the same size and which the
    /// server must have in the version `base`.
    ///
    /// # Errors
    /// [`Error::Stale`] if it has another; [`Error::Unsupported`] if this server does not patch files in place, or a range
    /// begins with the file, which `STOR` would empty. After any other error some of the bytes may be written.
    pub async fn overwrite(
        &self,
        path: &RemotePath,
        source: &Source,
        base: Version,
        ranges: &[Range<u64>],
        wishes: Wishes,
    ) -> Result<Entry> {
        let dir = path.parent().unwrap_or_else(RemotePath::root);
        let kind = |range: &Range<u64>| {
            let start = NonZeroU64::new(range.start).map(UploadKind::Range);
            start.ok_or_else(|| {
                let detail = "a range from the start of the file";
                let error =
                    ftp::Error::new(ErrorKind::NotImplemented, format!("STOR {path}"), detail);
                Error::Unsupported(error)
            })
        };
        let kinds: Vec<UploadKind> = ranges.iter().map(kind).collect::<Result<_>>()?;
        self.prove(Proof::Range, &dir).await?;
        let mut base = base;
        let mut entry = None;
        for (range, kind) in ranges.iter().zip(kinds) {
            let bytes = range.end - range.start;
            let lease = self.lease_to_send(source, bytes).await?;
            let opened = self.open_over(lease, path, kind, base, bytes).await?;
            let mut sent = self
                .send(path, Ok(opened), source, range.clone(), wishes)
                .await;
            for _ in 0..ATTEMPTS {
                match &sent {
                    // The same bytes at the same place: again.
                    Err(error) if is_lost(error) => {
                        let opened = self.open_again(path, source, kind, bytes).await;
                        sent = self.send(path, opened, source, range.clone(), wishes).await;
                    }
                    _ => break,
                }
            }
            let now = sent.inspect_err(|_| self.patch(path, Patch::Doubt))?;
            base = Version {
                size: now.size.unwrap_or(source.size),
                modified: now.modified,
            };
            entry = Some(now);
        }
        match entry {
            Some(entry) => Ok(entry),
            None => self.confirm(path, source.size).await,
        }
    }

    /// A session to send so many bytes of `source` on.
    pub(super) async fn lease_to_send(&self, source: &Source, bytes: u64) -> Result<Lease> {
        tokio::select! {
            biased;
            () = source.recalls.made() => Err(Error::Recalled),
            lease = self.pool().lease_to_send(bytes) => Ok(lease?),
        }
    }

    /// Begins an upload of so many `bytes` of `source` to `path` once more.
    pub(super) async fn open_again(
        &self,
        path: &RemotePath,
        source: &Source,
        kind: UploadKind,
        bytes: u64,
    ) -> Result<Upload> {
        let lease = self.lease_to_send(source, bytes).await?;
        Ok(Upload::open(lease, path, kind).await?)
    }

    /// Begins an upload over the file at `path`, on `lease`, if the server has it in the version `base`.
    pub(super) async fn open_over(
        &self,
        lease: Lease,
        path: &RemotePath,
        kind: UploadKind,
        base: Version,
        bytes: u64,
    ) -> Result<Upload> {
        let (upload, known) = match Upload::open_known(lease, path, kind).await {
            Ok(opened) => opened,
            // Without SIZE the listing has to do.
            Err(error) if error.is_refusal() => {
                let now = self.version_of(path).await?;
                if !self.is_same(base, now) {
                    return Err(Error::Stale(path.clone()));
                }
                let lease = self.pool().lease_to_send(bytes).await?;
                return match Upload::open(lease, path, kind).await {
                    Err(error) if error.is_refusal() => Err(self.why_not_stored(path, error).await),
                    opened => Ok(opened?),
                };
            }
            Err(error) => return Err(error.into()),
        };
        if self.is_same(base, Version::exactly(known)) {
            return Ok(upload);
        }
        upload.give_up().await;
        Err(Error::Stale(path.clone()))
    }

    /// Whether a file that is `now` as the server says can be `base`, whose time may be from before the zone of the
    /// server's clock was known.
    pub fn is_same(&self, base: Version, now: Version) -> bool {
        let zone = self
            .pool()
            .with_profile(|profile| profile.mdtm_zone.clone());
        let understood = |time: Modified| match (&zone, time.precision) {
            (Some(zone), Precision::Second) => Modified {
                seconds: zone.from_clock(time.seconds),
                ..time
            },
            _ => time,
        };
        let modified = base.modified.map(understood);
        base.is_of(now) || Version { modified, ..base }.is_of(now)
    }

    /// The size of the file `path` by the server's word of this moment.
    pub async fn size_of(&self, path: &RemotePath) -> Result<u64> {
        Ok(self.current(path).await?.0)
    }

    /// The version of the file `path` by the server's word of this moment.
    pub async fn version_of(&self, path: &RemotePath) -> Result<Version> {
        Ok(Version::exactly(self.current(path).await?))
    }

    async fn current(&self, path: &RemotePath) -> Result<(u64, Option<i64>)> {
        let asked =
            on_session!(self.pool(), Retry::Idempotent, session => session.size_and_mtime(path));
        match asked {
            Ok(known) => Ok(known),
            Err(error) if error.is_refusal() => match self.stat_now(path).await? {
                None => Err(Error::Absent(path.clone())),
                Some(item) => {
                    let exact = item
                        .entry
                        .modified
                        .filter(|time| time.precision == Precision::Second);
                    let size = item.entry.size.ok_or(Error::Denied(error))?;
                    Ok((size, exact.map(|time| time.seconds)))
                }
            },
            Err(error) => Err(error.into()),
        }
    }

    async fn replace_by(
        &self,
        path: &RemotePath,
        scratch: &RemotePath,
        source: &Source,
        wishes: Wishes,
    ) -> Result<Entry> {
        let stored = self.store(scratch, source, wishes).await?;
        self.put_in_place(path, scratch, stored, source, wishes)
            .await
    }

    /// Gives the file `scratch`, which is `stored`, the rest of its wishes, and then the name `path`.
    pub async fn put_in_place(
        &self,
        path: &RemotePath,
        scratch: &RemotePath,
        stored: Entry,
        source: &Source,
        wishes: Wishes,
    ) -> Result<Entry> {
        let mut mode = stored.mode;
        if let Some(wanted) = wishes.mode.filter(|_| mode.is_none()) {
            match self.set_mode(scratch, wanted).await {
                Ok(()) => mode = Some(wanted),
                // Not set: the caller sees it by the entry, and keeps the bits itself.
                Err(Error::Unsupported(error) | Error::Denied(error)) => {
                    debug!(%error, "mode not carried over");
                }
                Err(error) => return Err(error),
            }
        }
        let entry = Entry {
            name: path.name().to_vec(),
            mode,
            ..stored
        };
        match self.rename(scratch, path, &entry, Wishes::default()).await {
            Ok(_) => Ok(entry),
            // A server without RNFR leaves no other way; the staged bytes are kept until this has succeeded.
            Err(Error::Unsupported(error)) => {
                warn!(%path, %error, "the server cannot rename: the file is replaced in place");
                let entry = self.store(path, source, wishes).await?;
                self.clean(scratch).await;
                Ok(Entry { mode, ..entry })
            }
            // Somebody took our own file away: nothing is said of the one at `path`.
            Err(Error::Absent(_)) => Err(Error::Stale(path.clone())),
            Err(error) => Err(error),
        }
    }

    /// One transfer of a range of `source`, which ends at the file's end or within it; what the server has then.
    pub(super) async fn send(
        &self,
        path: &RemotePath,
        opened: Result<Upload>,
        source: &Source,
        range: Range<u64>,
        wishes: Wishes,
    ) -> Result<Entry> {
        let mut upload = match opened {
            Ok(upload) => upload,
            Err(Error::Wire(error)) if error.is_refusal() => {
                return Err(self.why_not_stored(path, error).await);
            }
            Err(error) => return Err(error),
        };
        upload.expect(range.end - range.start);
        let mut at = range.start;
        while at < range.end {
            let length = (range.end - at).min(PIECE) as usize;
            let file = source.file.clone();
            let read = tokio::task::spawn_blocking(move || {
                let mut piece = vec![0; length];
                file.read_exact_at(&mut piece, at).map(|()| piece)
            });
            let piece = match read.await {
                Ok(Ok(piece)) => piece,
                Ok(Err(error)) => return Err(Error::Local(error.to_string())),
                Err(error) => return Err(Error::Local(error.to_string())),
            };
            let sent = tokio::select! {
                biased;
                () = source.recalls.made() => {
                    upload.cut().await;
                    return Err(Error::Recalled);
                }
                sent = upload.send(&piece) => sent,
            };
            match sent {
                Ok(()) => {}
                Err(error) if error.is_refusal() => {
                    // Its session may be the only one, and the question needs one.
                    drop(upload);
                    return Err(self.why_not_stored(path, error).await);
                }
                Err(error) => return Err(error.into()),
            }
            at += length as u64;
        }
        self.conclude(path, upload, source.size, range, wishes)
            .await
    }

    /// Ends an upload that has sent the bytes in `range` of a file of `size` bytes; what the server has then.
    pub(super) async fn conclude(
        &self,
        path: &RemotePath,
        upload: Upload,
        size: u64,
        range: Range<u64>,
        wishes: Wishes,
    ) -> Result<Entry> {
        let confirmed = match upload.finish(wishes).await {
            Ok(confirmed) => confirmed,
            // The size says nothing of bytes within the file, and at its end they may be somebody else's.
            Err(Unconfirmed::AllSent(error)) if range.start > 0 => return Err(error.into()),
            Err(Unconfirmed::AllSent(error)) => {
                debug!(%path, %error, "the answer to an upload was lost: the server is asked");
                match self.size_of(path).await {
                    Ok(there) if there == size => Confirmed::default(),
                    // Nothing or a part arrived: the connection is to blame, and may be tried again.
                    Ok(_) | Err(Error::Absent(_)) => return Err(error.into()),
                    Err(other) => return Err(other),
                }
            }
            // The answer to the command may come this late.
            Err(Unconfirmed::Failed(error)) => return Err(self.why_not_stored(path, error).await),
        };
        if confirmed.clock_learned {
            // With times that were wrong.
            self.listings().forget_all();
        }
        let found = match confirmed.found {
            Some(found) => found,
            None => self.current(path).await?,
        };
        let mode = wishes.mode.filter(|_| confirmed.mode_set);
        let size = match confirmed.before {
            Some((before, _)) => before + (range.end - range.start),
            None => size,
        };
        self.has(path, size, found, mode)
    }

    /// Checks that the server has `size` bytes at `path`, and remembers the file.
    pub(super) async fn confirm(&self, path: &RemotePath, size: u64) -> Result<Entry> {
        let found = self.current(path).await?;
        self.has(path, size, found, None)
    }

    /// Remembers the file at `path`, which must be as `found`, and now has the permission bits `mode` if they were set.
    fn has(
        &self,
        path: &RemotePath,
        size: u64,
        (found, mtime): SizeAndTime,
        mode: Option<u32>,
    ) -> Result<Entry> {
        if found != size {
            self.patch(path, Patch::Doubt);
            let detail = format!("the server has {found} bytes of {size}");
            return Err(
                ftp::Error::new(ErrorKind::Cut, format!("upload of {path}"), detail).into(),
            );
        }
        let known = || {
            let folder = path.parent().and_then(|dir| self.listings().known(&dir))?;
            folder.entries.get(path.name())?.entry.mode
        };
        let mut entry = Entry {
            mode: mode.or_else(known),
            ..file_entry(path.name(), size, mtime)
        };
        // Without MDTM: the clock there may be another.
        entry.modified.get_or_insert_with(about_now);
        self.patch(path, Patch::Put(entry.clone()));
        Ok(entry)
    }

    /// Removes what may be left under a scratch name of ours.
    pub async fn clean(&self, scratch: &RemotePath) {
        // A name of our own is nobody else's by the second time.
        let retry = match self.is_hidden(scratch) {
            true => Retry::AfterEcho,
            false => Retry::Never,
        };
        let removed = on_session!(self.pool(), retry, session => session.delete(scratch));
        if let Err(error) = removed {
            // Nothing was stored, or the connection is gone: then it stays, and is shown in the next listing.
            debug!(path = %scratch, %error, "scratch file not removed");
        }
        self.patch(scratch, Patch::Remove(scratch.name().to_vec()));
    }

    /// A refused upload: one question to the folder tells why.
    pub(super) async fn why_not_stored(&self, path: &RemotePath, error: ftp::Error) -> Error {
        if error.kind == ErrorKind::NotImplemented {
            return Error::Unsupported(error);
        }
        if error.kind == ErrorKind::NoSpace {
            return Error::Wire(error);
        }
        let dir = path.parent().unwrap_or_else(RemotePath::root);
        self.listings().expire(&dir);
        match self.list(&dir).await {
            Err(meaning @ (Error::Absent(_) | Error::NotDir(_))) => meaning,
            Ok(folder) if folder.entries.get(path.name()).is_some_and(super::is_dir) => {
                Error::IsDir(path.clone())
            }
            _ => Error::Denied(error),
        }
    }
}

/// The time of this moment, as far as another machine's clock can be told by ours.
fn about_now() -> Modified {
    let since = UNIX_EPOCH.elapsed().unwrap_or_default();
    Modified {
        seconds: since.as_secs() as i64,
        precision: Precision::Day,
    }
}

/// Whether the failure is the connection's, so that sending again may succeed.
pub(super) fn is_lost(error: &Error) -> bool {
    matches!(error, Error::Wire(error) if error.is_connection())
}

/// Bytes read from the staged file and sent at once.
pub(super) const PIECE: u64 = 256 << 10;

/// Bytes from which on an upload that broke off is gone on with: fewer are sent again sooner than the server is asked what
/// it has of them.
pub const WORTH: u64 = 1 << 20;

/// Times that an upload is begun again after a lost connection.
pub(super) const ATTEMPTS: u32 = 2;
