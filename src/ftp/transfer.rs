//! Transfers: what needs a data connection.
//!
//! A transfer's command leaves in one flight with those that have to come before it, and before its data connection is
//! connected, which works on every measured server. On an armed session the first byte comes one round trip later.

use std::pin::pin;
use std::time::Duration;

use tokio::time::timeout;
use tracing::debug;

use super::command::Command;
use super::data::DataStream;
use super::error::{Error, ErrorKind, Result};
use super::passive::Armed;
use super::path::RemotePath;
use super::reply::Reply;
use super::session::{Session, State};
use super::tls::TlsVersion;

/// Whether an upload's bytes may leave before the server has agreed to take them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// Its first reply is waited for.
    Agreed,
    /// They may: what a server that refuses has not taken is lost with the connection.
    Eager,
}

/// A transfer whose command is on its way.
pub(super) struct Launched {
    armed: Armed,
    was_armed: bool,
    pub(super) operation: String,
    /// Commands before the transfer's own that are yet to be answered.
    before: Vec<Command>,
}

/// A transfer that has begun.
pub(super) struct Begun {
    pub(super) stream: DataStream,
    /// What the commands before it were answered.
    pub(super) before: Vec<Reply>,
}

/// Why a transfer did not begin.
pub(super) enum Refusal {
    /// The server's word on the transfer itself.
    Transfer(Reply),
    /// The data connection did not stand: nothing is said about the file.
    Connection(Reply),
}

impl Session {
    /// Starts a download of `file` at byte `offset`, by `REST` and `RETR` (RFC 3659 s5, RFC 959 s4.1.3).
    ///
    /// The session is busy until [`Session::finish`] or [`Session::abandon`].
    ///
    /// # Errors
    /// [`ErrorKind::NotImplemented`] for an `offset` where the server has no `REST`; the session stays usable.
    pub async fn retrieve(&mut self, file: &RemotePath, offset: u64) -> Result<DataStream> {
        let argument = self.argument(file).await?;
        let rest = self.rest(offset).await?;
        let asks = rest.is_some();
        let command = Command::new("RETR", argument);
        let begun = self
            .open(rest.into_iter().collect(), command, Start::Agreed)
            .await?;
        self.stale_rest = false;
        match begun.before.into_iter().next() {
            Some(reply) if asks && !reply.is_intermediate() => {
                // The server sends from the start of the file: not what was asked for.
                self.server
                    .with_profile(|profile| profile.rest = Some(false));
                self.abandon(begun.stream).await;
                Err(Error::new(
                    ErrorKind::NotImplemented,
                    "REST",
                    reply.to_string(),
                ))
            }
            _ => Ok(begun.stream),
        }
    }

    /// `REST offset`, where one is needed: 0 only undoes one left over from a transfer that never came.
    ///
    /// Where it is not known yet whether the server has `REST`, this asks, and the answer holds for the transfer.
    pub(super) async fn rest(&mut self, offset: u64) -> Result<Option<Command>> {
        if offset == 0 && !self.stale_rest {
            return Ok(None);
        }
        let command = Command::new("REST", offset.to_string());
        if self.knows(|profile| profile.rest) == Some(true) {
            return Ok(Some(command));
        }
        let reply = self.exchange(command.clone()).await?;
        let works = reply.is_intermediate();
        self.server
            .with_profile(|profile| profile.rest = Some(works));
        if works {
            // Sent again with the transfer, since `EPSV` may come between.
            return Ok(Some(command));
        }
        Err(Error::new(
            ErrorKind::NotImplemented,
            command.to_string(),
            reply.to_string(),
        ))
    }

    /// Takes the final reply of a transfer whose data connection is closed on our side.
    ///
    /// # Errors
    /// What the server says of the transfer; the session stays usable unless the connection failed.
    pub async fn finish(&mut self, operation: &str) -> Result<Reply> {
        self.finish_and(operation, Vec::new())
            .await
            .map(|(reply, _)| reply)
    }

