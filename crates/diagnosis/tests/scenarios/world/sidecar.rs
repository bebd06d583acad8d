//! A sidecar: measures its broker each second and publishes as `ReportPublisher` does.

use std::collections::VecDeque;

use doctorkafka_wire::{
    BrokerId, BrokerReport, Cpu, Goodbye, LogDir, Memory, Network, Probe, Process as ReportedProcess,
    ProcessState,
};
use jiff::{SignedDuration, Timestamp};

use super::{
    kafka::{Kafka, Node, Process},
    random::Random,
};

const INTERVAL: u64 = 1_000;
/// Reports that are kept for a partition while it does not take them.
const KEPT: usize = 60;
/// A home partition that takes no report for so long makes every report go to every partition.
const PATIENCE: u64 = 2_000;

/// What the sidecar measures, percent.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    pub cpu: f64,
    pub memory: f64,
    pub disk: f64,
    pub network: f64,
}

#[derive(Debug, Clone, Default)]
struct Lane {
    waiting: VecDeque<BrokerReport>,
    unanswered_since: Option<u64>,
}

#[derive(Debug, Clone)]
pub struct Sidecar {
    pub broker: i32,
    pub home: usize,
    pub load: Load,
    /// Its wall clock is off by this, milliseconds.
    pub clock_error: i64,
    /// No way to any broker.
    pub cut: bool,
    /// Whether it probes its broker's listener.
    pub probes: bool,
    incarnation: u64,
    sequence: u64,
    /// Where its monotonic clock began.
    started: u64,
    next: u64,
    pid: Option<i32>,
    restarts: u32,
    lanes: [Lane; 3],
}

impl Sidecar {
    pub fn start(broker: i32, home: usize, now: u64, random: &mut Random) -> Self {
        Self {
            broker,
            home,
            load: Load { cpu: 40.0, memory: 50.0, disk: 30.0, network: 20.0 },
            clock_error: 0,
            cut: false,
            probes: true,
            incarnation: random.next(),
            sequence: 0,
            started: now,
            next: now + random.below(INTERVAL),
            pid: None,
            restarts: 0,
            lanes: Default::default(),
        }
    }

    /// When its newest report was taken.
    pub fn last_report(&self) -> u64 {
        self.next.saturating_sub(INTERVAL)
    }

    /// The machine stood still: neither its monotonic clock nor its timers went on.
    pub fn suspended(&mut self, for_: u64) {
        self.started += for_;
        self.next += for_;
    }

    pub fn step(&mut self, now: u64, kafka: &mut Kafka, random: &mut Random) {
        if now >= self.next {
            // Timers fire a little late and do not drift.
            self.next += INTERVAL;
            let node = kafka.node(self.broker).clone();
            let report = self.measure(now, &node, None, random);
            self.publish(report, now);
        }
        self.send(now, kafka);
    }

    /// The last report of a sidecar that ends in good order.
    pub fn say_goodbye(&mut self, now: u64, kafka: &mut Kafka, random: &mut Random) {
        let node = kafka.node(self.broker).clone();
        let report = self.measure(now, &node, Some(Goodbye::Terminated), random);
        self.publish(report, now);
        self.send(now, kafka);
    }

    fn publish(&mut self, report: BrokerReport, now: u64) {
        let in_order = report.process.state == ProcessState::Running
            && report.probe.as_ref().is_none_or(|probe| probe.ok);
        let home_is_silent =
            self.lanes[self.home].unanswered_since.is_some_and(|since| now - since >= PATIENCE);
        for (partition, lane) in self.lanes.iter_mut().enumerate() {
            if partition == self.home || !in_order || home_is_silent {
                lane.unanswered_since.get_or_insert(now);
                lane.waiting.push_back(report.clone());
                if lane.waiting.len() > KEPT {
                    lane.waiting.pop_front();
                }
            }
        }
    }

    fn send(&mut self, now: u64, kafka: &mut Kafka) {
        for (index, lane) in self.lanes.iter_mut().enumerate() {
            let reachable = !self.cut && kafka.leader(index, now).is_some();
            let partition = &mut kafka.partitions[index];
            if reachable && now >= partition.known_from {
                partition.log.extend(lane.waiting.drain(..));
                lane.unanswered_since = None;
            }
        }
    }

    fn measure(
        &mut self,
        now: u64,
        node: &Node,
        goodbye: Option<Goodbye>,
        random: &mut Random,
    ) -> BrokerReport {
        self.sequence += 1;
        let wall = |at: u64| {
            let millis = 1_795_000_000_000 + at as i64 + self.clock_error;
            Timestamp::from_millisecond(millis).expect("a time near the present")
        };
        let there = node.process != Process::Absent;
        if there && self.pid != Some(node.pid) {
            self.restarts += u32::from(self.pid.is_some());
            self.pid = Some(node.pid);
        }
        let sampled_at = wall(now);
        let state = match node.process {
            Process::Running => ProcessState::Running,
            Process::Stopped => ProcessState::Stopped,
            Process::Absent => ProcessState::Absent,
        };
        let error = match node.process {
            _ if node.serves(now) => None,
            Process::Stopped => Some("no answer within 1s"),
            Process::Running | Process::Absent => Some("connection refused"),
        };
        let probe = Probe {
            ok: error.is_none(),
            round_trip_ms: error.is_none().then_some(1.5),
            error: error.map(str::to_owned),
        };
        let percent_of = |percent: f64, of: f64| (of * percent / 100.0) as u64;
        const GIB: f64 = 1_073_741_824.0;
        BrokerReport {
            version: BrokerReport::VERSION,
            broker_id: BrokerId(self.broker),
            cluster_id: None,
            host: format!("host-{}", self.broker),
            incarnation: self.incarnation,
            sequence: self.sequence,
            sampled_at,
            uptime_ms: now - self.started,
            interval_ms: 1_000,
            process: ReportedProcess {
                state,
                pid: there.then_some(node.pid),
                // Reckoned anew each time from the process's age, which is known to a tick of the kernel.
                started_at: there
                    .then(|| wall(node.started) + SignedDuration::from_millis(random.below(20) as i64)),
                restarts: self.restarts,
            },
            probe: self.probes.then_some(probe),
            cpu: there.then(|| Cpu {
                percent: self.load.cpu,
                used_cores: self.load.cpu / 25.0,
                limit_cores: 4.0,
            }),
            memory: there.then(|| Memory {
                rss_bytes: percent_of(self.load.memory, 8.0 * GIB),
                limit_bytes: Some((8.0 * GIB) as u64),
                heap_used_bytes: None,
                heap_max_bytes: None,
            }),
            network: Some(Network {
                in_bytes_per_sec: self.load.network * 1e6,
                out_bytes_per_sec: 1e3,
                capacity_bytes_per_sec: Some(100_000_000),
            }),
            log_dirs: vec![LogDir {
                path: "/data".into(),
                used_bytes: percent_of(self.load.disk, 100.0 * GIB),
                total_bytes: (100.0 * GIB) as u64,
            }],
            pressure: None,
            exporter: None,
            simulated: false,
            goodbye,
        }
    }
}
