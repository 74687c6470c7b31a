//! What the server can do: from FEAT (RFC 2389), and from what it refused or proved since.

use std::time::Duration;

use super::names::{NAME_KINDS, ODDITIES};
use super::path::RemotePath;
use super::reply::Reply;
use super::time::Zone;
use super::tls::TlsVersion;

/// What is known of the server, shared by all sessions for the life of the mount. `None` = not known yet.
#[derive(Clone, Debug, Default)]
pub struct Profile {
    /// The first line of the greeting.
    pub greeting: String,
    /// Shortest time that a connection took.
    pub round_trip: Option<Duration>,
    /// What FEAT lists, in capitals: verb and parameters of each line.
    pub features: Vec<String>,
    /// Data connections that we make work.
    pub passive: Option<bool>,
    /// Those that the server makes do.
    pub active: Option<bool>,
    /// `EPSV` works (RFC 2428).
    pub epsv: Option<bool>,
    /// `MLSD` works (RFC 3659 s7).
    pub mlsd: Option<bool>,
    /// `MLST` works.
    pub mlst: Option<bool>,
    /// `MLSD` lists the folder itself.
    pub mlsd_dot: Option<bool>,
    /// `LIST -a` shows hidden files, and is not taken for a path.
    pub list_all: Option<bool>,
    /// The last line of its listings has no end.
    pub last_line_open: Option<bool>,
    /// `LIST` works, and is in a dialect that can be read.
    pub list: Option<bool>,
    /// `STAT` of a folder lists it whole over the control connection.
    pub stat_lists: Option<bool>,
    /// `SIZE` works (RFC 3659 s4).
    pub size: Option<bool>,
    /// `MDTM` works (RFC 3659 s3).
    pub mdtm: Option<bool>,
    /// `REST` works before `RETR` (RFC 3659 s5).
    pub rest: Option<bool>,
    /// `APPE` was seen to append, by a test on a scratch file.
    pub appe: Option<bool>,
    /// `REST` and `STOR` were seen to replace bytes within a file and leave the rest, likewise.
    pub range: Option<bool>,
    /// A file outlives an upload into it that is cut, likewise.
    pub outlives_cuts: Option<bool>,
    /// `RNTO` replaces an existing file.
    pub rename_over: Option<bool>,
    /// Several commands in one write are all answered, in order.
    pub pipelining: Option<bool>,
    /// The last encrypted data connection resumed the TLS session of its control connection.
    pub resumes_tls: Option<bool>,
    /// Data connections may be made before a transfer needs them.
    pub arming: Option<bool>,
    /// How a time of modification is set.
    pub set_mtime: Option<SetMtime>,
    /// `SITE CHMOD` works.
    pub chmod: Option<bool>,
    /// `SITE SYMLINK` works.
    pub symlink: Option<bool>,
    /// What it was seen to lose of a name, or to keep, in the order of the oddities.
    pub(super) loses: [Option<bool>; ODDITIES],
    /// Kinds of names that it was seen to list as they were given, or as others.
    pub(super) kept_names: [Option<bool>; NAME_KINDS],
    /// Which version of TLS a new session uses.
    pub tls_version: TlsVersion,
    /// Of tickets of TLS 1.3 a data connection needs one that came on its control connection.
    pub own_tickets_only: bool,
    /// The server loses what comes right behind its reply to `AUTH TLS`.
    pub slow_tls: bool,
    /// The zone of the times in `MDTM`; taken for UTC until it is known.
    pub mdtm_zone: Option<Zone>,
    /// That zone was looked for by an upload of our own.
    pub clock_asked: bool,
    /// The zone of the times in `LIST`.
    pub zone: Option<Zone>,
}

/// How a time of modification is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetMtime {
    /// `MFMT time path`.
    Mfmt,
    /// `MFF Modify=time; path`.
    Mff,
    /// `SITE UTIME time path`.
    SiteUtime,
    /// `SITE UTIME path atime mtime ctime UTC`.
    SiteUtimeLong,
    /// `MDTM time path`.
    Mdtm,
    /// Not at all.
    Never,
}

impl Profile {
    /// Takes what `reply` to FEAT says. A server without FEAT is asked by trying.
    pub fn learn_features(&mut self, reply: &Reply) {
        if !reply.is_success() {
            return;
        }
        let inner = reply
            .lines
            .get(1..reply.lines.len().saturating_sub(1))
            .unwrap_or_default();
        self.features = inner
            .iter()
            .map(|line| String::from_utf8_lossy(line.trim_ascii()).to_ascii_uppercase())
            .collect();
        let mlst = self.offers("MLST") || self.offers("MLSD");
        self.mlst = Some(mlst);
        self.mlsd = Some(mlst);
        if self.offers("REST STREAM") {
            self.rest = Some(true);
        }
        if self.set_mtime.is_none() {
            if self.offers("MFMT") {
                self.set_mtime = Some(SetMtime::Mfmt);
            } else if self
                .features
                .iter()
                .any(|line| line.starts_with("MFF ") && line.contains("MODIFY"))
            {
                self.set_mtime = Some(SetMtime::Mff);
            }
        }
    }

    /// Whether FEAT lists `feature`: a verb, or a verb with its parameters.
    pub fn offers(&self, feature: &str) -> bool {
        self.features.iter().any(|line| {
            line.strip_prefix(feature)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', ';']))
        })
    }

