//! The command line: arguments, `-o` lists, environment and credentials become one [`Order`].
//!
//! Raw options first (`options`), their meaning second (`setup`). Knows no socket and no kernel.

mod credentials;
mod credentials_file;
mod fstab;
#[cfg(any(fuzzing, test))]
pub mod fuzzed;
mod line;
mod options;
mod papers;
mod secrets;
mod setup;
mod table;
mod values;

use std::ffi::{OsStr, OsString};
use std::io::{IsTerminal, stdin};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{ArgMatches, FromArgMatches, Parser};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use thiserror::Error;

use self::credentials::Surroundings;
use self::line::{
    FlushLine, HelperLine, Line, PapersLine, ProbeLine, StatusLine, UnmountLine, Written, command,
    helper_command,
};
use self::options::{Raw, Unknown};
pub use self::papers::write as write_papers;
use crate::ftp::config::Secret;
use crate::ftp::url::Location;
use crate::status::{Form, Question};
use crate::sys;
use crate::{mount, probe, status};

/// What the process is to do.
#[derive(Debug)]
pub enum Order {
    /// Mount; then say so, if asked to.
    Mount(Box<mount::Setup>, Verbosity),
    /// Learn what a server can do, and print it.
    Probe(Box<probe::Setup>),
    /// Ask the mounts that there are.
    Status(status::Setup),
    /// Unmount what is here, when it has sent all; then say so, if asked to.
    Unmount(Unmount, Verbosity),
    /// Write man pages and completions below this folder.
    Papers(PathBuf),
    /// Nothing: the arguments are fine, and that was all that was asked.
    Nothing,
}

/// How a mount is taken off.
#[derive(Debug)]
pub struct Unmount {
    /// Where it is.
    pub mountpoint: PathBuf,
    /// How it is taken off.
    pub way: mount::Way,
    /// What is waited for first, if anything is.
    pub flush: Option<status::Setup>,
}

/// Whether what was done is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verbosity {
    /// No.
    Quiet,
    /// In one line.
    Verbose,
}

/// Whom the process was started by, and so how it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guise {
    /// A user.
    Own,
    /// mount(8), which calls its helpers `mount.TYPE`.
    Helper,
    /// umount(8), which calls its helpers `umount.TYPE`.
    UnmountHelper,
}

impl Guise {
    /// By the name that the process was started by.
    pub fn of_process() -> Self {
        Self::of(std::env::args_os().next().unwrap_or_default())
    }

    fn of(program: OsString) -> Self {
        let name = Path::new(&program).file_name().unwrap_or_default();
        match name.as_bytes() {
            name if name.starts_with(b"mount.") => Self::Helper,
            name if name.starts_with(b"umount.") => Self::UnmountHelper,
            _ => Self::Own,
        }
    }

    /// What messages begin with.
    pub fn name(self) -> &'static str {
        match self {
            Self::Own => "ftpfs",
            Self::Helper => "mount.ftpfs",
            Self::UnmountHelper => "umount.fuse.ftpfs",
        }
    }

    /// Prints why nothing was done, and says how the process is to end.
    pub fn report(self, error: &Error) -> ExitCode {
        let name = self.name();
        // mount(8), umount(8): 1 for wrong usage, 32 for what failed.
        let (usage, failed) = match self {
            Self::Own => (2, 1),
            Self::Helper | Self::UnmountHelper => (1, 32),
        };
        match error {
            Error::Clap(error) => {
                // Nobody is left to tell when standard output or error is closed.
                let _ = error.print();
                ExitCode::from(if error.use_stderr() { usage } else { 0 })
            }
            Error::Usage(text) => {
                eprintln!("{name}: {text}");
                ExitCode::from(usage)
            }
            Error::Failed(text) => {
                eprintln!("{name}: {text}");
                ExitCode::from(failed)
            }
        }
    }
}

/// Why an order cannot be given, or be carried out.
#[derive(Debug, Error)]
pub enum Error {
    /// `--help`, `--version`, or arguments that clap refuses.
    #[error(transparent)]
    Clap(#[from] clap::Error),
    /// The arguments contradict themselves, or are not understood.
    #[error("{0}")]
    Usage(String),
    /// The arguments are fine, but something they need cannot be had or done.
    #[error("{0}")]
    Failed(String),
}

/// Reads the process's arguments and environment. To be called first, before any thread.
///
/// The passwords in them are erased from where other users' `ps` would show them, and from here on no core is dumped,
/// nor may other programs of the user read the memory.
///
/// # Errors
/// Help to be printed, wrong usage, or credentials that cannot be had.
pub fn from_process() -> Result<Order, Error> {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    sys::scrub_arguments(&arguments, &secrets::spans(&arguments));
    let password = sys::take_environment("FTPFS_PASSWORD");
    // Only now: what was just erased is shown to no user's own process then.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|e| Error::Failed(format!("cannot keep passwords out of core dumps: {e}")))?;
    let folder = |name| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|p| p.is_absolute())
    };
    let mut surroundings = Surroundings {
        home: folder("HOME"),
        credentials_directory: folder("CREDENTIALS_DIRECTORY"),
        state_home: folder("XDG_STATE_HOME"),
        runtime: folder("XDG_RUNTIME_DIR"),
        password: None,
        ask: stdin()
            .is_terminal()
            .then_some(|prompt| rpassword::prompt_password(prompt)),
    };
    let request = match parse(&arguments)? {
        Asked::Papers(folder) => return Ok(Order::Papers(folder)),
        Asked::Mounts(mountpoint, question) => {
            return Ok(Order::Status(status::Setup {
                folders: setup::sockets(&surroundings),
                mountpoint,
                question,
            }));
        }
        Asked::Unmount(line) => return Ok(unmounting(line, &surroundings)),
        Asked::Server(request) => request,
    };
    if let Some(text) = password {
        let text = text.into_string();
        let text = text.map_err(|_| Error::Failed("$FTPFS_PASSWORD is not UTF-8".to_owned()))?;
        surroundings.password = Some(Secret::new(text));
    }
    order(*request, &surroundings)
}

