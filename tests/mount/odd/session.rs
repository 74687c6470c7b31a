//! One control connection of the scripted server: the verbs, and where the faults happen.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::ops::ControlFlow::{self, Break, Continue};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, SockRef, Socket, Type};

use super::control::Control;
use super::tree::{Node, NodeKind};
use super::{Cut, Fault, State, Step, Times, lock};

/// One control connection.
pub struct Session {
    control: BufReader<Control>,
    shared: Arc<Mutex<State>>,
    folder: Vec<u8>,
    data: Option<Data>,
    restart: usize,
    rename_from: Option<Vec<u8>>,
    /// The command's final reply is to be lost.
    losing: bool,
}

/// Where the next data connection comes from.
enum Data {
    /// The client connects.
    Passive(TcpListener),
    /// The client waits there.
    Active(SocketAddr),
}

/// `Break` ends the session.
type Outcome = io::Result<ControlFlow<()>>;

impl Session {
    pub fn new(control: TcpStream, shared: Arc<Mutex<State>>) -> Self {
        let control = BufReader::new(Control::Plain(control));
        Self {
            control,
            shared,
            folder: b"/".to_vec(),
            data: None,
            restart: 0,
            rename_from: None,
            losing: false,
        }
    }

    /// Serves until the client leaves or a step or fault ends the session.
    pub fn serve(&mut self) -> io::Result<()> {
        let greeting = {
            let state = lock(&self.shared);
            self.folder.clone_from(&state.start_in);
            state.greeting.clone()
        };
        if self.run(greeting, "", b"")?.is_break() {
            return Ok(());
        }
        let mut line = Vec::new();
        while self.control.read_until(b'\n', &mut line)? > 0 {
            // Only the line's end: a path may end in spaces.
            let text = line.strip_suffix(b"\n").unwrap_or(&line);
            let text = text.strip_suffix(b"\r").unwrap_or(text);
            let (verb, argument) = match text.iter().position(|byte| *byte == b' ') {
                Some(space) => (&text[..space], &text[space + 1..]),
                None => (text, &b""[..]),
            };
            let verb = String::from_utf8_lossy(verb).to_ascii_uppercase();
            if self.command(&verb, argument)?.is_break() {
                break;
            }
            line.clear();
        }
        Ok(())
    }

    fn command(&mut self, verb: &str, argument: &[u8]) -> Outcome {
        let script = {
            let mut state = lock(&self.shared);
            state.received.push((verb.to_owned(), argument.to_vec()));
            state.scripts.get(verb).cloned()
        };
        if self
            .fault(verb, |fault| fault == Fault::DropControl)
            .is_some()
        {
            return Ok(Break(()));
        }
        if let Some(script) = script {
            return self.run(script(argument), verb, argument);
        }
        self.usual(verb, argument)
    }

    fn run(&mut self, steps: Vec<Step>, verb: &str, argument: &[u8]) -> Outcome {
        for step in steps {
            match step {
                Step::Send(bytes) => self.control.get_mut().write_all(&bytes)?,
                Step::Wait(duration) => thread::sleep(duration),
                Step::Close => return Ok(Break(())),
                Step::Usual if self.usual(verb, argument)?.is_break() => return Ok(Break(())),
                Step::Usual => {}
            }
        }
        Ok(Continue(()))
    }

    /// Takes the first fault of `verb` that is `wanted`.
    fn fault(&self, verb: &str, wanted: impl Fn(Fault) -> bool) -> Option<Fault> {
        let faults = &mut lock(&self.shared).faults;
        let index = faults
            .iter()
            .position(|(of, fault, _)| of == verb && wanted(*fault))?;
        let (_, fault, times) = faults[index];
        if times == Times::Once {
            faults.remove(index);
        }
        Some(fault)
    }

    fn usual(&mut self, verb: &str, argument: &[u8]) -> Outcome {
        if let Some(Fault::Refuse(code)) =
            self.fault(verb, |fault| matches!(fault, Fault::Refuse(_)))
        {
            return self.reply(format!("{code} Refused").as_bytes());
        }
        self.losing = self
            .fault(verb, |fault| fault == Fault::LoseReply)
            .is_some();
        match verb {
            "RETR" | "LIST" | "NLST" | "MLSD" => return self.send_data(verb, argument),
            "STOR" | "APPE" => return self.receive_data(verb, argument),
            "AUTH" => return self.encrypt(),
            _ => {}
        }
        let reply = self.answer(verb, argument);
        let outcome = self.reply(&reply)?;
        Ok(if verb == "QUIT" { Break(()) } else { outcome })
    }

