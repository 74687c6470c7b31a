//! fsx: random reads, writes, truncations and mappings of one file, each checked.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use libtest_mimic::Failed;

use crate::ways::are_all_wanted;

use super::{Bench, Run};

pub const TRIALS: &[(&str, Run)] = &[
    ("fsx_finds_every_byte_in_place", |bench| {
        run(bench, 20_000, "[opsize]\nmax = 65536\n")
    }),
    ("fsx_with_small_operations", |bench| {
        run(bench, 20_000, "[opsize]\nmax = 512\n")
    }),
    ("fsx_with_large_operations", |bench| {
        run(bench, 2_000, "flen = 4194304\n[opsize]\nmax = 262144\n")
    }),
];

/// Runs `operations`, where the server is slow a tenth of them, then compares the file with the server's. A quarter of
/// them, unless all ways are wanted, which takes an hour anyway.
fn run(bench: &mut Bench, operations: u32, config: &str) -> Result<(), Failed> {
    let config_file = bench.local.path().join("fsx.toml");
    fs::write(&config_file, format!("{config}{WEIGHTS}"))?;
    let operations = match (bench.able.quick, are_all_wanted()) {
        (true, true) => operations,
        (true, false) => operations / 4,
        (false, _) => operations / 10,
    };
    let mut command = Command::new(program()?);
    command
        .arg("-f")
        .arg(&config_file)
        .args(["-N", &operations.to_string()])
        // The same run each time; a failure names its operation.
        .args(["-S", "20260101"])
        .arg("-P")
        .arg(bench.local.path())
        .arg("file");
    bench.run(command);
    bench.sh(r#"cmp file "$ROOT/file""#);
    Ok(())
}

/// The fsx of `$FTPFS_TEST_FSX`, else of `$PATH`.
fn program() -> Result<PathBuf, Failed> {
    if let Some(path) = std::env::var_os("FTPFS_TEST_FSX") {
        return Ok(path.into());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .map(|dir| dir.join("fsx"))
        .find(|file| file.is_file());
    found.ok_or_else(|| {
        "fsx is not installed: run `cargo install fsx --version 0.3.2`, or name its path in FTPFS_TEST_FSX".into()
    })
}

/// fsx's own example, with each operation that a mount over FTP has. Closing and syncing send the whole file: seldom.
const WEIGHTS: &str = "
[weights]
read = 10
write = 10
mapread = 10
mapwrite = 10
truncate = 5
invalidate = 1
close_open = 0.2
fsync = 0.1
fdatasync = 0.1
sendfile = 2
posix_fadvise = 1
copy_file_range = 2
";
