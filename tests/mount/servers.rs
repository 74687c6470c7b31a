//! The servers that the tests mount: one in this process, the others started by `scripts/servers`.
//!
//! Each has its own folder, port and processes, so tests can run at the same time.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, Permissions};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tempfile::TempDir;

pub use crate::embedded::{Options, PASSWORD, USER};

use crate::embedded::Embedded;
use crate::raw::RawSession;
use crate::ways::{Way, self_signed};

/// Which server software.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ServerKind {
    /// libunftp, in this process.
    Embedded,
    /// vsftpd.
    Vsftpd,
    /// ProFTPD with `AllowOverwrite`, `AllowStoreRestart`, mod_site_misc and mod_copy.
    Proftpd,
    /// Pure-FTPd.
    Pureftpd,
    /// pyftpdlib.
    Pyftpdlib,
    /// GNU inetutils' ftpd, of the BSD family.
    Inetutils,
    /// BusyBox ftpd.
    Busybox,
    /// ftp-srv, in JavaScript, listing in EPLF.
    Ftpsrv,
    /// ProFTPD with its own defaults: existing files are neither replaced nor changed.
    ProftpdDefault,
}

impl ServerKind {
    /// Every kind.
    pub const ALL: [Self; 9] = [
        Self::Embedded,
        Self::Vsftpd,
        Self::Proftpd,
        Self::Pureftpd,
        Self::Pyftpdlib,
        Self::Inetutils,
        Self::Busybox,
        Self::Ftpsrv,
        Self::ProftpdDefault,
    ];

    /// Its name in `FTPFS_TEST_SERVERS`, in the names of tests and for `scripts/servers run`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Vsftpd => "vsftpd",
            Self::Proftpd => "proftpd",
            Self::Pureftpd => "pureftpd",
            Self::Pyftpdlib => "pyftpdlib",
            Self::Inetutils => "inetutils",
            Self::Busybox => "busybox",
            Self::Ftpsrv => "ftpsrv",
            Self::ProftpdDefault => "proftpd-default",
        }
    }

    /// Whether it logs what it is asked to do.
    pub fn logs(self) -> bool {
        !matches!(self, Self::Embedded | Self::Inetutils)
    }

    /// Whether it can encrypt.
    pub fn encrypts(self) -> bool {
        !matches!(self, Self::Inetutils | Self::Busybox)
    }

    /// Whether its data connections resume the TLS session of their control connection: ftp-srv makes a new context, with
    /// keys of its own, for each.
    pub fn resumes(self) -> bool {
        self.encrypts() && self != Self::Ftpsrv
    }

    /// Whether it can encrypt from the first byte.
    pub fn encrypts_at_once(self) -> bool {
        matches!(self, Self::Vsftpd | Self::Proftpd | Self::ProftpdDefault)
    }

    /// The kinds named in `FTPFS_TEST_SERVERS`: separated by commas, or `all`; without the
    /// variable, the embedded one.
    ///
    /// # Errors
    /// The message for the user, if a name is unknown or there is none.
    pub fn selected() -> Result<Vec<Self>, String> {
        match std::env::var("FTPFS_TEST_SERVERS") {
            Ok(names) => Self::parse_list(&names),
            Err(_) => Ok(vec![Self::Embedded]),
        }
    }

    /// Parses what `FTPFS_TEST_SERVERS` holds.
    pub fn parse_list(names: &str) -> Result<Vec<Self>, String> {
        if names.trim() == "all" {
            return Ok(Self::ALL.to_vec());
        }
        let mut kinds = Vec::new();
        for name in names.split(',').map(str::trim) {
            let kind = Self::ALL.into_iter().find(|kind| kind.name() == name);
            let known = Self::ALL.map(Self::name).join(", ");
            let kind = kind.ok_or(format!(
                "FTPFS_TEST_SERVERS: no server named {name:?}; known: {known}"
            ))?;
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        Ok(kinds)
    }
}

/// A running server; dropping it ends the server with all its processes and removes its folder.
pub struct Server {
    /// Which software.
    pub kind: ServerKind,
    /// Port of the control connection, on 127.0.0.1.
    pub port: u16,
    /// The folder that it serves as `/`.
    pub root: PathBuf,
    /// Login name.
    pub user: &'static str,
    /// Password of `user`.
    pub password: &'static str,
    /// How it is reached.
    pub way: Way,
    certificate: Option<PathBuf>,
    running: Running,
    /// Holds `root` and the logs; after `running`, so that it is removed last.
    folder: TempDir,
}

