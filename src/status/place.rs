//! Where the sockets are: in a folder that nobody else can enter, each named by its mountpoint.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::process::geteuid;
use sha2::{Digest, Sha256};

/// What the names of sockets end in.
pub const SUFFIX: &str = ".sock";

/// The socket in `folder` of the mount at `mountpoint`. Short: the path of a socket has 107 bytes at most.
pub fn socket(folder: &Path, mountpoint: &Path) -> PathBuf {
    let hash = Sha256::digest(mountpoint.as_os_str().as_bytes());
    let digits: String = hash[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    folder.join(digits + SUFFIX)
}

/// The first of `folders` that is there or can be made, and is ours alone.
pub fn first_of_ours(folders: &[PathBuf]) -> io::Result<&Path> {
    let mut failure = io::Error::from(io::ErrorKind::NotFound);
    for folder in folders {
        match fs::DirBuilder::new().mode(0o700).create(folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => failure = error,
            _ if is_ours_alone(folder) => return Ok(folder),
            _ => failure = io::Error::other(format!("{} is open to others", folder.display())),
        }
    }
    Err(failure)
}

/// Whether `folder` is one of ours that others cannot enter. A link is not: it may lead anywhere.
pub fn is_ours_alone(folder: &Path) -> bool {
    let metadata = fs::symlink_metadata(folder);
    metadata.is_ok_and(|metadata| {
        let ours = metadata.uid() == geteuid().as_raw();
        metadata.is_dir() && ours && metadata.mode() & 0o077 == 0
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_folder_that_others_can_enter_is_passed_over() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("open")).expect("a writable folder");
        fs::set_permissions(path("open"), fs::Permissions::from_mode(0o755)).expect("it is ours");
        std::os::unix::fs::symlink(path("new"), path("link")).expect("a writable folder");
        let folders = ["none/below", "open", "link", "new"].map(path);
        assert_eq!(first_of_ours(&folders).ok(), Some(&*path("new")));
        assert!(!is_ours_alone(&path("link")));
        assert!(first_of_ours(&folders[..2]).is_err());
    }
}
