//! Uploads: whole files, what is added to their end, and ranges within.

use std::num::NonZeroU64;

use tracing::debug;

use super::attributes::SizeAndTime;
use super::command::Command;
use super::data::DataStream;
use super::error::{Error, ErrorKind, Result};
use super::path::RemotePath;
use super::session::Session;
use super::transfer::{Refusal, Start};

/// How an upload changes the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UploadKind {
    /// `STOR`: the file is made, or emptied first.
    Store,
    /// `APPE`: what is sent is added to its end.
    Append,
    /// `REST` and `STOR`: what is sent replaces the bytes from this offset on. Only where that was proved. Not from the
    /// start: `STOR` without an offset empties the file.
    Range(NonZeroU64),
}

impl UploadKind {
    /// Its verb, and the offset for `REST`.
    fn command(self) -> (&'static str, u64) {
        match self {
            Self::Store => ("STOR", 0),
            Self::Append => ("APPE", 0),
            Self::Range(offset) => ("STOR", offset.get()),
        }
    }
}

impl std::fmt::Display for UploadKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Range(offset) => write!(f, "STOR at {offset} of"),
            kind => f.write_str(kind.command().0),
        }
    }
}

impl Session {
    /// Starts an upload to `file`, as `kind` says.
    ///
    /// Its bytes may leave at once: what a server that refuses has not taken is lost with the connection, and the refusal
    /// is the answer to the end of the transfer.
    pub async fn upload(&mut self, kind: UploadKind, file: &RemotePath) -> Result<DataStream> {
        if let UploadKind::Range(_) = kind {
            return Ok(self.upload_to_known(kind, file).await?.0);
        }
        let argument = self.argument(file).await?;
        let rest = self.rest(0).await?.into_iter().collect();
        let command = Command::new(kind.command().0, argument);
        let begun = self.open(rest, command, Start::Eager).await?;
        self.stale_rest = false;
        Ok(begun.stream)
    }

    /// Starts an upload that adds to the end of `file`, whatever that is by now; what it was is asked in the same flight, and
    /// told at the end of the transfer.
    pub async fn append(&mut self, file: &RemotePath) -> Result<DataStream> {
        let argument = self.argument(file).await?;
        let ask = self.size_and_mtime_commands(&argument);
        let before = [ask, self.rest(0).await?.into_iter().collect()].concat();
        let command = Command::new("APPE", argument);
        let begun = self.open(before, command, Start::Eager).await?;
        if !begun.before.is_empty() {
            self.answered = begun.before;
        }
        self.stale_rest = false;
        Ok(begun.stream)
    }

    /// [`Session::upload`], with the size and time that the file had until then, asked in the same flight where that is
    /// possible. Of a range nothing begins before the server has taken its offset.
    pub async fn upload_to_known(
        &mut self,
        kind: UploadKind,
        file: &RemotePath,
    ) -> Result<(DataStream, SizeAndTime)> {
        let (verb, offset) = kind.command();
        let argument = self.argument(file).await?;
        let ask = self.size_and_mtime_commands(&argument);
        let asked = ask.len();
        let command = Command::new(verb, argument);
        if let UploadKind::Range(_) = kind {
            return self.range_of_known(ask, offset, command).await;
        }
        let before = [ask, self.rest(0).await?.into_iter().collect()].concat();
        let begun = self.open(before, command, Start::Agreed).await?;
        self.stale_rest = false;
        match self.read_size_and_mtime(&begun.before[..asked.min(begun.before.len())]) {
            Ok(known) => Ok((begun.stream, known)),
            Err(error) => {
                // Nothing was sent: the file is as it was.
                self.give_up(begun.stream).await;
                Err(error)
            }
        }
    }

    /// `REST` and `STOR` with nothing between them, so that no server forgets the offset and empties the file.
    async fn range_of_known(
        &mut self,
        ask: Vec<Command>,
        offset: u64,
        command: Command,
    ) -> Result<(DataStream, SizeAndTime)> {
        let rest = Command::new("REST", offset.to_string());
        if !self.is_armed() {
            self.armed = Some(self.data_connection().await?);
        }
        self.stale_rest = true;
        let replies = self
            .exchange_all([ask.clone(), vec![rest.clone()]].concat())
            .await?;
        let known = self.read_size_and_mtime(&replies[..ask.len().min(replies.len())])?;
        match replies.get(ask.len()) {
            Some(reply) if reply.is_intermediate() => {}
            Some(reply) => return Err(Error::from_reply(rest.to_string(), reply)),
            None => {
                return Err(Error::new(
                    ErrorKind::Protocol,
                    rest.to_string(),
                    "no reply",
                ));
            }
        }
        let Some(armed) = self.armed.take() else {
            return Err(Error::new(
                ErrorKind::Lost,
                command.to_string(),
                "no data connection",
            ));
        };
        let launched = self.send_flight(armed, false, Vec::new(), command).await?;
        let operation = launched.operation.clone();
        match self.race(launched).await? {
            Ok(begun) => {
                self.stale_rest = false;
                Ok((begun.stream, known))
            }
            Err(Refusal::Connection(reply) | Refusal::Transfer(reply)) => {
                Err(Error::from_reply(operation, &reply))
            }
        }
    }

    /// Ends an upload of which no byte was sent.
    pub async fn give_up(&mut self, mut stream: DataStream) {
        let ended = stream.end_sending().await;
        if self.finish("upload given up").await.is_err() || ended.is_err() {
            debug!(session = self.id, "an upload could not be given up");
        }
    }
}
