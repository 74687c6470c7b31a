//! Many readers and writers at once, whose sessions are killed at random: each content is whole and none is older than what
//! was acknowledged, no operation hangs, and in the end the daemon holds no more than in the beginning.
//!
//! `FTPFS_TEST_LOAD` asks for more seconds than those of a normal run, `FTPFS_TEST_SEED` for other faults.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};
use rustix::io::Errno;
use rustix::process::Signal;

use super::relay::{Fault, Relay};
use super::{LONG, content, errno};
use crate::model_mount::{ModelMount, pause, run, within};
use crate::servers::{Server, ServerKind};

/// The trials for one server: the load is the mount's matter, one quick server and a real one are enough, and two more
/// where a longer one is asked for.
pub(super) fn trials(kind: ServerKind) -> Vec<Trial> {
    let loaded = match kind {
        ServerKind::Embedded | ServerKind::Vsftpd => true,
        ServerKind::Proftpd | ServerKind::Pureftpd => std::env::var_os("FTPFS_TEST_LOAD").is_some(),
        _ => false,
    };
    if !loaded {
        return Vec::new();
    }
    let name = format!("{}::schedules::load", kind.name());
    vec![Trial::test(name, move || load(kind))]
}

fn load(kind: ServerKind) -> Result<(), Failed> {
    let number = |name: &str, default: u64| -> Result<u64, Failed> {
        match std::env::var(name) {
            Ok(text) => Ok(text.parse()?),
            Err(_) => Ok(default),
        }
    };
    let seconds = number("FTPFS_TEST_LOAD", SECONDS)?;
    let seed = number("FTPFS_TEST_SEED", 1)?;
    let rounds = (seconds / LONGEST_ROUND).max(2);
    let round = Duration::from_secs(seconds) / u32::try_from(rounds)?;

    let server = Server::start(kind);
    let relay = Relay::start(server.address())?;
    let url = format!("ftp://{}@127.0.0.1:{}/", server.user, relay.port);
    // Sessions that nobody needs end soon, so that one that is lost is seen.
    let bounds = "tls=off,timeout=2s,connect_timeout=2s,idle_timeout=1s,cache_size=16M";
    let mount = ModelMount::start(&url, server.password, &[bounds])?;
    let fresh = Holds::of(&mount)?;
    let crowd = Crowd::new(&mount.path);
    crowd.begin()?;
    let mut held = Vec::new();
    for number in 0..rounds {
        let worked = crowd.work(&mount, &relay, round, seed + number);
        worked.map_err(|what| format!("{what}\n{}", warnings(&mount)))?;
        let idle = || Holds::of(&mount).is_ok_and(|holds| holds.connections == 0);
        if !within(LONG, idle) {
            let holds = Holds::of(&mount)?;
            return Err(format!("connections are left: {holds:?}").into());
        }
        held.push(Holds::of(&mount)?);
    }
    crowd.check_all(&server.root)?;

    let settled = |holds: Holds| {
        holds.files <= fresh.files
            && holds.connections == 0
            && holds.threads <= fresh.threads + SPARE_THREADS
    };
    let is_settled = || Holds::of(&mount).is_ok_and(settled) && mount.unsent().is_empty();
    let came_to_rest = within(LONG, is_settled);
    let last = Holds::of(&mount)?;
    println!(
        "{}: {} in {seconds} s; {}\nfresh: {fresh:?}\nafter each round: {held:?}\nat rest: {last:?}",
        kind.name(),
        crowd.told(),
        told(&relay.done()),
    );
    if !came_to_rest {
        let unsent = mount.unsent();
        return Err(format!("it does not come to rest: unsent: {unsent:?}").into());
    }
    let bound = held[0].memory + held[0].memory / 4 + SPARE_MEMORY;
    if last.memory > bound {
        return Err(format!("memory grows: {held:?}").into());
    }
    let unmounted = run("fusermount3", [OsStr::new("-u"), mount.path.as_os_str()]);
    assert!(unmounted.status.success(), "{unmounted:?}");
    let ended = mount.wait();
    assert!(ended.success(), "{ended}");
    let log = mount.log();
    let errors: Vec<&str> = log
        .lines()
        // Whoever wrote that was told so by an error.
        .filter(|line| line.contains(" ERROR ") && !line.contains("its content is kept in"))
        .collect();
    assert!(errors.is_empty(), "it logs {errors:?}");
    Ok(())
}

