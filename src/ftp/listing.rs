//! Listings: folders by `MLSD` or `LIST`, and the exact times that `LIST` does not give.

use bytes::BytesMut;
use tracing::debug;

use super::attributes::read_size;
use super::charset::{Charset, shown};
use super::clock::{Difference, unix_now};
use super::command::Command;
use super::error::{Error, ErrorKind, Result};
use super::list::{Entry, Kind, Parsed, Precision, parse_list};
use super::path::{RemotePath, printable};
use super::reply::Reply;
use super::session::{Session, State};
use super::time::Zone;

/// A folder as the server listed it.
#[derive(Clone, Debug)]
pub struct Listing {
    /// What is in it.
    pub entries: Vec<Entry>,
    /// Whether a name that is not there does not exist: `false` where the server cut the listing, or lines of it could
    /// not be read.
    pub complete: bool,
}

impl Session {
    /// Lists `dir` by `CWD` and a bare `MLSD`, or `LIST`, or `NLST` where neither can be had or read.
    ///
    /// No listing command is given a path: servers split it at spaces, expand it, or take it for options.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] from the `CWD` if there is no such folder; [`ErrorKind::Unlisted`]; never an empty listing in
    /// place of an error.
    ///
    /// `early` sees the entries of a `LIST` as soon as they are here, a round trip before the server says that they are
    /// all, and before the zone of their times may be known.
    pub async fn list(
        &mut self,
        dir: &RemotePath,
        mut early: impl FnMut(&[Entry]),
    ) -> Result<Listing> {
        if self.knows(|profile| profile.mlsd) != Some(false) {
            match self.list_mlsd(dir).await {
                Err(error) if error.kind == ErrorKind::NotImplemented => {
                    self.server
                        .with_profile(|profile| profile.mlsd = Some(false));
                }
                listed => return listed,
            }
        }
        let lists_all = self.knows(|profile| profile.list_all);
        if lists_all != Some(false) {
            // Not before it is known what the times that are asked for mean.
            let undecided = self.compares_clock();
            let charset = self.server.config.charset;
            let received = |body: &[u8]| {
                if !undecided {
                    early(&parse_early(body, charset));
                }
            };
            match self
                .list_by(dir, Command::new("LIST", "-a"), received)
                .await
            {
                Ok((body, reply)) => {
                    let parsed = self.parse_list(dir, &body).await?;
                    if parsed.has_dot {
                        self.server
                            .with_profile(|profile| profile.list_all = Some(true));
                        return finish_listing(dir, parsed, &reply);
                    }
                    // Where it lists itself elsewhere, this is about the folder.
                    if lists_all == Some(true) {
                        return match parsed.entries.is_empty() {
                            true => Err(unlisted(dir, &parsed, &reply)),
                            false => finish_listing(dir, parsed, &reply),
                        };
                    }
                    self.server
                        .with_profile(|profile| profile.list_all = Some(false));
                }
                Err(error) if error.is_refusal() && lists_all.is_none() => {
                    self.server
                        .with_profile(|profile| profile.list_all = Some(false));
                }
                Err(error) => return Err(error),
            }
        }
        if self.knows(|profile| profile.list) != Some(false) {
            match self.list_by(dir, Command::bare("LIST"), |_| {}).await {
                Ok((body, reply)) => {
                    let parsed = self.parse_list(dir, &body).await?;
                    if !is_unread(&parsed) {
                        self.server
                            .with_profile(|profile| profile.list = Some(true));
                        let mut listing = finish_listing(dir, parsed, &reply)?;
                        // BusyBox 1.35 sends nothing of a folder that it may enter and not read.
                        listing.complete &= !body.is_empty();
                        return Ok(listing);
                    }
                    // Of a server whose listings were read it is no other dialect, but a message.
                    if self.knows(|profile| profile.list) == Some(true) {
                        return Err(unread(dir, &parsed));
                    }
                    debug!(error = %unread(dir, &parsed), "names alone are asked for");
                    let listing = self.list_names(dir).await?;
                    // A message in place of the one, and nothing of the other: that is no empty folder.
                    if listing.entries.is_empty() {
                        return Err(unread(dir, &parsed));
                    }
                    self.server
                        .with_profile(|profile| profile.list = Some(false));
                    return Ok(listing);
                }
                Err(error) if error.kind == ErrorKind::NotImplemented => {}
                Err(error) => return Err(error),
            }
            self.server
                .with_profile(|profile| profile.list = Some(false));
        }
        self.list_names(dir).await
    }

