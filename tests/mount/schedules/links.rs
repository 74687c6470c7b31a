//! A link that is pulled for a while, and a daemon that is killed while it sends.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};

use super::relay::{Fault, Harm, Relay};
use super::{LONG, content};
use crate::model_mount::{ModelMount, pause, run, within};
use crate::servers::{Server, ServerKind};

/// The trials for one server.
pub(super) fn trials(kind: ServerKind) -> Vec<Trial> {
    let trial = |name: &str, run: fn(ServerKind) -> Result<(), Failed>| {
        Trial::test(format!("{}::schedules::{name}", kind.name()), move || {
            run(kind)
        })
    };
    let mut trials = vec![trial(
        "an_upload_goes_on_in_the_next_mount",
        killed_while_it_sends,
    )];
    // The link is the client's matter: one server is enough for what takes long.
    if kind == ServerKind::Embedded {
        trials.push(trial("a_pulled_link_ends_in_success_or_an_error", pulled));
    }
    trials
}

/// The daemon is killed in the middle of an upload that `close` did not wait for: the file arrives whole, and only what is
/// missing crosses the wire.
fn killed_while_it_sends(kind: ServerKind) -> Result<(), Failed> {
    const SIZE: usize = 8_000_000;
    const SENT: u64 = 5_000_000;
    let server = Server::start(kind);
    let relay = Relay::start(server.address())?;
    let url = format!("ftp://{}@127.0.0.1:{}/", server.user, relay.port);
    // Behind the relay, and under load, pyftpdlib now and then does not end an upload whose connection came after its
    // command: that is waited for, and then it is tried again.
    let options = ["tls=off", "writeback", "timeout=10s"];
    let mount = ModelMount::start(&url, server.password, &options)?;
    let bytes = content(SIZE, 1);
    let local = mount.path.with_file_name("local");
    fs::write(&local, &bytes)?;
    let on_server = server.root.join("file");
    // The server has what it has been sent until then.
    let stall = Fault::Data(Harm::Stall, SENT);
    // Whichever session it is.
    relay.order((1..=20).map(|at| (at, stall)).collect());
    let copied = run("cp", [&*local, &mount.path.join("file")]);
    assert!(copied.status.success(), "{copied:?}");
    let has_some = || fs::metadata(&on_server).is_ok_and(|found| found.len() >= SENT / 2);
    assert!(within(LONG, has_some), "nothing is sent:\n{}", mount.log());
    mount.kill();
    relay.order(Vec::new());
    let there = fs::metadata(&on_server)?.len();
    let before = relay.uploaded();
    mount.start_again()?;
    assert!(
        fs::read(mount.path.join("file"))? == *bytes,
        "shown at once"
    );
    let arrives =
        || mount.unsent().is_empty() && fs::read(&on_server).is_ok_and(|found| found == *bytes);
    assert!(
        within(LONG, arrives),
        "it does not arrive:\n{}",
        mount.log()
    );
    let crossed = relay.uploaded() - before;
    // The proof that it may be added to, of some hundred bytes, and what the server had not written yet.
    let goes_on = !matches!(kind, ServerKind::ProftpdDefault | ServerKind::Ftpsrv);
    if goes_on {
        let most = SIZE as u64 - there + 100_000;
        assert!(
            crossed <= most,
            "{crossed} bytes crossed, {there} of {SIZE} were there\n{}",
            mount.log()
        );
    }
    println!(
        "{}: {there} of {SIZE} bytes were there, {crossed} crossed the wire",
        kind.name()
    );
    Ok(())
}

/// Reading, writing, listing and rsync while nothing gets through for a while: shorter than the mount waits, and longer.
fn pulled(kind: ServerKind) -> Result<(), Failed> {
    let seconds = match std::env::var("FTPFS_TEST_PULLED") {
        Ok(text) => text.parse()?,
        Err(_) => 2.0,
    };
    let server = Server::start(kind);
    let bytes = content(3_000_000, 1);
    fs::write(server.root.join("big"), &bytes)?;
    for folder in 0..8 {
        let folder = server.root.join(format!("tree/d{folder}"));
        fs::create_dir_all(&folder)?;
        (0..3).try_for_each(|file| fs::write(folder.join(format!("f{file}")), &bytes[..2000]))?;
    }
    for (patience, all_succeed) in [(seconds * 3.0, true), (seconds / 2.0, false)] {
        let relay = Relay::start(server.address())?;
        let url = format!("ftp://{}@127.0.0.1:{}/", server.user, relay.port);
        let waits = format!("tls=off,timeout={patience}s,connect_timeout={patience}s");
        let programs = [
            "cat $MOUNT/big | cmp - $SERVER/big",
            "cp $SERVER/big $MOUNT/copy && cmp $SERVER/big $SERVER/copy",
            "test $(ls -R $MOUNT/tree | grep -c ^f) = 24",
            "rsync -a $SERVER/tree/ $MOUNT/synced/ && diff -r $SERVER/tree $SERVER/synced",
        ];
        for program in programs {
            for path in ["copy", "synced"] {
                run(
                    "rm",
                    [OsStr::new("-rf"), server.root.join(path).as_os_str()],
                );
            }
            let mount = ModelMount::start(&url, server.password, &[&waits])?;
            let begun = Instant::now();
            let ended = while_pulled(&relay, program, &mount.path, &server.root, seconds)?;
            let took = begun.elapsed().as_secs_f64();
            assert!(
                ended.success() || !all_succeed,
                "{program}: {ended}\n{}",
                mount.log()
            );
            // Each call has a few waits at most, and a program ends at its first error or goes on.
            let most = seconds + 20.0 * patience + 20.0;
            assert!(took < most, "{program}: {took} s");
            let again = while_pulled(&relay, program, &mount.path, &server.root, 0.0)?;
            assert!(
                again.success(),
                "{program}, afterwards: {again}\n{}",
                mount.log()
            );
            relay.pull(true);
            let unmounted = run("fusermount3", [OsStr::new("-u"), mount.path.as_os_str()]);
            assert!(unmounted.status.success(), "{unmounted:?}");
            relay.pull(false);
            println!(
                "pulled for {seconds} s, waits of {patience} s: {program}: {ended}, {took:.1} s"
            );
        }
    }
    Ok(())
}

/// Runs `program`, with the link pulled for some `seconds` from soon on.
fn while_pulled(
    relay: &Relay,
    program: &str,
    mount: &Path,
    server: &Path,
    seconds: f64,
) -> Result<ExitStatus, Failed> {
    let mut running = Command::new("bash")
        .args(["-o", "pipefail", "-c", program])
        .env("MOUNT", mount)
        .env("SERVER", server)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    if seconds > 0.0 {
        pause(Duration::from_millis(10));
        relay.pull(true);
        pause(Duration::from_secs_f64(seconds));
        relay.pull(false);
    }
    Ok(running.wait()?)
}
