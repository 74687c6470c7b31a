//! Names: looking up, listing and making.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use tracing::warn;

use super::handles::Handle;
use super::inodes::ROOT;
use super::{Attr, Error, Result, Vfs, unix_seconds};
use crate::cache::{self, Item};
use crate::ftp::RemotePath;
use crate::ftp::list::{Entry, Kind, Modified, Precision};

/// One name in a folder as the kernel is told it.
#[derive(Clone, Debug)]
pub struct DirEntry {
    /// The name.
    pub name: Vec<u8>,
    /// Its inode number.
    pub ino: u64,
    /// What it is.
    pub kind: Kind,
    /// The offset that goes on behind it.
    pub next: u64,
}

/// The names of a folder as they were when it was opened.
#[derive(Debug)]
pub struct DirSnapshot {
    parent: u64,
    path: RemotePath,
    items: Vec<Item>,
}

impl DirSnapshot {
    /// Whether there was nothing in it.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
}

impl Vfs {
    /// What `name` in `parent` is; `None` if it is not there. Counts as one mention to the kernel.
    pub async fn lookup(&self, parent: u64, name: &[u8]) -> Result<Option<Attr>> {
        check_name(name)?;
        loop {
            let found = self.find(parent, name).await?;
            // The kernel may have forgotten it since it was found.
            if found.is_none_or(|attr| self.inodes().mention(attr.ino)) {
                return Ok(found);
            }
        }
    }

    /// The attributes of `ino`.
    pub async fn getattr(&self, ino: u64) -> Result<Attr> {
        loop {
            let (path, staged, gone, kept, last) = {
                let inodes = self.inodes();
                let node = inodes.get(ino).ok_or(Error::Stale)?;
                (
                    inodes.path(ino),
                    node.staged.clone(),
                    node.unlinked,
                    node.kept_at.is_some(),
                    node.entry.clone(),
                )
            };
            if gone || kept || staged.is_some() {
                let attr = match (&staged, &last) {
                    (Some(staged), last) => self.staged_attr(ino, last.as_ref(), staged),
                    (None, Some(entry)) => self.config.attr(ino, entry, !kept),
                    (None, None) => return Err(Error::Stale),
                };
                let nlink = if gone { 0 } else { attr.nlink };
                return Ok(Attr { nlink, ..attr });
            }
            let path = path.ok_or(Error::Stale)?;
            if ino == ROOT {
                let mut entry = self.root_entry();
                self.overlay().apply(&path, &mut entry);
                return Ok(self.config.attr(ROOT, &entry, true));
            }
            let item = self.shown(&path).await?;
            if self.inodes().path(ino).as_ref() == Some(&path) {
                return Ok(self.learn(ino, &path, &item.ok_or(Error::NotFound)?));
            }
            // Moved meanwhile: that was something else.
        }
    }

    /// Opens the folder `ino`.
    pub async fn open_dir(&self, ino: u64) -> Result<u64> {
        let snapshot = self.snapshot(ino).await?;
        self.with_node(ino, |node| node.handles += 1)?;
        Ok(self.handles().add(Handle::Dir {
            ino,
            snapshot,
            read: false,
        }))
    }

    /// Closes the folder `fh`.
    pub fn close_dir(&self, fh: u64) {
        let closed = self.handles().remove(fh);
        if let Some(Handle::Dir { ino, .. }) = closed {
            self.drop_handle(ino);
        }
    }

    /// Gives the names of the folder `fh` from `offset` on to `add`, until it says that it has enough.
    ///
    /// At offset 0 a folder that was read before is listed again, as after `rewinddir`.
    pub async fn read_dir(
        &self,
        fh: u64,
        offset: u64,
        mut add: impl FnMut(DirEntry) -> Enough,
    ) -> Result<()> {
        let Some(Handle::Dir {
            ino,
            mut snapshot,
            read,
        }) = self.handle(fh)
        else {
            return Err(Error::BadHandle);
        };
        if offset == 0 {
            if read {
                snapshot = self.snapshot(ino).await?;
            }
            let snapshot = snapshot.clone();
            let path = snapshot.path.clone();
            self.handles().set(
                fh,
                Handle::Dir {
                    ino,
                    snapshot,
                    read: true,
                },
            );
            self.remote.settle_near(&path).await;
        }
        let dots = [(b".".to_vec(), ino), (b"..".to_vec(), snapshot.parent)];
        for at in offset.. {
            let entry = match at {
                0 | 1 => {
                    let (name, ino) = dots[at as usize].clone();
                    DirEntry {
                        name,
                        ino,
                        kind: Kind::Dir,
                        next: at + 1,
                    }
                }
                _ => {
                    let Some(Item { entry, .. }) = snapshot.items.get(at as usize - 2) else {
                        break;
                    };
                    if check_name(&entry.name).is_err() {
                        // Nothing could be done with it, and at one of more than 1,024 bytes the kernel gives up the whole
                        // folder (fs/fuse/readdir.c).
                        let (dir, bytes) = (&snapshot.path, entry.name.len());
                        warn!(%dir, bytes, "a name that is too long here is not shown");
                        continue;
                    }
                    let number = self.inodes().number(ino, &entry.name);
                    DirEntry {
                        name: entry.name.clone(),
                        ino: number,
                        kind: entry.kind,
                        next: at + 1,
                    }
                }
            };
            if add(entry) == Enough::Yes {
                break;
            }
        }
        Ok(())
    }

