//! Which treatment is due, and what is known of the one under way.

use std::time::Duration;

use doctorkafka_api::EffectiveMode;
use doctorkafka_diagnosis::{BrokerState, Moment};
use doctorkafka_planner::{Refused, Rule};
use doctorkafka_wire::{ActionRecord, BrokerId};
use jiff::Timestamp;

use super::EngineState;
use crate::{
    execute::{Author, Cancel, Control, Task},
    loans,
    report::TreatmentView,
};

/// Between a treatment that was interrupted and the next try, and after one that was refused: each refusal is a record.
const AFTER_INTERRUPTION: Duration = Duration::from_secs(10);
const AFTER_REFUSAL: Duration = Duration::from_secs(60);

impl EngineState {
    /// The treatment to carry out now, when none is under way: first one that another doctor began, then the relief of a hot
    /// broker, then what is owed to one that is well again.
    pub fn due_treatment(&self, now: Moment, wall: Timestamp) -> Option<(Task, Author)> {
        if !self.leads() || self.hold_off.is_some_and(|until| now < until) {
            return None;
        }
        let author = Author {
            policy: self.policy.name.clone(),
            cluster: self.kafka.cluster_id.clone()?,
            epoch: self.alerts.epoch,
        };
        if let Some(open) = self.recovery.open() {
            return Some((Task::Resume(open.clone()), author));
        }
        if self.policy.leadership != EffectiveMode::Auto || self.reason_to_wait(now, wall).is_some() {
            return None;
        }
        let seen = self.topics.as_ref().filter(|topics| topics.are_fresh(now))?;
        let relief = self.advice.iter().find_map(|advice| {
            let why = &self.diagnostician.diagnoses().get(&advice.broker)?.message;
            loans::relief(advice.broker, &advice.moves, &seen.topics, why)
        });
        let give_back = || {
            // Healing comes before balance here, too.
            if seen.tally.under_replicated > 0 || self.is_any_unhealthy() {
                return None;
            }
            let mut well = self.loans.creditors().filter(|id| self.is_healthy(*id));
            well.find_map(|broker| self.loans.give_back(broker, &seen.topics))
        };
        relief.or_else(give_back).map(|treatment| (Task::New(treatment), author))
    }

    /// What people want of a running treatment.
    pub fn control(&self) -> Control {
        let limits = self.policy.limits;
        let mode = self.policy.leadership;
        match mode {
            EffectiveMode::Auto => Control { limits, ..Control::default() },
            EffectiveMode::Paused => Control { limits, paused: true, ..Control::default() },
            EffectiveMode::Observe | EffectiveMode::Recommend | EffectiveMode::Approve => {
                let reason = format!("the policy's mode is {mode:?} now");
                Control { limits, cancel: Some(Cancel { restore: false, reason }), ..Control::default() }
            }
        }
    }

    /// Shows what is under way.
    pub fn set_treatment(&mut self, treatment: Option<TreatmentView>) {
        self.changed |= self.treatment.as_ref().map(|t| (&t.digest, &t.hold, t.done))
            != treatment.as_ref().map(|t| (&t.digest, &t.hold, t.done));
        self.treatment = treatment;
    }

    /// The last treatment was interrupted, or, when it was `refused`, not begun.
    pub fn hold_off(&mut self, now: Moment, refused: bool) {
        self.hold_off = Some(now + if refused { AFTER_REFUSAL } else { AFTER_INTERRUPTION });
    }

    /// Records of a treatment are in the log.
    pub(super) fn stepped(&mut self, records: &[ActionRecord]) {
        self.changed |= self.log_error.take().is_some();
        for record in records {
            *self.counters.actions.entry(record.kind).or_default() += 1;
            self.recovery.apply(record);
            self.loans.apply(record);
        }
    }

    /// Why a treatment that would help is not begun now, for the broker that waits for it.
    pub(super) fn put_off(&self, now: Moment, wall: Timestamp) -> Option<(BrokerId, Refused)> {
        if self.policy.leadership != EffectiveMode::Auto || self.treatment.is_some() {
            return None;
        }
        let broker = self.advice.first()?.broker;
        let (rule, why) = self.reason_to_wait(now, wall)?;
        Some((broker, Refused { rule, message: format!("broker {broker}: {why}") }))
    }

    /// The rules that hold for the beginning of any treatment. Those of its planning come before, those of its steps after.
    fn reason_to_wait(&self, now: Moment, wall: Timestamp) -> Option<(Rule, String)> {
        if self.policy.maintenance.is_open(wall) {
            let message = "planned work on the cluster is under way; lifted at the end of the window in \
                           maintenance.windows";
            return Some((Rule::MaintenanceWindow, message.to_owned()));
        }
        if let Some(forbidden) = self.platform_forbids(now) {
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
        self.loans.rest(self.policy.cooldown, wall)?;
        let message = format!(
            "the cluster is left alone for {:?} after a treatment, longer when that did not help; lifted by itself, or by a \
             shorter limits.cooldown",
            self.policy.cooldown
        );
        Some((Rule::CoolDown, message))
    }

    fn is_any_unhealthy(&self) -> bool {
        self.diagnostician.diagnoses().values().any(|diagnosis| diagnosis.state == BrokerState::Unhealthy)
    }

    fn is_healthy(&self, broker: BrokerId) -> bool {
        self.diagnostician
            .diagnoses()
            .get(&broker)
            .is_some_and(|diagnosis| diagnosis.state == BrokerState::Healthy)
    }
}
