//! Who waits for a session, and who gives one up for them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

use super::{PURPOSES, Purpose};

/// The leases that are waited for, by purpose, and those that running transfers have promised to make room for.
#[derive(Clone, Debug, Default)]
pub(super) struct Turns {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    waiting: [AtomicUsize; PURPOSES],
    promised: AtomicUsize,
    /// Told once for each lease that must be waited for.
    wanted: Notify,
}

impl Turns {
    /// Counts a lease that waits, until dropped. If it `must`, those are told that keep a session they do not need.
    pub(super) fn wait(&self, purpose: Purpose, must: bool) -> Waiting {
        self.inner.waiting[purpose as usize].fetch_add(1, Ordering::Relaxed);
        if must {
            self.inner.wanted.notify_one();
        }
        Waiting {
            inner: self.inner.clone(),
            purpose,
        }
    }

    /// How many wait for the purposes up to `last`.
    pub(super) fn waiting(&self, last: Purpose) -> usize {
        let waiting = &self.inner.waiting[..=last as usize];
        waiting
            .iter()
            .map(|count| count.load(Ordering::Relaxed))
            .sum()
    }

    /// Waits until somebody waits.
    pub(super) async fn wanted(&self) {
        loop {
            self.inner.wanted.notified().await;
            if self.waiting(Purpose::Rest) > 0 {
                return;
            }
        }
    }

    /// A promise of a session to one who waits for a purpose up to `last`, if there is one without: to be dropped when the
    /// session is free.
    pub(super) fn promise(&self, last: Purpose) -> Option<Promise> {
        let waiting = self.waiting(last);
        let one_more = |promised| (promised < waiting).then_some(promised + 1);
        let promised = &self.inner.promised;
        promised
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more)
            .is_ok()
            .then(|| Promise(self.inner.clone()))
    }
}

/// A lease that is waited for.
pub(super) struct Waiting {
    inner: Arc<Inner>,
    purpose: Purpose,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.inner.waiting[self.purpose as usize].fetch_sub(1, Ordering::Relaxed);
    }
}

/// A session that will soon be free for one who waits.
#[derive(Debug)]
pub(super) struct Promise(Arc<Inner>);

impl Drop for Promise {
    fn drop(&mut self) {
        self.0.promised.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_give_way_as_wait() {
        let turns = Turns::default();
        assert!(turns.promise(Purpose::Rest).is_none());
        let _long = turns.wait(Purpose::Rest, true);
        let short = turns.wait(Purpose::Brief, true);
        let promise = turns.promise(Purpose::Data);
        assert!(promise.is_some());
        assert!(turns.promise(Purpose::Data).is_none());
        assert!(turns.promise(Purpose::Rest).is_some());
        drop((short, promise));
        assert!(turns.promise(Purpose::Data).is_none());
        assert_eq!(turns.waiting(Purpose::Rest), 1);
    }
}
