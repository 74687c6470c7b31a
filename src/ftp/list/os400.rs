//! The listing of OS/400 (IBM i): `OWNER          422 04/03/24 14:06:26 *STMF      name`.
//!
//! Columns as in IBM's description of `LIST` with LISTFMT=0, kinds as in the tests of Apache Commons Net and in NFTP's
//! notes. Owner, size and time may be missing. The order of the date is that of the server's job and is said nowhere,
//! so it is found out of all lines together, and where more than one remains no time is shown. Only a stream file's
//! size is its length; those of others are what they take up.

use jiff::civil::DateTime;

use super::date::{Dates, word};
use super::number::{Clock, clock, of_century};
use super::{Entry, Kind, Modified, Parsed};
use crate::ftp::time::decimal;

/// The days of the entries so far, and the orders that fit them all.
pub(super) struct Days {
    days: Vec<(usize, Day)>,
    orders: Vec<Order>,
}

/// The three numbers of a date, and the time of day.
struct Day([i16; 3], Clock);

/// Where year, month and day stand among the three numbers.
type Order = [usize; 3];

/// Month, day, year; day, month, year; year, month, day.
const ORDERS: [Order; 3] = [[2, 0, 1], [2, 1, 0], [0, 1, 2]];

impl Default for Days {
    fn default() -> Self {
        Self {
            days: Vec::new(),
            orders: ORDERS.to_vec(),
        }
    }
}

impl Days {
    /// Takes a line in; false if it is not of OS/400.
    pub(super) fn read(&mut self, line: &[u8], dates: &Dates, parsed: &mut Parsed) -> bool {
        let Some((entry, day)) = parse_line(line) else {
            return false;
        };
        let at = parsed.entries.len();
        parsed.add(entry, line);
        if let Some(day) = day
            && at < parsed.entries.len()
        {
            self.orders
                .retain(|order| day.modified(*order, dates).is_some());
            self.days.push((at, day));
        }
        true
    }

    /// Gives the entries their times, all lines being known.
    pub(super) fn finish(self, dates: &Dates, parsed: &mut Parsed) {
        for (at, day) in self.days {
            let mut times = self.orders.iter().map(|order| day.modified(*order, dates));
            let first = times.next().flatten();
            parsed.entries[at].modified = first.filter(|_| times.all(|time| time == first));
        }
    }
}

impl Day {
    /// When it is, in an order of the numbers; `None` if there is no such day, or not yet.
    fn modified(&self, order: Order, dates: &Dates) -> Option<Modified> {
        let [year, month, day] = order.map(|at| self.0[at]);
        let year = of_century(year);
        let civil: DateTime = self.1.on(year, month as i8, day as i8)?;
        let modified = Modified {
            seconds: dates.at(civil),
            precision: self.1.precision,
        };
        (!dates.is_future(modified.seconds)).then_some(modified)
    }
}

/// Parses one line; the name is not yet checked.
fn parse_line(line: &[u8]) -> Option<(Entry, Option<Day>)> {
    // The fields before the kind, of which there are up to four.
    let mut fields = [&b""[..]; 4];
    let mut count = 0;
    let mut at = 0;
    let (kind, start, end) = loop {
        let (field, end) = word(line, at)?;
        if field[0] == b'*' {
            break (&field[1..], end - field.len(), end);
        }
        *fields.get_mut(count)? = field;
        count += 1;
        at = end;
    };
    let (size, day) = match fields[..count] {
        [ref owner @ .., size, date, time] if owner.len() <= 1 && decimal(size).is_some() => {
            (decimal(size), Some(day(date, time)?))
        }
        [] | [_] => (None, None),
        _ => return None,
    };
    let name = name(line, start, end)?;
    let (kind, size) = match kind {
        b"STMF" => (Kind::File, size),
        b"DIR" | b"DDIR" | b"FLR" | b"LIB" => (Kind::Dir, None),
        b"MEM" | b"DOC" => (Kind::File, None),
        // One of path names holds members; a save file does not, and under the other naming a name is that of the
        // first member.
        b"FILE" if name.ends_with(b".FILE") => (Kind::Dir, None),
        b"FILE" => (Kind::File, None),
        _ if !kind.is_empty() && kind.iter().all(u8::is_ascii_uppercase) => (Kind::Other, None),
        _ => return None,
    };
    let name = name
        .strip_suffix(b"/")
        .filter(|_| kind == Kind::Dir)
        .unwrap_or(name);
    let entry = Entry {
        name: name.to_vec(),
        kind,
        size,
        modified: None,
        mode: None,
        target: None,
        line: None,
    };
    Some((entry, day))
}

/// The name after the kind, whose column is ten wide; a name may begin with spaces.
fn name(line: &[u8], kind: usize, end: usize) -> Option<&[u8]> {
    const COLUMN: usize = 11;
    let spaces = line[end..].iter().take_while(|&&byte| byte == b' ').count();
    let padding = spaces.min(COLUMN.saturating_sub(end - kind).max(1));
    (padding > 0).then(|| &line[end + padding..])
}

/// Reads `04/03/24`, with any of the separators that a job may have, and `14:06:26`.
fn day(date: &[u8], time: &[u8]) -> Option<Day> {
    let [a, a2, mark, b, b2, mark2, c, c2] = *date else {
        return None;
    };
    if mark != mark2 || !b"/-.,".contains(&mark) {
        return None;
    }
    let number = |digits: [u8; 2]| decimal(&digits).map(|number| number as i16);
    let numbers = [number([a, a2])?, number([b, b2])?, number([c, c2])?];
    Some(Day(numbers, clock(time)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_of_os400_is_not_read() {
        for line in [
            &b"PEP              4019 04/03/18 18:58:16 STMF       x"[..],
            b"PEP               422 03/24 14:06:26 *STMF      x",
            b"PEP              6409 04/03/24 30:06:29 *STMF      x",
            b"PEP USR         36864 04/03/24 14:06:34 *DIR       x/",
            b"PEP          36864 04/03-24 14:06:47 *DIR       x/",
            b"QPGMR          135168                   *MEM       x",
            b"QPGMR          135168 04/03/18 13:18:19 *FILE",
            b"QPGMR          135168 04/03/18 13:18:19 *",
            b"QPGMR          135168 04/03/18 13:18:19 *stmf x",
            b"QPGMR          135168",
        ] {
            assert!(parse_line(line).is_none(), "{}", line.escape_ascii());
        }
    }
}
