//! A session: one logged-in control connection, with one method for each operation.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::sleep;
use tracing::{debug, warn};

use super::command::Command;
use super::config::TlsMode;
use super::control::Control;
use super::error::{Error, ErrorKind, Result};
use super::passive::Armed;
use super::path::{RemotePath, printable};
use super::reply::{Reply, parse_quoted_path};
use super::server::Server;
use super::tls::{Encryption, TlsClient, TlsVersion};

/// One logged-in control connection.
#[derive(Debug)]
pub struct Session {
    /// Number of the session in the log.
    pub id: u64,
    pub(super) server: Arc<Server>,
    pub(super) control: Control,
    /// For the data connections, where they are encrypted.
    pub(super) data_tls: Option<TlsClient>,
    pub(super) state: State,
    /// The running transfer's preliminary reply was taken.
    pub(super) said_begun: bool,
    /// Commands ahead of the running transfer whose replies are not taken yet, and the replies that are.
    pub(super) owed: Vec<Command>,
    pub(super) answered: Vec<Reply>,
    /// A final reply that came in place of a preliminary one.
    pub(super) early_final: Option<Reply>,
    /// A `REST` was sent and no transfer took it: some servers would apply it to the next one.
    pub(super) stale_rest: bool,
    /// The last transfer did not begin for want of a data connection.
    pub(super) unconnected: bool,
    /// The data connection that the next transfer will use.
    pub(super) armed: Option<Armed>,
}

/// What a session can be used for next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing is outstanding.
    Idle,
    /// A transfer runs: the server is deaf until its final reply.
    Transfer,
    /// Unknown: an answer is outstanding or the connection is gone.
    Broken,
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

impl Session {
    /// Connects, encrypts and logs in.
    ///
    /// # Errors
    /// [`ErrorKind::TooManySessions`] where the server says so, [`ErrorKind::Login`], [`ErrorKind::Tls`], and what a
    /// connection can fail by.
    pub async fn connect(server: Arc<Server>) -> Result<Self> {
        let version = server.with_profile(|profile| profile.tls_version);
        match Self::connect_by(server.clone(), version).await {
            Err(error)
                if error.kind == ErrorKind::TlsVersion && version == TlsVersion::Resumable =>
            {
                let session = Self::connect_by(server.clone(), TlsVersion::Newest).await?;
                server.with_profile(|profile| profile.tls_version = TlsVersion::Newest);
                Ok(session)
            }
            // It may have taken the handshake for a command: next time it gets longer.
            Err(error)
                if error.kind == ErrorKind::TlsGarbled
                    && !server.with_profile(|profile| profile.slow_tls) =>
            {
                server.with_profile(|profile| profile.slow_tls = true);
                Self::connect_by(server, version).await
            }
            outcome => outcome,
        }
    }

    async fn connect_by(server: Arc<Server>, version: TlsVersion) -> Result<Self> {
        let config = &server.config;
        let patience = config.timeout;
        let tls = server.tls.as_ref().map(|tls| tls.for_session(version));
        let mut control = Control::connect(
            &config.host,
            config.port,
            &config.route,
            config.connect_timeout,
            server.paces.clone(),
        )
        .await?;
        server.with_profile(|profile| {
            let took = profile.round_trip.unwrap_or(Duration::MAX);
            profile.round_trip = Some(took.min(control.round_trip()));
        });
        if let (TlsMode::Implicit, Some(tls)) = (config.tls, &tls) {
            control = control.secure(&tls.control, config.connect_timeout).await?;
        }
        let mut greeting = control.greeting(patience).await?;
        while greeting.is_preliminary() {
            greeting = control.reply(&"greeting", patience).await?;
        }
        match greeting.code {
            code if code / 100 == 2 => {}
            421 | 530 => {
                return Err(Error::new(
                    ErrorKind::TooManySessions,
                    "greeting",
                    greeting.to_string(),
                ));
            }
            _ => {
                return Err(Error::new(
                    ErrorKind::Protocol,
                    "greeting",
                    greeting.to_string(),
                ));
            }
        }
        if let (TlsMode::Auto | TlsMode::Explicit, Some(tls)) = (config.tls, &tls) {
            control = Self::start_tls(&server, control, &tls.control).await?;
        }
        let secure = control.is_secure();
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        let mut session = Self {
            id,
            server: server.clone(),
            control,
            data_tls: tls
                .filter(|_| secure && config.private_data)
                .map(|tls| tls.data),
            state: State::Idle,
            said_begun: false,
            owed: Vec::new(),
            answered: Vec::new(),
            early_final: None,
            stale_rest: false,
            unconnected: false,
            armed: None,
        };
        session.login().await?;
        session.prepare(&greeting).await?;
        server.secured.get_or_init(|| secure);
        debug!(session = id, secure, "logged in");
        Ok(session)
    }

