//! What a failure means for the thing it happened to.

use crate::ftp::{self, RemotePath};

/// Why something on the server cannot be had or done.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// It was asked for and is not there. Never the result of a failed connection.
    #[error("{0}: no such file or folder on the server")]
    Absent(RemotePath),
    /// Something of that name is there already.
    #[error("{0}: exists on the server")]
    Exists(RemotePath),
    /// It is not a folder.
    #[error("{0}: not a folder")]
    NotDir(RemotePath),
    /// It is a folder.
    #[error("{0}: a folder")]
    IsDir(RemotePath),
    /// The folder has something in it.
    #[error("{0}: not empty")]
    NotEmpty(RemotePath),
    /// It changed on the server while it was in use here.
    #[error("{0}: changed on the server meanwhile")]
    Stale(RemotePath),
    /// The server has no command for it.
    #[error("{0}")]
    Unsupported(ftp::Error),
    /// The server refuses, and it is none of the above.
    #[error("{0}")]
    Denied(ftp::Error),
    /// Anything else that happened on the wire.
    #[error("{0}")]
    Wire(#[from] ftp::Error),
    /// Somebody has come who needs nothing of what was being sent.
    #[error("not wanted any more")]
    Recalled,
    /// Local reading of what was to be sent failed.
    #[error("staged file: {0}")]
    Local(String),
}

impl Error {
    /// Whether the server did not answer in time. That may be for one file alone: vsftpd (`lock_upload_files`, its default)
    /// lets no upload into a file begin while a lost one still waits there for its data connection, which it does for a
    /// minute, or for more bytes, for five.
    pub fn is_silence(&self) -> bool {
        matches!(self, Self::Wire(error) if error.kind == ftp::ErrorKind::TimedOut)
    }
}

/// The result of an operation on the server.
pub type Result<T> = std::result::Result<T, Error>;
