//! A mount of a test server by the real binary, and the commands that run on it.
//!
//! Nothing here waits without a deadline, and nothing stays mounted, however a test ends. A test's own thread does not
//! touch the mount, which may hang: it runs commands.

use std::fmt::Write;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tempfile::TempDir;

use crate::servers::Server;

/// A mount; dropping it ends the daemon and unmounts, whatever state they are in.
pub struct Mounted {
    daemon: Child,
    path: PathBuf,
    /// Holds the mountpoint, the staging folder and the logs; after `daemon`, so that it is removed last.
    folder: TempDir,
}

/// What a command left.
#[derive(Debug)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Mounted {
    /// Mounts the whole of `server` with the command-line `options`, and waits until it answers.
    ///
    /// `$FTPFS_LOG` of the test run is the daemon's as well.
    ///
    /// # Panics
    /// If it does not mount; the message holds what it printed.
    pub fn start(server: &Server, options: &[&str]) -> Self {
        let folder = TempDir::with_prefix("ftpfs-mount-").expect("cannot make a temporary folder");
        let [path, staging] = ["mount", "staging"].map(|name| folder.path().join(name));
        for path in [&path, &staging] {
            fs::create_dir(path).expect("the folder is ours");
        }
        let log = File::create(folder.path().join(LOG)).expect("the folder is ours");
        let daemon = Command::new(env!("CARGO_BIN_EXE_ftpfs"))
            .args(["-f", "--staging"])
            .arg(&staging)
            .args(options)
            .args(
                server
                    .mount_options()
                    .iter()
                    .flat_map(|option| ["-o", option]),
            )
            .arg(server.mount_url())
            .arg(&path)
            .env("FTPFS_PASSWORD", server.password)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            // An interrupt of the test run is not the daemon's: `drop` ends it.
            .process_group(0)
            .spawn()
            .expect("cannot run ftpfs");
        let mut mounted = Self {
            daemon,
            path,
            folder,
        };
        let started = Instant::now();
        while !mounted.is_mounted() {
            if let Some(status) = mounted.daemon.try_wait().expect("it is our child") {
                panic!("ftpfs ended with {status}:\n{}", mounted.log());
            }
            assert!(
                started.elapsed() < STARTING,
                "not mounted after {STARTING:?}:\n{}",
                mounted.log()
            );
            pause();
        }
        // In the table before it answers: unmounted by then, it would end in its handshake.
        let mut look = Command::new("stat");
        look.arg(&mounted.path);
        let looked = mounted.in_time(look, "stat");
        assert!(looked.status.success(), "{looked:?}\n{}", mounted.log());
        mounted
    }

    /// What the daemon has logged.
    pub fn log(&self) -> String {
        read_lossy(&self.folder.path().join(LOG))
    }

    /// Unmounts as a user does.
    ///
    /// # Panics
    /// Unless the daemon has ended with 0, has left nothing in its staging folder and has logged no error.
    pub fn unmount(mut self) {
        let started = Instant::now();
        let unmounted = loop {
            let unmounted = self.in_time(fusermount(&["-u"], &self.path), "fusermount3 -u");
            // Right after it was mounted, the daemon's own first look at it may not be over.
            let busy = unmounted.stderr.contains("busy");
            if unmounted.status.success() || !busy || started.elapsed() > STARTING {
                break unmounted;
            }
            pause();
        };
        assert!(unmounted.status.success(), "{unmounted:?}\n{}", self.log());
        let ended = wait(&mut self.daemon, STOPPING);
        let status = ended.unwrap_or_else(|| panic!("ftpfs does not end:\n{}", self.log()));
        let log = self.log();
        assert!(status.success(), "ftpfs ended with {status}:\n{log}");
        assert!(!self.is_mounted(), "still mounted");
        assert!(!log.contains(" ERROR "), "{log}");
        let kept = fs::read_dir(self.folder.path().join(STAGING)).expect("the folder is ours");
        let kept: Vec<_> = kept.flatten().map(|entry| entry.path()).collect();
        assert!(kept.is_empty(), "left in the staging folder: {kept:?}");
    }

    /// Runs a command in the root of the mount, with its standard input empty.
    ///
    /// # Panics
    /// Unless it ends with 0 within [`DEADLINE`].
    pub fn run(&self, mut command: Command) -> Output {
        command.current_dir(&self.path);
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
        let line = words.join(" ");
        let output = self.in_time(command, &line);
        assert!(
            output.status.success(),
            "{line}\nended with {}\n--- output\n{}\n--- errors\n{}\n--- log\n{}",
            output.status,
            tail(&output.stdout),
            tail(&output.stderr),
            tail(&self.log())
        );
        output
    }

    /// Runs a command, which is killed when it takes too long: the panic then says where it hung.
    fn in_time(&self, mut command: Command, line: &str) -> Output {
        // Files, not pipes: a pipe that nobody reads would be one more reason to hang.
        let files = ["stdout", "stderr"].map(|what| {
            tempfile::NamedTempFile::with_prefix_in(what, self.folder.path())
                .expect("the folder is ours")
        });
        let [stdout, stderr] = &files;
        let reopened = |file: &tempfile::NamedTempFile| file.reopen().expect("it is ours");
        let mut child = command
            .stdin(Stdio::null())
            .stdout(reopened(stdout))
            .stderr(reopened(stderr))
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot run {line}: {error}"));
        let ended = wait(&mut child, DEADLINE);
        let [stdout, stderr] = files.map(|file| read_lossy(file.path()));
        if let Some(status) = ended {
            return Output {
                status,
                stdout,
                stderr,
            };
        }
        let waiting = kernel_waits(child.id()) + &kernel_waits(self.daemon.id());
        let _ = kill_process_group(pid(&child), Signal::KILL);
        wait(&mut child, STOPPING);
        panic!(
            "{line}\nhangs for {DEADLINE:?}\n{waiting}--- output\n{}\n--- errors\n{}\n--- log\n{}",
            tail(&stdout),
            tail(&stderr),
            tail(&self.log())
        );
    }

    fn is_mounted(&self) -> bool {
        let table = fs::read("/proc/self/mountinfo").expect("/proc is mounted");
        let path = self.path.as_os_str().as_bytes();
        table.split(|byte| *byte == b'\n').any(|line| {
            // `id parent major:minor root mountpoint ..` (proc(5)); temporary paths need no escapes.
            line.split(|byte| *byte == b' ').nth(4) == Some(path)
        })
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if matches!(self.daemon.try_wait(), Ok(None)) {
            let _ = kill_process(pid(&self.daemon), Signal::TERM);
            wait(&mut self.daemon, STOPPING);
        }
        if self.is_mounted()
            && let Ok(mut lazy) = fusermount(&["-u", "-z"], &self.path).spawn()
        {
            wait(&mut lazy, STOPPING);
        }
        if matches!(self.daemon.try_wait(), Ok(None)) {
            let _ = kill_process(pid(&self.daemon), Signal::KILL);
            wait(&mut self.daemon, STOPPING);
        }
    }
}

