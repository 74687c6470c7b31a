//! Replies that are lost, and connections that end at any verb.

use super::*;
use crate::raw::RawSession;

/// One thing that users do, on a tree that [`prepare`] made.
pub(super) type Doing = (&'static str, &'static str, fn(&Path) -> io::Result<()>);

/// Names, the verb that matters most, and what is done.
pub(super) const DOINGS: [Doing; 12] = [
    ("list", "MLSD", |root| {
        let names = shown(&root.join("folder"))?;
        check(names == ["x", "y"])
    }),
    ("read", "RETR", |root| {
        check(fs::read(root.join("file"))? == content(200_000, 1))
    }),
    ("write", "STOR", |root| write(&root.join("new"), b"written")),
    ("replace", "RNTO", |root| {
        write(&root.join("replaced"), b"written")
    }),
    ("append", "APPE", |root| {
        let mut file = File::options().append(true).open(root.join("grown"))?;
        file.write_all(b"tail")?;
        file.sync_all()
    }),
    ("change", "STOR", |root| change(&root.join("changed"))),
    ("rename", "RNTO", |root| {
        fs::rename(root.join("from"), root.join("to"))
    }),
    ("mkdir", "MKD", |root| fs::create_dir(root.join("made"))),
    ("rmdir", "RMD", |root| fs::remove_dir(root.join("empty"))),
    ("rm", "DELE", |root| fs::remove_file(root.join("removed"))),
    ("chmod", "SITE", |root| {
        fs::set_permissions(root.join("moded"), fs::Permissions::from_mode(0o600))
    }),
    ("touch", "MFMT", |root| {
        let time = UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        File::options()
            .write(true)
            .open(root.join("timed"))?
            .set_modified(time)
    }),
];

/// Changes two bytes within a file.
fn change(path: &Path) -> io::Result<()> {
    let file = File::options().write(true).open(path)?;
    file.write_all_at(b"XY", 2)?;
    file.sync_all()
}

pub(super) fn prepare(odd: &Odd) {
    for folder in ["/folder", "/empty"] {
        odd.make_folder(folder);
    }
    for file in [
        "/folder/x",
        "/folder/y",
        "/grown",
        "/changed",
        "/replaced",
        "/from",
        "/removed",
        "/moded",
        "/timed",
    ] {
        odd.put(file, b"before");
    }
    odd.put("/file", &content(200_000, 1));
}

/// Whether `doing` is done on the server, as far as it can be seen there.
pub(super) fn is_done(doing: &str, odd: &Odd) -> bool {
    let holds = |path: &str, wanted: &str| odd.content(path).as_deref() == Some(wanted.as_bytes());
    let there = |path: &str| odd.node(path).is_some();
    match doing {
        "write" => holds("/new", "written"),
        "replace" => holds("/replaced", "written"),
        "append" => holds("/grown", "beforetail"),
        "change" => holds("/changed", "beXYre"),
        "rename" => !there("/from") && holds("/to", "before"),
        "mkdir" => there("/made"),
        "rmdir" => !there("/empty"),
        "rm" => !there("/removed"),
        "chmod" => odd.node("/moded").is_some_and(|node| node.mode == 0o600),
        "touch" => odd
            .node("/timed")
            .is_some_and(|node| node.modified == b"20010909014640"),
        _ => true,
    }
}

/// After a failed `doing`: nothing that was there is lost or torn.
pub(super) fn is_unharmed(doing: &str, odd: &Odd) -> bool {
    let is_before = |path: &str| odd.content(path).as_deref() == Some(b"before");
    match doing {
        "replace" => is_before("/replaced"),
        "append" => is_before("/grown"),
        "change" => is_before("/changed") || is_done(doing, odd),
        "rename" => is_before("/from") || is_before("/to"),
        _ => true,
    }
}

pub(super) fn lost_replies() -> Result<(), Failed> {
    for (doing, verb, act) in DOINGS {
        let odd = Odd::start();
        prepare(&odd);
        let mount = ModelMount::of_odd(&odd, &[]);
        // Proves that APPE appends before the one that matters loses its reply.
        if doing == "append" {
            odd.put("/folder/y", b"before");
            let mut file = File::options()
                .append(true)
                .open(mount.path.join("folder/y"))?;
            file.write_all(b"tail")?;
            file.sync_all()?;
        }
        // Likewise that a range is written in place.
        if doing == "change" {
            within(DEADLINE, || change(&mount.path.join("folder/y")).is_ok());
        }
        odd.lose_reply_of(verb, Times::Once);
        act(&mount.path)
            .map_err(|error| format!("{doing} without the reply to {verb}: {error}"))?;
        assert!(
            is_done(doing, &odd),
            "{doing} without the reply to {verb}: not done"
        );
    }
    Ok(())
}

