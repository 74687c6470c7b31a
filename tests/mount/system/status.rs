//! `ftpfs status` and `ftpfs flush`: what a mount says of itself is what was done, and what is not sent is named.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use libtest_mimic::{Failed, Trial};
use rustix::process::{Signal, geteuid};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::model_mount::{DEADLINE, ModelMount, ftpfs, within};
use crate::odd::Odd;

/// The trials.
pub fn trials() -> Vec<Trial> {
    let trial =
        |name: &str, run: fn() -> Result<(), Failed>| Trial::test(format!("system::{name}"), run);
    vec![
        trial("a_status_says_what_was_done", what_was_done),
        trial("sessions_that_a_rush_needs_are_given_back", rush),
        trial("what_is_not_sent_is_named_with_the_reason", unsent),
        trial("a_flush_sends_open_files_too", open_files),
        trial("every_mount_is_listed_until_it_ends", listed),
        trial("a_mount_after_a_killed_one_is_listed", after_a_killed_one),
        trial("without_mounts_a_status_says_so", none),
        trial("sockets_of_others_are_not_asked", others).with_ignored_flag(!geteuid().is_root()),
    ]
}

/// What the command says, with the home that a mount below `path` was made with.
fn asked(path: &Path, arguments: &[&str]) -> Result<Output, Failed> {
    let home = path.parent().ok_or("a mount has a folder of its own")?;
    Ok(ftpfs(home).args(arguments).output()?)
}

/// What the mount on `path` says of itself; `None` if nobody answers for it.
fn report(path: &Path) -> Result<Option<Value>, Failed> {
    let shown = path.to_str().ok_or("a name of ours")?;
    let output = asked(path, &["status", "--json", shown])?;
    match output.status.code() {
        Some(0) => {
            let mut reports: Vec<Value> = serde_json::from_slice(&output.stdout)?;
            assert_eq!(reports.len(), 1, "{reports:?}");
            Ok(reports.pop())
        }
        _ => {
            let said = String::from_utf8(output.stderr)?;
            assert!(said.contains("no ftpfs of yours"), "{said}");
            Ok(None)
        }
    }
}

/// Waits until the report of the mount is as wanted.
pub fn until(path: &Path, wanted: impl Fn(&Value) -> bool) -> Result<Value, Failed> {
    let mut last = Value::Null;
    let came = within(DEADLINE, || match report(path) {
        Ok(Some(report)) => {
            last = report;
            wanted(&last)
        }
        _ => false,
    });
    match came {
        true => Ok(last),
        false => Err(format!("it does not come to that: {last:#}").into()),
    }
}

fn flush(path: &Path) -> Result<(bool, String), Failed> {
    let output = asked(path, &["flush", path.to_str().ok_or("a name of ours")?])?;
    Ok((output.status.success(), String::from_utf8(output.stderr)?))
}