fn unmounting(line: UnmountLine, surroundings: &Surroundings) -> Order {
    let way = match (line.force, line.lazy) {
        (true, _) => mount::Way::Forced,
        (false, true) => mount::Way::Lazy,
        (false, false) => mount::Way::Proper,
    };
    let flush = (way == mount::Way::Proper).then(|| status::Setup {
        folders: setup::sockets(surroundings),
        mountpoint: Some(line.mountpoint.clone()),
        question: Question::Flush,
    });
    let verbosity = match line.verbose {
        true => Verbosity::Verbose,
        false => Verbosity::Quiet,
    };
    let unmount = Unmount {
        mountpoint: line.mountpoint,
        way,
        flush,
    };
    Order::Unmount(unmount, verbosity)
}

fn order(request: Request, surroundings: &Surroundings) -> Result<Order, Error> {
    let Request {
        location,
        raw,
        action,
    } = request;
    match action {
        Action::Look => Ok(Order::Nothing),
        Action::Mount(mountpoint, verbosity) => {
            let setup = setup::setup(&location, &mountpoint, &raw, surroundings)?;
            Ok(Order::Mount(Box::new(setup), verbosity))
        }
        Action::Probe {
            write,
            json,
            mut words,
        } => {
            let server = setup::server(&location, &raw, surroundings)?;
            if !credentials::is_anonymous(&server.user) {
                fstab::add_credentials(&mut words);
            }
            Ok(Order::Probe(Box::new(probe::Setup {
                server,
                pool: setup::pool(&raw),
                source: location.source.clone(),
                fstab: words,
                write,
                json,
                log: (raw.debug || raw.log_file.is_some()).then(|| setup::log(&raw)),
            })))
        }
    }
}

/// What the arguments say.
enum Asked {
    /// Something about a server.
    Server(Box<Request>),
    /// Something about the mount here, or all there are.
    Mounts(Option<PathBuf>, Question),
    /// The end of a mount.
    Unmount(UnmountLine),
    /// Papers, below this folder.
    Papers(PathBuf),
}

/// What the arguments say about a server.
struct Request {
    location: Location,
    raw: Raw,
    action: Action,
}

/// What is to be done with the server.
enum Action {
    Mount(PathBuf, Verbosity),
    Look,
    Probe {
        write: bool,
        json: bool,
        /// Of the line for fstab.
        words: Vec<String>,
    },
}

fn parse(arguments: &[OsString]) -> Result<Asked, Error> {
    let server = |request| Asked::Server(Box::new(request));
    let program = arguments.first().cloned().unwrap_or_default();
    match Guise::of(program) {
        Guise::Helper => return parse_helper(arguments).map(server),
        Guise::UnmountHelper => {
            return Ok(Asked::Unmount(UnmountLine::try_parse_from(arguments)?));
        }
        Guise::Own => {}
    }
    let matches = command().try_get_matches_from(arguments)?;
    match matches.subcommand() {
        Some(("probe", matches)) => parse_probe(matches).map(server),
        Some(("status", matches)) => {
            let line = StatusLine::from_arg_matches(matches)?;
            let form = match (line.watch, line.json) {
                (true, json) => Form::Watch { json },
                (false, true) => Form::Json,
                (false, false) => Form::Text,
            };
            Ok(Asked::Mounts(line.mountpoint, Question::Status(form)))
        }
        Some(("flush", matches)) => {
            let line = FlushLine::from_arg_matches(matches)?;
            Ok(Asked::Mounts(line.mountpoint, Question::Flush))
        }
        Some(("papers", matches)) => {
            let line = PapersLine::from_arg_matches(matches)?;
            Ok(Asked::Papers(line.folder))
        }
        _ => parse_mount(&matches).map(server),
    }
}

