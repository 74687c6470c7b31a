//! Reading ahead across the small files of a folder: a program that opens one after another finds the next ones here.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::Vfs;
use super::attr::version;
use crate::ftp::list::Kind;

/// Folders whose small files are being read, by inode.
#[derive(Debug, Default)]
pub struct Runs {
    folders: HashMap<u64, Run>,
}

#[derive(Debug)]
struct Run {
    last: Instant,
    /// Small files opened shortly after one another.
    opened: u32,
}

impl Runs {
    /// Notes that a small file in `dir` is opened; how many of those behind it are to be read ahead.
    fn open(&mut self, dir: u64) -> usize {
        let now = Instant::now();
        if self.folders.len() >= MOST_RUNS {
            self.folders.retain(|_, run| now - run.last < PAUSE);
        }
        let run = self.folders.entry(dir).or_insert(Run {
            last: now,
            opened: 0,
        });
        if now - run.last > PAUSE {
            run.opened = 0;
        }
        run.last = now;
        run.opened += 1;
        match run.opened {
            1 => 0,
            opened => (FIRST << (opened - 2).min(8)).min(MOST_FILES),
        }
    }
}

impl Vfs {
    /// Notes that `ino` is opened for reading, and reads ahead in its folder if that is one of many.
    pub(super) fn read_beside(&self, ino: u64) {
        let place = {
            let inodes = self.inodes();
            let size = inodes
                .get(ino)
                .and_then(|node| node.entry.as_ref())
                .and_then(|entry| entry.size);
            let small = size.is_some_and(|size| size <= SMALL);
            inodes.place(ino).filter(|_| small)
        };
        let Some((parent, name)) = place else { return };
        let most = self.runs().open(parent);
        if most == 0 {
            return;
        }
        let Ok(dir) = self.path(parent) else { return };
        let Some(folder) = self.remote.fresh(&dir) else {
            return;
        };
        let behind = folder
            .entries
            .range(name.clone()..)
            .filter(|(other, item)| {
                let small = item
                    .entry
                    .size
                    .is_some_and(|size| (1..=SMALL).contains(&size));
                **other != name && item.entry.kind == Kind::File && item.settled && small
            });
        for (other, item) in behind.take(most) {
            // Until it is begun nobody renames it. What is open is read anyway, and may be on its way to another name:
            // its readers would go on with what has this name by then.
            let inodes = self.inodes();
            let number = inodes.number(parent, other);
            let is_free = inodes
                .get(number)
                .is_none_or(|node| node.staged.is_none() && node.handles == 0 && !node.leaving);
            if is_free {
                self.remote
                    .read_ahead(number, version(&item.entry), &dir.join(other));
            }
        }
    }
}

/// Files opened within this time of each other are opened by one program.
const PAUSE: Duration = Duration::from_millis(500);

/// Longest file that is read ahead whole, unasked.
const SMALL: u64 = 64 << 10;

/// Files read ahead at first; doubled by each further one that is opened.
const FIRST: usize = 4;

/// Files read ahead at most: 2 MiB.
const MOST_FILES: usize = 32;

/// Folders remembered before the old ones are looked for.
const MOST_RUNS: usize = 64;
