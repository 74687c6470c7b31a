//! `bwlimit`, `max_rate`: no faster than asked for, which is the one time that a test can tell.

use std::fs;
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};

use crate::model_mount::ModelMount;
use crate::odd::Odd;
use crate::servers::{Server, ServerKind};

/// The trials.
pub fn trials() -> Vec<Trial> {
    vec![
        Trial::test("system::no_faster_than_bwlimit", no_faster),
        Trial::test("system::no_more_commands_than_max_rate", no_more),
    ]
}

fn no_faster() -> Result<(), Failed> {
    let server = Server::start(ServerKind::Embedded);
    let content = vec![7; 1 << 20];
    fs::write(server.root.join("file"), &content)?;
    // Up and down; a second at the one, nothing to speak of without a limit.
    let mount = ModelMount::of(&server, &["bwlimit=1M:2M"]);
    let begun = Instant::now();
    assert_eq!(fs::read(mount.path.join("file"))?, content);
    let down = begun.elapsed();
    let begun = Instant::now();
    fs::write(mount.path.join("new"), &content)?;
    let up = begun.elapsed();
    assert_eq!(fs::read(server.root.join("new"))?, content);
    assert!(down > Duration::from_millis(300), "{down:?}");
    assert!(up > Duration::from_millis(700), "{up:?}");
    Ok(())
}

fn no_more() -> Result<(), Failed> {
    const RATE: usize = 20;
    let odd = Odd::start();
    for number in 0..20 {
        odd.put(&format!("/{number}"), b"content");
    }
    let begun = Instant::now();
    let mount = ModelMount::of_odd(&odd, &[&format!("max_rate={RATE}")]);
    for number in 0..20 {
        assert_eq!(fs::read(mount.path.join(number.to_string()))?, b"content");
    }
    let commands = odd.received().len();
    let most = 1 + (begun.elapsed().as_secs_f64() * RATE as f64).ceil() as usize;
    assert!((20..=most).contains(&commands), "{commands} of {most}");
    Ok(())
}
