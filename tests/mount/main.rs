//! The tests that need a server or a mount: one binary, one list.
//!
//! `FTPFS_TEST_SERVERS` says which servers (see [`servers::ServerKind::selected`]); those that
//! are not in this process have to be there already, by `scripts/servers install`. Each is reached in
//! two ways, the second by a part of the trials; with `FTPFS_TEST_WAYS=all` in all that it has, by
//! all of them.

mod embedded;
mod faults;
mod hammering;
mod hostile;
mod layers;
mod logins;
mod matrix;
mod model;
mod model_mount;
mod mounted;
mod odd;
mod programs;
mod raw;
mod schedules;
mod server_trials;
mod servers;
mod system;
mod usage;
mod ways;

use std::process::ExitCode;

use libtest_mimic::Arguments;
use servers::ServerKind;
use ways::Way;

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
    trials.extend(hammering::trials());
    trials.extend(hostile::trials());
    trials.extend(layers::trials());
    trials.extend(usage::trials(&kinds));
    trials.extend(logins::trials(&kinds));
    trials.extend(system::trials());
    for kind in kinds {
        trials.extend(server_trials::trials(kind));
        trials.extend(matrix::trials(kind));
        trials.extend(system::probe::trials(kind));
        trials.extend(system::charsets::trials(kind));
        trials.extend(system::recalled::trials(kind));
        trials.extend(system::xattr::trials_of(kind));
        trials.extend(model::told_trials(kind));
        trials.extend(faults::trials_of(kind));
        trials.extend(schedules::trials(kind));
        for way in Way::of(kind) {
            let brief = way != Way::Plain && !ways::are_all_wanted();
            trials.extend(model::trials(kind, way));
            trials.extend(programs::trials(kind, way, brief));
        }
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
