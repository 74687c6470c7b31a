//! The report as text, for a terminal of 80 columns.

use std::fmt::Write;

use super::report::{Report, Works};
use crate::columns::{bytes, paragraph};

/// The report as text.
pub fn of(report: &Report) -> String {
    let mut text = format!("{}\n", report.source);
    let mut line = |(label, value): (&str, String)| {
        paragraph(&mut text, &format!("  {label:<14} "), &value);
    };
    who(report).into_iter().for_each(&mut line);
    how_fast(report).into_iter().for_each(&mut line);
    line(("features", features(report)));
    if let Some(tls) = &report.tls {
        line((
            "certificate",
            "SHA-256 fingerprint, for -o tls_pin=".to_owned(),
        ));
        // Whole, as is the line for fstab: both are to be copied.
        let _ = writeln!(text, "    {}", tls.certificate_sha256);
    }
    text.push_str("\nOn a mount\n");
    for ability in &report.abilities {
        let mark = mark(ability.works);
        let label = format!("  {:<21} {mark:<7} ", ability.what);
        paragraph(&mut text, &label, &ability.how);
    }
    let _ = write!(text, "\nIn /etc/fstab\n{}\n", report.fstab);
    text
}

fn who(report: &Report) -> [(&'static str, String); 4] {
    let sessions = sessions(report.sessions);
    let login = match &report.sessions_refused {
        None => format!("{}, {sessions} at once as asked for", report.user),
        Some(words) => format!("{}, {sessions} at once; then: {words}", report.user),
    };
    let encryption = match &report.tls {
        None => "none: everything can be read on the way".to_owned(),
        Some(tls) => {
            let data = match tls.data_resumed {
                Some(true) => "data connections resume its session",
                Some(false) => "data connections begin a new session each",
                None => "data connections are not encrypted",
            };
            format!("TLS {}; {data}", tls.version)
        }
    };
    [
        ("server", format!("{}, {}", report.address, report.greeting)),
        ("folder", report.root.clone()),
        ("login", login),
        ("encryption", encryption),
    ]
}

fn how_fast(report: &Report) -> [(&'static str, String); 2] {
    let reading = match &report.read {
        None => "no file here to read".to_owned(),
        Some(read) => {
            let rate = bytes(read.bytes_per_second);
            format!("{rate}/s, by {} of {}", bytes(read.bytes as f64), read.path)
        }
    };
    let round_trip = format!("{:.1} ms", report.round_trip_ms);
    [("round trip", round_trip), ("reading", reading)]
}

/// What the server names, without the long lists of facts that follow some.
fn features(report: &Report) -> String {
    let short = |feature: &String| match feature.split_once(' ') {
        Some((verb, facts)) if facts.contains(';') => verb.to_owned(),
        _ => feature.clone(),
    };
    match report.features.is_empty() {
        true => "the server names none".to_owned(),
        false => {
            let named: Vec<String> = report.features.iter().map(short).collect();
            named.join(", ")
        }
    }
}

fn sessions(count: usize) -> String {
    match count {
        1 => "1 session".to_owned(),
        _ => format!("{count} sessions"),
    }
}

fn mark(works: Works) -> &'static str {
    match works {
        Works::Yes => "yes",
        Works::Slowly => "slowly",
        Works::Partly => "partly",
        Works::Kept => "kept",
        Works::No => "no",
        Works::Unknown => "?",
    }
}