    /// `AUTH`
    fn encrypt(&mut self) -> Outcome {
        let Some(tls) = lock(&self.shared).tls.clone() else {
            return self.reply(b"502 Not implemented");
        };
        let outcome = self.reply(b"234 Go on")?;
        let plain = self.control.get_ref().tcp().try_clone()?;
        self.control = BufReader::new(Control::encrypted(plain, tls)?);
        Ok(outcome)
    }

    /// Sends a final reply, or loses it.
    fn reply(&mut self, reply: &[u8]) -> Outcome {
        if self.losing {
            return Ok(Break(()));
        }
        let junk = lock(&self.shared).junk.clone();
        self.write(&[&junk, reply, b"\r\n"].concat())?;
        Ok(Continue(()))
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let split = lock(&self.shared).split;
        let piece = if split { 1 } else { bytes.len() };
        for piece in bytes.chunks(piece.max(1)) {
            self.control.get_mut().write_all(piece)?;
        }
        Ok(())
    }

    /// Does a command without a transfer; returns its reply.
    fn answer(&mut self, verb: &str, argument: &[u8]) -> Vec<u8> {
        let path = self.absolute(argument);
        let shared = self.shared.clone();
        let mut state = lock(&shared);
        let State { tree, features, .. } = &mut *state;
        match verb {
            "USER" => b"331 Password please".into(),
            "PASS" => b"230 Welcome".into(),
            "SYST" => b"215 UNIX Type: L8".into(),
            "QUIT" => b"221 Bye".into(),
            "NOOP" | "TYPE" | "MODE" | "STRU" | "OPTS" | "PBSZ" | "PROT" => b"200 Done".into(),
            "FEAT" if features.is_empty() => b"502 Not implemented".into(),
            "FEAT" => format!("211-Features\r\n {}\r\n211 End", features.join("\r\n ")).into(),
            "PWD" => [
                b"257 \"",
                doubled(&self.folder).as_slice(),
                b"\" is the folder",
            ]
            .concat(),
            "CWD" if tree.is_folder(&path) => {
                self.folder = path;
                b"250 Done".into()
            }
            "EPSV" | "PASV" => {
                let address = state.pasv_address;
                self.listen(verb, address)
            }
            "PORT" | "EPRT" => match told_address(verb, argument) {
                Some(address) => {
                    self.data = Some(Data::Active(address));
                    b"200 There".into()
                }
                None => b"501 No address".into(),
            },
            "REST" => match std::str::from_utf8(argument).map(str::parse) {
                Ok(Ok(offset)) => {
                    self.restart = offset;
                    format!("350 Restarting at {offset}").into()
                }
                _ => b"501 Not a number".into(),
            },
            "SIZE" => match tree.content(&path) {
                Some(content) => format!("213 {}", content.len()).into(),
                None => REFUSED.into(),
            },
            "MDTM" => match tree.get(&path) {
                Some(node) if node.content.is_some() => {
                    [b"213 ", node.modified.as_slice()].concat()
                }
                _ => REFUSED.into(),
            },
            "MLST" => match tree.get(&path) {
                Some(node) => [
                    b"250-Listing\r\n ",
                    node.mlsx_line(node.kind(), &path).as_slice(),
                    b"250 End",
                ]
                .concat(),
                None => REFUSED.into(),
            },
            "MFMT" => {
                let (time, name) = argument.split_at(argument.len().min(b"yyyymmddhhmmss".len()));
                match tree.get_mut(&self.absolute(name.strip_prefix(b" ").unwrap_or(name))) {
                    Some(node) => {
                        node.modified = time.to_vec();
                        [b"213 Modify=", time, b";", name].concat()
                    }
                    None => REFUSED.into(),
                }
            }
            "DELE" if tree.remove(&path, NodeKind::File) => b"250 Deleted".into(),
            "RMD" if tree.remove(&path, NodeKind::Folder) => b"250 Removed".into(),
            "MKD" if tree.get(&path).is_none() && tree.takes_file(&path) => {
                tree.put(&path, Node::folder());
                [b"257 \"", doubled(&path).as_slice(), b"\" made"].concat()
            }
            "RNFR" if tree.get(&path).is_some() => {
                self.rename_from = Some(path);
                b"350 And to?".into()
            }
            "RNTO" => match self.rename_from.take() {
                Some(from) if tree.takes_file(&path) => {
                    tree.rename(&from, &path);
                    b"250 Renamed".into()
                }
                Some(_) => REFUSED.into(),
                None => b"503 RNFR first".into(),
            },
            "SITE" => match argument.splitn(3, |byte| *byte == b' ').collect::<Vec<_>>()[..] {
                [b"CHMOD", mode, name] => {
                    let mode = std::str::from_utf8(mode).map(|mode| u32::from_str_radix(mode, 8));
                    match (mode, tree.get_mut(&self.absolute(name))) {
                        (Ok(Ok(mode)), Some(node)) => {
                            node.mode = mode;
                            b"200 Done".into()
                        }
                        _ => REFUSED.into(),
                    }
                }
                _ => b"504 Not implemented".into(),
            },
            "CWD" | "DELE" | "RMD" | "MKD" | "RNFR" => REFUSED.into(),
            _ => b"502 Not implemented".into(),
        }
    }

