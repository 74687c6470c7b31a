//! The operations, and how chance chooses them.

use super::*;

/// One operation. `u8` = one of the few handles that may be open; paths are relative.
#[derive(Clone, Debug)]
pub(super) enum Op {
    Open(u8, PathBuf, How),
    Write(u8, u64, usize, u8),
    Read(u8, u64, usize),
    SetLength(u8, u64),
    Sync(u8),
    Close(u8),
    SetHandleTime(u8, i64),
    Truncate(PathBuf, u64),
    Unlink(PathBuf),
    Mkdir(PathBuf),
    Rmdir(PathBuf),
    Rename(PathBuf, PathBuf),
    Chmod(PathBuf, u32),
    SetTime(PathBuf, i64),
    Stat(PathBuf),
}

/// How a file is opened.
#[derive(Clone, Copy)]
pub(super) struct How(pub(super) OFlags);

impl fmt::Debug for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        bitflags_names(self.0, f)
    }
}

pub(super) fn bitflags_names(flags: OFlags, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let access = match flags & OFlags::ACCMODE {
        OFlags::WRONLY => "WRONLY",
        OFlags::RDWR => "RDWR",
        _ => "RDONLY",
    };
    f.write_str(access)?;
    for (flag, name) in [
        (OFlags::CREATE, "CREAT"),
        (OFlags::EXCL, "EXCL"),
        (OFlags::TRUNC, "TRUNC"),
        (OFlags::APPEND, "APPEND"),
    ] {
        if flags.contains(flag) {
            write!(f, "|{name}")?;
        }
    }
    Ok(())
}

/// The operations of one case.
#[derive(Clone)]
pub(super) struct Script(pub(super) Vec<Op>);

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|op| writeln!(f, "  {op:?}"))
    }
}

/// Operations on files named `a`, `b` and `odd`.
pub(super) fn script(odd: &'static str) -> impl Strategy<Value = Script> {
    proptest::collection::vec(operation(odd), 1..=STEPS).prop_map(Script)
}

pub(super) fn operation(odd: &'static str) -> impl Strategy<Value = Op> {
    let path = || path(odd);
    let slot = || 0..SLOTS;
    let offset = || prop_oneof![Just(0), 0..MOST, 0..5000u64];
    let length = || prop_oneof![0..5000usize, 0..MOST as usize];
    let seconds = || 631_152_000..NOBODY_SET_IT; // from 1990 on
    let mode = || prop_oneof![Just(0o644), Just(0o600), Just(0o755), Just(0o700)];
    prop_oneof![
        6 => (slot(), path(), how()).prop_map(|(s, p, h)| Op::Open(s, p, h)),
        6 => (slot(), offset(), length(), any::<u8>()).prop_map(|(s, o, l, b)| Op::Write(s, o, l, b)),
        2 => (slot(), offset(), length()).prop_map(|(s, o, l)| Op::Read(s, o, l)),
        2 => (slot(), offset()).prop_map(|(s, o)| Op::SetLength(s, o)),
        1 => slot().prop_map(Op::Sync),
        3 => slot().prop_map(Op::Close),
        1 => (slot(), seconds()).prop_map(|(s, t)| Op::SetHandleTime(s, t)),
        1 => (path(), offset()).prop_map(|(p, o)| Op::Truncate(p, o)),
        3 => path().prop_map(Op::Unlink),
        4 => path().prop_map(Op::Mkdir),
        2 => path().prop_map(Op::Rmdir),
        5 => (path(), path()).prop_map(|(from, to)| Op::Rename(from, to)),
        1 => (path(), mode()).prop_map(|(p, m)| Op::Chmod(p, m)),
        2 => (path(), seconds()).prop_map(|(p, t)| Op::SetTime(p, t)),
        1 => path().prop_map(Op::Stat),
    ]
}

pub(super) fn path(odd: &'static str) -> impl Strategy<Value = PathBuf> {
    let name = || prop_oneof![3 => Just("a"), 2 => Just("b"), 1 => Just(odd)];
    prop_oneof![
        4 => name().prop_map(PathBuf::from),
        3 => (name(), name()).prop_map(|(a, b)| Path::new(a).join(b)),
        2 => (name(), name(), name()).prop_map(|(a, b, c)| Path::new(a).join(b).join(c)),
    ]
}

pub(super) fn how() -> impl Strategy<Value = How> {
    let access = prop_oneof![
        1 => Just(OFlags::RDONLY),
        1 => Just(OFlags::WRONLY),
        2 => Just(OFlags::RDWR)
    ];
    let maybe = |flag, likely| {
        proptest::bool::weighted(likely)
            .prop_map(move |yes| if yes { flag } else { OFlags::empty() })
    };
    (
        access,
        maybe(OFlags::CREATE, 0.7),
        maybe(OFlags::EXCL, 0.2),
        maybe(OFlags::TRUNC, 0.3),
        maybe(OFlags::APPEND, 0.3),
    )
        .prop_map(|(access, create, exclusive, truncate, append)| {
            let mut flags = access | create | append;
            if create != OFlags::empty() {
                flags |= exclusive;
            }
            // Cutting what is opened for reading is undefined in POSIX.
            if access != OFlags::RDONLY {
                flags |= truncate;
            }
            How(flags)
        })
}
