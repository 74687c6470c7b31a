//! Transfers and listings: what needs a data connection.

use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::BytesMut;

use tokio::time::timeout;
use tracing::debug;

use super::command::Command;
use super::config::{PasvAddress, ServerConfig};
use super::data::DataStream;
use super::error::{Error, ErrorKind, Result};
use super::list::{Entry, Kind, Parsed, Precision, parse_list, parse_mlsd};
use super::path::RemotePath;
use super::reply::{Reply, parse_epsv, parse_pasv};
use super::session::{Session, State};
use super::time::{Zone, parse_time_val};
use super::tls::TlsVersion;

/// A folder as the server listed it.
#[derive(Clone, Debug)]
pub struct Listing {
    /// What is in it.
    pub entries: Vec<Entry>,
    /// Whether a name that is not there does not exist: `false` where the server cut the listing, or lines of it could
    /// not be read.
    pub complete: bool,
}

impl Session {
    /// Lists `dir` by `CWD` and a bare `MLSD`, or `LIST`.
    ///
    /// No listing command is given a path: servers split it at spaces, expand it, or take it for options.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] from the `CWD` if there is no such folder; never an empty listing in place of an error.
    pub async fn list(&mut self, dir: &RemotePath) -> Result<Listing> {
        let argument = self.argument(dir).await?;
        self.perform(Command::new("CWD", argument)).await?;
        if self.knows(|profile| profile.mlsd) != Some(false) {
            match self.list_by(Command::bare("MLSD")).await {
                Ok((body, _)) if body.last().is_some_and(|&last| last != b'\n') => {
                    // Every line has an end (RFC 3659 s7.2), whatever the reply says.
                    let detail = "the listing ends within a line";
                    return Err(Error::new(ErrorKind::Cut, format!("MLSD of {dir}"), detail));
                }
                Ok((body, reply)) => {
                    self.server
                        .with_profile(|profile| profile.mlsd = Some(true));
                    return finish_listing(dir, parse_mlsd(&body), &reply);
                }
                Err(error) if error.kind == ErrorKind::NotImplemented => {
                    self.server
                        .with_profile(|profile| profile.mlsd = Some(false));
                }
                Err(error) => return Err(error),
            }
        }
        if self.knows(|profile| profile.list_all) != Some(false) {
            match self.list_by(Command::new("LIST", "-a")).await {
                Ok((body, reply)) => {
                    let parsed = self.parse_list(dir, &body).await?;
                    if parsed.has_dot {
                        self.server
                            .with_profile(|profile| profile.list_all = Some(true));
                        return finish_listing(dir, parsed, &reply);
                    }
                    self.server
                        .with_profile(|profile| profile.list_all = Some(false));
                }
                Err(error) if error.is_refusal() => {
                    self.server
                        .with_profile(|profile| profile.list_all = Some(false));
                }
                Err(error) => return Err(error),
            }
        }
        let (body, reply) = self.list_by(Command::bare("LIST")).await?;
        let parsed = self.parse_list(dir, &body).await?;
        finish_listing(dir, parsed, &reply)
    }

