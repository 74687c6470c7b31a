//! What was asked for, option by option, and the `-o` lists that say it.
//!
//! This module fills [`Raw`] by the rows of `table` and gives nothing a meaning: `setup` does.

use std::ffi::{OsStr, OsString};
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::time::Duration;

use jiff::tz::TimeZone;

use super::credentials_file::Source;
use super::table::{Spec, TABLE, Takes};
use super::values;
use crate::ftp::config::{Charset, DataMode, Limits, PasvAddress, Secret, TlsMode};

/// What was asked for, option by option; `None` = nothing said.
#[derive(Clone, Debug, Default)]
pub struct Raw {
    pub read_only: bool,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub umask: Option<u32>,
    pub file_mode: Option<u32>,
    pub dir_mode: Option<u32>,
    pub allow_other: bool,
    pub default_permissions: bool,
    pub nonempty: bool,
    pub no_exec: bool,
    pub no_atime: bool,
    pub no_symfollow: bool,
    /// Labels for SELinux, by their names.
    pub labels: Vec<(&'static str, String)>,
    pub synchronous: bool,
    pub dir_synchronous: bool,
    pub max_conns: Option<u32>,
    pub idle_timeout: Option<Duration>,
    pub cache_size: Option<u64>,
    pub attr_timeout: Option<Duration>,
    /// `xattr`.
    pub xattr: bool,
    pub connect_timeout: Option<Duration>,
    pub timeout: Option<Duration>,
    pub user: Option<String>,
    pub password: Option<Secret>,
    pub account: Option<Secret>,
    pub credentials: Option<Source>,
    pub netrc: Option<PathBuf>,
    pub tls: Option<TlsMode>,
    pub tls_pin: Option<[u8; 32]>,
    pub cacert: Option<PathBuf>,
    pub tls_cert: Option<PathBuf>,
    pub tls_key: Option<PathBuf>,
    /// `tls_data`: whether data connections are encrypted.
    pub tls_data: Option<bool>,
    pub source_address: Option<IpAddr>,
    pub proxy: Option<values::ProxyUrl>,
    pub tz: Option<TimeZone>,
    pub charset: Option<Charset>,
    pub bwlimit: Option<Limits>,
    pub max_rate: Option<u32>,
    pub pasv_address: Option<PasvAddress>,
    /// `mode`.
    pub mode: Option<DataMode>,
    /// `active_ports`.
    pub active_ports: Option<RangeInclusive<u16>>,
    /// `active_address`.
    pub active_address: Option<IpAddr>,
    pub staging: Option<PathBuf>,
    /// `writeback`.
    pub write_back: bool,
    pub fsname: Option<String>,
    pub subtype: Option<String>,
    pub log_file: Option<PathBuf>,
    pub debug: bool,
    pub foreground: bool,
}

/// What becomes of a word that is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// It is an error.
    Refused,
    /// It is passed over, as `mount -s` asks.
    Ignored,
}

/// Applies an `-o` list: `word,name=value,..`.
///
/// `\,` is a comma within a value, `\\` a backslash, and `\040` the byte of that octal number.
///
/// # Errors
/// One sentence about the first word that is not understood.
pub fn apply_list(raw: &mut Raw, list: &OsStr, unknown: Unknown) -> Result<(), String> {
    let mut after_secret = false;
    for word in words(list) {
        let bytes = word.as_bytes();
        let (name, value) = match bytes.iter().position(|&b| b == b'=') {
            Some(at) => (&bytes[..at], Some(OsStr::from_bytes(&bytes[at + 1..]))),
            None => (bytes, None),
        };
        let name = String::from_utf8_lossy(name);
        apply_word(raw, &name, value, unknown).map_err(|e| match after_secret {
            // It may be the rest of a password with a comma: it is not shown.
            true => format!("a word after {SECRETS:?} is not understood; write a comma as \\,"),
            false => e,
        })?;
        after_secret |= SECRETS.contains(&&*name);
    }
    Ok(())
}

