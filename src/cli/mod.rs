//! The command line: arguments, `-o` lists, environment and credentials become one [`Setup`].
//!
//! Raw options first (`options`), their meaning second (`setup`). Knows no socket and no kernel.

mod credentials;
mod options;
mod setup;
mod table;
mod values;

use std::ffi::{OsStr, OsString};
use std::io::{IsTerminal, stdin};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command, CommandFactory, FromArgMatches, Parser};
use thiserror::Error;

use self::credentials::Surroundings;
use self::options::{Raw, SECRETS};
use self::table::{Group, Spec, TABLE, Takes};
use crate::ftp::config::Secret;
use crate::ftp::url::{self, Location};
use crate::mount::Setup;
use crate::sys;

/// Why there is no [`Setup`].
#[derive(Debug, Error)]
pub enum Error {
    /// `--help`, `--version`, or arguments that clap refuses.
    #[error(transparent)]
    Clap(#[from] clap::Error),
    /// The arguments contradict themselves, or are not understood.
    #[error("{0}")]
    Usage(String),
    /// The arguments are fine, but something they need cannot be had.
    #[error("{0}")]
    Failed(String),
}

impl Error {
    /// Prints the message, and says how the process is to end: 2 for wrong usage, 1 for a failure.
    pub fn report(&self) -> ExitCode {
        match self {
            Self::Clap(error) => {
                // Nobody is left to tell when standard output or error is closed.
                let _ = error.print();
                ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
            }
            Self::Usage(text) => {
                eprintln!("ftpfs: {text}");
                ExitCode::from(2)
            }
            Self::Failed(text) => {
                eprintln!("ftpfs: {text}");
                ExitCode::FAILURE
            }
        }
    }
}

/// Reads the process's arguments and environment. To be called first, before any thread.
///
/// The passwords in them are erased from where other users' `ps` would show them.
///
/// # Errors
/// Help to be printed, wrong usage, or credentials that cannot be had.
pub fn from_process() -> Result<Setup, Error> {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    sys::scrub_arguments(&arguments, &secret_spans(&arguments));
    let password = sys::take_environment("FTPFS_PASSWORD");
    let request = parse(arguments)?;
    let password = match password {
        Some(text) => {
            Some(Secret::new(text.into_string().map_err(|_| {
                Error::Failed("$FTPFS_PASSWORD is not UTF-8".to_owned())
            })?))
        }
        None => None,
    };
    let folder = |name| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|p| p.is_absolute())
    };
    let surroundings = Surroundings {
        home: folder("HOME"),
        state_home: folder("XDG_STATE_HOME"),
        password,
        ask: stdin()
            .is_terminal()
            .then_some(|prompt| rpassword::prompt_password(prompt)),
    };
    setup::setup(
        &request.location,
        &request.mountpoint,
        &request.raw,
        &surroundings,
    )
}

/// What the arguments say.
#[derive(Debug)]
struct Request {
    location: Location,
    mountpoint: PathBuf,
    raw: Raw,
}

/// Mount an FTP server as a filesystem
#[derive(Parser)]
#[command(
    name = "ftpfs",
    version,
    override_usage = "ftpfs [OPTIONS] <URL> <MOUNTPOINT>",
    after_long_help = LESSONS,
    after_help = "`ftpfs --help` says more, with examples."
)]
struct Line {
    /// ftp://[user@]host[:port][/path], ftpes:// (TLS), ftps:// (implicit TLS), or host:/path
    ///
    /// A path is relative to the folder that the login lands in; with a second slash
    /// (ftp://host//etc) it is absolute.
    #[arg(value_name = "URL")]
    url: OsString,
    /// An empty folder of yours
    #[arg(value_name = "MOUNTPOINT")]
    mountpoint: PathBuf,
    /// Taken here, because clap would quote them, and one may be a URL with a password.
    #[arg(hide = true)]
    excess: Vec<OsString>,
    /// Options as in fstab, by commas: every long option below, with `_` for `-`
    #[arg(short, value_name = "LIST", action = ArgAction::Append)]
    options: Vec<OsString>,
    /// mount(8) gives these to a helper: tolerate unknown options, write no mtab, say more.
    #[arg(short, hide = true, action = ArgAction::Count)]
    sloppy: u8,
    #[arg(short, hide = true, action = ArgAction::Count)]
    no_mtab: u8,
    #[arg(short, hide = true, action = ArgAction::Count)]
    verbose: u8,
}

