//! The tables of MVS and z/OS: data sets, and the members of one that is partitioned.
//!
//! Shapes as in IBM's `DIR` subcommand (z/OS Communications Server: IP User's Guide), in the tests of FileZilla and
//! Apache Commons Net, and in NFTP's notes. A line alone does not tell what it is; the header before it does:
//! ```text
//! Volume Unit    Referred Ext Used Recfm Lrecl BlkSz Dsorg Dsname
//! SYSPP1 3390   2000/01/20  1    3  FB      80  3120  PO  ISPF.PROFILE
//! Migrated                                                LOG.MISC
//!
//!  Name     VV.MM   Created       Changed      Size  Init   Mod   Id
//! AAAAAA    01.01 1997/11/11 1998/04/01 13:14     5     3     0 KTN
//! BLSGPROF
//!
//!  Name      Size     TTR   Alias-of AC --------- Attributes --------- Amode Rmode
//! DMOCI001  000710   03370C          00 FO                              31    ANY
//! ```
//! Space is counted in tracks, and members in lines, so no size is shown; nor is the day on which a data set was last
//! referred to, which is not that of a change.

use super::date::{Dates, word};
use super::{Entry, Kind, Modified};

/// A table that a header began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Table {
    DataSets,
    Members,
    LoadModules,
}

impl Table {
    /// The table that a line is the header of.
    pub(super) fn of_header(line: &[u8]) -> Option<Self> {
        let (first, at) = word(line, 0)?;
        let (second, _) = word(line, at)?;
        match (first, second) {
            (b"Volume", b"Unit") if line.trim_ascii_end().ends_with(b"Dsname") => {
                Some(Self::DataSets)
            }
            (b"Name", b"VV.MM") => Some(Self::Members),
            (b"Name", b"Size") if line.windows(6).any(|text| text == b" TTR  ") => {
                Some(Self::LoadModules)
            }
            _ => None,
        }
    }

    /// Parses one line of it; the name is not yet checked.
    pub(super) fn parse_line(self, line: &[u8], dates: &Dates) -> Option<Entry> {
        let (name, kind, modified) = match self {
            Self::DataSets => data_set(line)?,
            Self::Members => member(line, dates)?,
            Self::LoadModules => load_module(line)?,
        };
        Some(Entry {
            name: name.to_vec(),
            kind,
            size: None,
            modified,
            mode: None,
            target: None,
            line: None,
        })
    }
}

type Row<'a> = (&'a [u8], Kind, Option<Modified>);

fn data_set(line: &[u8]) -> Option<Row<'_>> {
    let line = line.trim_ascii_end();
    let (before, name) = line.split_at(line.iter().rposition(|&byte| byte == b' ')? + 1);
    // In quotes it is the whole name, not that of an entry of this prefix.
    if name.starts_with(b"'") {
        return None;
    }
    let before = before.trim_ascii();
    let last = before.rsplit(|&byte| byte == b' ').next()?;
    let kind = match last {
        b"PS" | b"PS-E" | b"PS-L" | b"PSU" => Kind::File,
        b"PO" | b"PO-E" | b"POU" => Kind::Dir,
        b"Directory" if before == b"Pseudo Directory" => Kind::Dir,
        // What cannot be transferred, or whose kind is not known before it is fetched from its tape.
        b"VSAM" | b"GDG" | b"DA" | b"IS" | b"Tape" | b"Migrated" => Kind::Other,
        b"Mounted" if before.ends_with(b" Not Mounted") => Kind::Other,
        b"Device" if before.ends_with(b" Not Direct Access Device") => Kind::Other,
        b"attributes" if before == b"Error determining attributes" => Kind::Other,
        _ => return None,
    };
    Some((name, kind, None))
}

fn member<'a>(line: &'a [u8], dates: &Dates) -> Option<Row<'a>> {
    let (name, at) = member_name(line)?;
    let Some((version, at)) = word(line, at) else {
        // Without statistics.
        return Some((name, Kind::File, None));
    };
    let [b'0'..=b'9', b'0'..=b'9', b'.', b'0'..=b'9', b'0'..=b'9'] = version else {
        return None;
    };
    let (_created, at) = word(line, at)?;
    let (changed, end) = word(line, at)?;
    let found = dates.read(&line[end - changed.len()..])?;
    Some((name, Kind::File, found.modified))
}

fn load_module(line: &[u8]) -> Option<Row<'_>> {
    let (name, at) = member_name(line)?;
    let (size, at) = word(line, at)?;
    let (ttr, _) = word(line, at)?;
    let is_hexadecimal = |text: &[u8]| text.len() >= 6 && text.iter().all(u8::is_ascii_hexdigit);
    (is_hexadecimal(size) && is_hexadecimal(ttr)).then_some((name, Kind::File, None))
}

/// The name of a member at the begin of a line: up to eight letters, digits and `$#@{`.
fn member_name(line: &[u8]) -> Option<(&[u8], usize)> {
    let (name, end) = word(line, 0)?;
    let is_national = |byte: &u8| byte.is_ascii_alphanumeric() || b"$#@{".contains(byte);
    (name.len() <= 8 && name.iter().all(is_national)).then_some((name, end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ftp::time::Zone;

    #[test]
    fn what_is_no_row_of_a_table_is_not_read() {
        for (table, line) in [
            (
                Table::DataSets,
                &b"SYSPP1 3390   2000/01/20  1    3  FB      80  3120  PO  'SYS1.LIB'"[..],
            ),
            (
                Table::DataSets,
                b"SYSPP1 3390   2000/01/20  1    3  FB      80  3120",
            ),
            (Table::DataSets, b"No data sets found."),
            (Table::DataSets, b"X"),
            (Table::Members, b"NINECHARS"),
            (Table::Members, b"No members"),
            (Table::Members, b"AAAAAA    01.01 1997/11/11"),
            (Table::LoadModules, b"No modules here"),
            (Table::LoadModules, b"DMOCI001"),
        ] {
            let dates = Dates::new(&Zone::UTC, 1_795_237_200);
            assert_eq!(
                table.parse_line(line, &dates),
                None,
                "{}",
                line.escape_ascii()
            );
        }
    }

    #[test]
    fn other_lines_are_no_headers() {
        for line in [&b"Volume in drive C"[..], b"Name Size", b"Name", b""] {
            assert_eq!(Table::of_header(line), None);
        }
    }
}
