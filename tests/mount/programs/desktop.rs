//! What people have a folder open in: GIO, which most file managers are built on; Midnight Commander; nano.

use libtest_mimic::Failed;

use super::{Bench, Run, need};

pub const TRIALS: &[(&str, Run)] = &[
    ("gio_copies_and_trashes", gio_copies_and_trashes),
    (
        "midnight_commander_by_its_keys",
        midnight_commander_by_its_keys,
    ),
    ("nano_saves_in_place", nano_saves_in_place),
    (
        "heads_and_tails_of_films_do_not_fetch_them",
        heads_and_tails_of_films_do_not_fetch_them,
    ),
];

fn gio_copies_and_trashes(bench: &mut Bench) -> Result<(), Failed> {
    need("gio");
    bench.sh(
        r#"
        export HOME=$LOCAL/home GIO_USE_VFS=local
        unset XDG_DATA_HOME
        mkdir "$HOME"
        head -c 3000000 /dev/urandom >"$LOCAL/film.mkv"
        touch -d 2020-02-02 "$LOCAL/film.mkv"
        # It is told how far a copy is, there, back, and within the mount.
        for way in "$LOCAL/film.mkv film.mkv" "film.mkv $LOCAL/back" "film.mkv copy"; do
            gio copy --progress --preserve $way | tr '\r' '\n' >"$LOCAL/progress"
            grep -q 'Transferred 3.0.MB out of 3.0.MB' "$LOCAL/progress" || fail "$(cat "$LOCAL/progress")"
        done
        for copy in "$LOCAL/back" copy "$ROOT/film.mkv" "$ROOT/copy"; do
            cmp "$LOCAL/film.mkv" "$copy"
        done
        [[ $(stat -c %Y film.mkv copy | sort -u) == $(stat -c %Y "$LOCAL/film.mkv") ]] || fail "$(stat film.mkv copy)"
        gio copy --backup copy film.mkv
        cmp film.mkv~ film.mkv

        gio mkdir --parent a/b
        gio move copy a/b
        gio rename a/b/copy renamed >/dev/null
        echo text | gio save a/b/text
        echo text | gio save a/b/text # over the one that is there
        [[ $(gio cat a/b/text) == text && $(cat "$ROOT/a/b/text") == text ]]
        diff <(gio list --long a/b | cut -f 1-3 | sort) - <<-EOF
	renamed	3000000	(regular)
	text	5	(regular)
	EOF
        gio tree >"$LOCAL/tree"
        grep -q ' renamed$' "$LOCAL/tree" || fail "$(cat "$LOCAL/tree")"
        gio info film.mkv >"$LOCAL/info"
        for attribute in 'standard::size: 3000000' 'standard::content-type: video/x-matroska' \
            'access::can-write: TRUE' 'access::can-delete: TRUE' 'access::can-trash: TRUE' 'time::modified:'; do
            grep -q "$attribute" "$LOCAL/info" || fail "no $attribute in $(cat "$LOCAL/info")"
        done
        gio info --filesystem . >"$LOCAL/info"
        grep -q 'filesystem::free: 1099511627776' "$LOCAL/info" || fail "$(cat "$LOCAL/info")"

        # To the trash of this filesystem, without a copy; and back.
        gio trash film.mkv a
        diff <(ls -A) - <<<".Trash-$UID"$'\nfilm.mkv~'
        diff <(ls .Trash-$UID/files) - <<<$'a\nfilm.mkv'
        grep -qx Path=film.mkv .Trash-$UID/info/film.mkv.trashinfo
        cmp "$LOCAL/film.mkv" "$ROOT/.Trash-$UID/files/film.mkv"
        gio move .Trash-$UID/files/film.mkv film.mkv
        cmp "$LOCAL/film.mkv" "$ROOT/film.mkv"
        gio remove film.mkv~ .Trash-$UID/info/film.mkv.trashinfo
        rm -r .Trash-$UID
        diff <(ls -A) <(ls -A "$ROOT")
        "#,
    );
    Ok(())
}

