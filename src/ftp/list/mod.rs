//! Listings: the bytes of `MLSD` and `LIST` as entries.
//!
//! Owns every dialect that servers speak, one file each, and what makes a name safe to show. Pure: it knows neither the
//! session that fetched the bytes nor the time of day.

mod cms;
mod date;
mod dos;
mod eplf;
#[cfg(any(fuzzing, test))]
pub mod fuzzed;
mod mlsd;
mod month;
mod mvs;
mod netware;
mod number;
mod os400;
#[cfg(test)]
mod samples;
mod size_first;
mod unix;
mod vms;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ftp::time::Zone;
use date::Dates;

/// Parses the body of a `LIST` reply.
///
/// `zone` is the server's, `now` (Unix seconds) tells the year of lines without one. Each line is in its own dialect,
/// since servers mix them with messages; only the rare ones look at the lines around.
pub fn parse_list(body: &[u8], zone: &Zone, now: i64) -> Parsed {
    Parsed::with(Lines::Dropped).list(body, zone, now)
}

/// Parses the body of an `MLSD` reply (RFC 3659 s7).
pub fn parse_mlsd(body: &[u8]) -> Parsed {
    Parsed::with(Lines::Dropped).mlsd(body)
}

/// True of the lines around the entries that say nothing of any.
fn is_noise(line: &[u8]) -> bool {
    unix::is_total(line) || vms::is_noise(line) || size_first::is_header(line)
}

/// The dialects of which an entry is not always one line, or a line does not tell all: what is known from the lines so
/// far.
#[derive(Default)]
struct Rare {
    versions: vms::Versions,
    days: os400::Days,
    table: Option<mvs::Table>,
}

impl Rare {
    /// Takes in a line that is in none of the common dialects, and what belongs to it out of `rest`.
    fn read<'a, I: Iterator<Item = &'a [u8]> + Clone>(
        &mut self,
        line: &'a [u8],
        rest: &mut I,
        dates: &Dates,
        parsed: &mut Parsed,
    ) {
        if let Some(table) = mvs::Table::of_header(line) {
            self.table = Some(table);
            return;
        }
        if self.versions.read(line, rest, dates, parsed) || self.days.read(line, dates, parsed) {
            return;
        }
        let row = || self.table?.parse_line(line, dates);
        let entry = netware::parse_line(line, dates)
            .or_else(|| size_first::parse_line(line, dates))
            .or_else(|| cms::parse_line(line, dates))
            .or_else(row);
        match entry {
            Some(entry) => parsed.add(entry, line),
            None => parsed.skip(line),
        }
    }
}

/// The facts that `line` of an `MLSD` says, each with its value; none where it is of another listing.
pub fn facts(line: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let facts = mlsd::parse_line(line).and_then(|_| mlsd::split(line));
    let facts = facts.map(|(facts, _)| facts).into_iter();
    facts.flat_map(|facts| {
        facts
            .split(|&byte| byte == b';')
            .filter_map(mlsd::fact_and_value)
    })
}

/// Parses the line of an `MLST` reply that holds the facts, with or without its leading space (RFC 3659 s7.2).
///
/// The entry's name is the pathname as the server sent it: absolute, as asked for, its last part or nothing. The
/// caller knows better. `None` for the other lines of the reply.
pub fn parse_mlst(line: &[u8]) -> Option<Entry> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    mlsd::parse_line(line.strip_prefix(b" ").unwrap_or(line)).map(|line| line.entry)
}

/// What a whole listing says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parsed {
    /// The entries, in the server's order; a name may come twice.
    pub entries: Vec<Entry>,
    /// Whether the folder itself or its parent was listed: `.`, `..`, `cdir` or `pdir`.
    pub has_dot: bool,
    /// How many lines are neither entries nor known noise, or have a name that no entry can have.
    pub unreadable: usize,
    /// The first of those lines, for a message.
    pub first_unreadable: Option<Vec<u8>>,
    /// Whether the entries keep their lines.
    lines: Lines,
}

impl Parsed {
    /// Nothing yet, of a listing whose lines are kept or not.
    pub fn with(lines: Lines) -> Self {
        Self {
            lines,
            ..Self::default()
        }
    }

    /// [`parse_list`], taken in.
    pub fn list(mut self, body: &[u8], zone: &Zone, now: i64) -> Self {
        let dates = Dates::new(zone, now);
        let mut rare = Rare::default();
        let mut lines = lines(body);
        while let Some(line) = lines.next() {
            let entry = match line.first() {
                Some(b'+') => eplf::parse_line(line),
                Some(b'0'..=b'9') => {
                    dos::parse_line(line, &dates).or_else(|| unix::parse_line(line, &dates))
                }
                _ => unix::parse_line(line, &dates),
            };
            match entry {
                Some(entry) => self.add(entry, line),
                None if is_noise(line) => {}
                None => rare.read(line, &mut lines, &dates, &mut self),
            }
        }
        rare.days.finish(&dates, &mut self);
        self
    }

