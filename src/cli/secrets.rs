//! Where passwords stand in the arguments, which are erased there.

use std::ffi::OsString;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;

use super::options::SECRETS;
use crate::ftp::url;

/// Where passwords stand in `arguments`, which need not be valid.
pub fn spans(arguments: &[OsString]) -> Vec<(usize, Range<usize>)> {
    let mut spans = Vec::new();
    let mut whole = false;
    for (index, argument) in arguments.iter().enumerate() {
        let bytes = argument.as_bytes();
        if std::mem::take(&mut whole) {
            spans.push((index, 0..bytes.len()));
            continue;
        }
        for name in SECRETS {
            whole |= bytes.strip_prefix(b"--") == Some(name.as_bytes());
            let assignment = [name.as_bytes(), b"="].concat();
            let found = bytes
                .windows(assignment.len())
                .position(|w| w == assignment);
            // To the end, since a password may hold a comma that should have been escaped.
            spans.extend(found.map(|at| (index, at + assignment.len()..bytes.len())));
        }
        // A flag can hold an address as well: that of a proxy.
        if !bytes.starts_with(b"-") || bytes.windows(3).any(|w| w == b"://") {
            spans.extend(url::password_span(bytes).map(|span| (index, span)));
        }
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_found_in_arguments() {
        for (line, secrets) in [
            ("ftpfs ftp://bob:s@h/ /m", vec!["s"]),
            ("ftpfs -o password=s,ro ftp://b:t@h/ /m", vec!["s,ro", "t"]),
            ("ftpfs -opassword=s --account=t", vec!["s", "t"]),
            ("ftpfs --password s --account t x", vec!["s", "t"]),
            ("ftpfs -o user=bob,pass=s", vec!["s"]),
            (
                "ftpfs --proxy=socks5://b:s@h ftp://h/ -oproxy=http://b:t@h",
                vec!["s", "t"],
            ),
            ("ftpfs ftp://bob@h/ /m -o user=b", vec![]),
        ] {
            let arguments: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            let found: Vec<&str> = spans(&arguments)
                .into_iter()
                .map(|(index, span)| &arguments[index].to_str().expect("ASCII")[span])
                .collect();
            assert_eq!(found, secrets, "{line}");
        }
    }
}
