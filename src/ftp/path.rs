//! Absolute paths on the server, as bytes.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// An absolute path on the server: begins with `/`, has no empty, `.` or `..` parts and no `/` at its end.
///
/// Cheap to clone. Bytes, since FTP names have no charset of their own (RFC 2640 only recommends UTF-8).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "Vec<u8>", into = "Vec<u8>")]
pub struct RemotePath(Arc<[u8]>);

impl RemotePath {
    /// The server's root, `/`.
    pub fn root() -> Self {
        Self(Arc::from(&b"/"[..]))
    }

    /// `bytes` as a path, from the root; parts that say nothing (`//`, `/./`) are dropped and `..` goes up.
    pub fn new(bytes: &[u8]) -> Self {
        Self::root().descend(bytes)
    }

    /// The path reached from here by the relative path `bytes`, which may have several parts.
    pub fn descend(&self, bytes: &[u8]) -> Self {
        let mut parts: Vec<&[u8]> = self.parts().collect();
        for part in bytes.split(|&b| b == b'/') {
            match part {
                b"" | b"." => {}
                b".." => {
                    parts.pop();
                }
                _ => parts.push(part),
            }
        }
        if parts.is_empty() {
            return Self::root();
        }
        let mut path = Vec::with_capacity(parts.iter().map(|part| part.len() + 1).sum());
        for part in parts {
            path.push(b'/');
            path.extend_from_slice(part);
        }
        Self(path.into())
    }

    /// The path of `name`, one name without `/`, in this folder.
    pub fn join(&self, name: &[u8]) -> Self {
        let mut path = Vec::with_capacity(self.0.len() + 1 + name.len());
        if !self.is_root() {
            path.extend_from_slice(&self.0);
        }
        path.push(b'/');
        path.extend_from_slice(name);
        Self(path.into())
    }

    /// The folder that holds it; `None` for the root.
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        let slash = self.0.iter().rposition(|&b| b == b'/').unwrap_or(0);
        Some(if slash == 0 {
            Self::root()
        } else {
            Self(self.0[..slash].into())
        })
    }

    /// Its last part; empty for the root.
    pub fn name(&self) -> &[u8] {
        let slash = self.0.iter().rposition(|&b| b == b'/').unwrap_or(0);
        &self.0[slash + 1..]
    }

    /// The path as it goes on the wire.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether FTP can carry it: no line ends and no zero byte, and no 0xFF, which is Telnet's IAC and which some
    /// servers take away with the byte after it, and so act on another file.
    pub fn is_sayable(&self) -> bool {
        !self.0.iter().any(|b| matches!(b, 0 | b'\r' | b'\n' | 0xff))
    }

    /// Whether it is `/`.
    pub fn is_root(&self) -> bool {
        self.0.len() == 1
    }

    /// Whether it is `dir` or lies below it.
    pub fn is_within(&self, dir: &Self) -> bool {
        dir.is_root()
            || self
                .0
                .strip_prefix(&*dir.0)
                .is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
    }

    /// Its parts, from the root down.
    pub fn parts(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|&b| b == b'/').filter(|part| !part.is_empty())
    }
}

impl From<Vec<u8>> for RemotePath {
    fn from(bytes: Vec<u8>) -> Self {
        Self::new(&bytes)
    }
}

impl From<RemotePath> for Vec<u8> {
    fn from(path: RemotePath) -> Self {
        path.as_bytes().to_vec()
    }
}

impl fmt::Display for RemotePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", printable(&self.0))
    }
}

impl fmt::Debug for RemotePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Untrusted bytes as text for a message: control characters and invalid UTF-8 escaped, cut at 400 bytes.
pub fn printable(bytes: &[u8]) -> String {
    const LONGEST: usize = 400;
    let mut text = String::new();
    for chunk in bytes[..bytes.len().min(LONGEST)].utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() {
                text.extend(c.escape_default())
            } else {
                text.push(c)
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    if bytes.len() > LONGEST {
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_and_names_split_at_the_last_slash() {
        let path = RemotePath::new(b"/a/b c/d");
        assert_eq!(path.name(), b"d");
        assert_eq!(path.parent(), Some(RemotePath::new(b"/a/b c")));
        assert_eq!(RemotePath::new(b"/a").parent(), Some(RemotePath::root()));
        assert_eq!(RemotePath::root().parent(), None);
        assert_eq!(RemotePath::root().join(b"x").as_bytes(), b"/x");
    }

    #[test]
    fn odd_spellings_are_made_plain() {
        for (odd, plain) in [
            ("//a//b/", "/a/b"),
            ("a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("..", "/"),
            ("", "/"),
        ] {
            assert_eq!(
                RemotePath::new(odd.as_bytes()).as_bytes(),
                plain.as_bytes(),
                "{odd}"
            );
        }
    }

    #[test]
    fn within_is_by_whole_names() {
        let dir = RemotePath::new(b"/a");
        assert!(RemotePath::new(b"/a/b").is_within(&dir));
        assert!(RemotePath::new(b"/a").is_within(&dir));
        assert!(!RemotePath::new(b"/ab").is_within(&dir));
        assert!(RemotePath::new(b"/ab").is_within(&RemotePath::root()));
    }

    #[test]
    fn messages_escape_what_a_terminal_would_obey() {
        assert_eq!(printable(b"a\x1b[2Jb\xff"), "a\\u{1b}[2Jb\\xff");
    }
}
