//! What the fuzzer feeds of this layer (`tests/fuzz`), and what has to hold of whatever comes out.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use super::config::Root;
use super::reply::{Assembler, Reply, parse_epsv, parse_pasv, parse_quoted_path};
use super::url::{Location, password_span};

/// Lines of a control connection.
pub fn replies(bytes: &[u8]) {
    let all = assembled(bytes);
    for reply in &all {
        assert!((100..700).contains(&reply.code) && !reply.lines.is_empty());
        assert!(!reply.to_string().contains(char::is_control), "{reply}");
        reply.says("pasv");
        if let Some(path) = parse_quoted_path(reply.last()) {
            assert!(path.len() <= reply.last().len());
        }
    }
    let held: usize = all
        .iter()
        .flat_map(|reply| &reply.lines)
        .map(Vec::len)
        .sum();
    assert!(held <= bytes.len());
    // What was heard does not change by what comes after.
    for (cut, _) in bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n') {
        assert!(all.starts_with(&assembled(&bytes[..cut])));
    }
}

fn assembled(bytes: &[u8]) -> Vec<Reply> {
    let mut assembler = Assembler::default();
    let lines = bytes.split(|&byte| byte == b'\n');
    lines.filter_map(|line| assembler.push(line)).collect()
}

/// The text of a 227 or a 229.
pub fn passive(text: &[u8]) {
    assert_ne!(parse_epsv(text), Some(0));
    let Some((address, port)) = parse_pasv(text) else {
        return;
    };
    assert_ne!(port, 0);
    let [a, b, c, d] = address.octets();
    let [high, low] = port.to_be_bytes();
    let plain = format!("227 Entering Passive Mode ({a},{b},{c},{d},{high},{low}).");
    // The code is no part of what the parser is given.
    assert_eq!(parse_pasv(&plain.as_bytes()[4..]), Some((address, port)));
}

/// The address of a server, as its user writes it.
pub fn address(text: &[u8]) {
    if let Some(span) = password_span(text) {
        // The colon before it is there, and the `@` behind it.
        assert_eq!(text[span.start - 1], b':');
        assert_eq!(text[span.end], b'@');
    }
    let parsed = match Location::parse(OsStr::from_bytes(text)) {
        Ok(parsed) => parsed,
        Err(error) => {
            assert!(error.to_string().len() < LONGEST_MESSAGE, "{error}");
            return;
        }
    };
    assert!(!parsed.host.is_empty() && parsed.port != Some(0));
    let password = parsed.password.as_ref().map(|secret| secret.reveal());
    for said in [parsed.user.as_deref(), password].into_iter().flatten() {
        assert!(
            !said.contains(['\0', '\r', '\n']),
            "one command is one line"
        );
    }
    let (parts, is_absolute) = match &parsed.root {
        Root::Absolute(path) => (path.strip_prefix(b"/"), true),
        Root::Login(path) => (Some(path.as_slice()), false),
    };
    let parts = parts.expect("an absolute path begins with a slash");
    assert!(!parts.iter().any(|byte| b"\0\r\n".contains(byte)));
    let is_plain = |part: &[u8]| !part.is_empty() && part != b".";
    assert!(parts.is_empty() || parts.split(|&byte| byte == b'/').all(is_plain));
    assert!(is_absolute || !parts.starts_with(b"/"));
    // fstab and the mount table have the source alone: it leads to the same place.
    if std::str::from_utf8(text).is_ok() {
        let again = Location::parse(OsStr::new(&parsed.source));
        let without = Location {
            password: None,
            ..parsed
        };
        assert_eq!(again, Ok(without));
    }
}

/// No message holds a text of its user's at full length.
const LONGEST_MESSAGE: usize = 300;
