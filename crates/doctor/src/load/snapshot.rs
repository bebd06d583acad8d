//! One look at all partitions of a cluster, in flat arrays: some 100 bytes for a partition of three replicas.

use std::collections::{BTreeMap, BTreeSet};

use doctorkafka_diagnosis::Moment;
use doctorkafka_kafka::{BrokerInfo, LogDir, LogSpan, RunningReassignment, TopicInfo, TopicPartitions};
use doctorkafka_wire::BrokerId;

use super::disk::{Disk, volume};

/// Names of topics that are kept to tell of them, at the most.
const EXAMPLES: usize = 3;

/// The places, sizes and offsets of all partitions, as read at about the same time.
#[derive(Debug)]
pub struct LoadSnapshot {
    /// When it was begun.
    pub(super) at: Moment,
    cluster_id: String,
    /// Brokers that the cluster names.
    pub(super) brokers: BTreeMap<BrokerId, BrokerLook>,
    /// By name.
    topics: Vec<Topic>,
    /// Topic by topic, by number.
    pub(super) partitions: Vec<Partition>,
    /// Partition by partition, the preferred leader of each first.
    replicas: Vec<Replica>,
    /// How many partitions are being reassigned, or why that is not known.
    pub(super) reassigning: Result<usize, Missing>,
    /// Replicas in directories, of topics that the cluster did not name.
    pub(super) unseen: Unseen,
}

/// What was seen of one broker.
#[derive(Debug)]
pub(super) struct BrokerLook {
    pub rack: Option<String>,
    /// Registered and not fenced: it answers, and its replicas count.
    pub in_service: bool,
    pub disk: Option<Disk>,
    /// Why its directories were not read.
    pub missing: Option<Missing>,
    /// When the partitions that it leads were asked for their offsets.
    pub spans_at: Option<Moment>,
}

/// Why something is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Missing {
    /// Whether this user lacks a right.
    pub denied: bool,
    /// What was tried on what, and the answer.
    pub message: String,
}

#[derive(Debug, Default)]
pub(super) struct Unseen {
    pub replicas: usize,
    pub topics: BTreeSet<String>,
}

#[derive(Debug)]
pub(super) struct Topic {
    pub name: Box<str>,
    /// Changes when it is deleted and created again.
    pub id: u128,
    pub internal: bool,
    /// Its first partition.
    first: u32,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Partition {
    pub number: i32,
    /// Its first replica.
    first: u32,
    /// Which of its replicas leads.
    leader: u8,
    start: i64,
    /// Negative while not known.
    end: i64,
}

const NO_LEADER: u8 = u8::MAX;

#[derive(Debug, Clone, Copy)]
pub(super) struct Replica {
    pub broker: BrokerId,
    pub in_sync: bool,
    /// Being made by a reassignment.
    pub coming: bool,
    bytes: u64,
}

const UNKNOWN: u64 = u64::MAX;

impl Replica {
    /// Bytes of its segments, where its broker told.
    pub fn bytes(&self) -> Option<u64> {
        Some(self.bytes).filter(|bytes| *bytes != UNKNOWN)
    }
}

impl Partition {
    /// The part of its log that its leader has.
    pub fn span(&self) -> Option<LogSpan> {
        (self.end >= 0).then_some(LogSpan { start: self.start, end: self.end })
    }
}

impl LoadSnapshot {
    /// Begins a snapshot: who holds what. Reassignments under way count as if they were done: what is coming is held, and
    /// what is going is not.
    pub(super) fn begin(
        at: Moment,
        cluster_id: String,
        brokers: &[BrokerInfo],
        mut infos: Vec<TopicInfo>,
        running: Result<Vec<RunningReassignment>, Missing>,
    ) -> Self {
        let reassigning = running.as_ref().map(Vec::len).map_err(Clone::clone);
        let running: BTreeMap<(&str, i32), &RunningReassignment> = running
            .iter()
            .flatten()
            .map(|running| ((running.at.topic.as_str(), running.at.partition), running))
            .collect();
        let look = |broker: &BrokerInfo| BrokerLook {
            rack: broker.rack.clone(),
            in_service: !broker.fenced,
            disk: None,
            missing: None,
            spans_at: None,
        };
        let mut snapshot = Self {
            at,
            cluster_id,
            brokers: brokers.iter().map(|broker| (broker.id, look(broker))).collect(),
            topics: Vec::with_capacity(infos.len()),
            partitions: Vec::with_capacity(infos.iter().map(|info| info.partitions.len()).sum()),
            replicas: Vec::new(),
            reassigning,
            unseen: Unseen::default(),
        };
        infos.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        for info in infos {
            snapshot.topics.push(Topic {
                first: index(snapshot.partitions.len()),
                name: info.name.clone().into_boxed_str(),
                id: info.id,
                internal: info.internal,
            });
            for partition in info.partitions {
                let running = running.get(&(info.name.as_str(), partition.partition));
                let all = running.map_or(&partition.replicas, |running| &running.replicas);
                let stays = |broker: &&BrokerId| running.is_none_or(|it| !it.removing.contains(broker));
                let first = index(snapshot.replicas.len());
                snapshot.replicas.extend(all.iter().filter(stays).map(|broker| Replica {
                    broker: *broker,
                    in_sync: partition.isr.contains(broker),
                    coming: running.is_some_and(|it| it.adding.contains(broker)),
                    bytes: UNKNOWN,
                }));
                let leads = |replica: &Replica| Some(replica.broker) == partition.leader;
                let leader = snapshot.replicas[first as usize..].iter().position(leads);
                snapshot.partitions.push(Partition {
                    number: partition.partition,
                    first,
                    leader: leader.and_then(|leader| u8::try_from(leader).ok()).unwrap_or(NO_LEADER),
                    start: 0,
                    end: -1,
                });
            }
        }
        snapshot.replicas.shrink_to_fit();
        snapshot
    }

