//! The whole diagnosis of one cluster.

use std::collections::BTreeMap;

use doctorkafka_wire::{BrokerId, BrokerReport, Evidence};

use crate::{
    BrokerState, ClusterFacts, Detection, DirectProbe, Moment, PathMark, Reason, Registration, Resource,
    condition::{self, Finding, percent_beside},
    memory::Memory,
    path::PathClock,
    silence::{Listener, LostBecause, Silence, anyone_fresh},
};

/// What became of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Intake {
    /// It was new and is taken into account.
    Used,
    /// It was seen before, or is older than what was seen.
    Repeated,
    /// It is about a broker that the cluster does not have.
    UnknownBroker,
}

/// What one broker is held to be.
#[derive(Debug, Clone, PartialEq)]
pub struct Diagnosis {
    /// The state.
    pub state: BrokerState,
    /// Why.
    pub reason: Reason,
    /// Since when it has been in this state.
    pub since: Moment,
    /// One sentence for people.
    pub message: String,
    /// The figures and facts it rests on.
    pub evidence: Evidence,
    /// What an overload is of.
    pub resource: Option<Resource>,
}

/// Holds what is known of a cluster and says which broker is in which state.
///
/// Feed it with [`report`](Self::report), [`mark`](Self::mark), [`read_to`](Self::read_to) and
/// [`look`](Self::look) as things come in, and ask with [`diagnose`](Self::diagnose).
#[derive(Debug)]
pub struct Diagnostician {
    detection: Detection,
    listening_since: Moment,
    memories: BTreeMap<BrokerId, Memory>,
    diagnoses: BTreeMap<BrokerId, Diagnosis>,
    paths: BTreeMap<i32, PathClock>,
    facts: Option<ClusterFacts>,
    controller: Option<(BrokerId, i32)>,
    controller_since: Moment,
    probes: BTreeMap<BrokerId, DirectProbe>,
    deaf: bool,
}

impl Diagnostician {
    /// Begins to listen at `now`. Nothing is known, so every broker is `Unknown` until seen or a timeout has passed.
    pub fn new(detection: Detection, now: Moment) -> Self {
        Self {
            detection,
            listening_since: now,
            memories: BTreeMap::new(),
            diagnoses: BTreeMap::new(),
            paths: BTreeMap::new(),
            facts: None,
            controller: None,
            controller_since: now,
            probes: BTreeMap::new(),
            deaf: false,
        }
    }

    /// Takes other thresholds into use.
    pub fn set_detection(&mut self, detection: Detection) {
        self.detection = detection;
    }

    /// The thresholds in use.
    pub fn detection(&self) -> &Detection {
        &self.detection
    }

    /// Takes in the answer of a partition's leader.
    pub fn mark(&mut self, partition: i32, mark: PathMark) {
        self.paths.entry(partition).or_default().mark(mark);
    }

    /// Takes in that everything below `next_offset` of a partition has been read.
    pub fn read_to(&mut self, partition: i32, next_offset: i64) {
        self.paths.entry(partition).or_default().read_to(next_offset);
    }

    /// The metrics topic was made anew, or its reader started again: offsets mean something else from now on.
    pub fn reset_paths(&mut self) {
        self.paths.values_mut().for_each(PathClock::reset);
    }

    /// Takes in a look at the cluster.
    pub fn look(&mut self, facts: ClusterFacts) {
        for id in facts.brokers.keys() {
            self.memories.entry(*id).or_insert_with(|| Memory::new(facts.at));
        }
        if facts.names_fenced {
            // Missing from an answer that names fenced brokers: unregistered, a broker no more.
            self.memories.retain(|id, _| facts.brokers.contains_key(id));
            self.diagnoses.retain(|id, _| facts.brokers.contains_key(id));
        }
        if facts.controller.is_none() || facts.controller != self.controller {
            self.controller = facts.controller;
            self.controller_since = facts.at;
        }
        self.facts = Some(facts);
    }

    /// Takes in whether a silent broker could be reached directly; `None` forgets what was known.
    pub fn probed(&mut self, broker: BrokerId, outcome: Option<DirectProbe>) {
        match outcome {
            Some(outcome) => self.probes.insert(broker, outcome),
            None => self.probes.remove(&broker),
        };
    }

    /// Takes in a report that was read at `now` from `offset` of `partition`.
    pub fn report(&mut self, partition: i32, offset: i64, report: BrokerReport, now: Moment) -> Intake {
        let path = self.paths.entry(partition).or_default();
        path.read_to(offset.saturating_add(1));
        let appended = path.appended(offset, now);
        let Some(memory) = self.memories.get_mut(&report.broker_id) else { return Intake::UnknownBroker };
        if !memory.is_new(&report) {
            return Intake::Repeated;
        }
        memory.observe(report, appended, now, &self.detection);
        Intake::Used
    }

    /// The newest report of a broker.
    pub fn newest_report(&self, broker: BrokerId) -> Option<&BrokerReport> {
        self.memories.get(&broker)?.report.as_ref()
    }

    /// Brokers that have not been heard of for longer than `than`: those worth a direct probe.
    pub fn silent_for(&self, than: std::time::Duration, now: Moment) -> Vec<BrokerId> {
        let silent = |memory: &Memory| now.since(memory.heard.unwrap_or(memory.known_since)) > than;
        self.memories.iter().filter(|(_, memory)| silent(memory)).map(|(id, _)| *id).collect()
    }

