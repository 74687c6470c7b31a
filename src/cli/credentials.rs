//! Who logs in, and the password: from the address, the options, a credentials file, the
//! environment, netrc, or the terminal.

use std::io;
use std::path::PathBuf;

use netrc::{Authenticator, Netrc};
use zeroize::Zeroizing;

use super::credentials_file::{Credentials, Source};
use super::options::Raw;
use crate::ftp::config::Secret;
use crate::ftp::url::Location;

/// Who logs in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// `anonymous` where nobody was named.
    pub user: String,
    /// What `PASS` sends.
    pub password: Secret,
    /// What `ACCT` sends.
    pub account: Option<Secret>,
}

/// What the process was given besides its arguments.
pub struct Surroundings {
    /// `$HOME`, where it is an absolute path.
    pub home: Option<PathBuf>,
    /// `$CREDENTIALS_DIRECTORY`, by which systemd hands over what a unit's `LoadCredential=` names.
    pub credentials_directory: Option<PathBuf>,
    /// `$XDG_STATE_HOME`, where it is an absolute path.
    pub state_home: Option<PathBuf>,
    /// `$XDG_RUNTIME_DIR`, where it is an absolute path.
    pub runtime: Option<PathBuf>,
    /// `$FTPFS_PASSWORD`.
    pub password: Option<Secret>,
    /// Asks at the terminal with the given words; `None` = there is no terminal.
    pub ask: Option<fn(&str) -> io::Result<String>>,
}

/// Finds user, password and account. The first place that has the password counts: address,
/// options, credentials file (else what the service manager has given), environment, netrc, terminal.
///
/// # Errors
/// A sentence that says what to do.
pub fn resolve(
    location: &Location,
    raw: &Raw,
    surroundings: &Surroundings,
) -> Result<Login, String> {
    let file = match (&raw.credentials, &surroundings.credentials_directory) {
        (Some(source), _) => source.read()?,
        (None, Some(directory)) => Source::read_from_service_manager(directory)?,
        (None, None) => Credentials::default(),
    };
    let mut user = one_user([&location.user, &raw.user, &file.user])?;
    let mut password = [
        &location.password,
        &raw.password,
        &file.password,
        &surroundings.password,
    ]
    .into_iter()
    .find_map(Clone::clone);
    let mut account = raw.account.clone().or(file.account);

    if (user.is_none() || password.is_none())
        && let Some(entry) = netrc_entry(&location.host, raw, surroundings)?
    {
        let given = |text: String| (!text.is_empty()).then_some(text);
        let login = given(entry.login);
        if user.is_none() {
            user.clone_from(&login);
        }
        if login.is_none() || login == user {
            password = password.or(given(entry.password).map(Secret::new));
            account = account.or(given(entry.account).map(Secret::new));
        }
    }

    let user = user.unwrap_or_else(|| ANONYMOUS.to_owned());
    let password = match password {
        Some(password) => password,
        // RFC 1635: any text will do; by custom one with an `@`.
        None if is_anonymous(&user) => Secret::new("ftpfs@"),
        None => ask(&user, &location.host, surroundings)?,
    };
    for (what, text) in [
        ("user name", Some(user.as_str())),
        ("password", Some(password.reveal())),
    ]
    .into_iter()
    .chain([("account", account.as_ref().map(Secret::reveal))])
    {
        if text.is_some_and(|text| text.contains(['\0', '\r', '\n'])) {
            return Err(format!(
                "the {what} holds NUL, CR or LF, which FTP cannot send"
            ));
        }
    }
    Ok(Login {
        user,
        password,
        account,
    })
}

/// RFC 1635.
const ANONYMOUS: &str = "anonymous";

/// Whether `user` logs in without a password of their own.
pub fn is_anonymous(user: &str) -> bool {
    user.eq_ignore_ascii_case(ANONYMOUS) || user.eq_ignore_ascii_case("ftp")
}

fn one_user(places: [&Option<String>; 3]) -> Result<Option<String>, String> {
    let mut named = places.into_iter().flatten();
    let first = named.next();
    match named.find(|other| Some(*other) != first) {
        Some(other) => Err(format!(
            "two users are named, {:?} and {other:?}; leave one out",
            first.map_or("", String::as_str)
        )),
        None => Ok(first.cloned()),
    }
}

fn ask(user: &str, host: &str, surroundings: &Surroundings) -> Result<Secret, String> {
    let Some(ask) = surroundings.ask else {
        return Err(format!(
            "no password for {user:?} at {host}, and no terminal to ask at: give it in a file \
             (-o credentials=FILE), in ~/.netrc, or in $FTPFS_PASSWORD"
        ));
    };
    ask(&format!("Password for {} at {host}: ", user.escape_debug()))
        .map(Secret::new)
        .map_err(|e| format!("cannot ask for the password: {e}"))
}

