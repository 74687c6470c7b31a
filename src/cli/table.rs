//! The one table of options.
//!
//! A row is a word of an `-o` list, and, unless it is only for fstab, the long flag of the same
//! name with `-` for `_`.

use std::ffi::OsStr;

use super::credentials_file::Source;
use super::options::Raw;
use super::values;
use crate::ftp::config::{DataMode, PasvAddress, Secret, TlsMode};

/// One option.
pub struct Spec {
    /// As in an `-o` list; the long flag has `-` for `_`.
    pub name: &'static str,
    /// The one-letter flag.
    pub short: Option<char>,
    /// The heading of `--help` that it stands under.
    pub group: Group,
    /// What follows its name.
    pub takes: Takes,
    /// The line in `--help`.
    pub help: &'static str,
}

/// What follows an option's name, and what it changes.
#[derive(Clone, Copy)]
pub enum Takes {
    /// Nothing.
    Nothing(fn(&mut Raw)),
    /// `=VALUE`, with the value's name in `--help`.
    Value(&'static str, fn(&mut Raw, &OsStr) -> Result<(), String>),
}

/// Headings of `--help`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Who logs in.
    Login,
    /// How the server is reached.
    Connection,
    /// How its files look.
    Appearance,
    /// How the mount is made.
    Mount,
    /// Accepted in `-o` lists, for fstab; no flag.
    Fstab,
    /// Known, but not shown.
    Hidden,
}

impl Group {
    /// The heading itself.
    pub fn heading(self) -> &'static str {
        match self {
            Self::Login | Self::Hidden => "Logging in",
            Self::Connection => "The connection",
            Self::Appearance => "How the files look",
            Self::Mount | Self::Fstab => "The mount",
        }
    }
}

impl Spec {
    /// The long flag's name; `None` for the words that are only for fstab.
    pub fn flag(&self) -> Option<String> {
        (self.group != Group::Fstab).then(|| self.name.replace('_', "-"))
    }
}