/// The last of what the mount warns of.
fn warnings(mount: &ModelMount) -> String {
    let log = mount.log();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains(" WARN ")).collect();
    lines[lines.len().saturating_sub(VIOLATIONS_SHOWN)..].join("\n")
}

/// The readers and writers of one folder.
struct Crowd {
    folder: PathBuf,
    files: Vec<Versions>,
    /// What each is doing, and since when.
    doing: Vec<Mutex<Option<(Instant, String)>>>,
    over: AtomicBool,
    figures: Mutex<Figures>,
}

/// The versions of one file; their numbers only grow.
#[derive(Default)]
struct Versions {
    /// The last whose writer was told that the server has it.
    acknowledged: AtomicU64,
    /// The last that was tried.
    tried: AtomicU64,
}

#[derive(Default)]
struct Figures {
    done: BTreeMap<&'static str, u64>,
    failed: BTreeMap<String, u64>,
    longest: Duration,
    violations: Vec<String>,
}

impl Crowd {
    fn new(mount: &Path) -> Self {
        Self {
            folder: mount.join("load"),
            files: (0..WRITERS).map(|_| Versions::default()).collect(),
            doing: (0..WRITERS + READERS).map(|_| Mutex::default()).collect(),
            over: AtomicBool::new(false),
            figures: Mutex::default(),
        }
    }

    /// The first version of each file.
    fn begin(&self) -> io::Result<()> {
        for file in 0..WRITERS {
            fs::create_dir_all(self.path(file).parent().expect("it is in a folder"))?;
            self.replace(file, 100)?;
        }
        Ok(())
    }

    /// Lets all of them work for a `time`, while sessions are killed.
    fn work(
        &self,
        mount: &ModelMount,
        relay: &Relay,
        time: Duration,
        seed: u64,
    ) -> Result<(), String> {
        self.over.store(false, Ordering::SeqCst);
        let mut chance = Chance::new(seed);
        let stuck = thread::scope(|scope| {
            let mut all = Vec::new();
            for number in 0..WRITERS + READERS {
                let chance = Chance::new((seed << 32) | (number as u64 + 1));
                all.push(scope.spawn(move || self.one(number, chance)));
            }
            let begun = Instant::now();
            while !all.iter().all(|one| one.is_finished()) {
                if begun.elapsed() < time {
                    let fault = [Fault::Drop, Fault::Reset, Fault::LoseReply][chance.below(3)];
                    relay.order(vec![(1 + chance.below(40) as u32, fault)]);
                } else {
                    self.over.store(true, Ordering::SeqCst);
                    relay.order(Vec::new());
                }
                if let Some(stuck) = self.stuck() {
                    let threads = waits(mount);
                    // Frees those that hang on it.
                    self.over.store(true, Ordering::SeqCst);
                    mount.signal(Signal::KILL);
                    return Some(format!("{stuck}\nthe daemon's threads:\n{threads}"));
                }
                pause(Duration::from_millis(50 + chance.below(300) as u64));
            }
            None
        });
        let figures = self.figures();
        match (stuck, figures.violations.len()) {
            (Some(stuck), _) => Err(stuck),
            (None, count @ 1..) => {
                let first = figures.violations.iter().take(VIOLATIONS_SHOWN);
                let first = first.map(String::as_str).collect::<Vec<_>>().join("\n");
                Err(format!("{count} violations, the first:\n{first}"))
            }
            (None, 0) => Ok(()),
        }
    }

