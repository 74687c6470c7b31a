//! The command as its users meet it: one line for each mistake, nothing left behind, no password
//! shown, and an end that loses nothing.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

use libtest_mimic::{Failed, Trial};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::model_mount::{DEADLINE, ModelMount, ftpfs, is_mounted, run, send, within};
use crate::odd::Odd;
use crate::servers::{Options, Server, ServerKind};
use crate::ways::self_signed;

/// The trials, with vsftpd for what needs TLS where it is `selected`.
pub fn trials(selected: &[ServerKind]) -> Vec<Trial> {
    let trial =
        |name: &str, run: fn() -> Result<(), Failed>| Trial::test(format!("usage::{name}"), run);
    let vsftpd = selected.contains(&ServerKind::Vsftpd);
    vec![
        trial("mistakes_on_the_line", mistakes_on_the_line),
        trial("mountpoints_that_do_not_fit", mountpoints_that_do_not_fit),
        trial("a_dead_mount_is_mounted_again", dead_mount),
        trial("servers_that_cannot_be_used", servers_that_cannot_be_used),
        trial("a_credentials_file_that_others_can_read", open_credentials),
        trial("a_password_is_shown_nowhere", hidden_password),
        trial("the_background_begins_when_the_mount_answers", background),
        trial("every_end_sends_everything", every_end),
        trial("paths_are_relative_or_absolute", paths_of_urls),
        trial(
            "a_certificate_nobody_signed_is_pinned",
            self_signed_certificate,
        )
        .with_ignored_flag(!vsftpd),
        trial("a_server_that_says_local_times", local_times).with_ignored_flag(!vsftpd),
    ]
}

/// A folder to mount on, for a command that goes to the background.
struct Place {
    path: PathBuf,
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = TempDir::with_prefix("ftpfs-usage-").expect("a temporary folder");
        let path = folder.path().join("mnt");
        fs::create_dir(&path).expect("the folder is ours");
        Self { path, folder }
    }

    /// Runs the command to its end, or until its first process ends.
    fn ftpfs<I: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = I>) -> Output {
        let mut command = ftpfs(self.folder.path());
        // With files in place of pipes: a daemon would hold a pipe open.
        let said = self.folder.path().join("said");
        command
            .args(arguments)
            .env("FTPFS_PASSWORD", "password")
            .stdout(Stdio::null())
            .stderr(File::create(&said).expect("the folder is ours"));
        let mut child = command.spawn().expect("the binary was built for this");
        let ended = within(DEADLINE * 2, || {
            child.try_wait().expect("it is our child").is_some()
        });
        if !ended {
            let _ = child.kill();
        }
        Output {
            status: child.wait().expect("it is our child"),
            stdout: Vec::new(),
            stderr: fs::read(&said).expect("just made"),
        }
    }

    /// Mounts `url`, which has to work.
    fn mount(&self, url: &str, options: &[&str]) -> Result<(), Failed> {
        let path = self.path.to_str().expect("a name of ours");
        let options = options.iter().flat_map(|option| ["-o", option]);
        let output = self.ftpfs(options.chain([url, path]));
        if output.status.success() {
            Ok(())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned().into())
        }
    }

    /// The process that serves the mount.
    fn daemon(&self) -> Option<u32> {
        let path = self.path.to_str()?.as_bytes();
        let processes = fs::read_dir("/proc").ok()?.flatten();
        let mut numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        numbers.find(|number: &u32| {
            let line = fs::read(format!("/proc/{number}/cmdline")).unwrap_or_default();
            let mut words = line.split(|byte| *byte == 0);
            let is_ours = words.next().is_some_and(|word| word.ends_with(b"ftpfs"));
            is_ours && words.any(|word| word == path)
        })
    }

    /// Sees that `arguments`, with the mountpoint for `MNT`, fail with `code` and one line that holds `words`.
    fn refused(&self, arguments: &[&str], code: i32, words: &[&str]) -> Result<(), Failed> {
        let path = self.path.to_str().expect("a name of ours");
        let filled = arguments
            .iter()
            .map(|argument| argument.replace("MNT", path));
        let output = self.ftpfs(filled);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let at = format!(
            "{arguments:?} said {said:?} and ended with {}",
            output.status
        );
        if output.status.code() != Some(code) {
            return Err(at.into());
        }
        if said.trim_end().lines().count() != 1 || !said.ends_with('\n') {
            return Err(format!("not one line: {at}").into());
        }
        if let Some(word) = words.iter().find(|word| !said.contains(**word)) {
            return Err(format!("no {word:?}: {at}").into());
        }
        if is_mounted(&self.path) || !within(DEADLINE, || self.daemon().is_none()) {
            return Err(format!("left behind: {at}").into());
        }
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if is_mounted(&self.path) {
            let _ = run("umount", [OsStr::new("-l"), self.path.as_os_str()]);
        }
        if !within(DEADLINE, || self.daemon().is_none()) {
            self.daemon()
                .into_iter()
                .for_each(|daemon| send(daemon, Signal::KILL));
        }
    }
}

