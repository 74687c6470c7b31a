//! What a session needs to know before it connects.

use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use jiff::tz::TimeZone;
use zeroize::Zeroizing;

pub use super::charset::Charset;
pub use super::list::Lines;
pub use super::pace::Limits;

/// Where the server is, who logs in, and how the connections are made.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Host name or address, without brackets.
    pub host: String,
    /// Port of the control connection.
    pub port: u16,
    /// Login name; `anonymous` where none was given.
    pub user: String,
    /// Password for `PASS`.
    pub password: Secret,
    /// Account for `ACCT` (RFC 959 s4.1.1), sent when the server asks for one.
    pub account: Option<Secret>,
    /// The folder of the server that the mount shows.
    pub root: Root,
    /// Whether and how the connections are encrypted.
    pub tls: TlsMode,
    /// How the server's certificate is verified.
    pub trust: Trust,
    /// Our own certificate, for servers that ask for one.
    pub identity: Option<Identity>,
    /// Whether data connections are encrypted where the control connection is: `PROT P`, else `PROT C`.
    pub private_data: bool,
    /// Longest wait for a connection to be established.
    pub connect_timeout: Duration,
    /// Longest wait for a reply, or for the next bytes of a transfer.
    pub timeout: Duration,
    /// Time zone of the server's `LIST`; `None` = found by comparing with one `MDTM`.
    pub zone: Option<TimeZone>,
    /// Who makes the data connections.
    pub data_mode: DataMode,
    /// Whether data connections go to the address in a 227 reply.
    pub pasv_address: PasvAddress,
    /// Ports that the server may connect to; `None` = any that is free.
    pub active_ports: Option<RangeInclusive<u16>>,
    /// How connections are made.
    pub route: Route,
    /// How fast files may come and go.
    pub limits: Limits,
    /// The charset of its names; `None` = names are bytes.
    pub charset: Option<Charset>,
    /// Whether the lines of its listings are kept.
    pub lines: Lines,
    /// Address that the server is told to connect to; `None` = our end of the control connection.
    pub active_address: Option<IpAddr>,
}

#[cfg(test)]
impl ServerConfig {
    /// A server of a test, on `port` of this machine: plain, passive, anonymous.
    pub fn of_test(port: u16) -> Self {
        const LONG: Duration = Duration::from_secs(30);
        Self {
            host: "127.0.0.1".to_owned(),
            port,
            user: "anonymous".to_owned(),
            password: Secret::new("nobody@"),
            account: None,
            root: Root::Login(Vec::new()),
            tls: TlsMode::Off,
            trust: Trust::System,
            identity: None,
            private_data: true,
            connect_timeout: LONG,
            timeout: LONG,
            zone: None,
            data_mode: DataMode::Passive,
            pasv_address: PasvAddress::Control,
            active_ports: None,
            route: Route::default(),
            limits: Limits::default(),
            charset: None,
            lines: Lines::Dropped,
            active_address: None,
        }
    }
}

/// How connections are made.
#[derive(Clone, Debug, Default)]
pub struct Route {
    /// Address of this machine that connections come from; `None` = the system chooses.
    pub source_address: Option<IpAddr>,
    /// Whom they lead through.
    pub proxy: Option<Proxy>,
}

/// A proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// What it speaks.
    pub kind: ProxyKind,
    /// Host name or address, without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Name and password, where it asks for them.
    pub login: Option<(String, Secret)>,
}

/// What a proxy speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyKind {
    /// SOCKS 5; it resolves names.
    Socks5,
    /// HTTP, `CONNECT`.
    Http,
}

/// Who makes the data connections (RFC 959 s3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataMode {
    /// We do; or the server, once it is clear that we cannot.
    Auto,
    /// We do.
    Passive,
    /// The server does.
    Active,
}

/// The folder of the server that the mount shows (RFC 1738 s3.2.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Root {
    /// Relative to the folder that the login lands in; empty = that folder itself.
    Login(Vec<u8>),
    /// From the server's root; begins with `/`.
    Absolute(Vec<u8>),
}

/// Whether and how connections are encrypted (RFC 4217).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsMode {
    /// Never.
    Off,
    /// By `AUTH TLS` where the server offers it.
    Auto,
    /// By `AUTH TLS`, or not at all.
    Explicit,
    /// From the first byte (`ftps://`, port 990).
    Implicit,
}

/// How the server's certificate is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Against the system's certificate authorities.
    System,
    /// Against the certificates in this PEM file.
    CaFile(PathBuf),
    /// By the SHA-256 fingerprint of the certificate alone.
    Pin([u8; 32]),
}

/// A certificate of our own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// PEM file of the certificate, and of those between it and its authority.
    pub certificates: PathBuf,
    /// PEM file of its private key.
    pub key: PathBuf,
}

/// Whose word counts for the address of a passive data connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PasvAddress {
    /// The control connection's peer; what a 227 reply says is ignored.
    Control,
    /// The 227 reply's.
    Reply,
}

/// A password: zeroed when dropped, and never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Wraps `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text itself, for the one place that sends it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