    /// The address of the other end: the server's, or its proxy's.
    pub fn peer(&self) -> SocketAddr {
        self.control.peer()
    }

    /// How the control connection is encrypted, if it is.
    pub fn encryption(&self) -> Option<Encryption> {
        self.control.encryption()
    }

    /// Whether nothing is outstanding, so that another may use it.
    pub fn is_idle(&self) -> bool {
        self.state == State::Idle
    }

    /// Why this idle session is of no use any more: the server ended it, or would take no data connection.
    pub fn ended(&self) -> Option<Error> {
        if self.is_used_up() {
            let detail = "no ticket is left to resume its TLS session with";
            return Some(Error::new(ErrorKind::Lost, "idle session", detail));
        }
        self.control.ended()
    }

    /// Whether the server would refuse the next data connection, since it could not resume the TLS session.
    pub(super) fn is_used_up(&self) -> bool {
        let tls = self.data_tls.as_ref();
        self.knows(|profile| profile.own_tickets_only) && tls.is_some_and(TlsClient::is_used_up)
    }

    /// What all sessions share.
    pub fn server(&self) -> &Arc<Server> {
        &self.server
    }

    /// Sends one command and takes its reply, whatever it says.
    ///
    /// # Errors
    /// Only what the connection can fail by; a 421 is [`ErrorKind::Lost`], since the server closes after it.
    ///
    /// Not cancel safe: dropped, the session is no longer idle.
    pub(super) async fn exchange(&mut self, command: Command) -> Result<Reply> {
        self.begin(&command)?;
        let patience = self.server.config.timeout;
        self.control
            .send(std::slice::from_ref(&command), patience)
            .await?;
        let reply = self.control.reply(&command, patience).await?;
        self.settle(&command, &reply)?;
        Ok(reply)
    }

    /// Sends `commands`, and takes their replies: in one flight where the server is known to cope, else one by one.
    ///
    /// One by one, it ends at the first reply that refuses. In one flight, all are answered.
    pub(super) async fn exchange_all(&mut self, commands: Vec<Command>) -> Result<Vec<Reply>> {
        let mut replies = Vec::with_capacity(commands.len());
        if commands.len() < 2 || !self.may_pipeline().await? {
            for command in commands {
                let reply = self.exchange(command).await?;
                let refused = reply.code >= 400;
                replies.push(reply);
                if refused {
                    break;
                }
            }
            return Ok(replies);
        }
        let patience = self.server.config.timeout;
        for flight in commands.chunks(FLIGHT) {
            self.begin(&flight[0])?;
            self.control.send(flight, patience).await?;
            for command in flight {
                let reply = self.control.reply(command, patience).await?;
                if reply.code == 421 {
                    self.settle(command, &reply)?;
                }
                replies.push(reply);
            }
            self.state = State::Idle;
        }
        Ok(replies)
    }

