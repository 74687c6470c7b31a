//! A file that loses its content while it is sent: whoever removes or empties it does not wait until all of it is sent.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::thread;

use libtest_mimic::{Failed, Trial};

use crate::model_mount::ModelMount;
use crate::servers::{Server, ServerKind, wait_until};

/// The trials for one server.
pub fn trials(kind: ServerKind) -> Vec<Trial> {
    let trial = |what: &str, mode: &'static str, end: End| {
        let mode_name = mode.replace("writeback", "_behind_the_user");
        let name = format!("{}::{what}_while_it_is_sent{mode_name}", kind.name());
        Trial::test(name, move || sent(kind, mode, end))
    };
    ["", "writeback"]
        .into_iter()
        .flat_map(|mode| {
            [
                trial("removed", mode, |path| fs::remove_file(path).map(|()| None)),
                trial("emptied", mode, |path| File::create(path).map(Some)),
            ]
        })
        .collect()
}

/// What ends the content of a file; where that is not its name's end, it is open then.
type End = fn(&Path) -> io::Result<Option<File>>;

/// The content of a large file ends by `end` while it is sent, and a short one takes its place if it is open then.
fn sent(kind: ServerKind, mode: &str, end: End) -> Result<(), Failed> {
    let server = Server::start(kind);
    let options = format!("bwlimit=4M,{mode}");
    let mount = ModelMount::of(&server, &[options.trim_end_matches(',')]);
    let (path, there) = (mount.path.join("file"), server.root.join("file"));
    let open = thread::scope(|scope| {
        let writer = scope.spawn(|| fs::write(&path, vec![b'x'; LARGE]));
        let size = || fs::metadata(&there).map_or(0, |file| file.len());
        wait_until("a part of it is there", || size() > LARGE as u64 / 4);
        // What is waited for then is its close, if anything.
        let written = || fs::metadata(&path).is_ok_and(|file| file.len() == LARGE as u64);
        wait_until("all of it is written", written);
        // Whatever becomes of its name.
        let sent = File::open(&there)?;
        let open = end(&path)?;
        let sent = sent.metadata()?.len();
        assert!(sent < LARGE as u64, "all of it was sent first");
        writer.join().expect("no panic")?;
        Ok::<_, Failed>(open)
    })?;
    let left = usize::from(open.is_some());
    match open {
        Some(mut file) => {
            file.write_all(SHORT)?;
            file.sync_all()?;
            assert_eq!(fs::read(&path)?, SHORT);
            assert_eq!(fs::read(&there)?, SHORT);
        }
        None => {
            assert!(!fs::exists(&path)?);
            wait_until("it is gone", || !there.exists());
        }
    }
    let names: Vec<_> = fs::read_dir(&server.root)?.flatten().collect();
    assert_eq!(names.len(), left, "{names:?}");
    Ok(())
}

const LARGE: usize = 10_000_000;

const SHORT: &[u8] = b"short";