    /// Takes in the directories of a broker.
    pub(super) fn see_dirs(&mut self, broker: BrokerId, at: Moment, dirs: Vec<LogDir>) {
        let volume = volume(&dirs);
        let (mut replicas, mut leaving) = (0_u64, 0_u64);
        for replica in dirs.iter().flat_map(|dir| &dir.replicas).filter(|replica| !replica.future) {
            let Some(topic) = self.topic(&replica.at.topic) else {
                self.unseen.replicas += 1;
                if self.unseen.topics.len() < EXAMPLES {
                    self.unseen.topics.insert(replica.at.topic.clone());
                }
                continue;
            };
            let held = self.find(topic, replica.at.partition).and_then(|partition| {
                let slots = self.slots(partition);
                self.replicas[slots].iter_mut().find(|held| held.broker == broker)
            });
            match held {
                Some(held) => {
                    held.bytes = replica.bytes;
                    replicas += replica.bytes;
                }
                None => leaving += replica.bytes,
            }
        }
        if let Some(look) = self.brokers.get_mut(&broker) {
            look.disk = Some(Disk::new(at, volume, replicas, leaving));
        }
    }

    /// Takes in that a broker's directories could not be read.
    pub(super) fn miss_dirs(&mut self, broker: BrokerId, missing: Missing) {
        if let Some(look) = self.brokers.get_mut(&broker) {
            look.missing = Some(missing);
        }
    }

    /// What each broker leads, to be asked for its offsets.
    pub(super) fn led(&self) -> BTreeMap<BrokerId, Vec<usize>> {
        let mut led: BTreeMap<BrokerId, Vec<usize>> = BTreeMap::new();
        for partition in 0..self.partitions.len() {
            if let Some(leader) = self.leader(partition) {
                led.entry(leader).or_default().push(partition);
            }
        }
        led
    }

    /// Partitions, by topic.
    pub(super) fn by_topic(&self, partitions: &[usize]) -> Vec<TopicPartitions<'_>> {
        let mut topics: Vec<TopicPartitions<'_>> = Vec::new();
        let mut of = 0..0;
        for partition in partitions {
            if !of.contains(partition) {
                let topic = self.topic_of(*partition);
                of = self.range(topic);
                topics.push(TopicPartitions { topic: &self.topics[topic].name, partitions: Vec::new() });
            }
            if let Some(last) = topics.last_mut() {
                last.partitions.push(self.partitions[*partition].number);
            }
        }
        topics
    }

    /// Takes in where the logs of partitions that a broker leads begin and end.
    pub(super) fn see_spans(
        &mut self,
        broker: BrokerId,
        at: Moment,
        partitions: &[usize],
        spans: &[Option<LogSpan>],
    ) {
        for (partition, span) in partitions.iter().zip(spans) {
            if let Some(LogSpan { start, end }) = span {
                let partition = &mut self.partitions[*partition];
                (partition.start, partition.end) = (*start, *end);
            }
        }
        if let Some(look) = self.brokers.get_mut(&broker) {
            look.spans_at = Some(at);
        }
    }

    /// Fills in the sizes that an earlier snapshot has of brokers whose directories could not be read this time. They keep
    /// their age.
    pub(super) fn carry_over(&mut self, earlier: &Self) {
        let lacking: Vec<BrokerId> = self
            .brokers
            .iter()
            .filter(|(_, look)| look.in_service && look.disk.is_none())
            .map(|(id, _)| *id)
            .collect();
        for broker in lacking {
            let Some(mut disk) = earlier.brokers.get(&broker).and_then(|look| look.disk) else { continue };
            disk.replicas = 0;
            let pairs: Vec<(usize, Option<usize>)> = self.pairs(earlier).collect();
            for (partition, before) in pairs {
                let bytes = before.and_then(|before| earlier.bytes_on(before, broker));
                let slots = self.slots(partition);
                let held = self.replicas[slots].iter_mut().find(|held| held.broker == broker);
                if let (Some(held), Some(bytes)) = (held, bytes) {
                    held.bytes = bytes;
                    disk.replicas += bytes;
                }
            }
            if let Some(look) = self.brokers.get_mut(&broker) {
                look.disk = Some(disk);
            }
        }
    }

