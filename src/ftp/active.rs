//! Active data connections: the server connects to us (RFC 959 s3.2, RFC 2428).
//!
//! For servers, or networks, in which passive ones do not work.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tracing::debug;

use super::command::Command;
use super::config::DataMode;
use super::error::{Error, ErrorKind, Result};
use super::passive::Armed;
use super::session::Session;

/// A data connection that the server will make.
#[derive(Debug)]
pub(super) struct Expected {
    listener: TcpListener,
    /// Who may connect: the server alone, whoever else finds the port.
    from: IpAddr,
    patience: Duration,
}

impl Expected {
    /// The connection, once the server has made it.
    pub(super) async fn connected(self) -> Result<TcpStream> {
        let accepted = async {
            loop {
                match self.listener.accept().await {
                    Ok((stream, peer)) if peer.ip() == self.from => return Ok(stream),
                    Ok((_, peer)) => debug!(%peer, "not the server: its connection is closed"),
                    Err(error) => return Err(error),
                }
            }
        };
        let operation = || format!("data connection from {}", self.from);
        match timeout(self.patience, accepted).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(Error::new(
                ErrorKind::Unreachable,
                operation(),
                error.to_string(),
            )),
            Err(_) => Err(Error::new(
                ErrorKind::TimedOut,
                operation(),
                "the server did not make it in time; does a firewall or a router keep it from that?",
            )),
        }
    }
}

impl Session {
    /// Whether the server makes the data connections.
    pub(super) fn is_active(&self) -> bool {
        match self.server.config.data_mode {
            DataMode::Passive => false,
            DataMode::Active => true,
            DataMode::Auto => self
                .knows(|profile| profile.passive == Some(false) && profile.active != Some(false)),
        }
    }

    /// Notes how a transfer's data connection went. What has worked once is not doubted again.
    pub(super) fn learn_direction(&self, active: bool, works: bool) {
        self.server.with_profile(|profile| {
            let known = match active {
                true => &mut profile.active,
                false => &mut profile.passive,
            };
            if known.is_none() || works {
                if *known != Some(works) {
                    debug!(active, works, "data connections");
                }
                *known = Some(works);
            }
        });
    }

    /// Listens, and tells the server where: `PORT`, or `EPRT` where that says too little.
    pub(super) async fn expect(&mut self) -> Result<Armed> {
        let config = &self.server.config;
        let from = self.control.peer().ip();
        let patience = config.connect_timeout;
        let local = self.control.local().map_err(|error| unlistened(&error))?;
        let listener = listen(local, config.active_ports.clone())
            .await
            .map_err(|error| unlistened(&error))?;
        let port = listener
            .local_addr()
            .map_err(|error| unlistened(&error))?
            .port();
        let told = config.active_address.unwrap_or(local.ip());
        let mut reply = self.exchange(port_command(told, port)).await?;
        if told.is_ipv4() && matches!(reply.code, 500 | 502) {
            reply = self.exchange(eprt(told, port)).await?;
        }
        if !reply.is_success() {
            return Err(Error::from_reply("PORT", &reply));
        }
        let expected = Expected {
            listener,
            from,
            patience,
        };
        Ok(Armed::expecting(expected))
    }
}

fn unlistened(error: &io::Error) -> Error {
    Error::new(
        ErrorKind::Unreachable,
        "listen for data connections",
        error.to_string(),
    )
}

/// Listens where the control connection comes from, on one of `ports`.
async fn listen(local: SocketAddr, ports: Option<RangeInclusive<u16>>) -> io::Result<TcpListener> {
    let mut last = None;
    for port in ports.unwrap_or(0..=0) {
        let mut address = local;
        address.set_port(port);
        match TcpListener::bind(address).await {
            Ok(listener) => return Ok(listener),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| io::ErrorKind::AddrInUse.into()))
}

fn port_command(address: IpAddr, port: u16) -> Command {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            let [high, low] = port.to_be_bytes();
            Command::new("PORT", format!("{a},{b},{c},{d},{high},{low}"))
        }
        IpAddr::V6(_) => eprt(address, port),
    }
}

fn eprt(address: IpAddr, port: u16) -> Command {
    let family = if address.is_ipv4() { 1 } else { 2 };
    Command::new("EPRT", format!("|{family}|{address}|{port}|"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_said_in_the_forms_of_both_rfcs() {
        let said = |address: &str, port| {
            port_command(address.parse().expect("an address"), port).to_string()
        };
        assert_eq!(said("192.0.2.7", 2121), "PORT \"192,0,2,7,8,73\"");
        assert_eq!(said("2001:db8::7", 2121), "EPRT \"|2|2001:db8::7|2121|\"");
    }
}
