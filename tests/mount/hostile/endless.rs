//! What has no end: an error that says so, and no more memory than there is a bound for.

use super::*;

/// A folder's listing goes on for ever; the others are read as before.
pub(super) fn listing() -> Result<(), Failed> {
    let odd = Odd::start();
    odd.put("/file", b"content");
    odd.make_folder("/folder");
    let mount = ModelMount::of_odd(&odd, &["attr_timeout=0,max_conns=2"]);
    let line = "type=file;size=7;modify=20200101000000; the same file again\r\n";
    odd.send_without_end("MLSD", &line.repeat(1000).into_bytes());
    let error =
        fs::read_dir(mount.path.join("folder")).and_then(|mut names| names.next().transpose());
    let error = error.err().ok_or("a listing without an end is listed")?;
    assert!(is(&error, Errno::IO), "{error}");
    assert!(
        mount.log().contains("the listing has no end"),
        "{}",
        mount.log()
    );
    let tried = odd.count("MLSD");
    assert!(tried < 3, "it was asked for {tried} times");
    odd.heal("MLSD");
    let content = within(DEADLINE, || {
        fs::read(mount.path.join("file")).is_ok_and(|read| read == b"content")
    });
    assert!(content, "{}", mount.log());
    let most = most_memory(&mount)?;
    assert!(most < MOST_FOR_A_LISTING, "{most} MB");
    Ok(())
}

/// A reply is line after line, or one line, that does not end.
pub(super) fn reply() -> Result<(), Failed> {
    let lines = b"213-and more\r\n".repeat(4 << 20);
    let line = [&b"213 "[..], &b"x".repeat(1 << 20)].concat();
    for (what, bytes) in [
        ("the reply has no end", lines),
        ("the reply's line has no end", line),
    ] {
        let odd = Odd::start();
        odd.put("/file", b"content");
        let mount = ModelMount::of_odd(&odd, &["attr_timeout=0"]);
        odd.script("RNFR", move |_| vec![Step::Send(bytes.clone())]);
        let error = fs::rename(mount.path.join("file"), mount.path.join("new")).err();
        let error = error.ok_or("renamed by a reply without an end")?;
        assert!(is(&error, Errno::IO), "{what}: {error}");
        assert!(mount.log().contains(what), "{}", mount.log());
        assert_eq!(fs::read(mount.path.join("file"))?, b"content");
        let most = most_memory(&mount)?;
        assert!(most < MOST_FOR_A_REPLY, "{what}: {most} MB");
    }
    Ok(())
}

pub(super) fn greeting() -> Result<(), Failed> {
    let lines = b"220-and more\r\n".repeat(4 << 20);
    let line = [&b"220 "[..], &b"x".repeat(1 << 20)].concat();
    for (what, bytes) in [
        ("the reply has no end", lines),
        ("the reply's line has no end", line),
    ] {
        let odd = Odd::start();
        odd.greet(vec![Step::Send(bytes)]);
        let log = ModelMount::try_odd(&odd, &[]).err().ok_or("it mounts")?;
        assert!(log.contains(what), "{log}");
        assert_eq!(odd.count("USER"), 0, "{what}");
    }
    Ok(())
}

/// Megabytes that the daemon had at most.
fn most_memory(mount: &ModelMount) -> Result<u64, Failed> {
    let status = fs::read_to_string(format!("/proc/{}/status", mount.process()))?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.and_then(|line| line.split_whitespace().next());
    Ok(peak.ok_or("it has a peak")?.parse::<u64>()? >> 10)
}

/// The bound of 256 MB, for which a buffer doubles, and what a mount has anyway.
const MOST_FOR_A_LISTING: u64 = 700;

/// 32 MB in small pieces, likewise.
const MOST_FOR_A_REPLY: u64 = 400;