fn all(outcomes: impl IntoIterator<Item = Result<(), Failed>>) -> Result<(), Failed> {
    let failed: Vec<String> = outcomes
        .into_iter()
        .filter_map(Result::err)
        .map(|failed| failed.message().unwrap_or("failed").to_owned())
        .collect();
    if failed.is_empty() {
        Ok(())
    } else {
        Err(failed.join("\n").into())
    }
}

fn mistakes_on_the_line() -> Result<(), Failed> {
    let place = Place::new();
    // An address is never quoted: it may hold a password.
    all([
        place.refused(&["nonsense", "MNT"], 2, &["neither a URL nor host:path"]),
        place.refused(&["http://h/", "MNT"], 2, &["http"]),
        place.refused(&["ftp://", "MNT"], 2, &["ftp://"]),
        place.refused(&["ftp://h:99999/", "MNT"], 2, &["the port is not a number"]),
        place.refused(
            &["-o", "max_con=3", "ftp://h/", "MNT"],
            2,
            &["`max_con`", "did you mean `max_conns`"],
        ),
        place.refused(
            &["-o", "max_conns=no", "ftp://h/", "MNT"],
            2,
            &["max_conns", "no"],
        ),
        place.refused(
            &["-o", "credentials=/no/such", "ftp://h/", "MNT"],
            1,
            &["/no/such", "No such file"],
        ),
        place.refused(&["-o", "tls_pin=12", "ftp://h/", "MNT"], 2, &["tls_pin"]),
    ])
}

fn mountpoints_that_do_not_fit() -> Result<(), Failed> {
    let odd = Odd::start();
    let url = &odd.url();
    let place = Place::new();
    fs::create_dir(place.folder.path().join("full"))?;
    fs::write(place.folder.path().join("full/file"), "")?;
    all([
        place.refused(
            &[url, "MNT-none"],
            1,
            &["-none", "does not exist", "mkdir -p"],
        ),
        place.refused(
            &[url, "MNT/../full"],
            1,
            &["full", "is not empty", "-o nonempty"],
        ),
        place.refused(&[url, "MNT/../full/file"], 1, &["file", "is not a folder"]),
        place.refused(&[url, "MNT", "more"], 2, &["more"]),
    ])?;
    assert_eq!(odd.count("USER"), 0, "asked the server before the folder");
    place.mount(url, &[])?;
    let output = place.ftpfs([url.as_ref(), place.path.as_os_str()]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("already mounted"), "{said}");
    assert!(!said.contains("password@"), "{said}");
    Ok(())
}

fn dead_mount() -> Result<(), Failed> {
    let odd = Odd::start();
    odd.put("/file", b"content");
    let place = Place::new();
    for _ in 0..2 {
        place.mount(&odd.url(), &[])?;
        assert_eq!(fs::read(place.path.join("file"))?, b"content");
        let daemon = place.daemon().ok_or("no daemon")?;
        send(daemon, Signal::KILL);
        assert!(within(DEADLINE, || place.daemon().is_none()));
        assert!(fs::read(place.path.join("file")).is_err());
    }
    place.mount(&odd.url(), &[])?;
    assert_eq!(fs::read(place.path.join("file"))?, b"content");
    run("umount", [&place.path]);
    assert!(!is_mounted(&place.path), "the dead ones are still there");
    Ok(())
}