/// Where the mount on `path` listens.
fn socket(path: &Path) -> Option<PathBuf> {
    let folder = match geteuid().is_root() {
        true => PathBuf::from("/run"),
        false => std::env::var_os("XDG_RUNTIME_DIR")?.into(),
    };
    let digits: String = Sha256::digest(path.as_os_str().as_encoded_bytes())[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Some(folder.join("ftpfs").join(digits + ".sock"))
}

fn what_was_done() -> Result<(), Failed> {
    let odd = Odd::start();
    odd.put("/file", &[7; 100_000]);
    odd.refuse("RMD", 550);
    odd.make_folder("/kept");
    let mount = ModelMount::of_odd(&odd, &[]);
    assert_eq!(fs::read(mount.path.join("file"))?.len(), 100_000);
    fs::write(mount.path.join("new"), [8; 70_000])?;
    assert!(fs::remove_dir(mount.path.join("kept")).is_err());
    let report = report(&mount.path)?.ok_or("no report")?;
    let number = |path: &str| report.pointer(path).and_then(Value::as_u64).unwrap_or(0);
    assert_eq!(report["mountpoint"].as_str(), mount.path.to_str());
    assert!(number("/traffic/received_bytes") >= 100_000, "{report:#}");
    assert!(number("/traffic/sent_bytes") >= 70_000, "{report:#}");
    assert!(number("/traffic/round_trips") > 3, "{report:#}");
    assert!(number("/traffic/commands") >= number("/traffic/round_trips"));
    assert!(number("/cache/asked_bytes") >= 100_000, "{report:#}");
    assert!(number("/sessions/open") >= 1, "{report:#}");
    assert_eq!(number("/sessions/most"), 8, "{report:#}");
    assert_eq!(number("/unsent/changes"), 0, "{report:#}");
    let errors = report["errors"].to_string();
    assert!(errors.contains("RMD") && errors.contains("550"), "{errors}");

    let shown = mount.path.to_str().ok_or("a name of ours")?;
    let text = String::from_utf8(asked(&mount.path, &["status", shown])?.stdout)?;
    for words in [shown, "not sent yet  nothing", "round trips", "550"] {
        assert!(text.contains(words), "no {words:?} in\n{text}");
    }
    let wide = text.lines().skip(1).find(|line| line.chars().count() > 80);
    assert_eq!(wide, None, "wider than a terminal");
    assert!(!text.contains("password"), "{text}");
    Ok(())
}

/// Programs at work side by side have more sessions than a mount keeps.
fn rush() -> Result<(), Failed> {
    const KEPT: u64 = 6;
    let odd = Odd::start();
    let mount = ModelMount::of_odd(&odd, &[]);
    let open = |report: &Value| {
        let open = report.pointer("/sessions/open");
        open.and_then(Value::as_u64).unwrap_or(0)
    };
    let over = AtomicBool::new(false);
    let rushed = thread::scope(|scope| {
        for writer in 0..16 {
            let (over, path) = (&over, mount.path.join(format!("file{writer}")));
            scope.spawn(
                move || while !over.load(Ordering::SeqCst) && fs::write(&path, b"x").is_ok() {},
            );
        }
        let rushed = until(&mount.path, |report| open(report) > KEPT);
        over.store(true, Ordering::SeqCst);
        rushed
    });
    rushed?;
    until(&mount.path, |report| open(report) <= KEPT)?;
    Ok(())
}

fn unsent() -> Result<(), Failed> {
    let odd = Odd::start();
    odd.refuse("STOR", 451);
    let mount = ModelMount::of_odd(&odd, &["writeback"]);
    fs::write(mount.path.join("file"), b"content")?;
    let rests = |report: &Value| report.pointer("/changes/0/state") == Some(&"rests".into());
    let report = until(&mount.path, rests)?;
    assert_eq!(report["changes"][0]["path"], "/file", "{report:#}");
    assert_eq!(report["unsent"]["bytes"], 7, "{report:#}");
    let reason = report["changes"][0]["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("451"), "{reason}");
    let (sent, said) = flush(&mount.path)?;
    assert!(!sent && said.lines().count() == 1, "{said}");
    assert!(said.contains("/file") && said.contains("451"), "{said}");
    odd.heal("STOR");
    assert_eq!(flush(&mount.path)?, (true, String::new()));
    assert_eq!(odd.content("/file").as_deref(), Some(&b"content"[..]));
    until(&mount.path, |report| report["unsent"]["changes"] == 0)?;
    // What is refused for good is not tried again by itself, but when it is asked for.
    odd.refuse("STOR", 553);
    fs::write(mount.path.join("other"), b"content")?;
    let failed = |report: &Value| report.pointer("/changes/0/state") == Some(&"failed".into());
    until(&mount.path, failed)?;
    assert!(!flush(&mount.path)?.0);
    odd.heal("STOR");
    assert_eq!(flush(&mount.path)?, (true, String::new()));
    assert_eq!(odd.content("/other").as_deref(), Some(&b"content"[..]));
    Ok(())
}

fn open_files() -> Result<(), Failed> {
    // By a process of its own: a copy of the descriptor in a child of ours would be closed there, which sends the file.
    let writer = "
import sys
with open(sys.argv[1], 'wb', buffering=0) as file:
    file.write(b'written')
    sys.stdin.readline()
    file.write(b' more')
";
    for options in [&[][..], &["writeback"]] {
        let odd = Odd::start();
        let mount = ModelMount::of_odd(&odd, options);
        let mut writing = Command::new("python3")
            .args(["-c", writer])
            .arg(mount.path.join("file"))
            .stdin(Stdio::piped())
            .spawn()?;
        let report = until(&mount.path, |report| report["unsent"]["bytes"] == 7)?;
        assert_eq!(report["changes"][0]["state"], "open", "{report:#}");
        assert_eq!(flush(&mount.path)?, (true, String::new()));
        assert_eq!(odd.content("/file").as_deref(), Some(&b"written"[..]));
        // It goes on when nothing more is to be read.
        drop(writing.stdin.take());
        assert!(writing.wait()?.success());
        assert_eq!(flush(&mount.path)?, (true, String::new()));
        assert_eq!(odd.content("/file").as_deref(), Some(&b"written more"[..]));
    }
    Ok(())
}

fn listed() -> Result<(), Failed> {
    let (first, second) = (Odd::start(), Odd::start());
    let mounts = [&first, &second].map(|odd| ModelMount::of_odd(odd, &[]));
    let sockets = mounts.each_ref().map(|mount| socket(&mount.path));
    for (mount, socket) in mounts.iter().zip(&sockets) {
        until(&mount.path, |_| true)?;
        assert!(socket.as_ref().is_none_or(|socket| socket.exists()));
    }
    if sockets[0].is_some() {
        let text = String::from_utf8(asked(&mounts[0].path, &["status"])?.stdout)?;
        for mount in &mounts {
            let shown = mount.path.to_str().ok_or("a name of ours")?;
            assert!(text.contains(shown), "no {shown} in\n{text}");
        }
    }
    let paths = mounts.each_ref().map(|mount| mount.path.clone());
    drop(mounts);
    for (path, socket) in paths.iter().zip(&sockets) {
        assert!(report(path)?.is_none());
        assert!(socket.as_ref().is_none_or(|socket| !socket.exists()));
    }
    Ok(())
}

fn after_a_killed_one() -> Result<(), Failed> {
    let odd = Odd::start();
    let mount = ModelMount::of_odd(&odd, &[]);
    let before = until(&mount.path, |_| true)?;
    mount.signal(Signal::KILL);
    mount.wait();
    assert!(report(&mount.path)?.is_none(), "a dead one answers");
    mount.start_again()?;
    until(&mount.path, |now| now["process"] != before["process"])?;
    Ok(())
}

/// Runs `script` where /run is empty, with the binary as its first argument.
fn apart(script: &str) -> Result<String, Failed> {
    let script = format!("mount -t tmpfs tmpfs /run && {script}");
    let output = super::with_own_mounts()
        .args(["bash", "-c", &script, "bash"])
        .arg(env!("CARGO_BIN_EXE_ftpfs"))
        .env_remove("XDG_RUNTIME_DIR")
        .output()?;
    match output.status.success() {
        true => Ok(String::from_utf8(output.stdout)?),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned().into()),
    }
}

fn none() -> Result<(), Failed> {
    let said = apart("\"$1\" status && \"$1\" status --json && \"$1\" flush")?;
    assert_eq!(said, "Nothing of yours is mounted by ftpfs.\n[]\n");
    Ok(())
}

fn others() -> Result<(), Failed> {
    // Who listens is told by the user who called listen(2). It ends when it is asked, or with the shell.
    let python = "
import os, socket
listener = socket.socket(socket.AF_UNIX)
listener.bind('/run/ftpfs/0123456789abcdef.sock')
os.setuid(65534)
listener.listen()
print(flush=True)
connection, _ = listener.accept()
print('asked' if connection.recv(1) else 'not asked', flush=True)
";
    let script = format!(
        "mkdir -m 700 /run/ftpfs
        exec {{listener}}< <(python3 -c \"{python}\")
        read -u $listener && \"$1\" status && read -u $listener answer && echo \"$answer\""
    );
    let said = apart(&script)?;
    assert_eq!(said, "Nothing of yours is mounted by ftpfs.\nnot asked\n");
    Ok(())
}
