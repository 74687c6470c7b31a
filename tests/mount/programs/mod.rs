//! Real programs on a mount of each real server.
//!
//! What they leave is compared on the server's own disk as well as through the mount.

mod crowds;
mod databases;
mod desktop;
mod editors;
mod files;
mod fsx;
mod trees;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use libtest_mimic::{Failed, Trial};
use tempfile::{NamedTempFile, TempDir};

use crate::mounted::{Mounted, Output};
use crate::servers::{Server, ServerKind};
use crate::ways::Way;

/// The trials for one server, reached in one way; those of [`CONNECTIONS`] where `brief`.
pub fn trials(kind: ServerKind, way: Way, brief: bool) -> Vec<Trial> {
    let themes = [
        trees::TRIALS,
        databases::TRIALS,
        desktop::TRIALS,
        editors::TRIALS,
        files::TRIALS,
        crowds::TRIALS,
        fsx::TRIALS,
    ];
    let trial = |(name, run): &(&str, Run)| {
        let run = *run;
        let name = format!("{}{}::{name}", kind.name(), way.suffix());
        Trial::test(name, move || {
            let mut bench = Bench::start(kind, way);
            run(&mut bench)?;
            bench.finish();
            Ok(())
        })
    };
    let all = themes.into_iter().flatten();
    let chosen = all.filter(|(name, _)| !brief || CONNECTIONS.contains(name));
    let trials: Vec<Trial> = chosen.map(trial).collect();
    assert!(
        !brief || trials.len() == CONNECTIONS.len(),
        "a name is wrong"
    );
    trials
}

/// What asks most of the connections.
const CONNECTIONS: [&str; 6] = [
    "cp_keeps_names_modes_and_times",
    "rsync_transfers_once",
    "long_files_are_sent_while_they_are_written",
    "sixteen_processes_at_once",
    "a_folder_of_two_thousand_files",
    "fsx_finds_every_byte_in_place",
];

/// A trial, under its name.
type Run = fn(&mut Bench) -> Result<(), Failed>;

/// What a server can be told; the rest is kept by the mount for as long as it lasts.
#[derive(Clone, Copy)]
struct Abilities {
    /// Permission bits.
    modes: bool,
    /// Times of files.
    file_times: bool,
    /// Times of folders.
    dir_times: bool,
    /// Symbolic links to absolute paths: `SITE SYMLINK`.
    links: bool,
    /// Bytes at the end of a file: `APPE`.
    appends: bool,
    /// Enough operations per second for the long runs.
    quick: bool,
    /// Kinds of names that are refused, by the words of `odd_names.py`.
    refused: &'static str,
}

#[rustfmt::skip]
fn abilities(kind: ServerKind) -> Abilities {
    let row = |[modes, file_times, dir_times, links, appends, quick]: [bool; 6], refused| {
        Abilities { modes, file_times, dir_times, links, appends, quick, refused }
    };
    const Y: bool = true;
    const N: bool = false;
    match kind {
        //                                modes  file   dir    links  APPE   quick  names refused
        //                                       times  times
        // Stores U+FFFD for what is not UTF-8, as pyftpdlib does.
        ServerKind::Embedded       => row([N,    N,     N,     N,     Y,     Y], "raw"),
        // MDTM sets the times of files only.
        ServerKind::Vsftpd         => row([Y,    Y,     N,     N,     Y,     Y], ""),
        ServerKind::Proftpd        => row([Y,    Y,     Y,     Y,     Y,     Y], ""),
        // Refuses backslashes, and takes spaces from the end of a name.
        ServerKind::Pureftpd       => row([Y,    Y,     Y,     N,     Y,     Y], "backslash space control"),
        // MFMT refuses folders.
        ServerKind::Pyftpdlib      => row([Y,    Y,     N,     N,     Y,     N], "raw"),
        // Cuts a name at a line end.
        ServerKind::Inetutils      => row([Y,    N,     N,     N,     Y,     Y], ""),
        // Lists a `?` for each byte of these.
        ServerKind::Busybox        => row([N,    N,     N,     N,     Y,     Y], "control wide raw"),
        // Removes a file into which an upload is cut, so that nothing is appended to it.
        // Drops quotes and what looks like an option, takes a backslash for a slash, and stores U+FFFD.
        ServerKind::Ftpsrv         => row([Y,    N,     N,     N,     N,     Y], "quote backslash option raw"),
        // Replaces a file by moving the old one aside.
        ServerKind::ProftpdDefault => row([Y,    Y,     Y,     N,     N,     N], ""),
    }
}

impl Abilities {
    /// Whether `name` is of a kind that is refused.
    fn refuses(&self, name: &str) -> bool {
        self.refused.split(' ').any(|kind| match kind {
            "quote" => name.contains('"'),
            "backslash" => name.contains('\\'),
            "space" => name.ends_with(' '),
            "wide" => !name.is_ascii(),
            _ => false,
        })
    }
}

