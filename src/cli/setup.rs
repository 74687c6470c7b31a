//! From options to the configuration of each layer.

use std::fs::DirBuilder;
use std::num::NonZeroU64;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{getgid, getuid};
use sha2::{Digest, Sha256};

use super::Error;
use super::credentials::{self, Surroundings};
use super::options::Raw;
use super::values::ProxyUrl;
use crate::cache::CacheConfig;
use crate::ftp::config::{
    DataMode, Identity, Limits, Lines, PasvAddress, Route, ServerConfig, TlsMode, Trust,
};
use crate::ftp::url::Location;
use crate::fuse::FuseConfig;
use crate::log::LogConfig;
use crate::mount::{MountConfig, Place, Setup};
use crate::pool::PoolConfig;
use crate::vfs::VfsConfig;

/// Gives `raw` its meaning for a mount of `location` at `mountpoint`.
///
/// # Errors
/// Options that contradict each other, a password that cannot be had, no folder for staging.
pub fn setup(
    location: &Location,
    mountpoint: &Path,
    raw: &Raw,
    surroundings: &Surroundings,
) -> Result<Setup, Error> {
    let place = place(mountpoint)?;
    let server = server(location, raw, surroundings)?;
    let staging = staging(raw, surroundings)?;
    let attr_ttl = raw.attr_timeout.unwrap_or(Duration::from_secs(5));
    let journal = journal(location, &server.user, server.port);
    Ok(Setup {
        server,
        pool: pool(raw),
        cache: CacheConfig {
            capacity_bytes: raw.cache_size.unwrap_or(256 << 20),
            attr_ttl,
        },
        vfs: VfsConfig {
            uid: raw.uid.unwrap_or_else(|| getuid().as_raw()),
            gid: raw.gid.unwrap_or_else(|| getgid().as_raw()),
            file_mode: raw.file_mode,
            dir_mode: raw.dir_mode,
            umask: raw.umask,
            read_only: raw.read_only,
            url: location.url(),
            staging,
            journal,
            write_back: raw.write_back,
        },
        fuse: FuseConfig {
            attr_ttl,
            xattr: raw.xattr,
        },
        mount: MountConfig {
            place,
            source: raw
                .fsname
                .clone()
                .unwrap_or_else(|| location.source.clone()),
            subtype: raw.subtype.clone().unwrap_or_else(|| "ftpfs".to_owned()),
            read_only: raw.read_only,
            allow_other: raw.allow_other,
            default_permissions: raw.default_permissions,
            nonempty: raw.nonempty,
            no_exec: raw.no_exec,
            no_atime: raw.no_atime,
            no_symfollow: raw.no_symfollow,
            labels: raw.labels.clone(),
            synchronous: raw.synchronous,
            dir_synchronous: raw.dir_synchronous,
            sockets: sockets(surroundings),
            foreground: raw.foreground || (raw.debug && raw.log_file.is_none()),
        },
        log: log(raw),
    })
}

/// How `location` is reached, and who logs in.
///
/// # Errors
/// Options that contradict each other, a password that cannot be had.
pub fn server(
    location: &Location,
    raw: &Raw,
    surroundings: &Surroundings,
) -> Result<ServerConfig, Error> {
    let tls = tls(location, raw)?;
    let trust = trust(raw, tls)?;
    let identity = identity(raw, tls)?;
    let login = credentials::resolve(location, raw, surroundings).map_err(Error::Failed)?;
    let default_port = if tls == TlsMode::Implicit { 990 } else { 21 };
    let mut host = location.host.clone();
    let mut port = location.port.unwrap_or(default_port);
    let mut user = login.user;
    let mut route = Route {
        source_address: raw.source_address,
        proxy: None,
    };
    match &raw.proxy {
        None => {}
        Some(ProxyUrl::Any(proxy)) => route.proxy = Some(proxy.clone()),
        // To us it is the server, with a longer user name.
        Some(ProxyUrl::Ftp { host: at, port: on }) => {
            user = match location.port {
                Some(port) => format!("{user}@{host}:{port}"),
                None => format!("{user}@{host}"),
            };
            (host, port) = (at.clone(), *on);
        }
    }
    let data_mode = match (raw.mode, &route.proxy) {
        (Some(DataMode::Active), Some(_)) => {
            return Err(Error::Usage(
                "mode=active needs a server that can connect to us: not through a proxy".to_owned(),
            ));
        }
        (None, Some(_)) => DataMode::Passive,
        (mode, _) => mode.unwrap_or(DataMode::Auto),
    };
    Ok(ServerConfig {
        host,
        port,
        user,
        password: login.password,
        account: login.account,
        root: location.root.clone(),
        tls,
        trust,
        identity,
        private_data: raw.tls_data.unwrap_or(true),
        connect_timeout: raw.connect_timeout.unwrap_or(Duration::from_secs(10)),
        timeout: raw.timeout.unwrap_or(Duration::from_secs(30)),
        zone: raw.tz.clone(),
        data_mode,
        active_ports: raw.active_ports.clone(),
        route,
        limits: Limits {
            commands: raw.max_rate.and_then(|rate| NonZeroU64::new(rate.into())),
            ..raw.bwlimit.unwrap_or_default()
        },
        charset: raw.charset.filter(|charset| !charset.is_utf8()),
        active_address: raw.active_address,
        pasv_address: raw.pasv_address.unwrap_or(PasvAddress::Control),
        lines: match raw.xattr {
            true => Lines::Kept,
            false => Lines::Dropped,
        },
    })
}

