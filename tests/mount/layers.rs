//! The shape of the source: imports point down, and some names stay where they belong.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use libtest_mimic::{Failed, Trial};

/// The trials.
pub fn trials() -> Vec<Trial> {
    vec![
        Trial::test("layers::imports_point_down", imports_point_down),
        Trial::test(
            "layers::libraries_stay_in_their_layer",
            libraries_stay_in_their_layer,
        ),
        Trial::test(
            "layers::tests_sleep_only_in_waits",
            tests_sleep_only_in_waits,
        ),
    ]
}

/// From the top. Each may name those below it, and none beside it; `sys` is a leaf that all may name.
const LAYERS: [&[&str]; 10] = [
    &["main", "fuzzed"],
    &["cli"],
    &["mount", "probe"],
    &["fuse", "status"],
    &["vfs"],
    &["cache"],
    &["pool"],
    &["ftp"],
    &["log"],
    &["columns"],
];

/// What is named only in certain places below `src`.
const CONFINED: [(&str, &[&str]); 17] = [
    ("encoding_rs", &["ftp/"]),
    ("syslog_tracing", &["log.rs"]),
    ("tracing_subscriber", &["log.rs"]),
    ("base64", &["ftp/"]),
    ("httparse", &["ftp/"]),
    ("tokio_socks", &["ftp/"]),
    ("clap_complete", &["cli/"]),
    ("clap_mangen", &["cli/"]),
    ("sd_notify", &["mount/"]),
    ("fuser", &["fuse/", "mount/"]),
    ("serde_json", &["probe/", "status/"]),
    ("textwrap", &["columns.rs"]),
    ("indicatif", &["log.rs", "status/"]),
    ("console", &["status/"]),
    ("clap", &["cli/"]),
    ("lru", &["cache/"]),
    ("unsafe", &["sys.rs"]),
];

fn imports_point_down() -> Result<(), Failed> {
    let mut wrong = Vec::new();
    for (path, code) in sources("src") {
        let own = layer(&path);
        let depth = depth(&path);
        // The tests are a module within.
        let (code, tests) = code.split_once("\nmod tests {").unwrap_or((&code, ""));
        let names = crate_names(code, depth);
        for name in names.union(&crate_names(tests, depth + 1)) {
            let allowed = match (own.as_str(), name.as_str()) {
                ("lib", _) => true,
                (_, "sys") => true,
                (own, name) if own == name => true,
                (own, name) => match (position(own), position(name)) {
                    (Some(own), Some(name)) => own < name,
                    _ => false,
                },
            };
            if !allowed {
                wrong.push(format!("{} names {name}", path.display()));
            }
        }
    }
    report(wrong)
}

fn libraries_stay_in_their_layer() -> Result<(), Failed> {
    let mut wrong = Vec::new();
    for (path, code) in sources("src") {
        for (name, places) in CONFINED {
            let inside = places.iter().any(|place| path.starts_with(place));
            if !inside && words(&code).any(|word| word == name) {
                wrong.push(format!("{} names {name}", path.display()));
            }
        }
    }
    report(wrong)
}

fn tests_sleep_only_in_waits() -> Result<(), Failed> {
    // Each of these waits for something and gives up at a deadline; the scripted server waits where it is told to.
    const WAITS: [&str; 5] = ["pause", "within", "run", "data_connection", "wait_until"];
    let mut wrong = Vec::new();
    // The link of the benchmarks is made of waiting.
    for (path, code) in sources("tests/mount") {
        let mut function = "";
        for line in code.lines() {
            let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
            if words.any(|word| word == "fn") {
                function = words.next().unwrap_or_default();
            }
            let sleeps = ["thread::sleep(", "time::sleep("]
                .iter()
                .any(|call| line.contains(call));
            if sleeps && !WAITS.contains(&function) {
                wrong.push(format!("{}: {function} sleeps", path.display()));
            }
        }
    }
    report(wrong)
}

fn report(wrong: Vec<String>) -> Result<(), Failed> {
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(wrong.join("\n").into())
    }
}

/// The Rust files below `folder` by path within it, without comments and without the text in quotes.
fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("the source is there") {
            let path = entry.expect("the source is there").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("source is UTF-8");
                let within = path.strip_prefix(&root).expect("found below it");
                found.push((within.to_owned(), code(&text)));
            }
        }
    }
    assert!(!found.is_empty());
    found
}

fn code(text: &str) -> String {
    text.lines()
        .map(|line| {
            let line = line.split("//").next().unwrap_or_default();
            let outside = line.split('"').step_by(2);
            outside.collect::<Vec<_>>().join("\"\"") + "\n"
        })
        .collect()
}

/// The layer that a file belongs to.
fn layer(path: &Path) -> String {
    let first = path.components().next().expect("not empty");
    let name = first.as_os_str().to_string_lossy();
    name.trim_end_matches(".rs").to_owned()
}

/// How many `super::` lead from the module of `path` to the crate's root.
fn depth(path: &Path) -> usize {
    let parts = path.components().count();
    if path.ends_with("mod.rs") {
        parts - 1
    } else {
        parts
    }
}

fn position(layer: &str) -> Option<usize> {
    LAYERS.iter().position(|names| names.contains(&layer))
}

/// The first names behind `crate::` (`$crate::`, `ftpfs::` in main), and behind as many `super::` as lead to the root.
fn crate_names(code: &str, depth: usize) -> BTreeSet<String> {
    let root = "super::".repeat(depth);
    let mut names = BTreeSet::new();
    for start in ["crate::", "ftpfs::", root.as_str()] {
        for (at, _) in code.match_indices(start) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            let rest = &code[at + start.len()..];
            match rest.strip_prefix('{') {
                Some(group) => names.extend(group_names(group)),
                None => {
                    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
                    names.insert(rest[..end.unwrap_or(rest.len())].to_owned());
                }
            }
        }
    }
    // `super::*` ends in none, and one more `super` was meant for the crate's root by nobody.
    names.remove("");
    names.remove("super");
    names
}

/// The first name of each path in `{a, b::c, d::{e, f}}`, from behind the opening brace.
fn group_names(group: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut nested = 0;
    let mut start = 0;
    for (at, c) in group.char_indices() {
        match c {
            '{' => nested += 1,
            '}' if nested > 0 => nested -= 1,
            ',' | '}' if nested == 0 => {
                names.extend(words(&group[start..at]).next().map(str::to_owned));
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    names
}

fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|word| !word.is_empty())
}
