//! Which treatment is due, and what is known of the one under way.

use std::{collections::BTreeSet, time::Duration};

use doctorkafka_api::EffectiveMode;
use doctorkafka_diagnosis::{BrokerState, Moment};
use doctorkafka_planner::{Refused, Rule};
use doctorkafka_wire::{ActionRecord, BrokerId};
use jiff::Timestamp;

use super::EngineState;
use crate::{
    execute::{Author, Cancel, Control, Ended, Task, Treatment},
    proposals::Proposed,
    remedy::{
        Remedy,
        offers::{Key, REJECTED_BY},
    },
    report::{TreatmentEnd, TreatmentView},
    topics::TopicTable,
    wording::about,
};

/// Between a treatment that was interrupted, refused or given up and the next try.
const PAUSE: Duration = Duration::from_secs(10);

/// The longest pause, as a power of two of the shortest: some 43 minutes. Each refusal is a record.
const MOST_DOUBLINGS: u32 = 8;

/// So long after its pause a treatment that was refused is tried with nothing to hold against it.
const FORGOTTEN: Duration = Duration::from_secs(3600);

/// Brokers learn of changes one after the other, and any of them may be asked next: usually at once, and seconds later
/// where one has many replicas to delete first.
const SETTLE: Duration = Duration::from_millis(500);
const LAG: Duration = Duration::from_secs(30);

impl EngineState {
    /// What to carry out now, when nothing is under way: first a treatment that another doctor began, then what ended
    /// treatments have left, then what is proposed and needs no approval, or has it.
    pub fn due_treatment(&self, now: Moment, wall: Timestamp) -> Option<(Task, Author)> {
        if !self.leads() || self.hold_off.is_some_and(|until| now < until) {
            return None;
        }
        let author = Author {
            policy: self.policy.name.clone(),
            cluster: self.kafka.cluster_id.clone()?,
            epoch: self.alerts.epoch,
            approved_by: None,
        };
        if let Some(open) = self.recovery.open() {
            return Some((Task::Resume(open.clone()), author));
        }
        // What a broker keeps while it is down is taken off it when it is back.
        let mut unswept = self.unswept.iter();
        if let Some((ended, _)) = unswept.find(|(_, left)| left.is_subset(&self.in_service)) {
            return Some((Task::Sweep(ended.clone()), author));
        }
        self.sure_topics(now)?;
        let (proposed, by) = self
            .wanted()
            .find(|(key, ..)| {
                !self.is_paused(key, now)
                    && self.reason_to_wait(now, wall, *key).is_none()
                    && self.gives_way(key.0, now, wall).is_none()
            })
            .map(|(_, proposed, by)| (proposed, by))?;
        Some((Task::New(proposed.treatment.clone()), Author { approved_by: by, ..author }))
    }

    /// What is proposed and may be begun, the most urgent first, and who has approved it.
    fn wanted(&self) -> impl Iterator<Item = (Key, &Proposed, Option<String>)> {
        self.offers.iter().filter_map(|(key, offer)| {
            let proposed = offer.proposed.as_ref();
            match proposed.mode {
                EffectiveMode::Auto => Some((*key, proposed, None)),
                EffectiveMode::Approve => {
                    let decision = self.decision(proposed.treatment.digest())?;
                    decision.approved.then_some((*key, proposed, Some(decision.by)))
                }
                EffectiveMode::Observe | EffectiveMode::Recommend | EffectiveMode::Paused => None,
            }
        })
    }

    /// A task has begun.
    pub fn begun(&mut self, task: &Task) {
        let digest = task.treatment().digest();
        self.offers.retain(|_, offer| offer.proposed.treatment.digest() != digest);
        self.unswept.retain(|(ended, _)| ended.treatment().digest() != digest);
    }

