//! How a server is reached: encrypted or not, and who makes the data connections.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use tempfile::TempDir;

use crate::servers::ServerKind;

/// One way to reach a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Way {
    /// In the clear, passive.
    #[default]
    Plain,
    /// In the clear, the server makes the data connections.
    Active,
    /// `AUTH TLS`, passive.
    Tls,
    /// `AUTH TLS`, the server makes the data connections.
    TlsActive,
    /// TLS from the first byte, passive.
    Implicit,
}

impl Way {
    /// The ways to reach `kind` that a test run takes: all that it has if [all are wanted](are_all_wanted); else two, in
    /// which each of clear and encrypted, passive and active comes once.
    pub fn of(kind: ServerKind) -> Vec<Self> {
        let all = are_all_wanted();
        let mut ways = vec![Self::Plain];
        match (kind.encrypts(), all) {
            (true, false) => ways.push(Self::TlsActive),
            (true, true) => ways.extend([Self::Active, Self::Tls, Self::TlsActive]),
            (false, _) => ways.push(Self::Active),
        }
        if all && kind.encrypts_at_once() {
            ways.push(Self::Implicit);
        }
        ways
    }

    /// What it adds to the name of a server in the names of tests.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Active => "+active",
            Self::Tls => "+tls",
            Self::TlsActive => "+tls+active",
            Self::Implicit => "+implicit",
        }
    }

    /// The scheme of its addresses.
    pub fn scheme(self) -> &'static str {
        match self {
            Self::Plain | Self::Active => "ftp",
            Self::Tls | Self::TlsActive => "ftpes",
            Self::Implicit => "ftps",
        }
    }

    /// Whether the connections are encrypted.
    pub fn is_encrypted(self) -> bool {
        self.scheme() != "ftp"
    }

    /// Whether the server makes the data connections.
    pub fn is_active(self) -> bool {
        matches!(self, Self::Active | Self::TlsActive)
    }
}

/// Whether `FTPFS_TEST_WAYS` is `all`.
pub fn are_all_wanted() -> bool {
    env::var_os("FTPFS_TEST_WAYS").is_some_and(|ways| ways == "all")
}

/// Puts a certificate for this machine and its key into one file of `folder`; it signed itself, and is the same in all
/// of a test run.
pub fn self_signed(folder: &Path) -> io::Result<PathBuf> {
    static MADE: OnceLock<Vec<u8>> = OnceLock::new();
    let both = MADE.get_or_init(|| make_certificate().expect("openssl makes certificates"));
    let path = folder.join("certificate.pem");
    fs::write(&path, both)?;
    Ok(path)
}

/// A certificate like that and its key, in one text, unlike any other.
pub fn make_certificate() -> io::Result<Vec<u8>> {
    let folder = TempDir::with_prefix("ftpfs-certificate-")?;
    let [key, pem] = ["key", "certificate"].map(|name| folder.path().join(name));
    // CA:FALSE, for a client that refuses an authority as a server's certificate.
    let made = Command::new("openssl")
        .args("req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost".split(' '))
        .args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&pem)
        .output()?;
    if !made.status.success() {
        let message = String::from_utf8_lossy(&made.stderr).into_owned();
        return Err(io::Error::other(message));
    }
    Ok([fs::read(&pem)?, fs::read(&key)?].concat())
}
