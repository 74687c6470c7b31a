//! Times as FTP writes them: the `time-val` of RFC 3659, and the zone of a server's clock.
//!
//! Pure: the time of day never comes from here.

use jiff::civil::{DateTime, date};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// The zone that a server's `LIST` (or `MDTM`) uses.
///
/// RFC 3659 wants UTC in `MDTM` and `MLSD`; `LIST` is not specified, and many servers use their local time there.
#[derive(Clone, Debug)]
pub enum Zone {
    /// Seconds east of UTC, the same all year.
    Offset(i32),
    /// A zone with its own rules for summer time.
    Named(TimeZone),
}

impl Zone {
    /// Coordinated universal time.
    pub const UTC: Self = Self::Offset(0);

    /// Turns what the server's clock shows into Unix seconds.
    ///
    /// A time that the clock shows twice is the earlier one, a time that it skips is moved by the gap.
    pub fn to_utc(&self, civil: DateTime) -> i64 {
        let as_if_utc = civil.duration_since(EPOCH).as_secs();
        match self {
            Self::Offset(east) => as_if_utc - i64::from(*east),
            Self::Named(zone) => zone
                .to_ambiguous_timestamp(civil)
                .compatible()
                // Only within a day of the years -9999 and 9999, where an offset does not matter.
                .map_or(as_if_utc, |timestamp| timestamp.as_second()),
        }
    }
}

impl Zone {
    /// The moment at which a clock in this zone shows what one in UTC shows at `seconds`.
    pub fn from_clock(&self, seconds: i64) -> i64 {
        match EPOCH.checked_add(SignedDuration::from_secs(seconds)) {
            Ok(civil) => self.to_utc(civil),
            Err(_) => seconds,
        }
    }

    /// What a clock in this zone shows at `seconds`: as the moment at which one in UTC shows that.
    pub fn to_clock(&self, seconds: i64) -> i64 {
        let east = match self {
            Self::Offset(east) => *east,
            // Outside the years -9999 to 9999 an offset does not matter.
            Self::Named(zone) => {
                Timestamp::from_second(seconds).map_or(0, |moment| zone.to_offset(moment).seconds())
            }
        };
        seconds + i64::from(east)
    }
}

/// Parses a `time-val` as Unix seconds, as if it were UTC: `YYYYMMDDHHMMSS[.sss]` (RFC 3659 s2.3).
///
/// The fraction is dropped. A second of 60 is the first of the next minute. The year-2000 bug of old servers, which
/// print the years since 1900 after a literal `19` (`19126` for 2026), is understood.
pub fn parse_time_val(text: &[u8]) -> Option<i64> {
    let (digits, fraction) = match text.iter().position(|&byte| byte == b'.') {
        Some(dot) => (&text[..dot], &text[dot + 1..]),
        None => (text, &[][..]),
    };
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let (year, rest) = match digits.len() {
        14 => (decimal(&digits[..4])?, &digits[4..]),
        15 if digits.starts_with(b"191") => (1900 + decimal(&digits[2..5])?, &digits[5..]),
        _ => return None,
    };
    let field = |at: usize| decimal(&rest[at..at + 2]).map(|value| value as i8);
    let second = field(8)?;
    let civil = DateTime::new(
        year as i16,
        field(0)?,
        field(2)?,
        field(4)?,
        field(6)?,
        second.min(59),
        0,
    )
    .ok()?;
    match second {
        0..=60 => Some(Zone::UTC.to_utc(civil) + i64::from(second == 60)),
        _ => None,
    }
}

/// Prints Unix seconds as a `time-val`, `YYYYMMDDHHMMSS` in UTC; `None` outside the years 0 to 9999.
pub fn format_time_val(seconds: i64) -> Option<String> {
    let civil = EPOCH
        .checked_add(SignedDuration::from_secs(seconds))
        .ok()
        .filter(|civil| civil.year() >= 0)?;
    Some(civil.strftime("%Y%m%d%H%M%S").to_string())
}

/// Reads a number of nothing but digits; `None` where it is empty or does not fit.
pub(super) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |number, byte| match byte {
        b'0'..=b'9' => number.checked_mul(10)?.checked_add(u64::from(byte - b'0')),
        _ => None,
    })
}