/// The options whose values nobody else may see.
pub const SECRETS: [&str; 3] = ["password", "pass", "account"];

/// Applies one option by `spec`, with the value that was written for it.
///
/// # Errors
/// One sentence with the option's name.
pub fn apply(raw: &mut Raw, spec: &Spec, value: Option<&OsStr>) -> Result<(), String> {
    match (spec.takes, value) {
        (Takes::Nothing(set), None) => set(raw),
        (Takes::Value(_, set), Some(value)) => {
            set(raw, value).map_err(|reason| format!("option {}: {reason}", spec.name))?;
        }
        (Takes::Nothing(_), Some(_)) => {
            return Err(format!("option {} takes no value", spec.name));
        }
        (Takes::Value(metavariable, _), None) => {
            return Err(format!(
                "option {0} needs a value: {0}={metavariable}",
                spec.name
            ));
        }
    }
    Ok(())
}

fn apply_word(
    raw: &mut Raw,
    written: &str,
    value: Option<&OsStr>,
    unknown: Unknown,
) -> Result<(), String> {
    let name = written.replace('-', "_");
    let name = match name.as_str() {
        "username" => "user",
        "pass" => "password",
        other => other,
    };
    if is_for_others(written) {
        return Ok(());
    }
    let named: Vec<&Spec> = TABLE.iter().filter(|spec| spec.name == name).collect();
    let fitting = named
        .iter()
        .find(|spec| matches!(spec.takes, Takes::Value(..)) == value.is_some());
    match fitting.or(named.first()) {
        Some(spec) => apply(raw, spec, value),
        None if name == "remount" => Err(
            "option remount: a mount cannot be changed; unmount it, and mount it again".to_owned(),
        ),
        None if unknown == Unknown::Ignored => Ok(()),
        None => Err(not_known(written)),
    }
}

/// Whether `name` is a word for other programs that read fstab: systemd, udisks, libmount.
pub fn is_for_others(name: &str) -> bool {
    name.starts_with("x-") || name.starts_with("X-") || FOR_OTHERS.contains(&name)
}

/// Words with a value for the reader of fstab, or for umount(8).
const FOR_OTHERS: [&str; 3] = ["comment", "uhelper", "helper"];

fn not_known(written: &str) -> String {
    let name = written.replace('-', "_");
    let nearest = TABLE
        .iter()
        .map(|spec| (strsim::jaro_winkler(&name, spec.name), spec.name))
        // Below this, suggestions are noise: clap's own bound for its flags is 0.7.
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    let shown: String = written
        .chars()
        .take(40)
        .flat_map(char::escape_debug)
        .collect();
    match nearest {
        Some((_, name)) => format!("unknown option `{shown}`; did you mean `{name}`?"),
        None => format!("unknown option `{shown}`; `ftpfs --help` lists them"),
    }
}

