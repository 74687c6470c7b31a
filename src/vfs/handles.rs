//! Open files and folders.

use std::collections::HashMap;
use std::sync::Arc;

use super::namespace::DirSnapshot;

/// What a handle is open for.
#[derive(Clone, Debug)]
pub enum Handle {
    /// A file.
    File {
        /// Its inode.
        ino: u64,
        /// Whether it may be written through this handle.
        write: bool,
        /// Whether every write goes to the end.
        append: bool,
    },
    /// A folder, as it was when it was opened or rewound.
    Dir {
        /// Its inode.
        ino: u64,
        /// What is in it.
        snapshot: Arc<DirSnapshot>,
        /// Whether it was read from already.
        read: bool,
    },
}

/// All handles.
#[derive(Debug, Default)]
pub struct Handles {
    open: HashMap<u64, Handle>,
    last: u64,
}

impl Handles {
    /// The number of a new handle.
    pub fn add(&mut self, handle: Handle) -> u64 {
        self.last += 1;
        self.open.insert(self.last, handle);
        self.last
    }

    /// The handle `fh`.
    pub fn get(&self, fh: u64) -> Option<&Handle> {
        self.open.get(&fh)
    }

    /// Replaces the handle `fh`.
    pub fn set(&mut self, fh: u64, handle: Handle) {
        self.open.insert(fh, handle);
    }

    /// Closes the handle `fh`.
    pub fn remove(&mut self, fh: u64) -> Option<Handle> {
        self.open.remove(&fh)
    }
}
