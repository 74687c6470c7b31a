//! The dates of a `LIST` line: where one begins and ends, and what time it means.
//!
//! `LIST` is for people (RFC 959 s4.1.3), so the date comes in the forms of every `ls` and every language, often
//! without a year, and in the zone of the server.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::month::month;
use super::number::{
    Clock, clock, day, full_year, month_and_day, numbered_month, offset, two_digits, year,
};
use super::{Modified, Precision};
use crate::ftp::time::{Zone, decimal};

/// What is needed to give a date of a listing its meaning.
pub(super) struct Dates<'a> {
    zone: &'a Zone,
    /// The latest time, in Unix seconds, that a date without a year can mean.
    latest: i64,
    /// The latest year that holds `latest`, in any zone.
    latest_year: i16,
}

/// A date found in a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// What it means; `None` for `??? ?? ?????`, for days that do not exist, and where the month cannot be told from
    /// the day.
    pub(super) modified: Option<Modified>,
    /// Index of the first byte after it.
    pub(super) end: usize,
}

impl<'a> Dates<'a> {
    /// Dates in the zone of the server, read at `now` (Unix seconds).
    pub(super) fn new(zone: &'a Zone, now: i64) -> Self {
        // Servers print times in the future without a year too (ProFTPD, pyftpdlib); a day covers a wrong clock or
        // zone.
        let latest = now.saturating_add(DAY);
        let within_reach = latest.saturating_add(2 * DAY);
        let within_reach =
            within_reach.clamp(Timestamp::MIN.as_second(), Timestamp::MAX.as_second());
        let latest_year = Timestamp::from_second(within_reach).map_or(i16::MAX, |timestamp| {
            timestamp.to_zoned(TimeZone::UTC).year()
        });
        Self {
            zone,
            latest,
            latest_year,
        }
    }

    /// Unix seconds of a time with a year.
    pub(super) fn at(&self, civil: DateTime) -> i64 {
        self.zone.to_utc(civil)
    }

    /// True of a time that no file can have yet, whatever the clocks.
    pub(super) fn is_future(&self, seconds: i64) -> bool {
        seconds > self.latest
    }

    /// Reads the date that `text` begins with; `None` if it does not begin with one.
    pub(super) fn read(&self, text: &[u8]) -> Option<Found> {
        let (first, at) = word(text, 0)?;
        let digits = first.iter().position(|byte| !byte.is_ascii_digit());
        match first.split_at(digits.unwrap_or(first.len())) {
            ([], [b'?', ..]) => unknown(text),
            ([], [_, _, _, b'-', ..]) => self.joined(text, first, at),
            ([], _) => self.month_first(text, first, at),
            ([_] | [_, _], [] | [b'.' | b',']) => self.day_first(text, first, at),
            ([_] | [_, _] | [_, _, _, _], [b'-' | b'/' | b'.', ..]) => self.joined(text, first, at),
            ([_, _, _, _], _) => self.year_first(text, first, at),
            ([_] | [_, _], _) => self.month_by_number(text, first, at),
            _ => None,
        }
    }

    /// `Nov 21 04:13`, `Nov 21  2026`, `Nov 21 04:13:52 2026`.
    fn month_first(&self, text: &[u8], name: &[u8], at: usize) -> Option<Found> {
        let (number, at) = word(text, at)?;
        let day = day(number)?;
        self.clock_or_year(text, at, month(name)?, day)
    }

    /// `21 Nov 04:13`, `21. Nov 2026`, and `3 29 03:26`, which may be either way round.
    fn day_first(&self, text: &[u8], number: &[u8], at: usize) -> Option<Found> {
        let first = day(number)?;
        let (name, at) = word(text, at)?;
        if !name[0].is_ascii_digit() {
            return self.clock_or_year(text, at, month(name)?, first);
        }
        let second = day(name)?;
        let (last, end) = word(text, at)?;
        let clock = clock(last)?;
        match month_and_day(first, second) {
            Some((month, day)) => Some(self.recent(month, day, &clock, end)),
            None => Some(Found {
                modified: None,
                end,
            }),
        }
    }

    /// `8月 17日 20:10`, `6月 3日 2003年`, in any charset.
    fn month_by_number(&self, text: &[u8], first: &[u8], at: usize) -> Option<Found> {
        let (number, at) = word(text, at)?;
        self.clock_or_year(text, at, numbered_month(first)?, day(number)?)
    }

    /// `2005年  1月  6日`, `2003   3月 20`, in any charset.
    fn year_first(&self, text: &[u8], first: &[u8], at: usize) -> Option<Found> {
        let (second, at) = word(text, at)?;
        let month = numbered_month(second)?;
        let (third, end) = word(text, at)?;
        let civil = DateTime::new(year(first)?, month, day(third)?, 0, 0, 0, 0).ok();
        Some(self.full(civil, Precision::Day, end))
    }

