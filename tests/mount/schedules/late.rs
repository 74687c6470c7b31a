//! A session is lost, and the server does what it had been told after that: late, when the user has gone on already. Nothing
//! of what came later is undone by it, and nothing is there twice.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use libtest_mimic::{Failed, Trial};

use super::relay::{Fault, Relay};
use super::{LONG, content, told};
use crate::model_mount::{ModelMount, pause, within};
use crate::servers::{Server, ServerKind};

/// The trials for one server.
pub(super) fn trials(kind: ServerKind) -> Vec<Trial> {
    let modes: [(&str, &'static [&str]); 2] = [
        ("late_commands_undo_nothing", &[]),
        ("late_commands_undo_nothing_behind_the_user", &["writeback"]),
    ];
    let trial = |(name, options): (&str, &'static [&str])| {
        let name = format!("{}::schedules::{name}", kind.name());
        Trial::test(name, move || undone(kind, options))
    };
    modes.into_iter().map(trial).collect()
}

/// What a user does whose first command is lost and done late, and then at once again with the same names.
struct Doing {
    verb: &'static str,
    /// The server has a file `old` before it.
    act: fn(&Path) -> io::Result<()>,
    /// What the folder has in the end.
    left: fn() -> Vec<(&'static str, Vec<u8>)>,
}

fn undone(kind: ServerKind, options: &[&str]) -> Result<(), Failed> {
    let server = Server::start(kind);
    let relay = Relay::start(server.address())?;
    let url = format!("ftp://{}@127.0.0.1:{}/", server.user, relay.port);
    let options = [&["tls=off,timeout=10s"], options].concat();
    let mount = ModelMount::start(&url, server.password, &options)?;
    // What has to be proved is proved by that. Not always the first time: by way of the relay pyftpdlib leaves a data
    // connection without an answer now and then, under load.
    let proof = mount.path.join("proof");
    let prove = || put(&proof, &old()).and_then(|()| add(&proof, b"tail"));
    if let Err(error) = prove().or_else(|_| prove()).or_else(|_| prove()) {
        return Err(format!("{error}\n{}", mount.log()).into());
    }
    let (mut done, mut undone) = (0, Vec::new());
    for doing in DOINGS.iter().filter(|doing| has(kind, doing.verb)) {
        let folder = format!("{} {done}", doing.verb);
        if let Err(error) = one(doing, &folder, &mount, &relay, &server.root) {
            undone.push(format!("{}: {error}", doing.verb));
        }
        done += 1;
        let late = relay.done().get("late command").copied();
        assert_eq!(late, Some(done), "{} was not late", doing.verb);
    }
    if !undone.is_empty() {
        return Err(format!("{}\n{}", undone.join("\n"), mount.log()).into());
    }
    println!("{}: {done} commands done late, no violation; ", kind.name());
    Ok(())
}

/// Lets the first command of `doing` be late, in the folder `name` of its own.
fn one(
    doing: &Doing,
    name: &str,
    mount: &ModelMount,
    relay: &Relay,
    root: &Path,
) -> io::Result<()> {
    let verb = doing.verb;
    let (folder, on_server) = (mount.path.join(name), root.join(name));
    fs::create_dir(&folder)?;
    put(&folder.join("old"), &old())?;
    sync(&folder)?;
    relay.order_at(verb, Fault::Late(LATE));
    (doing.act)(&folder)?;
    sync(&folder)?;
    // Until it is done at the latest.
    pause(Duration::from_millis(LATE) * 3);
    let left = (doing.left)();
    let is_left = |folder: &Path| {
        let names = super::names(folder).unwrap_or_default();
        let whole = |(name, bytes): &(&str, Vec<u8>)| {
            fs::read(folder.join(name)).is_ok_and(|found| found == *bytes)
        };
        names.len() == left.len() && left.iter().all(whole)
    };
    if !is_left(&on_server) {
        let there = super::names(&on_server)?;
        return Err(io::Error::other(format!(
            "the server has {} of {there:?}",
            told(&on_server)
        )));
    }
    if !within(LONG, || is_left(&folder)) {
        return Err(io::Error::other(format!("the mount has {}", told(&folder))));
    }
    let found = fs::metadata(on_server.join("old"));
    let same = match verb {
        "SITE" | "MFF" => found?.permissions().mode() & 0o777 == 0o640,
        "MFMT" => found?.modified()? == UNIX_EPOCH + SECOND_TIME,
        _ => true,
    };
    match same {
        true => Ok(()),
        false => Err(io::Error::other("it is as it was set first")),
    }
}

const DOINGS: [Doing; 9] = [
    Doing {
        verb: "APPE",
        act: |folder| add(&folder.join("old"), b"tail"),
        left: || vec![("old", [old(), b"tail".to_vec()].concat())],
    },
    Doing {
        verb: "STOR",
        act: |folder| {
            put(&folder.join("new"), b"first")?;
            put(&folder.join("new"), b"second")
        },
        left: || vec![("new", b"second".to_vec()), ("old", old())],
    },
    Doing {
        verb: "DELE",
        act: |folder| {
            fs::remove_file(folder.join("old"))?;
            put(&folder.join("old"), b"new")
        },
        left: || vec![("old", b"new".to_vec())],
    },
    Doing {
        verb: "DELE",
        act: |folder| {
            fs::remove_file(folder.join("old"))?;
            for content in ["new", "newer"] {
                fs::write(folder.join("part"), content)?;
            }
            fs::rename(folder.join("part"), folder.join("old"))
        },
        left: || vec![("old", b"newer".to_vec())],
    },
    Doing {
        verb: "RNTO",
        act: |folder| {
            fs::rename(folder.join("old"), folder.join("renamed"))?;
            put(&folder.join("old"), b"new")
        },
        left: || vec![("old", b"new".to_vec()), ("renamed", old())],
    },
    Doing {
        verb: "MKD",
        act: |folder| {
            fs::create_dir(folder.join("made"))?;
            fs::remove_dir(folder.join("made"))
        },
        left: || vec![("old", old())],
    },
    Doing {
        verb: "SITE",
        act: set_modes,
        left: || vec![("old", old())],
    },
    Doing {
        verb: "MFF",
        act: set_modes,
        left: || vec![("old", old())],
    },
    Doing {
        verb: "MFMT",
        act: |folder| {
            let file = File::options().write(true).open(folder.join("old"))?;
            file.set_modified(UNIX_EPOCH + FIRST_TIME)?;
            file.set_modified(UNIX_EPOCH + SECOND_TIME)
        },
        left: || vec![("old", old())],
    },
];

/// Whether a mount of `kind` sends `verb` for what is done here.
fn has(kind: ServerKind, verb: &str) -> bool {
    use ServerKind::*;
    match verb {
        "APPE" => !matches!(kind, ProftpdDefault | Ftpsrv),
        "SITE" => matches!(kind, Vsftpd | Pureftpd),
        "MFF" => matches!(kind, Proftpd | ProftpdDefault),
        "MFMT" => matches!(kind, Proftpd | ProftpdDefault | Pureftpd),
        _ => true,
    }
}

fn set_modes(folder: &Path) -> io::Result<()> {
    for mode in [0o600, 0o640] {
        fs::set_permissions(folder.join("old"), Permissions::from_mode(mode))?;
    }
    Ok(())
}

fn old() -> Vec<u8> {
    content(20_000, 1).to_vec()
}

/// Writes a whole file, and asks whether the server has it.
fn put(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Adds to a file, likewise.
fn add(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::options().append(true).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Waits until the server has all that was done in a folder.
fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Milliseconds that a lost command is late.
const LATE: u64 = 80;

const FIRST_TIME: Duration = Duration::from_secs(1_000_000_000);
const SECOND_TIME: Duration = Duration::from_secs(1_100_000_000);