    /// [`Session::list`] by `MLSD` (RFC 3659 s7).
    async fn list_mlsd(&mut self, dir: &RemotePath) -> Result<Listing> {
        let command = Command::bare("MLSD");
        let cut = |detail| Err(Error::new(ErrorKind::Cut, format!("MLSD of {dir}"), detail));
        let (mut body, mut reply) = self.list_by(dir, command.clone(), |_| {}).await?;
        let mut parsed = self.shown(self.parsed().mlsd(&body));
        if !parsed.has_dot && self.knows(|profile| profile.mlsd_dot) == Some(true) {
            // Cut behind a line, or before the first, it would look whole. Unless it is the same once more.
            let (again, said) = self.list_by(dir, command, |_| {}).await?;
            parsed = self.shown(self.parsed().mlsd(&again));
            if !parsed.has_dot && again != body {
                return cut("the folder itself is missing in its listing");
            }
            (body, reply) = (again, said);
        }
        if body.last().is_some_and(|&last| last != b'\n') {
            // Every line has an end (RFC 3659 s7.2), whatever the reply says.
            return cut("the listing ends within a line");
        }
        self.server.with_profile(|profile| {
            profile.mlsd = Some(true);
            if parsed.has_dot {
                profile.mlsd_dot = Some(true);
            }
        });
        finish_listing(dir, parsed, &reply)
    }

    /// Lists `dir` by `NLST` (RFC 959 s4.1.3), which gives names; then asks by `CWD` which of them are folders.
    ///
    /// Hidden files may be missing: the listing is never complete.
    async fn list_names(&mut self, dir: &RemotePath) -> Result<Listing> {
        let (body, _) = self.list_by(dir, Command::bare("NLST"), |_| {}).await?;
        let mut entries = parse_names(&body);
        if let Some(charset) = self.server.config.charset {
            charset.show(&mut entries);
        }
        let paths: Vec<RemotePath> = entries.iter().map(|entry| dir.join(&entry.name)).collect();
        let entered = self.ask_each("CWD", &paths).await?;
        for (entry, reply) in entries.iter_mut().zip(entered) {
            if reply.is_some_and(|reply| reply.is_success()) {
                entry.kind = Kind::Dir;
            }
        }
        // A message that comes in place of names looks like one.
        let first = entries.first().map(|entry| entry.name.clone());
        entries = self.known_names(dir, entries).await?;
        if let (true, Some(first)) = (entries.is_empty(), first) {
            let detail = "the server knows nothing by the names that it lists";
            return Err(Error::protocol(format!("NLST of {dir}"), detail, &first));
        }
        let complete = false;
        Ok(Listing { entries, complete })
    }

    /// The folders of `entries`, and the files that the server knows by `SIZE` or `MDTM`; where it has neither command,
    /// those whose names have no blank, as messages have.
    async fn known_names(&mut self, dir: &RemotePath, entries: Vec<Entry>) -> Result<Vec<Entry>> {
        let files = entries.iter().filter(|entry| entry.kind != Kind::Dir);
        let files: Vec<RemotePath> = files.map(|entry| dir.join(&entry.name)).collect();
        let sizes = self.ask_each("SIZE", &files).await?;
        let times = self.ask_each("MDTM", &files).await?;
        let lacks = |replies: &[Option<Reply>]| replies.iter().flatten().any(is_unknown);
        let asked = !lacks(&sizes) || !lacks(&times);
        let says = |reply: Option<Reply>| reply.is_some_and(|reply| reply.is_success());
        let mut answers = sizes.into_iter().zip(times);
        let mut is_known = |entry: &Entry| {
            let known = answers
                .next()
                .is_some_and(|(size, time)| says(size) || says(time));
            if asked {
                known
            } else {
                !entry.name.contains(&b' ')
            }
        };
        Ok(entries
            .into_iter()
            .filter(|entry| entry.kind == Kind::Dir || is_known(entry))
            .collect())
    }

