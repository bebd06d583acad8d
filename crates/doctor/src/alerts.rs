//! Which alerts stand open, and which records bring the actions log in line with the diagnosis.
//!
//! Level, not edge: records are made from the difference between what the log says and what is diagnosed, so that a new
//! leader repeats nothing, and what came up while nobody led is still told. Pure.

use std::collections::{BTreeMap, BTreeSet};

use doctorkafka_diagnosis::{BrokerState, Diagnosis, Reason};
use doctorkafka_planner::{LeadershipPlan, Refused};
use doctorkafka_wire::{
    ActionKind, ActionRecord, BrokerId, Evidence, LeadershipMove, Outcome, Severity, TreatmentDetail,
};
use jiff::Timestamp;
use serde_json::json;

use crate::witness::{FOUND_AT, Sighting};

/// Name of the rule in the evidence of a `REFUSED` record.
const RULE: &str = "rule";

/// Name of the reason in the evidence of an alert.
const REASON: &str = "reason";

/// Alerts that are believed to stand open, and rules that are believed to have refused one, whoever wrote them to the log:
/// more than there are brokers in any cluster, and rules in any release.
const MOST_OPEN: usize = 10_000;
const MOST_RULES: usize = 100;

/// A record before it is given its id, time and author.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Draft {
    pub kind: ActionKind,
    pub severity: Severity,
    pub broker: Option<BrokerId>,
    pub message: String,
    pub outcome: Option<Outcome>,
    pub leadership: Vec<LeadershipMove>,
    pub digest: Option<String>,
    pub treatment: Option<Box<TreatmentDetail>>,
    pub evidence: Evidence,
}

impl Draft {
    pub fn new(
        kind: ActionKind,
        severity: Severity,
        broker: Option<BrokerId>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            severity,
            broker,
            message: message.into(),
            outcome: None,
            leadership: Vec::new(),
            digest: None,
            treatment: None,
            evidence: Evidence::new(),
        }
    }
}

/// An alert that has been raised and not taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OpenAlert {
    pub kind: ActionKind,
    pub since: Timestamp,
    /// Why an earlier leader raised it (a [`Reason`]), until this doctor has found the same by itself.
    inherited: Option<String>,
    /// Reasons that have been told with it, each once: the platform may tell the cause later than Kafka the death.
    told: BTreeSet<String>,
    /// A treatment has been proposed for it.
    proposed: bool,
    /// Rules that have refused a treatment for it; each is told once.
    refused: BTreeSet<String>,
}

impl OpenAlert {
    /// Whether a reason is news to whoever has heard of this alert: a cause that the platform tells, or that what began as
    /// a part of a rolling update is no part of it any more.
    fn is_news(&self, reason: Reason) -> bool {
        let only_rolling = self.told.iter().eq([Reason::RollingUpdate.as_str()]);
        self.kind == ActionKind::AlertUnhealthy
            && (reason.is_of_the_platform() || only_rolling)
            && self.told.len() < MOST_RULES
            && !self.told.contains(reason.as_str())
    }

    /// Whether it is the alert that goes with a state.
    pub fn is_of(&self, state: BrokerState) -> bool {
        match state {
            BrokerState::Unhealthy => self.kind == ActionKind::AlertUnhealthy,
            BrokerState::Overloaded => self.kind == ActionKind::AlertOverload,
            _ => false,
        }
    }
}

/// The alerts that stand open according to the log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Alerts {
    brokers: BTreeMap<BrokerId, OpenAlert>,
    /// The doctor has said that it cannot see.
    blind_since: Option<Timestamp>,
    /// Highest leader epoch in the log.
    pub epoch: u64,
}

