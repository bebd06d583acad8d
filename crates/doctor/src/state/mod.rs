//! What the engine knows and concludes. No I/O and no clock: it is told what was seen, and says what is to be written and
//! shown.
//!
//! `intake` takes in what was seen, `leadership` knows whether this doctor may write, `treatment` considers what would
//! help, `needs`, `plan`, `planning` and `propose` what that is, `votes` what people say to it, `carry_out` which treatment is due, and `show` puts the report
//! together.

mod carry_out;
mod healing;
mod intake;
mod leadership;
mod needs;
mod pace;
mod plan;
mod planning;
mod platform;
mod propose;
mod show;
mod treatment;
mod votes;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use doctorkafka_diagnosis::{BrokerState, Diagnostician, Moment, Reason, Resource};
use doctorkafka_kafka::BrokerInfo;
use doctorkafka_planner::Refused;
use doctorkafka_wire::{ActionKind, ActionRecord, BrokerId, PartitionChange, Severity};
use jiff::Timestamp;

use crate::{
    Policy,
    alerts::{Alerts, Draft},
    decisions::Intake,
    execute::{OpenTreatment, Recovery},
    load::LoadModel,
    loans::Loans,
    proposals::Decisions,
    remedy::offers::{Key, Offer, Proposals},
    report::{Advice, Counters, KafkaView, Refusal, Role, TreatmentView},
    witness::{Told, Witness},
};
use intake::SeenTopics;
use planning::Asked;
use propose::Withdrawn;

/// State and reason of a broker at the last step, and since when, by the wall clock, it has been in this state.
type Standing = (BrokerState, Reason, Timestamp);

/// Everything that one engine knows of its cluster.
pub(crate) struct EngineState {
    policy: Arc<Policy>,
    diagnostician: Diagnostician,
    kafka: KafkaView,
    /// Why the doctor's own topics are not there.
    topics_error: Option<String>,
    /// Why the actions log cannot be opened or written by this doctor, which leads.
    log_error: Option<String>,
    /// When Kafka last answered.
    kafka_seen: Option<Moment>,
    /// Since when another cluster answers in the place of the one that is watched.
    other_cluster: Option<Moment>,
    brokers: BTreeMap<BrokerId, BrokerInfo>,
    topics: Option<SeenTopics>,
    /// When a doctor was last at work on them, as far as known.
    changed_until: Moment,
    /// The loads of all partitions.
    loads: LoadModel,
    /// Whether a plan is wanted that needs them.
    wants_loads: bool,
    role: Role,
    /// Another doctor has taken the log over, and there was no new election since.
    fenced: bool,
    /// The alerts that stand open; while leading, including what is about to be written.
    alerts: Alerts,
    /// Treatments, by what is in the log.
    recovery: Recovery,
    loans: Loans,
    /// What stands proposed, by what is in the log, and is not yet proposed by this doctor.
    proposals: Proposals,
    /// What this doctor proposes.
    offers: BTreeMap<Key, Offer>,
    /// What people have decided about proposals, where the adapter takes decisions.
    decisions: Arc<Decisions>,
    /// What they have decided by records in the log.
    votes: Intake,
    /// Proposals whose end the log lacks.
    withdrawn: Vec<Withdrawn>,
    /// Needs that could not be planned for, when that was tried, and why.
    unplanned: BTreeMap<Key, (Moment, Refused)>,
    /// The plan that is being made, and how many have been asked for.
    planning: Option<Asked>,
    plans_asked: u64,
    /// Ended treatments that may have left a throttle, and the brokers that are known to have it still.
    unswept: Vec<(OpenTreatment, BTreeSet<BrokerId>)>,
    /// Brokers that are registered and not fenced.
    in_service: BTreeSet<BrokerId>,
    /// Since when brokers are gone.
    gone: BTreeMap<BrokerId, (Moment, Timestamp)>,
    /// The treatment that is being carried out.
    treatment: Option<TreatmentView>,
    /// No treatment is begun before this moment, because the last one was interrupted.
    hold_off: Option<Moment>,
    /// How fast the treatment under way may copy.
    pace: Option<pace::Pace>,
    /// How often in a row a treatment was refused or given up, and when it may be tried again.
    pauses: BTreeMap<Key, (u32, Moment)>,
    /// What the last treatment has changed. Until this moment, topics that are as before it are out of date.
    outdated: Option<(Moment, Vec<PartitionChange>)>,
    /// What the log said when this doctor took it over, which it does not yet say itself.
    taken_over: Option<Told>,
    /// What this doctor has seen, leader or not.
    witness: Witness,
    actions: VecDeque<ActionRecord>,
    /// The newest actions as they are shown; `None` when there are newer ones.
    shown_actions: Option<Arc<[ActionRecord]>>,
    standings: BTreeMap<BrokerId, Standing>,
    advice: Vec<Advice>,
    refusals: Vec<Refusal>,
    /// When treatment was last considered; `None` when it has to be considered anew.
    advised: Option<Moment>,
    counters: Counters,
    /// Something is known that was not published.
    changed: bool,
    published: Option<Moment>,
}

