//! The `ftpfs` command.

use std::process::ExitCode;

use ftpfs::cli::{Error, Guise, Order, Unmount, Verbosity, from_process, write_papers};
use ftpfs::{mount, probe, status};

fn main() -> ExitCode {
    match from_process().and_then(carry_out) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => Guise::of_process().report(&error),
    }
}

fn carry_out(order: Order) -> Result<(), Error> {
    match order {
        Order::Nothing => Ok(()),
        Order::Papers(folder) => write_papers(&folder).map_err(Error::Failed),
        Order::Probe(setup) => probe::run(*setup).map_err(Error::Failed),
        Order::Unmount(unmount, verbosity) => take_off(&unmount, verbosity),
        Order::Status(setup) => status::run(&setup).map_err(Error::Failed),
        Order::Mount(setup, verbosity) => {
            let made = format!("{} mounted on {}.", setup.mount.source, setup.mount.place);
            mount::run(*setup).map_err(|error| Error::Failed(error.to_string()))?;
            if verbosity == Verbosity::Verbose {
                println!("{made}");
            }
            Ok(())
        }
    }
}

/// Unmounts, when all is sent that can be. What cannot is said, and kept for the next mount.
fn take_off(unmount: &Unmount, verbosity: Verbosity) -> Result<(), Error> {
    if let Some(setup) = &unmount.flush
        && let Err(left) = status::wait_for(setup)
    {
        let name = Guise::of_process().name();
        left.lines().for_each(|line| eprintln!("{name}: {line}"));
    }
    mount::unmount(&unmount.mountpoint, unmount.way).map_err(Error::Failed)?;
    if verbosity == Verbosity::Verbose {
        println!("{} unmounted.", unmount.mountpoint.display());
    }
    Ok(())
}
