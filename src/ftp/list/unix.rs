//! The listing of `ls -l`, as almost every server sends it: `-rw-r--r-- 1 owner group 5 Nov 21 04:13 name`.
//!
//! Only the ends of a line are firm: it begins with the mode, and its name follows the date. Between them the link
//! count may be missing and owners may hold spaces, so the date is searched for, with a size before it. NetPresenz of
//! the Macintosh, NeoLogic of OS/2 and z/OS' own Unix print such lines too.

use super::date::{Dates, word};
use super::{Entry, Kind, Modified};
use crate::ftp::time::decimal;

/// Parses one line; the name is not yet checked.
pub(super) fn parse_line(line: &[u8], dates: &Dates) -> Option<Entry> {
    // ftpserverlib's STAT of a folder.
    let line = line.strip_prefix(b"%s").unwrap_or(line);
    let (mut first, mut end) = word(line, 0)?;
    if decimal(first).is_some() {
        // The blocks of `ls -s`.
        (first, end) = word(line, end)?;
    }
    let mode = Mode::parse(first).or_else(|| Mode::parse(without_links(first)?))?;
    let tail = Tail::find(&line[end..], dates)?;
    let (name, target) = match mode.kind {
        Kind::Symlink => name_and_target(tail.name, tail.size),
        _ => (tail.name, None),
    };
    Some(Entry {
        name: name.to_vec(),
        kind: mode.kind,
        size: tail.size.filter(|_| mode.kind != Kind::Symlink),
        modified: tail.modified,
        mode: Some(mode.bits),
        target: target.map(<[u8]>::to_vec),
        line: None,
    })
}

/// True of the `total 12` that `ls` begins with.
pub(super) fn is_total(line: &[u8]) -> bool {
    let Some((first, end)) = word(line, 0) else {
        return false;
    };
    let is_word = TOTAL
        .split(' ')
        .any(|total| first.eq_ignore_ascii_case(total.as_bytes()));
    is_word
        && word(line, end)
            .is_some_and(|(blocks, end)| blocks[0].is_ascii_digit() && end == line.len())
}

/// The word of `total 12`: in English, French, Spanish and Portuguese; German; Italian; Dutch; Swedish; Polish; Czech;
/// Hungarian; Russian; Chinese, twice; Japanese; Korean.
const TOTAL: &str =
    "total insgesamt totale totaal totalt razem celkem összesen итого 总用量 總計 合計 합계";

/// The mode of `drwxr-x---+1464`: a link count of four digits leaves no space before it.
fn without_links(text: &[u8]) -> Option<&[u8]> {
    let digits = text.iter().rev().take_while(|byte| byte.is_ascii_digit());
    text.get(..text.len() - digits.count())
}

/// What the mode string says.
struct Mode {
    kind: Kind,
    bits: u32,
}

impl Mode {
    /// Reads `drwxr-xr-x`, with the mark of an access list after it (`+`, `.`, `@`), or Go's `dtrwxr-xr-x`.
    fn parse(text: &[u8]) -> Option<Self> {
        let text = match text {
            [mode @ .., b'+' | b'.' | b'@'] => mode,
            mode => mode,
        };
        let (types, permissions) = text.split_last_chunk::<9>()?;
        let (kind, special) = match types {
            [letter] if b"-dlbcpsDCnPMmw".contains(letter) => (kind(*letter), 0),
            _ => go_types(types)?,
        };
        Some(Self {
            kind,
            bits: special | permission_bits(permissions)?,
        })
    }
}

fn kind(letter: u8) -> Kind {
    match letter {
        b'-' => Kind::File,
        b'd' => Kind::Dir,
        b'l' => Kind::Symlink,
        _ => Kind::Other,
    }
}

