//! Encryption that is refused, taken away, or of somebody else: nothing that is secret is sent.

use tempfile::TempDir;

use super::*;
use crate::ways::{make_certificate, self_signed};

/// With `tls=require`, whatever the server answers to `AUTH TLS`.
pub(super) fn refused() -> Result<(), Failed> {
    for code in [500, 502, 534, 431] {
        let odd = Odd::start();
        odd.refuse("AUTH", code);
        let log = ModelMount::try_odd(&odd, &["tls=require"]).err();
        let log = log.ok_or("it mounts in the clear")?;
        assert!(log.contains("does not offer encryption"), "{code}: {log}");
        assert!(no_login(&odd), "{code}");
        // Where it is not required, the server is mounted as it is.
        ModelMount::of_odd(&odd, &["tls=auto"]);
        assert!(odd.count("PASS") > 0, "{code}");
    }
    Ok(())
}

/// Somebody in between adds replies in the clear to the one to `AUTH TLS`, to be taken for encrypted ones (CVE-2011-0411).
pub(super) fn injected() -> Result<(), Failed> {
    for mode in ["tls=require", "tls=auto"] {
        let odd = Odd::start();
        odd.script("AUTH", |_| {
            vec![Step::Send(
                b"234 Go on\r\n331 Password?\r\n230 In\r\n".to_vec(),
            )]
        });
        let log = ModelMount::try_odd(&odd, &[mode])
            .err()
            .ok_or("it mounts")?;
        assert!(
            log.contains("unexpected bytes before the handshake"),
            "{mode}: {log}"
        );
        assert!(no_login(&odd), "{mode}");
    }
    Ok(())
}

/// With `tls=auto`, a server that has encrypted once is not logged in to in the clear.
pub(super) fn stripped() -> Result<(), Failed> {
    let (odd, folder) = encrypting()?;
    let trust = format!("cacert={}", folder.path().join("certificate.pem").display());
    // Of one session, so that none is logging in at this moment.
    let options = "tls=auto,tls_data=clear,attr_timeout=0,max_conns=1";
    let mount = ModelMount::of_odd(&odd, &[options, &trust]);
    assert_eq!(fs::read(mount.path.join("file"))?, b"content");
    odd.refuse("AUTH", 500);
    odd.close_sessions();
    odd.forget();
    let error = fs::read_dir(&mount.path)
        .err()
        .ok_or("it goes on in the clear")?;
    assert!(!is(&error, Errno::NOENT), "{error}");
    assert!(
        odd.count("AUTH") > 0 && no_login(&odd),
        "{:?}",
        odd.received()
    );
    odd.heal("AUTH");
    assert!(
        within(DEADLINE, || fs::read_dir(&mount.path).is_ok()),
        "{}",
        mount.log()
    );
    Ok(())
}

/// A server that encrypts what is said, and not the files.
pub(super) fn clear_data() -> Result<(), Failed> {
    let (odd, folder) = encrypting()?;
    let trust = format!("cacert={}", folder.path().join("certificate.pem").display());
    for mode in ["tls=require", "tls=auto"] {
        odd.refuse("PROT", 536);
        odd.forget();
        let log = ModelMount::try_odd(&odd, &[mode, &trust]).err();
        let log = log.ok_or("it mounts, with files in the clear")?;
        assert!(log.contains("tls_data=clear"), "{mode}: {log}");
        for verb in ["EPSV", "PASV", "MLSD", "RETR"] {
            assert_eq!(odd.count(verb), 0, "{mode}: {verb}");
        }
        odd.heal("PROT");
        let mount = ModelMount::of_odd(&odd, &[mode, "tls_data=clear", &trust]);
        assert_eq!(fs::read(mount.path.join("file"))?, b"content");
    }
    Ok(())
}

/// The certificate is another one at the next session.
pub(super) fn changed() -> Result<(), Failed> {
    let (odd, folder) = encrypting()?;
    let trust = format!("cacert={}", folder.path().join("certificate.pem").display());
    let mount = ModelMount::of_odd(&odd, &["tls=require,tls_data=clear,attr_timeout=0", &trust]);
    assert_eq!(fs::read(mount.path.join("file"))?, b"content");
    odd.encrypt_by(&make_certificate()?);
    odd.close_sessions();
    odd.forget();
    let error = fs::read_dir(&mount.path).err().ok_or("it trusts anybody")?;
    assert!(is(&error, Errno::IO), "{error}");
    assert!(
        mount.log().contains("certificate is not trusted"),
        "{}",
        mount.log()
    );
    assert!(
        odd.count("AUTH") > 0 && no_login(&odd),
        "{:?}",
        odd.received()
    );
    odd.encrypt_by(&fs::read(folder.path().join("certificate.pem"))?);
    assert!(
        within(DEADLINE, || fs::read_dir(&mount.path).is_ok()),
        "{}",
        mount.log()
    );
    Ok(())
}

/// A server with a file and a certificate, which is in the folder.
fn encrypting() -> Result<(Odd, TempDir), Failed> {
    let folder = TempDir::with_prefix("ftpfs-certificate-")?;
    let certificate = self_signed(folder.path())?;
    let odd = Odd::start();
    odd.put("/file", b"content");
    odd.encrypt_by(&fs::read(certificate)?);
    Ok((odd, folder))
}

/// Whether it was told neither name nor password.
fn no_login(odd: &Odd) -> bool {
    odd.count("USER") + odd.count("PASS") == 0
}
