//! How often a status is worth a write. Pure.
//!
//! Every write of a status is a write to etcd and a message to everyone who watches. So: a change of state is written at
//! once, figures at most every 15 seconds and only when they moved by something a person would care for, and what says
//! the same is not written at all.

use doctorkafka_api::{BrokerStatus, KafkaHealthPolicyStatus};
use std::time::{Duration, Instant};

/// Figures are not written more often than this: at most four times a minute.
pub(super) const FIGURES_EVERY: Duration = Duration::from_secs(15);

/// Two changes of state closer than this make one write.
pub(super) const STATES_EVERY: Duration = Duration::from_millis(250);

/// How far the written time of a heartbeat may lag behind while nothing else changes.
const HEARTBEAT_LAG: i64 = 60;

/// Points of percent by which CPU or memory must move.
const LOAD_STEP: i32 = 5;

/// Points of percent by which disk use must move.
const DISK_STEP: i32 = 1;

/// Bytes a second by which traffic must move, besides by a quarter.
const TRAFFIC_STEP: i64 = 1024 * 1024;

/// How one status differs from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Change {
    /// It says the same.
    Nothing,
    /// Figures or words have moved.
    Figures,
    /// Something is in another state.
    State,
}

/// Compares what is written with what should be.
pub(super) fn change(written: &KafkaHealthPolicyStatus, wanted: &KafkaHealthPolicyStatus) -> Change {
    if skeleton(written) != skeleton(wanted) {
        return Change::State;
    }
    let conditions = written.conditions.iter().zip(&wanted.conditions);
    let words = conditions.clone().any(|(old, new)| old.message != new.message);
    let brokers = written.brokers.iter().zip(&wanted.brokers);
    if words || brokers.clone().any(|(old, new)| broker_moved(old, new)) {
        Change::Figures
    } else {
        Change::Nothing
    }
}

/// When a change is to be written, given when the status was last written by this process.
pub(super) fn due(change: Change, last: Option<Instant>, now: Instant) -> Option<Instant> {
    let gap = match change {
        Change::Nothing => return None,
        Change::Figures => FIGURES_EVERY,
        Change::State => STATES_EVERY,
    };
    Some(last.map_or(now, |last| (last + gap).max(now)))
}

/// A status with only what counts as state.
fn skeleton(status: &KafkaHealthPolicyStatus) -> KafkaHealthPolicyStatus {
    let mut state = status.clone();
    for condition in &mut state.conditions {
        condition.message.clear();
    }
    for broker in &mut state.brokers {
        let BrokerStatus { id, host, rack, pod, node, state, since, reason, next, .. } =
            std::mem::replace(broker, blank());
        // That there is something next is state; what exactly are words.
        let next = next.map(|_| String::new());
        *broker = BrokerStatus { id, host, rack, pod, node, state, since, reason, next, ..blank() };
    }
    state
}

fn blank() -> BrokerStatus {
    BrokerStatus {
        id: 0,
        host: None,
        rack: None,
        node: None,
        pod: None,
        state: String::new(),
        since: None,
        reason: String::new(),
        message: None,
        next: None,
        cpu_percent: None,
        memory_percent: None,
        disk_percent: None,
        network_in: None,
        network_out: None,
        leaders: None,
        replicas: None,
        last_heartbeat: None,
        evidence: serde_json::Map::new(),
    }
}

fn broker_moved(old: &BrokerStatus, new: &BrokerStatus) -> bool {
    let heartbeat = match (&old.last_heartbeat, &new.last_heartbeat) {
        (Some(old), Some(new)) => new.0.as_second() - old.0.as_second() >= HEARTBEAT_LAG,
        (old, new) => old.is_some() != new.is_some(),
    };
    // Of a broker that is well, the words only repeat the figures.
    let well = matches!(new.state.as_str(), "Healthy" | "Maintenance");
    heartbeat
        || (!well && (&old.message, &old.next) != (&new.message, &new.next))
        || points(old.cpu_percent, new.cpu_percent, LOAD_STEP)
        || points(old.memory_percent, new.memory_percent, LOAD_STEP)
        || points(old.disk_percent, new.disk_percent, DISK_STEP)
        || traffic(old.network_in, new.network_in)
        || traffic(old.network_out, new.network_out)
        || (old.leaders, old.replicas) != (new.leaders, new.replicas)
}

fn points(old: Option<i32>, new: Option<i32>, step: i32) -> bool {
    match (old, new) {
        (Some(old), Some(new)) => old.abs_diff(new) >= step.unsigned_abs(),
        (old, new) => old.is_some() != new.is_some(),
    }
}

