//! The state driven by hand-made sights and events, second by second: no I/O, no clock.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use doctorkafka_api::EffectiveMode;
use doctorkafka_diagnosis::{BrokerState, Detection, Moment, PathMark, Threshold};
use doctorkafka_kafka::{
    BrokerInfo, ClusterDescription, LogEvent, MetricsEvent, PartitionInfo, QuorumLeader, TopicInfo,
    partition_for,
};
use doctorkafka_wire::{
    ActionKind, ActionRecord, BrokerId, BrokerReport, Cpu, Outcome, Probe, Process, ProcessState,
};
use jiff::Timestamp;

use super::EngineState;
use crate::{
    DoctorReport, Policy, Role, Topics, alerts::Alerts, observe::Sight, report::SkipReason, term::TermEvent,
};

const ROOM: usize = 1_000;
const PARTITIONS: i32 = 3;

/// A cluster of three brokers, each leading four of twelve partitions, and the state of the engine that watches it.
struct World {
    state: EngineState,
    now: Moment,
    cluster: &'static str,
    topics: Option<Vec<TopicInfo>>,
    ends: [i64; 3],
    sequence: u64,
    room: usize,
    written: Vec<ActionRecord>,
}

impl World {
    fn new() -> Self {
        let now = Moment(1_000);
        let mut state = EngineState::new(Arc::new(policy(EffectiveMode::Recommend)), now);
        for partition in 0..PARTITIONS {
            state.see(Sight::Mark { partition, mark: PathMark { at: now, end: 0 } }, now);
        }
        Self {
            state,
            now,
            cluster: "c1",
            topics: Some(vec![orders()]),
            ends: [0; 3],
            sequence: 0,
            room: ROOM,
            written: Vec::new(),
        }
    }

    /// A world whose engine leads since `seconds` of good order.
    fn leading() -> Self {
        let mut world = Self::new();
        world.seconds(5, &[30.0, 30.0, 30.0]);
        world.open(&[]);
        world
    }

    /// The term has opened the log, which holds these records.
    fn open(&mut self, log: &[ActionRecord]) {
        let mut alerts = Alerts::default();
        log.iter().for_each(|record| alerts.apply(record));
        self.state.begin_term();
        self.state.hear_term(TermEvent::Opened(alerts));
    }

    /// So many seconds in which brokers 1, 2 and 3 report these CPU figures; one with NaN is silent.
    fn seconds(&mut self, seconds: u32, cpus: &[f64]) -> Vec<ActionRecord> {
        let before = self.written.len();
        for _ in 0..seconds {
            self.now = self.now + Duration::from_secs(1);
            self.look();
            self.sequence += 1;
            for (id, cpu) in (1..).zip(cpus).filter(|(_, cpu)| !cpu.is_nan()) {
                self.report(report(BrokerId(id), self.sequence, *cpu));
            }
            for (partition, end) in (0..).zip(self.ends) {
                let mark = PathMark { at: self.now, end };
                self.state.see(Sight::Mark { partition, mark }, self.now);
                self.state.metrics(MetricsEvent::Position { partition, next_offset: end }, self.now);
            }
            self.step();
        }
        self.written[before..].to_vec()
    }

    fn look(&mut self) {
        let broker = |id| BrokerInfo {
            id: BrokerId(id),
            host: format!("kafka-{id}"),
            port: 9092,
            rack: Some(format!("rack-{id}")),
            fenced: false,
        };
        let description = ClusterDescription {
            cluster_id: self.cluster.to_owned(),
            brokers: (1..=3).map(broker).collect(),
            shows_fenced: true,
        };
        let controller = Some(QuorumLeader { id: BrokerId(1), epoch: 1 });
        self.state.see(Sight::Cluster { at: self.now, description: Ok(description), controller }, self.now);
        if let Some(topics) = self.topics.clone() {
            self.state.see(Sight::Topics { at: self.now, topics }, self.now);
        }
    }

