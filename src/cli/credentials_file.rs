//! Files of lines `username=`, `password=` and `account=`: by path, by an open descriptor, or as systemd hands them over.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::values;
use crate::ftp::config::Secret;
use crate::sys;

/// Where such lines are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// In a file that only its owner may read.
    File(PathBuf),
    /// Behind this descriptor, which whoever started us left open; 0 is standard input.
    Descriptor(i32),
}

/// What the lines say.
#[derive(Debug, Default)]
pub struct Credentials {
    /// Who logs in.
    pub user: Option<String>,
    /// What `PASS` sends.
    pub password: Option<Secret>,
    /// What `ACCT` sends.
    pub account: Option<Secret>,
}

/// More than this is some other file.
const LARGEST_FILE: usize = 64 * 1024;

/// The name that a unit gives them, as in `LoadCredential=ftpfs.credentials:/etc/ftpfs/nas.cred`.
const NAME_IN_SYSTEMD: &str = "ftpfs.credentials";

impl Source {
    /// Understands `FILE` and `fd:N`.
    ///
    /// # Errors
    /// What is wrong with `value`.
    pub fn parse(value: &OsStr) -> Result<Self, String> {
        match value.to_str().and_then(|text| text.strip_prefix("fd:")) {
            Some(number) => number
                .parse()
                .ok()
                .filter(|number| *number >= 0)
                .map(Self::Descriptor)
                .ok_or_else(|| format!("`{number}` is not the number of an open file")),
            None => values::path(value).map(Self::File),
        }
    }

    /// Reads the lines.
    ///
    /// # Errors
    /// A sentence with the place, and never with what stands there.
    pub fn read(&self) -> Result<Credentials, String> {
        match self {
            Self::File(path) => {
                let shown = path.display();
                let cannot =
                    |e: io::Error| format!("cannot read the credentials file {shown}: {e}");
                let file = File::open(path).map_err(cannot)?;
                let mode = file.metadata().map_err(cannot)?.permissions().mode();
                if mode & 0o077 != 0 {
                    return Err(format!(
                        "the credentials file {shown} is open to others (mode {:04o}); `chmod 600 {shown}` first",
                        mode & 0o7777
                    ));
                }
                read(file, &format!("the credentials file {shown}"))
            }
            Self::Descriptor(0) => read(io::stdin(), "standard input"),
            Self::Descriptor(number) => {
                let file = sys::inherited_descriptor(*number);
                let file = file.map_err(|e| format!("fd:{number} is not open for us: {e}"))?;
                read(File::from(file), &format!("fd:{number}"))
            }
        }
    }

    /// Reads what the service manager has put into `directory`, if there is something for us.
    ///
    /// # Errors
    /// As [`Source::read`].
    pub fn read_from_service_manager(directory: &Path) -> Result<Credentials, String> {
        let path = directory.join(NAME_IN_SYSTEMD);
        let shown = format!("the credential {}", path.display());
        match File::open(&path) {
            // Nobody else can enter the folder: the file's own mode says nothing.
            Ok(file) => read(file, &shown),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Credentials::default()),
            Err(e) => Err(format!("cannot read {shown}: {e}")),
        }
    }
}

fn read(file: impl Read, shown: &str) -> Result<Credentials, String> {
    // As large as it may become: no part of it is left behind in memory by growing.
    let mut text = Zeroizing::new(String::with_capacity(LARGEST_FILE));
    file.take(LARGEST_FILE as u64)
        .read_to_string(&mut text)
        .map_err(|e| format!("cannot read {shown}: {e}"))?;
    parse(&text).map_err(|e| format!("{shown}, {e}"))
}

fn parse(text: &str) -> Result<Credentials, String> {
    let mut credentials = Credentials::default();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        // A line that is not understood may be a bare password: it is not shown.
        let wrong = || {
            format!(
                "line {}: expected username=, password= or account=",
                index + 1
            )
        };
        let (name, value) = line.split_once('=').ok_or_else(wrong)?;
        match name.trim_end() {
            "username" | "user" => credentials.user = Some(value.trim().to_owned()),
            // Blanks may belong to a password.
            "password" | "pass" => credentials.password = Some(Secret::new(value)),
            "account" => credentials.account = Some(Secret::new(value)),
            _ => return Err(wrong()),
        }
    }
    Ok(credentials)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};

    use super::*;

    #[test]
    fn files_open_to_others_are_refused() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("c");
        fs::write(&path, "username = bob\npassword=x\n").expect("a writable folder");
        for (mode, refused) in [
            (0o640, true),
            (0o604, true),
            (0o644, true),
            (0o620, true),
            (0o600, false),
            (0o400, false),
        ] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).expect("our own file");
            match Source::File(path.clone()).read() {
                Err(message) => assert!(refused && message.contains("chmod 600"), "{message}"),
                Ok(read) => {
                    assert!(!refused);
                    assert_eq!(read.user.as_deref(), Some("bob"));
                    assert_eq!(read.password, Some(Secret::new("x")));
                }
            }
        }
        assert!(Source::File(folder.path().join("none")).read().is_err());
    }

    #[test]
    fn descriptors_are_named_by_number() {
        let source = |text: &str| Source::parse(OsStr::new(text));
        assert_eq!(source("fd:3"), Ok(Source::Descriptor(3)));
        assert_eq!(source("/fd:3"), Ok(Source::File("/fd:3".into())));
        for text in ["fd:", "fd:-1", "fd:x", ""] {
            assert!(source(text).is_err(), "{text}");
        }
        assert!(Source::Descriptor(987_654).read().is_err());
    }

    #[test]
    fn errors_do_not_quote_passwords() {
        let message = parse("username=bob\nhunter2\n").expect_err("no `=`");
        assert_eq!(message, "line 2: expected username=, password= or account=");
        assert!(parse("hunter2=3").is_err_and(|e| !e.contains("hunter2")));
    }
}
