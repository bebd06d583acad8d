//! The whole diagnosis of one cluster.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use doctorkafka_wire::{BrokerId, BrokerReport, Evidence};

use crate::{
    BrokerState, ClusterFacts, Detection, DirectProbe, Identity, Moment, PathMark, Platform, PlatformFacts,
    Reason, Registration, Resource,
    condition::{self, Finding, percent_beside},
    controller::ControllerWatch,
    memory::Memory,
    path::PathClock,
    silence::{Listener, Silence},
    unheard::Unheard,
};

/// A state stands for at least this long, however fast the news.
const STANDS_FOR: Duration = Duration::from_secs(1);

/// When the last diagnosis is longer ago, the doctor itself was suspended, and no silence in that time counts.
const SUSPENDED_AFTER: Duration = Duration::from_secs(5);

/// What became of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Intake {
    /// It was new and is taken into account.
    Used,
    /// It was seen before, is older than what was seen, or comes from a second sidecar of the same broker.
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

impl Diagnosis {
    fn new(finding: Finding, since: Moment) -> Self {
        let Finding { state, reason, message, evidence, resource } = finding;
        Self { state, reason, since, message, evidence, resource }
    }
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
    /// What each broker is held to be by its reports and by Kafka.
    held: BTreeMap<BrokerId, Diagnosis>,
    /// The same with what the platform says of causes. Nothing is concluded from these.
    diagnoses: BTreeMap<BrokerId, Diagnosis>,
    platform: Platform,
    paths: BTreeMap<i32, PathClock>,
    facts: Option<ClusterFacts>,
    controller: ControllerWatch,
    probes: BTreeMap<BrokerId, DirectProbe>,
    /// When the last diagnosis was made.
    diagnosed: Moment,
    /// Whether Kafka could not be reached then.
    unreachable: bool,
}

impl Diagnostician {
    /// Begins to listen at `now`. Nothing is known, so every broker is `Unknown` until seen or a timeout has passed.
    pub fn new(detection: Detection, now: Moment) -> Self {
        Self {
            detection,
            listening_since: now,
            memories: BTreeMap::new(),
            held: BTreeMap::new(),
            diagnoses: BTreeMap::new(),
            platform: Platform::default(),
            paths: BTreeMap::new(),
            facts: None,
            controller: ControllerWatch::default(),
            probes: BTreeMap::new(),
            diagnosed: now,
            unreachable: false,
        }
    }

