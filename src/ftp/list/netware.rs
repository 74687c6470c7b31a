//! The listing of Novell NetWare: `- [RWCEAFMS] owner      19968 Mar 12 15:20 name`.
//!
//! Shapes as in the tests of Apache Commons Net and of FileZilla, and in NFTP's notes. The letters in brackets are the
//! user's rights, not permission bits.

use super::date::Dates;
use super::unix::Tail;
use super::{Entry, Kind};

/// Parses one line; the name is not yet checked.
pub(super) fn parse_line(line: &[u8], dates: &Dates) -> Option<Entry> {
    let (kind, rest) = match line {
        [b'd', rest @ ..] => (Kind::Dir, rest),
        [b'-', rest @ ..] => (Kind::File, rest),
        _ => return None,
    };
    // HellSoft's server leaves no space before the bracket.
    let rest = rest.strip_prefix(b" ").unwrap_or(rest);
    let rest = rest.strip_prefix(b"[")?;
    let end = rest.iter().position(|&byte| byte == b']')?;
    let is_right = |byte: &u8| byte.is_ascii_uppercase() || b"- ".contains(byte);
    if !rest[..end].iter().all(is_right) {
        return None;
    }
    let tail = Tail::find(&rest[end + 1..], dates)?;
    Some(Entry {
        // Older ones pad it.
        name: tail.name.trim_ascii_start().to_vec(),
        kind,
        size: tail.size.filter(|_| kind == Kind::File),
        modified: tail.modified,
        mode: None,
        target: None,
        line: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ftp::time::Zone;

    #[test]
    fn what_is_not_a_netware_line_is_not_read() {
        for line in [
            &b"a [-----F--] owner  512 Apr 13 23:52 SYS"[..],
            b"d [----AF--] 0  512 10-04-2001",
            b"d [rwxr-x] owner  512 Apr 13 23:52 SYS",
            b"d [-----F--",
            b"-",
        ] {
            let entry = parse_line(line, &Dates::new(&Zone::UTC, 1_795_237_200));
            let named = entry.filter(|entry| !entry.name.is_empty());
            assert_eq!(named, None, "{}", line.escape_ascii());
        }
    }
}
