//! What is done, what is proposed, what is advised and what was refused.

use std::sync::Arc;

use doctorkafka_api::EffectiveMode;
use doctorkafka_doctor::{Advice, Proposed, Refusal, TreatmentView, about};
use doctorkafka_wire::BrokerId;
use jiff::Timestamp;
use maud::{Markup, html};

use super::figures::age;

/// Partitions that are listed of one treatment or piece of advice; the actions log has all of them.
const MOST: usize = 100;

/// The treatment under way, and those that are proposed.
pub(super) fn list(running: Option<&TreatmentView>, proposals: &[Arc<Proposed>], now: Timestamp) -> Markup {
    html! {
        @if running.is_some() || !proposals.is_empty() {
            h3 { "Treatment" }
        }
        @if let Some(treatment) = running {
            p.treatment {
                strong { "Under way: " } (treatment.message) ", " (treatment.progress())
                " " (digest(&treatment.digest))
            }
        }
        @if !proposals.is_empty() {
            ul.advice {
                @for proposed in proposals { li { (proposal(proposed, now)) } }
            }
        }
    }
}

fn proposal(proposed: &Proposed, now: Timestamp) -> Markup {
    let treatment = &proposed.treatment;
    let changes = treatment.changes();
    let why = proposed.why.iter().map(String::as_str).chain(std::iter::repeat(""));
    html! {
        p {
            strong { "Proposed: " } (treatment.sentence()) "; " (treatment.cause().message) "; "
            (match proposed.mode {
                EffectiveMode::Approve => "waits for approval",
                EffectiveMode::Auto => "begins when no rule forbids it",
                EffectiveMode::Recommend | EffectiveMode::Observe | EffectiveMode::Paused => "only recommended",
            })
            ", since " (age(proposed.since, now)) " " (digest(treatment.digest()))
        }
        details {
            summary { "Partitions (" (changes.len()) ")" }
            ul.moves {
                @for (change, why) in changes.iter().zip(why).take(MOST) {
                    li {
                        code { (change.topic) "-" (change.partition) } ": " (replicas(&change.from)) " → " (replicas(&change.to))
                        @if !why.is_empty() { "; " (why) }
                    }
                }
                (more(changes.len()))
            }
        }
    }
}

fn replicas(brokers: &[BrokerId]) -> String {
    let ids: Vec<String> = brokers.iter().map(ToString::to_string).collect();
    format!("[{}]", ids.join(", "))
}

fn digest(digest: &str) -> Markup {
    html! { span.rule { "digest " (digest.get(..12).unwrap_or(digest)) } }
}

/// That the list is longer than what is shown of it.
fn more(all: usize) -> Markup {
    html! { @if all > MOST { li { "and " (all - MOST) " more; the actions log has all" } } }
}

/// What is advised, and what was refused and why.
pub(super) fn advice(advice: &[Advice], refusals: &[Refusal]) -> Markup {
    html! {
        @if !advice.is_empty() || !refusals.is_empty() {
            h3 { "Advice" }
            ul.advice {
                @for item in advice {
                    li {
                        p { strong { "Advice: " } (item.message) }
                        @if !item.moves.is_empty() {
                            details {
                                summary { "Partitions (" (item.moves.len()) ")" }
                                ul.moves {
                                    @for step in item.moves.iter().take(MOST) {
                                        li { code { (step.topic) "-" (step.partition) } ": broker " (step.from) " → " (step.to) }
                                    }
                                    (more(item.moves.len()))
                                }
                            }
                        }
                    }
                }
                @for refusal in refusals {
                    li {
                        p {
                            strong { "Refused: " }
                            (about(refusal.broker, &refusal.message)) " "
                            span.rule { "rule " (refusal.rule) }
                        }
                    }
                }
            }
        }
    }
}
