//! The command line as clap sees it: for users, for mount(8), and for `ftpfs probe`.
//!
//! The commands are derived, and get a flag for each row of the table.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, CommandFactory, Parser, ValueHint};

use super::table::{Group, Spec, TABLE, Takes};

/// Mount an FTP server as a filesystem
#[derive(Parser)]
#[command(
    name = "ftpfs",
    version,
    long_version = LONG_VERSION,
    override_usage = "ftpfs [OPTIONS] <URL> <MOUNTPOINT>\n       ftpfs probe [OPTIONS] <URL>\n       ftpfs status [OPTIONS] [MOUNTPOINT]\n       ftpfs flush [MOUNTPOINT]\n       ftpfs papers <FOLDER>",
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    disable_help_subcommand = true,
    after_long_help = LESSONS,
    after_help = "`ftpfs --help` says more, with examples."
)]
pub struct Line {
    #[command(flatten)]
    pub address: Address,
    /// An empty folder of yours
    #[arg(value_name = "MOUNTPOINT", value_hint = ValueHint::DirPath)]
    pub mountpoint: PathBuf,
    /// Taken here, because clap would quote them, and one may be a URL with a password.
    #[arg(hide = true)]
    pub excess: Vec<OsString>,
    #[command(flatten)]
    pub lists: Lists,
}

/// Print what will work on a mount of a server, what not, and why
///
/// Logs in as a mount would, with the same options, and looks. Opens as many sessions at once as a
/// mount may have (--max-conns), and reads the beginning of one file.
#[derive(Parser)]
#[command(
    name = "probe",
    override_usage = "ftpfs probe [OPTIONS] <URL>",
    after_help = "Every option of `ftpfs --help` is accepted, and stands in the line for fstab."
)]
pub struct ProbeLine {
    #[command(flatten)]
    pub address: Address,
    /// Taken here, because clap would quote them, and one may be a URL with a password.
    #[arg(hide = true)]
    pub excess: Vec<OsString>,
    #[command(flatten)]
    pub lists: Lists,
    /// Try what can only be learned by writing, in a folder of our own that is removed at once
    #[arg(long)]
    pub write: bool,
    /// Print JSON, for programs
    #[arg(long)]
    pub json: bool,
}

/// Print what your mounts are doing
///
/// Of each mount on this machine that is yours: its sessions with the server, what has crossed the
/// wire, the cache, what is not sent yet and why, transfers that are going on, and the last errors
/// with the server's words.
#[derive(Parser)]
#[command(name = "status")]
pub struct StatusLine {
    /// Of this mount alone
    #[arg(value_name = "MOUNTPOINT", value_hint = ValueHint::DirPath)]
    pub mountpoint: Option<PathBuf>,
    /// Print it anew every second, until interrupted
    #[arg(long)]
    pub watch: bool,
    /// Print JSON, for programs: a list with an object for each mount
    #[arg(long)]
    pub json: bool,
}

/// Wait until all that was written is on the server
///
/// Tries again at once what could not be sent. Exit status: 0 when the server has all, 1 if
/// something cannot be sent; what, and why, is printed.
#[derive(Parser)]
#[command(name = "flush")]
pub struct FlushLine {
    /// In this mount alone; without it, in all of yours
    #[arg(value_name = "MOUNTPOINT", value_hint = ValueHint::DirPath)]
    pub mountpoint: Option<PathBuf>,
}

/// Write man pages, and completions for bash, zsh and fish
///
/// Below a folder of the shape of /usr/share, as ~/.local/share.
#[derive(Parser)]
#[command(name = "papers")]
pub struct PapersLine {
    /// Below this folder
    #[arg(value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    pub folder: PathBuf,
}

/// Unmount an FTP server when it has all that was written, for umount(8)
///
/// What cannot be sent is said; it is kept, and sent by the next mount.
#[derive(Parser)]
#[command(
    name = "umount.fuse.ftpfs",
    version,
    override_usage = "umount.fuse.ftpfs <MOUNTPOINT> [-flnv]"
)]
pub struct UnmountLine {
    /// Where it is mounted
    #[arg(value_name = "MOUNTPOINT")]
    pub mountpoint: PathBuf,
    /// Do not wait, and end the requests of those who use it
    #[arg(short, overrides_with = "force")]
    pub force: bool,
    /// Do not wait: take it out of sight now, and off when nobody uses it any more
    #[arg(short, overrides_with = "lazy")]
    pub lazy: bool,
    /// Write no /etc/mtab, which is never written
    #[arg(short, overrides_with = "no_mtab")]
    pub no_mtab: bool,
    /// Say what was unmounted
    #[arg(short, overrides_with = "verbose")]
    pub verbose: bool,
    /// The type that umount(8) found; it is ours in any case
    #[arg(short = 't', value_name = "TYPE", hide = true)]
    pub kind: Option<OsString>,
}

/// Mount an FTP server, for mount(8) and fstab(5)
#[derive(Parser)]
#[command(
    name = "mount.ftpfs",
    version,
    override_usage = "mount.ftpfs <URL> <MOUNTPOINT> [-sfnv] [-o <LIST>]"
)]
pub struct HelperLine {
    #[command(flatten)]
    pub address: Address,
    /// An empty folder
    #[arg(value_name = "MOUNTPOINT")]
    pub mountpoint: PathBuf,
    /// Taken here, because clap would quote them, and one may be a URL with a password.
    #[arg(hide = true)]
    pub excess: Vec<OsString>,
    #[command(flatten)]
    pub lists: Lists,
    /// Tolerate unknown options
    #[arg(short, action = ArgAction::SetTrue, overrides_with = "sloppy")]
    pub sloppy: bool,
    /// Look at the options, and mount nothing
    #[arg(short, action = ArgAction::SetTrue, overrides_with = "fake")]
    pub fake: bool,
    /// Write no /etc/mtab, which is never written
    #[arg(short, action = ArgAction::SetTrue, overrides_with = "no_mtab")]
    pub no_mtab: bool,
    /// Say what was mounted
    #[arg(short, action = ArgAction::SetTrue, overrides_with = "verbose")]
    pub verbose: bool,
    /// The type that mount(8) was asked for; it is ours in any case
    #[arg(short = 't', value_name = "TYPE", hide = true)]
    pub kind: Option<OsString>,
}