    fn report(&mut self, report: BrokerReport) {
        let partition = partition_for(report.broker_id, PARTITIONS);
        let end = &mut self.ends[usize::try_from(partition).unwrap()];
        let event =
            MetricsEvent::Record { partition, offset: *end, appended_at: None, report: Box::new(report) };
        *end += 1;
        self.state.metrics(event, self.now);
    }

    fn step(&mut self) -> Vec<ActionRecord> {
        let records = self.state.step(self.now, wall(self.now), self.room);
        self.written.extend(records.clone());
        records
    }

    fn shown(&mut self) -> DoctorReport {
        self.state.report(self.now, wall(self.now))
    }

    fn set_mode(&mut self, mode: EffectiveMode) {
        self.state.set_policy(Arc::new(policy(mode)));
    }
}

fn wall(now: Moment) -> Timestamp {
    Timestamp::from_millisecond(1_700_000_000_000 + i64::try_from(now.0).unwrap()).unwrap()
}

fn policy(leadership: EffectiveMode) -> Policy {
    let limit =
        Threshold { overloaded_above: 80.0, recovered_below: 70.0, sustained_for: Duration::from_secs(3) };
    Policy {
        name: "kafka/prod".into(),
        bootstrap_servers: "kafka:9092".into(),
        topics: Topics { metrics: "_doctor_metrics".into(), actions_log: "_doctor_actions_log".into() },
        detection: Detection {
            heartbeat_timeout: Duration::from_secs(10),
            cpu: limit,
            memory: limit,
            disk: limit,
            network: limit,
            maintenance: Default::default(),
        },
        leadership,
    }
}

fn orders() -> TopicInfo {
    let partition = |partition: i32| {
        let replicas: Vec<BrokerId> = (0..3).map(|i| BrokerId((partition + i) % 3 + 1)).collect();
        PartitionInfo { partition, leader: replicas.first().copied(), isr: replicas.clone(), replicas }
    };
    TopicInfo { name: "orders".into(), id: 1, internal: false, partitions: (0..12).map(partition).collect() }
}

fn report(broker: BrokerId, sequence: u64, cpu: f64) -> BrokerReport {
    BrokerReport {
        version: 1,
        broker_id: broker,
        cluster_id: Some("c1".into()),
        host: String::new(),
        incarnation: 7,
        sequence,
        sampled_at: Timestamp::UNIX_EPOCH,
        uptime_ms: 60_000 + sequence * 1_000,
        interval_ms: 1_000,
        process: Process { state: ProcessState::Running, pid: Some(1), started_at: None, restarts: 0 },
        probe: Some(Probe { ok: true, round_trip_ms: Some(1.0), error: None }),
        cpu: Some(Cpu { percent: cpu, used_cores: cpu / 100.0, limit_cores: 1.0 }),
        memory: None,
        network: None,
        log_dirs: Vec::new(),
        pressure: None,
        exporter: None,
        simulated: false,
        goodbye: None,
    }
}

fn kinds(records: &[ActionRecord]) -> Vec<(ActionKind, Option<i32>)> {
    records.iter().map(|record| (record.kind, record.broker.map(|broker| broker.0))).collect()
}

const CALM: &[f64] = &[30.0, 30.0, 30.0];
const HOT: &[f64] = &[95.0, 30.0, 30.0];
const ALERT: (ActionKind, Option<i32>) = (ActionKind::AlertOverload, Some(1));
const PROPOSAL: (ActionKind, Option<i32>) = (ActionKind::ReassignPartitions, Some(1));
const REFUSED: (ActionKind, Option<i32>) = (ActionKind::Refused, Some(1));
const STARTED: (ActionKind, Option<i32>) = (ActionKind::LeaderStarted, None);
const RECOVERED: (ActionKind, Option<i32>) = (ActionKind::Recovered, Some(1));

// === alerts and proposals ===

