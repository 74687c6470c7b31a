//! What was seen, judged: what works on a mount, how, and what not.

use serde::Serialize;

use super::Setup;
use super::look::Seen;
use super::scratch::Written;
use crate::cache;
use crate::ftp::time::Zone;
use crate::ftp::{NameKind, Profile, SetMtime, printable};

/// Everything that is printed.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The address, without a password.
    pub source: String,
    /// The folder of the server that a mount shows.
    pub root: String,
    /// The first line that the server says.
    pub greeting: String,
    /// The server's end of the connection, or its name and its proxy's.
    pub address: String,
    /// Who logged in.
    pub user: String,
    /// How connections are encrypted.
    pub tls: Option<Tls>,
    /// Median answer to a command that does nothing.
    pub round_trip_ms: f64,
    /// Sessions that there were at once.
    pub sessions: usize,
    /// The server's words where it refused one more; `None` = it was asked for no more.
    pub sessions_refused: Option<String>,
    /// How fast a file came.
    pub read: Option<Reading>,
    /// What the server says of itself (FEAT).
    pub features: Vec<String>,
    /// What works on a mount.
    pub abilities: Vec<Ability>,
    /// A line for /etc/fstab.
    pub fstab: String,
}

/// How connections are encrypted.
#[derive(Clone, Debug, Serialize)]
pub struct Tls {
    /// As `1.3`.
    pub version: String,
    /// SHA-256 fingerprint of the server's certificate, in hexadecimal digits.
    pub certificate_sha256: String,
    /// Whether data connections are encrypted, and spare the server a new handshake.
    pub data_resumed: Option<bool>,
}

/// A part of a file that was read.
#[derive(Clone, Debug, Serialize)]
pub struct Reading {
    /// Which file.
    pub path: String,
    /// How many bytes of it.
    pub bytes: u64,
    /// How many came in a second.
    pub bytes_per_second: f64,
}

/// One thing that users of a mount do.
#[derive(Clone, Debug, Serialize)]
pub struct Ability {
    /// What they do.
    pub what: &'static str,
    /// Whether it works.
    pub works: Works,
    /// How, or why not.
    pub how: String,
}

/// Whether something works on a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Works {
    /// As on a local disk.
    Yes,
    /// By a longer way.
    Slowly,
    /// In part.
    Partly,
    /// Kept by the mount for as long as it lives.
    Kept,
    /// Not.
    No,
    /// Not known, since it was not tried.
    Unknown,
}

use Works::{Kept, No, Partly, Slowly, Unknown, Yes};

impl Report {
    /// Judges what was `seen` and, where that was allowed, `written`.
    pub fn new(setup: &Setup, seen: Seen, written: Option<Written>) -> Self {
        let profile = &seen.profile;
        let mut abilities = looked(profile);
        abilities.extend(match &written {
            Some(written) => tried(profile, written),
            None => untried(profile),
        });
        Self {
            source: setup.source.clone(),
            root: printable(seen.root.as_bytes()),
            greeting: profile.greeting.clone(),
            address: match &setup.server.route.proxy {
                None => seen.peer.to_string(),
                Some(proxy) => format!(
                    "{} port {} by {}",
                    setup.server.host, setup.server.port, proxy.host
                ),
            },
            user: printable(setup.server.user.as_bytes()),
            tls: seen.encryption.as_ref().map(|encryption| Tls {
                version: encryption.version.to_owned(),
                certificate_sha256: encryption.fingerprint.map(hex).unwrap_or_default(),
                data_resumed: profile.resumes_tls,
            }),
            round_trip_ms: seen.round_trip.as_secs_f64() * 1000.0,
            sessions: seen.sessions.open,
            sessions_refused: seen.sessions.refused.clone(),
            read: seen.read.as_ref().map(|read| Reading {
                path: printable(read.path.as_bytes()),
                bytes: read.bytes,
                bytes_per_second: read.bytes as f64 / read.took.as_secs_f64().max(1e-6),
            }),
            features: profile
                .features
                .iter()
                .map(|feature| printable(feature.as_bytes()))
                .collect(),
            abilities,
            fstab: fstab(setup, &seen),
        }
    }
}

