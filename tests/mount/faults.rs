//! What a broken connection, a refusal or an odd server does to the users of a mount: nothing,
//! or an error that is true. Never wrong bytes, a short file, a lost file, or an empty folder.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

use libtest_mimic::{Failed, Trial};
use rustix::io::Errno;

use crate::model_mount::{DEADLINE, ModelMount, run, within};
use crate::odd::{Cut, Odd, Step, Times};
use crate::servers::{Server, ServerKind};

/// The trials with one real server.
pub fn trials_of(kind: ServerKind) -> Vec<Trial> {
    let trial = |name: &str, run: fn(ServerKind) -> Result<(), Failed>| {
        Trial::test(format!("{}::faults::{name}", kind.name()), move || {
            run(kind)
        })
    };
    vec![
        trial("a_reader_sees_nothing_of_killed_sessions", killed_in_a_read),
        trial("an_upload_survives_or_says_so", killed_in_an_upload),
    ]
}

/// The trials with the scripted server.
pub fn trials() -> Vec<Trial> {
    let trial =
        |name: &str, run: fn() -> Result<(), Failed>| Trial::test(format!("faults::{name}"), run);
    vec![
        trial("a_cut_download_is_whole_or_an_error", cut_downloads),
        trial("a_cut_upload_is_whole_or_an_error", cut_uploads),
        trial("a_lost_reply_is_found_out", lost_replies),
        trial("a_dropped_connection_at_any_verb", dropped_at_each_verb),
        trial("a_421_at_any_verb", closing_at_each_verb),
        trial("a_listing_that_fails_is_no_empty_folder", failed_listings),
        trial("a_server_that_is_gone_loses_no_files", server_gone),
        trial("a_full_disk_is_enospc", full_disk),
        trial("a_refused_rename_over_a_file", refused_rename_over),
        trial(
            "a_rename_that_fails_puts_the_old_file_back",
            failed_rename_over,
        ),
        trial("a_refused_download_is_eacces", refused_download),
        trial("servers_without_a_verb", servers_without_a_verb),
        trial("replies_of_any_shape", replies_of_any_shape),
        trial("fewer_sessions_than_wanted", fewer_sessions),
        trial("round_trips_are_few", round_trips),
    ]
}

fn killed_in_a_read(kind: ServerKind) -> Result<(), Failed> {
    let server = Server::start(kind);
    let content = content(100 << 20, 1);
    fs::write(server.root.join("big"), &content)?;
    let mount = ModelMount::of(&server, &[]);
    let mut file = File::open(mount.path.join("big"))?;
    let mut piece = vec![0; 1 << 20];
    for (at, wanted) in content.chunks(piece.len()).enumerate() {
        if at % 30 == 10 {
            server.kill_sessions();
        }
        file.read_exact(&mut piece[..wanted.len()])
            .map_err(|error| format!("at {at} MiB: {error}"))?;
        assert!(piece[..wanted.len()] == *wanted, "wrong bytes at {at} MiB");
    }
    assert_eq!(file.read(&mut piece)?, 0);
    Ok(())
}

fn killed_in_an_upload(kind: ServerKind) -> Result<(), Failed> {
    let server = Server::start(kind);
    let mount = ModelMount::of(&server, &[]);
    let (old, new) = (content(300_000, 2), content(40 << 20, 3));
    for (round, name) in ["replaced", "new", "replaced", "new2"].iter().enumerate() {
        let (there, target) = (server.root.join(name), mount.path.join(name));
        let replaced = *name == "replaced";
        if replaced {
            write(&target, &old)?;
            assert_eq!(fs::read(&there)?, old);
        }
        let sent = thread::scope(|scope| {
            let sending = scope.spawn(|| write(&target, &new));
            for _ in 0..=round / 2 {
                let begun = || arriving(&server.root, if replaced { None } else { Some(name) });
                within(DEADLINE, || sending.is_finished() || begun() > 1 << 20);
                server.kill_sessions();
            }
            sending.join().expect("it does not panic")
        });
        match sent {
            Ok(()) => {
                assert!(fs::read(&there)? == new, "{name}: torn, and no error");
                assert!(
                    shown(&mount.path)?
                        .iter()
                        .all(|name| !name.starts_with(".ftpfs-"))
                );
            }
            Err(error) => {
                eprintln!("{}: {name}: {error}", kind.name());
                let now = fs::read(&there).unwrap_or_default();
                assert!(
                    !replaced || now == old || now == new,
                    "{name}: torn after {error}"
                );
            }
        }
    }
    Ok(())
}

