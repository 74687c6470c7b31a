//! Logins and connections of other kinds than a name, a password and what the system chooses.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use rustix::io::Errno;
use tempfile::TempDir;

use crate::faults::is;
use crate::model_mount::{ModelMount, run};
use crate::odd::{Odd, Step};
use crate::servers::{Options, Server, ServerKind};
use crate::ways::{Way, self_signed};

/// The trials, on those of the `selected` servers that have what they need.
pub fn trials(selected: &[ServerKind]) -> Vec<Trial> {
    type Run = fn() -> Result<(), Failed>;
    let with_odd: [(&str, Run); 3] = [
        ("the_user_of_a_proxy_holds_the_host", proxy),
        ("an_account_is_sent_where_it_is_asked_for", account),
        ("connections_come_from_the_source_address", source_address),
    ];
    let mut trials: Vec<Trial> = with_odd
        .into_iter()
        .map(|(name, run)| Trial::test(format!("logins::{name}"), run))
        .collect();
    type RunOn = fn(ServerKind) -> Result<(), Failed>;
    const OPENSSL: [ServerKind; 2] = [ServerKind::Vsftpd, ServerKind::Proftpd];
    const PROFTPD: [ServerKind; 1] = [ServerKind::Proftpd];
    let with_servers: [(&str, RunOn, &[ServerKind]); 5] = [
        ("a_server_of_tls_1_3_alone", tls_1_3, &PROFTPD),
        ("a_certificate_of_ours_is_shown", certificate, &OPENSSL),
        ("files_go_in_the_clear_if_told_to", clear_data, &OPENSSL),
        (
            "anonymous_reads_and_fills_a_drop_box",
            anonymous,
            &[ServerKind::Vsftpd],
        ),
        (
            "sessions_that_idle_out_are_replaced",
            idle,
            &[
                ServerKind::Embedded,
                ServerKind::Vsftpd,
                ServerKind::Proftpd,
                ServerKind::Pyftpdlib,
            ],
        ),
    ];
    for (name, run, kinds) in with_servers {
        for kind in kinds.iter().copied().filter(|kind| selected.contains(kind)) {
            let name = format!("{}::logins::{name}", kind.name());
            trials.push(Trial::test(name, move || run(kind)));
        }
    }
    trials
}

/// Such a proxy takes `USER user@host` and logs in there.
fn proxy() -> Result<(), Failed> {
    let odd = Odd::start();
    odd.put("/file", b"content");
    let url = format!("ftp://bob%40files.example.org@{}/", odd.address());
    let mount = ModelMount::start(&url, "password", &[])?;
    assert_eq!(fs::read(mount.path.join("file"))?, b"content");
    let user = ("USER".to_owned(), b"bob@files.example.org".to_vec());
    assert!(odd.received().contains(&user));
    Ok(())
}

fn account() -> Result<(), Failed> {
    let odd = Odd::start();
    odd.put("/file", b"content");
    odd.script("PASS", |_| vec![Step::line("332 Which account?")]);
    odd.script("ACCT", |_| vec![Step::line("230 Welcome")]);
    let refused = ModelMount::try_odd(&odd, &[]).err();
    let refused = refused.ok_or("it mounts without an account")?;
    assert!(refused.contains("-o account="), "{refused}");
    let mount = ModelMount::of_odd(&odd, &["account=sales"]);
    assert_eq!(fs::read(mount.path.join("file"))?, b"content");
    let sent = ("ACCT".to_owned(), b"sales".to_vec());
    assert!(odd.received().contains(&sent));
    assert!(!mount.log().contains("sales"), "it is in the log");
    Ok(())
}

fn source_address() -> Result<(), Failed> {
    let odd = Odd::start();
    odd.put("/file", b"content");
    for mode in ["mode=passive", "mode=active"] {
        let mount = ModelMount::of_odd(&odd, &["source_address=127.0.0.77", mode]);
        assert_eq!(fs::read(mount.path.join("file"))?, b"content");
        let source = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 77));
        let peers = odd.peers();
        assert!(peers.len() > 2, "{mode}: {peers:?}");
        assert!(
            peers.iter().all(|peer| *peer == source),
            "{mode}: {peers:?}"
        );
    }
    let error = ModelMount::try_odd(&odd, &["source_address=192.0.2.1"]).err();
    let error = error.ok_or("it mounts from an address that is not ours")?;
    assert!(error.contains("source_address=192.0.2.1"), "{error}");
    Ok(())
}

