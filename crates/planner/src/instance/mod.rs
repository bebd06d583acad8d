//! A cluster with the load of every replica, in flat arrays: what replica moves are planned on.

mod answer;
mod build;
mod lines;
mod parse;

pub use answer::Change;
pub use build::{Builder, Invalid};
pub use parse::{ParseError, Parser};

use std::ops::Range;

/// The resources that a replica uses, in the order of [`Load`].
pub const RESOURCES: [&str; 4] = ["cpu", "nw_in", "nw_out", "disk"];

/// CPU in percent of one broker, network in and out in KB/s, disk in MB. What moving a replica copies is its disk.
pub type Load = [f64; RESOURCES.len()];

pub(crate) const DISK: usize = 3;

/// Brokers, partitions, and what each replica costs the broker that holds it.
#[derive(Debug, Clone, PartialEq)]
pub struct Instance {
    /// Its name, for people.
    pub name: String,
    /// Every broker, dead ones included.
    pub brokers: Vec<Node>,
    /// The share of a capacity that a broker may use, by resource.
    pub threshold: Load,
    /// The most replicas that a broker may hold.
    pub max_replicas: u32,
    /// Names of the racks, by [`Node::rack`].
    racks: Vec<String>,
    topics: Vec<String>,
    partitions: Vec<Partition>,
    /// Positions in `brokers`, partition after partition, the leader of each first.
    replicas: Vec<u16>,
    /// What each replica uses as a follower.
    load: Vec<[f32; 4]>,
    /// What leading uses on top of that, by partition.
    lead: Vec<[f32; 4]>,
}

/// A broker.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Its `node.id`.
    pub id: i32,
    /// Position of its rack among all racks.
    pub rack: u16,
    /// Whether it lives.
    pub state: NodeState,
    /// Whether it may be given replicas. One that may not, and lives, keeps what it has.
    pub takes: bool,
    /// Whether it may be given leaderships.
    pub leads: bool,
    /// What it has of each resource.
    pub capacity: Load,
}

/// Whether a broker lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeState {
    /// It lives.
    Alive,
    /// It lives and has been given no work yet.
    New,
    /// It is gone: every replica on it has to be made anew elsewhere.
    Dead,
}

impl Node {
    /// Whether it can hold replicas.
    pub fn is_alive(&self) -> bool {
        self.state != NodeState::Dead
    }
}

#[derive(Debug, Clone, PartialEq)]
struct Partition {
    topic: u32,
    number: i32,
    /// Its first replica in `Instance::replicas`.
    first: u32,
    /// Whether it is not moved for load.
    pinned: bool,
}

impl Instance {
    /// How many partitions there are.
    pub fn partitions(&self) -> usize {
        self.partitions.len()
    }

    /// How many replicas there are.
    pub fn replicas(&self) -> usize {
        self.replicas.len()
    }

    /// Pins the partitions of these topics: they are not moved for load, and follow only when a broker has to be left.
    pub fn pin(&mut self, topics: impl Fn(&str) -> bool) {
        let pinned: Vec<bool> = self.topics.iter().map(|topic| topics(topic)).collect();
        self.partitions.iter_mut().for_each(|partition| partition.pinned = pinned[partition.topic as usize]);
    }

    pub(crate) fn is_pinned(&self, partition: usize) -> bool {
        self.partitions[partition].pinned
    }

    /// A partition's topic and number.
    pub fn name_of(&self, partition: usize) -> (&str, i32) {
        let Partition { topic, number, .. } = self.partitions[partition];
        (&self.topics[topic as usize], number)
    }

    /// Where the replicas of a partition stand in the flat arrays.
    pub(crate) fn slots(&self, partition: usize) -> Range<usize> {
        let first = self.partitions[partition].first as usize;
        let end = self.partitions.get(partition + 1).map_or(self.replicas.len(), |next| next.first as usize);
        first..end
    }

    /// The broker, as a position, that holds the replica of a slot.
    pub(crate) fn holder(&self, slot: usize) -> usize {
        self.replicas[slot].into()
    }

    pub(crate) fn holders(&self) -> &[u16] {
        &self.replicas
    }

    /// What the replica of a slot uses as a follower.
    pub(crate) fn load(&self, slot: usize) -> Load {
        self.load[slot].map(f64::from)
    }

    /// What leading a partition uses on top.
    pub(crate) fn lead(&self, partition: usize) -> Load {
        self.lead[partition].map(f64::from)
    }

    /// Positions of the brokers that live.
    pub(crate) fn alive(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.brokers.len()).filter(|broker| self.brokers[*broker].is_alive())
    }
}