    /// Every broker's diagnosis at `now`.
    pub fn diagnose(&mut self, now: Moment) -> &BTreeMap<BrokerId, Diagnosis> {
        if self.deaf && anyone_fresh(&self.memories, now) {
            // The first to be heard again gives the others the time to be heard as well.
            self.listening_since = now;
        }
        let listener = Listener {
            now,
            heartbeat_timeout: self.detection.heartbeat_timeout,
            listening_since: self.listening_since,
            facts: self.facts.as_ref(),
            controller_since: self.controller_since,
            paths: &self.paths,
            probes: &self.probes,
        };
        let silences = listener.judge(&self.memories);
        let mut findings = Vec::with_capacity(silences.len());
        for (id, memory) in &self.memories {
            let before = self.diagnoses.get(id);
            let silence = silences.get(id).copied().unwrap_or(Silence::Undecided);
            let registration = listener.registration(*id);
            if let Some(finding) = self.judge(*id, memory, before, silence, registration) {
                findings.push((*id, finding));
            } else if before.is_none() {
                let finding = Finding::new(
                    BrokerState::Unknown,
                    Reason::NotSeenYet,
                    "no report has been seen since this doctor started to listen",
                );
                findings.push((*id, finding));
            }
        }
        for (id, finding) in findings {
            self.settle(id, finding, now);
        }
        self.deaf = silences.values().any(|s| matches!(s, Silence::AllSilent | Silence::KafkaUnreachable));
        &self.diagnoses
    }

    fn judge(
        &self,
        id: BrokerId,
        memory: &Memory,
        before: Option<&Diagnosis>,
        silence: Silence,
        registration: Option<Registration>,
    ) -> Option<Finding> {
        if self.detection.maintenance.contains(&id) {
            return Some(Finding::new(
                BrokerState::Maintenance,
                Reason::InMaintenance,
                "named in spec.maintenance.brokers: watched, never treated, no alerts",
            ));
        }
        let state = before.map_or(BrokerState::Unknown, |before| before.state);
        match silence {
            Silence::Heard => condition::judge(memory, state, registration, &self.detection),
            Silence::Undecided => None,
            Silence::Lost(because) => Some(self.lost(memory, before, because, registration)),
            // A broker that was known to be down before the doctor lost its hearing is still down.
            _ if state == BrokerState::Unhealthy => None,
            Silence::AllSilent => Some(Finding::new(
                BrokerState::Unknown,
                Reason::AllSilent,
                "every broker fell silent: the collectors, the metrics topic or the doctor's own connection is at fault",
            )),
            Silence::PathUnavailable => Some(Finding::new(
                BrokerState::Unknown,
                Reason::PathUnavailable,
                "the partition its reports come by has no leader the doctor can reach; the controller counts the broker in",
            )),
            Silence::KafkaUnreachable => {
                Some(Finding::new(BrokerState::Unknown, Reason::KafkaUnreachable, "Kafka cannot be reached"))
            }
        }
    }

    fn lost(
        &self,
        memory: &Memory,
        before: Option<&Diagnosis>,
        because: LostBecause,
        registration: Option<Registration>,
    ) -> Finding {
        if let Some(before) = before.filter(|before| before.state == BrokerState::Unhealthy) {
            // What it was found to be while it could be seen says more than that it is silent now.
            let mut finding = Finding::new(before.state, before.reason, before.message.clone());
            finding.evidence = before.evidence.clone();
            return finding;
        }
        let timeout = self.detection.heartbeat_timeout;
        let known = match (because, registration) {
            (LostBecause::Unreachable, _) => "; its listener refuses connections",
            (_, Some(Registration::Fenced)) => "; fenced by the controller",
            (_, Some(Registration::Active)) => {
                "; the controller still counts it in, so its collector may be at fault"
            }
            (_, None) => "",
        };
        let goodbye = memory.report.as_ref().is_some_and(|report| report.goodbye.is_some());
        let said = if goodbye { "; the collector had said goodbye" } else { "" };
        let finding = Finding::new(
            BrokerState::Unhealthy,
            Reason::HeartbeatLost,
            format!("no heartbeat for more than {timeout:?}{known}{said}"),
        )
        .with("heartbeatTimeoutMs", u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX))
        .with("goodbye", goodbye);
        match registration {
            Some(registration) => finding.with("fenced", registration == Registration::Fenced),
            None => finding,
        }
    }

    /// Makes a finding the diagnosis. What has not changed keeps its time, its sentence and its evidence.
    fn settle(&mut self, id: BrokerId, finding: Finding, now: Moment) {
        let before = self.diagnoses.get(&id);
        let same_state = before.is_some_and(|before| before.state == finding.state);
        if same_state && before.is_some_and(|before| before.reason == finding.reason) {
            return;
        }
        let message = match before {
            Some(before) if finding.state == BrokerState::Healthy => self.recovery(id, before, now),
            _ => None,
        };
        let since = before.filter(|_| same_state).map_or(now, |before| before.since);
        let diagnosis = Diagnosis {
            state: finding.state,
            reason: finding.reason,
            since,
            message: message.unwrap_or(finding.message),
            evidence: finding.evidence,
            resource: finding.resource,
        };
        self.diagnoses.insert(id, diagnosis);
    }

    /// How a broker got well, for people.
    fn recovery(&self, id: BrokerId, before: &Diagnosis, now: Moment) -> Option<String> {
        let after = now.since(before.since).as_secs();
        match before.state {
            BrokerState::Overloaded => {
                let resource = before.resource?;
                let percent = resource.percent(self.newest_report(id)?)?;
                let limit = resource.threshold(&self.detection).recovered_below;
                Some(format!(
                    "{} {} < {limit:.0}%, after {after} s",
                    resource.title(),
                    percent_beside(percent, limit)
                ))
            }
            BrokerState::Unhealthy | BrokerState::Recovering => {
                Some("the broker is back in service".to_owned())
            }
            _ => None,
        }
    }
}
