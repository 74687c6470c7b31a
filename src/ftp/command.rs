//! Commands as they go on the wire (RFC 959 s4.1).

use std::fmt;

use super::path::printable;

/// A command: a verb and its argument.
#[derive(Clone)]
pub struct Command {
    verb: &'static str,
    argument: Option<Vec<u8>>,
    secret: bool,
}

impl Command {
    /// A bare verb. It is sent without a space after it: some servers refuse one.
    pub fn bare(verb: &'static str) -> Self {
        Self {
            verb,
            argument: None,
            secret: false,
        }
    }

    /// A verb with an argument.
    pub fn new(verb: &'static str, argument: impl Into<Vec<u8>>) -> Self {
        Self {
            verb,
            argument: Some(argument.into()),
            secret: false,
        }
    }

    /// A verb whose argument is never logged.
    pub fn secret(verb: &'static str, argument: impl Into<Vec<u8>>) -> Self {
        Self {
            verb,
            argument: Some(argument.into()),
            secret: true,
        }
    }

    /// The verb.
    pub fn verb(&self) -> &'static str {
        self.verb
    }

    /// Appends the command to `wire`, ended by CRLF.
    pub fn write_to(&self, wire: &mut Vec<u8>) {
        wire.extend_from_slice(self.verb.as_bytes());
        if let Some(argument) = &self.argument {
            wire.push(b' ');
            wire.extend_from_slice(argument);
        }
        wire.extend_from_slice(b"\r\n");
    }

    /// Length of the argument in bytes, 0 where there is none.
    pub fn argument_length(&self) -> usize {
        self.argument.as_ref().map_or(0, Vec::len)
    }

    /// Whether the argument could end the command early and begin another one.
    pub fn is_unsafe(&self) -> bool {
        self.argument
            .as_ref()
            .is_some_and(|argument| argument.iter().any(|b| matches!(b, b'\r' | b'\n' | 0)))
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.verb)?;
        match &self.argument {
            None => Ok(()),
            Some(_) if self.secret => f.write_str(" ***"),
            Some(argument) => write!(f, " \"{}\"", printable(argument)),
        }
    }
}
