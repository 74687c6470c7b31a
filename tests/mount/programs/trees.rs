//! Whole trees: `cp`, `rsync`, `tar`, links.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use libtest_mimic::Failed;

use super::{Bench, Run, need};
use crate::servers::ServerKind;
use crate::ways::Way;

pub const TRIALS: &[(&str, Run)] = &[
    (
        "cp_keeps_names_modes_and_times",
        cp_keeps_names_modes_and_times,
    ),
    ("rsync_transfers_once", rsync_transfers_once),
    ("rsync_changes_files_in_place", rsync_changes_files_in_place),
    ("tar_unpacks_a_source_tree", tar_unpacks_a_source_tree),
    ("links_are_what_was_written", links_are_what_was_written),
];

fn cp_keeps_names_modes_and_times(bench: &mut Bench) -> Result<(), Failed> {
    make_tree(bench, BIG_BYTES)?;
    bench.sh(r#"
        cp -a "$LOCAL/tree" .
        same "$LOCAL/tree" tree
        served tree "$LOCAL/tree"
        cp -a tree "$LOCAL/back"
        same "$LOCAL/tree" "$LOCAL/back"
        "#);
    bench.remount();
    bench.sh(r#"served tree "$LOCAL/back"; diff -r "$LOCAL/tree" tree"#);
    Ok(())
}

fn rsync_transfers_once(bench: &mut Bench) -> Result<(), Failed> {
    need("rsync");
    make_tree(bench, 100_000)?;
    bench.sh(r#"
        rsync -a "$LOCAL/tree" .
        served tree "$LOCAL/tree"
        again=$(rsync -ai "$LOCAL/tree" .)
        [[ ! $again ]] || fail "transferred twice: $again"
        echo changed >>"$LOCAL/tree/a -> b"
        touch -d @1100000000 "$LOCAL/tree/a -> b"
        one=$(rsync -ai --out-format='%n' "$LOCAL/tree" . | grep -v '/$')
        [[ $one == 'tree/a -> b' ]] || fail "not the one that changed: $one"
        served tree "$LOCAL/tree"
        "#);
    bench.remount();
    bench.sh(r#"
        if [[ $MODES && $FILE_TIMES ]]; then
            # Folders' times may have ended with the mount that kept them.
            again=$(rsync -ai "$LOCAL/tree" . | grep -v '^\.d' || true)
            [[ ! $again ]] || fail "transferred again after a new mount: $again"
        fi
        rm -r "$LOCAL/tree/plain" "$LOCAL/tree/ leading space"
        rsync -a --delete "$LOCAL/tree" .
        same "$LOCAL/tree" tree
        served tree "$LOCAL/tree"
        "#);
    Ok(())
}

fn rsync_changes_files_in_place(bench: &mut Bench) -> Result<(), Failed> {
    need("rsync");
    bench.sh(r#"
        mkdir "$LOCAL/src"
        head -c 3000000 /dev/urandom >"$LOCAL/src/file"
        rsync -a "$LOCAL/src/" dst
        # --no-whole-file: the parts that are the same are not written.
        printf XYZ | dd of="$LOCAL/src/file" conv=notrunc bs=1 seek=1500000 status=none
        # rsync goes by size and whole seconds.
        touch -d @1700000000 "$LOCAL/src/file"
        rsync -a --inplace --no-whole-file "$LOCAL/src/" dst
        served dst "$LOCAL/src"
        head -c 500000 /dev/urandom >>"$LOCAL/src/file"
        rsync -a --append "$LOCAL/src/" dst
        served dst "$LOCAL/src"
        head -c 4000000 /dev/urandom >"$LOCAL/src/file"
        rsync -a --partial --no-whole-file "$LOCAL/src/" dst
        head -c 4000000 /dev/urandom >"$LOCAL/src/late"
        rsync -a --delay-updates "$LOCAL/src/" dst
        rsync -ac "$LOCAL/src/" dst
        same "$LOCAL/src" dst
        served dst "$LOCAL/src"
        "#);
    Ok(())
}

fn tar_unpacks_a_source_tree(bench: &mut Bench) -> Result<(), Failed> {
    // ftp-srv 4.6.3 looks every 50 ms whether a passive connection has come and is encrypted: 500 files, not 2,000.
    let waits = (bench.server.kind, bench.server.way) == (ServerKind::Ftpsrv, Way::Tls);
    let folders = if waits { 10 } else { 40 };
    let script = r#"
        for dir in $(seq FOLDERS); do
            mkdir -p "$LOCAL/source/module-$dir/src"
            for file in {1..50}; do
                echo "// $dir $file" >"$LOCAL/source/module-$dir/src/file-$file.c"
            done
            chmod 755 "$LOCAL/source/module-$dir/src/file-1.c"
        done
        find "$LOCAL/source" -exec touch -d @1234567890 {} +
        tar -C "$LOCAL" -cf "$LOCAL/source.tar" source
        tar xf "$LOCAL/source.tar"
        tar --compare -f "$LOCAL/source.tar"
        served source "$LOCAL/source"
        "#;
    bench.sh(&script.replace("FOLDERS", &folders.to_string()));
    Ok(())
}

fn links_are_what_was_written(bench: &mut Bench) -> Result<(), Failed> {
    if !bench.able.links {
        bench.python("links_refused.py");
        return Ok(());
    }
    bench.sh(
        r#"
        mkdir dir
        echo text >dir/file
        for target in /dir/file /dir; do
            ln -s "$target" dir/link
            for place in dir/link "$ROOT/dir/link"; do
                [[ $(readlink "$place") == "$target" ]] || fail "$place: $(readlink "$place"), not $target"
            done
            [[ $(stat -c %F dir/link) == 'symbolic link' ]]
            mv dir/link moved
            [[ $(readlink moved) == "$target" ]]
            rm moved
            [[ ! -L $ROOT/moved && -f dir/file ]]
        done
        # The server would store these as other paths than were written.
        for target in file ../dir/file ./file; do
            ! ln -s "$target" dir/relative 2>"$LOCAL/refusal"
            grep -q 'not permitted' "$LOCAL/refusal"
            [[ ! -L dir/relative && ! -L $ROOT/dir/relative ]]
        done
        # Made by somebody else, they are shown as they are.
        ln -s ../dir/file "$ROOT/dir/by another"
        until [[ -L 'dir/by another' ]]; do sleep 0.1; done
        [[ $(readlink 'dir/by another') == ../dir/file ]]
        [[ $(cat 'dir/by another') == text ]]
        "#,
    );
    Ok(())
}

/// Makes some hundred files with the names, modes and times that go wrong elsewhere.
fn make_tree(bench: &Bench, big_bytes: usize) -> io::Result<()> {
    let tree = &bench.local.path().join("tree");
    fs::create_dir(tree)?;
    let long = "n".repeat(255);
    let mut names: Vec<String> = [
        "a -> b",
        " leading space",
        "two  spaces",
        "-rf",
        "#%[]*?",
        "Ünïcode – 文件 😀",
        "e\u{301} decomposed",
        "quote\"s and 'apostrophes'",
        "semi;colon&$HOME`",
        ".hidden",
        "..two dots",
        "CON.txt~",
        "drwxr-xr-x 1 a b 12 Jan 1 2020 name",
    ]
    .map(str::to_owned)
    .into();
    names.extend([long, "trailing space ".to_owned(), "back\\slash".to_owned()]);
    names.retain(|name| !bench.able.refuses(name));
    for dir in [
        "",
        "plain",
        "folder with spaces",
        ".hidden folder",
        "ünï",
        "deep/er/est",
    ] {
        if bench.able.refuses(dir) {
            continue;
        }
        let dir = tree.join(dir);
        fs::create_dir_all(&dir)?;
        for (number, name) in names.iter().enumerate() {
            fs::write(dir.join(name), format!("{number}\n").repeat(number * 7))?;
        }
        for number in 0..30 {
            fs::write(dir.join(format!("file{number}")), vec![b'x'; number * 331])?;
        }
    }
    fs::create_dir(tree.join("empty folder"))?;
    fs::write(tree.join("empty"), "")?;
    let big: Vec<u8> = (0..big_bytes).map(|at| ((at * 31) >> 3) as u8).collect();
    fs::write(tree.join("big"), big)?;
    set_attributes(tree, &mut 0)
}

/// Gives everything below `dir`, and `dir`, a mode and a time of its own.
fn set_attributes(dir: &Path, number: &mut u64) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            set_attributes(&path, number)?;
            continue;
        }
        *number += 1;
        let mode = [0o600, 0o644, 0o755][*number as usize % 3];
        fs::set_permissions(&path, Permissions::from_mode(mode))?;
        set_time(&path, *number)?;
    }
    *number += 1;
    let mode = [0o755, 0o700][*number as usize % 2];
    fs::set_permissions(dir, Permissions::from_mode(mode))?;
    set_time(dir, *number)
}

/// From 1990 on; every other one within the last months, which `LIST` shows in another way. Whole seconds, as in FTP.
fn set_time(path: &Path, number: u64) -> io::Result<()> {
    let time = if number.is_multiple_of(2) {
        SystemTime::UNIX_EPOCH + Duration::from_secs(631_152_000 + number * 86_461)
    } else {
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_err(io::Error::other)?;
        SystemTime::UNIX_EPOCH + Duration::from_secs(now.as_secs() - 60 - number * 20_011)
    };
    File::open(path)?.set_modified(time)
}

/// More than any buffer on the way.
const BIG_BYTES: usize = 20 << 20;