impl Alerts {
    /// Takes in the next record of the log.
    pub fn apply(&mut self, record: &ActionRecord) {
        self.epoch = self.epoch.max(record.epoch);
        match (record.kind, record.broker) {
            (kind @ (ActionKind::AlertOverload | ActionKind::AlertUnhealthy), Some(broker))
                if self.brokers.len() < MOST_OPEN || self.brokers.contains_key(&broker) =>
            {
                let reason = record.evidence.get(REASON).and_then(|reason| reason.as_str());
                match self.brokers.get_mut(&broker).filter(|alert| alert.kind == kind) {
                    Some(alert) if alert.told.len() < MOST_RULES => {
                        alert.told.extend(reason.map(str::to_owned));
                    }
                    Some(_) => {}
                    None => {
                        self.open(broker, kind, record.time, reason);
                        if let Some(alert) = self.brokers.get_mut(&broker) {
                            alert.inherited = reason.map(str::to_owned);
                        }
                    }
                }
            }
            (ActionKind::AlertUnknown, None) => self.blind_since = Some(record.time),
            (ActionKind::Recovered, Some(broker)) => {
                self.brokers.remove(&broker);
            }
            (ActionKind::Recovered, None) => self.blind_since = None,
            (ActionKind::ReassignPartitions, Some(broker)) => {
                if let Some(alert) = self.brokers.get_mut(&broker) {
                    alert.proposed = true;
                }
            }
            (ActionKind::Refused, Some(broker)) => {
                let rule = record.evidence.get(RULE).and_then(|rule| rule.as_str());
                let alert = self.brokers.get_mut(&broker).filter(|alert| alert.refused.len() < MOST_RULES);
                if let (Some(alert), Some(rule)) = (alert, rule) {
                    alert.refused.insert(rule.to_owned());
                }
            }
            _ => {}
        }
    }

    /// The alert that stands open for a broker.
    pub fn of(&self, broker: BrokerId) -> Option<&OpenAlert> {
        self.brokers.get(&broker)
    }

    /// What has to be written so that the log says what is diagnosed, at most `room` records. They count as written from
    /// here on; what there is no room for is found by the next call.
    ///
    /// `still_above` tells whether a broker is not yet below the limit of recovery that goes with a reason. A doctor that
    /// has just begun finds an overloaded broker healthy until the load has lasted, which is no recovery.
    pub fn reconcile(
        &mut self,
        diagnoses: &BTreeMap<BrokerId, Diagnosis>,
        now: Timestamp,
        room: usize,
        still_above: impl Fn(BrokerId, &str) -> bool,
    ) -> Vec<Draft> {
        let mut drafts = Vec::new();
        // What concerns all of the cluster goes first.
        if room > 0 {
            self.reconcile_sight(diagnoses, now, &mut drafts);
        }
        for (id, diagnosis) in diagnoses {
            if drafts.len() >= room {
                return drafts;
            }
            let alert = self.brokers.get_mut(id);
            let open = alert.as_ref().map(|alert| alert.kind);
            let wanted = match diagnosis.state {
                // In a rolling update brokers go and come back; no one is to be woken for that.
                BrokerState::Unhealthy if diagnosis.reason == Reason::RollingUpdate => {
                    Some((ActionKind::AlertUnhealthy, Severity::Info))
                }
                BrokerState::Unhealthy => Some((ActionKind::AlertUnhealthy, Severity::Critical)),
                BrokerState::Overloaded => Some((ActionKind::AlertOverload, Severity::Warning)),
                BrokerState::Healthy => None,
                // Neither well nor known to be ill: what was said of it stands.
                BrokerState::Recovering | BrokerState::Maintenance | BrokerState::Unknown => continue,
            };
            let (kind, severity) = match wanted {
                Some((kind, severity)) if open == Some(kind) => {
                    let Some(alert) = alert else { continue };
                    alert.inherited = None;
                    if !alert.is_news(diagnosis.reason) {
                        continue;
                    }
                    alert.told.insert(diagnosis.reason.as_str().to_owned());
                    (kind, severity)
                }
                Some((kind, severity)) => {
                    self.open(*id, kind, now, Some(diagnosis.reason.as_str()));
                    (kind, severity)
                }
                None if open.is_none() => continue,
                None if alert
                    .and_then(|alert| alert.inherited.as_deref())
                    .is_some_and(|reason| still_above(*id, reason)) =>
                {
                    continue;
                }
                None => {
                    self.brokers.remove(id);
                    (ActionKind::Recovered, Severity::Info)
                }
            };
            let mut draft = Draft::new(kind, severity, Some(*id), diagnosis.message.clone());
            draft.evidence = diagnosis.evidence.clone();
            draft.evidence.insert(REASON.into(), json!(diagnosis.reason.as_str()));
            drafts.push(draft);
        }
        self.reconcile_gone(diagnoses, room, &mut drafts);
        drafts
    }