/// Bytes of the upload that runs: of `name`, or of the scratch file.
fn arriving(root: &Path, name: Option<&str>) -> u64 {
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    let sizes = entries.filter_map(|entry| {
        let found = entry.file_name().into_string().ok()?;
        let wanted = name.map_or(found.starts_with(".ftpfs-"), |name| name == found);
        wanted.then(|| entry.metadata().ok().map(|metadata| metadata.len()))?
    });
    sizes.max().unwrap_or(0)
}

fn cut_downloads() -> Result<(), Failed> {
    let content = content(1_000_000, 1);
    for cut in [Cut::Reset, Cut::Close, Cut::Lie, Cut::Session] {
        for (times, after) in [
            (Times::Once, 300_000),
            (Times::Always, 300_000),
            (Times::Always, 0),
        ] {
            let odd = Odd::start();
            odd.put("/f", &content);
            odd.cut_retr_after(after, cut, times);
            let mount = ModelMount::of_odd(&odd, &[]);
            let at = format!("{cut:?} {times:?} after {after}");
            match fs::read(mount.path.join("f")) {
                Ok(read) => assert!(read == content, "{at}: {} bytes", read.len()),
                Err(error) => {
                    assert!(!is(&error, Errno::NOENT), "{at}: {error}");
                    let seen = cut == Cut::Lie || after == 0;
                    assert!(seen, "{at}: {error} could have been avoided");
                }
            }
            odd.heal("RETR");
            let read = fs::read(mount.path.join("f")).map_err(|error| format!("{at}: {error}"))?;
            assert!(read == content, "{at}: wrong bytes after it was healed");
        }
    }
    Ok(())
}

fn cut_uploads() -> Result<(), Failed> {
    let (old, new) = (content(5000, 1), content(1_000_000, 2));
    for cut in [Cut::Reset, Cut::Close, Cut::Lie, Cut::Session] {
        for times in [Times::Once, Times::Always] {
            for replaced in [true, false] {
                let odd = Odd::start();
                if replaced {
                    odd.put("/f", &old);
                }
                odd.cut_stor_after(300_000, cut, times);
                let mount = ModelMount::of_odd(&odd, &["attr_timeout=0"]);
                let at = format!("{cut:?} {times:?}, replaced: {replaced}");
                match write(&mount.path.join("f"), &new) {
                    Ok(()) => assert!(odd.content("/f").as_ref() == Some(&new), "{at}: not whole"),
                    Err(error) => {
                        assert!(times == Times::Always, "{at}: {error}");
                        assert!(
                            !replaced || odd.content("/f").as_ref() == Some(&old),
                            "{at}: torn"
                        );
                    }
                }
                assert!(
                    shown(&mount.path)?.iter().all(|name| name == "f"),
                    "{at}: scratch"
                );
            }
        }
    }
    Ok(())
}

/// One thing that users do, on a tree that [`prepare`] made.
type Doing = (&'static str, &'static str, fn(&Path) -> io::Result<()>);

