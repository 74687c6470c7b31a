//! The values of options: numbers, sizes, durations, modes, fingerprints, time zones, paths.
//!
//! Each function takes the value as it was written and says what is wrong with it; the caller adds
//! the option's name.

use std::ffi::OsStr;
use std::net::IpAddr;
use std::num::NonZeroU64;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use jiff::tz::{Offset, TimeZone};
use percent_encoding::percent_decode_str;
use url::Url;

use crate::ftp::config::{Charset, Limits, Proxy, ProxyKind, Secret};

/// The value as UTF-8.
pub fn text(value: &OsStr) -> Result<&str, String> {
    value.to_str().ok_or_else(|| "is not UTF-8".to_owned())
}

/// Text that can be an argument of an FTP command. Never printed: it may be a password.
pub fn line(value: &OsStr) -> Result<String, String> {
    let text = text(value)?;
    match text.contains(['\0', '\r', '\n']) {
        true => Err("holds NUL, CR or LF, which FTP cannot send".to_owned()),
        false => Ok(text.to_owned()),
    }
}

/// A proxy as its user writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProxyUrl {
    /// One that leads on any connection.
    Any(Proxy),
    /// One that speaks FTP itself, and is told the server with the user.
    Ftp {
        /// Host name or address, without brackets.
        host: String,
        /// Its port.
        port: u16,
    },
}

/// The address of a proxy: `socks5://`, `http://` or `ftp://`. Never printed: it may hold a password.
pub fn proxy(value: &OsStr) -> Result<ProxyUrl, String> {
    let wrong = || "is not socks5://, http:// or ftp:// with a host".to_owned();
    let url = Url::parse(text(value)?).map_err(|_| wrong())?;
    let kind = match url.scheme() {
        "socks5" | "socks5h" => Some(ProxyKind::Socks5),
        "http" => Some(ProxyKind::Http),
        "ftp" => None,
        _ => return Err(wrong()),
    };
    // Most often the tail of a password, of which the begin would be taken for a host.
    if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        return Err(
            "has a path, and a proxy has none; write / ? # in a name or password as %2F %3F %23"
                .to_owned(),
        );
    }
    let host = url.host_str().filter(|host| !host.is_empty());
    let host = host.ok_or_else(wrong)?;
    let host = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned();
    // The usual one of SOCKS is the only one of these that the parser does not know.
    let port = url.port_or_known_default().unwrap_or(1080);
    let decoded = |text: &str| {
        let text = percent_decode_str(text).decode_utf8();
        let text = text.map_err(|_| "has a name or password that is not UTF-8".to_owned())?;
        line(OsStr::new(&*text))
    };
    let user = decoded(url.username())?;
    let password = decoded(url.password().unwrap_or_default())?;
    match kind {
        Some(kind) => Ok(ProxyUrl::Any(Proxy {
            kind,
            host,
            port,
            login: (!user.is_empty()).then(|| (user, Secret::new(password))),
        })),
        None if user.is_empty() => Ok(ProxyUrl::Ftp { host, port }),
        None => Err("cannot have a name: an FTP proxy is told the server's".to_owned()),
    }
}

/// A decimal number from `least` to `most`.
pub fn number(value: &OsStr, least: u32, most: u32) -> Result<u32, String> {
    let text = text(value)?;
    let number = text.parse().ok().filter(|n| (least..=most).contains(n));
    number.ok_or_else(|| format!("`{text}` is not a number from {least} to {most}"))
}

/// A range of ports, `LOW-HIGH`, or one.
pub fn ports(value: &OsStr) -> Result<RangeInclusive<u16>, String> {
    let text = text(value)?;
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    let port = |text: &str| text.parse().ok().filter(|&port: &u16| port > 0);
    match (port(low), port(high)) {
        (Some(low), Some(high)) if low <= high => Ok(low..=high),
        _ => Err(format!("`{text}` is not a range of ports, as 50000-50100")),
    }
}