/// The words of an `-o` list, unescaped; empty ones are left out, as mount(8) does.
pub fn words(list: &OsStr) -> Vec<OsString> {
    let mut words = Vec::new();
    let mut word = Vec::new();
    let mut rest = list.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            b',' => words.push(std::mem::take(&mut word)),
            b'\\' => match *rest {
                [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..] => {
                    word.push((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'));
                    rest = &rest[3..];
                }
                [escaped @ (b',' | b'\\'), ..] => {
                    word.push(escaped);
                    rest = &rest[1..];
                }
                _ => word.push(byte),
            },
            _ => word.push(byte),
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words.into_iter().map(OsString::from_vec).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(list: &str) -> Result<Raw, String> {
        let mut raw = Raw::default();
        apply_list(&mut raw, OsStr::new(list), Unknown::Refused).map(|()| raw)
    }

    fn raw(list: &str) -> Raw {
        parse(list).unwrap_or_else(|e| panic!("{list}: {e}"))
    }

    #[test]
    fn lists_split_at_plain_commas_only() {
        let split = |list: &str| words(OsStr::new(list));
        assert_eq!(split("a,b=c"), ["a", "b=c"]);
        assert_eq!(split(",a,,b,"), ["a", "b"]);
        assert_eq!(split(""), [""; 0]);
        assert_eq!(split(r"a=x\,y,b"), ["a=x,y", "b"]);
        assert_eq!(split(r"a=x\040y\054z"), ["a=x y,z"]);
        assert_eq!(split(r"a=x\\,b"), [r"a=x\", "b"]);
        assert_eq!(split(r"user=DOM\bob"), [r"user=DOM\bob"]);
        assert_eq!(split(r"a=\04"), [r"a=\04"]);
        assert_eq!(split("a\\"), ["a\\"]);
        let bytes = words(OsStr::new(r"a=\377"));
        assert_eq!(bytes[0].as_bytes(), b"a=\xff");
    }

    #[test]
    fn every_word_of_fstab_is_accepted() {
        let list = "defaults,noauto,auto,user,users,owner,nofail,_netdev,exec,noexec,suid,nosuid,\
                    dev,nodev,atime,noatime,relatime,sync,async,x-systemd.automount,\
                    symfollow,nosymfollow,context=\"a_u:b_r:c_t:s0\",rootcontext=r,\
                    x-gvfs-name=My%20Files,X-mount.mkdir=0755,comment=a=b,rw";
        let raw = raw(list);
        assert!(raw.no_exec && raw.no_atime && !raw.synchronous && !raw.read_only);
        assert!(raw.no_symfollow);
        let labels = [("context", "a_u:b_r:c_t:s0"), ("rootcontext", "r")];
        assert_eq!(
            raw.labels,
            labels.map(|(name, label)| (name, label.to_owned()))
        );
        assert_eq!(raw.user, None);
    }

    #[test]
    fn the_later_word_counts() {
        assert!(!raw("ro,rw").read_only);
        assert!(raw("rw,ro").read_only);
        assert!(!raw("users,exec").no_exec);
        assert!(raw("exec,users").no_exec);
        assert_eq!(raw("uid=1,uid=2").uid, Some(2));
    }

    #[test]
    fn user_is_a_word_of_fstab_and_a_login_name() {
        let both = raw("user,user=bob");
        assert!(both.no_exec);
        assert_eq!(both.user.as_deref(), Some("bob"));
        assert_eq!(raw("username=eve").user.as_deref(), Some("eve"));
    }

    #[test]
    fn values_may_hold_commas_blanks_and_equals_signs() {
        let raw = raw(r"password=a\,b=c\040d,max-conns=3");
        assert_eq!(raw.password.as_ref().map(Secret::reveal), Some("a,b=c d"));
        assert_eq!(raw.max_conns, Some(3));
    }

    #[test]
    fn errors_are_one_sentence_with_the_name() {
        for (list, message) in [
            (
                "max_con=3",
                "unknown option `max_con`; did you mean `max_conns`?",
            ),
            (
                "readonly",
                "unknown option `readonly`; `ftpfs --help` lists them",
            ),
            (
                "zzz=s3cret",
                "unknown option `zzz`; `ftpfs --help` lists them",
            ),
            (
                "remount,ro",
                "option remount: a mount cannot be changed; unmount it, and mount it again",
            ),
            ("context=\"", "option context: `\\\"` is not a label"),
            ("ro=1", "option ro takes no value"),
            ("uid", "option uid needs a value: uid=N"),
            (
                "max_conns=0",
                "option max_conns: `0` is not a number from 1 to 64",
            ),
            (
                "tls=yes",
                "option tls: `yes` is not one of auto, off, require, implicit",
            ),
            (
                "subtype=a b",
                "option subtype: may hold letters, digits, - and _ only",
            ),
            (
                "password=hunter,2",
                r#"a word after ["password", "pass", "account"] is not understood; write a comma as \,"#,
            ),
            (
                "password=s3cr\\012et",
                "option password: holds NUL, CR or LF, which FTP cannot send",
            ),
        ] {
            assert_eq!(parse(list).err().as_deref(), Some(message), "{list}");
        }
    }
}