    /// Takes other thresholds into use.
    pub fn set_detection(&mut self, detection: Detection) {
        self.memories.values_mut().for_each(|memory| memory.set_detection(&self.detection, &detection));
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
            self.held.retain(|id, _| facts.brokers.contains_key(id));
            self.probes.retain(|id, _| facts.brokers.contains_key(id));
        }
        self.controller.look(&facts);
        self.facts = Some(facts);
    }

    /// Takes in whether a silent broker could be reached directly; `None` forgets what was known. A report of the broker
    /// makes it forgotten, too.
    pub fn probed(&mut self, broker: BrokerId, outcome: Option<DirectProbe>) {
        match outcome {
            Some(outcome) => self.probes.insert(broker, outcome),
            None => self.probes.remove(&broker),
        };
    }

    /// Takes in what the platform tells. `advertised` gives the host that Kafka names for a broker.
    pub fn look_at_platform<'a>(
        &mut self,
        facts: Arc<PlatformFacts>,
        advertised: impl Fn(BrokerId) -> Option<&'a str>,
        now: Moment,
    ) {
        let identity = |(id, memory): (&BrokerId, &'_ Memory)| {
            let hostname = memory.report.as_ref().map(|report| report.host.clone());
            (*id, advertised(*id), hostname.filter(|name| !name.is_empty()))
        };
        let known: Vec<_> = self.memories.iter().map(identity).collect();
        let brokers: Vec<_> = known
            .iter()
            .map(|(id, advertised, hostname)| Identity {
                id: *id,
                advertised: *advertised,
                hostname: hostname.as_deref(),
            })
            .collect();
        self.platform.look(facts, &brokers, now);
    }

    /// What the platform says of the brokers.
    pub fn platform(&self) -> &Platform {
        &self.platform
    }

    /// Takes in a report that was read at `now` from `offset` of `partition`.
    pub fn report(&mut self, partition: i32, offset: i64, report: BrokerReport, now: Moment) -> Intake {
        let path = self.paths.entry(partition).or_default();
        path.read_to(offset.saturating_add(1));
        let appended = path.appended(offset, now);
        let Some(memory) = self.memories.get_mut(&report.broker_id) else { return Intake::UnknownBroker };
        let broker = report.broker_id;
        if !memory.observe(report, appended, now, &self.detection) {
            return Intake::Repeated;
        }
        self.probes.remove(&broker);
        Intake::Used
    }

    /// The newest report of a broker.
    pub fn newest_report(&self, broker: BrokerId) -> Option<&BrokerReport> {
        self.memories.get(&broker)?.report.as_ref()
    }

    /// Brokers that have not been heard of for longer than `than`: those worth a direct probe.
    pub fn silent_for(&self, than: Duration, now: Moment) -> Vec<BrokerId> {
        let silent = |memory: &Memory| now.since(memory.heard.unwrap_or(memory.known_since)) > than;
        self.memories.iter().filter(|(_, memory)| silent(memory)).map(|(id, _)| *id).collect()
    }

    /// Every broker's diagnosis as of the last [`diagnose`](Self::diagnose), with the platform's cause where there is one.
    pub fn diagnoses(&self) -> &BTreeMap<BrokerId, Diagnosis> {
        &self.diagnoses
    }

    /// Every broker's diagnosis at `now`. To be called at least once a second: after a longer pause than five seconds the
    /// doctor takes itself to have been suspended, and waits a full timeout before it calls a broker lost.
    pub fn diagnose(&mut self, now: Moment) -> &BTreeMap<BrokerId, Diagnosis> {
        if self.hearing_returns(now) {
            self.listening_since = now;
        }
        let listener = self.listener(now);
        let silences = listener.judge(&self.memories);
        let mut findings = Vec::with_capacity(silences.len());
        for (id, memory) in &self.memories {
            let before = self.held.get(id);
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
        self.unreachable = silences.values().any(|silence| *silence == Silence::KafkaUnreachable);
        self.diagnosed = now;
        self.tell(now);
        &self.diagnoses
    }

    /// Lays what the platform says over the diagnoses, and copies only those that have changed.
    fn tell(&mut self, now: Moment) {
        self.diagnoses.retain(|id, _| self.held.contains_key(id));
        for (id, base) in &self.held {
            let explained = self.platform.explain(*id, base, now);
            let wanted = explained.as_ref().unwrap_or(base);
            if self.diagnoses.get(id) != Some(wanted) {
                self.diagnoses.insert(*id, wanted.clone());
            }
        }
    }

    fn listener(&self, now: Moment) -> Listener<'_> {
        Listener {
            now,
            heartbeat_timeout: self.detection.heartbeat_timeout,
            listening_since: self.listening_since,
            facts: self.facts.as_ref(),
            controller: &self.controller,
            paths: &self.paths,
            probes: &self.probes,
        }
    }

    /// Whether the doctor could not hear until now. Those that are not heard yet get the time to be heard as well.
    fn hearing_returns(&self, now: Moment) -> bool {
        let was_suspended = now.since(self.diagnosed) > SUSPENDED_AFTER;
        let reached_again = self.unreachable && self.listener(now).fresh_facts().is_some();
        let heard_again = self.held.iter().any(|(id, diagnosis)| {
            matches!(diagnosis.reason, Reason::AllSilent | Reason::KafkaUnreachable)
                && self.memories.get(id).is_some_and(|memory| memory.is_fresh(now))
        });
        was_suspended || reached_again || heard_again
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
        // What was held to be true until a person said to leave the broker alone was not followed since.
        let resumed = before.is_some_and(|before| before.state == BrokerState::Maintenance);
        let before = before.filter(|_| !resumed);
        let unknown = || {
            resumed.then(|| {
                let message = "maintenance has ended and the broker has not been judged since";
                Finding::new(BrokerState::Unknown, Reason::NotSeenYet, message)
            })
        };
        let state = before.map_or(BrokerState::Unknown, |before| before.state);
        let last = memory.report.as_ref();
        let unheard = Unheard { last, before, registration, probe: self.probes.get(&id).copied() };
        match silence {
            Silence::Heard => {
                let fenced = registration == Some(Registration::Fenced);
                let asked = self.facts.as_ref().filter(|_| fenced).map(|facts| facts.at);
                condition::judge(memory, before, asked, &self.detection).or_else(unknown)
            }
            Silence::Undecided => unknown(),
            Silence::Lost(because) => Some(unheard.lost(because, self.detection.heartbeat_timeout)),
            // A broker that was known to be down before the doctor lost its hearing is still down.
            _ if state == BrokerState::Unhealthy => None,
            Silence::AllSilent => Some(Finding::new(
                BrokerState::Unknown,
                Reason::AllSilent,
                "every broker fell silent: the collectors, the metrics topic or the doctor's own connection is at fault",
            )),
            Silence::PathUnavailable => {
                let quorum_has_leader = self.facts.as_ref().is_some_and(|facts| facts.controller.is_some());
                Some(unheard.path_unavailable(quorum_has_leader))
            }
            Silence::KafkaUnreachable => {
                Some(Finding::new(BrokerState::Unknown, Reason::KafkaUnreachable, "Kafka cannot be reached"))
            }
        }
    }

    /// Makes a finding the diagnosis. What has not changed keeps its time, its sentence and its evidence; of a broker that
    /// is down, new facts are told as they come.
    fn settle(&mut self, id: BrokerId, finding: Finding, now: Moment) {
        let message = match self.held.get_mut(&id) {
            Some(before) if before.state == finding.state => {
                let news = before.state == BrokerState::Unhealthy && before.message != finding.message;
                if news || before.reason != finding.reason {
                    *before = Diagnosis::new(finding, before.since);
                }
                return;
            }
            Some(before) if !may_follow(before, finding.state, now) => return,
            Some(before) if finding.reason == Reason::WithinLimits => {
                let before = before.clone();
                self.recovery(id, &before, now)
            }
            _ => None,
        };
        let mut diagnosis = Diagnosis::new(finding, now);
        if let Some(message) = message {
            diagnosis.message = message;
        }
        self.held.insert(id, diagnosis);
    }

    /// How a broker got well, for people.
    fn recovery(&self, id: BrokerId, before: &Diagnosis, now: Moment) -> Option<String> {
        let after = now.since(before.since).as_secs();
        match before.state {
            BrokerState::Overloaded => {
                let resource = before.resource?;
                let percent = resource.percent(self.newest_report(id)?)?;
                let limit = resource.threshold(&self.detection).recovered_below;
                // An overload that ended by another limit in the policy has no such figure.
                (percent < limit).then(|| {
                    let percent = percent_beside(percent, limit);
                    format!("{} {percent} < {limit:.0}%, after {after} s", resource.title())
                })
            }
            BrokerState::Unhealthy | BrokerState::Recovering => {
                Some("the broker is back in service".to_owned())
            }
            _ => None,
        }
    }
}

/// Whether a broker's state may already give way to another. A person's word takes effect at once, and what was never
/// judged has no state to keep.
fn may_follow(before: &Diagnosis, state: BrokerState, now: Moment) -> bool {
    let stood = now.since(before.since) >= STANDS_FOR;
    let by_a_person = before.state == BrokerState::Maintenance || state == BrokerState::Maintenance;
    stood || by_a_person || before.reason == Reason::NotSeenYet
}