/// An address of IPv4 or IPv6.
pub fn address(value: &OsStr) -> Result<IpAddr, String> {
    let text = text(value)?;
    let address = text.parse();
    address.map_err(|_| format!("`{text}` is not an address, as 203.0.113.5 or 2001:db8::5"))
}

/// A user's or group's number.
pub fn id(value: &OsStr) -> Result<u32, String> {
    // The highest number means "unchanged" to the kernel.
    number(value, 0, u32::MAX - 1).map_err(|e| format!("{e} (see `id`)"))
}

/// Permission bits in octal.
pub fn mode(value: &OsStr) -> Result<u32, String> {
    let text = text(value)?;
    let digits = text.strip_prefix("0o").unwrap_or(text);
    let only_digits = digits.bytes().all(|b| b.is_ascii_digit());
    u32::from_str_radix(digits, 8)
        .ok()
        .filter(|&mode| only_digits && mode <= 0o7777)
        .ok_or_else(|| format!("`{text}` is not an octal mode, as 0644"))
}

/// Bytes: a whole number, alone or with K, M, G or T (powers of 1024).
pub fn size(value: &OsStr) -> Result<u64, String> {
    let text = text(value)?;
    let (digits, unit) = split_unit(text);
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => Some(0),
        "k" | "kb" | "kib" => Some(10),
        "m" | "mb" | "mib" => Some(20),
        "g" | "gb" | "gib" => Some(30),
        "t" | "tb" | "tib" => Some(40),
        _ => None,
    };
    let bytes = || digits.parse::<u64>().ok()?.checked_mul(1 << shift?);
    bytes().ok_or_else(|| format!("`{text}` is not a size, as 64K, 256M or 2G"))
}

/// A label of SELinux, without the quotes that mount(8) wants around one with commas.
pub fn label(value: &OsStr) -> Result<String, String> {
    let text = text(value)?;
    let label = text
        .strip_prefix('"')
        .and_then(|t| t.strip_suffix('"'))
        .unwrap_or(text);
    match label.is_empty() || label.contains(['"', '\\']) || label.chars().any(char::is_control) {
        true => Err(format!("`{}` is not a label", text.escape_debug())),
        false => Ok(label.to_owned()),
    }
}

/// Bytes per second: one rate for both directions, or `UP:DOWN`, of which 0 is no limit.
pub fn limits(value: &OsStr) -> Result<Limits, String> {
    let text = text(value)?;
    let (up, down) = text.split_once(':').unwrap_or((text, text));
    let limit = |text: &str| size(OsStr::new(text)).map(NonZeroU64::new);
    Ok(Limits {
        up: limit(up)?,
        down: limit(down)?,
        commands: None,
    })
}

/// A span of time: seconds, or a number with ms, s, m, h or d.
pub fn duration(value: &OsStr) -> Result<Duration, String> {
    let text = text(value)?;
    let (digits, unit) = split_unit(text);
    let seconds_each = match unit {
        "ms" => Some(0.001),
        "" | "s" | "sec" => Some(1.0),
        "m" | "min" => Some(60.0),
        "h" => Some(3600.0),
        "d" => Some(86400.0),
        _ => None,
    };
    let parsed = || {
        let seconds = digits.parse::<f64>().ok()? * seconds_each?;
        // A year: longer is a mistake, and overflows sums of times.
        let sane = (0.0..=366.0 * 86400.0).contains(&seconds);
        Duration::try_from_secs_f64(seconds).ok().filter(|_| sane)
    };
    parsed().ok_or_else(|| format!("`{text}` is not a span of time, as 30, 500ms or 2m"))
}

/// A span of time that is not zero: for deadlines.
pub fn deadline(value: &OsStr) -> Result<Duration, String> {
    match duration(value)? {
        Duration::ZERO => Err("must be longer than 0".to_owned()),
        other => Ok(other),
    }
}

