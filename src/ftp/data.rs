//! Data connections: opened for one transfer, and closed so that the server believes the end.

use std::future::poll_fn;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use bytes::BytesMut;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tracing::debug;

use super::config::Route;
use super::error::{Error, ErrorKind, Result};
use super::pace::Paces;
use super::route::Target;
use super::tls::{Encryption, MaybeTls, TlsClient};
use crate::sys;

/// The data connection of a running transfer.
#[derive(Debug)]
pub struct DataStream {
    stream: MaybeTls,
    patience: Duration,
    paces: Paces,
    /// Bytes that the server was last let send beyond what has come.
    window: u64,
}

/// Connects to `target` by `route`. Dropping the future closes the connection.
pub(super) async fn connect(target: Target, route: Route, patience: Duration) -> Result<TcpStream> {
    let operation = || match &target {
        Target::Address(address) => format!("data connection to {address}"),
        Target::Name(host, port) => format!("data connection to {host} port {port}"),
    };
    match timeout(patience, route.connect(&target)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(Error::new(
            ErrorKind::Unreachable,
            operation(),
            error.to_string(),
        )),
        Err(_) => Err(Error::timed_out(operation())),
    }
}

/// Whether `stream` is open, and nothing has come on it.
pub(super) fn is_silent(stream: &TcpStream) -> bool {
    let mut byte = [MaybeUninit::uninit(); 1];
    let peeked = SockRef::from(stream).peek(&mut byte);
    peeked.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
}

impl DataStream {
    /// Makes a connection one of a transfer, encrypted where `tls` is given.
    ///
    /// Dropping the future closes the connection.
    pub(super) async fn over(
        stream: TcpStream,
        tls: Option<TlsClient>,
        paces: Paces,
        (connect_patience, patience): (Duration, Duration),
    ) -> Result<Self> {
        let stream = match tls {
            None => MaybeTls::Plain(stream),
            Some(tls) => tls.handshake(stream, connect_patience).await?,
        };
        Ok(Self {
            stream,
            patience,
            paces,
            window: u64::MAX,
        })
    }

    /// How it is encrypted, if it is.
    pub(super) fn encryption(&self) -> Option<Encryption> {
        self.stream.encryption()
    }

    /// Receives some bytes at the end of `buf`, at most its spare capacity; 0 at the true end.
    ///
    /// # Errors
    /// [`ErrorKind::Cut`] where an encrypted stream ends without its close_notify; [`ErrorKind::Lost`];
    /// [`ErrorKind::TimedOut`] if nothing came for the configured time.
    ///
    /// Cancel safe: nothing is lost.
    pub async fn receive(&mut self, buf: &mut BytesMut) -> Result<usize> {
        const OPERATION: &str = "receive";
        let mut piece = usize::MAX;
        if let Some(pace) = &self.paces.down {
            pace.wait().await;
            piece = pace.piece();
        }
        let mut stream = (&mut self.stream).take(piece as u64);
        match timeout(self.patience, stream.read_buf(buf)).await {
            Ok(Ok(length)) => {
                self.paces.traffic.received(length);
                if let Some(pace) = &self.paces.down {
                    pace.passed(length);
                }
                Ok(length)
            }
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::UnexpectedEof => Err(Error::new(
                ErrorKind::Cut,
                OPERATION,
                "the data connection was cut",
            )),
            Ok(Err(error)) => Err(Error::from_io(OPERATION, &error)),
            Err(_) => Err(Error::timed_out(OPERATION)),
        }
    }

    /// So many bytes are wanted from here on: the server is not let send much more. What it has been let send before
    /// comes all the same.
    ///
    /// Else the kernel takes in what nobody reads, up to some 16 MiB for each connection.
    pub fn want(&mut self, bytes: u64) {
        let window = match bytes {
            ..OPEN => bytes.next_multiple_of(STEP),
            OPEN.. => u64::MAX,
        };
        if window == self.window {
            return;
        }
        self.window = window;
        let tcp = self.stream.tcp();
        // Below its segment's size a server sends nothing until a timer of seconds runs out.
        let segment = SockRef::from(tcp).tcp_mss().unwrap_or(LARGE_SEGMENT);
        let window = window.clamp(3 * u64::from(segment), OPEN_WINDOW);
        if let Err(error) = sys::clamp_window(tcp.as_fd(), window as i32) {
            debug!(%error, "the window of a data connection is not bounded");
        }
    }

    /// Sends all of `bytes`.
    ///
    /// Not cancel safe: dropped, an unknown part was sent.
    pub async fn send(&mut self, mut bytes: &[u8]) -> Result<()> {
        const OPERATION: &str = "send";
        // Piece by piece, so that the patience is for progress and not for the whole.
        while !bytes.is_empty() {
            let mut piece = bytes;
            if let Some(pace) = &self.paces.up {
                pace.wait().await;
                piece = &bytes[..bytes.len().min(pace.piece())];
            }
            match timeout(self.patience, self.stream.write(piece)).await {
                Ok(Ok(0)) => {
                    return Err(Error::new(
                        ErrorKind::Lost,
                        OPERATION,
                        "the data connection was closed",
                    ));
                }
                Ok(Ok(length)) => {
                    self.paces.traffic.sent(length);
                    if let Some(pace) = &self.paces.up {
                        pace.passed(length);
                    }
                    bytes = &bytes[length..];
                }
                Ok(Err(error)) => return Err(Error::from_io(OPERATION, &error)),
                Err(_) => return Err(Error::timed_out(OPERATION)),
            }
        }
        Ok(())
    }

    /// Says that all was sent: close_notify first where encrypted, since FileZilla drops the data without it.
    ///
    /// The stream is kept until the server has answered, see [`DataStream::close_sent`].
    pub async fn end_sending(&mut self) -> Result<()> {
        const OPERATION: &str = "end of data";
        match timeout(self.patience, self.stream.shutdown()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Error::from_io(OPERATION, &error)),
            Err(_) => Err(Error::timed_out(OPERATION)),
        }
    }

    /// Closes after the server has answered to an upload: the session ticket that it sent meanwhile is taken, since the
    /// next data connection must resume by one, and each works once.
    pub async fn close_sent(mut self) {
        if !matches!(self.stream, MaybeTls::Tls(_)) {
            return;
        }
        let mut rest = [0; 64];
        poll_fn(|cx| {
            let mut buf = ReadBuf::new(&mut rest);
            // One look without waiting: pending, an end and an error are all the same here.
            let _seen = Pin::new(&mut self.stream).poll_read(cx, &mut buf);
            Poll::Ready(())
        })
        .await;
    }

    /// Breaks the connection, as a network does that fails: of what was sent, nothing more arrives.
    pub fn reset(self) {
        self.stream.reset();
    }

    /// Ends a download that was read to its end, politely where encrypted.
    pub async fn close_receiving(mut self) {
        // Everything was received: how the goodbye goes changes nothing.
        if matches!(self.stream, MaybeTls::Tls(_)) {
            timeout(self.patience, self.stream.shutdown()).await.ok();
        }
    }
}

/// Wanted bytes from which the kernel sizes the window as it finds best.
const OPEN: u64 = 8 << 20;

/// What wanted bytes are rounded up to, so that the kernel is not told of each segment.
const STEP: u64 = 64 << 10;

/// A window that is none of our business: the largest of TCP (RFC 7323 s2.3).
const OPEN_WINDOW: u64 = 1 << 30;

/// The largest segment there is, that of a loopback device.
const LARGE_SEGMENT: u32 = 65_536;
