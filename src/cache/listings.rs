//! The listing cache: folders as last listed, with own changes applied.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lru::LruCache;
use tokio::sync::watch;

use super::error::Result;
use crate::ftp::list::{Entry, Kind, Modified, Precision};
use crate::ftp::{Listing, RemotePath};

/// A folder as it is known.
#[derive(Clone, Debug, Default)]
pub struct Folder {
    /// What is in it, by name.
    pub entries: BTreeMap<Vec<u8>, Item>,
    /// Whether a name that is not there does not exist.
    pub complete: bool,
}

/// A name in a folder, and how well its time is known.
#[derive(Clone, Debug)]
pub struct Item {
    /// What is known of it.
    pub entry: Entry,
    /// Whether nothing more exact can be asked about its time and size.
    pub settled: bool,
    /// The time as the listing gave it, before it was made exact, and when that was.
    listed: Option<(Modified, Instant)>,
}

impl Item {
    /// An item of `entry` as just listed, or just learned.
    pub fn new(entry: Entry) -> Self {
        let exact = entry
            .modified
            .is_some_and(|time| time.precision == Precision::Second);
        let settled = entry.kind != Kind::File || (exact && entry.size.is_some());
        Self {
            entry,
            settled,
            listed: None,
        }
    }

    /// An item of `entry`, of which more is to be asked before it is relied on.
    pub fn unsettled(entry: Entry) -> Self {
        Self {
            settled: false,
            ..Self::new(entry)
        }
    }

    /// Takes the exact time, where the server said one; either way nothing more is asked.
    pub fn settle(&mut self, seconds: Option<i64>, size: Option<u64>) {
        if self.settled {
            // Changed by us since it was asked.
            return;
        }
        if let Some(seconds) = seconds {
            self.listed = self.entry.modified.map(|listed| (listed, Instant::now()));
            self.entry.modified = Some(Modified {
                seconds,
                precision: Precision::Second,
            });
        }
        self.entry.size = size.or(self.entry.size);
        self.settled = true;
    }

    /// Takes over the exact time known of `old`, where the file cannot have changed since that was asked.
    ///
    /// A change after the asking would show a time of at least that moment, so a listed time that is a good minute
    /// older and the same as before means no change.
    fn inherit(&mut self, old: &Self, age_of_listing: Duration) {
        let (Some((listed, asked)), Some(now_listed)) = (old.listed, self.entry.modified) else {
            return;
        };
        let asked_ago = asked.elapsed().as_secs() as i64;
        let unix_now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| since.as_secs() as i64);
        let long_ago = now_listed.seconds + CLOCK_SKEW
            < unix_now - asked_ago - age_of_listing.as_secs() as i64;
        if self.settled || listed != now_listed || self.entry.size != old.entry.size || !long_ago {
            return;
        }
        self.listed = old.listed;
        self.entry.modified = old.entry.modified;
        self.settled = true;
    }
}

/// A change of one name that the server has confirmed.
#[derive(Clone, Debug)]
pub enum Patch {
    /// The name is this now.
    Put(Entry),
    /// The name is gone.
    Remove(Vec<u8>),
    /// The name has these permission bits now.
    Mode(Vec<u8>, u32),
    /// The name has this time of modification now, Unix seconds.
    Time(Vec<u8>, i64),
    /// Something may have changed, and only a new listing can tell.
    Doubt,
}

/// Folders by path.
#[derive(Debug)]
pub struct Listings {
    folders: LruCache<RemotePath, Cached>,
    /// By folder, in the order in which they began: all but the last are outdated.
    fetches: HashMap<RemotePath, Vec<Fetch>>,
    entries: usize,
    ttl: Duration,
}

#[derive(Debug)]
struct Cached {
    folder: Arc<Folder>,
    fetched: Instant,
}

/// A listing on its way, and what was changed meanwhile.
#[derive(Debug)]
struct Fetch {
    outcome: Told,
    patches: Vec<Patch>,
    /// It may be from before what only a new listing can tell: it is for those who wait already, and not remembered.
    outdated: bool,
}

/// What becomes of a fetch; `None` while it is on its way.
pub type Told = watch::Receiver<Option<Result<Arc<Folder>>>>;

/// What to do for a listing.
pub enum Lookup {
    /// It is known and fresh.
    Fresh(Arc<Folder>),
    /// Somebody fetches it: wait.
    Wait(Told),
    /// Nobody does: fetch it, and tell by this.
    Fetch(watch::Sender<Option<Result<Arc<Folder>>>>, Told),
}