/// Bounds of the sessions.
pub fn pool(raw: &Raw) -> PoolConfig {
    PoolConfig {
        // Servers commonly allow 8 to 10 connections from one address.
        max_sessions: raw.max_conns.unwrap_or(8) as usize,
        idle_timeout: raw.idle_timeout.unwrap_or(Duration::from_secs(60)),
    }
}

/// What is logged.
pub fn log(raw: &Raw) -> LogConfig {
    LogConfig {
        file: raw.log_file.clone(),
        debug: raw.debug,
    }
}

/// A folder; or `/dev/fd/N`, by which mount.fuse3 and containers hand over a mount made already.
fn place(mountpoint: &Path) -> Result<Place, Error> {
    let number = mountpoint.strip_prefix("/dev/fd").ok();
    if let Some(number) = number.and_then(|n| n.to_str()?.parse().ok()) {
        return Ok(Place::Descriptor(number));
    }
    let path = std::path::absolute(mountpoint)
        .map_err(|e| Error::Usage(format!("the mountpoint is no path: {e}")))?;
    Ok(Place::Folder(path))
}

fn tls(location: &Location, raw: &Raw) -> Result<TlsMode, Error> {
    match (location.scheme.tls(), raw.tls) {
        (Some(scheme), Some(option)) if scheme != option => Err(Error::Usage(
            "the address and option tls ask for different kinds of TLS; leave one out".to_owned(),
        )),
        (Some(mode), _) | (None, Some(mode)) => Ok(mode),
        (None, None) => Ok(TlsMode::Auto),
    }
}

fn trust(raw: &Raw, tls: TlsMode) -> Result<Trust, Error> {
    let usage = |text: &str| Err(Error::Usage(text.to_owned()));
    match (raw.tls_pin, &raw.cacert) {
        (None, None) => Ok(Trust::System),
        _ if tls == TlsMode::Off => {
            usage("tls=off leaves no certificate to check by tls_pin or cacert")
        }
        (Some(_), Some(_)) => usage("tls_pin and cacert exclude each other"),
        (Some(pin), None) => Ok(Trust::Pin(pin)),
        (None, Some(path)) => Ok(Trust::CaFile(path.clone())),
    }
}

fn identity(raw: &Raw, tls: TlsMode) -> Result<Option<Identity>, Error> {
    let usage = |text: &str| Err(Error::Usage(text.to_owned()));
    match (&raw.tls_cert, &raw.tls_key) {
        (None, None) => Ok(None),
        (None, Some(_)) => usage("tls_key is the key of tls_cert, which is missing"),
        _ if tls == TlsMode::Off => usage("tls=off leaves nobody to show tls_cert to"),
        (Some(certificates), key) => Ok(Some(Identity {
            certificates: certificates.clone(),
            key: key.as_ref().unwrap_or(certificates).clone(),
        })),
    }
}

/// The name of the journal, the same for each mount of this folder by this login: readable, and unlike any other by a
/// part of a hash.
fn journal(location: &Location, user: &str, port: u16) -> String {
    let whole = format!("{user}\0{}\0{port}\0{:?}", location.host, location.root);
    let hash: String = Sha256::digest(whole.as_bytes())[..6]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let readable: String = location
        .host
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "-.".contains(c) {
                c
            } else {
                '_'
            }
        })
        .take(60)
        .collect();
    format!("{readable}-{hash}")
}

/// The folder for changes not sent yet, made if it is missing.
fn staging(raw: &Raw, surroundings: &Surroundings) -> Result<PathBuf, Error> {
    if let Some(path) = &raw.staging {
        return make_folder(path)
            .map(|()| path.clone())
            .map_err(|e| Error::Failed(format!("cannot use {} for staging: {e}", path.display())));
    }
    if let Some(path) = state(surroundings)
        && make_folder(&path).is_ok()
    {
        return Ok(path);
    }
    // Each journal in it sees for itself that nobody else has made it.
    Ok(std::env::temp_dir())
}