const EPOCH: DateTime = date(1970, 1, 1).at(0, 0, 0, 0);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_time_val_is_utc() {
        assert_eq!(parse_time_val(b"19700101000005"), Some(5));
        assert_eq!(parse_time_val(b"20261121041352"), Some(1_795_234_432));
        assert_eq!(parse_time_val(b"20400101000000"), Some(2_208_988_800));
        assert_eq!(parse_time_val(b"19691231235959"), Some(-1));
    }

    #[test]
    fn a_fraction_is_dropped() {
        assert_eq!(parse_time_val(b"19700101000005.999"), Some(5));
        assert_eq!(parse_time_val(b"19700101000005."), Some(5));
        assert_eq!(parse_time_val(b"19700101000005.9x"), None);
    }

    #[test]
    fn the_year_19126_is_2026() {
        assert_eq!(parse_time_val(b"191261121041352"), Some(1_795_234_432));
        assert_eq!(
            parse_time_val(b"191000101000000"),
            parse_time_val(b"20000101000000")
        );
    }

    #[test]
    fn a_leap_second_is_the_next_minute() {
        assert_eq!(
            parse_time_val(b"20161231235960"),
            parse_time_val(b"20170101000000")
        );
        assert_eq!(parse_time_val(b"20161231235961"), None);
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in [
            &b""[..],
            b".",
            b"2026112104135",
            b"20261321041352",
            b"20260230041352",
            b"20261121 41352",
            b"202611210413520",
            b"+0261121041352",
        ] {
            assert_eq!(parse_time_val(text), None, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn times_are_printed_for_the_years_0_to_9999() {
        assert_eq!(
            format_time_val(1_795_234_432).as_deref(),
            Some("20261121041352")
        );
        assert_eq!(format_time_val(-1).as_deref(), Some("19691231235959"));
        assert_eq!(
            format_time_val(253_402_300_799).as_deref(),
            Some("99991231235959")
        );
        assert_eq!(
            format_time_val(-62_167_219_200).as_deref(),
            Some("00000101000000")
        );
        assert_eq!(format_time_val(253_402_300_800), None);
        assert_eq!(format_time_val(-62_167_219_201), None);
        assert_eq!(format_time_val(i64::MAX), None);
        assert_eq!(format_time_val(i64::MIN), None);
    }

    #[test]
    fn an_offset_east_of_utc_is_subtracted() {
        let civil = date(2026, 11, 21).at(4, 13, 0, 0);
        assert_eq!(
            Zone::Offset(5400).to_utc(civil),
            Zone::UTC.to_utc(civil) - 5400
        );
    }

    #[test]
    fn a_named_zone_knows_summer_time() {
        let zone =
            Zone::Named(TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").expect("is well-formed"));
        let winter = date(2026, 1, 21).at(4, 13, 0, 0);
        let summer = date(2026, 7, 21).at(4, 13, 0, 0);
        assert_eq!(zone.to_utc(winter), Zone::UTC.to_utc(winter) - 3600);
        assert_eq!(zone.to_utc(summer), Zone::UTC.to_utc(summer) - 7200);
    }

    #[test]
    fn the_ends_of_time_have_a_value_in_any_zone() {
        let zone = Zone::Named(TimeZone::fixed(jiff::tz::offset(-12)));
        assert_eq!(zone.to_utc(DateTime::MAX), Zone::UTC.to_utc(DateTime::MAX));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(text in proptest::collection::vec(any::<u8>(), 0..24)) {
            parse_time_val(&text);
        }

        #[test]
        fn digits_of_any_length_do_not_make_the_parser_panic(text in "[0-9]{12,17}(\\.[0-9]{0,4})?") {
            parse_time_val(text.as_bytes());
        }

        #[test]
        fn what_is_printed_is_parsed_again(seconds in -62_167_219_200i64..253_402_300_800) {
            let text = format_time_val(seconds).expect("is within the years 0 to 9999");
            prop_assert_eq!(parse_time_val(text.as_bytes()), Some(seconds));
        }
    }
}
