//! What the server says of a file, shown by getfattr(1) beside the file itself.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::Path;

use libtest_mimic::{Failed, Trial};

use crate::model_mount::{ModelMount, run};
use crate::odd::{Odd, Step};
use crate::servers::{Server, ServerKind};

/// The trials with one real server.
pub fn trials_of(kind: ServerKind) -> Vec<Trial> {
    let name = format!("{}::system::the_listing_is_in_attributes", kind.name());
    vec![Trial::test(name, move || listing(kind))]
}

/// The trials that need no particular server.
pub fn trials() -> Vec<Trial> {
    let trial =
        |name: &str, run: fn() -> Result<(), Failed>| Trial::test(format!("system::{name}"), run);
    vec![
        trial("attributes_say_what_is_cached_and_unsent", counts),
        trial("what_is_known_here_needs_no_server", gone),
        trial("attributes_of_others_are_not_supported", others),
        trial("the_line_of_a_listing_is_as_the_server_sent_it", lines),
        trial("files_have_no_attributes_unless_asked_for", without),
    ]
}

/// What getfattr(1) says of `path`, by name.
fn attributes(path: &Path) -> Result<Vec<(String, String)>, Failed> {
    let words = ["-d", "-m", "-", "--absolute-names"].map(Into::into);
    let output = run(
        "getfattr",
        words.iter().chain([&path.as_os_str().to_owned()]),
    );
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    let said = String::from_utf8(output.stdout)?;
    let lines = said.lines().filter_map(|line| line.split_once('='));
    Ok(lines
        .map(|(name, value)| (name.to_owned(), value.trim_matches('"').to_owned()))
        .collect())
}

fn value(path: &Path, name: &str) -> Result<Option<String>, Failed> {
    let name = format!("user.ftp.{name}");
    let mut all = attributes(path)?.into_iter();
    Ok(all
        .find(|(known, _)| *known == name)
        .map(|(_, value)| value))
}

fn listing(kind: ServerKind) -> Result<(), Failed> {
    let server = Server::start(kind);
    let mount = ModelMount::of(&server, &["xattr", "attr_timeout=0"]);
    fs::create_dir(mount.path.join("folder"))?;
    fs::write(mount.path.join("folder/a file"), "content")?;
    let file = mount.path.join("folder/a file");
    let line = value(&file, "line")?.ok_or("no line")?;
    assert!(line.ends_with("a file") && line.contains('7'), "{line}");
    let url = format!("{}folder/a%20file", server.mount_url());
    assert_eq!(value(&file, "url")?, Some(url));
    // Facts are of MLSD alone.
    let size = value(&file, "fact.size")?;
    assert_eq!(size, line.contains("size=7;").then(|| "7".to_owned()));
    let folder = value(&mount.path.join("folder"), "line")?;
    assert!(folder.is_some_and(|line| line.ends_with("folder")));
    let root = attributes(&mount.path)?;
    assert_eq!(root, [("user.ftp.url".to_owned(), server.mount_url())]);
    Ok(())
}

fn counts() -> Result<(), Failed> {
    let odd = Odd::start();
    odd.put("/file", &[7; 300_000]);
    let mount = ModelMount::of_odd(&odd, &["xattr"]);
    let file = mount.path.join("file");
    assert_eq!(value(&file, "cached")?.as_deref(), Some("0"));
    assert_eq!(value(&file, "unsent")?.as_deref(), Some("0"));
    assert!(value(&file, "line")?.is_some_and(|line| line.contains("size=300000;")));
    fs::read(&file)?;
    assert_eq!(value(&file, "cached")?.as_deref(), Some("300000"));
    // What was listed before is not this.
    fs::write(&file, "123")?;
    assert!(value(&file, "line")?.is_none_or(|line| line.contains("size=3;")));
    // getfattr begins as a copy of this process, which closes what is open here: that would send it.
    odd.refuse("STOR", 452);
    let mut new = File::create(mount.path.join("new"))?;
    new.write_all(b"12345")?;
    let path = mount.path.join("new");
    assert_eq!(value(&path, "unsent")?.as_deref(), Some("5"));
    assert_eq!(value(&path, "line")?, None, "the server does not have it");
    odd.heal("STOR");
    new.sync_all()?;
    assert_eq!(value(&path, "unsent")?.as_deref(), Some("0"));
    Ok(())
}

