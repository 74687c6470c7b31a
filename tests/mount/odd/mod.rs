//! A scripted FTP server for odd replies, broken connections and counted round trips.
//!
//! By default it is a plain, well-behaved server over a tree in memory that lets everybody in.
//! A test changes what one verb does: [`Odd::script`] for the bytes of its reply, the rest for
//! the usual faults. Verbs are written in upper case. Paths are absolute, in bytes.

mod control;
mod session;
mod tree;
pub mod trials;

use std::collections::HashMap;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustls::ServerConfig;

use session::Session;
use tree::{Node, NodeKind, Tree};

/// A running server; dropping it closes its sessions.
pub struct Odd {
    address: SocketAddr,
    shared: Arc<Mutex<State>>,
}

/// One step of a scripted reply.
#[derive(Clone, Debug)]
pub enum Step {
    /// Sends these bytes in a write of their own.
    Send(Vec<u8>),
    /// Waits.
    Wait(Duration),
    /// Does what the verb does and sends its usual replies.
    Usual,
    /// Closes the control connection.
    Close,
}

/// How often a fault happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// At the first occasion only.
    Once,
    /// At every occasion.
    Always,
}

/// How a cut transfer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The data connection is reset, which may overtake the last bytes sent; the reply is 426.
    Reset,
    /// The data connection is closed as at the end of a file; the reply is 426.
    Close,
    /// The data connection is closed and the reply is 226, as if that had been all (pyftpdlib
    /// 2.2 and Twisted 26 answer so to an upload that was reset).
    Lie,
    /// Both connections are reset.
    Session,
}

type Script = Arc<dyn Fn(&[u8]) -> Vec<Step> + Send + Sync>;

struct State {
    tree: Tree,
    greeting: Vec<Step>,
    features: Vec<String>,
    scripts: HashMap<String, Script>,
    faults: Vec<(String, Fault, Times)>,
    start_in: Vec<u8>,
    max_sessions: usize,
    excess: String,
    bodies: HashMap<String, Vec<u8>>,
    endless: HashMap<String, Vec<u8>>,
    tls: Option<Arc<ServerConfig>>,
    split: bool,
    pasv_address: [u8; 4],
    stranger: bool,
    junk: Vec<u8>,
    received: Vec<(String, Vec<u8>)>,
    sessions: Vec<(SocketAddr, TcpStream)>,
    peers: Vec<IpAddr>,
    accepted: usize,
    stopping: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    Refuse(u16),
    DropControl,
    LoseReply,
    CutAfter(usize, Cut),
}

