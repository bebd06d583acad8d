//! A Kafka cluster in KRaft mode, as far as treatment can tell: replicas, ISR, reassignments (KIP-455), preferred elections
//! and replication throttles (KIP-73), in virtual time.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use doctorkafka_kafka::{ConfigResource, TopicPartition};

use crate::execute::throttle::{FOLLOWER_RATE, FOLLOWER_REPLICAS, LEADER_RATE, LEADER_REPLICAS};

/// So long the controller waits for a broker's heartbeat before it fences it.
const SESSION: Duration = Duration::from_secs(9);

/// What a broker copies without a throttle, bytes a second.
const BANDWIDTH: f64 = 100e6;

const TICK: Duration = Duration::from_millis(100);

#[derive(Debug, Clone, Default)]
pub struct World {
    pub now: Duration,
    pub brokers: BTreeMap<i32, Broker>,
    pub topics: BTreeMap<String, Topic>,
    pub configs: BTreeMap<ConfigResource, BTreeMap<String, String>>,
    /// The most replicas that were being added at once, in the cluster and at any broker.
    pub most_moves: (usize, usize),
    /// What must never be.
    pub violations: Vec<String>,
    /// Bytes moved while any of them was not throttled.
    pub unthrottled: bool,
}

#[derive(Debug, Clone)]
pub struct Broker {
    pub alive: bool,
    pub fenced: bool,
    pub dies: Option<Duration>,
    pub returns: Option<Duration>,
    silent_since: Option<Duration>,
}

