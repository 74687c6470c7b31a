//! What may be in a folder after operations of which some may have been done in part.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use rustix::io::Errno;

/// One of the folders that are possible: contents by name.
pub type Tree = BTreeMap<String, Content>;

/// What a file may hold: one part behind another, of each as many bytes from its beginning as said, or more.
#[derive(Clone, PartialEq, Eq)]
pub struct Content(Vec<(usize, Arc<[u8]>)>);

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (least, bytes)) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str(" and ")?;
            }
            if *least < bytes.len() {
                write!(f, "{least} or more of ")?;
            }
            Bytes(bytes).fmt(f)?;
        }
        Ok(())
    }
}

/// Bytes in a message: how many, and a sum that tells them apart.
pub struct Bytes<'a>(pub &'a [u8]);

impl fmt::Debug for Bytes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sum = self.0.iter().fold(0u16, |sum, &byte| {
            sum.wrapping_mul(31).wrapping_add(byte.into())
        });
        write!(f, "{} bytes ({sum:04x})", self.0.len())
    }
}

impl Content {
    /// These bytes.
    fn exactly(bytes: &Arc<[u8]>) -> Self {
        Self(vec![(bytes.len(), bytes.clone())])
    }

    /// These bytes, or fewer from their beginning.
    fn part(bytes: &Arc<[u8]>) -> Self {
        Self(vec![(0, bytes.clone())])
    }

    /// This and then `more`.
    fn and(&self, more: Self) -> Self {
        Self([self.0.clone(), more.0].concat())
    }

    /// Whether it can be `bytes`.
    pub fn can_be(&self, bytes: &[u8]) -> bool {
        can_be(&self.0, bytes)
    }
}

fn can_be(parts: &[(usize, Arc<[u8]>)], bytes: &[u8]) -> bool {
    let [(least, part), behind @ ..] = parts else {
        return bytes.is_empty();
    };
    let same = part.iter().zip(bytes).take_while(|(a, b)| a == b).count();
    (*least..=same)
        .rev()
        .any(|length| can_be(behind, &bytes[length..]))
}

/// One operation.
#[derive(Clone, Debug)]
pub enum Op {
    /// The file is written anew.
    Put(String, Arc<[u8]>),
    /// The bytes are added to it.
    Append(String, Arc<[u8]>),
    /// It is renamed.
    Rename(String, String),
    /// It is removed.
    Remove(String),
    /// It is read.
    Read(String),
    /// The folder is listed.
    List,
}

/// What an operation gives.
#[derive(Clone, Debug)]
pub enum Seen {
    /// Nothing but success.
    Done,
    /// A content.
    Bytes(Vec<u8>),
    /// Names, sorted.
    Names(Vec<String>),
}

/// The folders that are possible after `op` has given `seen`, of those before it. None: what was seen cannot be true.
pub fn after(before: &[Tree], op: &Op, seen: &Result<Seen, Errno>) -> Vec<Tree> {
    let mut possible = Vec::new();
    let mut add = |tree: Tree| {
        if !possible.contains(&tree) {
            possible.push(tree);
        }
    };
    for tree in before {
        match (done(tree, op), seen) {
            (Ok(then), Ok(seen)) => {
                if let Some(then) = confirmed(then, op, seen) {
                    add(then);
                }
            }
            (Err(wanted), Err(errno)) if *errno == wanted => add(tree.clone()),
            (outcome, Err(errno)) if is_failure(*errno) => {
                add(tree.clone());
                if let Ok(then) = outcome {
                    add(partly(tree, then, op));
                }
            }
            _ => {}
        }
    }
    possible
}

/// Whether an errno says that the network or the server is to blame, and nothing of what is there.
fn is_failure(errno: Errno) -> bool {
    [
        Errno::IO,
        Errno::TIMEDOUT,
        Errno::HOSTUNREACH,
        Errno::STALE,
        Errno::BUSY,
    ]
    .contains(&errno)
}

/// The folder after `op`, if it can be done.
fn done(tree: &Tree, op: &Op) -> Result<Tree, Errno> {
    let mut then = tree.clone();
    match op {
        Op::Put(name, bytes) => {
            then.insert(name.clone(), Content::exactly(bytes));
        }
        Op::Append(name, bytes) => {
            then.insert(name.clone(), grown(tree, name, Content::exactly(bytes)));
        }
        Op::Rename(from, to) => {
            let moved = then.remove(from).ok_or(Errno::NOENT)?;
            then.insert(to.clone(), moved);
        }
        Op::Remove(name) => {
            then.remove(name).ok_or(Errno::NOENT)?;
        }
        Op::Read(name) => {
            tree.get(name).ok_or(Errno::NOENT)?;
        }
        Op::List => {}
    }
    Ok(then)
}

/// The folder `then`, with what was seen of it; `None` if that is not true of it.
fn confirmed(mut then: Tree, op: &Op, seen: &Seen) -> Option<Tree> {
    match (op, seen) {
        (Op::Read(name), Seen::Bytes(bytes)) => {
            let content = then.get_mut(name)?;
            if !content.can_be(bytes) {
                return None;
            }
            *content = Content::exactly(&bytes.as_slice().into());
        }
        (Op::List, Seen::Names(names)) if !then.keys().eq(names) => return None,
        _ => {}
    }
    Some(then)
}

/// The folder where `op` was done in part: of a new file, or one that was empty, any part may be there, of a longer one any
/// part of what was added. What is replaced is whole, before or after.
fn partly(tree: &Tree, mut then: Tree, op: &Op) -> Tree {
    match op {
        Op::Put(name, bytes) if tree.get(name).is_none_or(|old| old.can_be(b"")) => {
            then.insert(name.clone(), Content::part(bytes));
        }
        Op::Append(name, bytes) => {
            then.insert(name.clone(), grown(tree, name, Content::part(bytes)));
        }
        _ => {}
    }
    then
}

/// What the file `name` holds once `more` is added.
fn grown(tree: &Tree, name: &str, more: Content) -> Content {
    match tree.get(name) {
        Some(old) => old.and(more),
        None => more,
    }
}

/// Whether `found` is one of the folders that are possible.
pub fn are_possible(trees: &[Tree], found: &BTreeMap<String, Vec<u8>>) -> bool {
    trees.iter().any(|tree| {
        let same = tree.keys().eq(found.keys());
        same && tree
            .iter()
            .all(|(name, content)| content.can_be(&found[name]))
    })
}