    /// Lists all of `dirs` in one flight over the control connection, by `STAT` (RFC 959 s4.1.3); `None` for each whose
    /// answer is no listing.
    ///
    /// Only for folders for which [`Profile::stat_may_list`](super::Profile::stat_may_list).
    pub async fn stat_lists(&mut self, dirs: &[RemotePath]) -> Result<Vec<Option<Listing>>> {
        let mut commands = Vec::with_capacity(dirs.len() + 1);
        for dir in dirs {
            commands.push(Command::new("STAT", self.argument(dir).await?));
        }
        // A name with a line end may look like the end of its reply: then this is not answered in its place.
        commands.push(Command::bare("PWD"));
        let mut replies = self.exchange_all(commands).await?;
        let fence = replies.pop();
        if replies.len() != dirs.len() || fence.is_none_or(|reply| reply.code != 257) {
            self.state = State::Broken;
            self.server
                .with_profile(|profile| profile.stat_lists = Some(false));
            let detail = "replies are out of step";
            return Err(Error::new(ErrorKind::Protocol, "STAT", detail));
        }
        let mut listings = Vec::with_capacity(dirs.len());
        for (dir, reply) in dirs.iter().zip(replies) {
            let inner = reply
                .lines
                .get(1..reply.lines.len().saturating_sub(1))
                .unwrap_or_default();
            let body = inner.join(&b"\n"[..]);
            let parsed = self.parse_list(dir, &body).await?;
            let whole = reply.is_success() && parsed.has_dot && parsed.unreadable == 0;
            listings.push(match whole {
                true => Some(finish_listing(dir, parsed, &reply)?),
                false => None,
            });
        }
        let works = listings.iter().any(Option::is_some);
        self.server.with_profile(|profile| {
            profile.stat_lists = Some(works && profile.stat_lists != Some(false));
        });
        Ok(listings)
    }

