//! Changes that were acknowledged and that the server has yet to be told: in order where one bears on another, side by
//! side where not.
//!
//! A change bears on those at its own path, above it and below it. What is shown of a path is the server's word, changed
//! by what is queued for it.

mod ready;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use super::view::View;
use super::{Error, Result};
use crate::cache::Version;
use crate::ftp::RemotePath;
use crate::ftp::list::{Entry, Kind};
use crate::pool::SMALL;
use ready::Ready;

/// What is to be done at a path.
#[derive(Clone, Debug)]
pub enum Work {
    /// What is staged for the inode is sent, if it is still this content: a name that is used again gets the same number.
    Send { ino: u64, content: u64, size: u64 },
    /// A folder is made, which is shown like this.
    MakeDir(Entry),
    /// What is there, of this kind, is removed; a file only in this version, where one is given.
    Remove(Kind, Option<Version>),
    /// Permission bits are set.
    SetMode(u64, u32),
    /// A time of modification is set, Unix seconds.
    SetMtime(u64, i64),
}

/// The queue.
#[derive(Debug, Default)]
pub struct Queue {
    state: Mutex<State>,
    /// Told whenever something is ready to be done.
    ready: Notify,
    /// Told whenever a change has ended or has to be tried again.
    progress: Progress,
}

#[derive(Debug)]
struct Progress(watch::Sender<()>);

impl Default for Progress {
    fn default() -> Self {
        Self(watch::Sender::new(()))
    }
}

#[derive(Debug, Default)]
struct State {
    changes: BTreeMap<u64, Queued>,
    /// Numbers by path, rising.
    at: BTreeMap<RemotePath, Vec<u64>>,
    ready: Ready,
    last: u64,
    /// Of files, on this machine's disk.
    bytes: u64,
}

#[derive(Debug)]
struct Queued {
    path: RemotePath,
    work: Work,
    /// Earlier changes that have to end first.
    waits_for: usize,
    /// Later ones that wait for this one.
    before: Vec<u64>,
    /// One of those that `waits_for` counts is the moment that it is left alone.
    held: bool,
    /// Why it has to be tried again, while it rests.
    resting: Option<Arc<Error>>,
    tries: u32,
    running: bool,
}

impl Queued {
    /// Whether the server needs long for it.
    fn is_long(&self) -> bool {
        matches!(self.work, Work::Send { size, .. } if size > SMALL)
    }

    fn sends(&self, own: u64) -> bool {
        matches!(self.work, Work::Send { content, .. } if content == own)
    }
}

/// Whose turn it is.
#[derive(Clone, Debug)]
pub enum Turn {
    /// Not its own: something before it has to end first, or a session to become free.
    Waits,
    /// It is being made on the server.
    Runs,
    /// It could not be made, and is tried again.
    Rests(Arc<Error>),
}

impl Queue {
    /// Numbers go on behind `last`.
    pub fn go_on_behind(&self, last: u64) {
        let mut state = self.state();
        state.last = state.last.max(last);
    }

    /// The number of the next change.
    pub fn number(&self) -> u64 {
        let mut state = self.state();
        state.last += 1;
        state.last
    }

    /// Queues `work` at `path` by its `number`, behind all before it that it bears on.
    pub fn add(&self, number: u64, path: &RemotePath, work: Work) {
        self.add_with(number, path, work, 0);
    }

    fn add_with(&self, number: u64, path: &RemotePath, work: Work, held: usize) {
        let mut state = self.state();
        let earlier: Vec<u64> = state
            .bearing_on(path)
            .filter(|&other| other < number)
            .collect();
        for other in &earlier {
            if let Some(other) = state.changes.get_mut(other) {
                other.before.push(number);
            }
        }
        let waits_for = earlier.len() + held;
        let is_ready = waits_for == 0;
        if let Work::Send { size, .. } = work {
            state.bytes += size;
        }
        state.changes.insert(
            number,
            Queued {
                path: path.clone(),
                work,
                waits_for,
                before: Vec::new(),
                held: held > 0,
                resting: None,
                tries: 0,
                running: false,
            },
        );
        state.at.entry(path.clone()).or_default().push(number);
        if is_ready {
            state.make_ready(number);
            drop(state);
            self.ready.notify_one();
        }
    }