/// Reads the letters of Go's `FileMode`, which servers written in Go print (ftpserverlib): kind and special bits.
fn go_types(letters: &[u8]) -> Option<(Kind, u32)> {
    if letters.is_empty() {
        return None;
    }
    let mut mode = (Kind::File, 0);
    for letter in letters {
        match letter {
            b'd' => mode.0 = Kind::Dir,
            b'L' => mode.0 = Kind::Symlink,
            b'D' | b'c' | b'p' | b'S' | b'?' => mode.0 = Kind::Other,
            b'u' => mode.1 |= 0o4000,
            b'g' => mode.1 |= 0o2000,
            b't' => mode.1 |= 0o1000,
            // Append-only, exclusive, temporary.
            b'a' | b'l' | b'T' => {}
            _ => return None,
        }
    }
    Some(mode)
}

fn permission_bits(letters: &[u8; 9]) -> Option<u32> {
    let mut bits = 0;
    for (at, letter) in letters.iter().enumerate() {
        let bit = 0o400 >> at;
        // Set-user-ID, set-group-ID and sticky stand where the class's execute bit does.
        let special = 0o4000 >> (at / 3);
        bits |= match (at % 3, letter) {
            (_, b'-') => 0,
            (0, b'r') | (1, b'w') | (2, b'x') => bit,
            (2, b's' | b't') => bit | special,
            // `l` is mandatory locking on System V: set-group-ID without execute.
            (2, b'S' | b'T' | b'l' | b'L') => special,
            _ => return None,
        };
    }
    Some(bits)
}

/// The firm end of a line: size, date and name.
pub(super) struct Tail<'a> {
    pub(super) size: Option<u64>,
    pub(super) modified: Option<Modified>,
    pub(super) name: &'a [u8],
}

impl<'a> Tail<'a> {
    /// Finds the first date that has a size before it, or else the first date of a line without a size.
    pub(super) fn find(text: &'a [u8], dates: &Dates) -> Option<Self> {
        let mut fallback = None;
        let mut previous: [&[u8]; 2] = [b"", b""];
        let mut at = 0;
        for count in 0.. {
            let Some((this, end)) = word(text, at) else {
                break;
            };
            let start = end - this.len();
            if let Some(size) = size(previous)
                && let Some(mut tail) = Self::begin(text, start, dates)
            {
                tail.size = size.filter(|_| count != 3 || !is_of_two_forks(&text[..start]));
                // After `-rw-r--r-- 1` comes an owner, who may be called Jan; with nothing better it is the date.
                if count > 1 {
                    return Some(tail);
                }
                fallback.get_or_insert(tail);
            }
            previous = [previous[1], this];
            at = end;
        }
        fallback.or_else(|| Self::find_without_size(text, dates))
    }

    fn find_without_size(text: &'a [u8], dates: &Dates) -> Option<Self> {
        let mut at = 0;
        while let Some((this, end)) = word(text, at) {
            if let Some(tail) = Self::begin(text, end - this.len(), dates) {
                return Some(tail);
            }
            at = end;
        }
        None
    }

    /// The date that begins at `start`, and the name after it.
    fn begin(text: &'a [u8], start: usize, dates: &Dates) -> Option<Self> {
        let found = dates.read(&text[start..])?;
        let name = text[start + found.end..].strip_prefix(b" ");
        Some(Self {
            size: None,
            modified: found.modified,
            name: name.unwrap_or_default(),
        })
    }
}

/// True of what NetPresenz prints before the date of a file with a resource fork: the sizes of the two forks and their
/// sum, of which a download is the second at most.
fn is_of_two_forks(text: &[u8]) -> bool {
    let mut numbers = text
        .split(|&byte| byte == b' ')
        .filter(|text| !text.is_empty());
    let mut next = || numbers.next().map(decimal);
    let forks = (next(), next(), next(), next());
    matches!(forks, (Some(Some(resource)), Some(Some(data)), Some(Some(sum)), None)
        if resource > 0 && resource.checked_add(data) == Some(sum))
}

