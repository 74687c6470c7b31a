//! Names and attributes: what needs the control connection alone.

use tracing::debug;

use super::command::Command;
use super::error::{Error, ErrorKind, Result};
use super::list::{Entry, Kind, Modified, Precision, parse_mlst};
use super::path::RemotePath;
use super::profile::{Profile, SetMtime};
use super::reply::Reply;
use super::session::{LONGEST_ARGUMENT, Session, State};
use super::time::format_time_val;

impl Session {
    /// What the server says of `path` by `MLST` (RFC 3659 s7); the name in its reply is not looked at.
    ///
    /// # Errors
    /// [`ErrorKind::NotImplemented`] where the server has no `MLST`; a refusal that may mean that nothing is there.
    pub async fn stat(&mut self, path: &RemotePath) -> Result<Entry> {
        let command = Command::new("MLST", self.argument(path).await?);
        let operation = command.to_string();
        if self.knows(|profile| profile.mlst) == Some(false) {
            return Err(Error::new(
                ErrorKind::NotImplemented,
                operation,
                "the server has no MLST",
            ));
        }
        match self.perform(command).await {
            Err(error) if error.kind == ErrorKind::NotImplemented => {
                self.server
                    .with_profile(|profile| profile.mlst = Some(false));
                Err(error)
            }
            Err(error) => Err(error),
            Ok(reply) => {
                let mut entry = reply
                    .lines
                    .iter()
                    .find_map(|line| parse_mlst(line))
                    .ok_or_else(|| {
                        Error::protocol(operation, "no facts in the reply", reply.last())
                    })?;
                entry.name = path.name().to_vec();
                Ok(entry)
            }
        }
    }

    /// Size in bytes and time of modification of the regular file `path`, by `SIZE` and `MDTM` (RFC 3659 s3, s4).
    ///
    /// Several servers answer for folders too: only for a path that is known to be a file.
    pub async fn size_and_mtime(&mut self, path: &RemotePath) -> Result<(u64, Option<i64>)> {
        let argument = self.argument(path).await?;
        let replies = self
            .exchange_all(self.size_and_mtime_commands(&argument))
            .await?;
        self.read_size_and_mtime(&replies)
    }

    /// What [`Session::size_and_mtime`] sends for `argument`.
    pub(super) fn size_and_mtime_commands(&self, argument: &[u8]) -> Vec<Command> {
        let mut commands = vec![Command::new("SIZE", argument)];
        if self.knows(|profile| profile.mdtm) != Some(false) {
            commands.push(Command::new("MDTM", argument));
        }
        commands
    }

    /// What the `replies` to [`Session::size_and_mtime_commands`] say.
    pub(super) fn read_size_and_mtime(&self, replies: &[Reply]) -> Result<SizeAndTime> {
        const OPERATION: &str = "SIZE";
        let (size, mtime) = match replies {
            [size, mtime @ ..] => (size, mtime.first()),
            [] => return Err(Error::new(ErrorKind::Protocol, OPERATION, "no reply")),
        };
        let size = read_size(size)?;
        Ok((size, mtime.and_then(|reply| self.server.mtime_of(reply))))
    }

    /// Takes the final reply of an upload to `file`; then sets what is wished and asks what the server has, in one flight
    /// where that is possible.
    ///
    /// # Errors
    /// What the server says of the upload. What it says of the rest is in the outcome.
    pub async fn finish_upload(
        &mut self,
        operation: &str,
        file: &RemotePath,
        wishes: Wishes,
    ) -> Result<Confirmed> {
        let mut confirmed = Confirmed::default();
        // A longer path needs commands of its own, before the transfer's end.
        let after: Vec<(After, Command)> = match self.server.sent(file) {
            Ok(sent) if sent.as_bytes().len() <= LONGEST_ARGUMENT => {
                self.after_upload(sent.as_bytes(), wishes)
            }
            _ => Vec::new(),
        };
        let (kinds, commands): (Vec<After>, Vec<Command>) = after.into_iter().unzip();
        let ended = self.finish_and(operation, commands).await;
        let before = std::mem::take(&mut self.answered);
        confirmed.before = self.read_size_and_mtime(&before).ok();
        let (_, replies) = ended?;
        let mut asked = Vec::new();
        for (kind, reply) in kinds.into_iter().zip(replies) {
            match kind {
                After::Mode => confirmed.mode_set = reply.is_success(),
                After::Mtime => confirmed.mtime_set = reply.is_success(),
                After::Ask => asked.push(reply),
            }
        }
        if let (Some(mtime), None, None) = (asked.get(1), wishes.mtime, confirmed.before) {
            confirmed.clock_learned = self.server.learn_clock(mtime);
        }
        confirmed.found = self.read_size_and_mtime(&asked).ok();
        Ok(confirmed)
    }