fn servers_that_cannot_be_used() -> Result<(), Failed> {
    let place = Place::new();
    let server = Server::start(ServerKind::Embedded);
    let address = server.address().to_string();
    let wrong = format!("ftp://{}:wrong@{address}/", server.user);
    let missing = format!(
        "ftp://{}:{}@{address}/no/such",
        server.user, server.password
    );
    let closed = {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.local_addr()?.to_string()
    };
    let refused = format!("ftp://{closed}/");
    let http = speaks(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")?;
    let ssh = speaks(b"SSH-2.0-OpenSSH_9.2p1\r\n")?;
    let silent = speaks(b"")?;
    all([
        place.refused(
            &[&wrong, "MNT"],
            1,
            &["127.0.0.1", "check name and password"],
        ),
        place.refused(&[&missing, "MNT"], 1, &["/no/such"]),
        place.refused(&[&refused, "MNT"], 1, &["127.0.0.1", "refused", "check"]),
        place.refused(
            &["ftp://no-such-host.invalid/", "MNT"],
            1,
            &["no-such-host.invalid", "check the host's name"],
        ),
        place.refused(&[&http, "MNT"], 1, &["127.0.0.1", "HTTP/1.1 400"]),
        place.refused(&[&ssh, "MNT"], 1, &["127.0.0.1", "SSH-2.0"]),
        place.refused(
            &["-o", "timeout=1,connect_timeout=1", &silent, "MNT"],
            1,
            &["127.0.0.1", "said nothing for 1 s", "is it an FTP server"],
        ),
    ])
}

/// The address of something that says `greeting` to everybody, and then nothing.
fn speaks(greeting: &'static [u8]) -> io::Result<String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept() {
            let _ = stream.write_all(greeting);
            open.push(stream);
        }
    });
    Ok(format!("ftp://{address}/"))
}

fn open_credentials() -> Result<(), Failed> {
    let odd = Odd::start();
    let place = Place::new();
    let file = place.folder.path().join("credentials");
    fs::write(&file, "username=bob\npassword=hunter2\n")?;
    let option = format!("credentials={}", file.display());
    let url = format!("ftp://{}/", odd.address());
    fs::set_permissions(&file, Permissions::from_mode(0o644))?;
    place.refused(
        &["-o", &option, &url, "MNT"],
        1,
        &["credentials", "0644", "chmod 600"],
    )?;
    assert_eq!(odd.accepted(), 0);
    fs::set_permissions(&file, Permissions::from_mode(0o600))?;
    place.mount(&url, &[&option])?;
    let said = odd.received();
    assert!(said.contains(&("USER".to_owned(), b"bob".to_vec())));
    assert!(said.contains(&("PASS".to_owned(), b"hunter2".to_vec())));
    Ok(())
}

fn hidden_password() -> Result<(), Failed> {
    const SECRET: &str = "hunter2-not-to-be-seen";
    let odd = Odd::start();
    odd.put("/file", b"content");
    let address = odd.address();
    let place = Place::new();
    let log = place.folder.path().join("log");
    let log_file = format!("log_file={}", log.display());
    let ways: [(String, Vec<String>); 3] = [
        (format!("ftp://bob:{SECRET}@{address}/"), vec![]),
        (
            format!("ftp://bob@{address}/"),
            vec![format!("password={SECRET}")],
        ),
        (format!("ftp://bob@{address}/"), vec![]),
    ];
    for (url, options) in ways {
        let options = options.iter().flat_map(|option| ["-o", option]);
        let line = ["-d", "-o", &log_file].into_iter().chain(options);
        let mut command = ftpfs(place.folder.path());
        let status = command
            .args(line)
            .arg(&url)
            .arg(&place.path)
            .env("FTPFS_PASSWORD", SECRET)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()?;
        assert!(status.success());
        assert_eq!(fs::read(place.path.join("file"))?, b"content");
        assert!(odd.received().contains(&("PASS".to_owned(), SECRET.into())));
        let daemon = place.daemon().ok_or("no daemon")?;
        for place in [
            PathBuf::from(format!("/proc/{daemon}/cmdline")),
            format!("/proc/{daemon}/environ").into(),
            "/proc/self/mountinfo".into(),
            log.clone(),
        ] {
            let text = fs::read(&place)?;
            let text = String::from_utf8_lossy(&text);
            assert!(
                !text.contains(SECRET),
                "the password is in {}",
                place.display()
            );
        }
        let text = fs::read_to_string(&log)?;
        for word in ["lookup", "PASS ***", "RETR \"/file\""] {
            assert!(text.contains(word), "{word} is not in the log");
        }
        run("umount", [&place.path]);
        assert!(within(DEADLINE, || place.daemon().is_none()));
        odd.forget();
    }
    Ok(())
}