/// Where the server is.
#[derive(Args)]
pub struct Address {
    /// ftp://[user@]host[:port][/path], ftpes:// (TLS), ftps:// (implicit TLS), or host:/path
    ///
    /// A path is relative to the folder that the login lands in; with a second slash
    /// (ftp://host//etc) it is absolute.
    #[arg(value_name = "URL")]
    pub url: OsString,
}

/// Options as in fstab.
#[derive(Args)]
pub struct Lists {
    /// Options as in fstab, by commas: every long option of `ftpfs --help`, with `_` for `-`
    #[arg(short, value_name = "LIST", action = ArgAction::Append)]
    options: Vec<OsString>,
}

/// What `--version` says.
const LONG_VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    "\n",
    "encryption   TLS 1.2 and 1.3, explicit and implicit, client certificates (rustls)\n",
    "listings     MLSD; LIST as of Unix, Windows, VMS, MVS, OS/400 and others; NLST\n",
    "names        bytes, or any charset of the WHATWG that holds ASCII (encoding_rs)\n",
    "proxies      SOCKS 5, HTTP CONNECT, FTP\n",
    "mounting     by mount(2), by fusermount3, as mount.ftpfs, as a service of systemd"
);

/// What `--help` says at its end.
pub const LESSONS: &str = "\
First mount:
  mkdir -p ~/ftp
  ftpfs ftp://ftp.example.org/ ~/ftp          # anonymous
  ftpfs ftpes://bob@ftp.example.org/ ~/ftp    # with TLS; asks for the password
  ls ~/ftp
  fusermount3 -u ~/ftp                        # unmount; as root: umount ~/ftp

What will work there, and what not:
  ftpfs probe ftpes://bob@ftp.example.org/

What your mounts are doing, and waiting until all is sent:
  ftpfs status --watch
  ftpfs flush ~/ftp

The password is looked for in this order: the URL (ftp://bob:secret@host/), a credentials file,
$FTPFS_PASSWORD, ~/.netrc, the terminal. A credentials file has mode 0600 and the lines
  username=bob
  password=secret
or is an open file, `-o credentials=fd:3`.

A line for /etc/fstab:
  ftp://ftp.example.org/pub /mnt/pub fuse.ftpfs _netdev,allow_other,credentials=/etc/ftp.cred 0 0
A blank is written \\040 there, and a comma within a value \\,.

$FTPFS_LOG chooses what is logged, as `debug` or `ftpfs::pool=trace,warn`.
Without -f and log_file the log goes to the system's; SIGUSR1 turns debug on and off.
SIGTERM sends what is not sent yet, unmounts and ends ftpfs; so does unmounting.
Exit status: 0 when the mount is up, 2 for wrong usage, 1 for any other failure.";

/// The command of users, with its subcommands.
pub fn command() -> Command {
    let probe = with_flags(ProbeLine::command(), |spec| {
        matches!(spec.group, Group::Login | Group::Connection)
            || ["tz", "charset"].contains(&spec.name)
    });
    with_flags(Line::command(), |spec| spec.group != Group::Hidden).subcommands([
        probe,
        StatusLine::command(),
        FlushLine::command(),
        PapersLine::command(),
    ])
}

/// The command of mount(8), which knows `-o` lists only.
pub fn helper_command() -> Command {
    HelperLine::command()
}

/// The command of umount(8).
pub fn unmount_command() -> Command {
    UnmountLine::command()
}

/// `command` with a flag for each row of the table; those that are not `shown` are left out of its help.
fn with_flags(mut command: Command, shown: impl Fn(&Spec) -> bool) -> Command {
    for spec in TABLE {
        let Some(flag) = spec.flag() else { continue };
        let mut arg = Arg::new(spec.name)
            .help(spec.help)
            .help_heading(spec.group.heading())
            .hide(!shown(spec))
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
                .value_hint(match metavariable {
                    "FILE" => ValueHint::FilePath,
                    "DIR" => ValueHint::DirPath,
                    _ => ValueHint::Other,
                })
                .value_parser(clap::value_parser!(OsString))
                .action(ArgAction::Append),
        });
    }
    command
}

/// An option as it was written.
#[derive(Clone, Copy)]
pub enum Written<'a> {
    /// `-o LIST`.
    List(&'a OsStr),
    /// A flag, with its value.
    Flag(&'static Spec, Option<&'a OsStr>),
}

/// `-o` lists and flags as they stand on the line, so that the last word counts wherever it is.
pub fn in_order(matches: &ArgMatches) -> Vec<Written<'_>> {
    let mut written = Vec::new();
    let at = |id: &str| matches.indices_of(id).into_iter().flatten();
    let values = |id: &str| matches.get_raw(id).into_iter().flatten();
    written.extend(at("options").zip(values("options").map(Written::List)));
    // mount(8)'s helper has none of the flags: clap must not be asked for one there.
    let known = |spec: &&Spec| matches.ids().any(|id| id.as_str() == spec.name);
    for spec in TABLE
        .iter()
        .filter(|spec| spec.flag().is_some())
        .filter(known)
    {
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
    written.into_iter().map(|(_, written)| written).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_are_well_formed() {
        command().debug_assert();
        helper_command().debug_assert();
        unmount_command().debug_assert();
    }
}
