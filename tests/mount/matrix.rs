//! What each server can do, and how it is done: measured, and compared with the table in the README.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use libtest_mimic::{Failed, Trial};

use crate::model_mount::ModelMount;
use crate::servers::{Server, ServerKind};
use crate::ways::Way;

/// The trials: one for each server.
pub fn trials(kind: ServerKind) -> Vec<Trial> {
    let name = format!("{}::the_readme_says_what_it_can_do", kind.name());
    vec![Trial::test(name, move || compare(kind))]
}

/// Sees that the server's column of the table in the README is what was measured.
fn compare(kind: ServerKind) -> Result<(), Failed> {
    let measured: Vec<(String, String)> = measure(kind)?
        .into_iter()
        .map(|(what, how)| (what.to_owned(), how))
        .collect();
    if column(kind)? == measured {
        return Ok(());
    }
    let lines = measured
        .iter()
        .map(|(what, how)| format!("{what} | {how}\n"));
    let lines: String = lines.collect();
    Err(format!("the README's column of {} has to be:\n{lines}", kind.name()).into())
}

/// What the README's table says of the server, by row.
pub fn column(kind: ServerKind) -> Result<Vec<(String, String)>, Failed> {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md"))?;
    let rows: Vec<Vec<&str>> = readme
        .lines()
        .skip_while(|line| !line.starts_with("| server |"))
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    let header = rows.first().ok_or("no table of servers in the README")?;
    let Some(column) = header.iter().position(|name| *name == kind.name()) else {
        return Ok(Vec::new());
    };
    let said = rows[2..].iter();
    Ok(said
        .map(|row| (row[0].to_owned(), row[column].to_owned()))
        .collect())
}

