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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BrokerFacts, Detection, PathMark, sample};

    const SILENT: BrokerId = BrokerId(1);

    /// Two brokers, of which the second is heard all the time and the first fell silent at moment 0.
    struct Case {
        facts: Option<ClusterFacts>,
        path: PathClock,
        probe: Option<DirectProbe>,
        controller: ControllerWatch,
    }

    impl Case {
        fn new(registration: Registration, looked: u64) -> Self {
            let facts = BrokerFacts { registration, home: 0 };
            let controller = Some((BrokerId(2), 1));
            let brokers = [(SILENT, facts), (BrokerId(2), facts)].into();
            Self {
                facts: Some(ClusterFacts { at: Moment(looked), brokers, names_fenced: true, controller }),
                path: PathClock::default(),
                probe: None,
                controller: ControllerWatch::default(),
            }
        }

        fn at(&self, now: u64) -> Silence {
            let heard = |at| {
                let mut memory = Memory::new(Moment(0));
                memory.observe(sample::report(0), Some(Moment(at)), Moment(at), &Detection::default());
                memory
            };
            let listener = Listener {
                now: Moment(now),
                heartbeat_timeout: Duration::from_secs(10),
                listening_since: Moment(0),
                facts: self.facts.as_ref(),
                controller: &self.controller,
                paths: &[(0, self.path.clone())].into(),
                probes: &self.probe.map(|probe| (SILENT, probe)).into_iter().collect(),
            };
            listener.judge(&[(SILENT, heard(0)), (BrokerId(2), heard(now))].into())[&SILENT]
        }
    }

    fn proven(from: u64, to: u64) -> PathClock {
        let mut path = PathClock::default();
        for at in (from..=to).step_by(200) {
            path.mark(PathMark { at: Moment(at), end: 0 });
        }
        path
    }

    #[test]
    fn a_heartbeat_is_missing_from_the_moment_it_was_due() {
        let mut case = Case::new(Registration::Active, 11_000);
        case.path = proven(0, 11_200);
        assert_eq!(case.at(11_000), Silence::Heard);
        assert_eq!(case.at(11_200), Silence::Lost(LostBecause::PathProven));
    }

    #[test]
    fn time_in_which_it_could_not_have_been_heard_does_not_count() {
        let mut case = Case::new(Registration::Active, 14_000);
        case.path = proven(4_000, 14_000);
        assert_eq!(case.at(14_000), Silence::Undecided);
    }

    #[test]
    fn what_was_proven_a_while_ago_says_nothing_about_now() {
        let mut case = Case::new(Registration::Active, 30_000);
        case.path = proven(0, 20_000);
        assert_eq!(case.at(22_500), Silence::Lost(LostBecause::PathProven));
        assert_eq!(case.at(30_000), Silence::Undecided);
    }

    #[test]
    fn without_a_path_the_controller_has_the_word() {
        assert_eq!(Case::new(Registration::Fenced, 12_000).at(12_000), Silence::Lost(LostBecause::Fenced));
        assert_eq!(Case::new(Registration::Active, 12_000).at(12_000), Silence::Undecided);
        assert_eq!(Case::new(Registration::Fenced, 6_000).at(12_000), Silence::Undecided, "of a while ago");
    }

    #[test]
    fn patience_ends_after_three_timeouts() {
        assert_eq!(Case::new(Registration::Active, 33_000).at(33_000), Silence::Undecided);
        assert_eq!(Case::new(Registration::Active, 33_000).at(33_001), Silence::PathUnavailable);
    }

    #[test]
    fn a_refused_connection_is_proof_against_a_lost_controller_only() {
        let mut case = Case::new(Registration::Active, 12_000);
        case.probe = Some(DirectProbe::Refused);
        assert_eq!(case.at(12_000), Silence::Undecided);
        let was = case.facts.clone().map(|facts| ClusterFacts { controller: Some((SILENT, 0)), ..facts });
        for facts in [was, case.facts.clone()].iter().flatten() {
            case.controller.look(facts);
        }
        assert_eq!(case.at(12_000), Silence::Lost(LostBecause::ControllerGone));
        case.probe = Some(DirectProbe::Silent);
        assert_eq!(case.at(12_000), Silence::Undecided);
    }

    #[test]
    fn a_kafka_that_has_told_nothing_for_a_whole_timeout_is_out_of_reach() {
        assert_eq!(Case::new(Registration::Active, 5_000).at(16_000), Silence::Undecided);
        assert_eq!(Case::new(Registration::Active, 5_000).at(16_001), Silence::KafkaUnreachable);
        let nothing = Case { facts: None, ..Case::new(Registration::Active, 0) };
        assert_eq!(nothing.at(12_000), Silence::KafkaUnreachable);
    }
}
