//! A file that loses its content while it is sent: whoever removes or empties it does not wait until all of it is sent.

use std::fs::{self, File};
use std::path::Path;
use std::thread;

use libtest_mimic::{Failed, Trial};

use crate::model_mount::ModelMount;
use crate::servers::{Server, ServerKind, wait_until};

/// The trials for one server.
pub fn trials(kind: ServerKind) -> Vec<Trial> {
    let trial = |what: &str, mode: &'static str, end: End, left: Option<&'static [u8]>| {
        let mode_name = mode.replace("writeback", "_behind_the_user");
        let name = format!("{}::{what}_while_it_is_sent{mode_name}", kind.name());
        Trial::test(name, move || sent(kind, mode, end, left))
    };
    ["", "writeback"]
        .into_iter()
        .flat_map(|mode| {
            [
                trial("removed", mode, |path| fs::remove_file(path), None),
                trial("emptied", mode, |path| fs::write(path, SHORT), Some(SHORT)),
            ]
        })
        .collect()
}

type End = fn(&Path) -> std::io::Result<()>;

/// A large file ends by `end` while it is sent; the server has what is `left` then.
fn sent(kind: ServerKind, mode: &str, end: End, left: Option<&[u8]>) -> Result<(), Failed> {
    let server = Server::start(kind);
    let options = format!("bwlimit=2M,{mode}");
    let mount = ModelMount::of(&server, &[options.trim_end_matches(',')]);
    let (path, there) = (mount.path.join("file"), server.root.join("file"));
    thread::scope(|scope| {
        let writer = scope.spawn(|| fs::write(&path, vec![b'x'; LARGE]));
        let size = || fs::metadata(&there).map_or(0, |file| file.len());
        wait_until("a part of it is there", || size() > 0);
        // What is waited for then is its close, if anything.
        let written = || fs::metadata(&path).is_ok_and(|file| file.len() == LARGE as u64);
        wait_until("all of it is written", written);
        // Whatever becomes of its name.
        let sent = File::open(&there)?;
        end(&path)?;
        let sent = sent.metadata()?.len();
        assert!(sent < LARGE as u64, "all of it was sent first");
        writer.join().expect("no panic")?;
        Ok::<_, Failed>(())
    })?;
    match left {
        Some(left) => {
            assert_eq!(fs::read(&path)?, left);
            File::open(&path)?.sync_all()?;
            assert_eq!(fs::read(&there)?, left);
        }
        None => {
            assert!(!fs::exists(&path)?);
            wait_until("it is gone", || !there.exists());
        }
    }
    let names: Vec<_> = fs::read_dir(&server.root)?.flatten().collect();
    assert_eq!(names.len(), usize::from(left.is_some()), "{names:?}");
    Ok(())
}

const LARGE: usize = 10_000_000;

const SHORT: &[u8] = b"short";