    /// [`Queue::add`], with something that is not begun before [`Queue::release`], or before somebody waits for it.
    pub fn add_held(&self, number: u64, path: &RemotePath, work: Work) {
        self.add_with(number, path, work, 1);
    }

    /// Ends [`Queue::add_held`].
    pub fn release(&self, number: u64) {
        let mut state = self.state();
        if state.release(number) {
            drop(state);
            self.ready.notify_one();
        }
    }

    /// The next change that can be done. Of those that send more than a small file only `most_long` run at once. Cancel safe.
    pub async fn next(&self, most_long: impl Fn() -> usize) -> (u64, RemotePath, Work) {
        loop {
            {
                let mut state = self.state();
                let most_long = most_long();
                if let Some(number) = state.ready.begin(most_long)
                    && let Some(queued) = state.changes.get_mut(&number)
                {
                    queued.running = true;
                    let next = (number, queued.path.clone(), queued.work.clone());
                    if state.ready.next(most_long).is_some() {
                        self.ready.notify_one();
                    }
                    return next;
                }
            }
            self.ready.notified().await;
        }
    }

    /// The change is over, one way or another.
    pub fn end(&self, number: u64) {
        self.state().remove(number);
        self.ready.notify_one();
        self.progress.0.send_replace(());
    }

    /// The change could not be done for now, because of `error`; how long to leave it until [`Queue::wake`].
    pub fn rest(&self, number: u64, error: Arc<Error>) -> Duration {
        let mut state = self.state();
        let mut tries = 0;
        if let Some(queued) = state.changes.get_mut(&number) {
            queued.running = false;
            queued.resting = Some(error);
            tries = queued.tries;
            queued.tries += 1;
        }
        state.ready.remove(number);
        drop(state);
        // Another long one may begin.
        self.ready.notify_one();
        self.progress.0.send_replace(());
        (FIRST_REST * 2u32.pow(tries.min(16))).min(LONGEST_REST)
    }

    /// A change that rested is tried again.
    pub fn wake(&self, number: u64) {
        let mut state = self.state();
        let resting = state.changes.get_mut(&number);
        if resting.is_some_and(|queued| queued.resting.take().is_some()) {
            state.make_ready(number);
            drop(state);
            self.ready.notify_one();
        }
    }

    /// Tries again at once what rests.
    pub fn wake_all(&self) {
        let resting: Vec<u64> = {
            let state = self.state();
            let changes = state.changes.iter();
            let resting = changes.filter(|(_, queued)| queued.resting.is_some());
            resting.map(|(number, _)| *number).collect()
        };
        resting.into_iter().for_each(|number| self.wake(number));
    }

    /// Everything that is queued, in its order.
    pub fn all(&self) -> Vec<(RemotePath, Work, Turn)> {
        let state = self.state();
        let changes = state.changes.values();
        changes
            .map(|queued| {
                let turn = match &queued.resting {
                    Some(error) => Turn::Rests(error.clone()),
                    None if queued.running => Turn::Runs,
                    None => Turn::Waits,
                };
                (queued.path.clone(), queued.work.clone(), turn)
            })
            .collect()
    }

    /// Whether nothing is queued that bears on `path`.
    pub fn is_free(&self, path: &RemotePath) -> bool {
        let state = self.state();
        state.changes.is_empty() || state.bearing_on(path).next().is_none()
    }

    /// Takes the content `own`, which is queued to be sent to `path`, back if that has not begun; its number.
    pub fn take_back(&self, path: &RemotePath, own: u64) -> Option<u64> {
        let mut state = self.state();
        let number = *state.at.get(path)?.iter().find(|number| {
            state
                .changes
                .get(number)
                .is_some_and(|queued| queued.sends(own) && !queued.running)
        })?;
        state.remove(number);
        drop(state);
        self.ready.notify_one();
        self.progress.0.send_replace(());
        Some(number)
    }

