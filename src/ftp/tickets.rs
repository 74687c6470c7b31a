//! What each control connection keeps so that its data connections can resume its TLS session.
//!
//! vsftpd, ProFTPD and FileZilla refuse a data connection that does not resume the session of its own control connection.
//! A session of TLS 1.2 can be resumed any number of times; a ticket of 1.3 works once (RFC 8446 s C.4), and ProFTPD
//! 1.3.8 takes none that came on a data connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::NamedGroup;
use rustls::client::{
    ClientSessionMemoryCache, ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use rustls::pki_types::ServerName;

/// The sessions and tickets of one control connection and its data connections.
#[derive(Debug)]
pub(super) struct Tickets {
    control: ClientSessionMemoryCache,
    /// How many tickets of TLS 1.3 are in `control`.
    left: AtomicUsize,
    data: ClientSessionMemoryCache,
}

/// What the handshakes of one of the two kinds of connections use of them.
#[derive(Debug)]
pub(super) struct TicketsOf {
    pub(super) tickets: Arc<Tickets>,
    /// Of data connections: they use those of the control connection first.
    pub(super) data: bool,
}

impl Tickets {
    pub(super) fn new() -> Arc<Self> {
        let cache = || ClientSessionMemoryCache::new(MOST);
        Arc::new(Self {
            control: cache(),
            left: AtomicUsize::new(0),
            data: cache(),
        })
    }

    /// Whether no ticket that came on the control connection is left.
    pub(super) fn are_used_up(&self) -> bool {
        self.left.load(Ordering::Relaxed) == 0
    }

    fn insert(&self, name: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        self.control.insert_tls13_ticket(name, ticket);
        self.count(|left| Some((left + 1).min(MOST)));
    }

    fn take(&self, name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        let ticket = self.control.take_tls13_ticket(name)?;
        self.count(|left| left.checked_sub(1));
        Some(ticket)
    }

    fn count(&self, next: impl FnMut(usize) -> Option<usize>) {
        // An error is a count that stays as it is.
        let _ = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    }
}

impl ClientSessionStore for TicketsOf {
    fn set_kx_hint(&self, name: ServerName<'static>, group: NamedGroup) {
        self.tickets.control.set_kx_hint(name, group);
    }

    fn kx_hint(&self, name: &ServerName<'_>) -> Option<NamedGroup> {
        self.tickets.control.kx_hint(name)
    }

    fn set_tls12_session(&self, name: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.tickets.control.set_tls12_session(name, value);
    }

    fn tls12_session(&self, name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.tickets.control.tls12_session(name)
    }

    fn remove_tls12_session(&self, name: &ServerName<'static>) {
        self.tickets.control.remove_tls12_session(name);
    }

    fn insert_tls13_ticket(&self, name: ServerName<'static>, value: Tls13ClientSessionValue) {
        match self.data {
            true => self.tickets.data.insert_tls13_ticket(name, value),
            false => self.tickets.insert(name, value),
        }
    }

    fn take_tls13_ticket(&self, name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        let own = || self.tickets.data.take_tls13_ticket(name);
        let ticket = self.tickets.take(name);
        ticket.or_else(|| self.data.then(own).flatten())
    }
}

/// Tickets kept of each kind: as many as rustls keeps for one server.
const MOST: usize = 8;
