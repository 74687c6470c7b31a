//! Sessions that nobody uses: kept alive, and closed in time.

use std::sync::Weak;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tracing::debug;

use super::{Idle, Inner, WARM};

/// Keeps idle sessions alive, closes those that idle too long, and gives withheld ones back after a while.
pub(super) async fn keep(inner: Weak<Inner>) {
    let mut last_given = Instant::now();
    loop {
        tokio::time::sleep(TICK).await;
        let Some(inner) = inner.upgrade() else { return };
        let now = Instant::now();
        let close: Vec<Idle> = {
            let mut idle = inner.idle.lock().expect("no panic while locked");
            let mut spare = inner.open.load(Ordering::Relaxed).saturating_sub(WARM);
            let mut over = |one: &mut Idle| {
                // Looked at, so that a data connection that nobody used is closed in time.
                one.session.is_armed();
                let unused = now - one.since;
                let over = unused > inner.config.idle_timeout
                    || (spare > 0 && unused > SPARE)
                    || one.session.ended().is_some();
                spare = spare.saturating_sub(usize::from(over));
                over
            };
            idle.extract_if(.., &mut over).collect()
        };
        for one in close {
            inner.open.fetch_sub(1, Ordering::Relaxed);
            one.session.quit().await;
        }
        // One by one, and with a permit each: whoever needs a session meanwhile opens no more than there may be.
        while let Some(_permits) = inner.limits.spare() {
            let due = {
                let mut idle = inner.idle.lock().expect("no panic while locked");
                let due = idle.iter().position(|one| now - one.noop > KEEPALIVE);
                due.map(|at| idle.remove(at))
            };
            let Some(mut one) = due else { break };
            match one.session.noop().await {
                Ok(()) => {
                    one.noop = now;
                    inner
                        .idle
                        .lock()
                        .expect("no panic while locked")
                        .insert(0, one);
                }
                Err(error) => {
                    debug!(session = one.session.id, %error, "session ended while idle");
                    inner.open.fetch_sub(1, Ordering::Relaxed);
                }
            }
        }
        if now - last_given > REGROW && inner.limits.regrow() {
            last_given = now;
        }
    }
}

/// How often idle sessions are looked after.
const TICK: Duration = Duration::from_secs(2);

/// Time that an unused session beyond those that are kept is left open: other programs of the same user may need it, since
/// many servers let each address have eight.
const SPARE: Duration = Duration::from_secs(10);

/// Pause between two `NOOP`s on an idle session: less than the 30 s after which careful servers and NAT boxes give up.
const KEEPALIVE: Duration = Duration::from_secs(20);

/// After this long one more session is tried than the server's limit was seen to be.
const REGROW: Duration = Duration::from_secs(120);
