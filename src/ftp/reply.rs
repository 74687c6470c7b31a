//! Replies: bytes from the control connection as values (RFC 959 s4.2).

use std::fmt;

use super::path::printable;

/// A whole reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The three digits.
    pub code: u16,
    /// The text of each line without code, separator and line end.
    pub lines: Vec<Vec<u8>>,
}

impl Reply {
    /// 1xx: another reply follows.
    pub fn is_preliminary(&self) -> bool {
        self.code / 100 == 1
    }

    /// 2xx: done.
    pub fn is_success(&self) -> bool {
        self.code / 100 == 2
    }

    /// 3xx: the server waits for the next command of the sequence.
    pub fn is_intermediate(&self) -> bool {
        self.code / 100 == 3
    }

    /// The text of the last line.
    pub fn last(&self) -> &[u8] {
        self.lines.last().map_or(b"", |line| line)
    }

    /// Whether any line says `word`, in any case.
    pub fn says(&self, word: &str) -> bool {
        self.lines.iter().any(|line| {
            line.to_ascii_lowercase()
                .windows(word.len())
                .any(|w| w == word.as_bytes())
        })
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code, printable(self.last()))
    }
}

/// Puts lines together into replies, across any split of the bytes.
#[derive(Debug, Default)]
pub struct Assembler {
    open: Option<Reply>,
}

impl Assembler {
    /// Takes one line, without its line end; the reply if this line ends one.
    ///
    /// A line that neither begins a reply nor belongs to one is dropped: some servers send stray lines (an empty line
    /// inside a FEAT reply, a CRLF inside an error text).
    pub fn push(&mut self, line: &[u8]) -> Option<Reply> {
        let head = parse_head(line);
        match (&mut self.open, head) {
            (Some(open), Some((code, b' '))) if code == open.code => {
                open.lines.push(line.get(4..).unwrap_or_default().to_vec());
                self.open.take()
            }
            (Some(open), Some((code, b'-'))) if code == open.code => {
                open.lines.push(line[4..].to_vec());
                None
            }
            (Some(open), _) => {
                open.lines.push(line.to_vec());
                None
            }
            (None, Some((code, b' '))) => Some(Reply {
                code,
                lines: vec![line.get(4..).unwrap_or_default().to_vec()],
            }),
            (None, Some((code, _))) => {
                self.open = Some(Reply {
                    code,
                    lines: vec![line[4..].to_vec()],
                });
                None
            }
            (None, None) => None,
        }
    }
}

/// Code and separator of a line that begins or ends a reply; a bare code counts as ended by a space.
pub fn parse_head(line: &[u8]) -> Option<(u16, u8)> {
    let digits = line.get(..3)?;
    if !digits.iter().all(u8::is_ascii_digit) || !(b'1'..=b'6').contains(&digits[0]) {
        return None;
    }
    let code = digits
        .iter()
        .fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
    match line.get(3) {
        None | Some(b' ') => Some((code, b' ')),
        Some(b'-') => Some((code, b'-')),
        Some(_) => None,
    }
}

/// The port in a 229 reply, `(|||port|)` with any delimiter (RFC 2428 s3).
pub fn parse_epsv(text: &[u8]) -> Option<u16> {
    let start = text.iter().position(|&b| b == b'(')? + 1;
    let delimiter = *text.get(start)?;
    let mut fields = text[start..].split(|&b| b == delimiter);
    let port = fields.nth(3)?;
    std::str::from_utf8(port)
        .ok()?
        .parse()
        .ok()
        .filter(|&port| port != 0)
}

