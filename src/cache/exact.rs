//! Exact times of files: asked by `MDTM`, many in one flight, where the listing tells minutes or days.

use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tracing::debug;

use super::listings::{Folder, Item};
use super::{Error, Remote, Result};
use crate::ftp::RemotePath;
use crate::ftp::list::Entry;
use crate::pool::{Retry, on_session};

impl Remote {
    /// Asks the exact time of `path`, and in the same flight those of the files after it in its folder.
    pub(super) async fn settle(&self, path: &RemotePath) -> Result<Option<Item>> {
        let dir = path.parent().unwrap_or_else(RemotePath::root);
        let mut told: Option<Asked> = None;
        loop {
            if let Some(asked) = &mut told {
                // Before the look, so that no answer is missed between looking and waiting.
                asked.borrow_and_update();
            }
            let Some(folder) = self.listings().known(&dir) else {
                return self.stat_boxed(path).await;
            };
            match folder.entries.get(path.name()) {
                Some(item) if !item.settled => {}
                other => return Ok(other.cloned()),
            }
            let Some(asked) = &mut told else {
                told = Some(self.ask_exactly(&dir, &folder, path.name()));
                continue;
            };
            // Changing a listing that somebody holds would copy it.
            drop(folder);
            // At each flight that is answered; an error means that the asking is over.
            if asked.changed().await.is_err() {
                let failure = asked.borrow().clone();
                if let Some(error) = failure {
                    return Err(error);
                }
                told = None;
            }
        }
    }

    /// Where the server is near, asks the exact times in `dir`, and waits for them: who lists a folder mostly wants to know
    /// them, and what is not exact the kernel asks for file by file.
    pub async fn settle_near(&self, dir: &RemotePath) {
        let round_trip = self.pool().with_profile(|profile| profile.round_trip);
        if round_trip.is_none_or(|round_trip| round_trip > NEAR) {
            return;
        }
        let Some(folder) = self.listings().known(dir) else {
            return;
        };
        let unsettled = folder.entries.iter().find(|(_, item)| !item.settled);
        let Some((name, _)) = unsettled else {
            return;
        };
        let mut asked = self.ask_exactly(dir, &folder, name);
        // Changing a listing that somebody holds would copy it.
        drop(folder);
        let over = async { while asked.changed().await.is_ok() {} };
        timeout(PATIENCE, over).await.ok();
    }

    /// Sees to it that the exact times in `dir` are asked, first of all that of `name`.
    fn ask_exactly(&self, dir: &RemotePath, folder: &Folder, name: &[u8]) -> Asked {
        let settling = match self.begin_settling(dir) {
            Ok(settling) => settling,
            Err(asked) => return asked,
        };
        let unsettled = unsettled(dir, folder, name);
        self.asked_exactly(dir);
        let (remote, asked) = (self.clone(), settling.teller.subscribe());
        tokio::spawn(async move { remote.settle_all(unsettled, &[settling]).await });
        asked
    }

    /// Whoever gets the first asks; the others are told of each answer by the second.
    pub(super) fn begin_settling(&self, dir: &RemotePath) -> std::result::Result<Settling, Asked> {
        let mut settling = self.inner.settling.lock().expect("no panic while locked");
        if let Some(asked) = settling.get(dir) {
            return Err(asked.clone());
        }
        let (teller, asked) = watch::channel(None);
        settling.insert(dir.clone(), asked);
        Ok(Settling {
            remote: self.clone(),
            dir: dir.clone(),
            teller,
        })
    }

    pub(super) fn settle_early(&self, dir: &RemotePath, entries: &[Entry]) -> Option<Early> {
        let files: Vec<Unsettled> = entries
            .iter()
            .map(|entry| Item::new(entry.clone()))
            .filter(|item| !item.settled)
            .map(|item| Unsettled::new(dir, &item.entry))
            .collect();
        if files.is_empty() {
            return None;
        }
        let settling = self.begin_settling(dir).ok()?;
        let remote = self.clone();
        Some((
            settling,
            tokio::spawn(async move { remote.exact_times(files).await }),
        ))
    }

    /// Asks the exact times of `files`, remembers them, and tells those who wait in the folders of `settling`.
    pub(super) async fn settle_all(&self, files: Vec<Unsettled>, settling: &[Settling]) {
        let mut flights = self.exact_flights(files);
        while let Some(flight) = flights.join_next().await {
            match flight {
                Ok(Ok(times)) => {
                    self.settled(times);
                    settling.iter().for_each(|one| drop(one.teller.send(None)));
                }
                Ok(Err(error)) => {
                    debug!(%error, "no exact times");
                    settling
                        .iter()
                        .for_each(|one| drop(one.teller.send(Some(error.clone()))));
                    // The others are given up with it.
                    return;
                }
                // Given up, or panicked: whoever waits asks himself.
                Err(_) => return,
            }
        }
    }