    /// Names of the symbolic links in `dir` and where they point, by `LIST`: most servers' `MLSD` does not say.
    pub async fn link_targets(&mut self, dir: &RemotePath) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let body = match self.list_by(dir, Command::new("LIST", "-a"), |_| {}).await {
            Ok((body, _)) if !body.is_empty() => body,
            Err(error) if !error.is_refusal() => return Err(error),
            _ => self.list_by(dir, Command::bare("LIST"), |_| {}).await?.0,
        };
        let entries = self.shown(parse_list(&body, &Zone::UTC, 0)).entries;
        Ok(entries
            .into_iter()
            .filter_map(|entry| Some((entry.name, entry.target?)))
            .collect())
    }

    /// A listing to be read, whose lines are kept where somebody may ask for them.
    fn parsed(&self) -> Parsed {
        Parsed::with(self.server.config.lines)
    }

    /// What a listing says, with its names as they are shown.
    fn shown(&self, parsed: Parsed) -> Parsed {
        shown(self.server.config.charset, parsed)
    }

    /// The whole answer of a listing command in `dir`, and its final reply.
    ///
    /// # Errors
    /// [`ErrorKind::Cut`] for one that ends within a line, whatever the reply says: what its last line says may be wrong.
    /// Unless it does so twice at the same place: then this server ends its listings like that.
    async fn list_by(
        &mut self,
        dir: &RemotePath,
        command: Command,
        mut received: impl FnMut(&[u8]),
    ) -> Result<(BytesMut, Reply)> {
        let operation = format!("{command} of {dir}");
        let (body, reply) = self.list_once(dir, command.clone(), &mut received).await?;
        let is_cut = |body: &[u8]| body.last().is_some_and(|&last| last != b'\n');
        if !is_cut(&body) || self.knows(|profile| profile.last_line_open) == Some(true) {
            return Ok((body, reply));
        }
        let (again, reply) = self.list_once(dir, command, received).await?;
        if is_cut(&again) {
            if again != body {
                let detail = "the listing ends within a line";
                return Err(Error::new(ErrorKind::Cut, operation, detail));
            }
            self.server
                .with_profile(|profile| profile.last_line_open = Some(true));
        }
        Ok((again, reply))
    }

    async fn list_once(
        &mut self,
        dir: &RemotePath,
        command: Command,
        received: impl FnOnce(&[u8]),
    ) -> Result<(BytesMut, Reply)> {
        let operation = command.to_string();
        let enter = Command::new("CWD", self.argument(dir).await?);
        let begun = match self.begin_transfer(vec![enter.clone()], command).await {
            // Several servers answer 450 or 550 for a folder without files; that it is there was said to the `CWD`.
            Err(error)
                if error.is_refusal()
                    && error.detail().to_ascii_lowercase().contains("no files") =>
            {
                let reply = Reply {
                    code: 226,
                    lines: vec![error.detail().as_bytes().to_vec()],
                };
                return Ok((BytesMut::new(), reply));
            }
            outcome => outcome?,
        };
        let mut stream = begun.stream;
        if let Some(reply) = begun.before.first().filter(|reply| !reply.is_success()) {
            // What comes is the listing of another folder.
            let error = Error::from_reply(enter.to_string(), reply);
            self.abandon(stream).await;
            return Err(error);
        }
        let mut body = BytesMut::new();
        loop {
            body.reserve(64 << 10);
            if stream.receive(&mut body).await? == 0 {
                break;
            }
            if body.len() > LONGEST_LISTING {
                return Err(Error::new(
                    ErrorKind::Endless,
                    operation,
                    "the listing has no end",
                ));
            }
        }
        stream.close_receiving().await;
        received(&body);
        let said_begun = self.said_begun;
        let reply = self.finish(&operation).await?;
        // A reply to something else, as to the `CWD` once more: no folder is empty by that. 226 is about a transfer.
        if body.is_empty() && !said_begun && reply.code != 226 {
            self.state = State::Broken;
            let detail = format!("no listing came before its end: {reply}");
            return Err(Error::new(ErrorKind::Protocol, operation, detail));
        }
        Ok((body, reply))
    }

    /// Reads a `LIST`, finding the zone of its times first where that is still unknown.
    async fn parse_list(&mut self, dir: &RemotePath, body: &[u8]) -> Result<Parsed> {
        let now = unix_now();
        if let Some(zone) = self.server.with_profile(|profile| profile.zone.clone()) {
            let parsed = self.shown(self.parsed().list(body, &zone, now));
            self.compare_clock(dir, &parsed.entries).await?;
            return Ok(parsed);
        }
        let parsed = self.shown(self.parsed().list(body, &Zone::UTC, now));
        match self.find_zone(dir, &parsed.entries).await? {
            None => Ok(parsed),
            Some(zone) => Ok(self.shown(self.parsed().list(body, &zone, now))),
        }
    }

    /// Compares one file's time in a listing read as UTC with its `MDTM`, which is UTC by RFC 3659.
    async fn find_zone(&mut self, dir: &RemotePath, entries: &[Entry]) -> Result<Option<Zone>> {
        if self.knows(|profile| profile.mdtm) == Some(false) {
            return Ok(None);
        }
        let Some((path, listed)) = dated_file(dir, entries) else {
            return Ok(None);
        };
        let Some(modified) = self
            .modified(std::slice::from_ref(&path))
            .await?
            .pop()
            .flatten()
        else {
            return Ok(None);
        };
        // A year wrongly guessed is no zone.
        let difference = Difference::between(listed, modified);
        if !difference.is_of_zones(60) {
            return Ok(None);
        }
        let offset = difference.quarters;
        debug!(offset, "zone of the server's listings, seconds east of UTC");
        let zone = Zone::Offset(offset as i32);
        self.server
            .with_profile(|profile| profile.zone = Some(zone.clone()));
        Ok(Some(zone))
    }

    /// The exact times of modification of `files` by `MDTM`, Unix seconds; `None` where the server does not say.
    pub async fn modified(&mut self, files: &[RemotePath]) -> Result<Vec<Option<i64>>> {
        if self.knows(|profile| profile.mdtm) == Some(false) {
            return Ok(vec![None; files.len()]);
        }
        let replies = self.ask_each("MDTM", files).await?;
        if replies.iter().flatten().any(is_unknown) {
            self.server
                .with_profile(|profile| profile.mdtm = Some(false));
        }
        let time = |reply: &Option<Reply>| self.server.mtime_of(reply.as_ref()?);
        Ok(replies.iter().map(time).collect())
    }

    /// The sizes of `files` in bytes by `SIZE`; `None` where the server does not say.
    pub async fn sizes(&mut self, files: &[RemotePath]) -> Result<Vec<Option<u64>>> {
        if self.knows(|profile| profile.size) == Some(false) {
            return Ok(vec![None; files.len()]);
        }
        let replies = self.ask_each("SIZE", files).await?;
        let size = |reply: &Option<Reply>| read_size(reply.as_ref()?).ok();
        Ok(replies.iter().map(size).collect())
    }

    /// The replies to `verb` of each of `paths`, in as few flights as the server copes with; after one that says that it
    /// has no such command, that one for all the rest. `None` for a path that cannot be sent.
    async fn ask_each(
        &mut self,
        verb: &'static str,
        paths: &[RemotePath],
    ) -> Result<Vec<Option<Reply>>> {
        let mut answers: Vec<Option<Reply>> = Vec::with_capacity(paths.len());
        // One by one an exchange ends at the first refusal (a folder, a file just gone): go on after it.
        while answers.len() < paths.len() {
            if let Some(Some(last)) = answers.last()
                && is_unknown(last)
            {
                answers.resize(paths.len(), Some(last.clone()));
                break;
            }
            let mut commands = Vec::new();
            for path in &paths[answers.len()..] {
                let argument = match self.argument(path).await {
                    Err(error) if error.kind == ErrorKind::Name => break,
                    argument => argument?,
                };
                commands.push(Command::new(verb, argument));
                // A long path moved the working folder: nothing else may be in its flight.
                let sent = self.server.sent(path)?;
                if sent.as_bytes().len() != commands.last().map_or(0, Command::argument_length) {
                    break;
                }
            }
            if commands.is_empty() {
                answers.push(None);
                continue;
            }
            let replies = self.exchange_all(commands).await?;
            answers.extend(replies.into_iter().map(Some));
        }
        Ok(answers)
    }
}