    /// All that is queued for `path`, to be done with something else, if that is nothing but attributes and nothing else bears
    /// on it: by rising number. Ended by [`Queue::end`] of each from the last on, or by [`Queue::leave`].
    pub fn take_attributes(&self, path: &RemotePath) -> Vec<(u64, Work)> {
        let mut state = self.state();
        let numbers: Vec<u64> = state.bearing_on(path).collect();
        let attribute = |number: &u64| {
            let queued = state.changes.get(number)?;
            let sets = matches!(queued.work, Work::SetMode(..) | Work::SetMtime(..));
            let waits = !queued.running && queued.resting.is_none();
            (sets && waits && queued.path == *path).then(|| (*number, queued.work.clone()))
        };
        let Some(taken) = numbers.iter().map(attribute).collect() else {
            return Vec::new();
        };
        for number in numbers {
            state.release(number);
            state.ready.remove(number);
            if let Some(queued) = state.changes.get_mut(&number) {
                queued.running = true;
            }
        }
        taken
    }

    /// What was taken by [`Queue::take_attributes`] is done in its turn after all.
    pub fn leave(&self, numbers: impl Iterator<Item = u64>) {
        let mut state = self.state();
        for number in numbers {
            if let Some(queued) = state.changes.get_mut(&number) {
                queued.running = false;
                if queued.waits_for == 0 {
                    state.make_ready(number);
                }
            }
        }
        drop(state);
        self.ready.notify_one();
    }

    /// Whether the content `own` is queued to be sent to `path`.
    pub fn has_send(&self, path: &RemotePath, own: u64) -> bool {
        let state = self.state();
        let numbers = state.at.get(path).into_iter().flatten();
        let mut queued = numbers.filter_map(|number| state.changes.get(number));
        queued.any(|queued| queued.sends(own))
    }

    /// Waits until nothing is queued that bears on `path`.
    ///
    /// # Errors
    /// Why something of it has to be tried again: it stays queued. Cancel safe.
    pub async fn settled(&self, path: &RemotePath) -> Result<()> {
        self.until(|state| state.bearing_on(path).collect()).await
    }

    /// Waits until fewer than `changes` and less than `bytes` are queued, or nothing at all.
    ///
    /// # Errors
    /// As for [`Queue::settled`]: nothing gets done at the moment.
    pub async fn less_than(&self, changes: usize, bytes: u64) -> Result<()> {
        self.until(
            |state| match state.changes.len() < changes && state.bytes < bytes {
                true => Vec::new(),
                false => state.changes.keys().take(1).copied().collect(),
            },
        )
        .await
    }

    /// The number of the latest change.
    pub fn last_number(&self) -> u64 {
        self.state().last
    }

    /// Waits until of the changes up to `last` only those are left that rest, or wait for such; what is left, and why.
    pub async fn quiet(&self, last: u64) -> Vec<(RemotePath, Option<Arc<Error>>)> {
        let mut progress = self.progress.0.subscribe();
        loop {
            {
                let mut state = self.state();
                let held: Vec<u64> = state.changes.range(..=last).map(|(&n, _)| n).collect();
                for number in held {
                    if state.release(number) {
                        self.ready.notify_one();
                    }
                }
                let busy = state.ready.has_any(last)
                    || state
                        .changes
                        .range(..=last)
                        .any(|(_, queued)| queued.running);
                if !busy {
                    let left = state.changes.range(..=last);
                    return left
                        .map(|(_, queued)| (queued.path.clone(), queued.resting.clone()))
                        .collect();
                }
            }
            // The sender lives as long as this does.
            let _told = progress.changed().await;
        }
    }

    async fn until(&self, those: impl Fn(&State) -> Vec<u64>) -> Result<()> {
        let mut progress = self.progress.0.subscribe();
        loop {
            {
                let mut state = self.state();
                let numbers = those(&state);
                if numbers.is_empty() {
                    return Ok(());
                }
                for &number in &numbers {
                    if state.release(number) {
                        self.ready.notify_one();
                    }
                }
                let mut queued = numbers
                    .iter()
                    .filter_map(|number| state.changes.get(number));
                if let Some(error) = queued.find_map(|queued| queued.resting.clone()) {
                    return Err(Error::Before(error));
                }
            }
            let _told = progress.changed().await;
        }
    }

