//! What pods, nodes and other operators say, and what treatment makes of it.

use std::{collections::BTreeMap, sync::Arc};

use doctorkafka_diagnosis::{Moment, PlatformFacts, StandDown};
use doctorkafka_planner::Rule;
use doctorkafka_wire::BrokerId;

use super::EngineState;
use crate::remedy::Remedy;
use crate::{
    execute::{Control, Treatment},
    report::PlatformView,
};

impl EngineState {
    /// Takes in what is known of the platform. To be called at least every few seconds where there is one: links to pods
    /// are made anew by what Kafka and the collectors say by now, and what is not told again gets stale.
    pub fn see_platform(&mut self, facts: Arc<PlatformFacts>, now: Moment) {
        let brokers = &self.brokers;
        let advertised = |id: BrokerId| brokers.get(&id).map(|broker| broker.host.as_str());
        self.diagnostician.look_at_platform(facts, advertised, now);
    }

    /// What the platform says against the beginning of any treatment.
    pub(super) fn platform_forbids(&self, now: Moment) -> Option<(Rule, String)> {
        let (why, message) = self.diagnostician.platform().reason_to_wait(now)?;
        let rule = match why {
            StandDown::RollingUpdate => Rule::RollingUpdate,
            StandDown::KafkaRebalance => Rule::KafkaRebalance,
            StandDown::StrimziPaused => Rule::StrimziPaused,
            StandDown::CruiseControl => Rule::CruiseControl,
            StandDown::PlatformUnknown => Rule::PlatformUnknown,
        };
        Some((rule, message))
    }

    /// What people want of a running treatment, and whether others work on the cluster meanwhile.
    pub fn orders(&self, treatment: &Treatment, now: Moment) -> Control {
        let too_many = || {
            let cause = treatment.cause();
            let remedy = Remedy::named(&cause.reason).filter(|_| treatment.moves().next().is_some())?;
            let refused = self.not_too_many(cause.broker?, remedy).err()?;
            Some((refused.rule, refused.message))
        };
        let forbidden = self.platform_forbids(now).or_else(too_many);
        let others = forbidden.map(|(rule, message)| format!("{}: {message}", rule.as_str()));
        Control { others, ..self.control(treatment) }
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
