//! Names in another charset than UTF-8: converted without loss, or not at all.
//!
//! What cannot be told back keeps its bytes: it is shown so, and reached by them.

use std::borrow::Cow;

use encoding_rs::{Encoding, UTF_8};

use super::list::{Entry, Parsed};
use super::names::NameKind;
use super::path::RemotePath;

/// The charset of the server's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Charset(&'static Encoding);

impl Charset {
    /// The charset of this name, of those of the WHATWG; `None` also for those of which ASCII is no part.
    pub fn named(name: &str) -> Option<Self> {
        Encoding::for_label(name.as_bytes())
            // What has no encoder of its own would be sent as UTF-8.
            .filter(|encoding| {
                encoding.is_ascii_compatible() && encoding.output_encoding() == *encoding
            })
            .map(Self)
    }

    /// Whether every name stays as it is.
    pub fn is_utf8(self) -> bool {
        self.0 == UTF_8
    }

    /// Whether the sample of names beyond ASCII has a place in it.
    pub(super) fn has_sample(self) -> bool {
        self.sent(NameKind::Wide.sample()).is_some()
    }

    /// The server's `name` as it is shown.
    fn shown(self, name: &[u8]) -> Cow<'_, [u8]> {
        let text = self
            .0
            .decode_without_bom_handling_and_without_replacement(name);
        match text {
            Some(text) if *self.0.encode(&text).0 == *name => text.into_owned().into_bytes().into(),
            // By its bytes it would pass for the name that these are in UTF-8.
            _ if name.starts_with(&[MARK]) || std::str::from_utf8(name).is_ok() => {
                [&[MARK], name].concat().into()
            }
            _ => name.to_vec().into(),
        }
    }

    /// The shown `name` as the server has it; `None` if it would be shown as another one.
    fn sent(self, name: &[u8]) -> Option<Vec<u8>> {
        let sent = match (name.strip_prefix(&[MARK]), std::str::from_utf8(name)) {
            (Some(rest), _) => rest.to_vec(),
            (None, Ok(text)) => self.0.encode(text).0.into_owned(),
            (None, Err(_)) => name.to_vec(),
        };
        (*self.shown(&sent) == *name).then_some(sent)
    }

    /// `path` as the server has it; `None` if it would be shown as another one.
    pub(super) fn sent_path(self, path: &RemotePath) -> Option<RemotePath> {
        // Each by itself: one that keeps its bytes may lie below one that is converted.
        path.parts().try_fold(RemotePath::root(), |sent, part| {
            self.sent(part).map(|part| sent.join(&part))
        })
    }

    /// The server's `path` as it is shown.
    pub(super) fn shown_path(self, path: &RemotePath) -> RemotePath {
        let shown = |dir: RemotePath, part| dir.join(&self.shown(part));
        path.parts().fold(RemotePath::root(), shown)
    }

    /// The same for all of `entries`.
    pub(super) fn show(self, entries: &mut [Entry]) {
        for entry in entries {
            entry.name = self.shown(&entry.name).into_owned();
            entry.target = entry.target.take().map(|target| {
                let parts = target.split(|&b| b == b'/');
                let shown: Vec<_> = parts.map(|part| self.shown(part)).collect();
                shown.join(&b'/')
            });
        }
    }
}

/// Stands before a name that is not of the charset, where its bytes alone would be those of another name. No name in UTF-8
/// has it.
const MARK: u8 = 0xfe;

/// What a listing says, with its names as they are shown.
pub(super) fn shown(charset: Option<Charset>, mut parsed: Parsed) -> Parsed {
    if let Some(charset) = charset {
        charset.show(&mut parsed.entries);
    }
    parsed
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn named(name: &str) -> Charset {
        Charset::named(name).expect(name)
    }

    #[test]
    fn names_are_converted_both_ways() {
        for (charset, wire, name) in [
            ("latin1", &b"caf\xe9"[..], "caf\u{e9}"),
            (
                "windows-1251",
                b"\xd4\xe0\xe9\xeb",
                "\u{424}\u{430}\u{439}\u{43b}",
            ),
            (
                "koi8-r",
                b"\xc6\xc1\xca\xcc",
                "\u{444}\u{430}\u{439}\u{43b}",
            ),
            ("shift_jis", b"\x83\x5c", "\u{30bd}"),
            ("gbk", b"\xd6\xd0", "\u{4e2d}"),
        ] {
            let charset = named(charset);
            assert_eq!(*charset.shown(wire), *name.as_bytes(), "{charset:?}");
            assert_eq!(charset.sent(name.as_bytes()).as_deref(), Some(wire));
        }
    }

    #[test]
    fn what_has_no_place_in_the_charset_is_not_sent() {
        assert_eq!(named("latin1").sent("\u{4e2d}".as_bytes()), None);
        // Sent as it is, it would come back as another name.
        assert_eq!(named("latin1").sent(b"caf\xe9"), None);
        // Half a character: shown by its bytes, and reached by them.
        assert_eq!(*named("gbk").shown(b"a\xd6"), *b"a\xd6");
        assert_eq!(named("gbk").sent(b"a\xd6").as_deref(), Some(&b"a\xd6"[..]));
        for name in ["utf-16", "iso-2022-jp", "replacement", "klingon"] {
            assert_eq!(Charset::named(name), None, "{name}");
        }
    }

    #[test]
    fn what_is_utf_8_all_the_same_is_marked() {
        let gbk = named("gbk");
        let foreign = "\u{4e2d}".as_bytes();
        assert_eq!(*gbk.shown(foreign), *[b"\xfe", foreign].concat());
        assert_eq!(gbk.sent(&gbk.shown(foreign)).as_deref(), Some(foreign));
    }

    #[test]
    fn each_part_of_a_path_is_converted_by_itself() {
        let gbk = named("gbk");
        let shown = RemotePath::new(&[b"/a\xd6/".as_slice(), "\u{4e2d}".as_bytes()].concat());
        let sent = gbk.sent_path(&shown).expect("both can be sent");
        assert_eq!(sent.as_bytes(), b"/a\xd6/\xd6\xd0");
        assert_eq!(gbk.shown_path(&sent), shown);
    }

    proptest! {
        #[test]
        fn whatever_is_listed_is_reached(bytes in proptest::collection::vec(1_u8.., 1..12)) {
            for charset in ["latin1", "koi8-r", "gbk", "shift_jis", "euc-kr", "big5", "utf-8"] {
                let charset = named(charset);
                let shown = charset.shown(&bytes).into_owned();
                let sent = charset.sent(&shown);
                prop_assert_eq!(sent.as_ref(), Some(&bytes));
                prop_assert_eq!(shown.contains(&b'/'), bytes.contains(&b'/'));
            }
        }

        #[test]
        fn whatever_is_sent_is_shown_again(text in ".{1,8}") {
            for charset in ["latin1", "koi8-r", "gbk", "shift_jis", "euc-kr", "big5"] {
                let charset = named(charset);
                if let Some(sent) = charset.sent(text.as_bytes()) {
                    prop_assert_eq!(&*charset.shown(&sent), text.as_bytes());
                }
            }
        }
    }
}
