//! The `ftpfs` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    let setup = match ftpfs::cli::from_process() {
        Ok(setup) => setup,
        Err(error) => return error.report(),
    };
    match ftpfs::mount::run(setup) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ftpfs: {error}");
            ExitCode::FAILURE
        }
    }
}
