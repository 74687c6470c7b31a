//! Names that a server cannot show again: proved before one is given, by a folder of ours that is removed at once.
//!
//! BusyBox's `LIST` has a `?` for each byte that is not ASCII and for each control character, Pure-FTPd stores a control
//! character as `_` and refuses a backslash, and several servers store what is not UTF-8 as another name.

use rustix::rand::{GetRandomFlags, getrandom};
use tracing::debug;

use super::{Remote, Result};
use crate::ftp::{self, ErrorKind, NameKind, RemotePath, is_odd};
use crate::pool::{Purpose, Retry, on_session};

impl Remote {
    /// Sees that the server takes `path` for what it is, and lists a name like that as it was given; tested once for each kind of name.
    ///
    /// # Errors
    /// [`ErrorKind::Name`] if it does not: what is stored there could not be found again.
    pub async fn check_new_name(&self, path: &RemotePath) -> Result<()> {
        self.pool().check_charset(path)?;
        if is_odd(path) {
            on_session!(self.pool(), Retry::Idempotent, session => session.check_names(path))?;
        }
        for kind in NameKind::of(path.name()) {
            let known = self.pool().with_profile(|profile| profile.keeps(kind));
            let keeps = match known {
                Some(keeps) => keeps,
                None => self.test_name(kind, path).await?,
            };
            if !keeps {
                let detail = "this server does not list such a name as it is";
                return Err(ftp::Error::new(ErrorKind::Name, path.to_string(), detail).into());
            }
        }
        Ok(())
    }

    async fn test_name(&self, kind: NameKind, path: &RemotePath) -> Result<bool> {
        let dir = path.parent().unwrap_or_else(RemotePath::root);
        let name = [scratch_name(path).name(), kind.sample()].concat();
        let sample = dir.join(&name);
        self.hide(&sample);
        let made = on_session!(self.pool(), Retry::Never, session => session.make_dir(&sample));
        let listed = match &made {
            // "File name not allowed" (RFC 959 s4.2.2).
            Err(error) if error.kind == ErrorKind::Refused(553) => Some(Ok(false)),
            Ok(()) => {
                let listing = on_session!(self.pool(), Purpose::Brief, Retry::Idempotent, session => session.list(&dir, |_| {}));
                let has =
                    |listing: ftp::Listing| listing.entries.iter().any(|entry| entry.name == name);
                Some(listing.map(has))
            }
            Err(_) => None,
        };
        if !matches!(&made, Err(error) if error.is_refusal()) {
            let removed =
                on_session!(self.pool(), Retry::Idempotent, session => session.remove_dir(&sample));
            if let Err(error) = removed {
                debug!(path = %sample, %error, "folder of ours not removed");
            }
        }
        self.show(&sample);
        let keeps = match listed {
            Some(listed) => listed?,
            // Whether for its name or for another reason: what is asked for will be answered by itself.
            None => {
                return match made {
                    Err(error) if !error.is_refusal() => Err(error.into()),
                    _ => Ok(true),
                };
            }
        };
        debug!(?kind, keeps, "tested");
        self.pool()
            .with_profile(|profile| profile.learn_name(kind, keeps));
        Ok(keeps)
    }
}

/// A name beside `path` that nobody else uses: short, since `path`'s own may be as long as names can be.
pub fn scratch_name(path: &RemotePath) -> RemotePath {
    let mut random = [0; 8];
    // Without randomness (no kernel refuses it once booted) the address of a local still differs between processes.
    if getrandom(&mut random, GetRandomFlags::empty()).is_err() {
        random = (std::ptr::from_ref(&random) as usize as u64).to_ne_bytes();
    }
    let name = format!("{PREFIX}{:016x}", u64::from_ne_bytes(random));
    path.parent()
        .unwrap_or_else(RemotePath::root)
        .join(name.as_bytes())
}

/// Whether `path` is such a name.
pub fn is_scratch_name(path: &RemotePath) -> bool {
    let digits = path.name().strip_prefix(PREFIX.as_bytes());
    digits.is_some_and(|digits| digits.len() == 16 && digits.iter().all(u8::is_ascii_hexdigit))
}

/// What names of ours begin with.
const PREFIX: &str = ".ftpfs-";
