//! Adding to a file, and going on with an upload that broke off: no byte is lost, and none is there twice.

use std::ops::Range;
use std::os::unix::fs::FileExt;

use bytes::BytesMut;
use tracing::debug;

use super::proofs::Proof;
use super::uploads::{ATTEMPTS, PIECE, Source, is_lost};
use super::{Error, Patch, Remote, Result, Version};
use crate::ftp::list::Entry;
use crate::ftp::{self, ErrorKind, RemotePath, UploadKind, Wishes};
use crate::pool::{Download, Purpose, Upload, echo};

/// What has become of an upload that broke off.
#[derive(Clone, Debug)]
pub enum Resumed {
    /// The server has all of it by now.
    Done(Entry),
    /// It has a part, and this server cannot go on with it.
    Part,
    /// It has nothing that is of it.
    Nothing,
}

/// What a server has of an upload that broke off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The beginning of what is to be there, so many bytes.
    Head(u64),
    /// The beginning of what was to be there: its content was changed since.
    Changed,
    /// Nothing that is of it.
    None,
}

/// How much of what a server has is compared before it is taken for the beginning of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compare {
    /// Its end, which somebody else's would hardly have in common: of what was not changed since it was sent.
    End,
    /// All of it.
    All,
}

/// Where bytes are added to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// At the end that it had when it was opened, or not at all.
    Known,
    /// At the end that it has, as `O_APPEND` asks.
    Any,
}

impl Remote {
    /// Goes on with an upload of the bytes of `source` behind `least` that broke off, of which the server may have the first
    /// at `at`, if they are the same by what is to be compared. By their end they are told from somebody else's.
    pub async fn resume(
        &self,
        at: &RemotePath,
        source: &Source,
        least: u64,
        wishes: Wishes,
    ) -> Result<Resumed> {
        let there = match self.part_of(at, source, least).await? {
            Part::Head(there) => there,
            Part::Changed => return Ok(Resumed::Part),
            Part::None => return Ok(Resumed::Nothing),
        };
        debug!(%at, there, of = source.size, "an upload goes on where it broke off");
        if there == source.size {
            return self.confirm(at, source.size).await.map(Resumed::Done);
        }
        let base = Version {
            size: there,
            modified: None,
        };
        match self.append(at, source, base, End::Known, wishes).await {
            Ok(entry) => Ok(Resumed::Done(entry)),
            Err(Error::Unsupported(error)) => {
                debug!(%at, %error, "not gone on with");
                Ok(Resumed::Part)
            }
            Err(error) => Err(error),
        }
    }

    /// What the server has at `at` of an upload of the bytes of `source` behind `least` that broke off.
    pub(super) async fn part_of(
        &self,
        at: &RemotePath,
        source: &Source,
        least: u64,
    ) -> Result<Part> {
        let there = match self.last_size_of(at).await {
            Ok(there) => there,
            Err(Error::Absent(_)) => return Ok(Part::None),
            Err(error) => return Err(error),
        };
        let part = least..there;
        let ours = match there {
            // It had begun, and no byte came.
            0 => least == 0,
            _ => there > least && self.is_head(at, source, part.clone(), Compare::End).await?,
        };
        if !ours {
            return Ok(Part::None);
        }
        match source.compare == Compare::All
            && !self.is_head(at, source, part, Compare::All).await?
        {
            true => Ok(Part::Changed),
            false => Ok(Part::Head(there)),
        }
    }

    /// Whether the file at `path`, which has the bytes of `there` and no more, can be the beginning of `source`, or all of
    /// it, by what is compared of those.
    pub async fn is_head(
        &self,
        path: &RemotePath,
        source: &Source,
        there: Range<u64>,
        compare: Compare,
    ) -> Result<bool> {
        let from = match compare {
            Compare::End => there.end.saturating_sub(TAIL).max(there.start),
            Compare::All => there.start,
        };
        Ok(there.end <= source.size && self.holds(path, source, from..there.end).await?)
    }

