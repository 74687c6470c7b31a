//! Serves a folder over FTP, as the tests do: `embedded-server ROOT PORT`.
//!
//! Prints the URL once it listens (port 0 takes a free one) and runs until it is killed.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

#[allow(dead_code)] // the tests use the rest
mod embedded;

use embedded::{Embedded, Options, PASSWORD, USER};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [root, port] = arguments.as_slice() else {
        eprintln!("usage: embedded-server ROOT PORT");
        return ExitCode::from(2);
    };
    match serve(Path::new(root), port) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("embedded-server: {root}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Serves until the process is killed; returns only if it could not start.
fn serve(root: &Path, port: &str) -> io::Result<()> {
    let port = port.parse().map_err(io::Error::other)?;
    let root = root.canonicalize()?;
    let server = Embedded::start(&root, port, &Options::default())?;
    let mut stdout = io::stdout();
    writeln!(
        stdout,
        "ftp://{USER}:{PASSWORD}@{address}/",
        address = server.address()
    )?;
    stdout.flush()?;
    loop {
        std::thread::park();
    }
}