    /// One of them, until the time is over.
    fn one(&self, number: usize, mut chance: Chance) {
        while !self.over.load(Ordering::SeqCst) {
            if number < WRITERS {
                let length = match chance.below(16) {
                    // It is sent while it is written.
                    0 => 1_200_000 + chance.below(400_000),
                    1..4 => chance.below(200),
                    _ => chance.below(60_000),
                };
                let what = || format!("writer {number}: {length} bytes");
                self.timed(number, "replaced", what, || self.replace(number, length));
            } else {
                let file = chance.below(WRITERS);
                match chance.below(8) {
                    0 => self.timed(
                        number,
                        "listed",
                        || format!("reader {number}: the folder of {file}"),
                        || self.list(file),
                    ),
                    1..3 => self.timed(
                        number,
                        "read in part",
                        || format!("reader {number}: a part of {file}"),
                        || self.read_part(file, chance.next()),
                    ),
                    _ => self.timed(
                        number,
                        "read",
                        || format!("reader {number}: {file}"),
                        || self.read(file),
                    ),
                }
            }
        }
    }

    /// Does `what` under the eye of the watchdog, and counts it.
    fn timed(
        &self,
        number: usize,
        name: &'static str,
        what: impl FnOnce() -> String,
        run: impl FnOnce() -> io::Result<()>,
    ) {
        let begun = Instant::now();
        let what = what();
        *self.doing(number) = Some((begun, what.clone()));
        let ended = run();
        *self.doing(number) = None;
        let mut figures = self.figures();
        figures.longest = figures.longest.max(begun.elapsed());
        let Err(error) = ended else {
            *figures.done.entry(name).or_default() += 1;
            return;
        };
        let failed = format!("not {name}: {error}");
        if !TRUE_ERRORS.contains(&errno(error)) {
            figures.violations.push(format!("{what}: {failed}"));
        }
        *figures.failed.entry(failed).or_default() += 1;
    }

    /// The next version of a file takes the place of the last, as editors do it.
    fn replace(&self, file: usize, length: usize) -> io::Result<()> {
        let versions = &self.files[file];
        let version = versions.tried.fetch_add(1, Ordering::SeqCst) + 1;
        let path = self.path(file);
        // A new name each time: one that is never forgotten is seen.
        let new = path.with_extension(format!("{version}.new"));
        let written = || {
            let mut open = File::create(&new)?;
            open.write_all(&stamped(file, version, length))?;
            // What `close` says is not told here.
            open.sync_all()
        };
        let replaced = written().and_then(|()| fs::rename(&new, &path));
        match replaced {
            Ok(()) => {
                versions.acknowledged.store(version, Ordering::SeqCst);
                Ok(())
            }
            Err(error) => {
                // It may not be there.
                let _ = fs::remove_file(&new);
                Err(error)
            }
        }
    }

    fn read(&self, file: usize) -> io::Result<()> {
        let least = self.files[file].acknowledged.load(Ordering::SeqCst);
        let bytes = fs::read(self.path(file))?;
        self.check(file, &bytes, least).map(drop)
    }

    /// Two parts of a file that is held open are of one version.
    fn read_part(&self, file: usize, at: u64) -> io::Result<()> {
        let least = self.files[file].acknowledged.load(Ordering::SeqCst);
        let open = File::open(self.path(file))?;
        let mut head = [0; HEAD];
        open.read_exact_at(&mut head, 0)?;
        let version = self.version(file, &head, least)?;
        let whole = stamped(file, version, length(&head)?);
        let at = usize::try_from(at % whole.len() as u64).map_err(io::Error::other)?;
        let mut part = vec![0; (whole.len() - at).min(5000)];
        // The kernel gives what it has of it where a later page fails.
        open.read_exact_at(&mut part, at as u64)?;
        let (length, size) = (part.len(), whole.len());
        check(whole[at..].starts_with(&part), || {
            format!("{length} bytes at {at} are not of version {version}, of {size} bytes")
        })
    }