impl Odd {
    /// Starts it on a free port, with an empty tree.
    pub fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("no free port");
        let address = listener.local_addr().expect("it is bound");
        let features = [
            "EPSV",
            "MDTM",
            "MFMT",
            "MLST type*;size*;modify*;UNIX.mode*;",
            "REST STREAM",
            "SIZE",
            "UTF8",
        ];
        let shared = Arc::new(Mutex::new(State {
            tree: Tree::default(),
            greeting: vec![Step::Send(b"220 odd\r\n".to_vec())],
            features: features.map(str::to_owned).to_vec(),
            scripts: HashMap::new(),
            faults: Vec::new(),
            start_in: b"/".to_vec(),
            max_sessions: usize::MAX,
            excess: "421 Too many sessions".to_owned(),
            bodies: HashMap::new(),
            endless: HashMap::new(),
            tls: None,
            split: false,
            pasv_address: [127, 0, 0, 1],
            stranger: false,
            junk: Vec::new(),
            received: Vec::new(),
            sessions: Vec::new(),
            peers: Vec::new(),
            accepted: 0,
            stopping: false,
        }));
        let accepting = shared.clone();
        thread::spawn(move || accept(&listener, &accepting));
        Self { address, shared }
    }

    /// Where its control connections go.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `ftp://user:password@127.0.0.1:port/`.
    pub fn url(&self) -> String {
        format!("ftp://user:password@{}/", self.address)
    }

    /// Puts a file into the tree, or replaces it.
    pub fn put(&self, path: &str, content: &[u8]) {
        self.state().tree.put(path.as_bytes(), Node::file(content));
    }

    /// Takes a file out of the tree.
    pub fn remove(&self, path: &str) {
        let removed = self.state().tree.remove(path.as_bytes(), NodeKind::File);
        assert!(removed, "there is no {path}");
    }

    /// Makes a folder; those above it have to be there.
    pub fn make_folder(&self, path: &str) {
        self.state().tree.put(path.as_bytes(), Node::folder());
    }

    /// What the tree holds at `path`.
    pub fn node(&self, path: &str) -> Option<Node> {
        self.state().tree.get(path.as_bytes()).cloned()
    }

    /// The content of the file at `path`; `None` if there is no such file.
    pub fn content(&self, path: &str) -> Option<Vec<u8>> {
        self.node(path)?.content
    }

    /// Replaces the greeting of the sessions to come.
    pub fn greet(&self, steps: Vec<Step>) {
        self.state().greeting = steps;
    }

    /// Replaces the lines of the reply to `FEAT`; empty = 502.
    pub fn features(&self, lines: &[&str]) {
        self.state().features = lines.iter().map(|line| (*line).to_owned()).collect();
    }

    /// Answers `verb` by the steps that `script` gives for its argument.
    pub fn script(&self, verb: &str, script: impl Fn(&[u8]) -> Vec<Step> + Send + Sync + 'static) {
        self.state()
            .scripts
            .insert(verb.to_owned(), Arc::new(script));
    }

    /// Answers `verb` with `code`, without doing it.
    pub fn refuse(&self, verb: &str, code: u16) {
        self.fault(verb, Fault::Refuse(code), Times::Always);
    }

    /// Cuts a download after `bytes` bytes.
    pub fn cut_retr_after(&self, bytes: usize, cut: Cut, times: Times) {
        self.fault("RETR", Fault::CutAfter(bytes, cut), times);
    }

    /// Cuts an upload by `STOR` after `bytes` bytes, which the tree keeps.
    pub fn cut_stor_after(&self, bytes: usize, cut: Cut, times: Times) {
        self.fault("STOR", Fault::CutAfter(bytes, cut), times);
    }

    /// Closes the control connection at `verb`, without doing it.
    pub fn drop_control_on(&self, verb: &str, times: Times) {
        self.fault(verb, Fault::DropControl, times);
    }

    /// Does `verb`, then closes the control connection in place of its final reply.
    pub fn lose_reply_of(&self, verb: &str, times: Times) {
        self.fault(verb, Fault::LoseReply, times);
    }

    /// Takes back every fault and script of `verb`.
    pub fn heal(&self, verb: &str) {
        let mut state = self.state();
        state.bodies.remove(verb);
        state.endless.remove(verb);
        state.faults.retain(|(of, ..)| of != verb);
        state.scripts.remove(verb);
    }

    /// Cuts a listing by `verb` after `bytes` bytes.
    pub fn cut_listing_after(&self, verb: &str, bytes: usize, cut: Cut, times: Times) {
        self.fault(verb, Fault::CutAfter(bytes, cut), times);
    }

    /// Greets with 421 while this many sessions are open.
    pub fn max_sessions(&self, most: usize) {
        self.state().max_sessions = most;
    }

    /// Says `line` in place of that 421.
    pub fn refuse_excess_with(&self, line: &str) {
        self.state().excess = line.to_owned();
    }

    /// Sends `bytes` as the data of every download or listing by `verb`.
    pub fn send_as(&self, verb: &str, bytes: &[u8]) {
        self.state().bodies.insert(verb.to_owned(), bytes.to_vec());
    }

    /// Sends `bytes` again and again as the data of every download or listing by `verb`.
    pub fn send_without_end(&self, verb: &str, bytes: &[u8]) {
        self.state().endless.insert(verb.to_owned(), bytes.to_vec());
    }

    /// Takes `AUTH TLS` from now on, for the control connection alone, by the certificate and key in `pem`.
    pub fn encrypt_by(&self, pem: &[u8]) {
        self.state().tls = Some(control::encryption(pem));
    }

    /// Says `address` in the replies to `PASV`.
    pub fn send_pasv_address(&self, address: [u8; 4]) {
        self.state().pasv_address = address;
    }

    /// Lets somebody else be faster wherever the client waits for a data connection.
    pub fn let_a_stranger_in(&self) {
        self.state().stranger = true;
    }

    /// Lets the logins to come land in the folder `path`.
    pub fn start_in(&self, path: &str) {
        self.state().start_in = path.as_bytes().to_vec();
    }

    /// Sends every reply byte by byte.
    pub fn split_replies(&self) {
        self.state().split = true;
    }

    /// Sends `bytes` ahead of every final reply.
    pub fn junk_before_replies(&self, bytes: &[u8]) {
        self.state().junk = bytes.to_vec();
    }

    /// How often `verb` was received since the start or [`Odd::forget`].
    pub fn count(&self, verb: &str) -> usize {
        self.state()
            .received
            .iter()
            .filter(|(received, _)| received == verb)
            .count()
    }

    /// The commands received since the start or [`Odd::forget`], verb and argument.
    pub fn received(&self) -> Vec<(String, Vec<u8>)> {
        self.state().received.clone()
    }

    /// Starts counting again.
    pub fn forget(&self) {
        self.state().received.clear();
    }

    /// Where the control and passive data connections came from, and where active ones went.
    pub fn peers(&self) -> Vec<IpAddr> {
        self.state().peers.clone()
    }

    /// How many sessions are open.
    pub fn sessions(&self) -> usize {
        self.state().sessions.len()
    }

    /// How many sessions were greeted with a 220 since the start.
    pub fn accepted(&self) -> usize {
        self.state().accepted
    }

    /// Closes every control connection, without a reply.
    pub fn close_sessions(&self) {
        for (_, control) in &self.state().sessions {
            let _ = control.shutdown(Shutdown::Both);
        }
    }

    fn fault(&self, verb: &str, fault: Fault, times: Times) {
        self.state().faults.push((verb.to_owned(), fault, times));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.shared)
    }
}

