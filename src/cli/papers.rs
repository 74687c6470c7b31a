//! What is read beside the program: man pages, and completions for shells, made from the commands themselves.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use clap::Command;
use clap_complete::{Shell, generate};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, italic, roman};

use super::line::{LESSONS, command, helper_command, unmount_command};
use super::table::{Group, TABLE, Takes};

/// Writes all of them below `folder`, which has the shape of /usr/share.
///
/// # Errors
/// What the system says of a file, with its path.
pub fn write(folder: &Path) -> Result<(), String> {
    let of = |name: &str| {
        let found = command().find_subcommand(name).cloned();
        found.unwrap_or_default().name(format!("ftpfs-{name}"))
    };
    let completions = |shell| {
        let mut text = Vec::new();
        generate(shell, &mut command(), "ftpfs", &mut text);
        text
    };
    let page = |command, section, more| {
        page(command, section, more).map_err(|e| format!("cannot make a man page: {e}"))
    };
    for (path, text) in [
        ("man/man1/ftpfs.1", page(command(), "1", lessons())?),
        (
            "man/man1/ftpfs-probe.1",
            page(of("probe"), "1", Roff::new())?,
        ),
        (
            "man/man1/ftpfs-status.1",
            page(of("status"), "1", Roff::new())?,
        ),
        (
            "man/man1/ftpfs-flush.1",
            page(of("flush"), "1", Roff::new())?,
        ),
        (
            "man/man8/mount.ftpfs.8",
            page(helper_command(), "8", words())?,
        ),
        (
            "man/man8/umount.fuse.ftpfs.8",
            page(unmount_command(), "8", Roff::new())?,
        ),
        (
            "bash-completion/completions/ftpfs",
            completions(Shell::Bash),
        ),
        ("zsh/site-functions/_ftpfs", completions(Shell::Zsh)),
        (
            "fish/vendor_completions.d/ftpfs.fish",
            completions(Shell::Fish),
        ),
    ] {
        let path = folder.join(path);
        let parent = path.parent().unwrap_or(folder);
        fs::create_dir_all(parent)
            .and_then(|()| fs::write(&path, text))
            .map_err(|e| format!("cannot write {}: {e}", path.display()))?;
    }
    Ok(())
}

/// A man page of `command`, with `more` behind its options.
fn page(command: Command, section: &str, more: Roff) -> io::Result<Vec<u8>> {
    let man = Man::new(command).section(section);
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    more.to_writer(&mut page)?;
    let mut end = Roff::new();
    end.control("SH", ["SEE ALSO"]);
    end.text([
        bold("ftpfs"),
        roman("(1), "),
        bold("ftpfs-probe"),
        roman("(1), "),
        bold("ftpfs-status"),
        roman("(1), "),
        bold("ftpfs-flush"),
        roman("(1), "),
        bold("mount.ftpfs"),
        roman("(8), "),
        bold("umount.fuse.ftpfs"),
        roman("(8), "),
        bold("fstab"),
        roman("(5), "),
        bold("fusermount3"),
        roman("(1), "),
        bold("netrc"),
        roman("(5)"),
    ]);
    end.to_writer(&mut page)?;
    page.flush()?;
    Ok(page)
}

/// What `--help` says at its end: what is indented there is to be typed, and stands as it is.
fn lessons() -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["NOTES"]);
    for block in LESSONS.split('\n').collect::<Vec<_>>().chunk_by(|a, b| {
        let typed = |line: &str| line.starts_with("  ");
        typed(a) == typed(b) && !b.is_empty()
    }) {
        let typed = block[0].starts_with("  ");
        let lines = block.iter().filter(|line| !line.is_empty());
        if typed {
            roff.control("RS", ["4"]).control("nf", []);
            lines.for_each(|line| {
                roff.text([roman(line.trim())]);
            });
            roff.control("fi", []).control("RE", []);
        } else {
            roff.control("PP", []);
            lines.for_each(|line| {
                roff.text([roman(*line)]);
            });
        }
    }
    roff
}

/// The words of `-o` lists.
fn words() -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["WORDS OF -o LISTS"]);
    let mut heading = "";
    let flags = TABLE.iter().filter(|spec| spec.flag().is_some());
    for spec in flags.filter(|spec| spec.group != Group::Hidden) {
        if heading != spec.group.heading() {
            heading = spec.group.heading();
            roff.control("SS", [heading]);
        }
        roff.control("TP", []);
        match spec.takes {
            Takes::Nothing(_) => roff.text([bold(spec.name)]),
            Takes::Value(metavariable, _) => {
                roff.text([bold(spec.name), roman("="), italic(metavariable)])
            }
        };
        roff.text([roman(spec.help)]);
    }
    roff.control("SS", ["Words of fstab"]);
    let others = TABLE.iter().filter(|spec| spec.group == Group::Fstab);
    let names: Vec<&str> = others.map(|spec| spec.name).collect();
    roff.text([roman(format!(
        "{}, comment=, x-* and X-* are accepted; noexec, noatime, sync, dirsync and their opposites do what they say, \
         suid and dev are never given.",
        names.join(", ")
    ))]);
    roff.control("SH", ["EXIT STATUS"]);
    roff.text([roman(
        "0 when the mount is up, 1 for wrong usage, 32 for a mount that failed, as mount(8) has it.",
    )]);
    roff
}
