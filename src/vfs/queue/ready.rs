//! Changes whose turn it is.

use std::collections::BTreeSet;

/// The numbers of those that can be made now. Of those that take long only some run at once: what is short is not to wait
/// until one of them ends.
#[derive(Debug, Default)]
pub(super) struct Ready {
    short: BTreeSet<u64>,
    long: BTreeSet<u64>,
    /// Those of the long ones that run.
    running: BTreeSet<u64>,
}

impl Ready {
    pub fn insert(&mut self, number: u64, long: bool) {
        self.running.remove(&number);
        match long {
            true => self.long.insert(number),
            false => self.short.insert(number),
        };
    }

    /// It is not to be made, for now or at all, or was made.
    pub fn remove(&mut self, number: u64) {
        for numbers in [&mut self.short, &mut self.long, &mut self.running] {
            numbers.remove(&number);
        }
    }

    /// Takes the first one, which runs from now on; a long one only where fewer than `most_long` run.
    pub fn begin(&mut self, most_long: usize) -> Option<u64> {
        let number = self.next(most_long)?;
        self.short.remove(&number);
        if self.long.remove(&number) {
            self.running.insert(number);
        }
        Some(number)
    }

    /// The one that [`Ready::begin`] would take.
    pub fn next(&self, most_long: usize) -> Option<u64> {
        let long = self.long.first();
        let long = long.filter(|_| self.running.len() < most_long);
        self.short.first().into_iter().chain(long).min().copied()
    }

    /// Whether one up to `last` waits to be begun.
    pub fn has_any(&self, last: u64) -> bool {
        let first = [&self.short, &self.long].map(|numbers| numbers.first());
        first.iter().flatten().any(|&&number| number <= last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_short_does_not_wait_for_what_is_long() {
        let mut ready = Ready::default();
        for (number, long) in [(1, true), (2, true), (3, true), (4, false)] {
            ready.insert(number, long);
        }
        let begun = |ready: &mut Ready| ready.begin(2);
        assert_eq!(
            [1; 3].map(|_| begun(&mut ready)),
            [Some(1), Some(2), Some(4)]
        );
        assert_eq!(begun(&mut ready), None);
        assert!(ready.has_any(3) && !ready.has_any(2));
        // Tried again later.
        ready.remove(1);
        assert_eq!(begun(&mut ready), Some(3));
        ready.insert(1, true);
        assert_eq!(begun(&mut ready), None);
        ready.remove(2);
        assert_eq!(begun(&mut ready), Some(1));
        assert!(!ready.has_any(u64::MAX));
    }
}
