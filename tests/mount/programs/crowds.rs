//! Many processes, and many files.

use libtest_mimic::Failed;

use super::{Bench, Run};

pub const TRIALS: &[(&str, Run)] = &[
    ("sixteen_processes_at_once", sixteen_processes_at_once),
    (
        "a_folder_of_two_thousand_files",
        a_folder_of_two_thousand_files,
    ),
    (
        "a_file_is_listed_while_it_is_sent",
        a_file_is_listed_while_it_is_sent,
    ),
    (
        "a_file_is_removed_while_it_is_sent",
        a_file_is_removed_while_it_is_sent,
    ),
    (
        "a_file_is_there_while_it_is_replaced",
        a_file_is_there_while_it_is_replaced,
    ),
];

fn sixteen_processes_at_once(bench: &mut Bench) -> Result<(), Failed> {
    bench.sh(r#"
        head -c 150000 /dev/urandom >"$LOCAL/data"
        mkdir shared
        work() {
            mkdir "own$1"
            for round in {1..4}; do
                cp "$LOCAL/data" "own$1/copy$round"
                cmp "own$1/copy$round" "$LOCAL/data"
                cp "own$1/copy$round" "shared/$1.$round"
                mv "shared/$1.$round" "shared/moved.$1.$round"
                [[ ! -e shared/$1.$round ]]
                cmp "shared/moved.$1.$round" "$LOCAL/data"
                mv "shared/moved.$1.$round" "own$1/copy$round"
                echo "$1 $round" >"shared/left.$1.$round"
                ls shared >/dev/null
            done
            rm "own$1/copy1" "shared/left.$1.2"
            mkdir "own$1/sub"
            mv "own$1/copy2" "own$1/sub"
            # One name that all of them write: it is whole, whoever was last.
            cp "$LOCAL/data" "own$1/for all"
            mv -f "own$1/for all" shared/all
        }
        jobs=()
        for i in {1..16}; do work "$i" & jobs+=($!); done
        for job in "${jobs[@]}"; do wait "$job"; done
        for i in {1..16}; do
            cmp "own$i/sub/copy2" "$LOCAL/data"
            cmp "$ROOT/own$i/copy3" "$LOCAL/data"
            diff <(find "own$i" | sort) <(printf '%s\n' "own$i"{,/copy3,/copy4,/sub,/sub/copy2})
            for round in 1 3 4; do [[ $(cat "$ROOT/shared/left.$i.$round") == "$i $round" ]]; done
        done
        cmp "$ROOT/shared/all" "$LOCAL/data"
        diff -r . "$ROOT"
        [[ $(ls -A shared | wc -l) == 49 ]] || fail "$(ls -A shared)"
        diff <(find . | sort) <(cd "$ROOT"; find . | sort)
        "#);
    Ok(())
}

fn a_folder_of_two_thousand_files(bench: &mut Bench) -> Result<(), Failed> {
    bench.sh(r#"
        # Made on the server, whose files are seen once what was known of its root is old.
        mkdir "$LOCAL/many"
        for i in {1..2000}; do echo "$i" >"$LOCAL/many/file$i"; done
        cp -r "$LOCAL/many" "$ROOT/"
        chown -R --reference="$ROOT" "$ROOT/many"
        until [[ -d many ]]; do sleep 0.1; done
        [[ $(ls many | wc -l) == 2000 ]]
        [[ $(ls -l many | wc -l) == 2001 ]]
        [[ $(find many -type f -size -10c | wc -l) == 2000 ]]
        [[ $(find many -newermt '10 years ago' -type f | wc -l) == 2000 ]]
        cat many/file{1..100} | cmp - <(cat "$LOCAL/many/"file{1..100})
        rm many/file1{,?,??}
        [[ $(ls many | wc -l) == 1889 ]]
        [[ $(ls "$ROOT/many" | wc -l) == 1889 ]]
        rm -r many
        [[ ! -e many && ! -e $ROOT/many ]]
        "#);
    Ok(())
}

fn a_file_is_listed_while_it_is_sent(bench: &mut Bench) -> Result<(), Failed> {
    // Each listing is the server's of that moment.
    bench.remount_with(&["-o", "attr_timeout=0"]);
    bench.python("listed_while_sent.py");
    Ok(())
}

fn a_file_is_there_while_it_is_replaced(bench: &mut Bench) -> Result<(), Failed> {
    // Each listing is the server's of that moment.
    bench.remount_with(&["-o", "attr_timeout=0"]);
    bench.python("there_while_replaced.py");
    Ok(())
}

fn a_file_is_removed_while_it_is_sent(bench: &mut Bench) -> Result<(), Failed> {
    // Each listing is the server's of that moment.
    bench.remount_with(&["-o", "attr_timeout=0"]);
    bench.python("removed_while_sent.py");
    Ok(())
}
