//! The daemon is killed between two operations or in the middle of one, and mounted again: what was acknowledged is shown at
//! once, and is on the server soon. What was under way is done or not. Of a file that was open for writing only the name is
//! known.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::*;
use crate::model_mount::pause;

/// The trials for one server.
pub(super) fn trials(kind: ServerKind) -> Vec<Trial> {
    type Run = fn(ServerKind, &'static [&'static str]) -> Result<(), Failed>;
    let trials: [(&str, Run, &'static [&str]); 4] = [
        ("killed", between, &[]),
        ("killed_while_it_writes_back", between, &["writeback"]),
        ("killed_in_the_middle", in_the_middle, &[]),
        (
            "killed_in_the_middle_behind_the_user",
            in_the_middle,
            &["writeback"],
        ),
    ];
    let trial = |(name, run, options): (&str, Run, &'static [&str])| {
        let name = format!("{}::model::{name}", kind.name());
        Trial::test(name, move || run(kind, options))
    };
    trials.into_iter().map(trial).collect()
}

fn between(kind: ServerKind, options: &[&str]) -> Result<(), Failed> {
    let server = Server::start(kind);
    let mount = ModelMount::of(&server, options);
    let cases = Cell::new(0);
    // From none to many round trips on this machine.
    let moments = (script(odd_name(kind)), 0..5_000u64);
    let outcome = run_cases(8, &moments, |(script, moment)| {
        cases.set(cases.get() + 1);
        let case = format!("case {}", cases.get());
        let mut both = Both::new(&server, &mount, &case, Sent::Later)?;
        both.apply(script)?;
        pause(Duration::from_micros(*moment));
        mount.kill();
        let expected = both.expected()?;
        both.outlives_it(&[expected])
    });
    if outcome.is_ok() {
        println!(
            "{}: {} kills of the daemon, no violation; ",
            kind.name(),
            cases.get()
        );
    }
    outcome
}

fn in_the_middle(kind: ServerKind, options: &[&str]) -> Result<(), Failed> {
    let server = Server::start(kind);
    let mount = ModelMount::of(&server, options);
    let (cases, hits) = (Cell::new(0), Cell::new(0));
    let moments = (
        script(odd_name(kind)),
        script(odd_name(kind)),
        0..LONGEST_MOMENT,
    );
    let outcome = run_cases(8, &moments, |(script, under_fire, moment)| {
        cases.set(cases.get() + 1);
        let case = format!("case {}", cases.get());
        let mut both = Both::new(&server, &mount, &case, Sent::Later)?;
        both.apply(script)?;
        let moment = Duration::from_micros(*moment);
        let possible = both.apply_until_killed(under_fire, moment)?;
        hits.set(hits.get() + u32::from(possible.len() > 1));
        both.outlives_it(&possible)
    });
    if outcome.is_ok() {
        println!(
            "{}: {} kills of the daemon, no violation; {} kills within an operation",
            kind.name(),
            cases.get(),
            hits.get()
        );
    }
    outcome
}

/// What there may be after the daemon has ended.
struct Expected {
    tree: Tree,
    /// What was open for writing: any content will do.
    busy: BTreeSet<PathBuf>,
}

impl Expected {
    /// Sees that `side` has the names, and the contents but for those that were busy.
    fn compare(&self, side: &Side) -> Result<(), String> {
        let got = side.tree()?;
        let names = |tree: &Tree| tree.keys().cloned().collect::<Vec<_>>();
        if names(&got) != names(&self.tree) {
            let (got, wanted) = (names(&got), names(&self.tree));
            return Err(format!("{:?} has {got:?}, not {wanted:?}", side.root));
        }
        for (name, wanted) in &self.tree {
            let got = &got[name];
            if got.content != wanted.content && !self.busy.contains(name) {
                return Err(format!("{name:?} is {got:?}, not {wanted:?}"));
            }
        }
        Ok(())
    }
}

/// Sees that `side` is one of those that are possible.
fn is_one_of(possible: &[Expected], side: &Side) -> Result<(), String> {
    let mut differences = Vec::new();
    for expected in possible {
        match expected.compare(side) {
            Ok(()) => return Ok(()),
            Err(difference) => differences.push(difference),
        }
    }
    Err(differences.join("; and "))
}