impl Listings {
    /// An empty cache that believes a listing for `ttl`.
    pub fn new(ttl: Duration) -> Self {
        Self {
            folders: LruCache::unbounded(),
            fetches: HashMap::new(),
            entries: 0,
            ttl,
        }
    }

    /// The listing of `dir`, or how to get it.
    pub fn look(&mut self, dir: &RemotePath) -> Lookup {
        if let Some(folder) = self.fresh(dir) {
            return Lookup::Fresh(folder);
        }
        let fetches = self.fetches.entry(dir.clone()).or_default();
        if let Some(fetch) = fetches.last().filter(|fetch| !fetch.outdated) {
            return Lookup::Wait(fetch.outcome.clone());
        }
        let (sender, receiver) = watch::channel(None);
        fetches.push(Fetch {
            outcome: receiver.clone(),
            patches: Vec::new(),
            outdated: false,
        });
        Lookup::Fetch(sender, receiver)
    }

    /// The listing of `dir` if it is known and fresh.
    pub fn fresh(&mut self, dir: &RemotePath) -> Option<Arc<Folder>> {
        let cached = self.folders.get(dir)?;
        (cached.fetched.elapsed() < self.ttl).then(|| cached.folder.clone())
    }

    /// The listing of `dir` if it is known, however old.
    pub fn known(&self, dir: &RemotePath) -> Option<Arc<Folder>> {
        self.folders.peek(dir).map(|cached| cached.folder.clone())
    }

    /// Ends the fetch of `dir` that began at `begun` and is told by `told`: applies what was changed meanwhile, and
    /// remembers the folder unless that is outdated by now.
    pub fn fetched(
        &mut self,
        dir: &RemotePath,
        begun: Instant,
        told: &Told,
        listed: Result<Listing>,
    ) -> Result<Arc<Folder>> {
        let fetch = self.end(dir, told);
        let outdated = fetch.as_ref().is_none_or(|fetch| fetch.outdated);
        let old = match outdated {
            true => None,
            false => self.remove(dir),
        };
        let listing = listed?;
        let mut folder = Folder {
            entries: BTreeMap::new(),
            complete: listing.complete,
        };
        for entry in listing.entries {
            let mut item = Item::new(entry);
            if let Some(known) = old
                .as_ref()
                .and_then(|old| old.folder.entries.get(&item.entry.name))
            {
                item.inherit(known, begun.elapsed());
            }
            folder.entries.insert(item.entry.name.clone(), item);
        }
        for patch in fetch.into_iter().flat_map(|fetch| fetch.patches) {
            folder.apply(patch);
        }
        let folder = Arc::new(folder);
        if !outdated {
            self.entries += folder.entries.len() + 1;
            self.folders.put(
                dir.clone(),
                Cached {
                    folder: folder.clone(),
                    fetched: begun,
                },
            );
            while self.entries > MOST_ENTRIES && self.folders.len() > 1 {
                let Some((_, old)) = self.folders.pop_lru() else {
                    break;
                };
                self.entries -= old.folder.entries.len() + 1;
            }
        }
        Ok(folder)
    }

    /// Whether `listing` lacks names that were known in `dir` when its fetch, which is told by `told`, began.
    pub fn misses_names(&self, dir: &RemotePath, told: &Told, listing: &Listing) -> bool {
        let Some(cached) = self.folders.peek(dir) else {
            return false;
        };
        let fetches = self.fetches.get(dir).into_iter().flatten();
        let patches = fetches
            .filter(|fetch| fetch.outcome.same_channel(told))
            .flat_map(|fetch| &fetch.patches);
        let new = patches.filter_map(|patch| match patch {
            Patch::Put(entry) => Some(&entry.name),
            _ => None,
        });
        let listed = listing.entries.iter().map(|entry| &entry.name);
        let there: HashSet<&Vec<u8>> = listed.chain(new).collect();
        let mut known = cached.folder.entries.keys();
        known.any(|name| !there.contains(name))
    }

    /// Takes the fetch that is told by `told` out of those of `dir`.
    fn end(&mut self, dir: &RemotePath, told: &Told) -> Option<Fetch> {
        let fetches = self.fetches.get_mut(dir)?;
        let at = fetches
            .iter()
            .position(|fetch| fetch.outcome.same_channel(told))?;
        let fetch = fetches.remove(at);
        if fetches.is_empty() {
            self.fetches.remove(dir);
        }
        Some(fetch)
    }

