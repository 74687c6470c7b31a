//! One fault at one moment, each of which has lost or invented something once.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use libtest_mimic::{Failed, Trial};

use super::relay::{Fault, Harm, Relay};
use super::{LONG, content};
use crate::faults::write;
use crate::model_mount::{ModelMount, pause, within};
use crate::servers::ServerKind::*;
use crate::servers::{Server, ServerKind};

/// The trials for one server.
pub(super) fn trials(kind: ServerKind) -> Vec<Trial> {
    let trial = |name: &str, run: fn(ServerKind) -> Result<(), Failed>| {
        Trial::test(format!("{}::schedules::{name}", kind.name()), move || {
            run(kind)
        })
    };
    let mut trials = Vec::new();
    // The client's matter: those that are least alike.
    if matches!(kind, Embedded | Vsftpd | ProftpdDefault | Ftpsrv) {
        trials.extend([
            trial("a_rename_that_breaks_off_is_told_truly", broken_rename),
            trial("what_is_said_twice_answers_nothing_else", doubled_answers),
        ]);
    }
    // The first two take an attempt that has sent nothing for a change.
    if matches!(kind, Embedded | Pyftpdlib | Vsftpd) {
        trials.push(trial("an_append_that_fails_twice_is_made", broken_append));
    }
    // Who else lets nobody store over a part of one's own?
    if kind == ProftpdDefault {
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
    trials
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
    assert!(relay.done().contains_key("lost reply"));
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

/// How long it takes at most until the kernel is told, and the server answers again.
const SOON: Duration = Duration::from_secs(10);

/// More connections than anybody tries.
const MANY: u32 = 1000;
