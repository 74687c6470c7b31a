//! How many sessions there are, and who has one.

use std::time::Duration;

/// Bounds of the pool.
#[derive(Clone, Debug)]
pub struct PoolConfig {
    /// Most sessions at once, at least 1.
    pub max_sessions: usize,
    /// An unused session is closed after this long.
    pub idle_timeout: Duration,
}
