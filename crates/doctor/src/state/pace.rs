//! How fast a running treatment may copy: as fast as was planned, and slower while the brokers that take part are strained.

use std::{collections::BTreeSet, time::Duration};

use doctorkafka_api::Throttle;
use doctorkafka_diagnosis::{BrokerState, Moment, Resource};
use doctorkafka_wire::{BrokerId, Network};

use super::EngineState;
use crate::{
    execute::{OpenTreatment, Treatment},
    remedy::moves::FLOOR,
};

/// Shares of a broker's network in use at which it is strained, and below which it is at ease.
const STRAINED: f64 = 0.9;
const AT_EASE: f64 = 0.7;

/// So long after a change, or the beginning, the rate may be halved. What a change does has to show first.
const LOWER_AFTER: Duration = Duration::from_secs(20);

/// So long everybody has to have been at ease before it is doubled.
const RAISE_AFTER: Duration = Duration::from_secs(60);

/// The rate of the treatment under way.
#[derive(Debug)]
pub(super) struct Pace {
    digest: String,
    /// Who takes part: of thousands of changes, found once.
    brokers: BTreeSet<BrokerId>,
    rate: u64,
    since: Moment,
    at_ease_since: Option<Moment>,
}

/// How the brokers that take part bear it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Load {
    AtEase,
    Between,
    Strained,
}

impl EngineState {
    /// Decides how fast a running treatment may go on. A rate that the policy names is kept to.
    pub fn keep_pace(&mut self, treatment: &Treatment, now: Moment) {
        let planned = treatment.throttle().filter(|_| matches!(self.policy.throttle, Throttle::Auto));
        let Some(most) = planned else {
            self.pace = None;
            return;
        };
        let begun = || {
            // Who takes over goes on as fast as the one before.
            let open = self.recovery.open().filter(|open| open.treatment().digest() == treatment.digest());
            let rate = open.and_then(OpenTreatment::rate).unwrap_or(most);
            let brokers = treatment.moves().flat_map(|change| change.from.iter().chain(&change.to).copied());
            Pace {
                digest: treatment.digest().to_owned(),
                brokers: brokers.collect(),
                rate,
                since: now,
                at_ease_since: None,
            }
        };
        let running = self.pace.take().filter(|pace| pace.digest == treatment.digest());
        let mut pace = running.unwrap_or_else(begun);
        let load = self.load_of(&pace.brokers, treatment.cause().broker);
        pace.at_ease_since = pace.at_ease_since.or(Some(now)).filter(|_| load == Load::AtEase);
        let rate = match load {
            Load::Strained if now.since(pace.since) >= LOWER_AFTER => (pace.rate / 2).max(FLOOR),
            Load::AtEase if pace.at_ease_since.is_some_and(|since| now.since(since) >= RAISE_AFTER) => {
                pace.rate.saturating_mul(2)
            }
            _ => pace.rate,
        };
        let rate = rate.min(most);
        if rate != pace.rate {
            (pace.rate, pace.since, pace.at_ease_since) = (rate, now, None);
        }
        self.pace = Some(pace);
    }

    /// The rate that was decided for this treatment.
    pub(super) fn pace_of(&self, treatment: &Treatment) -> Option<u64> {
        self.pace.as_ref().filter(|pace| pace.digest == treatment.digest()).map(|pace| pace.rate)
    }

    /// The load of the broker that bears it worst; one of them may be `treated`.
    fn load_of(&self, brokers: &BTreeSet<BrokerId>, treated: Option<BrokerId>) -> Load {
        let of = |id: BrokerId| {
            let diagnosis = self.diagnostician.diagnoses().get(&id);
            let overloaded = diagnosis.is_some_and(|it| {
                it.state == BrokerState::Overloaded
                    && matches!(it.resource, Some(Resource::Cpu | Resource::Network))
            });
            // One that is being relieved is overloaded until it is, and not the sooner for going slowly.
            if overloaded && treated != Some(id) {
                return Load::Strained;
            }
            let report = self.diagnostician.newest_report(id);
            match report.and_then(|report| used(report.network.as_ref()?)) {
                Some(used) if used >= STRAINED => Load::Strained,
                Some(used) if used >= AT_EASE => Load::Between,
                _ => Load::AtEase,
            }
        };
        brokers.iter().copied().map(of).max().unwrap_or(Load::AtEase)
    }
}

/// The share of a network that is in use, in the direction that has more.
fn used(network: &Network) -> Option<f64> {
    let capacity = network.capacity_bytes_per_sec.filter(|capacity| *capacity > 0)?;
    Some(network.in_bytes_per_sec.max(network.out_bytes_per_sec) / capacity as f64)
}
