//! What is known of a file beyond its attributes, as extended attributes `user.ftp.*` (xattr(7)).
//!
//! Nobody can set one: what a listing says is the server's.

use tracing::debug;

use super::attr::version;
use super::inodes::ROOT;
use super::{Error, Result, Vfs};
use crate::ftp::list::{Kind, facts};
use crate::ftp::{RemotePath, url};

/// Attributes, by their names without the prefix.
type Known = Vec<(Vec<u8>, Vec<u8>)>;

impl Vfs {
    /// The value of the extended attribute `name` of `ino`.
    ///
    /// # Errors
    /// [`Error::NoAttribute`] for a name of users that has no value, [`Error::Unsupported`] for the names of others:
    /// programs that are told so once do not ask again.
    pub async fn xattr(&self, ino: u64, name: &[u8]) -> Result<Vec<u8>> {
        // The kernel asks for security.capability before each write to a file that is open for reading too.
        if !name.starts_with(b"user.") {
            return Err(Error::Unsupported);
        }
        let name = name.strip_prefix(PREFIX).ok_or(Error::NoAttribute)?;
        let value = |known: Known| {
            let mut known = known.into_iter();
            known.find(|(known, _)| known == name)
        };
        // What is not sent is of interest above all where the server cannot be asked.
        let found = match value(self.known_here(ino)) {
            None => value(self.known_of_server(ino).await?),
            found => found,
        };
        found.map(|(_, value)| value).ok_or(Error::NoAttribute)
    }

    /// The names of the extended attributes of `ino`, each with a zero byte behind it.
    pub async fn list_xattr(&self, ino: u64) -> Result<Vec<u8>> {
        let mut known = self.known_here(ino);
        match self.known_of_server(ino).await {
            Ok(more) => known.extend(more),
            Err(error) if known.is_empty() => return Err(error),
            Err(error) => debug!(%error, "attributes without the listing"),
        }
        let mut names = Vec::new();
        for (name, _) in known {
            names.extend([PREFIX, &name, b"\0"].concat());
        }
        Ok(names)
    }

    /// What is known of `ino` whatever the server says; nothing if it has lost its name.
    fn known_here(&self, ino: u64) -> Known {
        let Some(path) = self.named_path(ino) else {
            return Vec::new();
        };
        let mut known = vec![(b"url".to_vec(), self.url(&path).into_bytes())];
        if self.is_file(ino) {
            let staged = self.staged(ino);
            let unsent = staged.map_or(0, |staged| staged.state().unsent_bytes());
            known.push((b"unsent".to_vec(), unsent.to_string().into_bytes()));
        }
        known
    }

    /// What is known of `ino` by the listing that it is in, which is fetched if it is not fresh, as for the attributes.
    async fn known_of_server(&self, ino: u64) -> Result<Known> {
        // No listing is of the root.
        let path = self.named_path(ino).filter(|_| ino != ROOT);
        let Some(path) = path else {
            return Ok(Vec::new());
        };
        let item = self.shown(&path).await?;
        let mut known = Vec::new();
        if self.is_file(ino) {
            let cached = item.as_ref().map_or(0, |item| {
                self.remote().cached_bytes(ino, version(&item.entry))
            });
            known.push((b"cached".to_vec(), cached.to_string().into_bytes()));
        }
        let line = item.as_ref().and_then(|item| item.entry.line.as_deref());
        let Some(line) = line.filter(|line| line.len() <= LONGEST_VALUE) else {
            return Ok(known);
        };
        let facts = facts(line).filter(|(fact, _)| fact.len() <= LONGEST_FACT);
        for (fact, value) in facts.take(MOST_FACTS) {
            let name = [b"fact.", fact.to_ascii_lowercase().as_slice()].concat();
            known.push((name, value.to_vec()));
        }
        known.push((b"line".to_vec(), line.to_vec()));
        Ok(known)
    }

    fn is_file(&self, ino: u64) -> bool {
        let inodes = self.inodes();
        inodes.get(ino).is_some_and(|node| node.kind == Kind::File)
    }

    /// The address of `path`.
    fn url(&self, path: &RemotePath) -> String {
        let above = self.remote().pool().root().parts().count();
        url::below(&self.config.url, path.parts().skip(above))
    }
}

/// What the names of our attributes begin with.
const PREFIX: &[u8] = b"user.ftp.";

/// The kernel's limit, `XATTR_SIZE_MAX`.
const LONGEST_VALUE: usize = 64 << 10;

/// Longer names of facts fill the list of names: the server may say anything.
const LONGEST_FACT: usize = 64;

/// More than any server has.
const MOST_FACTS: usize = 64;