    fn after_upload(&self, argument: &[u8], wishes: Wishes) -> Vec<(After, Command)> {
        let mut after = self.wish_commands(argument, wishes);
        if self.knows(|profile| profile.size) != Some(false) {
            let ask = self.size_and_mtime_commands(argument);
            after.extend(ask.into_iter().map(|command| (After::Ask, command)));
        }
        after
    }

    /// The commands that set what is wished of `argument`, as far as the server has them.
    fn wish_commands(&self, argument: &[u8], wishes: Wishes) -> Vec<(After, Command)> {
        let mut after = Vec::new();
        if let Some(mode) = wishes.mode
            && let Some(command) = self.mode_command(argument, mode)
        {
            after.push((After::Mode, command));
        }
        if let (Some(seconds), Some(way)) = (wishes.mtime, self.knows(|profile| profile.set_mtime))
            && let Some(time) = format_time_val(self.server.clock_at(way, seconds))
            && let Some(command) = mtime_command(way, argument, &time)
        {
            after.push((After::Mtime, command));
        }
        after
    }

    /// What is at `path`, by `MLST`, else by `CWD` (a folder) or `SIZE`, `MDTM` (a file); `None` where all say no.
    pub async fn find(&mut self, path: &RemotePath) -> Result<Option<Entry>> {
        match self.stat(path).await {
            Ok(entry) => return Ok(Some(entry)),
            Err(error) if error.kind == ErrorKind::NotImplemented => {}
            Err(error) if error.is_refusal() => return Ok(None),
            Err(error) => return Err(error),
        }
        let plain = |kind| Entry {
            name: path.name().to_vec(),
            kind,
            size: None,
            modified: None,
            mode: None,
            target: None,
            line: None,
        };
        if self.is_dir(path).await? {
            return Ok(Some(plain(Kind::Dir)));
        }
        match self.size_and_mtime(path).await {
            Ok((size, mtime)) => {
                let modified = mtime.map(|seconds| Modified {
                    seconds,
                    precision: Precision::Second,
                });
                Ok(Some(Entry {
                    size: Some(size),
                    modified,
                    ..plain(Kind::File)
                }))
            }
            // Without SIZE, a time shows as well that it is there.
            Err(error) if error.kind == ErrorKind::NotImplemented => {
                let mtime = self.modified(std::slice::from_ref(path)).await?.pop();
                Ok(mtime.flatten().map(|seconds| Entry {
                    modified: Some(Modified {
                        seconds,
                        precision: Precision::Second,
                    }),
                    ..plain(Kind::File)
                }))
            }
            Err(error) if error.is_refusal() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether `path` is a folder that can be entered.
    pub async fn is_dir(&mut self, path: &RemotePath) -> Result<bool> {
        let command = Command::new("CWD", self.argument(path).await?);
        Ok(self.exchange(command).await?.is_success())
    }

    /// Removes the file `path`. Some servers remove an empty folder as well: the caller knows what it is.
    pub async fn delete(&mut self, path: &RemotePath) -> Result<()> {
        let command = Command::new("DELE", self.argument(path).await?);
        self.perform(command).await.map(drop)
    }

    /// Makes the folder `path`. Some servers succeed where it exists: the caller knows that the name is free.
    pub async fn make_dir(&mut self, path: &RemotePath) -> Result<()> {
        let command = Command::new("MKD", self.argument(path).await?);
        self.perform(command).await.map(drop)
    }

    /// Removes the empty folder `path`. Some servers remove a file as well: the caller knows what it is.
    pub async fn remove_dir(&mut self, path: &RemotePath) -> Result<()> {
        let command = Command::new("RMD", self.argument(path).await?);
        self.perform(command).await.map(drop)
    }

    /// Renames `from` to `to`, by `RNFR` and `RNTO`; whether an existing `to` is replaced is the server's choice.
    ///
    /// What is wished of it is set before that, in the same flight, where the server takes flights; what of it is set is
    /// said.
    pub async fn rename(
        &mut self,
        from: &RemotePath,
        to: &RemotePath,
        wishes: Wishes,
    ) -> Result<Wishes> {
        let (from, to) = self.rename_arguments(from, to).await?;
        let mut before = self.wish_commands(&from, wishes);
        if !before.is_empty() && !self.may_pipeline().await? {
            before.clear();
        }
        let (kinds, mut commands): (Vec<After>, Vec<Command>) = before.into_iter().unzip();
        let rename = vec![Command::new("RNFR", from), Command::new("RNTO", to)];
        let operations: Vec<String> = rename.iter().map(Command::to_string).collect();
        commands.extend(rename);
        let mut replies = self.exchange_all(commands).await?;
        let mut set = Wishes::default();
        for (kind, reply) in kinds.iter().zip(&replies) {
            match kind {
                After::Mode => set.mode = wishes.mode.filter(|_| reply.is_success()),
                After::Mtime => set.mtime = wishes.mtime.filter(|_| reply.is_success()),
                After::Ask => {}
            }
        }
        replies.drain(..kinds.len());
        // "Bad sequence" (RFC 959 s4.2.1) is no answer to RNFR: ftp-srv 4.6 begins with what comes in the next packet
        // before it has answered the last one.
        if replies[0].code == 503 {
            self.state = State::Broken;
            self.server
                .with_profile(|profile| profile.pipelining = Some(false));
            let detail = "replies are out of step";
            return Err(Error::new(ErrorKind::Lost, operations[0].clone(), detail));
        }
        if !replies[0].is_intermediate() && !replies[0].is_success() {
            return Err(Error::from_reply(&operations[0], &replies[0]));
        }
        match replies.get(1) {
            Some(reply) if reply.is_success() => Ok(set),
            Some(reply) => Err(Error::from_reply(&operations[1], reply)),
            None => Err(Error::from_reply(&operations[0], &replies[0])),
        }
    }

    /// Sets permission bits, by `MFF UNIX.mode` where FEAT offers it, else `SITE CHMOD`.
    ///
    /// # Errors
    /// [`ErrorKind::NotImplemented`] where the server has neither.
    pub async fn set_mode(&mut self, path: &RemotePath, mode: u32) -> Result<()> {
        let argument = self.argument(path).await?;
        let Some(command) = self.mode_command(&argument, mode) else {
            return Err(Error::new(
                ErrorKind::NotImplemented,
                format!("chmod {path}"),
                "the server has no SITE CHMOD",
            ));
        };
        let by_site = command.verb() == "SITE";
        let outcome = self.perform(command).await;
        match &outcome {
            Ok(_) if by_site => self
                .server
                .with_profile(|profile| profile.chmod = Some(true)),
            Err(error) if by_site && error.kind == ErrorKind::NotImplemented => {
                self.server
                    .with_profile(|profile| profile.chmod = Some(false));
            }
            _ => {}
        }
        outcome.map(drop)
    }

    /// The command that sets permission bits; `None` where the server has none.
    fn mode_command(&self, argument: &[u8], mode: u32) -> Option<Command> {
        if self.knows(Profile::sets_mode_by_fact) {
            let text = [format!("UNIX.mode=0{mode:o}; ").as_bytes(), argument].concat();
            return Some(Command::new("MFF", text));
        }
        if self.knows(|profile| profile.chmod) == Some(false) {
            return None;
        }
        // Octal only: `u+x` sets mode 0 on three servers.
        let text = [format!("CHMOD 0{mode:o} ").as_bytes(), argument].concat();
        Some(Command::new("SITE", text))
    }

    /// Sets the time of modification to `seconds` since 1970 UTC, in the server's way.
    ///
    /// # Errors
    /// [`ErrorKind::NotImplemented`] where it has none.
    pub async fn set_mtime(&mut self, path: &RemotePath, seconds: i64) -> Result<()> {
        let operation = format!("set the time of {path}");
        if let Some(way) = self.knows(|profile| profile.set_mtime) {
            return self.set_mtime_by(way, path, seconds).await;
        }
        let utime = self
            .exchange(Command::new("SITE", "HELP"))
            .await?
            .says("utime");
        let mut ways = vec![SetMtime::Mdtm];
        if utime {
            ways.splice(..0, [SetMtime::SiteUtimeLong, SetMtime::SiteUtime]);
        }
        for way in ways {
            match self.set_mtime_by(way, path, seconds).await {
                // A server that takes the time for a part of the name, or the zone for another, succeeds untruly.
                Ok(())
                    if self.modified(std::slice::from_ref(path)).await?.first()
                        == Some(&Some(seconds)) =>
                {
                    debug!(?way, "times of modification can be set");
                    self.server
                        .with_profile(|profile| profile.set_mtime = Some(way));
                    return Ok(());
                }
                Ok(()) => {}
                Err(error) if error.is_refusal() => {}
                Err(error) => return Err(error),
            }
        }
        // A folder is refused by some servers that take files: no verdict on the server.
        Err(Error::new(
            ErrorKind::NotImplemented,
            operation,
            "the server has no command for it",
        ))
    }

    async fn set_mtime_by(&mut self, way: SetMtime, path: &RemotePath, seconds: i64) -> Result<()> {
        let operation = || format!("set the time of {path}");
        let time = format_time_val(self.server.clock_at(way, seconds)).ok_or_else(|| {
            let detail = "a year that FTP cannot say";
            Error::new(ErrorKind::Refused(501), operation(), detail)
        })?;
        let argument = self.argument(path).await?;
        let command = mtime_command(way, &argument, &time).ok_or_else(|| {
            let detail = "the server has no command for it";
            Error::new(ErrorKind::NotImplemented, operation(), detail)
        })?;
        self.perform(command).await.map(drop)
    }

    /// Makes `path` a symbolic link to `target`, by `SITE SYMLINK` (ProFTPD's mod_site_misc).
    ///
    /// # Errors
    /// [`ErrorKind::NotImplemented`] where the server has it not, or a name has a space, which it would split, or `target`
    /// is relative: mod_site_misc 1.3.8 takes that from the working folder, and stores the absolute path.
    pub async fn symlink(&mut self, target: &[u8], path: &RemotePath) -> Result<()> {
        let argument = self.argument(path).await?;
        let target = match self.server.config.charset {
            // Nothing but the names in it is changed.
            Some(_) => self
                .server
                .sent(&RemotePath::new(target))?
                .as_bytes()
                .to_vec(),
            None => target.to_vec(),
        };
        let target = target.as_slice();
        let unsayable = [target, &argument]
            .iter()
            .any(|name| name.iter().any(u8::is_ascii_whitespace));
        let unsayable = unsayable || !target.starts_with(b"/");
        if unsayable || self.knows(|profile| profile.symlink) == Some(false) {
            let detail = "the server cannot make symbolic links";
            return Err(Error::new(
                ErrorKind::NotImplemented,
                format!("symlink {path}"),
                detail,
            ));
        }
        let outcome = self
            .perform(Command::new(
                "SITE",
                [b"SYMLINK ", target, b" ", &argument].concat(),
            ))
            .await;
        if let Err(Error {
            kind: ErrorKind::NotImplemented,
            ..
        }) = outcome
        {
            self.server
                .with_profile(|profile| profile.symlink = Some(false));
        }
        outcome.map(drop)
    }

    pub(super) fn knows<T>(&self, look: impl FnOnce(&Profile) -> T) -> T {
        self.server.with_profile(|profile| look(profile))
    }

    /// Both paths of a rename. Only one of them can be reached through the working folder, unless both lie in it.
    async fn rename_arguments(
        &mut self,
        from: &RemotePath,
        to: &RemotePath,
    ) -> Result<(Vec<u8>, Vec<u8>)> {
        let (from, to) = (&self.server.sent(from)?, &self.server.sent(to)?);
        if from.parent() == to.parent() {
            let from = self.argument_of_sent(from).await?;
            let near = self.argument_of_sent(to).await?;
            return Ok(if from.starts_with(b"./") {
                (from, [b"./", to.name()].concat())
            } else {
                (from, near)
            });
        }
        match (
            from.as_bytes().len() > LONGEST_ARGUMENT,
            to.as_bytes().len() > LONGEST_ARGUMENT,
        ) {
            // Most servers take commands of some 4,000 bytes; those that do not will refuse.
            (true, true) => Ok((from.as_bytes().to_vec(), to.as_bytes().to_vec())),
            (true, false) => {
                let to = self.argument_of_sent(to).await?;
                Ok((self.argument_of_sent(from).await?, to))
            }
            (false, _) => Ok((
                self.argument_of_sent(from).await?,
                self.argument_of_sent(to).await?,
            )),
        }
    }
}

/// What `reply` to `SIZE` says.
pub(super) fn read_size(reply: &Reply) -> Result<u64> {
    const OPERATION: &str = "SIZE";
    if !reply.is_success() {
        return Err(Error::from_reply(OPERATION, reply));
    }
    let text = reply.last().trim_ascii();
    let size = match text {
        // ftp-srv 4.6.3 has no other words for a 0.
        b"File status" => Some(0),
        _ => std::str::from_utf8(text)
            .ok()
            .and_then(|text| text.parse().ok()),
    };
    size.ok_or_else(|| Error::protocol(OPERATION, "no size in the reply", text))
}

/// Size in bytes, and time of modification in Unix seconds where the server says it.
pub type SizeAndTime = (u64, Option<i64>);

/// What is to be set in one flight with something else.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wishes {
    /// Permission bits.
    pub mode: Option<u32>,
    /// Time of modification, Unix seconds.
    pub mtime: Option<i64>,
}

/// What the server said right behind an upload.
#[derive(Clone, Copy, Debug, Default)]
pub struct Confirmed {
    /// What it had before, where that was asked ahead of the upload.
    pub before: Option<SizeAndTime>,
    /// What it has now; `None` where it was not asked, or did not say.
    pub found: Option<SizeAndTime>,
    /// The permission bits are as wished.
    pub mode_set: bool,
    /// The time of modification is as wished.
    pub mtime_set: bool,
    /// The zone of the server's clock is another than was believed until now.
    pub clock_learned: bool,
}

/// What a command beside an upload or a rename is for.
enum After {
    Mode,
    Mtime,
    Ask,
}

/// The command that sets `argument`'s time of modification in this `way`; `time` as in RFC 3659 s2.3.
fn mtime_command(way: SetMtime, argument: &[u8], time: &str) -> Option<Command> {
    let with = |head: String, tail: &str| [head.as_bytes(), argument, tail.as_bytes()].concat();
    Some(match way {
        SetMtime::Mfmt => Command::new("MFMT", with(format!("{time} "), "")),
        SetMtime::Mff => Command::new("MFF", with(format!("Modify={time}; "), "")),
        SetMtime::SiteUtime => Command::new("SITE", with(format!("UTIME {} ", &time[..12]), "")),
        SetMtime::SiteUtimeLong => Command::new(
            "SITE",
            with("UTIME ".to_owned(), &format!(" {time} {time} {time} UTC")),
        ),
        SetMtime::Mdtm => Command::new("MDTM", with(format!("{time} "), "")),
        SetMtime::Never => return None,
    })
}
