//! Our values as fuser's.

use std::time::UNIX_EPOCH;

use fuser::{FileAttr, FileType, INodeNo};

use crate::ftp::list::Kind;
use crate::vfs::Attr;

/// `attr` as the kernel takes it. FTP knows no time of access or of change: the time of modification stands for them.
pub fn file_attr(attr: &Attr) -> FileAttr {
    FileAttr {
        ino: INodeNo(attr.ino),
        size: attr.size,
        blocks: attr.size.div_ceil(512),
        atime: attr.mtime,
        mtime: attr.mtime,
        ctime: attr.mtime,
        crtime: attr.mtime,
        kind: file_type(attr.kind),
        perm: attr.perm,
        nlink: attr.nlink,
        uid: attr.uid,
        gid: attr.gid,
        rdev: 0,
        // Programs that go by it read and write 1 MiB at once.
        blksize: 1 << 20,
        flags: 0,
    }
}

/// The attributes that stand for a name that is not there: inode 0, which the kernel remembers as such.
pub fn absent() -> FileAttr {
    FileAttr {
        ino: INodeNo(0),
        ..file_attr(&Attr {
            ino: 0,
            kind: Kind::File,
            size: 0,
            mtime: UNIX_EPOCH,
            perm: 0,
            nlink: 0,
            uid: 0,
            gid: 0,
            lasting: true,
        })
    }
}

/// `kind` as the kernel takes it. What FTP cannot read (fifos, devices) is shown as a file.
pub fn file_type(kind: Kind) -> FileType {
    match kind {
        Kind::Dir => FileType::Directory,
        Kind::Symlink => FileType::Symlink,
        Kind::File | Kind::Other => FileType::RegularFile,
    }
}