impl Drop for Odd {
    fn drop(&mut self) {
        self.state().stopping = true;
        self.close_sessions();
        // Wakes the accepting thread.
        let _ = TcpStream::connect(self.address);
    }
}

impl Step {
    /// A reply line, with its CRLF.
    pub fn line(line: &str) -> Self {
        Self::Send(format!("{line}\r\n").into_bytes())
    }
}

fn lock(shared: &Mutex<State>) -> MutexGuard<'_, State> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn accept(listener: &TcpListener, shared: &Arc<Mutex<State>>) {
    while let Ok((mut control, peer)) = listener.accept() {
        let mut state = lock(shared);
        if state.stopping {
            return;
        }
        if state.sessions.len() >= state.max_sessions {
            let _ = control.write_all(format!("{}\r\n", state.excess).as_bytes());
            continue;
        }
        // Steps are to arrive as they are written.
        let (Ok(()), Ok(copy)) = (control.set_nodelay(true), control.try_clone()) else {
            continue;
        };
        state.sessions.push((peer, copy));
        state.peers.push(peer.ip());
        state.accepted += 1;
        let mut session = Session::new(control, shared.clone());
        drop(state);
        let shared = shared.clone();
        thread::spawn(move || {
            // An error is the client's going away.
            let _ = session.serve();
            lock(&shared)
                .sessions
                .retain(|(address, _)| *address != peer);
            drop(session);
        });
    }
}
