//! A server that refuses, hangs up or drops its sessions, while programs go on calling: how often it is asked.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use libtest_mimic::{Failed, Trial};

use crate::model_mount::{DEADLINE, ModelMount, pause, within};
use crate::odd::{Odd, Step, Times};

/// The trials.
pub fn trials() -> Vec<Trial> {
    let trial = |name: &str, run: fn() -> Result<(), Failed>| {
        Trial::test(format!("hammering::{name}"), run)
    };
    vec![
        trial("a_login_that_is_refused_is_not_tried_on_and_on", refused),
        trial("a_server_that_hangs_up_is_not_called_on_and_on", hung_up),
        trial("a_server_that_drops_every_session", dropped),
    ]
}

/// Eight programs look at `folder` for a time, without a pause.
fn go_on_calling(folder: &Path, time: Duration) {
    let enough = AtomicBool::new(false);
    thread::scope(|scope| {
        for number in 0..8 {
            let (path, enough) = (folder.join(format!("{number}")), &enough);
            scope.spawn(move || {
                while !enough.load(Ordering::Relaxed) {
                    // What comes of it is another test's.
                    let _ = fs::read_dir(&path).map(Iterator::count);
                }
            });
        }
        pause(time);
        enough.store(true, Ordering::Relaxed);
    });
}

fn mounted(odd: &Odd) -> ModelMount {
    for number in 0..8 {
        odd.make_folder(&format!("/{number}"));
    }
    ModelMount::of_odd(odd, &["attr_timeout=0"])
}

/// The mount works again as soon as the server does.
fn recovers(mount: &ModelMount) {
    let works = || fs::read_dir(mount.path.join("1")).is_ok();
    assert!(within(DEADLINE, works), "it does not recover");
}

fn refused() -> Result<(), Failed> {
    let odd = Odd::start();
    let mount = mounted(&odd);
    odd.script("PASS", |_| vec![Step::line("530 Go away")]);
    odd.close_sessions();
    odd.forget();
    go_on_calling(&mount.path, TIME);
    let logins = odd.count("PASS");
    assert!((1..=MOST).contains(&logins), "{logins} logins");
    odd.script("PASS", |_| vec![Step::Usual]);
    recovers(&mount);
    Ok(())
}

fn hung_up() -> Result<(), Failed> {
    let odd = Odd::start();
    let mount = mounted(&odd);
    odd.greet(vec![Step::Close]);
    odd.close_sessions();
    let before = odd.accepted();
    go_on_calling(&mount.path, TIME);
    let calls = odd.accepted() - before;
    assert!((1..=MOST).contains(&calls), "{calls} connections");
    odd.greet(vec![Step::line("220 back")]);
    recovers(&mount);
    Ok(())
}

fn dropped() -> Result<(), Failed> {
    let odd = Odd::start();
    let mount = mounted(&odd);
    odd.drop_control_on("MLSD", Times::Always);
    odd.forget();
    go_on_calling(&mount.path, TIME * 2);
    let logins = odd.count("PASS");
    // Sixty at once, two a second, and what was on its way.
    assert!((1..=60 + 2 * 10 + 10).contains(&logins), "{logins} logins");
    odd.heal("MLSD");
    recovers(&mount);
    Ok(())
}

/// How long the programs go on.
const TIME: Duration = Duration::from_secs(5);

/// Most attempts in that time: as many at once as there may be sessions, then ever fewer.
const MOST: usize = 25;
