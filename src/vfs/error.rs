//! Why a filesystem operation cannot be done. Which errno that is, the adapter says.

use std::io;
use std::sync::Arc;

use crate::cache;
use crate::ftp;

/// Why a filesystem operation cannot be done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such name.
    #[error("no such file or folder")]
    NotFound,
    /// The name is taken.
    #[error("exists")]
    Exists,
    /// A folder is wanted.
    #[error("not a folder")]
    NotDir,
    /// Anything but a folder is wanted.
    #[error("a folder")]
    IsDir,
    /// The folder is not empty.
    #[error("not empty")]
    NotEmpty,
    /// The mount is read-only.
    #[error("mounted read-only")]
    ReadOnly,
    /// Not for this user, or not over FTP at all.
    #[error("not permitted over FTP")]
    NotPermitted,
    /// The permission bits say no.
    #[error("permission denied")]
    Forbidden,
    /// A name longer than 255 bytes, or a path longer than a command.
    #[error("the name is too long")]
    NameTooLong,
    /// The arguments make no sense.
    #[error("{0}")]
    Invalid(&'static str),
    /// A handle that is not open, or not for this.
    #[error("no such handle")]
    BadHandle,
    /// Where a file ends is not known: it would seem empty.
    #[error("the server says the size of this file neither in its listing nor by SIZE")]
    SizeUnknown,
    /// There is no such extended attribute.
    #[error("no such attribute")]
    NoAttribute,
    /// FTP has nothing of the kind.
    #[error("not supported over FTP")]
    Unsupported,
    /// The inode is not known any more.
    #[error("no such inode")]
    Stale,
    /// The staged file could not be read or written.
    #[error("staged file: {0}")]
    Local(#[from] io::Error),
    /// An earlier change, which was acknowledged, could not be made on the server.
    #[error("an earlier change: {0}")]
    Before(Arc<Error>),
    /// The server's side failed.
    #[error("{0}")]
    Remote(cache::Error),
}

impl From<cache::Error> for Error {
    fn from(error: cache::Error) -> Self {
        match error {
            cache::Error::Absent(_) => Self::NotFound,
            cache::Error::Exists(_) => Self::Exists,
            cache::Error::NotDir(_) => Self::NotDir,
            cache::Error::IsDir(_) => Self::IsDir,
            cache::Error::NotEmpty(_) => Self::NotEmpty,
            cache::Error::Wire(error) if error.kind == ftp::ErrorKind::Name => {
                Self::Invalid("a name that cannot be sent over FTP")
            }
            error => Self::Remote(error),
        }
    }
}

impl Error {
    /// Whether somebody wants nothing of what was being sent.
    pub fn is_recall(&self) -> bool {
        matches!(self, Self::Remote(cache::Error::Recalled))
    }

    /// Whether the same may succeed later, without anybody doing anything here.
    pub fn may_pass(&self) -> bool {
        use ftp::ErrorKind;
        match self {
            Self::Before(error) => error.may_pass(),
            Self::Remote(cache::Error::Wire(error)) => {
                error.is_connection()
                    || matches!(
                        error.kind,
                        ErrorKind::Unreachable
                            | ErrorKind::TooManySessions
                            | ErrorKind::Transient(_)
                            | ErrorKind::Login
                            | ErrorKind::Cut
                    )
            }
            Self::Remote(cache::Error::Denied(error)) => {
                matches!(error.kind, ErrorKind::Transient(_))
            }
            _ => false,
        }
    }
}

/// The result of a filesystem operation.
pub type Result<T> = std::result::Result<T, Error>;
