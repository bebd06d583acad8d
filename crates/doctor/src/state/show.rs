//! What is told to the rest of the process.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use doctorkafka_diagnosis::Moment;
use doctorkafka_wire::{ActionRecord, BrokerId};
use jiff::Timestamp;

use super::EngineState;
use crate::{
    DoctorReport, Proposed,
    report::{BrokerView, Counters, KafkaView},
    view::{Tally, figures, summary},
};

/// Figures are published at most this often; what changes a state is published at once.
const FIGURES_EVERY: Duration = Duration::from_millis(500);

/// A broker that has been silent for so long is worth a direct probe.
const PROBE_AFTER: Duration = Duration::from_secs(3);

impl EngineState {
    /// Notes how many records wait for the log.
    pub fn set_waiting(&mut self, waiting: usize) {
        self.counters.outbox = waiting;
    }

    /// Silent brokers and their addresses.
    pub fn worth_probing(&self, now: Moment) -> BTreeMap<BrokerId, String> {
        let silent = self.diagnostician.silent_for(PROBE_AFTER, now);
        silent.into_iter().filter_map(|id| Some((id, self.brokers.get(&id)?.address()))).collect()
    }

    /// Whether there is something new to publish; counts it as published.
    pub fn worth_publishing(&mut self, now: Moment) -> bool {
        let due = self.published.is_none_or(|published| now.since(published) >= FIGURES_EVERY);
        if !self.changed && !due {
            return false;
        }
        self.changed = false;
        self.published = Some(now);
        true
    }

    /// Everything that is known, put together `at` this time of the wall clock.
    pub fn report(&mut self, now: Moment, at: Timestamp) -> DoctorReport {
        let diagnoses = self.diagnostician.diagnoses();
        let topics = self.topics.as_ref().filter(|topics| topics.are_fresh(now));
        let tally = topics.map(|topics| &topics.tally);
        let brokers = diagnoses.keys().filter_map(|id| self.broker_view(*id, tally, at)).collect();
        let kafka = KafkaView {
            topics_error: self.topics_error.clone(),
            actions_log_error: self.log_error.clone(),
            under_replicated: tally.map(|tally| tally.under_replicated),
            ..self.kafka.clone()
        };
        DoctorReport {
            at,
            policy: self.policy.name.clone(),
            role: self.role.clone(),
            kafka,
            platform: self.platform_view(now),
            summary: summary(diagnoses),
            brokers,
            advice: self.advice.clone(),
            refusals: self.refusals.clone(),
            proposals: self.proposed(),
            treatment: self.treatment.clone(),
            actions: self.newest_actions(),
            counters: Counters { throttles_left: self.throttles_left(), ..self.counters.clone() },
        }
    }

    /// What this doctor proposes, and what the one before proposed until this one has considered it: who reads the reports
    /// is not to take it for withdrawn.
    fn proposed(&self) -> Vec<Arc<Proposed>> {
        let own = self.offers.values().map(|offer| offer.proposed.clone());
        let inherited = self.proposals.inherited().filter(|(key, ..)| !self.offers.contains_key(key));
        let inherited = inherited.map(|((remedy, _), treatment, since)| {
            let mode = remedy.mode(&self.policy);
            let treatment = treatment.clone();
            Arc::new(Proposed { treatment, why: Vec::new(), since, mode, rules: Vec::new() })
        });
        own.chain(inherited).collect()
    }

    /// Shared by all reports until there are newer ones: each may name thousands of partitions.
    fn newest_actions(&mut self) -> Arc<[ActionRecord]> {
        self.shown_actions.get_or_insert_with(|| self.actions.iter().cloned().collect()).clone()
    }

    fn broker_view(&self, id: BrokerId, tally: Option<&Tally>, at: Timestamp) -> Option<BrokerView> {
        let diagnosis = self.diagnostician.diagnoses().get(&id)?;
        let info = self.brokers.get(&id);
        let pod = self.diagnostician.platform().pod(id);
        // An alert that an earlier leader raised tells better since when the state holds.
        let alerted =
            self.alerts.of(id).filter(|alert| alert.is_of(diagnosis.state)).map(|alert| alert.since);
        let since = self.standings.get(&id).map_or(at, |(.., since)| *since);
        let count = |of: &BTreeMap<BrokerId, usize>| of.get(&id).copied().unwrap_or_default();
        Some(BrokerView {
            id,
            host: info.map(|info| info.host.clone()).unwrap_or_default(),
            rack: info.and_then(|info| info.rack.clone()),
            pod: pod.map(|pod| pod.name.clone()),
            node: pod.and_then(|pod| pod.node.clone()),
            state: diagnosis.state,
            reason: diagnosis.reason,
            since: alerted.map_or(since, |alerted| alerted.min(since)),
            message: diagnosis.message.clone(),
            evidence: diagnosis.evidence.clone(),
            figures: figures(self.diagnostician.newest_report(id)),
            leaders: tally.map(|tally| count(&tally.leaders)),
            replicas: tally.map(|tally| count(&tally.replicas)),
        })
    }
}