fn gone() -> Result<(), Failed> {
    let odd = Odd::start();
    odd.put("/file", b"content");
    let mount = ModelMount::of_odd(&odd, &["xattr", "attr_timeout=0"]);
    let file = File::open(mount.path.join("file"))?;
    odd.greet(vec![Step::Close]);
    odd.close_sessions();
    // The way to the file would be asked of the server, what is open need not be.
    let path = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
    let url = format!("ftp://user@{}/file", odd.address());
    for (name, wanted) in [("url", Some(&*url)), ("unsent", Some("0")), ("line", None)] {
        let name = format!("user.ftp.{name}");
        let script = "import os, sys; print(os.getxattr(sys.argv[1], sys.argv[2]).decode())";
        let output = run("python3", ["-c", script, &path, &name]);
        let said = String::from_utf8(output.stdout)?;
        let told = output.status.success().then(|| said.trim_end());
        assert_eq!(told, wanted, "{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

/// Programs that ask for what FTP does not have do not mind, and are told so as by a filesystem without attributes.
fn others() -> Result<(), Failed> {
    let odd = Odd::start();
    odd.put("/file", b"content");
    let mount = ModelMount::of_odd(&odd, &["xattr"]);
    let file = mount.path.join("file");
    let file = file.to_str().ok_or("a path of letters")?;
    for (words, message) in [
        (
            vec!["getfattr", "-n", "security.capability", file],
            "Operation not supported",
        ),
        (
            vec!["getfattr", "-n", "trusted.x", file],
            "Operation not supported",
        ),
        (vec!["getfattr", "-n", "user.x", file], "No such attribute"),
        (
            vec!["getfattr", "-n", "user.ftp.x", file],
            "No such attribute",
        ),
        (
            vec!["setfattr", "-n", "user.x", "-v", "1", file],
            "Operation not supported",
        ),
        (
            vec!["setfattr", "-n", "user.ftp.line", "-v", "1", file],
            "Operation not supported",
        ),
        (
            vec!["setfattr", "-x", "user.ftp.line", file],
            "Operation not supported",
        ),
    ] {
        let output = run(words[0], &words[1..]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && said.contains(message),
            "{words:?}: {said}"
        );
    }
    let copy = format!("{file}-copy");
    let moved = tempfile::tempdir()?;
    let there = moved.path().to_str().ok_or("a path of letters")?;
    for words in [
        vec!["ls", "-l", file],
        vec!["cp", "-a", file, &copy],
        vec!["mv", &copy, there],
        vec!["mv", &format!("{there}/file-copy"), &copy],
        vec!["rsync", "-aXA", file, there],
    ] {
        let output = run(words[0], &words[1..]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && said.is_empty(),
            "{words:?}: {said}"
        );
    }
    assert_eq!(odd.content("/file-copy").as_deref(), Some(&b"content"[..]));
    Ok(())
}

/// Bytes of no charset, and of a server whose names have one.
fn lines() -> Result<(), Failed> {
    let odd = Odd::start();
    let line = b"-rw-r--r--   1 b\xf6b      staff           5 Nov 14  2023 \xe4";
    odd.features(&["REST STREAM", "SIZE", "MDTM"]);
    odd.refuse("MLSD", 502);
    odd.refuse("MLST", 502);
    odd.put("/\u{e4}", b"12345");
    let listed = [
        &b"drwxr-xr-x   1 a b 0 Nov 14  2023 .\r\n"[..],
        line,
        b"\r\n",
    ]
    .concat();
    odd.send_as("LIST", &listed);
    let mount = ModelMount::of_odd(&odd, &["xattr", "charset=latin1"]);
    let file = mount.path.join("\u{e4}");
    let words = ["-n", "user.ftp.line", "--only-values", "--absolute-names"].map(Into::into);
    let output = run("getfattr", words.iter().chain([&file.into_os_string()]));
    assert_eq!(output.stdout, line, "{}", output.stdout.escape_ascii());
    Ok(())
}

fn without() -> Result<(), Failed> {
    let odd = Odd::start();
    odd.put("/file", b"content");
    let mount = ModelMount::of_odd(&odd, &[]);
    let error = attributes(&mount.path.join("file")).err();
    let said = error.and_then(|error| error.message().map(str::to_owned));
    assert!(said.is_some_and(|said| said.contains("Operation not supported")));
    Ok(())
}
