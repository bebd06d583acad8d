//! What is to be created, written and removed for one policy. Pure.

use super::{
    super::object::PolicyObject,
    build::{self, shows},
    index::{Index, Place, place},
    judge::{Standing, judge, newest},
    seen::Seen,
};
use doctorkafka_api::{EffectiveMode, KafkaReassignment, KafkaReassignmentStatus};
use doctorkafka_doctor::{Decisions, DoctorReport, execute::Treatment};
use doctorkafka_wire::Outcome;
use jiff::Timestamp;
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

/// Ended ones that are kept of each policy.
const KEPT: usize = 20;

/// How far a treatment is, is written this often at the most. What changes its phase is written at once.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);

/// One call to be made.
#[derive(Debug)]
pub(super) enum Call {
    Create(Box<KafkaReassignment>),
    Write(Seen, Box<KafkaReassignmentStatus>),
    /// With the reason, for the log.
    Remove(Seen, &'static str),
}

impl Call {
    /// The object it is about.
    pub fn place(&self) -> Place {
        match self {
            Self::Create(object) => {
                let part = |part: &Option<String>| part.clone().unwrap_or_default();
                (part(&object.metadata.namespace), part(&object.metadata.name))
            }
            Self::Write(seen, _) | Self::Remove(seen, _) => place(seen),
        }
    }
}

/// What follows for one policy.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Calls that are due, in their order.
    pub calls: Vec<Call>,
    /// When progress is to be written that is not due yet.
    pub next: Option<Instant>,
    /// What was decided.
    pub decisions: Decisions,
    /// Treatments that are gone and of which the log has not told the end.
    pub waits: BTreeSet<Place>,
}

/// What is known besides the objects.
pub(super) trait Memory {
    /// Whether the log has had its time to tell the end of what is gone.
    fn has_waited(&self, place: &Place) -> bool;
    /// When this instance last wrote the object's status.
    fn written(&self, place: &Place) -> Option<Instant>;
}

/// Makes the plan.
pub(super) fn plan(
    policy: &PolicyObject,
    report: &DoctorReport,
    index: &Index,
    memory: &impl Memory,
    (now, clock): (Timestamp, Instant),
) -> Plan {
    let mut plan = Plan::default();
    let mut replaced = BTreeSet::new();
    for wanted in wanted(report) {
        let name = build::name(&policy.key.name, wanted.treatment.digest());
        let at = (policy.key.namespace.clone(), name);
        match index.get(&at) {
            None => {
                let object = build::object(policy, wanted.treatment, wanted.why, wanted.rules);
                plan.calls.push(Call::Create(Box::new(object)));
            }
            Some(seen) if seen.deleting => {}
            Some(seen) => {
                if let Some(why) = wanted.replaces(seen, policy, report) {
                    replaced.insert(at);
                    plan.calls.push(Call::Remove(seen.clone(), why));
                }
            }
        }
    }
    let owned = index.owned(&policy.key.namespace, &policy.uid);
    let mine: Vec<&Seen> = owned.filter(|seen| !seen.deleting && !replaced.contains(&place(seen))).collect();
    for seen in &mine {
        plan.take(seen, report, memory, now, clock);
    }
    let mut ended: Vec<&&Seen> = mine.iter().filter(|seen| seen.is_final()).collect();
    ended.sort_by_key(|seen| (std::cmp::Reverse(ends(seen)), seen.name.clone()));
    plan.calls.extend(ended.into_iter().skip(KEPT).map(|seen| Call::Remove((*seen).clone(), "it is old")));
    plan
}

impl Plan {
    fn take(
        &mut self,
        seen: &Seen,
        report: &DoctorReport,
        memory: &impl Memory,
        now: Timestamp,
        clock: Instant,
    ) {
        let at = place(seen);
        let standing = Standing::of(seen.digest(), report);
        let verdict = judge(seen, standing, memory.has_waited(&at), now);
        self.decisions.refused.extend(verdict.refused);
        if let Some(decision) = verdict.decision {
            self.decisions.given.insert(seen.digest().to_owned(), decision);
        }
        if matches!(standing, Standing::Gone(_)) && !seen.is_final() {
            self.waits.insert(at.clone());
        }
        if verdict.status == seen.status {
            return;
        }
        let due = match (is_news(&seen.status, &verdict.status), memory.written(&at)) {
            (false, Some(written)) => written + PROGRESS_EVERY,
            _ => clock,
        };
        if due <= clock {
            self.calls.push(Call::Write(seen.clone(), Box::new(verdict.status)));
        } else {
            self.next = self.next.into_iter().chain([due]).min();
        }
    }
}

/// A treatment that should be shown.
struct Wanted<'a> {
    treatment: &'a Treatment,
    why: &'a [String],
    rules: &'a [&'static str],
    since: Option<Timestamp>,
}

fn wanted(report: &DoctorReport) -> impl Iterator<Item = Wanted<'_>> {
    let running = report.treatment.as_ref().map(|running| Wanted {
        treatment: &running.treatment,
        why: &[],
        rules: &[],
        since: None,
    });
    // What is begun without asking is shown when it is begun.
    let asked = |mode| matches!(mode, EffectiveMode::Approve | EffectiveMode::Recommend);
    let proposals = report.proposals.iter().filter(move |proposed| asked(proposed.mode));
    running.into_iter().chain(proposals.map(|proposed| Wanted {
        treatment: &proposed.treatment,
        why: &proposed.why,
        rules: &proposed.rules,
        since: Some(proposed.since),
    }))
}

impl Wanted<'_> {
    /// Why the object of its name has to make room for a new one, if it has.
    fn replaces(&self, seen: &Seen, policy: &PolicyObject, report: &DoctorReport) -> Option<&'static str> {
        if seen.owner.as_deref() != Some(policy.uid.as_str()) {
            return Some("it does not belong to the policy of this name");
        }
        if !seen.spec.as_ref().is_some_and(|spec| shows(spec, self.treatment)) {
            return Some("it does not say what the doctor proposes");
        }
        if !seen.is_final() {
            return None;
        }
        // The same once more. What was approved then is not approved now.
        let ended = ends(seen);
        let anew = match self.since {
            Some(since) => since > ended,
            None => newest(self.treatment.digest(), report)
                .is_some_and(|record| record.outcome == Some(Outcome::Intended) && record.time > ended),
        };
        anew.then_some("the same treatment is due again")
    }
}

/// When it ended; the end of the second, as times are cut to seconds.
fn ends(seen: &Seen) -> Timestamp {
    let ended = seen.status.finished_at.as_ref().map_or(seen.created, |time| time.0);
    ended.saturating_add(jiff::SignedDuration::from_millis(999)).unwrap_or(ended)
}

/// Whether more has changed than figures and words.
fn is_news(before: &KafkaReassignmentStatus, after: &KafkaReassignmentStatus) -> bool {
    let state = |status: &KafkaReassignmentStatus| {
        let conditions = status.conditions.iter();
        let conditions: Vec<_> =
            conditions.map(|c| (c.type_.clone(), c.status.clone(), c.reason.clone())).collect();
        (status.phase, status.approved_by.clone(), conditions)
    };
    state(before) != state(after)
}

#[cfg(test)]
mod tests;