    /// Adds the bytes of `source` behind `base` to the file at `path`. The server must have it in that version, unless they
    /// are for `end` wherever that is: then the entry tells by its size if it was elsewhere.
    ///
    /// # Errors
    /// [`Error::Stale`] if it has another; [`Error::Unsupported`] if `APPE` does not append on this server.
    pub async fn append(
        &self,
        path: &RemotePath,
        source: &Source,
        base: Version,
        end: End,
        wishes: Wishes,
    ) -> Result<Entry> {
        let dir = path.parent().unwrap_or_else(RemotePath::root);
        self.prove(Proof::Append, &dir).await?;
        let more = source.size.saturating_sub(base.size);
        let lease = self.lease_to_send(source, more).await?;
        let opened = match end {
            End::Known => {
                self.open_over(lease, path, UploadKind::Append, base, more)
                    .await?
            }
            End::Any => Upload::append(lease, path).await?,
        };
        let added = self.add(path, opened, source, base.size, wishes).await;
        added.inspect_err(|_| self.patch(path, Patch::Doubt))
    }

    /// Begins to add so many `bytes` to the file at `path`, which must have `there` of them, ours.
    ///
    /// # Errors
    /// As for [`Remote::append`].
    pub(super) async fn add_behind(
        &self,
        path: &RemotePath,
        there: u64,
        bytes: u64,
    ) -> Result<Upload> {
        let dir = path.parent().unwrap_or_else(RemotePath::root);
        self.prove(Proof::Append, &dir).await?;
        let lease = self.pool().lease_to_send(bytes).await?;
        let base = Version {
            size: there,
            modified: None,
        };
        self.open_over(lease, path, UploadKind::Append, base, bytes)
            .await
    }

    /// Sends the bytes of `source` from `from` on, to the end of the file at `path`.
    async fn add(
        &self,
        path: &RemotePath,
        opened: Upload,
        source: &Source,
        mut from: u64,
        wishes: Wishes,
    ) -> Result<Entry> {
        let mut sent = self
            .send(path, Ok(opened), source, from..source.size, wishes)
            .await;
        for _ in 0..ATTEMPTS {
            let there = match sent {
                Err(error) if is_lost(&error) => self.last_size_of(path).await?,
                outcome => return outcome,
            };
            // What arrived is the beginning of what was sent: go on behind it. Unless others have added to the file
            // meanwhile: by its size alone their bytes would pass for ours.
            let ours = (from..=source.size).contains(&there)
                && self.holds(path, source, from..there).await?;
            if !ours {
                return Err(Error::Stale(path.clone()));
            }
            if there == source.size {
                return self.confirm(path, source.size).await;
            }
            from = there;
            let rest = source.size - from;
            let opened = self
                .open_again(path, source, UploadKind::Append, rest)
                .await;
            sent = self
                .send(path, opened, source, from..source.size, wishes)
                .await;
        }
        sent
    }

    /// Whether the file at `path`, which has no fewer bytes, has those of `source` in `range`.
    async fn holds(&self, path: &RemotePath, source: &Source, range: Range<u64>) -> Result<bool> {
        let mut attempt = 0;
        loop {
            match self.compare(path, source, range.clone()).await {
                Err(error) if is_lost(&error) && attempt < ATTEMPTS => attempt += 1,
                outcome => return outcome,
            }
        }
    }

    async fn compare(&self, path: &RemotePath, source: &Source, range: Range<u64>) -> Result<bool> {
        if range.is_empty() {
            return Ok(true);
        }
        let mut download = Download::open(self.pool(), Purpose::Data, path, range.start).await?;
        let mut at = range.start;
        while at < range.end {
            let mut there = BytesMut::with_capacity(PIECE as usize);
            let length = download.receive(&mut there).await?;
            if length == 0 {
                let detail = format!("it ended at byte {at} of {}", range.end);
                return Err(ftp::Error::new(ErrorKind::Cut, format!("RETR {path}"), detail).into());
            }
            there.truncate((range.end - at) as usize);
            let mut ours = vec![0; there.len()];
            source
                .file
                .read_exact_at(&mut ours, at)
                .map_err(|error| Error::Local(error.to_string()))?;
            if there != ours {
                return Ok(false);
            }
            at += there.len() as u64;
        }
        Ok(true)
    }

    /// The size that the file `path` has once the server has written all that it got on connections that are lost. To add
    /// to it before that would leave bytes in it twice.
    async fn last_size_of(&self, path: &RemotePath) -> Result<u64> {
        let mut size = self.size_of(path).await?;
        for _ in 0..ECHOES {
            echo().await;
            let before = std::mem::replace(&mut size, self.size_of(path).await?);
            if before == size {
                break;
            }
        }
        Ok(size)
    }
}

/// How often a file that grows is looked at before it is gone on with: then others write to it, which their bytes show.
const ECHOES: u32 = 40;

/// Bytes at its end by which a part is told to be ours.
const TAIL: u64 = 256 << 10;
