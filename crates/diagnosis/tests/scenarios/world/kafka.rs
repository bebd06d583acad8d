//! A Kafka cluster as far as diagnosis can feel it: who is fenced when, which partition has a leader, and how far a
//! consumer can read. Nodes are brokers and controllers in one.
//!
//! The times and the order of events are those of real clusters (Kafka 4.3): a dead broker is fenced 9 s after its last
//! heartbeat; until then the partitions it leads have no leader, and the high watermark of those it follows stands still. A
//! dead active controller costs 2 to 3.5 s more, because its followers miss it after 2 s and its successor gives every broker a
//! new session.

use std::collections::BTreeMap;

use doctorkafka_wire::BrokerReport;

use super::random::Random;

const SESSION_TIMEOUT: u64 = 9_000;
const HEARTBEAT_EVERY: u64 = 2_000;
/// From being in service to being in sync again.
const CATCH_UP: u64 = 1_000;
/// From the process's end to its return in a restart in good order.
pub const SHUTDOWN: u64 = 1_500;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Process {
    Running,
    Stopped,
    Absent,
}

#[derive(Debug, Clone)]
pub struct Node {
    pub process: Process,
    pub pid: i32,
    pub started: u64,
    /// Its listener answers from then on; before it recovers its log.
    pub serves_from: u64,
    pub fenced: bool,
    /// Its own link to the controller.
    pub controller_link: bool,
    session: u64,
    next_heartbeat: u64,
}

impl Node {
    pub fn serves(&self, now: u64) -> bool {
        self.process == Process::Running && now >= self.serves_from
    }
}

#[derive(Debug, Clone)]
pub struct Partition {
    pub replicas: Vec<i32>,
    pub leader: Option<i32>,
    /// Sidecars know of the present leader from then on.
    pub known_from: u64,
    pub log: Vec<BrokerReport>,
    /// A consumer reads below this.
    pub high_watermark: usize,
    in_sync: Vec<i32>,
    joining: BTreeMap<i32, u64>,
    /// End of the log a moment ago, which is what the followers have.
    replicated: usize,
}

#[derive(Debug, Clone)]
pub struct Kafka {
    pub nodes: BTreeMap<i32, Node>,
    pub partitions: Vec<Partition>,
    /// Active controller and its epoch.
    pub controller: Option<(i32, i32)>,
    epoch: i32,
    election_at: Option<u64>,
}

impl Kafka {
    /// `copies` replicas of each of three partitions, laid around the ring of brokers as Kafka's own placement does.
    pub fn new(brokers: i32, copies: usize) -> Self {
        let node = Node {
            process: Process::Running,
            pid: 100,
            started: 0,
            serves_from: 0,
            fenced: false,
            controller_link: true,
            session: 0,
            next_heartbeat: 0,
        };
        let partition = |p: usize| {
            let ids: Vec<i32> = (1..=brokers).cycle().skip(p).take(copies).collect();
            Partition {
                leader: ids.first().copied(),
                in_sync: ids.clone(),
                replicas: ids,
                known_from: 0,
                log: Vec::new(),
                high_watermark: 0,
                joining: BTreeMap::new(),
                replicated: 0,
            }
        };
        Self {
            nodes: (1..=brokers).map(|id| (id, node.clone())).collect(),
            partitions: (0..3).map(partition).collect(),
            controller: Some((1, 1)),
            epoch: 1,
            election_at: None,
        }
    }

    pub fn node(&mut self, id: i32) -> &mut Node {
        self.nodes.get_mut(&id).expect("a broker of this cluster")
    }

    pub fn serves(&self, id: i32, now: u64) -> bool {
        self.nodes.get(&id).is_some_and(|node| node.serves(now))
    }

    /// The leader of a partition, if it answers.
    pub fn leader(&self, partition: usize, now: u64) -> Option<i32> {
        self.partitions[partition].leader.filter(|id| self.serves(*id, now))
    }