impl EngineState {
    /// Knows nothing yet.
    pub fn new(policy: Arc<Policy>, now: Moment) -> Self {
        Self {
            diagnostician: Diagnostician::new(policy.detection.clone(), now),
            policy,
            kafka: KafkaView::default(),
            topics_error: None,
            log_error: None,
            kafka_seen: None,
            other_cluster: None,
            brokers: BTreeMap::new(),
            topics: None,
            changed_until: Moment::default(),
            loads: LoadModel::default(),
            wants_loads: false,
            role: Role::Standby,
            fenced: false,
            alerts: Alerts::default(),
            recovery: Recovery::default(),
            loans: Loans::default(),
            proposals: Proposals::default(),
            offers: BTreeMap::new(),
            decisions: Arc::default(),
            votes: Intake::default(),
            withdrawn: Vec::new(),
            unplanned: BTreeMap::new(),
            planning: None,
            plans_asked: 0,
            unswept: Vec::new(),
            in_service: BTreeSet::new(),
            gone: BTreeMap::new(),
            treatment: None,
            hold_off: None,
            pace: None,
            pauses: BTreeMap::new(),
            outdated: None,
            taken_over: None,
            witness: Witness::default(),
            actions: VecDeque::new(),
            shown_actions: None,
            standings: BTreeMap::new(),
            advice: Vec::new(),
            refusals: Vec::new(),
            advised: None,
            counters: Counters::default(),
            changed: true,
            published: None,
        }
    }

    /// The policy in force.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Puts an edited policy in force.
    pub fn set_policy(&mut self, policy: Arc<Policy>) {
        self.diagnostician.set_detection(policy.detection.clone());
        self.policy = policy;
        self.advised = None;
        self.changed = true;
    }

    /// Diagnoses and considers treatment. Gives the records that the log lacks, at most `room`: what does not fit is
    /// found lacking again by the next step.
    pub fn step(&mut self, now: Moment, wall: Timestamp, room: usize) -> Vec<ActionRecord> {
        self.diagnostician.diagnose(now);
        let moved = self.notice_changes(wall);
        self.notice_gone(now, wall);
        let mut drafts = Vec::new();
        if let (Role::Leading { epoch }, true) = (&self.role, room > 0) {
            if let Some(told) = self.taken_over.take() {
                let message = format!("this doctor leads, epoch {epoch}");
                drafts.push(Draft::new(ActionKind::LeaderStarted, Severity::Info, None, message));
                let diagnoses = self.diagnostician.diagnoses();
                let neither = |id| {
                    diagnoses.get(&id).is_some_and(|diagnosis| {
                        use BrokerState::{Maintenance, Recovering, Unknown};
                        matches!(diagnosis.state, Recovering | Maintenance | Unknown)
                    })
                };
                let lacking =
                    self.witness.lacking(&told, wall, neither).into_iter().take(room - drafts.len());
                drafts.extend(lacking.filter_map(|seen| self.alerts.tell_late(seen)));
            }
            let left = room - drafts.len();
            let still_above = |broker, reason: &str| {
                let resource =
                    Resource::ALL.into_iter().find(|resource| resource.reason().as_str() == reason);
                let percent =
                    |resource: Resource| resource.percent(self.diagnostician.newest_report(broker)?);
                resource.and_then(|resource| Some((resource, percent(resource)?))).is_some_and(
                    |(resource, percent)| {
                        percent >= resource.threshold(&self.policy.detection).recovered_below
                    },
                )
            };
            drafts.extend(self.alerts.reconcile(self.diagnostician.diagnoses(), wall, left, still_above));
        }
        let left = room - drafts.len();
        drafts.extend(self.consider_treatment(now, wall, moved, left));
        drafts.extend(self.answer_votes(wall, room - drafts.len()));
        drafts.into_iter().map(|draft| self.sign(draft, wall)).collect()
    }

    /// Remembers when each broker got into its state; true when anything changed.
    fn notice_changes(&mut self, wall: Timestamp) -> bool {
        let diagnoses = self.diagnostician.diagnoses();
        let known = self.standings.len();
        self.standings.retain(|id, _| diagnoses.contains_key(id));
        let mut changed = self.standings.len() != known;
        for (id, diagnosis) in diagnoses {
            let before = self.standings.get(id);
            if before
                .is_some_and(|(state, reason, _)| (*state, *reason) == (diagnosis.state, diagnosis.reason))
            {
                continue;
            }
            let same_state = before.filter(|(state, ..)| *state == diagnosis.state);
            let since = same_state.map_or(wall, |(.., since)| *since);
            if before.is_some() && same_state.is_none() {
                tracing::info!(
                    policy = self.policy.name,
                    broker = id.0,
                    state = diagnosis.state.as_str(),
                    reason = diagnosis.reason.as_str(),
                    "{}",
                    diagnosis.message
                );
            }
            if same_state.is_none() {
                self.witness.see(*id, diagnosis, wall);
            }
            self.standings.insert(*id, (diagnosis.state, diagnosis.reason, since));
            changed = true;
        }
        self.changed |= changed;
        changed
    }

    /// Makes a draft a record of this doctor.
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
            digest: draft.digest,
            step: None,
            treatment: draft.treatment,
            evidence: draft.evidence,
        }
    }
}
