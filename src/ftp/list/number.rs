//! The numbers that dates are made of: days, months and years, and times of day.

use jiff::civil::DateTime;

use super::Precision;
use crate::ftp::time::{Zone, decimal};

/// A time of day.
pub(super) struct Clock {
    hour: i8,
    minute: i8,
    second: i8,
    pub(super) precision: Precision,
    pub(super) has_fraction: bool,
}

impl Clock {
    /// This time on a day; `None` if there is no such day.
    pub(super) fn on(&self, year: i16, month: i8, day: i8) -> Option<DateTime> {
        if self.hour == 24 {
            return DateTime::new(year, month, day, 0, 0, 0, 0)
                .ok()?
                .tomorrow()
                .ok();
        }
        DateTime::new(year, month, day, self.hour, self.minute, self.second, 0).ok()
    }
}

/// Reads `04:13`, `4:13`, `04:13:52`, `04:13:52.000000000`, or `24:00` for the end of the day.
pub(super) fn clock(text: &[u8]) -> Option<Clock> {
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
    let is_time = match hour {
        24 => minute == 0 && second.is_none(),
        _ => hour < 24 && minute < 60 && second.unwrap_or(0) < 60,
    };
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
pub(super) fn offset(text: &[u8]) -> Option<Zone> {
    let [sign @ (b'+' | b'-'), hour, hour2, minute, minute2] = *text else {
        return None;
    };
    let seconds = i32::from(two_digits([hour, hour2])?) * 3600
        + i32::from(two_digits([minute, minute2])?) * 60;
    Some(Zone::Offset(if sign == b'-' { -seconds } else { seconds }))
}

/// Reads `21`, `1`, `21.`, `21,` or `21日`; which days a month has is not looked at.
pub(super) fn day(text: &[u8]) -> Option<i8> {
    let text = match text {
        [day @ .., b'.' | b','] => day,
        day => unmarked(day)?.0,
    };
    let day = match text {
        [ones] => two_digits([b'0', *ones])?,
        [tens, ones] => two_digits([*tens, *ones])?,
        _ => return None,
    };
    (1..=31).contains(&day).then_some(day)
}

/// Reads the month `8月`.
pub(super) fn numbered_month(text: &[u8]) -> Option<i8> {
    match unmarked(text)? {
        (_, false) => None,
        (number, true) => day(number).filter(|month| *month <= 12),
    }
}

/// Reads a year of four digits, `2026` or `2026年`; the bounds tell it from a size or an id.
pub(super) fn year(text: &[u8]) -> Option<i16> {
    let (year, _) = unmarked(text)?;
    let year = if year.len() == 4 {
        decimal(year)?
    } else {
        return None;
    };
    (1900..3000).contains(&year).then_some(year as i16)
}

/// Reads a year of two digits or four.
pub(super) fn full_year(text: &[u8]) -> Option<i16> {
    match text.len() {
        2 => decimal(text).map(|year| of_century(year as i16)),
        _ => year(text),
    }
}

/// The year that is written `26`, or `126` by servers older than 2000; longer ones as they are.
pub(super) fn of_century(year: i16) -> i16 {
    match year {
        // No file is older than Unix time.
        0..70 => 2000 + year,
        70..200 => 1900 + year,
        _ => year,
    }
}

/// Which of two numbers is the month, and the day; `None` where both may be.
pub(super) fn month_and_day(first: i8, second: i8) -> Option<(i8, i8)> {
    match (first > 12, second > 12) {
        (true, false) => Some((second, first)),
        (false, true) => Some((first, second)),
        (false, false) if first == second => Some((first, second)),
        _ => None,
    }
}

/// Splits the ideogram for year, month or day off a number, in any charset of two or three bytes a character
/// (in Shift JIS not all of them are above ASCII); whether there was one.
fn unmarked(text: &[u8]) -> Option<(&[u8], bool)> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    match text.split_at(digits) {
        (number, []) => Some((number, false)),
        (number, [0x80..=0xff, _] | [0x80..=0xff, _, _]) => Some((number, true)),
        _ => None,
    }
}

pub(super) fn two_digits([tens, ones]: [u8; 2]) -> Option<i8> {
    (tens.is_ascii_digit() && ones.is_ascii_digit())
        .then(|| ((tens - b'0') * 10 + (ones - b'0')) as i8)
}