    /// Names of the symbolic links in `dir` and where they point, by `LIST`: most servers' `MLSD` does not say.
    pub async fn link_targets(&mut self, dir: &RemotePath) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let argument = self.argument(dir).await?;
        self.perform(Command::new("CWD", argument)).await?;
        let body = match self.list_by(Command::new("LIST", "-a")).await {
            Ok((body, _)) if !body.is_empty() => body,
            Err(error) if !error.is_refusal() => return Err(error),
            _ => self.list_by(Command::bare("LIST")).await?.0,
        };
        let entries = parse_list(&body, &Zone::UTC, 0).entries;
        Ok(entries
            .into_iter()
            .filter_map(|entry| Some((entry.name, entry.target?)))
            .collect())
    }

    /// Starts a download of `file` at byte `offset`, by `REST` and `RETR` (RFC 3659 s5, RFC 959 s4.1.3).
    ///
    /// The session is busy until [`Session::finish`] or [`Session::abandon`].
    ///
    /// # Errors
    /// [`ErrorKind::NotImplemented`] for an `offset` where the server has no `REST`; the session stays usable.
    pub async fn retrieve(&mut self, file: &RemotePath, offset: u64) -> Result<DataStream> {
        let argument = self.argument(file).await?;
        self.open(Some(offset), Command::new("RETR", argument))
            .await
    }

    /// Starts an upload that makes or replaces `file`.
    pub async fn store(&mut self, file: &RemotePath) -> Result<DataStream> {
        let argument = self.argument(file).await?;
        self.open(Some(0), Command::new("STOR", argument)).await
    }

    /// Starts an upload that adds to the end of `file`. Only where it was proved that `APPE` appends.
    pub async fn append(&mut self, file: &RemotePath) -> Result<DataStream> {
        let argument = self.argument(file).await?;
        self.open(Some(0), Command::new("APPE", argument)).await
    }

    /// Takes the final reply of a transfer whose data connection is closed on our side.
    ///
    /// # Errors
    /// What the server says of the transfer; the session stays usable unless the connection failed.
    pub async fn finish(&mut self, operation: &str) -> Result<Reply> {
        if self.state != State::Transfer {
            return Err(Error::new(ErrorKind::Lost, operation, "no transfer runs"));
        }
        self.state = State::Broken;
        let mut reply = self.final_reply(operation).await?;
        while reply.is_preliminary() {
            reply = self.final_reply(operation).await?;
        }
        if reply.code == 421 {
            return Err(Error::from_reply(operation, &reply));
        }
        self.state = State::Idle;
        match reply.code {
            200..=299 => Ok(reply),
            // The transfer had begun and did not end: nothing is said about the file. 500 is vsftpd's last word when its
            // process is killed.
            425 | 426 | 451 | 500 | 522 => {
                if self.refuses_data_tls(&reply) {
                    self.state = State::Broken;
                }
                Err(Error::new(ErrorKind::Cut, operation, reply.to_string()))
            }
            _ => Err(Error::from_reply(operation, &reply)),
        }
    }

    /// Whether the server refused an encrypted data connection because it did not resume the control connection's
    /// session (vsftpd 522, ProFTPD and FileZilla 425): new sessions use a TLS that can, and this one is given up.
    fn refuses_data_tls(&self, reply: &Reply) -> bool {
        let refuses = self.data_tls.is_some() && matches!(reply.code, 425 | 522);
        if refuses {
            debug!(session = self.id, %reply, "new sessions use TLS 1.2");
            self.server
                .with_profile(|profile| profile.tls_version = TlsVersion::Resumable);
        }
        refuses
    }

    /// Stops a download: closes its data connection, takes one reply of any code, and fences with `PWD`.
    ///
    /// `ABOR` is never sent: servers answer it late, twice, or by closing. If the fence does not come back the session
    /// is left unusable.
    pub async fn abandon(&mut self, stream: DataStream) {
        drop(stream);
        self.state = State::Broken;
        if self.knows(|profile| profile.is_unordered()) {
            // No fence holds where replies overtake each other.
            return;
        }
        let fenced = async {
            self.final_reply("stopped download").await?;
            let fence = Command::bare("PWD");
            self.control
                .send(std::slice::from_ref(&fence), FENCE_PATIENCE)
                .await?;
            for _ in 0..3 {
                if self.control.reply(&fence, FENCE_PATIENCE).await?.code == 257 {
                    return Ok(());
                }
            }
            Err(Error::new(
                ErrorKind::Protocol,
                "PWD",
                "no answer after a stopped download",
            ))
        };
        match timeout(FENCE_PATIENCE, fenced).await {
            Ok(Ok(())) => self.state = State::Idle,
            Ok(Err(error)) => {
                debug!(session = self.id, %error, "session lost after a stopped download")
            }
            Err(_) => debug!(
                session = self.id,
                "session lost after a stopped download: no answer"
            ),
        }
    }

    async fn final_reply(&mut self, operation: &str) -> Result<Reply> {
        match self.early_final.take() {
            Some(reply) => Ok(reply),
            None => {
                self.control
                    .reply(&operation, self.server.config.timeout)
                    .await
            }
        }
    }

    /// Opens a passive data connection, and starts the transfer of `command` on it.
    ///
    /// The command goes out before the data connection is connected, which saves a round trip and works on every
    /// measured server. `offset` is for transfers that obey `REST`; 0 also undoes a `REST` left over.
    async fn open(&mut self, offset: Option<u64>, command: Command) -> Result<DataStream> {
        let operation = command.to_string();
        let address = self.passive().await?;
        let rest = match offset {
            Some(0) if self.stale_rest => Some(Command::new("REST", "0")),
            Some(0) | None => None,
            Some(offset) => Some(Command::new("REST", offset.to_string())),
        };
        let mut flight = Vec::new();
        if let Some(rest) = rest {
            if self.knows(|profile| profile.rest) == Some(true) {
                flight.push(rest);
            } else {
                let reply = self.exchange(rest.clone()).await?;
                if !reply.is_intermediate() {
                    self.server
                        .with_profile(|profile| profile.rest = Some(false));
                    return Err(Error::new(
                        ErrorKind::NotImplemented,
                        rest.to_string(),
                        reply.to_string(),
                    ));
                }
                self.server
                    .with_profile(|profile| profile.rest = Some(true));
            }
            self.stale_rest = true;
        }
        flight.push(command);
        let (stream, refused_rest) = match self.race(&flight, &operation, address).await? {
            Ok(started) => started,
            Err(reply) if self.refuses_data_tls(&reply) => {
                self.state = State::Broken;
                return Err(Error::new(ErrorKind::Lost, operation, reply.to_string()));
            }
            Err(reply) => return Err(Error::from_reply(operation, &reply)),
        };
        if let Some(reply) = refused_rest {
            // The server sends from the start of the file: not what was asked for.
            self.server
                .with_profile(|profile| profile.rest = Some(false));
            self.stale_rest = false;
            self.abandon(stream).await;
            return Err(Error::new(
                ErrorKind::NotImplemented,
                "REST",
                reply.to_string(),
            ));
        }
        self.stale_rest = false;
        Ok(stream)
    }

    /// Sends `flight`, whose last command starts a transfer, and connects to `address` meanwhile: the data connection,
    /// and the reply that refused a `REST` at the head of the flight; or the reply that refused the transfer.
    async fn race(
        &mut self,
        flight: &[Command],
        operation: &String,
        address: SocketAddr,
    ) -> Result<Started> {
        if self.state != State::Idle {
            return Err(Error::new(
                ErrorKind::Lost,
                operation,
                "the session is busy or gone",
            ));
        }
        self.state = State::Broken;
        let ServerConfig {
            timeout: patience,
            connect_timeout,
            ..
        } = self.server.config;
        self.control.send(flight, patience).await?;
        let tls = self.data_tls.clone();
        let Self {
            control,
            state,
            early_final,
            ..
        } = self;
        let mut connect = pin!(DataStream::connect(address, tls, connect_timeout, patience));
        let mut replies = pin!(async {
            let mut refused_rest = None;
            if flight.len() > 1 {
                let reply = control.reply(&flight[0], patience).await?;
                if !reply.is_intermediate() {
                    refused_rest = Some(reply);
                }
            }
            Ok::<_, Error>((refused_rest, control.reply(operation, patience).await?))
        });
        let mut stream = None;
        let (refused_rest, reply) = loop {
            tokio::select! {
                biased;
                outcome = &mut replies => break outcome?,
                outcome = &mut connect, if stream.is_none() => match outcome {
                    Ok(connected) => stream = Some(connected),
                    // A server that refuses the command may close its data port before we see its reply.
                    Err(error) => match timeout(REFUSAL_PATIENCE, &mut replies).await {
                        Ok(Ok((_, reply))) if reply.code >= 400 && reply.code != 421 => {
                            *state = State::Idle;
                            return Ok(Err(reply));
                        }
                        _ => return Err(error),
                    },
                },
            }
        };
        if reply.code == 421 {
            return Err(Error::from_reply(operation, &reply));
        }
        if reply.code >= 400 {
            *state = State::Idle;
            return Ok(Err(reply));
        }
        let stream = match stream {
            Some(stream) => stream,
            None => connect.await?,
        };
        if !reply.is_preliminary() {
            *early_final = Some(reply);
        }
        *state = State::Transfer;
        Ok(Ok((stream, refused_rest)))
    }

    /// Where the server waits for a data connection: `EPSV` (RFC 2428), or `PASV` where that is refused.
    async fn passive(&mut self) -> Result<SocketAddr> {
        let peer = self.control.peer();
        if self.knows(|profile| profile.epsv) != Some(false) {
            let reply = self.exchange(Command::bare("EPSV")).await?;
            if reply.code == 229 {
                self.server
                    .with_profile(|profile| profile.epsv = Some(true));
                let port = parse_epsv(reply.last())
                    .ok_or_else(|| Error::protocol("EPSV", "no port in the reply", reply.last()))?;
                return Ok(SocketAddr::new(peer.ip(), port));
            }
            if reply.code < 500 {
                // libunftp 0.24 found no free port, or says here what it still owed to an earlier transfer: then the
                // replies are out of step. A new session is in step.
                self.state = State::Broken;
                return Err(Error::new(ErrorKind::Lost, "EPSV", reply.to_string()));
            }
            self.server
                .with_profile(|profile| profile.epsv = Some(false));
        }
        let reply = self.exchange(Command::bare("PASV")).await?;
        if reply.code != 227 {
            return Err(Error::from_reply("PASV", &reply));
        }
        let (address, port) = parse_pasv(reply.last())
            .ok_or_else(|| Error::protocol("PASV", "no address in the reply", reply.last()))?;
        let ip = match self.server.config.pasv_address {
            PasvAddress::Reply => IpAddr::V4(address),
            PasvAddress::Control => peer.ip(),
        };
        Ok(SocketAddr::new(ip, port))
    }

    /// The whole answer of a listing command, and its final reply.
    async fn list_by(&mut self, command: Command) -> Result<(BytesMut, Reply)> {
        let operation = command.to_string();
        let mut stream = match self.open(None, command).await {
            // Several servers answer 450 or 550 for a folder without files; that it is there was said to the `CWD`.
            Err(error)
                if error.is_refusal()
                    && error.detail().to_ascii_lowercase().contains("no files") =>
            {
                let reply = Reply {
                    code: 226,
                    lines: vec![error.detail().as_bytes().to_vec()],
                };
                return Ok((BytesMut::new(), reply));
            }
            outcome => outcome?,
        };
        let mut body = BytesMut::new();
        loop {
            body.reserve(64 << 10);
            if stream.receive(&mut body).await? == 0 {
                break;
            }
            if body.len() > LONGEST_LISTING {
                return Err(Error::new(
                    ErrorKind::Protocol,
                    operation,
                    "the listing has no end",
                ));
            }
        }
        stream.close_receiving().await;
        let reply = self.finish(&operation).await?;
        Ok((body, reply))
    }

    /// Reads a `LIST`, finding the zone of its times first where that is still unknown.
    async fn parse_list(&mut self, dir: &RemotePath, body: &[u8]) -> Result<Parsed> {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs() as i64);
        if let Some(zone) = self.server.with_profile(|profile| profile.zone.clone()) {
            return Ok(parse_list(body, &zone, now));
        }
        let parsed = parse_list(body, &Zone::UTC, now);
        match self.find_zone(dir, &parsed.entries).await? {
            None => Ok(parsed),
            Some(zone) => Ok(parse_list(body, &zone, now)),
        }
    }

    /// Compares one file's time in a listing read as UTC with its `MDTM`, which is UTC by RFC 3659.
    async fn find_zone(&mut self, dir: &RemotePath, entries: &[Entry]) -> Result<Option<Zone>> {
        if self.knows(|profile| profile.mdtm) == Some(false) {
            return Ok(None);
        }
        let dated = |entry: &&Entry| {
            entry.kind == Kind::File
                && entry
                    .modified
                    .is_some_and(|time| time.precision >= Precision::Minute)
        };
        let Some((entry, listed)) = entries
            .iter()
            .find(dated)
            .and_then(|entry| Some((entry, entry.modified?)))
        else {
            return Ok(None);
        };
        let path = dir.join(&entry.name);
        let Some(modified) = self
            .modified(std::slice::from_ref(&path))
            .await?
            .pop()
            .flatten()
        else {
            return Ok(None);
        };
        // Zones differ from UTC by whole quarters of an hour; a year wrongly guessed is no zone.
        let difference = listed.seconds - modified;
        let offset = (difference + QUARTER / 2).div_euclid(QUARTER) * QUARTER;
        if offset.abs() > 14 * 3600 || (difference - offset).abs() > 60 {
            return Ok(None);
        }
        debug!(offset, "zone of the server's listings, seconds east of UTC");
        let zone = Zone::Offset(offset as i32);
        self.server
            .with_profile(|profile| profile.zone = Some(zone.clone()));
        Ok(Some(zone))
    }

    /// The exact times of modification of `files` by `MDTM`, Unix seconds; `None` where the server does not say.
    pub async fn modified(&mut self, files: &[RemotePath]) -> Result<Vec<Option<i64>>> {
        let mut times = Vec::with_capacity(files.len());
        let mut rest = files;
        // One by one an exchange ends at the first refusal (a folder, a file just gone): go on after it.
        while !rest.is_empty() {
            if self.knows(|profile| profile.mdtm) == Some(false) {
                times.resize(files.len(), None);
                break;
            }
            let mut commands = Vec::with_capacity(rest.len());
            for file in rest {
                commands.push(Command::new("MDTM", self.argument(file).await?));
                // A long path moved the working folder: nothing else may be in its flight.
                if file.as_bytes().len() != commands.last().map_or(0, Command::argument_length) {
                    break;
                }
            }
            let replies = self.exchange_all(commands).await?;
            for reply in &replies {
                if matches!(reply.code, 500 | 502 | 504) {
                    self.server
                        .with_profile(|profile| profile.mdtm = Some(false));
                }
                times.push(if reply.code == 213 {
                    parse_time_val(reply.last().trim_ascii())
                } else {
                    None
                });
            }
            rest = &rest[replies.len()..];
        }
        Ok(times)
    }
}