#[derive(Debug, Clone)]
pub struct Topic {
    pub id: u128,
    pub min_isr: i32,
    pub partitions: BTreeMap<i32, Partition>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Partition {
    pub bytes: f64,
    pub replicas: Vec<i32>,
    pub isr: BTreeSet<i32>,
    pub leader: Option<i32>,
    pub adding: Vec<i32>,
    pub removing: Vec<i32>,
    pub copied: BTreeMap<i32, f64>,
    pub factor: usize,
}

/// Kafka's name of an error, and whether it may pass.
pub type Refusal = (&'static str, bool);

impl World {
    pub fn new(brokers: i32) -> Self {
        let broker = Broker { alive: true, fenced: false, dies: None, returns: None, silent_since: None };
        let brokers: BTreeMap<i32, Broker> = (1..=brokers).map(|id| (id, broker.clone())).collect();
        let configs = brokers.keys().map(|id| (broker_config(*id), BTreeMap::new())).collect();
        Self { brokers, configs, ..Self::default() }
    }

    pub fn topic(&mut self, name: &str, id: u128, min_isr: i32, partitions: &[(&[i32], f64)]) {
        let partition = |(replicas, bytes): &(&[i32], f64)| Partition {
            bytes: *bytes,
            replicas: replicas.to_vec(),
            isr: replicas.iter().copied().collect(),
            leader: replicas.first().copied(),
            adding: Vec::new(),
            removing: Vec::new(),
            copied: BTreeMap::new(),
            factor: replicas.len(),
        };
        let partitions = (0..).zip(partitions.iter().map(partition)).collect();
        self.topics.insert(name.to_owned(), Topic { id, min_isr, partitions });
        self.configs.insert(ConfigResource::Topic(name.to_owned()), BTreeMap::new());
    }

    pub fn delete(&mut self, name: &str) {
        self.topics.remove(name);
        self.configs.remove(&ConfigResource::Topic(name.to_owned()));
    }

    pub fn kill(&mut self, id: i32) {
        if let Some(broker) = self.brokers.get_mut(&id) {
            broker.alive = false;
            broker.silent_since = Some(self.now);
        }
    }

    /// Kills it, and lets the controller notice at once.
    pub fn fence(&mut self, id: i32) {
        self.kill(id);
        if let Some(broker) = self.brokers.get_mut(&id) {
            broker.silent_since = Some(Duration::ZERO);
        }
        self.control();
    }

    pub fn revive(&mut self, id: i32) {
        if let Some(broker) = self.brokers.get_mut(&id) {
            (broker.alive, broker.fenced, broker.silent_since) = (true, false, None);
        }
        self.control();
    }

    pub fn is_up(&self, id: i32) -> bool {
        self.brokers.get(&id).is_some_and(|broker| broker.alive && !broker.fenced)
    }

    pub fn partition(&self, at: &TopicPartition) -> Option<&Partition> {
        self.topics.get(&at.topic)?.partitions.get(&at.partition)
    }

    pub fn partitions(&self) -> impl Iterator<Item = (TopicPartition, &Partition)> {
        self.topics.iter().flat_map(|(topic, seen)| {
            seen.partitions.iter().map(|(number, partition)| {
                (TopicPartition { topic: topic.clone(), partition: *number }, partition)
            })
        })
    }

    pub fn advance(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            let tick = TICK.min(until - self.now);
            self.now += tick;
            self.copy(tick);
            let now = self.now;
            let due = |at: Option<Duration>| at.is_some_and(|at| at <= now);
            let (mut dies, mut returns) = (Vec::new(), Vec::new());
            for (id, broker) in &mut self.brokers {
                if due(broker.dies) {
                    broker.dies = None;
                    dies.push(*id);
                }
                if due(broker.returns) {
                    broker.returns = None;
                    returns.push(*id);
                }
            }
            dies.into_iter().for_each(|id| self.kill(id));
            returns.into_iter().for_each(|id| self.revive(id));
            self.control();
        }
    }

    /// Followers that are not in sync fetch from their leaders.
    fn copy(&mut self, tick: Duration) {
        let mut flows = Vec::new();
        let (mut at_leader, mut at_follower) = (BTreeMap::new(), BTreeMap::new());
        for (at, partition) in self.partitions() {
            let Some(leader) = partition.leader.filter(|leader| self.is_up(*leader)) else { continue };
            for id in partition.replicas.iter().filter(|id| !partition.isr.contains(id) && self.is_up(**id)) {
                *at_leader.entry(leader).or_insert(0.0) += 1.0;
                *at_follower.entry(*id).or_insert(0.0) += 1.0;
                flows.push((at.clone(), leader, *id));
            }
        }
        for (at, leader, id) in flows {
            let sends = self.rate(leader, LEADER_RATE, &at, LEADER_REPLICAS) / at_leader[&leader];
            let fetches = self.rate(id, FOLLOWER_RATE, &at, FOLLOWER_REPLICAS) / at_follower[&id];
            self.unthrottled |= sends.min(fetches) * at_follower[&id].max(at_leader[&leader]) >= BANDWIDTH;
            let Some(partition) =
                self.topics.get_mut(&at.topic).and_then(|t| t.partitions.get_mut(&at.partition))
            else {
                continue;
            };
            let copied = partition.copied.entry(id).or_default();
            *copied += sends.min(fetches) * tick.as_secs_f64();
            if *copied >= partition.bytes {
                partition.copied.remove(&id);
                partition.isr.insert(id);
            }
        }
    }

    fn rate(&self, broker: i32, rate: &str, at: &TopicPartition, list: &str) -> f64 {
        let topic = self.configs.get(&ConfigResource::Topic(at.topic.clone()));
        let listed = topic.and_then(|configs| configs.get(list)).is_some_and(|entries| {
            let own = format!("{}:{broker}", at.partition);
            entries.split(',').any(|entry| entry == "*" || entry == own)
        });
        let rate = self.configs.get(&broker_config(broker)).and_then(|configs| configs.get(rate));
        let rate = rate.filter(|_| listed).and_then(|rate| rate.parse().ok());
        rate.unwrap_or(BANDWIDTH)
    }

    /// What the controller does by itself.
    fn control(&mut self) {
        for broker in self.brokers.values_mut() {
            if broker
                .silent_since
                .is_some_and(|since| self.now.saturating_sub(since) >= SESSION || since.is_zero())
            {
                broker.fenced = true;
            }
        }
        let up: BTreeSet<i32> = self.brokers.keys().copied().filter(|id| self.is_up(*id)).collect();
        let fenced: BTreeSet<i32> =
            self.brokers.iter().filter(|(_, broker)| broker.fenced).map(|(id, _)| *id).collect();
        let (mut in_cluster, mut at_broker) = (0, BTreeMap::new());
        for (name, topic) in &mut self.topics {
            for (number, partition) in &mut topic.partitions {
                partition.settle(&up, &fenced);
                if let Some(violation) = partition.violation() {
                    self.violations.push(format!("{name}-{number}: {violation}: {partition:?}"));
                }
                in_cluster += partition.adding.len();
                let removing = partition.removing.iter().filter(|id| up.contains(id));
                // One may be both, when somebody else's reassignment supersedes another.
                let moving: BTreeSet<i32> = partition.adding.iter().chain(removing).copied().collect();
                moving.into_iter().for_each(|id| *at_broker.entry(id).or_insert(0) += 1);
            }
        }
        let most = at_broker.into_values().max().unwrap_or(0);
        self.most_moves = (self.most_moves.0.max(in_cluster), self.most_moves.1.max(most));
    }

    /// AlterPartitionReassignments for one partition, with AllowReplicationFactorChange=false.
    pub fn reassign(&mut self, at: &TopicPartition, target: Option<&[i32]>) -> Result<(), Refusal> {
        let known: BTreeSet<i32> = self.brokers.keys().copied().collect();
        let partition =
            self.topics.get_mut(&at.topic).and_then(|topic| topic.partitions.get_mut(&at.partition));
        let partition = partition.ok_or(("UnknownTopicOrPartition", true))?;
        match target {
            None => partition.cancel()?,
            Some(target) => {
                let twice = target.iter().collect::<BTreeSet<_>>().len() != target.len();
                if target.is_empty() || twice || target.iter().any(|id| !known.contains(id)) {
                    return Err(("InvalidReplicaAssignment", false));
                }
                if target.len() != partition.factor {
                    return Err(("InvalidReplicationFactor", false));
                }
                partition.reassign(target);
            }
        }
        self.control();
        Ok(())
    }

    /// ElectLeaders, preferred, for one partition.
    pub fn elect(&mut self, at: &TopicPartition) -> Result<(), Refusal> {
        let partition = self.partition(at).ok_or(("UnknownTopicOrPartition", true))?;
        let preferred = partition.replicas.first().copied();
        let able = preferred.is_some_and(|id| partition.isr.contains(&id) && self.is_up(id));
        if !able && partition.leader != preferred {
            return Err(("PreferredLeaderNotAvailable", true));
        }
        if let Some(partition) =
            self.topics.get_mut(&at.topic).and_then(|t| t.partitions.get_mut(&at.partition))
        {
            partition.leader = preferred;
        }
        Ok(())
    }

    /// Throttle settings that stand.
    pub fn throttles(&self) -> Vec<(ConfigResource, String, String)> {
        let all = self.configs.iter().flat_map(|(resource, values)| {
            values.iter().map(|(name, value)| (resource.clone(), name.clone(), value.clone()))
        });
        all.collect()
    }

    /// Replicas and leaders, in order.
    pub fn assignment(&self) -> BTreeMap<TopicPartition, (Vec<i32>, Option<i32>, usize)> {
        self.partitions()
            .map(|(at, partition)| {
                let moving = partition.adding.len() + partition.removing.len();
                (at, (partition.replicas.clone(), partition.leader, moving))
            })
            .collect()
    }
}

impl Partition {
    /// ISR and leader follow the brokers; a complete reassignment ends.
    fn settle(&mut self, up: &BTreeSet<i32>, fenced: &BTreeSet<i32>) {
        // The last replica in sync stays in the ISR: without it there is no clean way back.
        let in_sync: BTreeSet<i32> = self.isr.iter().copied().filter(|id| !fenced.contains(id)).collect();
        if !in_sync.is_empty() {
            self.isr = in_sync;
        }
        if self.is_complete() {
            self.replicas.retain(|id| !self.removing.contains(id));
            self.isr.retain(|id| !self.removing.contains(id));
            self.adding.clear();
            self.removing.clear();
        }
        self.copied.retain(|id, _| self.replicas.contains(id) && !self.isr.contains(id));
        let leads = |id: &i32| self.isr.contains(id) && self.replicas.contains(id) && !fenced.contains(id);
        if !self.leader.as_ref().is_some_and(leads) {
            self.leader = self.replicas.iter().copied().find(|id| leads(id) && up.contains(id));
        }
    }