/// Every option. Where a later word contradicts an earlier one, the later counts.
// A row is two lines, that the table can be read.
#[rustfmt::skip]
pub const TABLE: &[Spec] = &[
    value(Group::Login, "user", "NAME", |raw, v| set(&mut raw.user, values::line(v)),
        "Log in as NAME, as in ftp://NAME@host/"),
    value(Group::Login, "credentials", "FILE", |raw, v| set(&mut raw.credentials, Source::parse(v)),
        "Read lines username=, password= and account= from FILE, which only its owner may read, or from fd:N, an open file"),
    value(Group::Login, "netrc", "FILE", |raw, v| set(&mut raw.netrc, values::path(v)),
        "Look the host up in FILE instead of ~/.netrc"),
    value(Group::Login, "account", "TEXT",
        |raw, v| set(&mut raw.account, values::line(v).map(Secret::new)),
        "Send ACCT TEXT where the server asks for an account"),
    value(Group::Hidden, "password", "TEXT",
        |raw, v| set(&mut raw.password, values::line(v).map(Secret::new)), ""),

    value(Group::Connection, "tls", "MODE", |raw, v| set(&mut raw.tls, tls(v)),
        "auto: where the server offers it; off; require: AUTH TLS or nothing; implicit: port 990 [auto]"),
    value(Group::Connection, "tls_pin", "HEX", |raw, v| set(&mut raw.tls_pin, values::fingerprint(v)),
        "Trust the certificate with this SHA-256 fingerprint, and no other"),
    value(Group::Connection, "cacert", "FILE", |raw, v| set(&mut raw.cacert, values::path(v)),
        "Trust the certificates in this PEM file instead of the system's"),
    value(Group::Connection, "tls_cert", "FILE", |raw, v| set(&mut raw.tls_cert, values::path(v)),
        "Show the server the certificate in this PEM file, where it asks for one"),
    value(Group::Connection, "tls_key", "FILE", |raw, v| set(&mut raw.tls_key, values::path(v)),
        "Private key of tls_cert, without a passphrase [in the same file]"),
    value(Group::Connection, "tls_data", "MODE", |raw, v| set(&mut raw.tls_data, tls_data(v)),
        "private: data connections are encrypted where the control connection is; clear: they are not, which is faster, \
         and shows everybody on the way what is in your files [private]"),
    value(Group::Connection, "max_conns", "N",
        |raw, v| set(&mut raw.max_conns, values::number(v, 1, 64)),
        "Most connections to the server at once [8]"),
    value(Group::Connection, "bwlimit", "RATE",
        |raw, v| set(&mut raw.bwlimit, values::limits(v)),
        "Most bytes of files in a second, as 500K; or UP:DOWN, each for its direction, 0 for none [none]"),
    value(Group::Connection, "max_rate", "N", |raw, v| set(&mut raw.max_rate, values::number(v, 1, 1000)),
        "Most commands to the server in a second [none]"),
    value(Group::Connection, "connect_timeout", "TIME",
        |raw, v| set(&mut raw.connect_timeout, values::deadline(v)),
        "Longest wait for a connection [10s]"),
    value(Group::Connection, "timeout", "TIME", |raw, v| set(&mut raw.timeout, values::deadline(v)),
        "Longest wait for a reply [30s]"),
    value(Group::Connection, "idle_timeout", "TIME",
        |raw, v| set(&mut raw.idle_timeout, values::duration(v)),
        "Close a connection that nobody used for this long [60s]"),
    value(Group::Connection, "mode", "MODE", |raw, v| set(&mut raw.mode, data_mode(v)),
        "passive: data connections go to the server; active: they come from it; auto: active where passive does not work [auto]"),
    value(Group::Connection, "proxy", "URL", |raw, v| set(&mut raw.proxy, values::proxy(v)),
        "Connect through this proxy: socks5://, http:// (CONNECT), or ftp:// (which is told USER user@host); \
         each may be [user:password@]host[:port] [none]"),
    value(Group::Connection, "source_address", "ADDRESS",
        |raw, v| set(&mut raw.source_address, values::address(v)),
        "Address of this machine that connections come from [the system's choice]"),
    value(Group::Connection, "active_ports", "LOW-HIGH",
        |raw, v| set(&mut raw.active_ports, values::ports(v)),
        "Ports that the server may connect to in active mode [any]"),
    value(Group::Connection, "active_address", "ADDRESS",
        |raw, v| set(&mut raw.active_address, values::address(v)),
        "Address that the server is told to connect to, as a router's that forwards active_ports [this machine's]"),
    value(Group::Connection, "pasv_address", "WHOSE",
        |raw, v| set(&mut raw.pasv_address, pasv_address(v)),
        "control: data connections go where the control connection went; reply: where the server says [control]"),

    flag(Group::Appearance, "ro", |raw| raw.read_only = true, "Refuse every change"),
    flag(Group::Appearance, "rw", |raw| raw.read_only = false, "Allow changes (the default)"),
    value(Group::Appearance, "uid", "N", |raw, v| set(&mut raw.uid, values::id(v)),
        "Show this user as owner [yours]"),
    value(Group::Appearance, "gid", "N", |raw, v| set(&mut raw.gid, values::id(v)),
        "Show this group [yours]"),
    value(Group::Appearance, "umask", "OCTAL", |raw, v| set(&mut raw.umask, values::mode(v)),
        "Take these permission bits away from everything"),
    value(Group::Appearance, "file_mode", "OCTAL", |raw, v| set(&mut raw.file_mode, values::mode(v)),
        "Show every file with these permissions"),
    value(Group::Appearance, "dir_mode", "OCTAL", |raw, v| set(&mut raw.dir_mode, values::mode(v)),
        "Show every folder with these permissions"),
    value(Group::Appearance, "tz", "ZONE", |raw, v| set(&mut raw.tz, values::zone(v)),
        "Zone of the times in the server's listings, as Europe/Paris or +02:00 [measured]"),
    value(Group::Appearance, "charset", "NAME", |raw, v| set(&mut raw.charset, values::charset(v)),
        "Charset of the server's names, as latin1, windows-1251 or gbk [UTF-8]"),
    value(Group::Appearance, "attr_timeout", "TIME",
        |raw, v| set(&mut raw.attr_timeout, values::duration(v)),
        "How long listings are believed before the server is asked again [5s]"),
    flag(Group::Appearance, "xattr", |raw| raw.xattr = true,
        "Show what the server says of each file as extended attributes user.ftp.*, see getfattr(1)"),
    value(Group::Appearance, "cache_size", "SIZE", |raw, v| set(&mut raw.cache_size, values::size(v)),
        "Most memory for file contents [256M]"),

    short('f', flag(Group::Mount, "foreground", |raw| raw.foreground = true,
        "Stay in the foreground, and log to standard error")),
    short('d', flag(Group::Mount, "debug", |raw| raw.debug = true,
        "Log each request and command; in the foreground unless log_file is given")),
    value(Group::Mount, "log_file", "FILE", |raw, v| set(&mut raw.log_file, values::path(v)),
        "Append the log to FILE"),
    flag(Group::Mount, "allow_other", |raw| raw.allow_other = true,
        "Let other users in, root included"),
    flag(Group::Mount, "default_permissions", |raw| raw.default_permissions = true,
        "Let the kernel check owners and permissions"),
    flag(Group::Mount, "nonempty", |raw| raw.nonempty = true, "Mount over a folder that is not empty"),
    value(Group::Mount, "staging", "DIR", |raw, v| set(&mut raw.staging, values::path(v)),
        "Keep changes that are not sent yet under DIR [~/.local/state/ftpfs; root: /var/lib/ftpfs]"),
    flag(Group::Mount, "writeback", |raw| raw.write_back = true,
        "Acknowledge changes when they are safe on this machine, and send them behind the user"),
    value(Group::Mount, "fsname", "TEXT", |raw, v| set(&mut raw.fsname, name(v)),
        "Source shown in the mount table [the address, without password]"),
    value(Group::Mount, "subtype", "NAME", |raw, v| set(&mut raw.subtype, subtype(v)),
        "Type shown in the mount table, after `fuse.` [ftpfs]"),

    flag(Group::Fstab, "exec", |raw| raw.no_exec = false, ""),
    flag(Group::Fstab, "noexec", |raw| raw.no_exec = true, ""),
    flag(Group::Fstab, "atime", |raw| raw.no_atime = false, ""),
    flag(Group::Fstab, "noatime", |raw| raw.no_atime = true, ""),
    flag(Group::Fstab, "symfollow", |raw| raw.no_symfollow = false, ""),
    flag(Group::Fstab, "nosymfollow", |raw| raw.no_symfollow = true, ""),
    flag(Group::Fstab, "sync", |raw| raw.synchronous = true, ""),
    flag(Group::Fstab, "async", |raw| raw.synchronous = false, ""),
    flag(Group::Fstab, "dirsync", |raw| raw.dir_synchronous = true, ""),
    by_users("user"), by_users("users"), by_users("owner"), by_users("group"),
    ignored("nouser"), ignored("nousers"), ignored("noowner"), ignored("nogroup"),
    ignored("defaults"), ignored("auto"), ignored("noauto"), ignored("nofail"), ignored("_netdev"),
    ignored("suid"), ignored("nosuid"), ignored("dev"), ignored("nodev"),
    ignored("relatime"), ignored("norelatime"), ignored("strictatime"), ignored("nostrictatime"),
    ignored("lazytime"), ignored("nolazytime"), ignored("diratime"), ignored("nodiratime"),
    ignored("iversion"), ignored("noiversion"), ignored("mand"), ignored("nomand"),
    ignored("silent"), ignored("loud"),
    value(Group::Fstab, "context", "LABEL", |raw, v| label(raw, "context", v), ""),
    value(Group::Fstab, "fscontext", "LABEL", |raw, v| label(raw, "fscontext", v), ""),
    value(Group::Fstab, "defcontext", "LABEL", |raw, v| label(raw, "defcontext", v), ""),
    value(Group::Fstab, "rootcontext", "LABEL", |raw, v| label(raw, "rootcontext", v), ""),
];