/// A server, a mount of it, and a local folder to compare with.
struct Bench {
    /// `None` only between two mounts; before `server`, so that it is dropped first.
    mount: Option<Mounted>,
    server: Server,
    local: TempDir,
    able: Abilities,
}

impl Bench {
    fn start(kind: ServerKind, way: Way) -> Self {
        let server = Server::reached_by(kind, way);
        let mut able = abilities(kind);
        able.quick &= way == Way::Plain;
        let local = TempDir::with_prefix("ftpfs-local-").expect("cannot make a temporary folder");
        Self {
            mount: Some(Mounted::start(&server, &[])),
            server,
            local,
            able,
        }
    }

    fn mount(&self) -> &Mounted {
        self.mount.as_ref().expect("mounted but within remount()")
    }

    /// Unmounts, and mounts again.
    fn remount(&mut self) {
        self.remount_with(&[]);
    }

    /// The same, with options of the command line.
    fn remount_with(&mut self, options: &[&str]) {
        self.mount.take().expect("mounted").unmount();
        self.mount = Some(Mounted::start(&self.server, options));
    }

    fn finish(mut self) {
        self.mount.take().expect("mounted").unmount();
    }

    /// Runs a bash script in the root of the mount; returns what it prints. It ends at the first command that fails.
    ///
    /// `$ROOT` is the server's own folder, `$LOCAL` one beside the mount, `$CODE` that of this file; `$FTPFS` is the
    /// binary; `$MODES`,
    /// `$FILE_TIMES`, `$DIR_TIMES` and `$LINKS` are not empty where the server can be told these.
    fn sh(&self, script: &str) -> String {
        let file = NamedTempFile::with_suffix(".sh").expect("cannot make a temporary file");
        fs::write(&file, format!("{PRELUDE}{script}")).expect("the file is ours");
        let mut command = Command::new("bash");
        command.arg(file.path());
        self.run(command).stdout
    }

    /// Runs a Python script of this folder in the root of the mount.
    fn python(&self, name: &str) {
        need("python3");
        let mut command = Command::new("python3");
        command.arg(code().join(name));
        self.run(command);
    }

    fn run(&self, mut command: Command) -> Output {
        let able = self.able;
        command
            .env("ROOT", &self.server.root)
            .env("LOCAL", self.local.path())
            .env("CODE", code())
            .env("FTPFS", env!("CARGO_BIN_EXE_ftpfs"))
            .env("REFUSED", able.refused)
            .env("LC_ALL", "C.UTF-8");
        for (name, can) in [
            ("MODES", able.modes),
            ("FILE_TIMES", able.file_times),
            ("DIR_TIMES", able.dir_times),
            ("LINKS", able.links),
        ] {
            command.env(name, if can { "1" } else { "" });
        }
        self.mount().run(command)
    }
}

/// Sees that a program is installed.
///
/// # Panics
/// If it is not: a test that is left out would look like one that passes.
fn need(program: &str) {
    let found = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .any(|dir| dir.join(program).is_file());
    assert!(
        found,
        "{program} is not installed: install it (its package is mostly named alike), then run this test again"
    );
}

fn code() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mount/programs")
}

/// What every script begins with.
const PRELUDE: &str = r#"
set -Eeuo pipefail
trap 'echo "line $LINENO failed: $BASH_COMMAND" >&2' ERR
umask 022
fail() { echo "$*" >&2; exit 1; }
# modes DIR [TEST..]: the permission bits of what is below it.
modes() { (cd "$1" && find . -mindepth 1 "${@:2}" -print0 | LC_ALL=C sort -z | xargs -0r stat -c '%A %n'); }
# times DIR [TEST..]: the times of modification, in seconds.
times() { (cd "$1" && find . -mindepth 1 "${@:2}" -print0 | LC_ALL=C sort -z | xargs -0r stat -c '%Y %n'); }
# same A B: the same names, contents, modes and times; both beside the server or both ours.
same() {
    diff -r --no-dereference "$1" "$2"
    diff <(modes "$1") <(modes "$2")
    diff <(times "$1" ! -type l) <(times "$2" ! -type l)
}
# served DIR OURS: the server has on its own disk what is in OURS, as far as it can be told.
served() {
    diff -r --no-dereference "$2" "$ROOT/$1"
    [[ ! $MODES ]] || diff <(modes "$2") <(modes "$ROOT/$1")
    [[ ! $FILE_TIMES ]] || diff <(times "$2" -type f) <(times "$ROOT/$1" -type f)
    [[ ! $DIR_TIMES ]] || diff <(times "$2" -type d) <(times "$ROOT/$1" -type d)
}
"#;
