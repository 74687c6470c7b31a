//! The inode table: numbers for names, as long as the kernel or an open file knows them.
//!
//! A number is a hash of the parent's number and the name, so that a name that was forgotten gets the same number again.
//! A node that is renamed keeps its number as long as it is known.

use std::collections::{BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Instant;

use super::staging::Staged;
use crate::cache::Version;
use crate::ftp::RemotePath;
use crate::ftp::list::{Entry, Kind};

/// The root's number.
pub const ROOT: u64 = 1;

/// One inode.
#[derive(Debug)]
pub struct Node {
    parent: u64,
    name: Vec<u8>,
    /// What it is; a name that becomes another kind becomes another node.
    pub kind: Kind,
    /// Times that the kernel was told of it and has not forgotten.
    lookups: u64,
    /// Nodes whose parent it is.
    children: u64,
    /// Open handles.
    pub handles: u32,
    /// Of those, the ones through which nothing is read or written any more.
    pub closing: u32,
    /// Open handles that may write.
    pub writers: u32,
    /// What was last known of it.
    pub entry: Option<Entry>,
    /// The local file that holds what was written to it.
    pub staged: Option<Arc<Staged>>,
    /// The version whose pages the kernel may have cached.
    pub cached: Option<Version>,
    /// When the server was last known to have got content of it.
    pub stored: Option<Instant>,
    /// It is about to lose its name, and cannot be opened meanwhile.
    pub leaving: bool,
    /// It has no name any more.
    pub unlinked: bool,
    /// Where its content is kept on the server after it lost its name.
    pub kept_at: Option<RemotePath>,
}

/// All inodes.
#[derive(Debug)]
pub struct Inodes {
    nodes: HashMap<u64, Node>,
    by_name: HashMap<(u64, Vec<u8>), u64>,
    /// Names by folder that the server does not have yet.
    created: HashMap<u64, BTreeSet<Vec<u8>>>,
    root: RemotePath,
}

impl Inodes {
    /// A table with the root alone, which is `root` on the server.
    pub fn new(root: RemotePath) -> Self {
        let mut nodes = HashMap::new();
        nodes.insert(ROOT, Node::new(0, Vec::new(), Kind::Dir));
        Self {
            nodes,
            by_name: HashMap::new(),
            created: HashMap::new(),
            root,
        }
    }

    /// The node `ino`.
    pub fn get(&self, ino: u64) -> Option<&Node> {
        self.nodes.get(&ino)
    }

    /// The node `ino`, to be changed.
    pub fn get_mut(&mut self, ino: u64) -> Option<&mut Node> {
        self.nodes.get_mut(&ino)
    }

    /// The number of `name` in `parent`, if it is known.
    pub fn find(&self, parent: u64, name: &[u8]) -> Option<u64> {
        self.by_name.get(&(parent, name.to_vec())).copied()
    }

    /// Where `ino` is on the server; `None` if it has no name, or is not known.
    pub fn path(&self, ino: u64) -> Option<RemotePath> {
        let mut names = Vec::new();
        let mut at = ino;
        while at != ROOT {
            let node = self.nodes.get(&at)?;
            if let Some(kept) = &node.kept_at {
                let kept = kept.clone();
                return Some(
                    names
                        .iter()
                        .rev()
                        .fold(kept, |path, name: &&[u8]| path.join(name)),
                );
            }
            if node.unlinked {
                return None;
            }
            names.push(node.name.as_slice());
            at = node.parent;
        }
        Some(
            names
                .iter()
                .rev()
                .fold(self.root.clone(), |path, name| path.join(name)),
        )
    }

    /// The parent's number; the root is its own.
    pub fn parent(&self, ino: u64) -> u64 {
        self.nodes
            .get(&ino)
            .map_or(ROOT, |node| if ino == ROOT { ROOT } else { node.parent })
    }

    /// The number that `name` in `parent` has or would get, without making a node.
    pub fn number(&self, parent: u64, name: &[u8]) -> u64 {
        self.find(parent, name)
            .unwrap_or_else(|| self.free_number(parent, name))
    }

    /// The node of `name` in `parent`, of `kind`; made if it is not there or was of another kind.
    pub fn intern(&mut self, parent: u64, name: &[u8], kind: Kind) -> u64 {
        if let Some(ino) = self.find(parent, name) {
            if self.nodes.get(&ino).is_some_and(|node| node.kind == kind) {
                return ino;
            }
            self.unlink(parent, name);
        }
        let ino = self.free_number(parent, name);
        self.nodes
            .insert(ino, Node::new(parent, name.to_vec(), kind));
        self.by_name.insert((parent, name.to_vec()), ino);
        if let Some(parent) = self.nodes.get_mut(&parent) {
            parent.children += 1;
        }
        ino
    }

    /// Counts one more mention to the kernel; whether `ino` is still known.
    pub fn mention(&mut self, ino: u64) -> bool {
        let node = self.nodes.get_mut(&ino);
        node.map(|node| node.lookups += 1).is_some()
    }

    /// [`Inodes::intern`] and [`Inodes::mention`] in one step, between which nobody can forget it.
    pub fn introduce(&mut self, parent: u64, name: &[u8], kind: Kind) -> u64 {
        let ino = self.intern(parent, name, kind);
        self.mention(ino);
        ino
    }

    /// Takes `count` mentions back.
    pub fn forget(&mut self, ino: u64, count: u64) {
        if let Some(node) = self.nodes.get_mut(&ino) {
            node.lookups = node.lookups.saturating_sub(count);
        }
        self.release(ino);
    }

    /// Drops `ino` and then its parents, as far as nobody knows them any more.
    pub fn release(&mut self, ino: u64) {
        let mut at = ino;
        while at != ROOT {
            let Some(node) = self.nodes.get(&at) else {
                return;
            };
            if node.lookups > 0 || node.children > 0 || node.handles > 0 || node.staged.is_some() {
                return;
            }
            let Some(node) = self.nodes.remove(&at) else {
                return;
            };
            if !node.unlinked {
                self.by_name.remove(&(node.parent, node.name));
            }
            if let Some(parent) = self.nodes.get_mut(&node.parent) {
                parent.children -= 1;
            }
            at = node.parent;
        }
    }

    /// Takes the name from the node of `name` in `parent`; its number, if it is known.
    pub fn unlink(&mut self, parent: u64, name: &[u8]) -> Option<u64> {
        self.server_has(parent, name);
        let ino = self.by_name.remove(&(parent, name.to_vec()))?;
        if let Some(node) = self.nodes.get_mut(&ino) {
            node.unlinked = true;
        }
        self.release(ino);
        Some(ino)
    }

    /// Gives the node of `name` in `parent` another place; whatever was known there loses its name.
    pub fn rename(&mut self, parent: u64, name: &[u8], new_parent: u64, new_name: &[u8]) {
        self.unlink(new_parent, new_name);
        let Some(ino) = self.by_name.remove(&(parent, name.to_vec())) else {
            return;
        };
        self.by_name.insert((new_parent, new_name.to_vec()), ino);
        if let Some(node) = self.nodes.get_mut(&ino) {
            node.parent = new_parent;
            node.name = new_name.to_vec();
        }
        if let Some(new_parent) = self.nodes.get_mut(&new_parent) {
            new_parent.children += 1;
        }
        if let Some(parent) = self.nodes.get_mut(&parent) {
            parent.children -= 1;
        }
        self.release(parent);
    }

    /// Notes that the server does not have `name` in `parent` yet.
    pub fn server_lacks(&mut self, parent: u64, name: &[u8]) {
        self.created
            .entry(parent)
            .or_default()
            .insert(name.to_vec());
    }

    /// Ends [`Inodes::server_lacks`].
    pub fn server_has(&mut self, parent: u64, name: &[u8]) {
        if let Some(names) = self.created.get_mut(&parent) {
            names.remove(name);
            if names.is_empty() {
                self.created.remove(&parent);
            }
        }
    }

    /// Names in `dir` that the server does not have yet.
    pub fn created_in(&self, dir: u64) -> Vec<Vec<u8>> {
        self.created
            .get(&dir)
            .map(|names| names.iter().cloned().collect())
            .unwrap_or_default()
    }

    /// Name and parent of `ino`; `None` if it has no name.
    pub fn place(&self, ino: u64) -> Option<(u64, Vec<u8>)> {
        let node = self.nodes.get(&ino)?;
        (!node.unlinked && ino != ROOT).then(|| (node.parent, node.name.clone()))
    }

    /// What is kept on the server, within `dir`, of files that lost their names.
    pub fn kept_within(&self, dir: &RemotePath) -> Vec<(u64, RemotePath)> {
        let kept = self
            .nodes
            .iter()
            .filter_map(|(&ino, node)| Some((ino, node.kept_at.clone()?)));
        kept.filter(|(_, path)| path.is_within(dir)).collect()
    }

    /// Numbers of all nodes with a staged file.
    pub fn staged(&self) -> Vec<u64> {
        self.nodes
            .iter()
            .filter(|(_, node)| node.staged.is_some())
            .map(|(&ino, _)| ino)
            .collect()
    }

    /// A number for `name` in `parent` that no node has.
    fn free_number(&self, parent: u64, name: &[u8]) -> u64 {
        for salt in 0u32.. {
            let mut hasher = DefaultHasher::new();
            (parent, name, salt).hash(&mut hasher);
            // 48 bits: programs that hold inode numbers in a double or a signed type keep them whole.
            let ino = hasher.finish() >> 16;
            if ino > ROOT && !self.nodes.contains_key(&ino) {
                return ino;
            }
        }
        unreachable!("fewer nodes than salts")
    }
}

impl Node {
    fn new(parent: u64, name: Vec<u8>, kind: Kind) -> Self {
        Self {
            parent,
            name,
            kind,
            lookups: 0,
            children: 0,
            handles: 0,
            closing: 0,
            writers: 0,
            entry: None,
            staged: None,
            cached: None,
            stored: None,
            leaving: false,
            unlinked: false,
            kept_at: None,
        }
    }

    /// Whether something may still be read or written through an open handle.
    pub fn is_open(&self) -> bool {
        self.handles > self.closing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Inodes {
        Inodes::new(RemotePath::new(b"/base"))
    }

    fn known(inodes: &mut Inodes, parent: u64, name: &str, kind: Kind) -> u64 {
        inodes.introduce(parent, name.as_bytes(), kind)
    }

    #[test]
    fn a_forgotten_name_gets_its_number_again() {
        let mut inodes = table();
        let dir = known(&mut inodes, ROOT, "d", Kind::Dir);
        let file = known(&mut inodes, dir, "f", Kind::File);
        inodes.forget(dir, 1);
        assert_eq!(
            inodes.path(file),
            Some(RemotePath::new(b"/base/d/f")),
            "kept by its child"
        );
        inodes.forget(file, 1);
        assert_eq!(inodes.nodes.len(), 1, "the root alone is known");
        assert_eq!(known(&mut inodes, ROOT, "d", Kind::Dir), dir);
        assert_eq!(known(&mut inodes, dir, "f", Kind::File), file);
    }

    #[test]
    fn a_renamed_node_keeps_its_number_and_takes_its_children_along() {
        let mut inodes = table();
        let dir = known(&mut inodes, ROOT, "d", Kind::Dir);
        let file = known(&mut inodes, dir, "f", Kind::File);
        inodes.rename(ROOT, b"d", ROOT, b"e");
        assert_eq!(inodes.path(file), Some(RemotePath::new(b"/base/e/f")));
        assert_eq!(inodes.find(ROOT, b"e"), Some(dir));
        assert_ne!(known(&mut inodes, ROOT, "d", Kind::Dir), dir);
    }

    #[test]
    fn a_name_used_again_is_another_node_while_the_old_one_is_known() {
        let mut inodes = table();
        let old = known(&mut inodes, ROOT, "f", Kind::File);
        inodes.unlink(ROOT, b"f");
        assert_eq!(inodes.path(old), None);
        let new = known(&mut inodes, ROOT, "f", Kind::File);
        assert_ne!(old, new);
        assert_ne!(
            known(&mut inodes, ROOT, "f", Kind::Dir),
            new,
            "another kind is another node"
        );
    }
}