    /// Sends one command that must be answered by 2xx.
    pub(super) async fn perform(&mut self, command: Command) -> Result<Reply> {
        let operation = command.to_string();
        let reply = self.exchange(command).await?;
        if reply.is_success() {
            Ok(reply)
        } else {
            Err(Error::from_reply(operation, &reply))
        }
    }

    /// Asks whether several commands in one write are all answered, in order; once for each server.
    ///
    /// uftpd answers only the first; libunftp and aioftp run commands side by side and are told by their FEAT.
    pub(super) async fn may_pipeline(&mut self) -> Result<bool> {
        if let Some(known) = self.server.with_profile(|profile| profile.pipelining) {
            return Ok(known);
        }
        if self.server.with_profile(|profile| profile.is_unordered()) {
            self.server
                .with_profile(|profile| profile.pipelining = Some(false));
            return Ok(false);
        }
        let probe = [
            Command::bare("PWD"),
            Command::bare("SYST"),
            Command::bare("PWD"),
        ];
        self.begin(&probe[0])?;
        let patience = self.server.config.timeout;
        self.control.send(&probe, patience).await?;
        let mut codes = Vec::new();
        for command in &probe {
            match self
                .control
                .reply(command, patience.min(PROBE_PATIENCE))
                .await
            {
                Ok(reply) => codes.push(reply.code),
                Err(error) => {
                    self.server
                        .with_profile(|profile| profile.pipelining = Some(false));
                    return Err(Error::new(
                        ErrorKind::Lost,
                        "pipelining test",
                        error.to_string(),
                    ));
                }
            }
        }
        // SYST may be unknown to a server (5xx); it must only keep its place.
        let works = codes[0] == 257 && codes[1] != 257 && codes[2] == 257;
        self.server
            .with_profile(|profile| profile.pipelining = Some(works));
        self.state = State::Idle;
        Ok(works)
    }

    /// `path` as an argument that fits into a command line: long ones relative to a nearer working folder.
    ///
    /// # Errors
    /// [`ErrorKind::Name`] for a name that FTP cannot carry.
    pub(super) async fn argument(&mut self, path: &RemotePath) -> Result<Vec<u8>> {
        let path = self.server.sent(path)?;
        self.argument_of_sent(&path).await
    }

    /// [`Session::argument`] of a path as the server has it.
    pub(super) async fn argument_of_sent(&mut self, path: &RemotePath) -> Result<Vec<u8>> {
        if !path.is_sayable() {
            let detail =
                "a name with a line end, a zero byte or the byte 0xff cannot be sent over FTP";
            return Err(Error::new(ErrorKind::Name, path.to_string(), detail));
        }
        self.check_names(path).await?;
        if path.as_bytes().len() <= LONGEST_ARGUMENT {
            return Ok(path.as_bytes().to_vec());
        }
        self.perform(Command::new("CWD", "/")).await?;
        let mut near: Vec<u8> = Vec::new();
        let parts: Vec<&[u8]> = path.parts().collect();
        for part in &parts[..parts.len() - 1] {
            if !near.is_empty() && near.len() + 1 + part.len() > LONGEST_ARGUMENT {
                self.perform(Command::new("CWD", std::mem::take(&mut near)))
                    .await?;
            }
            if !near.is_empty() {
                near.push(b'/');
            }
            near.extend_from_slice(part);
        }
        if !near.is_empty() {
            self.perform(Command::new("CWD", near)).await?;
        }
        Ok([b"./", path.name()].concat())
    }

    /// Ends the session politely; what the server answers does not matter any more.
    pub async fn quit(mut self) {
        self.control
            .send(&[Command::bare("QUIT")], PROBE_PATIENCE)
            .await
            .ok();
    }

    /// Ends a session of which nothing more is expected, so that no command that was given up reaches the server later.
    pub fn reset(self) {
        self.control.reset();
    }

