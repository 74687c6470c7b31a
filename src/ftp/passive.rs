//! Passive data connections, and those of either kind that are made before a transfer needs them.
//!
//! A transfer on a new passive connection waits three round trips for its first byte: `EPSV`, the connection, the
//! command. On an armed session the first two are behind it.

use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tracing::debug;

use super::active::Expected;
use super::command::Command;
use super::config::{DataMode, PasvAddress, Route};
use super::data;
use super::error::{Error, ErrorKind, Result};
use super::reply::{Reply, parse_epsv, parse_pasv};
use super::route::Target;
use super::session::{Session, State};

/// A data connection that no transfer uses yet.
#[derive(Debug)]
pub(super) struct Armed {
    connection: Connection,
    since: Instant,
}

#[derive(Debug)]
enum Connection {
    /// Its connecting goes on while the session does other things.
    Coming(JoinHandle<Result<TcpStream>>),
    /// The server makes it once it is told of a transfer.
    Expected(Expected),
    There(TcpStream),
}

impl Armed {
    /// Begins to connect to `target`.
    fn begin(target: Target, route: Route, patience: Duration) -> Self {
        let connecting = data::connect(target, route, patience);
        Self {
            connection: Connection::Coming(tokio::spawn(connecting)),
            since: Instant::now(),
        }
    }

    /// One that the server will make.
    pub(super) fn expecting(expected: Expected) -> Self {
        Self {
            connection: Connection::Expected(expected),
            since: Instant::now(),
        }
    }

    /// Whether it can still be hoped to work: it is on its way, or there and not closed.
    fn is_good(&mut self) -> bool {
        if let Connection::Coming(connecting) = &mut self.connection
            && connecting.is_finished()
        {
            // Finished, so that one look is enough.
            let mut context = Context::from_waker(Waker::noop());
            match Pin::new(connecting).poll(&mut context) {
                Poll::Ready(Ok(Ok(stream))) => self.connection = Connection::There(stream),
                _ => return false,
            }
        }
        let old = self.since.elapsed() > LIFE;
        match &self.connection {
            Connection::Coming(_) | Connection::Expected(_) => !old,
            // Nothing has come on it yet, and it has no end: a server's goodbye would be readable.
            Connection::There(stream) => !old && data::is_silent(stream),
        }
    }

    /// The connection; waits for it if it is not there yet. Cancel safe: what is dropped is closed.
    pub(super) async fn connected(self) -> Result<TcpStream> {
        match self.connection {
            Connection::There(stream) => Ok(stream),
            Connection::Expected(expected) => expected.connected().await,
            Connection::Coming(connecting) => connecting.await.unwrap_or_else(|error| {
                Err(Error::new(
                    ErrorKind::Lost,
                    "data connection",
                    error.to_string(),
                ))
            }),
        }
    }
}

impl Session {
    /// Whether the next transfer needs no new data connection. One that is closed or too old is dropped here.
    pub fn is_armed(&mut self) -> bool {
        if self.armed.as_mut().is_some_and(Armed::is_good) {
            return true;
        }
        self.armed = None;
        false
    }

    /// Whether [`Session::arm`] would be of use.
    pub fn wants_arming(&mut self) -> bool {
        self.state == State::Idle && self.may_arm() && !self.is_used_up() && !self.is_armed()
    }

    /// Negotiates the next data connection, and lets it connect meanwhile.
    ///
    /// # Errors
    /// What the connection can fail by; a server that refuses is remembered, and not asked again.
    pub async fn arm(&mut self) -> Result<()> {
        if !self.wants_arming() {
            return Ok(());
        }
        let armed = self.data_connection().await.inspect_err(|error| {
            // With a connection that still stands the server had words for it: no port free, or a busy one.
            if self.ended().is_none() && error.kind != ErrorKind::TimedOut {
                debug!(session = self.id, %error, "no data connections are made in advance any more");
                self.server.with_profile(|profile| profile.arming = Some(false));
            }
        })?;
        self.armed = Some(armed);
        Ok(())
    }

