//! The protocol: control connection, commands, replies, data connections, listings.

pub mod config;
pub mod list;
pub mod url;
