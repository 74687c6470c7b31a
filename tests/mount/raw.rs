//! A control connection without a client: for what the tests ask of the servers themselves.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A session that sends bytes as they are given and returns whole replies.
pub struct RawSession {
    control: BufReader<TcpStream>,
}

impl RawSession {
    /// Connects, without reading the greeting.
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        let control = TcpStream::connect_timeout(&address, DEADLINE)?;
        control.set_read_timeout(Some(DEADLINE))?;
        control.set_nodelay(true)?;
        Ok(Self {
            control: BufReader::new(control),
        })
    }

    /// Connects, reads the greeting and logs in.
    pub fn login(address: SocketAddr, user: &str, password: &str) -> io::Result<Self> {
        let mut session = Self::connect(address)?;
        session.expect("220")?;
        session.send(&format!("USER {user}"))?;
        session.expect("331")?;
        session.send(&format!("PASS {password}"))?;
        session.expect("230")?;
        Ok(session)
    }

    /// Sends one command, without waiting for its reply.
    pub fn send(&mut self, command: &str) -> io::Result<()> {
        self.control
            .get_mut()
            .write_all(format!("{command}\r\n").as_bytes())
    }

    /// Reads one reply with all its lines; empty when the server has closed the connection.
    pub fn reply(&mut self) -> io::Result<String> {
        let mut reply = String::new();
        self.control.read_line(&mut reply)?;
        if reply.as_bytes().get(3) == Some(&b'-') {
            let last = format!("{} ", &reply[..3]);
            let mut line = String::new();
            while !line.starts_with(&last) {
                line.clear();
                if self.control.read_line(&mut line)? == 0 {
                    break;
                }
                reply.push_str(&line);
            }
        }
        Ok(reply)
    }

    /// Sends a command and reads its reply.
    pub fn command(&mut self, command: &str) -> io::Result<String> {
        self.send(command)?;
        self.reply()
    }

    /// Reads a reply, which has to begin with `code`.
    pub fn expect(&mut self, code: &str) -> io::Result<String> {
        let reply = self.reply()?;
        if !reply.starts_with(code) {
            return Err(io::Error::other(format!("{code} expected, got {reply:?}")));
        }
        Ok(reply)
    }

    /// Opens a data connection by `EPSV`.
    pub fn passive(&mut self) -> io::Result<TcpStream> {
        let reply = self.command("EPSV")?;
        let port = reply
            .split('|')
            .nth(3)
            .and_then(|port| port.parse().ok())
            .ok_or_else(|| io::Error::other(format!("no port in {reply:?}")))?;
        let mut address = self.control.get_ref().peer_addr()?;
        address.set_port(port);
        let data = TcpStream::connect_timeout(&address, DEADLINE)?;
        data.set_read_timeout(Some(DEADLINE))?;
        Ok(data)
    }

    /// Runs a download; returns its bytes, up to where the connection broke, and the last reply.
    pub fn download(&mut self, command: &str) -> io::Result<(Vec<u8>, String)> {
        let mut data = self.passive()?;
        self.send(command)?;
        let mut bytes = Vec::new();
        let _ = data.read_to_end(&mut bytes);
        // ProFTPD holds its 226 back until the client has closed too.
        drop(data);
        Ok((bytes, self.last_reply()?))
    }

    /// Runs an upload; returns the last reply.
    pub fn upload(&mut self, command: &str, bytes: &[u8]) -> io::Result<String> {
        let mut data = self.passive()?;
        self.send(command)?;
        // The server may refuse the command, or cut the transfer: its reply says so.
        let _ = data.write_all(bytes);
        drop(data);
        self.last_reply()
    }

    fn last_reply(&mut self) -> io::Result<String> {
        let reply = self.reply()?;
        if reply.starts_with('1') {
            return self.reply();
        }
        Ok(reply)
    }
}

/// Longest wait for a connection or a reply; a server that takes longer is stuck.
const DEADLINE: Duration = Duration::from_secs(10);
