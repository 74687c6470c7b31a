//! The options of a command line, as the fourth field of a line in fstab(5).

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use super::line::Written;
use super::options::{SECRETS, is_for_others, words};
use super::table::{TABLE, Takes};
use crate::ftp::url::password_span;

/// The words that do at boot what `written` does now, without passwords; those that a mount at boot needs come first.
pub fn field(written: &[Written<'_>]) -> Vec<String> {
    let mut field: Vec<String> = ["_netdev", "nofail", "allow_other"]
        .map(str::to_owned)
        .into();
    for written in written {
        match written {
            Written::List(list) => {
                for word in words(list) {
                    let bytes = word.as_bytes();
                    match bytes.iter().position(|&b| b == b'=') {
                        Some(at) => {
                            put(&mut field, &bytes[..at], Some(&bytes[at + 1..]));
                        }
                        None => put(&mut field, bytes, None),
                    }
                }
            }
            Written::Flag(spec, value) => {
                put(
                    &mut field,
                    spec.name.as_bytes(),
                    value.map(OsStrExt::as_bytes),
                );
            }
        }
    }
    field
}

/// Adds where the password may be kept, unless `field` says so.
pub fn add_credentials(field: &mut Vec<String>) {
    let from_file = |word: &String| word.starts_with("credentials=") || word.starts_with("netrc=");
    if !field.iter().any(from_file) {
        field.push("credentials=/etc/ftp.cred".to_owned());
    }
}

/// Adds a word, in place of an earlier one of its name.
fn put(field: &mut Vec<String>, name: &[u8], value: Option<&[u8]>) {
    let name = escaped(name);
    let name = match is_for_others(&name) {
        true => name,
        false => name.replace('-', "_"),
    };
    // Of a terminal, or not to be written where all can read it.
    if ["foreground", "debug"].contains(&&*name) || SECRETS.contains(&&*name) {
        return;
    }
    // An open file is none at boot.
    if name == "credentials" && value.is_some_and(|value| value.starts_with(b"fd:")) {
        return;
    }
    let open = value.filter(|_| name == "proxy").map(without_password);
    let value = open.as_deref().or(value);
    let value = value.map(|value| match is_path(&name) {
        // At boot, the current folder is another.
        true => std::path::absolute(OsStr::from_bytes(value))
            .map_or_else(|_| escaped(value), |p| escaped(p.as_os_str().as_bytes())),
        false => escaped(value),
    });
    let start = format!("{name}=");
    match value {
        Some(value) => {
            field.retain(|word| !word.starts_with(&start));
            field.push(start + &value);
        }
        None if !field.contains(&name) => field.push(name),
        None => {}
    }
}

/// `address` without the password in it.
fn without_password(address: &[u8]) -> Vec<u8> {
    let mut address = address.to_vec();
    if let Some(span) = password_span(&address) {
        // With the colon before it.
        address.drain(span.start - 1..span.end);
    }
    address
}

fn is_path(name: &str) -> bool {
    TABLE
        .iter()
        .any(|spec| matches!(spec.takes, Takes::Value("FILE" | "DIR", _) if spec.name == name))
}

/// `bytes` as they are written within a word of an option list in fstab.
fn escaped(bytes: &[u8]) -> String {
    let mut text = String::new();
    for &byte in bytes {
        match byte {
            b',' => text.push_str("\\,"),
            b'\\' => text.push_str("\\\\"),
            b'!'..=b'~' if byte != b'#' => text.push(char::from(byte)),
            _ => text.push_str(&format!("\\{byte:03o}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(lists: &[&str]) -> String {
        let written: Vec<_> = lists
            .iter()
            .map(|list| Written::List(OsStr::new(list)))
            .collect();
        let mut field = field(&written);
        add_credentials(&mut field);
        field.join(",")
    }

    #[test]
    fn what_was_written_is_written_again_without_secrets() {
        assert_eq!(
            of(&["max_conns=3,password=x", "ro,debug,max-conns=2"]),
            "_netdev,nofail,allow_other,ro,max_conns=2,credentials=/etc/ftp.cred"
        );
        let proxied = of(&["proxy=http://bob:secret@h:80,netrc=/n"]);
        assert_eq!(
            proxied,
            "_netdev,nofail,allow_other,proxy=http://bob@h:80,netrc=/n"
        );
        assert_eq!(
            of(&[r"netrc=/a b,user=x\,y"]),
            r"_netdev,nofail,allow_other,netrc=/a\040b,user=x\,y"
        );
        assert_eq!(
            of(&["x-systemd.automount,netrc=/n"]),
            "_netdev,nofail,allow_other,x-systemd.automount,netrc=/n"
        );
    }
}
