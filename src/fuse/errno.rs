//! The one table of errno: what a failure is called towards the kernel.

use fuser::Errno;

use crate::cache;
use crate::ftp;
use crate::vfs::Error;

/// The errno for `error`.
///
/// A network failure is never ENOENT: programs take that for a deleted file.
pub fn errno(error: &Error) -> Errno {
    match error {
        Error::NotFound => Errno::ENOENT,
        Error::Exists => Errno::EEXIST,
        Error::NotDir => Errno::ENOTDIR,
        Error::IsDir => Errno::EISDIR,
        Error::NotEmpty => Errno::ENOTEMPTY,
        Error::ReadOnly => Errno::EROFS,
        Error::NotPermitted => Errno::EPERM,
        Error::Forbidden => Errno::EACCES,
        Error::NameTooLong => Errno::ENAMETOOLONG,
        Error::Invalid(_) => Errno::EINVAL,
        Error::BadHandle => Errno::EBADF,
        Error::Stale => Errno::ESTALE,
        Error::SizeUnknown => Errno::EIO,
        Error::NoAttribute => Errno::ENODATA,
        Error::Unsupported => Errno::EOPNOTSUPP,
        Error::Local(error) => error.raw_os_error().map_or(Errno::EIO, Errno::from_i32),
        Error::Before(error) => errno(error),
        Error::Remote(error) => remote(error),
    }
}

fn remote(error: &cache::Error) -> Errno {
    match error {
        cache::Error::Absent(_) => Errno::ENOENT,
        cache::Error::Exists(_) => Errno::EEXIST,
        cache::Error::NotDir(_) => Errno::ENOTDIR,
        cache::Error::IsDir(_) => Errno::EISDIR,
        cache::Error::NotEmpty(_) => Errno::ENOTEMPTY,
        cache::Error::Stale(_) => Errno::ESTALE,
        cache::Error::Unsupported(_) => Errno::EOPNOTSUPP,
        // "Local error in processing": it has nothing against it.
        cache::Error::Denied(error) => match error.kind {
            ftp::ErrorKind::Transient(_) => Errno::EIO,
            _ => Errno::EACCES,
        },
        cache::Error::Local(_) | cache::Error::Recalled => Errno::EIO,
        cache::Error::Wire(error) => wire(error.kind),
    }
}

fn wire(kind: ftp::ErrorKind) -> Errno {
    use ftp::ErrorKind;
    match kind {
        ErrorKind::Unreachable => Errno::EHOSTUNREACH,
        ErrorKind::TimedOut => Errno::ETIMEDOUT,
        ErrorKind::NoSpace => Errno::ENOSPC,
        ErrorKind::NotImplemented => Errno::EOPNOTSUPP,
        ErrorKind::Refused(_) | ErrorKind::Unlisted | ErrorKind::Login => Errno::EACCES,
        ErrorKind::TooManySessions => Errno::EBUSY,
        ErrorKind::Name => Errno::EINVAL,
        ErrorKind::Lost
        | ErrorKind::Protocol
        | ErrorKind::Tls
        | ErrorKind::TlsVersion
        | ErrorKind::TlsGarbled
        | ErrorKind::Transient(_)
        | ErrorKind::Cut
        | ErrorKind::Endless => Errno::EIO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_failure_of_the_network_looks_like_a_missing_file() {
        use ftp::ErrorKind;
        let kinds = [
            ErrorKind::Unreachable,
            ErrorKind::Lost,
            ErrorKind::TimedOut,
            ErrorKind::Protocol,
            ErrorKind::TooManySessions,
            ErrorKind::Login,
            ErrorKind::Tls,
            ErrorKind::TlsVersion,
            ErrorKind::TlsGarbled,
            ErrorKind::NotImplemented,
            ErrorKind::Refused(550),
            ErrorKind::Transient(450),
            ErrorKind::Unlisted,
            ErrorKind::NoSpace,
            ErrorKind::Cut,
            ErrorKind::Endless,
            ErrorKind::Name,
        ];
        for kind in kinds {
            let error = cache::Error::Wire(ftp::Error::new(kind, "RETR", "text"));
            assert_ne!(errno(&Error::from(error)).code(), libc::ENOENT, "{kind:?}");
        }
    }
}
