//! The parsers against what real servers sent (`tests/data/listings`), and against what none should.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::{
    Entry, Kind, Modified, Parsed, Precision, is_noise, lines, mvs, parse_list, parse_mlsd,
    parse_mlst,
};
use crate::ftp::time::{Zone, format_time_val, parse_time_val};

/// 2026-11-21 05:00:00 UTC, soon after the samples were taken; other samples say in their name when they were.
const NOW: i64 = 1_795_237_200;

/// Set to write the expected files anew; read them before they are committed.
const UPDATE: &str = "FTPFS_UPDATE_LISTINGS";

#[test]
fn every_sample_is_parsed_as_expected() {
    let samples = samples();
    assert!(samples.len() > 100, "only {} samples", samples.len());
    for sample in samples {
        let parsed = print(&parse(&sample));
        let file = PathBuf::from(format!("{}.expected", sample.display()));
        if std::env::var_os(UPDATE).is_some() {
            fs::write(&file, &parsed).expect("the folder of the samples is writable");
        }
        let expected = fs::read_to_string(&file).unwrap_or_default();
        assert_eq!(
            parsed,
            expected,
            "{} is parsed in another way",
            sample.display()
        );
    }
}

/// Parses a sample by the verb in its name, and at the time in it: `server.VERB.folder[@YYYYMMDDHHMMSS]`.
fn parse(sample: &Path) -> Parsed {
    let body = fs::read(sample).expect("a sample is readable");
    let name = sample
        .file_name()
        .and_then(|name| name.to_str())
        .expect("the name of a sample is UTF-8");
    match name.split('.').nth(1) {
        Some("MLSD") => parse_mlsd(&body),
        Some("MLST") => {
            let facts = body
                .split_inclusive(|&byte| byte == b'\n')
                .filter_map(parse_mlst);
            Parsed {
                entries: facts.collect(),
                ..Parsed::default()
            }
        }
        _ => {
            let now = name
                .split_once('@')
                .map_or(Some(NOW), |(_, now)| parse_time_val(now.as_bytes()));
            parse_list(&body, &Zone::UTC, now.expect("is a time"))
        }
    }
}

fn samples() -> Vec<PathBuf> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/listings");
    let mut samples: Vec<_> = fs::read_dir(folder)
        .expect("the folder of the samples is there")
        .map(|file| file.expect("the folder of the samples is readable").path())
        .filter(|file| {
            file.extension()
                .is_none_or(|extension| extension != "expected")
        })
        .collect();
    samples.sort();
    samples
}

/// One line per entry, `kind size time/precision mode "name" [-> "target"]`, and a last one for the rest.
fn print(parsed: &Parsed) -> String {
    let mut text: String = parsed.entries.iter().map(print_entry).collect();
    text += &format!(
        "dot={} unreadable={}",
        if parsed.has_dot { "yes" } else { "no" },
        parsed.unreadable
    );
    if let Some(line) = &parsed.first_unreadable {
        text += &format!(" first=\"{}\"", line.escape_ascii());
    }
    text + "\n"
}

fn print_entry(entry: &Entry) -> String {
    let kind = match entry.kind {
        Kind::File => "file",
        Kind::Dir => "dir",
        Kind::Symlink => "symlink",
        Kind::Other => "other",
    };
    let size = entry.size.map_or("-".to_owned(), |size| size.to_string());
    let mode = entry
        .mode
        .map_or("-".to_owned(), |mode| format!("{mode:04o}"));
    let target = entry.target.as_ref().map_or(String::new(), |target| {
        format!(" -> \"{}\"", target.escape_ascii())
    });
    let time = entry.modified.map_or("-".to_owned(), print_time);
    format!(
        "{kind} {size} {time} {mode} \"{}\"{target}\n",
        entry.name.escape_ascii()
    )
}

fn print_time(modified: Modified) -> String {
    let precision = match modified.precision {
        Precision::Day => "day",
        Precision::Minute => "minute",
        Precision::Second => "second",
    };
    format!(
        "{}/{precision}",
        format_time_val(modified.seconds).expect("samples are of our time")
    )
}

/// Arbitrary bytes, half of them out of what listings are made of.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let telling =
        proptest::sample::select(b" \r\n\t\0./:;=-+,?<>[]%0123456789drwxlstLugNovJan".to_vec());
    proptest::collection::vec(prop_oneof![any::<u8>(), telling], 0..400)
}

fn bodies() -> Vec<Vec<u8>> {
    let read = |sample: &PathBuf| fs::read(sample).expect("a sample is readable");
    samples().iter().map(read).collect()
}

/// A real sample with some bytes put in, overwritten or taken out.
fn mutated_sample() -> impl Strategy<Value = Vec<u8>> {
    let bodies = bodies();
    let changes = proptest::collection::vec((any::<prop::sample::Index>(), 0..3u8, bytes()), 1..12);
    (proptest::sample::select(bodies), changes).prop_map(|(mut body, changes)| {
        for (at, kind, bytes) in changes {
            let at = at.index(body.len() + 1);
            let bytes = &bytes[..bytes.len().min(8)];
            let end = (at + bytes.len()).min(body.len());
            match kind {
                0 => drop(body.splice(at..at, bytes.iter().copied())),
                1 => drop(body.splice(at..end, bytes.iter().copied())),
                _ => drop(body.drain(at..end)),
            }
        }
        body
    })
}

fn assert_only_safe_names(parsed: &Parsed) {
    for Entry { name, .. } in &parsed.entries {
        let is_safe = !name.is_empty()
            && name != b"."
            && name != b".."
            && !name.contains(&b'/')
            && !name.contains(&0);
        assert!(is_safe, "{}", name.escape_ascii());
    }
    assert_eq!(parsed.unreadable > 0, parsed.first_unreadable.is_some());
}

