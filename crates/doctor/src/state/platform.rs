//! What pods, nodes and other operators say, and what treatment makes of it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use doctorkafka_diagnosis::{Moment, PlatformFacts, StandDown};
use doctorkafka_planner::Rule;
use doctorkafka_wire::BrokerId;
use jiff::Timestamp;

use super::EngineState;
use crate::{
    execute::{Control, Treatment},
    remedy::{Remedy, offers::Key},
    report::PlatformView,
};

/// A rolling update restarts a broker in minutes, and the next when that one is back. One that has kept a broker down for
/// so long, and for longer than the grace period, goes on for ever unless somebody mends it, and heals nobody meanwhile.
const ROLL_HANGS: Duration = Duration::from_secs(30 * 60);

impl EngineState {
    /// Takes in what is known of the platform. To be called at least every few seconds where there is one: links to pods
    /// are made anew by what Kafka and the collectors say by now, and what is not told again gets stale.
    pub fn see_platform(&mut self, facts: Arc<PlatformFacts>, now: Moment) {
        let brokers = &self.brokers;
        let advertised = |id: BrokerId| brokers.get(&id).map(|broker| broker.host.as_str());
        self.diagnostician.look_at_platform(facts, advertised, now);
    }

    /// What the platform says against the beginning of a treatment.
    pub(super) fn platform_forbids(&self, key: Option<Key>, now: Moment) -> Option<(Rule, String)> {
        let hangs = key.is_some_and(|key| self.waits_for_a_roll_that_hangs(key, now));
        let counts = |(why, _): &(StandDown, String)| !hangs || *why != StandDown::RollingUpdate;
        let (why, message) = self.diagnostician.platform().reasons_to_wait(now).into_iter().find(counts)?;
        let rule = match why {
            StandDown::RollingUpdate => Rule::RollingUpdate,
            StandDown::KafkaRebalance => Rule::KafkaRebalance,
            StandDown::StrimziPaused => Rule::StrimziPaused,
            StandDown::CruiseControl => Rule::CruiseControl,
            StandDown::PlatformUnknown => Rule::PlatformUnknown,
        };
        Some((rule, message))
    }

    /// Whether the broker to heal is the one that a rolling update took down and does not bring back.
    fn waits_for_a_roll_that_hangs(&self, (remedy, broker): Key, now: Moment) -> bool {
        let grace = self.policy.heal_after.max(ROLL_HANGS);
        let gone = |(since, _): &(Moment, _)| now.since(*since) >= grace;
        remedy == Remedy::BrokerFailure
            && self.is_gone(broker)
            && self.gone.get(&broker).is_some_and(gone)
            && self.diagnostician.platform().will_not_return(broker, now).is_some()
    }

    /// What people want of a running treatment, and whether others work on the cluster meanwhile.
    pub fn orders(&self, treatment: &Treatment, now: Moment, wall: Timestamp) -> Control {
        let cause = treatment.cause();
        let key = Remedy::named(&cause.reason).zip(cause.broker);
        let too_many = || {
            let (remedy, broker) = key.filter(|_| treatment.moves().next().is_some())?;
            let refused = self.not_too_many(broker, remedy).err()?;
            Some((refused.rule, refused.message))
        };
        let forbidden = self.platform_forbids(key, now).or_else(too_many);
        let others = forbidden.map(|(rule, message)| format!("{}: {message}", rule.as_str()));
        Control { others, rate: self.pace_of(treatment), ..self.control(treatment, now, wall) }
    }

    /// What is told of the platform itself.
    pub(super) fn platform_view(&self, now: Moment) -> PlatformView {
        let platform = self.diagnostician.platform();
        let known = self.brokers.keys();
        let unlinked = known.filter(|id| platform.is_asked() && platform.pod(**id).is_none());
        let why = |id: &BrokerId| {
            let ambiguous = platform.ambiguous().get(id).cloned();
            ambiguous.unwrap_or_else(|| "no selected pod is known to be its".to_owned())
        };
        let unlinked: BTreeMap<_, _> = unlinked.map(|id| (*id, why(id))).collect();
        PlatformView {
            asked: platform.is_asked(),
            unknown: platform.unknown(now).into_iter().map(|unknown| unknown.why).collect(),
            unlinked,
        }
    }
}
