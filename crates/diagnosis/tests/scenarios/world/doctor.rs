//! A doctor: reads the metrics topic, marks its path, looks at the cluster, probes the silent and diagnoses; and checks at
//! every diagnosis what must always hold.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use doctorkafka_diagnosis::{
    BrokerFacts, BrokerState, ClusterFacts, Detection, Diagnosis, Diagnostician, DirectProbe, Moment,
    PathMark, Reason, Registration,
};
use doctorkafka_wire::BrokerId;

use super::{
    kafka::{Kafka, Process},
    random::Random,
};

const POLL_EVERY: u64 = 60;
const MARK_EVERY: u64 = 200;
const LOOK_EVERY: u64 = 1_000;
const DIAGNOSE_EVERY: u64 = 100;
/// A reader begins so many records before the end.
const TAIL: usize = 30;

/// One change of a broker's state.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    pub at: u64,
    pub broker: i32,
    pub from: Option<BrokerState>,
    pub to: BrokerState,
    pub reason: Reason,
    pub message: String,
}

#[derive(Debug)]
pub struct Doctor {
    pub diagnostician: Diagnostician,
    /// Brokers it cannot reach, and what a probe of them says.
    pub cut: BTreeMap<i32, DirectProbe>,
    pub suspended: bool,
    /// Whether brokers tell of fenced ones (Kafka 4).
    pub names_fenced: bool,
    pub changes: Vec<Change>,
    /// Brokers by id, with the partition their reports come by.
    homes: BTreeMap<i32, usize>,
    latest: BTreeMap<BrokerId, Diagnosis>,
    positions: [usize; 3],
    answers: VecDeque<(u64, usize, PathMark)>,
    next: [u64; 4],
}

impl Doctor {
    pub fn start(detection: Detection, homes: BTreeMap<i32, usize>, kafka: &Kafka, now: u64) -> Self {
        let tail = |p: usize| kafka.partitions[p].high_watermark.saturating_sub(TAIL);
        Self {
            diagnostician: Diagnostician::new(detection, Moment(now)),
            cut: BTreeMap::new(),
            suspended: false,
            names_fenced: true,
            changes: Vec::new(),
            homes,
            latest: BTreeMap::new(),
            positions: [tail(0), tail(1), tail(2)],
            answers: VecDeque::new(),
            next: [now; 4],
        }
    }

    pub fn diagnosis(&self, broker: i32) -> Option<&Diagnosis> {
        self.latest.get(&BrokerId(broker))
    }

    pub fn step(&mut self, now: u64, kafka: &Kafka, random: &mut Random) {
        if self.suspended {
            return;
        }
        while let Some((_, partition, mark)) = self.answers.pop_front_if(|(at, ..)| now >= *at) {
            self.diagnostician.mark(partition as i32, mark);
        }
        if self.is_due(0, MARK_EVERY, now) {
            self.ask_for_marks(now, kafka, random);
        }
        if self.is_due(1, LOOK_EVERY, now) {
            self.look(now, kafka);
            self.probe(now, kafka);
        }
        let read = self.is_due(2, POLL_EVERY, now) && self.poll(now, kafka);
        if self.is_due(3, DIAGNOSE_EVERY, now) || read {
            self.diagnose(now);
        }
    }

    fn is_due(&mut self, what: usize, every: u64, now: u64) -> bool {
        let due = now >= self.next[what];
        if due {
            self.next[what] = now + every;
        }
        due
    }

    fn reaches(&self, id: i32, now: u64, kafka: &Kafka) -> bool {
        kafka.serves(id, now) && !self.cut.contains_key(&id)
    }

    fn ask_for_marks(&mut self, now: u64, kafka: &Kafka, random: &mut Random) {
        for (index, partition) in kafka.partitions.iter().enumerate() {
            if partition.leader.is_some_and(|leader| self.reaches(leader, now, kafka)) {
                let mark = PathMark { at: Moment(now), end: partition.log.len() as i64 };
                self.answers.push_back((now + 5 + random.below(60), index, mark));
            }
        }
    }

