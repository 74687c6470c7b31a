//! The dates of a `LIST` line: where one begins and ends, and what time it means.
//!
//! `LIST` is for people (RFC 959 s4.1.3), so the date comes in the forms of every `ls` and every language, often
//! without a year, and in the zone of the server.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

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
    /// What it means; `None` for `??? ?? ?????` and for days that do not exist.
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

    /// Reads the date that `text` begins with; `None` if it does not begin with one.
    pub(super) fn read(&self, text: &[u8]) -> Option<Found> {
        match text.first()? {
            b'?' => unknown(text),
            b'0'..=b'9' => self.iso(text).or_else(|| self.day_first(text)),
            _ => self.month_first(text),
        }
    }

    /// `Nov 21 04:13`, `Nov 21  2026`, `Nov 21 04:13:52 2026`.
    fn month_first(&self, text: &[u8]) -> Option<Found> {
        let (name, at) = word(text, 0)?;
        let month = month(name)?;
        let (number, at) = word(text, at)?;
        self.clock_or_year(text, at, month, day(number)?)
    }

    /// `21 Nov 04:13`, `21. Nov 2026`.
    fn day_first(&self, text: &[u8]) -> Option<Found> {
        let (number, at) = word(text, 0)?;
        let day = day(number)?;
        let (name, at) = word(text, at)?;
        self.clock_or_year(text, at, month(name)?, day)
    }

    fn clock_or_year(&self, text: &[u8], at: usize, month: i8, day: i8) -> Option<Found> {
        let (last, end) = word(text, at)?;
        if let Some(year) = year(last) {
            return Some(self.full(
                DateTime::new(year, month, day, 0, 0, 0, 0).ok(),
                Precision::Day,
                end,
            ));
        }
        let clock = clock(last)?;
        // `ls -lT` of the BSDs.
        let with_year = word(text, end).filter(|_| clock.precision == Precision::Second);
        match with_year.and_then(|(word, end)| Some((year(word)?, end))) {
            Some((year, end)) => Some(self.full(clock.on(year, month, day), clock.precision, end)),
            None => Some(self.recent(month, day, &clock, end)),
        }
    }

    /// `2026-11-21 04:13`, `2026-11-21 04:13:52.000000000 +0000`, `2026-11-21`, `11-21 04:13`: the styles of GNU `ls`.
    fn iso(&self, text: &[u8]) -> Option<Found> {
        let (date, date_end) = word(text, 0)?;
        let clock = word(text, date_end).and_then(|(word, end)| Some((clock(word)?, end)));
        match (date, clock) {
            ([month, month2, b'-', day, day2], Some((clock, end))) => Some(self.recent(
                two_digits([*month, *month2])?,
                two_digits([*day, *day2])?,
                &clock,
                end,
            )),
            ([year @ .., b'-', month, month2, b'-', day, day2], clock) if year.len() == 4 => {
                let year = decimal(year)? as i16;
                let (month, day) = (two_digits([*month, *month2])?, two_digits([*day, *day2])?);
                let Some((clock, end)) = clock else {
                    let civil = DateTime::new(year, month, day, 0, 0, 0, 0).ok();
                    // Padded to the width of `11-21 04:13`.
                    let end = if text[date_end..].starts_with(b"  ") {
                        date_end + 1
                    } else {
                        date_end
                    };
                    return Some(self.full(civil, Precision::Day, end));
                };
                let civil = clock.on(year, month, day);
                match word(text, end)
                    .filter(|_| clock.has_fraction)
                    .and_then(|(word, end)| Some((offset(word)?, end)))
                {
                    Some((offset, end)) => Some(Found {
                        modified: modified(
                            civil.map(|civil| offset.to_utc(civil)),
                            clock.precision,
                        ),
                        end,
                    }),
                    None => Some(self.full(civil, clock.precision, end)),
                }
            }
            _ => None,
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

/// A time of day.
struct Clock {
    hour: i8,
    minute: i8,
    second: i8,
    precision: Precision,
    has_fraction: bool,
}

impl Clock {
    /// This time on a day; `None` if there is no such day.
    fn on(&self, year: i16, month: i8, day: i8) -> Option<DateTime> {
        DateTime::new(year, month, day, self.hour, self.minute, self.second, 0).ok()
    }
}

/// Reads `04:13`, `4:13`, `04:13:52` or `04:13:52.000000000`.
fn clock(text: &[u8]) -> Option<Clock> {
    let (hour, rest) = match text {
        [hour, b':', rest @ ..] => (two_digits([b'0', *hour])?, rest),
        [tens, ones, b':', rest @ ..] => (two_digits([*tens, *ones])?, rest),
        _ => return None,
    };
    let (minute, second, fraction) = match rest {
        [tens, ones] => (two_digits([*tens, *ones])?, None, &[][..]),
        [tens, ones, b':', second, second2, fraction @ ..] => (
            two_digits([*tens, *ones])?,
            Some(two_digits([*second, *second2])?),
            fraction,
        ),
        _ => return None,
    };
    let has_fraction = match fraction {
        [] => false,
        [b'.' | b',', digits @ ..] if digits.iter().all(u8::is_ascii_digit) => true,
        _ => return None,
    };
    let is_time = hour < 24 && minute < 60 && second.unwrap_or(0) < 60;
    let precision = if second.is_some() {
        Precision::Second
    } else {
        Precision::Minute
    };
    is_time.then(|| Clock {
        hour,
        minute,
        second: second.unwrap_or(0),
        precision,
        has_fraction,
    })
}

/// Reads `+0130`.
fn offset(text: &[u8]) -> Option<Zone> {
    let [sign @ (b'+' | b'-'), hour, hour2, minute, minute2] = *text else {
        return None;
    };
    let seconds = i32::from(two_digits([hour, hour2])?) * 3600
        + i32::from(two_digits([minute, minute2])?) * 60;
    Some(Zone::Offset(if sign == b'-' { -seconds } else { seconds }))
}

/// Reads `21`, `1` or `21.`; which days a month has is not looked at.
fn day(text: &[u8]) -> Option<i8> {
    let day = match text.strip_suffix(b".").unwrap_or(text) {
        [ones] => two_digits([b'0', *ones])?,
        [tens, ones] => two_digits([*tens, *ones])?,
        _ => return None,
    };
    (1..=31).contains(&day).then_some(day)
}

/// Reads a year of four digits; the bounds tell it from a size or an id.
fn year(text: &[u8]) -> Option<i16> {
    let year = if text.len() == 4 {
        decimal(text)?
    } else {
        return None;
    };
    (1900..3000).contains(&year).then_some(year as i16)
}

fn two_digits([tens, ones]: [u8; 2]) -> Option<i8> {
    (tens.is_ascii_digit() && ones.is_ascii_digit())
        .then(|| ((tens - b'0') * 10 + (ones - b'0')) as i8)
}

/// Reads a month's name, short or long, in a common language.
fn month(name: &[u8]) -> Option<i8> {
    let name = name.strip_suffix(b".").unwrap_or(name);
    let is_name = |other: &[u8]| name.eq_ignore_ascii_case(other);
    let at = MONTHS.iter().position(|month| is_name(month)).or_else(|| {
        OTHER_MONTHS
            .iter()
            .position(|names| names.split(|&byte| byte == b' ').any(is_name))
    })?;
    Some(at as i8 + 1)
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

/// The months of most servers, tried first.
const MONTHS: [&[u8]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];

/// Long English names, and German, French, Spanish, Italian, Portuguese and Dutch ones where they differ; what is not
/// ASCII both in UTF-8 and in Latin-1.
const OTHER_MONTHS: [&[u8]; 12] = [
    b"january januar janv janvier ene enero gen gennaio",
    b"february februar f\xc3\xa9v f\xe9v f\xc3\xa9vr f\xe9vr f\xc3\xa9vrier f\xe9vrier fevr fev febrero febbraio",
    b"march m\xc3\xa4r m\xe4r m\xc3\xa4rz m\xe4rz mrz mars marzo mrt",
    b"april avr avril abr abril aprile",
    b"mai mayo mag maggio mei",
    b"june juni juin junio giu giugno",
    b"july juli juil juillet julio lug luglio",
    b"august ao\xc3\xbb ao\xfb ao\xc3\xbbt ao\xfbt aout ago agosto",
    b"september sept septembre septiembre set settembre",
    b"october okt oktober octobre octubre ott ottobre out",
    b"november novembre noviembre",
    b"december dez dezember d\xc3\xa9c d\xe9c d\xc3\xa9cembre d\xe9cembre dic diciembre dicembre",
];

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
            b"2026-11-21 04:13",
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
            b"2023-11-14",
        ] {
            assert_eq!(read(text), "20231114000000 Day", "{}", text.escape_ascii());
        }
    }

    #[test]
    fn months_are_read_in_other_languages() {
        for (text, month) in [
            ("Mär 2 2023", 3),
            ("Mai 2 2023", 5),
            ("2. Okt 2023", 10),
            ("Dez 2 2023", 12),
            ("2 janv. 2023", 1),
            ("févr. 2 2023", 2),
            ("2 août 2023", 8),
            ("2 déc. 2023", 12),
            ("ene 2 2023", 1),
            ("dic 2 2023", 12),
            ("gen 2 2023", 1),
            ("giu 2 2023", 6),
            ("lug 2 2023", 7),
            ("ott 2 2023", 10),
            ("set 2 2023", 9),
        ] {
            assert_eq!(
                read(text.as_bytes()),
                format!("2023{month:02}02000000 Day"),
                "{text}"
            );
        }
        assert_eq!(read(b"M\xe4r 2 2023"), "20230302000000 Day");
    }

    #[test]
    fn unknown_and_impossible_days_have_no_time() {
        assert_eq!(read(b"??? ?? ?????"), "unknown");
        assert_eq!(read(b"Feb 30 2026"), "unknown");
        assert_eq!(read(b"Feb 30 04:13"), "unknown");
        assert_eq!(read(b"2026-13-01 04:13"), "unknown");
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
            b"Nov 21 24:00",
            b"Nov 21 04:60",
            b"Nov 21 04:1",
            b"Nov 21 04:13:5",
            b"Nob 21 04:13",
            b"21 Nov 5",
            b"1002 Nov 21",
            b"11-21",
            b"11-21 2026",
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
