//! One of the two: a folder with what is open in it, what an operation gives there, and what is in it.

use super::*;

/// What an operation gives; two of the same are the same outcome.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Seen {
    Nothing,
    Bytes(Vec<u8>),
    Found { size: u64, links: u64 },
}

pub(super) type Outcome = Result<Seen, Errno>;

/// One of the two.
pub(super) struct Side {
    pub(super) root: PathBuf,
    pub(super) handles: BTreeMap<u8, Handle>,
}

pub(super) struct Handle {
    pub(super) file: OwnedFd,
    pub(super) writes: bool,
}

impl Side {
    pub(super) fn new(root: PathBuf) -> Self {
        Self {
            root,
            handles: BTreeMap::new(),
        }
    }

    pub(super) fn apply(&mut self, operation: &Op) -> Outcome {
        let path = |path: &Path| self.root.join(path);
        let nothing = |done: Result<(), Errno>| done.map(|()| Seen::Nothing);
        match operation {
            Op::Open(slot, name, How(flags)) => {
                let path = path(name);
                self.handles.remove(slot);
                let file = sys::open(&path, *flags | OFlags::CLOEXEC, Mode::from_raw_mode(0o644))?;
                // A new file is sent when it is closed, whatever it was opened for.
                let writes = flags.intersects(OFlags::CREATE | OFlags::WRONLY | OFlags::RDWR);
                if !path.is_dir() {
                    self.handles.insert(*slot, Handle { file, writes });
                }
                Ok(Seen::Nothing)
            }
            Op::Close(slot) => {
                self.handles.remove(slot);
                Ok(Seen::Nothing)
            }
            Op::Write(slot, ..)
            | Op::Read(slot, ..)
            | Op::SetLength(slot, _)
            | Op::Sync(slot)
            | Op::SetHandleTime(slot, _) => match self.handles.get(slot) {
                Some(handle) => handle.apply(operation),
                None => Ok(Seen::Nothing),
            },
            Op::Truncate(name, length) => truncate(&path(name), *length),
            Op::Unlink(name) => nothing(sys::unlink(path(name))),
            Op::Mkdir(name) => nothing(sys::mkdir(path(name), Mode::from_raw_mode(0o755))),
            Op::Rmdir(name) => nothing(sys::rmdir(path(name))),
            Op::Rename(from, to) => nothing(sys::rename(path(from), path(to))),
            Op::Chmod(name, mode) => {
                let path = path(name);
                // The server has to be able to enter its folders.
                let mode = if path.is_dir() { mode | 0o700 } else { *mode };
                nothing(sys::chmod(path, Mode::from_raw_mode(mode)))
            }
            Op::SetTime(name, seconds) => {
                let times = whole(*seconds);
                nothing(sys::utimensat(CWD, path(name), &times, AtFlags::empty()))
            }
            Op::Stat(name) => {
                let stat = sys::stat(path(name))?;
                let is_file = sys::FileType::from_raw_mode(stat.st_mode).is_file();
                Ok(Seen::Found {
                    size: if is_file { stat.st_size as u64 } else { 0 },
                    links: if is_file { stat.st_nlink } else { 0 },
                })
            }
        }
    }

    pub(super) fn tree(&self) -> Result<Tree, String> {
        let mut tree = Tree::new();
        let mut folders = vec![PathBuf::new()];
        while let Some(folder) = folders.pop() {
            let path = self.root.join(&folder);
            let fail = |error: std::io::Error| format!("{}: {error}", path.display());
            for entry in fs::read_dir(&path).map_err(fail)? {
                let entry = entry.map_err(fail)?;
                let name = folder.join(entry.file_name());
                let full = self.root.join(&name);
                let fail = |error: std::io::Error| format!("{}: {error}", full.display());
                let metadata = fs::metadata(&full).map_err(fail)?;
                if entry.file_type().map_err(fail)? != metadata.file_type() {
                    return Err(format!("{name:?} is of two kinds"));
                }
                let content = if metadata.is_dir() {
                    folders.push(name.clone());
                    None
                } else {
                    Some(fs::read(&full).map_err(fail)?)
                };
                let node = Node {
                    content,
                    size: if metadata.is_dir() { 0 } else { metadata.len() },
                    mode: metadata.mode() & 0o7777,
                    mtime: metadata.mtime(),
                    ino: metadata.ino(),
                };
                if tree.insert(name.clone(), node).is_some() {
                    return Err(format!("{name:?} is there twice"));
                }
            }
        }
        Ok(tree)
    }
}

