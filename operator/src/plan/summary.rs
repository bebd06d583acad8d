//! What a plan means, for people.

use doctorkafka_planner::{Balance, Instance, Proposal};
use std::{fmt::Write, time::Duration};

/// Shortfalls that are listed, at the most.
const LISTED: usize = 10;

pub(super) fn text(instance: &Instance, proposal: &Proposal<'_>, took: Duration) -> String {
    let (moves, megabytes) = proposal.copied();
    let dead = instance.brokers.iter().filter(|broker| !broker.is_alive()).count();
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "{}: {} brokers ({dead} dead), {} partitions, {} replicas",
        if instance.name.is_empty() { "instance" } else { &instance.name },
        instance.brokers.len(),
        instance.partitions(),
        instance.replicas(),
    );
    let _ = writeln!(
        text,
        "plan: {} partitions change, {moves} replicas are copied, {megabytes:.0} MB, at most {:.0} MB into one broker; \
         planned in {:.2} ms{}",
        proposal.changes().count(),
        proposal.most_into_one(),
        took.as_secs_f64() * 1_000.0,
        peak_memory()
            .map(|kib| format!(", {:.1} MB resident at the most", kib * 1.024e-3))
            .unwrap_or_default(),
    );
    let (before, after) = proposal.balance();
    let _ = writeln!(text, "busiest broker over the average:");
    for (name, figure) in FIGURES {
        let _ = writeln!(text, "  {name:<12} {:>6.2} -> {:.2}", figure(&before), figure(&after));
    }
    for shortfall in proposal.shortfalls.iter().take(LISTED) {
        let _ = writeln!(text, "not met: {}: {}", shortfall.rule, shortfall.message);
    }
    let more = proposal.shortfalls.len().saturating_sub(LISTED);
    if more > 0 {
        let _ = writeln!(text, "not met: {more} more");
    }
    text
}

/// The most memory that this process ever had resident, KiB, where the system tells (proc(5), VmHWM).
fn peak_memory() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

type Figure = fn(&Balance) -> f64;

const FIGURES: [(&str, Figure); 6] = [
    ("CPU", |balance| balance.cpu),
    ("network in", |balance| balance.network_in),
    ("network out", |balance| balance.network_out),
    ("disk", |balance| balance.disk),
    ("replicas", |balance| balance.replicas),
    ("leaderships", |balance| balance.leaders),
];