    /// [`parse_mlsd`], taken in.
    pub fn mlsd(mut self, body: &[u8]) -> Self {
        for line in lines(body) {
            match mlsd::parse_line(line) {
                Some(mlsd::Line {
                    place: mlsd::Place::Itself,
                    ..
                }) => self.has_dot = true,
                Some(mlsd::Line { entry, .. }) => self.add(entry, line),
                None => self.skip(line),
            }
        }
        self
    }

    /// Takes an entry in, unless its name is not one of a folder's entries.
    fn add(&mut self, mut entry: Entry, line: &[u8]) {
        if self.lines == Lines::Kept {
            entry.line = Some(line.into());
        }
        match entry.name.as_slice() {
            b"." | b".." => self.has_dot = true,
            // Full paths (`LIST` of a file on some servers), and attempts to reach out of the folder.
            name if name.is_empty() || name.iter().any(|byte| b"/\0".contains(byte)) => {
                self.skip(line)
            }
            _ => self.entries.push(entry),
        }
    }

    fn skip(&mut self, line: &[u8]) {
        self.unreadable += 1;
        self.first_unreadable.get_or_insert_with(|| line.to_vec());
    }
}

/// What a listing says of one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name, bytes as the server sent them; never empty, `.`, `..`, and without `/` and NUL.
    pub name: Vec<u8>,
    /// What kind of thing it is.
    pub kind: Kind,
    /// Size in bytes; `None` where the listing does not say, or says only a link's own.
    pub size: Option<u64>,
    /// When it was last modified.
    pub modified: Option<Modified>,
    /// Permission bits (`0o7777`).
    pub mode: Option<u32>,
    /// Where a symbolic link points, where the listing says so.
    pub target: Option<Vec<u8>>,
    /// The line that says all this, as the server sent it; only of a listing whose lines are kept.
    pub line: Option<Arc<[u8]>>,
}

/// Whether entries keep the lines that they were read from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lines {
    /// Nobody will ask for them.
    #[default]
    Dropped,
    /// They are shown to those who ask; measured, 11 MB for 100,000 files.
    Kept,
}

/// What kind of thing an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// A regular file.
    File,
    /// A folder.
    Dir,
    /// A symbolic link, not followed.
    Symlink,
    /// A fifo, socket or device, or something unknown.
    Other,
}

/// A time of modification, and how exactly it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Modified {
    /// Seconds since 1970-01-01 00:00:00 UTC.
    pub seconds: i64,
    /// How exactly `seconds` is known.
    pub precision: Precision,
}

/// How exactly a time is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Precision {
    /// To the day: `Nov 14  2023`.
    Day,
    /// To the minute: `Nov 21 04:13`.
    Minute,
    /// To the second.
    Second,
}