#[test]
fn an_overload_is_alerted_proposed_and_recovered_once() {
    let mut world = World::leading();
    assert_eq!(kinds(&world.seconds(3, CALM)), [STARTED]);
    let told = world.seconds(20, HOT);
    assert_eq!(kinds(&told), [ALERT, PROPOSAL]);
    assert_eq!(told[0].message, "CPU usage 95% > 80%");
    assert_eq!(told[1].outcome, Some(Outcome::Proposed));
    assert!(!told[1].leadership.is_empty());
    assert!(told[1].leadership.iter().all(|change| change.from == BrokerId(1) && change.to != BrokerId(1)));
    assert_eq!((told[0].epoch, told[0].cluster.as_str(), told[0].policy.as_str()), (1, "c1", "kafka/prod"));
    let shown = world.shown();
    assert_eq!((shown.summary.overloaded, shown.summary.healthy, shown.advice.len()), (1, 2, 1));
    assert_eq!(kinds(&world.seconds(5, CALM)), [RECOVERED]);
    let shown = world.shown();
    assert!(shown.advice.is_empty() && shown.refusals.is_empty());
}

#[test]
fn a_standby_concludes_the_same_and_writes_nothing() {
    let mut world = World::new();
    assert!(world.seconds(20, HOT).is_empty());
    let shown = world.shown();
    assert_eq!((&shown.role, shown.summary.overloaded, shown.advice.len()), (&Role::Standby, 1, 1));
}

#[test]
fn what_came_up_while_nobody_led_is_told_by_the_next_leader() {
    let mut world = World::new();
    world.seconds(10, HOT);
    world.open(&[]);
    assert_eq!(kinds(&world.step()), [STARTED, ALERT, PROPOSAL]);
}

#[test]
fn a_new_leader_repeats_nothing_that_the_log_says() {
    let mut first = World::leading();
    first.seconds(20, HOT);
    let mut log = first.written;
    log.iter_mut().for_each(|record| record.time -= Duration::from_secs(3_600));
    let mut second = World::new();
    second.open(&log);
    assert_eq!(kinds(&second.seconds(20, HOT)), [STARTED]);
    assert_eq!(second.shown().role, Role::Leading { epoch: 2 });
    let alert = log.iter().find(|record| record.kind == ActionKind::AlertOverload).unwrap();
    assert_eq!(second.shown().brokers[0].since, alert.time);
    let told = second.seconds(5, CALM);
    assert_eq!((kinds(&told), told[0].epoch), (vec![RECOVERED], 2));
}

#[test]
fn a_new_leader_tells_of_a_recovery_only_below_its_limit() {
    let mut first = World::leading();
    first.seconds(20, HOT);
    let mut second = World::new();
    second.open(&first.written);
    assert_eq!(
        kinds(&second.seconds(20, &[75.0, 30.0, 30.0])),
        [STARTED],
        "neither overloaded nor recovered"
    );
    assert_eq!(kinds(&second.seconds(2, CALM)), [RECOVERED]);
}

#[test]
fn observing_and_paused_doctors_propose_nothing_until_asked_to() {
    for quiet in [EffectiveMode::Observe, EffectiveMode::Paused] {
        let mut world = World::leading();
        world.set_mode(quiet);
        assert_eq!(kinds(&world.seconds(20, HOT)), [STARTED, ALERT], "{quiet:?}");
        assert!(world.shown().advice.is_empty());
        // Level, not edge: the overload is there when recommending is switched on.
        world.set_mode(EffectiveMode::Recommend);
        assert_eq!(kinds(&world.step()), [PROPOSAL], "{quiet:?}");
        world.set_mode(quiet);
        world.step();
        assert!(world.shown().advice.is_empty(), "{quiet:?} takes the advice back");
        world.set_mode(EffectiveMode::Recommend);
        assert!(world.seconds(5, HOT).is_empty(), "the same proposal is told once");
        assert_eq!(world.shown().advice.len(), 1);
    }
}

