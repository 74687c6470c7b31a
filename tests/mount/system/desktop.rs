//! What file managers do unasked, and what they show: names that they look for cost nothing, and a copy's progress is true.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use libtest_mimic::{Failed, Trial};

use super::status::until;
use crate::model_mount::ModelMount;
use crate::odd::Odd;

/// The trials.
pub fn trials() -> Vec<Trial> {
    let trial =
        |name: &str, run: fn() -> Result<(), Failed>| Trial::test(format!("system::{name}"), run);
    vec![
        trial("names_that_desktops_look_for_cost_nothing", looked_for),
        trial("the_progress_of_a_copy_is_true", progress),
    ]
}

/// What Nautilus, Dolphin, Windows by Samba and macOS by netatalk look for in each folder.
const LOOKED_FOR: [&str; 14] = [
    ".hidden",
    ".directory",
    ".Trash",
    ".Trash-0",
    ".Trash-1000",
    ".trash",
    ".xdg-volume-info",
    ".DS_Store",
    "._film",
    "autorun.inf",
    "autorun.sh",
    "desktop.ini",
    "folder.jpg",
    "Thumbs.db",
];

fn looked_for() -> Result<(), Failed> {
    let odd = Odd::start();
    odd.make_folder("/dir");
    odd.put("/dir/film", b"a film");
    let mount = ModelMount::of_odd(&odd, &["attr_timeout=1h"]);
    odd.forget();
    assert_eq!(fs::read_dir(mount.path.join("dir"))?.count(), 1);
    let listings = odd.count("MLSD");
    assert!(listings > 0, "{:?}", odd.received());
    for place in ["", "dir"] {
        let place = mount.path.join(place);
        for name in LOOKED_FOR {
            assert!(fs::symlink_metadata(place.join(name)).is_err(), "{name}");
            assert!(File::open(place.join(name)).is_err(), "{name}");
        }
    }
    assert_eq!(odd.count("MLSD"), listings, "{:?}", odd.received());
    // The rest of what is received makes sessions ready.
    for verb in ["MLST", "LIST", "STAT", "SIZE", "MDTM", "RETR"] {
        assert_eq!(odd.count(verb), 0, "{:?}", odd.received());
    }
    Ok(())
}

fn progress() -> Result<(), Failed> {
    const PIECE: usize = 1 << 20;
    /// By a process of its own: a copy of the descriptor in a child of ours would be closed there, which sends the file.
    const WRITER: &str = "
import sys
with open(sys.argv[1], 'wb', buffering=0) as file:
    for _ in sys.stdin:
        file.write(bytes(1 << 20))
        print(flush=True)
";
    /// What may be written and not sent, and what the socket and the pieces take.
    const LEAD: u64 = 10 << 20;
    let odd = Odd::start();
    odd.put("/old", b"there is one");
    let mount = ModelMount::of_odd(&odd, &["bwlimit=8M"]);
    for name in ["new", "old"] {
        let mut writing = Command::new("python3")
            .args(["-c", WRITER])
            .arg(mount.path.join(name))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (asks, answers) = (writing.stdin.take(), writing.stdout.take());
        let (mut asks, answers) = (asks.ok_or("piped")?, answers.ok_or("piped")?);
        let mut answers = BufReader::new(answers).lines();
        for written in (4..=24).step_by(4) {
            for _ in 0..4 {
                asks.write_all(b"\n")?;
                answers.next().ok_or("it has ended")??;
            }
            let report = until(&mount.path, |_| true)?;
            let sent = report["transfers"][0]["passed_bytes"].as_u64();
            let written = written * PIECE as u64;
            assert!(written <= sent.unwrap_or(0) + LEAD, "{written}: {report:#}");
        }
        drop(asks);
        assert!(writing.wait()?.success());
        assert_eq!(
            odd.content(&format!("/{name}")).map(|file| file.len()),
            Some(24 * PIECE)
        );
    }
    Ok(())
}
