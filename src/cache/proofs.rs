//! What can lose data is proved before it is used: on a scratch file of ours, removed at once.
//!
//! One real server's `APPE` replaces the file and says 226; of `REST` and `STOR` two zero the head of the file, and four
//! cut its tail. ftp-srv 4.6.3 removes a file when the connection of an upload into it breaks.

use std::num::NonZeroU64;

use bytes::BytesMut;
use tracing::debug;

use super::uploads::{ATTEMPTS, is_lost, scratch_name};
use super::{Error, Remote, Result};
use crate::ftp::{self, ErrorKind, Profile, RemotePath, UploadKind, Wishes};
use crate::pool::{Download, Unconfirmed, Upload};

/// What is proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// `APPE` adds to the end of a file.
    Append,
    /// `REST` and `STOR` replace bytes within a file, and nothing else.
    Range,
}

/// Where the test of [`Proof::Range`] writes.
const TWO: NonZeroU64 = NonZeroU64::new(2).expect("not zero");

/// More than a scratch file can have.
const LONGEST: usize = 16;

impl Proof {
    /// What is stored first, what is sent then and how, and what must be there in the end.
    fn steps(self) -> (&'static [u8], UploadKind, &'static [u8], &'static [u8]) {
        match self {
            Self::Append => (b"abc", UploadKind::Append, b"def", b"abcdef"),
            Self::Range => (b"abcdef", UploadKind::Range(TWO), b"XY", b"abXYef"),
        }
    }

    /// Where the profile remembers it.
    fn known(self, profile: &mut Profile) -> &mut Option<bool> {
        match self {
            Self::Append => &mut profile.appe,
            Self::Range => &mut profile.range,
        }
    }
}

impl Remote {
    /// Sees that `proof` holds on this server; tested once, in `dir`.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if it does not.
    pub(super) async fn prove(&self, proof: Proof, dir: &RemotePath) -> Result<()> {
        let known = self.pool().with_profile(|profile| *proof.known(profile));
        let works = match known {
            Some(works) => works,
            None => self.test(proof, dir).await?,
        };
        if works {
            return Ok(());
        }
        let detail = "a test on a file of our own failed";
        Err(Error::Unsupported(ftp::Error::new(
            ErrorKind::NotImplemented,
            format!("{proof:?}"),
            detail,
        )))
    }

    /// Has the zone of the server's clock learned by an upload beside `path`. Where that is refused, it stays unknown.
    pub(super) async fn ask_clock(&self, path: &RemotePath) {
        self.pool()
            .with_profile(|profile| profile.clock_asked = true);
        let scratch = scratch_name(path);
        self.hide(&scratch);
        let stored = async {
            let upload = Upload::open(self.pool(), &scratch, UploadKind::Store).await?;
            let finished = upload.finish(Wishes::default()).await;
            finished.map_err(Unconfirmed::into_error)
        };
        match stored.await {
            Ok(confirmed) if confirmed.clock_learned => self.listings().forget_all(),
            Ok(_) => {}
            Err(error) => debug!(%error, "the zone of the server's clock is not known"),
        }
        self.clean(&scratch).await;
        self.show(&scratch);
    }

    async fn test(&self, proof: Proof, dir: &RemotePath) -> Result<bool> {
        let scratch = scratch_name(&dir.join(b"test"));
        self.hide(&scratch);
        let mut tested = self.try_on(proof, &scratch).await;
        for _ in 0..ATTEMPTS {
            match &tested {
                Err(error) if is_lost(error) => tested = self.try_on(proof, &scratch).await,
                _ => break,
            }
        }
        self.clean(&scratch).await;
        self.show(&scratch);
        let works = match tested {
            Ok(works) => works,
            Err(Error::Denied(_) | Error::Unsupported(_)) => false,
            Err(error) => return Err(error),
        };
        debug!(?proof, works, "tested");
        self.pool()
            .with_profile(|profile| *proof.known(profile) = Some(works));
        Ok(works)
    }

    async fn try_on(&self, proof: Proof, scratch: &RemotePath) -> Result<bool> {
        let (first, kind, then, wanted) = proof.steps();
        for (kind, bytes) in [(UploadKind::Store, first), (kind, then)] {
            let outcome = async {
                let mut upload = Upload::open(self.pool(), scratch, kind).await?;
                upload.send(bytes).await?;
                let finished = upload.finish(Wishes::default()).await;
                finished.map_err(Unconfirmed::into_error)
            };
            let outcome = outcome.await;
            self.understand(scratch, outcome).await?;
        }
        if self.beginning(scratch).await? != wanted {
            return Ok(false);
        }
        let known = self.pool().with_profile(|profile| profile.survives_cuts);
        let survives = match known {
            Some(survives) => survives,
            None => self.survives_cut(kind, scratch, wanted).await?,
        };
        self.pool()
            .with_profile(|profile| profile.survives_cuts = Some(survives));
        Ok(survives)
    }

    /// Whether the file `scratch` with the content `there` is left as it was where an upload into it breaks off.
    async fn survives_cut(
        &self,
        kind: UploadKind,
        scratch: &RemotePath,
        there: &[u8],
    ) -> Result<bool> {
        // Only once the server has begun: until then there is nothing that it could undo.
        let (mut upload, _) = Upload::open_known(self.pool(), scratch, kind).await?;
        upload.send(there).await?;
        upload.cut().await;
        let left = self.beginning(scratch).await;
        debug!(?left, "after a cut");
        let untouched = match kind {
            UploadKind::Range(start) => &there[..start.get() as usize],
            _ => there,
        };
        match left {
            Ok(left) => Ok(left.starts_with(untouched)),
            Err(Error::Wire(error)) if error.is_refusal() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The first bytes of the file `scratch`, which has few.
    async fn beginning(&self, scratch: &RemotePath) -> Result<BytesMut> {
        let mut download = Download::open(self.pool(), scratch, 0).await?;
        let mut content = BytesMut::new();
        loop {
            content.reserve(LONGEST);
            if download.receive(&mut content).await? == 0 || content.len() > LONGEST {
                return Ok(content);
            }
        }
    }
}
