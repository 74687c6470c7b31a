//! Listings whose names and links point out of the folder.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::*;

/// A line of a listing for a file of 7 bytes with this name.
type Line = fn(&[u8]) -> Vec<u8>;

/// The dialects: their command, and how a line looks.
const DIALECTS: [(&str, &str, Line); 5] = [
    ("MLSD", "MLSD", |name| {
        line(b"type=file;size=7;modify=20200101000000; ", name)
    }),
    ("Unix", "LIST", |name| {
        line(b"-rw-r--r-- 1 a b 7 Jan  1  2020 ", name)
    }),
    ("DOS", "LIST", |name| {
        line(b"01-01-20  12:00AM                    7 ", name)
    }),
    ("EPLF", "LIST", |name| line(b"+r,s7,m1577836800,\t", name)),
    ("names alone", "NLST", |name| line(b"", name)),
];

fn line(head: &[u8], name: &[u8]) -> Vec<u8> {
    [head, name, b"\r\n"].concat()
}

/// Each is one name to the server; what a name cannot be is left out.
fn evil() -> Vec<Vec<u8>> {
    let mut names: Vec<Vec<u8>> = [
        &b".."[..],
        b".",
        b"../up",
        b"../../etc/passwd",
        b"/etc/passwd",
        b"folder/../../up",
        b"nul\0byte",
        b"carriage\rreturn",
        b"line\nfeed",
        b"telnet\xff\xf4command",
        b"\x1b[2Jescape",
        b"-rf",
    ]
    .map(<[u8]>::to_vec)
    .into();
    for length in [255, 256, 1024, 1025, 4096, 70_000] {
        names.push(vec![b'n'; length]);
    }
    names
}

/// The folder is shown with what is good in it; every name that is shown is one of a file in it, and asks the server for
/// nothing else.
pub(super) fn evil_names() -> Result<(), Failed> {
    for (dialect, verb, line) in DIALECTS {
        let odd = Odd::start();
        odd.make_folder("/folder");
        for file in ["/good", "/folder/good", "/folder/last"] {
            odd.put(file, b"content");
        }
        let lacking: &[&str] = match verb {
            "MLSD" => &[],
            "LIST" => &["MLSD", "MLST"],
            _ => &["MLSD", "MLST", "LIST"],
        };
        if !lacking.is_empty() {
            odd.features(&["REST STREAM", "SIZE", "MDTM"]);
        }
        for lacks in lacking {
            odd.refuse(lacks, 502);
        }
        let mount = ModelMount::of_odd(&odd, &["attr_timeout=0"]);
        let mut body = line(b"good");
        evil().iter().for_each(|name| body.extend(line(name)));
        body.extend(line(b"last"));
        odd.send_as(verb, &body);
        odd.forget();
        let folder = mount.path.join("folder");
        let listed = fs::read_dir(&folder)
            .and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect());
        let shown: Vec<OsString> =
            listed.map_err(|error| format!("{dialect}: {error}\n{}", mount.log()))?;
        for name in ["good", "last"] {
            assert!(shown.contains(&name.into()), "{dialect}: {shown:?}");
            assert_eq!(
                fs::read(folder.join(name))?,
                b"content",
                "{dialect}: {name}"
            );
        }
        for name in &shown {
            let bytes = name.as_bytes();
            let plain = !bytes.is_empty() && bytes != b"." && bytes != b"..";
            assert!(
                plain && bytes.len() <= 255 && !bytes.iter().any(|byte| b"/\0\n".contains(byte)),
                "{dialect}: {name:?}"
            );
            // It may not be there, or not be sayable.
            let _read = fs::read(folder.join(name));
        }
        // The names that nobody was shown are no other's either; what a slash means is the kernel's affair.
        for name in evil().into_iter().filter(|name| !name.contains(&b'/')) {
            let _read = fs::read(folder.join(OsString::from_vec(name)));
        }
        let out = |argument: &[u8]| {
            let part = |part: &[u8]| [&b".."[..], b"etc"].contains(&part);
            argument.split(|byte| *byte == b'/').any(part)
                || argument.iter().any(|byte| b"\0\r\n\xff".contains(byte))
        };
        let outside: Vec<_> = odd
            .received()
            .into_iter()
            .filter(|(_, argument)| out(argument))
            .collect();
        assert!(outside.is_empty(), "{dialect}: it asks for {outside:?}");
    }
    Ok(())
}

/// A link out of the folder, the mount or the server's root is shown as it is. Reading it is the kernel's affair, by whose
/// names it leads to this machine's files, as on any filesystem; to the server it leads to nothing.
pub(super) fn links() -> Result<(), Failed> {
    let links = [
        ("passwd", "/etc/passwd"),
        ("up", "../../.."),
        ("loop", "loop"),
        ("odd", "a\u{1b}[2J -> b"),
    ];
    type Form = fn(&str, &str) -> String;
    let forms: [(&str, Form); 2] = [
        ("LIST", |name, target| {
            format!("lrwxrwxrwx 1 a b 11 Jan  1  2020 {name} -> {target}\r\n")
        }),
        ("MLSD", |name, target| {
            format!("type=OS.unix=slink:{target};modify=20200101000000; {name}\r\n")
        }),
    ];
    for (verb, form) in forms {
        let odd = Odd::start();
        odd.make_folder("/folder");
        if verb == "LIST" {
            odd.features(&["REST STREAM", "SIZE", "MDTM"]);
            odd.refuse("MLSD", 502);
            odd.refuse("MLST", 502);
        }
        let mount = ModelMount::of_odd(&odd, &[]);
        let body: String = links
            .iter()
            .map(|(name, target)| form(name, target))
            .collect();
        odd.send_as(verb, body.as_bytes());
        odd.forget();
        for (name, target) in links {
            let path = mount.path.join("folder").join(name);
            let found = fs::symlink_metadata(&path)?;
            assert!(found.is_symlink(), "{verb}: {name}");
            let read = fs::read_link(&path)?;
            assert_eq!(read, Path::new(target), "{verb}: {name}");
        }
        let error = fs::read(mount.path.join("folder/loop"))
            .err()
            .ok_or("a loop has an end")?;
        assert!(is(&error, Errno::LOOP), "{verb}: {error}");
        let asked = odd.received();
        let led = |(verb, argument): &&(String, Vec<u8>)| {
            verb == "RETR"
                || links
                    .iter()
                    .any(|(_, target)| argument.ends_with(target.as_bytes()))
        };
        let led: Vec<_> = asked.iter().filter(led).collect();
        assert!(led.is_empty(), "{verb}: {led:?}");
    }
    Ok(())
}