impl Handle {
    pub(super) fn apply(&self, operation: &Op) -> Outcome {
        let done = match operation {
            Op::Write(_, offset, length, byte) => {
                let bytes: Vec<u8> = (0..*length).map(|at| at as u8 ^ byte).collect();
                let mut written = 0;
                // Of an empty write the outcome counts too.
                loop {
                    written += pwrite(&self.file, &bytes[written..], offset + written as u64)?;
                    if written == bytes.len() {
                        break Ok(());
                    }
                }
            }
            Op::Read(_, offset, length) => {
                let mut bytes = vec![0; *length];
                let mut read = 0;
                loop {
                    let more = pread(&self.file, &mut bytes[read..], offset + read as u64)?;
                    read += more;
                    if more == 0 || read == *length {
                        break;
                    }
                }
                bytes.truncate(read);
                return Ok(Seen::Bytes(bytes));
            }
            Op::SetLength(_, length) => sys::ftruncate(&self.file, *length),
            Op::Sync(_) => sys::fsync(&self.file),
            Op::SetHandleTime(_, seconds) => sys::futimens(&self.file, &whole(*seconds)),
            _ => Ok(()),
        };
        done.map(|()| Seen::Nothing)
    }
}

/// Everything below a folder, by relative path.
pub(super) type Tree = BTreeMap<PathBuf, Node>;

pub(super) struct Node {
    /// `None` for a folder.
    pub(super) content: Option<Vec<u8>>,
    /// 0 for a folder.
    pub(super) size: u64,
    pub(super) mode: u32,
    pub(super) mtime: i64,
    pub(super) ino: u64,
}

impl Node {
    /// Whether it is what `wanted` is.
    pub(super) fn shows(&self, wanted: &Self) -> bool {
        let set = wanted.mtime < NOBODY_SET_IT;
        let same_time = match wanted.content {
            Some(_) if set => self.mtime == wanted.mtime,
            Some(_) => self.mtime >= NOBODY_SET_IT,
            None => true,
        };
        (self.size, self.mode) == (wanted.size, wanted.mode)
            && self.content == wanted.content
            && same_time
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mode {:o}, mtime {}", self.mode, self.mtime)?;
        match &self.content {
            Some(content) => write!(f, ", size {}, {}", self.size, runs(content)),
            None => f.write_str(", folder"),
        }
    }
}

/// Where a content is zeros and where it is not, to be read by people.
fn runs(content: &[u8]) -> String {
    let sum = content.iter().fold(0u32, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(u32::from(*byte))
    });
    format!("{} bytes read, sum {sum:08x}", content.len())
}

pub(super) fn difference(got: &[u8], wanted: &[u8]) -> String {
    let first = got.iter().zip(wanted).position(|(a, b)| a != b);
    let first = first.unwrap_or(got.len().min(wanted.len()));
    format!(
        "{} bytes of {}, different from byte {first} on",
        got.len(),
        wanted.len()
    )
}

pub(super) fn differ(got: &Outcome, wanted: &Outcome) -> String {
    match (got, wanted) {
        (Ok(Seen::Bytes(got)), Ok(Seen::Bytes(wanted))) => difference(got, wanted),
        _ => format!("the mount says {}, not {}", brief(got), brief(wanted)),
    }
}

fn brief(outcome: &Outcome) -> String {
    match outcome {
        Ok(Seen::Bytes(bytes)) => format!("{} bytes", bytes.len()),
        other => format!("{other:?}"),
    }
}

pub(super) fn found(handle: &Handle) -> Outcome {
    let stat = sys::fstat(&handle.file)?;
    Ok(Seen::Found {
        size: stat.st_size as u64,
        links: stat.st_nlink,
    })
}

fn whole(seconds: i64) -> Timestamps {
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: 0,
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}

/// truncate(2), which no safe library has: perl's takes a path as it is.
fn truncate(path: &Path, length: u64) -> Outcome {
    const SCRIPT: &str = "truncate($ARGV[0], $ARGV[1]) or exit($! + 0)";
    let length = length.to_string();
    let arguments = [
        "-e".as_ref(),
        SCRIPT.as_ref(),
        path.as_os_str(),
        length.as_ref(),
    ];
    let output = run("perl", arguments);
    match output.status.code() {
        Some(0) => Ok(Seen::Nothing),
        Some(errno) => Err(Errno::from_raw_os_error(errno)),
        None => panic!("perl: {output:?}"),
    }
}
