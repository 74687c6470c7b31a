//! At home on a Linux system: what its tools and its users expect beside the mount itself.

pub mod probe;

use libtest_mimic::Trial;

/// The trials that need no particular server.
pub fn trials() -> Vec<Trial> {
    Vec::new()
}
