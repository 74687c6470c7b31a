//! What can lose data is proved before it is used: on a scratch file of ours, removed at once.
//!
//! One real server's `APPE` replaces the file and says 226; of `REST` and `STOR` two zero the head of the file, and four
//! cut its tail. ftp-srv 4.6.3 removes a file when the connection of an upload into it breaks.

use std::num::NonZeroU64;
use std::time::Duration;

use bytes::BytesMut;
use tracing::debug;

use super::names::scratch_name;
use super::uploads::{ATTEMPTS, is_lost};
use super::{Error, Remote, Result};
use crate::ftp::{self, Confirmed, ErrorKind, Profile, RemotePath, UploadKind, Wishes};
use crate::pool::{Download, Purpose, Unconfirmed, Upload};

/// What is proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// `APPE` adds to the end of a file.
    Append,
    /// `REST` and `STOR` replace bytes within a file, and nothing else.
    Range,
}

/// What a proof consists of.
#[derive(Clone, Copy)]
enum Part {
    Does,
    OutlivesCut,
}

/// Where the test of [`Proof::Range`] writes.
const TWO: NonZeroU64 = NonZeroU64::new(2).expect("not zero");

/// What a server is given to take in what was sent, and a near one to undo an upload that was cut: ftp-srv does so after
/// it has answered.
const UNDOING: Duration = Duration::from_millis(50);

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
            let lease = self.pool().lease(Purpose::Brief).await?;
            let upload = Upload::open(lease, &scratch, UploadKind::Store).await?;
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
        // Side by side: each is three transfers.
        let (does, outlives) = tokio::join!(
            self.on_scratch(dir, proof, Part::Does),
            self.on_scratch(dir, proof, Part::OutlivesCut),
        );
        let (does, outlives) = (does?, outlives?);
        debug!(?proof, does, outlives, "tested");
        let works = does && outlives;
        self.pool()
            .with_profile(|profile| *proof.known(profile) = Some(works));
        Ok(works)
    }

    /// What `part` of the test of `proof` shows on a scratch file in `dir`, which is removed then; `false` where the server
    /// refuses.
    async fn on_scratch(&self, dir: &RemotePath, proof: Proof, part: Part) -> Result<bool> {
        let scratch = scratch_name(&dir.join(b"test"));
        self.hide(&scratch);
        let mut tries = 0..ATTEMPTS;
        let tested = loop {
            let tested = match part {
                Part::Does => self.does(proof, &scratch).await,
                Part::OutlivesCut => self.outlives_cut(proof, &scratch).await,
            };
            match tested {
                Err(error) if is_lost(&error) && tries.next().is_some() => {
                    self.clean(&scratch).await;
                }
                tested => break tested,
            }
        };
        let remote = self.clone();
        let tidying = self.inner.tidying.clone().read_owned().await;
        tokio::spawn(async move {
            let _tidying = tidying;
            remote.clean(&scratch).await;
            remote.show(&scratch);
        });
        match tested {
            Err(Error::Denied(_) | Error::Unsupported(_)) => Ok(false),
            Err(Error::Wire(error)) if error.is_refusal() => Ok(false),
            tested => tested,
        }
    }

    /// Whether the server does what is to be proved.
    async fn does(&self, proof: Proof, scratch: &RemotePath) -> Result<bool> {
        let (first, kind, then, wanted) = proof.steps();
        self.send_whole(scratch, UploadKind::Store, first).await?;
        let sent = self.send_whole(scratch, kind, then).await?;
        // Where the size is known, what is there shows without the end of the transfer.
        let enough = match sent.found {
            Some((size, _)) if size == wanted.len() as u64 => wanted.len(),
            _ => LONGEST,
        };
        Ok(self.beginning(scratch, enough).await? == wanted)
    }

    /// Whether a file is left as it was where an upload into it breaks off.
    async fn outlives_cut(&self, proof: Proof, scratch: &RemotePath) -> Result<bool> {
        let known = self.pool().with_profile(|profile| profile.outlives_cuts);
        if let Some(outlives) = known {
            return Ok(outlives);
        }
        let (there, kind, then, _) = proof.steps();
        self.send_whole(scratch, UploadKind::Store, there).await?;
        let lease = self.pool().lease(Purpose::Brief).await?;
        let mut upload = match Upload::open_known(lease, scratch, kind).await {
            Ok((upload, _)) => upload,
            // Without SIZE.
            Err(error) if error.is_refusal() => {
                let lease = self.pool().lease(Purpose::Brief).await?;
                Upload::open(lease, scratch, kind).await?
            }
            Err(error) => return Err(error.into()),
        };
        upload.send(then).await?;
        // A reset right behind the bytes is taken for their end by some: node reads both at once.
        tokio::time::sleep(UNDOING).await;
        upload.cut().await;
        let round_trip = self.pool().with_profile(|profile| profile.round_trip);
        tokio::time::sleep(UNDOING.saturating_sub(round_trip.unwrap_or_default())).await;
        let untouched = match kind {
            UploadKind::Range(start) => &there[..start.get() as usize],
            _ => there,
        };
        let left = self.beginning(scratch, untouched.len()).await;
        debug!(?left, "after a cut");
        let outlives = match left {
            Ok(left) => left.starts_with(untouched),
            Err(Error::Wire(error)) if error.is_refusal() => false,
            Err(error) => return Err(error),
        };
        self.pool()
            .with_profile(|profile| profile.outlives_cuts = Some(outlives));
        Ok(outlives)
    }

    async fn send_whole(
        &self,
        scratch: &RemotePath,
        kind: UploadKind,
        bytes: &[u8],
    ) -> Result<Confirmed> {
        let outcome = async {
            let lease = self.pool().lease(Purpose::Brief).await?;
            let mut upload = Upload::open(lease, scratch, kind).await?;
            upload.send(bytes).await?;
            let finished = upload.finish(Wishes::default()).await;
            finished.map_err(Unconfirmed::into_error)
        };
        let outcome = outcome.await;
        self.understand(scratch, outcome).await
    }

    /// The first bytes of the file `scratch`, `enough` of them or as many as it has.
    async fn beginning(&self, scratch: &RemotePath, enough: usize) -> Result<BytesMut> {
        let mut download = Download::open(self.pool(), Purpose::Data, scratch, 0).await?;
        let mut content = BytesMut::new();
        loop {
            content.reserve(LONGEST);
            if download.receive(&mut content).await? == 0 || content.len() >= enough {
                return Ok(content);
            }
        }
    }
}