    /// `PartitionReassignmentReplicas.maybeCompleteReassignment` of Kafka 4.3. What is added has to be in sync; who stays only
    /// where more goes than comes. (Kafka 3.9 wants all of the target in sync.)
    fn is_complete(&self) -> bool {
        let moving = !self.adding.is_empty() || !self.removing.is_empty();
        let stays = |id: &i32| self.isr.contains(id) && !self.removing.contains(id);
        let mut target = self.replicas.iter().filter(|id| !self.removing.contains(id));
        moving
            && self.isr.iter().any(stays)
            && self.adding.iter().all(stays)
            && (self.adding.len() >= self.removing.len() || target.all(stays))
    }

    /// `ReplicationControlManager.changePartitionReassignment`: the target in front, then what goes. What is being added by
    /// a reassignment that this one supersedes counts as present. Where this one adds nothing, what that one added is still
    /// named as added, even if it goes now; then it is never complete and has to be cancelled.
    fn reassign(&mut self, target: &[i32]) {
        // Kafka has both as sets, in ascending order.
        let minus = |all: &[i32], other: &[i32]| -> Vec<i32> {
            let rest = all.iter().copied().filter(|id| !other.contains(id));
            rest.collect::<BTreeSet<_>>().into_iter().collect()
        };
        let (removing, adding) = (minus(&self.replicas, target), minus(target, &self.replicas));
        self.replicas = target.iter().chain(&removing).copied().collect();
        if !removing.is_empty() {
            self.removing = removing;
        }
        if !adding.is_empty() {
            self.adding = adding;
        }
    }

    /// `PartitionReassignmentRevert`: what was being added goes, and the rest keeps the order it has now.
    fn cancel(&mut self) -> Result<(), Refusal> {
        if self.adding.is_empty() && self.removing.is_empty() {
            return Ok(()); // NoReassignmentInProgress is a success
        }
        let isr: BTreeSet<i32> = self.isr.iter().copied().filter(|id| !self.adding.contains(id)).collect();
        if isr.is_empty() {
            return Err(("InvalidReplicaAssignment", false));
        }
        self.isr = isr;
        self.replicas.retain(|id| !self.adding.contains(id));
        self.adding.clear();
        self.removing.clear();
        Ok(())
    }

    fn violation(&self) -> Option<&'static str> {
        if self.replicas.iter().collect::<BTreeSet<_>>().len() != self.replicas.len() {
            return Some("two replicas on one broker");
        }
        let after = self.replicas.iter().filter(|id| !self.removing.contains(id)).count();
        let before = self.replicas.iter().filter(|id| !self.adding.contains(id)).count();
        (after != self.factor || before < self.factor).then_some("another replication factor")
    }
}

pub fn broker_config(id: i32) -> ConfigResource {
    ConfigResource::Broker(doctorkafka_wire::BrokerId(id))
}
