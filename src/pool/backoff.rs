//! When the server may be asked for a session: one that refuses, or drops those that it has accepted, is not hammered
//! by the programs that go on calling.
//!
//! Pure: it is told the time, and says how long to wait. A server that works is not waited for.

use std::time::{Duration, Instant};

use crate::ftp::{Error, ErrorKind};

/// What came of the last attempts to open a session, and when the next may be made.
#[derive(Debug)]
pub(super) struct Backoff {
    /// `None` while they succeed.
    failing: Option<Failing>,
    /// When all attempts so far are paid for.
    paid: Instant,
    /// One has succeeded.
    worked: bool,
}

#[derive(Debug)]
struct Failing {
    /// The first of the attempts that failed one after another.
    since: Instant,
    /// The last of them.
    last: Instant,
    /// Nobody tries before.
    next: Instant,
    /// What the last one failed by.
    error: Error,
}

/// What to do for a session.
#[derive(Debug)]
pub(super) enum Turn {
    /// Try to open one; the next one's turn is later.
    Now,
    /// Ask again after this long.
    In(Duration),
    /// It is not tried so soon again: this is what it failed by the last time.
    Not(Error),
}

impl Backoff {
    /// Nothing was tried yet.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            failing: None,
            paid: now,
            worked: false,
        }
    }

    /// Whose turn it is, of somebody who waits for a session since `begun`.
    pub(super) fn turn(&mut self, begun: Instant, now: Instant) -> Turn {
        if let Some(failing) = &mut self.failing {
            let wait = failing.next.saturating_duration_since(now);
            if now.saturating_duration_since(begun) + wait > LONGEST_WAIT {
                return Turn::Not(failing.error.clone());
            }
            if wait > Duration::ZERO {
                return Turn::In(wait);
            }
            let pause = now.saturating_duration_since(failing.since) / PART;
            failing.next = now + pause.clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
        }
        let debt = self.paid.saturating_duration_since(now);
        if debt > CREDIT {
            return Turn::In(debt - CREDIT);
        }
        self.paid = self.paid.max(now) + PRICE;
        Turn::Now
    }

    /// An attempt has succeeded.
    pub(super) fn succeeded(&mut self) {
        self.failing = None;
        self.worked = true;
    }

    /// Whether a failure by `error` may pass: a login that has worked may be refused by a server that has too much to do.
    pub(super) fn may_pass(&self, error: &Error) -> bool {
        error.is_connection() || (self.worked && error.kind == ErrorKind::Login)
    }

    /// An attempt has failed by `error`.
    pub(super) fn failed(&mut self, error: &Error, now: Instant) {
        let error = error.clone();
        match &mut self.failing {
            Some(failing) if now.saturating_duration_since(failing.last) < FORGOTTEN => {
                failing.last = now;
                failing.error = error;
            }
            failing => {
                *failing = Some(Failing {
                    since: now,
                    last: now,
                    next: now + SHORTEST_PAUSE,
                    error,
                });
            }
        }
    }

    /// The next attempt may be made at once, since the user asks for it.
    pub(super) fn forgive(&mut self, now: Instant) {
        if let Some(failing) = &mut self.failing {
            failing.next = now;
        }
    }
}

/// A server that has failed for a time is asked again after this part of that: it is seen again soon after it is back.
const PART: u32 = 4;

/// A server that restarts is not asked more often.
const SHORTEST_PAUSE: Duration = Duration::from_millis(250);

/// Six attempts a minute: those who ban clients that log in too often count tens.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Longest wait for a turn while the server fails: as long as a restart may take. Then whoever waits is to know.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// After this long without an attempt, a failure is the first of its kind.
const FORGOTTEN: Duration = Duration::from_secs(60);

/// So much does an attempt cost: a server that accepts sessions and drops them sees two logins a second in the long run..
const PRICE: Duration = Duration::from_millis(500);

/// ..and sixty at once: more than any mount needs whose server keeps its sessions.
const CREDIT: Duration = PRICE.saturating_mul(60);

#[cfg(test)]
mod tests {
    use super::*;

    /// Attempts in `time` by programs that call again and again, each of which fails at once if `fails`.
    fn attempts(backoff: &mut Backoff, start: Instant, time: Duration, fails: bool) -> usize {
        let refused = Error::new(ErrorKind::Login, "login", "530 no");
        let mut count = 0;
        let mut now = start;
        while now < start + time {
            if matches!(backoff.turn(now, now), Turn::Now) {
                count += 1;
                match fails {
                    true => backoff.failed(&refused, now),
                    false => backoff.succeeded(),
                }
            }
            now += Duration::from_millis(1);
        }
        count
    }

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_server_that_refuses_is_asked_seldom() {
        let start = Instant::now();
        let mut backoff = Backoff::new(start);
        let first = attempts(&mut backoff, start, MINUTE, true);
        assert!((5..=30).contains(&first), "{first}");
        let second = attempts(&mut backoff, start + MINUTE, MINUTE, true);
        assert_eq!(second, 6);
    }

    #[test]
    fn whoever_cannot_wait_is_told_why() {
        let start = Instant::now();
        let mut backoff = Backoff::new(start);
        attempts(&mut backoff, start, MINUTE, true);
        let now = start + MINUTE;
        match backoff.turn(now, now) {
            Turn::Not(error) => assert_eq!(error.to_string(), "login: 530 no"),
            other => panic!("{other:?}"),
        }
        backoff.forgive(now);
        assert!(matches!(backoff.turn(now, now), Turn::Now));
    }

    #[test]
    fn a_short_failure_is_waited_out() {
        let start = Instant::now();
        let mut backoff = Backoff::new(start);
        assert!(matches!(backoff.turn(start, start), Turn::Now));
        backoff.failed(&Error::new(ErrorKind::Lost, "login", "reset"), start);
        match backoff.turn(start, start) {
            Turn::In(wait) => assert_eq!(wait, SHORTEST_PAUSE),
            other => panic!("{other:?}"),
        }
        assert!(matches!(
            backoff.turn(start, start + SHORTEST_PAUSE),
            Turn::Now
        ));
        backoff.succeeded();
        for _ in 0..10 {
            assert!(matches!(backoff.turn(start, start), Turn::Now));
        }
    }

    #[test]
    fn a_server_that_drops_what_it_accepts_is_not_flooded() {
        let start = Instant::now();
        let mut backoff = Backoff::new(start);
        let first = attempts(&mut backoff, start, MINUTE, false);
        assert!((175..=185).contains(&first), "{first}");
        let second = attempts(&mut backoff, start + MINUTE, MINUTE, false);
        assert!((115..=125).contains(&second), "{second}");
    }
}
