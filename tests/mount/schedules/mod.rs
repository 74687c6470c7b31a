//! Random operations against random faults of the network, on each server: whatever is acknowledged is true, what fails
//! fails with an errno that says so, and no file that was there is missing or half.
//!
//! `FTPFS_TEST_SCHEDULES` asks for more schedules on each server than those of a normal run, `FTPFS_TEST_SEED` for others.

mod broken;
mod late;
mod links;
mod load;
pub mod relay;
mod trees;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use rustix::io::Errno;

use crate::faults::{append, write};
use crate::model_mount::{ModelMount, pause, within};
use crate::servers::{Server, ServerKind};

use relay::{Fault, Harm, Relay};
use trees::{Bytes, Op, Seen, Tree, after, are_possible};

/// The trials for one server.
pub fn trials(kind: ServerKind) -> Vec<Trial> {
    let modes: [(&str, &'static [&str]); 2] =
        [("faults", &[]), ("faults_behind_the_user", &["writeback"])];
    let trial = |(name, options): (&str, &'static [&str])| {
        let name = format!("{}::schedules::{name}", kind.name());
        Trial::test(name, move || explore(kind, options))
    };
    modes
        .into_iter()
        .map(trial)
        .chain(broken::trials(kind))
        .chain(late::trials(kind))
        .chain(links::trials(kind))
        .chain(load::trials(kind))
        .collect()
}

/// Operations on a folder, and what is done to the connections meanwhile.
#[derive(Clone, Debug)]
struct Schedule {
    ops: Vec<Op>,
    faults: Vec<(u32, Fault)>,
}

fn explore(kind: ServerKind, options: &[&str]) -> Result<(), Failed> {
    let number = |name: &str, default: u64| -> Result<u64, Failed> {
        match std::env::var(name) {
            Ok(text) => Ok(text.parse()?),
            Err(_) => Ok(default),
        }
    };
    let (count, seed) = (
        number("FTPFS_TEST_SCHEDULES", SCHEDULES)?,
        number("FTPFS_TEST_SEED", 1)?,
    );
    let server = Server::start(kind);
    let bounds = ["tls=off,timeout=1s,connect_timeout=1s,attr_timeout=1s"];
    let options: Vec<&str> = bounds.iter().chain(options).copied().collect();
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut chance = TestRunner::new_with_rng(Config::default(), rng);
    let mut schedules = Vec::new();
    for number in 1..=count {
        schedules.push((number, schedule().new_tree(&mut chance)?.current()));
    }
    // They wait most of the time.
    let side_by_side = schedules.chunks(schedules.len().div_ceil(MOUNTS));
    let outcomes: Vec<Result<Counts, String>> = thread::scope(|scope| {
        let running: Vec<_> = side_by_side
            .map(|part| scope.spawn(|| explore_some(&server, &options, part)))
            .collect();
        running
            .into_iter()
            .map(|part| part.join().unwrap_or_else(|_| Err("a panic".to_owned())))
            .collect()
    });
    let mut done = Counts::new();
    for outcome in outcomes {
        let counts = outcome.map_err(|what| format!("FTPFS_TEST_SEED={seed}, {what}"))?;
        for (name, count) in counts {
            *done.entry(name).or_default() += count;
        }
    }
    let done: Vec<String> = done
        .iter()
        .map(|(name, count)| format!("{count} x {name}"))
        .collect();
    println!(
        "{}: {count} schedules, no violation; {}",
        kind.name(),
        done.join(", ")
    );
    Ok(())
}

/// How often what was done to connections.
type Counts = BTreeMap<&'static str, u64>;

/// Runs `schedules` one after another, on a mount of their own.
fn explore_some(
    server: &Server,
    options: &[&str],
    schedules: &[(u64, Schedule)],
) -> Result<Counts, String> {
    let relay = Relay::start(server.address()).map_err(|error| error.to_string())?;
    let url = format!("ftp://{}@127.0.0.1:{}/", server.user, relay.port);
    // The waits are so short that a server under load may not greet in time.
    let begin = || ModelMount::start(&url, server.password, options);
    let mount = begin().or_else(|_| begin()).or_else(|_| begin())?;
    for (number, schedule) in schedules {
        let run = Run {
            folder: mount.path.join(format!("schedule {number}")),
            on_server: server.root.join(format!("schedule {number}")),
            mount: &mount,
            relay: &relay,
        };
        let logged = mount.log().len();
        if let Err(what) = run.all(schedule) {
            let log = mount.log();
            // The last ones are of those who look whether it is well at last.
            let log: Vec<&str> = log[logged..].lines().take(LOG_SHOWN).collect();
            return Err(format!(
                "schedule {number}: {what}\n{:?}\n{}\n{}",
                schedule.faults,
                schedule.ops.iter().map(name).collect::<Vec<_>>().join("\n"),
                log.join("\n")
            ));
        }
    }
    Ok(relay.done())
}

/// One schedule on its folder.
struct Run<'a> {
    folder: PathBuf,
    on_server: PathBuf,
    mount: &'a ModelMount,
    relay: &'a Relay,
}

impl Run<'_> {
    fn all(&self, schedule: &Schedule) -> Result<(), String> {
        // What the last one left may still be broken.
        let made = within(LONG, || {
            fs::create_dir(&self.folder).is_ok() || self.folder.is_dir()
        });
        if !made {
            return Err("no folder can be made".to_owned());
        }
        self.relay.order(schedule.faults.clone());
        let mut possible = vec![Tree::new()];
        let done = schedule.ops.iter().enumerate().try_for_each(|(step, op)| {
            let seen = self.apply(op);
            let then = after(&possible, op, &seen);
            if then.is_empty() {
                let seen = brief(&seen);
                return Err(format!(
                    "step {}, {}: {seen}, where it may be {possible:?}",
                    step + 1,
                    name(op)
                ));
            }
            possible = then;
            Ok(())
        });
        // What is sent behind the user has its share of the faults.
        within(MOMENT, || self.mount.unsent().is_empty());
        self.relay.order(Vec::new());
        done?;
        let found = || contents(&self.folder).is_ok_and(|found| are_possible(&possible, &found));
        if !within(LONG, found) {
            return Err(format!(
                "the mount has {}, where it may be {possible:?}",
                told(&self.folder)
            ));
        }
        let sent = || {
            let there = contents(&self.on_server);
            self.mount.unsent().is_empty()
                && there.is_ok_and(|found| are_possible(&possible, &found))
        };
        if !within(LONG, sent) {
            let (there, unsent) = (told(&self.on_server), self.mount.unsent());
            return Err(format!(
                "the server has {there}, where it may be {possible:?}; unsent: {unsent:?}"
            ));
        }
        Ok(())
    }

    fn apply(&self, op: &Op) -> Result<Seen, Errno> {
        let path = |name: &str| self.folder.join(name);
        let done = match op {
            Op::Put(name, bytes) => write(&path(name), bytes),
            Op::Append(name, bytes) => append(&path(name), bytes),
            Op::Rename(from, to) => fs::rename(path(from), path(to)),
            Op::Remove(name) => fs::remove_file(path(name)),
            Op::Read(name) => return fs::read(path(name)).map(Seen::Bytes).map_err(errno),
            Op::List => return names(&self.folder).map(Seen::Names).map_err(errno),
        };
        done.map(|()| Seen::Done).map_err(|error| {
            // Shown until the kernel releases it, which is after the close that failed.
            pause(RELEASED);
            errno(error)
        })
    }
}

