//! What it means not to hear of a broker.

use std::{collections::BTreeMap, time::Duration};

use doctorkafka_wire::BrokerId;

use crate::{ClusterFacts, DirectProbe, Moment, Registration, memory::Memory, path::PathClock};

/// A broker counts as fresh while it was heard of within this many of its report intervals.
const FRESH_INTERVALS: u32 = 3;

/// A look at the cluster that is older says nothing about now.
const FACTS_STALE: Duration = Duration::from_secs(5);

/// A new active controller gives every broker a new session: for so long after its election (the default
/// `broker.session.timeout.ms` of 9 s and a margin) "not fenced" does not mean "alive".
const CONTROLLER_SETTLES: Duration = Duration::from_secs(12);

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
    /// It cannot be reached while a new controller has yet to see who is there.
    Unreachable,
}

/// Whether any broker was heard of just now, so that the way of the reports is known to work.
pub(crate) fn anyone_fresh(brokers: &BTreeMap<BrokerId, Memory>, now: Moment) -> bool {
    let fresh = |memory: &Memory| {
        memory.heard.is_some_and(|heard| now.since(heard) <= memory.interval() * FRESH_INTERVALS)
    };
    brokers.values().any(fresh)
}

/// Everything that bears on silence, at one moment.
pub(crate) struct Listener<'a> {
    pub now: Moment,
    pub heartbeat_timeout: Duration,
    /// Silence from before this moment does not count.
    pub listening_since: Moment,
    pub facts: Option<&'a ClusterFacts>,
    pub controller_since: Moment,
    pub paths: &'a BTreeMap<i32, PathClock>,
    pub probes: &'a BTreeMap<BrokerId, DirectProbe>,
}

impl Listener<'_> {
    /// Judges the silence of every broker at once: one broker's silence means something else when all are silent.
    pub fn judge(&self, brokers: &BTreeMap<BrokerId, Memory>) -> BTreeMap<BrokerId, Silence> {
        let anyone_fresh = anyone_fresh(brokers, self.now);
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

    /// Registration of a broker by a look that is still fresh.
    pub fn registration(&self, id: BrokerId) -> Option<Registration> {
        let facts = self.facts.filter(|facts| self.now.since(facts.at) <= FACTS_STALE)?;
        match facts.brokers.get(&id) {
            Some(broker) => Some(broker.registration),
            None if facts.names_fenced => None,
            None => Some(Registration::Fenced),
        }
    }

    fn judge_alone(&self, id: BrokerId, memory: &Memory) -> Silence {
        // A heartbeat is missing from the moment it was due.
        let lost_after = self.heartbeat_timeout + memory.interval();
        let base = memory.heard.unwrap_or(memory.known_since).max(self.listening_since);
        let wall = self.now.since(base);
        if memory.heard.is_some_and(|heard| self.now.since(heard) <= lost_after) {
            return Silence::Heard;
        }
        if wall <= lost_after {
            return Silence::Undecided;
        }
        let home = self.facts.and_then(|facts| facts.brokers.get(&id)).map(|broker| broker.home);
        let proven = home.and_then(|home| self.paths.get(&home)).map(|path| path.proven_since(base));
        if proven.is_some_and(|proven| proven > lost_after) {
            return Silence::Lost(LostBecause::PathProven);
        }
        let Some(registration) = self.registration(id) else {
            return if wall > lost_after * PATIENCE || self.facts_stale_for(lost_after) {
                Silence::KafkaUnreachable
            } else {
                Silence::Undecided
            };
        };
        if registration == Registration::Fenced {
            return Silence::Lost(LostBecause::Fenced);
        }
        // The reports' way is cut. A settled controller that counts the broker in is better evidence than a doctor
        // who cannot reach it; a controller that has just been elected knows no better.
        let controller_settled = self.facts.is_some_and(|facts| facts.controller.is_some())
            && self.now.since(self.controller_since) > CONTROLLER_SETTLES;
        let refused = self.probes.get(&id) == Some(&DirectProbe::Refused);
        if refused && !controller_settled {
            return Silence::Lost(LostBecause::Unreachable);
        }
        if wall > lost_after * PATIENCE { Silence::PathUnavailable } else { Silence::Undecided }
    }

    fn facts_stale_for(&self, time: Duration) -> bool {
        self.facts.is_none_or(|facts| self.now.since(facts.at) > time)
    }
}
