//! What a broken connection, a refusal or an odd server does to the users of a mount: nothing,
//! or an error that is true. Never wrong bytes, a short file, a lost file, or an empty folder.

mod behind;
mod manners;
mod replies;
mod transfers;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::process::Output;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

use libtest_mimic::{Failed, Trial};
use rustix::io::Errno;

use crate::model_mount::{DEADLINE, ModelMount, run, within};
use crate::odd::{Cut, Odd, Step, Times};
use crate::servers::{Server, ServerKind};

use behind::*;
use manners::*;
use replies::*;
use transfers::*;

/// The trials with one real server.
pub fn trials_of(kind: ServerKind) -> Vec<Trial> {
    let trial = |name: &str, run: fn(ServerKind) -> Result<(), Failed>| {
        Trial::test(format!("{}::faults::{name}", kind.name()), move || {
            run(kind)
        })
    };
    let mut trials = vec![
        trial("a_reader_sees_nothing_of_killed_sessions", killed_in_a_read),
        trial("an_upload_survives_or_says_so", killed_in_an_upload),
        trial("an_append_leaves_what_was_there", killed_in_an_append),
        trial(
            "an_upload_goes_on_where_it_broke_off",
            goes_on_where_it_broke_off,
        ),
        trial("an_unreadable_folder_hides_nothing", unreadable_folders),
    ];
    // The one that holds it, and one that lets nobody store over it.
    if matches!(kind, ServerKind::Vsftpd | ServerKind::ProftpdDefault) {
        trials.push(trial(
            "a_file_that_a_lost_upload_holds_is_written",
            held_by_a_lost_upload,
        ));
    }
    if kind == ServerKind::Vsftpd {
        trials.push(trial(
            "what_a_lost_upload_left_is_removed",
            removed_after_two_attempts,
        ));
    }
    trials
}

/// The trials with the scripted server.
pub fn trials() -> Vec<Trial> {
    let trial =
        |name: &str, run: fn() -> Result<(), Failed>| Trial::test(format!("faults::{name}"), run);
    vec![
        trial("a_cut_download_is_whole_or_an_error", cut_downloads),
        trial("a_cut_upload_is_whole_or_an_error", cut_uploads),
        trial("a_lost_reply_is_found_out", lost_replies),
        trial("a_dropped_connection_at_any_verb", dropped_at_each_verb),
        trial("a_421_at_any_verb", closing_at_each_verb),
        trial("a_listing_that_fails_is_no_empty_folder", failed_listings),
        trial(
            "a_listing_cut_behind_a_line_loses_no_name",
            listings_cut_behind_a_line,
        ),
        trial(
            "a_message_in_place_of_a_listing_is_no_name",
            messages_for_listings,
        ),
        trial("a_server_that_is_gone_loses_no_files", server_gone),
        trial("a_full_disk_is_enospc", full_disk),
        trial("what_was_added_unheard_is_there_once", appended_unheard),
        trial(
            "what_is_refused_behind_the_user_is_kept_and_told",
            refused_behind,
        ),
        trial("what_others_changed_meanwhile_stays", changed_meanwhile),
        trial(
            "what_others_removed_meanwhile_is_kept_once",
            removed_meanwhile,
        ),
        trial(
            "an_upload_killed_at_its_first_byte_is_sent",
            killed_at_the_first_byte,
        ),
        trial(
            "a_rename_that_the_journal_cannot_note_is_an_error",
            full_journal,
        ),
        trial("a_refused_rename_over_a_file", refused_rename_over),
        trial(
            "a_rename_that_fails_puts_the_old_file_back",
            failed_rename_over,
        ),
        trial(
            "a_rename_that_fails_leaves_an_open_file_its_name",
            failed_rename_over_open,
        ),
        trial("a_refused_download_is_eacces", refused_download),
        trial("servers_without_a_verb", servers_without_a_verb),
        trial("a_file_of_unknown_size_is_no_empty_one", unknown_size),
        trial("the_server_makes_the_data_connections", active_mode),
        trial("replies_of_any_shape", replies_of_any_shape),
        trial("fewer_sessions_than_wanted", fewer_sessions),
        trial("round_trips_are_few", round_trips),
        trial(
            "attributes_set_behind_a_close_go_with_a_rename",
            attributes_behind_a_close,
        ),
    ]
}

/// Writes a file as programs do that look at what `close` says.
pub fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut local = tempfile::NamedTempFile::new()?;
    local.write_all(content)?;
    outcome(&run("cp", [local.path(), path]))
}

/// Adds to a file, likewise.
pub fn append(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut local = tempfile::NamedTempFile::new()?;
    local.write_all(content)?;
    let word = |word: &str, path: &Path| {
        let mut whole = OsString::from(word);
        whole.push(path);
        whole
    };
    let flags = ["oflag=append", "conv=notrunc", "bs=64K", "status=none"].map(OsString::from);
    let arguments = [word("if=", local.path()), word("of=", path)]
        .into_iter()
        .chain(flags);
    outcome(&run("dd", arguments))
}

/// What a program of the system says of its failure.
fn outcome(output: &Output) -> io::Result<()> {
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr)
        .trim_end()
        .to_owned();
    let known = [
        Errno::NOSPC,
        Errno::NOENT,
        Errno::ACCESS,
        Errno::IO,
        Errno::TIMEDOUT,
        Errno::STALE,
        Errno::HOSTUNREACH,
        Errno::BUSY,
    ];
    let words = |errno: &&Errno| {
        let text = io::Error::from(**errno).to_string();
        text.split(" (os")
            .next()
            .is_some_and(|text| said.ends_with(text))
    };
    Err(match known.iter().find(words) {
        Some(errno) => (*errno).into(),
        None => io::Error::other(said),
    })
}

/// The names in a folder, sorted.
fn shown(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

fn check(right: bool) -> io::Result<()> {
    if right {
        Ok(())
    } else {
        Err(io::Error::other("it is wrong, and no error"))
    }
}

/// Whether `error` is `errno`.
pub fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}

/// Bytes in which no two pieces are the same.
fn content(length: usize, seed: u8) -> Vec<u8> {
    let mut content = Vec::with_capacity(length + 64);
    let mut line = [seed; 64];
    for number in 0u64.. {
        if content.len() >= length {
            break;
        }
        line[..8].copy_from_slice(&number.to_le_bytes());
        content.extend_from_slice(&line);
    }
    content.truncate(length);
    content
}
