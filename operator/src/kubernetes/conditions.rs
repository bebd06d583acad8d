//! The conditions of a policy. Pure.
//!
//! Ready, Reachable, Healthy and Acting are always there, PlatformKnown where the policy selects pods; Refused and Conflict
//! only while they are true.

use super::{facts::Facts, status};
use doctorkafka_api::{EffectiveMode, Mode, PAUSED_ANNOTATION};
use doctorkafka_diagnosis::BrokerState;
use doctorkafka_doctor::{BrokerView, DoctorReport, Role, about};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

/// How many brokers or refusals a message names before it counts the rest.
const NAMED: usize = 10;

/// A condition before it is known since when it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct State {
    kind: &'static str,
    status: &'static str,
    reason: String,
    message: String,
}

impl State {
    fn new(kind: &'static str, status: &'static str, reason: &str, message: impl Into<String>) -> Self {
        Self { kind, status, reason: reason.to_owned(), message: message.into() }
    }
}

/// Every condition, in the order in which they are read best.
pub(super) fn all(facts: &Facts) -> Vec<State> {
    let always = [ready(facts), reachable(facts), healthy(facts), acting(facts)];
    always.into_iter().chain(platform(facts)).chain(refused(facts)).chain(conflict(facts)).collect()
}

/// Adds since when each holds: since `now`, unless it held before with the same status.
pub(super) fn since(
    states: Vec<State>,
    before: &[Condition],
    generation: Option<i64>,
    now: Timestamp,
) -> Vec<Condition> {
    let complete = |state: State| {
        let same = before.iter().find(|old| old.type_ == state.kind && old.status == state.status);
        Condition {
            last_transition_time: same
                .map_or_else(|| status::whole(now), |old| old.last_transition_time.clone()),
            message: state.message,
            observed_generation: generation,
            reason: state.reason,
            status: state.status.to_owned(),
            type_: state.kind.to_owned(),
        }
    };
    states.into_iter().map(complete).collect()
}

fn ready(facts: &Facts) -> State {
    let is = |status, reason: &str, message: String| State::new("Ready", status, reason, message);
    if let Some(problem) = &facts.problem {
        let in_force = match facts.report {
            Some(_) => "; the last version that was valid stays in force",
            None => "",
        };
        return is("False", problem.reason(), format!("{problem}{in_force}"));
    }
    if let Some(message) = facts.conflict() {
        return is("False", "Conflict", message.to_owned());
    }
    if let Some(message) = &facts.fenced {
        return is("False", "Fenced", message.clone());
    }
    let Some(report) = &facts.report else {
        return is("Unknown", "Starting", "the engine starts".into());
    };
    let kafka = &report.kafka;
    match kafka.reachable {
        None => return is("Unknown", "Starting", "Kafka has not answered yet".into()),
        Some(false) => return is("False", "KafkaUnreachable", "the doctor waits for Kafka to answer".into()),
        Some(true) => {}
    }
    if let Some(error) = &kafka.topics_error {
        return is("False", "TopicsMissing", error.clone());
    }
    if let Some(error) = &kafka.actions_log_error {
        return is("False", "ActionsLogUnavailable", error.clone());
    }
    let Role::Leading { .. } = report.role else {
        return is("False", "OpeningActionsLog", "the actions log is not open for writing yet".into());
    };
    let cluster = kafka.cluster_id.as_deref().unwrap_or("of unknown id");
    is("True", "Watching", format!("watching the {} of Kafka cluster {cluster}", count(report, "broker")))
}

fn reachable(facts: &Facts) -> State {
    let is = |status, reason: &str, message: String| State::new("Reachable", status, reason, message);
    let Some(kafka) = facts.report.as_ref().map(|report| &report.kafka) else {
        let reason = if facts.problem.is_some() { "NotTried" } else { "Starting" };
        return is("Unknown", reason, "no connection has been tried".into());
    };
    match kafka.reachable {
        None => is("Unknown", "Starting", "Kafka has not answered yet".into()),
        Some(true) => is("True", "Answering", "Kafka answers".into()),
        Some(false) => {
            let error = kafka.error.as_deref().unwrap_or("no broker answers");
            is("False", "Unreachable", error.to_owned())
        }
    }
}