    /// Finds out what brokers have yet to take off their volumes: what they held in an earlier snapshot and hold no more.
    pub(super) fn follow(&mut self, earlier: &Self) {
        let mut kept: BTreeMap<BrokerId, u64> = BTreeMap::new();
        for (partition, before) in self.pairs(earlier) {
            for was in before.map(|before| earlier.held(before)).unwrap_or_default() {
                let bytes = was.bytes().min(self.bytes_on(partition, was.broker)).unwrap_or_default();
                *kept.entry(was.broker).or_default() += bytes;
            }
        }
        for (broker, look) in &mut self.brokers {
            let before = earlier.brokers.get(broker).and_then(|look| look.disk);
            if let (Some(disk), Some(before)) = (&mut look.disk, before) {
                disk.follow(&before, kept.get(broker).copied().unwrap_or_default());
            }
        }
    }

    /// Every partition, with where it is in another snapshot, if its topic is there and has not been made anew.
    pub(super) fn pairs<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = (usize, Option<usize>)> + 'a {
        self.topics().flat_map(move |(ours, range)| {
            let theirs = other.topic(&ours.name).filter(|theirs| other.topics[*theirs].id == ours.id);
            range.map(move |partition| {
                let number = self.partitions[partition].number;
                (partition, theirs.and_then(|theirs| other.find(theirs, number)))
            })
        })
    }

    /// Bytes that a broker has of a partition.
    pub(super) fn bytes_on(&self, partition: usize, broker: BrokerId) -> Option<u64> {
        self.held(partition).iter().find(|replica| replica.broker == broker)?.bytes()
    }

    /// Bytes of a partition: what its leader has, or else the most that any broker told.
    pub(super) fn bytes_of(&self, partition: usize) -> Option<u64> {
        let led = self.leader(partition).and_then(|leader| self.bytes_on(partition, leader));
        led.or_else(|| self.held(partition).iter().filter_map(Replica::bytes).max())
    }

    /// The replicas of a partition, the preferred leader first.
    pub(super) fn held(&self, partition: usize) -> &[Replica] {
        &self.replicas[self.slots(partition)]
    }

    /// Who leads a partition.
    pub(super) fn leader(&self, partition: usize) -> Option<BrokerId> {
        let Partition { leader, .. } = self.partitions[partition];
        self.held(partition).get(usize::from(leader)).map(|replica| replica.broker)
    }

    /// A partition by the name of its topic and its number.
    pub(super) fn partition(&self, topic: &str, number: i32) -> Option<usize> {
        self.find(self.topic(topic)?, number)
    }

    /// Topics with the positions of their partitions.
    pub(super) fn topics(&self) -> impl Iterator<Item = (&Topic, std::ops::Range<usize>)> {
        self.topics.iter().enumerate().map(|(at, topic)| (topic, self.range(at)))
    }

    /// The cluster's id.
    pub fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    /// Whether there is a topic of this name.
    pub fn has_topic(&self, name: &str) -> bool {
        self.topic(name).is_some()
    }

    /// How many partitions there are.
    pub fn partitions(&self) -> usize {
        self.partitions.len()
    }

    fn topic(&self, name: &str) -> Option<usize> {
        self.topics.binary_search_by(|topic| topic.name.as_ref().cmp(name)).ok()
    }

    fn topic_of(&self, partition: usize) -> usize {
        self.topics.partition_point(|topic| topic.first as usize <= partition).saturating_sub(1)
    }

    fn range(&self, topic: usize) -> std::ops::Range<usize> {
        let first = self.topics[topic].first as usize;
        first..self.topics.get(topic + 1).map_or(self.partitions.len(), |next| next.first as usize)
    }

    fn find(&self, topic: usize, number: i32) -> Option<usize> {
        let range = self.range(topic);
        let first = range.start;
        self.partitions[range]
            .binary_search_by_key(&number, |partition| partition.number)
            .ok()
            .map(|at| first + at)
    }

    fn slots(&self, partition: usize) -> std::ops::Range<usize> {
        let first = self.partitions[partition].first as usize;
        first..self.partitions.get(partition + 1).map_or(self.replicas.len(), |next| next.first as usize)
    }
}

/// Partitions and replicas are counted in 32 bits; more than four thousand million are in no cluster.
fn index(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