    /// `EPSV`, `PASV`.
    fn listen(&mut self, verb: &str, [a, b, c, d]: [u8; 4]) -> Vec<u8> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        match listener.and_then(|listener| Ok((listener.local_addr()?.port(), listener))) {
            Ok((port, listener)) => {
                self.data = Some(Data::Passive(listener));
                let (high, low) = (port >> 8, port & 255);
                match verb {
                    "EPSV" => format!("229 Entering (|||{port}|)").into(),
                    _ => format!("227 Entering ({a},{b},{c},{d},{high},{low})").into(),
                }
            }
            Err(error) => format!("425 {error}").into(),
        }
    }

    /// `RETR`, `LIST`, `NLST`, `MLSD`.
    fn send_data(&mut self, verb: &str, argument: &[u8]) -> Outcome {
        let (all, argument) = match argument.strip_prefix(b"-a") {
            Some(rest) if verb == "LIST" => (true, rest.trim_ascii_start()),
            _ => (false, argument),
        };
        let path = self.absolute(argument);
        let start = std::mem::take(&mut self.restart);
        let Some(mut bytes) = self.bytes_of(verb, &path, start, all) else {
            return self.reply(REFUSED);
        };
        let Some(mut data) = self.data_connection()? else {
            return self.reply(b"425 No data connection");
        };
        if let Some((after, cut)) = self.cut_fault(verb) {
            bytes.truncate(after);
            data.write_all(&bytes)?;
            return self.cut(data, cut);
        }
        // A client stops a download by closing its data connection.
        let endless = lock(&self.shared).endless.get(verb).cloned();
        if let Some(piece) = endless {
            while data.write_all(&piece).is_ok() {}
        }
        let sent = data.write_all(&bytes);
        drop(data);
        self.reply(if sent.is_ok() {
            b"226 Sent"
        } else {
            b"426 Connection closed"
        })
    }

    fn bytes_of(&self, verb: &str, path: &[u8], start: usize, all: bool) -> Option<Vec<u8>> {
        let State { tree, bodies, .. } = &*lock(&self.shared);
        match verb {
            _ if bodies.contains_key(verb) => bodies.get(verb).cloned(),
            "MLSD" => tree.mlsd(path),
            "LIST" => tree.list(path, all),
            "NLST" => tree.names(path),
            _ => Some(
                tree.content(path)?
                    .get(start..)
                    .unwrap_or_default()
                    .to_vec(),
            ),
        }
    }

    /// `STOR`, `APPE`; after a `REST`, `STOR` writes into the file and keeps what lies behind.
    fn receive_data(&mut self, verb: &str, argument: &[u8]) -> Outcome {
        let path = self.absolute(argument);
        let restart = std::mem::take(&mut self.restart);
        if !lock(&self.shared).tree.takes_file(&path) {
            return self.reply(REFUSED);
        }
        let Some(mut data) = self.data_connection()? else {
            return self.reply(b"425 No data connection");
        };
        let cut = self.cut_fault(verb);
        let most = cut.map_or(u64::MAX, |(after, _)| after as u64);
        let mut bytes = Vec::new();
        let received = (&mut data).take(most).read_to_end(&mut bytes);
        self.keep(verb, &path, restart, &bytes);
        if let Some((_, cut)) = cut {
            return self.cut(data, cut);
        }
        self.reply(if received.is_ok() {
            b"226 Received"
        } else {
            b"426 Connection closed"
        })
    }

    fn keep(&self, verb: &str, path: &[u8], restart: usize, bytes: &[u8]) {
        let tree = &mut lock(&self.shared).tree;
        match verb {
            "APPE" => tree.write(path, tree.content(path).map_or(0, <[u8]>::len), bytes),
            _ if restart > 0 => tree.write(path, restart, bytes),
            _ => tree.put(path, Node::file(bytes)),
        }
    }

    fn cut_fault(&self, verb: &str) -> Option<(usize, Cut)> {
        match self.fault(verb, |fault| matches!(fault, Fault::CutAfter(..)))? {
            Fault::CutAfter(bytes, cut) => Some((bytes, cut)),
            _ => None,
        }
    }

    /// Ends a transfer that is not complete.
    fn cut(&mut self, data: TcpStream, cut: Cut) -> Outcome {
        match cut {
            Cut::Reset => reset(&data)?,
            Cut::Close | Cut::Lie => {}
            Cut::Session => {
                reset(&data)?;
                reset(self.control.get_ref().tcp())?;
                return Ok(Break(()));
            }
        }
        drop(data);
        self.reply(if cut == Cut::Lie {
            b"226 Done"
        } else {
            b"426 Connection closed"
        })
    }

    /// Makes the data connection, or takes the client's, and says 150; `None` if there is none.
    fn data_connection(&mut self) -> io::Result<Option<TcpStream>> {
        let listener = match self.data.take() {
            None => return Ok(None),
            Some(Data::Passive(listener)) => listener,
            Some(Data::Active(address)) => {
                if lock(&self.shared).stranger {
                    intrude(address)?;
                }
                let Ok(data) = TcpStream::connect(address) else {
                    return Ok(None);
                };
                lock(&self.shared).peers.push(address.ip());
                self.write(b"150 Here it comes\r\n")?;
                return Ok(Some(data));
            }
        };
        listener.set_nonblocking(true)?;
        let asked = Instant::now();
        let data = loop {
            match listener.accept() {
                Ok((data, _)) => break data,
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                Err(_) if asked.elapsed() > DATA_DEADLINE => return Ok(None),
                Err(_) => thread::sleep(Duration::from_millis(1)),
            }
        };
        data.set_nonblocking(false)?;
        lock(&self.shared).peers.push(data.peer_addr()?.ip());
        self.write(b"150 Here it comes\r\n")?;
        Ok(Some(data))
    }

    fn absolute(&self, path: &[u8]) -> Vec<u8> {
        let joined = match path {
            [b'/', ..] => path.to_vec(),
            _ => [&self.folder, &b"/"[..], path].concat(),
        };
        let mut absolute = Vec::new();
        for part in joined.split(|byte| *byte == b'/') {
            match part {
                b"" | b"." => {}
                b".." => {
                    absolute.truncate(absolute.iter().rposition(|byte| *byte == b'/').unwrap_or(0))
                }
                _ => absolute.extend([b"/", part].concat()),
            }
        }
        if absolute.is_empty() {
            absolute.push(b'/');
        }
        absolute
    }
}