    fn list(&self, file: usize) -> io::Result<()> {
        let path = self.path(file);
        let mut names = Vec::new();
        for entry in fs::read_dir(path.parent().expect("it is in a folder"))? {
            names.push(entry?.file_name());
        }
        let is_there = names.iter().any(|name| Some(&**name) == path.file_name());
        check(is_there, || format!("not listed, but {names:?}"))
    }

    /// Without any faults all is as it was acknowledged, in the mount and on the server.
    fn check_all(&self, root: &Path) -> Result<(), String> {
        for file in 0..WRITERS {
            let least = self.files[file].acknowledged.load(Ordering::SeqCst);
            let path = self.path(file);
            let on_server = root.join("load").join(
                path.strip_prefix(&self.folder)
                    .expect("it is in this folder"),
            );
            let versions = [path, on_server]
                .map(|path| fs::read(path).and_then(|bytes| self.check(file, &bytes, least)));
            match versions {
                [Ok(shown), Ok(there)] if shown == there => {}
                other => return Err(format!("{file}, at least version {least}: {other:?}")),
            }
        }
        Ok(())
    }

    /// The version of a file with this content.
    fn check(&self, file: usize, bytes: &[u8], least: u64) -> io::Result<u64> {
        let head = bytes.get(..HEAD).and_then(|head| head.try_into().ok());
        let head = head.ok_or_else(|| violation(format!("{} bytes alone", bytes.len())))?;
        let version = self.version(file, &head, least)?;
        let whole = stamped(file, version, length(&head)?);
        check(whole == bytes, || {
            let (found, expected) = (bytes.len(), whole.len());
            format!("version {version} in {found} bytes of {expected}, or others")
        })?;
        Ok(version)
    }

    fn version(&self, file: usize, head: &[u8; HEAD], least: u64) -> io::Result<u64> {
        let version = number_at(head, 8);
        let most = self.files[file].tried.load(Ordering::SeqCst);
        let is_known = number_at(head, 0) == file as u64 && (least..=most).contains(&version);
        check(is_known, || {
            format!("{head:?} is no version from {least} to {most} of {file}")
        })?;
        Ok(version)
    }

    /// The operation that takes too long, and the others.
    fn stuck(&self) -> Option<String> {
        let doing = (0..self.doing.len()).filter_map(|number| self.doing(number).clone());
        let mut doing: Vec<_> = doing.collect();
        doing.sort_by_key(|(since, _)| *since);
        let (longest, _) = doing.first()?;
        if longest.elapsed() < LONGEST {
            return None;
        }
        let told = doing
            .iter()
            .map(|(since, what)| format!("for {:.1} s: {what}", since.elapsed().as_secs_f64()));
        Some(told.collect::<Vec<_>>().join("\n"))
    }

    fn doing(&self, number: usize) -> MutexGuard<'_, Option<(Instant, String)>> {
        self.doing[number].lock().expect("no panic while locked")
    }

    fn figures(&self) -> MutexGuard<'_, Figures> {
        self.figures.lock().expect("no panic while locked")
    }

    fn told(&self) -> String {
        let figures = self.figures();
        format!(
            "{}; {}; the longest took {:.1} s",
            told(&figures.done),
            told(&figures.failed),
            figures.longest.as_secs_f64()
        )
    }

    fn path(&self, file: usize) -> PathBuf {
        self.folder.join(format!("{}/{file}", file % FOLDERS))
    }
}

fn told(counts: &BTreeMap<impl std::fmt::Display, u64>) -> String {
    let counts = counts
        .iter()
        .map(|(name, count)| format!("{count} x {name}"));
    counts.collect::<Vec<_>>().join(", ")
}

/// A content that says which it is: file, version, length, and bytes that are of those.
fn stamped(file: usize, version: u64, length: usize) -> Vec<u8> {
    let head = [file as u64, version, length as u64].map(u64::to_le_bytes);
    let seed = ((file as u64) << 40) ^ (version << 8) ^ 1;
    [&head.concat()[..], &content(length, seed)].concat()
}

fn number_at(head: &[u8; HEAD], at: usize) -> u64 {
    let bytes = head[at..at + 8].try_into().expect("eight of them");
    u64::from_le_bytes(bytes)
}

