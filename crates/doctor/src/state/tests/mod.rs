//! The state driven by hand-made sights and events, second by second: no I/O, no clock.

mod alerts;
mod carry_out;
mod cruise_control;
mod healing;
mod large;
mod leadership;
mod moves;
mod offers;
mod pace;
mod planning;
mod platform;
mod safety;
mod show;
mod treatment;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use doctorkafka_api::EffectiveMode;
use doctorkafka_diagnosis::{BrokerState, Detection, Moment, PathMark, Threshold};
use doctorkafka_kafka::{
    BrokerInfo, ClusterDescription, LogEvent, MetricsEvent, PartitionInfo, QuorumLeader, TopicInfo,
    partition_for,
};
use doctorkafka_wire::{
    ActionKind, ActionRecord, BrokerId, BrokerReport, Cpu, LogDir, Network, Outcome, Probe, Process,
    ProcessState,
};
use jiff::Timestamp;

use crate::{execute::Limits, ledger::Ledger};

use super::EngineState;
use crate::{DoctorReport, Policy, Role, Topics, observe::Sight, report::SkipReason, term::TermEvent};

const ROOM: usize = 1_000;
const PARTITIONS: i32 = 3;

/// A cluster of three brokers, each leading four of twelve partitions, and the state of the engine that watches it.
struct World {
    state: EngineState,
    now: Moment,
    cluster: &'static str,
    topics: Option<Vec<TopicInfo>>,
    /// How many brokers there are.
    brokers: i32,
    /// The rack of each broker.
    rack: fn(i32) -> i32,
    /// Brokers that Kafka has fenced.
    fenced: Vec<i32>,
    /// How full the disks of brokers are, percent; those of all others are not known.
    disks: BTreeMap<i32, u64>,
    /// How much of their links brokers use, percent; that of all others is not known.
    links: BTreeMap<i32, f64>,
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
            brokers: 3,
            rack: |id| id,
            fenced: Vec::new(),
            disks: BTreeMap::new(),
            links: BTreeMap::new(),
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
        let mut ledger = Ledger::default();
        (0..).zip(log).for_each(|(offset, record)| ledger.apply(offset, record));
        self.state.begin_term();
        self.state.hear_term(TermEvent::Opened(Box::new(ledger)));
    }

    /// So many seconds in which brokers 1, 2 and 3 report these CPU figures; one with NaN is silent.
    fn seconds(&mut self, seconds: u32, cpus: &[f64]) -> Vec<ActionRecord> {
        let before = self.written.len();
        for _ in 0..seconds {
            self.now = self.now + Duration::from_secs(1);
            self.look();
            self.sequence += 1;
            for (id, cpu) in (1..).zip(cpus).filter(|(_, cpu)| !cpu.is_nan()) {
                let disk = |used: &u64| LogDir { path: "/data".into(), used_bytes: *used, total_bytes: 100 };
                let log_dirs = self.disks.get(&id).map(disk).into_iter().collect();
                let link = |used: &f64| Network {
                    in_bytes_per_sec: *used,
                    out_bytes_per_sec: *used,
                    capacity_bytes_per_sec: Some(100),
                };
                let network = self.links.get(&id).map(link);
                self.report(BrokerReport { log_dirs, network, ..report(BrokerId(id), self.sequence, *cpu) });
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
            rack: Some(format!("rack-{}", (self.rack)(id))),
            fenced: self.fenced.contains(&id),
        };
        let description = ClusterDescription {
            cluster_id: self.cluster.to_owned(),
            brokers: (1..=self.brokers).map(broker).collect(),
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
        let mut records = self.state.step(self.now, wall(self.now), self.room);
        // What is planned elsewhere is planned before the next step.
        while let Some(job) = self.state.take_job() {
            self.state.planned(job.number, Some(job.run()));
            let room = self.room.saturating_sub(records.len());
            records.extend(self.state.step(self.now, wall(self.now), room));
        }
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
        replicas: EffectiveMode::Observe,
        broker_failure: EffectiveMode::Observe,
        heal_after: Duration::from_secs(60),
        drain: Default::default(),
        demote: Default::default(),
        limits: Limits::default(),
        throttle: doctorkafka_api::Throttle::Auto,
        max_disk: 80.0,
        cooldown: Duration::from_secs(60),
        maintenance: Default::default(),
    }
}

fn orders() -> TopicInfo {
    let partition = |partition: i32| {
        let replicas: Vec<BrokerId> = (0..3).map(|i| BrokerId((partition + i) % 3 + 1)).collect();
        let leader = replicas.first().copied();
        PartitionInfo { partition, leader, isr: replicas.clone(), replicas, eligible: None }
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
