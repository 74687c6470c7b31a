//! A link that is pulled for a while, and a daemon that is killed while it sends.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};

use super::relay::{Fault, Harm, Relay};
use super::{LONG, content};
use crate::faults::write;
use crate::model_mount::{ModelMount, pause, run, within};
use crate::servers::ServerKind::*;
use crate::servers::{Server, ServerKind};

/// The trials for one server.
pub(super) fn trials(kind: ServerKind) -> Vec<Trial> {
    let trial = |name: &str, run: fn(ServerKind) -> Result<(), Failed>| {
        Trial::test(format!("{}::schedules::{name}", kind.name()), move || {
            run(kind)
        })
    };
    let mut trials = vec![
        trial("an_upload_goes_on_in_the_next_mount", killed_while_it_sends),
        trial("a_rename_that_breaks_off_is_told_truly", broken_rename),
        trial("an_append_that_fails_twice_is_made", broken_append),
        trial("what_is_said_twice_answers_nothing_else", doubled_answers),
    ];
    // Who else lets nobody store over a part of one's own?
    if kind == ServerKind::ProftpdDefault {
        trials.push(trial("a_part_that_was_left_is_in_nobodys_way", left_a_part));
    }
    // Those that list the folder itself.
    if matches!(
        kind,
        Vsftpd | Proftpd | ProftpdDefault | Pureftpd | Inetutils
    ) {
        trials.push(trial(
            "a_listing_without_a_line_is_no_empty_folder",
            cut_at_the_start,
        ));
    }
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
    let mount = ModelMount::start(&url, server.password, &["tls=off", "writeback"])?;
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

/// An upload breaks off, and so does the removal of the part that the server has of it.
fn left_a_part(kind: ServerKind) -> Result<(), Failed> {
    let server = Server::start(kind);
    let relay = Relay::start(server.address())?;
    let url = format!("ftp://{}@127.0.0.1:{}/", server.user, relay.port);
    let mount = ModelMount::start(&url, server.password, &["tls=off"])?;
    relay.order_at("STOR", Fault::Data(Harm::Cut, 100));
    relay.order_at("DELE", Fault::Drop);
    let bytes = content(1_300_000, 1);
    let written = write(&mount.path.join("file"), &bytes);
    let done = relay.done();
    assert!(
        done.contains_key("data cut") && done.contains_key("drop"),
        "{done:?}"
    );
    assert!(written.is_ok(), "{written:?}\n{}", mount.log());
    assert!(fs::read(server.root.join("file"))? == *bytes);
    // A session that ends before the server says that it begins leaves an empty one.
    for fault in [
        Fault::LoseReply,
        Fault::TruncateReply(5),
        Fault::DoubleReply,
        Fault::Late(50),
    ] {
        let name = format!("{fault:?}");
        relay.order_at("STOR", fault);
        let written = write(&mount.path.join(&name), b"short");
        assert!(written.is_ok(), "{name}: {written:?}\n{}", mount.log());
        assert!(fs::read(server.root.join(&name))? == b"short", "{name}");
    }
    Ok(())
}

/// The answers to a rename are lost, cut or doubled: it is done, or there is an error, and the names are those that the
/// server has from that moment on.
fn broken_rename(kind: ServerKind) -> Result<(), Failed> {
    let server = Server::start(kind);
    let relay = Relay::start(server.address())?;
    let url = format!("ftp://{}@127.0.0.1:{}/", server.user, relay.port);
    let mount = ModelMount::start(&url, server.password, &["tls=off,attr_timeout=60s"])?;
    let mut wrong = Vec::new();
    let faults = [
        Fault::LoseReply,
        Fault::TruncateReply(5),
        Fault::DoubleReply,
        Fault::Drop,
    ];
    let mut cases = Vec::new();
    for verb in ["RNFR", "RNTO"] {
        cases.extend(faults.map(|fault| (verb, fault, 0)));
        cases.push((verb, Fault::LoseReply, 2));
    }
    if kind == Embedded {
        // It takes a while.
        cases.push(("RNTO", Fault::LoseReply, MANY));
    }
    for (verb, fault, refused) in cases {
        let [from, to] = ["from", "to"].map(|name| format!("{name} {verb} {fault:?} {refused}"));
        write(&mount.path.join(&from), b"content")?;
        // The kernel remembers that it is not there.
        assert!(!mount.path.join(&to).exists());
        relay.order_at(verb, fault);
        if refused > 0 {
            // The question that comes next is lost as well, and so are the next sessions.
            relay.order_at("CWD", Fault::Refuse(refused));
        }
        let renamed = fs::rename(mount.path.join(&from), mount.path.join(&to));
        if refused == MANY {
            assert!(
                renamed.is_err(),
                "{renamed:?}, and the server cannot be asked"
            );
            relay.order(Vec::new());
        }
        let are_in = |folder: &Path| [&from, &to].map(|name| folder.join(name).exists());
        let there = are_in(&server.root);
        // After an error the kernel is told a moment later.
        let known = match renamed {
            Ok(()) => are_in(&mount.path) == there,
            Err(_) => within(SOON, || are_in(&mount.path) == there),
        };
        if !known || (renamed.is_ok() && !there[1]) {
            let seen = are_in(&mount.path);
            wrong.push(format!(
                "{to}: {renamed:?}, shown {seen:?}, there {there:?}"
            ));
        }
    }
    if !wrong.is_empty() {
        return Err(format!("{}\n{}", wrong.join("\n"), mount.log()).into());
    }
    Ok(())
}

/// How long it takes at most until the kernel is told, and the server answers again.
const SOON: Duration = Duration::from_secs(10);

/// More connections than anybody tries.
const MANY: u32 = 1000;

/// Two attempts to add to a file break off as soon as they have begun; the server takes what it has got of them for a
/// change. Asked once more, it is done.
fn broken_append(kind: ServerKind) -> Result<(), Failed> {
    let server = Server::start(kind);
    let relay = Relay::start(server.address())?;
    let url = format!("ftp://{}@127.0.0.1:{}/", server.user, relay.port);
    let mount = ModelMount::start(&url, server.password, &["tls=off"])?;
    let path = mount.path.join("file");
    let mut wanted = content(20_000, 1).to_vec();
    write(&path, &wanted)?;
    let mut file = File::options().append(true).open(&path)?;
    for round in 0..2 {
        // Proofs are given in the first.
        pause(Duration::from_millis(1100));
        if round > 0 {
            for _ in 0..2 {
                relay.order_at("APPE", Fault::LoseReply);
            }
        }
        file.write_all(b"tail")?;
        wanted.extend(b"tail");
        let synced = file.sync_all().or_else(|_| file.sync_all());
        assert!(synced.is_ok(), "{synced:?}\n{}", mount.log());
        assert!(fs::read(server.root.join("file"))? == wanted);
    }
    Ok(())
}

/// The last answer of a login comes twice: folders that are made then are there.
fn doubled_answers(kind: ServerKind) -> Result<(), Failed> {
    let server = Server::start(kind);
    let relay = Relay::start(server.address())?;
    let url = format!("ftp://{}@127.0.0.1:{}/", server.user, relay.port);
    let mount = ModelMount::start(&url, server.password, &["tls=off"])?;
    for round in 0..4 {
        server.kill_sessions();
        relay.order_at("TYPE", Fault::DoubleReply);
        let name = format!("{round}");
        // An error is true as well.
        let made = fs::create_dir(mount.path.join(&name));
        assert!(
            made.is_err() || server.root.join(&name).is_dir(),
            "{round}: not there\n{}",
            mount.log()
        );
    }
    assert!(relay.done().contains_key("doubled reply"));
    Ok(())
}

/// A listing ends properly before its first line, and the server says that it was whole.
fn cut_at_the_start(kind: ServerKind) -> Result<(), Failed> {
    let server = Server::start(kind);
    for folder in ["first", "second"] {
        fs::create_dir(server.root.join(folder))?;
        fs::write(server.root.join(folder).join("file"), b"content")?;
    }
    let relay = Relay::start(server.address())?;
    let url = format!("ftp://{}@127.0.0.1:{}/", server.user, relay.port);
    let mount = ModelMount::start(&url, server.password, &["tls=off"])?;
    let names = |folder: &str| super::names(&mount.path.join(folder));
    assert_eq!(names("first")?, ["file"]);
    let verb = match kind {
        Vsftpd | Inetutils => "LIST",
        _ => "MLSD",
    };
    relay.order_at(verb, Fault::Data(Harm::Cut, 0));
    let found = names("second");
    assert!(relay.done().contains_key("data cut"), "{verb} was not cut");
    // An error is true as well.
    if let Ok(found) = found {
        assert_eq!(found, ["file"], "{}", mount.log());
    }
    assert!(within(LONG, || names("second")
        .is_ok_and(|found| found == ["file"])));
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
