//! More files are read and sent at once than there are sessions: none of them waits for the end of another.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use libtest_mimic::{Failed, Trial};

use crate::model_mount::ModelMount;
use crate::servers::{Server, ServerKind, wait_until};

/// The trials.
pub fn trials() -> Vec<Trial> {
    vec![
        Trial::test(
            "system::what_is_opened_while_others_are_copied_is_read_before_those_end",
            || opened("3"),
        ),
        Trial::test("system::one_session_is_shared_by_all_who_read", || {
            opened("1")
        }),
        Trial::test(
            "system::what_is_short_is_sent_and_read_while_large_files_are_sent",
            || beside_uploads(&["bwlimit=4M,max_conns=3,writeback"]),
        ),
        Trial::test(
            "system::what_is_short_is_sent_and_read_while_large_files_are_closed",
            || beside_uploads(&["bwlimit=4M,max_conns=3"]),
        ),
    ]
}

fn opened(sessions: &str) -> Result<(), Failed> {
    const COPIES: usize = 4;
    let content = |number: usize| -> Vec<u8> {
        (0..6_000_000)
            .map(|at| (at / 1000 + number) as u8)
            .collect()
    };
    let server = Server::start(ServerKind::Embedded);
    for number in 0..=COPIES {
        fs::write(server.root.join(format!("large{number}")), content(number))?;
    }
    fs::write(server.root.join("small"), b"small")?;
    fs::create_dir(server.root.join("folder"))?;
    fs::write(server.root.join("folder/file"), b"")?;
    let options = format!("bwlimit=4M,max_conns={sessions}");
    let mount = ModelMount::of(&server, &[&options]);
    let (begun, ended) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        let copies: Vec<_> = (0..COPIES)
            .map(|number| {
                let (mount, begun, ended) = (&mount, &begun, &ended);
                scope.spawn(move || -> std::io::Result<Vec<u8>> {
                    let mut file = File::open(mount.path.join(format!("large{number}")))?;
                    let mut read = vec![0; 100_000];
                    file.read_exact(&mut read)?;
                    begun.fetch_add(1, Ordering::Relaxed);
                    file.read_to_end(&mut read)?;
                    ended.fetch_add(1, Ordering::Relaxed);
                    Ok(read)
                })
            })
            .collect();
        wait_until("all copies have begun, or one has ended", || {
            begun.load(Ordering::Relaxed) == COPIES || ended.load(Ordering::Relaxed) > 0
        });
        let before = ended.load(Ordering::Relaxed);
        let small = fs::read(mount.path.join("small"));
        let listed = fs::read_dir(mount.path.join("folder")).map(Iterator::count);
        let mut head = vec![0; 100_000];
        let read = File::open(mount.path.join(format!("large{COPIES}")))
            .and_then(|mut file| file.read_exact(&mut head));
        let after = ended.load(Ordering::Relaxed);
        for (number, copy) in copies.into_iter().enumerate() {
            let copy = copy.join().expect("no panic")?;
            assert!(copy == content(number), "large{number} is read otherwise");
        }
        assert_eq!(small?, b"small");
        assert_eq!(listed?, 1);
        read?;
        assert!(head == content(COPIES)[..head.len()], "another head");
        assert_eq!(
            (before, after),
            (0, 0),
            "copies had ended when others were read"
        );
        Ok(())
    })
}

fn beside_uploads(options: &[&str]) -> Result<(), Failed> {
    const COPIES: usize = 4;
    let large = vec![b'x'; 8_000_000];
    let server = Server::start(ServerKind::Embedded);
    fs::write(server.root.join("old"), &large)?;
    fs::create_dir(server.root.join("folder"))?;
    fs::write(server.root.join("folder/file"), b"")?;
    let mount = ModelMount::of(&server, options);
    let sizes = || {
        let there = |number| fs::metadata(server.root.join(format!("large{number}")));
        let sizes = (0..COPIES).filter_map(|number| there(number).ok());
        sizes.map(|file| file.len() as usize).collect::<Vec<_>>()
    };
    let ended = || sizes().iter().filter(|&&size| size == large.len()).count();
    thread::scope(|scope| {
        let copies: Vec<_> = (0..COPIES)
            .map(|number| {
                let path = mount.path.join(format!("large{number}"));
                let large = &large;
                scope.spawn(move || fs::write(path, large))
            })
            .collect();
        wait_until("a copy is being sent", || {
            sizes().iter().any(|&size| size > 0)
        });
        let before = ended();
        let small = File::create(mount.path.join("small")).and_then(|mut file| {
            file.write_all(b"small")?;
            file.sync_all()
        });
        let moved = fs::rename(mount.path.join("small"), mount.path.join("moved"));
        let listed = fs::read_dir(mount.path.join("folder")).map(Iterator::count);
        let mut head = vec![0; 100_000];
        let read =
            File::open(mount.path.join("old")).and_then(|mut file| file.read_exact(&mut head));
        let after = ended();
        for copy in copies {
            copy.join().expect("no panic")?;
        }
        small?;
        moved?;
        assert_eq!(fs::read(server.root.join("moved"))?, b"small");
        assert_eq!(listed?, 1);
        read?;
        assert!(head == large[..head.len()], "another head");
        assert_eq!(
            (before, after),
            (0, 0),
            "a copy had ended before the others were done"
        );
        wait_until("the server has all copies", || ended() == COPIES);
        Ok(())
    })
}
