//! The listing of IIS and of `dir`: `11-21-26  04:13AM       <DIR>          name`.

use jiff::civil::DateTime;

use super::date::Dates;
use super::number::of_century;
use super::{Entry, Kind, Modified, Precision};
use crate::ftp::time::decimal;

/// Parses one line; the name is not yet checked.
pub(super) fn parse_line(line: &[u8], dates: &Dates) -> Option<Entry> {
    let (date, rest) = word(line)?;
    let (year, month, day) = year_month_day(date)?;
    let (time, rest) = word(rest)?;
    let (time, rest) = match word(rest) {
        Some((half, rest)) if half_of_day(half).is_some() => ((time, half), rest),
        _ => (split_half(time), rest),
    };
    let (hour, minute) = hour_and_minute(time)?;
    let civil = DateTime::new(year, month, day, hour, minute, 0, 0).ok()?;

    let rest = rest.trim_ascii_start();
    let (kind, size, name) = if rest.starts_with(b"<") {
        let (kind, name) = tag(rest)?;
        (kind, None, name)
    } else {
        let (size, name) = rest.split_at(rest.iter().position(|&byte| byte == b' ')?);
        (Kind::File, Some(grouped(size)?), &name[1..])
    };
    let (name, target) = match kind {
        Kind::Symlink => name_and_target(name),
        _ => (name, None),
    };
    Some(Entry {
        name: name.to_vec(),
        kind,
        size,
        modified: Some(Modified {
            seconds: dates.at(civil),
            precision: Precision::Minute,
        }),
        mode: None,
        target: target.map(<[u8]>::to_vec),
        line: None,
    })
}

/// The kind that `<DIR>` and its like stand for, and the name after it.
fn tag(text: &[u8]) -> Option<(Kind, &[u8])> {
    let end = text.iter().position(|&byte| byte == b'>')? + 1;
    let kind = match &text[..end] {
        b"<DIR>" => Kind::Dir,
        b"<JUNCTION>" | b"<SYMLINKD>" | b"<SYMLINK>" => Kind::Symlink,
        _ => return None,
    };
    // Tag and padding are a column of 15, and a name may begin with spaces.
    const COLUMN: usize = 15;
    let padding = text[end..]
        .iter()
        .take_while(|&&byte| byte == b' ')
        .count()
        .min(COLUMN - end);
    (padding > 0).then(|| (kind, &text[end + padding..]))
}

/// Splits the `name [target]` of a junction.
fn name_and_target(text: &[u8]) -> (&[u8], Option<&[u8]>) {
    let split = text.strip_suffix(b"]").and_then(|text| {
        text.windows(2)
            .position(|pair| pair == b" [")
            .map(|at| (&text[..at], &text[at + 2..]))
    });
    match split {
        Some((name, target)) if !target.is_empty() => (name, Some(target)),
        Some((name, _)) => (name, None),
        None => (text, None),
    }
}

/// Reads `11-21-26`, `11/21/2026`, `2026-11-21`, `21.11.2026`, or `11-21-126` of OS/2.
pub(super) fn year_month_day(text: &[u8]) -> Option<(i16, i8, i8)> {
    let separator = *text.iter().find(|byte| !byte.is_ascii_digit())?;
    if !b"-/.".contains(&separator) {
        return None;
    }
    let mut parts = text.split(|&byte| byte == separator);
    let parts = [
        parts.next()?,
        parts.next()?,
        parts.next().filter(|_| parts.next().is_none())?,
    ];
    let number = |at: usize| match parts[at].len() {
        1..=4 => decimal(parts[at]).map(|number| number as i16),
        _ => None,
    };
    let [first, second, third] = [number(0)?, number(1)?, number(2)?];
    let (year, month, day) = match (separator, parts.map(<[u8]>::len)) {
        (_, [4, 1 | 2, 1 | 2]) => (first, second, third),
        (b'.', [1 | 2, 1 | 2, 2 | 4]) => (third, second, first),
        (_, [1 | 2, 1 | 2, 2..=4]) => (third, first, second),
        _ => return None,
    };
    Some((of_century(year), month as i8, day as i8))
}

/// Splits `04:13AM` before its half of the day.
fn split_half(time: &[u8]) -> (&[u8], &[u8]) {
    time.split_at(
        time.iter()
            .position(u8::is_ascii_alphabetic)
            .unwrap_or(time.len()),
    )
}

/// Hours to add for `AM` or `PM`; `None` if it is neither.
fn half_of_day(text: &[u8]) -> Option<i8> {
    match text.to_ascii_uppercase().as_slice() {
        b"AM" | b"A" => Some(0),
        b"PM" | b"P" => Some(12),
        _ => None,
    }
}

/// Reads `04:13` with its half of the day, which is empty on a 24-hour clock.
fn hour_and_minute((clock, half): (&[u8], &[u8])) -> Option<(i8, i8)> {
    let colon = clock.iter().position(|&byte| byte == b':')?;
    let (hour, minute) = (&clock[..colon], &clock[colon + 1..]);
    if hour.len() > 2 || minute.len() != 2 {
        return None;
    }
    let (hour, minute) = (decimal(hour)? as i8, decimal(minute)? as i8);
    match half {
        b"" => Some((hour, minute)),
        _ if (1..=12).contains(&hour) => Some((hour % 12 + half_of_day(half)?, minute)),
        _ => None,
    }
}