/// Makes dropping `stream` send a reset, with what was written before.
fn reset(stream: &TcpStream) -> io::Result<()> {
    SockRef::from(stream).set_linger(Some(Duration::ZERO))
}

/// Quotes doubled, as in a reply to `PWD` (RFC 959 appendix II).
fn doubled(path: &[u8]) -> Vec<u8> {
    path.iter()
        .flat_map(|byte| {
            if *byte == b'"' {
                &b"\"\""[..]
            } else {
                std::slice::from_ref(byte)
            }
        })
        .copied()
        .collect()
}

/// The address in the argument of `PORT` or `EPRT`.
fn told_address(verb: &str, argument: &[u8]) -> Option<SocketAddr> {
    let text = std::str::from_utf8(argument).ok()?;
    if verb == "EPRT" {
        let parts: Vec<&str> = text.split('|').collect();
        return Some(SocketAddr::new(
            parts.get(2)?.parse().ok()?,
            parts.get(3)?.parse().ok()?,
        ));
    }
    let numbers: Vec<u8> = text
        .split(',')
        .map(str::parse)
        .collect::<Result<_, _>>()
        .ok()?;
    let [a, b, c, d, high, low] = numbers.try_into().ok()?;
    let ip = IpAddr::V4(Ipv4Addr::new(a, b, c, d));
    Some(SocketAddr::new(ip, u16::from_be_bytes([high, low])))
}

/// Connects to `address` from another machine's, as it were, and sends bytes of its own.
fn intrude(address: SocketAddr) -> io::Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from(([127, 0, 0, 2], 0)).into())?;
    socket.connect(&address.into())?;
    TcpStream::from(socket).write_all(b"a stranger's")
}

/// The reply to what cannot be done; like that of the real servers it does not say why.
const REFUSED: &[u8] = b"550 No such file or folder, or it is in the way";
/// Longest wait for the client's data connection.
const DATA_DEADLINE: Duration = Duration::from_secs(10);
