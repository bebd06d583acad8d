//! What the engine knows and concludes. No I/O: it is told what was seen, and says what is to be written.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use doctorkafka_api::EffectiveMode;
use doctorkafka_diagnosis::{
    BrokerFacts, BrokerState, ClusterFacts, Diagnostician, Intake, Moment, Reason, Registration,
};
use doctorkafka_kafka::{
    BrokerInfo, ClusterDescription, LogEvent, MetricsEvent, QuorumLeader, TopicInfo, partition_for,
};
use doctorkafka_wire::{ActionKind, ActionRecord, BrokerId, Severity};
use jiff::Timestamp;

use crate::{
    DoctorReport, Policy,
    advice::advise,
    alerts::{Alerts, Draft},
    observe::Sight,
    report::{Advice, BrokerView, Counters, KafkaView, Refusal, Role, SkipReason},
    term::TermEvent,
    view::{Tally, figures, summary},
};

/// Figures are published at most this often; what changes a state is published at once.
const FIGURES_EVERY: Duration = Duration::from_millis(500);

/// Treatment is considered again this often while a broker is overloaded.
const ADVISE_EVERY: Duration = Duration::from_secs(2);

/// One failed look is no outage.
const UNREACHABLE_AFTER: Duration = Duration::from_secs(3);

/// A broker that has been silent for so long is worth a direct probe.
const PROBE_AFTER: Duration = Duration::from_secs(3);

/// What was last said of a broker.
type Said = (BrokerState, Reason, Timestamp);

pub(crate) struct Core {
    policy: Arc<Policy>,
    diagnostician: Diagnostician,
    kafka: KafkaView,
    kafka_seen: Option<Moment>,
    brokers: BTreeMap<BrokerId, BrokerInfo>,
    topics: Vec<TopicInfo>,
    tally: Tally,
    role: Role,
    /// The alerts that stand open; while leading, including what is about to be written.
    alerts: Alerts,
    /// The log does not yet say that this doctor leads.
    to_announce: bool,
    actions: VecDeque<ActionRecord>,
    said: BTreeMap<BrokerId, Said>,
    advice: Vec<Advice>,
    refusals: Vec<Refusal>,
    advised: Option<Moment>,
    counters: Counters,
    changed: bool,
    published: Option<Moment>,
}

impl Core {
    pub fn new(policy: Arc<Policy>, now: Moment) -> Self {
        Self {
            diagnostician: Diagnostician::new(policy.detection.clone(), now),
            policy,
            kafka: KafkaView::default(),
            kafka_seen: None,
            brokers: BTreeMap::new(),
            topics: Vec::new(),
            tally: Tally::default(),
            role: Role::Standby,
            alerts: Alerts::default(),
            to_announce: false,
            actions: VecDeque::new(),
            said: BTreeMap::new(),
            advice: Vec::new(),
            refusals: Vec::new(),
            advised: None,
            counters: Counters::default(),
            changed: true,
            published: None,
        }
    }

    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    pub fn set_policy(&mut self, policy: Arc<Policy>) {
        self.diagnostician.set_detection(policy.detection.clone());
        self.policy = policy;
        self.advised = None;
        self.changed = true;
    }

    pub fn cluster_id(&self) -> Option<String> {
        self.kafka.cluster_id.clone()
    }

    // === what was seen ===

    pub fn see(&mut self, sight: Sight, now: Moment) {
        match sight {
            Sight::Cluster { at, description: Ok(description), controller } => {
                self.see_cluster(at, description, controller, now);
            }
            Sight::Cluster { description: Err(error), .. } => self.see_no_cluster(error, now),
            Sight::TopicsReady => {}
            Sight::Topics(topics) => {
                self.tally = Tally::of(&topics);
                self.kafka.under_replicated = Some(self.tally.under_replicated);
                self.topics = topics;
                self.advised = None;
            }
            Sight::Mark { partition, mark } => self.diagnostician.mark(partition, mark),
            Sight::Probed { broker, outcome } => self.diagnostician.probed(broker, Some(outcome)),
        }
    }

