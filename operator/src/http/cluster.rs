//! One policy's section of the page.

use super::{
    brokers,
    figures::{age, clock, sign, unknown},
    treatments,
};
use crate::fleet::PolicyView;
use doctorkafka_diagnosis::BrokerState;
use doctorkafka_doctor::{DoctorReport, KafkaView, Role, Summary};
use doctorkafka_wire::{ActionRecord, Outcome, Severity};
use jiff::Timestamp;
use maud::{Markup, html};

/// The section's anchor. By position, because a policy's name may hold anything.
pub(super) fn anchor(index: usize) -> String {
    format!("cluster-{index}")
}

/// One line for the list of clusters.
pub(super) fn glance(policy: &PolicyView) -> Markup {
    html! {
        @match &policy.report {
            Some(report) => @for (state, count) in counts(&report.summary).into_iter().filter(|(_, count)| *count > 0) {
                span class=(super::figures::class(state)) {
                    span aria-hidden="true" { (sign(state)) }
                    " " (count) " " (state.as_str().to_uppercase())
                }
                " "
            },
            None => span.unknown { "no engine" },
        }
    }
}

/// The whole section.
pub(super) fn section(policy: &PolicyView, index: usize, now: Timestamp) -> Markup {
    let title = format!("{}-title", anchor(index));
    html! {
        section.cluster id=(anchor(index)) aria-labelledby=(title) {
            h2 id=(title) { (policy.name) }
            @if let Some(problem) = &policy.problem {
                p.notice.critical { strong { "Policy refused: " } (problem) }
            }
            @if !policy.alive {
                p.notice.critical { strong { "The engine has ended. " } "What follows is what it knew last; see the log." }
            }
            @match &policy.report {
                Some(report) => {
                    (facts(report, now))
                    (tiles(&report.summary))
                    (brokers::table(&report.brokers, now))
                    (treatments::list(report.treatment.as_ref(), &report.proposals, now))
                    (treatments::advice(&report.advice, &report.refusals))
                    (actions(&report.actions, now))
                }
                None => p.empty { "No engine runs for this policy." },
            }
        }
    }
}

fn facts(report: &DoctorReport, now: Timestamp) -> Markup {
    let kafka = &report.kafka;
    html! {
        @if let Role::Conflict { message } = &report.role {
            p.notice.critical { strong { "Conflict: " } (message) }
        }
        @if let (Some(false), Some(error)) = (kafka.reachable, &kafka.error) {
            p.notice.critical { strong { "Kafka cannot be reached: " } (error) }
        }
        @if let Some(error) = &kafka.topics_error {
            p.notice.critical { strong { "The doctor's topics are missing: " } (error) }
        }
        @if let Some(error) = &kafka.actions_log_error {
            p.notice.critical { strong { "The actions log cannot be written: " } (error) }
        }
        dl.facts {
            (fact("Cluster", html! { @match &kafka.cluster_id { Some(id) => code { (id) }, None => (unknown()) } }))
            (fact("Kafka", html! { (reachable(kafka)) }))
            (fact("Controller", html! {
                @match kafka.controller_id { Some(id) => { "broker " (id) } None => (unknown()) }
            }))
            (fact("Under-replicated", html! {
                @match kafka.under_replicated { Some(count) => { (count) @if count == 1 { " partition" } @else { " partitions" } } None => (unknown()) }
            }))
            (fact("Doctor", html! { (role(&report.role)) }))
            (fact("As of", html! { (age(report.at, now)) " ago" }))
        }
    }
}

fn fact(name: &str, value: Markup) -> Markup {
    html! { div { dt { (name) } dd { (value) } } }
}

fn reachable(kafka: &KafkaView) -> &'static str {
    match kafka.reachable {
        Some(true) => "reachable",
        Some(false) => "NOT REACHABLE",
        None => "not tried yet",
    }
}

fn role(role: &Role) -> String {
    match role {
        Role::Standby => "stands by".to_owned(),
        Role::TakingOver => "taking over".to_owned(),
        Role::Leading { epoch } => format!("leads, epoch {epoch}"),
        Role::Fenced => "fenced: another doctor has taken over".to_owned(),
        Role::Conflict { .. } => "does nothing: conflict".to_owned(),
    }
}

fn counts(summary: &Summary) -> [(BrokerState, usize); 6] {
    BrokerState::ALL.map(|state| (state, summary.of(state)))
}

fn tiles(summary: &Summary) -> Markup {
    html! {
        ul.tiles aria-label="Brokers by state" {
            li.tile { strong { (summary.brokers) } " " span { "BROKERS" } }
            @for (state, count) in counts(summary) {
                li class=(format!("tile {}{}", super::figures::class(state), if count == 0 { " none" } else { "" })) {
                    strong { (count) } " "
                    span { span aria-hidden="true" { (sign(state)) " " } (state.as_str().to_uppercase()) }
                }
            }
        }
    }
}

fn actions(actions: &[ActionRecord], now: Timestamp) -> Markup {
    html! {
        h3 { "Actions log" }
        @if actions.is_empty() {
            p.empty { "Nothing has been decided yet." }
        } @else {
            table.actions role="table" {
                caption { "Newest first." }
                thead role="rowgroup" {
                    tr role="row" {
                        @for name in ["Time", "Action", "Broker", "Message", "Outcome"] {
                            th scope="col" role="columnheader" { (name) }
                        }
                    }
                }
                tbody role="rowgroup" {
                    @for record in actions.iter().rev() { (action(record, now)) }
                }
            }
        }
    }
}

fn action(record: &ActionRecord, now: Timestamp) -> Markup {
    let outcome = record.outcome.map(|outcome| match outcome {
        Outcome::Proposed => "proposed",
        Outcome::Intended => "intended",
        Outcome::Done => "done",
        Outcome::Failed => "failed",
        Outcome::Aborted => "aborted",
    });
    let (severity, mark) = match record.severity {
        Severity::Info => ("info", ""),
        Severity::Warning => ("warning", "▲ "),
        Severity::Critical => ("critical", "✖ "),
    };
    html! {
        tr role="row" {
            td role="cell" data-label="Time" { span.clock { (clock(record.time)) } " " span.ago { "(" (age(record.time, now)) " ago)" } }
            td role="cell" data-label="Action" class=(severity) { span aria-hidden="true" { (mark) } code { (record.kind.as_str()) } }
            td role="cell" data-label="Broker" { @match record.broker { Some(id) => (id), None => "all" } }
            td role="cell" data-label="Message" { (record.message) }
            td role="cell" data-label="Outcome" { (outcome.unwrap_or("")) }
        }
    }
}