/// Address and port in a 227 reply: six numbers, wherever they stand (RFC 1123 s4.1.2.6).
pub fn parse_pasv(text: &[u8]) -> Option<(std::net::Ipv4Addr, u16)> {
    for (start, _) in text.iter().enumerate().filter(|(_, b)| b.is_ascii_digit()) {
        if start > 0 && text[start - 1].is_ascii_digit() {
            continue;
        }
        let end = text[start..]
            .iter()
            .position(|b| !b.is_ascii_digit() && *b != b',')
            .map_or(text.len(), |length| start + length);
        let numbers: Vec<u8> = std::str::from_utf8(&text[start..end])
            .ok()?
            .trim_end_matches(',')
            .split(',')
            .map_while(|number| number.parse().ok())
            .collect();
        if let [a, b, c, d, high, low] = numbers[..] {
            let port = u16::from_be_bytes([high, low]);
            return (port != 0).then_some((std::net::Ipv4Addr::new(a, b, c, d), port));
        }
    }
    None
}

/// The path in a 257 reply: from the first `"` to the last, `""` standing for `"` only where every inner quote is
/// doubled (RFC 959 appendix II; Pure-FTPd does not double).
pub fn parse_quoted_path(text: &[u8]) -> Option<Vec<u8>> {
    let first = text.iter().position(|&b| b == b'"')?;
    let last = text
        .iter()
        .rposition(|&b| b == b'"')
        .filter(|&last| last > first)?;
    let inner = &text[first + 1..last];
    let mut plain = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte == b'"' {
            match rest.split_first() {
                Some((b'"', tail)) => rest = tail,
                _ => return Some(inner.to_vec()),
            }
        }
        plain.push(byte);
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn assemble(text: &str) -> Vec<Reply> {
        let mut assembler = Assembler::default();
        text.lines()
            .filter_map(|line| assembler.push(line.as_bytes()))
            .collect()
    }

    #[test]
    fn a_multi_line_reply_ends_only_at_its_own_code_and_a_space() {
        let replies =
            assemble("220-Welcome\n 220 inside\n226 not the end\n220-more\n220 ready\n331 next");
        assert_eq!(
            replies.iter().map(|reply| reply.code).collect::<Vec<_>>(),
            [220, 331]
        );
        assert_eq!(replies[0].lines.len(), 5);
    }

    #[test]
    fn stray_lines_between_replies_are_dropped() {
        let replies = assemble("junk\n\n226 done\n12 x\n250 ok");
        assert_eq!(
            replies.iter().map(|reply| reply.code).collect::<Vec<_>>(),
            [226, 250]
        );
    }

    #[test]
    fn passive_addresses_are_found_wherever_they_stand() {
        let address = Some((std::net::Ipv4Addr::new(127, 0, 0, 1), 33882));
        for text in [
            "Entering Passive Mode (127,0,0,1,132,90).",
            "=127,0,0,1,132,90",
            "at 7 o'clock 127,0,0,1,132,90",
        ] {
            assert_eq!(parse_pasv(text.as_bytes()), address, "{text}");
        }
        for text in ["(127,0,0,1,132)", "(256,0,0,1,1,1)", "(127,0,0,1,0,0)", ""] {
            assert_eq!(parse_pasv(text.as_bytes()), None, "{text}");
        }
        assert_eq!(parse_epsv(b"Extended Passive Mode (|||6446|)"), Some(6446));
        assert_eq!(parse_epsv(b"(!!!6446!)"), Some(6446));
        assert_eq!(parse_epsv(b"(|||0|)"), None);
        assert_eq!(parse_epsv(b"(|||99999|)"), None);
    }

    #[test]
    fn quotes_in_a_path_are_undoubled_only_where_all_are_doubled() {
        assert_eq!(
            parse_quoted_path(b"\"/a\"\"b\" is the current directory").as_deref(),
            Some(&b"/a\"b"[..])
        );
        assert_eq!(
            parse_quoted_path(b"\"/a\"b\" is").as_deref(),
            Some(&b"/a\"b"[..])
        );
        assert_eq!(parse_quoted_path(b"/a"), None);
    }

    proptest! {
        #[test]
        fn no_bytes_break_the_parsers(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut assembler = Assembler::default();
            for line in bytes.split(|&b| b == b'\n') {
                assembler.push(line);
            }
            parse_epsv(&bytes);
            parse_pasv(&bytes);
            parse_quoted_path(&bytes);
        }
    }
}
