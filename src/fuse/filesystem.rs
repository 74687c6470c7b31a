//! The kernel's requests, one handler each.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use fuser::{
    AccessFlags, Errno, FileHandle, Filesystem, FopenFlags, Generation, INodeNo, KernelConfig,
    LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr,
    Request, TimeOrNow, WriteFlags,
};
use tracing::debug_span;

use super::convert::{absent, file_attr, file_type};
use super::{
    Adapter, access, answer_attr, answer_entry, answer_xattr, configure, done, enough, entry,
    failed, lasting, open_flags,
};
use crate::vfs::{Access, Change, Enough, Replace};

impl Filesystem for Adapter {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        configure(config);
        Ok(())
    }

    fn lookup(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let (vfs, name, ttl) = (
            self.vfs.clone(),
            name.as_bytes().to_vec(),
            self.config.attr_ttl,
        );
        let span = debug_span!("lookup", parent = parent.0, name = %name.escape_ascii());
        self.run(span, async move {
            match vfs.lookup(parent.0, &name).await {
                Ok(Some(attr)) => entry(reply, &attr, ttl),
                Ok(None) => reply.entry(&ttl, &absent(), Generation(0)),
                Err(error) => reply.error(failed(&error)),
            }
        });
    }

    fn forget(&self, _request: &Request, ino: INodeNo, nlookup: u64) {
        self.vfs.forget(ino.0, nlookup);
    }

    fn getattr(&self, _request: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        let (vfs, ttl) = (self.vfs.clone(), self.config.attr_ttl);
        self.run(debug_span!("getattr", ino = ino.0), async move {
            answer_attr(reply, vfs.getattr(ino.0).await, ttl);
        });
    }

    fn setattr(
        &self,
        _request: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<fuser::BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mtime = mtime.map(|time| match time {
            TimeOrNow::SpecificTime(time) => time,
            TimeOrNow::Now => SystemTime::now(),
        });
        let change = Change {
            mode,
            uid,
            gid,
            size,
            mtime,
            fh: fh.map(|fh| fh.0),
        };
        let (vfs, ttl) = (self.vfs.clone(), self.config.attr_ttl);
        self.run(debug_span!("setattr", ino = ino.0, ?change), async move {
            answer_attr(reply, vfs.setattr(ino.0, change).await, ttl);
        });
    }

    fn readlink(&self, _request: &Request, ino: INodeNo, reply: ReplyData) {
        let vfs = self.vfs.clone();
        self.run(debug_span!("readlink", ino = ino.0), async move {
            match vfs.read_link(ino.0).await {
                Ok(target) => reply.data(&target),
                Err(error) => reply.error(failed(&error)),
            }
        });
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _rdev: u32,
        reply: ReplyEntry,
    ) {
        if mode & libc::S_IFMT != libc::S_IFREG && mode & libc::S_IFMT != 0 {
            return reply.error(Errno::EPERM);
        }
        let process = request.pid();
        let (vfs, name, ttl) = (
            self.vfs.clone(),
            name.as_bytes().to_vec(),
            self.config.attr_ttl,
        );
        let span = debug_span!("mknod", parent = parent.0, name = %name.escape_ascii());
        self.run(span, async move {
            let access = Access {
                write: true,
                exclusive: true,
                ..Access::default()
            };
            let made = async {
                let (attr, opened) = vfs.create(parent.0, &name, mode & !umask, access).await?;
                let flushed = vfs.flush(opened.fh, process).await;
                vfs.release(opened.fh).await;
                flushed.map(|()| attr)
            };
            answer_entry(reply, made.await, ttl);
        });
    }

    fn mkdir(
        &self,
        _request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        let (vfs, name, ttl) = (
            self.vfs.clone(),
            name.as_bytes().to_vec(),
            self.config.attr_ttl,
        );
        let span = debug_span!("mkdir", parent = parent.0, name = %name.escape_ascii());
        let names = vec![(parent, name.clone())];
        let made = async move { vfs.make_dir(parent.0, &name, mode & !umask).await };
        self.change(span, names, made, move |made| {
            answer_entry(reply, made, ttl)
        });
    }

    fn unlink(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let (vfs, name) = (self.vfs.clone(), name.as_bytes().to_vec());
        let span = debug_span!("unlink", parent = parent.0, name = %name.escape_ascii());
        let names = vec![(parent, name.clone())];
        let removed = async move { vfs.remove_file(parent.0, &name).await };
        self.change(span, names, removed, |removed| done(reply, removed));
    }

    fn rmdir(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let (vfs, name) = (self.vfs.clone(), name.as_bytes().to_vec());
        let span = debug_span!("rmdir", parent = parent.0, name = %name.escape_ascii());
        let names = vec![(parent, name.clone())];
        let removed = async move { vfs.remove_dir(parent.0, &name).await };
        self.change(span, names, removed, |removed| done(reply, removed));
    }

    fn symlink(
        &self,
        _request: &Request,
        parent: INodeNo,
        link_name: &OsStr,
        target: &Path,
        reply: ReplyEntry,
    ) {
        let (vfs, name, ttl) = (
            self.vfs.clone(),
            link_name.as_bytes().to_vec(),
            self.config.attr_ttl,
        );
        let target = target.as_os_str().as_bytes().to_vec();
        let span = debug_span!("symlink", parent = parent.0, name = %name.escape_ascii());
        let names = vec![(parent, name.clone())];
        let made = async move { vfs.make_link(parent.0, &name, &target).await };
        self.change(span, names, made, move |made| {
            answer_entry(reply, made, ttl)
        });
    }

    fn rename(
        &self,
        _request: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let replace = match flags {
            RenameFlags::RENAME_NOREPLACE => Replace::No,
            flags if flags.is_empty() => Replace::Yes,
            // FTP has no command that exchanges two names.
            _ => return reply.error(Errno::EINVAL),
        };
        let (vfs, name, new_name) = (
            self.vfs.clone(),
            name.as_bytes().to_vec(),
            newname.as_bytes().to_vec(),
        );
        let span = debug_span!(
            "rename",
            parent = parent.0,
            name = %name.escape_ascii(),
            new_parent = newparent.0,
            new_name = %new_name.escape_ascii()
        );
        let names = vec![(parent, name.clone()), (newparent, new_name.clone())];
        let renamed = async move {
            vfs.rename(parent.0, &name, newparent.0, &new_name, replace)
                .await
        };
        self.change(span, names, renamed, |renamed| done(reply, renamed));
    }

    fn open(&self, _request: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let vfs = self.vfs.clone();
        self.run(
            debug_span!("open", ino = ino.0, flags = flags.0),
            async move {
                match vfs.open(ino.0, access(flags.0)).await {
                    Ok(opened) => reply.opened(FileHandle(opened.fh), open_flags(&opened)),
                    Err(error) => reply.error(failed(&error)),
                }
            },
        );
    }

    fn create(
        &self,
        _request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let (vfs, name) = (self.vfs.clone(), name.as_bytes().to_vec());
        let span = debug_span!("create", parent = parent.0, name = %name.escape_ascii(), flags);
        self.run(span, async move {
            match vfs
                .create(parent.0, &name, mode & !umask, access(flags))
                .await
            {
                Ok((attr, opened)) => reply.created(
                    // Until the first flush the server does not have it.
                    &Duration::ZERO,
                    &file_attr(&attr),
                    Generation(0),
                    FileHandle(opened.fh),
                    open_flags(&opened),
                ),
                Err(error) => reply.error(failed(&error)),
            }
        });
    }

    fn read(
        &self,
        _request: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let vfs = self.vfs.clone();
        self.run(
            debug_span!("read", ino = ino.0, fh = fh.0, offset, size),
            async move {
                match vfs.read(fh.0, offset, u64::from(size)).await {
                    Ok(pieces) => match pieces.as_slice() {
                        [] => reply.data(&[]),
                        [piece] => reply.data(piece),
                        pieces => reply.data(&pieces.concat()),
                    },
                    Err(error) => reply.error(failed(&error)),
                }
            },
        );
    }

    fn write(
        &self,
        _request: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let (vfs, data) = (self.vfs.clone(), data.to_vec());
        self.run(
            debug_span!("write", ino = ino.0, fh = fh.0, offset, size = data.len()),
            async move {
                match vfs.write(fh.0, offset, &data).await {
                    // One request holds 1 MiB at most.
                    Ok(()) => reply.written(data.len() as u32),
                    Err(error) => reply.error(failed(&error)),
                }
            },
        );
    }

    fn flush(
        &self,
        request: &Request,
        ino: INodeNo,
        fh: FileHandle,
        _lock_owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        let (vfs, process) = (self.vfs.clone(), request.pid());
        self.run(debug_span!("flush", ino = ino.0, fh = fh.0), async move {
            done(reply, vfs.flush(fh.0, process).await)
        });
    }

    fn fsync(
        &self,
        _request: &Request,
        ino: INodeNo,
        fh: FileHandle,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        let vfs = self.vfs.clone();
        self.run(debug_span!("fsync", ino = ino.0, fh = fh.0), async move {
            done(reply, vfs.sync_file(fh.0).await)
        });
    }

    fn release(
        &self,
        _request: &Request,
        ino: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        let vfs = self.vfs.clone();
        // First of all: the removal of the file may be the next request, and is handled beside this.
        let closing = vfs.closing(fh.0);
        self.run(debug_span!("release", ino = ino.0, fh = fh.0), async move {
            // The kernel waits for nothing here, and an unmount does not wait for the answer.
            reply.ok();
            if let Some(closing) = closing {
                vfs.close(closing).await;
            }
        });
    }

    fn opendir(&self, _request: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        let vfs = self.vfs.clone();
        self.run(debug_span!("opendir", ino = ino.0), async move {
            match vfs.open_dir(ino.0).await {
                Ok(fh) => reply.opened(FileHandle(fh), FopenFlags::empty()),
                Err(error) => reply.error(failed(&error)),
            }
        });
    }

    fn readdir(
        &self,
        _request: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let vfs = self.vfs.clone();
        self.run(
            debug_span!("readdir", ino = ino.0, fh = fh.0, offset),
            async move {
                let read = vfs.read_dir(fh.0, offset, |entry| {
                    let name = OsStr::from_bytes(&entry.name);
                    enough(reply.add(INodeNo(entry.ino), entry.next, file_type(entry.kind), name))
                });
                match read.await {
                    Ok(()) => reply.ok(),
                    Err(error) => reply.error(failed(&error)),
                }
            },
        );
    }

    fn readdirplus(
        &self,
        _request: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let (vfs, ttl) = (self.vfs.clone(), self.config.attr_ttl);
        self.run(
            debug_span!("readdirplus", ino = ino.0, fh = fh.0, offset),
            async move {
                let read = vfs.read_dir(fh.0, offset, |entry| {
                    let Some(attr) = vfs.attr_in_dir(fh.0, &entry) else {
                        return Enough::No;
                    };
                    let ttl = lasting(&attr, ttl);
                    let name = OsStr::from_bytes(&entry.name);
                    let full = reply.add(
                        INodeNo(attr.ino),
                        entry.next,
                        name,
                        &ttl,
                        &file_attr(&attr),
                        Generation(0),
                    );
                    if full && entry.name != b"." && entry.name != b".." {
                        vfs.forget(attr.ino, 1);
                    }
                    enough(full)
                });
                match read.await {
                    Ok(()) => reply.ok(),
                    Err(error) => reply.error(failed(&error)),
                }
            },
        );
    }

    fn releasedir(
        &self,
        _request: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        reply: ReplyEmpty,
    ) {
        self.vfs.close_dir(fh.0);
        reply.ok();
    }

    fn fsyncdir(
        &self,
        _request: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        let vfs = self.vfs.clone();
        self.run(debug_span!("fsyncdir", ino = ino.0), async move {
            done(reply, vfs.sync_dir(ino.0).await)
        });
    }

    fn statfs(&self, _request: &Request, _ino: INodeNo, reply: ReplyStatfs) {
        // FTP has no command that says how much room there is: these are numbers that stop no program.
        const BLOCKS: u64 = (1 << 40) / BLOCK_BYTES as u64;
        const BLOCK_BYTES: u32 = 4096;
        const FILES: u64 = 1 << 32;
        reply.statfs(
            BLOCKS,
            BLOCKS,
            BLOCKS,
            FILES,
            FILES,
            BLOCK_BYTES,
            255,
            BLOCK_BYTES,
        );
    }

    fn access(&self, request: &Request, ino: INodeNo, mask: AccessFlags, reply: ReplyEmpty) {
        let (vfs, uid, gid) = (self.vfs.clone(), request.uid(), request.gid());
        self.run(debug_span!("access", ino = ino.0, ?mask), async move {
            done(
                reply,
                vfs.check_access(ino.0, uid, gid, mask.bits() as u32).await,
            );
        });
    }

    fn link(
        &self,
        _request: &Request,
        _ino: INodeNo,
        _newparent: INodeNo,
        _newname: &OsStr,
        reply: ReplyEntry,
    ) {
        // FTP has no command for it; programs fall back to a copy at this errno.
        reply.error(Errno::EPERM);
    }

    fn setxattr(
        &self,
        _request: &Request,
        _ino: INodeNo,
        _name: &OsStr,
        _value: &[u8],
        _flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        // Asked once: the kernel remembers, and answers EOPNOTSUPP itself.
        reply.error(Errno::ENOSYS);
    }

    fn removexattr(&self, _request: &Request, _ino: INodeNo, _name: &OsStr, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS);
    }

    fn getxattr(
        &self,
        _request: &Request,
        ino: INodeNo,
        name: &OsStr,
        size: u32,
        reply: ReplyXattr,
    ) {
        if !self.config.xattr {
            return reply.error(Errno::ENOSYS);
        }
        let (vfs, name) = (self.vfs.clone(), name.as_bytes().to_vec());
        let span = debug_span!("getxattr", ino = ino.0, name = %name.escape_ascii());
        self.run(span, async move {
            answer_xattr(reply, size, vfs.xattr(ino.0, &name).await);
        });
    }

    fn listxattr(&self, _request: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        if !self.config.xattr {
            return reply.error(Errno::ENOSYS);
        }
        let vfs = self.vfs.clone();
        self.run(debug_span!("listxattr", ino = ino.0), async move {
            answer_xattr(reply, size, vfs.list_xattr(ino.0).await);
        });
    }
}