/// A transfer that has begun, with the reply that refused its `REST`; or the reply that refused it.
type Started = std::result::Result<(DataStream, Option<Reply>), Reply>;

/// The entries, unless nothing of the listing could be read: that must not look like an empty folder.
fn finish_listing(dir: &RemotePath, parsed: Parsed, reply: &Reply) -> Result<Listing> {
    if let (true, Some(line)) = (
        parsed.entries.is_empty() && !parsed.has_dot,
        &parsed.first_unreadable,
    ) {
        return Err(Error::protocol(
            format!("list {dir}"),
            "the listing was not understood",
            line,
        ));
    }
    if parsed.unreadable > 0 {
        debug!(%dir, lines = parsed.unreadable, "lines of the listing were not understood");
    }
    // Pure-FTPd ends a listing at its limit, and says so only here.
    let complete = parsed.unreadable == 0 && !reply.says("truncated");
    Ok(Listing {
        entries: parsed.entries,
        complete,
    })
}

/// Longest listing taken: a million long lines.
const LONGEST_LISTING: usize = 256 << 20;

/// Wait for the final reply and the fence of a stopped download; ftp-srv often never answers.
const FENCE_PATIENCE: Duration = Duration::from_secs(3);

/// Wait for the reply that explains a refused data connection.
const REFUSAL_PATIENCE: Duration = Duration::from_secs(2);

/// Seconds in a quarter of an hour.
const QUARTER: i64 = 15 * 60;
