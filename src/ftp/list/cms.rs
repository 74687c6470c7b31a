//! The listing of z/VM and of VM/CMS: `NAME     TYPE     V   65   107   2 2005-10-04 15:28:42 LABEL`.
//!
//! Shapes as in the tests of FileZilla and in NFTP's notes: file name and type, format of the records, their length and
//! number, blocks, date and time, and the label of the disk; `NAME  DIR  -  -  - date time -` is a folder. The length
//! in bytes depends on the kind of transfer, so none is shown.

use super::date::Dates;
use super::number::clock;
use super::{Entry, Kind, Modified, dos};
use crate::ftp::time::decimal;

/// Parses one line; the name is not yet checked.
pub(super) fn parse_line(line: &[u8], dates: &Dates) -> Option<Entry> {
    // One more than a line has.
    let mut words = [&b""[..]; 10];
    let mut count = 0;
    for word in line
        .split(|&byte| byte == b' ')
        .filter(|word| !word.is_empty())
    {
        *words.get_mut(count)? = word;
        count += 1;
    }
    let (name, kind, date, time) = match words[..count] {
        [
            name,
            kind,
            b"F" | b"V",
            length,
            records,
            blocks,
            date,
            time,
            _,
        ] => {
            for number in [length, records, blocks] {
                decimal(number)?;
            }
            ([name, kind].join(&b'.'), Kind::File, date, time)
        }
        [name, b"DIR", b"-", b"-", b"-", date, time, b"-"] => {
            (name.to_vec(), Kind::Dir, date, time)
        }
        _ => return None,
    };
    let (year, month, day) = dos::year_month_day(date)?;
    let clock = clock(time)?;
    Some(Entry {
        name,
        kind,
        size: None,
        modified: clock.on(year, month, day).map(|civil| Modified {
            seconds: dates.at(civil),
            precision: clock.precision,
        }),
        mode: None,
        target: None,
        line: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ftp::time::Zone;

    #[test]
    fn what_is_not_a_cms_line_is_not_read() {
        for line in [
            &b"NAME  TYPE   V  65  107  2 2005-10-04 15:28:42"[..],
            b"NAME  TYPE   X  65  107  2 2005-10-04 15:28:42 060191",
            b"NAME  TYPE   V  65  107  - 2005-10-04 15:28:42 060191",
            b"NAME  TYPE   V  65  107  2 2005-10-04 15:28:42 060191 and more words",
            b"NAME  DIR  -  -  - 10/04/05 25:28:42 -",
        ] {
            let entry = parse_line(line, &Dates::new(&Zone::UTC, 1_795_237_200));
            assert_eq!(entry, None, "{}", line.escape_ascii());
        }
    }
}
