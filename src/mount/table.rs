//! The kernel's mount table, /proc/self/mountinfo: read without touching any mounted filesystem,
//! so it answers where one hangs.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// `major:minor` of its device: unlike every other live mount's.
    pub device: String,
    /// Where it is.
    pub path: PathBuf,
    /// `fuse.ftpfs`, `ext4`, ..
    pub kind: String,
    /// What is mounted.
    pub source: OsString,
}

/// The mount on top of `path`; `None` if it is not a mountpoint.
///
/// # Errors
/// /proc cannot be read.
pub fn top_at(path: &Path) -> io::Result<Option<Entry>> {
    let table = parse(&fs::read("/proc/self/mountinfo")?);
    Ok(table.into_iter().rfind(|entry| entry.path == path))
}

/// The lines of proc_pid_mountinfo(5), in the order of mounting; others are left out.
fn parse(text: &[u8]) -> Vec<Entry> {
    text.split(|&b| b == b'\n').filter_map(entry).collect()
}

fn entry(line: &[u8]) -> Option<Entry> {
    let mut fields = line.split(|&b| b == b' ');
    let device = fields.nth(2)?;
    let path = fields.nth(1)?;
    // A varying number of optional fields ends with `-`.
    fields.find(|field| *field == b"-")?;
    let kind = fields.next()?;
    let source = fields.next()?;
    Some(Entry {
        device: String::from_utf8(device.to_vec()).ok()?,
        path: OsString::from_vec(unescape(path)).into(),
        kind: String::from_utf8_lossy(kind).into_owned(),
        source: OsString::from_vec(unescape(source)),
    })
}

/// `\040` and its like as bytes.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        bytes.push(match (byte, rest) {
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..]) => {
                rest = &tail[3..];
                (a - b'0') * 64 + (b - b'0') * 8 + (c - b'0')
            }
            _ => byte,
        });
    }
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_of_every_kind() {
        let text = b"22 28 0:21 / /proc rw,relatime - proc proc rw\n\
            90 28 0:45 / /mnt/a\\040b\\134c rw shared:1 master:2 - fuse.ftpfs ftp://h/x\\040y rw,user_id=0\n\
            91 90 0:46 / /n - x\n\
            junk\n\n";
        let table = parse(text);
        assert_eq!(table.len(), 2);
        assert_eq!(table[0].device, "0:21");
        assert_eq!(table[1].path, Path::new("/mnt/a b\\c"));
        assert_eq!(table[1].kind, "fuse.ftpfs");
        assert_eq!(table[1].source, "ftp://h/x y");
    }

    #[test]
    fn the_root_is_in_our_own_table() {
        let top = top_at(Path::new("/")).expect("proc");
        assert!(top.is_some());
        assert_eq!(top_at(Path::new("/no/such")).expect("proc"), None);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            parse(&bytes);
            parse(&[b"1 2 0:3 / /a rw - \\0", bytes.as_slice()].concat());
        }
    }
}
