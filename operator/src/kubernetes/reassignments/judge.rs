//! What an object should say, by what the engine says of its treatment and what people wrote on it. Pure.

use super::{
    super::status::whole,
    build::shows,
    seen::{Seen, Word},
};
use doctorkafka_api::{EffectiveMode, Estimate, KafkaReassignmentStatus, Phase, Progress};
use doctorkafka_doctor::{Decision, DoctorReport, Misapproval, Proposed, TreatmentView};
use doctorkafka_wire::{ActionKind, ActionRecord, Outcome};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

/// Reasons of the condition Approved for words that do not count.
const REFUSALS: [&str; 4] = ["AnotherDigest", "NoName", "TooLate", "NotAsked"];

/// How a treatment stands with the engine.
#[derive(Debug, Clone, Copy)]
pub(super) enum Standing<'a> {
    /// It is being carried out.
    Running(&'a TreatmentView),
    /// It would be carried out.
    Proposed(&'a Proposed),
    /// Neither. The newest record of the actions log about it, if there is one.
    Gone(Option<&'a ActionRecord>),
}

impl<'a> Standing<'a> {
    /// How the treatment of this digest stands.
    pub fn of(digest: &str, report: &'a DoctorReport) -> Self {
        let running = report.treatment.as_ref().filter(|running| running.digest == digest);
        let mut proposals = report.proposals.iter();
        if let Some(running) = running {
            Self::Running(running)
        } else if let Some(proposed) = proposals.find(|proposed| proposed.treatment.digest() == digest) {
            Self::Proposed(proposed)
        } else {
            Self::Gone(newest(digest, report))
        }
    }
}

/// The newest record about a treatment as a whole.
pub(super) fn newest<'a>(digest: &str, report: &'a DoctorReport) -> Option<&'a ActionRecord> {
    let about = |record: &&ActionRecord| {
        let whole = matches!(record.kind, ActionKind::ReassignPartitions | ActionKind::Cancel);
        whole && record.step.is_none() && record.digest.as_deref() == Some(digest)
    };
    report.actions.iter().rev().find(about)
}

/// What follows from all that.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Verdict {
    /// What the object should say.
    pub status: KafkaReassignmentStatus,
    /// What was decided about the treatment.
    pub decision: Option<Decision>,
    /// A decision that does not count.
    pub refused: Option<Misapproval>,
}

/// What an object should say. `given_up` when the log has had its time to tell the end of a treatment that is gone.
pub(super) fn judge(seen: &Seen, standing: Standing<'_>, given_up: bool, now: Timestamp) -> Verdict {
    let before = &seen.status;
    let mut page = Page::new(before, now);
    if seen.is_final() {
        if let Some(word) = seen.word.as_ref().filter(|word| !is_taken(word, before)) {
            let phase = before.phase.map(|phase| format!("{phase:?}")).unwrap_or_default();
            let message = format!("{} came when this was {phase} already; nothing is done", said(word));
            page.condition("Approved", false, "TooLate", message);
        }
        return page.verdict(seen, None);
    }
    page.status.observed_generation = Some(1);
    let mut decision = None;
    match standing {
        Standing::Running(running) => {
            run(&mut page, running);
            decision = stop(&mut page, seen);
        }
        Standing::Proposed(proposed) => {
            decision = propose(&mut page, seen, proposed);
        }
        Standing::Gone(record) => {
            gone(&mut page, record, given_up);
            if let (Some(Phase::Completed), Some(spec)) = (page.status.phase, &seen.spec) {
                let Estimate { moves, leadership_changes, bytes, .. } = spec.estimate;
                let done = Progress { percent: 100, moves, leadership_changes, bytes, ..Progress::default() };
                page.status.progress = Some(done);
            }
        }
    }
    page.verdict(seen, decision)
}

