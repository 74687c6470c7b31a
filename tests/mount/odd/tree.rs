//! The scripted server's files: absolute paths in bytes, without a slash at the end.

use std::collections::BTreeMap;

/// The folders and files; the root is always there.
pub struct Tree(BTreeMap<Vec<u8>, Node>);

/// A file or a folder.
#[derive(Clone, Debug)]
pub struct Node {
    /// `None` for a folder.
    pub content: Option<Vec<u8>>,
    /// `yyyymmddhhmmss`, as `MDTM` has it.
    pub modified: Vec<u8>,
    /// Permission bits.
    pub mode: u32,
}

impl Default for Tree {
    fn default() -> Self {
        Self(BTreeMap::from([(b"/".to_vec(), Node::folder())]))
    }
}

impl Tree {
    pub fn get(&self, path: &[u8]) -> Option<&Node> {
        self.0.get(path)
    }

    pub fn get_mut(&mut self, path: &[u8]) -> Option<&mut Node> {
        self.0.get_mut(path)
    }

    /// The content of the file at `path`; `None` if there is no such file.
    pub fn content(&self, path: &[u8]) -> Option<&[u8]> {
        self.get(path)?.content.as_deref()
    }

    pub fn is_folder(&self, path: &[u8]) -> bool {
        self.get(path).is_some_and(|node| node.content.is_none())
    }

    /// Whether a file may be made at `path`, or replaced.
    pub fn takes_file(&self, path: &[u8]) -> bool {
        !self.is_folder(path) && self.is_folder(parent(path))
    }

    pub fn put(&mut self, path: &[u8], node: Node) {
        self.0.insert(path.to_vec(), node);
    }

    /// Removes a file, or a folder that is empty; `false` if it is neither.
    pub fn remove(&mut self, path: &[u8], kind: NodeKind) -> bool {
        let removable = match kind {
            NodeKind::File => self.content(path).is_some(),
            NodeKind::Folder => {
                path != b"/" && self.is_folder(path) && self.children(path).next().is_none()
            }
        };
        removable && self.0.remove(path).is_some()
    }

    /// Moves `from`, with all that it holds.
    pub fn rename(&mut self, from: &[u8], to: &[u8]) {
        let below = [from, b"/"].concat();
        let moved: Vec<Vec<u8>> = self
            .0
            .keys()
            .filter(|path| *path == from || path.starts_with(&below))
            .cloned()
            .collect();
        for path in moved {
            let node = self.0.remove(&path).expect("it is one of the keys");
            self.0.insert([to, &path[from.len()..]].concat(), node);
        }
    }

    /// Writes `bytes` into the file at `path` from `offset` on; what lies behind stays.
    pub fn write(&mut self, path: &[u8], offset: usize, bytes: &[u8]) {
        let mut content = self.content(path).unwrap_or_default().to_vec();
        let end = offset + bytes.len();
        content.resize(content.len().max(end), 0);
        content[offset..end].copy_from_slice(bytes);
        self.put(path, Node::file(&content));
    }

    /// What `MLSD` sends; `None` if `path` is no folder.
    pub fn mlsd(&self, path: &[u8]) -> Option<Vec<u8>> {
        let mut listing = self
            .get(path)
            .filter(|node| node.content.is_none())?
            .mlsx_line("cdir", b".");
        for (name, node) in self.children(path) {
            listing.extend(node.mlsx_line(node.kind(), name));
        }
        Some(listing)
    }

    /// What `NLST` sends: names without a dot, each after its folder, as some servers have it; `None` if `path` is no folder.
    pub fn names(&self, path: &[u8]) -> Option<Vec<u8>> {
        self.get(path).filter(|node| node.content.is_none())?;
        let names = self.children(path).map(|(name, _)| name);
        let shown = names.filter(|name| !name.starts_with(b"."));
        let lines: Vec<Vec<u8>> = shown
            .map(|name| [path, b"/", name, b"\r\n"].concat())
            .collect();
        Some(lines.concat())
    }

    /// What `LIST` sends, or `LIST -a`, which shows names with a dot too; `None` if `path` is no folder.
    pub fn list(&self, path: &[u8], all: bool) -> Option<Vec<u8>> {
        let folder = self.get(path).filter(|node| node.content.is_none())?;
        let mut listing = Vec::new();
        if all {
            listing.extend(folder.list_line(b"."));
            listing.extend(folder.list_line(b".."));
        }
        for (name, node) in self.children(path) {
            if all || !name.starts_with(b".") {
                listing.extend(node.list_line(name));
            }
        }
        Some(listing)
    }

    /// Names and nodes in the folder `path`.
    fn children<'a>(&'a self, path: &'a [u8]) -> impl Iterator<Item = (&'a [u8], &'a Node)> {
        let inside = self
            .0
            .iter()
            .filter(move |(child, _)| *child != b"/" && parent(child) == path);
        inside.map(|(child, node)| (last(child), node))
    }
}

/// What `DELE` and `RMD` remove.
#[derive(Clone, Copy)]
pub enum NodeKind {
    File,
    Folder,
}

impl Node {
    /// A file of now.
    pub fn file(content: &[u8]) -> Self {
        Self {
            content: Some(content.to_vec()),
            modified: now(),
            mode: 0o644,
        }
    }

    /// A folder of now.
    pub fn folder() -> Self {
        Self {
            content: None,
            modified: now(),
            mode: 0o755,
        }
    }

    /// Its `type` in `MLSD` and `MLST`.
    pub fn kind(&self) -> &'static str {
        if self.content.is_some() {
            "file"
        } else {
            "dir"
        }
    }

    /// Its facts and name as `MLSD` and `MLST` send them, with CRLF.
    pub fn mlsx_line(&self, kind: &str, name: &[u8]) -> Vec<u8> {
        let facts = format!("type={kind};size={};modify=", self.size());
        let mode = format!(";UNIX.mode=0{:o}; ", self.mode);
        [
            facts.as_bytes(),
            &self.modified,
            mode.as_bytes(),
            name,
            b"\r\n",
        ]
        .concat()
    }

    /// Its line in `LIST`, always in the form for old files: it has no clock in it.
    fn list_line(&self, name: &[u8]) -> Vec<u8> {
        let kind = if self.content.is_some() { '-' } else { 'd' };
        let allowed = |bit| self.mode >> (8 - bit) & 1 == 1;
        let mode: String = (0..9)
            .map(|bit| {
                if allowed(bit) {
                    b"rwx"[bit % 3].into()
                } else {
                    '-'
                }
            })
            .collect();
        let date = jiff::civil::DateTime::strptime("%Y%m%d%H%M%S", &self.modified);
        let date = date.unwrap_or_default().strftime("%b %e  %Y");
        let line = format!("{kind}{mode} 1 odd odd {:>8} {date} ", self.size());
        [line.as_bytes(), name, b"\r\n"].concat()
    }

    /// Bytes of a file; 0 for a folder.
    pub fn size(&self) -> usize {
        self.content.as_ref().map_or(0, Vec::len)
    }
}

/// The folder that `path` is in; the root for the root.
pub fn parent(path: &[u8]) -> &[u8] {
    match path.iter().rposition(|byte| *byte == b'/') {
        None | Some(0) => b"/",
        Some(slash) => &path[..slash],
    }
}

/// The name at the end of `path`.
fn last(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
}

fn now() -> Vec<u8> {
    jiff::Timestamp::now()
        .strftime("%Y%m%d%H%M%S")
        .to_string()
        .into()
}
