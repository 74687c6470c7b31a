//! A mount for one test: the real binary, in the foreground, on a folder of its own.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::odd::Odd;
use crate::servers::Server;

/// A mount; dropping it unmounts.
pub struct ModelMount {
    /// The mountpoint.
    pub path: PathBuf,
    running: Mutex<Running>,
    arguments: Vec<OsString>,
    password: String,
    folder: TempDir,
}

struct Running {
    daemon: Child,
    /// Dropped when the mount has ended: the watchdog goes home then.
    _watched: Sender<()>,
}

impl ModelMount {
    /// Mounts `server` with `options`.
    ///
    /// # Panics
    /// If it does not mount; the message holds the log.
    pub fn of(server: &Server, options: &[&str]) -> Self {
        let way = server.mount_options();
        let options: Vec<&str> = way
            .iter()
            .map(String::as_str)
            .chain(options.iter().copied())
            .collect();
        Self::start(&server.mount_url(), server.password, &options).expect("it mounts")
    }

    /// The same for the scripted server.
    pub fn of_odd(odd: &Odd, options: &[&str]) -> Self {
        Self::try_odd(odd, options).expect("it mounts")
    }

    /// The same; the log if it does not mount.
    pub fn try_odd(odd: &Odd, options: &[&str]) -> Result<Self, String> {
        let url = format!("ftp://user@{}/", odd.address());
        Self::start(&url, "password", options)
    }

    /// Mounts `url`; the log if that fails.
    pub fn start(url: &str, password: &str, options: &[&str]) -> Result<Self, String> {
        let folder = TempDir::with_prefix("ftpfs-mount-").expect("a temporary folder");
        let path = folder.path().join("mnt");
        fs::create_dir(&path).expect("the folder is ours");
        let staging = folder.path().join(STAGING);
        let mut arguments: Vec<OsString> = vec!["-f".into(), "--staging".into(), staging.into()];
        for option in options {
            arguments.extend(["-o".into(), option.into()]);
        }
        arguments.extend([url.into(), path.clone().into()]);
        let running = run_daemon(folder.path(), &arguments, password);
        let mount = Self {
            path,
            running: Mutex::new(running),
            arguments,
            password: password.to_owned(),
            folder,
        };
        mount.is_up().map(|()| mount)
    }

    fn is_up(&self) -> Result<(), String> {
        let up = within(DEADLINE, || {
            is_mounted(&self.path) || self.ended().is_some()
        });
        if up && is_mounted(&self.path) {
            Ok(())
        } else {
            let state = if up { "ended" } else { "hangs" };
            Err(format!("it {state}; its log: {}", self.log()))
        }
    }

    /// Kills it, and leaves it to the next one to clear the mount.
    pub fn kill(&self) {
        self.signal(Signal::KILL);
        let ended = within(DEADLINE, || self.ended().is_some());
        assert!(ended, "killed, and still there");
    }

    /// Mounts once more what has ended, with what it has left behind.
    pub fn start_again(&self) -> Result<(), String> {
        run("umount", [OsStr::new("-l"), self.path.as_os_str()]);
        let again = run_daemon(self.folder.path(), &self.arguments, &self.password);
        *self.running() = again;
        self.is_up()
    }

