//! The mount itself: by mount(2), by fusermount3, or made by whoever started us; and its end.
//!
//! fuser could mount too, but shows the type `fuse`, and its unmount gives up on a busy mount and
//! may take off a foreign one; so it is handed the descriptor only.

use std::ffi::CString;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, FdFlags, fcntl_setfd};
use rustix::mount::{MountFlags, UnmountFlags};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketFlags, SocketType,
    recvmsg, socketpair, sockopt,
};
use rustix::process::{getegid, geteuid};

use super::{MountConfig, StartError, table};

/// A mount, taken off when dropped.
#[derive(Debug)]
pub struct Mounted {
    /// `None` where someone else mounted, and will unmount.
    folder: Option<PathBuf>,
    /// `major:minor`, which tells our mount from another that may lie there later.
    device: Option<String>,
    privileged: bool,
}

/// How an attempt to unmount ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmounted {
    /// It is off, or was already.
    Yes,
    /// Someone has a file or a folder of it open.
    Busy,
}

/// Most bytes that one READ of the kernel asks for: its own bound, `fs.fuse.max_pages_limit`.
const MAX_READ: u32 = 1 << 20;

/// Mounts on `folder`, and returns the descriptor by which the kernel asks.
///
/// # Errors
/// What is missing or not allowed, and what to do.
pub fn mount(folder: &Path, config: &MountConfig) -> Result<(Mounted, OwnedFd), StartError> {
    let (device, privileged) = match geteuid().is_root() {
        true => match mount_ourselves(folder, config) {
            // A container's root without CAP_SYS_ADMIN: fusermount3 may have been given more.
            Err(Errno::PERM) => (mount_by_fusermount(folder, config)?, false),
            Err(e) => return Err(refused(e)),
            Ok(device) => (device, true),
        },
        false => (mount_by_fusermount(folder, config)?, false),
    };
    let top = table::top_at(folder).ok().flatten();
    let mounted = Mounted {
        folder: Some(folder.to_owned()),
        device: top.map(|entry| entry.device),
        privileged,
    };
    Ok((mounted, device))
}

impl Mounted {
    /// A mount that is not ours to take off.
    pub fn by_caller() -> Self {
        Self {
            folder: None,
            device: None,
            privileged: false,
        }
    }

    /// Takes the mount off if nobody uses it.
    ///
    /// # Errors
    /// What umount2(2) or fusermount3 says.
    pub fn unmount(&self) -> io::Result<Unmounted> {
        let Some(folder) = self.still_there() else {
            return Ok(Unmounted::Yes);
        };
        if !self.privileged {
            return match fusermount(folder, &["-u"]) {
                // It has one exit code for all; a mount that is still there is one in use.
                Err(_) if self.still_there().is_some() => Ok(Unmounted::Busy),
                _ => Ok(Unmounted::Yes),
            };
        }
        match rustix::mount::unmount(folder, UnmountFlags::NOFOLLOW) {
            Ok(()) | Err(Errno::INVAL) => Ok(Unmounted::Yes),
            Err(Errno::BUSY) => Ok(Unmounted::Busy),
            Err(e) => Err(e.into()),
        }
    }

    /// Takes the mount out of sight; it ends when its last user is gone.
    ///
    /// # Errors
    /// What umount2(2) or fusermount3 says.
    pub fn detach(&self) -> io::Result<()> {
        let Some(folder) = self.still_there() else {
            return Ok(());
        };
        match self.privileged {
            true => rustix::mount::unmount(folder, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)?,
            false => fusermount(folder, &["-u", "-z"])?,
        }
        Ok(())
    }

    /// Cuts the kernel's connection: whoever waits for an answer gets an error, at once.
    ///
    /// A thread of ours that waits in the kernel for our own answer can be ended in no other way.
    pub fn abort(&self) {
        if let Some(minor) = self.device.as_deref().and_then(|d| d.split(':').nth(1)) {
            let control = format!("/sys/fs/fuse/connections/{minor}/abort");
            // Best effort: the control filesystem need not be mounted.
            let _ = std::fs::write(control, "1");
        }
        if let Some(folder) = self.still_there().filter(|_| self.privileged) {
            let _ = rustix::mount::unmount(folder, UnmountFlags::FORCE | UnmountFlags::NOFOLLOW);
        }
    }

    /// What lets the kernel read ahead further than the 128 KiB that a FUSE mount begins with.
    pub fn read_ahead(&self) -> Option<impl FnOnce() -> io::Result<()> + Send + 'static> {
        let file = format!("/sys/class/bdi/{}/read_ahead_kb", self.device.as_ref()?);
        Some(move || std::fs::write(file, READ_AHEAD_KIB.to_string()))
    }

    /// The folder, if our mount is the one on top there.
    fn still_there(&self) -> Option<&Path> {
        let folder = self.folder.as_deref()?;
        let top = table::top_at(folder).ok().flatten()?;
        (Some(&top.device) == self.device.as_ref()).then_some(folder)
    }
}

/// How a mount is taken off, as umount(8) says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// If nobody uses it.
    Proper,
    /// Out of sight now, and off when its last user is gone.
    Lazy,
    /// Requests under way end with errors.
    Forced,
}

