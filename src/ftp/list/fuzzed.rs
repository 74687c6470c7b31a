//! What the fuzzer feeds of the listings (`tests/fuzz`), and what has to hold of whatever comes out.

use super::date::Dates;
use super::{Parsed, lines, parse_list, parse_mlsd, parse_mlst};
use crate::ftp::time::{Zone, format_time_val, parse_time_val};

/// The body of a `LIST`, in any dialect.
pub fn listing(body: &[u8]) {
    let parsed = parse_list(body, &Zone::UTC, NOW);
    check(&parsed, body);
    // The ends of lines say nothing.
    let plain: Vec<u8> = body.iter().copied().filter(|&byte| byte != b'\r').collect();
    let with_returns = plain.split(|&byte| byte == b'\n');
    let with_returns = with_returns.collect::<Vec<_>>().join(&b"\r\n"[..]);
    assert_eq!(
        parse_list(&plain, &Zone::UTC, NOW),
        parse_list(&with_returns, &Zone::UTC, NOW)
    );
}

/// The body of an `MLSD`, and the lines of an `MLST`.
pub fn facts(body: &[u8]) {
    let parsed = parse_mlsd(body);
    check(&parsed, body);
    // What comes later changes nothing of what was listed.
    for (cut, _) in body.iter().enumerate().filter(|(_, byte)| **byte == b'\n') {
        let cut = parse_mlsd(&body[..cut]);
        assert!(parsed.entries.starts_with(&cut.entries));
    }
    for line in body.split_inclusive(|&byte| byte == b'\n') {
        if let Some(entry) = parse_mlst(line) {
            assert!(entry.name.len() <= line.len());
        }
    }
}

fn check(parsed: &Parsed, body: &[u8]) {
    let mut held = 0;
    for entry in &parsed.entries {
        let name = entry.name.as_slice();
        assert!(!name.is_empty() && name != b"." && name != b"..");
        assert!(!name.iter().any(|byte| b"/\0\n".contains(byte)));
        assert!(entry.mode.is_none_or(|mode| mode <= 0o7777));
        held += name.len() + entry.target.as_ref().map_or(0, Vec::len);
    }
    assert!(held <= body.len());
    assert!(parsed.entries.len() + parsed.unreadable <= lines(body).count());
    assert_eq!(parsed.unreadable > 0, parsed.first_unreadable.is_some());
}

/// A date at the begin of a text, behind the time of day and the zone of the server.
pub fn date(bytes: &[u8]) {
    if let Some(seconds) = parse_time_val(bytes) {
        // The last second of the year 9999 may be a leap second.
        if let Some(text) = format_time_val(seconds) {
            assert_eq!(parse_time_val(text.as_bytes()), Some(seconds));
        }
    }
    let Some((now, rest)) = bytes.split_first_chunk() else {
        return;
    };
    let Some((east, text)) = rest.split_first_chunk() else {
        return;
    };
    let zone = Zone::Offset(i32::from_le_bytes(*east));
    for (zone, now) in [(&zone, i64::from_le_bytes(*now)), (&Zone::UTC, NOW)] {
        if let Some(found) = Dates::new(zone, now).read(text) {
            assert!((1..=text.len()).contains(&found.end));
            let seconds = found.modified.map_or(0, |modified| modified.seconds);
            // Later than any calendar here, with the widest zone.
            assert!(seconds.abs() < 1 << 39, "{seconds}");
        }
    }
}

/// 2026-11-21 05:00:00 UTC, soon after most of the samples were taken.
const NOW: i64 = 1_795_237_200;
