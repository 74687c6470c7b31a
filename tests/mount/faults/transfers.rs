//! Transfers that are cut, refused or killed.

use std::fs::Permissions;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::model_mount::pause;
use crate::system::status;

pub(super) fn killed_in_a_read(kind: ServerKind) -> Result<(), Failed> {
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

pub(super) fn killed_in_an_upload(kind: ServerKind) -> Result<(), Failed> {
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

/// The server gets again what it has not written yet, where something can be added to a file, and not what it has.
pub(super) fn goes_on_where_it_broke_off(kind: ServerKind) -> Result<(), Failed> {
    const LONG: usize = 40 << 20;
    // All of it once and what was in flight; all of it from the start where nothing can be added.
    let most = match matches!(kind, ServerKind::Ftpsrv | ServerKind::ProftpdDefault) {
        true => 3 * LONG,
        false => LONG + LONG / 4,
    };
    for options in ["bwlimit=40M", "bwlimit=40M,writeback"] {
        let server = Server::start(kind);
        let mount = ModelMount::of(&server, &[options]);
        let (old, new) = (content(300_000, 2), content(LONG, 3));
        for name in ["new", "replaced"] {
            let (there, target) = (server.root.join(name), mount.path.join(name));
            let replaced = name == "replaced";
            if replaced {
                write(&target, &old)?;
                File::open(&target)?.sync_all()?;
            }
            let sent = || -> Result<u64, Failed> {
                let report = status::until(&mount.path, |_| true)?;
                let sent = report["traffic"]["sent_bytes"].as_u64();
                sent.ok_or_else(|| "no such figure".into())
            };
            let before = sent()?;
            thread::scope(|scope| {
                let sending = scope.spawn(|| {
                    write(&target, &new)?;
                    File::open(&target)?.sync_all()
                });
                let begun = || arriving(&server.root, if replaced { None } else { Some(name) });
                within(DEADLINE, || {
                    sending.is_finished() || begun() > LONG as u64 / 2
                });
                server.kill_sessions();
                sending.join().expect("it does not panic")
            })
            .map_err(|error| format!("{name}, {options}: {error}\n{}", mount.end_of_log()))?;
            let sent = sent()? - before;
            assert!(fs::read(&there)? == new, "{name}, {options}: torn");
            assert!(
                sent < most as u64,
                "{name}, {options}: {sent} bytes for {LONG}"
            );
        }
        assert_eq!(shown(&mount.path)?, ["new", "replaced"]);
    }
    Ok(())
}

/// An upload that waits for its data connection, as one that was lost does, and holds the file meanwhile on vsftpd.
pub(super) fn held_by_a_lost_upload(kind: ServerKind) -> Result<(), Failed> {
    let server = Server::start(kind);
    fs::write(server.root.join("empty"), b"")?;
    server.give(&server.root.join("empty"))?;
    let mount = ModelMount::of(&server, &["timeout=2s"]);
    for (name, content) in [("new", content(300_000, 7)), ("empty", content(5, 8))] {
        if name == "new" && kind == ServerKind::ProftpdDefault {
            // It takes it for somebody else's, and lets nobody store over that.
            continue;
        }
        // Known by then.
        shown(&mount.path)?;
        let _held = begun_to_store(&server, name)?;
        let written = write(&mount.path.join(name), &content);
        assert!(written.is_ok(), "{name}: {written:?}\n{}", mount.log());
        assert!(fs::read(server.root.join(name))? == content, "{name}");
        assert!(fs::read(mount.path.join(name))? == content, "{name}");
    }
    let left = shown(&server.root)?;
    assert!(
        left.iter().all(|name| name == "empty" || name == "new"),
        "{left:?}"
    );
    Ok(())
}

/// A file is sent under its own name, which is not answered, then under another, which is refused; and removed after that.
pub(super) fn removed_after_two_attempts(kind: ServerKind) -> Result<(), Failed> {
    let server = Server::start(kind);
    let mount = ModelMount::of(&server, &["timeout=2s,writeback"]);
    // Known by then.
    shown(&mount.path)?;
    let held = begun_to_store(&server, "file")?;
    fs::set_permissions(&server.root, Permissions::from_mode(0o555))?;
    write(&mount.path.join("file"), b"content")?;
    let refused = within(DEADLINE, || mount.log().contains("cannot be sent"));
    assert!(refused, "{}", mount.log());
    drop(held);
    fs::set_permissions(&server.root, Permissions::from_mode(0o755))?;
    assert_eq!(shown(&server.root)?, ["file"], "{}", mount.log());
    fs::remove_file(mount.path.join("file"))?;
    let gone = || shown(&server.root).is_ok_and(|left| left.is_empty());
    assert!(within(DEADLINE, gone), "{}", mount.log());
    assert!(mount.unsent().is_empty());
    Ok(())
}

/// A session on which `name` is being stored, without a data connection.
fn begun_to_store(server: &Server, name: &str) -> io::Result<TcpStream> {
    let mut session = TcpStream::connect(server.address())?;
    let mut replies = BufReader::new(session.try_clone()?).lines();
    let mut until = |code: &str| match replies.find(|line| {
        line.as_ref()
            .map_or(true, |line| line.starts_with(&format!("{code} ")))
    }) {
        Some(Ok(_)) => Ok(()),
        Some(Err(error)) => Err(error),
        None => Err(io::Error::other(format!("no {code}"))),
    };
    until("220")?;
    for (command, code) in [
        (format!("USER {}", server.user), "331"),
        (format!("PASS {}", server.password), "230"),
        ("EPSV".to_owned(), "229"),
    ] {
        session.write_all(format!("{command}\r\n").as_bytes())?;
        until(code)?;
    }
    session.write_all(format!("STOR {name}\r\n").as_bytes())?;
    // Nothing is said before the data connection comes.
    pause(Duration::from_millis(200));
    Ok(session)
}

pub(super) fn killed_in_an_append(kind: ServerKind) -> Result<(), Failed> {
    let server = Server::start(kind);
    let mount = ModelMount::of(&server, &[]);
    let (there, target) = (server.root.join("log"), mount.path.join("log"));
    let mut wanted = content(300_000, 4);
    write(&target, &wanted)?;
    for round in 0..2 {
        let more = content(40 << 20, round + 5);
        let old = wanted.clone();
        wanted.extend_from_slice(&more);
        let sent = thread::scope(|scope| {
            let sending = scope.spawn(|| append(&target, &more));
            let begun = || {
                let size = fs::metadata(&there).map_or(0, |metadata| metadata.len());
                arriving(&server.root, None).max(size.saturating_sub(old.len() as u64))
            };
            within(DEADLINE, || sending.is_finished() || begun() > 1 << 20);
            server.kill_sessions();
            sending.join().expect("it does not panic")
        });
        let now = fs::read(&there)?;
        match sent {
            Ok(()) => assert!(now == wanted, "torn, and no error"),
            Err(error) => {
                eprintln!("{}: {error}", kind.name());
                assert!(now.starts_with(&old), "what was there is lost: {error}");
                wanted = now;
            }
        }
    }
    Ok(())
}

fn append(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::options().append(true).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Bytes of the upload that runs: of `name`, or of the scratch file.
pub(super) fn arriving(root: &Path, name: Option<&str>) -> u64 {
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    let sizes = entries.filter_map(|entry| {
        let found = entry.file_name().into_string().ok()?;
        let wanted = name.map_or(found.starts_with(".ftpfs-"), |name| name == found);
        wanted.then(|| entry.metadata().ok().map(|metadata| metadata.len()))?
    });
    sizes.max().unwrap_or(0)
}

pub(super) fn cut_downloads() -> Result<(), Failed> {
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

pub(super) fn cut_uploads() -> Result<(), Failed> {
    // The longer one is sent while it is written.
    for length in [1_000_000, 3_000_000] {
        cut_uploads_of(&content(length, 2))?;
    }
    Ok(())
}

fn cut_uploads_of(new: &Vec<u8>) -> Result<(), Failed> {
    let old = content(5000, 1);
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
                match write(&mount.path.join("f"), new) {
                    Ok(()) => assert!(odd.content("/f").as_ref() == Some(new), "{at}: not whole"),
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

pub(super) fn full_disk() -> Result<(), Failed> {
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
pub(super) fn refuse_renames_to(odd: &Odd, path: &'static str, code: u16, times: usize) {
    let asked = AtomicUsize::new(0);
    odd.script("RNTO", move |to| {
        if to == path.as_bytes() && asked.fetch_add(1, Ordering::Relaxed) % 3 < times {
            vec![Step::line(&format!("{code} File exists"))]
        } else {
            vec![Step::Usual]
        }
    });
}

pub(super) fn refused_rename_over() -> Result<(), Failed> {
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

pub(super) fn failed_rename_over() -> Result<(), Failed> {
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

/// The file that was to be replaced is open: it was set aside for its reader, and has its name again.
pub(super) fn failed_rename_over_open() -> Result<(), Failed> {
    let odd = Odd::start();
    prepare(&odd);
    let before = odd.content("/replaced");
    refuse_renames_to(&odd, "/replaced", 550, 1);
    let mount = ModelMount::of_odd(&odd, &["attr_timeout=0"]);
    let path = mount.path.join("replaced");
    let mut reader = File::open(&path)?;
    let renamed = fs::rename(mount.path.join("from"), &path);
    let error = renamed.err().ok_or("no error")?;
    assert!(is(&error, Errno::ACCESS), "{error}");
    let mut found = Vec::new();
    reader.read_to_end(&mut found)?;
    drop(reader);
    assert_eq!(Some(found), before);
    assert_eq!(Some(fs::read(&path)?), before);
    assert_eq!(odd.content("/replaced"), before);
    assert_eq!(odd.content("/from").as_deref(), Some(&b"before"[..]));
    // The next one is not refused.
    odd.heal("RNTO");
    fs::rename(mount.path.join("from"), &path)?;
    assert_eq!(odd.content("/replaced").as_deref(), Some(&b"before"[..]));
    Ok(())
}

pub(super) fn refused_download() -> Result<(), Failed> {
    let odd = Odd::start();
    prepare(&odd);
    odd.refuse("RETR", 550);
    let mount = ModelMount::of_odd(&odd, &[]);
    let error = fs::read(mount.path.join("file")).err().ok_or("no error")?;
    assert!(is(&error, Errno::ACCESS), "{error}");
    Ok(())
}

/// Of a folder that cannot be read nothing is said to be missing, and the others are shown as before, hidden files too.
pub(super) fn unreadable_folders(kind: ServerKind) -> Result<(), Failed> {
    let server = Server::start(kind);
    let folders = [("entered", 0o311), ("locked", 0), ("open", 0o755)];
    for (name, mode) in folders {
        let folder = server.root.join(name);
        fs::create_dir(&folder)?;
        for file in ["file", ".hidden"] {
            fs::write(folder.join(file), "text")?;
            server.give(&folder.join(file))?;
        }
        server.give(&folder)?;
        fs::set_permissions(&folder, fs::Permissions::from_mode(mode))?;
    }
    let mount = ModelMount::of(&server, &["attr_timeout=0"]);
    let at = |path: &str| mount.path.join(path);
    for folder in ["entered", "locked"] {
        match shown(&at(folder)) {
            // The one in this process is root.
            Ok(names) if kind == ServerKind::Embedded => assert_eq!(names, [".hidden", "file"]),
            // It says of both that they are empty.
            Ok(names) => assert_eq!((kind, names.len()), (ServerKind::Busybox, 0), "{folder}"),
            Err(error) => assert!(!is(&error, Errno::NOENT), "{folder}: {error}"),
        }
        match fs::read(at(folder).join("file")) {
            Ok(text) => assert_eq!(text, b"text"),
            Err(error) => assert!(!is(&error, Errno::NOENT), "{folder}/file: {error}"),
        }
        assert_eq!(shown(&at("open"))?, [".hidden", "file"], "after {folder}");
    }
    Ok(())
}