/// Takes off what is mounted on `folder`.
///
/// # Errors
/// What umount2(2) or fusermount3 says.
pub fn unmount(folder: &Path, way: Way) -> Result<(), String> {
    let taken = match geteuid().is_root() {
        true => {
            let how = match way {
                Way::Proper => UnmountFlags::empty(),
                Way::Lazy => UnmountFlags::DETACH,
                Way::Forced => UnmountFlags::FORCE,
            };
            rustix::mount::unmount(folder, how | UnmountFlags::NOFOLLOW).map_err(io::Error::from)
        }
        false => match way {
            Way::Proper => fusermount(folder, &["-u"]),
            Way::Lazy | Way::Forced => fusermount(folder, &["-u", "-z"]),
        },
    };
    taken.map_err(|error| format!("cannot unmount {}: {error}", folder.display()))
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Err(error) = self.detach() {
            tracing::error!(%error, "cannot unmount");
        }
    }
}

/// As fast as more, on a link without delay: the layers below read ahead on their own, with better knowledge of it. The kernel
/// keeps about two windows in flight, which are for nothing behind a program that wants a part of a file.
const READ_AHEAD_KIB: u32 = 256;

fn mount_ourselves(folder: &Path, config: &MountConfig) -> Result<OwnedFd, Errno> {
    let device = rustix::fs::open(DEVICE, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    // Nobody but root can trust what an FTP server says about setuid files and devices.
    let mut flags = MountFlags::NOSUID | MountFlags::NODEV;
    for (wanted, flag) in [
        (config.read_only, MountFlags::RDONLY),
        (config.no_exec, MountFlags::NOEXEC),
        (config.no_atime, MountFlags::NOATIME),
        (config.no_symfollow, MountFlags::NOSYMFOLLOW),
        (config.synchronous, MountFlags::SYNCHRONOUS),
        (config.dir_synchronous, MountFlags::DIRSYNC),
    ] {
        flags.set(flag, wanted);
    }
    let mut data = format!(
        "fd={},rootmode=40000,user_id={},group_id={},max_read={MAX_READ}",
        device.as_raw_fd(),
        geteuid().as_raw(),
        getegid().as_raw()
    );
    for (wanted, word) in shared_words(config) {
        data += if wanted { word } else { "" };
    }
    data += &labels(config, selinux_runs());
    let data = CString::new(data).map_err(|_| Errno::INVAL)?;
    let kind = format!("fuse.{}", config.subtype);
    rustix::mount::mount(config.source.as_str(), folder, kind, flags, data.as_c_str())?;
    Ok(device)
}

const DEVICE: &str = "/dev/fuse";

/// Words that mount(2) and fusermount3 spell alike.
fn shared_words(config: &MountConfig) -> [(bool, &'static str); 2] {
    [
        (config.allow_other, ",allow_other"),
        (config.default_permissions, ",default_permissions"),
    ]
}

/// The labels of `config` as mount(2) takes them; nothing where SELinux does not run, since the kernel would not know
/// the words: mount(8) leaves them out there as well.
fn labels(config: &MountConfig, selinux_runs: bool) -> String {
    let labels = config.labels.iter().filter(|_| selinux_runs);
    labels
        .map(|(name, label)| format!(",{name}=\"{label}\""))
        .collect()
}

/// Whether the kernel has SELinux, and it was not turned off at boot.
fn selinux_runs() -> bool {
    std::fs::read_to_string("/proc/filesystems").is_ok_and(|known| known.contains("\tselinuxfs\n"))
}

fn refused(errno: Errno) -> StartError {
    StartError(match errno {
        Errno::NOENT | Errno::NODEV | Errno::NXIO => format!(
            "the kernel offers no {DEVICE}: load the module (`modprobe fuse`), or give the \
             container `--device {DEVICE}`"
        ),
        Errno::ACCESS | Errno::PERM => format!(
            "mounting is not allowed: {errno} (a container needs `--device {DEVICE} --cap-add \
             SYS_ADMIN`)"
        ),
        _ => format!("cannot mount: {errno}"),
    })
}

/// fusermount3 mounts for users: it passes the descriptor back over a socket that it finds by
/// the variable `_FUSE_COMMFD`.
fn mount_by_fusermount(folder: &Path, config: &MountConfig) -> Result<OwnedFd, StartError> {
    if !labels(config, selinux_runs()).is_empty() {
        let name = config.labels[0].0;
        return Err(StartError(format!("option {name} needs root")));
    }
    let cannot = |e: io::Error| StartError(format!("cannot run fusermount3: {e}"));
    let (ours, theirs) = socketpair(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .map_err(|e| cannot(e.into()))?;
    sockopt::set_socket_timeout(&ours, sockopt::Timeout::Recv, Some(FUSERMOUNT_PATIENCE))
        .and_then(|()| fcntl_setfd(&theirs, FdFlags::empty()))
        .map_err(|e| cannot(e.into()))?;

    let mut child = None;
    for program in FUSERMOUNTS {
        let spawned = Command::new(program)
            .arg("-o")
            .arg(fusermount_options(config))
            .arg("--")
            .arg(folder)
            .env("_FUSE_COMMFD", theirs.as_raw_fd().to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        match spawned {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(cannot(e)),
            Ok(started) => {
                child = Some(started);
                break;
            }
        }
    }
    let child = child.ok_or_else(no_fusermount)?;
    // With ours the only other end, its exit without a word is seen as the end of the stream.
    drop(theirs);
    let received = receive_descriptor(&ours);
    let output = child.wait_with_output().map_err(cannot)?;
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.trim();
    match received {
        Ok(Some(device)) => Ok(device),
        _ if said.contains("user_allow_other") => Err(StartError(
            "option allow_other is not allowed: add the line user_allow_other to /etc/fuse.conf"
                .to_owned(),
        )),
        Ok(None) if !said.is_empty() => {
            let said = said.lines().next().unwrap_or_default();
            Err(StartError(format!(
                "cannot mount: {}",
                said.replace(char::is_control, " ")
            )))
        }
        Ok(None) => Err(StartError(format!(
            "cannot mount: fusermount3 failed, {}",
            output.status
        ))),
        Err(e) => Err(StartError(format!(
            "cannot mount: no answer from fusermount3: {e}"
        ))),
    }
}

/// The second is the name where only the older FUSE is installed; it speaks the same.
const FUSERMOUNTS: [&str; 2] = ["fusermount3", "fusermount"];

/// It only opens a device and calls mount(2).
const FUSERMOUNT_PATIENCE: Duration = Duration::from_secs(20);

fn no_fusermount() -> StartError {
    StartError(
        "fusermount3 is not installed: install the package fuse3, or mount as root".to_owned(),
    )
}

fn fusermount_options(config: &MountConfig) -> String {
    let mut options = format!(
        "fsname={},subtype={},max_read={MAX_READ},nosuid,nodev",
        config.source.replace('\\', "\\\\").replace(',', "\\,"),
        config.subtype
    );
    let flags = [
        (config.read_only, ",ro"),
        (config.no_exec, ",noexec"),
        (config.no_atime, ",noatime"),
        (config.no_symfollow, ",nosymfollow"),
        (config.synchronous, ",sync"),
        (config.dir_synchronous, ",dirsync"),
    ];
    for (wanted, word) in flags.into_iter().chain(shared_words(config)) {
        options += if wanted { word } else { "" };
    }
    options
}

/// The descriptor that comes over `socket`; `None` if the other end closes without sending one.
fn receive_descriptor(socket: &OwnedFd) -> io::Result<Option<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let mut buffers = [IoSliceMut::new(&mut byte)];
    rustix::io::retry_on_intr(|| {
        recvmsg(socket, &mut buffers, &mut control, RecvFlags::CMSG_CLOEXEC)
    })?;
    Ok(control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    }))
}

/// Runs fusermount3 on `folder`.
///
/// # Errors
/// It is not installed, or what it says.
pub fn fusermount(folder: &Path, arguments: &[&str]) -> io::Result<()> {
    for program in FUSERMOUNTS {
        let ran = Command::new(program)
            .args(arguments)
            .arg("--")
            .arg(folder)
            .stdin(Stdio::null())
            .output();
        match ran {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
            Ok(output) if output.status.success() => return Ok(()),
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr);
                return Err(io::Error::other(said.trim().to_owned()));
            }
        }
    }
    Err(io::Error::other(no_fusermount().to_string()))
}

