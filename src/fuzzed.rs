//! The fuzz targets on inputs that chance makes of their samples, the same each time, and on what `scripts/fuzz` has kept.
//!
//! That one finds more, and takes longer to be built than this to be run.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// A target, by its name in `tests/fuzz/targets`.
type Target = (&'static str, fn(&[u8]));

const TARGETS: [Target; 8] = [
    ("replies", crate::ftp::fuzzed::replies),
    ("passive", crate::ftp::fuzzed::passive),
    ("listings", crate::ftp::list::fuzzed::listing),
    ("facts", crate::ftp::list::fuzzed::facts),
    ("dates", crate::ftp::list::fuzzed::date),
    ("addresses", crate::ftp::fuzzed::address),
    ("options", crate::cli::fuzzed::options),
    ("journal", crate::vfs::fuzzed::journal),
];

#[test]
fn no_input_breaks_a_parser() {
    let mut fed = 0;
    for (name, target) in TARGETS {
        let samples = samples(name);
        for sample in samples.iter().chain(&kept(name)) {
            target(sample);
            fed += 1;
        }
        let config = Config {
            cases: INPUTS,
            failure_persistence: None,
            ..Config::default()
        };
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[1; 32]);
        let outcome = TestRunner::new_with_rng(config, rng).run(&input(samples), |input| {
            target(&input);
            Ok(())
        });
        if let Err(broken) = outcome {
            panic!("{name}: {broken}");
        }
        fed += INPUTS;
    }
    // Past the test runner, which keeps to itself what a test prints that passes.
    writeln!(
        io::stdout(),
        "\nfuzz: {fed} inputs to parsers, no violation; "
    )
    .expect("it is shown");
}

#[test]
fn each_target_of_the_fuzzer_is_fed() {
    let targets = fs::read_dir(place("tests/fuzz/targets")).expect("the targets are there");
    let mut names: Vec<PathBuf> = targets.map(|entry| entry.expect("read").path()).collect();
    names.sort();
    let mut fed =
        TARGETS.map(|(name, _)| place("tests/fuzz/targets").join(name).with_extension("rs"));
    fed.sort();
    assert_eq!(names, fed);
}

/// A sample in which some bytes are others, gone, or there twice.
fn input(samples: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let harm = prop_oneof![
        3 => any::<u8>().prop_map(|byte| Harm::Put(vec![byte])),
        2 => select(&TELLING[..]).prop_map(|byte| Harm::Put(vec![byte])),
        1 => proptest::collection::vec(any::<u8>(), 0..20).prop_map(Harm::Put),
        2 => (1..40usize).prop_map(Harm::Cut),
        1 => (1..40usize).prop_map(Harm::Repeat),
        1 => Just(Harm::End),
    ];
    let harms = proptest::collection::vec((any::<Index>(), any::<bool>(), harm), 0..12);
    (select(samples), harms).prop_map(|(mut bytes, harms)| {
        for (at, over, harm) in harms {
            let at = at.index(bytes.len() + 1);
            let until = |length: usize| at..(at + length).min(bytes.len());
            match harm {
                Harm::Put(new) => {
                    let replaced = until(usize::from(over) * new.len());
                    bytes.splice(replaced, new);
                }
                Harm::Cut(length) => drop(bytes.drain(until(length))),
                Harm::Repeat(length) => {
                    let again = bytes[until(length)].to_vec();
                    bytes.splice(at..at, again);
                }
                Harm::End => bytes.truncate(at),
            }
        }
        bytes
    })
}

/// What is done to a sample at one place.
#[derive(Clone, Debug)]
enum Harm {
    Put(Vec<u8>),
    Cut(usize),
    Repeat(usize),
    End,
}

/// What `scripts/fuzz` begins with.
fn samples(target: &str) -> Vec<Vec<u8>> {
    let of_listings = |wanted: &dyn Fn(&str) -> bool| {
        let all = folder(&place("tests/data/listings"));
        let wanted = all
            .into_iter()
            .filter(|path| path.to_str().is_some_and(wanted));
        wanted.map(|path| read(&path)).collect()
    };
    let is_facts = |name: &str| name.contains(".MLSD.") || name.contains(".MLST.");
    let is_expected = |name: &str| name.ends_with(".expected");
    match target {
        "listings" => of_listings(&|name| !is_expected(name) && !is_facts(name)),
        "facts" => of_listings(&|name| !is_expected(name) && is_facts(name)),
        "journal" => vec![Vec::new()],
        _ => {
            let seeds = fs::read_to_string(place("tests/fuzz/seeds").join(target));
            let seeds = seeds.expect("the seeds are there");
            seeds.lines().map(unescaped).collect()
        }
    }
}

/// What it has found worth keeping, where it has run.
fn kept(target: &str) -> Vec<Vec<u8>> {
    let own = std::env::current_exe().expect("it runs");
    // Built as target/debug/deps/ftpfs-*.
    let built = own.ancestors().nth(3).expect("it is below target");
    let kept = folder(&built.join("fuzz/corpus").join(target));
    kept.iter().map(|path| read(path)).collect()
}

/// The files of a folder, none where there is no folder.
fn folder(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("read").path()).collect();
    paths.sort();
    paths
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).expect("it is a file")
}

/// A line of seeds, in which `\r` and the like stand for bytes.
fn unescaped(line: &str) -> Vec<u8> {
    let printed = Command::new("printf").args(["%b", line]).output();
    printed.expect("coreutils are there").stdout
}

fn place(below: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(below)
}

/// Inputs made for each target.
const INPUTS: u32 = 5_000;

/// Bytes that mean something to one of them.
const TELLING: [u8; 24] = *b"\r\n\0\t /.\\:;,=+-\"()|@%?09\xff";
