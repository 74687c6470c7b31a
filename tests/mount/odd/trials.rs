//! The scripted server, tried over a bare control connection.

use std::io;
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};

use super::{Cut, Odd, Step, Times};
use crate::raw::RawSession;
use crate::servers::wait_until;

/// The trials of this file.
pub fn trials() -> Vec<Trial> {
    let trial =
        |name: &str, run: fn() -> Result<(), Failed>| Trial::test(format!("odd::{name}"), run);
    vec![
        trial(
            "files_can_be_written_listed_and_renamed",
            files_can_be_written_listed_and_renamed,
        ),
        trial("folders_are_made_and_removed", folders_are_made_and_removed),
        trial(
            "restart_and_append_change_a_part",
            restart_and_append_change_a_part,
        ),
        trial(
            "a_script_replaces_the_bytes_of_a_reply",
            a_script_replaces_the_bytes_of_a_reply,
        ),
        trial("a_refused_verb_does_nothing", a_refused_verb_does_nothing),
        trial(
            "a_cut_download_ends_early_once",
            a_cut_download_ends_early_once,
        ),
        trial("a_cut_upload_leaves_its_head", a_cut_upload_leaves_its_head),
        trial(
            "a_lost_reply_has_done_its_work",
            a_lost_reply_has_done_its_work,
        ),
        trial(
            "a_dropped_verb_has_done_nothing",
            a_dropped_verb_has_done_nothing,
        ),
        trial(
            "one_session_too_many_gets_421",
            one_session_too_many_gets_421,
        ),
    ]
}

fn files_can_be_written_listed_and_renamed() -> Result<(), Failed> {
    let odd = Odd::start();
    odd.put("/.hidden", b"");
    let mut session = login(&odd)?;
    assert!(session.command("FEAT")?.contains("\r\n MLST type*"));
    assert!(session.upload("STOR /new", b"hello")?.starts_with("226"));
    assert_eq!(session.command("SIZE /new")?, "213 5\r\n");
    assert!(session.command("SITE CHMOD 0600 /new")?.starts_with("200"));
    assert!(
        session
            .command("MFMT 20200102030405 /new")?
            .starts_with("213")
    );
    assert_eq!(session.command("MDTM new")?, "213 20200102030405\r\n");
    assert_eq!(
        text(session.download("LIST")?.0),
        "-rw------- 1 odd odd        5 Jan  2  2020 new\r\n"
    );
    assert!(text(session.download("LIST -a")?.0).contains(" .hidden\r\n"));
    assert!(
        session
            .command("MLST /new")?
            .contains("\r\n type=file;size=5;modify=20200102030405;UNIX.mode=0600; /new\r\n")
    );
    odd.put("/old", b"to be replaced");
    assert!(session.command("RNFR /new")?.starts_with("350"));
    assert!(session.command("RNTO /old")?.starts_with("250"));
    assert_eq!(session.download("RETR /old")?.0, b"hello");
    let listing = text(session.download("MLSD /")?.0);
    assert!(
        listing.contains("; old\r\n") && !listing.contains("; new\r\n"),
        "{listing}"
    );
    assert!(session.command("DELE /old")?.starts_with("250"));
    assert_eq!(odd.content("/old"), None);
    assert_eq!(odd.count("RETR"), 1);
    odd.forget();
    assert_eq!(odd.count("RETR"), 0);
    Ok(())
}

fn folders_are_made_and_removed() -> Result<(), Failed> {
    let odd = Odd::start();
    odd.make_folder("/a");
    let mut session = login(&odd)?;
    assert!(session.command("CWD a")?.starts_with("250"));
    assert!(
        session
            .command("MKD it \"is\"")?
            .starts_with("257 \"/a/it \"\"is\"\"\"")
    );
    assert!(
        session.command("RMD /a")?.starts_with("550"),
        "it is not empty"
    );
    assert!(session.command("RNFR /a")?.starts_with("350"));
    assert!(session.command("RNTO /b")?.starts_with("250"));
    assert!(odd.node("/b/it \"is\"").is_some());
    assert!(
        session
            .command("CWD /b/../b/./it \"is\"")?
            .starts_with("250")
    );
    assert!(
        session
            .command("PWD")?
            .starts_with("257 \"/b/it \"\"is\"\"\"")
    );
    assert!(session.command("RMD /b/it \"is\"")?.starts_with("250"));
    assert!(session.command("MKD /none/x")?.starts_with("550"));
    assert!(session.command("MKD /space ")?.starts_with("257"));
    assert!(odd.node("/space ").is_some());
    Ok(())
}

fn restart_and_append_change_a_part() -> Result<(), Failed> {
    let odd = Odd::start();
    odd.put("/f", b"abcdef");
    let mut session = login(&odd)?;
    assert!(session.command("REST 4")?.starts_with("350"));
    assert_eq!(session.download("RETR /f")?.0, b"ef");
    assert!(session.command("REST 1")?.starts_with("350"));
    session.upload("STOR /f", b"XY")?;
    session.upload("APPE /f", b"g")?;
    assert_eq!(odd.content("/f").as_deref(), Some(&b"aXYdefg"[..]));
    Ok(())
}