fn errno(error: io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::NOSYS)
}

/// Names but for those of ours, which a connection that ended may have left.
fn names(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !name.starts_with(".ftpfs-") {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

fn contents(folder: &Path) -> io::Result<BTreeMap<String, Vec<u8>>> {
    let names = names(folder)?.into_iter();
    names
        .map(|name| Ok((name.clone(), fs::read(folder.join(name))?)))
        .collect()
}

fn told(folder: &Path) -> String {
    match contents(folder) {
        Ok(found) => {
            let found: Vec<_> = found
                .iter()
                .map(|(name, bytes)| format!("{name}: {:?}", Bytes(bytes)))
                .collect();
            format!("{{{}}}", found.join(", "))
        }
        Err(error) => error.to_string(),
    }
}

fn name(op: &Op) -> String {
    match op {
        Op::Put(name, bytes) => format!("put {name}, {:?}", Bytes(bytes)),
        Op::Append(name, bytes) => format!("append to {name}, {:?}", Bytes(bytes)),
        other => format!("{other:?}"),
    }
}

fn brief(seen: &Result<Seen, Errno>) -> String {
    match seen {
        Ok(Seen::Bytes(bytes)) => format!("{:?}", Bytes(bytes)),
        other => format!("{other:?}"),
    }
}

fn schedule() -> impl Strategy<Value = Schedule> {
    let ops = proptest::collection::vec(op(), 4..16);
    let faults = proptest::collection::vec((1..24u32, fault()), 1..5);
    (ops, faults).prop_map(|(ops, faults)| Schedule { ops, faults })
}

fn op() -> impl Strategy<Value = Op> {
    let name = || prop_oneof![Just("a"), Just("b"), Just("c")].prop_map(str::to_owned);
    let bytes = || {
        let length = prop_oneof![1 => Just(0usize), 3 => 1..200usize, 4 => 200..60_000usize, 1 => 1_100_000..1_500_000usize];
        (length, any::<u64>()).prop_map(|(length, seed)| content(length, seed))
    };
    let little = (1..3_000usize, any::<u64>()).prop_map(|(length, seed)| content(length, seed));
    prop_oneof![
        5 => (name(), bytes()).prop_map(|(name, bytes)| Op::Put(name, bytes)),
        2 => (name(), little).prop_map(|(name, bytes)| Op::Append(name, bytes)),
        2 => (name(), name()).prop_map(|(from, to)| Op::Rename(from, to)),
        2 => name().prop_map(Op::Remove),
        3 => name().prop_map(Op::Read),
        1 => Just(Op::List),
    ]
}

/// Bytes of which no part is like another's.
fn content(length: usize, seed: u64) -> Arc<[u8]> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..length).map(|_| next()).collect()
}

