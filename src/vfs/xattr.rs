//! What is known of a file beyond its attributes, as extended attributes `user.ftp.*` (xattr(7)).
//!
//! Nobody can set one: what a listing says is the server's.

use super::{Error, Result, Vfs};
use crate::ftp::list::{Kind, facts};
use crate::ftp::{RemotePath, url};

use super::attr::version;

impl Vfs {
    /// The value of the extended attribute `name` of `ino`.
    ///
    /// # Errors
    /// [`Error::NoAttribute`] for a name of users that has no value, [`Error::Unsupported`] for the names of others:
    /// programs that are told so once do not ask again.
    pub async fn xattr(&self, ino: u64, name: &[u8]) -> Result<Vec<u8>> {
        if !name.starts_with(b"user.") {
            return Err(Error::Unsupported);
        }
        // The kernel and its security modules ask for others before each write: none of those costs a look.
        let Some(name) = name.strip_prefix(PREFIX) else {
            return Err(Error::NoAttribute);
        };
        let known = self.known_of(ino).await?;
        let found = known.into_iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value).ok_or(Error::NoAttribute)
    }

    /// The names of the extended attributes of `ino`, each with a zero byte behind it.
    pub async fn list_xattr(&self, ino: u64) -> Result<Vec<u8>> {
        let mut names = Vec::new();
        for (name, _) in self.known_of(ino).await? {
            names.extend([PREFIX, &name, b"\0"].concat());
        }
        Ok(names)
    }

    /// What is known of `ino`, by name. What the listing says needs the listing, as the attributes do.
    async fn known_of(&self, ino: u64) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let Some(path) = self.named_path(ino) else {
            return Ok(Vec::new());
        };
        let mut known = vec![(b"url".to_vec(), self.url(&path).into_bytes())];
        let kind = self.with_node(ino, |node| node.kind)?;
        let item = match path == self.remote().pool().root() {
            // No listing is of it.
            true => None,
            false => self.shown(&path).await?,
        };
        if kind == Kind::File {
            let cached = item.as_ref().map_or(0, |item| {
                self.remote().cached_bytes(ino, version(&item.entry))
            });
            let unsent = self
                .staged(ino)
                .map_or(0, |staged| staged.state().unsent_bytes());
            known.push((b"cached".to_vec(), cached.to_string().into_bytes()));
            known.push((b"unsent".to_vec(), unsent.to_string().into_bytes()));
        }
        let line = item.as_ref().and_then(|item| item.entry.line.as_deref());
        if let Some(line) = line.filter(|line| line.len() <= LONGEST_VALUE) {
            for (fact, value) in facts(line)
                .filter(|(fact, _)| fact.len() <= LONGEST_FACT)
                .take(MOST_FACTS)
            {
                let name = [b"fact.", fact.to_ascii_lowercase().as_slice()].concat();
                known.push((name, value.to_vec()));
            }
            known.push((b"line".to_vec(), line.to_vec()));
        }
        Ok(known)
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
