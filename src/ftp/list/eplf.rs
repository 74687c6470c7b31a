//! Easily Parsed LIST Format: `+i8388621.29609,m824255902,/,<TAB>name` (D. J. Bernstein, 1996).
//!
//! Sent by publicfile and, when asked to, ftp-srv; the times are exact and need no zone.

use super::{Entry, Kind, Modified, Precision, octal};
use crate::ftp::time::decimal;

/// Parses one line of EPLF; the name is not yet checked.
pub(super) fn parse_line(line: &[u8]) -> Option<Entry> {
    let line = line.strip_prefix(b"+")?;
    let tab = line.iter().position(|&byte| byte == b'\t')?;
    let mut entry = Entry {
        name: line[tab + 1..].to_vec(),
        kind: Kind::Other,
        size: None,
        modified: None,
        mode: None,
        target: None,
        line: None,
    };
    for fact in line[..tab].split(|&byte| byte == b',') {
        match fact {
            b"/" => entry.kind = Kind::Dir,
            b"r" if entry.kind != Kind::Dir => entry.kind = Kind::File,
            [b'u', b'p', mode @ ..] => entry.mode = octal(mode),
            [b's', size @ ..] => entry.size = decimal(size),
            [b'm', seconds @ ..] => entry.modified = modified(seconds),
            // `i` (an identity, like MLSD's unique), and whatever a server invents.
            _ => {}
        }
    }
    Some(entry)
}

fn modified(text: &[u8]) -> Option<Modified> {
    let seconds = match text {
        [b'-', digits @ ..] => -i64::try_from(decimal(digits)?).ok()?,
        digits => i64::try_from(decimal(digits)?).ok()?,
    };
    Some(Modified {
        seconds,
        precision: Precision::Second,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_specification_is_a_folder() {
        let entry = parse_line(b"+i8388621.29609,m824255902,/,\tdev").expect("is EPLF");
        assert_eq!(entry.name, b"dev");
        assert_eq!(entry.kind, Kind::Dir);
        assert_eq!(entry.size, None);
        assert_eq!(
            entry.modified,
            Some(Modified {
                seconds: 824_255_902,
                precision: Precision::Second
            })
        );
    }

    #[test]
    fn a_file_has_a_size_and_may_have_a_mode() {
        let entry =
            parse_line(b"+i8388621.44468,m839956783,r,s10376,up4755,\tRFCEPLF").expect("is EPLF");
        assert_eq!(
            (entry.kind, entry.size, entry.mode),
            (Kind::File, Some(10376), Some(0o4755))
        );
    }

    #[test]
    fn a_name_may_hold_spaces_commas_and_tabs() {
        assert_eq!(
            parse_line(b"+r,\t a,b\tc ").expect("is EPLF").name,
            b" a,b\tc "
        );
    }

    #[test]
    fn a_thing_neither_folder_nor_retrievable_is_other() {
        assert_eq!(parse_line(b"+m5\tx").expect("is EPLF").kind, Kind::Other);
    }

    #[test]
    fn a_time_before_1970_or_out_of_range_is_no_reason_to_panic() {
        assert_eq!(modified(b"-5").map(|modified| modified.seconds), Some(-5));
        assert_eq!(modified(b"99999999999999999999"), None);
        assert_eq!(modified(b"18446744073709551615"), None);
        assert_eq!(modified(b""), None);
    }

    #[test]
    fn a_line_without_a_tab_is_not_eplf() {
        assert_eq!(parse_line(b"+r,s5 name"), None);
        assert_eq!(parse_line(b"r,\tname"), None);
    }
}
