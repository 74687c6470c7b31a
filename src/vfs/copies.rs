//! Copies of descriptors. A shell opens the file of `>`, copies its descriptor to the standard output and closes the one that
//! it opened, all before a byte is written: the kernel tells of that close as of any other (FLUSH).

use std::fs;

/// Whether `process` still has a descriptor by which `ino` can be written, so that closing it will be told as well.
///
/// By `/proc/PID/fdinfo` (proc_pid_fdinfo(5), which has inode numbers since Linux 5.14): false where that does not say, or
/// may not be read. A process that ends has no descriptors any more when the kernel tells that they are closed.
pub(super) fn is_still_writable(process: u32, ino: u64) -> bool {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{process}/fdinfo")) else {
        return false;
    };
    descriptors
        .flatten()
        .take(DESCRIPTORS)
        .filter_map(|descriptor| fs::read_to_string(descriptor.path()).ok())
        .any(|info| is_writable(&info, ino))
}

/// Whether the descriptor that `info` describes is one of `ino`, to write to.
fn is_writable(info: &str, ino: u64) -> bool {
    let field = |name| {
        info.lines()
            .find_map(|line| line.strip_prefix(name))
            .map(str::trim)
    };
    let is_same = field("ino:").is_some_and(|found| found.parse() == Ok(ino));
    let flags = field("flags:").and_then(|flags| i32::from_str_radix(flags, 8).ok());
    is_same && flags.is_some_and(|flags| flags & libc::O_ACCMODE != libc::O_RDONLY)
}

/// Descriptors that are looked at, from the lowest on: those of a shell's commands are.
const DESCRIPTORS: usize = 64;

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io;
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_descriptor_counts_while_it_is_open_for_writing() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("file");
        let writer = File::create(&path)?;
        let ino = writer.metadata()?.ino();
        let this = std::process::id();
        assert!(is_still_writable(this, ino));
        let copy = writer.try_clone()?;
        drop(writer);
        assert!(is_still_writable(this, ino));
        drop(copy);
        let _reader = File::open(&path)?;
        assert!(!is_still_writable(this, ino));
        Ok(())
    }

    #[test]
    fn what_is_not_said_is_not_assumed() {
        // Linux before 5.14.
        assert!(!is_writable("pos:\t0\nflags:\t0100001\nmnt_id:\t29\n", 7));
        assert!(!is_writable("pos:\t0\nino:\t7\n", 7));
        assert!(is_writable(
            "pos:\t0\nflags:\t0100002\nmnt_id:\t29\nino:\t7\n",
            7
        ));
        assert!(!is_writable("flags:\t0100002\nino:\t71\n", 7));
        // A process that is not there.
        assert!(!is_still_writable(0, 7));
    }
}
