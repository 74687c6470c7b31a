//! Writes into the middle of files, mappings, and what happens to open files.

use libtest_mimic::Failed;

use super::{Bench, Run};

pub const TRIALS: &[(&str, Run)] = &[
    ("dd_and_truncate_change_parts", dd_and_truncate_change_parts),
    ("two_processes_append_in_turn", two_processes_append_in_turn),
    ("mappings_reach_the_server", mappings_reach_the_server),
    (
        "long_files_are_sent_while_they_are_written",
        long_files_are_sent_while_they_are_written,
    ),
    (
        "a_redirection_replaces_its_file_once",
        a_redirection_replaces_its_file_once,
    ),
    (
        "open_files_survive_removes_and_renames",
        open_files_survive_removes_and_renames,
    ),
    ("renames_do_as_they_are_told", renames_do_as_they_are_told),
    ("what_others_append_stays", what_others_append_stays),
    (
        "odd_names_are_kept_or_refused",
        odd_names_are_kept_or_refused,
    ),
];

fn dd_and_truncate_change_parts(bench: &mut Bench) -> Result<(), Failed> {
    bench.sh(
        r#"
        ours=$LOCAL/ours
        head -c 5000000 /dev/urandom >"$ours"
        head -c 300000 /dev/urandom >"$LOCAL/piece"
        cp "$ours" file
        step() {
            "$@" "$ours"
            "$@" file
            cmp file "$ours"
            cmp "$ROOT/file" "$ours"
        }
        part() { dd if="$LOCAL/piece" of="$4" conv=notrunc bs="$1" count="$2" seek="$3" status=none; }
        step part 4096 10 300
        step part 1000 7 777
        step part 1 5 4999998
        step part 100000 1 50
        step part 1000 10 6000
        step truncate -s 4000001
        step truncate -s 6000000
        step part 4096 3 1300
        step truncate -s 10
        step truncate -s 100000
        step truncate -s 0
        step part 1000 2 5000
        dd if="$LOCAL/piece" of=direct bs=65536 count=4 oflag=direct status=none
        head -c 262144 "$LOCAL/piece" | cmp - "$ROOT/direct"
        # Sparse: what was never written reads as zeros.
        dd if="$LOCAL/piece" of=sparse bs=1000 count=1 seek=9000 status=none
        dd if="$LOCAL/piece" of=sparse conv=notrunc bs=1000 count=1 seek=3000 status=none
        [[ $(stat -c %s sparse) == 9001000 ]]
        cmp sparse "$ROOT/sparse"
        head -c 3000000 sparse | cmp - <(head -c 3000000 /dev/zero)
        ! fallocate -p -o 0 -l 4096 sparse 2>/dev/null
        cmp sparse "$ROOT/sparse"
        "#,
    );
    Ok(())
}

fn two_processes_append_in_turn(bench: &mut Bench) -> Result<(), Failed> {
    bench.python("appends.py");
    Ok(())
}

fn mappings_reach_the_server(bench: &mut Bench) -> Result<(), Failed> {
    bench.python("mappings.py");
    Ok(())
}

fn long_files_are_sent_while_they_are_written(bench: &mut Bench) -> Result<(), Failed> {
    bench.python("written_early.py");
    Ok(())
}

fn a_redirection_replaces_its_file_once(bench: &mut Bench) -> Result<(), Failed> {
    bench.python("redirections.py");
    bench.sh(r#"diff -r . "$ROOT""#);
    Ok(())
}

fn open_files_survive_removes_and_renames(bench: &mut Bench) -> Result<(), Failed> {
    bench.python("open_files.py");
    bench.sh(r#"diff -r . "$ROOT"; diff <(ls -A) <(ls -A "$ROOT")"#);
    Ok(())
}

fn renames_do_as_they_are_told(bench: &mut Bench) -> Result<(), Failed> {
    bench.python("renames.py");
    bench.sh(r#"diff -r . "$ROOT"; diff <(ls -A) <(ls -A "$ROOT")"#);
    Ok(())
}

fn what_others_append_stays(bench: &mut Bench) -> Result<(), Failed> {
    if !bench.able.appends {
        // The file is replaced as a whole there, and a change of others refuses that: see the fault trials.
        return Ok(());
    }
    bench.sh(r#"
        echo one >log
        [[ $(cat log) == one ]]
        # Behind the mount's back, which believes what it knows for a while yet.
        echo two >>"$ROOT/log"
        echo three >>log
        [[ $(cat "$ROOT/log") == $'one\ntwo\nthree' ]] || fail "$(cat "$ROOT/log")"
        [[ $(cat log) == $'one\ntwo\nthree' ]] || fail "$(cat log)"
        echo four >>log
        [[ $(cat "$ROOT/log") == $'one\ntwo\nthree\nfour' ]] || fail "$(cat "$ROOT/log")"
        "#);
    Ok(())
}

fn odd_names_are_kept_or_refused(bench: &mut Bench) -> Result<(), Failed> {
    // Each listing is the server's of that moment.
    bench.remount_with(&["-o", "attr_timeout=0"]);
    bench.python("odd_names.py");
    Ok(())
}