fn healthy(facts: &Facts) -> State {
    let is = |status, reason: &str, message: String| State::new("Healthy", status, reason, message);
    if facts.conflict().is_some() {
        return is("Unknown", "Conflict", "another policy reports these brokers".into());
    }
    let Some(report) = facts.report.as_ref().filter(|report| !report.brokers.is_empty()) else {
        return is("Unknown", "NotSeenYet", "no broker has been seen yet".into());
    };
    let well = |broker: &&BrokerView| matches!(broker.state, BrokerState::Healthy | BrokerState::Maintenance);
    let ill: Vec<_> = report.brokers.iter().filter(|broker| !well(broker)).collect();
    let is_any = |state| ill.iter().any(|broker| broker.state == state);
    let (status, reason) = match () {
        () if ill.is_empty() => {
            return is("True", "AllBrokersHealthy", format!("{} healthy", count_are(report)));
        }
        () if is_any(BrokerState::Unhealthy) => ("False", "BrokersUnhealthy"),
        () if is_any(BrokerState::Overloaded) => ("False", "BrokersOverloaded"),
        () if is_any(BrokerState::Recovering) => ("False", "BrokersRecovering"),
        () => ("Unknown", "BrokersUnknown"),
    };
    is(status, reason, listed(ill.iter().map(|b| format!("broker {} is {} ({})", b.id, b.state, b.reason))))
}

fn acting(facts: &Facts) -> State {
    let is_not = |reason: &str, message: String| State::new("Acting", "False", reason, message);
    if facts.object.paused {
        let message = format!(
            "treatment stands still because of the annotation {PAUSED_ANNOTATION}; diagnosis goes on"
        );
        return is_not("Paused", message);
    }
    if facts.conflict().is_some() || (facts.problem.is_some() && facts.report.is_none()) {
        return is_not("NotReady", "see the condition Ready".into());
    }
    if let Some(treatment) = facts.report.as_ref().and_then(|report| report.treatment.as_ref()) {
        let (done, all, what) = (treatment.done, treatment.partitions, &treatment.message);
        let hold = treatment.hold.as_ref().map(|hold| format!("; {hold}")).unwrap_or_default();
        let message = format!("{what}: {done} of {all} partitions done{hold}");
        return State::new("Acting", "True", "Treating", message);
    }
    let proposals = facts.report.iter().flat_map(|report| &report.proposals);
    let waiting = proposals.filter(|proposed| proposed.mode == EffectiveMode::Approve).count();
    if waiting > 0 {
        let wait = if waiting == 1 {
            "one treatment waits".to_owned()
        } else {
            format!("{waiting} treatments wait")
        };
        let namespace = &facts.object.key.namespace;
        let message = format!("{wait} for approval: kubectl get kafkareassignments -n {namespace}");
        return is_not("WaitingForApproval", message);
    }
    match status::leadership_mode(facts) {
        Mode::Observe => {
            is_not("ObserveOnly", "mode Observe: diagnoses and alerts, recommends nothing".into())
        }
        Mode::Recommend => {
            is_not("RecommendOnly", "mode Recommend: says what would help and does nothing".into())
        }
        Mode::Approve => is_not("NothingToDo", "mode Approve: carries out what a person approves".into()),
        Mode::Auto => is_not("NothingToDo", "mode Auto: carries treatment out without asking".into()),
    }
}

/// Whether the brokers' pods and all that belongs to them are known; absent where the policy selects no pods.
fn platform(facts: &Facts) -> Option<State> {
    let is =
        |status, reason: &str, message: String| Some(State::new("PlatformKnown", status, reason, message));
    let report = facts.report.as_ref().filter(|_| facts.conflict().is_none())?;
    let platform = Some(&report.platform).filter(|platform| platform.asked)?;
    if !platform.unknown.is_empty() {
        let message = listed(platform.unknown.iter().cloned());
        return is("False", "Unknown", format!("health goes on without: {message}"));
    }
    if !platform.unlinked.is_empty() {
        let message = listed(platform.unlinked.iter().map(|(id, why)| format!("broker {id}: {why}")));
        return is("False", "BrokersUnlinked", message);
    }
    is("True", "Linked", format!("{} linked to pods", count_are(report)))
}

fn refused(facts: &Facts) -> Option<State> {
    let refusals = &facts.report.as_ref().filter(|_| facts.conflict().is_none())?.refusals;
    let first = refusals.first()?;
    let message = listed(refusals.iter().map(|refusal| about(refusal.broker, &refusal.message)));
    Some(State::new("Refused", "True", first.rule, message))
}

fn conflict(facts: &Facts) -> Option<State> {
    let message = facts.conflict()?;
    Some(State::new("Conflict", "True", "AlreadyWatched", message))
}

fn count(report: &DoctorReport, what: &str) -> String {
    match report.summary.brokers {
        1 => format!("one {what}"),
        n => format!("{n} {what}s"),
    }
}

fn count_are(report: &DoctorReport) -> String {
    match (report.summary.brokers, report.summary.maintenance) {
        (1, 0) => "the one broker is".to_owned(),
        (n, 0) => format!("all {n} brokers are"),
        (n, m) => format!("of {n} brokers {m} in maintenance, the others are"),
    }
}

/// The first few, then how many more there are.
fn listed(items: impl ExactSizeIterator<Item = String>) -> String {
    let more = items.len().saturating_sub(NAMED);
    let named: Vec<_> = items.take(NAMED).collect();
    let named = named.join("; ");
    if more == 0 { named } else { format!("{named}; and {more} more") }
}