fn a_script_replaces_the_bytes_of_a_reply() -> Result<(), Failed> {
    let odd = Odd::start();
    odd.greet(vec![Step::line("220-Hello"), Step::line("220 you")]);
    odd.features(&[]);
    let pause = Duration::from_millis(50);
    odd.script("SYST", move |_| {
        vec![
            Step::Send(b"21".to_vec()),
            Step::Wait(pause),
            Step::line("5 odd"),
        ]
    });
    odd.script("NOOP", |argument| match argument {
        b"close" => vec![Step::Close],
        _ => vec![Step::line("150 Not yet"), Step::Usual],
    });
    let mut session = login(&odd)?;
    assert!(session.command("FEAT")?.starts_with("502"));
    let asked = Instant::now();
    assert_eq!(session.command("SYST")?, "215 odd\r\n");
    assert!(asked.elapsed() >= pause);
    assert_eq!(session.command("NOOP")?, "150 Not yet\r\n");
    assert_eq!(session.reply()?, "200 Done\r\n");
    assert_eq!(session.command("NOOP close")?, "");
    assert_eq!(
        odd.received().last(),
        Some(&("NOOP".to_owned(), b"close".to_vec()))
    );
    Ok(())
}

fn a_refused_verb_does_nothing() -> Result<(), Failed> {
    let odd = Odd::start();
    odd.put("/f", b"");
    odd.refuse("DELE", 450);
    let mut session = login(&odd)?;
    assert!(session.command("DELE /f")?.starts_with("450"));
    assert!(odd.node("/f").is_some());
    odd.heal("DELE");
    assert!(session.command("DELE /f")?.starts_with("250"));
    Ok(())
}

fn a_cut_download_ends_early_once() -> Result<(), Failed> {
    let odd = Odd::start();
    odd.put("/f", b"0123456789");
    odd.cut_retr_after(3, Cut::Reset, Times::Once);
    let mut session = login(&odd)?;
    let (bytes, reply) = session.download("RETR /f")?;
    assert!(
        b"012".starts_with(&bytes),
        "a reset may overtake them: {bytes:?}"
    );
    assert!(reply.starts_with("426"), "{reply}");
    assert_eq!(session.download("RETR /f")?.0, b"0123456789");
    for (cut, code) in [(Cut::Close, "426"), (Cut::Lie, "226")] {
        odd.cut_retr_after(3, cut, Times::Once);
        let (bytes, reply) = session.download("RETR /f")?;
        assert_eq!((&bytes[..], &reply[..3]), (&b"012"[..], code));
    }
    odd.cut_retr_after(3, Cut::Session, Times::Always);
    for _ in 0..2 {
        let reply = login(&odd)?.download("RETR /f").map(|(_, reply)| reply);
        assert_eq!(reply.unwrap_or_default(), "");
    }
    Ok(())
}

fn a_cut_upload_leaves_its_head() -> Result<(), Failed> {
    let odd = Odd::start();
    odd.cut_stor_after(3, Cut::Reset, Times::Once);
    let mut session = login(&odd)?;
    assert!(session.upload("STOR /f", b"0123456789")?.starts_with("426"));
    assert_eq!(odd.content("/f").as_deref(), Some(&b"012"[..]));
    assert!(session.upload("STOR /f", b"0123456789")?.starts_with("226"));
    assert_eq!(odd.content("/f").map(|content| content.len()), Some(10));
    Ok(())
}

fn a_lost_reply_has_done_its_work() -> Result<(), Failed> {
    let odd = Odd::start();
    odd.lose_reply_of("MKD", Times::Once);
    odd.lose_reply_of("STOR", Times::Once);
    assert_eq!(login(&odd)?.command("MKD /a")?, "");
    assert!(odd.node("/a").is_some());
    assert_eq!(login(&odd)?.upload("STOR /f", b"hello")?, "");
    assert_eq!(odd.content("/f").as_deref(), Some(&b"hello"[..]));
    assert!(login(&odd)?.command("MKD /b")?.starts_with("257"));
    Ok(())
}

fn a_dropped_verb_has_done_nothing() -> Result<(), Failed> {
    let odd = Odd::start();
    odd.drop_control_on("MKD", Times::Once);
    assert_eq!(login(&odd)?.command("MKD /a")?, "");
    assert!(odd.node("/a").is_none());
    assert_eq!(odd.count("MKD"), 1);
    assert!(login(&odd)?.command("MKD /a")?.starts_with("257"));
    Ok(())
}

fn one_session_too_many_gets_421() -> Result<(), Failed> {
    let odd = Odd::start();
    assert!(odd.url().starts_with("ftp://user:password@127.0.0.1:"));
    odd.max_sessions(1);
    let mut first = login(&odd)?;
    RawSession::connect(odd.address())?.expect("421")?;
    odd.close_sessions();
    assert_eq!(first.reply()?, "");
    wait_until("the session is gone", || odd.sessions() == 0);
    login(&odd)?;
    assert_eq!(odd.accepted(), 2);
    Ok(())
}

fn login(odd: &Odd) -> io::Result<RawSession> {
    RawSession::login(odd.address(), "user", "password")
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).into_owned()
}
