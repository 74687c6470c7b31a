//! The report as text, for a terminal of 80 columns.

use std::fmt::Write;

use textwrap::{Options, fill};

use super::report::{Report, Works};

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

/// `label`, and `value` beside it, in as many lines as it needs.
fn paragraph(text: &mut String, label: &str, value: &str) {
    let indent = " ".repeat(label.len());
    let options = Options::new(WIDTH)
        .initial_indent(label)
        .subsequent_indent(&indent);
    text.push_str(fill(value, options).trim_end());
    text.push('\n');
}

const WIDTH: usize = 80;

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

/// A number of bytes, in the unit that leaves few digits.
fn bytes(count: f64) -> String {
    const UNITS: [(&str, f64); 3] = [("GB", 1e9), ("MB", 1e6), ("kB", 1e3)];
    match UNITS.iter().find(|(_, size)| count >= *size) {
        Some((unit, size)) => format!("{:.1} {unit}", count / size),
        None => format!("{count:.0} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_bytes_are_short() {
        for (count, text) in [
            (0.0, "0 bytes"),
            (999.0, "999 bytes"),
            (1500.0, "1.5 kB"),
            (2_000_000.0, "2.0 MB"),
            (3.25e9, "3.2 GB"),
        ] {
            assert_eq!(bytes(count), text);
        }
    }

    #[test]
    fn long_values_stay_beside_their_label() {
        let mut text = String::new();
        paragraph(&mut text, "  label ", &"word ".repeat(30));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(lines[1].starts_with("        word") && lines.iter().all(|l| l.len() <= WIDTH));
    }
}