/// Names, the verb that matters most, and what is done.
const DOINGS: [Doing; 11] = [
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

fn prepare(odd: &Odd) {
    for folder in ["/folder", "/empty"] {
        odd.make_folder(folder);
    }
    for file in [
        "/folder/x",
        "/folder/y",
        "/grown",
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
fn is_done(doing: &str, odd: &Odd) -> bool {
    let holds = |path: &str, wanted: &str| odd.content(path).as_deref() == Some(wanted.as_bytes());
    let there = |path: &str| odd.node(path).is_some();
    match doing {
        "write" => holds("/new", "written"),
        "replace" => holds("/replaced", "written"),
        "append" => holds("/grown", "beforetail"),
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
fn is_unharmed(doing: &str, odd: &Odd) -> bool {
    let is_before = |path: &str| odd.content(path).as_deref() == Some(b"before");
    match doing {
        "replace" => is_before("/replaced"),
        "append" => is_before("/grown"),
        "rename" => is_before("/from") || is_before("/to"),
        _ => true,
    }
}

fn lost_replies() -> Result<(), Failed> {
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

fn dropped_at_each_verb() -> Result<(), Failed> {
    each_verb("dropped", |odd, verb| {
        odd.drop_control_on(verb, Times::Once)
    })
}

fn closing_at_each_verb() -> Result<(), Failed> {
    each_verb("421", |odd, verb| {
        let said = AtomicUsize::new(0);
        odd.script(verb, move |_| match said.fetch_add(1, Ordering::Relaxed) {
            0 => vec![Step::line("421 Going away"), Step::Close],
            _ => vec![Step::Usual],
        });
    })
}

/// Everything that users do, with `fault` at each verb in turn: done, or an error that is true.
fn each_verb(what: &str, fault: impl Fn(&Odd, &str)) -> Result<(), Failed> {
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

fn failed_listings() -> Result<(), Failed> {
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

fn server_gone() -> Result<(), Failed> {
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

fn full_disk() -> Result<(), Failed> {
    let odd = Odd::start();
    prepare(&odd);
    let mount = ModelMount::of_odd(&odd, &[]);
    odd.refuse("STOR", 552);
    for name in ["replaced", "new"] {
        let error = write(&mount.path.join(name), b"written")
            .err()
            .ok_or("no error")?;
        assert!(is(&error, Errno::NOSPC), "{name}: {error}");
    }
    assert_eq!(odd.content("/replaced").as_deref(), Some(&b"before"[..]));
    odd.heal("STOR");
    for name in ["replaced", "new"] {
        write(&mount.path.join(name), b"written").map_err(|error| format!("{name}: {error}"))?;
        assert_eq!(
            odd.content(&format!("/{name}")).as_deref(),
            Some(&b"written"[..])
        );
    }
    Ok(())
}

/// Refuses the first `times` of each three renames to `path`.
fn refuse_renames_to(odd: &Odd, path: &'static str, code: u16, times: usize) {
    let asked = AtomicUsize::new(0);
    odd.script("RNTO", move |to| {
        if to == path.as_bytes() && asked.fetch_add(1, Ordering::Relaxed) % 3 < times {
            vec![Step::line(&format!("{code} File exists"))]
        } else {
            vec![Step::Usual]
        }
    });
}

fn refused_rename_over() -> Result<(), Failed> {
    for code in [550, 553] {
        let odd = Odd::start();
        prepare(&odd);
        refuse_renames_to(&odd, "/replaced", code, 1);
        let mount = ModelMount::of_odd(&odd, &["attr_timeout=0"]);
        write(&mount.path.join("replaced"), b"written")?;
        assert_eq!(odd.content("/replaced").as_deref(), Some(&b"written"[..]));
        fs::rename(mount.path.join("from"), mount.path.join("replaced"))?;
        assert_eq!(odd.content("/replaced").as_deref(), Some(&b"before"[..]));
        assert!(
            shown(&mount.path)?
                .iter()
                .all(|name| !name.starts_with(".ftpfs-"))
        );
    }
    Ok(())
}

fn failed_rename_over() -> Result<(), Failed> {
    let odd = Odd::start();
    prepare(&odd);
    // The upload, the upload again with the old file out of the way; not the old file's way back.
    refuse_renames_to(&odd, "/replaced", 550, 2);
    let mount = ModelMount::of_odd(&odd, &["attr_timeout=0"]);
    let error = write(&mount.path.join("replaced"), b"written")
        .err()
        .ok_or("no error")?;
    assert!(is(&error, Errno::ACCESS), "{error}");
    // The last close tries once more, in vain too.
    assert!(within(DEADLINE, || mount.log().contains("not sent")));
    assert_eq!(odd.content("/replaced").as_deref(), Some(&b"before"[..]));
    assert!(
        shown(&mount.path)?
            .iter()
            .all(|name| !name.starts_with(".ftpfs-"))
    );
    assert_eq!(fs::read(mount.path.join("replaced"))?, b"before");
    Ok(())
}

fn refused_download() -> Result<(), Failed> {
    let odd = Odd::start();
    prepare(&odd);
    odd.refuse("RETR", 550);
    let mount = ModelMount::of_odd(&odd, &[]);
    let error = fs::read(mount.path.join("file")).err().ok_or("no error")?;
    assert!(is(&error, Errno::ACCESS), "{error}");
    Ok(())
}

fn servers_without_a_verb() -> Result<(), Failed> {
    type Lack = (&'static str, fn(&Odd));
    const MODERN: [&str; 4] = ["REST STREAM", "SIZE", "MDTM", "MFMT"];
    let lacks: [Lack; 16] = [
        ("EPSV 500", |odd| odd.refuse("EPSV", 500)),
        ("EPSV 502", |odd| odd.refuse("EPSV", 502)),
        ("EPSV 522", |odd| odd.refuse("EPSV", 522)),
        ("PASV with a foreign address", |odd| {
            odd.refuse("EPSV", 502);
            foreign_address(odd);
        }),
        ("MLSD, not in FEAT", |odd| {
            odd.features(&MODERN);
            odd.refuse("MLSD", 502);
            odd.refuse("MLST", 502);
        }),
        ("MLSD, though in FEAT", |odd| odd.refuse("MLSD", 500)),
        ("LIST -a refused", |odd| {
            odd.features(&MODERN);
            odd.refuse("MLSD", 502);
            list_takes_no_options(odd, "550 -a: No such file");
        }),
        ("LIST -a empty", |odd| {
            odd.features(&MODERN);
            odd.refuse("MLSD", 502);
            list_takes_no_options(odd, "450 No files found");
        }),
        // Its times are not set then: only FEAT says that MFMT is no mistake.
        ("FEAT 500", |odd| odd.refuse("FEAT", 500)),
        ("FEAT and MLSD", |odd| {
            odd.features(&[]);
            odd.refuse("MLSD", 500);
            odd.refuse("MLST", 500);
        }),
        ("SIZE 502", |odd| odd.refuse("SIZE", 502)),
        ("SIZE 550", |odd| odd.refuse("SIZE", 550)),
        ("MDTM 502", |odd| odd.refuse("MDTM", 502)),
        ("MDTM 550", |odd| odd.refuse("MDTM", 550)),
        ("REST", |odd| odd.refuse("REST", 502)),
        ("APPE", |odd| odd.refuse("APPE", 502)),
    ];
    let mut failed = Vec::new();
    for (lack, take) in lacks {
        let odd = Odd::start();
        prepare(&odd);
        take(&odd);
        let mount = match ModelMount::try_odd(&odd, &["connect_timeout=3", "timeout=5"]) {
            Ok(mount) => mount,
            Err(log) => {
                failed.push(format!("{lack}: does not mount: {log}"));
                continue;
            }
        };
        if let Err(error) = read_in_the_middle(&odd, &mount) {
            failed.push(format!("{lack}: reading at an offset: {error}"));
        }
        everything(&odd, &mount, lack, &mut failed);
    }
    if failed.is_empty() {
        Ok(())
    } else {
        Err(failed.join("\n").into())
    }
}

/// Does all that users do; what fails is added to `failed`.
fn everything(odd: &Odd, mount: &ModelMount, at: &str, failed: &mut Vec<String>) {
    for (doing, _, act) in DOINGS {
        match act(&mount.path) {
            Ok(()) if is_done(doing, odd) => {}
            Ok(()) if doing == "touch" && at.starts_with("FEAT") => {}
            Ok(()) => failed.push(format!("{at}: {doing} is not done, and no error")),
            Err(error) => failed.push(format!("{at}: {doing}: {error}")),
        }
    }
}

fn read_in_the_middle(odd: &Odd, mount: &ModelMount) -> io::Result<()> {
    let content = content(3_000_000, 7);
    odd.put("/folder/x", &content);
    let file = File::open(mount.path.join("folder/x"))?;
    let mut piece = vec![0; 1000];
    for offset in [2_000_000, 5, 2_999_000] {
        file.read_exact_at(&mut piece, offset)?;
        let offset = offset as usize;
        check(piece == content[offset..offset + piece.len()])?;
    }
    Ok(())
}

/// Answers `PASV` with an address that leads nowhere (TEST-NET-1, RFC 5737), and the true port.
fn foreign_address(odd: &Odd) {
    odd.send_pasv_address([192, 0, 2, 1]);
}

/// Answers `LIST` with any argument by `line`.
fn list_takes_no_options(odd: &Odd, line: &'static str) {
    odd.script("LIST", move |argument| match argument {
        b"" => vec![Step::Usual],
        _ => vec![Step::line(line)],
    });
}

fn replies_of_any_shape() -> Result<(), Failed> {
    type Shape = (&'static str, fn(&Odd));
    let shapes: [Shape; 4] = [
        ("a long greeting", |odd| {
            let lines = (0..200).map(|line| format!("220-{line} 230 not yet\r\n"));
            let lines: String = lines.chain(["220 now\r\n".to_owned()]).collect();
            odd.greet(vec![Step::Send(lines.into_bytes())]);
        }),
        ("a greeting after a preliminary one", |odd| {
            odd.greet(vec![
                Step::line("120 Wait a minute"),
                Step::line("220 Ready"),
            ]);
        }),
        ("byte by byte", Odd::split_replies),
        ("after empty lines", |odd| odd.junk_before_replies(b"\r\n")),
    ];
    let mut failed = Vec::new();
    for (shape, give) in shapes {
        let odd = Odd::start();
        prepare(&odd);
        give(&odd);
        match ModelMount::try_odd(&odd, &[]) {
            Ok(mount) => everything(&odd, &mount, shape, &mut failed),
            Err(log) => failed.push(format!("{shape}: does not mount: {log}")),
        }
    }
    if failed.is_empty() {
        Ok(())
    } else {
        Err(failed.join("\n").into())
    }
}

fn fewer_sessions() -> Result<(), Failed> {
    let mut failed = Vec::new();
    for most in [1, 2] {
        for line in [
            "421 Too many sessions",
            "530 Sorry, the maximum number of clients is reached",
        ] {
            let odd = Odd::start();
            prepare(&odd);
            let files: BTreeMap<String, Vec<u8>> = (0..6u8)
                .map(|n| (format!("/folder/{n}"), content(2_000_000, n)))
                .collect();
            odd.max_sessions(most);
            odd.refuse_excess_with(line);
            let mount = ModelMount::of_odd(&odd, &[]);
            let at = format!("{most} sessions, {line}");
            everything(&odd, &mount, &at, &mut failed);
            for (path, content) in &files {
                odd.put(path, content);
            }
            within(DEADLINE, || mount.path.join("folder/5").exists());
            thread::scope(|scope| {
                let read = |path: &String| fs::read(mount.path.join(&path[1..]));
                let readers: Vec<_> = files
                    .iter()
                    .map(|(path, content)| (path, content, scope.spawn(move || read(path))))
                    .collect();
                for (path, content, reader) in readers {
                    match reader.join().expect("it does not panic") {
                        Ok(read) if read == *content => {}
                        Ok(_) => failed.push(format!("{at}: {path}: wrong bytes")),
                        Err(error) => failed.push(format!("{at}: {path}: {error}")),
                    }
                }
            });
        }
    }
    if failed.is_empty() {
        Ok(())
    } else {
        Err(failed.join("\n").into())
    }
}

fn round_trips() -> Result<(), Failed> {
    let odd = Odd::start();
    for folder in ["/listed", "/asked", "/missing", "/read", "/written"] {
        odd.make_folder(folder);
    }
    for n in 0..50 {
        for folder in ["listed", "asked"] {
            odd.put(&format!("/{folder}/{n}"), b"content");
        }
    }
    let big = content(3_000_000, 5);
    for file in ["/read/once", "/read/twice"] {
        odd.put(file, &big);
    }
    let mount = ModelMount::of_odd(&odd, &["attr_timeout=60"]);
    let at = |path: &str| mount.path.join(path);

    odd.forget();
    assert_eq!(shown(&at("listed"))?.len(), 50);
    assert_eq!(odd.count("MLSD"), 1, "ls: {:?}", verbs(&odd));

    odd.forget();
    for n in 0..50 {
        assert_eq!(fs::metadata(at(&format!("asked/{n}")))?.len(), 7);
    }
    assert_eq!(odd.count("MLSD"), 1, "50 stats: {:?}", verbs(&odd));

    odd.forget();
    for _ in 0..5 {
        assert!(!at("missing/never").exists());
    }
    assert_eq!(
        odd.count("MLSD"),
        1,
        "5 stats of nothing: {:?}",
        verbs(&odd)
    );

    odd.forget();
    assert!(fs::read(at("read/once"))? == big);
    assert_eq!(odd.count("RETR"), 1, "a read: {:?}", verbs(&odd));
    assert!(fs::read(at("read/once"))? == big);
    assert_eq!(odd.count("RETR"), 1, "the same again: {:?}", verbs(&odd));

    odd.forget();
    thread::scope(|scope| {
        let read = || fs::read(at("read/twice"));
        let readers = [scope.spawn(read), scope.spawn(read)];
        for reader in readers {
            assert!(
                reader
                    .join()
                    .expect("it does not panic")
                    .is_ok_and(|read| read == big)
            );
        }
    });
    assert_eq!(odd.count("RETR"), 1, "two readers: {:?}", verbs(&odd));

    odd.forget();
    write(&at("written/new"), &big)?;
    let (stor, rnto) = (odd.count("STOR"), odd.count("RNTO"));
    assert_eq!((stor, rnto), (1, 0), "a new file: {:?}", verbs(&odd));
    assert!(odd.content("/written/new").as_ref() == Some(&big));
    Ok(())
}

fn verbs(odd: &Odd) -> Vec<String> {
    odd.received().into_iter().map(|(verb, _)| verb).collect()
}

/// Writes a file as programs do that look at what `close` says.
fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut local = tempfile::NamedTempFile::new()?;
    local.write_all(content)?;
    let output = run("cp", [local.path(), path]);
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr)
        .trim_end()
        .to_owned();
    let known = [
        Errno::NOSPC,
        Errno::NOENT,
        Errno::ACCESS,
        Errno::IO,
        Errno::TIMEDOUT,
        Errno::STALE,
    ];
    let words = |errno: &&Errno| {
        let text = io::Error::from(**errno).to_string();
        text.split(" (os")
            .next()
            .is_some_and(|text| said.ends_with(text))
    };
    Err(match known.iter().find(words) {
        Some(errno) => (*errno).into(),
        None => io::Error::other(said),
    })
}

/// The names in a folder, sorted.
fn shown(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

fn check(right: bool) -> io::Result<()> {
    if right {
        Ok(())
    } else {
        Err(io::Error::other("it is wrong, and no error"))
    }
}

fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}

/// Bytes in which no two pieces are the same.
fn content(length: usize, seed: u8) -> Vec<u8> {
    let mut content = Vec::with_capacity(length + 64);
    let mut line = [seed; 64];
    for number in 0u64.. {
        if content.len() >= length {
            break;
        }
        line[..8].copy_from_slice(&number.to_le_bytes());
        content.extend_from_slice(&line);
    }
    content.truncate(length);
    content
}
