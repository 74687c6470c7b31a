//! Mounts through proxies: a small one that speaks SOCKS 5 and HTTP, and a server in the place of one that speaks FTP.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use libtest_mimic::{Failed, Trial};

use crate::model_mount::ModelMount;
use crate::odd::Odd;
use crate::servers::{Server, ServerKind};
use crate::ways::Way;

/// The trials.
pub fn trials() -> Vec<Trial> {
    let trial =
        |name: &str, run: fn() -> Result<(), Failed>| Trial::test(format!("system::{name}"), run);
    vec![
        trial("a_mount_through_a_socks_proxy", || through("socks5")),
        trial("a_mount_through_an_http_proxy", || through("http")),
        trial("a_proxy_that_refuses_is_named", refused),
        trial("an_ftp_proxy_is_told_the_server", ftp_proxy),
    ]
}

fn through(scheme: &str) -> Result<(), Failed> {
    for way in [Way::Plain, Way::Tls] {
        let server = Server::reached_by(ServerKind::Embedded, way);
        fs::write(server.root.join("file"), vec![7; 300_000])?;
        let proxy = Proxy::start()?;
        // A name: the proxy resolves it. The certificate of the tests is for an address.
        let host = match way {
            Way::Plain => "localhost",
            _ => "127.0.0.1",
        };
        let url = server.mount_url().replace("127.0.0.1", host);
        let option = format!("proxy={scheme}://bob:hunter2@{}", proxy.address);
        let ways = server.mount_options();
        let mut options: Vec<&str> = ways.iter().map(String::as_str).collect();
        options.push(&option);
        let mount = ModelMount::start(&url, server.password, &options)?;
        assert_eq!(fs::read(mount.path.join("file"))?, vec![7; 300_000]);
        fs::write(mount.path.join("new"), vec![8; 300_000])?;
        assert_eq!(fs::read(server.root.join("new"))?, vec![8; 300_000]);
        let seen = proxy.seen();
        let control = format!("{host}:{}", server.port);
        assert!(seen.contains(&control), "{seen:?}");
        let data = seen.iter().filter(|target| **target != control);
        let data: Vec<_> = data.collect();
        assert!(
            data.len() > 1 && data.iter().all(|t| t.starts_with(host)),
            "{seen:?}"
        );
        assert!(!mount.log().contains("hunter2"));
    }
    Ok(())
}

fn refused() -> Result<(), Failed> {
    let server = Server::start(ServerKind::Embedded);
    let proxy = Proxy::start()?;
    for scheme in ["socks5", "http"] {
        let option = format!("proxy={scheme}://bob:wrong@{}", proxy.address);
        let error = ModelMount::start(&server.mount_url(), server.password, &[&option]).err();
        let error = error.ok_or("it mounts")?;
        assert!(error.contains("through the proxy 127.0.0.1: "), "{error}");
        assert!(!error.contains("wrong"), "{error}");
    }
    assert!(proxy.seen().is_empty());
    Ok(())
}

fn ftp_proxy() -> Result<(), Failed> {
    let odd = Odd::start();
    odd.put("/file", b"content");
    let option = format!("proxy=ftp://{}", odd.address());
    let mount = ModelMount::start("ftp://bob@ftp.example.org/", "password", &[&option])?;
    assert_eq!(fs::read(mount.path.join("file"))?, b"content");
    let user = ("USER".to_owned(), b"bob@ftp.example.org".to_vec());
    assert!(odd.received().contains(&user));
    Ok(())
}

/// A proxy for bob, whose password is hunter2.
struct Proxy {
    address: SocketAddr,
    /// Where it has led to.
    seen: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let seen = Arc::<Mutex<Vec<String>>>::default();
        let sink = seen.clone();
        thread::spawn(move || {
            while let Ok((client, _)) = listener.accept() {
                let sink = sink.clone();
                thread::spawn(move || {
                    // A client that is refused, or leaves, is what is tested.
                    let _ = lead(client, &sink);
                });
            }
        });
        Ok(Self { address, seen })
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().expect("no panic while locked").clone()
    }
}

fn lead(mut client: TcpStream, seen: &Mutex<Vec<String>>) -> io::Result<()> {
    let mut first = [0];
    client.peek(&mut first)?;
    let (target, accepted) = match first {
        [5] => (socks(&mut client)?, &b"\x05\x00\x00\x01\0\0\0\0\0\0"[..]),
        _ => (
            http(&mut client)?,
            &b"HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n"[..],
        ),
    };
    let is_control = {
        let mut seen = seen.lock().expect("no panic while locked");
        seen.push(target.clone());
        seen.len() == 1
    };
    let mut server = TcpStream::connect(&target)?;
    let mut answer = accepted.to_vec();
    if is_control {
        // The greeting in one packet with the proxy's own answer, as it may come.
        let mut greeting = [0; 1000];
        let length = server.read(&mut greeting)?;
        answer.extend_from_slice(&greeting[..length]);
    }
    client.write_all(&answer)?;
    let (mut from, mut to) = (client.try_clone()?, server.try_clone()?);
    let sending = thread::spawn(move || pass(&mut from, &mut to));
    pass(&mut server, &mut client);
    let _ = sending.join();
    Ok(())
}

/// Passes on what comes, and its end.
fn pass(from: &mut TcpStream, to: &mut TcpStream) {
    let _ = io::copy(from, to);
    let _ = to.shutdown(Shutdown::Write);
}

/// RFC 1928 and RFC 1929: `host:port`.
fn socks(client: &mut TcpStream) -> io::Result<String> {
    let methods = take(client, 2)?[1];
    if !take(client, methods.into())?.contains(&2) {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    client.write_all(&[5, 2])?;
    let length = take(client, 2)?[1];
    let user = take(client, length.into())?;
    let length = take(client, 1)?[0];
    let password = take(client, length.into())?;
    let known = (&*user, &*password) == (b"bob", b"hunter2");
    client.write_all(&[1, u8::from(!known)])?;
    let host = match take(client, 4)?[3] {
        1 => {
            let bytes = take(client, 4)?;
            Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]).to_string()
        }
        _ => {
            let length = take(client, 1)?[0];
            String::from_utf8_lossy(&take(client, length.into())?).into_owned()
        }
    };
    let port = take(client, 2)?;
    Ok(format!("{host}:{}", u16::from_be_bytes([port[0], port[1]])))
}

fn take(client: &mut TcpStream, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    client.read_exact(&mut bytes).map(|()| bytes)
}

/// RFC 9110 s9.3.6: `host:port`.
fn http(client: &mut TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    // bob:hunter2
    if !head.contains("\r\nProxy-Authorization: Basic Ym9iOmh1bnRlcjI=\r\n") {
        client.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")?;
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let words: Vec<&str> = head.split(' ').collect();
    Ok(words[1].to_owned())
}