/// Whether `reply` says that the server has no such command.
fn is_unknown(reply: &Reply) -> bool {
    matches!(reply.code, 500 | 502 | 504)
}

/// The entries that the lines of an `NLST` name: files of unknown size and time, until more is asked. Some servers put the
/// folder before each name.
fn parse_names(body: &[u8]) -> Vec<Entry> {
    let lines = body.split(|&byte| byte == b'\n');
    let lines = lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let names = lines.filter_map(|line| line.rsplit(|&byte| byte == b'/').next());
    names
        .filter(|name| !matches!(*name, b"" | b"." | b"..") && !name.contains(&0))
        .map(|name| Entry {
            name: name.to_vec(),
            kind: Kind::File,
            size: None,
            modified: None,
            mode: None,
            target: None,
            line: None,
        })
        .collect()
}

/// The entries of a short listing, with times that may be of another zone.
fn parse_early(body: &[u8], charset: Option<Charset>) -> Vec<Entry> {
    match body.len() <= LONGEST_EARLY {
        true => shown(charset, parse_list(body, &Zone::UTC, unix_now())).entries,
        false => Vec::new(),
    }
}

/// A file of `entries`, in the folder `dir`, that is dated to the minute at least; its time in Unix seconds.
pub(super) fn dated_file(dir: &RemotePath, entries: &[Entry]) -> Option<(RemotePath, i64)> {
    entries.iter().find_map(|entry| {
        let time = entry.modified?;
        let dated = entry.kind == Kind::File && time.precision >= Precision::Minute;
        dated.then(|| (dir.join(&entry.name), time.seconds))
    })
}

/// Whether nothing of a listing could be read.
fn is_unread(parsed: &Parsed) -> bool {
    parsed.entries.is_empty() && !parsed.has_dot && parsed.unreadable > 0
}

/// Not even the folder itself is listed: vsftpd 3.0.3 says so behind its 226, inetutils-ftpd 2.4 in place of the lines.
fn unlisted(dir: &RemotePath, parsed: &Parsed, reply: &Reply) -> Error {
    let detail = match &parsed.first_unreadable {
        Some(line) => printable(line),
        None => reply.to_string(),
    };
    Error::new(ErrorKind::Unlisted, format!("LIST -a of {dir}"), detail)
}

fn unread(dir: &RemotePath, parsed: &Parsed) -> Error {
    let line = parsed.first_unreadable.as_deref().unwrap_or_default();
    let detail = "the listing was not understood";
    Error::protocol(format!("list {dir}"), detail, line)
}

/// The entries, unless nothing of the listing could be read: that must not look like an empty folder.
fn finish_listing(dir: &RemotePath, parsed: Parsed, reply: &Reply) -> Result<Listing> {
    if is_unread(&parsed) {
        return Err(unread(dir, &parsed));
    }
    if parsed.unreadable > 0 {
        debug!(%dir, lines = parsed.unreadable, "lines of the listing were not understood");
    }
    // Pure-FTPd ends a listing at its limit, and says so only here.
    let complete = parsed.unreadable == 0 && !reply.says("truncated");
    Ok(Listing {
        entries: parsed.entries,
        complete,
    })
}

/// Longest listing taken: a million long lines.
const LONGEST_LISTING: usize = 256 << 20;

/// Longest listing of which the exact times are asked unbidden: some 2,000 files.
const LONGEST_EARLY: usize = 160 << 10;