    /// Applies a confirmed change in `dir` to what is known and to what is on its way.
    pub fn patch(&mut self, dir: &RemotePath, patch: Patch) {
        if matches!(patch, Patch::Doubt) {
            self.outdate(dir);
            self.remove(dir);
            return;
        }
        for fetch in self.fetches.get_mut(dir).into_iter().flatten() {
            fetch.patches.push(patch.clone());
        }
        if let Some(cached) = self.folders.peek_mut(dir) {
            let folder = Arc::make_mut(&mut cached.folder);
            let before = folder.entries.len();
            folder.apply(patch);
            self.entries = self.entries + folder.entries.len() - before;
        }
    }

    /// Adds to what is known of one item of `dir`. What we changed ourselves is a [`Patch`].
    pub fn update(&mut self, dir: &RemotePath, name: &[u8], change: impl FnOnce(&mut Item)) {
        if let Some(cached) = self.folders.peek_mut(dir)
            && cached.folder.entries.contains_key(name)
            && let Some(item) = Arc::make_mut(&mut cached.folder).entries.get_mut(name)
        {
            change(item);
        }
    }

    /// Forgets `dir` and everything below it, since it has another name now or none.
    pub fn forget_tree(&mut self, dir: &RemotePath) {
        let below: Vec<RemotePath> = self
            .folders
            .iter()
            .map(|(path, _)| path)
            .filter(|path| path.is_within(dir))
            .cloned()
            .collect();
        for path in below {
            self.remove(&path);
        }
        for (path, fetches) in &mut self.fetches {
            if path.is_within(dir) {
                fetches.iter_mut().for_each(|fetch| fetch.outdated = true);
            }
        }
    }

    /// Forgets everything: what is on its way too.
    pub fn forget_all(&mut self) {
        self.folders.clear();
        self.entries = 0;
        for fetch in self.fetches.values_mut().flatten() {
            fetch.outdated = true;
        }
    }

    /// Takes a folder that was just made, and so is empty.
    pub fn made(&mut self, dir: &RemotePath) {
        self.remove(dir);
        let folder = Folder {
            entries: BTreeMap::new(),
            complete: true,
        };
        self.entries += 1;
        self.folders.put(
            dir.clone(),
            Cached {
                folder: Arc::new(folder),
                fetched: Instant::now(),
            },
        );
    }

    /// Forgets `dir`'s own listing, and has those who ask from now on not told by one that is on its way.
    pub fn expire(&mut self, dir: &RemotePath) {
        self.outdate(dir);
        if let Some(cached) = self.folders.peek_mut(dir) {
            // Kept for its exact times, but never believed again.
            cached.fetched = cached
                .fetched
                .checked_sub(self.ttl)
                .unwrap_or(cached.fetched);
        }
    }

    fn outdate(&mut self, dir: &RemotePath) {
        for fetch in self.fetches.get_mut(dir).into_iter().flatten() {
            fetch.outdated = true;
        }
    }

    fn remove(&mut self, dir: &RemotePath) -> Option<Cached> {
        let cached = self.folders.pop(dir)?;
        self.entries -= cached.folder.entries.len() + 1;
        Some(cached)
    }
}

impl Folder {
    fn apply(&mut self, patch: Patch) {
        match patch {
            Patch::Put(entry) => {
                // What was listed is not this.
                let entry = Entry {
                    line: None,
                    ..entry
                };
                self.entries.insert(entry.name.clone(), Item::new(entry));
            }
            Patch::Remove(name) => drop(self.entries.remove(&name)),
            Patch::Mode(name, mode) => {
                if let Some(item) = self.entries.get_mut(&name) {
                    item.entry.mode = Some(mode & 0o7777);
                    item.entry.line = None;
                }
            }
            Patch::Time(name, seconds) => {
                if let Some(item) = self.entries.get_mut(&name) {
                    item.entry.modified = Some(Modified {
                        seconds,
                        precision: Precision::Second,
                    });
                    item.settled |= item.entry.size.is_some();
                    item.entry.line = None;
                }
            }
            Patch::Doubt => {}
        }
    }
}

/// Entries remembered over all folders: some 300 MB at most, with names of usual length 100 MB.
const MOST_ENTRIES: usize = 500_000;

