//! The listing of VMS: `NAME.EXT;1   9/9   2-JUN-1998 07:32:04  [GROUP,OWNER]  (RWED,RWED,RWED,RE)`.
//!
//! Shapes as in the tests of FileZilla and Apache Commons Net, and in the notes of older clients, which have UCX,
//! MultiNet, TCPware and CMU among the servers: the fields after the name come in several orders, any may be missing,
//! and after a long name they are on a line of their own. Sizes are in blocks of 512 bytes, used and allocated, so none
//! is shown. A name is shown without its version, and of several versions there is the newest, as the server takes a
//! name without one; `NAME.DIR;1` is the folder `NAME`.

use std::collections::HashMap;

use super::date::{Dates, word};
use super::{Entry, Kind, Modified, Parsed};
use crate::ftp::time::decimal;

/// The newest version of each name so far, and the index of its entry.
#[derive(Default)]
pub(super) struct Versions(HashMap<Vec<u8>, (u64, usize)>);

impl Versions {
    /// Takes a line in, or two of `line` and `rest` where the first has no more than a name; false if it is not of VMS.
    pub(super) fn read<'a, I: Iterator<Item = &'a [u8]> + Clone>(
        &mut self,
        line: &'a [u8],
        rest: &mut I,
        dates: &Dates,
        parsed: &mut Parsed,
    ) -> bool {
        let Some((name, version, fields)) = split(line) else {
            return false;
        };
        let facts = if fields.is_empty() {
            let mut after = rest.clone();
            let continued = after.next().filter(|line| split(line).is_none());
            let facts = continued.and_then(|line| facts(line.trim_ascii_start(), dates));
            if facts.is_some() {
                *rest = after;
            }
            facts
        } else {
            facts(fields, dates)
        };
        let Some(modified) = facts else {
            return false;
        };
        let entry = entry(name, version, modified);
        match self.0.get_mut(&entry.name) {
            Some((newest, at)) => {
                if *newest < version {
                    *newest = version;
                    parsed.entries[*at] = entry;
                }
            }
            None => {
                let place = (version, parsed.entries.len());
                let name = entry.name.clone();
                parsed.add(entry, line);
                if place.1 < parsed.entries.len() {
                    self.0.insert(name, place);
                }
            }
        }
        true
    }
}

/// True of the lines around the entries.
pub(super) fn is_noise(line: &[u8]) -> bool {
    let is_count = |text: &[u8]| text.first().is_some_and(u8::is_ascii_digit);
    let is_directory = |text: &[u8]| text.windows(2).any(|pair| pair == b":[");
    line.strip_prefix(b"Directory ").is_some_and(is_directory)
        || line.strip_prefix(b"Total of ").is_some_and(is_count)
        || line.strip_prefix(b"Grand total of ").is_some_and(is_count)
        || line.starts_with(b"%DIRECT-W-NOFILES")
}

fn entry(name: &[u8], version: u64, modified: Option<Modified>) -> Entry {
    let dir = name.split_last_chunk::<4>().filter(|(name, kind)| {
        // A folder has only the one version.
        version == 1 && !name.is_empty() && kind.eq_ignore_ascii_case(b".DIR")
    });
    let (name, kind) = match dir {
        Some((name, _)) => (name, Kind::Dir),
        None => (name, Kind::File),
    };
    Entry {
        name: name.to_vec(),
        kind,
        size: None,
        modified,
        mode: None,
        target: None,
        line: None,
    }
}

/// Name, version and fields of a line.
fn split(line: &[u8]) -> Option<(&[u8], u64, &[u8])> {
    let (first, end) = word(line, 0)?;
    let semicolon = first.iter().rposition(|&byte| byte == b';')?;
    let (name, version) = (&first[..semicolon], decimal(&first[semicolon + 1..])?);
    // Some put the whole specification, `DISK:[FOLDER]NAME`.
    let name = match name.windows(2).position(|pair| pair == b":[") {
        Some(_) => name.rsplit(|&byte| byte == b']').next()?,
        None => name,
    };
    let is_name = !name.is_empty() && !line.starts_with(b" ");
    is_name.then_some((name, version, line[end..].trim_ascii()))
}

/// The time among the fields of a line; `Some(None)` where the server says that it may not tell.
fn facts(fields: &[u8], dates: &Dates) -> Option<Option<Modified>> {
    if fields.starts_with(b"%RMS-E-PRV")
        || fields.starts_with(b"%SYSTEM-F-NOPRIV")
        || fields.starts_with(b"no privilege")
    {
        return Some(None);
    }
    let mut at = 0;
    while let Some((field, end)) = word(fields, at) {
        let start = end - field.len();
        if field.contains(&b'-')
            && field[0].is_ascii_digit()
            && let Some(found) = dates.read(&fields[start..])
        {
            return Some(found.modified);
        }
        // Before the date there are only blocks (`9/9`, `155`, `2KB`) and an owner in brackets.
        let is_blocks = field[0].is_ascii_digit() && !field.contains(&b':');
        if !is_blocks && field[0] != b'[' {
            return None;
        }
        at = end;
    }
    None
}