    /// A task has ended; `None` when it failed in itself. Of a treatment that is over, what is left is remembered.
    pub fn ended(&mut self, task: &Task, how: Option<&Ended>, now: Moment, wall: Timestamp) {
        self.distrust_topics(now + SETTLE);
        let cause = task.treatment().cause();
        let key = Remedy::named(&cause.reason).zip(cause.broker);
        let wanted = self.control(task.treatment(), now, wall).cancel.is_none();
        match (how, key) {
            (Some(Ended::Done { .. }), _) => {
                self.outdated = Some((now + LAG, task.treatment().changes().to_vec()));
                self.pauses.retain(|paused, _| Some(*paused) != key);
            }
            // What people want stopped, or what gave way, has not failed.
            (Some(Ended::GivenUp { .. }), _) if !wanted => {}
            (Some(Ended::GivenUp { .. } | Ended::Refused(_)), Some(key)) => self.pause(key, now),
            (Some(Ended::Swept { .. } | Ended::Fenced), _) => {}
            _ => self.hold_off = Some(now + PAUSE),
        }
        let left = match how {
            Some(Ended::Done { owed } | Ended::GivenUp { owed, .. }) => owed.clone(),
            Some(Ended::Swept { left }) => left.clone(),
            _ => Vec::new(),
        };
        if !left.is_empty() || (task.is_sweep() && !matches!(how, Some(Ended::Swept { .. }))) {
            let digest = task.treatment().digest();
            let ended = self.recovery.ended().find(|ended| ended.treatment().digest() == digest);
            self.unswept.extend(ended.cloned().map(|ended| (ended, left.into_iter().collect())));
        }
        if !task.is_sweep() {
            let end = match how {
                Some(Ended::Done { .. } | Ended::Swept { .. }) => TreatmentEnd::Done,
                Some(Ended::GivenUp { .. }) => TreatmentEnd::GivenUp,
                Some(Ended::Refused(_)) => TreatmentEnd::NotBegun,
                Some(Ended::Interrupted(_) | Ended::Fenced) | None => TreatmentEnd::Interrupted,
            };
            *self.counters.treatments.entry(end).or_default() += 1;
        }
        self.changed = true;
    }

    /// Brokers that still have the throttle of a treatment that has ended.
    pub(super) fn throttles_left(&self) -> usize {
        self.unswept.iter().flat_map(|(_, left)| left).collect::<BTreeSet<_>>().len()
    }

    /// What people want of a running treatment.
    pub(super) fn control(&self, treatment: &Treatment, now: Moment, wall: Timestamp) -> Control {
        let limits = self.policy.limits;
        let cancel = |reason| Control {
            limits,
            cancel: Some(Cancel { restore: false, reason }),
            ..Control::default()
        };
        let cause = treatment.cause();
        let remedy = Remedy::named(&cause.reason);
        let mode = remedy.map_or(self.policy.leadership, |remedy| remedy.mode(&self.policy));
        if let Some(needless) = remedy.zip(cause.broker).and_then(|(remedy, id)| self.is_needless(remedy, id))
        {
            return cancel(needless);
        }
        if let Some(reason) = remedy.and_then(|remedy| self.gives_way(remedy, now, wall)) {
            return cancel(reason);
        }
        match mode {
            EffectiveMode::Paused => Control { limits, paused: true, ..Control::default() },
            EffectiveMode::Observe | EffectiveMode::Recommend => {
                cancel(format!("the policy's mode is {mode:?} now"))
            }
            EffectiveMode::Auto | EffectiveMode::Approve => {
                match self.decision(treatment.digest()).filter(|decision| !decision.approved) {
                    Some(decision) => cancel(format!("{REJECTED_BY}{}", decision.by)),
                    None => Control { limits, ..Control::default() },
                }
            }
        }
    }

    /// Why what is being done for a broker is not needed any more.
    fn is_needless(&self, remedy: Remedy, broker: BrokerId) -> Option<String> {
        match remedy {
            Remedy::BrokerFailure if self.in_service.contains(&broker) => {
                Some(format!("broker {broker} is back"))
            }
            Remedy::Drain if !self.policy.drain.contains(&broker) => {
                Some(format!("the policy does not ask for broker {broker} to be drained any more"))
            }
            Remedy::Demotion if !self.policy.demote.contains(&broker) => {
                Some(format!("the policy does not ask for broker {broker} to be demoted any more"))
            }
            _ => None,
        }
    }

