//! An FTP server, mounted as a Linux filesystem.

pub mod cache;
pub mod ftp;
pub mod fuse;
pub mod pool;
pub mod vfs;
