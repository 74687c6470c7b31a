//! The helper of mount(8), by the real mount, umount, findmnt and df; the steps are in `mount8.sh`.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

use libtest_mimic::{Failed, Trial};
use rustix::process::geteuid;
use tempfile::TempDir;

use crate::servers::{Server, ServerKind};

/// The trials.
pub fn trials() -> Vec<Trial> {
    [
        ("mount_makes_it_by_both_types", "types"),
        ("mount_gives_every_word_of_fstab", "words"),
        ("mount_gives_its_flags", "flags"),
        ("mount_is_told_how_it_went", "exits"),
        ("mount_all_twice_is_quiet", "fstab"),
        ("umount_waits_until_all_is_sent", "unmounts"),
        ("somebody_who_is_not_root_mounts", "users"),
    ]
    .into_iter()
    .map(|(name, step)| {
        // Becoming somebody else needs root.
        let impossible = step == "users" && !geteuid().is_root();
        Trial::test(format!("system::{name}"), move || run(step)).with_ignored_flag(impossible)
    })
    .collect()
}

fn run(step: &str) -> Result<(), Failed> {
    let server = Server::start(ServerKind::Embedded);
    fs::write(server.root.join("file"), "content\n")?;
    let folder = TempDir::with_prefix("ftpfs-mount8-")?;
    let credentials = folder.path().join("credentials");
    let login = format!("username={}\npassword={}\n", server.user, server.password);
    fs::write(&credentials, login)?;
    fs::set_permissions(&credentials, Permissions::from_mode(0o600))?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mount/system/mount8.sh");
    let output = super::with_own_mounts()
        .args(["sh".as_ref(), script.as_os_str(), step.as_ref()])
        .env("FTPFS", env!("CARGO_BIN_EXE_ftpfs"))
        .env("URL", format!("ftp://{}/", server.address()))
        .env("ROOT", &server.root)
        .env("CREDENTIALS", &credentials)
        .env("TEMP", folder.path())
        .env("HOME", folder.path())
        .env("LC_ALL", "C")
        .env_remove("FTPFS_PASSWORD")
        .stdin(Stdio::null())
        .output()?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned().into()),
    }
}
