//! The table of brokers.

use super::figures::{age, class, percent, rate, state, unknown};
use doctorkafka_diagnosis::BrokerState;
use doctorkafka_doctor::BrokerView;
use jiff::Timestamp;
use maud::{Markup, html};

/// Rows on the page; a larger cluster shows the brokers that need a look, and says how many it leaves out.
const MAX_ROWS: usize = 200;

const COLUMNS: [&str; 9] =
    ["Broker", "State", "Why", "CPU", "Memory", "Disk", "Network", "Since", "Last heartbeat"];

/// The table, by broker id.
pub(super) fn table(brokers: &[BrokerView], now: Timestamp) -> Markup {
    let (shown, left_out) = choose(brokers);
    html! {
        h3 { "Brokers" }
        @if brokers.is_empty() {
            p.empty { "No broker has been seen yet." }
        } @else {
            table.brokers role="table" {
                @if left_out > 0 {
                    caption { (left_out) " more brokers are not shown; those that are not healthy come first. The API has all." }
                }
                thead role="rowgroup" {
                    tr role="row" {
                        @for name in COLUMNS { th scope="col" role="columnheader" { (name) } }
                    }
                }
                tbody role="rowgroup" {
                    @for broker in shown { (row(broker, now)) }
                }
            }
        }
    }
}

fn choose(brokers: &[BrokerView]) -> (Vec<&BrokerView>, usize) {
    let mut shown: Vec<&BrokerView> = brokers.iter().collect();
    if shown.len() > MAX_ROWS {
        // Stable: by id within both groups.
        shown.sort_by_key(|broker| broker.state == BrokerState::Healthy);
        shown.truncate(MAX_ROWS);
    }
    (shown, brokers.len().saturating_sub(MAX_ROWS))
}

fn row(broker: &BrokerView, now: Timestamp) -> Markup {
    let figures = &broker.figures;
    html! {
        tr role="row" class=(class(broker.state)) {
            th role="rowheader" scope="row" {
                span.id { (broker.id) }
                " " span.host { (broker.host) @if let Some(rack) = &broker.rack { ", rack " (rack) } }
            }
            td role="cell" data-label=(COLUMNS[1]) { (state(broker.state)) }
            td.why role="cell" data-label=(COLUMNS[2]) {
                span.message { (broker.message) }
                " " span.reason { (broker.reason.as_str()) }
                @if let (Some(leaders), Some(replicas)) = (broker.leaders, broker.replicas) {
                    " " span.reason { "leads " (leaders) " of " (replicas) " partitions" }
                }
            }
            td.number role="cell" data-label=(COLUMNS[3]) {
                (percent(figures.cpu_percent))
                @if figures.simulated { " " span.simulated title="Simulated load is laid over the measured figures." { "simulated" } }
            }
            td.number role="cell" data-label=(COLUMNS[4]) { (percent(figures.memory_percent)) }
            td.number role="cell" data-label=(COLUMNS[5]) { (percent(figures.disk_percent)) }
            td.number role="cell" data-label=(COLUMNS[6]) {
                span { "in " (rate(figures.network_in)) } " "
                span { "out " (rate(figures.network_out)) }
            }
            td.number role="cell" data-label=(COLUMNS[7]) { (age(broker.since, now)) }
            td.number role="cell" data-label=(COLUMNS[8]) {
                @match figures.last_heartbeat { Some(at) => { (age(at, now)) " ago" } None => (unknown()) }
            }
        }
    }
}