    /// What is queued for `path`, and above it, at this moment.
    pub fn view(&self, path: &RemotePath) -> View {
        let state = self.state();
        if state.changes.is_empty() {
            return View::default();
        }
        let made = |path: &RemotePath| {
            let numbers = state.at.get(path).into_iter().flatten();
            let mut works = numbers.filter_map(|number| Some(&state.changes.get(number)?.work));
            works.any(|work| matches!(work, Work::MakeDir(_)))
        };
        View {
            works: state.works(path),
            made: made(path) || above(path).any(|folder| made(&folder)),
        }
    }

    /// The names in `dir` for which something is queued at this moment.
    pub fn views_in(&self, dir: &RemotePath) -> Vec<(Vec<u8>, View)> {
        let state = self.state();
        let below = state.below(dir);
        let children = below.filter(|(path, _)| path.parent().as_ref() == Some(dir));
        children
            .map(|(path, _)| {
                let works = state.works(path);
                (path.name().to_vec(), View { works, made: false })
            })
            .collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while locked")
    }
}

impl State {
    /// Numbers of all changes at `path`, above it and below it.
    fn bearing_on<'a>(&'a self, path: &'a RemotePath) -> impl Iterator<Item = u64> + 'a {
        let own = self.at.get(path).into_iter().flatten().copied();
        let above =
            above(path).flat_map(|folder| self.at.get(&folder).cloned().unwrap_or_default());
        let below = self
            .below(path)
            .flat_map(|(_, numbers)| numbers.iter().copied());
        own.chain(above).chain(below)
    }

    fn below<'a>(
        &'a self,
        dir: &'a RemotePath,
    ) -> impl Iterator<Item = (&'a RemotePath, &'a Vec<u64>)> + 'a {
        // Byte order keeps together what begins with the folder and a slash.
        let begin = match dir.is_root() {
            true => dir.clone(),
            false => dir.join(b""),
        };
        self.at
            .range(begin..)
            .filter(move |(path, _)| *path != dir)
            .take_while(move |(path, _)| path.is_within(dir))
    }

    fn works(&self, path: &RemotePath) -> Vec<Work> {
        let numbers = self.at.get(path).into_iter().flatten();
        let works = numbers.filter_map(|number| Some(self.changes.get(number)?.work.clone()));
        works
            .filter(|work| !matches!(work, Work::Send { .. }))
            .collect()
    }

    /// It can be done now.
    fn make_ready(&mut self, number: u64) {
        if let Some(queued) = self.changes.get(&number) {
            self.ready.insert(number, queued.is_long());
        }
    }

    /// Ends the moment that a change is left alone; whether it is ready by that.
    fn release(&mut self, number: u64) -> bool {
        let Some(queued) = self.changes.get_mut(&number) else {
            return false;
        };
        if std::mem::take(&mut queued.held) {
            queued.waits_for -= 1;
            if queued.waits_for == 0 {
                self.make_ready(number);
                return true;
            }
        }
        false
    }

    fn remove(&mut self, number: u64) {
        self.ready.remove(number);
        let Some(gone) = self.changes.remove(&number) else {
            return;
        };
        if let Work::Send { size, .. } = gone.work {
            self.bytes -= size;
        }
        if let Some(numbers) = self.at.get_mut(&gone.path) {
            numbers.retain(|&other| other != number);
            if numbers.is_empty() {
                self.at.remove(&gone.path);
            }
        }
        for later in gone.before {
            if let Some(queued) = self.changes.get_mut(&later) {
                queued.waits_for -= 1;
                if queued.waits_for == 0 {
                    self.make_ready(later);
                }
            }
        }
    }
}

/// The folders that hold `path`, from the next one up.
fn above(path: &RemotePath) -> impl Iterator<Item = RemotePath> + use<> {
    std::iter::successors(path.parent(), RemotePath::parent)
}

/// How long a change rests after its first failure; doubled by each further one.
const FIRST_REST: Duration = Duration::from_secs(1);

/// How long it rests at most: a server that is back is not kept waiting for long.
const LONGEST_REST: Duration = Duration::from_secs(30);
