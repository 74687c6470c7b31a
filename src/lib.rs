//! An FTP server, mounted as a Linux filesystem.
//!
//! # Layers
//! ```text
//! main -> cli -> mount -> fuse -> vfs -> cache -> pool -> ftp          (sys: the one leaf with unsafe calls)
//!             -> probe ----------------> cache
//!             -> status ---------> vfs
//! ```
//! Arrows are imports, and point down only. Each layer is one concrete type: [`cli::from_process`] reads a [`mount::Setup`],
//! [`mount::run`] composes, [`fuse::Adapter`] turns the kernel's questions into calls of [`vfs::Vfs`], which gives them
//! filesystem meaning over [`cache::Remote`], the server seen through memory, which leases sessions from
//! [`pool::Pool`], which opens them by [`ftp::Session`]. [`probe::run`] asks those below what a mount could do;
//! [`status::run`] asks the mounts that are there, each of which answers by [`status::listen`].
//!
//! # Words
//! Beside those of RFC 959 (control connection, data connection, reply, session, transfer) and of FUSE (inode, lookup
//! count, handle, flush, release, forget):
//! - **lease**: a session on loan from the pool.
//! - **armed**: of a session: its next data connection is there already, so that a transfer waits one round trip.
//! - **flight**: commands that leave together, before the first of them is answered.
//! - **lane**: a download of a part of a file that lies far ahead of its reader.
//! - **proof**: a test, on a scratch file, of what could lose data if it were only believed.
//! - **parked**: a download that has reached its limit and waits for a reader that goes on.
//! - **settled**: an entry of which nothing more exact can be asked; a `LIST` tells minutes, `MDTM` seconds.
//! - **staged**: written to a local file, and not on the server yet.
//! - **commit**: to make what is staged what the server has.
//! - **recall**: to stop sending a file whose content nobody will need.
//! - **journal**: what is staged, and what else the server has yet to be told, on this machine's disk.
//! - **acknowledged**: of a change: its caller was told that it is done. **Queued**: acknowledged, and not on the server yet.
//! - **restored**: staged by an earlier mount, which left it in the journal.
//! - **scratch name**: a name of ours on the server, `.ftpfs-` and 16 digits, not shown while we use it.
//!
//! # Invariants
//! 1. A session returns to the pool only when idle and in a known state. Dropping an unfinished transfer discards or
//!    drains it in the background, never on a user's time.
//! 2. Nobody asks for a second lease while holding one. A retry reconnects inside its lease.
//! 3. Metadata is never starved by data, nor reading by sending: leases for data are at most all sessions but one, those for
//!    uploads all but two; a file of up to 64 KiB that is sent counts as metadata.
//! 4. Only idempotent operations are retried, on a lost connection only. After a lost reply to any other the server is
//!    asked what happened. An `APPE` repeated blindly doubles data. A change is not made again, nor its failure
//!    told, before what was sent on the lost connection is over: done late, it would undo what came next.
//! 5. A change that the server confirmed while a listing was on its way is applied to that listing; one in doubt keeps
//!    it out of the cache. Content is cached by version (size and time); bytes of two versions never mix in one read.
//! 6. An errno is chosen in one file, `fuse/errno.rs`. A bare 550 gets its meaning where the operation is known, with
//!    one confirming question. A network failure, a cut or an unreadable listing is never ENOENT and never an empty
//!    folder.
//! 7. No mutex is held across an await. Two at once only in this order: a staged file's early upload, the inodes, a
//!    staged file's state, one of the cache's. A staged file's `order` is the only lock that is kept while waiting; it
//!    comes before any mutex.
//! 8. fork comes before the runtime, any thread, any socket.
//! 9. Success of `close` and `fsync` means that the server has confirmed every byte (its final reply, and its size); with
//!    write-back that of `close` means that the journal has it, and outlives a loss of power; so does that of setting
//!    attributes right behind a `close`. A file without a byte may wait while the process has another descriptor of it.
//!    Success is never invented: what the server cannot be told (a mode, a time) is kept by the mount, and said once.
//! 10. The file being replaced stays whole on the server until its replacement is whole there. Small changes within a file
//!     are written in place, after a proof that this changes nothing else.

pub mod cache;
pub mod cli;
pub mod columns;
pub mod ftp;
pub mod fuse;
#[cfg(test)]
mod fuzzed;
pub mod log;
pub mod mount;
pub mod pool;
pub mod probe;
pub mod status;
pub mod sys;
pub mod vfs;