    /// Files that the journals hold of what is not on the server yet.
    pub fn unsent(&self) -> Vec<PathBuf> {
        let journals = fs::read_dir(self.folder.path().join(STAGING));
        // Beside them are the copies of what could not be sent, and was said so.
        let journals = journals.into_iter().flatten().flatten();
        let journals = journals.filter(|journal| journal.file_name() != "unsent");
        let held = journals.flat_map(|journal| fs::read_dir(journal.path()).into_iter().flatten());
        let held = held.flatten().map(|entry| entry.path());
        held.filter(|path| !["lock", "log"].iter().any(|name| path.ends_with(name)))
            .collect()
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        self.running.lock().expect("no panic while locked")
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        let log = fs::read(self.folder.path().join(LOG)).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// The end of that, as far as it is shown with a failure.
    pub fn end_of_log(&self) -> String {
        let log = self.log();
        let from = log.len().saturating_sub(LOG_SHOWN);
        log[log.ceil_char_boundary(from)..].to_owned()
    }

    /// Sends `signal` to it.
    pub fn signal(&self, signal: Signal) {
        send(self.process(), signal);
    }

    /// The daemon's process.
    pub fn process(&self) -> u32 {
        self.running().daemon.id()
    }

    /// Waits until it has ended.
    ///
    /// # Panics
    /// If it does not end.
    pub fn wait(&self) -> ExitStatus {
        let ended = within(DEADLINE, || self.ended().is_some());
        assert!(ended, "ftpfs does not end:\n{}", self.log());
        self.ended().expect("just seen")
    }

    fn ended(&self) -> Option<ExitStatus> {
        let daemon = &mut self.running().daemon;
        daemon.try_wait().expect("it is our child")
    }
}

impl Drop for ModelMount {
    fn drop(&mut self) {
        if self.ended().is_none() {
            self.signal(Signal::TERM);
        }
        if !within(DEADLINE, || self.ended().is_some()) {
            let _ = run("umount", [OsStr::new("-l"), self.path.as_os_str()]);
            self.signal(Signal::KILL);
            let _ = self.running().daemon.wait();
        }
        if is_mounted(&self.path) {
            let _ = run("umount", [OsStr::new("-l"), self.path.as_os_str()]);
        }
        if thread::panicking() {
            eprintln!("the mount's log ends:\n{}", self.end_of_log());
        }
    }
}

/// Starts the binary; its log goes on in `folder`.
fn run_daemon(folder: &Path, arguments: &[OsString], password: &str) -> Running {
    let log = File::options()
        .create(true)
        .append(true)
        .open(folder.join(LOG))
        .expect("the folder is ours");
    let mut command = ftpfs(folder);
    command
        .args(arguments)
        .env("FTPFS_PASSWORD", password)
        .env("FTPFS_LOG", "warn,ftpfs=debug")
        .stdout(Stdio::null())
        .stderr(log);
    let daemon = command.spawn().expect("the binary was built for this");
    let watched = watch(daemon.id());
    Running {
        daemon,
        _watched: watched,
    }
}

/// The binary, with nothing of the user's own settings; its home is `folder`.
pub fn ftpfs(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ftpfs"));
    command
        .env("HOME", folder)
        .env_remove("XDG_STATE_HOME")
        .env_remove("FTPFS_PASSWORD")
        .env_remove("FTPFS_LOG")
        .stdin(Stdio::null());
    command
}

/// Runs a program of the system in English, for at most half a minute.
pub fn run<I: AsRef<OsStr>>(program: &str, arguments: impl IntoIterator<Item = I>) -> Output {
    Command::new("timeout")
        .args(["30", program])
        .args(arguments)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output()
        .expect("coreutils are there")
}

/// Whether an ftpfs is mounted on `path`, by the kernel's table: the mount itself is asked nothing.
pub fn is_mounted(path: &Path) -> bool {
    let table = fs::read_to_string("/proc/self/mountinfo").expect("/proc is mounted");
    table
        .lines()
        .any(|line| line.contains(" - fuse.ftpfs ") && line.split(' ').nth(4) == path.to_str())
}

/// Sends `signal` to `process`, if it is still there.
pub fn send(process: u32, signal: Signal) {
    let process = i32::try_from(process).ok().and_then(Pid::from_raw);
    let _ = kill_process(process.expect("a process id is positive"), signal);
}

/// Waits for `condition`; whether it came true in time.
pub fn within(deadline: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let started = Instant::now();
    while !condition() {
        if started.elapsed() > deadline {
            return false;
        }
        thread::sleep(Duration::from_millis(2));
    }
    true
}

/// Lets time pass where that is what a test is about.
pub fn pause(time: Duration) {
    thread::sleep(time);
}

/// A test that hangs on its mount is freed by the end of the mount.
fn watch(daemon: u32) -> Sender<()> {
    let (watched, ended) = mpsc::channel();
    thread::spawn(move || {
        if ended.recv_timeout(LONGEST_TEST) == Err(RecvTimeoutError::Timeout) {
            eprintln!("a test took longer than {LONGEST_TEST:?}: its mount is killed");
            send(daemon, Signal::KILL);
        }
    });
    watched
}

/// What the daemon says.
const LOG: &str = "ftpfs.log";
/// Where it keeps what is not sent.
const STAGING: &str = "staging";
/// As much of the log as is shown with a failure.
const LOG_SHOWN: usize = 12_000;
/// Longest wait for a mount to come up or to end.
pub const DEADLINE: Duration = Duration::from_secs(60);
/// Longest life of one mount.
const LONGEST_TEST: Duration = Duration::from_secs(600);