    /// Keeps the session from idling out. Any answer will do: aioftp does not know `NOOP`.
    pub async fn noop(&mut self) -> Result<()> {
        self.exchange(Command::bare("NOOP")).await.map(drop)
    }

    /// Nothing is outstanding before `command`, and from now on its answer is.
    ///
    /// # Errors
    /// [`ErrorKind::Lost`] where something is: what the server says unasked would be taken for the answer.
    pub(super) fn begin(&mut self, command: &Command) -> Result<()> {
        let detail = match self.control.ended() {
            _ if self.state != State::Idle => "the session is busy or gone".to_owned(),
            unasked => {
                self.state = State::Broken;
                match unasked {
                    None => return Ok(()),
                    Some(error) => error.detail().to_owned(),
                }
            }
        };
        Err(Error::new(ErrorKind::Lost, command.to_string(), detail))
    }

    fn settle(&mut self, command: &Command, reply: &Reply) -> Result<()> {
        // vsftpd says 500 OOPS when one of its processes dies, and then is gone.
        if reply.code == 421 || (reply.code == 500 && reply.last().starts_with(b"OOPS")) {
            return Err(Error::new(
                ErrorKind::Lost,
                command.to_string(),
                reply.to_string(),
            ));
        }
        self.state = State::Idle;
        Ok(())
    }

    /// `AUTH TLS` where the server takes it (RFC 4217 s4).
    async fn start_tls(server: &Server, mut control: Control, tls: &TlsClient) -> Result<Control> {
        let patience = server.config.timeout;
        let required =
            server.config.tls == TlsMode::Explicit || server.secured.get() == Some(&true);
        if !required && server.secured.get() == Some(&false) {
            return Ok(control);
        }
        let command = Command::new("AUTH", "TLS");
        control
            .send(std::slice::from_ref(&command), patience)
            .await?;
        let reply = control.reply(&command, patience).await?;
        if reply.code == 234 {
            // Not at once, however near the server is.
            let turning = match server.with_profile(|profile| profile.slow_tls) {
                true => TURNING_SLOWLY,
                false => TURNING,
            };
            sleep(turning.saturating_sub(control.round_trip())).await;
            return control.secure(tls, server.config.connect_timeout).await;
        }
        if required {
            let detail =
                format!("the server does not offer encryption ({reply}); without it: -o tls=off");
            return Err(Error::new(ErrorKind::Tls, "AUTH TLS", detail));
        }
        let is_local = server.config.route.proxy.is_none() && control.peer().ip().is_loopback();
        if !is_local && server.config.user != "anonymous" {
            warn!(
                "the server offers no encryption: name, password and files cross the network in the clear"
            );
        }
        Ok(control)
    }

    async fn login(&mut self) -> Result<()> {
        let server = self.server.clone();
        let config = &server.config;
        let mut reply = self
            .exchange_login(Command::new("USER", config.user.as_bytes()))
            .await?;
        if reply.code == 331 {
            reply = self
                .exchange_login(Command::secret("PASS", config.password.reveal()))
                .await?;
        }
        if reply.code == 332 {
            let Some(account) = &config.account else {
                let detail = "the server asks for an account: give one with -o account=NAME";
                return Err(Error::new(ErrorKind::Login, "login", detail));
            };
            reply = self
                .exchange_login(Command::secret("ACCT", account.reveal()))
                .await?;
        }
        if reply.is_success() {
            return Ok(());
        }
        let kind = match reply.code {
            421 => ErrorKind::TooManySessions,
            _ if TOO_MANY.iter().any(|word| reply.says(word)) => ErrorKind::TooManySessions,
            400..=499 => ErrorKind::Transient(reply.code),
            500..=599 => ErrorKind::Login,
            // Another question after the answer to the last one: no refusal.
            _ => ErrorKind::Protocol,
        };
        Err(Error::new(
            kind,
            format!("login as {}", printable(config.user.as_bytes())),
            reply.to_string(),
        ))
    }

