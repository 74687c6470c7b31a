//! The server seen through memory.

use std::time::Duration;

/// Bounds of the caches.
#[derive(Clone, Debug)]
pub struct CacheConfig {
    /// Most bytes of file content in memory.
    pub capacity_bytes: u64,
    /// How long a listing, and an absence, is believed.
    pub attr_ttl: Duration,
}
