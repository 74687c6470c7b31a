//! fuser's trait to [`Vfs`] and back.
//!
//! A handler copies its arguments, makes the operation's future and tries it once on the spot: what can be answered from
//! memory is answered there, 8 us after the question. What must wait goes on as a task of the runtime, so that no handler
//! ever blocks the kernel's queue. Knows nothing of FTP, paths or caching.

mod convert;
mod doubts;
mod errno;
mod filesystem;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use fuser::{
    Errno, FopenFlags, Generation, InitFlags, KernelConfig, ReplyAttr, ReplyEmpty, ReplyEntry,
    ReplyXattr,
};
use tokio::runtime::Handle;
use tracing::{Instrument, Span, debug, warn};

use crate::vfs::{Access, Attr, Enough, Error, Opened, Result, Vfs};
use convert::file_attr;
pub use doubts::Doubts;
use doubts::{Doubt, Name};
use errno::errno;

/// What the kernel is told.
#[derive(Clone, Debug)]
pub struct FuseConfig {
    /// How long the kernel may believe names and attributes.
    pub attr_ttl: Duration,
    /// Whether files have extended attributes. Without, the kernel asks for one once and never again.
    pub xattr: bool,
}

/// The adapter: one for each mount.
pub struct Adapter {
    vfs: Arc<Vfs>,
    runtime: Handle,
    config: FuseConfig,
    doubt: Doubt,
}

impl Adapter {
    /// An adapter that answers from `vfs`, on `runtime` where it must wait; and what the kernel is to be told besides.
    pub fn new(vfs: Arc<Vfs>, runtime: Handle, config: FuseConfig) -> (Self, Doubts) {
        let (doubt, doubts) = Doubts::new();
        let adapter = Self {
            vfs,
            runtime,
            config,
            doubt,
        };
        (adapter, doubts)
    }

    /// Runs the change `change` of `names` and answers it. Where it failed on the way to the server it may be done for all
    /// that: the kernel forgets what it knew of them.
    fn change<T: Send>(
        &self,
        span: Span,
        names: Vec<Name>,
        change: impl Future<Output = Result<T>> + Send + 'static,
        answer: impl FnOnce(Result<T>) + Send + 'static,
    ) {
        let doubt = self.doubt.clone();
        self.run(span, async move {
            let outcome = change.await;
            let unknown = matches!(outcome, Err(Error::Remote(_)));
            answer(outcome);
            for name in names.into_iter().filter(|_| unknown) {
                // Nobody listens when the mount is ending.
                let _ = doubt.send(name);
            }
        });
    }

    /// Runs `operation` to its end: at once if nothing must be waited for, else as a task.
    fn run(&self, span: Span, operation: impl Future<Output = ()> + Send + 'static) {
        let mut operation: Pin<Box<dyn Future<Output = ()> + Send>> =
            Box::pin(operation.instrument(span));
        let _context = self.runtime.enter();
        // Polled again with the task's waker if it is not ready: nothing is lost by this one.
        if operation
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
            == Poll::Pending
        {
            self.runtime.spawn(operation);
        }
    }
}

/// The errno of a failed operation, said once in the log where it is not an everyday answer.
fn failed(error: &Error) -> Errno {
    match error {
        Error::Remote(_) | Error::Local(_) => warn!(%error, "failed"),
        _ => debug!(%error, "failed"),
    }
    errno(error)
}

fn access(flags: i32) -> Access {
    let mode = flags & libc::O_ACCMODE;
    Access {
        read: mode != libc::O_WRONLY,
        write: mode != libc::O_RDONLY,
        append: flags & libc::O_APPEND != 0,
        truncate: flags & libc::O_TRUNC != 0,
        exclusive: flags & libc::O_EXCL != 0,
    }
}

fn open_flags(opened: &Opened) -> FopenFlags {
    let mut flags = FopenFlags::empty();
    if opened.direct_io {
        flags |= FopenFlags::FOPEN_DIRECT_IO;
    }
    if opened.keep_cache {
        flags |= FopenFlags::FOPEN_KEEP_CACHE;
    }
    flags
}

/// Asks the kernel for what we use, each apart: an older one may lack some.
fn configure(config: &mut KernelConfig) {
    let wanted = [
        InitFlags::FUSE_ATOMIC_O_TRUNC,
        InitFlags::FUSE_PARALLEL_DIROPS,
        InitFlags::FUSE_DO_READDIRPLUS,
        InitFlags::FUSE_AUTO_INVAL_DATA,
        InitFlags::FUSE_CACHE_SYMLINKS,
        InitFlags::FUSE_ASYNC_DIO,
        InitFlags::FUSE_DIRECT_IO_ALLOW_MMAP,
    ];
    for capability in wanted {
        if config.add_capabilities(capability).is_err() {
            debug!(?capability, "the kernel does not offer this");
        }
    }
    let settings = [
        config.set_max_write(LONGEST_REQUEST).err(),
        config
            .set_max_background(MOST_BACKGROUND)
            .err()
            .map(u32::from),
        config
            .set_congestion_threshold(MOST_BACKGROUND / 4 * 3)
            .err()
            .map(u32::from),
    ];
    for nearest in settings.into_iter().flatten() {
        debug!(nearest, "the kernel does not take this setting");
    }
}

fn entry(reply: ReplyEntry, attr: &Attr, entry_ttl: Duration) {
    let attr_ttl = lasting(attr, entry_ttl);
    reply.entry_with_ttls(&attr_ttl, &entry_ttl, &file_attr(attr), Generation(0));
}

fn answer_entry(reply: ReplyEntry, outcome: Result<Attr>, ttl: Duration) {
    match outcome {
        Ok(attr) => entry(reply, &attr, ttl),
        Err(error) => reply.error(failed(&error)),
    }
}

fn answer_attr(reply: ReplyAttr, outcome: Result<Attr>, ttl: Duration) {
    match outcome {
        Ok(attr) => reply.attr(&lasting(&attr, ttl), &file_attr(&attr)),
        Err(error) => reply.error(failed(&error)),
    }
}

/// `room` is what the caller has; of 0 it asks how much it needs.
fn answer_xattr(reply: ReplyXattr, room: u32, outcome: Result<Vec<u8>>) {
    match outcome {
        Ok(value) if room == 0 => reply.size(value.len() as u32),
        Ok(value) if value.len() > room as usize => reply.error(Errno::ERANGE),
        Ok(value) => reply.data(&value),
        Err(error) => reply.error(failed(&error)),
    }
}

/// How long the kernel may believe `attr`, where `ttl` is the longest.
fn lasting(attr: &Attr, ttl: Duration) -> Duration {
    if attr.lasting { ttl } else { Duration::ZERO }
}

fn done(reply: ReplyEmpty, outcome: Result<()>) {
    match outcome {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(failed(&error)),
    }
}

fn enough(full: bool) -> Enough {
    if full { Enough::Yes } else { Enough::No }
}

/// Longest read or write request: the kernel's own limit of 256 pages.
const LONGEST_REQUEST: u32 = 1 << 20;

/// Requests that the kernel keeps going at once: read-ahead of several files on a slow link.
const MOST_BACKGROUND: u16 = 64;
