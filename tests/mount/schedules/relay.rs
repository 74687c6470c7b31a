//! A relay between a client and a real server, which knows control and data connections and does harm to them on order,
//! or makes the server one that has less.
//!
//! Passive mode by `EPSV`, in the clear.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use socket2::SockRef;

use crate::model_mount::pause;

/// What is done to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The control connection ends before the command is passed on.
    Drop,
    /// It is reset.
    Reset,
    /// It ends in place of the reply.
    LoseReply,
    /// It ends after these bytes of the reply.
    TruncateReply(usize),
    /// The reply comes twice, and then the connection ends.
    DoubleReply,
    /// The client hears no more, and may go on talking.
    HalfClose,
    /// "421 Service not available", and the connection ends.
    Say421,
    /// The command is passed on after these milliseconds.
    Delay(u64),
    /// The connection ends, and the command is passed on for all that, after these milliseconds.
    Late(u64),
    /// Nothing is passed on any more.
    Stall,
    /// As many next control connections are refused.
    Refuse(u32),
    /// The final reply of the next transfer does not come.
    NeverFinal,
    /// The next data connection suffers this after so many bytes.
    Data(Harm, u64),
}

/// What is done to a data connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harm {
    /// Both sides see its end.
    Cut,
    /// Both sides see a reset.
    Reset,
    /// Nothing is passed on any more.
    Stall,
    /// What the client sends is thrown away, and the server sees the end of it.
    Discard,
}

impl Fault {
    /// Its name in the count of what was done.
    fn name(self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::Reset => "reset",
            Self::LoseReply => "lost reply",
            Self::TruncateReply(_) => "truncated reply",
            Self::DoubleReply => "doubled reply",
            Self::HalfClose => "half-close",
            Self::Say421 => "421 in place of a reply",
            Self::Delay(_) => "delay",
            Self::Late(_) => "late command",
            Self::Stall => "stall",
            Self::Refuse(_) => "refused connection",
            Self::NeverFinal => "no final reply",
            Self::Data(Harm::Cut, _) => "data cut",
            Self::Data(Harm::Reset, _) => "data reset",
            Self::Data(Harm::Stall, _) => "data stall",
            Self::Data(Harm::Discard, _) => "data discarded",
        }
    }
}

/// What a server lacks that it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// These commands.
    Verbs(&'static [&'static str]),
    /// It takes what comes in one piece for one command, and drops the rest.
    Pipelining,
    /// It ends a data connection that waits for its command.
    Arming,
}

/// The relay; it ends with the process, or when it is dropped and its connections end.
pub struct Relay {
    /// Where it listens on 127.0.0.1.
    pub port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    server: SocketAddr,
    lack: Option<Lack>,
    orders: Mutex<Orders>,
    refuse: AtomicU32,
    /// Nothing gets through, either way, as when a cable is pulled.
    pulled: AtomicBool,
    /// Bytes of data that clients have sent.
    uploaded: AtomicU64,
    ended: AtomicBool,
}

#[derive(Default)]
struct Orders {
    /// Commands seen since the last orders.
    commands: u32,
    /// What is done at which command.
    faults: Vec<(u32, Fault)>,
    /// What is done at the next command of a verb.
    at_verbs: Vec<(&'static str, Fault)>,
    done: BTreeMap<&'static str, u64>,
}

impl Relay {
    /// A relay to `server`.
    pub fn start(server: SocketAddr) -> io::Result<Self> {
        Self::begin(server, None)
    }

    /// A relay to `server` that makes it lack something.
    pub fn lacking(server: SocketAddr, lack: Lack) -> io::Result<Self> {
        Self::begin(server, Some(lack))
    }