enum Running {
    InProcess(Embedded),
    Script(Script),
}

impl Server {
    /// Starts a server over a new empty folder and waits for its greeting.
    ///
    /// # Panics
    /// If it does not start; the message holds what it printed.
    pub fn start(kind: ServerKind) -> Self {
        Self::start_with(kind, &Options::default())
    }

    /// [`Server::start`], for mounts that reach it by `way`.
    pub fn reached_by(kind: ServerKind, way: Way) -> Self {
        Self::start_as(kind, way, &Options::default())
    }

    /// [`Server::start`], with limits or TLS.
    pub fn start_with(kind: ServerKind, options: &Options) -> Self {
        Self::start_as(kind, Way::Plain, options)
    }

    /// Both; what is encrypted has a certificate of its own if none is given.
    pub fn start_as(kind: ServerKind, way: Way, options: &Options) -> Self {
        let folder = TempDir::with_prefix("ftpfs-test-").expect("cannot make a temporary folder");
        let root = folder.path().join("root");
        fs::create_dir(&root).expect("cannot make a folder");
        // The servers reach it as the test account.
        for path in [folder.path(), &root] {
            fs::set_permissions(path, Permissions::from_mode(0o755)).expect("the folder is ours");
        }
        let mut options = options.clone();
        if way.is_encrypted() && options.certificate.is_none() {
            options.certificate = Some(self_signed(folder.path()).expect("the folder is ours"));
        }
        let options = &options;
        let (running, port) = match kind {
            ServerKind::Embedded => {
                let server = Embedded::start(&root, 0, options).expect("embedded server");
                let port = server.address().port();
                (Running::InProcess(server), port)
            }
            _ => {
                let (script, port) = Script::start(kind, way, folder.path(), &root, options);
                (Running::Script(script), port)
            }
        };
        Self {
            kind,
            port,
            root,
            user: USER,
            password: PASSWORD,
            way,
            certificate: options.certificate.clone(),
            running,
            folder,
        }
    }

    /// `ftp://user:password@127.0.0.1:port/`.
    pub fn url(&self) -> String {
        format!(
            "ftp://{}:{}@127.0.0.1:{}/",
            self.user, self.password, self.port
        )
    }

    /// The address for mounts, without a password.
    pub fn mount_url(&self) -> String {
        let scheme = self.way.scheme();
        format!("{scheme}://{}@127.0.0.1:{}/", self.user, self.port)
    }

    /// The options of mounts that reach it in its way: whom to trust, and who makes the data connections.
    pub fn mount_options(&self) -> Vec<String> {
        let mut options = Vec::new();
        if let (true, Some(pem)) = (self.way.is_encrypted(), &self.certificate) {
            options.push(format!("cacert={}", pem.display()));
        }
        if self.way.is_active() {
            options.push("mode=active".to_owned());
            if self.kind == ServerKind::Pyftpdlib {
                // 2.2.0 loses such connections, and then sessions, as soon as a client has two: with Python's ftplib and
                // 6 threads a fifth of 1,080 uploads came through, in the clear as encrypted; all of them by passive ones.
                options.push("max_conns=1".to_owned());
            }
        }
        options
    }

    /// The address of its control connections.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Gives `path`, which a test has put below `root`, to the account that the server runs as.
    pub fn give(&self, path: &Path) -> io::Result<()> {
        let owner = fs::metadata(&self.root)?;
        chown(path, Some(owner.uid()), Some(owner.gid()))
    }

    /// What the server has logged and printed: its commands with most,
    /// its transfers with Pure-FTPd, nothing with those that do not [log](ServerKind::logs).
    pub fn log(&self) -> String {
        logs(self.folder.path())
    }

    /// Breaks every session without a reply: kills the processes that serve them, or closes
    /// their connections where they have none. The server itself goes on.
    pub fn kill_sessions(&self) {
        match &self.running {
            Running::InProcess(server) => server.kill_sessions(),
            Running::Script(script) => script.kill_sessions(self.kind),
        }
    }
}