    fn clock_or_year(&self, text: &[u8], at: usize, month: i8, day: i8) -> Option<Found> {
        let (last, end) = word(text, at)?;
        if let Some(year) = year(last) {
            let day = Some((year, month, day));
            if text[at - 1] != b',' {
                return Some(self.on_day(day, None, end));
            }
            // VShell: `Oct 08, 2002 09:47`.
            let (time, end) = word(text, end)?;
            return Some(self.on_day(day, Some((clock(time)?, end)), end));
        }
        let clock = clock(last)?;
        // `ls -lT` of the BSDs.
        let with_year = word(text, end).filter(|_| clock.precision == Precision::Second);
        match with_year.and_then(|(word, end)| Some((year(word)?, end))) {
            Some((year, end)) => Some(self.full(clock.on(year, month, day), clock.precision, end)),
            None => Some(self.recent(month, day, &clock, end)),
        }
    }

    /// Dates whose parts are joined: the styles of GNU `ls` (`2026-11-21 04:13`,
    /// `2026-11-21 04:13:52.000000000 +0000`, `2026-11-21`, `11-21 04:13`), `21.11.2026`, `1999/10/12 17:12`,
    /// `2-JUN-1998 07:32:04.27`, `01-jun-99`, `Feb-28-1998  05:23:30`.
    fn joined(&self, text: &[u8], date: &[u8], at: usize) -> Option<Found> {
        let mut parts = date.split(|byte| b"-/.".contains(byte));
        let (first, second) = (parts.next()?, parts.next()?);
        let Some(third) = parts.next() else {
            let [month, month2, b'-', day, day2] = *date else {
                return None;
            };
            let (month, day) = (two_digits([month, month2])?, two_digits([day, day2])?);
            return self.clock_or_year(text, at, month, day);
        };
        if parts.next().is_some() {
            return None;
        }
        let is_number = |text: &[u8]| text.iter().all(u8::is_ascii_digit);
        let is_iso = first.len() == 4;
        let day = if is_iso {
            let number = |text: &[u8]| match text.len() {
                1 | 2 => decimal(text).map(|number| number as i8),
                _ => None,
            };
            Some((decimal(first)? as i16, number(second)?, number(third)?))
        } else if !is_number(first) {
            Some((full_year(third)?, month(first)?, day(second)?))
        } else if !is_number(second) && second.len() >= 3 {
            // French VMS has the same `JUI` for June and July.
            let (year, day) = (full_year(third)?, day(first)?);
            month(second).map(|month| (year, month, day))
        } else {
            let (year, first, second) = (year(third)?, day(first)?, day(second)?);
            let order = match date.contains(&b'.') {
                true => Some((second, first)),
                false => month_and_day(first, second),
            };
            order.map(|(month, day)| (year, month, day))
        };
        let clock = word(text, at).and_then(|(word, end)| Some((clock(word)?, end)));
        match clock {
            Some((clock, end)) if clock.has_fraction => {
                let offset = word(text, end).and_then(|(word, end)| Some((offset(word)?, end)));
                let Some((offset, end)) = offset else {
                    return Some(self.on_day(day, Some((clock, end)), at));
                };
                let civil = day.and_then(|(year, month, day)| clock.on(year, month, day));
                let seconds = civil.map(|civil| offset.to_utc(civil));
                Some(Found {
                    modified: modified(seconds, clock.precision),
                    end,
                })
            }
            // GNU pads it to the width of `11-21 04:13`.
            None if is_iso && text[at..].starts_with(b"  ") => Some(self.on_day(day, None, at + 1)),
            clock => Some(self.on_day(day, clock, at)),
        }
    }

    /// A day of a year, with the time of day that follows it if one does; else the date ends at `end`.
    fn on_day(
        &self,
        day: Option<(i16, i8, i8)>,
        clock: Option<(Clock, usize)>,
        end: usize,
    ) -> Found {
        let midnight = |(year, month, day)| DateTime::new(year, month, day, 0, 0, 0, 0).ok();
        match clock {
            Some((clock, end)) => {
                let civil = day.and_then(|(year, month, day)| clock.on(year, month, day));
                self.full(civil, clock.precision, end)
            }
            None => self.full(day.and_then(midnight), Precision::Day, end),
        }
    }

    fn full(&self, civil: Option<DateTime>, precision: Precision, end: usize) -> Found {
        Found {
            modified: modified(civil.map(|civil| self.at(civil)), precision),
            end,
        }
    }

