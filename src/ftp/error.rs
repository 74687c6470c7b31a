//! What went wrong on the wire, classified once.

use std::io;

use super::path::printable;
use super::reply::Reply;

/// A failed operation: what was tried, what kind of failure, and the server's or the system's words.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{operation}: {detail}")]
pub struct Error {
    /// What kind of failure it is.
    pub kind: ErrorKind,
    operation: String,
    detail: String,
}

/// What kind of failure an [`Error`] is. Which errno it becomes is decided elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// No connection could be made: name not found, refused, no route.
    Unreachable,
    /// The connection was closed or reset.
    Lost,
    /// No answer, or no progress, in the configured time.
    TimedOut,
    /// What came is not FTP, or breaks its rules.
    Protocol,
    /// The server's limit of sessions is reached (421, or 530 saying so).
    TooManySessions,
    /// Name or password refused.
    Login,
    /// Encryption failed, or the certificate is not trusted.
    Tls,
    /// No version of TLS that both sides have.
    TlsVersion,
    /// What came in place of a TLS handshake is no TLS.
    TlsGarbled,
    /// The server does not know the command (500, 502, 504).
    NotImplemented,
    /// The server will not do it (any other 5xx); 550 has no cause of its own.
    Refused(u16),
    /// The server could not do it now (4xx).
    Transient(u16),
    /// The server has entered the folder, and does not list it.
    Unlisted,
    /// No room, or over quota (452, 552).
    NoSpace,
    /// A transfer ended before its end.
    Cut,
    /// A listing goes on for longer than any folder's: it is not asked for again.
    Endless,
    /// A name that cannot be sent over FTP.
    Name,
}

impl Error {
    /// An error of `kind` at `operation`, with `detail` as its words.
    pub fn new(kind: ErrorKind, operation: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            kind,
            operation: operation.into(),
            detail: detail.into(),
        }
    }

    /// What the refusing `reply` to `operation` means.
    pub fn from_reply(operation: impl Into<String>, reply: &Reply) -> Self {
        let kind = match reply.code {
            421 => ErrorKind::Lost,
            452 | 552 => ErrorKind::NoSpace,
            500 | 502 | 504 => ErrorKind::NotImplemented,
            400..=499 => ErrorKind::Transient(reply.code),
            500..=599 => ErrorKind::Refused(reply.code),
            _ => ErrorKind::Protocol,
        };
        Self::new(kind, operation, reply.to_string())
    }

    /// What `error` of the system at `operation` means.
    pub fn from_io(operation: impl Into<String>, error: &io::Error) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::TimedOut => ErrorKind::TimedOut,
            io::ErrorKind::InvalidData => ErrorKind::Protocol,
            _ => ErrorKind::Lost,
        };
        Self::new(kind, operation, error.to_string())
    }

    /// `TimedOut` at `operation`.
    pub fn timed_out(operation: impl Into<String>) -> Self {
        Self::new(
            ErrorKind::TimedOut,
            operation,
            "the server did not answer in time",
        )
    }

    /// Something that breaks the protocol's rules, with the offending `bytes`.
    pub fn protocol(operation: impl Into<String>, what: &str, bytes: &[u8]) -> Self {
        Self::new(
            ErrorKind::Protocol,
            operation,
            format!("{what}: {}", printable(bytes)),
        )
    }

    /// Whether the session is gone, so that a retry needs a new one.
    pub fn is_connection(&self) -> bool {
        matches!(
            self.kind,
            ErrorKind::Lost
                | ErrorKind::TimedOut
                | ErrorKind::Unreachable
                | ErrorKind::Protocol
                | ErrorKind::Cut
        )
    }

    /// Whether the server answered and said no.
    pub fn is_refusal(&self) -> bool {
        matches!(
            self.kind,
            ErrorKind::NotImplemented
                | ErrorKind::Refused(_)
                | ErrorKind::Transient(_)
                | ErrorKind::Unlisted
                | ErrorKind::NoSpace
        )
    }

    /// What a user can do about it who wants to log in, to be put behind the message; may be empty.
    pub fn advice(&self) -> &'static str {
        match self.kind {
            ErrorKind::Login => {
                "; check name and password (-o credentials=FILE, ~/.netrc, $FTPFS_PASSWORD)"
            }
            ErrorKind::Unreachable => {
                "; check the host's name, its port and that its FTP server runs"
            }
            ErrorKind::TimedOut => "; check the host's name and port, and firewalls on the way",
            ErrorKind::TooManySessions => "; try again later, or with -o max_conns=1",
            _ => "",
        }
    }

    /// The server's or the system's words alone.
    pub fn detail(&self) -> &str {
        &self.detail
    }
}

/// The result of an operation on a session.
pub type Result<T> = std::result::Result<T, Error>;
