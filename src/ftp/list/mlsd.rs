//! `MLSD` and `MLST` (RFC 3659 s7): `type=file;size=5;modify=20261121041352; name`.
//!
//! Owners and `perm` are not kept: a mount shows its own owner, and servers disagree on what `perm` promises.
//! libunftp and ftpserverlib say `type=file` for a link, with the link's own size, and ProFTPD's `MLST` does so with
//! `UNIX.mode=0777`; a line alone does not show it, so these stay files here.

use percent_encoding::percent_decode;

use super::{Entry, Kind, Modified, Precision, octal};
use crate::ftp::time::{decimal, parse_time_val};

/// One line: its facts, and whose they are.
pub(super) struct Line {
    /// The entry, its name as sent and not yet checked.
    pub(super) entry: Entry,
    /// Whose facts these are.
    pub(super) place: Place,
}

/// Whose facts a line holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// An entry of the folder.
    Inside,
    /// The folder itself (`cdir`) or its parent (`pdir`).
    Itself,
}

/// Parses one line; `None` if it has no facts, like the second half of a name with a line feed in it.
pub(super) fn parse_line(line: &[u8]) -> Option<Line> {
    let (facts, name) = split(line)?;
    let mut parsed = Line {
        entry: Entry {
            name: name.to_vec(),
            // What Apache FtpServer leaves out for a dangling link.
            kind: Kind::Other,
            size: None,
            modified: None,
            mode: None,
            target: None,
            line: None,
        },
        place: Place::Inside,
    };
    let mut is_known = false;
    for (fact, value) in facts.split(|&byte| byte == b';').filter_map(fact_and_value) {
        let name = |name: &str| fact.eq_ignore_ascii_case(name.as_bytes());
        if name("type") {
            parsed.read_type(value);
        } else if name("size") {
            parsed.entry.size = decimal(value);
        } else if name("modify") {
            parsed.entry.modified = parse_time_val(value).map(|seconds| Modified {
                seconds,
                precision: Precision::Second,
            });
        } else if name("unix.mode") {
            // pyftpdlib 2.2 writes it as Python does: `0o755`.
            parsed.entry.mode = octal(value.strip_prefix(b"0o").unwrap_or(value));
        } else if name("unix.slink") {
            // Globus gives this beside the target's own type, and encodes it as in a URL.
            parsed.entry.target = Some(percent_decode(value).collect());
        } else if !(name("perm") || name("unique")) {
            continue;
        }
        is_known = true;
    }
    if parsed.entry.target.is_some() {
        parsed.entry.kind = Kind::Symlink;
    }
    if parsed.entry.kind == Kind::Symlink {
        // The link's own (Pure-FTPd, ProFTPD), or its target's (FileZilla, Globus).
        parsed.entry.size = None;
    }
    is_known.then_some(parsed)
}

impl Line {
    fn read_type(&mut self, value: &[u8]) {
        let is = |kind: &str| value.eq_ignore_ascii_case(kind.as_bytes());
        if is("file") {
            self.entry.kind = Kind::File;
        } else if is("dir") {
            self.entry.kind = Kind::Dir;
        } else if is("cdir") || is("pdir") {
            self.entry.kind = Kind::Dir;
            self.place = Place::Itself;
        } else if let Some(target) = link_target(value) {
            self.entry.kind = Kind::Symlink;
            if !target.is_empty() {
                self.entry.target = Some(target.to_vec());
            }
        }
    }
}

/// What follows `OS.unix=slink` in a type; empty where the server keeps the target to itself.
fn link_target(value: &[u8]) -> Option<&[u8]> {
    // RFC 3659 s7.5.1.5 leaves `OS.` types to the systems: Pure-FTPd says slink with a colon, ProFTPD and FileZilla
    // symlink, ProFTPD with FactsOptions UseSlink the target too.
    [&b"OS.unix=slink"[..], b"OS.unix=symlink"]
        .into_iter()
        .find_map(|prefix| {
            let (start, rest) = value.split_at_checked(prefix.len())?;
            if !start.eq_ignore_ascii_case(prefix) {
                return None;
            }
            match rest {
                [] => Some(rest),
                [b':', target @ ..] => Some(target),
                _ => None,
            }
        })
}

/// Splits a line into facts and name.
///
/// The name begins after the first `; ` before which there are only facts: owners may hold spaces, and names anything.
/// Without one, after the first space: some leave out the last semicolon.
pub(super) fn split(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut spaces = (0..line.len()).filter(|&at| line[at] == b' ');
    let first = spaces.clone().next().unwrap_or(line.len());
    let end = spaces
        .find(|&at| at > 0 && line[at - 1] == b';')
        .filter(|&at| are_facts(&line[..at]))
        .unwrap_or(first);
    let facts = &line[..end];
    are_facts(facts).then(|| (facts, line.get(end + 1..).unwrap_or_default()))
}

fn are_facts(text: &[u8]) -> bool {
    text.split(|&byte| byte == b';')
        .all(|fact| fact.is_empty() || fact_and_value(fact).is_some())
}

