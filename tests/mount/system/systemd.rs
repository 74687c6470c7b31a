//! A service of systemd: its unit is one, and it is told when the mount answers and when it ends.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Stdio;

use libtest_mimic::{Failed, Trial};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::model_mount::{DEADLINE, ftpfs, is_mounted, run, send};
use crate::odd::Odd;

/// The trials.
pub fn trials() -> Vec<Trial> {
    let trial =
        |name: &str, run: fn() -> Result<(), Failed>| Trial::test(format!("system::{name}"), run);
    vec![
        trial("the_unit_is_one", unit),
        trial("the_service_manager_is_told", told),
    ]
}

fn unit() -> Result<(), Failed> {
    let folder = TempDir::with_prefix("ftpfs-unit-")?;
    let template = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/ftpfs@.service");
    let text = fs::read_to_string(template)?;
    assert!(text.contains("/usr/bin/ftpfs"));
    let unit = folder.path().join("ftpfs@nas.service");
    // Where it is installed nothing is yet.
    let text = text.replace("/usr/bin/ftpfs", env!("CARGO_BIN_EXE_ftpfs"));
    fs::write(&unit, text)?;
    let output = run(
        "systemd-analyze",
        ["verify".as_ref(), "--man=no".as_ref(), unit.as_os_str()],
    );
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
    Ok(())
}

fn told() -> Result<(), Failed> {
    let odd = Odd::start();
    let folder = TempDir::with_prefix("ftpfs-unit-")?;
    let path = folder.path().join("mnt");
    fs::create_dir(&path)?;
    let address = folder.path().join("notify");
    let socket = UnixDatagram::bind(&address)?;
    socket.set_read_timeout(Some(DEADLINE))?;
    let heard = || -> Result<String, Failed> {
        let mut buf = [0; 1000];
        let length = socket.recv(&mut buf)?;
        Ok(String::from_utf8_lossy(&buf[..length]).into_owned())
    };
    let url = format!("ftp://bob@{}/", odd.address());
    let mut daemon = ftpfs(folder.path())
        .args(["--foreground", &url])
        .arg(&path)
        .env("NOTIFY_SOCKET", &address)
        .env("FTPFS_PASSWORD", "password")
        .stderr(Stdio::null())
        .spawn()?;
    let outcome = heard().map(|ready| {
        assert!(ready.starts_with("READY=1\n"), "{ready}");
        assert!(ready.contains(&url), "{ready}");
        assert!(is_mounted(&path), "ready before it is mounted");
    });
    send(daemon.id(), Signal::TERM);
    let ending = outcome.and_then(|()| heard());
    assert!(daemon.wait()?.success());
    assert!(ending?.starts_with("STOPPING=1\n"));
    Ok(())
}