pub(super) fn dropped_at_each_verb() -> Result<(), Failed> {
    each_verb("dropped", |odd, verb| {
        odd.drop_control_on(verb, Times::Once)
    })
}

pub(super) fn closing_at_each_verb() -> Result<(), Failed> {
    each_verb("421", |odd, verb| {
        let said = AtomicUsize::new(0);
        odd.script(verb, move |_| match said.fetch_add(1, Ordering::Relaxed) {
            0 => vec![Step::line("421 Going away"), Step::Close],
            _ => vec![Step::Usual],
        });
    })
}

/// Everything that users do, with `fault` at each verb in turn: done, or an error that is true.
pub(super) fn each_verb(what: &str, fault: impl Fn(&Odd, &str)) -> Result<(), Failed> {
    let mut failed = Vec::new();
    for verb in [
        "USER", "PASS", "FEAT", "PWD", "TYPE", "CWD", "MLSD", "EPSV", "RETR", "STOR", "APPE",
        "SIZE", "MDTM", "RNFR", "RNTO", "DELE", "MKD", "RMD", "SITE", "MFMT",
    ] {
        let odd = Odd::start();
        prepare(&odd);
        let mount = ModelMount::of_odd(&odd, &["attr_timeout=0"]);
        for (doing, _, act) in DOINGS {
            if ["USER", "PASS", "FEAT", "TYPE", "PWD"].contains(&verb) {
                // These are said at a login only.
                odd.close_sessions();
            }
            odd.heal(verb);
            fault(&odd, verb);
            match act(&mount.path) {
                Ok(()) if is_done(doing, &odd) => {}
                Ok(()) => failed.push(format!("{verb} {what}: {doing} is not done, and no error")),
                Err(error) if is(&error, Errno::NOENT) => {
                    failed.push(format!("{verb} {what}: {doing}: {error}"));
                }
                Err(error) if !is_unharmed(doing, &odd) => {
                    failed.push(format!("{verb} {what}: {doing} did harm: {error}"));
                }
                // One broken connection is to be expected: another is made.
                Err(error) => failed.push(format!("{verb} {what}: {doing}: {error}")),
            }
        }
    }
    if failed.is_empty() {
        Ok(())
    } else {
        Err(failed.join("\n").into())
    }
}

