//! An FTP server, mounted as a Linux filesystem.

pub mod cache;
pub mod cli;
pub mod ftp;
pub mod fuse;
pub mod mount;
pub mod pool;
pub mod sys;
pub mod vfs;