    /// Negotiates a data connection, which is on its way then.
    pub(super) async fn data_connection(&mut self) -> Result<Armed> {
        if self.is_active() {
            return self.expect().await;
        }
        let target = self.passive().await?;
        Ok(self.connecting(target))
    }

    /// A passive data connection on its way to `target`.
    pub(super) fn connecting(&self, target: Target) -> Armed {
        let longest = self.server.config.connect_timeout;
        // While there is another way to try.
        let other = self.server.config.data_mode == DataMode::Auto
            && self.knows(|profile| profile.passive.is_none() && profile.active.is_none());
        Armed::begin(
            target,
            self.server.config.route.clone(),
            if other {
                longest.min(FIRST_WAIT)
            } else {
                longest
            },
        )
    }

    /// uftpd writes the answers of other commands into an open data connection, and libunftp may say that a transfer has
    /// ended before it says that it has begun: both are told by how they take several commands in one write.
    fn may_arm(&self) -> bool {
        self.knows(|profile| profile.arming != Some(false) && profile.pipelining == Some(true))
    }

    /// Whether an `EPSV` at the end of a flight arms the session for the next transfer.
    pub(super) fn arms_by_epsv(&self) -> bool {
        self.may_arm() && !self.is_active() && self.knows(|profile| profile.epsv) == Some(true)
    }

    /// Where the server waits for a data connection: `EPSV` (RFC 2428), or `PASV` where that is refused.
    pub(super) async fn passive(&mut self) -> Result<Target> {
        if let Some(command) = self.epsv() {
            let reply = self.exchange(command).await?;
            if let Some(target) = self.passive_address(&reply)? {
                return Ok(target);
            }
        }
        let reply = self.exchange(Command::bare("PASV")).await?;
        if reply.code != 227 {
            return Err(Error::from_reply("PASV", &reply));
        }
        let (address, port) = parse_pasv(reply.last())
            .ok_or_else(|| Error::protocol("PASV", "no address in the reply", reply.last()))?;
        Ok(match self.server.config.pasv_address {
            PasvAddress::Reply => Target::Address((address, port).into()),
            PasvAddress::Control => self.at_server(port),
        })
    }

    /// The same host that the control connection leads to. What is behind a proxy is known to that by name alone.
    fn at_server(&self, port: u16) -> Target {
        let config = &self.server.config;
        match config.route.proxy {
            Some(_) => Target::Name(config.host.clone(), port),
            None => Target::Address(SocketAddr::new(self.control.peer().ip(), port)),
        }
    }

    /// `EPSV`, unless the server is known not to have it, or makes the connections itself.
    pub(super) fn epsv(&self) -> Option<Command> {
        let known = self.knows(|profile| profile.epsv);
        (known != Some(false) && !self.is_active()).then(|| Command::bare("EPSV"))
    }

    /// What `reply` to `EPSV` says; `None` if the server has no such command.
    pub(super) fn passive_address(&mut self, reply: &Reply) -> Result<Option<Target>> {
        if reply.code == 229 {
            self.server
                .with_profile(|profile| profile.epsv = Some(true));
            let port = parse_epsv(reply.last())
                .ok_or_else(|| Error::protocol("EPSV", "no port in the reply", reply.last()))?;
            return Ok(Some(self.at_server(port)));
        }
        if reply.code < 500 {
            // libunftp 0.24 found no free port, or says here what it still owed to an earlier transfer: then the
            // replies are out of step. A new session is in step.
            self.state = State::Broken;
            return Err(Error::new(ErrorKind::Lost, "EPSV", reply.to_string()));
        }
        self.server
            .with_profile(|profile| profile.epsv = Some(false));
        Ok(None)
    }
}

/// A connection that no transfer used for this long is closed: pyftpdlib waits 30 s for one to begin.
const LIFE: Duration = Duration::from_secs(25);

/// Wait for the first passive connection of all: as long as a lost packet or two take to be sent again.
const FIRST_WAIT: Duration = Duration::from_secs(5);