/// The script, which runs the server as its child.
struct Script {
    /// Its standard input is held open: the script ends when this process does, however it does.
    child: Child,
}

impl Script {
    fn start(
        kind: ServerKind,
        way: Way,
        folder: &Path,
        root: &Path,
        options: &Options,
    ) -> (Self, u16) {
        for _ in 0..ATTEMPTS {
            let port = free_port();
            let mut script = Self::spawn(kind, way, folder, root, port, options);
            match script.wait_for_greeting(port, way) {
                Ok(true) => return (script, port),
                Ok(false) => {} // it has died: somebody else may have taken the port
                Err(error) => panic!(
                    "{} did not greet within {DEADLINE:?}: {error}\n{}",
                    kind.name(),
                    logs(folder)
                ),
            }
        }
        panic!("{} does not start:\n{}", kind.name(), logs(folder));
    }

    fn spawn(
        kind: ServerKind,
        way: Way,
        folder: &Path,
        root: &Path,
        port: u16,
        options: &Options,
    ) -> Self {
        let mut command =
            Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/servers"));
        command
            .args(["run", "--until-eof", kind.name()])
            .arg(root)
            .arg(port.to_string())
            .env("FTPFS_TEST_LOG", folder.join(SERVER_LOG))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(File::create(folder.join(SCRIPT_LOG)).expect("the folder is ours"))
            .process_group(0);
        if let Some(pem) = &options.certificate {
            let tls = match way {
                Way::Implicit => "implicit",
                _ if options.tls_1_3_only => "1.3",
                _ => "1",
            };
            command
                .env("FTPFS_TEST_TLS", tls)
                .env("FTPFS_TEST_CERT", pem);
        }
        if let Some(pem) = &options.client_authority {
            command.env("FTPFS_TEST_CLIENT_CA", pem);
        }
        if options.anonymous {
            command.env("FTPFS_TEST_ANONYMOUS", "1");
        }
        if let Some(most) = options.max_sessions {
            command.env("FTPFS_TEST_MAX_CLIENTS", most.to_string());
        }
        if let Some(idle) = options.idle {
            command.env("FTPFS_TEST_IDLE", idle.as_secs().to_string());
        }
        if let Some(zone) = options.local_time {
            command.env("FTPFS_TEST_LOCALTIME", zone);
        }
        let child = command.spawn().expect("cannot run scripts/servers");
        Self { child }
    }

    /// Waits until the server greets, or only lets in where `way` has no greeting in the clear; `false` if it ends instead.
    fn wait_for_greeting(&mut self, port: u16, way: Way) -> io::Result<bool> {
        let address = (Ipv4Addr::LOCALHOST, port).into();
        let started = Instant::now();
        loop {
            let greeting = RawSession::connect(address).and_then(|mut session| match way {
                // It waits for the client's hello.
                Way::Implicit => Ok(()),
                _ => session.expect("220").map(drop),
            });
            // Asked after the greeting, which may be somebody else's.
            if self.child.try_wait()?.is_some() {
                return Ok(false);
            }
            match greeting {
                Ok(()) => return Ok(true),
                Err(error) if started.elapsed() > DEADLINE => return Err(error),
                Err(_) => pause(),
            }
        }
    }

    fn kill_sessions(&self, kind: ServerKind) {
        let processes = Processes::now();
        let server = processes.named_child(self.child.id(), process_name(kind));
        let server = server.expect("the server is the script's child");
        if matches!(kind, ServerKind::Pyftpdlib | ServerKind::Ftpsrv) {
            return signal(server, Signal::USR1);
        }
        let sessions = processes.descendants(server);
        for session in &sessions {
            signal(*session, Signal::KILL);
        }
        wait_until("killed sessions are gone", || {
            let alive = Processes::now().descendants(server);
            !sessions.iter().any(|session| alive.contains(session))
        });
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let script = self.child.id();
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        let processes = Processes::now().descendants(script);
        signal(script, Signal::TERM);
        let asked = Instant::now();
        while asked.elapsed() < STOPPING {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            pause();
        }
        // Servers that lead sessions of their own are not in the script's group.
        let _ = kill_process_group(pid(script), Signal::KILL);
        for process in processes {
            signal(process, Signal::KILL);
        }
        let _ = self.child.wait();
    }
}