    /// Shows what is under way.
    pub fn set_treatment(&mut self, treatment: Option<TreatmentView>) {
        self.changed |= self.treatment.as_ref().map(|t| (&t.digest, &t.hold, t.done))
            != treatment.as_ref().map(|t| (&t.digest, &t.hold, t.done));
        self.treatment = treatment;
    }

    /// What fails again and again is tried more and more seldom.
    fn pause(&mut self, key: Key, now: Moment) {
        self.pauses.retain(|_, (_, until)| now < *until + FORGOTTEN);
        let failures = self.pauses.get(&key).map_or(0, |(failures, _)| failures + 1).min(MOST_DOUBLINGS);
        self.pauses.insert(key, (failures, now + PAUSE * (1 << failures)));
    }

    pub(super) fn is_paused(&self, key: &Key, now: Moment) -> bool {
        self.pauses.get(key).is_some_and(|(_, until)| now < *until)
    }

    /// Whether these topics were told by a broker that has not yet heard of what a treatment has done.
    pub(super) fn are_outdated(&self, topics: &TopicTable, now: Moment) -> bool {
        let Some((_, changes)) = self.outdated.as_ref().filter(|(until, _)| now < *until) else {
            return false;
        };
        changes.iter().any(|change| {
            let partition = topics.partition(&change.topic, change.partition);
            partition.is_some_and(|partition| partition.replicas == change.from)
        })
    }

    /// Records of a treatment are in the log.
    pub(super) fn stepped(&mut self, records: &[ActionRecord]) {
        self.changed |= self.log_error.take().is_some();
        for record in records {
            *self.counters.actions.entry(record.kind).or_default() += 1;
            self.recovery.apply(record);
            self.loans.apply(record);
            self.proposals.apply(record);
            self.votes.note(record);
        }
    }

    /// Why a treatment that would help is not begun now, for the broker that waits for it.
    pub(super) fn put_off(&self, now: Moment, wall: Timestamp) -> Option<(BrokerId, Refused)> {
        if self.treatment.is_some() {
            return None;
        }
        let ((remedy, broker), ..) = self.wanted().next()?;
        let (rule, why) = self.reason_to_wait(now, wall, (remedy, broker))?;
        Some((broker, Refused { rule, message: about(Some(broker), &why) }))
    }

    /// The rules that hold for the beginning of any treatment. Those of its planning come before, those of its steps after.
    pub(super) fn reason_to_wait(&self, now: Moment, wall: Timestamp, key: Key) -> Option<(Rule, String)> {
        if let Some(refused) = self.forbidden_now(key, now) {
            return Some((refused.rule, refused.message));
        }
        if self.policy.maintenance.is_open(wall) {
            let message = "planned work on the cluster is under way; lifted at the end of the window in \
                           maintenance.windows";
            return Some((Rule::MaintenanceWindow, message.to_owned()));
        }
        if let Some(forbidden) = self.platform_forbids(Some(key), now) {
            return Some(forbidden);
        }
        let topics = self.topics.as_ref().filter(|topics| topics.are_fresh(now))?;
        if let Some(topic) = &topics.tally.cruise_control {
            let message = format!(
                "topic {topic} says that Cruise Control looks after this cluster, and two must not move replicas at once; \
                 lifted when that topic is deleted"
            );
            return Some((Rule::CruiseControl, message));
        }
        if !key.0.is_for_balance() {
            return None;
        }
        self.loans.rest(self.policy.cooldown, wall)?;
        let message = format!(
            "the cluster is left alone for {:?} after a treatment, longer when that did not help; lifted by itself, or by a \
             shorter limits.cooldown",
            self.policy.cooldown
        );
        Some((Rule::CoolDown, message))
    }

    pub(super) fn is_any_unhealthy(&self) -> bool {
        self.diagnostician.diagnoses().values().any(|diagnosis| diagnosis.state == BrokerState::Unhealthy)
    }

    pub(super) fn is_healthy(&self, broker: BrokerId) -> bool {
        self.diagnostician
            .diagnoses()
            .get(&broker)
            .is_some_and(|diagnosis| diagnosis.state == BrokerState::Healthy)
    }
}