/// What outlives a mount. Root's is the system's, whatever HOME is: a mount by mount(8) finds what a mount by hand has left.
fn state(surroundings: &Surroundings) -> Option<PathBuf> {
    let state = match getuid().is_root() {
        true => Some(PathBuf::from("/var/lib")),
        false => surroundings.state_home.clone().or_else(|| {
            let home = surroundings.home.as_ref();
            home.map(|home| home.join(".local/state"))
        }),
    };
    state.map(|state| state.join("ftpfs"))
}

/// Folders for the sockets of mounts, the best first. Root's is the system's here too: a user's runtime folder ends with
/// the user's last session, and a mount may not.
pub fn sockets(surroundings: &Surroundings) -> Vec<PathBuf> {
    let runtime = match getuid().is_root() {
        true => Some(PathBuf::from("/run")),
        false => surroundings.runtime.clone(),
    };
    let runtime = runtime.map(|runtime| runtime.join("ftpfs"));
    let state = state(surroundings).map(|state| state.join("sockets"));
    runtime.into_iter().chain(state).collect()
}

fn make_folder(path: &Path) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    rustix::fs::access(
        path,
        rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK,
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::super::options::{Unknown, apply_list};
    use super::*;

    fn build(url: &str, list: &str) -> Result<Setup, Error> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let surroundings = Surroundings {
            home: None,
            credentials_directory: None,
            state_home: Some(folder.path().to_owned()),
            runtime: None,
            password: None,
            ask: None,
        };
        let mut raw = Raw::default();
        apply_list(&mut raw, OsStr::new(list), Unknown::Refused).expect("valid options");
        let location = Location::parse(OsStr::new(url)).expect("a valid address");
        setup(&location, Path::new("/mnt"), &raw, &surroundings)
    }

    #[test]
    fn schemes_and_options_give_mode_and_port() {
        for (url, list, tls, port) in [
            ("ftp://h/", "", TlsMode::Auto, 21),
            ("ftp://h/", "tls=require", TlsMode::Explicit, 21),
            ("ftp://h/", "tls=implicit", TlsMode::Implicit, 990),
            ("ftp://h:2121/", "tls=implicit", TlsMode::Implicit, 2121),
            ("ftps://h/", "", TlsMode::Implicit, 990),
            ("ftps://h:21/", "tls=implicit", TlsMode::Implicit, 21),
            ("ftpes://h/", "", TlsMode::Explicit, 21),
            ("h:/", "tls=off", TlsMode::Off, 21),
        ] {
            let server = build(url, list).expect(url).server;
            assert_eq!((server.tls, server.port), (tls, port), "{url} {list}");
        }
        for (url, list) in [
            ("ftps://h/", "tls=require"),
            ("ftpes://h/", "tls=off"),
            ("ftp://h/", "tls=off,cacert=/x"),
            ("ftp://h/", "tls=off,tls_cert=/x"),
            ("ftpes://h/", "tls_key=/x"),
        ] {
            assert!(
                matches!(build(url, list), Err(Error::Usage(_))),
                "{url} {list}"
            );
        }
    }

    #[test]
    fn an_ftp_proxy_is_told_the_server_with_the_user() {
        let through = |url| build(url, "proxy=ftp://gate:2121").expect(url).server;
        let server = through("ftp://bob:x@h/");
        assert_eq!((&*server.host, server.port), ("gate", 2121));
        assert_eq!(server.user, "bob@h");
        assert_eq!(through("ftp://h:2100/").user, "anonymous@h:2100");
        assert!(build("ftp://h/", "proxy=socks5://p,mode=active").is_err());
        let server = build("ftp://h/", "proxy=socks5://p").expect("valid").server;
        assert_eq!(server.data_mode, DataMode::Passive);
    }

    #[test]
    fn the_source_never_holds_the_password() {
        let setup = build("ftp://bob:hunter2@h/x", "").expect("a setup");
        assert_eq!(setup.mount.source, "ftp://bob@h/x");
        assert!(!format!("{setup:?}").contains("hunter2"));
        assert_eq!(
            build("ftp://h/", "").expect("a setup").mount.source,
            "ftp://h/"
        );
        let named = build("ftp://h/", "fsname=nas").expect("a setup");
        assert_eq!(named.mount.source, "nas");
    }

    #[test]
    fn debug_stays_in_the_foreground_unless_there_is_a_file() {
        assert!(
            build("ftp://h/", "debug")
                .expect("a setup")
                .mount
                .foreground
        );
        let logged = build("ftp://h/", "debug,log_file=/x").expect("a setup");
        assert!(!logged.mount.foreground);
    }

    #[test]
    fn a_numbered_descriptor_is_no_folder() {
        assert_eq!(
            place(Path::new("/dev/fd/7")).ok(),
            Some(Place::Descriptor(7))
        );
        assert!(matches!(
            place(Path::new("/dev/fd/x")),
            Ok(Place::Folder(_))
        ));
        assert!(matches!(place(Path::new("m")), Ok(Place::Folder(p)) if p.is_absolute()));
    }
}
