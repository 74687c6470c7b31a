//! How many sessions there may be at once, and what for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::info;

use super::Purpose;
use super::turns::{Promise, Turns};

/// One permit for each lease that there may be. The server's limit takes some away for a while.
#[derive(Debug)]
pub(super) struct Limits {
    /// Sessions that were asked for.
    most: usize,
    /// One for each session that may exist.
    sessions: Arc<Semaphore>,
    /// One for each lease for data: one fewer, so that metadata is never starved.
    data: Arc<Semaphore>,
    /// One for each lease for an upload: one fewer again, so that something can be read.
    uploads: Arc<Semaphore>,
    /// For the one rest of a file that waits with all others; the next rests wait for this.
    rest: Semaphore,
    /// Sessions taken away because the server refused so many.
    withheld: AtomicUsize,
    /// Of those who wait to be one of the uploads.
    upload_turns: Turns,
}

/// What a lease holds for as long as it lives.
#[derive(Debug)]
pub(super) struct Permits {
    pub session: Option<OwnedSemaphorePermit>,
    pub data: Option<OwnedSemaphorePermit>,
    /// Only held.
    pub _upload: Option<OwnedSemaphorePermit>,
    /// It is given up for one who waits.
    pub promise: Option<Promise>,
}

impl Limits {
    /// For `most` sessions at once, at least 1.
    pub fn new(most: usize) -> Self {
        let most = most.max(1);
        Self {
            most,
            sessions: Arc::new(Semaphore::new(most)),
            data: Arc::new(Semaphore::new((most - 1).max(1))),
            uploads: Arc::new(Semaphore::new(most.saturating_sub(2).max(1))),
            rest: Semaphore::new(1),
            withheld: AtomicUsize::new(0),
            upload_turns: Turns::default(),
        }
    }

    /// Sessions that were asked for.
    pub fn most(&self) -> usize {
        self.most
    }

    /// Those that the server allows, as far as is known.
    pub fn left(&self) -> usize {
        self.most - self.withheld.load(Ordering::Relaxed)
    }

    /// Whether those who want a lease wait until another ends.
    pub fn is_reached(&self) -> bool {
        self.sessions.available_permits() == 0 || self.data.available_permits() == 0
    }

    /// Waits until there may be one more upload. Cancel safe.
    pub async fn upload(&self) -> OwnedSemaphorePermit {
        let must = self.uploads.available_permits() == 0;
        let _waiting = self.upload_turns.wait(Purpose::Upload, must);
        acquire(&self.uploads).await
    }

    /// Waits until somebody waits for [`Limits::upload`].
    pub async fn upload_wanted(&self) {
        self.upload_turns.wanted().await;
    }

    /// Waits until there may be one more lease for `purpose`, but for what [`Limits::upload`] waits for. Cancel safe.
    pub async fn permits(&self, purpose: Purpose) -> Permits {
        let _rest = match purpose {
            Purpose::Rest => Some(self.rest.acquire().await.expect(OPEN)),
            _ => None,
        };
        let data = match purpose.is_data() {
            true => Some(acquire(&self.data).await),
            false => None,
        };
        Permits {
            session: Some(acquire(&self.sessions).await),
            data,
            _upload: None,
            promise: None,
        }
    }

    /// For a session that nobody asked for, if there may be one more at this moment.
    pub fn spare(&self) -> Option<Permits> {
        let session = self.sessions.clone().try_acquire_owned().ok()?;
        Some(Permits {
            session: Some(session),
            data: None,
            _upload: None,
            promise: None,
        })
    }

    /// Takes a session away, and one from those for each kind of transfer; `false` if there are no more than the `open` ones,
    /// which are kept, and one in any case.
    pub fn withhold(&self, permit: Option<OwnedSemaphorePermit>, open: usize) -> bool {
        let Some(permit) = permit else { return false };
        let fewer = |withheld| (self.most - withheld > open.max(1)).then_some(withheld + 1);
        let counted = self
            .withheld
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fewer);
        let Ok(left) = counted.map(|before| self.most - before - 1) else {
            return false;
        };
        permit.forget();
        info!(sessions = left, "the server's limit of sessions");
        for transfers in self.changed_at(left) {
            let transfers = transfers.clone();
            // As soon as one is free: those that run keep theirs.
            tokio::spawn(async move { acquire(&transfers).await.forget() });
        }
        true
    }

    /// Gives a session back that was taken away; `false` if none is.
    pub fn regrow(&self) -> bool {
        let fewer = |withheld: usize| withheld.checked_sub(1);
        let counted = self
            .withheld
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fewer);
        let Ok(before) = counted else { return false };
        self.sessions.add_permits(1);
        for transfers in self.changed_at(self.most - before) {
            transfers.add_permits(1);
        }
        true
    }

    /// The transfers of which one more may run with one session more than `left`: one of each may run in any case.
    fn changed_at(&self, left: usize) -> impl Iterator<Item = &Arc<Semaphore>> {
        let data = (left > 1).then_some(&self.data);
        let uploads = (left > 2).then_some(&self.uploads);
        data.into_iter().chain(uploads)
    }
}

async fn acquire(semaphore: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    semaphore.clone().acquire_owned().await.expect(OPEN)
}

const OPEN: &str = "the semaphores are never closed";

#[cfg(test)]
mod tests {
    use super::*;

    fn available(limits: &Limits) -> [usize; 3] {
        [&limits.sessions, &limits.data, &limits.uploads].map(|of| of.available_permits())
    }

    #[tokio::test]
    async fn a_session_is_left_for_commands_and_another_for_reading() {
        for (most, wanted) in [
            (8, [8, 7, 6]),
            (3, [3, 2, 1]),
            (2, [2, 1, 1]),
            (1, [1, 1, 1]),
        ] {
            assert_eq!(available(&Limits::new(most)), wanted);
        }
    }

    #[tokio::test]
    async fn what_the_server_refuses_is_taken_away_and_given_back() {
        let limits = Limits::new(5);
        let mut seen = Vec::new();
        while let Some(permits) = limits.spare() {
            if !limits.withhold(permits.session, 0) {
                break;
            }
            // What is taken away in the background.
            tokio::task::yield_now().await;
            tokio::task::yield_now().await;
            seen.push(available(&limits));
        }
        assert_eq!(seen, [[4, 3, 2], [3, 2, 1], [2, 1, 1], [1, 1, 1]]);
        assert_eq!(limits.left(), 1);
        for wanted in [[2, 1, 1], [3, 2, 1], [4, 3, 2], [5, 4, 3]] {
            assert!(limits.regrow());
            assert_eq!(available(&limits), wanted);
        }
        assert!(!limits.regrow());
        let permits = limits.spare().expect("nobody has one");
        assert!(!limits.withhold(permits.session, 5), "all are open");
    }
}