#[cfg(test)]
mod tests {
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

    use super::*;

    #[test]
    fn fusermount_gets_commas_escaped() {
        let config = MountConfig {
            source: r"ftp://h/a,b\c".to_owned(),
            allow_other: true,
            read_only: true,
            ..MountConfig::example()
        };
        assert_eq!(
            fusermount_options(&config),
            r"fsname=ftp://h/a\,b\\c,subtype=ftpfs,max_read=1048576,nosuid,nodev,ro,allow_other"
        );
    }

    #[test]
    fn labels_are_for_selinux_alone() {
        let label = "u:r:t:s0:c1,c2".to_owned();
        let config = MountConfig {
            labels: vec![("context", label)],
            ..MountConfig::example()
        };
        assert_eq!(labels(&config, true), r#",context="u:r:t:s0:c1,c2""#);
        assert_eq!(labels(&config, false), "");
    }

    fn pair() -> (OwnedFd, OwnedFd) {
        let flags = SocketFlags::CLOEXEC;
        socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None).expect("a socket pair")
    }

    #[test]
    fn a_descriptor_is_received() {
        let (ours, theirs) = pair();
        let file = tempfile::tempfile().expect("a temporary file");
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let descriptors = [std::os::fd::AsFd::as_fd(&file)];
        assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)));
        let byte = [io::IoSlice::new(b"\0")];
        sendmsg(&theirs, &byte, &mut control, SendFlags::empty()).expect("room for a byte");
        assert!(receive_descriptor(&ours).expect("a message").is_some());
    }

    #[test]
    fn a_closed_socket_brings_none() {
        let (ours, theirs) = pair();
        drop(theirs);
        assert!(receive_descriptor(&ours).expect("the end").is_none());
    }
}
