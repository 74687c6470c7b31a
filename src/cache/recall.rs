//! Calling back what is being sent.

use tokio::sync::watch;

/// Those who have come to need nothing of a file that may be on its way: it is not sent any further while there is one.
#[derive(Clone, Debug, Default)]
pub struct Recalls(watch::Sender<usize>);

/// One of them, until dropped.
#[derive(Debug)]
#[must_use]
pub struct Recall(watch::Sender<usize>);

impl Recalls {
    /// Counts one more.
    pub fn recall(&self) -> Recall {
        self.0.send_modify(|count| *count += 1);
        Recall(self.0.clone())
    }

    /// Whether there is one.
    pub fn is_made(&self) -> bool {
        *self.0.borrow() > 0
    }

    /// Waits until there is one. Cancel safe.
    pub async fn made(&self) {
        let mut count = self.0.subscribe();
        // The sender lives as long as this does.
        let _made = count.wait_for(|&count| count > 0).await;
    }
}

impl Drop for Recall {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}