    /// [`Session::finish`], and then `after`, in one flight where that is possible; the replies to it. Where a reply to
    /// `after` refuses, those behind it may be missing.
    pub(super) async fn finish_and(
        &mut self,
        operation: &str,
        after: Vec<Command>,
    ) -> Result<(Reply, Vec<Reply>)> {
        if self.state != State::Transfer {
            return Err(Error::new(ErrorKind::Lost, operation, "no transfer runs"));
        }
        self.state = State::Broken;
        let patience = self.server.config.timeout;
        for command in std::mem::take(&mut self.owed) {
            let reply = self.control.reply(&command, patience).await?;
            if reply.code == 421 {
                return Err(Error::from_reply(command.to_string(), &reply));
            }
            self.answered.push(reply);
        }
        let queues = self.knows(|profile| profile.queues_commands());
        let mut after = after;
        // Then the next data connection is negotiated by the way.
        let arms = self.arms_by_epsv() && (queues || !after.is_empty());
        if arms {
            after.push(Command::bare("EPSV"));
        }
        let mut queued = 0;
        let mut begun = self.said_begun;
        if queues && self.early_final.is_none() && std::mem::take(&mut self.said_begun) {
            self.control.send(&after, patience).await?;
            queued = after.len();
        }
        let reply = loop {
            let reply = self.next_of_transfer(operation).await?;
            if !reply.is_preliminary() {
                break reply;
            }
            begun = true;
            if queues && queued == 0 {
                // Its 226 waits for our acknowledgement of the 150: the next command brings that at once, and saves
                // its own round trip.
                self.control.send(&after, patience).await?;
                queued = after.len();
            }
        };
        if reply.code == 421 {
            return Err(Error::from_reply(operation, &reply));
        }
        let mut replies = Vec::with_capacity(after.len());
        for command in &after[..queued] {
            let reply = self.control.reply(command, patience).await?;
            if reply.code == 421 {
                return Err(Error::from_reply(operation, &reply));
            }
            replies.push(reply);
        }
        self.state = State::Idle;
        // libunftp begins the next transfer where one began that broke off.
        self.stale_rest |= reply.code >= 400 && self.knows(|profile| profile.rest) == Some(true);
        let ended = match reply.code {
            200..=299 => Ok(reply),
            // In place of the transfer: ProFTPD's word on an `APPE` that it does not allow.
            451 if !begun => Err(Error::from_reply(operation, &reply)),
            // The transfer had begun and did not end: nothing is said about the file. 500 is vsftpd's last word when its
            // process is killed.
            425 | 426 | 451 | 500 | 522 => {
                if self.refuses_data_tls(&reply) {
                    self.state = State::Broken;
                }
                Err(Error::new(ErrorKind::Cut, operation, reply.to_string()))
            }
            _ => Err(Error::from_reply(operation, &reply)),
        };
        if ended.is_ok() && queued < after.len() {
            replies = self.exchange_all(after.clone()).await?;
        }
        if arms
            && replies.len() == after.len()
            && let Some(epsv) = replies.pop()
            && let Some(address) = self.passive_address(&epsv)?
        {
            self.armed = Some(self.connecting(address));
        }
        Ok((ended?, replies))
    }

    /// Whether the server refused an encrypted data connection because it did not resume the control connection's
    /// session (vsftpd 522, ProFTPD and FileZilla 425): this session can make no other.
    fn refuses_data_tls(&self, reply: &Reply) -> bool {
        let tls = self
            .data_tls
            .as_ref()
            .filter(|_| matches!(reply.code, 425 | 522));
        if tls.is_some_and(|tls| tls.version() == TlsVersion::Newest) {
            debug!(session = self.id, %reply, "only its own tickets resume a session");
            self.server
                .with_profile(|profile| profile.own_tickets_only = true);
        }
        tls.is_some()
    }

