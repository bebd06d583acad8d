//! The cluster as the planner sees it.

use std::collections::BTreeMap;

use doctorkafka_wire::BrokerId;

/// Brokers and partitions at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Cluster {
    /// Every broker of the cluster.
    pub brokers: BTreeMap<BrokerId, Broker>,
    /// Every partition of the cluster.
    pub partitions: Vec<Partition>,
}

/// What matters of a broker.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Broker {
    /// Whether it is diagnosed healthy by fresh data: only such a broker may be given work.
    pub healthy: bool,
    /// Whether it is overloaded.
    pub overloaded: bool,
    /// CPU, percent of its own limit; unknown is no zero.
    pub cpu_percent: Option<f64>,
}

/// What matters of a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Topic name.
    pub topic: String,
    /// Partition number.
    pub number: i32,
    /// Its leader, when it has one.
    pub leader: Option<BrokerId>,
    /// Its replicas, the preferred leader first.
    pub replicas: Vec<BrokerId>,
    /// Replicas that are in sync.
    pub isr: Vec<BrokerId>,
    /// Whether it may be moved for load: not one of Kafka's internal topics, nor of the doctor's own.
    pub movable: bool,
}

impl Cluster {
    /// Partitions with fewer replicas in sync than they have.
    pub fn under_replicated(&self) -> usize {
        self.partitions.iter().filter(|p| p.isr.len() < p.replicas.len()).count()
    }

    /// How many partitions a broker leads.
    pub fn leaders(&self, broker: BrokerId) -> usize {
        self.partitions.iter().filter(|p| p.leader == Some(broker)).count()
    }
}