/// The processes of this machine, at one moment.
struct Processes(HashMap<u32, Process>);

struct Process {
    parent: u32,
    name: String,
}

impl Processes {
    fn now() -> Self {
        let entries = fs::read_dir("/proc").expect("/proc is mounted");
        let processes = entries.filter_map(|entry| {
            let path = entry.ok()?.path();
            let id = path.file_name()?.to_str()?.parse().ok()?;
            // `pid (name) state ppid ..` (proc(5)); the name may hold spaces and parentheses.
            let stat = fs::read_to_string(path.join("stat")).ok()?;
            let (name, rest) = stat.split_once('(')?.1.rsplit_once(") ")?;
            let mut fields = rest.split(' ');
            if fields.next()? == "Z" {
                return None;
            }
            let parent = fields.next()?.parse().ok()?;
            let name = name.to_owned();
            Some((id, Process { parent, name }))
        });
        Self(processes.collect())
    }

    fn children(&self, parent: u32) -> impl Iterator<Item = u32> {
        let children = self.0.iter().filter(move |(_, p)| p.parent == parent);
        children.map(|(id, _)| *id)
    }

    fn descendants(&self, ancestor: u32) -> Vec<u32> {
        let mut found: Vec<u32> = self.children(ancestor).collect();
        let mut next = 0;
        while let Some(process) = found.get(next) {
            found.extend(self.children(*process).collect::<Vec<_>>());
            next += 1;
        }
        found
    }

    fn named_child(&self, parent: u32, name: &str) -> Option<u32> {
        self.children(parent)
            .find(|child| self.0[child].name.starts_with(name))
    }
}

/// How the kernel names the server's main process.
fn process_name(kind: ServerKind) -> &'static str {
    match kind {
        ServerKind::Vsftpd => "vsftpd",
        ServerKind::Proftpd | ServerKind::ProftpdDefault => "proftpd",
        ServerKind::Pureftpd => "pure-ftpd",
        ServerKind::Pyftpdlib | ServerKind::Inetutils => "python",
        ServerKind::Busybox => "busybox",
        ServerKind::Ftpsrv => "ftp-srv",
        ServerKind::Embedded => unreachable!("it is this process"),
    }
}

/// Waits for `condition`, with a deadline.
///
/// # Panics
/// After ten seconds, naming `what`.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(
            started.elapsed() < DEADLINE,
            "waited {DEADLINE:?} until {what}"
        );
        pause();
    }
}

/// Between two looks at a condition.
fn pause() {
    std::thread::sleep(Duration::from_millis(5));
}

/// A port that nobody listens at, and that this process gives out once.
///
/// Below those that the kernel gives to outgoing connections (32768 and up): such a connection could take the port while
/// the server starts, and our own asking whether it listens could even connect to itself.
fn free_port() -> u16 {
    const LOWEST: u64 = 10_000;
    const MANY: u64 = 22_000;
    static GIVEN: Mutex<Option<HashSet<u16>>> = Mutex::new(None);
    loop {
        let chance = RandomState::new().build_hasher().finish() % MANY;
        let port = u16::try_from(LOWEST + chance).expect("below 32000");
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_err() {
            continue;
        }
        let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
        if given.get_or_insert_default().insert(port) {
            return port;
        }
    }
}

fn signal(process: u32, signal: Signal) {
    // It may have ended by itself.
    let _ = kill_process(pid(process), signal);
}

fn pid(process: u32) -> Pid {
    let raw = i32::try_from(process).ok().and_then(Pid::from_raw);
    raw.expect("a process id of the kernel is positive")
}

fn logs(folder: &Path) -> String {
    [SCRIPT_LOG, SERVER_LOG]
        .map(|name| fs::read(folder.join(name)).unwrap_or_default())
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .concat()
}

/// What the script and the server print.
const SCRIPT_LOG: &str = "script.log";
/// What the server logs.
const SERVER_LOG: &str = "server.log";
/// How often a start is tried; each has a new port.
const ATTEMPTS: usize = 5;
/// Longest wait for a server to start, or for a condition.
const DEADLINE: Duration = Duration::from_secs(30);
/// How long the script may take to end its server, which it kills after one second.
const STOPPING: Duration = Duration::from_secs(5);
