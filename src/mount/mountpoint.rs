//! The folder to mount on: what must be true of it, said before the server is asked anything.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};

use super::{MountConfig, StartError, kernel, table};

/// Makes sure that something can be mounted on `path`, and returns the path as the mount table
/// will show it. A dead mount of ours that is in the way is taken off.
///
/// # Errors
/// What is wrong with the folder, and what to do.
pub fn prepare(path: &Path, config: &MountConfig) -> Result<PathBuf, StartError> {
    let mut path = resolve(path)?;
    let mut cleared = 0;
    let metadata = loop {
        // The kernel may still know the attributes of what is dead: only the second question goes there.
        let asked = fs::metadata(&path).and_then(|metadata| {
            rustix::fs::statfs(&path)?;
            Ok(metadata)
        });
        match asked {
            Ok(metadata) => break metadata,
            Err(e) if is(&e, Errno::NOTCONN) && cleared < MOST_DEAD_MOUNTS => {
                clear_dead(&path, config)?;
                cleared += 1;
                // What was under it may have a link in its path.
                path = resolve(&path)?;
            }
            Err(e) => return Err(unusable(&path, &e)),
        }
    };
    let shown = path.display();
    if !metadata.is_dir() {
        return Err(StartError(format!(
            "the mountpoint {shown} is not a folder"
        )));
    }
    let top = table::top_at(&path).map_err(|e| StartError(format!("cannot read /proc: {e}")))?;
    if let Some(top) = top.filter(|top| is_ours(&top.kind, config) && !config.nonempty) {
        return Err(StartError(match top.source == *config.source {
            true => format!("{} is already mounted on {shown}", config.source),
            false => format!(
                "another ftpfs, {}, is mounted on {shown}: unmount it first",
                top.source.display()
            ),
        }));
    }
    if !config.nonempty {
        let mut entries = fs::read_dir(&path).map_err(|e| unusable(&path, &e))?;
        if entries.next().is_some() {
            return Err(StartError(format!(
                "the mountpoint {shown} is not empty: choose an empty folder, or give -o nonempty"
            )));
        }
    }
    let access = rustix::fs::access(&path, rustix::fs::Access::WRITE_OK);
    if access == Err(Errno::ACCESS) {
        return Err(StartError(format!(
            "the mountpoint {shown} is not yours to write to: choose a folder of your own"
        )));
    }
    Ok(path)
}

/// More dead mounts than this on one folder were not left by crashes.
const MOST_DEAD_MOUNTS: u32 = 8;

/// The path without links and `..`. The last part is not asked for anything if it is dead.
fn resolve(path: &Path) -> Result<PathBuf, StartError> {
    match path.canonicalize() {
        Ok(path) => Ok(path),
        Err(e) if is(&e, Errno::NOTCONN) => match (path.parent(), path.file_name()) {
            (Some(parent), Some(name)) => {
                let parent = parent.canonicalize().map_err(|e| unusable(parent, &e))?;
                Ok(parent.join(name))
            }
            _ => Err(unusable(path, &e)),
        },
        Err(e) => Err(unusable(path, &e)),
    }
}

fn unusable(path: &Path, error: &io::Error) -> StartError {
    let shown = path.display();
    StartError(match error.kind() {
        io::ErrorKind::NotFound => {
            format!("the mountpoint {shown} does not exist: make it first, `mkdir -p {shown}`")
        }
        io::ErrorKind::NotADirectory => format!("the mountpoint {shown} is not a folder"),
        _ => format!("cannot use the mountpoint {shown}: {error}"),
    })
}

fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}

fn is_ours(kind: &str, config: &MountConfig) -> bool {
    kind == "fuse.ftpfs" || kind.strip_prefix("fuse.") == Some(&config.subtype)
}

/// Takes off what a killed ftpfs left on `path`, even if programs still hold it.
fn clear_dead(path: &Path, config: &MountConfig) -> Result<(), StartError> {
    let shown = path.display();
    let top = table::top_at(path).ok().flatten();
    let Some(top) = top.filter(|top| is_ours(&top.kind, config)) else {
        return Err(StartError(format!(
            "a dead mount is in the way on {shown}: unmount it first"
        )));
    };
    let flags = UnmountFlags::DETACH | UnmountFlags::NOFOLLOW;
    let cleared = match unmount(path, flags) {
        Err(Errno::PERM) => kernel::fusermount(path, &["-u", "-z"]).map_err(|e| e.to_string()),
        other => other.map_err(|e| e.to_string()),
    };
    cleared.map_err(|e| {
        StartError(format!(
            "a dead mount of {} is in the way on {shown}, and cannot be unmounted: {e}",
            top.source.display()
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(path: &Path, nonempty: bool) -> Option<String> {
        let config = MountConfig {
            nonempty,
            ..MountConfig::example()
        };
        prepare(path, &config).err().map(|e| e.to_string())
    }

    #[test]
    fn folders_that_do_not_fit_are_refused_with_the_reason() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().canonicalize().expect("it exists");
        assert_eq!(message(&path, false), None);

        let missing = path.join("none");
        assert!(message(&missing, false).is_some_and(|m| m.contains("mkdir -p")));
        let file = path.join("file");
        fs::write(&file, "").expect("a writable folder");
        assert!(message(&file, false).is_some_and(|m| m.ends_with("is not a folder")));
        assert!(message(&file.join("x"), false).is_some_and(|m| m.ends_with("is not a folder")));
        assert!(message(&path, false).is_some_and(|m| m.contains("is not empty")));
        assert_eq!(message(&path, true), None);
    }

    #[test]
    fn links_are_followed() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().canonicalize().expect("it exists");
        fs::create_dir(path.join("real")).expect("a writable folder");
        std::os::unix::fs::symlink("real", path.join("link")).expect("a writable folder");
        let prepared = prepare(&path.join("link"), &MountConfig::example());
        assert_eq!(prepared.ok(), Some(path.join("real")));
    }
}