fn length(head: &[u8; HEAD]) -> io::Result<usize> {
    let length = number_at(head, 16);
    check(length < 1 << 24, || format!("a length of {length}"))?;
    usize::try_from(length).map_err(io::Error::other)
}

fn check(right: bool, what: impl FnOnce() -> String) -> io::Result<()> {
    match right {
        true => Ok(()),
        false => Err(violation(what())),
    }
}

fn violation(what: String) -> io::Error {
    io::Error::other(what)
}

/// What the daemon holds.
#[derive(Clone, Copy, Debug)]
struct Holds {
    /// Open files but connections.
    files: usize,
    connections: usize,
    threads: usize,
    /// Bytes in memory, and the most there were.
    memory: u64,
    #[expect(dead_code, reason = "it is printed")]
    peak: u64,
}

impl Holds {
    fn of(mount: &ModelMount) -> io::Result<Self> {
        let process = PathBuf::from(format!("/proc/{}", mount.process()));
        // `sl local_address rem_address st queues tr retrnsmt uid timeout inode ..` (proc(5)).
        let table = fs::read_to_string(process.join("net/tcp"))?;
        let inodes = table
            .lines()
            .filter_map(|line| line.split_whitespace().nth(9));
        let inodes: Vec<String> = inodes.map(|inode| format!("socket:[{inode}]")).collect();
        let (mut files, mut connections) = (0, 0);
        for entry in fs::read_dir(process.join("fd"))? {
            // One that was closed since then is none.
            let Ok(path) = fs::read_link(entry?.path()) else {
                continue;
            };
            match inodes.iter().any(|inode| path == Path::new(inode)) {
                true => connections += 1,
                false => files += 1,
            }
        }
        let status = fs::read_to_string(process.join("status"))?;
        let kilobytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
            number.ok_or_else(|| io::Error::other(format!("no {name}")))
        };
        Ok(Self {
            files,
            connections,
            threads: fs::read_dir(process.join("task"))?.count(),
            memory: kilobytes("VmRSS:")? << 10,
            peak: kilobytes("VmHWM:")? << 10,
        })
    }
}

/// Where in the kernel each thread of the daemon waits.
fn waits(mount: &ModelMount) -> String {
    let tasks = fs::read_dir(format!("/proc/{}/task", mount.process()));
    let read = |path: PathBuf| fs::read_to_string(path).unwrap_or_default();
    let told = tasks.into_iter().flatten().flatten().map(|task| {
        let (name, wait) = (
            read(task.path().join("comm")),
            read(task.path().join("wchan")),
        );
        format!("{}: {wait}", name.trim())
    });
    told.collect::<Vec<_>>().join("\n")
}

/// Chance that can be had again: xorshift.
struct Chance(u64);

impl Chance {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        ((self.next() >> 16) % bound as u64) as usize
    }
}

/// Violations that are told one by one.
const VIOLATIONS_SHOWN: usize = 8;
const WRITERS: usize = 64;
const READERS: usize = 64;
/// Folders that the files are spread over.
const FOLDERS: usize = 8;
/// Bytes of a content that say which it is.
const HEAD: usize = 24;
/// Length of a normal run.
const SECONDS: u64 = 10;
/// Longest time until what the daemon holds is looked at.
const LONGEST_ROUND: u64 = 50;
/// What a lost connection may be told as; "not there" it may not.
const TRUE_ERRORS: [Errno; 4] = [Errno::IO, Errno::TIMEDOUT, Errno::HOSTUNREACH, Errno::STALE];
/// Longest time for one operation: it waits for a session behind a hundred others, and for a few lost ones of its own, which
/// took 44 s at most on a machine that others used as well.
const LONGEST: Duration = Duration::from_secs(120);
/// Threads of the runtime for what blocks: one or two may be about to end.
const SPARE_THREADS: usize = 2;
/// What the allocator may keep of what was freed, in the arenas of all threads.
const SPARE_MEMORY: u64 = 16 << 20;
