//! What to do after another doctor has opened the actions log. Pure.
//!
//! Normally that is the replica which has got the Lease, and this one learns of it in a moment. If the Lease stays here,
//! the other is a doctor that does not stand in this election: one of another Kubernetes cluster, or a standalone one.
//! Nobody can decide between the two but a person. So this one stands by and tries again after a pause that doubles, so
//! that it takes over when the other has gone and does not fight while it is there.

use doctorkafka_doctor::Authority;
use std::time::{Duration, Instant};

/// First and longest pause.
const PAUSES: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(960));

/// After so long without being fenced, the next pause is the first again.
const CALM: Duration = Duration::from_secs(1800);

/// Whether an engine may lead after it was fenced.
#[derive(Debug, Default)]
pub(super) struct Fence {
    /// Until when it stands by, and how long that is in all.
    held: Option<(Instant, Duration)>,
}

impl Fence {
    /// Takes in whether the engine is fenced and what the election says. Returns whether it may lead at `now`.
    pub fn follow(&mut self, fenced: bool, election: Authority, now: Instant) -> bool {
        if election == Authority::Standby {
            // The one who fenced it has been elected; what comes after is a new election.
            self.held = None;
            return false;
        }
        if fenced && !self.is_held(now) {
            let recent = self.held.filter(|(until, _)| now.saturating_duration_since(*until) < CALM);
            let pause = recent.map_or(PAUSES.0, |(_, pause)| (pause * 2).min(PAUSES.1));
            self.held = Some((now + pause, pause));
        }
        !self.is_held(now)
    }

    /// How long it stands by in all, while it does.
    pub fn pause(&self, now: Instant) -> Option<Duration> {
        self.held.filter(|_| self.is_held(now)).map(|(_, pause)| pause)
    }

    fn is_held(&self, now: Instant) -> bool {
        self.held.is_some_and(|(until, _)| now < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Authority::{Leading, Standby, Uncertain};

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_fenced_engine_stands_by_and_tries_again_ever_more_rarely() {
        let (mut fence, mut now) = (Fence::default(), Instant::now());
        assert!(fence.follow(false, Leading, now));
        for pause in [30, 60, 120, 240, 480, 960, 960] {
            assert!(!fence.follow(true, Leading, now));
            assert_eq!(fence.pause(now), Some(SECOND * pause));
            assert!(!fence.follow(false, Uncertain, now + SECOND * (pause - 1)));
            now += SECOND * pause;
            assert!(fence.follow(false, Leading, now));
            assert_eq!(fence.pause(now), None);
        }
        now += CALM;
        assert!(!fence.follow(true, Leading, now));
        assert_eq!(fence.pause(now), Some(PAUSES.0));
    }

    #[test]
    fn a_new_election_is_a_new_chance() {
        let (mut fence, now) = (Fence::default(), Instant::now());
        assert!(!fence.follow(true, Leading, now));
        assert!(!fence.follow(true, Standby, now + SECOND));
        assert!(fence.follow(false, Leading, now + 2 * SECOND));
    }
}
