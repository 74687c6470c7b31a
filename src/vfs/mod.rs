//! Filesystem meaning.

use std::path::PathBuf;

use crate::cache::CacheConfig;
use crate::ftp::config::ServerConfig;
use crate::pool::PoolConfig;

/// How the server's files appear, and where changes are staged.
#[derive(Clone, Debug)]
pub struct VfsConfig {
    /// Owner shown for everything.
    pub uid: u32,
    /// Group shown for everything.
    pub gid: u32,
    /// Permission bits of every file; `None` = the server's word, else `0o666 & !umask`.
    pub file_mode: Option<u32>,
    /// Permission bits of every folder; `None` = the server's word, else `0o777 & !umask`.
    pub dir_mode: Option<u32>,
    /// Bits taken away from what the server says, and from defaults; `None` = taken from nothing the server says, `0o022` from defaults.
    pub umask: Option<u32>,
    /// Whether every change is refused.
    pub read_only: bool,
    /// Folder under which the private staging folder is made.
    pub staging: PathBuf,
}

/// The filesystem.
pub struct Vfs {}

impl Vfs {
    /// Logs in once, learns the server's profile and shows its root.
    ///
    /// # Errors
    /// A sentence for the user: what failed and what to do.
    pub async fn connect(
        _server: ServerConfig,
        _pool: PoolConfig,
        _cache: CacheConfig,
        _config: VfsConfig,
    ) -> Result<Self, String> {
        Ok(Self {})
    }

    /// Sends everything not yet sent, and logs out.
    ///
    /// # Errors
    /// A sentence for each file that could not be sent, with where its bytes are kept.
    pub async fn drain(&self) -> Result<(), Vec<String>> {
        Ok(())
    }
}