    fn see_cluster(
        &mut self,
        at: Moment,
        description: ClusterDescription,
        controller: Option<QuorumLeader>,
        now: Moment,
    ) {
        let partitions = self.topics.iter().find(|topic| topic.name == self.policy.topics.metrics);
        let partitions = partitions.and_then(|topic| i32::try_from(topic.partitions.len()).ok()).unwrap_or(3);
        let facts_of = |id: BrokerId, fenced: bool| {
            let registration = if fenced { Registration::Fenced } else { Registration::Active };
            (id, BrokerFacts { registration, home: partition_for(id, partitions) })
        };
        // Where fenced brokers are not named, those that hold replicas are known all the same.
        let holders = self.tally.replicas.keys().filter(|_| !description.shows_fenced);
        let brokers: BTreeMap<_, _> = holders
            .map(|id| facts_of(*id, true))
            .chain(description.brokers.iter().map(|broker| facts_of(broker.id, broker.fenced)))
            .collect();
        self.diagnostician.look(ClusterFacts {
            at,
            brokers,
            names_fenced: description.shows_fenced,
            controller: controller.map(|leader| (leader.id, leader.epoch)),
        });

        let view = KafkaView {
            reachable: Some(true),
            error: None,
            cluster_id: Some(description.cluster_id),
            controller_id: controller.map(|leader| leader.id),
            under_replicated: self.kafka.under_replicated,
        };
        self.changed |= view != self.kafka;
        self.kafka = view;
        self.kafka_seen = Some(now);
        if description.shows_fenced {
            self.brokers.clear();
        }
        self.brokers.extend(description.brokers.into_iter().map(|broker| (broker.id, broker)));
    }

    fn see_no_cluster(&mut self, error: String, now: Moment) {
        if self.kafka_seen.is_some_and(|seen| now.since(seen) < UNREACHABLE_AFTER) {
            return;
        }
        let error = Some(error);
        if self.kafka.reachable != Some(false) {
            tracing::warn!(
                policy = self.policy.name,
                error,
                "Kafka cannot be reached, trying again every second"
            );
            self.changed = true;
        }
        self.kafka.reachable = Some(false);
        self.kafka.error = error;
    }

    pub fn metrics(&mut self, event: MetricsEvent, now: Moment) {
        match event {
            MetricsEvent::Record { partition, offset, report, .. } => {
                let of_other_cluster = match (&report.cluster_id, &self.kafka.cluster_id) {
                    (Some(theirs), Some(ours)) => theirs != ours,
                    _ => false,
                };
                if of_other_cluster {
                    self.diagnostician.read_to(partition, offset.saturating_add(1));
                    return self.skip(SkipReason::Forged);
                }
                match self.diagnostician.report(partition, offset, *report, now) {
                    Intake::Used => self.counters.reports += 1,
                    Intake::Repeated => self.skip(SkipReason::Repeated),
                    Intake::UnknownBroker => self.skip(SkipReason::UnknownBroker),
                }
            }
            MetricsEvent::Skipped { partition, offset, reason } => {
                tracing::debug!(policy = self.policy.name, partition, offset, %reason, "record passed over");
                self.diagnostician.read_to(partition, offset.saturating_add(1));
                self.skip((&reason).into());
            }
            MetricsEvent::Position { partition, next_offset } => {
                self.diagnostician.read_to(partition, next_offset);
            }
            MetricsEvent::Assigned { restarted, .. } => {
                if restarted {
                    self.diagnostician.reset_paths();
                }
            }
            MetricsEvent::Lost { error } => {
                tracing::warn!(
                    policy = self.policy.name,
                    error,
                    "cannot read the metrics topic, trying again"
                );
            }
        }
    }

    fn skip(&mut self, reason: SkipReason) {
        *self.counters.skipped.entry(reason).or_default() += 1;
    }

