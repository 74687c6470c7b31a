//! The control connection: commands out, replies in.

use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tracing::debug;

use super::command::Command;
use super::config::Route;
use super::error::{Error, ErrorKind, Result};
use super::pace::Paces;
use super::reply::{Assembler, Reply, parse_head};
use super::route::Target;
use super::tls::{Encryption, MaybeTls, TlsClient};

/// A connected control connection.
#[derive(Debug)]
pub struct Control {
    stream: MaybeTls,
    peer: SocketAddr,
    /// What connecting took.
    round_trip: Duration,
    /// Bytes received and not yet taken as lines.
    input: Vec<u8>,
    assembler: Assembler,
    /// Bytes taken since the last whole reply, against endless ones.
    reply_bytes: usize,
    paces: Paces,
}

impl Control {
    /// Connects to `host`, trying each of its addresses within `patience`; a proxy is asked once. `paces` says how
    /// fast commands may follow each other.
    ///
    /// # Errors
    /// [`ErrorKind::Unreachable`] or [`ErrorKind::TimedOut`], with the system's words.
    pub async fn connect(
        host: &str,
        port: u16,
        route: &Route,
        patience: Duration,
        paces: Paces,
    ) -> Result<Self> {
        let operation = || format!("connect to {host} port {port}");
        let unreachable =
            |error: io::Error| Error::new(ErrorKind::Unreachable, operation(), error.to_string());
        let late = |detail: String| Error::new(ErrorKind::TimedOut, operation(), detail);
        let targets: Vec<Target> = match &route.proxy {
            Some(_) => vec![Target::Name(host.to_owned(), port)],
            None => match timeout(patience, tokio::net::lookup_host((host, port))).await {
                Ok(addresses) => addresses
                    .map_err(unreachable)?
                    .map(Target::Address)
                    .collect(),
                Err(_) => return Err(late("the name was not resolved in time".to_owned())),
            },
        };
        let mut failure = Error::new(
            ErrorKind::Unreachable,
            operation(),
            "the name has no address",
        );
        for target in targets {
            let begun = Instant::now();
            match timeout(patience, route.connect(&target)).await {
                Ok(Ok(stream)) => {
                    tune(&stream);
                    return Ok(Self {
                        peer: stream.peer_addr().map_err(unreachable)?,
                        round_trip: begun.elapsed(),
                        stream: MaybeTls::Plain(stream),
                        input: Vec::new(),
                        assembler: Assembler::default(),
                        reply_bytes: 0,
                        paces,
                    });
                }
                Ok(Err(error)) => failure = unreachable(error),
                Err(_) => failure = late(format!("no answer in {} s", patience.as_secs())),
            }
        }
        Err(failure)
    }

    /// Goes on encrypted (RFC 4217 s4).
    pub async fn secure(self, tls: &TlsClient, patience: Duration) -> Result<Self> {
        let MaybeTls::Plain(stream) = self.stream else {
            return Ok(self);
        };
        // Bytes before the handshake would be taken as if they had come encrypted (CVE-2011-0411).
        if !self.input.is_empty() {
            return Err(Error::protocol(
                "AUTH TLS",
                "unexpected bytes before the handshake",
                &self.input,
            ));
        }
        let stream = tls.handshake(stream, patience).await?;
        Ok(Self {
            stream,
            input: Vec::new(),
            assembler: Assembler::default(),
            ..self
        })
    }

    /// Ends the connection; commands that the server has not got yet are never sent.
    pub fn reset(self) {
        self.stream.reset();
    }

    /// The address of the other end: the server's, or its proxy's.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// The address of our own end.
    pub fn local(&self) -> std::io::Result<SocketAddr> {
        self.stream.tcp().local_addr()
    }

    /// What connecting took: one round trip, if no packet was lost.
    pub fn round_trip(&self) -> Duration {
        self.round_trip
    }

    /// How it is encrypted, if it is.
    pub fn encryption(&self) -> Option<Encryption> {
        self.stream.encryption()
    }

    /// Whether it is encrypted.
    pub fn is_secure(&self) -> bool {
        matches!(self.stream, MaybeTls::Tls(_))
    }

    /// Sends `commands` without waiting for replies between them, in as few writes as fit; each at its turn where there
    /// may be only so many in a second.
    ///
    /// No command is ever split between two writes: some servers take each TCP segment as whole commands.
    pub async fn send(&mut self, commands: &[Command], patience: Duration) -> Result<()> {
        let turns = self.paces.commands.clone();
        let mut wire = Vec::new();
        let mut writes = Vec::new();
        for command in commands {
            if command.is_unsafe() {
                let detail = "a name with a line end or a zero byte cannot be sent over FTP";
                return Err(Error::new(ErrorKind::Name, command.to_string(), detail));
            }
            debug!(%command, "send");
            let start = wire.len();
            command.write_to(&mut wire);
            let begun = writes.last().copied().unwrap_or(0);
            if start > begun && (turns.is_some() || wire.len() - begun > LONGEST_WRITE) {
                writes.push(start);
            }
        }
        writes.push(wire.len());
        self.paces.traffic.flight(commands.len());
        let operation = || {
            commands
                .first()
                .map_or_else(String::new, Command::to_string)
        };
        let mut start = 0;
        for end in writes {
            if let Some(turns) = &turns {
                turns.turn().await;
            }
            let sending = async {
                self.stream.write_all(&wire[start..end]).await?;
                self.stream.flush().await
            };
            match timeout(patience, sending).await {
                Ok(Ok(())) => start = end,
                Ok(Err(error)) => return Err(Error::from_io(operation(), &error)),
                Err(_) => return Err(Error::timed_out(operation())),
            }
        }
        Ok(())
    }

