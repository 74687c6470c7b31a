//! The server seen through memory.
//!
//! Owns the block cache, the listing cache with its absences, and reading ahead. Each mutation goes through here, and
//! changes what is remembered. Knows paths and contents, no inodes, handles or errno.

mod ahead;
mod appends;
mod aside;
pub mod blocks;
mod early;
mod error;
mod exact;
mod fetch;
mod listings;
mod mutations;
mod names;
mod proofs;
mod reader;
mod recall;
mod streams;
mod uploads;
mod veil;

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lru::LruCache;
use tokio::sync::{RwLock, Semaphore};
use tokio::time::timeout;
use tracing::debug;

use crate::ftp::list::{Entry, Kind, Modified, Precision};
use crate::ftp::{ErrorKind, Listing, RemotePath};
use crate::pool::{Pool, Purpose, Retry, on_session};
use ahead::Walks;
use blocks::{Blocks, ContentKey};
use exact::Early;
use listings::{Listings, Lookup, Told};

pub use appends::{Compare, End, Resumed};
pub use blocks::Usage;
pub use early::{EarlyStore, UntilThen};
pub use error::{Error, Result};
pub use listings::{Folder, Item, Patch};
pub use names::{is_scratch_name, scratch_name};
use reader::Bounds;
pub use reader::{Content, Version};
pub use recall::{Recall, Recalls};
pub use uploads::{Source, WORTH};
use veil::Veil;
pub use veil::{Moving, OwnName, Tell};

/// Bounds of the caches.
#[derive(Clone, Debug)]
pub struct CacheConfig {
    /// Most bytes of file content in memory.
    pub capacity_bytes: u64,
    /// How long a listing, and an absence, is believed.
    pub attr_ttl: Duration,
}

/// The server seen through memory. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Remote {
    inner: Arc<Inner>,
}

/// Each mutex is held for a look or a change only, never across an await, and never together with another of these.
struct Inner {
    pool: Pool,
    listings: Mutex<Listings>,
    blocks: Arc<Mutex<Blocks>>,
    contents: Mutex<Contents>,
    veil: Mutex<Veil>,
    tell: Tell,
    /// Folders whose files' exact times are being asked.
    settling: Mutex<HashMap<RemotePath, exact::Asked>>,
    walks: Walks,
    /// Turns for questions of exact times.
    exact: Semaphore,
    /// Turns for listings, and for contents, that nobody has asked for yet.
    ahead: Semaphore,
    read_ahead: Semaphore,
    /// Read by those who remove files of ours while nobody waits for it.
    tidying: Arc<RwLock<()>>,
    bounds: Bounds,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Remote")
            .field("pool", &self.pool)
            .finish_non_exhaustive()
    }
}

/// Which version of each file the block cache may hold.
#[derive(Debug)]
struct Contents {
    by_id: LruCache<u64, Arc<Content>>,
    next_key: u64,
}

impl Remote {
    /// The server behind `pool`, with nothing remembered yet. Of names of ours on it, `tell` is told.
    pub fn new(pool: Pool, config: &CacheConfig, tell: Tell) -> Self {
        let capacity = config.capacity_bytes.max(SMALLEST_CACHE);
        Self {
            inner: Arc::new(Inner {
                pool,
                listings: Mutex::new(Listings::new(config.attr_ttl)),
                blocks: Arc::new(Mutex::new(Blocks::new(capacity))),
                contents: Mutex::new(Contents {
                    by_id: LruCache::new(MOST_CONTENTS),
                    next_key: 0,
                }),
                veil: Mutex::default(),
                tell,
                settling: Mutex::default(),
                walks: Walks::new(),
                exact: Semaphore::new(EXACT_AT_ONCE),
                ahead: Semaphore::new(AHEAD_AT_ONCE),
                read_ahead: Semaphore::new(READ_AHEAD_AT_ONCE),
                tidying: Arc::default(),
                bounds: Bounds {
                    window_bytes: (capacity / 16).min(LONGEST_WINDOW),
                    lanes_bytes: capacity / 8 * 7,
                },
            }),
        }
    }

    /// What the memory for contents holds, and how well it serves.
    pub fn usage(&self) -> Usage {
        let blocks = self.inner.blocks.lock().expect("no panic while locked");
        blocks.usage()
    }

    /// The sessions below.
    pub fn pool(&self) -> &Pool {
        &self.inner.pool
    }

    /// Logs out, once what is done behind everybody's back is done, or takes too long: the next mount goes on with that.
    pub async fn close(&self) {
        let tidied = timeout(self.pool().patience(), self.inner.tidying.write()).await;
        if tidied.is_err() {
            debug!("left for the next mount");
        }
        self.pool().close().await;
    }

