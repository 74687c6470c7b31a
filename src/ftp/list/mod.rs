//! Listings: the bytes of `MLSD` and `LIST` as entries.

/// What a listing says of one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name, bytes as the server sent them; never empty, `.`, `..`, and without `/` and NUL.
    pub name: Vec<u8>,
    /// What kind of thing it is.
    pub kind: Kind,
    /// Size in bytes; `None` where the listing does not say, or says only a link's own.
    pub size: Option<u64>,
    /// When it was last modified.
    pub modified: Option<Modified>,
    /// Permission bits (`0o7777`).
    pub mode: Option<u32>,
    /// Where a symbolic link points, where the listing says so.
    pub target: Option<Vec<u8>>,
}

/// What kind of thing an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A folder.
    Dir,
    /// A symbolic link, not followed.
    Symlink,
    /// A fifo, socket or device, or something unknown.
    Other,
}

/// A time of modification, and how exactly it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Modified {
    /// Seconds since 1970-01-01 00:00:00 UTC.
    pub seconds: i64,
    /// How exactly `seconds` is known.
    pub precision: Precision,
}

/// How exactly a time is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Precision {
    /// To the day: `Nov 14  2023`.
    Day,
    /// To the minute: `Nov 21 04:13`.
    Minute,
    /// To the second.
    Second,
}