pub(super) fn failed_listings() -> Result<(), Failed> {
    type Fault = (&'static str, fn(&Odd));
    let faults: [Fault; 7] = [
        ("cut with 426", |odd| {
            odd.cut_listing_after("MLSD", 60, Cut::Close, Times::Always)
        }),
        ("reset", |odd| {
            odd.cut_listing_after("MLSD", 60, Cut::Reset, Times::Always)
        }),
        ("cut with 226", |odd| {
            odd.cut_listing_after("MLSD", 60, Cut::Lie, Times::Always)
        }),
        ("cut with the session", |odd| {
            odd.cut_listing_after("MLSD", 60, Cut::Session, Times::Always)
        }),
        ("refused", |odd| odd.refuse("MLSD", 550)),
        ("failing", |odd| odd.refuse("MLSD", 451)),
        ("unreadable", |odd| {
            odd.send_as("MLSD", b"<html>\r\n<h1>It works</h1>\r\n</html>\r\n")
        }),
    ];
    for (name, fault) in faults {
        let odd = Odd::start();
        prepare(&odd);
        let mount = ModelMount::of_odd(&odd, &["attr_timeout=0"]);
        fault(&odd);
        let at = format!("a listing {name}");
        match shown(&mount.path.join("folder")) {
            Ok(names) => assert_eq!(names, ["x", "y"], "{at}"),
            Err(error) => assert!(!is(&error, Errno::NOENT), "{at}: {error}"),
        }
        for known in ["file", "folder/x", "folder"] {
            match fs::metadata(mount.path.join(known)) {
                Ok(_) => {}
                Err(error) => assert!(!is(&error, Errno::NOENT), "{at}: {known}: {error}"),
            }
        }
        odd.heal("MLSD");
        assert_eq!(
            shown(&mount.path.join("folder"))?,
            ["x", "y"],
            "{at}, then healed"
        );
    }
    Ok(())
}

/// A listing that ends properly behind a line, and lacks what was known: it is asked for once more, and then believed.
pub(super) fn listings_cut_behind_a_line() -> Result<(), Failed> {
    for (verb, command) in [("LIST", "LIST -a /"), ("MLSD", "MLSD /")] {
        let odd = Odd::start();
        prepare(&odd);
        if verb == "LIST" {
            odd.refuse("MLSD", 500);
        }
        let mount = ModelMount::of_odd(&odd, &["attr_timeout=0"]);
        let known = shown(&mount.path)?;
        let mut session = RawSession::login(odd.address(), "user", "password")?;
        let (body, _) = session.download(command)?;
        let ends = (0..body.len()).filter(|&at| body[at] == b'\n');
        for end in ends {
            odd.cut_listing_after(verb, end + 1, Cut::Lie, Times::Once);
            let at = format!("{verb}, cut behind byte {end}");
            assert_eq!(shown(&mount.path)?, known, "{at}");
        }
        odd.remove("/file");
        let before = odd.count(verb);
        assert_eq!(fs::read_dir(&mount.path)?.count(), known.len() - 1);
        assert_eq!(odd.count(verb), before + 2, "{verb}");
    }
    Ok(())
}

/// What a server says over the data connection in place of a listing is no file's name, and no empty folder: also as the
/// first, of a server that has names alone to show, and whether it says the same to `LIST` and `NLST` or not.
pub(super) fn messages_for_listings() -> Result<(), Failed> {
    const MESSAGES: [&str; 4] = [
        "550 Permission denied",
        "ls: cannot open directory '/folder': Permission denied",
        "total 0\r\nls: .: Input/output error",
        "Could not get directory listing.",
    ];
    type Manner = (&'static str, fn(&Odd, &str));
    let manners: [Manner; 5] = [
        ("of any command", |odd, message| {
            odd.send_as("LIST", message.as_bytes());
            odd.send_as("NLST", message.as_bytes());
        }),
        ("another for NLST", |odd, message| {
            odd.send_as("LIST", b"Cannot list that.\r\n");
            odd.send_as("NLST", message.as_bytes());
        }),
        ("nothing by NLST", |odd, message| {
            odd.send_as("LIST", message.as_bytes());
            odd.send_as("NLST", b"");
        }),
        ("without LIST", |odd, message| {
            odd.refuse("LIST", 502);
            odd.send_as("NLST", message.as_bytes());
        }),
        ("without LIST, SIZE and MDTM", |odd, message| {
            for verb in ["LIST", "SIZE", "MDTM"] {
                odd.refuse(verb, 502);
            }
            odd.send_as("NLST", message.as_bytes());
        }),
    ];
    // Side by side: a listing that cannot be read is asked for again after a while.
    thread::scope(|scope| {
        let tried = manners.map(|(manner, say)| {
            let all = move || {
                MESSAGES
                    .iter()
                    .try_for_each(|message| is_no_name(message, manner, say))
            };
            scope.spawn(all)
        });
        let all = tried.map(|tried| tried.join().expect("what it says is above"));
        all.into_iter().collect::<io::Result<()>>()
    })?;
    Ok(())
}

fn is_no_name(message: &str, manner: &str, say: fn(&Odd, &str)) -> io::Result<()> {
    let at = format!("{message:?}, {manner}");
    let message = format!("{message}\r\n");
    let odd = Odd::start();
    prepare(&odd);
    names_only(&odd);
    say(&odd, &message);
    // As the very first: then it may not mount.
    if let Ok(mount) = ModelMount::try_odd(&odd, &["attr_timeout=0"]) {
        fails_to_list(&mount.path, &at);
    }
    odd.heal("LIST");
    odd.heal("NLST");
    // As the first of another folder.
    let mount = ModelMount::of_odd(&odd, &["attr_timeout=0"]);
    say(&odd, &message);
    fails_to_list(&mount.path.join("folder"), &at);
    let known = fs::metadata(mount.path.join("folder/x")).err();
    assert!(!known.is_some_and(|error| is(&error, Errno::NOENT)), "{at}");
    odd.heal("LIST");
    odd.heal("NLST");
    let names = shown(&mount.path.join("folder"))?;
    assert_eq!(names, ["x", "y"], "{at}, then healed");
    Ok(())
}

fn fails_to_list(folder: &Path, at: &str) {
    match shown(folder) {
        Ok(names) => panic!("{at}: {names:?}"),
        Err(error) => assert!(
            is(&error, Errno::IO) || is(&error, Errno::ACCESS),
            "{at}: {error}"
        ),
    }
}

pub(super) fn server_gone() -> Result<(), Failed> {
    let odd = Odd::start();
    prepare(&odd);
    let options = ["attr_timeout=0", "connect_timeout=1", "timeout=1"];
    let mount = ModelMount::of_odd(&odd, &options);
    assert_eq!(fs::metadata(mount.path.join("file"))?.len(), 200_000);
    let mut open = File::open(mount.path.join("file"))?;
    drop(odd);
    for gone in ["file", "folder/x", "never"] {
        let error = fs::metadata(mount.path.join(gone))
            .err()
            .ok_or("it is gone")?;
        assert!(!is(&error, Errno::NOENT), "{gone}: {error}");
    }
    let error = open.read(&mut [0; 10]).err().ok_or("it is gone")?;
    assert!(!is(&error, Errno::NOENT), "{error}");
    let error = shown(&mount.path.join("folder"))
        .err()
        .ok_or("it is gone")?;
    assert!(!is(&error, Errno::NOENT), "{error}");
    Ok(())
}