/// The entry for `host`; `default` entries are for interactive programs, and not used.
fn netrc_entry(
    host: &str,
    raw: &Raw,
    surroundings: &Surroundings,
) -> Result<Option<Authenticator>, String> {
    let path = match (&raw.netrc, &surroundings.home) {
        (Some(path), _) => path.clone(),
        (None, Some(home)) => home.join(".netrc"),
        (None, None) => return Ok(None),
    };
    let text = match std::fs::read(&path) {
        Ok(bytes) => Zeroizing::new(String::from_utf8_lossy(&bytes).into_owned()),
        // Nobody asked for ~/.netrc; under sudo it may be another user's.
        Err(e) if raw.netrc.is_none() && is_absent(&e) => return Ok(None),
        Err(e) => return Err(format!("cannot read {}: {e}", path.display())),
    };
    let netrc: Netrc = text.parse().map_err(|e| {
        // The parser's words quote the file, which may be a password with a blank in it.
        let words = format!("{e}");
        let line = words
            .rsplit_once("(line ")
            .and_then(|(_, line)| line.strip_suffix(')'));
        let line = line.unwrap_or("unknown");
        format!("{} is not a netrc file (near line {line})", path.display())
    })?;
    let same_host = |(name, _): &(String, Authenticator)| name.eq_ignore_ascii_case(host);
    Ok(netrc
        .hosts
        .into_iter()
        .find(same_host)
        .map(|(_, entry)| entry))
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
    )
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use super::*;

    fn bare() -> Surroundings {
        Surroundings {
            home: None,
            credentials_directory: None,
            state_home: None,
            runtime: None,
            password: None,
            ask: None,
        }
    }

    fn login(url: &str, raw: &Raw, surroundings: &Surroundings) -> Result<Login, String> {
        let location = Location::parse(OsStr::new(url)).expect("a valid address");
        resolve(&location, raw, surroundings)
    }

    fn file(folder: &Path, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = folder.join(name);
        fs::write(&path, text).expect("a writable folder");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("our own file");
        path
    }

    fn pair(login: Result<Login, String>) -> (String, String) {
        let login = login.expect("a login");
        (login.user, login.password.reveal().to_owned())
    }

    fn named(user: &str, password: &str) -> (String, String) {
        (user.to_owned(), password.to_owned())
    }

    #[test]
    fn nobody_named_is_anonymous() {
        let raw = Raw::default();
        assert_eq!(
            pair(login("ftp://h/", &raw, &bare())),
            named("anonymous", "ftpfs@")
        );
        assert_eq!(
            pair(login("ftp://ftp@h/", &raw, &bare())),
            named("ftp", "ftpfs@")
        );
    }

    #[test]
    fn the_first_place_with_a_password_counts() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        file(
            folder.path(),
            ".netrc",
            "machine h login bob password netrc account acc\n",
            0o600,
        );
        let credentials = "# ours\n username=bob\r\npassword= file \naccount=a1\n";
        let credentials = file(folder.path(), "c", credentials, 0o600);
        let mut surroundings = bare();
        let mut raw = Raw::default();
        surroundings.ask = Some(|_| Ok("asked".to_owned()));
        assert_eq!(
            pair(login("ftp://bob@h/", &raw, &surroundings)),
            named("bob", "asked")
        );
        surroundings.home = Some(folder.path().to_owned());
        assert_eq!(
            pair(login("ftp://bob@H/", &raw, &surroundings)),
            named("bob", "netrc")
        );
        assert_eq!(
            pair(login("ftp://h/", &raw, &surroundings)),
            named("bob", "netrc")
        );
        assert_eq!(
            pair(login("ftp://eve@h/", &raw, &surroundings)),
            named("eve", "asked")
        );
        assert_eq!(
            pair(login("ftp://other/", &raw, &surroundings)),
            named("anonymous", "ftpfs@")
        );
        surroundings.password = Some(Secret::new("environment"));
        assert_eq!(
            pair(login("ftp://h/", &raw, &surroundings)),
            named("bob", "environment")
        );
        let given = folder.path().join("given");
        fs::create_dir(&given).expect("a writable folder");
        let by_systemd = "username=bob\npassword=given\n";
        file(&given, "ftpfs.credentials", by_systemd, 0o440);
        surroundings.credentials_directory = Some(given);
        assert_eq!(
            pair(login("ftp://h/", &raw, &surroundings)),
            named("bob", "given")
        );
        raw.credentials = Some(Source::File(credentials));
        assert_eq!(
            pair(login("ftp://h/", &raw, &surroundings)),
            named("bob", " file ")
        );
        let account = login("ftp://h/", &raw, &surroundings)
            .expect("a login")
            .account;
        assert_eq!(account.as_ref().map(Secret::reveal), Some("a1"));
        raw.password = Some(Secret::new("option"));
        assert_eq!(
            pair(login("ftp://h/", &raw, &surroundings)),
            named("bob", "option")
        );
        assert_eq!(
            pair(login("ftp://bob:@h/", &raw, &surroundings)),
            named("bob", "")
        );
        let two = login("ftp://eve@h/", &raw, &surroundings);
        assert!(two.is_err_and(|e| e.contains("two users")));
    }

    #[test]
    fn a_user_without_a_password_is_told_the_ways() {
        let message = login("ftp://bob@h/", &Raw::default(), &bare()).expect_err("no password");
        for way in [
            "\"bob\" at h",
            "credentials=FILE",
            "~/.netrc",
            "$FTPFS_PASSWORD",
        ] {
            assert!(message.contains(way), "{message}");
        }
    }

    #[test]
    fn errors_do_not_quote_files_with_passwords() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let netrc = "machine h\nlogin bob password my hunter2\n";
        let raw = Raw {
            netrc: Some(file(folder.path(), "n", netrc, 0o600)),
            ..Raw::default()
        };
        let message = login("ftp://bob@h/", &raw, &bare()).expect_err("not a netrc file");
        assert!(
            message.ends_with("is not a netrc file (near line 3)"),
            "{message}"
        );
    }

    #[test]
    fn a_password_cannot_hold_a_command() {
        let mut surroundings = bare();
        surroundings.password = Some(Secret::new("x\r\nDELE y"));
        assert!(login("ftp://bob@h/", &Raw::default(), &surroundings).is_err());
    }
}