#[test]
fn a_broker_in_maintenance_is_not_treated_and_is_given_no_work() {
    let mut world = World::leading();
    let mut policy = policy(EffectiveMode::Recommend);
    policy.detection.maintenance = [BrokerId(2)].into_iter().collect();
    world.state.set_policy(Arc::new(policy.clone()));
    let told = world.seconds(20, &[95.0, 99.0, 30.0]);
    assert_eq!(kinds(&told), [STARTED, ALERT, PROPOSAL]);
    assert!(told[2].leadership.iter().all(|change| change.to == BrokerId(3)));
    assert_eq!(world.shown().summary.maintenance, 1);
}

#[test]
fn a_threshold_edited_over_the_load_ends_the_overload() {
    let mut world = World::leading();
    world.seconds(20, HOT);
    let mut policy = policy(EffectiveMode::Recommend);
    policy.detection.cpu.overloaded_above = 99.0;
    policy.detection.cpu.recovered_below = 97.0;
    world.state.set_policy(Arc::new(policy));
    assert_eq!(kinds(&world.seconds(5, HOT)), [RECOVERED]);
    assert!(world.shown().advice.is_empty());
}

// === refusals ===

#[test]
fn what_was_refused_first_is_proposed_when_it_becomes_possible() {
    let mut world = World::leading();
    let mut sick = orders();
    sick.partitions[0].isr.pop();
    world.topics = Some(vec![sick]);
    let told = world.seconds(20, HOT);
    assert_eq!(kinds(&told), [STARTED, ALERT, REFUSED]);
    let shown = world.shown();
    assert_eq!((shown.refusals[0].rule, shown.kafka.under_replicated), ("UnderReplicated", Some(1)));
    world.topics = Some(vec![orders()]);
    assert_eq!(kinds(&world.seconds(5, HOT)), [PROPOSAL]);
    assert!(world.shown().refusals.is_empty());
}

#[test]
fn nothing_is_planned_on_topics_that_were_never_read_or_are_out_of_date() {
    let mut world = World::leading();
    world.state.topics = None;
    world.topics = None;
    assert_eq!(kinds(&world.seconds(20, HOT)), [STARTED, ALERT, REFUSED]);
    let shown = world.shown();
    assert_eq!(shown.refusals[0].rule, "StaleData");
    assert_eq!((shown.kafka.under_replicated, shown.brokers[0].leaders), (None, None), "unknown is no zero");

    let mut world = World::leading();
    world.seconds(3, CALM);
    assert_eq!((world.shown().kafka.under_replicated, world.shown().brokers[0].leaders), (Some(0), Some(4)));
    world.topics = None;
    world.seconds(16, CALM);
    assert_eq!((world.shown().kafka.under_replicated, world.shown().brokers[0].leaders), (None, None));
    assert_eq!(kinds(&world.seconds(10, HOT)), [ALERT, REFUSED]);
}

#[test]
fn a_silent_broker_is_given_no_work_long_before_it_is_lost() {
    let mut world = World::leading();
    world.seconds(5, &[75.0, 10.0, 30.0]);
    world.seconds(4, &[75.0, f64::NAN, 30.0]);
    let told = world.seconds(5, &[95.0, f64::NAN, 30.0]);
    assert_eq!(kinds(&told), [ALERT, PROPOSAL]);
    assert!(told[1].leadership.iter().all(|change| change.to == BrokerId(3)), "{:?}", told[1].leadership);
    assert_eq!(world.shown().brokers[1].state, BrokerState::Healthy);
}

#[test]
fn a_hot_broker_that_falls_silent_is_not_relieved_of_a_load_of_the_past() {
    let mut world = World::leading();
    world.seconds(20, HOT);
    world.seconds(7, &[f64::NAN, 30.0, 30.0]);
    let shown = world.shown();
    assert_eq!((shown.summary.overloaded, shown.advice.len()), (1, 0));
    assert_eq!(shown.refusals[0].rule, "UnknownLoad");
}

// === the outbox ===