/// A SHA-256 fingerprint: `sha256:HEX`, or HEX, with or without colons.
pub fn fingerprint(value: &OsStr) -> Result<[u8; 32], String> {
    let text = text(value)?;
    let lower = text.to_ascii_lowercase();
    let hex = lower
        .strip_prefix("sha256:")
        .unwrap_or(&lower)
        .replace(':', "");
    let mut bytes = [0; 32];
    let wrong = || format!("`{text}` is not the 64 hexadecimal digits of a SHA-256 fingerprint");
    if hex.len() != 64 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(wrong());
    }
    for (byte, digits) in bytes.iter_mut().zip(hex.as_bytes().chunks(2)) {
        let digits = std::str::from_utf8(digits).map_err(|_| wrong())?;
        *byte = u8::from_str_radix(digits, 16).map_err(|_| wrong())?;
    }
    Ok(bytes)
}

/// A time zone: a name of the IANA database, `UTC`, or `+HH:MM`.
pub fn zone(value: &OsStr) -> Result<TimeZone, String> {
    let text = text(value)?;
    if ["utc", "gmt", "z"].contains(&text.to_ascii_lowercase().as_str()) {
        return Ok(TimeZone::UTC);
    }
    if let Some(seconds) = offset_seconds(text) {
        return match Offset::from_seconds(seconds) {
            Ok(offset) => Ok(TimeZone::fixed(offset)),
            Err(_) => Err(format!("`{text}` is too far from UTC")),
        };
    }
    TimeZone::get(text)
        .map_err(|_| format!("`{text}` is not a time zone known here, nor an offset as +02:00"))
}

/// A charset by one of its names.
pub fn charset(value: &OsStr) -> Result<Charset, String> {
    let text = text(value)?;
    let known = Charset::named(text);
    known.ok_or_else(|| format!("`{text}` is not a charset known here, as latin1 or windows-1251"))
}

/// An absolute path, the current folder put before a relative one.
pub fn path(value: &OsStr) -> Result<PathBuf, String> {
    if value.is_empty() {
        return Err("is empty".to_owned());
    }
    std::path::absolute(value).map_err(|e| e.to_string())
}

