//! What the other tests rely on in the servers themselves.

use std::fs;
use std::io;

use libtest_mimic::{Failed, Trial};

use crate::model_mount::ModelMount;
use crate::raw::RawSession;
use crate::servers::{Options, Server, ServerKind, wait_until};
use crate::ways::{Way, self_signed};

/// The trials for one server.
pub fn trials(kind: ServerKind) -> Vec<Trial> {
    let trial = |name: &str, run: fn(ServerKind) -> Result<(), Failed>| {
        Trial::test(format!("{}::{name}", kind.name()), move || run(kind))
    };
    let mut trials = vec![
        trial("it_greets_and_stops", it_greets_and_stops),
        trial("it_serves_its_folder_as_root", it_serves_its_folder_as_root),
        trial("a_wrong_password_is_refused", a_wrong_password_is_refused),
        trial(
            "killed_sessions_end_and_new_ones_work",
            killed_sessions_end_and_new_ones_work,
        ),
        trial(
            "one_session_too_many_is_refused",
            one_session_too_many_is_refused,
        ),
    ];
    if kind.encrypts() {
        let tls = trial("tls_is_offered_when_asked", tls_is_offered_when_asked);
        trials.push(tls);
    }
    if kind.resumes() {
        trials.push(trial(
            "a_thousand_transfers_resume_their_sessions",
            a_thousand_transfers,
        ));
    }
    trials
}

fn it_greets_and_stops(kind: ServerKind) -> Result<(), Failed> {
    let server = Server::start(kind);
    let (address, root) = (server.address(), server.root.clone());
    RawSession::connect(address)?.expect("220")?;
    drop(server);
    wait_until("nobody listens", || RawSession::connect(address).is_err());
    assert!(!root.exists());
    Ok(())
}

fn it_serves_its_folder_as_root(kind: ServerKind) -> Result<(), Failed> {
    let server = Server::start(kind);
    let mut session = login(&server)?;
    assert!(session.command("PWD")?.starts_with("257 \"/\""));
    assert_eq!(
        session.upload("STOR /a b.txt", b"hello")?.get(..3),
        Some("226")
    );
    assert_eq!(fs::read(server.root.join("a b.txt"))?, b"hello");
    assert!(session.command("MKD /folder")?.starts_with("257"));
    assert_eq!(session.download("RETR /a b.txt")?.0, b"hello");
    if kind.logs() {
        wait_until("the upload is in the log", || {
            server.log().contains("b.txt")
        });
    }
    Ok(())
}

fn a_wrong_password_is_refused(kind: ServerKind) -> Result<(), Failed> {
    let server = Server::start(kind);
    assert!(
        server
            .url()
            .starts_with("ftp://ftpfstest:ftpfs-Test1@127.0.0.1:")
    );
    let mut session = RawSession::connect(server.address())?;
    session.expect("220")?;
    session.command(&format!("USER {}", server.user))?;
    let reply = session.command("PASS wrong")?;
    assert!(reply.starts_with("530"), "{reply}");
    Ok(())
}

fn killed_sessions_end_and_new_ones_work(kind: ServerKind) -> Result<(), Failed> {
    let server = Server::start(kind);
    let mut sessions = [login(&server)?, login(&server)?];
    server.kill_sessions();
    for session in &mut sessions {
        // A reset is as good as an end.
        let after = session.reply().unwrap_or_default();
        assert_eq!(after, "");
    }
    login(&server)?;
    Ok(())
}

fn one_session_too_many_is_refused(kind: ServerKind) -> Result<(), Failed> {
    let options = Options {
        max_sessions: Some(2),
        ..Options::default()
    };
    let server = Server::start_with(kind, &options);
    // The session that the start was seen by may take a moment to end.
    let mut sessions = Vec::new();
    wait_until("two sessions are logged in", || {
        sessions.extend(login(&server));
        sessions.len() == 2
    });
    let refused = login(&server).err().ok_or("a third session")?.to_string();
    assert!(
        refused.contains("\"421 ") || refused.contains("\"530 "),
        "{refused}"
    );
    Ok(())
}

fn tls_is_offered_when_asked(kind: ServerKind) -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let options = Options {
        certificate: Some(self_signed(folder.path())?),
        ..Options::default()
    };
    let server = Server::start_with(kind, &options);
    let mut session = RawSession::connect(server.address())?;
    session.expect("220")?;
    let reply = session.command("AUTH TLS")?;
    assert!(reply.starts_with("234"), "{reply}");
    Ok(())
}

/// Each data connection resumes the TLS session of its control connection: no server refuses one, and none costs the
/// work of a full handshake.
fn a_thousand_transfers(kind: ServerKind) -> Result<(), Failed> {
    const FILES: usize = 500;
    let server = Server::reached_by(kind, Way::Tls);
    let mut log = String::new();
    {
        let mount = ModelMount::of(&server, &[]);
        for file in 0..FILES {
            fs::write(mount.path.join(file.to_string()), file.to_string())?;
        }
        log += &mount.log();
    }
    {
        let mount = ModelMount::of(&server, &[]);
        for file in 0..FILES {
            let read = fs::read(mount.path.join(file.to_string()))?;
            assert_eq!(read, file.to_string().into_bytes());
        }
        log += &mount.log();
    }
    let count = |words: &str| log.lines().filter(|line| line.contains(words)).count();
    let (full, resumed) = (
        count("handshake=Some(Full"),
        count("handshake=Some(Resumed"),
    );
    assert!(resumed >= 2 * FILES, "{resumed} were resumed");
    let sessions = count("send command=AUTH");
    assert!(
        full <= sessions,
        "{full} full handshakes, {sessions} control connections"
    );
    assert_eq!((count("reply=425"), count("reply=522")), (0, 0));
    Ok(())
}

fn login(server: &Server) -> io::Result<RawSession> {
    RawSession::login(server.address(), server.user, server.password)
}
