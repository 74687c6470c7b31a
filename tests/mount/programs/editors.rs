//! How editors and shells save.

use libtest_mimic::Failed;

use super::{Bench, Run, need};

pub const TRIALS: &[(&str, Run)] = &[
    ("vim_saves_in_each_way", vim_saves_in_each_way),
    (
        "editors_save_atomically_and_in_place",
        editors_save_atomically_and_in_place,
    ),
    ("shells_redirect", shells_redirect),
];

fn vim_saves_in_each_way(bench: &mut Bench) -> Result<(), Failed> {
    need("vim");
    bench.sh(
        r#"
        edit() { vim -N -u NONE -i NONE -es -c "set $1" -c "%s/$2/$3/" -c wq "$4" </dev/null || fail "vim: set $1"; }
        printf 'one\n' >"$LOCAL/expected"
        printf 'zero\n' >text
        chmod 600 text
        edit directory=. zero one text
        for options in backupcopy=yes backupcopy=no backupcopy=auto backup 'backup backupcopy=yes' nowritebackup \
            'fsync' 'nofsync undofile undodir=.'; do
            edit "$options" one two text
            [[ $(cat text) == two ]]
            edit "$options" two one text
            cmp text "$LOCAL/expected"
            cmp "$ROOT/text" "$LOCAL/expected"
        done
        [[ $(stat -c %a text) == 600 ]] || fail "$(stat text)"
        [[ ! $MODES || $(stat -c %a "$ROOT/text") == 600 ]] || fail "$(stat "$ROOT/text")"
        vim -N -u NONE -i NONE -es -c 'normal inew' -c wq 'a new file.txt' </dev/null
        [[ $(cat "$ROOT/a new file.txt") == new ]]
        diff <(ls -A) <(ls -A "$ROOT")
        [[ ! $(ls -A | grep '\.sw') ]] || fail "$(ls -A)"
        "#,
    );
    Ok(())
}

fn editors_save_atomically_and_in_place(bench: &mut Bench) -> Result<(), Failed> {
    bench.python("saves.py");
    Ok(())
}

fn shells_redirect(bench: &mut Bench) -> Result<(), Failed> {
    bench.sh(
        r#"
        ours=$LOCAL/ours
        on_both() { (cd "$ours" && eval "$1"); eval "$1"; }
        mkdir "$ours"
        on_both 'echo one >file; echo two >>file; echo three >>file'
        on_both 'echo new >file2; echo >file2; echo longer than before >file2; echo short >file2'
        on_both '{ echo out; echo err >&2; } 2>&1 | tee -a file >/dev/null'
        on_both 'seq 1000 | tee -a file file2 >/dev/null'
        on_both 'sed -i s/two/TWO/ file; sed -i.bak 5d file2'
        on_both ': >empty; true >file3; >>file3; cat file >file4; cat file2 >>file4'
        on_both 'exec 3<>file4; echo over >&3; exec 3>&-'
        on_both 'while read -r line; do echo "<$line>"; done <file >file5'
        on_both 'sort -r -o file5 file5; split -n 3 file4 part; cat part* | cmp - file4'
        on_both 'mkdir d; mv file5 d/; cp d/file5 .; install -m 755 file d/; ln file hard 2>/dev/null || cp file hard'
        on_both 'gzip -k file4; gzip -t file4.gz; rm file4.gz'
        diff -r . "$ours"
        diff -r "$ROOT" "$ours"
        diff <(modes .) <(modes "$ours")
        "#,
    );
    Ok(())
}