    /// The attributes of `entry` of the folder `fh` as far as they are known without waiting; `None` if it is gone.
    ///
    /// Counts as one mention to the kernel, but for `.` and `..`; [`Vfs::forget`] takes it back.
    pub fn attr_in_dir(&self, fh: u64, entry: &DirEntry) -> Option<Attr> {
        let Some(Handle::Dir {
            ino: dir, snapshot, ..
        }) = self.handle(fh)
        else {
            return None;
        };
        let Some(listed) = entry
            .next
            .checked_sub(3)
            .and_then(|at| snapshot.items.get(at as usize))
        else {
            // `.` and `..`, whose attributes the kernel does not take from here.
            return Some(self.config.attr(entry.ino, &self.root_entry(), false));
        };
        let path = snapshot.path.join(&entry.name);
        let (ino, staged, last) = {
            let mut inodes = self.inodes();
            let ino = inodes.introduce(dir, &entry.name, entry.kind);
            let node = inodes.get(ino)?;
            (ino, node.staged.clone(), node.entry.clone())
        };
        if let Some(staged) = staged {
            return Some(self.staged_attr(ino, last.as_ref(), &staged));
        }
        let view = self.queue.view(&path);
        if !view.is_clear() {
            let Some(item) = view.over(Some(listed.clone())) else {
                self.forget(ino, 1);
                return None;
            };
            return Some(self.attr_of(ino, &path, &Item::unsettled(item.entry)));
        }
        let gone = |item: &Option<Item>| {
            item.as_ref()
                .is_none_or(|item| item.entry.kind != entry.kind)
        };
        match self.remote.peek(&path) {
            Some(item) if gone(&item) => {
                self.forget(ino, 1);
                None
            }
            Some(Some(item)) if item.settled => Some(self.learn(ino, &path, &item)),
            // Not exact, or aged away while it was read. The kernel takes these for true even if it may not keep them:
            // rather what it knows already.
            known => {
                let entry = last.or(known.flatten().map(|item| item.entry));
                let entry = entry.unwrap_or_else(|| listed.entry.clone());
                Some(self.attr_of(ino, &path, &Item::unsettled(entry)))
            }
        }
    }

    /// Takes `count` mentions of `ino` back.
    pub fn forget(&self, ino: u64, count: u64) {
        self.inodes().forget(ino, count);
    }

    /// Where the link `ino` points.
    pub async fn read_link(&self, ino: u64) -> Result<Vec<u8>> {
        let path = self.path(ino)?;
        Ok(self.remote.read_link(&path).await?)
    }

    /// Makes the folder `name` in `parent`. Counts as one mention to the kernel.
    pub async fn make_dir(&self, parent: u64, name: &[u8], mode: u32) -> Result<Attr> {
        self.writable()?;
        check_name(name)?;
        if self.find(parent, name).await?.is_some() {
            return Err(Error::Exists);
        }
        let _names = self.names.read().await;
        let path = self.path(parent)?.join(name);
        self.check_new_name(&path).await?;
        if self.config.write_back {
            self.overlay().forget(&path);
            let entry = self.make_dir_later(&path, mode).await?;
            let ino = self.inodes().introduce(parent, name, Kind::Dir);
            self.touch_dir(parent);
            return Ok(self.learn(ino, &path, &Item::unsettled(entry)));
        }
        self.settled(&path).await?;
        self.remote.make_dir(&path).await?;
        self.overlay().forget(&path);
        let item = self.remote.stat(&path).await?.ok_or(Error::NotFound)?;
        let ino = self.inodes().introduce(parent, name, Kind::Dir);
        let attr = self.learn(ino, &path, &item);
        if mode & 0o7777 != self.config.default_dir_mode() && self.config.dir_mode.is_none() {
            self.change_mode(ino, mode).await?;
        }
        self.touch_dir(parent);
        Ok(Attr {
            perm: self.config.perm(Kind::Dir, Some(mode)),
            ..attr
        })
    }

    /// Makes `name` in `parent` a symbolic link to `target`. Counts as one mention to the kernel.
    pub async fn make_link(&self, parent: u64, name: &[u8], target: &[u8]) -> Result<Attr> {
        self.writable()?;
        check_name(name)?;
        if self.find(parent, name).await?.is_some() {
            return Err(Error::Exists);
        }
        let path = self.path(parent)?.join(name);
        self.check_new_name(&path).await?;
        self.settled(&path).await?;
        match self.remote.make_link(target, &path).await {
            Ok(()) => {}
            Err(cache::Error::Unsupported(_)) => return Err(Error::NotPermitted),
            Err(error) => return Err(error.into()),
        }
        let item = self.remote.stat(&path).await?.ok_or(Error::NotFound)?;
        let ino = self.inodes().introduce(parent, name, Kind::Symlink);
        self.touch_dir(parent);
        Ok(self.learn(ino, &path, &item))
    }