#[test]
fn a_full_outbox_loses_nothing() {
    let mut world = World::leading();
    world.room = 0;
    assert!(world.seconds(20, HOT).is_empty());
    world.room = 1;
    assert_eq!(kinds(&world.step()), [STARTED]);
    assert_eq!(kinds(&world.step()), [ALERT]);
    assert_eq!(kinds(&world.seconds(5, HOT)), [PROPOSAL]);
    assert!(world.seconds(5, HOT).is_empty());
}

#[test]
fn what_the_term_writes_and_leaves_out_is_counted() {
    let mut world = World::leading();
    world.state.hear_term(TermEvent::Committed(vec![ActionKind::LeaderStarted, ActionKind::AlertOverload]));
    world.state.hear_term(TermEvent::Committed(vec![ActionKind::AlertOverload]));
    world.state.hear_term(TermEvent::LeftOut);
    world.state.set_waiting(3);
    let counters = world.shown().counters;
    let actions = BTreeMap::from([(ActionKind::LeaderStarted, 1), (ActionKind::AlertOverload, 2)]);
    assert_eq!((counters.actions, counters.outbox, counters.outbox_dropped), (actions, 3, 1));
}

// === who leads ===

#[test]
fn a_fenced_doctor_is_silent_until_it_is_elected_anew() {
    let mut world = World::leading();
    world.seconds(3, CALM);
    world.state.hear_term(TermEvent::Fenced);
    assert!(world.seconds(20, HOT).is_empty());
    assert!(world.state.is_fenced());
    // Neither the end of the term nor a conflict that comes and goes is an election.
    world.state.end_term();
    world.state.set_conflict(Some("taken"));
    world.state.set_conflict(None);
    assert!(world.state.is_fenced());
    assert_eq!(world.shown().role, Role::Fenced);
    world.state.stand_by();
    assert_eq!((world.shown().role, world.state.is_fenced()), (Role::Standby, false));
    world.open(&[]);
    assert_eq!(kinds(&world.step()), [STARTED, ALERT, PROPOSAL]);
}

#[test]
fn a_conflict_that_comes_while_leading_silences_and_one_that_goes_lets_begin_again() {
    let mut world = World::leading();
    world.seconds(3, CALM);
    world.state.set_conflict(Some("another policy has it"));
    assert!(world.seconds(20, HOT).is_empty());
    let shown = world.shown();
    assert_eq!(shown.role, Role::Conflict { message: "another policy has it".into() });
    assert!(shown.advice.is_empty() && shown.refusals.is_empty());
    world.state.stand_by();
    assert!(matches!(world.shown().role, Role::Conflict { .. }), "the conflict is the reason");
    world.state.set_conflict(None);
    assert_eq!(world.shown().role, Role::Standby);
    let log = world.written.clone();
    world.open(&log);
    assert_eq!(kinds(&world.step()), [STARTED, ALERT, PROPOSAL]);
}

#[test]
fn a_broken_term_is_followed_by_one_that_tells_what_the_log_lacks() {
    let mut world = World::leading();
    world.seconds(20, HOT);
    world.state.hear_term(TermEvent::Broken);
    assert_eq!(world.shown().role, Role::Standby);
    assert!(world.seconds(3, HOT).is_empty());
    // The alert is in the log, the proposal was not committed.
    let log: Vec<ActionRecord> = world
        .written
        .iter()
        .filter(|record| record.kind != ActionKind::ReassignPartitions)
        .cloned()
        .collect();
    world.open(&log);
    assert_eq!(kinds(&world.step()), [STARTED, PROPOSAL]);
}

// === what is shown ===

#[test]
fn a_report_carries_the_newest_actions_and_forgets_those_of_a_log_that_is_gone() {
    let mut writer = World::leading();
    let record = writer.seconds(1, CALM).remove(0);
    let mut world = World::new();
    for offset in 0..i64::try_from(DoctorReport::RECENT_ACTIONS).unwrap() + 5 {
        let record = Box::new(ActionRecord { id: offset.to_string(), ..record.clone() });
        world.state.log(LogEvent::Record { offset, record });
    }
    let shown = world.shown();
    assert_eq!(shown.actions.len(), DoctorReport::RECENT_ACTIONS);
    assert_eq!((shown.actions[0].id.as_str(), shown.actions[199].id.as_str()), ("5", "204"));
    assert!(Arc::ptr_eq(&shown.actions, &world.shown().actions), "not copied again without need");
    world.state.log(LogEvent::Restarted);
    assert!(world.shown().actions.is_empty());
}

