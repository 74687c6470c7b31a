//! Ctrl-C in the terminal of a mount: it shows what it waits for, and a second one ends it at once.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use libtest_mimic::{Failed, Trial};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::model_mount::{DEADLINE, ModelMount, ftpfs, is_mounted, run, send, within};
use crate::odd::Odd;

/// The trials.
pub fn trials() -> Vec<Trial> {
    let trial =
        |name: &str, run: fn() -> Result<(), Failed>| Trial::test(format!("system::{name}"), run);
    vec![
        trial("an_interrupted_mount_shows_what_it_sends", once),
        trial("a_second_interrupt_keeps_what_is_not_sent", twice),
        trial("a_shutdown_after_umount_sends_what_is_left", shutdown),
    ]
}

/// A mount of `odd` below `folder`, interrupted so many times while it sends a file of 1.5 MB; what it showed.
fn interrupted(odd: &Odd, folder: &Path, bwlimit: &str, times: usize) -> Result<Output, Failed> {
    let mountpoint = folder.join("mnt");
    std::fs::create_dir_all(&mountpoint)?;
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mount/system");
    let mount = ftpfs(folder);
    let mut command = Command::new("python3");
    command
        .arg(here.join("interrupted.py"))
        .arg(times.to_string())
        .arg(&mountpoint)
        .arg(mount.get_program())
        .args(["-f", "-o", "writeback", "--staging"])
        .arg(folder.join("staging"))
        .arg("-o")
        .arg(format!("bwlimit={bwlimit}"))
        .arg(format!("ftp://user@{}/", odd.address()))
        .arg(&mountpoint)
        .env("HOME", folder)
        .env("FTPFS_PASSWORD", "password")
        .env("TERM", "xterm")
        .env_remove("XDG_STATE_HOME")
        .env_remove("FTPFS_LOG");
    let output = command.output()?;
    assert!(!is_mounted(&mountpoint), "{output:?}");
    Ok(output)
}

fn once() -> Result<(), Failed> {
    let odd = Odd::start();
    let folder = TempDir::with_prefix("ftpfs-interrupted-")?;
    let output = interrupted(&odd, folder.path(), "1M", 1)?;
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{shown}");
    for words in ["1 change, 1.5 MB", "[", "=>", "1 change, "] {
        assert!(shown.contains(words), "no {words:?} in {shown}");
    }
    // It is taken away before anything else is written in its place.
    let (_, last) = shown.rsplit_once("\x1b[2K").ok_or("no bar was cleared")?;
    assert!(last.contains("ended") && !last.contains("=>"), "{shown}");
    assert_eq!(odd.content("/file").map(|file| file.len()), Some(1_500_000));
    Ok(())
}

fn twice() -> Result<(), Failed> {
    let odd = Odd::start();
    let folder = TempDir::with_prefix("ftpfs-interrupted-")?;
    let output = interrupted(&odd, folder.path(), "20K", 2)?;
    let shown = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{shown}");
    assert!(
        shown.contains("\"/file\" (1.5 MB): the next mount sends it"),
        "{shown}"
    );
    assert_ne!(odd.content("/file").map(|file| file.len()), Some(1_500_000));
    // It does.
    let mountpoint = folder.path().join("mnt");
    let mut again = ftpfs(folder.path())
        .args(["-f", "--staging"])
        .arg(folder.path().join("staging"))
        .arg(format!("ftp://user@{}/", odd.address()))
        .arg(&mountpoint)
        .env("FTPFS_PASSWORD", "password")
        .stderr(Stdio::null())
        .spawn()?;
    let mounted = within(DEADLINE, || is_mounted(&mountpoint));
    send(again.id(), Signal::TERM);
    assert!(again.wait()?.success() && mounted);
    assert_eq!(odd.content("/file").map(|file| file.len()), Some(1_500_000));
    Ok(())
}

fn shutdown() -> Result<(), Failed> {
    let odd = Odd::start();
    let mount = ModelMount::of_odd(&odd, &["writeback", "bwlimit=500K"]);
    std::fs::write(mount.path.join("file"), vec![7; 1_000_000])?;
    let unmounted = run("fusermount3", [OsStr::new("-u"), mount.path.as_os_str()]);
    assert!(unmounted.status.success(), "{unmounted:?}");
    let told = within(DEADLINE, || mount.log().contains("unmounted from outside"));
    assert!(told, "{}", mount.log());
    // As systemd does with all that is left.
    mount.signal(Signal::TERM);
    assert!(mount.wait().success(), "{}", mount.log());
    assert_eq!(odd.content("/file").map(|file| file.len()), Some(1_000_000));
    Ok(())
}