/// Splits at the first `=`: a value may hold more of them (`type=OS.unix=slink:/a`).
pub(super) fn fact_and_value(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let equals = text.iter().position(|&byte| byte == b'=')?;
    let (fact, value) = (&text[..equals], &text[equals + 1..]);
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b".-_/".contains(byte);
    (!fact.is_empty() && fact.iter().all(is_name)).then_some((fact, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(line: &[u8]) -> Entry {
        parse_line(line).expect("is a line of facts").entry
    }

    #[test]
    fn a_mode_may_be_written_as_python_does() {
        let mode = |line: &[u8]| entry(line).mode;
        assert_eq!(mode(b"type=dir;unix.mode=0o700; b"), Some(0o700));
        assert_eq!(mode(b"type=dir;unix.mode=0700; b"), Some(0o700));
    }

    #[test]
    fn facts_are_read_in_any_case() {
        let entry = entry(
            b"Type=File;SIZE=25730;Modify=20261121041352.123;unix.MODE=04755; cap60.pl198.tar.gz",
        );
        assert_eq!(entry.name, b"cap60.pl198.tar.gz");
        assert_eq!(
            (entry.kind, entry.size, entry.mode),
            (Kind::File, Some(25730), Some(0o4755))
        );
        assert_eq!(
            entry.modified,
            Some(Modified {
                seconds: 1_795_234_432,
                precision: Precision::Second
            })
        );
    }

    #[test]
    fn a_name_begins_after_one_space_and_may_hold_anything() {
        assert_eq!(entry(b"type=file;  lead").name, b" lead");
        assert_eq!(entry(b"type=file; semi; co=lon ").name, b"semi; co=lon ");
        assert_eq!(entry(b"type=file; ").name, b"");
        assert_eq!(entry(b"type=file;").name, b"");
    }

    #[test]
    fn an_owner_may_hold_spaces() {
        let entry =
            entry(b"type=file;UNIX.ownername=John Doe;UNIX.groupname=Domain Users;size=3; a b");
        assert_eq!((entry.name.as_slice(), entry.size), (&b"a b"[..], Some(3)));
    }

    #[test]
    fn a_missing_last_semicolon_is_forgiven() {
        let entry = entry(b"type=file;size=3 a b");
        assert_eq!((entry.name.as_slice(), entry.size), (&b"a b"[..], Some(3)));
    }

    #[test]
    fn links_are_links_in_every_spelling() {
        for (line, target) in [
            (&b"type=OS.unix=slink:;size=7; l"[..], None),
            (b"type=OS.unix=slink;size=7; l", None),
            (b"type=OS.unix=symlink;size=7; l", None),
            (b"type=os.UNIX=SLINK:/a=b c;size=7; l", Some(&b"/a=b c"[..])),
            (
                b"Type=dir;Size=7;UNIX.slink=/John%20Doe; l",
                Some(b"/John Doe"),
            ),
            (b"UNIX.slink=/a;Type=file;Size=7; l", Some(b"/a")),
        ] {
            let entry = entry(line);
            assert_eq!(entry.name, b"l");
            assert_eq!(
                (entry.kind, entry.size),
                (Kind::Symlink, None),
                "{}",
                line.escape_ascii()
            );
            assert_eq!(entry.target.as_deref(), target);
        }
    }

    #[test]
    fn unknown_and_missing_types_are_other() {
        for line in [
            &b"type=unknown;size=0; fifo"[..],
            b"type=OS.unix=chr-1/3; null",
            b"type=OS.unix=slinky; x",
            b"size=0;modify=20261121041352; dangling",
        ] {
            assert_eq!(entry(line).kind, Kind::Other);
        }
    }

    #[test]
    fn permission_bits_may_be_written_as_in_python() {
        assert_eq!(entry(b"type=file;unix.mode=0o600; f").mode, Some(0o600));
    }

    #[test]
    fn a_bad_value_is_a_missing_value() {
        let entry = entry(b"type=file;size=-1;modify=yesterday;unix.mode=rwx; x");
        assert_eq!((entry.size, entry.modified, entry.mode), (None, None, None));
    }

    #[test]
    fn the_size_of_a_folder_as_sizd_is_ignored() {
        assert_eq!(entry(b"type=dir;sizd=4096; d").size, None);
    }

    #[test]
    fn the_folder_itself_and_its_parent_are_not_inside() {
        for line in [&b"type=cdir;perm=el; /pub"[..], b"type=pdir;perm=el; .."] {
            let line = parse_line(line).expect("is a line of facts");
            assert_eq!((line.place, line.entry.kind), (Place::Itself, Kind::Dir));
        }
    }

    #[test]
    fn a_line_without_known_facts_is_nothing() {
        for line in [
            &b""[..],
            b" ",
            b" name",
            b"name",
            b"a=b; c",
            b"250 End",
            b"Listing type=file; x",
            b"no type=file; x",
        ] {
            assert!(parse_line(line).is_none(), "{}", line.escape_ascii());
        }
    }
}