    pub fn log(&mut self, event: LogEvent) {
        match event {
            LogEvent::Record { record, .. } => {
                if self.actions.len() == DoctorReport::RECENT_ACTIONS {
                    self.actions.pop_front();
                }
                if !self.leads() {
                    self.alerts.apply(&record);
                }
                self.actions.push_back(*record);
                self.changed = true;
            }
            LogEvent::Restarted => {
                self.actions.clear();
                self.changed = true;
            }
            LogEvent::Skipped { .. } | LogEvent::CaughtUp => {}
            LogEvent::Lost { error } => {
                tracing::warn!(policy = self.policy.name, error, "cannot read the actions log, trying again");
            }
        }
    }

    // === leadership ===

    pub fn begin_term(&mut self) {
        self.set_role(Role::TakingOver);
    }

    pub fn end_term(&mut self) {
        if self.role != Role::Standby && !matches!(self.role, Role::Conflict { .. }) {
            self.set_role(Role::Standby);
        }
    }

    pub fn set_conflict(&mut self, conflict: Option<String>) {
        match (conflict, &self.role) {
            (Some(message), role) => {
                let role_now = Role::Conflict { message };
                if *role != role_now {
                    self.set_role(role_now);
                }
            }
            (None, Role::Conflict { .. }) => self.set_role(Role::Standby),
            (None, _) => {}
        }
    }

    pub fn is_fenced(&self) -> bool {
        self.role == Role::Fenced
    }

    pub fn hear_term(&mut self, event: TermEvent) {
        match event {
            TermEvent::Opened(alerts) => {
                let epoch = alerts.epoch + 1;
                self.alerts = alerts;
                self.alerts.epoch = epoch;
                self.to_announce = true;
                self.set_role(Role::Leading { epoch });
            }
            TermEvent::Committed(kinds) => {
                for kind in kinds {
                    *self.counters.actions.entry(kind).or_default() += 1;
                }
            }
            TermEvent::Fenced => self.set_role(Role::Fenced),
            TermEvent::Broken => self.end_term(),
        }
    }

    fn leads(&self) -> bool {
        matches!(self.role, Role::Leading { .. })
    }

    fn set_role(&mut self, role: Role) {
        self.role = role;
        self.advised = None;
        self.changed = true;
    }

    // === conclusions ===

    /// Diagnoses and considers treatment. Gives the records that the log lacks.
    pub fn step(&mut self, now: Moment, wall: Timestamp) -> Vec<ActionRecord> {
        self.diagnostician.diagnose(now);
        let moved = self.notice_changes(wall);
        let mut drafts = Vec::new();
        if let Role::Leading { epoch } = self.role {
            if std::mem::take(&mut self.to_announce) {
                let message = format!("this doctor leads, epoch {epoch}");
                drafts.push(Draft::new(ActionKind::LeaderStarted, Severity::Info, None, message));
            }
            drafts.extend(self.alerts.reconcile(self.diagnostician.diagnoses(), wall));
        }
        if moved || self.advised.is_none_or(|advised| now.since(advised) >= ADVISE_EVERY) {
            self.advised = Some(now);
            drafts.extend(self.advise());
        }
        drafts.into_iter().map(|draft| self.sign(draft, wall)).collect()
    }

    /// Remembers when each broker got into its state; true when anything changed.
    fn notice_changes(&mut self, wall: Timestamp) -> bool {
        let diagnoses = self.diagnostician.diagnoses();
        let mut changed = self.said.len() != diagnoses.len();
        self.said.retain(|id, _| diagnoses.contains_key(id));
        for (id, diagnosis) in diagnoses {
            let before = self.said.get(id);
            if before
                .is_some_and(|(state, reason, _)| (*state, *reason) == (diagnosis.state, diagnosis.reason))
            {
                continue;
            }
            let same_state = before.filter(|(state, ..)| *state == diagnosis.state);
            let since = same_state.map_or(wall, |(.., since)| *since);
            if before.is_some_and(|(state, ..)| *state != diagnosis.state) {
                tracing::info!(
                    policy = self.policy.name,
                    broker = id.0,
                    state = diagnosis.state.as_str(),
                    reason = diagnosis.reason.as_str(),
                    "{}",
                    diagnosis.message
                );
            }
            self.said.insert(*id, (diagnosis.state, diagnosis.reason, since));
            changed = true;
        }
        self.changed |= changed;
        changed
    }

