//! The service manager, where one has started us: told when the mount answers and when it ends (sd_notify(3)).

use sd_notify::{NotifyState, notify};
use tracing::warn;

/// The mount of `source` answers.
pub fn ready(source: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(source)]);
}

/// What is not sent is being sent, and then it ends.
pub fn ending() {
    tell(&[
        NotifyState::Stopping,
        NotifyState::Status("sending what is not sent yet"),
    ]);
}

/// Nothing without `$NOTIFY_SOCKET`.
fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = notify(state) {
        warn!(%error, "the service manager cannot be told");
    }
}
