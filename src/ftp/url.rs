//! The address of a server as its user writes it: a URL, or `host:/path` as in fstab.
//!
//! Nothing that this module returns for printing holds the password: errors name the part that is
//! wrong, never its text.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};
use thiserror::Error;

use super::config::{Root, Secret, TlsMode};

/// Where a server is, who logs in, and which folder is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// What the scheme says about encryption.
    pub scheme: Scheme,
    /// Host name in ASCII, or an address without brackets.
    pub host: String,
    /// Port, where one is written.
    pub port: Option<u16>,
    /// Login name, where one is written.
    pub user: Option<String>,
    /// Password, where one is written; may be empty.
    pub password: Option<Secret>,
    /// The folder.
    pub root: Root,
    /// The text as written, without the password: for messages and for the mount table, where
    /// `mount -a` compares it with the line in fstab.
    pub source: String,
}

/// The scheme of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `ftp`, and the spelling of fstab: encryption is left to the options.
    Ftp,
    /// `ftpes`: `AUTH TLS` or nothing.
    Ftpes,
    /// `ftps`: TLS from the first byte, on port 990.
    Ftps,
}

impl Scheme {
    /// The TLS mode that the scheme asks for; `None` where it leaves the choice open.
    pub fn tls(self) -> Option<TlsMode> {
        match self {
            Self::Ftp => None,
            Self::Ftpes => Some(TlsMode::Explicit),
            Self::Ftps => Some(TlsMode::Implicit),
        }
    }
}

