//! fuser's trait to `Vfs` and back.

use std::sync::Arc;
use std::time::Duration;

use crate::vfs::Vfs;

/// What the kernel is told.
#[derive(Clone, Debug)]
pub struct FuseConfig {
    /// How long the kernel may believe names and attributes.
    pub attr_ttl: Duration,
}

/// The adapter: one for each mount.
pub struct Adapter {
    _vfs: Arc<Vfs>,
}

impl Adapter {
    /// An adapter that answers from `vfs`, on `runtime` where it must wait.
    pub fn new(vfs: Arc<Vfs>, _runtime: tokio::runtime::Handle, _config: FuseConfig) -> Self {
        Self { _vfs: vfs }
    }
}

impl fuser::Filesystem for Adapter {}
