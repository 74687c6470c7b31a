//! The table for those who come from other tools names options that there are.

use std::fs;
use std::path::Path;

use libtest_mimic::{Failed, Trial};

use crate::model_mount::run;

/// The trials.
pub fn trials() -> Vec<Trial> {
    vec![Trial::test(
        "system::the_table_of_others_names_our_options",
        names,
    )]
}

fn names() -> Result<(), Failed> {
    let table = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/coming-from.md");
    let help = run(env!("CARGO_BIN_EXE_ftpfs"), ["--help"]);
    let help = String::from_utf8(help.stdout)?;
    let mut wrong = Vec::new();
    for line in fs::read_to_string(table)?.lines() {
        let Some((_, ours)) = line
            .strip_prefix("| ")
            .and_then(|row| row.split_once(" | "))
        else {
            continue;
        };
        // What is quoted, and looks like an option with a value.
        let quoted = ours.split('`').skip(1).step_by(2);
        let named = quoted
            .filter_map(|word| word.split_once('='))
            .map(|(name, _)| name);
        let lines = ["username", "password"];
        for name in named.filter(|name| !lines.contains(name)) {
            let flag = format!("--{} <", name.replace('_', "-"));
            if !help.contains(&flag) {
                wrong.push(name.to_owned());
            }
        }
    }
    assert!(wrong.is_empty(), "not ours: {wrong:?}");
    Ok(())
}