const fn flag(group: Group, name: &'static str, set: fn(&mut Raw), help: &'static str) -> Spec {
    let takes = Takes::Nothing(set);
    Spec {
        name,
        short: None,
        group,
        takes,
        help,
    }
}

const fn value(
    group: Group,
    name: &'static str,
    metavariable: &'static str,
    set: fn(&mut Raw, &OsStr) -> Result<(), String>,
    help: &'static str,
) -> Spec {
    let takes = Takes::Value(metavariable, set);
    Spec {
        name,
        short: None,
        group,
        takes,
        help,
    }
}

const fn short(letter: char, spec: Spec) -> Spec {
    Spec {
        short: Some(letter),
        ..spec
    }
}

/// A word of fstab that changes nothing here.
const fn ignored(name: &'static str) -> Spec {
    flag(Group::Fstab, name, |_| (), "")
}

/// A word that lets users mount, and so takes away what mount(8) says it does. `suid` and `dev`
/// are never given at all: no FTP server has a say in who becomes root here.
const fn by_users(name: &'static str) -> Spec {
    flag(Group::Fstab, name, |raw| raw.no_exec = true, "")
}

fn set<T>(slot: &mut Option<T>, value: Result<T, String>) -> Result<(), String> {
    *slot = Some(value?);
    Ok(())
}