    /// The folder `dir`, as known for less than the TTL or as just fetched; those who ask at once share one fetch.
    ///
    /// # Errors
    /// [`Error::Absent`] or [`Error::NotDir`] where the server says so; never an empty folder in place of a failure.
    ///
    /// Cancel safe: the fetch goes on for whoever else waits.
    pub async fn list(&self, dir: &RemotePath) -> Result<Arc<Folder>> {
        let lookup = self.listings().look(dir);
        let mut outcome = match lookup {
            Lookup::Fresh(folder) => return Ok(folder),
            Lookup::Wait(outcome) => outcome,
            Lookup::Fetch(teller, outcome) => {
                let (remote, dir, told) = (self.clone(), dir.clone(), outcome.clone());
                tokio::spawn(async move {
                    // Told even if the fetch panics: the sender is dropped then, and the wait below ends.
                    let fetched = remote.fetch(&dir, &told).await;
                    teller.send_replace(Some(fetched));
                });
                outcome
            }
        };
        let told = outcome
            .wait_for(Option::is_some)
            .await
            .map(|told| told.clone());
        match told {
            Ok(Some(folder)) => folder,
            Ok(None) | Err(_) => {
                let error = crate::ftp::Error::new(
                    ErrorKind::Lost,
                    format!("list {dir}"),
                    "the listing was given up",
                );
                Err(error.into())
            }
        }
    }

    /// What is at `path`; `None` where the server is sure that nothing is.
    ///
    /// The time of a file is exact where the server can say it.
    pub async fn stat(&self, path: &RemotePath) -> Result<Option<Item>> {
        let Some(dir) = path.parent() else {
            return Ok(Some(Item::new(dir_entry(b""))));
        };
        let folder = match self.list(&dir).await {
            Ok(folder) => folder,
            Err(Error::Absent(_) | Error::NotDir(_)) => return Ok(None),
            // It can be entered: what is in it is there for those who know its name.
            Err(Error::Denied(error)) if error.kind == ErrorKind::Unlisted => {
                return self.ask(path).await;
            }
            Err(error) => return Err(error),
        };
        let (found, complete) = (folder.entries.get(path.name()).cloned(), folder.complete);
        // Changing a listing that somebody holds would copy it.
        drop(folder);
        match found {
            Some(item) if item.settled => Ok(Some(item)),
            Some(_) => self.settle(path).await,
            None if complete => Ok(None),
            None => self.ask(path).await,
        }
    }

