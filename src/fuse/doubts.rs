//! Names of which nobody knows what became of them: the kernel is told to ask for them again, instead of believing what it
//! knew before the change that failed.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::mpsc::{Receiver, Sender, channel};

use fuser::{INodeNo, Notifier};
use tracing::debug;

/// A name in a folder.
pub(super) type Name = (INodeNo, Vec<u8>);

/// Whom to tell of such a name.
pub(super) type Doubt = Sender<Name>;

/// The names, as they come.
#[derive(Debug)]
pub struct Doubts(Receiver<Name>);

impl Doubts {
    pub(super) fn new() -> (Doubt, Self) {
        let (doubt, doubts) = channel();
        (doubt, Self(doubts))
    }

    /// Tells the kernel, until the adapter is gone.
    ///
    /// On a thread of its own: the kernel lets this wait for whoever changes the folder, who may wait for our answer.
    pub fn tell(self, kernel: &Notifier) {
        for (parent, name) in self.0 {
            // It may have forgotten it by itself.
            if let Err(error) = kernel.inval_entry(parent, OsStr::from_bytes(&name)) {
                debug!(parent = parent.0, name = %name.escape_ascii(), %error, "the kernel did not know it");
            }
        }
    }
}