fn certificate(kind: ServerKind) -> Result<(), Failed> {
    let folder = TempDir::with_prefix("ftpfs-certificate-")?;
    let ours = self_signed(folder.path())?;
    let options = Options {
        client_authority: Some(ours.clone()),
        ..Options::default()
    };
    let server = Server::start_as(kind, Way::Tls, &options);
    let trust = server.mount_options();
    let trust: Vec<&str> = trust.iter().map(String::as_str).collect();
    let url = server.mount_url();
    let error = ModelMount::start(&url, server.password, &trust).err();
    error.ok_or("it mounts without a certificate")?;
    let shown = format!("tls_cert={}", ours.display());
    let options = [&trust[..], &[&shown]].concat();
    let mount = ModelMount::start(&url, server.password, &options)?;
    fs::write(mount.path.join("file"), "content")?;
    assert_eq!(fs::read(server.root.join("file"))?, b"content");
    Ok(())
}

/// A ticket of TLS 1.3 works once, and this server takes none but the two of each control connection.
fn tls_1_3(kind: ServerKind) -> Result<(), Failed> {
    let options = Options {
        tls_1_3_only: true,
        ..Options::default()
    };
    let server = Server::start_as(kind, Way::Tls, &options);
    let mount = ModelMount::of(&server, &[]);
    for file in 0..20 {
        write(&mount.path.join(file.to_string()))?;
    }
    for file in 0..20 {
        assert_eq!(fs::read(server.root.join(file.to_string()))?, b"words");
    }
    assert!(mount.log().contains("version=Some(TLSv1_3)"));
    assert!(!mount.log().contains("version=Some(TLSv1_2)"));
    Ok(())
}

fn clear_data(kind: ServerKind) -> Result<(), Failed> {
    let server = Server::reached_by(kind, Way::Tls);
    let mount = ModelMount::of(&server, &["tls_data=clear"]);
    fs::write(mount.path.join("file"), "content")?;
    assert_eq!(fs::read(server.root.join("file"))?, b"content");
    let log = mount.log();
    let count = |words: &str| log.lines().filter(|line| line.contains(words)).count();
    assert!(count("send command=PROT \"C\"") > 0, "{log}");
    assert_eq!(count("handshake=Some(Resumed"), 0, "data connections");
    assert!(count("handshake=Some(Full") <= count("send command=AUTH"));
    Ok(())
}

/// A folder to read from, and one that takes files, lists none and lets nobody change what is there.
fn anonymous(kind: ServerKind) -> Result<(), Failed> {
    let options = Options {
        anonymous: true,
        ..Options::default()
    };
    let server = Server::start_with(kind, &options);
    for (folder, mode) in [("pub", 0o755), ("incoming", 0o733)] {
        let path = server.root.join(folder);
        fs::create_dir(&path)?;
        fs::set_permissions(&path, Permissions::from_mode(mode))?;
    }
    fs::write(server.root.join("pub/file"), "content")?;
    let nobody_writes = Permissions::from_mode(0o555);
    fs::set_permissions(&server.root, nobody_writes)?;
    let url = format!("ftp://127.0.0.1:{}/", server.port);
    let mount = ModelMount::start(&url, "", &[])?;
    let at = |path: &str| mount.path.join(path);
    assert_eq!(fs::read(at("pub/file"))?, b"content");
    for refused in [
        write(&at("pub/file")),
        write(&at("pub/new")),
        fs::remove_file(at("pub/file")),
        fs::rename(at("pub/file"), at("pub/moved")),
        fs::create_dir(at("pub/folder")),
    ] {
        let error = refused.err().ok_or("an anonymous user changed a file")?;
        assert!(is(&error, Errno::ACCESS), "{error}");
    }
    assert_eq!(fs::read(server.root.join("pub/file"))?, b"content");
    assert_eq!(fs::read(at("pub/file"))?, b"content");
    write(&at("incoming/report"))?;
    assert_eq!(fs::read(server.root.join("incoming/report"))?, b"words");
    Ok(())
}

/// Writes "words" to a file that is made or emptied for it, and asks whether the server has them.
fn write(path: &Path) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(b"words")?;
    file.sync_all()
}

fn idle(kind: ServerKind) -> Result<(), Failed> {
    let options = Options {
        idle: Some(Duration::from_secs(1)),
        ..Options::default()
    };
    let server = Server::start_with(kind, &options);
    let mount = ModelMount::of(&server, &["attr_timeout=0"]);
    let at = |path: &str| mount.path.join(path);
    fs::create_dir(at("folder"))?;
    let mut kept = File::create(at("kept"))?;
    kept.write_all(b"one")?;
    fs::write(at("folder/a"), "content")?;
    run("sleep", ["2"]);
    assert_eq!(fs::read(at("folder/a"))?, b"content");
    run("sleep", ["2"]);
    fs::rename(at("folder/a"), at("folder/b"))?;
    run("sleep", ["2"]);
    fs::write(at("folder/c"), "more")?;
    kept.write_all(b"two")?;
    kept.sync_all()?;
    let there = |path: &str| fs::read(server.root.join(path));
    assert_eq!(there("folder/b")?, b"content");
    assert_eq!(there("folder/c")?, b"more");
    assert_eq!(there("kept")?, b"onetwo");
    Ok(())
}