fn fault() -> impl Strategy<Value = Fault> {
    let harm = prop_oneof![
        4 => Just(Harm::Cut),
        3 => Just(Harm::Reset),
        1 => Just(Harm::Stall),
        1 => Just(Harm::Discard),
    ];
    // A listing that ends properly before its first line is an empty folder for many.
    let after = prop_oneof![1..300u64, 1..60_000u64];
    prop_oneof![
        3 => Just(Fault::Drop),
        3 => Just(Fault::Reset),
        4 => Just(Fault::LoseReply),
        2 => (0..40usize).prop_map(Fault::TruncateReply),
        2 => Just(Fault::DoubleReply),
        1 => Just(Fault::HalfClose),
        2 => Just(Fault::Say421),
        2 => (10..300u64).prop_map(Fault::Delay),
        2 => (1..100u64).prop_map(Fault::Late),
        1 => Just(Fault::Stall),
        2 => (1..6u32).prop_map(Fault::Refuse),
        1 => Just(Fault::NeverFinal),
        8 => (harm, after).prop_map(|(harm, after)| Fault::Data(harm, after)),
    ]
}

/// Schedules on each server in each mode: with nine servers, a thousand in all.
const SCHEDULES: u64 = 56;

/// Mounts that they are divided among.
const MOUNTS: usize = 4;

/// How long it takes at most until a file is let go that could not be sent.
const RELEASED: Duration = Duration::from_millis(250);

/// How long the faults last after the last operation.
const MOMENT: Duration = Duration::from_secs(1);

/// How long it takes at most until all is well again.
const LONG: Duration = Duration::from_secs(40);

/// Lines of the log of a schedule that are shown.
const LOG_SHOWN: usize = 500;