/// Why a text is no address. Never holds the password.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum UrlError {
    /// Neither a URL nor `host:path`.
    #[error("the address is neither a URL nor host:path; write ftp://host/path")]
    Spelling,
    /// A scheme that is not ours.
    #[error("unknown scheme `{0}`; use ftp, ftps (implicit TLS) or ftpes (explicit TLS)")]
    Scheme(String),
    /// A URL that is not UTF-8.
    #[error("the URL is not UTF-8; write such bytes as %XX")]
    NotUtf8,
    /// A blank or a control character where none can be.
    #[error("the address holds a control character; write it as %XX")]
    Control,
    /// Nothing where the host should be.
    #[error("the address names no host; write ftp://host/path")]
    NoHost,
    /// What the URL parser says of the host.
    #[error("the host is not valid: {0}")]
    Host(url::ParseError),
    /// A port that is none, or a stray character of a password that ended the host.
    #[error(
        "the port is not a number from 1 to 65535 (in a user name or password, write : / ? # @ % as %3A %2F %3F %23 %40 %25)"
    )]
    Port,
    /// A query or a fragment, which FTP does not have.
    #[error("`{0}` has a meaning of its own in a URL; write it as {1}")]
    Reserved(char, &'static str),
    /// `%` without two hexadecimal digits.
    #[error("`%` in the {0} is not followed by two hexadecimal digits; write a plain % as %25")]
    Percent(&'static str),
    /// A decoded user name or password that is not UTF-8.
    #[error("the {0} is not UTF-8")]
    NotText(&'static str),
    /// A byte that no FTP command can carry (RFC 959 s5.3).
    #[error("the {0} holds NUL, CR or LF, which FTP cannot send")]
    Forbidden(&'static str),
    /// `ftp://:password@host`.
    #[error("the address has a password, but no user name")]
    PasswordAlone,
    /// `user:password@host:/path`.
    #[error("host:path has no place for a password; write ftp://user:password@host/path")]
    PasswordInShort,
}

impl Location {
    /// The address as a URL without password, however it was written.
    pub fn url(&self) -> String {
        let scheme = match self.scheme {
            Scheme::Ftp => "ftp",
            Scheme::Ftpes => "ftpes",
            Scheme::Ftps => "ftps",
        };
        let host = match self.host.contains(':') {
            true => format!("[{}]", self.host),
            false => self.host.clone(),
        };
        let user = self.user.as_ref().map_or_else(String::new, |user| {
            format!("{}@", percent_encode(user.as_bytes(), PART))
        });
        let port = self
            .port
            .map_or_else(String::new, |port| format!(":{port}"));
        // An absolute path has a slash of its own.
        let (slash, path) = match &self.root {
            Root::Login(path) => ("/", path),
            Root::Absolute(path) => ("//", path),
        };
        let parts = path.split(|&byte| byte == b'/');
        below(
            &format!("{scheme}://{user}{host}{port}{slash}"),
            parts.filter(|part| !part.is_empty()),
        )
    }

    /// Parses `ftp://`, `ftps://` and `ftpes://` URLs, and `[user@]host:[/]path`.
    ///
    /// A path that begins with a second slash, written `//` or `/%2F`, is absolute, any other is
    /// relative to the folder that the login lands in (RFC 1738 s3.2.2). `;type=X` at the end is
    /// ignored. In `host:path` nothing is decoded, and `/` at the path's start makes it absolute.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn parse(text: &OsStr) -> Result<Self, UrlError> {
        let bytes = text.as_bytes();
        match find(bytes, b"://") {
            // A path may hold `://`, but only after the colon that ends the host.
            Some(end) if !bytes[..end].contains(&b':') => {
                let text = std::str::from_utf8(bytes).map_err(|_| UrlError::NotUtf8)?;
                parse_url(text, end)
            }
            _ => parse_short(bytes),
        }
    }
}

/// The address of what is at `parts` below the folder that `url` names.
pub fn below<'a>(url: &str, parts: impl Iterator<Item = &'a [u8]>) -> String {
    let mut address = url.to_owned();
    for part in parts {
        if !address.ends_with('/') {
            address.push('/');
        }
        address.extend(percent_encode(part, PART));
    }
    address
}

/// What stands for itself in a part of a path (RFC 3986 s3.3).
const PART: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Where the password stands in `text`, an address that need not be valid: for erasing it.
///
/// Errs on the side of too much, when a password holds an unescaped `/`.
pub fn password_span(text: &[u8]) -> Option<Range<usize>> {
    let start = match find(text, b"://") {
        Some(end) => end + 3,
        None => 0,
    };
    let rest = &text[start..];
    let authority = &rest[..position(rest, b'/').unwrap_or(rest.len())];
    let colon = position(authority, b':')?;
    let at = authority
        .iter()
        .rposition(|&b| b == b'@')
        .or_else(|| rest.iter().rposition(|&b| b == b'@'))?;
    (colon < at).then(|| start + colon + 1..start + at)
}

fn parse_url(text: &str, scheme_end: usize) -> Result<Location, UrlError> {
    let scheme = match text[..scheme_end].to_ascii_lowercase().as_str() {
        "ftp" => Scheme::Ftp,
        "ftps" => Scheme::Ftps,
        "ftpes" => Scheme::Ftpes,
        other => return Err(UrlError::Scheme(printable(other))),
    };
    let rest = &text[scheme_end + 3..];
    if rest.chars().any(|c| c.is_control()) {
        return Err(UrlError::Control);
    }
    for (c, escape) in [('?', "%3F"), ('#', "%23")] {
        if rest.contains(c) {
            return Err(UrlError::Reserved(c, escape));
        }
    }
    let authority = &rest[..rest.find('/').unwrap_or(rest.len())];
    let host_and_port = authority.rsplit('@').next().unwrap_or_default();
    if host_and_port.is_empty() || host_and_port.starts_with(':') {
        return Err(UrlError::NoHost);
    }

    // The crate treats `ftp` by the rules of the web: all three schemes get the same ones, and a
    // backslash, a slash to it, stays a letter.
    let parsed = url::Url::parse(&format!("ftp://{}", rest.replace('\\', "%5C"))).map_err(|e| {
        match e {
            url::ParseError::InvalidPort => UrlError::Port,
            url::ParseError::EmptyHost => UrlError::NoHost,
            // Most often the tail of a password with a `/` in it, taken for a host.
            other => UrlError::Host(other),
        }
    })?;
    let host = match parsed.host() {
        Some(url::Host::Domain(name)) => name.to_owned(),
        Some(url::Host::Ipv4(address)) => address.to_string(),
        Some(url::Host::Ipv6(address)) => address.to_string(),
        None => return Err(UrlError::NoHost),
    };
    // The crate leaves 21 out, the default of `ftp`, but not of `ftps`.
    let written_21 = host_and_port
        .rsplit_once(':')
        .is_some_and(|(_, port)| port.parse() == Ok(21u16));
    let port = parsed.port().or(written_21.then_some(21));
    if port == Some(0) {
        return Err(UrlError::Port);
    }

    let user = Some(decode_text(parsed.username(), "user name")?).filter(|u| !u.is_empty());
    let password = match password_span(text.as_bytes()) {
        Some(span) if authority.contains('@') => {
            if user.is_none() {
                return Err(UrlError::PasswordAlone);
            }
            // `user:@host` is an empty password; to the crate it is none.
            let written = parsed.password().unwrap_or_default();
            Some((span, Secret::new(decode_text(written, "password")?)))
        }
        _ => None,
    };
    let mut source = text.to_owned();
    let password = password.map(|(span, secret)| {
        source.replace_range(span.start - 1..span.end, "");
        secret
    });
    Ok(Location {
        scheme,
        host,
        port,
        user,
        password,
        root: root_of_url(parsed.path())?,
        source,
    })
}

fn root_of_url(path: &str) -> Result<Root, UrlError> {
    let path = match path.rfind(";type=") {
        Some(at) if path.len() - at <= ";type=a".len() => &path[..at],
        _ => path,
    };
    let decoded = decode(path.strip_prefix('/').unwrap_or(path), "path")?;
    root(&decoded)
}

fn parse_short(text: &[u8]) -> Result<Location, UrlError> {
    let host_start = short_host(text)?;
    let rest = &text[host_start..];
    let host_end = match rest.first() {
        Some(b'[') => find(rest, b"]:").ok_or(UrlError::Spelling)? + 1,
        _ => position(rest, b':').ok_or(UrlError::Spelling)?,
    };
    let (host, path) = (&rest[..host_end], &rest[host_end + 1..]);
    let path_head = &path[..position(path, b'/').unwrap_or(path.len())];
    if let Some(at) = position(path_head, b'@')
        && path_head[at..].contains(&b':')
    {
        return Err(UrlError::PasswordInShort);
    }
    // `/dev/sda1:x` is a path, not a host.
    if host.is_empty() || host.contains(&b'/') {
        return Err(UrlError::Spelling);
    }
    let host = std::str::from_utf8(host).map_err(|_| UrlError::Spelling)?;
    let host = match url::Host::parse(host).map_err(UrlError::Host)? {
        url::Host::Domain(name) => name,
        url::Host::Ipv4(address) => address.to_string(),
        url::Host::Ipv6(address) => address.to_string(),
    };
    let user = match &text[..host_start] {
        [] => None,
        user => Some(text_of(user[..user.len() - 1].to_vec(), "user name")?),
    };
    Ok(Location {
        scheme: Scheme::Ftp,
        host,
        port: None,
        user: user.filter(|u| !u.is_empty()),
        password: None,
        root: root(path)?,
        source: String::from_utf8_lossy(text).into_owned(),
    })
}

/// Where the host of `[user@]host:path` begins. A user name may hold `@`, as that of many hosters do.
fn short_host(text: &[u8]) -> Result<usize, UrlError> {
    let bracket = find(text, b"@[").map(|at| at + 1);
    let end = match bracket {
        Some(at) => at,
        None if text.first() == Some(&b'[') => 0,
        None => position(text, b':').ok_or(UrlError::Spelling)?,
    };
    Ok(text[..end]
        .iter()
        .rposition(|&b| b == b'@')
        .map_or(0, |at| at + 1))
}

/// The folder that `path` names: `.`, doubled and last slashes say nothing.
fn root(path: &[u8]) -> Result<Root, UrlError> {
    if path.iter().any(|b| b"\0\r\n".contains(b)) {
        return Err(UrlError::Forbidden("path"));
    }
    let parts: Vec<&[u8]> = path
        .split(|&b| b == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
        .collect();
    let joined = parts.join(&b'/');
    Ok(match path.first() {
        Some(b'/') => Root::Absolute([b"/", joined.as_slice()].concat()),
        _ => Root::Login(joined),
    })
}

fn decode_text(written: &str, part: &'static str) -> Result<String, UrlError> {
    text_of(decode(written, part)?.into_owned(), part)
}

fn text_of(bytes: Vec<u8>, part: &'static str) -> Result<String, UrlError> {
    let text = String::from_utf8(bytes).map_err(|_| UrlError::NotText(part))?;
    match text.contains(['\0', '\r', '\n']) {
        true => Err(UrlError::Forbidden(part)),
        false => Ok(text),
    }
}

fn decode<'a>(written: &'a str, part: &'static str) -> Result<Cow<'a, [u8]>, UrlError> {
    let mut pieces = written.split('%');
    pieces.next();
    let hex = |piece: &str| {
        let digits = piece.as_bytes().get(..2);
        digits.is_some_and(|d| d.iter().all(u8::is_ascii_hexdigit))
    };
    match pieces.all(hex) {
        true => Ok(percent_decode_str(written).into()),
        false => Err(UrlError::Percent(part)),
    }
}

/// A scheme for a message: short, and of the letters of a scheme.
fn printable(scheme: &str) -> String {
    let letter = |c: &char| c.is_ascii_alphanumeric() || "+-.".contains(*c);
    scheme.chars().filter(letter).take(16).collect()
}

fn position(text: &[u8], byte: u8) -> Option<usize> {
    text.iter().position(|&b| b == byte)
}

fn find(text: &[u8], needle: &[u8]) -> Option<usize> {
    text.windows(needle.len()).position(|w| w == needle)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Location {
        Location::parse(OsStr::new(text)).unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    fn error(text: &str) -> UrlError {
        Location::parse(OsStr::new(text)).expect_err(text)
    }

    #[test]
    fn roots_follow_rfc_1738() {
        let login = |path: &str| Root::Login(path.into());
        let absolute = |path: &str| Root::Absolute(path.into());
        for (text, root) in [
            ("ftp://h", login("")),
            ("ftp://h/", login("")),
            ("ftp://h/pub", login("pub")),
            ("ftp://h/pub/a%20b/", login("pub/a b")),
            ("ftp://h/pub//./x", login("pub/x")),
            ("ftp://h//", absolute("/")),
            ("ftp://h//etc", absolute("/etc")),
            ("ftp://h/%2Fetc/x", absolute("/etc/x")),
            ("ftp://h/%2f", absolute("/")),
            ("ftp://h/%2F/etc//", absolute("/etc")),
            ("ftp://h/a;type=i", login("a")),
            ("ftp://h/a;type=", login("a")),
            ("ftp://h/a;type=image", login("a;type=image")),
            ("ftp://h/a\\b", login("a\\b")),
            ("ftp://h/\u{e9}", login("\u{e9}")),
            ("ftp://h/a@b:c", login("a@b:c")),
            ("h:/pub/", absolute("/pub")),
            ("h:/", absolute("/")),
            ("h:", login("")),
            ("h:pub/x", login("pub/x")),
            ("h:./pub", login("pub")),
            ("h:a%20b", login("a%20b")),
            ("h:/a@b", absolute("/a@b")),
            ("h:/odd://path", absolute("/odd:/path")),
        ] {
            assert_eq!(parse(text).root, root, "{text}");
        }
        assert_eq!(
            parse("ftp://h/%FF%23").root,
            Root::Login(b"\xff#".to_vec()),
            "bytes that are not UTF-8"
        );
    }

    #[test]
    fn hosts_ports_and_users() {
        type Row = (
            &'static str,
            &'static str,
            Option<u16>,
            Option<&'static str>,
            Option<&'static str>,
        );
        let rows: [Row; 18] = [
            ("ftp://Example.ORG/", "example.org", None, None, None),
            ("ftp://h:2121/", "h", Some(2121), None, None),
            ("ftp://h:21/", "h", Some(21), None, None),
            ("ftps://h:21/", "h", Some(21), None, None),
            ("FTPS://h:/", "h", None, None, None),
            ("ftp://[::1]:2121/x", "::1", Some(2121), None, None),
            ("ftp://[2001:db8::0:1]", "2001:db8::1", None, None, None),
            ("ftp://127.0.0.1:21", "127.0.0.1", Some(21), None, None),
            ("ftp://bob@h/", "h", None, Some("bob"), None),
            (
                "ftp://bob:s%40x%3a@h/",
                "h",
                None,
                Some("bob"),
                Some("s@x:"),
            ),
            ("ftp://bob:@h/", "h", None, Some("bob"), Some("")),
            (
                "ftp://me@site.org:pw@h/",
                "h",
                None,
                Some("me@site.org"),
                Some("pw"),
            ),
            ("ftp://b:p:q@h/", "h", None, Some("b"), Some("p:q")),
            ("ftp://@h/", "h", None, None, None),
            (
                "ftp://b\u{fc}cher.example/",
                "xn--bcher-kva.example",
                None,
                None,
                None,
            ),
            ("bob@h:/x", "h", None, Some("bob"), None),
            ("me@site.org@h:x", "h", None, Some("me@site.org"), None),
            ("bob@[::1]:/x", "::1", None, Some("bob"), None),
        ];
        for (text, host, port, user, password) in rows {
            let location = parse(text);
            assert_eq!(location.host, host, "{text}");
            assert_eq!(location.port, port, "{text}");
            assert_eq!(location.user.as_deref(), user, "{text}");
            let revealed = location.password.as_ref().map(Secret::reveal);
            assert_eq!(revealed, password, "{text}");
        }
        assert_eq!(parse("[::1]:/x").host, "::1");
        assert_eq!(parse("ftpes://h").scheme.tls(), Some(TlsMode::Explicit));
        assert_eq!(parse("ftps://h").scheme.tls(), Some(TlsMode::Implicit));
        assert_eq!(parse("ftp://h").scheme.tls(), None);
    }

    #[test]
    fn errors_name_what_is_wrong() {
        for (text, expected) in [
            ("http://h/", UrlError::Scheme("http".into())),
            ("ftp:///x", UrlError::NoHost),
            ("ftp://u:p@/x", UrlError::NoHost),
            ("ftp://:21/", UrlError::NoHost),
            ("ftp://h:x/", UrlError::Port),
            ("ftp://h:0/", UrlError::Port),
            ("ftp://h:65536/", UrlError::Port),
            ("ftp://u:p/q@h/", UrlError::Port),
            ("ftp://h/a?b", UrlError::Reserved('?', "%3F")),
            ("ftp://u:p#q@h/", UrlError::Reserved('#', "%23")),
            ("ftp://h/100%", UrlError::Percent("path")),
            ("ftp://u:5%x@h/", UrlError::Percent("password")),
            ("ftp://u:%ff@h/", UrlError::NotText("password")),
            ("ftp://u%0a@h/", UrlError::Forbidden("user name")),
            ("ftp://u:%0d@h/", UrlError::Forbidden("password")),
            ("ftp://h/a%0d%0aDELE%20x", UrlError::Forbidden("path")),
            ("ftp://h/%00", UrlError::Forbidden("path")),
            ("ftp://h/a\nb", UrlError::Control),
            ("ftp://:pw@h/", UrlError::PasswordAlone),
            ("bob:pw@h:/x", UrlError::PasswordInShort),
            ("h", UrlError::Spelling),
            ("", UrlError::Spelling),
            (":/x", UrlError::Spelling),
            ("/dev/sda1:x", UrlError::Spelling),
            ("[::1]", UrlError::Spelling),
        ] {
            assert_eq!(error(text), expected, "{text}");
        }
        assert!(matches!(error("ftp://[::zz]/"), UrlError::Host(_)));
        assert!(matches!(error("ftp://a b/"), UrlError::Host(_)));
    }

    #[test]
    fn a_url_leads_to_what_is_below() {
        for (text, url) in [
            ("ftp://bob:x@h:21/a%20b/", "ftp://bob@h:21/a%20b/x/%FF%25"),
            ("h:/etc", "ftp://h//etc/x/%FF%25"),
            ("[::1]:", "ftp://[::1]/x/%FF%25"),
        ] {
            let parts = [&b"x"[..], b"\xff%"];
            assert_eq!(below(&parse(text).url(), parts.into_iter()), url);
        }
    }

    #[test]
    fn the_source_is_the_text_without_the_password() {
        for (text, source) in [
            ("ftp://bob:secret@h:2121/x%20y", "ftp://bob@h:2121/x%20y"),
            ("ftps://bob:se:cr@et@h//x", "ftps://bob@h//x"),
            ("ftp://bob:@h/", "ftp://bob@h/"),
            ("ftp://bob@h/", "ftp://bob@h/"),
            ("ftp://h:21/a@b", "ftp://h:21/a@b"),
            ("bob@h:/x", "bob@h:/x"),
        ] {
            assert_eq!(parse(text).source, source);
        }
    }

    #[test]
    fn password_spans_cover_odd_passwords() {
        for (text, password) in [
            ("ftp://u:p@h/", Some("p")),
            ("ftp://u:p/q@h/", Some("p/q")),
            ("ftp://u:p#q@h/x@y", Some("p#q")),
            ("ftp://a@b:p@h/", Some("p")),
            ("u:p@h:/x", Some("p")),
            ("u@h:/x", None),
            ("ftp://u@h/", None),
            ("ftp://h:21/", None),
        ] {
            let span = password_span(text.as_bytes());
            assert_eq!(span.map(|s| &text[s]), password, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_parse_or_fail_without_the_password(
            head in "(ftp|ftps)://[a-z]{1,4}:",
            password in "Zq[A-Z/?#%@:0-9]{0,8}qZ",
            tail in "@h[:/a-z%0-9]{0,8}",
        ) {
            let text = format!("{head}{password}{tail}");
            match Location::parse(OsStr::new(&text)) {
                Ok(location) => {
                    let printed = format!("{location:?}");
                    prop_assert!(!printed.contains(&password));
                }
                Err(e) => prop_assert!(!e.to_string().contains(&password)),
            }
            prop_assert!(password_span(text.as_bytes()).is_some());
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = Location::parse(OsStr::from_bytes(&bytes));
            let _ = password_span(&bytes);
        }
    }
}
