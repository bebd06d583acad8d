//! What a look at the cluster has shown, and where each partition of a treatment stands by it.

use std::{collections::BTreeMap, time::Duration};

use doctorkafka_kafka::{DynamicConfigs, PartitionInfo, RunningReassignment, TopicPartition};
use doctorkafka_wire::{BrokerId, PartitionChange};

use super::treatment::moves_data;

/// One look at the cluster.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observed {
    /// Brokers that are registered and not fenced.
    pub up: Vec<BrokerId>,
    /// How long brokers that matter have been down without a break, as far as this instance has seen.
    pub down_for: BTreeMap<BrokerId, Duration>,
    /// Topics: all of them, or those of the treatment.
    pub topics: BTreeMap<String, SeenTopic>,
    /// All reassignments that are running.
    pub running: BTreeMap<TopicPartition, RunningReassignment>,
    /// How long each partition of the treatment has looked as it does.
    pub steady_for: BTreeMap<TopicPartition, Duration>,
    /// The rest, when all was looked at. Work is begun only on such a look.
    pub whole: Option<Whole>,
}

/// What only a look at everything shows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Whole {
    /// `min.insync.replicas` of every topic.
    pub min_isr: BTreeMap<String, i32>,
    /// Dynamic settings of the treatment's topics and brokers; brokers that could not be asked are missing.
    pub configs: DynamicConfigs,
}

/// A topic as it was seen.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SeenTopic {
    /// Its id; 0 when the brokers are too old to tell.
    pub id: u128,
    /// Its partitions by number.
    pub partitions: BTreeMap<i32, PartitionInfo>,
}

/// One end of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    From,
    To,
}

impl Side {
    pub fn of(self, change: &PartitionChange) -> &[BrokerId] {
        match self {
            Self::From => &change.from,
            Self::To => &change.to,
        }
    }

    pub fn other(self) -> Self {
        match self {
            Self::From => Self::To,
            Self::To => Self::From,
        }
    }
}

/// Where a partition of a treatment stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// It does not exist.
    Gone,
    /// Its topic is another one of the same name.
    Recreated,
    /// A reassignment to something else runs.
    Foreign,
    /// It is on its way to one end.
    Moving(Side),
    /// It is at one end, in this very order.
    At(Side),
    /// It is on the brokers of one end, in another order, as after a cancelled move: KRaft gives the remaining replicas the
    /// order that they had in the move's target.
    Shuffled(Side),
    /// Its replicas are none of this.
    Drifted,
    /// It looks as if it were gone, another, or drifted, and has not done so for long enough.
    Unsettled,
}

impl Observed {
    pub(super) fn is_up(&self, broker: BrokerId) -> bool {
        self.up.contains(&broker)
    }

    pub(super) fn partition(&self, at: &TopicPartition) -> Option<&PartitionInfo> {
        self.topics.get(&at.topic)?.partitions.get(&at.partition)
    }

    /// Where the partition stands; `id` is its topic's as the treatment knows it.
    pub(super) fn place(&self, change: &PartitionChange, id: Option<u128>, settle: Duration) -> Place {
        let at = at(change);
        let place = self.place_at_sight(change, &at, id);
        let steady = self.steady_for.get(&at).copied().unwrap_or_default();
        match place {
            Place::Gone | Place::Recreated | Place::Drifted if steady < settle => Place::Unsettled,
            place => place,
        }
    }

    fn place_at_sight(&self, change: &PartitionChange, at: &TopicPartition, id: Option<u128>) -> Place {
        let Some(topic) = self.topics.get(&at.topic) else { return Place::Gone };
        if id.is_none_or(|id| id != topic.id) {
            return Place::Recreated;
        }
        let Some(partition) = topic.partitions.get(&at.partition) else { return Place::Gone };
        if let Some(running) = self.running.get(at) {
            let target = target(running);
            let side = [Side::To, Side::From].into_iter().find(|side| side.of(change) == target);
            return side.map_or(Place::Foreign, Place::Moving);
        }
        for side in [Side::From, Side::To] {
            if partition.replicas == side.of(change) {
                return Place::At(side);
            }
        }
        // For a leadership any other order is somebody else's.
        let shuffled =
            [Side::From, Side::To].into_iter().find(|side| same_set(&partition.replicas, side.of(change)));
        shuffled.filter(|_| moves_data(change)).map_or(Place::Drifted, Place::Shuffled)
    }
}

/// The partition that a change is about.
pub(super) fn at(change: &PartitionChange) -> TopicPartition {
    TopicPartition { topic: change.topic.clone(), partition: change.partition }
}

/// What a partition will have when its reassignment is complete, the preferred leader first: KRaft lists these in front of
/// the replicas that go.
pub(super) fn target(running: &RunningReassignment) -> Vec<BrokerId> {
    running.replicas.iter().copied().filter(|broker| !running.removing.contains(broker)).collect()
}

pub(super) fn same_set(a: &[BrokerId], b: &[BrokerId]) -> bool {
    a.len() == b.len() && a.iter().all(|broker| b.contains(broker))
}
