//! From what is known of a policy to its status. Pure.
//!
//! Times are cut to whole seconds, as the API server keeps them, so that what was written compares equal to what is
//! meant.

use super::{conditions, facts::Facts, reassignments};
use doctorkafka_api::{
    BrokerStatus, EffectiveMode, KafkaHealthPolicySpec, KafkaHealthPolicyStatus, KafkaStatus, LastAction,
    Mode, Summary,
};
use doctorkafka_doctor::{BrokerView, DoctorReport, about};
use doctorkafka_wire::ActionKind;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// The status that a policy should have. `now` is the time of transition for conditions that `before` does not have.
pub(super) fn project(
    facts: &Facts,
    before: &KafkaHealthPolicyStatus,
    now: Timestamp,
) -> KafkaHealthPolicyStatus {
    let object = &facts.object;
    // A policy that does nothing because of another says so, and says nothing of brokers that the other reports.
    let report = facts.report.as_ref().filter(|_| facts.conflict().is_none());
    let mode = match &object.spec {
        Ok(_) if object.paused => Some(EffectiveMode::Paused),
        Ok(spec) => Some(spec.mode.into()),
        Err(_) => before.mode,
    };
    let status = KafkaHealthPolicyStatus {
        observed_generation: object.generation,
        conditions: Vec::new(),
        kafka: facts.report.as_ref().and_then(|report| kafka(report)),
        summary: report.map(|report| summary(report)),
        mode,
        acting: report
            .and_then(|report| report.treatment.as_ref())
            .map(|treatment| treatment.message.clone()),
        brokers: report.map(|report| brokers(report)).unwrap_or_default(),
        active_plan: report.and_then(|report| active_plan(&object.key.name, report)),
        last_action: report.and_then(|report| last_action(report)).or_else(|| before.last_action.clone()),
    };
    let conditions = conditions::all(facts);
    KafkaHealthPolicyStatus {
        conditions: conditions::since(conditions, &before.conditions, object.generation, now),
        ..status
    }
    .bounded()
}

/// How far the doctor may go with leaderships, the only treatment that this release carries out.
pub(super) fn leadership_mode(facts: &Facts) -> Mode {
    let mode = |spec: &KafkaHealthPolicySpec| spec.remedies.leadership.mode.unwrap_or(spec.mode);
    facts.object.spec.as_ref().map(mode).unwrap_or_default()
}

/// Name of the object that shows what is done or, without that, what is proposed.
fn active_plan(policy: &str, report: &DoctorReport) -> Option<String> {
    let running = report.treatment.as_ref().map(|running| running.digest.as_str());
    let proposed = || report.proposals.first().map(|proposed| proposed.treatment.digest());
    running.or_else(proposed).map(|digest| reassignments::name(policy, digest))
}

/// A moment in whole seconds.
pub(super) fn whole(time: Timestamp) -> Time {
    Time(Timestamp::from_second(time.as_second()).unwrap_or(time))
}

fn kafka(report: &DoctorReport) -> Option<KafkaStatus> {
    let kafka = KafkaStatus {
        cluster_id: report.kafka.cluster_id.clone(),
        controller_id: report.kafka.controller_id.map(|id| id.0),
    };
    (kafka != KafkaStatus::default()).then_some(kafka)
}

fn summary(report: &DoctorReport) -> Summary {
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let summary = &report.summary;
    Summary {
        brokers: count(summary.brokers),
        healthy: count(summary.healthy),
        overloaded: count(summary.overloaded),
        unhealthy: count(summary.unhealthy),
        recovering: count(summary.recovering),
        maintenance: count(summary.maintenance),
        unknown: count(summary.unknown),
    }
}

fn brokers(report: &DoctorReport) -> Vec<BrokerStatus> {
    report.brokers.iter().map(|view| broker(view, report)).collect()
}

fn broker(view: &BrokerView, report: &DoctorReport) -> BrokerStatus {
    let percent = |percent: Option<f64>| percent.map(|percent| percent.round() as i32);
    let rate = |rate: Option<f64>| rate.map(|rate| rate.round() as i64);
    let count = |count: Option<usize>| count.map(|count| i32::try_from(count).unwrap_or(i32::MAX));
    let figures = &view.figures;
    BrokerStatus {
        id: view.id.0,
        host: Some(view.host.clone()).filter(|host| !host.is_empty()),
        rack: view.rack.clone(),
        pod: view.pod.clone(),
        node: view.node.clone(),
        state: view.state.to_string(),
        since: Some(whole(view.since)),
        reason: view.reason.to_string(),
        message: Some(view.message.clone()).filter(|message| !message.is_empty()),
        next: next(view, report),
        cpu_percent: percent(figures.cpu_percent),
        memory_percent: percent(figures.memory_percent),
        disk_percent: percent(figures.disk_percent),
        network_in: rate(figures.network_in),
        network_out: rate(figures.network_out),
        leaders: count(view.leaders),
        replicas: count(view.replicas),
        last_heartbeat: figures.last_heartbeat.map(whole),
        evidence: view.evidence.clone(),
    }
}

/// What comes next for a broker: what would help it, or why nothing is recommended.
fn next(view: &BrokerView, report: &DoctorReport) -> Option<String> {
    let advice = report.advice.iter().find(|advice| advice.broker == view.id);
    let refusal = report.refusals.iter().find(|refusal| refusal.broker == Some(view.id));
    advice.map(|advice| format!("Recommended: {}", advice.message)).or_else(|| {
        refusal.map(|refusal| format!("Nothing is recommended ({}): {}", refusal.rule, refusal.message))
    })
}

/// The newest decision. That a doctor has taken the log over is none.
fn last_action(report: &DoctorReport) -> Option<LastAction> {
    let newest = report.actions.iter().rev().find(|record| record.kind != ActionKind::LeaderStarted)?;
    let message = about(newest.broker, &newest.message);
    Some(LastAction { time: whole(newest.time), kind: newest.kind.as_str().to_owned(), message })
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