    /// A date without a year: the latest that is not in the future.
    fn recent(&self, month: i8, day: i8, clock: &Clock, end: usize) -> Found {
        // Two leap years are at most eight years apart (1896 and 1904).
        let seconds = (0..=9)
            .filter_map(|back| clock.on(self.latest_year.checked_sub(back)?, month, day))
            .map(|civil| self.at(civil))
            .find(|&seconds| seconds <= self.latest);
        Found {
            modified: modified(seconds, clock.precision),
            end,
        }
    }
}

/// `??? ?? ?????`, FileZilla Server's for a link that leads nowhere.
fn unknown(text: &[u8]) -> Option<Found> {
    let mut end = 0;
    for _ in 0..3 {
        let (marks, next) = word(text, end)?;
        if !marks.iter().all(|&byte| byte == b'?') {
            return None;
        }
        end = next;
    }
    Some(Found {
        modified: None,
        end,
    })
}

fn modified(seconds: Option<i64>, precision: Precision) -> Option<Modified> {
    seconds.map(|seconds| Modified { seconds, precision })
}

/// The word at or after `at`, and where it ends; words are parted by spaces.
pub(super) fn word(text: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let start = at + text[at..].iter().position(|&byte| byte != b' ')?;
    let end = text[start..]
        .iter()
        .position(|&byte| byte == b' ')
        .map_or(text.len(), |length| start + length);
    Some((&text[start..end], end))
}

