//! What no safe library offers: fork, the descriptors of one thread, the window of a connection, and the process's
//! own argument and environment memory.
//!
//! The one module with unsafe code.
#![allow(unsafe_code)]

use std::ffi::OsString;
use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::{fs, ptr};

use rustix::process::Pid;

/// Which of the two processes this is, after [`fork`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fork {
    /// The one that asked; the child's id.
    Parent(Pid),
    /// The new one.
    Child,
}

/// Splits the process in two.
///
/// # Errors
/// What fork(2) says; and [`io::ErrorKind::Other`] if the process has a second thread already,
/// whose locks would stay taken for ever in the child.
pub fn fork() -> io::Result<Fork> {
    if fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::other("cannot fork: another thread is running"));
    }
    // SAFETY: there is one thread, this one, so the child may go on with all of Rust.
    match unsafe { libc::fork() } {
        0 => Ok(Fork::Child),
        pid => Pid::from_raw(pid)
            .filter(|_| pid > 0)
            .map(Fork::Parent)
            .ok_or_else(io::Error::last_os_error),
    }
}

/// Takes over descriptor `number`, which the program that started us left open for us.
///
/// # Errors
/// `EBADF` if it is not open, or is one of the standard streams.
pub fn inherited_descriptor(number: RawFd) -> io::Result<OwnedFd> {
    if number <= 2 {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: F_SETFD touches no memory, and says EBADF where nothing is open. FD_CLOEXEC keeps
    // the descriptor from our own children.
    if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is open, and its opener gave it away by naming it as the place to mount on.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Gives the calling thread a table of descriptors of its own, with the standard streams alone.
///
/// A thread that waits in the kernel for an answer of our own mount cannot be killed, and would
/// hold `/dev/fuse` open, so that the mount, and the wait, never end. To be called first on a
/// thread that opens nothing and drops nothing open.
///
/// # Errors
/// What close_range(2) says, on kernels before 5.9 for instance; then nothing has changed.
pub fn close_descriptors_of_this_thread() -> io::Result<()> {
    const CLOSE_RANGE_UNSHARE: libc::c_uint = 2;
    // SAFETY: the table is a copy, so no other thread's descriptor is closed; this one owns none.
    let done = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            3 as libc::c_uint,
            libc::c_uint::MAX,
            CLOSE_RANGE_UNSHARE,
        )
    };
    match done {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Offers the peer of the TCP connection `socket` a window of `bytes` at most; what it was offered before stands.
///
/// # Errors
/// What setsockopt(2) says of `TCP_WINDOW_CLAMP` (tcp(7)).
pub fn clamp_window(socket: BorrowedFd<'_>, bytes: libc::c_int) -> io::Result<()> {
    // SAFETY: the descriptor is open as long as it is borrowed, and the kernel reads the `c_int` alone.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_WINDOW_CLAMP,
            (&raw const bytes).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    match done {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Overwrites parts of this process's arguments with `*`, as ps and /proc/PID/cmdline show them.
///
/// Each of `spans` is an index into `arguments` (the program's name included) and a range of its
/// bytes. Does nothing if the kernel's copy is not what `arguments` says.
pub fn scrub_arguments(arguments: &[OsString], spans: &[(usize, Range<usize>)]) {
    if spans.is_empty() {
        return;
    }
    let mut expected = Vec::new();
    let mut starts = Vec::new();
    for argument in arguments {
        starts.push(expected.len());
        expected.extend_from_slice(argument.as_bytes());
        expected.push(0);
    }
    let known = fs::read("/proc/self/cmdline").is_ok_and(|shown| shown == expected);
    let Some((start, end)) = memory_of_process(ARGUMENTS).filter(|_| known) else {
        return;
    };
    for (index, span) in spans {
        let from = starts[*index] + span.start;
        let to = starts[*index] + span.end;
        if from <= to && start + to <= end {
            overwrite(start + from..start + to);
        }
    }
}

/// Takes `name` out of the environment: out of the one that children get, and out of the memory
/// that /proc/PID/environ shows.
///
/// To be called before any thread is started.
pub fn take_environment(name: &str) -> Option<OsString> {
    let value = std::env::var_os(name)?;
    let wanted = [name.as_bytes(), b"=", value.as_bytes(), b"\0"].concat();
    if let Ok(shown) = fs::read("/proc/self/environ")
        && let Some((start, end)) = memory_of_process(ENVIRONMENT)
        && end.checked_sub(start) == Some(shown.len())
    {
        let mut offset = 0;
        for variable in shown.split_inclusive(|&b| b == 0) {
            if variable == wanted {
                let value_at = start + offset + name.len() + 1;
                overwrite(value_at..value_at + value.len());
            }
            offset += variable.len();
        }
    }
    // SAFETY: called before any thread is started, so nobody reads the environment meanwhile.
    unsafe { std::env::remove_var(name) };
    Some(value)
}

/// Fields of /proc/PID/stat, counted from 1, that begin a pair of addresses: proc(5).
const ARGUMENTS: usize = 48;
const ENVIRONMENT: usize = 50;

/// The addresses of field `first` and the next one of /proc/self/stat.
fn memory_of_process(first: usize) -> Option<(usize, usize)> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The second field, the program's name in parentheses, may hold blanks and parentheses.
    let (_, after_name) = stat.rsplit_once(") ")?;
    let mut fields = after_name.split_ascii_whitespace().skip(first - 3);
    let start: usize = fields.next()?.parse().ok()?;
    let end: usize = fields.next()?.parse().ok()?;
    (0 < start && start < end).then_some((start, end))
}

/// Writes `*` over memory that the kernel itself counts as our arguments or environment.
fn overwrite(addresses: Range<usize>) {
    for address in addresses {
        // SAFETY: the callers have compared what lies in this range, as the kernel shows it, with
        // what they mean to erase, so it is mapped; it is on the stack's first page, writable; no
        // Rust object lives in it (std copies arguments and variables before it hands them out),
        // and the NUL that ends the string is left alone, so C code that walks it stays in bounds.
        unsafe { ptr::with_exposed_provenance_mut::<u8>(address).write_volatile(b'*') };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_and_environment_are_where_stat_says() {
        let cmdline = fs::read("/proc/self/cmdline").expect("proc");
        let (start, end) = memory_of_process(ARGUMENTS).expect("stat");
        assert_eq!(end - start, cmdline.len());
        let environ = fs::read("/proc/self/environ").expect("proc");
        let (start, end) = memory_of_process(ENVIRONMENT).expect("stat");
        assert_eq!(end - start, environ.len());
    }

    #[test]
    fn arguments_that_are_not_ours_are_left_alone() {
        let before = fs::read("/proc/self/cmdline").expect("proc");
        scrub_arguments(&["other".into()], &[(0, 0..5)]);
        assert_eq!(fs::read("/proc/self/cmdline").expect("proc"), before);
    }

    #[test]
    fn a_process_with_threads_cannot_fork() {
        let thread = std::thread::spawn(std::thread::park);
        assert!(fork().is_err());
        thread.thread().unpark();
        thread.join().expect("it only parks");
    }

    #[test]
    fn descriptors_are_closed_for_one_thread_only() {
        let mut file = tempfile::tempfile().expect("a temporary file");
        let number = std::os::fd::AsRawFd::as_raw_fd(&file);
        let shown = format!("/proc/thread-self/fd/{number}");
        let look = move || {
            close_descriptors_of_this_thread()?;
            Ok::<_, io::Error>(fs::symlink_metadata(shown).is_err())
        };
        let closed = std::thread::spawn(look).join().expect("it does not panic");
        assert!(closed.expect("Linux 5.9 or later"));
        io::Write::write_all(&mut file, b"x").expect("still open here");
    }

    #[test]
    fn closed_descriptors_are_not_taken() {
        assert!(inherited_descriptor(0).is_err());
        assert!(inherited_descriptor(-1).is_err());
        assert!(inherited_descriptor(987_654).is_err());
    }
}