    /// [`Remote::stat`] for those that it calls itself.
    fn stat_boxed<'a>(
        &'a self,
        path: &'a RemotePath,
    ) -> Pin<Box<dyn Future<Output = Result<Option<Item>>> + Send + 'a>> {
        Box::pin(self.stat(path))
    }

    /// What a fresh listing says of `path`, without waiting and without exact times: `None` if there is no fresh listing.
    pub fn peek(&self, path: &RemotePath) -> Option<Option<Item>> {
        let dir = path.parent()?;
        let folder = self.listings().fresh(&dir)?;
        match folder.entries.get(path.name()) {
            None if !folder.complete => None,
            found => Some(found.cloned()),
        }
    }

    /// What is at `path` by the server's word of this moment, whatever is shown there.
    pub async fn stat_now(&self, path: &RemotePath) -> Result<Option<Item>> {
        if self.is_hidden(path) || self.is_aside(path) {
            return self.stat_unveiled(path).await;
        }
        self.expire(path);
        self.stat(path).await
    }

    /// What is remembered is what is shown: one listing is looked at for this alone.
    async fn stat_unveiled(&self, path: &RemotePath) -> Result<Option<Item>> {
        let dir = path.parent().unwrap_or_else(RemotePath::root);
        let listing = on_session!(self.pool(), Purpose::Brief, Retry::Idempotent, session => session.list(&dir, |_| {}))?;
        let found = listing
            .entries
            .into_iter()
            .find(|entry| entry.name == path.name());
        match found {
            None if !listing.complete => self.ask(path).await,
            found => Ok(found.map(Item::new)),
        }
    }

    /// The content of the file `id`, whose version is `version` and which is at `path` now: blocks of another version are
    /// not used again.
    ///
    /// `id` is the caller's name for the file; it stays the same when the file is renamed.
    pub fn content(&self, id: u64, version: Version, path: &RemotePath) -> Arc<Content> {
        let mut contents = self.inner.contents.lock().expect("no panic while locked");
        if let Some(content) = contents
            .by_id
            .get(&id)
            .filter(|content| content.version == version)
        {
            content.moved(path);
            return content.clone();
        }
        contents.next_key += 1;
        let key = ContentKey(contents.next_key);
        let inner = &self.inner;
        let content = Content::new(
            inner.pool.clone(),
            inner.blocks.clone(),
            key,
            version,
            path.clone(),
            inner.bounds,
        );
        let content = Arc::new(content);
        contents.by_id.put(id, content.clone());
        content
    }

    /// Bytes in memory of the file `id` in `version`.
    pub fn cached_bytes(&self, id: u64, version: Version) -> u64 {
        let key = {
            let contents = self.inner.contents.lock().expect("no panic while locked");
            let content = contents.by_id.peek(&id);
            content
                .filter(|content| content.version == version)
                .map(|content| content.key)
        };
        let blocks = self.inner.blocks.lock().expect("no panic while locked");
        key.map_or(0, |key| blocks.held(key, version.size))
    }

    /// Begins to read the whole of the file `id`, in `version` and now at `path`, which nobody has asked for yet.
    pub fn read_ahead(&self, id: u64, version: Version, path: &RemotePath) {
        let content = self.content(id, version, path);
        if !content.begin_ahead() {
            return;
        }
        let remote = self.clone();
        tokio::spawn(async move {
            let _turn = remote.inner.read_ahead.acquire().await;
            if let Err(error) = content.read(0, version.size).await {
                debug!(%error, "not read ahead");
            }
        });
    }

    /// The listing of `dir`, if it is fresh.
    pub fn fresh(&self, dir: &RemotePath) -> Option<Arc<Folder>> {
        self.listings().fresh(dir)
    }

    /// The file `id` is at `path` now: streams that begin from here on ask for it there.
    pub fn moved(&self, id: u64, path: &RemotePath) {
        let contents = self.inner.contents.lock().expect("no panic while locked");
        if let Some(content) = contents.by_id.peek(&id) {
            content.moved(path);
        }
    }

    /// Forgets the content of the file `id`, since we changed it.
    pub fn forget_content(&self, id: u64) {
        self.inner
            .contents
            .lock()
            .expect("no panic while locked")
            .by_id
            .pop(&id);
    }

    /// The content of the file `id` is the same in `version`, since only its time was set.
    pub fn carry_content(&self, id: u64, version: Version) {
        let mut contents = self.inner.contents.lock().expect("no panic while locked");
        if let Some(content) = contents.by_id.get_mut(&id) {
            *content = Arc::new(content.with_version(version));
        }
    }

    /// Believes no longer what is known of the folder that holds `path`.
    pub fn expire(&self, path: &RemotePath) {
        if let Some(dir) = path.parent() {
            self.listings().expire(&dir);
        }
    }

    /// Something in the folder `dir` was changed by us at `seconds`, Unix time.
    pub fn touched(&self, dir: &RemotePath, seconds: i64) {
        self.patch(dir, Patch::Time(dir.name().to_vec(), seconds));
    }

    /// Where the link `path` points, from a `LIST` where `MLSD` does not say.
    pub async fn read_link(&self, path: &RemotePath) -> Result<Vec<u8>> {
        let Some(item) = self.stat(path).await? else {
            return Err(Error::Absent(path.clone()));
        };
        if let Some(target) = item.entry.target {
            return Ok(target);
        }
        let dir = path.parent().unwrap_or_else(RemotePath::root);
        let targets = on_session!(self.pool(), Purpose::Brief, Retry::Idempotent, session => session.link_targets(&dir))?;
        let mut found = None;
        let mut listings = self.listings();
        for (name, target) in targets {
            if name == path.name() {
                found = Some(target.clone());
            }
            listings.update(&dir, &name, |item| item.entry.target = Some(target));
        }
        found.ok_or_else(|| {
            let detail = "the server does not say where the link points";
            Error::Unsupported(crate::ftp::Error::new(
                ErrorKind::NotImplemented,
                format!("readlink {path}"),
                detail,
            ))
        })
    }

    /// Asks for one name that a listing does not show, though it may not show all.
    async fn ask(&self, path: &RemotePath) -> Result<Option<Item>> {
        let found = on_session!(self.pool(), Retry::Idempotent, session => session.find(path))?;
        Ok(found.map(Item::new))
    }

    /// Lists `dir`, remembers it, and says what a refusal means; `told` is what waits for it.
    async fn fetch(&self, dir: &RemotePath, told: &Told) -> Result<Arc<Folder>> {
        let begun = Instant::now();
        let mut early = None;
        let mut listed = self.ask_listing(dir, &mut early).await;
        // libunftp 0.24 looks at each file at CWD, and says 550 if one is renamed meanwhile.
        if let Err(Error::Denied(error)) = &listed {
            debug!(%dir, %error, "listing again");
            listed = self.ask_listing(dir, &mut early).await;
        }
        // A data connection that is cut behind a line looks like one that ends there, and some servers say 226 to that.
        if let Ok(listing) = &listed
            && self.listings().misses_names(dir, told, listing)
        {
            debug!(%dir, "names are missing: listing again");
            listed = self.ask_listing(dir, &mut early).await;
        }
        let fetched = self.listings().fetched(dir, begun, told, listed);
        if let (Ok(_), Some((settling, times))) = (&fetched, early) {
            let remote = self.clone();
            tokio::spawn(async move {
                match times.await {
                    Ok(Ok(times)) => remote.settled(times),
                    Ok(Err(error)) => debug!(%error, "no exact times yet"),
                    Err(error) => debug!(%error, "no exact times yet"),
                }
                drop(settling);
            });
        }
        fetched
    }

    /// Where a listing is the first of its folder, and gives no exact times, `early` begins to ask for them before the
    /// server has said that it is whole: most who read a folder look at its files.
    async fn ask_listing(&self, dir: &RemotePath, early: &mut Option<Early>) -> Result<Listing> {
        let first = self.listings().known(dir).is_none();
        let listed = on_session!(self.pool(), Purpose::Brief, Retry::Idempotent, session => session.list(dir, |entries| {
            if first && early.is_none() {
                *early = self.settle_early(dir, entries);
            }
        }));
        match listed {
            Ok(listing) => {
                let listing = self.veiled(dir, listing);
                debug!(%dir, entries = listing.entries.len(), complete = listing.complete, "listed");
                Ok(listing)
            }
            Err(error) if error.is_refusal() => Err(self.why_not_listed(dir, error).await),
            Err(error) => Err(error.into()),
        }
    }

    /// A folder could not be entered: whether it is there is asked of the folder above, and of nothing else.
    async fn why_not_listed(&self, dir: &RemotePath, error: crate::ftp::Error) -> Error {
        if dir.is_root() {
            return Error::Denied(error);
        }
        if let Some(above) = dir.parent() {
            self.listings().expire(&above);
        }
        match self.stat_boxed(dir).await {
            Ok(None) => Error::Absent(dir.clone()),
            Ok(Some(item)) if item.entry.kind == Kind::File => Error::NotDir(dir.clone()),
            Ok(Some(_)) => Error::Denied(error),
            Err(error) => error,
        }
    }

    fn listings(&self) -> std::sync::MutexGuard<'_, Listings> {
        self.inner.listings.lock().expect("no panic while locked")
    }

    fn patch(&self, path: &RemotePath, patch: Patch) {
        let Some(dir) = path.parent() else { return };
        let hidden = self.is_hidden(path);
        match patch {
            Patch::Put(_) if hidden => {}
            patch => self.listings().patch(&dir, patch),
        }
    }
}

