//! The server as all its sessions share it: how to reach it, and what is known of it.

use std::sync::{Arc, Mutex, OnceLock};

use super::config::{Root, ServerConfig, TlsMode};
use super::error::{Error, ErrorKind, Result};
use super::names::NameKind;
use super::pace::Paces;
use super::path::RemotePath;
use super::profile::Profile;
use super::time::Zone;
use super::tls::TlsContext;
use super::traffic::{Crossed, Traffic};

/// The server as all its sessions share it: how to reach it, and what is known of it.
#[derive(Debug)]
pub struct Server {
    /// How to reach it and who logs in.
    pub config: ServerConfig,
    pub(super) tls: Option<TlsContext>,
    pub(super) paces: Paces,
    pub(super) traffic: Arc<Traffic>,
    profile: Mutex<Profile>,
    /// Where a login lands; known after the first.
    pub(super) home: OnceLock<RemotePath>,
    /// Whether the first session was encrypted; all later ones must be likewise.
    pub(super) secured: OnceLock<bool>,
}

impl Server {
    /// A server to be reached by `config`; nothing is sent yet.
    ///
    /// # Errors
    /// [`ErrorKind::Tls`] if its certificates cannot be loaded.
    pub fn new(config: ServerConfig) -> Result<Self> {
        let tls = match config.tls {
            TlsMode::Off => None,
            TlsMode::Auto | TlsMode::Explicit | TlsMode::Implicit => {
                Some(TlsContext::new(&config)?)
            }
        };
        let mut profile = Profile {
            zone: config.zone.clone().map(Zone::Named),
            ..Profile::default()
        };
        if config.charset.is_some_and(|charset| !charset.has_sample()) {
            // What names beyond ASCII are proved by is no name there.
            profile.learn_name(NameKind::Wide, true);
        }
        let traffic = Arc::<Traffic>::default();
        Ok(Self {
            paces: Paces::new(config.limits, traffic.clone()),
            traffic,
            config,
            tls,
            profile: Mutex::new(profile),
            home: OnceLock::new(),
            secured: OnceLock::new(),
        })
    }

    /// What has crossed the wire so far.
    pub fn crossed(&self) -> Crossed {
        self.traffic.crossed()
    }

    /// A copy of what is known.
    pub fn profile(&self) -> Profile {
        self.profile.lock().expect("no panic while locked").clone()
    }

    /// Reads or changes what is known. `look` must not wait.
    pub fn with_profile<T>(&self, look: impl FnOnce(&mut Profile) -> T) -> T {
        look(&mut self.profile.lock().expect("no panic while locked"))
    }

    /// `path` as the server has it.
    ///
    /// # Errors
    /// [`ErrorKind::Name`] for a name that has no place in the server's charset.
    pub fn sent(&self, path: &RemotePath) -> Result<RemotePath> {
        let sent = match self.config.charset {
            None => Some(path.clone()),
            Some(charset) => charset.sent_path(path).filter(RemotePath::is_sayable),
        };
        sent.ok_or_else(|| {
            let detail = "a name that has no place in the server's charset, or none on the wire";
            Error::new(ErrorKind::Name, path.to_string(), detail)
        })
    }

    /// The folder that the mount shows; known after the first login.
    pub fn root(&self) -> RemotePath {
        match &self.config.root {
            Root::Absolute(path) => RemotePath::new(path),
            Root::Login(path) => self
                .home
                .get()
                .cloned()
                .unwrap_or_else(RemotePath::root)
                .descend(path),
        }
    }
}
