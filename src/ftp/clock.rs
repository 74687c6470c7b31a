//! The zone of the server's `MDTM`: UTC by RFC 3659, local on others.
//!
//! vsftpd with `use_localtime` (Debian's default) says and takes local times. One moment that both sides know tells: that
//! of an upload just ended.

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::tz::TimeZone;
use tracing::{debug, info};

use super::list::Entry;
use super::path::RemotePath;
use super::profile::{Profile, SetMtime};
use super::reply::Reply;
use super::server::Server;
use super::session::Session;
use super::time::{Zone, parse_time_val};
use super::{Result, listing};

/// A difference between two clocks, taken apart.
pub(super) struct Difference {
    /// Whole quarters of an hour, in seconds: all zones differ from UTC by such.
    pub(super) quarters: i64,
    /// The rest, which is the clocks' own.
    rest: i64,
}

impl Difference {
    /// What lies between `shown` and `true_time`, both Unix seconds.
    pub(super) fn between(shown: i64, true_time: i64) -> Self {
        let difference = shown - true_time;
        let quarters = (difference + QUARTER / 2).div_euclid(QUARTER) * QUARTER;
        Self {
            quarters,
            rest: difference - quarters,
        }
    }

    /// Whether it can be that of two zones, with clocks that go within `skew` seconds of each other.
    pub(super) fn is_of_zones(&self, skew: i64) -> bool {
        self.quarters.abs() <= 14 * 3600 && self.rest.abs() <= skew
    }
}

impl Server {
    /// The moment, in Unix seconds, that `reply` to `MDTM` says.
    pub(super) fn mtime_of(&self, reply: &Reply) -> Option<i64> {
        let shown = parse_time_val(reply.last().trim_ascii()).filter(|_| reply.code == 213)?;
        let zone = self.with_profile(|profile| profile.mdtm_zone.clone());
        Some(zone.map_or(shown, |zone| zone.from_clock(shown)))
    }

    /// What the server's clock shows at `seconds`, for the command that sets times in this `way`: of all, `MDTM` alone
    /// takes its own zone.
    pub(super) fn clock_at(&self, way: SetMtime, seconds: i64) -> i64 {
        let zone = self.with_profile(|profile| profile.mdtm_zone.clone());
        match (way, zone) {
            (SetMtime::Mdtm, Some(zone)) => zone.to_clock(seconds),
            _ => seconds,
        }
    }

    /// Learns the zone of `MDTM` from its `reply` of this moment for a file whose upload has just ended.
    ///
    /// Whether that makes times that were understood before wrong.
    pub(super) fn learn_clock(&self, reply: &Reply) -> bool {
        // Whoever has MLSD follows RFC 3659: a difference is a clock that is wrong, in both alike.
        if self.with_profile(|profile| profile.mdtm_zone.is_some() || profile.mlsd == Some(true)) {
            return false;
        }
        let Some(shown) = parse_time_val(reply.last().trim_ascii()).filter(|_| reply.code == 213)
        else {
            return false;
        };
        let now = unix_now();
        let difference = Difference::between(shown, now);
        if !difference.is_of_zones(SKEW) {
            debug!(shown, now, "the server's clock is wrong");
            return false;
        }
        let zone = self.zone_of(difference.quarters, now);
        let differs = difference.quarters != 0;
        if differs {
            info!(?zone, "the server's MDTM has local times");
        }
        self.with_profile(|profile| {
            // That of its listings was found by comparing with MDTM taken for UTC.
            if let (true, None, Some(Zone::Offset(listed))) =
                (differs, &self.config.zone, &profile.zone)
            {
                profile.zone = Some(match listed {
                    0 => zone.clone(),
                    listed => Zone::Offset(listed + difference.quarters as i32),
                });
            }
            profile.mdtm_zone = Some(zone);
        });
        differs
    }

    /// A zone that is `east` seconds east of UTC at `now`: rather one that knows its summer times.
    fn zone_of(&self, east: i64, now: i64) -> Zone {
        let named = [self.config.zone.clone(), Some(TimeZone::system())];
        let fits = |zone: &Zone| zone.to_clock(now) - now == east;
        let mut named = named.into_iter().flatten().map(Zone::Named);
        match east {
            0 => Zone::UTC,
            _ => named.find(fits).unwrap_or(Zone::Offset(east as i32)),
        }
    }
}

impl Session {
    /// Whether [`Session::compare_clock`] has yet to be done.
    pub(super) fn compares_clock(&self) -> bool {
        let open = |profile: &Profile| profile.mdtm_zone.is_none() && profile.mdtm != Some(false);
        self.server.config.zone.is_some() && self.knows(open)
    }

    /// Where the user has named the server's zone: whether `MDTM` has times of it as well, by one of `entries`, which were
    /// read as of that zone.
    pub(super) async fn compare_clock(
        &mut self,
        dir: &RemotePath,
        entries: &[Entry],
    ) -> Result<()> {
        let Some(zone) = self.server.config.zone.clone().map(Zone::Named) else {
            return Ok(());
        };
        if !self.compares_clock() {
            return Ok(());
        }
        let Some((path, listed)) = listing::dated_file(dir, entries) else {
            return Ok(());
        };
        // Of UTC still, since no zone is known yet.
        let Some(shown) = self.modified(&[path]).await?.pop().flatten() else {
            return Ok(());
        };
        let found = if (shown - listed).abs() < MINUTE {
            Zone::UTC
        } else if (shown - zone.to_clock(listed)).abs() < MINUTE {
            zone
        } else {
            return Ok(());
        };
        debug!(zone = ?found, "zone of the server's MDTM");
        self.server
            .with_profile(|profile| profile.mdtm_zone = Some(found));
        Ok(())
    }
}

pub(super) fn unix_now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs() as i64)
}

const QUARTER: i64 = 15 * 60;

const MINUTE: i64 = 60;

/// How far the server's clock may be wrong, in seconds.
const SKEW: i64 = 5 * 60;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_of_two_zones_differ_by_quarters_and_a_little() {
        let zones = |shown| {
            let difference = Difference::between(shown, 1_000_000);
            difference.is_of_zones(SKEW).then_some(difference.quarters)
        };
        assert_eq!(zones(1_000_003), Some(0));
        assert_eq!(zones(1_000_000 + 7200 - 4), Some(7200));
        assert_eq!(zones(1_000_000 - 12_600), Some(-12_600));
        assert_eq!(zones(1_000_000 + 1000), Some(900));
        assert_eq!(zones(1_000_000 + 1350), None);
        assert_eq!(zones(1_000_000 + 20 * 3600), None);
    }
}