    fn look(&mut self, now: u64, kafka: &Kafka) {
        if !kafka.nodes.keys().any(|id| self.reaches(*id, now, kafka)) {
            return;
        }
        let known = kafka.nodes.iter().filter(|(_, node)| self.names_fenced || !node.fenced);
        let facts = |(id, node): (&i32, &super::kafka::Node)| {
            let registration = if node.fenced { Registration::Fenced } else { Registration::Active };
            let home = self.homes.get(id).copied().unwrap_or_default() as i32;
            (BrokerId(*id), BrokerFacts { registration, home })
        };
        self.diagnostician.look(ClusterFacts {
            at: Moment(now),
            brokers: known.map(facts).collect(),
            names_fenced: self.names_fenced,
            controller: kafka.controller.map(|(id, epoch)| (BrokerId(id), epoch)),
        });
    }

    fn probe(&mut self, now: u64, kafka: &Kafka) {
        for id in self.diagnostician.silent_for(Duration::from_secs(3), Moment(now)) {
            let outcome = match (self.cut.get(&id.0), kafka.nodes.get(&id.0)) {
                (Some(cut), _) => *cut,
                (_, Some(node)) if node.serves(now) => DirectProbe::Answered,
                (_, Some(node)) if node.process == Process::Stopped => DirectProbe::Silent,
                _ => DirectProbe::Refused,
            };
            self.diagnostician.probed(id, Some(outcome));
        }
    }

    /// Reads what there is; a long backlog is diagnosed in the middle, too, as an engine may do.
    fn poll(&mut self, now: u64, kafka: &Kafka) -> bool {
        let mut read = false;
        for (index, partition) in kafka.partitions.iter().enumerate() {
            if !partition.leader.is_some_and(|leader| self.reaches(leader, now, kafka)) {
                continue;
            }
            let readable = partition.log.get(..partition.high_watermark).unwrap_or(&partition.log);
            let from = self.positions[index].min(readable.len());
            for (offset, report) in readable.iter().enumerate().skip(from) {
                self.diagnostician.report(index as i32, offset as i64, report.clone(), Moment(now));
                if offset % 7 == 3 {
                    self.diagnose(now);
                }
                read = true;
            }
            self.positions[index] = readable.len();
            self.diagnostician.read_to(index as i32, readable.len() as i64);
        }
        read
    }

    fn diagnose(&mut self, now: u64) {
        let diagnoses = self.diagnostician.diagnose(Moment(now)).clone();
        assert_eq!(&diagnoses, self.diagnostician.diagnose(Moment(now)), "diagnosing changes a diagnosis");
        for (id, diagnosis) in &diagnoses {
            check(diagnosis);
            let before = self.latest.get(id);
            let from = before.map(|before| before.state);
            if from == Some(diagnosis.state) {
                assert_eq!(before.map(|before| before.since), Some(diagnosis.since), "{diagnosis:?}");
                continue;
            }
            self.changes.push(Change {
                at: now,
                broker: id.0,
                from,
                to: diagnosis.state,
                reason: diagnosis.reason,
                message: diagnosis.message.clone(),
            });
        }
        self.latest = diagnoses;
    }
}

/// No state without a reason that fits, a sentence, and evidence where someone is to act on it.
fn check(diagnosis: &Diagnosis) {
    use Reason::*;
    let fits = match diagnosis.state {
        BrokerState::Healthy => matches!(diagnosis.reason, WithinLimits),
        BrokerState::Overloaded => {
            matches!(diagnosis.reason, CpuAbove | MemoryAbove | DiskAbove | NetworkAbove)
        }
        BrokerState::Unhealthy => {
            matches!(diagnosis.reason, HeartbeatLost | ProcessDown | Unresponsive | Fenced)
        }
        BrokerState::Recovering => matches!(diagnosis.reason, Starting),
        BrokerState::Maintenance => matches!(diagnosis.reason, InMaintenance),
        BrokerState::Unknown => {
            matches!(diagnosis.reason, NotSeenYet | AllSilent | PathUnavailable | KafkaUnreachable)
        }
    };
    assert!(fits, "{diagnosis:?}");
    assert!(!diagnosis.message.is_empty(), "{diagnosis:?}");
    let needs_evidence = matches!(diagnosis.state, BrokerState::Unhealthy | BrokerState::Overloaded);
    assert!(!needs_evidence || !diagnosis.evidence.is_empty(), "{diagnosis:?}");
    assert_eq!(diagnosis.state == BrokerState::Overloaded, diagnosis.resource.is_some(), "{diagnosis:?}");
}