    /// The next reply, waiting at most `patience`; `operation` names the command in an error.
    ///
    /// Cancel safe: bytes already received are kept for the next call.
    pub async fn reply(
        &mut self,
        operation: &(dyn std::fmt::Display + Sync),
        patience: Duration,
    ) -> Result<Reply> {
        match timeout(patience, self.next_reply(operation)).await {
            Ok(reply) => reply,
            Err(_) => Err(Error::timed_out(operation.to_string())),
        }
    }

    /// The first reply of all. What is not FTP is told at its first line.
    pub async fn greeting(&mut self, patience: Duration) -> Result<Reply> {
        const OPERATION: &str = "greeting";
        let first_line = async {
            while !self.input.contains(&b'\n') {
                if self.input.len() > LONGEST_LINE || !self.fill(&OPERATION).await? {
                    break;
                }
            }
            Ok(())
        };
        match timeout(patience, first_line).await {
            Ok(outcome) => outcome?,
            Err(_) => {
                return Err(Error::new(
                    ErrorKind::TimedOut,
                    OPERATION,
                    format!(
                        "the server said nothing for {} s; is it an FTP server?",
                        patience.as_secs()
                    ),
                ));
            }
        }
        let line = self.input.split(|&b| b == b'\n').next().unwrap_or_default();
        if line.is_empty() {
            return Err(Error::new(
                ErrorKind::Lost,
                OPERATION,
                "the server closed the connection before its greeting",
            ));
        }
        if parse_head(line.trim_ascii_end()).is_none() {
            return Err(Error::protocol(
                OPERATION,
                "the server does not speak FTP; it says",
                line.trim_ascii(),
            ));
        }
        self.reply(&OPERATION, patience).await
    }

    /// Why the server ended this idle connection, if it did: it says `421` unasked, or just closes.
    pub fn ended(&self) -> Option<Error> {
        const OPERATION: &str = "idle session";
        if !self.input.is_empty() {
            return Some(Error::protocol(OPERATION, "unexpected reply", &self.input));
        }
        let mut byte = [MaybeUninit::uninit(); 1];
        match SockRef::from(self.stream.tcp()).peek(&mut byte) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Ok(0) => Some(Error::new(
                ErrorKind::Lost,
                OPERATION,
                "the server closed the connection",
            )),
            // Encrypted, that may be session tickets as well: the next command will tell.
            Ok(_) if self.is_secure() => None,
            Ok(_) => Some(Error::new(
                ErrorKind::Lost,
                OPERATION,
                "the server spoke unasked",
            )),
            Err(error) => Some(Error::from_io(OPERATION, &error)),
        }
    }

    async fn next_reply(&mut self, operation: &(dyn std::fmt::Display + Sync)) -> Result<Reply> {
        loop {
            if let Some(end) = self.input.iter().position(|&b| b == b'\n') {
                let mut line: Vec<u8> = self.input.drain(..=end).collect();
                while matches!(line.last(), Some(b'\n' | b'\r')) {
                    line.pop();
                }
                self.reply_bytes += line.len();
                if let Some(reply) = self.assembler.push(&line) {
                    debug!(%reply, "reply");
                    self.reply_bytes = 0;
                    return Ok(reply);
                }
                if self.reply_bytes > LONGEST_REPLY {
                    return Err(Error::new(
                        ErrorKind::Protocol,
                        operation.to_string(),
                        "the reply has no end",
                    ));
                }
                continue;
            }
            if self.input.len() > LONGEST_LINE {
                return Err(Error::new(
                    ErrorKind::Protocol,
                    operation.to_string(),
                    "the reply's line has no end",
                ));
            }
            if !self.fill(operation).await? {
                return Err(Error::new(
                    ErrorKind::Lost,
                    operation.to_string(),
                    "the server closed the connection",
                ));
            }
        }
    }

    /// Receives some bytes; `false` at the end.
    async fn fill(&mut self, operation: &(dyn std::fmt::Display + Sync)) -> Result<bool> {
        self.input.reserve(4096);
        let length = match self.stream.read_buf(&mut self.input).await {
            Ok(length) => length,
            // A close without close_notify is how several servers end the control connection.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => 0,
            Err(error) => return Err(Error::from_io(operation.to_string(), &error)),
        };
        // Linux forgets the setting after a while, hence again after each read: without it Nagle on the server's side
        // and our delayed ACK cost 44 ms for each transfer on eight of nineteen measured servers.
        SockRef::from(self.stream.tcp()).set_tcp_quickack(true).ok();
        Ok(length > 0)
    }
}

/// Sets what every control connection needs: no Nagle, and an end noticed within two minutes on a dead network.
fn tune(stream: &TcpStream) {
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(30))
        .with_interval(Duration::from_secs(15));
    let socket = SockRef::from(stream);
    // A socket that refuses these still works.
    stream.set_nodelay(true).ok();
    socket.set_tcp_keepalive(&keepalive).ok();
    socket.set_tcp_quickack(true).ok();
}

/// Longest write: over TLS, ProFTPD and Pure-FTPd stop at 4,096 bytes of a record; 1,024 is safe on all measured servers.
const LONGEST_WRITE: usize = 1024;

/// Longest line taken from a server; ProFTPD's longest known reply lines are some 5,000 bytes.
const LONGEST_LINE: usize = 64 << 10;

/// Longest whole reply: banners and `STAT` of a folder of 100,000 entries fit.
const LONGEST_REPLY: usize = 32 << 20;
