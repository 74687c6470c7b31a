//! At home on a Linux system: what its tools and its users expect beside the mount itself.

pub mod charsets;
mod coming_from;
mod desktop;
mod interrupted;
mod limits;
mod logs;
mod mount8;
mod papers;
pub mod probe;
mod proxy;
pub mod recalled;
mod secrets;
pub mod status;
mod systemd;
mod turns;
pub mod xattr;

use std::process::Command;

use libtest_mimic::Trial;
use rustix::process::geteuid;

/// What runs the words that follow in a mount namespace of its own, for at most a minute.
///
/// A namespace begins with copies of all mounts there are: those of other trials would not end before it does.
pub fn with_own_mounts() -> Command {
    let mut command = Command::new("timeout");
    command.args(["60", "unshare", "--mount", "--propagation", "private"]);
    if !geteuid().is_root() {
        command.arg("--map-root-user");
    }
    let first = "umount --all --lazy --types fuse.ftpfs; exec \"$@\"";
    command.args(["sh", "-c", first, "sh"]);
    command
}

/// The trials that need no particular server.
pub fn trials() -> Vec<Trial> {
    let mut trials = mount8::trials();
    trials.extend(coming_from::trials());
    trials.extend(interrupted::trials());
    trials.extend(desktop::trials());
    trials.extend(limits::trials());
    trials.extend(logs::trials());
    trials.extend(papers::trials());
    trials.extend(proxy::trials());
    trials.extend(secrets::trials());
    trials.extend(status::trials());
    trials.extend(systemd::trials());
    trials.extend(turns::trials());
    trials.extend(xattr::trials());
    trials
}