const DAY: i64 = 86400;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ftp::time::{format_time_val, parse_time_val};

    /// 2026-11-21 05:00:00 UTC.
    const NOW: i64 = 1_795_237_200;

    fn read_at(now: &str, zone: &Zone, text: &[u8]) -> String {
        let now = parse_time_val(now.as_bytes()).expect("is a time");
        let found = Dates::new(zone, now)
            .read(text)
            .unwrap_or_else(|| panic!("{} is not read", text.escape_ascii()));
        assert_eq!(found.end, text.len(), "{}", text.escape_ascii());
        match found.modified {
            Some(Modified { seconds, precision }) => {
                format!(
                    "{} {precision:?}",
                    format_time_val(seconds).expect("is within the years 0 to 9999")
                )
            }
            None => "unknown".to_owned(),
        }
    }

    fn read(text: &[u8]) -> String {
        read_at("20261121050000", &Zone::UTC, text)
    }

    #[test]
    fn every_form_of_a_minute_is_the_same_minute() {
        for text in [
            &b"Nov 21 04:13"[..],
            b"nov 21  4:13",
            b"November 21 04:13",
            b"nov. 21 04:13",
            b"21 Nov 04:13",
            b"21. Nov 04:13",
            b"11-21 04:13",
            b"11 21 04:13",
            b"21 11 04:13",
            b"21. Nov., 04:13",
            b"11\xe6\x9c\x88 21\xe6\x97\xa5 04:13",
            b"11\x8c\x8e 21 04:13",
            b"2026-11-21 04:13",
            b"2026/11/21 04:13",
            b"21-11-2026 04:13",
            b"21.11.2026 04:13",
            b"Nov 21, 2026 04:13",
            b"21-NOV-2026 04:13",
        ] {
            assert_eq!(
                read(text),
                "20261121041300 Minute",
                "{}",
                text.escape_ascii()
            );
        }
    }

    #[test]
    fn every_form_of_a_second_is_the_same_second() {
        for text in [
            &b"Nov 21 04:13:52 2026"[..],
            b"Nov 21 04:13:52",
            b"2026-11-21 04:13:52",
            b"2026-11-21 04:13:52.123456789",
            b"2026-11-21 05:43:52.123456789 +0130",
            b"2026-11-20 20:13:52.123456789 -0800",
            b"21-NOV-2026 04:13:52.27",
            b"Nov-21-2026  04:13:52",
        ] {
            assert_eq!(
                read(text),
                "20261121041352 Second",
                "{}",
                text.escape_ascii()
            );
        }
    }

    #[test]
    fn every_form_of_a_day_is_the_same_day() {
        for text in [
            &b"Nov 14  2023"[..],
            b"14 Nov 2023",
            b"14. nov. 2023",
            b"14.   Nov.  2023",
            b"2023-11-14",
            b"14.11.2023",
            b"11-14 2023",
            b"14-nov-23",
            b"11\x8c\x8e 14\x93\xfa 2023\x94\x4e",
            b"2023\xeb\x85\x84 11\xec\x9b\x94 14\xec\x9d\xbc",
            b"2023   11\xed\xef 14",
        ] {
            assert_eq!(read(text), "20231114000000 Day", "{}", text.escape_ascii());
        }
    }

    #[test]
    fn unknown_and_impossible_days_have_no_time() {
        assert_eq!(read(b"??? ?? ?????"), "unknown");
        assert_eq!(read(b"Feb 30 2026"), "unknown");
        assert_eq!(read(b"Feb 30 04:13"), "unknown");
        assert_eq!(read(b"2026-13-01 04:13"), "unknown");
        assert_eq!(read(b"2-JUI-2026 04:13"), "unknown");
    }

    #[test]
    fn a_day_that_may_be_the_month_has_no_time() {
        assert_eq!(read(b"3 4 04:13"), "unknown");
        assert_eq!(read(b"03-04-2026 04:13"), "unknown");
        assert_eq!(read(b"03/03/2026"), "20260303000000 Day");
    }

    #[test]
    fn the_end_of_a_day_is_the_begin_of_the_next() {
        assert_eq!(read(b"Oct 31 24:00"), "20261101000000 Minute");
        assert_eq!(read(b"Oct 31 00:00"), "20261031000000 Minute");
    }

    #[test]
    fn a_date_without_a_year_is_the_latest_not_in_the_future() {
        assert_eq!(read(b"Nov 22 05:00"), "20261122050000 Minute");
        assert_eq!(read(b"Nov 22 05:01"), "20251122050100 Minute");
        assert_eq!(read(b"Jan  1 00:00"), "20260101000000 Minute");
        assert_eq!(read(b"Dec 31 23:59"), "20251231235900 Minute");
    }

    #[test]
    fn a_date_without_a_year_may_be_in_the_next_year() {
        assert_eq!(
            read_at("20261231230000", &Zone::UTC, b"Jan  1 04:13"),
            "20270101041300 Minute"
        );
        assert_eq!(
            read_at("20270101010000", &Zone::UTC, b"Dec 31 04:13"),
            "20261231041300 Minute"
        );
    }

    #[test]
    fn the_zone_counts_for_what_is_in_the_future() {
        let east = Zone::Offset(14 * 3600);
        assert_eq!(
            read_at("20261121050000", &east, b"Nov 22 19:00"),
            "20261122050000 Minute"
        );
        assert_eq!(
            read_at("20261121050000", &east, b"Nov 22 19:01"),
            "20251122050100 Minute"
        );
        assert_eq!(
            read_at("20261231110000", &east, b"Jan  2 00:00"),
            "20270101100000 Minute"
        );
        let west = Zone::Offset(-12 * 3600);
        assert_eq!(
            read_at("20270101010000", &west, b"Dec 31 13:00"),
            "20270101010000 Minute"
        );
    }

    #[test]
    fn a_leap_day_without_a_year_is_in_a_leap_year() {
        assert_eq!(read(b"Feb 29 04:13"), "20240229041300 Minute");
        assert_eq!(
            read_at("19040201000000", &Zone::UTC, b"Feb 29 04:13"),
            "18960229041300 Minute"
        );
    }

    #[test]
    fn the_end_is_where_the_date_ends() {
        let dates = Dates::new(&Zone::UTC, NOW);
        for (text, end) in [
            (&b"Nov 21 04:13  lead"[..], 12),
            (b"Nov 21 2026 04:13", 11),
            (b"Nov 21 04:13 2026", 12),
            (b"Nov 21 04:13:52 name", 15),
            (b"2026-11-21 04:13 +0100", 16),
            (b"2023-11-14  x", 11),
            (b"2023-11-14 x", 10),
        ] {
            assert_eq!(
                dates.read(text).map(|found| found.end),
                Some(end),
                "{}",
                text.escape_ascii()
            );
        }
    }

    #[test]
    fn what_is_not_a_date_is_not_read() {
        for text in [
            &b""[..],
            b"Nov",
            b"Nov 21",
            b"Nov 21 4096",
            b"Nov 32 04:13",
            b"Nov 0 04:13",
            b"Nov 21 24:01",
            b"Nov 21 25:00",
            b"Nov 21 04:60",
            b"Nov 21 04:1",
            b"Nov 21 04:13:5",
            b"Nob 21 04:13",
            b"21 Nov 5",
            b"1002 Nov 21",
            b"11-21",
            b"Nov 21, 2026",
            b"11-21 4096",
            b"11.21 04:13",
            b"21-11-26",
            b"1.2.3.4",
            b"2026 11 21",
            b"1002 11\xe6\x9c\x88",
            b"x-1-2026",
            b"?? x ?",
        ] {
            assert_eq!(
                Dates::new(&Zone::UTC, NOW).read(text),
                None,
                "{}",
                text.escape_ascii()
            );
        }
    }

    #[test]
    fn any_time_can_be_now() {
        for now in [i64::MIN, -1, 0, i64::MAX] {
            let dates = Dates::new(&Zone::UTC, now);
            assert!(dates.read(b"Nov 21 04:13").is_some());
            assert!(dates.read(b"Feb 29 04:13").is_some());
        }
    }
}