/// Reads the size that the second word is; `Some(None)` where a device has its numbers, and where a size does not fit
/// or is rounded (`33.5k`).
fn size([before, text]: [&[u8]; 2]) -> Option<Option<u64>> {
    let is_number = |text: &[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    if is_number(text) {
        return Some(decimal(text).filter(|_| !before.ends_with(b",")));
    }
    let is_device = text.split(|&byte| byte == b',').all(is_number);
    // Sizes over 2 GiB are negative on some 32-bit servers.
    let is_negative = text.strip_prefix(b"-").is_some_and(is_number);
    let is_rounded = || match text {
        [number @ .., b'k' | b'K' | b'M' | b'G' | b'T'] => {
            number.split(|&byte| byte == b'.').all(is_number)
        }
        _ => false,
    };
    (is_device || is_negative || is_rounded()).then_some(None)
}

/// Splits `name -> target`; either may hold an arrow itself, and then the size tells: it is the target's length.
fn name_and_target(text: &[u8], size: Option<u64>) -> (&[u8], Option<&[u8]>) {
    const ARROW: &[u8] = b" -> ";
    let arrows = || {
        text.windows(ARROW.len())
            .enumerate()
            .filter(|(_, bytes)| *bytes == ARROW)
            .map(|(at, _)| at)
    };
    let has_size = |at: &usize| size == Some((text.len() - at - ARROW.len()) as u64);
    match arrows().find(has_size).or_else(|| arrows().next()) {
        Some(at) => (
            &text[..at],
            Some(&text[at + ARROW.len()..]).filter(|target| !target.is_empty()),
        ),
        None => (text, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ftp::list::Precision;
    use crate::ftp::time::{Zone, parse_time_val};

    fn parse(line: &[u8]) -> Option<Entry> {
        // 2026-11-21 05:00:00 UTC.
        parse_line(line, &Dates::new(&Zone::UTC, 1_795_237_200))
    }

    fn entry(line: &[u8]) -> Entry {
        parse(line).unwrap_or_else(|| panic!("{} is not read", line.escape_ascii()))
    }

    fn mode(text: &str) -> Option<(Kind, u32)> {
        Mode::parse(text.as_bytes()).map(|mode| (mode.kind, mode.bits))
    }

    #[test]
    fn a_line_of_ls_is_read_whole() {
        let seconds = parse_time_val(b"20261121041300").expect("is a time");
        assert_eq!(
            entry(b"-rw-r--r--    1 1002     1002            5 Nov 21 04:13 a.txt"),
            Entry {
                name: b"a.txt".to_vec(),
                kind: Kind::File,
                size: Some(5),
                modified: Some(Modified {
                    seconds,
                    precision: Precision::Minute
                }),
                mode: Some(0o644),
                target: None,
                line: None,
            }
        );
    }

    #[test]
    fn leading_and_trailing_spaces_belong_to_the_name() {
        assert_eq!(
            entry(b"-rw-r--r-- 1 a b 5 Nov 21 04:13  lead").name,
            b" lead"
        );
        assert_eq!(
            entry(b"-rw-r--r-- 1 a b 5 Nov 21 04:13 trail ").name,
            b"trail "
        );
        assert_eq!(entry(b"-rw-r--r-- 1 a b 5 Nov 21 04:13").name, b"");
    }

    #[test]
    fn owners_may_hold_spaces_and_link_counts_may_be_missing() {
        for line in [
            &b"-rw-r--r--   1 John Doe Domain Users        5 Nov 21 04:13 x"[..],
            b"-rw-r--r-- John Doe 5 Nov 21 04:13 x",
            b"-rw-r--r-- 5 Nov 21 04:13 x",
            b"-rw-r--r-- 1 Jan 12 2048 x 5 Nov 21 04:13 x",
            b"-rw-r--r-- 1 Jan 12 5 Nov 21 04:13 x",
        ] {
            let entry = entry(line);
            assert_eq!(
                (entry.name.as_slice(), entry.size),
                (&b"x"[..], Some(5)),
                "{}",
                line.escape_ascii()
            );
        }
    }

    #[test]
    fn a_name_may_look_like_a_date() {
        let entry = entry(b"-rw-r--r-- 1 1002 1002 5 Nov 21 04:13 report 7 Dec 24 2020 final");
        assert_eq!(
            (entry.name.as_slice(), entry.size),
            (&b"report 7 Dec 24 2020 final"[..], Some(5))
        );
    }

    #[test]
    fn numeric_owners_are_no_days() {
        let entry = entry(b"-rw-r--r-- 1 1002 1002 21 Nov 5 04:13 x");
        assert_eq!(entry.size, Some(21));
        assert_eq!(
            entry.modified.map(|modified| modified.seconds),
            parse_time_val(b"20261105041300")
        );
    }

    #[test]
    fn a_day_may_come_before_the_month() {
        let entry = entry(b"-rw-r--r-- 1 a b 5 21. Nov 04:13 x");
        assert_eq!((entry.name.as_slice(), entry.size), (&b"x"[..], Some(5)));
    }

    #[test]
    fn an_iso_date_is_read() {
        let entry = entry(b"-rw-r--r-- 1 a b 5 2026-11-21 04:13 x");
        assert_eq!((entry.name.as_slice(), entry.size), (&b"x"[..], Some(5)));
    }

    #[test]
    fn an_unknown_date_is_no_time() {
        let entry = entry(b"lrw-rw-rw- 1 ftp ftp               0 ??? ?? ????? broken");
        assert_eq!(
            (entry.name.as_slice(), entry.kind, entry.modified),
            (&b"broken"[..], Kind::Symlink, None)
        );
        assert_eq!(entry.target, None);
    }

    #[test]
    fn mode_strings_have_a_kind_and_bits() {
        for (text, expected) in [
            ("-rw-r--r--", (Kind::File, 0o644)),
            ("d---------", (Kind::Dir, 0)),
            ("lrwxrwxrwx", (Kind::Symlink, 0o777)),
            ("prw-r--r--", (Kind::Other, 0o644)),
            ("brw-rw----", (Kind::Other, 0o660)),
            ("srwxr-xr-x", (Kind::Other, 0o755)),
            ("Drw-r--r--", (Kind::Other, 0o644)),
            ("-rwsr-sr-t", (Kind::File, 0o7755)),
            ("-rwSr-Sr-T", (Kind::File, 0o7644)),
            ("-rw-r-lr--", (Kind::File, 0o2644)),
            ("drwxrwxrwt+", (Kind::Dir, 0o1777)),
            ("-rw-r--r--.", (Kind::File, 0o644)),
            ("-rw-r--r--@", (Kind::File, 0o644)),
            ("Lrwxrwxrwx", (Kind::Symlink, 0o777)),
            ("urwxr-xr-x", (Kind::File, 0o4755)),
            ("dtrwxrwxrwx", (Kind::Dir, 0o1777)),
            ("ugtrwxrwxrwx", (Kind::File, 0o7777)),
            ("Dcrw-rw-rw-", (Kind::Other, 0o666)),
        ] {
            assert_eq!(mode(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn other_words_are_no_mode_strings() {
        for text in [
            "",
            "total",
            "rwxr-xr-x",
            "xrwxr-xr-x",
            "-wr-r--r--",
            "-rw-r--r--x",
            "-rw-r--r-",
            "d-rwxr-xr-x",
        ] {
            assert_eq!(mode(text), None, "{text}");
        }
    }

    #[test]
    fn a_device_has_numbers_in_place_of_a_size() {
        for line in [
            &b"brw-rw---- 1 root disk 8, 0 Nov 21 04:13 sda"[..],
            b"brw-rw---- 1 root disk 8,   0 Nov 21 04:13 sda",
            b"brw-rw---- 1 root disk 8,0 Nov 21 04:13 sda",
        ] {
            let entry = entry(line);
            assert_eq!(
                (entry.name.as_slice(), entry.kind, entry.size),
                (&b"sda"[..], Kind::Other, None)
            );
        }
    }

    #[test]
    fn a_size_that_does_not_fit_is_unknown() {
        assert_eq!(
            entry(b"-rw-r--r-- 1 a b -2147483648 Nov 21 04:13 x").size,
            None
        );
        assert_eq!(
            entry(b"-rw-r--r-- 1 a b 99999999999999999999 Nov 21 04:13 x").size,
            None
        );
    }

    #[test]
    fn a_size_that_is_rounded_or_glued_or_missing_is_unknown() {
        for line in [
            &b"-rw-r--r-- 1 a b 33.5k Nov 21 04:13 x"[..],
            b"-rw-r--r-- 1 a longgroup123456 Nov 21 04:13 x",
            b"-rw-r--r-- 1 a b Nov 21 04:13 x",
        ] {
            let entry = entry(line);
            assert_eq!((entry.name.as_slice(), entry.size), (&b"x"[..], None));
        }
    }

    #[test]
    fn the_sum_of_two_forks_is_no_size() {
        for (line, size) in [
            (
                &b"-------r--  326  1391972  1392298 Nov 22  1995 x"[..],
                None,
            ),
            (
                b"-------r--  0  1391972  1391972 Nov 22  1995 x",
                Some(1_391_972),
            ),
            (b"-rw-r--r-- 1 5 7 Nov 21 04:13 x", Some(7)),
        ] {
            assert_eq!(entry(line).size, size, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn a_long_link_count_may_touch_the_mode() {
        let entry = entry(b"drwxr-x---+1464 a b 41472 Feb 25 13:17 20090225");
        assert_eq!(
            (entry.name.as_slice(), entry.mode),
            (&b"20090225"[..], Some(0o750))
        );
    }

    #[test]
    fn a_link_is_split_at_the_arrow_that_its_size_tells() {
        for (line, name, target) in [
            (
                &b"lrwxrwxrwx 1 a b 6 Nov 21 04:13 l -> /a.txt"[..],
                &b"l"[..],
                Some(&b"/a.txt"[..]),
            ),
            (
                b"lrwxrwxrwx 1 a b 1 Nov 21 04:13 x -> y -> z",
                b"x -> y",
                Some(b"z"),
            ),
            (
                b"lrwxrwxrwx 1 a b 6 Nov 21 04:13 x -> y -> z",
                b"x",
                Some(b"y -> z"),
            ),
            (
                b"lrwxrwxrwx 1 a b 0 Nov 21 04:13 x -> y -> z",
                b"x",
                Some(b"y -> z"),
            ),
            (b"lrwxrwxrwx 1 a b 4 Nov 21 04:13 x -> ", b"x", None),
            (b"Lrwxrwxrwx 1 a b 6 Nov 21 04:13 l", b"l", None),
        ] {
            let entry = entry(line);
            assert_eq!(
                (entry.name.as_slice(), entry.target.as_deref()),
                (name, target)
            );
            assert_eq!((entry.kind, entry.size), (Kind::Symlink, None));
        }
    }

    #[test]
    fn an_arrow_in_the_name_of_a_file_is_part_of_it() {
        assert_eq!(
            entry(b"-rw-r--r-- 1 a b 5 Nov 21 04:13 a -> b").name,
            b"a -> b"
        );
    }

    #[test]
    fn blocks_and_other_prefixes_are_skipped() {
        for line in [
            &b"   4 -rw-r--r-- 1 a b 5 Nov 21 04:13 x"[..],
            b"%s-rw-r--r-- 1 a b 5 Nov 21 04:13 x",
            b" -rw-r--r-- 1 a b 5 Nov 21 04:13 x",
        ] {
            assert_eq!(entry(line).name, b"x");
        }
    }

    #[test]
    fn what_is_not_a_line_of_ls_is_not_read() {
        for line in [
            &b""[..],
            b"   ",
            b"name",
            b"%s",
            b"ls: cannot access 'x': No such file or directory",
            b"sh: 1: ls: not found",
            b"-rw-r--r--",
            b"-rw-r--r-- 1 a b 5",
            b"-rw-r--r-- 1 a b 5 Nob 21 04:13 x",
            b"drwxr-xr-x 3 a b 512 x",
        ] {
            assert_eq!(parse(line), None, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn a_total_is_a_word_and_a_number() {
        assert!(is_total(b"total 12"));
        assert!(is_total(b"insgesamt 12K"));
        assert!(is_total("总用量 12".as_bytes()));
        assert!(!is_total(b"total"));
        assert!(!is_total(b"total 12 files"));
        assert!(!is_total(b"totals 12"));
    }
}
