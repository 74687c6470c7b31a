//! The tests that need a server or a mount: one binary, one list.
//!
//! `FTPFS_TEST_SERVERS` says which servers (see [`servers::ServerKind::selected`]); those that
//! are not in this process have to be there already, by `scripts/servers install`.

mod embedded;
mod faults;
mod layers;
mod model;
mod model_mount;
mod mounted;
mod odd;
mod programs;
mod raw;
mod server_trials;
mod servers;
mod usage;

use std::process::ExitCode;

use libtest_mimic::Arguments;
use servers::ServerKind;

fn main() -> ExitCode {
    let kinds = match ServerKind::selected() {
        Ok(kinds) => kinds,
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::FAILURE;
        }
    };
    let mut trials = odd::trials::trials();
    trials.extend(faults::trials());
    trials.extend(layers::trials());
    trials.extend(usage::trials(&kinds));
    for kind in kinds {
        trials.extend(server_trials::trials(kind));
        trials.extend(model::trials(kind));
        trials.extend(faults::trials_of(kind));
        trials.extend(programs::trials(kind));
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