    /// The record for a change that was seen while another led, unless the log says the same. Nobody is to be woken for
    /// what is over.
    pub fn tell_late(&mut self, seen: Sighting) -> Option<Draft> {
        let open = self.brokers.get(&seen.broker).map(|alert| alert.kind);
        match seen.kind {
            ActionKind::Recovered => {
                open?;
                self.brokers.remove(&seen.broker);
            }
            kind if open == Some(kind) => return None,
            kind => self.open(seen.broker, kind, seen.at, Some(seen.reason.as_str())),
        }
        let message = format!(
            "{}; seen {:.0} by this doctor, which stood by; the log lacked it",
            seen.message, seen.at
        );
        let mut draft = Draft::new(seen.kind, Severity::Info, Some(seen.broker), message);
        draft.evidence = seen.evidence;
        draft.evidence.insert(REASON.into(), json!(seen.reason.as_str()));
        draft.evidence.insert(FOUND_AT.into(), json!(seen.at));
        Some(draft)
    }

    /// The record for a treatment that would help a broker, unless it has been told for this alert.
    pub fn propose(&mut self, plan: &LeadershipPlan) -> Option<Draft> {
        let alert = self.brokers.get_mut(&plan.from).filter(|alert| !alert.proposed)?;
        alert.proposed = true;
        let partitions = plan.moves.len();
        let mut draft = Draft::new(
            ActionKind::ReassignPartitions,
            Severity::Info,
            Some(plan.from),
            format!(
                "Moving leadership of {partitions} {} to healthy brokers is recommended: {}",
                if partitions == 1 { "partition" } else { "partitions" },
                plan.sentence()
            ),
        );
        draft.outcome = Some(Outcome::Proposed);
        draft.evidence.insert("partitions".into(), json!(partitions));
        draft.leadership = plan.moves.clone();
        Some(draft)
    }

    /// The record for a treatment that was refused, unless this rule has been told for this alert.
    pub fn refuse(&mut self, broker: BrokerId, refused: &Refused) -> Option<Draft> {
        let rule = refused.rule.as_str();
        let alert = self.brokers.get_mut(&broker).filter(|alert| !alert.proposed)?;
        if !alert.refused.insert(rule.to_owned()) {
            return None;
        }
        let mut draft =
            Draft::new(ActionKind::Refused, Severity::Warning, Some(broker), refused.message.clone());
        draft.evidence.insert(RULE.into(), json!(rule));
        Some(draft)
    }

    fn open(&mut self, broker: BrokerId, kind: ActionKind, since: Timestamp, reason: Option<&str>) {
        let told = reason.map(str::to_owned).into_iter().collect();
        let refused = BTreeSet::new();
        let alert = OpenAlert { kind, since, inherited: None, told, proposed: false, refused };
        self.brokers.insert(broker, alert);
    }

    fn reconcile_gone(
        &mut self,
        diagnoses: &BTreeMap<BrokerId, Diagnosis>,
        room: usize,
        drafts: &mut Vec<Draft>,
    ) {
        if diagnoses.is_empty() {
            return; // the cluster has not been looked at yet
        }
        let gone: Vec<BrokerId> =
            self.brokers.keys().filter(|id| !diagnoses.contains_key(id)).copied().collect();
        for id in gone.into_iter().take(room - drafts.len()) {
            self.brokers.remove(&id);
            let message = "the broker is no longer part of the cluster";
            drafts.push(Draft::new(ActionKind::Recovered, Severity::Info, Some(id), message));
        }
    }

    fn reconcile_sight(
        &mut self,
        diagnoses: &BTreeMap<BrokerId, Diagnosis>,
        now: Timestamp,
        drafts: &mut Vec<Draft>,
    ) {
        let unknown = |d: &&Diagnosis| d.state == BrokerState::Unknown;
        let blind = diagnoses.values().find(|d| unknown(d) && d.reason != Reason::NotSeenYet);
        match (blind, self.blind_since) {
            (Some(diagnosis), None) => {
                self.blind_since = Some(now);
                let affected = diagnoses.values().filter(unknown).count();
                let mut draft = Draft::new(
                    ActionKind::AlertUnknown,
                    Severity::Critical,
                    None,
                    format!(
                        "state of {affected} of {} brokers unknown: {}",
                        diagnoses.len(),
                        diagnosis.message
                    ),
                );
                draft.evidence.insert(REASON.into(), json!(diagnosis.reason.as_str()));
                draft.evidence.insert("brokers".into(), json!(affected));
                drafts.push(draft);
            }
            (None, Some(_)) if !diagnoses.values().any(|d| unknown(&d)) && !diagnoses.is_empty() => {
                self.blind_since = None;
                let message = "the state of every broker is known again";
                drafts.push(Draft::new(ActionKind::Recovered, Severity::Info, None, message));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
