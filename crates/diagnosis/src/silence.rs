//! What it means not to hear of a broker.

use std::{collections::BTreeMap, time::Duration};

use doctorkafka_wire::BrokerId;

use crate::{
    ClusterFacts, DirectProbe, Moment, Registration,
    controller::ControllerWatch,
    memory::{LATE, Memory},
    path::PathClock,
};

/// A look at the cluster that is older says nothing about now.
const FACTS_STALE: Duration = Duration::from_secs(5);

/// So many heartbeat timeouts may a broker's path stay unproven before the doctor says that it does not know.
const PATIENCE: u32 = 3;

/// What silence means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Silence {
    /// It was heard of in time.
    Heard,
    /// Nothing can be said yet; what was held to be true still is.
    Undecided,
    /// It is lost.
    Lost(LostBecause),
    /// Every broker is silent.
    AllSilent,
    /// Its reports cannot come through.
    PathUnavailable,
    /// Kafka as a whole does not answer.
    KafkaUnreachable,
}

/// How the doctor knows that a silent broker is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LostBecause {
    /// Its reports could have come for the whole timeout, and did not.
    PathProven,
    /// The controller has fenced it.
    Fenced,
    /// It was the active controller, another took its place, and its listener refuses connections.
    ControllerGone,
}

/// Everything that bears on silence, at one moment.
pub(crate) struct Listener<'a> {
    pub now: Moment,
    pub heartbeat_timeout: Duration,
    /// Silence from before this moment does not count.
    pub listening_since: Moment,
    pub facts: Option<&'a ClusterFacts>,
    pub controller: &'a ControllerWatch,
    pub paths: &'a BTreeMap<i32, PathClock>,
    pub probes: &'a BTreeMap<BrokerId, DirectProbe>,
}

impl Listener<'_> {
    /// Judges the silence of every broker at once: one broker's silence means something else when all are silent.
    pub fn judge(&self, brokers: &BTreeMap<BrokerId, Memory>) -> BTreeMap<BrokerId, Silence> {
        let anyone_fresh = brokers.values().any(|memory| memory.is_fresh(self.now));
        let mut judged: BTreeMap<_, _> =
            brokers.iter().map(|(id, memory)| (*id, self.judge_alone(*id, memory))).collect();
        if anyone_fresh {
            return judged;
        }
        let all_silent =
            judged.values().all(|silence| !matches!(silence, Silence::Heard | Silence::Undecided));
        for silence in judged.values_mut() {
            if *silence == Silence::Lost(LostBecause::PathProven) {
                *silence = if all_silent { Silence::AllSilent } else { Silence::Undecided };
            }
        }
        judged
    }

    /// The newest look at the cluster, unless it is too old to say anything about now.
    pub fn fresh_facts(&self) -> Option<&ClusterFacts> {
        self.facts.filter(|facts| self.now.since(facts.at) <= FACTS_STALE)
    }

    /// Registration of a broker by a look that is still fresh.
    pub fn registration(&self, id: BrokerId) -> Option<Registration> {
        let facts = self.fresh_facts()?;
        match facts.brokers.get(&id) {
            Some(broker) => Some(broker.registration),
            None if facts.names_fenced => None,
            None => Some(Registration::Fenced),
        }
    }

    fn judge_alone(&self, id: BrokerId, memory: &Memory) -> Silence {
        // A heartbeat is missing from the moment it was due.
        let lost_after = self.heartbeat_timeout + memory.interval();
        if memory.heard.is_some_and(|heard| self.now.since(heard) <= lost_after) {
            return Silence::Heard;
        }
        let base = memory.heard.unwrap_or(memory.known_since).max(self.listening_since);
        let silent = self.now.since(base);
        if silent <= lost_after {
            return Silence::Undecided;
        }
        if self.could_have_been_heard(id, base) > lost_after {
            return Silence::Lost(LostBecause::PathProven);
        }
        let patience_is_over = silent > lost_after * PATIENCE;
        let Some(registration) = self.registration(id) else {
            let facts_are_old = self.facts.is_none_or(|facts| self.now.since(facts.at) > lost_after);
            return if patience_is_over || facts_are_old {
                Silence::KafkaUnreachable
            } else {
                Silence::Undecided
            };
        };
        if registration == Registration::Fenced {
            return Silence::Lost(LostBecause::Fenced);
        }
        // The reports' way is cut. A controller that counts the broker in is better evidence than a doctor who cannot
        // reach it, unless the broker was the controller itself and its successor has yet to see who is there.
        let refused = self.probes.get(&id) == Some(&DirectProbe::Refused);
        if refused && self.controller.just_lost(id, self.now) {
            return Silence::Lost(LostBecause::ControllerGone);
        }
        if patience_is_over { Silence::PathUnavailable } else { Silence::Undecided }
    }

    /// For how long since `base` the broker's reports would have come through, had there been any.
    fn could_have_been_heard(&self, id: BrokerId, base: Moment) -> Duration {
        let home = self.facts.and_then(|facts| facts.brokers.get(&id)).map(|broker| broker.home);
        let path = home.and_then(|home| self.paths.get(&home));
        // While old records are still being read, the past is proven and the present is not.
        let up_to_date = |path: &&PathClock| path.proven_until().is_some_and(|it| self.now.since(it) <= LATE);
        path.filter(up_to_date).map_or(Duration::ZERO, |path| path.proven_since(base))
    }
}
