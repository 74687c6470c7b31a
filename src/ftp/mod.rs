//! The protocol: control connection, commands, replies, data connections, listings.
//!
//! Knows one [`Session`] at a time: no pools, no caches, no filesystem.

mod active;
mod attributes;
mod charset;
mod clock;
mod command;
pub mod config;
mod control;
mod data;
mod error;
#[cfg(any(fuzzing, test))]
pub mod fuzzed;
pub mod list;
mod listing;
mod names;
mod pace;
mod passive;
mod path;
mod profile;
mod reply;
mod route;
mod server;
mod session;
mod tickets;
pub mod time;
mod tls;
mod traffic;
mod transfer;
mod upload;

pub use attributes::{Confirmed, SizeAndTime, Wishes};
pub use data::DataStream;
pub use error::{Error, ErrorKind, Result};
pub use listing::Listing;
pub use names::{NameKind, is_odd};
pub use path::{RemotePath, printable};
pub use profile::{Profile, SetMtime};
pub use server::Server;
pub use session::Session;
pub use tls::Encryption;
pub use traffic::Crossed;
pub use upload::UploadKind;
pub mod url;