fn background() -> Result<(), Failed> {
    let odd = Odd::start();
    odd.put("/file", b"content");
    for _ in 0..5 {
        let place = Place::new();
        place.mount(&odd.url(), &[])?;
        assert!(
            is_mounted(&place.path),
            "not mounted when the command returned"
        );
        assert_eq!(fs::read(place.path.join("file"))?, b"content");
        let daemon = place.daemon().ok_or("no daemon")?;
        let own = fs::read_link(format!("/proc/{daemon}/cwd"))?;
        assert_eq!(own, Path::new("/"), "it keeps a folder busy");
    }
    Ok(())
}

fn every_end() -> Result<(), Failed> {
    type End = (&'static str, fn(&ModelMount) -> Output);
    let ends: [End; 4] = [
        ("SIGTERM", |mount| {
            mount.signal(Signal::TERM);
            run("true", [""; 0])
        }),
        ("SIGINT", |mount| {
            mount.signal(Signal::INT);
            run("true", [""; 0])
        }),
        ("umount", |mount| run("umount", [&mount.path])),
        ("fusermount3 -u", |mount| {
            run("fusermount3", ["-u".as_ref(), mount.path.as_os_str()])
        }),
    ];
    for (name, end) in ends {
        let odd = Odd::start();
        let mount = ModelMount::of_odd(&odd, &[]);
        let content = vec![7; 3_000_000];
        fs::write(mount.path.join("closed"), &content)?;
        let open = File::create(mount.path.join("open"))?;
        open.write_all_at(&content, 0)?;
        // An open file keeps a mount busy, as it does for any filesystem: only a signal ends it.
        let mut open = Some(open);
        if !name.starts_with("SIG") {
            open = None;
        }
        let output = end(&mount);
        assert!(
            output.status.success(),
            "{name}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let status = mount.wait();
        assert_eq!(status.code(), Some(0), "{name}:\n{}", mount.log());
        for file in ["/closed", "/open"] {
            assert!(
                odd.content(file).as_ref() == Some(&content),
                "{name}: {file} is not whole"
            );
        }
        assert!(!is_mounted(&mount.path), "{name}: still mounted");
        drop(open);
    }
    Ok(())
}

fn paths_of_urls() -> Result<(), Failed> {
    let odd = Odd::start();
    for folder in ["/home", "/home/sub dir", "/pub", "/pub/sub"] {
        odd.make_folder(folder);
        odd.put(&format!("{folder}/here"), folder.as_bytes());
    }
    odd.put("/here", b"/");
    odd.start_in("/home");
    let address = odd.address();
    for (path, folder) in [
        ("", "/home"),
        ("/", "/home"),
        ("/sub%20dir", "/home/sub dir"),
        ("//", "/"),
        ("//pub", "/pub"),
        ("/%2Fpub/sub", "/pub/sub"),
        ("/%2F", "/"),
    ] {
        let url = format!("ftp://user@{address}{path}");
        let mount =
            ModelMount::start(&url, "password", &[]).map_err(|log| format!("{path:?}: {log}"))?;
        let here = fs::read_to_string(mount.path.join("here"))
            .map_err(|error| format!("{path:?}: {error}"))?;
        assert_eq!(here, folder, "{path:?}");
    }
    Ok(())
}

fn self_signed_certificate() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let certificate = self_signed(folder.path())?;
    let print = Command::new("openssl")
        .args(["x509", "-noout", "-fingerprint", "-sha256", "-in"])
        .arg(&certificate)
        .output()?;
    let print = String::from_utf8_lossy(&print.stdout).into_owned();
    let print = print.rsplit('=').next().unwrap_or_default();
    let pin: String = print.trim().replace(':', "").to_lowercase();
    let options = Options {
        certificate: Some(certificate),
        ..Options::default()
    };
    let server = Server::start_with(ServerKind::Vsftpd, &options);
    fs::write(server.root.join("file"), "content")?;
    let place = Place::new();
    let url = server.url();
    let wanted = format!("tls_pin=sha256:{pin}");
    place.refused(
        &["-o", "tls=require", &url, "MNT"],
        1,
        &["not trusted", &wanted],
    )?;
    let other = format!("tls_pin=sha256:{}", "0".repeat(64));
    place.refused(&["-o", &other, &url, "MNT"], 1, &["not the pinned one"])?;
    place.mount(&url, &["tls=require", &wanted])?;
    let mut content = String::new();
    File::open(place.path.join("file"))?.read_to_string(&mut content)?;
    assert_eq!(content, "content");
    fs::write(place.path.join("new"), "sent")?;
    assert!(within(Duration::from_secs(1), || {
        fs::read(server.root.join("new")).is_ok_and(|sent| sent == b"sent")
    }));
    Ok(())
}

/// Debian's vsftpd says and takes times of its own zone, where the RFC wants UTC.
fn local_times() -> Result<(), Failed> {
    for zone in ["IST-5:30", "NST3:30"] {
        let options = Options {
            local_time: Some(zone),
            ..Options::default()
        };
        let server = Server::start_with(ServerKind::Vsftpd, &options);
        let there = |name: &str| fs::metadata(server.root.join(name)).map(|found| found.mtime());
        let set = |path: &Path, seconds: u64| -> Result<(), Failed> {
            File::options()
                .write(true)
                .open(path)?
                .set_modified(UNIX_EPOCH + Duration::from_secs(seconds))?;
            Ok(())
        };
        for (name, time) in [("old", 1_577_923_201), ("grown", 1_600_000_000)] {
            fs::write(server.root.join(name), "content")?;
            set(&server.root.join(name), time)?;
            // Only its owner may set a file's time.
            let owner = fs::metadata(&server.root)?;
            chown(server.root.join(name), Some(owner.uid()), Some(owner.gid()))?;
        }
        // Without a word from the user: known by the first upload, or by one of our own before the first time is set.
        let mount = ModelMount::of(&server, &["attr_timeout=1"]);
        let shown = |name: &str| fs::metadata(mount.path.join(name)).map(|found| found.mtime());
        let mut grown = File::options()
            .append(true)
            .open(mount.path.join("grown"))?;
        shown("grown")?;
        let time = 981_173_106;
        touch(&mount.path.join("old"), time)?;
        assert_eq!(there("old")?, time, "{zone}");
        assert_eq!(shown("old")?, time, "{zone}");
        // The kernel may have kept what was believed until then.
        let right = || shown("grown").is_ok_and(|time| time == 1_600_000_000);
        assert!(within(DEADLINE, right), "{zone}: {:?}", shown("grown"));
        // Opened before, and written to after.
        grown.write_all(b" and more")?;
        grown.sync_all()?;
        drop(grown);
        assert_eq!(
            fs::read(server.root.join("grown"))?,
            b"content and more",
            "{zone}"
        );
        assert!(there("grown")?.abs_diff(shown("grown")?) <= 1, "{zone}");
        fs::write(mount.path.join("new"), "sent")?;
        touch(&mount.path.join("new"), time + 1)?;
        assert_eq!((there("new")?, shown("new")?), (time + 1, time + 1));
        assert_eq!(shown_names(&mount.path)?, ["grown", "new", "old"]);
        drop(mount);
        // Nothing is ever written: what the user says of the zone holds for MDTM as well.
        let tz = if zone == "IST-5:30" {
            "tz=+05:30"
        } else {
            "tz=-03:30"
        };
        let mount = ModelMount::of(&server, &["ro", tz]);
        assert_eq!(fs::metadata(mount.path.join("old"))?.mtime(), time, "{tz}");
    }
    Ok(())
}

/// As touch(1) does: by the name, without opening it.
fn touch(path: &Path, seconds: i64) -> io::Result<()> {
    let date = format!("@{seconds}");
    let output = run("touch", ["-d".as_ref(), date.as_ref(), path.as_os_str()]);
    match output.status.success() {
        true => Ok(()),
        false => Err(io::Error::other(
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )),
    }
}

fn shown_names(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}