fn propose(page: &mut Page<'_>, seen: &Seen, proposed: &Proposed) -> Option<Decision> {
    page.status.phase = Some(Phase::Proposed);
    let digest = seen.digest();
    let Some(word) = &seen.word else {
        let message = match proposed.mode {
            EffectiveMode::Approve => {
                format!(
                    "waits for approval by the annotation {}={digest}",
                    doctorkafka_api::APPROVE_ANNOTATION
                )
            }
            mode => format!("would help; the policy's mode {mode:?} does not carry out what is approved"),
        };
        page.condition("Approved", false, "Waiting", message.clone());
        page.status.message = Some(message);
        page.status.approved_by = None;
        return None;
    };
    let not = |page: &mut Page<'_>, reason: &str, why: &str| {
        let message = format!("{}: {why}", said(word));
        page.condition("Approved", false, reason, message.clone());
        page.status.message = Some(message);
        page.status.approved_by = None;
        None
    };
    if word.digest != digest {
        let why = format!("this is {digest}; nothing is done until its own digest is named");
        return not(page, "AnotherDigest", &why);
    }
    let Some(by) = &word.by else {
        return not(
            page,
            "NoName",
            "the annotation doctorkafka.dev/approved-by names nobody; nothing is done",
        );
    };
    // An object that is not as the doctor made it is replaced; until then nothing is read from it.
    if !seen.spec.as_ref().is_some_and(|spec| shows(spec, &proposed.treatment)) {
        return None;
    }
    if word.approved && proposed.mode != EffectiveMode::Approve {
        let why = format!(
            "the policy's mode {:?} carries out nothing that is approved; set mode Approve",
            proposed.mode
        );
        return not(page, "NotAsked", &why);
    }
    let at = page.since("Approved", word.approved);
    if word.approved {
        let message = format!("approved by {by}, waits for its turn");
        page.condition("Approved", true, "Approved", format!("approved by {by}"));
        page.status.phase = Some(Phase::Approved);
        page.status.message = Some(message);
    } else {
        page.condition("Approved", false, "Rejected", format!("rejected by {by}"));
        page.status.message = Some(format!("rejected by {by}"));
    }
    page.status.approved_by = word.approved.then(|| by.clone());
    Some(Decision { approved: word.approved, by: by.clone(), at })
}

fn run(page: &mut Page<'_>, running: &TreatmentView) {
    let started = page.started();
    page.status.phase = Some(Phase::Executing);
    page.status.started_at.get_or_insert(started);
    if page.status.approved_by.is_none() && !is_rejected(page) {
        page.condition("Approved", true, "ModeAuto", "mode Auto asks nobody".to_owned());
    }
    let (done, all) = (running.done, running.partitions);
    let hold = running.hold.as_ref().map(|hold| format!("; {hold}")).unwrap_or_default();
    let message = format!("{}: {done} of {all} partitions done{hold}", running.message);
    page.condition("Executing", true, "Executing", running.message.clone());
    page.status.message = Some(message);
    page.status.progress = Some(progress(running));
}

/// A rejection stops what is under way, too.
fn stop(page: &mut Page<'_>, seen: &Seen) -> Option<Decision> {
    let word = seen.word.as_ref().filter(|word| !word.approved && word.digest == seen.digest())?;
    let by = word.by.clone()?;
    let at = page.since("Approved", false);
    page.condition("Approved", false, "Rejected", format!("rejected by {by}"));
    Some(Decision { approved: false, by, at })
}

/// Of what is done, it is known how many partitions; which of them are moves is told by what was planned, in this order.
fn progress(running: &TreatmentView) -> Progress {
    let count = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
    let bytes = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    let moves = running.treatment.moves().count();
    let leaderships = running.partitions.saturating_sub(moves);
    let share = |done: u64, all: u64| done.saturating_mul(100).checked_div(all);
    let by_bytes = share(running.bytes_done, running.bytes);
    let by_partitions = share(running.done as u64, running.partitions as u64);
    Progress {
        // What takes its time is the copying, where there is any.
        percent: i32::try_from(by_bytes.or(by_partitions).unwrap_or(0).min(100)).unwrap_or(100),
        moves: count(if leaderships == 0 { running.done } else { running.done.min(moves) }),
        leadership_changes: count(if moves == 0 { running.done } else { running.done.saturating_sub(moves) }),
        bytes: bytes(running.bytes_done),
        slowest_replica_lag: running.slowest_bytes_left.map(bytes),
        bytes_per_second: running.bytes_per_second.map(bytes),
        seconds_left: running.seconds_left.map(bytes),
    }
}