    /// Stops a download: closes its data connection, takes one reply of any code, and fences with `EPSV`, whose answer
    /// serves the next transfer, or `PWD`.
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
        let arms = !self.is_active()
            && self.knows(|profile| profile.arming != Some(false) && profile.epsv == Some(true));
        let (fence, passes) = match arms {
            true => (Command::bare("EPSV"), 229),
            false => (Command::bare("PWD"), 257),
        };
        let fenced = async {
            self.next_of_transfer("stopped download").await?;
            self.control
                .send(std::slice::from_ref(&fence), FENCE_PATIENCE)
                .await?;
            for _ in 0..3 {
                let reply = self.control.reply(&fence, FENCE_PATIENCE).await?;
                if reply.code == passes {
                    return Ok(reply);
                }
            }
            Err(Error::new(
                ErrorKind::Protocol,
                fence.to_string(),
                "no answer after a stopped download",
            ))
        };
        match timeout(FENCE_PATIENCE, fenced).await {
            Ok(Ok(reply)) => {
                self.state = State::Idle;
                if arms && let Ok(Some(address)) = self.passive_address(&reply) {
                    self.armed = Some(self.connecting(address));
                }
            }
            Ok(Err(error)) => {
                debug!(session = self.id, %error, "session lost after a stopped download")
            }
            Err(_) => debug!(
                session = self.id,
                "session lost after a stopped download: no answer"
            ),
        }
    }

    async fn next_of_transfer(&mut self, operation: &str) -> Result<Reply> {
        match self.early_final.take() {
            Some(reply) => Ok(reply),
            None => {
                self.control
                    .reply(&operation, self.server.config.timeout)
                    .await
            }
        }
    }

    /// Starts the transfer of `command`, with `before` sent ahead of it in the same flight where the server copes.
    ///
    /// Whatever `before` is answered, the transfer begins, or is refused by its own reply; but where the commands went
    /// one by one, it does not begin after one that was refused.
    pub(super) async fn begin_transfer(
        &mut self,
        before: Vec<Command>,
        command: Command,
    ) -> Result<Begun> {
        self.open(before, command, Start::Agreed).await
    }

    pub(super) async fn open(
        &mut self,
        before: Vec<Command>,
        command: Command,
        start: Start,
    ) -> Result<Begun> {
        let active = self.is_active();
        self.unconnected = false;
        let mut opened = self
            .open_by(active, before.clone(), command.clone(), start)
            .await;
        if opened.is_ok() || self.unconnected {
            self.learn_direction(active, opened.is_ok());
        }
        // Refused, and another way is left. Where the connection was tried in vain, that takes a new session.
        if opened.is_err() && !active && self.is_active() && self.state == State::Idle {
            opened = self.open_by(true, before, command, start).await;
            self.learn_direction(true, opened.is_ok());
        }
        opened
    }

    async fn open_by(
        &mut self,
        active: bool,
        before: Vec<Command>,
        command: Command,
        start: Start,
    ) -> Result<Begun> {
        if before.iter().any(|command| command.verb() == "REST") {
            self.stale_rest = true;
        }
        // libunftp may say 226 to bytes that came early, and 150 after that.
        let in_order = !self.knows(|profile| profile.is_unordered());
        let eager = start == Start::Eager && self.data_tls.is_none() && in_order && !active;
        self.answered.clear();
        loop {
            let (launched, answered) = self.launch(before.clone(), command.clone()).await?;
            // After a REST nothing may be sent that would stand at the wrong place.
            if eager
                && launched
                    .before
                    .iter()
                    .all(|command| command.verb() != "REST")
            {
                self.answered = answered;
                let stream = self.connect_eagerly(launched).await?;
                return Ok(Begun {
                    stream,
                    before: Vec::new(),
                });
            }
            let (was_armed, operation) = (launched.was_armed, launched.operation.clone());
            match self.race(launched).await? {
                Ok(mut begun) => {
                    begun.before.splice(..0, answered);
                    return Ok(begun);
                }
                // An armed connection that the server, or something between, has given up: one of now will do.
                Err(Refusal::Connection(reply)) if was_armed => {
                    debug!(session = self.id, %reply, "armed connection refused");
                }
                Err(Refusal::Connection(reply) | Refusal::Transfer(reply)) => {
                    if self.refuses_data_tls(&reply) {
                        self.state = State::Broken;
                        return Err(Error::new(ErrorKind::Lost, operation, reply.to_string()));
                    }
                    return Err(Error::from_reply(operation, &reply));
                }
            }
        }
    }

    /// Sends `before` and `command`, with a data connection on its way for it; what is answered already.
    ///
    /// Only `REST` must directly precede the transfer; what else is in `before` may have `EPSV` behind it.
    async fn launch(
        &mut self,
        before: Vec<Command>,
        command: Command,
    ) -> Result<(Launched, Vec<Reply>)> {
        let pipelines = self.may_pipeline().await?;
        let was_armed = self.is_armed();
        let (mut early, late): (Vec<Command>, Vec<Command>) = before
            .into_iter()
            .partition(|command| command.verb() != "REST");
        let mut answered = Vec::new();
        let mut flight = Vec::new();
        if was_armed && pipelines {
            flight.append(&mut early);
        }
        let count = early.len();
        let mut address = None;
        if let (true, false, Some(epsv)) = (pipelines && count > 0, was_armed, self.epsv()) {
            early.push(epsv);
        }
        if count > 0 {
            answered = self.exchange_all(early.clone()).await?;
            if answered.len() > count
                && let Some(reply) = answered.pop()
            {
                address = self.passive_address(&reply)?;
            }
            if let Some((command, reply)) = early
                .iter()
                .zip(&answered)
                .find(|(_, reply)| reply.code >= 400)
            {
                return Err(Error::from_reply(command.to_string(), reply));
            }
        }
        let armed = match (self.armed.take(), address) {
            (Some(armed), _) => armed,
            (None, address) => {
                let negotiated = match address {
                    Some(address) => Ok(self.connecting(address)),
                    None => self.data_connection().await,
                };
                // A server that refuses both commands has no such connections.
                self.unconnected |= negotiated.as_ref().is_err_and(Error::is_refusal);
                negotiated?
            }
        };
        // Where they run side by side, the transfer may begin before its offset is taken: at the start of the file then.
        if !pipelines && !late.is_empty() {
            let replies = self.exchange_all(late.clone()).await?;
            let refused = late
                .iter()
                .zip(&replies)
                .find(|(_, reply)| reply.code >= 400);
            if let Some((command, reply)) = refused {
                return Err(Error::from_reply(command.to_string(), reply));
            }
            answered.extend(replies);
        } else {
            flight.extend(late);
        }
        let launched = self.send_flight(armed, was_armed, flight, command).await?;
        Ok((launched, answered))
    }

    /// Sends `before` and `command`, whose transfer will use `armed`.
    pub(super) async fn send_flight(
        &mut self,
        armed: Armed,
        was_armed: bool,
        before: Vec<Command>,
        command: Command,
    ) -> Result<Launched> {
        self.begin(&command)?;
        let operation = command.to_string();
        let flight = [before.clone(), vec![command]].concat();
        self.control
            .send(&flight, self.server.config.timeout)
            .await?;
        Ok(Launched {
            armed,
            was_armed,
            operation,
            before,
        })
    }

    /// Waits for the data connection alone: what the server says is heard at the end.
    async fn connect_eagerly(&mut self, launched: Launched) -> Result<DataStream> {
        self.owed = launched.before;
        let tcp = launched.armed.connected().await;
        self.unconnected |= tcp.is_err();
        let patience = self.patience();
        let stream = match tcp {
            Ok(tcp) => DataStream::over(tcp, None, self.server.paces.clone(), patience).await,
            Err(error) if !self.owed.is_empty() => Err(error),
            // A server that refuses the command may close its data port before we see its reply.
            Err(error) => {
                let reply = self.control.reply(&launched.operation, REFUSAL_PATIENCE);
                match reply.await {
                    Ok(reply) if reply.code >= 400 && reply.code != 421 => {
                        self.state = State::Idle;
                        Err(Error::from_reply(&launched.operation, &reply))
                    }
                    _ => Err(error),
                }
            }
        }?;
        self.said_begun = false;
        self.state = State::Transfer;
        Ok(stream)
    }

    /// Waits for the data connection and the replies to `launched`, whichever comes first.
    pub(super) async fn race(
        &mut self,
        launched: Launched,
    ) -> Result<std::result::Result<Begun, Refusal>> {
        let (connect_patience, patience) = self.patience();
        let tls = self.data_tls.clone();
        let paces = self.server.paces.clone();
        let Launched {
            armed,
            was_armed,
            operation,
            before,
        } = launched;
        let Self {
            server,
            control,
            state,
            early_final,
            said_begun,
            unconnected,
            ..
        } = self;
        let mut connect = pin!(async {
            let tcp = armed.connected().await?;
            DataStream::over(tcp, tls, paces, (connect_patience, patience)).await
        });
        let mut replies = pin!(async {
            let mut answered = Vec::with_capacity(before.len());
            for command in &before {
                let reply = control.reply(command, patience).await?;
                if reply.code == 421 {
                    return Err(Error::from_reply(command.to_string(), &reply));
                }
                answered.push(reply);
            }
            Ok::<_, Error>((answered, control.reply(&operation, patience).await?))
        });
        let mut stream = None;
        let (answered, reply) = loop {
            tokio::select! {
                biased;
                outcome = &mut replies => break outcome?,
                outcome = &mut connect, if stream.is_none() => match outcome {
                    Ok(connected) => stream = Some(connected),
                    // A server that refuses the command may close its data port before we see its reply.
                    Err(error) => match timeout(REFUSAL_PATIENCE, &mut replies).await {
                        Ok(Ok(refused @ (_, Reply { code: 400.., .. }))) => break refused,
                        _ => {
                            *unconnected = true;
                            return Err(error);
                        }
                    },
                },
            }
        };
        if reply.code == 421 {
            return Err(Error::from_reply(&*operation, &reply));
        }
        if reply.code >= 400 {
            *state = State::Idle;
            *unconnected = reply.code == 425;
            // 425 and 426 are about the connection; an armed one may be the reason.
            return Ok(Err(match reply.code {
                425 | 426 if was_armed => Refusal::Connection(reply),
                _ => Refusal::Transfer(reply),
            }));
        }
        // Only 226 was ever seen without a reply before it. 250 is the answer to another command that came twice.
        if !reply.is_preliminary() && reply.code != 226 {
            return Err(Error::new(
                ErrorKind::Protocol,
                &*operation,
                reply.to_string(),
            ));
        }
        let stream = match stream {
            Some(stream) => stream,
            None => connect.await.inspect_err(|_| *unconnected = true)?,
        };
        if let Some(encryption) = stream.encryption() {
            server.with_profile(|profile| profile.resumes_tls = Some(encryption.resumed));
        }
        *said_begun = reply.is_preliminary();
        if !*said_begun {
            *early_final = Some(reply);
        }
        *state = State::Transfer;
        Ok(Ok(Begun {
            stream,
            before: answered,
        }))
    }

    /// Longest waits: for a connection, and for an answer or progress.
    fn patience(&self) -> (Duration, Duration) {
        let config = &self.server.config;
        (config.connect_timeout, config.timeout)
    }
}

/// Wait for the final reply and the fence of a stopped download; ftp-srv often never answers.
const FENCE_PATIENCE: Duration = Duration::from_secs(3);

/// Wait for the reply that explains a refused data connection.
const REFUSAL_PATIENCE: Duration = Duration::from_secs(2);