    fn advise(&mut self) -> Vec<Draft> {
        let before = (std::mem::take(&mut self.advice), std::mem::take(&mut self.refusals));
        if matches!(self.policy.leadership, EffectiveMode::Observe | EffectiveMode::Paused) {
            self.changed |= !(before.0.is_empty() && before.1.is_empty());
            return Vec::new();
        }
        let diagnostician = &self.diagnostician;
        let cpu = |id| Some(diagnostician.newest_report(id)?.cpu.as_ref()?.percent);
        let advised = advise(&self.policy, diagnostician.diagnoses(), cpu, &self.topics);
        let leads = self.leads();
        let mut drafts = Vec::new();
        for (broker, advice) in advised {
            match advice {
                Ok(plan) => {
                    drafts.extend(leads.then(|| self.alerts.propose(&plan)).flatten());
                    self.advice.push(Advice { broker, message: plan.sentence(), moves: plan.moves });
                }
                Err(refused) => {
                    drafts.extend(leads.then(|| self.alerts.refuse(broker, &refused)).flatten());
                    let rule = refused.rule.as_str();
                    self.refusals.push(Refusal { broker: Some(broker), rule, message: refused.message });
                }
            }
        }
        self.changed |= before.0 != self.advice || before.1 != self.refusals;
        drafts
    }

    fn sign(&self, draft: Draft, time: Timestamp) -> ActionRecord {
        ActionRecord {
            version: ActionRecord::VERSION,
            id: ActionRecord::new_id(),
            time,
            policy: self.policy.name.clone(),
            cluster: self.kafka.cluster_id.clone().unwrap_or_default(),
            epoch: self.alerts.epoch,
            kind: draft.kind,
            severity: draft.severity,
            broker: draft.broker,
            message: draft.message,
            outcome: draft.outcome,
            leadership: draft.leadership,
            digest: None,
            step: None,
            evidence: draft.evidence,
        }
    }

    // === what is told ===

    pub fn count_written(&mut self, written: bool) {
        if !written {
            self.counters.outbox_dropped += 1;
            tracing::warn!(
                policy = self.policy.name,
                "the outbox is full: a record of the actions log is lost"
            );
        }
    }

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

    pub fn report(&self, at: Timestamp) -> DoctorReport {
        let diagnoses = self.diagnostician.diagnoses();
        DoctorReport {
            at,
            policy: self.policy.name.clone(),
            role: self.role.clone(),
            kafka: self.kafka.clone(),
            summary: summary(diagnoses),
            brokers: diagnoses.keys().filter_map(|id| self.broker_view(*id, at)).collect(),
            advice: self.advice.clone(),
            refusals: self.refusals.clone(),
            actions: self.actions.iter().cloned().collect(),
            counters: self.counters.clone(),
        }
    }

    fn broker_view(&self, id: BrokerId, at: Timestamp) -> Option<BrokerView> {
        let diagnosis = self.diagnostician.diagnoses().get(&id)?;
        let info = self.brokers.get(&id);
        // An alert that an earlier leader raised tells better since when the state holds.
        let alerted =
            self.alerts.of(id).filter(|alert| alert.is_of(diagnosis.state)).map(|alert| alert.since);
        let since = self.said.get(&id).map_or(at, |(.., since)| *since);
        Some(BrokerView {
            id,
            host: info.map(|info| info.host.clone()).unwrap_or_default(),
            rack: info.and_then(|info| info.rack.clone()),
            state: diagnosis.state,
            reason: diagnosis.reason,
            since: alerted.map_or(since, |alerted| alerted.min(since)),
            message: diagnosis.message.clone(),
            evidence: diagnosis.evidence.clone(),
            figures: figures(self.diagnostician.newest_report(id)),
            leaders: self.tally.leaders.get(&id).copied().or(self.kafka.under_replicated.map(|_| 0)),
            replicas: self.tally.replicas.get(&id).copied().or(self.kafka.under_replicated.map(|_| 0)),
        })
    }
}
