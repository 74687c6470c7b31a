//! How TCP connections are made: from an address of this machine, and through a proxy.

use std::io;
use std::net::{IpAddr, SocketAddr};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use httparse::{EMPTY_HEADER, Response, Status};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio_socks::tcp::Socks5Stream;
use tokio_socks::{IntoTargetAddr, TargetAddr};
use zeroize::Zeroizing;

use super::config::{Proxy, ProxyKind, Route};
use super::path::printable;

/// Where a connection is to lead.
#[derive(Clone, Debug)]
pub(super) enum Target {
    /// An address.
    Address(SocketAddr),
    /// A name that the proxy resolves, or an address without brackets, and a port.
    Name(String, u16),
}

impl Route {
    /// Connects to `target`. Dropping the future closes the connection.
    pub(super) async fn connect(&self, target: &Target) -> io::Result<TcpStream> {
        let Some(proxy) = &self.proxy else {
            return match target {
                Target::Address(address) => self.connect_directly(*address).await,
                Target::Name(host, port) => self.connect_to_any(host, *port).await,
            };
        };
        let through = |error: io::Error| {
            let text = format!("through the proxy {}: {error}", proxy.host);
            io::Error::new(error.kind(), text)
        };
        let stream = self.connect_to_any(&proxy.host, proxy.port).await;
        let stream = stream.map_err(through)?;
        let led = match proxy.kind {
            ProxyKind::Socks5 => by_socks(stream, proxy, target).await,
            ProxyKind::Http => by_http(stream, proxy, target).await,
        };
        led.map_err(through)
    }

    async fn connect_to_any(&self, host: &str, port: u16) -> io::Result<TcpStream> {
        let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in lookup_host((host, port)).await? {
            match self.connect_directly(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// Connects to `address` without a proxy, from the source address if one is given.
    pub(super) async fn connect_directly(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let Some(source) = self.source_address else {
            return TcpStream::connect(address).await;
        };
        let failed = |error: io::Error| {
            io::Error::new(
                error.kind(),
                format!("from source_address={source}: {error}"),
            )
        };
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4(),
            SocketAddr::V6(_) => TcpSocket::new_v6(),
        }?;
        socket.bind(SocketAddr::new(source, 0)).map_err(failed)?;
        socket.connect(address).await.map_err(failed)
    }
}

/// SOCKS 5 (RFC 1928, RFC 1929).
async fn by_socks(stream: TcpStream, proxy: &Proxy, target: &Target) -> io::Result<TcpStream> {
    let target: TargetAddr<'_> = match target {
        Target::Address(address) => TargetAddr::Ip(*address),
        Target::Name(host, port) => match host.parse::<IpAddr>() {
            Ok(ip) => TargetAddr::Ip(SocketAddr::new(ip, *port)),
            Err(_) => (host.as_str(), *port)
                .into_target_addr()
                .map_err(io::Error::other)?,
        },
    };
    let connected = match &proxy.login {
        None => Socks5Stream::connect_with_socket(stream, target).await,
        Some((user, password)) => {
            let password = password.reveal();
            Socks5Stream::connect_with_password_and_socket(stream, target, user, password).await
        }
    };
    connected
        .map(Socks5Stream::into_inner)
        .map_err(io::Error::other)
}

/// `CONNECT` (RFC 9110 s9.3.6).
async fn by_http(mut stream: TcpStream, proxy: &Proxy, target: &Target) -> io::Result<TcpStream> {
    let target = match target {
        Target::Address(address) => address.to_string(),
        Target::Name(host, port) if host.contains(':') => format!("[{host}]:{port}"),
        Target::Name(host, port) => format!("{host}:{port}"),
    };
    let mut request = Zeroizing::new(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n"));
    if let Some((user, password)) = &proxy.login {
        let login = Zeroizing::new(format!("{user}:{}", password.reveal()));
        let login = Zeroizing::new(BASE64_STANDARD.encode(login.as_bytes()));
        request.push_str("Proxy-Authorization: Basic ");
        request.push_str(&login);
        request.push_str("\r\n");
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes()).await?;

    let mut head = Vec::new();
    while head.len() < LONGEST_HEAD {
        // One by one: what comes behind the head is the FTP server's, which speaks first.
        head.push(stream.read_u8().await?);
        if !head.ends_with(b"\n") {
            continue;
        }
        let mut headers = [EMPTY_HEADER; MOST_HEADERS];
        let mut response = Response::new(&mut headers);
        match response.parse(&head) {
            Ok(Status::Partial) => {}
            Ok(Status::Complete(_)) if response.code.is_some_and(|code| code / 100 == 2) => {
                return Ok(stream);
            }
            Ok(Status::Complete(_)) | Err(_) => {
                let said = head.split(|&b| b == b'\r').next().unwrap_or_default();
                return Err(io::Error::other(printable(said)));
            }
        }
    }
    Err(io::Error::other("its answer has no end"))
}

/// As much as servers of the web read of a request.
const LONGEST_HEAD: usize = 8 << 10;
const MOST_HEADERS: usize = 64;
