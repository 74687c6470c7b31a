//! Names in another charset, on servers that keep bytes as they are.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;

use libtest_mimic::{Failed, Trial};

use crate::model_mount::ModelMount;
use crate::servers::{Server, ServerKind};

/// The trials.
pub fn trials(kind: ServerKind) -> Vec<Trial> {
    let keeps_bytes = [
        ServerKind::Vsftpd,
        ServerKind::Proftpd,
        ServerKind::Pureftpd,
        ServerKind::Inetutils,
    ];
    if !keeps_bytes.contains(&kind) {
        return Vec::new();
    }
    let name = format!("{}::names_of_another_charset", kind.name());
    vec![Trial::test(name, move || converted(kind))]
}

fn converted(kind: ServerKind) -> Result<(), Failed> {
    for (charset, wire, shown, foreign) in [
        ("latin1", &b"caf\xe9"[..], "caf\u{e9}", "\u{4e2d}"),
        (
            "koi8-r",
            b"\xc6\xc1\xca\xcc",
            "\u{444}\u{430}\u{439}\u{43b}",
            "\u{e9}",
        ),
        ("gbk", b"\xd6\xd0", "\u{4e2d}", "\u{1f600}"),
    ] {
        let server = Server::start(kind);
        let at = |parts: &[&[u8]]| server.root.join(OsStr::from_bytes(&parts.join(&b'/')));
        let folder = at(&[wire]);
        fs::create_dir(&folder)?;
        fs::write(at(&[wire, wire]), "before")?;
        server.give(&folder)?;
        server.give(&at(&[wire, wire]))?;
        let mount = ModelMount::of(&server, &[&format!("charset={charset}")]);
        let path = mount.path.join(shown).join(shown);
        assert_eq!(fs::read_to_string(&path)?, "before", "{charset}");
        fs::write(&path, "after")?;
        assert_eq!(fs::read_to_string(at(&[wire, wire]))?, "after", "{charset}");
        fs::rename(&path, mount.path.join(shown).join("x"))?;
        fs::rename(
            mount.path.join(shown).join("x"),
            mount.path.join(format!("{shown}2")),
        )?;
        let moved = at(&[&[wire, b"2"].concat()]);
        assert_eq!(fs::read_to_string(moved)?, "after", "{charset}");
        let refused = fs::write(mount.path.join(foreign), "");
        let errno = refused.err().and_then(|error| error.raw_os_error());
        let invalid = rustix::io::Errno::INVAL.raw_os_error();
        assert_eq!(errno, Some(invalid), "{charset}");
        let names = fs::read_dir(&mount.path)?.flatten().count();
        assert_eq!(names, 2, "{charset}");
    }
    Ok(())
}
