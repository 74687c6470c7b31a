//! Random operations on servers that lack one thing that a fast way needs: the longer way has to give the same.

use libtest_mimic::{Failed, Trial};

use super::operations::script;
use super::{Both, Sent, odd_name, run_cases};
use crate::model_mount::ModelMount;
use crate::schedules::relay::{Lack, Relay};
use crate::servers::{Server, ServerKind};

/// The trials on a server of each family.
pub(super) fn trials(kind: ServerKind) -> Vec<Trial> {
    let families = [
        ServerKind::Vsftpd,
        ServerKind::Proftpd,
        ServerKind::Pureftpd,
    ];
    if !families.contains(&kind) {
        return Vec::new();
    }
    let trial = |&(name, lack): &(&str, Lack)| {
        let name = format!("{}::model::without_{name}", kind.name());
        Trial::test(name, move || operations_without(kind, lack))
    };
    LACKS.iter().map(trial).collect()
}

fn operations_without(kind: ServerKind, lack: Lack) -> Result<(), Failed> {
    let server = Server::start(kind);
    let relay = Relay::lacking(server.address(), lack)?;
    let url = format!("ftp://{}@127.0.0.1:{}/", server.user, relay.port);
    let mount = ModelMount::start(&url, server.password, &["tls=off,timeout=3s"])?;
    let cases = std::cell::Cell::new(0);
    run_cases(6, &script(odd_name(kind)), |script| {
        cases.set(cases.get() + 1);
        let case = format!("case {}", cases.get());
        Both::new(&server, &mount, &case, Sent::AtClose)?.run(script)
    })
}

const LACKS: &[(&str, Lack)] = &[
    ("appe", Lack::Verbs(&["APPE"])),
    ("arming", Lack::Arming),
    ("epsv", Lack::Verbs(&["EPSV"])),
    ("feat", Lack::Verbs(&["FEAT"])),
    ("mdtm", Lack::Verbs(&["MDTM"])),
    ("mlsd", Lack::Verbs(&["MLSD", "MLST"])),
    ("pipelining", Lack::Pipelining),
    ("rest", Lack::Verbs(&["REST"])),
    ("size", Lack::Verbs(&["SIZE"])),
    ("stat", Lack::Verbs(&["STAT"])),
];