/// `fusermount3`, which unmounts for root and for everybody else.
fn fusermount(options: &[&str], path: &Path) -> Command {
    let mut command = Command::new("fusermount3");
    command.args(options).arg(path);
    command
}

/// Waits for the end of `child`; `None` after `deadline`.
fn wait(child: &mut Child, deadline: Duration) -> Option<ExitStatus> {
    let started = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if started.elapsed() > deadline => return None,
            Ok(None) => pause(),
            // Somebody else has waited for it; how it ended is lost.
            Err(_) => return Some(ExitStatus::from_raw(-1)),
        }
    }
}

/// Where in the kernel each thread of `process` and of its group waits.
fn kernel_waits(process: u32) -> String {
    let mut waits = String::new();
    for task in tasks(process).unwrap_or_default() {
        let read = |name: &str| fs::read_to_string(task.join(name)).unwrap_or_default();
        let _ = writeln!(
            waits,
            "{} ({}): {}",
            task.display(),
            read("comm").trim(),
            read("wchan")
        );
    }
    waits
}

/// The folders under `/proc` of the threads of every process in the group of `leader`.
fn tasks(leader: u32) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for process in fs::read_dir("/proc")?.flatten() {
        let stat = fs::read_to_string(process.path().join("stat")).unwrap_or_default();
        // `pid (name) state ppid pgrp ..` (proc(5)).
        let group = stat
            .rsplit_once(") ")
            .and_then(|(_, rest)| rest.split(' ').nth(2));
        if group.is_some_and(|group| group == leader.to_string())
            && let Ok(threads) = fs::read_dir(process.path().join("task"))
        {
            found.extend(threads.flatten().map(|thread| thread.path()));
        }
    }
    Ok(found)
}

fn read_lossy(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

/// The end of a long text: the last lines tell most.
fn tail(text: &str) -> &str {
    let from = text.len().saturating_sub(TAIL_BYTES);
    let from = (from..text.len()).find(|&at| text.is_char_boundary(at));
    &text[from.unwrap_or(0)..]
}

fn pid(child: &Child) -> Pid {
    Pid::from_child(child)
}

/// Between two looks at a process.
fn pause() {
    std::thread::sleep(Duration::from_millis(5));
}

/// What the daemon prints.
const LOG: &str = "ftpfs.log";
/// Where the daemon keeps what is not sent.
const STAGING: &str = "staging";
/// Longest that one command may take: several times the slowest, on a busy machine.
const DEADLINE: Duration = Duration::from_secs(150);
/// Longest wait for a mount.
const STARTING: Duration = Duration::from_secs(60);
/// Longest wait for a process that was told to end.
const STOPPING: Duration = Duration::from_secs(15);
/// How much of a log a failure shows.
const TAIL_BYTES: usize = 6000;