/// Reads a size that may be grouped: `1,234,567`.
fn grouped(text: &[u8]) -> Option<u64> {
    if !text.iter().any(|byte| b",.".contains(byte)) {
        return decimal(text);
    }
    let mut groups = text.split(|byte| b",.".contains(byte));
    let head = decimal(groups.next()?)?;
    groups.try_fold(head, |size, group| match group.len() {
        3 => size.checked_mul(1000)?.checked_add(decimal(group)?),
        _ => None,
    })
}

fn word(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let text = text.trim_ascii_start();
    let end = text
        .iter()
        .position(|&byte| byte == b' ')
        .unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ftp::time::{Zone, parse_time_val};

    fn parse(line: &[u8]) -> Option<Entry> {
        parse_line(line, &Dates::new(&Zone::UTC, 1_795_237_200))
    }

    fn entry(line: &[u8]) -> Entry {
        parse(line).unwrap_or_else(|| panic!("{} is not read", line.escape_ascii()))
    }

    #[test]
    fn a_folder_of_iis() {
        let entry = entry(b"11-21-26  04:13AM       <DIR>          my folder");
        assert_eq!(
            (entry.name.as_slice(), entry.kind, entry.size),
            (&b"my folder"[..], Kind::Dir, None)
        );
        let seconds = parse_time_val(b"20261121041300").expect("is a time");
        assert_eq!(
            entry.modified,
            Some(Modified {
                seconds,
                precision: Precision::Minute
            })
        );
    }

    #[test]
    fn a_file_of_iis() {
        let entry = entry(b"11-21-26  04:13PM             67108864 big file.bin");
        assert_eq!(entry.name, b"big file.bin");
        assert_eq!(
            (entry.kind, entry.size, entry.mode),
            (Kind::File, Some(67_108_864), None)
        );
    }

    #[test]
    fn leading_spaces_belong_to_the_name() {
        assert_eq!(
            entry(b"11-21-26  04:13PM                    5  x").name,
            b" x"
        );
        assert_eq!(
            entry(b"11-21-26  04:13AM       <DIR>           x").name,
            b" x"
        );
        assert_eq!(entry(b"11-21-26  04:13AM <DIR> x").name, b"x");
    }

    #[test]
    fn every_form_of_the_time_is_the_same_time() {
        for line in [
            &b"11-21-26  04:13PM  5 x"[..],
            b"11-21-2026  04:13PM  5 x",
            b"11/21/2026  4:13 pm  5 x",
            b"11-21-26  16:13  5 x",
            b"21.11.2026  16:13  5 x",
            b"2026-11-21  16:13  5 x",
            b"11-21-26  04:13P  5 x",
        ] {
            let seconds = entry(line).modified.map(|modified| modified.seconds);
            assert_eq!(
                seconds,
                parse_time_val(b"20261121161300"),
                "{}",
                line.escape_ascii()
            );
        }
    }

    #[test]
    fn twelve_am_is_midnight_and_twelve_pm_is_noon() {
        let seconds = |line| entry(line).modified.map(|modified| modified.seconds);
        assert_eq!(
            seconds(b"11-21-26  12:00AM  5 x"),
            parse_time_val(b"20261121000000")
        );
        assert_eq!(
            seconds(b"11-21-26  12:00PM  5 x"),
            parse_time_val(b"20261121120000")
        );
    }

    #[test]
    fn two_digit_years_begin_in_1970() {
        let seconds = |line| entry(line).modified.map(|modified| modified.seconds);
        assert_eq!(seconds(b"01-01-70  12:00AM  5 x"), Some(0));
        assert_eq!(
            seconds(b"01-01-69  12:00AM  5 x"),
            parse_time_val(b"20690101000000")
        );
    }

    #[test]
    fn sizes_may_be_grouped() {
        assert_eq!(
            entry(b"11-21-26  04:13PM  1,234,567 x").size,
            Some(1_234_567)
        );
        assert_eq!(entry(b"11-21-26  04:13PM  1.234 x").size, Some(1234));
        assert_eq!(parse(b"11-21-26  04:13PM  1,23 x"), None);
        assert_eq!(
            parse(b"11-21-26  04:13PM  99,999,999,999,999,999,999 x"),
            None
        );
    }

    #[test]
    fn junctions_are_links() {
        let junction =
            entry(b"11-21-26  04:13AM       <JUNCTION>     My Music [C:\\Users\\a b\\Music]");
        assert_eq!(
            (junction.name.as_slice(), junction.kind),
            (&b"My Music"[..], Kind::Symlink)
        );
        assert_eq!(
            junction.target.as_deref(),
            Some(&b"C:\\Users\\a b\\Music"[..])
        );
        assert_eq!(entry(b"11-21-26  04:13AM  <SYMLINKD>  d").target, None);
        assert_eq!(entry(b"11-21-26  04:13AM  <SYMLINK>  d []").target, None);
    }

    #[test]
    fn what_is_not_a_dos_line_is_not_read() {
        for line in [
            &b""[..],
            b"11-21-26",
            b"11-21-26  04:13AM",
            b"11-21-26  04:13AM  <DIR>",
            b"11-21-26  04:13AM  <WHAT>  x",
            b"11-21-26  04:13AM  5",
            b"13-41-26  04:13AM  5 x",
            b"11-21-26  13:13PM  5 x",
            b"11-21-26  25:13  5 x",
            b"11-21-26  04:13XM  5 x",
            b"11-21  04:13AM  5 x",
            b"11-21-26-1  04:13AM  5 x",
            b"1 4 -rw-r--r-- 1 a b 5 Nov 21 04:13 x",
            b"--- 04:13 5 x",
        ] {
            assert_eq!(parse(line), None, "{}", line.escape_ascii());
        }
    }
}
