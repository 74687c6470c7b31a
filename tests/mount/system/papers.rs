//! Man pages and completions, by the real man and shells.

use std::process::Command;

use libtest_mimic::{Failed, Trial};
use tempfile::TempDir;

use crate::model_mount::ftpfs;

/// The trials.
pub fn trials() -> Vec<Trial> {
    let trial =
        |name: &str, run: fn() -> Result<(), Failed>| Trial::test(format!("system::{name}"), run);
    vec![
        trial("man_shows_every_option", man),
        trial("bash_zsh_and_fish_complete", shells),
    ]
}

/// A folder with all papers.
fn papers() -> Result<TempDir, Failed> {
    let folder = TempDir::with_prefix("ftpfs-papers-")?;
    let written = ftpfs(folder.path())
        .arg("papers")
        .arg(folder.path())
        .status()?;
    assert!(written.success());
    Ok(folder)
}

/// What a command prints, which must say nothing on its standard error.
fn said(command: &mut Command) -> Result<String, Failed> {
    let output = command.env("LC_ALL", "C.UTF-8").output();
    let output = output.map_err(|error| format!("{command:?}: {error}"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && errors.is_empty(),
        "{command:?}: {errors}"
    );
    Ok(String::from_utf8(output.stdout)?)
}

fn man() -> Result<(), Failed> {
    let folder = papers()?;
    let help = said(ftpfs(folder.path()).arg("--help"))?;
    let flags = help.split_whitespace().filter(|word| {
        let name = word.strip_prefix("--").unwrap_or_default();
        name.len() > 1 && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')
    });
    let flags: Vec<&str> = flags.collect();
    assert!(flags.len() > 30, "{flags:?}");
    let shown = |page: &str| {
        let page = folder.path().join("man").join(page);
        said(
            Command::new("man")
                .args(["--warnings", "--local-file"])
                .arg(page)
                .env("MANWIDTH", "80"),
        )
    };
    let page = shown("man1/ftpfs.1")?;
    let missing: Vec<_> = flags.iter().filter(|flag| !page.contains(**flag)).collect();
    assert!(missing.is_empty(), "{missing:?}");
    for (page, words) in [
        ("man1/ftpfs-probe.1", ["--json", "--write", "--tls-pin"]),
        ("man1/ftpfs-status.1", ["--json", "--watch", "MOUNTPOINT"]),
        ("man1/ftpfs-flush.1", ["MOUNTPOINT", "Exit", "cannot"]),
        (
            "man8/mount.ftpfs.8",
            ["max_conns=N", "allow_other", "-sfnv"],
        ),
        ("man8/umount.fuse.ftpfs.8", ["MOUNTPOINT", "wait", "-flnv"]),
    ] {
        let text = shown(page)?;
        let missing: Vec<_> = words.iter().filter(|word| !text.contains(**word)).collect();
        assert!(missing.is_empty(), "{page}: {missing:?}");
    }
    Ok(())
}

fn shells() -> Result<(), Failed> {
    let folder = papers()?;
    let at = |name: &str| folder.path().join(name);
    let bash = r#"source "$0"; COMP_WORDS=(ftpfs --max-c); COMP_CWORD=1
        _ftpfs ftpfs --max-c ftpfs; echo "${COMPREPLY[@]}""#;
    let answer = said(
        Command::new("bash")
            .args(["--norc", "-c", bash])
            .arg(at("bash-completion/completions/ftpfs")),
    )?;
    assert_eq!(answer, "--max-conns\n");
    let zsh = "fpath=($0 $fpath); autoload -Uz compinit && compinit -u -D && echo ${_comps[ftpfs]} && autoload +X _ftpfs";
    let answer = said(
        Command::new("zsh")
            .args(["-f", "-c", zsh])
            .arg(at("zsh/site-functions")),
    )?;
    assert_eq!(answer, "_ftpfs\n");
    let fish = "source $argv[1]; complete -C 'ftpfs --max-c'";
    let answer = said(
        Command::new("fish")
            .args(["--no-config", "-c", fish])
            .arg(at("fish/vendor_completions.d/ftpfs.fish"))
            .env("HOME", folder.path()),
    )?;
    assert!(answer.starts_with("--max-conns\t"), "{answer}");
    Ok(())
}