    pub fn start(&mut self, id: i32, now: u64, recovery: u64) {
        let node = self.node(id);
        node.process = Process::Running;
        node.pid += 7;
        node.started = now;
        node.serves_from = now + 2_000 + recovery;
        node.next_heartbeat = now + 500;
        // A new registration begins fenced.
        if !node.fenced {
            self.fence(id, now);
        }
    }

    /// Hands everything over, as a broker does on SIGTERM, and ends the process.
    pub fn shut_down(&mut self, id: i32, now: u64) {
        self.fence(id, now);
        self.node(id).process = Process::Absent;
    }

    pub fn step(&mut self, now: u64, random: &mut Random) {
        self.elect_controller(now, random);
        let mut lapsed = Vec::new();
        for (id, node) in &mut self.nodes {
            let heard = node.process == Process::Running && node.controller_link && self.controller.is_some();
            if heard && now >= node.next_heartbeat {
                node.next_heartbeat = now + HEARTBEAT_EVERY;
                node.session = now;
                if node.fenced && node.serves(now) {
                    node.fenced = false;
                }
            }
            if self.controller.is_some() && !node.fenced && now.saturating_sub(node.session) > SESSION_TIMEOUT
            {
                lapsed.push(*id);
            }
        }
        for id in lapsed {
            self.fence(id, now);
        }
        for index in 0..self.partitions.len() {
            self.tend(index, now, random);
        }
    }

    fn elect_controller(&mut self, now: u64, random: &mut Random) {
        let runs = |node: &Node| node.process == Process::Running;
        let gone = |id: i32| self.nodes.get(&id).is_none_or(|node| !runs(node));
        if self.controller.is_some_and(|(id, _)| gone(id)) {
            self.controller = None;
            self.election_at = Some(now + 2_000 + random.below(1_500));
        }
        let voters: Vec<i32> = self.nodes.iter().filter(|(_, node)| runs(node)).map(|(id, _)| *id).collect();
        if voters.len() * 2 <= self.nodes.len() || self.election_at.is_none_or(|at| now < at) {
            return;
        }
        self.epoch += 1;
        self.election_at = None;
        self.controller = Some((voters[random.below(voters.len() as u64) as usize], self.epoch));
        for node in self.nodes.values_mut() {
            node.session = now;
            node.next_heartbeat = now;
        }
    }

    fn fence(&mut self, id: i32, now: u64) {
        self.node(id).fenced = true;
        for partition in &mut self.partitions {
            partition.joining.remove(&id);
            if partition.in_sync.len() > 1 {
                partition.in_sync.retain(|member| *member != id);
            }
            if partition.leader == Some(id) {
                partition.leader = None;
                partition.known_from = now;
            }
        }
    }

    /// Leader, in-sync replicas and high watermark of one partition.
    fn tend(&mut self, index: usize, now: u64, random: &mut Random) {
        let (nodes, partition) = (&self.nodes, &mut self.partitions[index]);
        let serves = |id: &i32| nodes.get(id).is_some_and(|node| node.serves(now));
        let unfenced = |id: &i32| nodes.get(id).is_some_and(|node| !node.fenced);
        if self.controller.is_some() && partition.leader.is_none() {
            partition.leader = partition.in_sync.iter().copied().find(|id| unfenced(id) && serves(id));
            if partition.leader.is_some() {
                // Reports are sent with acks=1: what the follower had not fetched yet is gone.
                let kept = partition.log.len().saturating_sub(random.below(3) as usize);
                partition.log.truncate(kept.max(partition.high_watermark));
                partition.replicated = partition.log.len();
                partition.known_from = now + 100 + random.below(500);
            }
        }
        if !partition.leader.is_some_and(|id| serves(&id)) {
            return;
        }
        for id in &partition.replicas {
            let outside = !partition.in_sync.contains(id);
            if outside && serves(id) && unfenced(id) {
                if now >= *partition.joining.entry(*id).or_insert(now + CATCH_UP) {
                    partition.joining.remove(id);
                    partition.in_sync.push(*id);
                }
            } else {
                partition.joining.remove(id);
            }
        }
        if partition.in_sync.iter().all(serves) {
            partition.high_watermark = partition.high_watermark.max(partition.replicated);
            partition.replicated = partition.log.len();
        }
    }
}