    fn begin(server: SocketAddr, lack: Option<Lack>) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared {
            server,
            lack,
            orders: Mutex::default(),
            refuse: AtomicU32::new(0),
            pulled: AtomicBool::new(false),
            uploaded: AtomicU64::new(0),
            ended: AtomicBool::new(false),
        });
        let own = shared.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if own.ended.load(Ordering::SeqCst) {
                    return;
                }
                let refuse = |left: u32| left.checked_sub(1);
                if own
                    .refuse
                    .fetch_update(Ordering::SeqCst, Ordering::SeqCst, refuse)
                    .is_ok()
                {
                    continue;
                }
                let own = own.clone();
                thread::spawn(move || {
                    // Its end is what the client sees.
                    let _ended = control(&own, client);
                });
            }
        });
        Ok(Self { port, shared })
    }

    /// From now on: what is done at which of the next commands.
    pub fn order(&self, faults: Vec<(u32, Fault)>) {
        let mut orders = self.shared.orders();
        orders.commands = 0;
        orders.faults = faults;
        orders.at_verbs.clear();
        self.shared.refuse.store(0, Ordering::SeqCst);
    }

    /// What is done at the next command `verb`, whenever that comes.
    pub fn order_at(&self, verb: &'static str, fault: Fault) {
        self.shared.orders().at_verbs.push((verb, fault));
    }

    /// From now on nothing gets through, or all does again.
    pub fn pull(&self, pulled: bool) {
        self.shared.pulled.store(pulled, Ordering::SeqCst);
    }

    /// Bytes of data that clients have sent so far.
    pub fn uploaded(&self) -> u64 {
        self.shared.uploaded.load(Ordering::SeqCst)
    }

    /// How often what was done.
    pub fn done(&self) -> BTreeMap<&'static str, u64> {
        self.shared.orders().done.clone()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        // Wakes the one who listens.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl Shared {
    fn orders(&self) -> MutexGuard<'_, Orders> {
        self.orders.lock().expect("no panic while locked")
    }

    fn wait_for_the_link(&self) {
        while self.pulled.load(Ordering::SeqCst) && !self.ended.load(Ordering::SeqCst) {
            pause(Duration::from_millis(5));
        }
    }

    /// Whether what `client` sent still arrives, after a wait for the link: what was given up meanwhile is not sent again.
    fn arrives(&self, client: &TcpStream) -> bool {
        if !self.pulled.load(Ordering::SeqCst) {
            return true;
        }
        self.wait_for_the_link();
        !has_ended(client)
    }

    /// What is to be done at the command `line`.
    fn next(&self, line: &[u8]) -> Option<Fault> {
        let mut orders = self.orders();
        orders.commands += 1;
        let now = orders.commands;
        let verb = line.split(u8::is_ascii_whitespace).next();
        let of_verb = orders
            .at_verbs
            .iter()
            .position(|(at, _)| verb == Some(at.as_bytes()));
        let fault = match of_verb {
            Some(at) => orders.at_verbs.remove(at).1,
            None => {
                let at = orders.faults.iter().position(|(at, _)| *at <= now)?;
                orders.faults.remove(at).1
            }
        };
        *orders.done.entry(fault.name()).or_default() += 1;
        Some(fault)
    }
}

/// What the two directions of one control connection tell each other.
#[derive(Default)]
struct Session {
    at_reply: Option<Fault>,
    at_data: Option<(Harm, u64)>,
    swallow_final: bool,
    /// Transfers that were begun.
    transfers: u32,
}

fn control(shared: &Arc<Shared>, client: TcpStream) -> io::Result<()> {
    shared.wait_for_the_link();
    let server = TcpStream::connect(shared.server)?;
    for side in [&client, &server] {
        side.set_nodelay(true)?;
    }
    let session = Arc::new(Mutex::new(Session::default()));
    let down = {
        let (session, client, server) = (session.clone(), client.try_clone()?, server.try_clone()?);
        let shared = shared.clone();
        thread::spawn(move || {
            let ended = replies(&shared, &session, &client, &server);
            if ended.is_ok() {
                end(&client, &server);
            }
        })
    };
    let ended = commands(shared, &session, &client, &server);
    if ended.is_ok() {
        end(&client, &server);
    }
    let _ = down.join();
    Ok(())
}

fn end(client: &TcpStream, server: &TcpStream) {
    for side in [client, server] {
        // It may have ended already.
        let _ = side.shutdown(Shutdown::Both);
    }
}

fn reset(client: &TcpStream, server: &TcpStream) {
    let _ = SockRef::from(client).set_linger(Some(Duration::ZERO));
    end(client, server);
}