/// Seconds east of UTC of `+HH`, `+HHMM` or `+HH:MM`.
fn offset_seconds(text: &str) -> Option<i32> {
    let (sign, rest) = match text.as_bytes().first()? {
        b'+' => (1, &text[1..]),
        b'-' => (-1, &text[1..]),
        _ => return None,
    };
    let digits = rest.replace(':', "");
    if !matches!(digits.len(), 2 | 4) || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let hours: i32 = digits[..2].parse().ok()?;
    let minutes: i32 = digits[2..].parse().unwrap_or(0);
    (minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

fn split_unit(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.');
    text.split_at(end.unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn os(text: &str) -> &OsStr {
        OsStr::new(text)
    }

    #[test]
    fn durations() {
        for (text, milliseconds) in [
            ("0", Some(0)),
            ("5", Some(5_000)),
            ("0.5", Some(500)),
            ("500ms", Some(500)),
            ("1.5s", Some(1_500)),
            ("2m", Some(120_000)),
            ("1h", Some(3_600_000)),
            ("", None),
            ("s", None),
            ("-1", None),
            ("1e9", None),
            ("1.2.3", None),
            ("5 s", None),
            ("99999999999999999999", None),
            ("inf", None),
        ] {
            let expected = milliseconds.map(Duration::from_millis);
            assert_eq!(duration(os(text)).ok(), expected, "{text}");
        }
        assert!(deadline(os("0ms")).is_err());
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", Some(0)),
            ("123", Some(123)),
            ("64K", Some(65_536)),
            ("256M", Some(256 << 20)),
            ("2g", Some(2 << 30)),
            ("1MiB", Some(1 << 20)),
            ("1T", Some(1 << 40)),
            ("", None),
            ("M", None),
            ("1.5M", None),
            ("-1", None),
            ("1X", None),
            ("99999999999G", None),
        ] {
            assert_eq!(size(os(text)).ok(), bytes, "{text}");
        }
    }

    #[test]
    fn rates() {
        let both = |up, down| {
            Ok(Limits {
                up: NonZeroU64::new(up),
                down: NonZeroU64::new(down),
                commands: None,
            })
        };
        assert_eq!(limits(os("500K")), both(500 << 10, 500 << 10));
        assert_eq!(limits(os("1M:0")), both(1 << 20, 0));
        assert!(limits(os("fast")).is_err() && limits(os("1:2:3")).is_err());
    }

    #[test]
    fn modes() {
        for (text, bits) in [
            ("0644", Some(0o644)),
            ("755", Some(0o755)),
            ("0o22", Some(0o22)),
            ("0", Some(0)),
            ("", None),
            ("8", None),
            ("+7", None),
            ("10000", None),
        ] {
            assert_eq!(mode(os(text)).ok(), bits, "{text}");
        }
    }

    #[test]
    fn fingerprints() {
        let hex = "00ff".repeat(16);
        let mut expected = [0; 32];
        expected
            .iter_mut()
            .skip(1)
            .step_by(2)
            .for_each(|b| *b = 0xff);
        let colons: Vec<&str> = (0..32).map(|i| &hex[2 * i..2 * i + 2]).collect();
        for text in [
            hex.clone(),
            format!("sha256:{hex}"),
            format!("SHA256:{}", hex.to_uppercase()),
            colons.join(":"),
        ] {
            assert_eq!(fingerprint(os(&text)), Ok(expected), "{text}");
        }
        for text in [
            "",
            "00ff",
            &hex[1..],
            &hex.replace('f', "g"),
            &"\u{e9}".repeat(32),
        ] {
            assert!(fingerprint(os(text)).is_err(), "{text}");
        }
    }

    #[test]
    fn proxies() {
        let any = |text: &str| match proxy(os(text)) {
            Ok(ProxyUrl::Any(proxy)) => proxy,
            other => panic!("{text}: {other:?}"),
        };
        for (text, kind, host, port) in [
            ("socks5://h", ProxyKind::Socks5, "h", 1080),
            ("socks5h://h:9050/", ProxyKind::Socks5, "h", 9050),
            ("http://h", ProxyKind::Http, "h", 80),
            ("http://h:8080/", ProxyKind::Http, "h", 8080),
            ("http://[::1]:3128", ProxyKind::Http, "::1", 3128),
        ] {
            let found = any(text);
            assert_eq!(
                (found.kind, &*found.host, found.port, found.login),
                (kind, host, port, None),
                "{text}"
            );
        }
        let login = any("socks5://bob:a%40b@h").login;
        assert_eq!(login, Some(("bob".to_owned(), Secret::new("a@b"))));
        let gateway = proxy(os("ftp://gate"));
        assert_eq!(
            gateway,
            Ok(ProxyUrl::Ftp {
                host: "gate".to_owned(),
                port: 21
            })
        );
        for text in [
            "",
            "h:1080",
            "socks4://h",
            "socks5://",
            "ftp://bob@h",
            "http://:x@",
            "socks5://bob:80/ss@h",
            "http://h/path",
            "http://h?query",
        ] {
            assert!(proxy(os(text)).is_err(), "{text}");
        }
    }

    #[test]
    fn zones() {
        let fixed = |seconds| TimeZone::fixed(Offset::from_seconds(seconds).expect("in range"));
        assert_eq!(zone(os("+02:00")), Ok(fixed(7_200)));
        assert_eq!(zone(os("-0330")), Ok(fixed(-12_600)));
        assert_eq!(zone(os("+09")), Ok(fixed(32_400)));
        assert_eq!(zone(os("utc")), Ok(TimeZone::UTC));
        for text in ["", "+", "+1", "+02:75", "+99:00", "Mars/Olympus", "+\u{e9}"] {
            assert!(zone(os(text)).is_err(), "{text}");
        }
    }

    #[test]
    fn lines_and_numbers() {
        assert!(line(os("a\r\nDELE x")).is_err());
        assert_eq!(line(os(" a b ")), Ok(" a b ".to_owned()));
        assert!(number(os("0"), 1, 9).is_err());
        assert!(number(os("x"), 1, 9).is_err());
        assert!(id(os("4294967295")).is_err());
        assert!(path(os("x")).is_ok_and(|p| p.is_absolute()));
    }
}
