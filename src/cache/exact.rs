//! Exact times of files: asked by `MDTM`, many in one flight, where the listing tells minutes or days.

use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::listings::{Folder, Item};
use super::{Remote, Result};
use crate::ftp::RemotePath;
use crate::ftp::list::Entry;
use crate::pool::{Retry, on_session};

impl Remote {
    /// Asks the exact time of `path`, and in the same flight those of the files after it in its folder.
    pub(super) async fn settle(&self, path: &RemotePath) -> Result<Option<Item>> {
        let dir = path.parent().unwrap_or_else(RemotePath::root);
        loop {
            let Some(folder) = self.listings().known(&dir) else {
                return self.stat_boxed(path).await;
            };
            match folder.entries.get(path.name()) {
                Some(item) if !item.settled => {}
                other => return Ok(other.cloned()),
            }
            let mut asked = match self.begin_settling(&dir) {
                Ok(teller) => {
                    let unsettled = unsettled(&dir, &folder, path.name());
                    self.asked_exactly(&dir);
                    // Changing a listing that somebody holds would copy it.
                    drop(folder);
                    let outcome = self.settle_all(unsettled).await;
                    drop(teller);
                    outcome?;
                    continue;
                }
                Err(asked) => asked,
            };
            // Ends when the sender is dropped.
            while asked.changed().await.is_ok() {}
        }
    }

    /// Whoever gets the teller asks; the others wait until it is dropped.
    pub(super) fn begin_settling(
        &self,
        dir: &RemotePath,
    ) -> std::result::Result<Settling, watch::Receiver<()>> {
        let mut settling = self.inner.settling.lock().expect("no panic while locked");
        if let Some(asked) = settling.get(dir) {
            return Err(asked.clone());
        }
        let (teller, asked) = watch::channel(());
        settling.insert(dir.clone(), asked);
        Ok(Settling {
            remote: self.clone(),
            dir: dir.clone(),
            _teller: teller,
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

    /// Asks the exact times of `files`, and remembers them.
    pub(super) async fn settle_all(&self, files: Vec<Unsettled>) -> Result<()> {
        self.settled(self.exact_times(files).await?);
        Ok(())
    }

    pub(super) fn settled(&self, times: Vec<Exact>) {
        for (path, seconds, size) in times {
            if let Some(dir) = path.parent() {
                self.listings()
                    .update(&dir, path.name(), |item| item.settle(seconds, size));
            }
        }
    }

    /// The exact times of `files`, and the sizes of those that their listing gave none, asked on several sessions at once.
    async fn exact_times(&self, files: Vec<Unsettled>) -> Result<Vec<Exact>> {
        // Names that cannot be sent would fail the flight; nothing more can be learned of them.
        let (asked, unsayable): (Vec<_>, Vec<_>) =
            files.into_iter().partition(|file| file.path.is_sayable());
        let mut flights = JoinSet::new();
        let mut asked = asked.into_iter().peekable();
        while asked.peek().is_some() {
            let flight: Vec<Unsettled> = asked.by_ref().take(FLIGHT).collect();
            let remote = self.clone();
            flights.spawn(async move { remote.exact_flight(flight).await });
        }
        let mut times: Vec<Exact> = unsayable
            .into_iter()
            .map(|file| (file.path, None, None))
            .collect();
        for flight in flights.join_all().await {
            times.extend(flight?);
        }
        Ok(times)
    }

    async fn exact_flight(&self, files: Vec<Unsettled>) -> Result<Vec<Exact>> {
        let paths: Vec<RemotePath> = files.iter().map(|file| file.path.clone()).collect();
        let times =
            on_session!(self.pool(), Retry::Idempotent, session => session.modified(&paths))?;
        let mut exact = Vec::with_capacity(files.len());
        for ((file, path), seconds) in files.into_iter().zip(paths).zip(times) {
            let mut size = None;
            if file.unsized_file {
                let asked = on_session!(self.pool(), Retry::Idempotent, session => session.size_and_mtime(&path));
                size = match asked {
                    Ok((size, _)) => Some(size),
                    Err(error) if error.is_refusal() => None,
                    Err(error) => return Err(error.into()),
                };
            }
            exact.push((path, seconds, size));
        }
        Ok(exact)
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
    _teller: watch::Sender<()>,
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

/// Files whose exact times are asked in one flight.
const SETTLED_AT_ONCE: usize = 2000;

/// Those of them that one session asks: as many as are sent before the first answer is back.
const FLIGHT: usize = 200;