#[test]
fn nothing_is_claimed_before_anything_was_seen() {
    let mut world = World::new();
    let shown = world.shown();
    assert_eq!((shown.kafka.reachable, shown.kafka.under_replicated, shown.summary.brokers), (None, None, 0));
    assert!(world.step().is_empty());
}

#[test]
fn one_failed_look_is_no_outage() {
    let mut world = World::new();
    let failed = || Sight::Cluster { at: Moment(0), description: Err("refused".into()), controller: None };
    world.seconds(1, CALM);
    world.now = world.now + Duration::from_secs(2);
    world.state.see(failed(), world.now);
    assert_eq!(world.shown().kafka.reachable, Some(true));
    world.now = world.now + Duration::from_secs(2);
    world.state.see(failed(), world.now);
    let kafka = world.shown().kafka;
    assert_eq!((kafka.reachable, kafka.error.as_deref()), (Some(false), Some("refused")));
    assert_eq!((kafka.cluster_id.as_deref(), kafka.controller_id), (Some("c1"), None));
    world.seconds(1, CALM);
    assert_eq!((world.shown().kafka.reachable, world.shown().kafka.error), (Some(true), None));
}

#[test]
fn another_cluster_under_the_same_address_is_not_taken_for_the_one_that_is_watched() {
    let mut world = World::leading();
    world.seconds(3, CALM);
    world.cluster = "c2";
    world.seconds(9, CALM);
    assert!(!world.state.is_replaced(world.now));
    let kafka = world.shown().kafka;
    assert_eq!((kafka.cluster_id.as_deref(), kafka.reachable), (Some("c1"), Some(false)));
    assert!(kafka.error.unwrap().contains("c2"));
    world.seconds(3, CALM);
    assert!(world.state.is_replaced(world.now));
    world.cluster = "c1";
    world.seconds(1, CALM);
    assert!(!world.state.is_replaced(world.now), "it was only away");
}

#[test]
fn reports_that_cannot_be_used_are_counted_by_reason() {
    let mut world = World::new();
    world.seconds(1, CALM);
    world.report(report(BrokerId(1), 1, 99.0));
    world.report(report(BrokerId(9), 1, 99.0));
    world.report(BrokerReport { cluster_id: Some("c2".into()), ..report(BrokerId(1), 99, 99.0) });
    let counters = world.shown().counters;
    let skipped =
        BTreeMap::from([(SkipReason::Repeated, 1), (SkipReason::UnknownBroker, 1), (SkipReason::Forged, 1)]);
    assert_eq!((counters.reports, counters.skipped), (3, skipped));
}

#[test]
fn figures_are_published_twice_a_second_and_changes_at_once() {
    let mut world = World::new();
    world.seconds(3, CALM);
    assert!(world.state.worth_publishing(world.now));
    let later = world.now + Duration::from_millis(100);
    assert!(!world.state.worth_publishing(later), "nothing new");
    world.state.begin_term();
    assert!(world.state.worth_publishing(later));
    assert!(!world.state.worth_publishing(later + Duration::from_millis(499)));
    assert!(world.state.worth_publishing(later + Duration::from_millis(500)));
}

#[test]
fn silent_brokers_are_worth_a_probe() {
    let mut world = World::new();
    world.seconds(3, CALM);
    assert!(world.state.worth_probing(world.now).is_empty());
    world.seconds(5, &[30.0, f64::NAN, 30.0]);
    let worth = BTreeMap::from([(BrokerId(2), "kafka-2:9092".to_owned())]);
    assert_eq!(world.state.worth_probing(world.now), worth);
}