type Column = Vec<(&'static str, String)>;

fn measure(kind: ServerKind) -> io::Result<Column> {
    let mut column = Vec::new();
    let probe = Probe::start(kind, Way::Plain)?;
    column.push(("list a folder", probe.list()));
    column.push(("read from the middle", probe.read_at()));
    column.push(("replace a file", probe.replace()));
    column.push(("rename over a file", probe.rename_over()));
    column.push(("add to the end", probe.append()));
    column.push(("change the middle", probe.change()));
    column.push(("`chmod`", probe.chmod()));
    column.push(("set a file's time", probe.touch("timed")));
    column.push(("set a folder's time", probe.touch("folder")));
    column.push(("symbolic links are", probe.links()));
    column.push(("`ln -s`", probe.make_link()));
    column.push(("hidden files are", probe.hidden()));
    column.push(("names refused", probe.names()));
    column.push(("passive by", probe.asked_first(&["PASV", "EPSV"])));
    let active = Probe::start(kind, Way::Active)?;
    active.list();
    column.push(("active by", active.asked_first(&["EPRT", "PORT"])));
    column.push(("TLS", tls(kind)?));
    Ok(column)
}

/// Version and kind of handshake of encrypted data connections.
fn tls(kind: ServerKind) -> io::Result<String> {
    if !kind.encrypts() {
        return Ok("no".to_owned());
    }
    let probe = Probe::start(kind, Way::Tls)?;
    probe.list();
    let log = probe.mount.log();
    let version = match log.contains("version=Some(TLSv1_2)") {
        true => "1.2",
        false => "1.3",
    };
    let resumes = log.contains("handshake=Some(Resumed");
    let implicit = if kind.encrypts_at_once() {
        ", implicit too"
    } else {
        ""
    };
    let resumed = if resumes { "resumed" } else { "not resumed" };
    Ok(format!("{version}, {resumed}{implicit}"))
}

/// A server with a few files, and a mount of it.
struct Probe {
    mount: ModelMount,
    server: Server,
}

impl Probe {
    fn start(kind: ServerKind, way: Way) -> io::Result<Self> {
        let server = Server::reached_by(kind, way);
        let long = vec![7; LONG];
        for (name, content) in [
            ("folder/inner", &b"content"[..]),
            ("read", &long),
            ("replaced", b"before"),
            ("source", b"source"),
            ("target", b"target"),
            ("grown", &long),
            ("changed", &long),
            ("moded", b""),
            ("timed", b""),
            (".hidden", b""),
        ] {
            let path = server.root.join(name);
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            fs::write(&path, content)?;
            server.give(&path)?;
        }
        server.give(&server.root.join("folder"))?;
        symlink("folder/inner", server.root.join("link"))?;
        let mount = ModelMount::of(&server, &[]);
        Ok(Self { mount, server })
    }

    /// The first of `commands` that has been sent, as a cell of the table.
    fn asked_first(&self, commands: &[&str]) -> String {
        let log = self.mount.log();
        let sent = |command: &&&str| log.contains(&format!("send command={command}"));
        match commands.iter().find(sent) {
            Some(command) => format!("`{}`", command.trim_end().replace('"', "")),
            None => "nothing".to_owned(),
        }
    }

    fn list(&self) -> String {
        let shown = fs::read_dir(self.mount.path.join("folder"));
        match shown.map(|entries| entries.flatten().count()) {
            Ok(1) => self.asked_first(&["NLST", "LIST\n", "LIST \"-a\"", "MLSD"]),
            Ok(_) => "wrongly".to_owned(),
            Err(error) => errno(&error),
        }
    }

    fn read_at(&self) -> String {
        let mut byte = [0];
        let file = File::open(self.mount.path.join("read"));
        match file.and_then(|file| file.read_exact_at(&mut byte, (LONG - 5) as u64)) {
            Ok(()) => self.asked_first(&["REST", "RETR"]),
            Err(error) => errno(&error),
        }
    }

    fn replace(&self) -> String {
        let path = self.mount.path.join("replaced");
        self.done(
            replace_synced(&path),
            "replaced",
            b"words",
            &[
                ("RNFR \"/replaced\"", "old one aside, `RNTO`"),
                ("RNTO \"/replaced\"", "`RNTO` over it"),
                ("STOR \"/replaced\"", "`STOR` over it"),
            ],
        )
    }

    fn rename_over(&self) -> String {
        let at = |name: &str| self.mount.path.join(name);
        let renamed = fs::rename(at("source"), at("target"));
        self.done(
            renamed,
            "target",
            b"source",
            &[
                ("RNFR \"/target\"", "old one aside, `RNTO`"),
                ("RNTO \"/target\"", "`RNTO`"),
            ],
        )
    }

    fn append(&self) -> String {
        let path = self.mount.path.join("grown");
        let appended = File::options()
            .append(true)
            .open(path)
            .and_then(|mut file| {
                file.write_all(b"tail")?;
                file.sync_all()
            });
        let content = [&vec![7; LONG][..], b"tail"].concat();
        self.done(
            appended,
            "grown",
            &content,
            &[
                ("APPE \"/grown\"", "`APPE`"),
                ("RNTO \"/grown\"", "whole file"),
                ("STOR \"/grown\"", "whole file"),
            ],
        )
    }

    fn change(&self) -> String {
        let path = self.mount.path.join("changed");
        let changed = File::options().write(true).open(path).and_then(|file| {
            file.write_all_at(b"XY", 1000)?;
            file.sync_all()
        });
        let mut content = vec![7; LONG];
        content[1000..1002].copy_from_slice(b"XY");
        self.done(
            changed,
            "changed",
            &content,
            &[
                ("RNTO \"/changed\"", "whole file"),
                ("STOR \"/changed\"", "`REST`, `STOR`"),
            ],
        )
    }

    /// What was done to `name`, by the first of `ways` whose command was sent, if the server has `content` now.
    fn done(
        &self,
        outcome: io::Result<()>,
        name: &str,
        content: &[u8],
        ways: &[(&str, &str)],
    ) -> String {
        if let Err(error) = outcome {
            return errno(&error);
        }
        let there = fs::read(self.server.root.join(name));
        if !there.is_ok_and(|there| there == content) {
            return "not, and no error".to_owned();
        }
        let log = self.mount.log();
        let way = ways
            .iter()
            .find(|(command, _)| log.contains(&format!("send command={command}")));
        way.map_or("nothing", |(_, how)| how).to_owned()
    }

    fn chmod(&self) -> String {
        let set = fs::set_permissions(self.mount.path.join("moded"), Permissions::from_mode(0o600));
        let there = fs::metadata(self.server.root.join("moded")).map(|found| found.mode() & 0o777);
        self.set(
            set,
            there.is_ok_and(|mode| mode == 0o600),
            &["MFF", "SITE \"CHMOD"],
        )
    }

    fn touch(&self, name: &str) -> String {
        let time = UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let path = self.mount.path.join(name);
        let set = File::open(&path).and_then(|file| file.set_modified(time));
        let there = fs::metadata(self.server.root.join(name)).and_then(|found| found.modified());
        let ways = ["MFMT", "MFF", "SITE \"UTIME", "MDTM \"2"];
        let how = self.set(set, there.is_ok_and(|there| there == time), &ways);
        how.replace("MDTM 2", "MDTM")
    }

    /// How a setting was made: by one of `commands` where the server `has` it, else by the mount alone.
    fn set(&self, outcome: io::Result<()>, has: bool, commands: &[&str]) -> String {
        match outcome {
            Err(error) => errno(&error),
            Ok(()) if !has => "kept".to_owned(),
            Ok(()) => self.asked_first(commands),
        }
    }

    fn links(&self) -> String {
        let path = self.mount.path.join("link");
        let kind = fs::symlink_metadata(&path).map(|found| found.file_type());
        let told = match kind {
            Ok(kind) if kind.is_symlink() => match fs::read(&path) {
                Ok(content) if content == b"content" => "shown",
                _ => "shown, and lead nowhere",
            },
            Ok(_) => match fs::read(&path) {
                Ok(content) if content == b"content" => "followed",
                Ok(_) => "files, cut to the length of their target",
                Err(error) => return format!("files, {}", errno(&error)),
            },
            Err(error) => return errno(&error),
        };
        told.to_owned()
    }

    fn make_link(&self) -> String {
        let made = symlink("/folder", self.mount.path.join("made"));
        let there = fs::symlink_metadata(self.server.root.join("made"));
        let there = there.is_ok_and(|found| found.is_symlink());
        match made {
            Ok(()) if there => "absolute targets".to_owned(),
            Ok(()) => "not, and no error".to_owned(),
            Err(error) => errno(&error),
        }
    }

    fn hidden(&self) -> String {
        let Ok(entries) = fs::read_dir(&self.mount.path) else {
            return "an error".to_owned();
        };
        let listed = entries
            .flatten()
            .any(|entry| entry.file_name() == ".hidden");
        let found = self.mount.path.join(".hidden").exists();
        match (listed, found) {
            (true, true) => "shown",
            (false, true) => "found by name",
            _ => "missing",
        }
        .to_owned()
    }

    /// The names that cannot be made, each with its errno.
    fn names(&self) -> String {
        let mut refused = Vec::new();
        for (what, name) in [
            ("not ASCII", "\u{fc}\u{6587}".as_bytes()),
            ("not UTF-8", b"\xe9a"),
            ("control characters", b"a\tb"),
            ("space at the start", b" a"),
            ("space at the end", b"a "),
            ("`\\`", b"a\\b"),
            ("`\"`", b"a\"b"),
            ("`*[]`", b"a*[b]"),
            ("a word like ` -a`", b"b -a"),
        ] {
            let name = OsStr::from_bytes(name);
            let outcome = replace_synced(&self.mount.path.join(name));
            let there = fs::read(self.server.root.join(name)).is_ok_and(|there| there == b"words");
            match outcome {
                Ok(()) if there => {}
                Ok(()) => refused.push(format!("{what}: not, and no error")),
                Err(error) => refused.push(format!("{what} ({})", errno(&error))),
            }
        }
        match refused.is_empty() {
            true => "none".to_owned(),
            false => refused.join(", "),
        }
    }
}

/// Writes "words" to a file that is made or emptied for it, and asks whether the server has them.
fn replace_synced(path: &Path) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(b"words")?;
    file.sync_all()
}

/// The name of an error.
fn errno(error: &io::Error) -> String {
    use rustix::io::Errno;
    let names = [
        (Errno::PERM, "EPERM"),
        (Errno::ACCESS, "EACCES"),
        (Errno::INVAL, "EINVAL"),
        (Errno::IO, "EIO"),
        (Errno::NOENT, "ENOENT"),
        (Errno::STALE, "ESTALE"),
        (Errno::OPNOTSUPP, "EOPNOTSUPP"),
    ];
    let name = names
        .iter()
        .find(|(known, _)| error.raw_os_error() == Some(known.raw_os_error()));
    name.map_or_else(|| error.to_string(), |(_, name)| (*name).to_owned())
}

/// Bytes of a file of which a part is worth less than the whole.
const LONG: usize = 2 << 20;
