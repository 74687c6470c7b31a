//! At home on a Linux system: what its tools and its users expect beside the mount itself.

pub mod charsets;
mod coming_from;
mod limits;
mod logs;
mod mount8;
mod papers;
pub mod probe;
mod proxy;
mod secrets;
mod systemd;

use libtest_mimic::Trial;

/// The trials that need no particular server.
pub fn trials() -> Vec<Trial> {
    let mut trials = mount8::trials();
    trials.extend(coming_from::trials());
    trials.extend(limits::trials());
    trials.extend(logs::trials());
    trials.extend(papers::trials());
    trials.extend(proxy::trials());
    trials.extend(secrets::trials());
    trials.extend(systemd::trials());
    trials
}
