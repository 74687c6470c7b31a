//! The status as text, for a terminal of 80 columns.

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use indicatif::{FormattedDuration, HumanCount, HumanDuration};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use super::bar;
use super::report::{Report, State, Transfer, Unsent};
use crate::columns::{WIDTH, bytes, paragraph};
use crate::pool::Direction;
use crate::vfs;

/// The text of `reports`, with bars where that is wanted.
pub fn of(reports: &[Report], bars: bool) -> String {
    if reports.is_empty() {
        return "Nothing of yours is mounted by ftpfs.\n".to_owned();
    }
    let texts: Vec<String> = reports.iter().map(|report| one(report, bars)).collect();
    texts.join("\n")
}

/// What to tell of a change that cannot be sent.
pub fn sentence(unsent: &Unsent) -> String {
    let Unsent { path, what, .. } = unsent;
    let reason = match (&unsent.reason, unsent.state) {
        (Some(reason), _) => reason.as_str(),
        (None, State::Runs) => "it is being sent",
        (None, _) => "it waits for a change before it",
    };
    match what.as_str() {
        "file" => format!("{path} is not on the server: {reason}"),
        what => format!("{path} ({what}) is not on the server: {reason}"),
    }
}

/// What becomes of `unsent`, which is in the journal at `folder`, if its mount ends now: a line for each.
pub fn kept(unsent: &[vfs::Unsent], folder: &Path) -> String {
    let mut text = format!("kept in {}:", folder.display());
    for one in unsent.iter().take(MOST_SHOWN) {
        let what = match one.what {
            "file" => bytes(one.bytes as f64),
            what => what.to_owned(),
        };
        let then = match one.resumable {
            true => "the next mount sends it",
            false => {
                "a program was changing it; it stays as it was, and the next mount puts what was written into `unsent`"
            }
        };
        let _ = write!(text, "\n  {} ({what}): {then}", one.path);
    }
    if let more @ 1.. = unsent.len().saturating_sub(MOST_SHOWN) {
        let _ = write!(text, "\n  and {} more", HumanCount(more as u64));
    }
    text
}

fn one(report: &Report, bars: bool) -> String {
    let mut text = format!("{} on {}\n", report.source, report.mountpoint);
    let mut line = |label: &str, value: String| {
        paragraph(&mut text, &format!("  {label:<13} "), &value);
    };
    line("mounted", mounted(report));
    line("sessions", sessions(report));
    line("traffic", traffic(report));
    line("cache", cache(report));
    line("not sent yet", totals(report));
    for unsent in report.changes.iter().take(MOST_SHOWN) {
        paragraph(&mut text, "    ", &change(unsent));
    }
    if let more @ 1.. = report.unsent.changes.saturating_sub(MOST_SHOWN) {
        let _ = writeln!(text, "    and {} more", HumanCount(more as u64));
    }
    if !report.transfers.is_empty() {
        text.push_str("  transfers\n");
    }
    for moving in &report.transfers {
        transfer(&mut text, moving, bars);
    }
    if !report.errors.is_empty() {
        text.push_str("  last errors\n");
    }
    let older = report.errors.len().saturating_sub(MOST_FAILURES);
    for failure in &report.errors[older..] {
        let label = format!("    {} ", moment(failure.time));
        paragraph(&mut text, &label, &failure.text);
    }
    text
}

/// Changes that are shown one by one; JSON has more.
const MOST_SHOWN: usize = 10;

/// Failures that are shown, likewise.
const MOST_FAILURES: usize = 5;

fn mounted(report: &Report) -> String {
    let now = Timestamp::now().as_second();
    let age = u64::try_from(now).unwrap_or_default();
    let age = Duration::from_secs(age.saturating_sub(report.since));
    let process = report.process;
    format!("for {}, by process {process}", HumanDuration(age))
}