/// The lines of a body that hold anything: most servers end them with CRLF, some with LF (rclone, BSD's ftpd).
fn lines(body: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    body.split(|&byte| byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .filter(|line| !line.trim_ascii().is_empty())
}

/// Reads permission bits, `0644`; those of the kind (`0100644`) are cut off.
fn octal(text: &[u8]) -> Option<u32> {
    if text.is_empty() {
        return None;
    }
    let mode = text.iter().try_fold(0u32, |mode, byte| match byte {
        b'0'..=b'7' => mode.checked_mul(8)?.checked_add(u32::from(byte - b'0')),
        _ => None,
    })?;
    Some(mode & 0o7777)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-21 05:00:00 UTC.
    const NOW: i64 = 1_795_237_200;

    fn names(parsed: &Parsed) -> Vec<&[u8]> {
        parsed
            .entries
            .iter()
            .map(|entry| entry.name.as_slice())
            .collect()
    }

    #[test]
    fn dialects_may_be_mixed() {
        let body = b"total 3\r\n\
            -rw-r--r-- 1 a b 5 Nov 21 04:13 unix\r\n\
            11-21-26  04:13AM       <DIR>          dos\r\n\
            +r,s5,\teplf\r\n\
            4 -rw-r--r-- 1 a b 5 Nov 21 04:13 blocks\r\n";
        let parsed = parse_list(body, &Zone::UTC, NOW);
        assert_eq!(names(&parsed), [&b"unix"[..], b"dos", b"eplf", b"blocks"]);
        assert_eq!((parsed.has_dot, parsed.unreadable), (false, 0));
    }

    #[test]
    fn times_are_in_the_zone_of_the_server() {
        let body = b"-rw-r--r-- 1 a b 5 Nov 21 06:00 unix\n11-21-26  06:00AM 5 dos\n+r,m1795237200,\teplf\n";
        let parsed = parse_list(body, &Zone::Offset(3600), NOW);
        let seconds: Vec<_> = parsed
            .entries
            .iter()
            .filter_map(|entry| Some(entry.modified?.seconds))
            .collect();
        assert_eq!(seconds, [NOW, NOW, NOW]);
    }

    #[test]
    fn messages_are_counted_and_the_first_is_kept() {
        let body = b"\n \r\nls: cannot access 'x': No such file or directory\r\n\
            sh: 1: ls: not found\r\n-rw-r--r-- 1 a b 5 Nov 21 04:13 x";
        let parsed = parse_list(body, &Zone::UTC, NOW);
        assert_eq!(names(&parsed), [b"x"]);
        assert_eq!(parsed.unreadable, 2);
        assert_eq!(
            parsed.first_unreadable.as_deref(),
            Some(&b"ls: cannot access 'x': No such file or directory"[..])
        );
    }

    #[test]
    fn names_that_lead_out_of_the_folder_are_left_out() {
        for name in ["", "/", "/etc/passwd", "../x", "a/b", "nul\0byte"] {
            let list = format!(
                "-rw-r--r-- 1 a b 5 Nov 21 04:13 {name}\r\n+r,\t{name}\r\n11-21-26  04:13AM 5 {name}\r\n"
            );
            let parsed = parse_list(list.as_bytes(), &Zone::UTC, NOW);
            assert_eq!(
                (parsed.entries.len(), parsed.unreadable),
                (0, 3),
                "{name:?}"
            );
            let parsed = parse_mlsd(format!("type=file; {name}\r\n").as_bytes());
            assert_eq!(
                (parsed.entries.len(), parsed.unreadable),
                (0, 1),
                "{name:?}"
            );
        }
    }

    #[test]
    fn the_target_of_a_link_may_be_a_path() {
        let parsed = parse_list(
            b"lrwxrwxrwx 1 a b 4 Nov 21 04:13 l -> ../x\n",
            &Zone::UTC,
            NOW,
        );
        assert_eq!(parsed.entries[0].target.as_deref(), Some(&b"../x"[..]));
    }

    #[test]
    fn the_folder_itself_and_its_parent_are_no_entries() {
        for name in [".", ".."] {
            let parsed = parse_list(
                format!("drwxr-xr-x 2 a b 5 Nov 21 04:13 {name}").as_bytes(),
                &Zone::UTC,
                NOW,
            );
            assert_eq!(
                (parsed.entries.len(), parsed.has_dot, parsed.unreadable),
                (0, true, 0)
            );
        }
        for line in [
            "type=cdir; /pub",
            "type=pdir; /",
            "type=dir; .",
            "type=dir; ..",
        ] {
            let parsed = parse_mlsd(line.as_bytes());
            assert_eq!(
                (parsed.entries.len(), parsed.has_dot, parsed.unreadable),
                (0, true, 0)
            );
        }
    }

    #[test]
    fn a_name_too_long_for_linux_is_still_an_entry() {
        let name = "n".repeat(300);
        assert_eq!(
            parse_mlsd(format!("type=file; {name}").as_bytes())
                .entries
                .len(),
            1
        );
    }

    #[test]
    fn the_rest_of_a_name_with_a_line_feed_is_unreadable() {
        let parsed = parse_mlsd(b"type=file;size=18; nl\nname\r\ntype=file;size=1; x\r\n");
        assert_eq!(names(&parsed), [&b"nl"[..], b"x"]);
        assert_eq!(
            (parsed.unreadable, parsed.first_unreadable.as_deref()),
            (1, Some(&b"name"[..]))
        );
    }

    #[test]
    fn an_mlst_line_is_read_with_or_without_its_space() {
        for line in [
            &b" type=file;size=5; /a b\r\n"[..],
            b"type=file;size=5; /a b",
        ] {
            let entry = parse_mlst(line).expect("has facts");
            assert_eq!((entry.name.as_slice(), entry.size), (&b"/a b"[..], Some(5)));
        }
        assert_eq!(
            parse_mlst(b" type=pdir; /").map(|entry| entry.kind),
            Some(Kind::Dir)
        );
        assert_eq!(parse_mlst(b"250-Listing /a=b"), None);
        assert_eq!(parse_mlst(b"250 End"), None);
    }
}