const LESSONS: &str = "\
First mount:
  mkdir -p ~/ftp
  ftpfs ftp://ftp.example.org/ ~/ftp          # anonymous
  ftpfs ftpes://bob@ftp.example.org/ ~/ftp    # with TLS; asks for the password
  ls ~/ftp
  fusermount3 -u ~/ftp                        # unmount; as root: umount ~/ftp

The password is looked for in this order: the URL (ftp://bob:secret@host/), a credentials file,
$FTPFS_PASSWORD, ~/.netrc, the terminal. A credentials file has mode 0600 and the lines
  username=bob
  password=secret

A line for /etc/fstab:
  ftp://ftp.example.org/pub /mnt/pub fuse.ftpfs _netdev,allow_other,credentials=/etc/ftp.cred 0 0
A blank is written \\040 there, and a comma within a value \\,.

$FTPFS_LOG chooses what is logged, as `debug` or `ftpfs::pool=trace,warn`.
SIGTERM sends what is not sent yet, unmounts and ends ftpfs; so does unmounting.
Exit status: 0 when the mount is up, 2 for wrong usage, 1 for any other failure.";

fn parse(arguments: Vec<OsString>) -> Result<Request, Error> {
    let matches = command().try_get_matches_from(arguments)?;
    let line = Line::from_arg_matches(&matches)?;
    if !line.excess.is_empty() {
        return Err(Error::Usage(
            "more arguments than a URL and a mountpoint; `ftpfs --help` shows examples".to_owned(),
        ));
    }
    let mut raw = Raw::default();
    for (_, written) in in_order(&matches) {
        match written {
            Written::List(list) => options::apply_list(&mut raw, list),
            Written::Flag(spec, value) => options::apply(&mut raw, spec, value),
        }
        .map_err(Error::Usage)?;
    }
    let location = Location::parse(&line.url).map_err(|e| Error::Usage(e.to_string()))?;
    Ok(Request {
        location,
        mountpoint: line.mountpoint,
        raw,
    })
}

/// The derived command with a flag for each row of the table.
fn command() -> Command {
    let mut command = Line::command();
    for spec in TABLE {
        let Some(flag) = spec.flag() else { continue };
        let mut arg = Arg::new(spec.name)
            .help(spec.help)
            .help_heading(spec.group.heading())
            .hide(spec.group == Group::Hidden)
            .alias(spec.name.to_owned())
            .long(flag);
        if let Some(letter) = spec.short {
            arg = arg.short(letter);
        }
        command = command.arg(match spec.takes {
            // Named twice is no mistake: `-o` lists do not mind either.
            Takes::Nothing(_) => arg.action(ArgAction::SetTrue).overrides_with(spec.name),
            Takes::Value(metavariable, _) => arg
                .value_name(metavariable)
                .value_parser(clap::value_parser!(OsString))
                .action(ArgAction::Append),
        });
    }
    command
}

enum Written<'a> {
    List(&'a OsStr),
    Flag(&'static Spec, Option<&'a OsStr>),
}

/// `-o` lists and flags as they stand on the line, so that the last word counts wherever it is.
fn in_order(matches: &ArgMatches) -> Vec<(usize, Written<'_>)> {
    let mut written = Vec::new();
    let at = |id: &str| matches.indices_of(id).into_iter().flatten();
    let values = |id: &str| matches.get_raw(id).into_iter().flatten();
    written.extend(at("options").zip(values("options").map(Written::List)));
    for spec in TABLE.iter().filter(|spec| spec.flag().is_some()) {
        match spec.takes {
            Takes::Value(..) => written
                .extend(at(spec.name).zip(values(spec.name).map(|v| Written::Flag(spec, Some(v))))),
            // clap gives a flag that is absent an index too.
            Takes::Nothing(_) if matches.get_flag(spec.name) => {
                written.extend(at(spec.name).map(|index| (index, Written::Flag(spec, None))));
            }
            Takes::Nothing(_) => {}
        }
    }
    written.sort_by_key(|(index, _)| *index);
    written
}

/// Where passwords stand in `arguments`, which need not be valid.
fn secret_spans(arguments: &[OsString]) -> Vec<(usize, Range<usize>)> {
    let mut spans = Vec::new();
    let mut whole = false;
    for (index, argument) in arguments.iter().enumerate() {
        let bytes = argument.as_bytes();
        if std::mem::take(&mut whole) {
            spans.push((index, 0..bytes.len()));
            continue;
        }
        for name in SECRETS {
            whole |= bytes.strip_prefix(b"--") == Some(name.as_bytes());
            let assignment = [name.as_bytes(), b"="].concat();
            let found = bytes
                .windows(assignment.len())
                .position(|w| w == assignment);
            // To the end, since a password may hold a comma that should have been escaped.
            spans.extend(found.map(|at| (index, at + assignment.len()..bytes.len())));
        }
        if !bytes.starts_with(b"-") {
            spans.extend(url::password_span(bytes).map(|span| (index, span)));
        }
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(line: &str) -> Result<Request, Error> {
        parse(line.split(' ').map(OsString::from).collect())
    }

    fn raw(line: &str) -> Raw {
        request(line).unwrap_or_else(|e| panic!("{line}: {e}")).raw
    }

    #[test]
    fn the_command_is_well_formed() {
        command().debug_assert();
    }

    #[test]
    fn flags_and_lists_are_the_same_options() {
        let list = raw("ftpfs ftp://h/ /m -o max_conns=3,allow_other,tls=off -oro,debug");
        let flags = raw("ftpfs --max-conns=3 --allow_other --tls off ftp://h/ --ro -d /m");
        assert_eq!(format!("{list:?}"), format!("{flags:?}"));
        assert_eq!(list.max_conns, Some(3));
        assert!(list.allow_other && list.read_only && list.debug && !list.foreground);
    }

    #[test]
    fn the_last_word_counts_wherever_it_stands() {
        assert!(!raw("ftpfs ftp://h/ /m --ro -o rw").read_only);
        assert!(raw("ftpfs ftp://h/ /m -o rw --ro").read_only);
        assert_eq!(
            raw("ftpfs ftp://h/ /m -o uid=1 --uid 2 -o gid=3 -o uid=4").uid,
            Some(4)
        );
        assert!(!raw("ftpfs -f ftp://h/ /m").debug);
    }

    #[test]
    fn a_helper_of_mount_is_understood() {
        let request = request("mount.ftpfs h:/pub /m -s -n -v -o rw,noexec,user=bob");
        let request = request.expect("valid");
        assert_eq!(request.location.host, "h");
        assert_eq!(request.mountpoint, PathBuf::from("/m"));
        assert!(request.raw.no_exec);
    }

    #[test]
    fn wrong_usage_never_shows_the_password() {
        for line in [
            "ftpfs -x ftp://bob:hunter2@h/ /m",
            "ftpfs /m /m ftp://bob:hunter2@h/",
            "ftpfs ftp://bob:hunter2@h:x/ /m",
            "ftpfs ftp://bob:hunter2@h/",
            "ftpfs ftp://h/ /m -o password=a,hunter2",
            "ftpfs ftp://h/ /m --pasword=hunter2",
            "ftpfs bob:hunter2@h:/ /m",
        ] {
            let message = request(line).err().map(|e| e.to_string());
            assert!(message.is_some_and(|m| !m.contains("hunter2")), "{line}");
        }
    }

    #[test]
    fn secrets_are_found_in_arguments() {
        for (line, secrets) in [
            ("ftpfs ftp://bob:s@h/ /m", vec!["s"]),
            ("ftpfs -o password=s,ro ftp://b:t@h/ /m", vec!["s,ro", "t"]),
            ("ftpfs -opassword=s --account=t", vec!["s", "t"]),
            ("ftpfs --password s --account t x", vec!["s", "t"]),
            ("ftpfs -o user=bob,pass=s", vec!["s"]),
            ("ftpfs ftp://bob@h/ /m -o user=b", vec![]),
        ] {
            let arguments: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            let found: Vec<&str> = secret_spans(&arguments)
                .into_iter()
                .map(|(index, span)| &arguments[index].to_str().expect("ASCII")[span])
                .collect();
            assert_eq!(found, secrets, "{line}");
        }
    }
}
