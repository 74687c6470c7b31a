//! Servers that lack a verb or a session, reply oddly, and what is asked of them.

use super::*;

pub(super) fn servers_without_a_verb() -> Result<(), Failed> {
    type Lack = (&'static str, fn(&Odd));
    const MODERN: [&str; 4] = ["REST STREAM", "SIZE", "MDTM", "MFMT"];
    let lacks: [Lack; 20] = [
        ("EPSV 500", |odd| odd.refuse("EPSV", 500)),
        ("EPSV 502", |odd| odd.refuse("EPSV", 502)),
        ("EPSV 522", |odd| odd.refuse("EPSV", 522)),
        ("PASV with a foreign address", |odd| {
            odd.refuse("EPSV", 502);
            foreign_address(odd);
        }),
        ("EPSV and PASV", |odd| {
            odd.refuse("EPSV", 500);
            odd.refuse("PASV", 502);
        }),
        ("any passive port", |odd| {
            odd.script("EPSV", |_| vec![Step::line("229 Entering (|||9|)")]);
            odd.script("PASV", |_| vec![Step::line("227 Entering (127,0,0,1,0,9)")]);
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
        ("MLSD and LIST", |odd| {
            names_only(odd);
            odd.refuse("LIST", 502);
        }),
        ("a listing that can be read", |odd| {
            names_only(odd);
            odd.send_as("LIST", b"<li>file</li>\r\n<li>folder</li>\r\n");
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
pub(super) fn everything(odd: &Odd, mount: &ModelMount, at: &str, failed: &mut Vec<String>) {
    for (doing, _, act) in DOINGS {
        match act(&mount.path) {
            Ok(()) if is_done(doing, odd) => {}
            Ok(()) if doing == "touch" && at.starts_with("FEAT") => {}
            Ok(()) => failed.push(format!("{at}: {doing} is not done, and no error")),
            Err(error) => failed.push(format!("{at}: {doing}: {error}")),
        }
    }
}

/// The server makes the data connections, and somebody else is faster each time.
pub(super) fn active_mode() -> Result<(), Failed> {
    let odd = Odd::start();
    prepare(&odd);
    odd.refuse("EPSV", 500);
    odd.refuse("PASV", 500);
    odd.let_a_stranger_in();
    let mut failed = Vec::new();
    let options = ["mode=active", "active_ports=20000-60000"];
    let mount = ModelMount::try_odd(&odd, &options)?;
    read_in_the_middle(&odd, &mount)?;
    everything(&odd, &mount, "active", &mut failed);
    drop(mount);
    // Nothing but what was asked for.
    let error = ModelMount::try_odd(&odd, &["mode=passive"]).err();
    let error = error.ok_or("it mounts in passive mode")?;
    if !error.contains("PASV") {
        failed.push(format!("passive: {error}"));
    }
    match failed.is_empty() {
        true => Ok(()),
        false => Err(failed.join("\n").into()),
    }
}

pub(super) fn read_in_the_middle(odd: &Odd, mount: &ModelMount) -> io::Result<()> {
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
pub(super) fn foreign_address(odd: &Odd) {
    odd.send_pasv_address([192, 0, 2, 1]);
}

/// Takes away all but `NLST`, and what shows a file that is not listed.
pub(super) fn names_only(odd: &Odd) {
    odd.features(&["REST STREAM", "SIZE", "MDTM", "MFMT"]);
    odd.refuse("MLSD", 502);
    odd.refuse("MLST", 502);
}

/// Where nothing says how long a file is, it is not shown as an empty one, nor overwritten as one.
pub(super) fn unknown_size() -> Result<(), Failed> {
    let odd = Odd::start();
    prepare(&odd);
    names_only(&odd);
    odd.refuse("LIST", 502);
    odd.refuse("SIZE", 502);
    let mount = ModelMount::of_odd(&odd, &[]);
    assert_eq!(shown(&mount.path.join("folder"))?, ["x", "y"]);
    // Not listed either: it is there all the same.
    odd.put("/folder/.hidden", b"hidden");
    assert!(fs::metadata(mount.path.join("folder/.hidden"))?.is_file());
    let file = mount.path.join("file");
    for error in [
        fs::read(&file).err(),
        File::options().append(true).open(&file).err(),
        File::options().write(true).truncate(true).open(&file).err(),
    ] {
        let error = error.ok_or("a file of unknown size was opened")?;
        assert!(is(&error, Errno::IO), "{error}");
    }
    assert!(odd.content("/file") == Some(content(200_000, 1)));
    assert!(
        mount
            .log()
            .contains("the server says the size of this file neither")
    );
    Ok(())
}

/// Answers `LIST` with any argument by `line`.
pub(super) fn list_takes_no_options(odd: &Odd, line: &'static str) {
    odd.script("LIST", move |argument| match argument {
        b"" => vec![Step::Usual],
        _ => vec![Step::line(line)],
    });
}

pub(super) fn replies_of_any_shape() -> Result<(), Failed> {
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

pub(super) fn fewer_sessions() -> Result<(), Failed> {
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

pub(super) fn round_trips() -> Result<(), Failed> {
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

    odd.forget();
    for n in 0..100 {
        let path = at(&format!("written/{n}"));
        fs::write(&path, b"content")?;
        fs::remove_file(&path)?;
    }
    // Not moved aside for those who have it open: nobody has. Two threads may still take both requests in either order.
    let moved = odd.count("RNFR");
    assert!(moved < 10, "100 files, closed and removed: {moved} moved");
    Ok(())
}

pub(super) fn verbs(odd: &Odd) -> Vec<String> {
    odd.received().into_iter().map(|(verb, _)| verb).collect()
}