fn sessions(report: &Report) -> String {
    let sessions = &report.sessions;
    let mut text = format!("{} of {} open", sessions.open, sessions.most);
    for (count, what) in [
        (sessions.transfers, "for files"),
        (sessions.brief, "for listings and small files"),
        (sessions.commands, "for other commands"),
    ] {
        if count > 0 {
            let _ = write!(text, ", {count} in use {what}");
        }
    }
    text
}

fn traffic(report: &Report) -> String {
    let traffic = &report.traffic;
    format!(
        "{} received, {} sent; {} commands in {} round trips",
        bytes(traffic.received_bytes as f64),
        bytes(traffic.sent_bytes as f64),
        HumanCount(traffic.commands),
        HumanCount(traffic.round_trips)
    )
}

fn cache(report: &Report) -> String {
    let cache = &report.cache;
    let used = bytes(cache.used_bytes as f64);
    let capacity = bytes(cache.capacity_bytes as f64);
    let served = match cache.asked_bytes {
        0 => "nothing was read yet".to_owned(),
        asked => {
            let percent = cache.found_bytes as f64 / asked as f64 * 100.0;
            format!("{percent:.0} % of what was read was there at once")
        }
    };
    format!("{used} of {capacity}; {served}")
}

fn totals(report: &Report) -> String {
    match report.unsent.changes {
        0 => "nothing".to_owned(),
        _ => report.unsent.to_string(),
    }
}

fn change(unsent: &Unsent) -> String {
    let what = match unsent.what.as_str() {
        "file" => bytes(unsent.bytes as f64),
        what => what.to_owned(),
    };
    let state = match unsent.state {
        State::Open => "a program has it open",
        State::Waits => "waits for its turn",
        State::Runs => "is being sent",
        State::Rests => "is tried again",
        State::Failed => "cannot be sent",
    };
    let reason = unsent.reason.as_ref();
    let reason = reason.map_or_else(String::new, |reason| format!(": {reason}"));
    format!("{} ({what}) {state}{reason}", unsent.path)
}

/// The path, and below it how far it is.
fn transfer(text: &mut String, moving: &Transfer, bars: bool) {
    let arrow = match moving.direction {
        Direction::Up => "up  ",
        Direction::Down => "down",
    };
    let _ = writeln!(text, "    {arrow} {}", shortened(&moving.path, WIDTH - 9));
    let passed = bytes(moving.passed_bytes as f64);
    let rate = bytes(moving.bytes_per_second);
    let far = match moving.expected_bytes {
        None => format!("{passed} so far, {rate}/s"),
        Some(expected) => {
            let percent = moving.passed_bytes as f64 / expected as f64 * 100.0;
            let left = (expected - moving.passed_bytes) as f64 / moving.bytes_per_second;
            let left = match Duration::try_from_secs_f64(left) {
                Ok(left) if left < LONGEST_LEFT => format!(", {} left", FormattedDuration(left)),
                _ => String::new(),
            };
            let bar = match bars {
                true => format!("[{:<18}] ", bar::drawn(moving.passed_bytes, expected)),
                false => String::new(),
            };
            let expected = bytes(expected as f64);
            format!("{bar}{percent:.0} % of {expected}, {rate}/s{left}")
        }
    };
    let _ = writeln!(text, "         {far}");
}

/// What takes longer stands still.
const LONGEST_LEFT: Duration = Duration::from_secs(10 * 24 * 3600);

/// The end of `path`, which says more than its beginning, where all of it is longer than `most`.
fn shortened(path: &str, most: usize) -> String {
    let length = path.chars().count();
    match length > most {
        true => {
            let end = path.chars().skip(length - most + 1);
            format!("…{}", end.collect::<String>())
        }
        false => path.to_owned(),
    }
}

/// A time as this machine's clocks show it.
fn moment(seconds: u64) -> String {
    let time = i64::try_from(seconds).map(Timestamp::from_second);
    let Ok(Ok(time)) = time else {
        return String::new();
    };
    let time = Zoned::new(time, TimeZone::system());
    time.strftime("%m-%d %H:%M:%S").to_string()
}
