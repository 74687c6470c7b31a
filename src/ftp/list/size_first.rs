//! Listings whose lines begin with the size: those of OS/2, of the older VShell and of VxWorks.
//!
//! Shapes as in the tests of Apache Commons Net and of FileZilla:
//! ```text
//! 149473      A          11-17-98   16:07  name
//!      0           DIR   05-12-97   16:44  name
//! 206876  Apr 04, 2000 21:06 name
//! 0  Dec 12, 2002 02:13 name/
//! 2048    Feb-28-1998  05:23:30   name              <DIR>
//! ```

use jiff::civil::DateTime;

use super::date::{Dates, word};
use super::number::clock;
use super::{Entry, Kind, Modified, dos};
use crate::ftp::time::decimal;

/// Parses one line; the name is not yet checked.
pub(super) fn parse_line(line: &[u8], dates: &Dates) -> Option<Entry> {
    let (size, at) = word(line, 0)?;
    let size = decimal(size)?;
    let (is_dir, modified, name) =
        os2(line, at, dates).or_else(|| vshell_or_vxworks(line, at, dates))?;
    Some(Entry {
        name: name.to_vec(),
        kind: if is_dir { Kind::Dir } else { Kind::File },
        size: Some(size).filter(|_| !is_dir),
        modified,
        mode: None,
        target: None,
        line: None,
    })
}

/// True of the two lines that VxWorks begins with.
pub(super) fn is_header(line: &[u8]) -> bool {
    let mut words = line
        .split(|&byte| byte == b' ')
        .filter(|word| !word.is_empty());
    let mut columns = [&b"size"[..], b"date", b"time", b"name"].into_iter();
    let is_rule = line.iter().all(|byte| b"- ".contains(byte));
    is_rule || (columns.all(|column| words.next() == Some(column)) && words.next().is_none())
}

/// Whether it is a folder, its time and its name.
type Rest<'a> = (bool, Option<Modified>, &'a [u8]);

/// Attributes, date and time of OS/2.
fn os2<'a>(line: &'a [u8], mut at: usize, dates: &Dates) -> Option<Rest<'a>> {
    let mut is_dir = false;
    let (date, at) = loop {
        let (this, end) = word(line, at)?;
        match this {
            b"DIR" => is_dir = true,
            // Read-only, system, hidden, to be archived.
            _ if this.iter().all(|byte| b"RSHA".contains(byte)) => {}
            _ => break (this, end),
        }
        at = end;
    };
    let (year, month, day) = dos::year_month_day(date)?;
    let (time, end) = word(line, at)?;
    let clock = clock(time)?;
    let modified = clock.on(year, month, day).map(|civil: DateTime| Modified {
        seconds: dates.at(civil),
        precision: clock.precision,
    });
    let name = &line[end..];
    let name = name.strip_prefix(b"  ").or(name.strip_prefix(b" "))?;
    Some((is_dir, modified, name))
}

fn vshell_or_vxworks<'a>(line: &'a [u8], at: usize, dates: &Dates) -> Option<Rest<'a>> {
    let (date, end) = word(line, at)?;
    let found = dates.read(&line[end - date.len()..])?;
    let name = &line[end - date.len() + found.end..];
    if date.contains(&b'-') {
        let name = name.trim_ascii();
        let dir = name.strip_suffix(b"<DIR>").map(<[u8]>::trim_ascii_end);
        let name = dir.unwrap_or(name);
        // Part of a mark is no part of a name: `<` cannot be in one there.
        let is_name = !name.contains(&b'<');
        return is_name.then_some((dir.is_some(), found.modified, name));
    }
    let name = name.strip_prefix(b" ")?;
    let dir = name.strip_suffix(b"/");
    Some((dir.is_some(), found.modified, dir.unwrap_or(name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ftp::time::Zone;

    #[test]
    fn what_does_not_begin_with_a_size_is_not_read() {
        for line in [
            &b"       DIR   12-30-97   12:32  x"[..],
            b"  0    rsa    DIR   11-25-97   09:42  x",
            b"587823    RSA    DIR   Jan-08-97   13:58  x",
            b"0  DIR   12-30-97   25:32  x",
            b"5 x",
            b"5",
        ] {
            let entry = parse_line(line, &Dates::new(&Zone::UTC, 1_795_237_200));
            assert_eq!(entry, None, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn a_header_is_a_header() {
        assert!(is_header(b"  size          date       time       name"));
        assert!(is_header(b"--------       ------     ------    --------"));
        assert!(!is_header(b"  size          date       time       name x"));
    }
}
