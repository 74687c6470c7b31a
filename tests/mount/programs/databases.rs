//! Programs that keep a database of their own: git and SQLite.

use libtest_mimic::Failed;

use super::{Bench, Run, need};

pub const TRIALS: &[(&str, Run)] = &[
    ("git_keeps_a_repository", git_keeps_a_repository),
    (
        "sqlite_keeps_its_database_whole",
        sqlite_keeps_its_database_whole,
    ),
];

fn git_keeps_a_repository(bench: &mut Bench) -> Result<(), Failed> {
    need("git");
    bench.sh(r#"
        export HOME=$LOCAL GIT_CONFIG_NOSYSTEM=1
        git config --global user.name Test
        git config --global user.email test@example.org
        git config --global init.defaultBranch main
        git config --global advice.detachedHead false
        git init -q repo
        cd repo
        for i in {1..60}; do echo "file $i" >"file$i"; done
        git add .
        git commit -qm first
        git checkout -qb branch
        sed -i s/file/changed/ file1 file2
        git commit -qam second
        git checkout -q main
        [[ $(cat file1) == 'file 1' ]]
        git merge -q --no-ff -m merged branch
        git stash list
        git gc -q
        git fsck --strict --no-progress
        [[ ! $(git status --porcelain) ]] || fail "$(git status --porcelain)"
        cd ..
        git clone -q repo clone
        git clone -q "file://$PWD/repo" "$LOCAL/clone"
        git -C clone checkout -q HEAD~1
        git -C clone checkout -q main
        git -C clone fsck --strict --no-progress
        echo pushed >"$LOCAL/clone/new"
        git -C "$LOCAL/clone" add new
        git -C "$LOCAL/clone" commit -qm third
        git -C "$LOCAL/clone" push -q origin main:pushed
        git -C repo checkout -q pushed
        [[ $(cat repo/new) == pushed ]]
        diff -r repo "$ROOT/repo"
        git config --global safe.directory '*'
        git -C "$ROOT/repo" fsck --strict --no-progress
        [[ $(git -C "$ROOT/repo" rev-parse HEAD) == $(git -C "$LOCAL/clone" rev-parse HEAD) ]]
        "#);
    Ok(())
}

fn sqlite_keeps_its_database_whole(bench: &mut Bench) -> Result<(), Failed> {
    need("sqlite3");
    bench.sh(r#"
        for journal in delete truncate wal; do
            db=$journal.db
            {
                echo "pragma journal_mode=$journal; create table t (id integer primary key, text);"
                for transaction in {1..12}; do
                    echo 'begin;'
                    for row in {1..25}; do
                        echo "insert into t (text) values (hex(randomblob(200)));"
                    done
                    echo 'commit;'
                done
                echo 'update t set text = id where id % 7 = 0; delete from t where id % 11 = 0;'
            } | sqlite3 "$db" >/dev/null
            [[ $(sqlite3 "$db" 'pragma integrity_check') == ok ]]
            [[ $(sqlite3 "$db" 'select count(*) from t') == 273 ]]
            # A reader and a writer at once.
            sqlite3 "$db" 'pragma busy_timeout=20000; vacuum;' >/dev/null &
            sqlite3 "$db" 'pragma busy_timeout=20000; insert into t (text) values (1);' >/dev/null
            wait $!
            sqlite3 "$db" .dump >"$LOCAL/dump"
            cmp "$db" "$ROOT/$db"
            cp "$ROOT/$db" "$LOCAL/copy.db"
            sqlite3 "$LOCAL/copy.db" .dump | cmp - "$LOCAL/dump"
            [[ $(sqlite3 "$LOCAL/copy.db" 'pragma integrity_check') == ok ]]
            rm "$LOCAL/copy.db"
        done
        diff <(ls) <(printf '%s.db\n' delete truncate wal)
        diff <(ls) <(ls "$ROOT")
        "#);
    Ok(())
}
