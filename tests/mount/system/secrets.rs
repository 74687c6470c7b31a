//! Passwords by an open file and by systemd's credentials, and where they are not to be found afterwards.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use libtest_mimic::{Failed, Trial};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::model_mount::{DEADLINE, ftpfs, is_mounted, run, send, within};
use crate::odd::Odd;

/// The trials.
pub fn trials() -> Vec<Trial> {
    let trial =
        |name: &str, run: fn() -> Result<(), Failed>| Trial::test(format!("system::{name}"), run);
    vec![
        trial("a_password_by_an_open_file", by_descriptor),
        trial("a_password_by_systemd", by_systemd),
        trial("no_core_is_dumped", no_core),
    ]
}

const SECRET: &str = "hunter2-not-to-be-seen";

/// Sees that `probe`, a shell line in `folder` with the address behind it, logs in as bob with the secret.
fn logs_in(folder: &TempDir, prepare: impl FnOnce(&mut Command, &str)) -> Result<(), Failed> {
    let odd = Odd::start();
    let mut command = ftpfs(folder.path());
    let url = format!("ftp://{}/", odd.address());
    prepare(&mut command, &url);
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    for wanted in [("USER", "bob"), ("PASS", SECRET)] {
        let wanted = (wanted.0.to_owned(), wanted.1.as_bytes().to_vec());
        assert!(odd.received().contains(&wanted), "{said}");
    }
    Ok(())
}

fn lines() -> String {
    format!("username=bob\npassword={SECRET}\n")
}

fn by_descriptor() -> Result<(), Failed> {
    let folder = TempDir::with_prefix("ftpfs-secrets-")?;
    let file = folder.path().join("lines");
    fs::write(&file, lines())?;
    for (number, redirection) in [("0", "<"), ("3", "3<")] {
        logs_in(&folder, |command, url| {
            let ftpfs = command.get_program().to_owned();
            let home = folder.path();
            *command = Command::new("sh");
            let line = format!(r#""$0" probe "$1" -o credentials=fd:{number} {redirection}"$2""#);
            command.args(["-c", &line]).arg(ftpfs).arg(url).arg(&file);
            command.env("HOME", home).stdin(Stdio::null());
        })?;
    }
    Ok(())
}

fn by_systemd() -> Result<(), Failed> {
    let folder = TempDir::with_prefix("ftpfs-secrets-")?;
    fs::write(folder.path().join("ftpfs.credentials"), lines())?;
    logs_in(&folder, |command, url| {
        command
            .args(["probe", url])
            .env("CREDENTIALS_DIRECTORY", folder.path());
    })
}

fn no_core() -> Result<(), Failed> {
    let odd = Odd::start();
    let folder = TempDir::with_prefix("ftpfs-secrets-")?;
    let path = folder.path().join("mnt");
    fs::create_dir(&path)?;
    let ours = ftpfs(folder.path());
    let mut daemon = Command::new("sh")
        // As much as we may.
        .args(["-c", "ulimit -c $(ulimit -H -c); exec \"$@\"", "sh"])
        .arg(ours.get_program())
        .args(["-f", &format!("ftp://bob@{}/", odd.address())])
        .arg(&path)
        .current_dir(folder.path())
        .env("HOME", folder.path())
        .env("FTPFS_PASSWORD", SECRET)
        .stderr(Stdio::null())
        .spawn()?;
    assert!(within(DEADLINE, || is_mounted(&path)));
    send(daemon.id(), Signal::ABORT);
    let ended = daemon.wait()?;
    run("umount", [&path]);
    assert!(!ended.success());
    assert!(!ended.core_dumped(), "{ended}");
    Ok(())
}