fn is_dir(item: &Item) -> bool {
    item.entry.kind == Kind::Dir
}

fn dir_entry(name: &[u8]) -> Entry {
    Entry {
        name: name.to_vec(),
        kind: Kind::Dir,
        size: None,
        modified: None,
        mode: None,
        target: None,
        line: None,
    }
}

fn file_entry(name: &[u8], size: u64, mtime: Option<i64>) -> Entry {
    let modified = mtime.map(|seconds| Modified {
        seconds,
        precision: Precision::Second,
    });
    Entry {
        name: name.to_vec(),
        kind: Kind::File,
        size: Some(size),
        modified,
        mode: None,
        target: None,
        line: None,
    }
}

/// Smallest block cache: two readers with their windows.
const SMALLEST_CACHE: u64 = 8 << 20;

/// Longest read-ahead: what a link of 1 Gbit/s and 64 ms holds.
const LONGEST_WINDOW: u64 = 8 << 20;

/// Files whose version is remembered; their blocks are bounded apart.
const MOST_CONTENTS: NonZeroUsize = NonZeroUsize::new(65_536).expect("not zero");

/// Flights of questions for exact times at once: all sessions but one, by default.
const EXACT_AT_ONCE: usize = 7;

/// Small files that are read at once before they are asked for.
const READ_AHEAD_AT_ONCE: usize = 8;

/// Listings that are fetched at once before they are asked for.
const AHEAD_AT_ONCE: usize = 4;