/// Passes commands on until one side ends; an error where the connection is to be left as it is.
fn commands(
    shared: &Shared,
    session: &Mutex<Session>,
    client: &TcpStream,
    server: &TcpStream,
) -> io::Result<()> {
    let mut lines = BufReader::new(client);
    let mut line = Vec::new();
    loop {
        line.clear();
        if !matches!(lines.read_until(b'\n', &mut line), Ok(1..)) {
            return Ok(());
        }
        if !shared.arrives(client) {
            return Ok(());
        }
        match shared.next(&line) {
            None => {}
            Some(Fault::Drop) => return Ok(()),
            Some(Fault::Reset) => {
                reset(client, server);
                return Ok(());
            }
            Some(Fault::HalfClose) => {
                let _ = client.shutdown(Shutdown::Write);
            }
            Some(Fault::Say421) => {
                let mut client = client;
                let _ =
                    client.write_all(b"421 Service not available, closing control connection.\r\n");
                return Ok(());
            }
            Some(Fault::Delay(milliseconds)) => {
                pause(Duration::from_millis(milliseconds));
            }
            Some(Fault::Late(milliseconds)) => {
                let _ = client.shutdown(Shutdown::Both);
                pause(Duration::from_millis(milliseconds));
                let mut server = server;
                let _ = server.write_all(&line);
                // It is done before the connection ends, as if it had been read long ago.
                pause(DONE);
                return Ok(());
            }
            Some(Fault::Stall) => {
                // Until the client has had enough.
                while matches!(lines.read_until(b'\n', &mut line), Ok(1..)) {}
                return Ok(());
            }
            Some(Fault::Refuse(count)) => {
                shared.refuse.store(count, Ordering::SeqCst);
                return Ok(());
            }
            Some(Fault::NeverFinal) => locked(session).swallow_final = true,
            Some(Fault::Data(harm, after)) => locked(session).at_data = Some((harm, after)),
            Some(fault @ (Fault::LoseReply | Fault::TruncateReply(_) | Fault::DoubleReply)) => {
                locked(session).at_reply = Some(fault);
            }
        }
        let verb = line.split(|byte| byte.is_ascii_whitespace()).next();
        let verb = String::from_utf8_lossy(verb.unwrap_or_default()).to_uppercase();
        if TRANSFERS.contains(&verb.as_str()) {
            locked(session).transfers += 1;
        }
        match shared.lack {
            // The server refuses it itself, in its turn.
            Some(Lack::Verbs(verbs)) if verbs.contains(&verb.as_str()) => {
                line = b"XLACKS\r\n".to_vec();
            }
            Some(Lack::Pipelining) => {
                let more = lines.buffer().len();
                lines.consume(more);
            }
            _ => {}
        }
        let mut server = server;
        if server.write_all(&line).is_err() {
            return Ok(());
        }
    }
}

/// Passes replies on, those to `EPSV` with a port of our own.
fn replies(
    shared: &Arc<Shared>,
    session: &Arc<Mutex<Session>>,
    client: &TcpStream,
    server: &TcpStream,
) -> io::Result<()> {
    let mut lines = BufReader::new(server);
    let mut client = client;
    loop {
        let mut line = Vec::new();
        if !matches!(lines.read_until(b'\n', &mut line), Ok(1..)) {
            return Ok(());
        }
        shared.wait_for_the_link();
        if let Some(port) = extended_passive(&line) {
            let own = data(shared, session, port)?;
            line = format!("229 Entering Extended Passive Mode (|||{own}|)\r\n").into_bytes();
        }
        let fault = {
            let mut session = locked(session);
            let is_final = [&b"226"[..], b"250"]
                .iter()
                .any(|code| line.starts_with(code));
            if is_final && std::mem::take(&mut session.swallow_final) {
                continue;
            }
            session.at_reply.take()
        };
        // A client that has gone is for those to notice who read from it.
        let _told = match fault {
            Some(Fault::LoseReply) => return Ok(()),
            Some(Fault::TruncateReply(bytes)) => {
                let _ = client.write_all(&line[..bytes.min(line.len() - 1)]);
                return Ok(());
            }
            Some(Fault::DoubleReply) => {
                let _ = client.write_all(&[&line[..], &line].concat());
                return Ok(());
            }
            _ => client.write_all(&line),
        };
    }
}

fn has_ended(client: &TcpStream) -> bool {
    let mut byte = [0; 1];
    match recv(client, &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT) {
        Ok((_, length)) => length == 0,
        Err(error) => error != Errno::AGAIN,
    }
}

fn extended_passive(line: &[u8]) -> Option<u16> {
    let text = std::str::from_utf8(line.strip_prefix(b"229 ")?).ok()?;
    text.split("|||").nth(1)?.split('|').next()?.parse().ok()
}

