//! Names that some servers take for other ones, or list as other ones.

use super::command::Command;
use super::error::{Error, ErrorKind, Result};
use super::path::RemotePath;
use super::profile::Profile;
use super::session::Session;

/// What in a name is lost on some server's way from the command to the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Oddity {
    /// `"`: ftp-srv 4.6.3 drops it.
    Quote,
    /// `\`: ftp-srv 4.6.3 takes it for `/`.
    Backslash,
    /// A letter behind a blank and a `-`: ftp-srv 4.6.3 takes ` -a` for an option, and drops it.
    Option,
}

impl Oddity {
    const ALL: [Self; ODDITIES] = [Self::Quote, Self::Backslash, Self::Option];

    fn is_in(self, part: &[u8]) -> bool {
        match self {
            Self::Quote => part.contains(&b'"'),
            Self::Backslash => part.contains(&b'\\'),
            // Whichever word it is: as a part of a path, none is the first.
            Self::Option => part
                .split(|&byte| byte == b' ')
                .skip(1)
                .any(|word| matches!(word, [b'-', letter] if is_word(*letter))),
        }
    }

    /// A name that is `.` to those who lose it.
    fn sample(self) -> &'static [u8] {
        match self {
            Self::Quote => b".\"",
            Self::Backslash => b".\\",
            Self::Option => b". -a",
        }
    }
}

/// How many there are.
pub(super) const ODDITIES: usize = 3;

/// Names that only some servers list as they were given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameKind {
    /// With a control character.
    Control,
    /// UTF-8 beyond ASCII.
    Wide,
    /// Not UTF-8.
    Raw,
    /// With a `\`, which Pure-FTPd refuses.
    Backslash,
}

/// How many there are.
pub(super) const NAME_KINDS: usize = 4;

impl NameKind {
    /// All of them.
    pub const ALL: [Self; NAME_KINDS] = [Self::Control, Self::Wide, Self::Raw, Self::Backslash];

    /// Those that `name` is of.
    pub fn of(name: &[u8]) -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|kind| match kind {
            Self::Control => name.iter().any(u8::is_ascii_control),
            Self::Wide => !name.is_ascii() && std::str::from_utf8(name).is_ok(),
            Self::Raw => std::str::from_utf8(name).is_err(),
            Self::Backslash => name.contains(&b'\\'),
        })
    }

    /// The end of a name that is of this kind alone.
    pub fn sample(self) -> &'static [u8] {
        match self {
            Self::Control => b"\x01",
            Self::Wide => "\u{e9}".as_bytes(),
            Self::Raw => b"\xe9-",
            Self::Backslash => b"\\-",
        }
    }
}

impl Profile {
    /// Whether the server lists names of this kind as they were given; `None` = not known yet.
    pub fn keeps(&self, kind: NameKind) -> Option<bool> {
        // By RFC 2640 its names are UTF-8 then.
        let said = (kind == NameKind::Wide && self.offers("UTF8")).then_some(true);
        self.kept_names[kind as usize].or(said)
    }

    /// Takes what a test has shown.
    pub fn learn_name(&mut self, kind: NameKind, keeps: bool) {
        self.kept_names[kind as usize] = Some(keeps);
    }
}

/// Whether [`Session::check_names`] has something to look for in `path`.
pub fn is_odd(path: &RemotePath) -> bool {
    path.parts().any(|part| {
        part.ends_with(b" ") || Oddity::ALL.into_iter().any(|oddity| oddity.is_in(part))
    })
}

impl Session {
    /// Sees that the server takes no part of `path` for another name; asked once for each oddity that comes up.
    ///
    /// # Errors
    /// [`ErrorKind::Name`] if it does: any command would act on another file.
    pub async fn check_names(&mut self, path: &RemotePath) -> Result<()> {
        if path
            .parts()
            .any(|part| self.knows(|profile| profile.mistakes(part)))
        {
            let detail = "this server takes a name that ends in a space for one without it";
            return Err(Error::new(ErrorKind::Name, path.to_string(), detail));
        }
        for (at, oddity) in Oddity::ALL.into_iter().enumerate() {
            if !path.parts().any(|part| oddity.is_in(part)) {
                continue;
            }
            let known = self.knows(|profile| profile.loses[at]);
            let mistakes = match known {
                Some(mistakes) => mistakes,
                None => {
                    // Every listing enters its folder anew: it does not matter where this leads.
                    let sample = self.server.sent(&self.server.root())?.join(oddity.sample());
                    let enter = Command::new("CWD", sample.as_bytes());
                    let mistakes = self.exchange(enter).await?.is_success();
                    self.server
                        .with_profile(|profile| profile.loses[at] = Some(mistakes));
                    mistakes
                }
            };
            if mistakes {
                let detail = "this server takes such a name for another one";
                return Err(Error::new(ErrorKind::Name, path.to_string(), detail));
            }
        }
        Ok(())
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_is_a_dash_and_one_letter_behind_a_blank() {
        let is_option = |name: &[u8]| Oddity::Option.is_in(name);
        assert!(is_option(b"a -b") && is_option(b"a -b c") && is_option(b" -1"));
        assert!(!is_option(b"-b") && !is_option(b"a -> b") && !is_option(b"a -bc"));
    }

    #[test]
    fn a_name_is_tested_by_one_of_its_kind() {
        for kind in NameKind::ALL {
            assert_eq!(NameKind::of(kind.sample()).collect::<Vec<_>>(), [kind]);
        }
        assert_eq!(NameKind::of(b"plain ~ \"name\"").count(), 0);
    }

    #[test]
    fn a_sample_has_its_oddity_alone() {
        for oddity in Oddity::ALL {
            let found = Oddity::ALL
                .into_iter()
                .filter(|each| each.is_in(oddity.sample()));
            assert_eq!(found.collect::<Vec<_>>(), [oddity]);
        }
    }
}
