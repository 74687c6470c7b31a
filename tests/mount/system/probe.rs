//! `ftpfs probe`: says what the table in the README says, and leaves nothing on the server.

use std::fs;
use std::process::Command;

use libtest_mimic::{Failed, Trial};
use serde_json::Value;
use tempfile::TempDir;

use crate::matrix;
use crate::model_mount::ftpfs;
use crate::servers::{Options, Server, ServerKind};
use crate::ways::Way;

/// The trials: of each server.
pub fn trials(kind: ServerKind) -> Vec<Trial> {
    let trial = |name: &str, run: fn(ServerKind) -> Result<(), Failed>| {
        Trial::test(format!("{}::{name}", kind.name()), move || run(kind))
    };
    let mut trials = vec![
        trial("a_probe_says_what_the_readme_says", as_in_the_readme),
        trial("a_probe_changes_nothing_unasked", nothing_unasked),
    ];
    if kind.encrypts() {
        trials.push(trial("a_probe_shows_the_certificate", certificate));
    }
    if kind == ServerKind::Embedded {
        // The others are limited by how they are started, each in its own way.
        trials.push(trial("a_probe_finds_the_limit_of_sessions", limit));
    }
    trials
}

/// What the probe prints of `server`.
fn probe(server: &Server, options: &[&str]) -> Result<String, Failed> {
    let folder = TempDir::with_prefix("ftpfs-probe-")?;
    let mut command: Command = ftpfs(folder.path());
    let ways = server.mount_options();
    let output = command
        .arg("probe")
        .args(ways.iter().flat_map(|option| ["-o", option]))
        .args(options)
        .arg(server.mount_url())
        .env("FTPFS_PASSWORD", server.password)
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    match output.status.success() {
        true => Ok(text),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned().into()),
    }
}

fn probed(server: &Server, options: &[&str]) -> Result<Value, Failed> {
    let options = [options, &["--json"]].concat();
    Ok(serde_json::from_str(&probe(server, &options)?)?)
}

/// Whether `what` works on a mount, by the report.
fn works<'a>(report: &'a Value, what: &str) -> &'a str {
    let abilities = report["abilities"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    let found = abilities.iter().find(|ability| ability["what"] == what);
    found
        .and_then(|ability| ability["works"].as_str())
        .unwrap_or("missing")
}

fn server_with_a_file(kind: ServerKind, way: Way) -> Result<Server, Failed> {
    let server = Server::reached_by(kind, way);
    let path = server.root.join("file");
    fs::write(&path, vec![7; 100_000])?;
    server.give(&path)?;
    Ok(server)
}

fn left(server: &Server) -> Result<Vec<String>, Failed> {
    let names = fs::read_dir(&server.root)?.flatten();
    Ok(names
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect())
}

fn as_in_the_readme(kind: ServerKind) -> Result<(), Failed> {
    let server = server_with_a_file(kind, Way::Plain)?;
    let report = probed(&server, &["--write"])?;
    let said = matrix::column(kind)?;
    // By the first words of what the README says of it.
    let meanings = [
        ("`RNTO`", "yes"),
        ("old one aside", "slowly"),
        ("`APPE`", "yes"),
        ("`REST`", "yes"),
        ("whole file", "slowly"),
        ("kept", "kept"),
        ("none", "yes"),
        ("EPERM", "no"),
        ("`M", "yes"),
        ("`L", "yes"),
        ("`SITE", "yes"),
        ("absolute", "yes"),
    ];
    let mut wrong = Vec::new();
    for (row, what) in [
        ("list a folder", "list a folder"),
        ("read from the middle", "read from the middle"),
        ("rename over a file", "rename over a file"),
        ("add to the end", "add to the end"),
        ("change the middle", "change the middle"),
        ("`chmod`", "set permissions"),
        ("set a file's time", "set a file's time"),
        ("`ln -s`", "make symbolic links"),
    ] {
        let cell = said.iter().find(|(name, _)| name == row);
        let cell = cell.map_or("", |(_, cell)| cell);
        let meaning = meanings.iter().find(|(start, _)| cell.starts_with(start));
        if meaning.map(|(_, works)| *works) != Some(works(&report, what)) {
            wrong.push(format!("{what}: {}, README: {cell}", works(&report, what)));
        }
    }
    assert_eq!(works(&report, "write a new file"), "yes");
    assert!(wrong.is_empty(), "{wrong:#?}\n{report:#}");
    assert_eq!(left(&server)?, ["file"], "something of ours is left");
    Ok(())
}

fn nothing_unasked(kind: ServerKind) -> Result<(), Failed> {
    let server = server_with_a_file(kind, Way::Plain)?;
    let text = probe(&server, &["-o", "max_conns=2,ro"])?;
    for words in [
        "2 sessions at once",
        "100.0 kB of /file",
        "not tried (--write)",
        "\nftp://",
        " /mnt/ftp fuse.ftpfs _netdev,nofail,allow_other,max_conns=2,ro,credentials=/etc/ftp.cred 0 0\n",
    ] {
        assert!(text.contains(words), "no {words:?} in\n{text}");
    }
    let (table, fstab) = text.split_once("\nIn /etc/fstab\n").ok_or("no fstab")?;
    let wide = table.lines().find(|line| line.chars().count() > 80);
    assert_eq!(wide, None, "wider than a terminal");
    assert!(!fstab.contains(server.password) && fstab.lines().count() == 1);
    assert_eq!(left(&server)?, ["file"]);
    Ok(())
}

fn certificate(kind: ServerKind) -> Result<(), Failed> {
    let server = server_with_a_file(kind, Way::Tls)?;
    let report = probed(&server, &["--max-conns=1"])?;
    let fingerprint = report["tls"]["certificate_sha256"].as_str();
    let fingerprint = fingerprint.ok_or("no fingerprint")?;
    let resumes = matrix::column(kind)?
        .iter()
        .any(|(row, cell)| row == "TLS" && cell.contains(", resumed"));
    assert_eq!(report["tls"]["data_resumed"], resumes, "{report:#}");
    // It is one that `tls_pin` takes.
    let folder = TempDir::with_prefix("ftpfs-probe-")?;
    let pin = format!("tls_pin={fingerprint}");
    let pinned = ftpfs(folder.path())
        .args(["probe", "-o", &pin, &server.mount_url()])
        .env("FTPFS_PASSWORD", server.password)
        .output()?;
    assert!(pinned.status.success());
    Ok(())
}

fn limit(kind: ServerKind) -> Result<(), Failed> {
    let options = Options {
        max_sessions: Some(3),
        ..Options::default()
    };
    let server = Server::start_with(kind, &options);
    let report = probed(&server, &["--write"])?;
    assert_eq!(report["sessions"], 3, "{report:#}");
    assert!(report["sessions_refused"].is_string());
    let fstab = report["fstab"].as_str().unwrap_or_default();
    assert!(fstab.contains(",max_conns=3 "), "{fstab}");
    Ok(())
}
