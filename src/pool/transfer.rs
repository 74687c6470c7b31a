//! Transfers bound to their lease.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tracing::debug;

use super::{Direction, Lease, Pool, Progress, Purpose};
use crate::ftp::{
    Confirmed, DataStream, Error, ErrorKind, RemotePath, Result, SizeAndTime, UploadKind, Wishes,
};

/// A running download.
///
/// Dropped before its end, it is stopped in the background and its session goes back to the pool after that.
#[derive(Debug)]
pub struct Download {
    /// `None` once ended.
    running: Option<(Lease, DataStream)>,
    operation: String,
    progress: Arc<Progress>,
}

impl Download {
    /// Starts a download of `file` at byte `offset`, on a session that is leased for `purpose`.
    ///
    /// A lost connection is replaced; a refusal is the server's word on the file.
    pub async fn open(
        pool: &Pool,
        purpose: Purpose,
        file: &RemotePath,
        offset: u64,
    ) -> Result<Self> {
        let mut lease = pool.lease(purpose).await?;
        let mut attempt = 0;
        let stream = loop {
            match lease.retrieve(file, offset).await {
                Err(error) if error.is_connection() && attempt < super::RETRIES.len() => {
                    debug!(%error, attempt, "download again on a new session");
                    tokio::time::sleep(super::RETRIES[attempt]).await;
                    attempt += 1;
                    lease.reconnect().await?;
                }
                outcome => break outcome?,
            }
        };
        Ok(Self {
            progress: lease.begin_transfer(file, Direction::Down),
            running: Some((lease, stream)),
            operation: format!("RETR {file}"),
        })
    }

    /// So many bytes are to come, for those who look.
    pub fn expect(&self, bytes: u64) {
        self.progress.expect(bytes);
    }

    /// Whether it is to be dropped for one who waits for a session, for a purpose up to `last`: as many are told so as wait.
    pub fn gives_way(&mut self, last: Purpose) -> bool {
        let running = self.running.as_mut();
        running.is_some_and(|(lease, _)| lease.gives_way(last))
    }

    /// See [`DataStream::want`].
    pub fn want(&mut self, bytes: u64) {
        if let Some((_, stream)) = &mut self.running {
            stream.want(bytes);
        }
    }

    /// Receives some bytes at the end of `buf`; 0 at the end, which the server must have confirmed.
    ///
    /// # Errors
    /// What cut the transfer; the download is over then.
    ///
    /// Cancel safe but for the end.
    pub async fn receive(&mut self, buf: &mut BytesMut) -> Result<usize> {
        let Some((_, stream)) = &mut self.running else {
            return Ok(0);
        };
        match stream.receive(buf).await {
            Ok(0) => {
                let Some((mut lease, stream)) = self.running.take() else {
                    return Ok(0);
                };
                stream.close_receiving().await;
                lease.finish(&self.operation).await?;
                Ok(0)
            }
            Ok(length) => {
                self.progress.passed(length);
                Ok(length)
            }
            Err(error) => {
                // The server may have said why: a session that still answers is kept.
                self.stop();
                Err(Error::new(error.kind, &self.operation, error.detail()))
            }
        }
    }

    /// Stops it in the background.
    fn stop(&mut self) {
        if let Some((mut lease, stream)) = self.running.take() {
            match tokio::runtime::Handle::try_current() {
                Ok(runtime) => {
                    // No download any more: another may begin on another session meanwhile.
                    lease.ends_transfer();
                    runtime.spawn(async move { lease.abandon(stream).await });
                }
                // Without a runtime the process is ending: the session is discarded with the lease.
                Err(_) => drop((lease, stream)),
            }
        }
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A running upload. Dropped before [`Upload::finish`], its session is discarded and the file on the server is partial.
///
/// Where the connection was lost, an error comes when what was sent is over: done late, a `STOR` would empty what the next
/// one has stored, and an `APPE` add once more.
#[derive(Debug)]
pub struct Upload {
    lease: Lease,
    stream: Option<DataStream>,
    file: RemotePath,
    operation: String,
    progress: Arc<Progress>,
}

impl Upload {
    /// Starts an upload to `file`, on `lease`.
    ///
    /// A connection lost before the server agreed to the transfer is replaced: nothing has happened then. But for a
    /// `STOR`: a part may be there after that, which not every server lets be stored over.
    pub async fn open(mut lease: Lease, file: &RemotePath, kind: UploadKind) -> Result<Self> {
        let mut opened = lease.upload(kind, file).await;
        if kind != UploadKind::Store && begins_again(&mut lease, &opened).await? {
            opened = lease.upload(kind, file).await;
        }
        let stream = unless_lost(&mut lease, opened).await?;
        Ok(Self::running(lease, stream, file, kind))
    }

    /// [`Upload::open`], of the whole of `file`. Where one has been lost by that, a `new_session` it is: those that wait may be lost as well.
    pub async fn store(mut lease: Lease, file: &RemotePath, new_session: bool) -> Result<Self> {
        if new_session {
            lease.reconnect().await?;
        }
        let opened = lease.upload(UploadKind::Store, file).await;
        let stream = unless_lost(&mut lease, opened).await?;
        Ok(Self::running(lease, stream, file, UploadKind::Store))
    }

    /// Starts one that adds to the end of `file`, whatever that is by now: [`Confirmed::before`] tells.
    pub async fn append(mut lease: Lease, file: &RemotePath) -> Result<Self> {
        let mut opened = lease.append(file).await;
        if begins_again(&mut lease, &opened).await? {
            opened = lease.append(file).await;
        }
        let stream = unless_lost(&mut lease, opened).await?;
        Ok(Self::running(lease, stream, file, UploadKind::Append))
    }

    /// [`Upload::open`], with the size and time that the file had until then.
    pub async fn open_known(
        mut lease: Lease,
        file: &RemotePath,
        kind: UploadKind,
    ) -> Result<(Self, SizeAndTime)> {
        let mut opened = lease.upload_to_known(kind, file).await;
        if begins_again(&mut lease, &opened).await? {
            opened = lease.upload_to_known(kind, file).await;
        }
        let (stream, known) = unless_lost(&mut lease, opened).await?;
        Ok((Self::running(lease, stream, file, kind), known))
    }

    fn running(lease: Lease, stream: DataStream, file: &RemotePath, kind: UploadKind) -> Self {
        let progress = lease.begin_transfer(file, Direction::Up);
        Self {
            lease,
            stream: Some(stream),
            file: file.clone(),
            operation: format!("{kind} {file}"),
            progress,
        }
    }

    /// So many bytes are to be sent, for those who look.
    pub fn expect(&self, bytes: u64) {
        self.progress.expect(bytes);
    }

    /// Sends all of `bytes`.
    ///
    /// # Errors
    /// Where the server gave a reason for closing the connection, that reason.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        let Some(stream) = &mut self.stream else {
            return Err(Error::new(
                ErrorKind::Lost,
                &self.operation,
                "the upload is over",
            ));
        };
        match stream.send(bytes).await {
            Ok(()) => {
                self.progress.passed(bytes.len());
                Ok(())
            }
            Err(error) => {
                self.reset();
                match self.lease.finish(&self.operation).await {
                    Err(reason) if reason.is_refusal() => Err(reason),
                    _ => {
                        self.lease.lose().await;
                        Err(Error::new(error.kind, &self.operation, error.detail()))
                    }
                }
            }
        }
    }