    /// What to ask for by `OPTS MLST`, where the server keeps to itself a fact that is of use (RFC 3659 s7.9): pyftpdlib
    /// does so with the mode. Otherwise it is not sent: libunftp closes after it.
    pub fn facts_to_ask(&self) -> Option<String> {
        const OF_USE: [&str; 4] = ["TYPE", "SIZE", "MODIFY", "UNIX.MODE"];
        let line = self
            .features
            .iter()
            .find_map(|line| line.strip_prefix("MLST "))?;
        let offered = line.split(';').map(str::trim);
        let of_use: Vec<&str> = offered
            .filter(|fact| OF_USE.contains(&fact.trim_end_matches('*')))
            .collect();
        let kept_back = of_use.iter().any(|fact| !fact.ends_with('*'));
        kept_back.then(|| {
            let named = of_use.iter().map(|fact| fact.trim_end_matches('*'));
            named
                .map(|fact| format!("{};", fact.to_ascii_lowercase()))
                .collect()
        })
    }

    /// Whether the server takes a name like `part` for another one: Pure-FTPd 1.0.50 cuts spaces off its end, and so
    /// would write over the file of the shorter name. It is known by two commands that nobody else has.
    pub fn mistakes(&self, part: &[u8]) -> bool {
        part.ends_with(b" ") && self.offers("ESTA") && self.offers("ESTP")
    }

    /// Whether `STAT` can be hoped to list `dir`: where `MLSD` says more it is not asked, and servers split a path at
    /// spaces, expand it, or take it for options.
    pub fn stat_may_list(&self, dir: &RemotePath) -> bool {
        let plain = |&byte: &u8| byte.is_ascii_alphanumeric() || b"/._-+=,@%".contains(&byte);
        self.mlsd == Some(false)
            && self.pipelining == Some(true)
            && self.stat_lists != Some(false)
            && dir.as_bytes().iter().all(plain)
            && dir.parts().all(|part| !part.starts_with(b"-"))
    }

    /// Whether permission bits are a fact that can be set, by `MFF`.
    pub fn sets_mode_by_fact(&self) -> bool {
        let mut features = self.features.iter();
        features.any(|feature| feature.starts_with("MFF ") && feature.contains("UNIX.MODE"))
    }

    /// Whether the server has set permission bits, or says that it can.
    pub fn sets_modes(&self) -> bool {
        self.chmod == Some(true) || self.sets_mode_by_fact()
    }

    /// Whether the server has set times of modification, as they were meant.
    pub fn sets_times(&self) -> bool {
        !matches!(self.set_mtime, None | Some(SetMtime::Never)) && !self.needs_clock()
    }

    /// Whether setting a time needs the zone of `MDTM`, and that is still to be asked for.
    pub fn needs_clock(&self) -> bool {
        let by_mdtm = matches!(self.set_mtime, None | Some(SetMtime::Mdtm));
        by_mdtm
            && self.mlsd != Some(true)
            && self.mdtm_zone.is_none()
            && self.mdtm != Some(false)
            && !self.clock_asked
    }

    /// Whether a command that comes during a transfer is kept, and answered after it; others lose it, or end the transfer.
    ///
    /// Measured for vsftpd 3.0.3 and 3.0.5. At worst replies are out of step, which ends the session.
    pub fn queues_commands(&self) -> bool {
        self.greeting.contains("vsFTPd")
    }

    /// Whether commands may be answered out of order (libunftp runs them side by side; aioftp has neither FEAT nor NOOP).
    pub fn is_unordered(&self) -> bool {
        self.offers("SITE MD5") && self.features.iter().any(|line| line == "MLST")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feat(lines: &[&str]) -> Profile {
        let mut all = vec![b"Features:".to_vec()];
        all.extend(lines.iter().map(|line| format!(" {line}").into_bytes()));
        all.push(b"End".to_vec());
        let mut profile = Profile::default();
        profile.learn_features(&Reply {
            code: 211,
            lines: all,
        });
        profile
    }

    #[test]
    fn features_are_found_by_whole_words() {
        let profile = feat(&["MLST type*;size*;", "REST STREAM", "MFMT"]);
        assert_eq!(
            (profile.mlsd, profile.rest, profile.set_mtime),
            (Some(true), Some(true), Some(SetMtime::Mfmt))
        );
        assert!(!profile.offers("MLS") && !profile.offers("MDTM"));
    }

    #[test]
    fn facts_are_asked_for_only_where_one_of_use_is_kept_back() {
        let asked = |line| feat(&[line]).facts_to_ask();
        assert_eq!(
            asked("MLST type*;perm*;size*;modify*;unique*;unix.mode;unix.uid;").as_deref(),
            Some("type;size;modify;unix.mode;")
        );
        assert_eq!(asked("MLST type*;size*;modify*;UNIX.mode*;lang;"), None);
        assert_eq!(asked("MLST"), None);
    }

    #[test]
    fn a_name_that_ends_in_a_space_is_mistaken_by_pure_ftpd_alone() {
        let pure = feat(&["UTF8", "ESTA", "ESTP"]);
        assert!(pure.mistakes(b"a ") && !pure.mistakes(b" a") && !feat(&["UTF8"]).mistakes(b"a "));
    }

    #[test]
    fn a_server_without_feat_is_left_unknown() {
        let mut profile = Profile::default();
        profile.learn_features(&Reply {
            code: 502,
            lines: vec![b"no".to_vec()],
        });
        assert_eq!((profile.mlsd, profile.rest), (None, None));
    }

    #[test]
    fn a_feat_without_mlst_means_no_mlsd() {
        assert_eq!(feat(&["EPSV", "SIZE"]).mlsd, Some(false));
    }
}