/// The lines that are entries wherever they stand: the dialects that look around are left out.
fn lines_of_their_own() -> Vec<Vec<u8>> {
    let bodies = bodies();
    let lines = bodies.iter().flat_map(|body| lines(body));
    lines
        .filter(|line| !line.contains(&b';') && !line.contains(&b'*'))
        .filter(|line| parse_list(line, &Zone::UTC, NOW).entries.len() == 1)
        .map(<[u8]>::to_vec)
        .collect()
}

fn parse_lines(lines: &[Vec<u8>], end: &[u8]) -> Parsed {
    let body: Vec<u8> = lines.iter().flat_map(|line| [line, end].concat()).collect();
    parse_list(&body, &Zone::UTC, NOW)
}

#[test]
fn a_cut_line_has_no_other_name() {
    // A folder's mark is at the end, and an owner who is called like a date may be one.
    let is_told = |line: &Vec<u8>| {
        let is_owner = line.windows(11).any(|text| text == b"Jan 12 2048");
        !line.ends_with(b"/") && !line.ends_with(b"<DIR>") && !is_owner
    };
    for line in lines_of_their_own().into_iter().filter(is_told) {
        let whole = parse_list(&line, &Zone::UTC, NOW).entries.remove(0);
        let target = whole.target.as_deref().unwrap_or_default();
        // What an arrow's begin looks like is part of a name.
        let text = [&whole.name, &b" -> "[..], target].concat();
        for cut in 0..line.len() {
            for entry in parse_list(&line[..cut], &Zone::UTC, NOW).entries {
                // Part of a time, which some forms of a date may be without.
                let is_of_date = |byte: &u8| b"0123456789:.+- ".contains(byte);
                assert!(
                    text.starts_with(&entry.name) || entry.name.iter().all(is_of_date),
                    "{}",
                    line[..cut].escape_ascii()
                );
                assert_eq!(entry.kind, whole.kind, "{}", line[..cut].escape_ascii());
            }
        }
    }
}

/// It takes very long if the work is not in proportion to the length.
#[test]
fn a_long_line_is_read_in_one_pass() {
    let starts = [
        "",
        "-rw-r--r-- 1 ",
        "11-21-26  04:13AM ",
        "d [R----F--] ",
        "5 ",
        "NAME.EXT;1 ",
        "* ",
    ];
    for start in starts {
        for part in [
            "1 ",
            "a ",
            " ",
            "1",
            "Nov ",
            "1 Nov 21 ",
            "9/9 ",
            "1-1-1 ",
            "A ",
            " -> ",
            ":[",
            ";",
            "]",
        ] {
            let mut body = b"Volume Unit Dsname\n".to_vec();
            body.extend(start.as_bytes());
            body.extend(part.as_bytes().repeat((1 << 15) / part.len()));
            assert_only_safe_names(&parse_list(&body, &Zone::UTC, NOW));
            body.extend(b"\n");
            body.extend([start, part, "\n"].concat().repeat(1 << 11).as_bytes());
            assert_only_safe_names(&parse_list(&body, &Zone::UTC, NOW));
        }
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic_nor_make_unsafe_names(body in bytes(), east in any::<i32>(), now in any::<i64>()) {
        assert_only_safe_names(&parse_list(&body, &Zone::Offset(east), now));
        assert_only_safe_names(&parse_mlsd(&body));
        parse_mlst(&body);
    }

    #[test]
    fn mutated_samples_never_panic_nor_make_unsafe_names(body in mutated_sample(), now in any::<i64>()) {
        assert_only_safe_names(&parse_list(&body, &Zone::UTC, now));
        assert_only_safe_names(&parse_mlsd(&body));
        body.split(|&byte| byte == b'\n').for_each(|line| drop(parse_mlst(line)));
    }

    #[test]
    fn every_line_is_an_entry_or_noise_or_unreadable(body in mutated_sample()) {
        for line in lines(&body) {
            let parsed = parse_list(line, &Zone::UTC, NOW);
            let is_header = mvs::Table::of_header(line).is_some();
            let seen = parsed.entries.len() + usize::from(parsed.has_dot) + parsed.unreadable;
            assert_eq!(seen, usize::from(!is_noise(line) && !is_header), "{}", line.escape_ascii());
        }
        let parsed = parse_list(&body, &Zone::UTC, NOW);
        assert!(parsed.entries.len() + parsed.unreadable <= lines(&body).count());
    }

    #[test]
    fn the_ends_of_lines_do_not_matter(mut body in mutated_sample()) {
        body.retain(|&byte| byte != b'\r');
        let expected = parse_list(&body, &Zone::UTC, NOW);
        let body = body.split(|&byte| byte == b'\n').collect::<Vec<_>>().join(&b"\r\n"[..]);
        assert_eq!(parse_list(&body, &Zone::UTC, NOW), expected);
    }

    #[test]
    fn entries_do_not_depend_on_the_lines_around(
        lines in proptest::collection::vec(proptest::sample::select(lines_of_their_own()), 0..8),
        message in "[a-z ]{0,20}",
    ) {
        let alone = lines.iter().flat_map(|line| parse_list(line, &Zone::UTC, NOW).entries);
        let expected: Vec<_> = alone.collect();
        assert_eq!(parse_lines(&lines, b"\n").entries, expected);
        assert_eq!(parse_lines(&lines, format!("\r\n!{message}\r\n").as_bytes()).entries, expected);
    }
}
