//! The daemon is killed between two operations, and mounted again: what was acknowledged is shown at once, and is on the
//! server soon. Of a file that was open for writing only the name is known.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::time::Duration;

use super::*;
use crate::model_mount::pause;

/// The trials for one server.
pub(super) fn trials(kind: ServerKind) -> Vec<Trial> {
    let modes: [(&str, &'static [&str]); 2] = [
        ("killed", &[]),
        ("killed_while_it_writes_back", &["writeback"]),
    ];
    let trial = |(name, options): (&str, &'static [&str])| {
        let name = format!("{}::model::{name}", kind.name());
        Trial::test(name, move || at_any_moment(kind, options))
    };
    modes.into_iter().map(trial).collect()
}

fn at_any_moment(kind: ServerKind, options: &[&str]) -> Result<(), Failed> {
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
        let logged = mount.log().len();
        let busy = both.end_handles()?;
        mount.start_again()?;
        let checked = both
            .compare_contents(&both.mounted, &busy)
            .map_err(|what| format!("mounted again: {what}"))
            .and_then(|()| both.arrives(&busy));
        checked.map_err(|what| {
            let log = mount.log();
            format!(
                "{what}\n{}",
                &log[logged..]
                    .lines()
                    .take(400)
                    .collect::<Vec<_>>()
                    .join("\n")
            )
        })
    });
    if outcome.is_ok() {
        let kills = cases.get();
        println!(
            "{}: {kills} kills of the daemon, no violation; ",
            kind.name()
        );
    }
    outcome
}

impl Both<'_> {
    /// Closes everything, and says which names were open for writing.
    fn end_handles(&mut self) -> Result<BTreeSet<PathBuf>, String> {
        let writers: Vec<u64> = self
            .local
            .handles
            .values()
            .filter(|handle| handle.writes)
            .filter_map(|handle| Some(sys::fstat(&handle.file).ok()?.st_ino))
            .collect();
        self.mounted.handles.clear();
        self.local.handles.clear();
        let tree = self.local.tree()?;
        let busy = tree
            .into_iter()
            .filter(|(_, node)| writers.contains(&node.ino));
        Ok(busy.map(|(name, _)| name).collect())
    }

    /// Sees that `side` has the names of the local folder, and their contents but for those that were `busy`.
    fn compare_contents(&self, side: &Side, busy: &BTreeSet<PathBuf>) -> Result<(), String> {
        let (wanted, got) = (self.local.tree()?, side.tree()?);
        let names = |tree: &Tree| tree.keys().cloned().collect::<Vec<_>>();
        if names(&got) != names(&wanted) {
            let (got, wanted) = (names(&got), names(&wanted));
            return Err(format!("{:?} has {got:?}, not {wanted:?}", side.root));
        }
        for (name, wanted) in wanted.iter().filter(|(name, _)| !busy.contains(*name)) {
            let got = &got[name];
            if got.content != wanted.content {
                return Err(format!("{name:?} is {got:?}, not {wanted:?}"));
            }
        }
        Ok(())
    }

    /// Sees that the server gets all of it.
    fn arrives(&self, busy: &BTreeSet<PathBuf>) -> Result<(), String> {
        let on_server = Side::new(self.on_server.clone());
        within(SOON, || {
            self.compare_contents(&on_server, busy).is_ok() && self.mount.unsent().is_empty()
        });
        self.compare_contents(&on_server, busy)
            .map_err(|what| format!("after a while: {what}"))?;
        match self.mount.unsent().as_slice() {
            [] => Ok(()),
            left => Err(format!("still in the journal: {left:?}")),
        }
    }
}

/// How long everything takes to be sent.
const SOON: Duration = Duration::from_secs(20);