    /// What `name` in `parent` is, without counting it.
    pub(super) async fn find(&self, parent: u64, name: &[u8]) -> Result<Option<Attr>> {
        loop {
            let (dir, before, known) = {
                let inodes = self.inodes();
                let dir = inodes.path(parent).ok_or(Error::NotFound)?;
                let before = inodes.find(parent, name);
                let known = before.and_then(|ino| {
                    let node = inodes.get(ino)?;
                    Some((ino, node.staged.clone()?, node.entry.clone()))
                });
                (dir, before, known)
            };
            if let Some((ino, staged, last)) = known {
                return Ok(Some(self.staged_attr(ino, last.as_ref(), &staged)));
            }
            let path = dir.join(name);
            if !path.is_sayable() {
                return Err(Error::Invalid("a name that cannot be sent over FTP"));
            }
            let item = self.shown(&path).await?;
            let ino = {
                let mut inodes = self.inodes();
                if inodes.find(parent, name) != before {
                    // Renamed over or made meanwhile: this may be of what had the name before.
                    continue;
                }
                let Some(item) = &item else { return Ok(None) };
                inodes.intern(parent, name, item.entry.kind)
            };
            return Ok(item.map(|item| self.learn(ino, &path, &item)));
        }
    }

    /// What is at `path`, which has nothing staged: the server's word, changed by what is queued.
    pub(super) async fn shown(&self, path: &RemotePath) -> Result<Option<Item>> {
        // Looked at first: what is done meanwhile is in the server's word too.
        let view = self.queue.view(path);
        let item = match view.is_made() {
            true => None,
            false => self.remote.stat(path).await?,
        };
        Ok(view.over(item))
    }

    /// Remembers what the server says of `ino`, and shows it as attributes.
    ///
    /// One that loses its name stays as it was: at the name there may already be what takes its place, and the kernel would
    /// cut what is open to the size of that.
    fn learn(&self, ino: u64, path: &RemotePath, item: &Item) -> Attr {
        // What is queued is not the server's word yet: a file's time is a part of its version.
        let is_word = item.entry.kind != Kind::File || self.queue.view(path).is_clear();
        let last = self.inodes().get_mut(ino).and_then(|node| {
            if node.leaving || node.unlinked || node.kept_at.is_some() {
                return node.entry.clone();
            }
            if is_word {
                node.entry = Some(item.entry.clone());
            }
            None
        });
        match last {
            Some(last) => self.attr_of(ino, path, &Item::unsettled(last)),
            None => self.attr_of(ino, path, item),
        }
    }

    /// The folder's time of modification after a change in it.
    pub(super) fn touch_dir(&self, ino: u64) {
        if let Ok(path) = self.path(ino) {
            self.overlay().forget_times(&path);
            self.remote.touched(&path, unix_seconds(SystemTime::now()));
        }
    }

    pub(super) async fn snapshot(&self, ino: u64) -> Result<Arc<DirSnapshot>> {
        let path = self.path(ino)?;
        self.remote.opened(&path);
        loop {
            let before = self.inodes().created_in(ino);
            let made = self.queue.view(&path).is_made();
            let views = self.queue.views_in(&path);
            let mut entries = match made {
                true => BTreeMap::new(),
                false => self.remote.list(&path).await?.entries.clone(),
            };
            for (name, view) in views {
                match view.over(entries.remove(&name)) {
                    Some(item) => entries.insert(name, item),
                    None => None,
                };
            }
            let inodes = self.inodes();
            let created = inodes.created_in(ino);
            let listed = |name: &Vec<u8>| entries.contains_key(name);
            // Sent while the listing was on its way, and too late to be in it.
            if before
                .iter()
                .any(|name| !created.contains(name) && !listed(name))
            {
                continue;
            }
            let new: Vec<_> = created.into_iter().filter(|name| !listed(name)).collect();
            let mut items: Vec<Item> = entries.into_values().collect();
            for name in new {
                items.push(Item::unsettled(Entry {
                    name,
                    kind: Kind::File,
                    ..self.root_entry()
                }));
            }
            return Ok(Arc::new(DirSnapshot {
                parent: inodes.parent(ino),
                path,
                items,
            }));
        }
    }

    /// What stands for the root, which is in no listing.
    pub(super) fn root_entry(&self) -> Entry {
        let modified = Modified {
            seconds: unix_seconds(self.mounted),
            precision: Precision::Second,
        };
        let name = Vec::new();
        Entry {
            name,
            kind: Kind::Dir,
            size: None,
            modified: Some(modified),
            mode: None,
            target: None,
            line: None,
        }
    }
}

/// Whether a reader of a folder has enough for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enough {
    /// Its buffer is full; the entry was not taken.
    Yes,
    /// It takes more.
    No,
}

/// Refuses names that no filesystem takes or that FTP cannot carry.
pub(super) fn check_name(name: &[u8]) -> Result<()> {
    const NAME_MAX: usize = 255;
    if name.len() > NAME_MAX {
        Err(Error::NameTooLong)
    } else {
        Ok(())
    }
}