/// Difference of clocks between us and the server that may go unnoticed, and the minute that a listed time is cut to.
const CLOCK_SKEW: i64 = 120;

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, size: u64) -> Entry {
        Entry {
            name: name.into(),
            kind: Kind::File,
            size: Some(size),
            modified: Some(Modified {
                seconds: 1,
                precision: Precision::Second,
            }),
            mode: None,
            target: None,
            line: None,
        }
    }

    fn listing(entries: &[Entry]) -> Listing {
        Listing {
            entries: entries.to_vec(),
            complete: true,
        }
    }

    fn dir() -> RemotePath {
        RemotePath::new(b"/d")
    }

    /// Begins a fetch.
    fn fetch(listings: &mut Listings) -> Told {
        match listings.look(&dir()) {
            Lookup::Fetch(_, told) => told,
            Lookup::Fresh(_) | Lookup::Wait(_) => panic!("it is not fetched"),
        }
    }

    #[test]
    fn a_change_made_while_a_listing_is_fetched_is_in_it() {
        let mut listings = Listings::new(Duration::from_secs(60));
        let begun = Instant::now();
        let told = fetch(&mut listings);
        assert!(matches!(listings.look(&dir()), Lookup::Wait(_)));
        listings.patch(&dir(), Patch::Put(entry("new", 1)));
        listings.patch(&dir(), Patch::Remove(b"old".to_vec()));
        listings.patch(&dir(), Patch::Mode(b"stays".to_vec(), 0o600));
        let folder = listings
            .fetched(
                &dir(),
                begun,
                &told,
                Ok(listing(&[entry("old", 1), entry("stays", 1)])),
            )
            .expect("ok");
        let names: Vec<_> = folder.entries.keys().map(|name| name.as_slice()).collect();
        assert_eq!(names, [b"new".as_slice(), b"stays"]);
        assert_eq!(folder.entries[b"stays".as_slice()].entry.mode, Some(0o600));
        assert!(listings.fresh(&dir()).is_some());
    }

    #[test]
    fn an_outdated_listing_is_not_remembered_nor_waited_for() {
        let outdating: [fn(&mut Listings); 4] = [
            |listings| listings.patch(&dir(), Patch::Doubt),
            |listings| listings.expire(&dir()),
            |listings| listings.forget_tree(&dir()),
            Listings::forget_all,
        ];
        for outdate in outdating {
            let mut listings = Listings::new(Duration::from_secs(60));
            let begun = Instant::now();
            let before = fetch(&mut listings);
            outdate(&mut listings);
            let now = fetch(&mut listings);
            listings.patch(&dir(), Patch::Put(entry("new", 1)));
            // In whatever order they end.
            let mut end = |told, name| {
                let listed = Ok(listing(&[entry(name, 1)]));
                let folder = listings.fetched(&dir(), begun, told, listed).expect("ok");
                assert!(folder.entries.contains_key(&b"new"[..]));
                listings.fresh(&dir())
            };
            assert!(end(&before, "a").is_none());
            let remembered = end(&now, "b").expect("it is fresh");
            assert!(remembered.entries.contains_key(&b"b"[..]));
            assert!(listings.fetches.is_empty());
        }
    }

    #[test]
    fn a_listing_misses_what_was_known_and_not_what_we_changed_meanwhile() {
        let mut listings = Listings::new(Duration::ZERO);
        let told = fetch(&mut listings);
        let known = listing(&[entry("a", 1), entry("b", 1), entry("c", 1)]);
        assert!(!listings.misses_names(&dir(), &told, &listing(&[])));
        listings
            .fetched(&dir(), Instant::now(), &told, Ok(known))
            .expect("ok");
        let told = fetch(&mut listings);
        listings.patch(&dir(), Patch::Remove(b"b".to_vec()));
        listings.patch(&dir(), Patch::Put(entry("new", 1)));
        let whole = listing(&[entry("a", 1), entry("c", 1)]);
        assert!(!listings.misses_names(&dir(), &told, &whole));
        let cut = listing(&[entry("a", 1)]);
        assert!(listings.misses_names(&dir(), &told, &cut));
    }

    #[test]
    fn an_outdated_listing_replaces_no_newer_one() {
        let mut listings = Listings::new(Duration::from_secs(60));
        let begun = Instant::now();
        let before = fetch(&mut listings);
        listings.expire(&dir());
        let now = fetch(&mut listings);
        let newer = Ok(listing(&[entry("newer", 1)]));
        listings.fetched(&dir(), begun, &now, newer).expect("ok");
        let failed = Err(super::super::Error::NotDir(dir()));
        assert!(listings.fetched(&dir(), begun, &before, failed).is_err());
        assert!(listings.fresh(&dir()).is_some());
    }

    #[test]
    fn forgetting_a_tree_forgets_what_is_below_it_and_nothing_else() {
        let mut listings = Listings::new(Duration::from_secs(60));
        for path in ["/d", "/d/e", "/de"] {
            listings.made(&RemotePath::new(path.as_bytes()));
        }
        listings.forget_tree(&dir());
        assert!(listings.known(&RemotePath::new(b"/d/e")).is_none());
        assert!(listings.known(&RemotePath::new(b"/de")).is_some());
    }
}