fn traffic(old: Option<i64>, new: Option<i64>) -> bool {
    match (old, new) {
        (Some(old), Some(new)) => {
            let moved = old.abs_diff(new);
            moved >= TRAFFIC_STEP.unsigned_abs() && moved >= old.max(new).unsigned_abs() / 4
        }
        (old, new) => old.is_some() != new.is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use doctorkafka_api::Summary;
    use jiff::Timestamp;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

    fn at(second: i64) -> Time {
        Time(Timestamp::from_second(1_800_000_000 + second).unwrap())
    }

    fn status() -> KafkaHealthPolicyStatus {
        let broker = BrokerStatus {
            id: 1,
            state: "Healthy".into(),
            reason: "WithinLimits".into(),
            since: Some(at(0)),
            message: Some("CPU 40%".into()),
            cpu_percent: Some(40),
            disk_percent: Some(60),
            network_in: Some(10_000_000),
            last_heartbeat: Some(at(10)),
            ..blank()
        };
        let condition = Condition {
            type_: "Ready".into(),
            status: "True".into(),
            reason: "Watching".into(),
            message: "watching".into(),
            observed_generation: Some(1),
            last_transition_time: at(0),
        };
        KafkaHealthPolicyStatus {
            conditions: vec![condition],
            summary: Some(Summary { brokers: 1, healthy: 1, ..Summary::default() }),
            brokers: vec![broker],
            ..KafkaHealthPolicyStatus::default()
        }
    }

    fn changed(edit: impl FnOnce(&mut KafkaHealthPolicyStatus)) -> Change {
        let mut wanted = status();
        edit(&mut wanted);
        change(&status(), &wanted)
    }

    #[test]
    fn what_says_the_same_is_not_written() {
        assert_eq!(changed(|_| {}), Change::Nothing);
        assert_eq!(changed(|s| s.brokers[0].cpu_percent = Some(44)), Change::Nothing);
        assert_eq!(changed(|s| s.brokers[0].network_in = Some(12_000_000)), Change::Nothing);
        assert_eq!(changed(|s| s.brokers[0].last_heartbeat = Some(at(69))), Change::Nothing);
        assert_eq!(changed(|s| s.brokers[0].message = Some("CPU 41%".into())), Change::Nothing);
        assert_eq!(
            changed(|s| drop(s.brokers[0].evidence.insert("cpuPercent".into(), 41.into()))),
            Change::Nothing
        );
    }

    #[test]
    fn figures_that_moved_are_written_at_leisure() {
        assert_eq!(changed(|s| s.brokers[0].cpu_percent = Some(45)), Change::Figures);
        assert_eq!(changed(|s| s.brokers[0].cpu_percent = None), Change::Figures);
        assert_eq!(changed(|s| s.brokers[0].disk_percent = Some(61)), Change::Figures);
        assert_eq!(changed(|s| s.brokers[0].network_in = Some(14_000_000)), Change::Figures);
        assert_eq!(changed(|s| s.brokers[0].last_heartbeat = Some(at(70))), Change::Figures);
        assert_eq!(changed(|s| s.conditions[0].message = "watching two".into()), Change::Figures);
        assert_eq!(changed(|s| s.brokers[0].leaders = Some(7)), Change::Figures);
    }

    #[test]
    fn the_words_on_an_ill_broker_are_kept_up() {
        let ill = |message: &str| {
            let mut status = status();
            status.brokers[0].state = "Overloaded".into();
            status.brokers[0].message = Some(message.into());
            status
        };
        assert_eq!(change(&ill("for 3 s"), &ill("for 40 s")), Change::Figures);
    }

    #[test]
    fn states_are_written_at_once() {
        assert_eq!(changed(|s| s.brokers[0].state = "Unhealthy".into()), Change::State);
        assert_eq!(changed(|s| s.brokers[0].next = Some("Recommended".into())), Change::State);
        assert_eq!(changed(|s| s.conditions[0].status = "False".into()), Change::State);
        assert_eq!(changed(|s| s.conditions[0].reason = "Other".into()), Change::State);
        assert_eq!(changed(|s| s.observed_generation = Some(2)), Change::State);
        assert_eq!(changed(|s| s.brokers.clear()), Change::State);
        assert_eq!(change(&KafkaHealthPolicyStatus::default(), &status()), Change::State);
    }

    #[test]
    fn an_idle_policy_is_written_at_most_four_times_a_minute() {
        let start = Instant::now();
        let (mut last, mut written, mut writes) = (None, status(), 0);
        for tenth in 0..6_000_i64 {
            let now = start + Duration::from_millis(100) * u32::try_from(tenth).unwrap();
            let mut wanted = status();
            // It swings by twenty points all the time.
            wanted.brokers[0].cpu_percent = Some(if tenth / 10 % 2 == 0 { 30 } else { 50 });
            wanted.brokers[0].last_heartbeat = Some(at(tenth / 10));
            if due(change(&written, &wanted), last, now).is_some_and(|due| due <= now) {
                (last, written, writes) = (Some(now), wanted, writes + 1);
            }
        }
        assert!((30..=40).contains(&writes), "{writes} writes in ten minutes");
    }

    #[test]
    fn a_policy_at_rest_is_written_once_a_minute() {
        let start = Instant::now();
        let (mut last, mut written, mut writes) = (None, status(), 0);
        for second in 0..600_i64 {
            let now = start + Duration::from_secs(second.unsigned_abs());
            let mut wanted = status();
            wanted.brokers[0].last_heartbeat = Some(at(second));
            if due(change(&written, &wanted), last, now).is_some_and(|due| due <= now) {
                (last, written, writes) = (Some(now), wanted, writes + 1);
            }
        }
        assert!((9..=10).contains(&writes), "{writes} writes in ten minutes");
    }

    #[test]
    fn a_state_waits_for_no_figure() {
        let now = Instant::now();
        assert_eq!(due(Change::State, None, now), Some(now));
        assert_eq!(due(Change::State, Some(now - STATES_EVERY), now), Some(now));
        assert_eq!(due(Change::State, Some(now), now), Some(now + STATES_EVERY));
        assert_eq!(due(Change::Figures, Some(now), now), Some(now + FIGURES_EVERY));
        assert_eq!(due(Change::Nothing, None, now), None);
    }
}