fn gone(page: &mut Page<'_>, record: Option<&ActionRecord>, given_up: bool) {
    let (phase, message) = match record.map(|record| (record.kind, record.outcome, &record.message)) {
        Some((ActionKind::ReassignPartitions, Some(Outcome::Done), message)) => {
            (Phase::Completed, message.clone())
        }
        Some((ActionKind::ReassignPartitions, Some(Outcome::Failed), message)) => {
            (Phase::Failed, message.clone())
        }
        Some((ActionKind::ReassignPartitions, Some(Outcome::Aborted), message)) => {
            (Phase::Aborted, message.clone())
        }
        Some((ActionKind::Cancel, _, message)) => (withdrawn(page, message), message.clone()),
        Some((ActionKind::ReassignPartitions, Some(Outcome::Intended), _)) => {
            // Interrupted: whoever leads goes on with it.
            page.status.phase = Some(Phase::Executing);
            page.status.message = Some("interrupted; it is taken up again".to_owned());
            return;
        }
        // The log has not had its time yet.
        _ if !given_up => return,
        _ if page.status.phase == Some(Phase::Executing) => {
            (Phase::Failed, "its end is not among the newest records of the actions log".to_owned())
        }
        _ => {
            let message =
                "the doctor no longer proposes this: the cluster, its load or the policy has changed";
            (withdrawn(page, message), message.to_owned())
        }
    };
    let never_begun = phase == Phase::Aborted && page.status.started_at.is_none();
    let rejected = page.status.message.clone().filter(|_| never_begun && is_rejected(page));
    let message = rejected.unwrap_or(message);
    if phase == Phase::Completed {
        page.condition(
            "Verified",
            true,
            "AsPlanned",
            "the assignment was found to equal the plan".to_owned(),
        );
    }
    if page.status.started_at.is_some() {
        page.condition("Executing", false, "Ended", message.clone());
    }
    let end = record.filter(|record| record.outcome != Some(Outcome::Proposed));
    page.status.finished_at = Some(whole(end.map_or(page.now, |record| record.time)));
    page.status.phase = Some(phase);
    page.status.message = Some(message);
}

/// How what was never begun ended.
fn withdrawn(page: &Page<'_>, message: &str) -> Phase {
    match message.to_lowercase() {
        message if is_rejected(page) || message.starts_with("rejected") => Phase::Aborted,
        message if message.contains("superseded") => Phase::Superseded,
        _ => Phase::Expired,
    }
}

fn is_rejected(page: &Page<'_>) -> bool {
    page.status
        .conditions
        .iter()
        .any(|condition| condition.type_ == "Approved" && condition.reason == "Rejected")
}

/// Whether this word was counted when it came.
fn is_taken(word: &Word, before: &KafkaReassignmentStatus) -> bool {
    let approved = before.conditions.iter().find(|condition| condition.type_ == "Approved");
    approved.is_some_and(|condition| match word.approved {
        true => condition.status == "True" && before.approved_by == word.by,
        false => condition.reason == "Rejected",
    })
}

/// `ann approved 01234567…`.
fn said(word: &Word) -> String {
    let by = word.by.as_deref().unwrap_or("somebody");
    let what = if word.approved { "approved" } else { "rejected" };
    format!("{by} {what} {}", super::build::clip(&word.digest, 64))
}

/// A status that is being written.
struct Page<'a> {
    before: &'a KafkaReassignmentStatus,
    status: KafkaReassignmentStatus,
    now: Timestamp,
}

impl<'a> Page<'a> {
    fn new(before: &'a KafkaReassignmentStatus, now: Timestamp) -> Self {
        Self { before, status: before.clone(), now }
    }

    fn condition(&mut self, kind: &str, holds: bool, reason: &str, message: String) {
        let status = if holds { "True" } else { "False" };
        let last_transition_time = whole(self.since(kind, holds));
        let condition = Condition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message,
            observed_generation: Some(1),
            last_transition_time,
        };
        self.status.conditions.retain(|old| old.type_ != kind);
        self.status.conditions.push(condition);
        self.status.conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
    }

    /// Since when a condition is as it will be.
    fn since(&self, kind: &str, holds: bool) -> Timestamp {
        let status = if holds { "True" } else { "False" };
        let same = self.before.conditions.iter().find(|old| old.type_ == kind && old.status == status);
        same.map_or(self.now, |old| old.last_transition_time.0)
    }

    fn started(&self) -> k8s_openapi::apimachinery::pkg::apis::meta::v1::Time {
        whole(self.now)
    }

    fn verdict(self, seen: &Seen, decision: Option<Decision>) -> Verdict {
        let approved = self.status.conditions.iter().find(|condition| condition.type_ == "Approved");
        // Said for as long as the object stands; the engine writes each down once.
        let told = approved.filter(|condition| REFUSALS.contains(&condition.reason.as_str()));
        let refused = told.zip(seen.word.as_ref()).map(|(condition, word)| Misapproval {
            id: format!("{}/{}/{}", seen.uid, condition.reason, super::build::clip(&word.digest, 64)),
            digest: super::build::clip(&word.digest, 64),
            by: word.by.clone().unwrap_or_else(|| "somebody".to_owned()),
            why: condition.message.clone(),
        });
        Verdict { status: self.status, decision, refused }
    }
}

#[cfg(test)]
mod tests;