fn label(raw: &mut Raw, name: &'static str, value: &OsStr) -> Result<(), String> {
    let label = values::label(value)?;
    raw.labels.retain(|(known, _)| *known != name);
    raw.labels.push((name, label));
    Ok(())
}

fn tls(value: &OsStr) -> Result<TlsMode, String> {
    match values::text(value)? {
        "auto" => Ok(TlsMode::Auto),
        "off" => Ok(TlsMode::Off),
        "require" => Ok(TlsMode::Explicit),
        "implicit" => Ok(TlsMode::Implicit),
        other => Err(format!(
            "`{other}` is not one of auto, off, require, implicit"
        )),
    }
}

fn tls_data(value: &OsStr) -> Result<bool, String> {
    match values::text(value)? {
        "private" => Ok(true),
        "clear" => Ok(false),
        other => Err(format!("`{other}` is not one of private, clear")),
    }
}

fn data_mode(value: &OsStr) -> Result<DataMode, String> {
    match values::text(value)? {
        "auto" => Ok(DataMode::Auto),
        "passive" => Ok(DataMode::Passive),
        "active" => Ok(DataMode::Active),
        other => Err(format!("`{other}` is not one of auto, passive, active")),
    }
}

fn pasv_address(value: &OsStr) -> Result<PasvAddress, String> {
    match values::text(value)? {
        "control" => Ok(PasvAddress::Control),
        "reply" => Ok(PasvAddress::Reply),
        other => Err(format!("`{other}` is not one of control, reply")),
    }
}

fn name(value: &OsStr) -> Result<String, String> {
    let text = values::text(value)?;
    match text.is_empty() || text.contains('\0') {
        true => Err("is empty".to_owned()),
        false => Ok(text.to_owned()),
    }
}

/// The kernel takes what follows `fuse.` as it is; tools split it at blanks and dots.
fn subtype(value: &OsStr) -> Result<String, String> {
    let text = values::text(value)?;
    let letter = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    match !text.is_empty() && text.bytes().all(letter) {
        true => Ok(text.to_owned()),
        false => Err("may hold letters, digits, - and _ only".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_but_for_user() {
        let mut names: Vec<&str> = TABLE.iter().map(|spec| spec.name).collect();
        names.sort_unstable();
        let doubled: Vec<_> = names.windows(2).filter(|w| w[0] == w[1]).collect();
        assert_eq!(doubled, [["user", "user"]]);
    }
}