fn parse_probe(matches: &ArgMatches) -> Result<Request, Error> {
    let line = ProbeLine::from_arg_matches(matches)?;
    refuse(
        &line.excess,
        "more arguments than a URL; `ftpfs probe --help` shows examples",
    )?;
    let written = line::in_order(matches);
    Ok(Request {
        location: locate(&line.address.url)?,
        raw: apply(&written, Unknown::Refused)?,
        action: Action::Probe {
            write: line.write,
            json: line.json,
            words: fstab::field(&written),
        },
    })
}

fn parse_mount(matches: &ArgMatches) -> Result<Request, Error> {
    let line = Line::from_arg_matches(matches)?;
    refuse(
        &line.excess,
        "more arguments than a URL and a mountpoint; `ftpfs --help` shows examples",
    )?;
    let raw = apply(&line::in_order(matches), Unknown::Refused)?;
    Ok(Request {
        location: locate(&line.address.url)?,
        raw,
        action: Action::Mount(line.mountpoint, Verbosity::Quiet),
    })
}

fn parse_helper(arguments: &[OsString]) -> Result<Request, Error> {
    let matches = helper_command().try_get_matches_from(arguments)?;
    let line = HelperLine::from_arg_matches(&matches)?;
    refuse(&line.excess, "more arguments than a URL and a mountpoint")?;
    let unknown = match line.sloppy {
        true => Unknown::Ignored,
        false => Unknown::Refused,
    };
    let verbosity = match line.verbose {
        true => Verbosity::Verbose,
        false => Verbosity::Quiet,
    };
    Ok(Request {
        raw: apply(&line::in_order(&matches), unknown)?,
        location: locate(&line.address.url)?,
        action: match line.fake {
            true => Action::Look,
            false => Action::Mount(line.mountpoint, verbosity),
        },
    })
}

fn refuse(excess: &[OsString], message: &str) -> Result<(), Error> {
    match excess.is_empty() {
        true => Ok(()),
        false => Err(Error::Usage(message.to_owned())),
    }
}

fn locate(url: &OsStr) -> Result<Location, Error> {
    Location::parse(url).map_err(|e| Error::Usage(e.to_string()))
}

fn apply(written: &[Written<'_>], unknown: Unknown) -> Result<Raw, Error> {
    let mut raw = Raw::default();
    for written in written {
        match *written {
            Written::List(list) => options::apply_list(&mut raw, list, unknown),
            Written::Flag(spec, value) => options::apply(&mut raw, spec, value),
        }
        .map_err(Error::Usage)?;
    }
    Ok(raw)
}
#[cfg(test)]
mod tests {
    use super::*;

    fn request(line: &str) -> Result<Request, Error> {
        let arguments: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        match parse(&arguments)? {
            Asked::Server(request) => Ok(*request),
            Asked::Papers(_) | Asked::Mounts(..) | Asked::Unmount(_) => {
                panic!("{line}: of no server")
            }
        }
    }

    fn raw(line: &str) -> Raw {
        request(line).unwrap_or_else(|e| panic!("{line}: {e}")).raw
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
        let of = |line: &str| request(line).unwrap_or_else(|e| panic!("{line}: {e}"));
        let request = of("/sbin/mount.ftpfs h:/pub /m -s -n -v -o rw,noexec,user=bob,sparkling");
        assert_eq!(request.location.host, "h");
        assert!(request.raw.no_exec);
        let wanted = (PathBuf::from("/m"), Verbosity::Verbose);
        assert!(matches!(request.action, Action::Mount(m, v) if (m.clone(), v) == wanted));
        let fake = of("mount.fuse.ftpfs h:/pub /m -f -o rw -t fuse.ftpfs");
        assert!(matches!(fake.action, Action::Look));
        assert!(super::parse(&["mount.ftpfs", "h:/", "/m", "-o", "x"].map(Into::into)).is_err());
    }

    #[test]
    fn a_helper_of_umount_is_understood() {
        let of = |line: &str| {
            let arguments: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            match parse(&arguments) {
                Ok(Asked::Unmount(line)) => Some((line.mountpoint, line.lazy, line.verbose)),
                _ => None,
            }
        };
        let wanted = |lazy, verbose| Some((PathBuf::from("/m"), lazy, verbose));
        let line = "/sbin/umount.fuse.ftpfs /m";
        assert_eq!(of(line), wanted(false, false));
        let line = "umount.fuse.ftpfs /m -l -v -n -t fuse.ftpfs";
        assert_eq!(of(line), wanted(true, true));
        assert_eq!(of("umount.fuse.ftpfs /m /n"), None);
    }

    #[test]
    fn a_probe_takes_the_options_of_a_mount() {
        let request = request("ftpfs probe --json ftp://h/ -o max_conns=2,ro --tz UTC");
        let request = request.expect("valid");
        assert_eq!(request.raw.max_conns, Some(2));
        let Action::Probe { write, json, words } = request.action else {
            panic!("it is a probe");
        };
        assert!(json && !write);
        assert_eq!(
            words.join(","),
            "_netdev,nofail,allow_other,max_conns=2,ro,tz=UTC"
        );
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
}