impl Both<'_> {
    /// What there is to be, by the local folder and its handles.
    fn expected(&self) -> Result<Expected, String> {
        let writers: Vec<u64> = self
            .local
            .handles
            .values()
            .filter(|handle| handle.writes)
            .filter_map(|handle| Some(sys::fstat(&handle.file).ok()?.st_ino))
            .collect();
        let tree = self.local.tree()?;
        let is_busy = |(_, node): &(&PathBuf, &Node)| writers.contains(&node.ino);
        let busy = tree
            .iter()
            .filter(is_busy)
            .map(|(name, _)| name.clone())
            .collect();
        Ok(Expected { tree, busy })
    }

    /// Applies `operations` to both, again and again, until the daemon is killed after a `moment`; what there may be then.
    fn apply_until_killed(
        &mut self,
        Script(operations): &Script,
        moment: Duration,
    ) -> Result<Vec<Expected>, String> {
        let killed = AtomicBool::new(false);
        let (mount, mounted) = (self.mount, &mut self.mounted);
        // Each outcome, and whether it was there before the kill.
        let outcomes: Vec<(Outcome, bool)> = thread::scope(|scope| {
            let applied = scope.spawn(|| {
                let mut outcomes = Vec::new();
                for operation in operations.iter().cycle() {
                    let outcome = mounted.apply(operation);
                    let in_time = !killed.load(Ordering::SeqCst);
                    outcomes.push((outcome, in_time));
                    if !in_time {
                        break;
                    }
                }
                outcomes
            });
            pause(moment);
            killed.store(true, Ordering::SeqCst);
            mount.kill();
            applied.join().map_err(|_| "a panic".to_owned())
        })?;
        let mut possible = Vec::new();
        for (operation, (got, in_time)) in operations.iter().cycle().zip(outcomes) {
            if in_time {
                let wanted = self.local.apply(operation);
                if got != wanted {
                    return Err(format!("{operation:?}: {}", differ(&got, &wanted)));
                }
                continue;
            }
            let before = self.expected()?;
            let wanted = self.local.apply(operation);
            if got != wanted || !is_an_answer(operation) {
                possible.push(before);
            }
        }
        possible.push(self.expected()?);
        Ok(possible)
    }

    /// Mounts again what was killed, and sees that it shows one of those that are `possible` at once, and that the server
    /// gets it.
    fn outlives_it(&mut self, possible: &[Expected]) -> Result<(), String> {
        self.mounted.handles.clear();
        self.local.handles.clear();
        let logged = self.mount.log().len();
        self.mount.start_again()?;
        let checked = is_one_of(possible, &self.mounted)
            .map_err(|what| format!("mounted again: {what}"))
            .and_then(|()| self.arrives(possible));
        checked.map_err(|what| {
            let log = self.mount.log();
            let lines: Vec<&str> = log[logged..].lines().take(LOG_SHOWN).collect();
            format!("{what}\n{}", lines.join("\n"))
        })
    }

    /// Sees that the server gets all of it.
    fn arrives(&self, possible: &[Expected]) -> Result<(), String> {
        let on_server = Side::new(self.on_server.clone());
        within(SOON, || {
            is_one_of(possible, &on_server).is_ok() && self.mount.unsent().is_empty()
        });
        is_one_of(possible, &on_server).map_err(|what| format!("after a while: {what}"))?;
        match self.mount.unsent().as_slice() {
            [] => Ok(()),
            left => Err(format!("still in the journal: {left:?}")),
        }
    }
}

/// Whether a success says that the operation is done: what `close` says is not looked at, and opening a handle closes the
/// one before it.
fn is_an_answer(operation: &Op) -> bool {
    !matches!(operation, Op::Close(_) | Op::Open(..))
}

/// How long everything takes to be sent.
const SOON: Duration = Duration::from_secs(20);

/// Microseconds until a kill at the latest: a few operations.
const LONGEST_MOMENT: u64 = 30_000;

/// Lines of the log that are shown.
const LOG_SHOWN: usize = 400;
