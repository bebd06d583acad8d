//! The cluster as the planner sees it.

use std::collections::BTreeMap;

use doctorkafka_wire::BrokerId;

use crate::LeadershipPlan;

/// Brokers and partitions at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Cluster {
    /// Every broker of the cluster.
    pub brokers: BTreeMap<BrokerId, Broker>,
    /// Every partition of the cluster.
    pub partitions: Vec<Partition>,
}

/// What matters of a broker.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Broker {
    /// What it is diagnosed to be.
    pub health: Health,
    /// Use of the resource that is short on the broker to relieve, percent of its capacity, by a fresh report. Unknown is
    /// no zero: such a broker is given no work.
    pub load_percent: Option<f64>,
}

/// A broker's diagnosis, as far as it matters to a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// It may be given work.
    Healthy,
    /// One of its resources is short.
    Overloaded,
    /// It does not do its work.
    Unhealthy,
    /// In maintenance, starting, or not known: it is neither given work nor relieved.
    Unsettled,
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

    /// How many brokers are in this health.
    pub fn count(&self, health: Health) -> usize {
        self.brokers.values().filter(|broker| broker.health == health).count()
    }

    /// What one leadership of a broker costs it, percent: without figures per partition, an equal share.
    pub(crate) fn share(&self, broker: BrokerId) -> Option<f64> {
        let load = self.brokers.get(&broker)?.load_percent?;
        let leaders = self.leaders(broker);
        (leaders > 0).then(|| load / leaders as f64)
    }

    /// Makes the cluster what it would be after the plan, so that the next plan does not count on the same room again.
    pub fn apply(&mut self, plan: &LeadershipPlan) {
        let share = self.share(plan.from).unwrap_or_default();
        for (to, given) in plan.given() {
            if let Some(load) = self.brokers.get_mut(&to).and_then(|broker| broker.load_percent.as_mut()) {
                *load += share * given as f64;
            }
        }
        if let Some(load) = self.brokers.get_mut(&plan.from).and_then(|broker| broker.load_percent.as_mut()) {
            *load -= share * plan.moves.len() as f64;
        }
        let moves: BTreeMap<(&str, i32), BrokerId> =
            plan.moves.iter().map(|change| ((change.topic.as_str(), change.partition), change.to)).collect();
        for partition in self.partitions.iter_mut().filter(|partition| partition.leader == Some(plan.from)) {
            if let Some(to) = moves.get(&(partition.topic.as_str(), partition.number)) {
                partition.leader = Some(*to);
            }
        }
    }
}
