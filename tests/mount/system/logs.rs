//! The log of a mount in the background, as the system's log hears it; the steps are in `syslog.py`.

use std::path::Path;
use std::process::Stdio;

use libtest_mimic::{Failed, Trial};
use tempfile::TempDir;

use crate::odd::Odd;

/// The trials.
pub fn trials() -> Vec<Trial> {
    vec![Trial::test(
        "system::the_background_logs_to_the_system",
        to_the_system,
    )]
}

fn to_the_system() -> Result<(), Failed> {
    let odd = Odd::start();
    odd.put("/file", b"content");
    let folder = TempDir::with_prefix("ftpfs-syslog-")?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mount/system/syslog.py");
    let output = super::with_own_mounts()
        .arg("python3")
        .arg(script)
        .arg(env!("CARGO_BIN_EXE_ftpfs"))
        .arg(format!("ftp://bob@{}/", odd.address()))
        .arg(folder.path())
        .env("HOME", folder.path())
        .env("FTPFS_PASSWORD", "password")
        .env_remove("FTPFS_LOG")
        .stdin(Stdio::null())
        .output()?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned().into()),
    }
}