fn fstab(setup: &Setup, seen: &Seen) -> String {
    let mut words = setup.fstab.clone();
    if seen.sessions.refused.is_some() {
        words.retain(|word| !word.starts_with("max_conns="));
        words.push(format!("max_conns={}", seen.sessions.open));
    }
    let source = setup.source.replace('\\', "\\134").replace(' ', "\\040");
    format!("{source} /mnt/ftp fuse.ftpfs {} 0 0", words.join(","))
}

fn hex(bytes: [u8; 32]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn ability(what: &'static str, works: Works, how: impl Into<String>) -> Ability {
    let how = how.into();
    Ability { what, works, how }
}

/// What looking has told.
fn looked(profile: &Profile) -> Vec<Ability> {
    let by_mlsd = profile.mlsd == Some(true);
    let (listed, how) = if by_mlsd {
        (Yes, "MLSD")
    } else if profile.list_all == Some(true) {
        (Yes, "LIST -a")
    } else if profile.list == Some(true) {
        (Yes, "LIST; hidden files only if the server lists them")
    } else {
        (
            Slowly,
            "NLST: LIST cannot be read, so each name is asked for",
        )
    };
    let times = if by_mlsd {
        ability("times of files", Yes, "to the second, in UTC (MLSD)")
    } else if profile.mdtm != Some(false) {
        let zone = zone(profile.mdtm_zone.as_ref());
        let how = format!("to the second (MDTM, {zone})");
        ability("times of files", Yes, how)
    } else {
        ability("times of files", Partly, "to the minute: no MDTM")
    };
    let listing = match (&profile.zone, by_mlsd) {
        (_, true) => "of MLSD: UTC".to_owned(),
        (None, false) => "no file here to compare its listings with MDTM by".to_owned(),
        (Some(zone_of_list), false) => format!("of its listings: {}", zone(Some(zone_of_list))),
    };
    let known = by_mlsd || profile.zone.is_some();
    let begin = match profile.rest {
        Some(true) => ability("read from the middle", Yes, "REST"),
        Some(false) => ability(
            "read from the middle",
            Slowly,
            "no REST: a file is read from its start",
        ),
        None => ability("read from the middle", Unknown, "no file here to try it on"),
    };
    let connections = match (profile.passive, profile.epsv) {
        (Some(false), _) => "active: the server connects to this machine",
        (_, Some(true)) => "passive, by EPSV",
        _ => "passive, by PASV",
    };
    let together = match profile.pipelining {
        Some(true) => ability("few round trips", Yes, "commands are sent together"),
        _ => ability(
            "few round trips",
            Slowly,
            "the server answers one command at a time",
        ),
    };
    vec![
        ability("list a folder", listed, how),
        times,
        ability("time zone", if known { Yes } else { Unknown }, listing),
        begin,
        ability("data connections", Yes, connections),
        together,
    ]
}

fn zone(zone: Option<&Zone>) -> String {
    match zone {
        None => "taken for UTC".to_owned(),
        Some(Zone::Offset(0)) => "UTC".to_owned(),
        Some(Zone::Offset(seconds)) => {
            let (sign, minutes) = (if *seconds < 0 { '-' } else { '+' }, seconds.abs() / 60);
            format!("UTC{sign}{:02}:{:02}", minutes / 60, minutes % 60)
        }
        Some(Zone::Named(zone)) => match zone.iana_name() {
            Some(name) => name.to_owned(),
            None => "as given by tz".to_owned(),
        },
    }
}

/// What writing has told.
fn tried(profile: &Profile, written: &Written) -> Vec<Ability> {
    let or_not =
        |what, outcome: &cache::Result<()>, how: &str, otherwise: (Works, &str)| match outcome {
            Ok(()) => ability(what, Yes, how),
            Err(cache::Error::Unsupported(_)) => ability(what, otherwise.0, otherwise.1),
            Err(error) => ability(what, otherwise.0, format!("{}: {error}", otherwise.1)),
        };
    let kept = (Kept, "the server refuses; known to the mount alone");
    let whole = (Slowly, "the whole file is sent");
    let mut abilities = vec![
        or_not("write a new file", &written.store, "STOR", (No, "refused")),
        match (&written.rename, profile.rename_over) {
            (Ok(()), Some(false)) => ability(
                "rename over a file",
                Slowly,
                "the old one is moved aside first: the server does not replace it",
            ),
            (outcome, _) => or_not("rename over a file", outcome, "RNTO", (No, "refused")),
        },
        or_not("add to the end", &written.append, "APPE", whole),
        or_not(
            "change the middle",
            &written.range,
            "REST and STOR change it in place",
            whole,
        ),
        or_not(
            "set a file's time",
            &written.set_mtime,
            mtime_command(profile.set_mtime),
            kept,
        ),
        or_not(
            "set permissions",
            &written.set_mode,
            mode_command(profile),
            kept,
        ),
        or_not(
            "make symbolic links",
            &written.link,
            "SITE SYMLINK, with absolute targets",
            (No, "the server has no command for it"),
        ),
    ];
    abilities.push(match written.names_lost.as_slice() {
        [] => ability("names of any kind", Yes, "as they are given"),
        lost => {
            let lost: Vec<_> = lost.iter().map(|kind| describe(*kind)).collect();
            let how = format!("refused, since the server loses them: {}", lost.join(", "));
            ability("names of any kind", Partly, how)
        }
    });
    abilities
}

/// The same, where nothing may be written: what the server says of itself counts.
fn untried(profile: &Profile) -> Vec<Ability> {
    const NOT_TRIED: &str = "not tried (--write)";
    let mut abilities: Vec<Ability> = [
        "write a new file",
        "rename over a file",
        "add to the end",
        "change the middle",
    ]
    .into_iter()
    .map(|what| ability(what, Unknown, NOT_TRIED))
    .collect();
    abilities.push(match profile.set_mtime {
        Some(way) => ability("set a file's time", Yes, mtime_command(Some(way))),
        None => ability("set a file's time", Unknown, NOT_TRIED),
    });
    abilities.push(match mode_command(profile) {
        "MFF" => ability("set permissions", Yes, "MFF"),
        _ => ability("set permissions", Unknown, NOT_TRIED),
    });
    abilities.push(ability("make symbolic links", Unknown, NOT_TRIED));
    abilities.push(match profile.keeps(NameKind::Wide) {
        Some(true) => ability(
            "names of any kind",
            Yes,
            "UTF-8; others not tried (--write)",
        ),
        _ => ability("names of any kind", Unknown, NOT_TRIED),
    });
    abilities
}

fn mtime_command(way: Option<SetMtime>) -> &'static str {
    match way {
        Some(SetMtime::Mfmt) => "MFMT",
        Some(SetMtime::Mff) => "MFF",
        Some(SetMtime::SiteUtime | SetMtime::SiteUtimeLong) => "SITE UTIME",
        Some(SetMtime::Mdtm) => "MDTM with a time",
        Some(SetMtime::Never) | None => "",
    }
}

fn mode_command(profile: &Profile) -> &'static str {
    let by_fact = |f: &String| f.starts_with("MFF ") && f.contains("UNIX.MODE");
    match profile.features.iter().any(by_fact) {
        true => "MFF",
        false => "SITE CHMOD",
    }
}

fn describe(kind: NameKind) -> &'static str {
    match kind {
        NameKind::Control => "control characters",
        NameKind::Wide => "not ASCII",
        NameKind::Raw => "not UTF-8",
        NameKind::Backslash => "a backslash",
    }
}