    /// Like [`Session::exchange`], but a 421 is an answer: the limit of sessions.
    async fn exchange_login(&mut self, command: Command) -> Result<Reply> {
        let patience = self.server.config.timeout;
        self.control
            .send(std::slice::from_ref(&command), patience)
            .await?;
        self.control.reply(&command, patience).await
    }

    /// What is sent once after each login, and the questions that only the first session asks.
    async fn prepare(&mut self, greeting: &Reply) -> Result<()> {
        if self.control.is_secure() {
            self.perform(Command::new("PBSZ", "0")).await?;
            let level = match self.server.config.private_data {
                true => "P",
                false => "C",
            };
            let reply = self.exchange(Command::new("PROT", level)).await?;
            if !reply.is_success() {
                let detail = match self.server.config.private_data {
                    true => format!(
                        "the server does not encrypt data connections ({reply}); with files in the clear, and the \
                         password encrypted: -o tls_data=clear"
                    ),
                    false => format!("the server takes no data in the clear: {reply}"),
                };
                return Err(Error::new(ErrorKind::Tls, format!("PROT {level}"), detail));
            }
        }
        let first = self.server.home.get().is_none();
        if first {
            let reply = self.exchange(Command::bare("FEAT")).await?;
            self.server.with_profile(|profile| {
                profile.greeting = printable(greeting.lines.first().map_or(b"", |line| line));
                profile.learn_features(&reply);
            });
        }
        let mut settings = Vec::new();
        let bytes = self.server.config.charset.is_none();
        if bytes && self.server.with_profile(|profile| profile.offers("UTF8")) {
            // Whatever it answers: where names are bytes nothing changes.
            settings.push(Command::new("OPTS", "UTF8 ON"));
        }
        if let Some(facts) = self.server.with_profile(|profile| profile.facts_to_ask()) {
            settings.push(Command::new("OPTS", format!("MLST {facts}")));
        }
        settings.push(Command::new("TYPE", "I"));
        if first {
            settings.push(Command::bare("PWD"));
        }
        let mut answers = Vec::with_capacity(settings.len());
        match self.may_pipeline().await? {
            true => answers = self.exchange_all(settings.clone()).await?,
            false => {
                for setting in &settings {
                    answers.push(self.exchange(setting.clone()).await?);
                }
            }
        }
        for (setting, answer) in settings.iter().zip(answers) {
            match setting.verb() {
                "OPTS" => {}
                _ if !answer.is_success() => {
                    // Of the session, not of what it was opened for: another session may fare better.
                    let (operation, detail) = (setting.to_string(), answer.to_string());
                    return Err(Error::new(ErrorKind::Protocol, operation, detail));
                }
                "PWD" => {
                    let home = parse_quoted_path(answer.last())
                        .map_or_else(RemotePath::root, |path| RemotePath::new(&path));
                    let home = match self.server.config.charset {
                        Some(charset) => charset.shown_path(&home),
                        None => home,
                    };
                    self.server.home.get_or_init(|| home);
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Words by which a 530 means the server's limit of sessions, not the password.
const TOO_MANY: [&str; 5] = ["too many", "maximum", "limit", "connections", "sessions"];

/// Longest path sent in one command: inetutils-ftpd cuts commands above 511 bytes.
pub(super) const LONGEST_ARGUMENT: usize = 440;

/// Commands on their way at once: their replies must fit into the socket buffers while we still write.
const FLIGHT: usize = 200;

/// Wait for answers that a server may never give.
const PROBE_PATIENCE: Duration = Duration::from_secs(5);

/// What a server takes to turn to TLS after it has said so: what ftp-srv 4.6.3 and libunftp 0.24 receive within the first
/// millisecond they read as a command, and answer nothing.
const TURNING: Duration = Duration::from_millis(5);

/// The same for one that was seen to take longer, as it may on a busy machine.
const TURNING_SLOWLY: Duration = Duration::from_millis(200);