/// Listens for one data connection, to be passed on to `port` of the server.
fn data(shared: &Arc<Shared>, session: &Arc<Mutex<Session>>, port: u16) -> io::Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let own = listener.local_addr()?.port();
    listener.set_nonblocking(true)?;
    let (server, session) = (SocketAddr::new(shared.server.ip(), port), session.clone());
    let shared = shared.clone();
    let transfers = locked(&session).transfers;
    thread::spawn(move || {
        let begun = Instant::now();
        let client = loop {
            match listener.accept() {
                Ok((client, _)) => break client,
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                    return eprintln!("relay: no data connection taken: {error}");
                }
                // Most are used at once, or never.
                Err(_) if begun.elapsed() < LONGEST_UNUSED => {
                    pause((begun.elapsed() / 10).clamp(SHORTEST_PAUSE, LONGEST_PAUSE));
                }
                Err(_) => return,
            }
        };
        shared.wait_for_the_link();
        if shared.lack == Some(Lack::Arming) {
            pause(PATIENCE);
            if locked(&session).transfers == transfers {
                return;
            }
        }
        let server = match TcpStream::connect(server) {
            Ok(server) => server,
            // Of one that has ended meanwhile.
            Err(error) if has_ended(&client) => return drop(error),
            Err(error) => return eprintln!("relay: no data connection to {server}: {error}"),
        };
        let _ended = carry(&shared, &session, &client, &server);
    });
    Ok(own)
}

/// Passes both directions of a data connection on.
fn carry(
    shared: &Arc<Shared>,
    session: &Arc<Mutex<Session>>,
    client: &TcpStream,
    server: &TcpStream,
) -> io::Result<()> {
    client.set_nonblocking(false)?;
    let up = {
        let (client, server, session) = (client.try_clone()?, server.try_clone()?, session.clone());
        let shared = shared.clone();
        thread::spawn(move || one_way(&shared, &session, &client, &server, Way::Up))
    };
    one_way(shared, session, server, client, Way::Down);
    let _ = up.join();
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Up,
    Down,
}

fn one_way(shared: &Shared, session: &Mutex<Session>, from: &TcpStream, to: &TcpStream, way: Way) {
    let (mut from, mut to) = (from, to);
    let mut bytes = vec![0; 16 << 10];
    let mut passed = 0u64;
    let mut last = None;
    let mut discard = false;
    loop {
        let Ok(count @ 1..) = from.read(&mut bytes) else {
            let _ = to.shutdown(Shutdown::Write);
            return;
        };
        shared.wait_for_the_link();
        if way == Way::Up {
            shared.uploaded.fetch_add(count as u64, Ordering::SeqCst);
        }
        let ordered = locked(session).at_data;
        let harm = ordered.filter(|(_, after)| passed + count as u64 > *after);
        if discard {
            continue;
        }
        let Some((harm, after)) = harm else {
            if to.write_all(&bytes[..count]).is_err() {
                let _ = from.shutdown(Shutdown::Both);
                return;
            }
            passed += count as u64;
            last = bytes[..count].last().copied();
            continue;
        };
        // What comes before it still arrives.
        let whole = usize::try_from(after.saturating_sub(passed))
            .unwrap_or(count)
            .min(count);
        // A listing that ends properly behind a whole line is a whole one for everybody.
        let ends_a_line = |whole: &usize| {
            let last = bytes[..*whole].last().copied().or(last);
            way == Way::Down && last == Some(b'\n')
        };
        let whole = (whole..count)
            .find(|whole| !ends_a_line(whole))
            .unwrap_or(whole.saturating_sub(1));
        let _ = to.write_all(&bytes[..whole]);
        locked(session).at_data = None;
        match harm {
            Harm::Cut => return end(from, to),
            Harm::Reset => {
                reset(to, from);
                return reset(from, to);
            }
            Harm::Stall => {
                while matches!(from.read(&mut bytes), Ok(1..)) {}
                return end(from, to);
            }
            Harm::Discard if way == Way::Up => {
                let _ = to.shutdown(Shutdown::Write);
                discard = true;
            }
            // Nobody throws a download away but the one who reads it.
            Harm::Discard => return end(from, to),
        }
    }
}

fn locked(session: &Mutex<Session>) -> MutexGuard<'_, Session> {
    session.lock().expect("no panic while locked")
}

/// Commands that need a data connection.
const TRANSFERS: [&str; 6] = ["RETR", "STOR", "APPE", "LIST", "MLSD", "NLST"];

/// How long a data connection waits for its command where it is not to.
const PATIENCE: Duration = Duration::from_millis(10);

/// How long a server is given for a command.
const DONE: Duration = Duration::from_millis(20);

/// Pauses between looks whether a data connection has come.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// A data connection that was made in advance may never be used.
const LONGEST_UNUSED: Duration = Duration::from_secs(120);