    /// Ends an upload of which nothing was sent.
    pub async fn give_up(mut self) {
        if let Some(stream) = self.stream.take() {
            self.lease.give_up(stream).await;
            self.lease.lose().await;
        }
    }

    /// Breaks the data connection, and waits a while for what the server says to that. Within [`Upload::send`] as well, which
    /// is cancelled then.
    pub async fn cut(mut self) {
        if self.stream.is_none() {
            // It broke off by itself, at this moment: what was sent is waited for.
            return self.lease.lose().await;
        }
        self.reset();
        let said = tokio::time::timeout(CUT_PATIENCE, self.lease.finish(&self.operation)).await;
        debug!(?said, "cut on purpose");
    }

    /// Breaks the data connection: nothing that is still under way is to arrive after what is sent next.
    fn reset(&mut self) {
        if let Some(stream) = self.stream.take() {
            stream.reset();
        }
    }

    /// Ends the upload, sets what is wished and asks what the server has; success means that it has confirmed the upload.
    ///
    /// # Errors
    /// [`Unconfirmed::AllSent`] where all was sent and the confirmation was lost: the server may have it or not.
    pub async fn finish(mut self, wishes: Wishes) -> std::result::Result<Confirmed, Unconfirmed> {
        let Some(stream) = &mut self.stream else {
            let error = Error::new(ErrorKind::Lost, &self.operation, "the upload is over");
            return Err(Unconfirmed::AllSent(error));
        };
        let ended = stream.end_sending().await;
        let answered = self
            .lease
            .finish_upload(&self.operation, &self.file, wishes)
            .await;
        if matches!(&answered, Err(error) if error.is_connection()) {
            self.reset();
            self.lease.lose().await;
        }
        if let Some(stream) = self.stream.take() {
            stream.close_sent().await;
        }
        match (answered, ended) {
            (Ok(confirmed), Ok(())) => Ok(confirmed),
            (Err(error), _) if !error.is_connection() => Err(Unconfirmed::Failed(error)),
            (Err(error), _) | (Ok(_), Err(error)) => Err(Unconfirmed::AllSent(error)),
        }
    }
}

/// After an attempt to begin an upload: whether it is to be made again, on the new session of `lease`.
async fn begins_again<T>(lease: &mut Lease, opened: &Result<T>) -> Result<bool> {
    match opened {
        Err(error) if error.is_connection() => {
            debug!(%error, "upload again on a new session");
            lease.lose().await;
            lease.reconnect().await.map(|()| true)
        }
        _ => Ok(false),
    }
}

async fn unless_lost<T>(lease: &mut Lease, opened: Result<T>) -> Result<T> {
    if matches!(&opened, Err(error) if error.is_connection()) {
        lease.lose().await;
    }
    opened
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.reset();
    }
}

/// Longest wait for the reply to a transfer that was cut: some servers never send one.
const CUT_PATIENCE: Duration = Duration::from_secs(3);

/// Why an upload was not confirmed.
#[derive(Debug)]
pub enum Unconfirmed {
    /// The server said that it failed.
    Failed(Error),
    /// All was sent, and the answer was lost.
    AllSent(Error),
}

impl Unconfirmed {
    /// What went wrong, where it does not matter how much was sent.
    pub fn into_error(self) -> Error {
        match self {
            Self::Failed(error) | Self::AllSent(error) => error,
        }
    }
}

/// Longest file, or rest of one, that is on its way for no longer than a listing, in bytes.
pub const SMALL: u64 = 64 << 10;
