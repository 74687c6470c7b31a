//! What the server refuses after it was acknowledged, and what it has changed by the time that it is sent.

use std::fs::{FileTimes, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Stdio;
use std::time::UNIX_EPOCH;

use super::*;
use crate::system::with_own_mounts;

/// A new file and a changed one are refused behind the user: their bytes are kept and shown, `fsync` fails as long as they
/// are not sent, and the next mount sends them.
pub(super) fn refused_behind() -> Result<(), Failed> {
    let odd = Odd::start();
    prepare(&odd);
    let mount = ModelMount::of_odd(&odd, &["writeback"]);
    odd.refuse("STOR", 552);
    for name in ["replaced", "new"] {
        let path = mount.path.join(name);
        write(&path, b"written").map_err(|error| format!("{name}: {error}"))?;
        for time in ["at first", "once more", "and again"] {
            let synced = run("sync", [&path]);
            let said = String::from_utf8_lossy(&synced.stderr);
            assert!(said.contains("No space left"), "{name}, {time}: {synced:?}");
        }
        assert_eq!(fs::read(&path)?, b"written");
    }
    assert_eq!(odd.content("/replaced").as_deref(), Some(&b"before"[..]));
    assert_eq!(odd.content("/new"), None);
    mount.signal(rustix::process::Signal::TERM);
    let ended = mount.wait();
    let log = mount.log();
    assert!(
        !ended.success() && log.contains("sent by the next mount"),
        "{ended}\n{log}"
    );
    odd.heal("STOR");
    mount.start_again()?;
    for name in ["replaced", "new"] {
        assert_eq!(fs::read(mount.path.join(name))?, b"written");
        let has = || odd.content(&format!("/{name}")).as_deref() == Some(&b"written"[..]);
        assert!(within(DEADLINE, has), "{name}:\n{}", mount.log());
    }
    assert!(within(DEADLINE, || mount.unsent().is_empty()));
    Ok(())
}

/// Others change or make a file between the end of a mount and the next: theirs stays, ours is stored beside it.
pub(super) fn changed_meanwhile() -> Result<(), Failed> {
    let odd = Odd::start();
    prepare(&odd);
    let mount = ModelMount::of_odd(&odd, &["writeback"]);
    odd.refuse("STOR", 450);
    for name in ["replaced", "new"] {
        write(&mount.path.join(name), b"written").map_err(|error| format!("{name}: {error}"))?;
    }
    mount.kill();
    odd.put("/replaced", b"by somebody else");
    odd.put("/new", b"by somebody else");
    odd.heal("STOR");
    odd.forget();
    mount.start_again()?;
    assert!(
        within(DEADLINE, || mount.unsent().is_empty()),
        "{}",
        mount.log()
    );
    let mut set = odd.received();
    set.retain(|(verb, _)| ["SITE", "MFMT", "MFF"].contains(&&**verb));
    assert!(set.is_empty(), "times and bits of theirs are set: {set:?}");
    let names = shown(&mount.path)?;
    for name in ["replaced", "new"] {
        assert_eq!(
            odd.content(&format!("/{name}")).as_deref(),
            Some(&b"by somebody else"[..])
        );
        assert_eq!(fs::read(mount.path.join(name))?, b"by somebody else");
        let beside = names
            .iter()
            .find(|beside| beside.starts_with(&format!("{name}.unsent-")));
        let beside = beside.ok_or_else(|| format!("{names:?}\n{}", mount.log()))?;
        assert_eq!(
            odd.content(&format!("/{beside}")).as_deref(),
            Some(&b"written"[..])
        );
    }
    Ok(())
}

/// Others remove a file meanwhile: ours is stored beside where it was, once.
pub(super) fn removed_meanwhile() -> Result<(), Failed> {
    let odd = Odd::start();
    odd.put("/file", b"before");
    let mount = ModelMount::of_odd(&odd, &["writeback"]);
    odd.refuse("STOR", 450);
    write(&mount.path.join("file"), b"written")?;
    mount.kill();
    odd.remove("/file");
    odd.heal("STOR");
    for time in ["at first", "and again"] {
        mount.start_again()?;
        assert!(
            within(DEADLINE, || mount.unsent().is_empty()),
            "{time}:\n{}",
            mount.log()
        );
        let names = shown(&mount.path)?;
        let [beside] = &names[..] else {
            return Err(format!("{time}: {names:?}").into());
        };
        assert!(beside.starts_with("file.unsent-"), "{time}: {beside}");
        assert_eq!(
            odd.content(&format!("/{beside}")).as_deref(),
            Some(&b"written"[..])
        );
        mount.kill();
    }
    Ok(())
}

/// The daemon is killed when the server has made the file of an upload, and got nothing of it yet: that is not somebody
/// else's.
pub(super) fn killed_at_the_first_byte() -> Result<(), Failed> {
    let odd = Odd::start();
    let mount = ModelMount::of_odd(&odd, &["writeback"]);
    odd.cut_stor_after(0, Cut::Session, Times::Always);
    write(&mount.path.join("new"), b"written")?;
    let begun = || odd.content("/new").is_some_and(|there| there.is_empty());
    assert!(within(DEADLINE, begun), "{}", mount.log());
    mount.kill();
    odd.heal("STOR");
    mount.start_again()?;
    assert!(
        within(DEADLINE, || mount.unsent().is_empty()),
        "{}",
        mount.log()
    );
    assert_eq!(odd.content("/new").as_deref(), Some(&b"written"[..]));
    assert_eq!(shown(&mount.path)?, ["new"]);
    Ok(())
}

/// The disk of the journal is full when files are renamed that the server has nothing of yet: `rename` fails, of one that is
/// closed or open, over another or not, and each is sent by the name that it has.
pub(super) fn full_journal() -> Result<(), Failed> {
    let odd = Odd::start();
    // What is in a folder waits for that.
    odd.drop_control_on("MKD", Times::Always);
    let folder = tempfile::tempdir()?;
    let mut script = with_own_mounts()
        .args(["python3", "-c", include_str!("full_journal.py")])
        .arg(env!("CARGO_BIN_EXE_ftpfs"))
        .arg(format!("ftp://user@{}/", odd.address()))
        .arg(folder.path())
        .env("FTPFS_PASSWORD", "password")
        .env("HOME", folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut name = String::new();
    let said = script.stdout.take().ok_or("it has an output")?;
    BufReader::new(said).read_line(&mut name)?;
    odd.heal("MKD");
    // Its end is what the script waits for.
    drop(script.stdin.take());
    let ended = script.wait()?;
    assert!(ended.success() && !name.is_empty(), "{ended}");
    // What is not sent yet is sent before it ends.
    assert!(within(DEADLINE, || odd.sessions() == 0), "it does not end");
    for (now, was) in [
        (name.trim_end(), "one"),
        ("two", "two"),
        ("three", "three"),
        ("four", "four"),
    ] {
        let sent = odd.content(&format!("/d/{now}"));
        assert_eq!(sent, Some(format!("of {was}").into_bytes()), "{now}");
    }
    assert_eq!(odd.content("/d/a-longer-name-than-that"), None);
    Ok(())
}

/// What is added to a file arrives, its answer is lost, and then the server cannot be asked for a while: it is there once,
/// and nobody is told that others have changed it.
pub(super) fn appended_unheard() -> Result<(), Failed> {
    let odd = Odd::start();
    odd.put("/log", b"before\n");
    let mount = ModelMount::of_odd(&odd, &["writeback,max_conns=1"]);
    let path = mount.path.join("log");
    append(&path, b"first\n").map_err(|error| format!("{error}"))?;
    let has = |wanted: &[u8]| odd.content("/log").as_deref() == Some(wanted);
    assert!(within(DEADLINE, || mount.unsent().is_empty()));
    assert!(has(b"before\nfirst\n"));
    odd.lose_reply_of("APPE", Times::Once);
    odd.greet(vec![Step::Close]);
    append(&path, b"second\n").map_err(|error| format!("{error}"))?;
    let failed = || mount.log().contains("not on the server yet");
    assert!(within(DEADLINE, failed), "{}", mount.log());
    assert!(has(b"before\nfirst\nsecond\n"));
    odd.greet(vec![Step::Send(b"220 odd\r\n".to_vec())]);
    let sent = || mount.unsent().is_empty();
    assert!(within(DEADLINE, sent), "{}", mount.log());
    assert!(has(b"before\nfirst\nsecond\n"));
    assert_eq!(fs::read(&path)?, b"before\nfirst\nsecond\n");
    Ok(())
}

/// Files are written under another name, get their times and bits, and are renamed, as rsync does it. These go with the
/// rename; where they are refused, the file has its name for all that, and they are shown; and where the mount ends before
/// the rename, the next one sets them.
pub(super) fn attributes_behind_a_close() -> Result<(), Failed> {
    let odd = Odd::start();
    let mount = ModelMount::of_odd(&odd, &[]);
    let written = |name: &str| -> io::Result<_> {
        let path = mount.path.join(format!(".{name}"));
        write(&path, b"content")?;
        let time = UNIX_EPOCH + Duration::from_secs(1_577_836_800);
        let read = File::open(&path)?;
        read.set_times(FileTimes::new().set_modified(time))?;
        fs::set_permissions(&path, Permissions::from_mode(0o640))?;
        Ok(path)
    };
    let there = |name: &str| {
        let node = odd.node(name).map(|node| (node.modified, node.mode));
        node == Some((b"20200101000000".to_vec(), 0o640))
    };
    // How they are set is learned by the first.
    for name in ["first", "second"] {
        odd.forget();
        fs::rename(written(name)?, mount.path.join(name))?;
        let verbs = verbs(&odd);
        let among = |verb: &&str| ["MFMT", "SITE", "RNFR", "RNTO"].contains(verb);
        let sent = verbs.iter().map(String::as_str).filter(among).rev();
        let mut last: Vec<&str> = sent.take(4).collect();
        last[2..].sort_unstable();
        assert_eq!(last, ["RNTO", "RNFR", "MFMT", "SITE"], "{verbs:?}");
        assert!(there(&format!("/{name}")), "{verbs:?}");
    }
    odd.refuse("SITE", 550);
    fs::rename(written("third")?, mount.path.join("third"))?;
    let shown = || fs::metadata(mount.path.join("third")).is_ok_and(|now| now.mode() == 0o100_640);
    assert!(shown(), "{}", mount.log());
    assert_eq!(odd.node("/third").map(|node| node.mode), Some(0o644));
    odd.heal("SITE");
    written("fourth")?;
    mount.kill();
    mount.start_again()?;
    assert!(within(DEADLINE, || there("/.fourth")), "{}", mount.log());
    Ok(())
}