fn midnight_commander_by_its_keys(bench: &mut Bench) -> Result<(), Failed> {
    need("mc");
    let used = TERMINAL.to_owned()
        + r#"
        # use FOLDER: what somebody does with the keyboard; what the screen shows then.
        use() {
            mkdir "$1/left" "$1/right"
            echo 'some text' >"$1/left/a.txt"
            seq 100000 >"$1/left/b.txt"
            touch -d 2020-02-02 "$1"/left/*
            terminal "mc --nomouse --nosubshell --nocolor left right" "$1"
            see b.txt; until_true idle
            key Down F3; see 'some text'; key F10; until_true idle # view
            key F5; see 'Copy file'; key Enter                     # copy
            until_true cmp -s "$1/left/a.txt" "$1/right/a.txt"
            until_true idle; key Down F6; see 'Move file'; key Enter # move the next one
            until_true test ! -e "$1/left/b.txt"
            until_true idle; key F7; see Directory; type folder; key Enter
            until_true test -d "$1/left/folder"
            until_true idle; key Tab Home Down F8; see 'Delete file'; key Enter
            until_true test ! -e "$1/right/a.txt"
            until_true idle; key C-r Home Tab C-r Home; until_true panels_are
            panels
            key F10
            until_true ended
        }
        # The panels are shown, and no question or bar over them, which have buttons.
        idle() { shows PullDn && ! screen | grep -qE '\[<? '; }
        panels() { screen | grep -E '^\S.*(Name|\.txt|folder|UP--DIR)' | sed -E 's/[A-Z][a-z]{2} [ 0-9]{2} [ 0-9:]{5}/TIME/g'; }
        # Read again, with the cursor of each at the top.
        panels_are() { [[ $(panels | grep -o UP--DIR | wc -l) == 4 && $(panels) == *folder*b.txt* ]]; }
        mkdir "$LOCAL/ours"
        use "$LOCAL/ours" >"$LOCAL/expected"
        use "$PWD" >"$LOCAL/shown"
        diff "$LOCAL/expected" "$LOCAL/shown"
        grep -q '588895.*TIME' "$LOCAL/shown" || fail "$(cat "$LOCAL/shown")"
        diff -r "$LOCAL/ours" .
        diff -r "$LOCAL/ours" "$ROOT"
        [[ $(stat -c %Y right/b.txt) == $(date -d 2020-02-02 +%s) ]] || fail "$(stat right/b.txt)"
        "#;
    bench.sh(&used);
    Ok(())
}

fn nano_saves_in_place(bench: &mut Bench) -> Result<(), Failed> {
    need("nano");
    let used = TERMINAL.to_owned()
        + r#"
        edit() {
            terminal "nano --ignorercfiles $*" "$PWD"
            see Exit
            type 'new line'
            key Enter C-o; see 'Write'; key Enter; see Wrote; key C-x
            until_true ended
        }
        echo old >text
        chmod 640 text
        for options in '' --backup --locking; do
            edit $options text
            printf 'new line\n' >>"$LOCAL/lines"
            cat "$LOCAL/lines" - <<<old | cmp - "$ROOT/text"
        done
        [[ $(cat text~) == $'new line\nold' && $(stat -c %a text) == 640 ]] || fail "$(ls -la)"
        edit 'a\ new.txt'
        [[ $(cat "$ROOT/a new.txt") == 'new line' ]]
        diff <(ls -A) - <<<$'a new.txt\ntext\ntext~'
        diff <(ls -A) <(ls -A "$ROOT")
        "#;
    bench.sh(&used);
    Ok(())
}

fn heads_and_tails_of_films_do_not_fetch_them(bench: &mut Bench) -> Result<(), Failed> {
    need("python3");
    bench.sh(r#"
        for step in 65536 4096; do
            mkdir "$ROOT/by$step"
            for number in $(seq -w 50); do
                truncate -s 100M "$ROOT/by$step/film$number.mkv"
            done
        done
        "#);
    bench.remount();
    bench.sh(
        r#"
        received() {
            "$FTPFS" status --json . | python3 -c 'import json, sys; print(json.load(sys.stdin)[0]["traffic"]["received_bytes"])'
        }
        # heads LIMIT STEP END..: no more than LIMIT times what is read from the ends of each, in steps.
        heads() {
            local limit=$1 step=$2 before read received
            ls -l "by$step" >/dev/null
            before=$(received)
            read=$(python3 "$CODE/heads.py" "by$step" "${@:2}")
            received=$(($(received) - before))
            ((read == 50 * 2 * 65536)) || fail "$read bytes read"
            ((received <= limit * read)) || fail "by $step: $read bytes read, $received received"
        }
        heads 2 65536 head tail
        heads 3 4096 head tail
        "#,
    );
    Ok(())
}

/// A terminal of 80 columns that is looked at and typed into: tmux's.
const TERMINAL: &str = r#"
command -v tmux >/dev/null || fail 'tmux is not installed: install it, then run this test again'
export HOME=$LOCAL/home
mkdir -p "$HOME"
terminals() { command tmux -S "$LOCAL/tmux" -f /dev/null "$@"; }
trap 'terminals kill-server 2>/dev/null || true' EXIT
# terminal COMMAND FOLDER: begins.
terminal() { terminals new-session -d -s test -x 80 -y 24 -c "$2" "$1"; }
ended() { ! terminals has-session -t test 2>/dev/null; }
screen() { terminals capture-pane -p -t test; }
key() { terminals send-keys -t test "$@"; }
type() { terminals send-keys -t test -l "$1"; }
until_true() {
    local tries
    for ((tries = 0; tries < 600; tries++)); do
        ! "$@" || return 0
        sleep 0.05
    done
    screen >&2 || true
    fail "not so: $*"
}
shows() { screen | grep -qF -- "$1"; }
see() { until_true shows "$1"; }
"#;