    pub(super) fn settled(&self, times: Vec<Exact>) {
        for (path, seconds, size) in times {
            if let Some(dir) = path.parent() {
                self.listings()
                    .update(&dir, path.name(), |item| item.settle(seconds, size));
            }
        }
    }

    /// The exact times of `files`, and the sizes of those that their listing gave none.
    async fn exact_times(&self, files: Vec<Unsettled>) -> Result<Vec<Exact>> {
        let mut times = Vec::with_capacity(files.len());
        for flight in self.exact_flights(files).join_all().await {
            times.extend(flight?);
        }
        Ok(times)
    }

    /// Asks on several sessions side by side; one is left for others.
    fn exact_flights(&self, files: Vec<Unsettled>) -> JoinSet<Result<Vec<Exact>>> {
        let mut flights = JoinSet::new();
        // Names that cannot be sent would fail the flight; nothing more can be learned of them.
        let (asked, unsayable): (Vec<_>, Vec<_>) =
            files.into_iter().partition(|file| file.path.is_sayable());
        let unsayable = unsayable.into_iter().map(|file| (file.path, None, None));
        let unsayable: Vec<Exact> = unsayable.collect();
        if !unsayable.is_empty() {
            flights.spawn(async move { Ok(unsayable) });
        }
        let mut asked = asked.into_iter().peekable();
        while asked.peek().is_some() {
            let flight: Vec<Unsettled> = asked.by_ref().take(FLIGHT).collect();
            let remote = self.clone();
            flights.spawn(async move {
                let _turn = remote.inner.exact.acquire().await;
                remote.exact_flight(flight).await
            });
        }
        flights
    }

    async fn exact_flight(&self, files: Vec<Unsettled>) -> Result<Vec<Exact>> {
        let paths: Vec<RemotePath> = files.iter().map(|file| file.path.clone()).collect();
        let times =
            on_session!(self.pool(), Retry::Idempotent, session => session.modified(&paths))?;
        let unsized_files: Vec<RemotePath> = files
            .iter()
            .filter(|file| file.unsized_file)
            .map(|file| file.path.clone())
            .collect();
        let mut sizes = Vec::new();
        if !unsized_files.is_empty() {
            sizes = on_session!(self.pool(), Retry::Idempotent, session => session.sizes(&unsized_files))?;
        }
        let mut sizes = sizes.into_iter();
        let exact = files.into_iter().zip(times).map(|(file, seconds)| {
            let size = file.unsized_file.then(|| sizes.next().flatten());
            (file.path, seconds, size.flatten())
        });
        Ok(exact.collect())
    }
}

/// A file of which more can be asked than its listing says.
pub(super) struct Unsettled {
    path: RemotePath,
    unsized_file: bool,
}

impl Unsettled {
    fn new(dir: &RemotePath, entry: &Entry) -> Self {
        Self {
            path: dir.join(&entry.name),
            unsized_file: entry.size.is_none(),
        }
    }
}

/// What was asked of a file: its time in Unix seconds, and its size; `None` where the server does not say.
type Exact = (RemotePath, Option<i64>, Option<u64>);

/// Told of each answer; holds why the last question failed.
pub(super) type Asked = watch::Receiver<Option<Error>>;

/// Exact times that are asked while their listing is not confirmed yet.
pub(super) type Early = (Settling, JoinHandle<Result<Vec<Exact>>>);

/// The files of the folder `dir` to ask for at once: `first`, those behind it, and then those before it.
pub(super) fn unsettled(dir: &RemotePath, folder: &Folder, first: &[u8]) -> Vec<Unsettled> {
    let after = folder.entries.range(first.to_vec()..);
    let before = folder.entries.range(..first.to_vec());
    after
        .chain(before)
        .filter(|(_, item)| !item.settled)
        .take(SETTLED_AT_ONCE)
        .map(|(_, item)| Unsettled::new(dir, &item.entry))
        .collect()
}

/// Those who wait for the exact times of a folder's files wait until this is dropped.
pub(super) struct Settling {
    remote: Remote,
    dir: RemotePath,
    teller: watch::Sender<Option<Error>>,
}

impl Drop for Settling {
    fn drop(&mut self) {
        self.remote
            .inner
            .settling
            .lock()
            .expect("no panic while locked")
            .remove(&self.dir);
    }
}

/// Round trip to a server on the same network: it says some 100,000 times in a second.
const NEAR: Duration = Duration::from_millis(2);

/// How long a listing is kept back for them at most.
const PATIENCE: Duration = Duration::from_millis(500);

/// Files whose exact times are asked because of one.
const SETTLED_AT_ONCE: usize = 10_000;

/// Those of them that one session asks: as many as are sent before the first answer is back.
const FLIGHT: usize = 200;
