//! The rules that new work has to keep, each checked on a look that is made right before.

use std::collections::BTreeMap;

use doctorkafka_kafka::{ConfigResource, PartitionInfo, TopicPartition};
use doctorkafka_wire::{BrokerId, PartitionChange};

use super::{
    ExecutionRule as Rule, Hold, Limits, OpenTreatment,
    observed::{Observed, Side, Whole, at, target},
    throttle,
};

/// What the state of the cluster allows.
pub(super) struct Guard<'a> {
    open: &'a OpenTreatment,
    seen: &'a Observed,
    whole: &'a Whole,
    foreign: Option<Hold>,
    /// Why nothing may be begun but repairs.
    fragile: Option<Hold>,
    /// Why nothing at all may be begun.
    unknown: Option<Hold>,
}

impl<'a> Guard<'a> {
    pub fn new(open: &'a OpenTreatment, seen: &'a Observed, whole: &'a Whole) -> Self {
        let mut guard = Self { open, seen, whole, foreign: None, fragile: None, unknown: None };
        guard.foreign = guard.find_foreign();
        guard.unknown = guard.find_unknown();
        guard.fragile = guard.find_under_min_isr().or_else(|| guard.find_at_min_isr());
        guard
    }

    /// Nothing is begun while somebody else's reassignments run.
    pub fn foreign(&self) -> Option<Hold> {
        self.foreign.clone()
    }

    /// Whether the cluster bears any new step for this change. A repair, which only takes away replicas that are on dead
    /// brokers, is what helps a cluster that is short of replicas; anything else has to wait until it is not.
    pub fn load(&self, change: &PartitionChange, goal: Side) -> Result<(), Hold> {
        if let Some(hold) = &self.unknown {
            return Err(hold.clone());
        }
        match &self.fragile {
            Some(hold) if !self.repairs(change, goal) => Err(hold.clone()),
            _ => Ok(()),
        }
    }

    /// Whether the order of a partition's replicas may change. A leadership is only given to a replica that can take it.
    pub fn reorder(&self, change: &PartitionChange, goal: Side, at: &TopicPartition) -> Result<(), Hold> {
        self.load(change, goal)?;
        let Some(preferred) = goal.of(change).first().filter(|_| self.open.stop().is_none()) else {
            return Ok(());
        };
        self.up(*preferred, at)?;
        let in_sync = self.seen.partition(at).is_some_and(|partition| partition.isr.contains(preferred));
        if in_sync {
            return Ok(());
        }
        let message = format!("{at}: broker {preferred}, which is to lead it, is not in sync");
        Err(Hold::new(Rule::NotInSync, message))
    }

    /// Whether data may be copied to the partition's new brokers.
    pub fn start(&self, change: &PartitionChange, goal: Side, at: &TopicPartition) -> Result<(), Hold> {
        self.load(change, goal)?;
        let partition = self.seen.partition(at);
        let here = partition.map(|partition| partition.replicas.as_slice()).unwrap_or_default();
        for broker in goal.of(change).iter().filter(|broker| !here.contains(broker)) {
            self.up(*broker, at)?;
        }
        if partition.is_none_or(|partition| partition.leader.is_none()) {
            let awaited = partition.map(PartitionInfo::awaited_leaders).unwrap_or_default();
            let message = format!("{at}: has no leader to copy from; {}", who_has_to_come_back(awaited));
            return Err(Hold::new(Rule::NoLeader, message));
        }
        Ok(())
    }

    /// Settings of a broker that is up have to be known before its throttle is touched.
    pub fn throttle_unknown(&self) -> Option<Hold> {
        let brokers = throttle::brokers(self.open.treatment());
        let silent = brokers.into_iter().find(|broker| {
            !self.open.is_unread(*broker)
                && self.seen.is_up(*broker)
                && !self.whole.configs.contains_key(&ConfigResource::Broker(*broker))
        })?;
        let message = format!("broker {silent} does not tell its settings, so that it cannot be throttled");
        Some(Hold::new(Rule::Unknown, message))
    }

    fn up(&self, broker: BrokerId, at: &TopicPartition) -> Result<(), Hold> {
        if self.seen.is_up(broker) {
            return Ok(());
        }
        let message = format!("{at}: broker {broker}, where it should go, is fenced or not registered");
        Err(Hold::new(Rule::DestinationDown, message))
    }

    fn repairs(&self, change: &PartitionChange, goal: Side) -> bool {
        let stays = goal.of(change);
        let mut leaving = goal.other().of(change).iter().filter(|broker| !stays.contains(broker)).peekable();
        leaving.peek().is_some() && leaving.all(|broker| !self.seen.is_up(*broker))
    }

    fn find_foreign(&self) -> Option<Hold> {
        let ours: BTreeMap<TopicPartition, &PartitionChange> =
            self.open.treatment().changes().iter().map(|change| (at(change), change)).collect();
        let is_ours = |at: &TopicPartition, target: &[BrokerId]| {
            ours.get(at).is_some_and(|change| {
                !self.open.is_skipped(at) && (change.from == target || change.to == target)
            })
        };
        let mut foreign = self.seen.running.iter().filter(|(at, running)| !is_ours(at, &target(running)));
        let (first, _) = foreign.next()?;
        let message = match foreign.count() {
            0 => format!("somebody else's reassignment of {first} is running; waiting until it ends"),
            more => format!(
                "somebody else's reassignments of {first} and {more} more are running; waiting until they end"
            ),
        };
        Some(Hold::new(Rule::ForeignReassignment, message))
    }

    fn find_unknown(&self) -> Option<Hold> {
        let topic = self.seen.topics.keys().find(|topic| !self.whole.min_isr.contains_key(*topic))?;
        Some(Hold::new(Rule::Unknown, format!("min.insync.replicas of topic {topic} is not known")))
    }

    /// How many in-sync replicas a partition needs for writes with acks=all. Kafka asks for no more than there are.
    fn needed(&self, at: &TopicPartition, partition: &PartitionInfo) -> usize {
        let replicas =
            self.seen.running.get(at).map_or(partition.replicas.len(), |running| target(running).len());
        let min = self.whole.min_isr.get(&at.topic).copied().unwrap_or(1);
        usize::try_from(min).unwrap_or(1).min(replicas)
    }

    fn find_under_min_isr(&self) -> Option<Hold> {
        for (name, topic) in &self.seen.topics {
            for (number, partition) in &topic.partitions {
                let at = TopicPartition { topic: name.clone(), partition: *number };
                let needed = self.needed(&at, partition);
                if partition.isr.len() < needed {
                    let mut message = format!(
                        "{at} has {} replicas in sync and needs {needed}; nothing is begun until it has them",
                        partition.isr.len()
                    );
                    if partition.leader.is_none() {
                        message = format!("{message}; {}", who_has_to_come_back(partition.awaited_leaders()));
                    }
                    return Some(Hold::new(Rule::UnderMinIsr, message));
                }
            }
        }
        None
    }

    /// Only what has lost a replica counts: a partition that never had more than its min ISR would wait for ever.
    fn find_at_min_isr(&self) -> Option<Hold> {
        for change in self.open.treatment().changes() {
            let at = at(change);
            let Some(partition) = self.seen.partition(&at).filter(|_| !self.open.is_skipped(&at)) else {
                continue;
            };
            let adding =
                self.seen.running.get(&at).map(|running| running.adding.as_slice()).unwrap_or_default();
            let lost = partition
                .replicas
                .iter()
                .find(|broker| !adding.contains(broker) && !partition.isr.contains(broker));
            let Some(lost) = lost.filter(|_| partition.isr.len() <= self.needed(&at, partition)) else {
                continue;
            };
            if self.repairs(change, Side::To) || self.repairs(change, Side::From) {
                continue;
            }
            let message = format!(
                "{at} is at its min ISR of {} because broker {lost} is out of sync; nothing is begun until it is back",
                self.needed(&at, partition)
            );
            return Some(Hold::new(Rule::AtMinIsr, message));
        }
        None
    }
}

/// What may be copied at once.
#[derive(Clone)]
pub(super) struct Room {
    limits: Limits,
    in_cluster: usize,
    at_broker: BTreeMap<BrokerId, usize>,
}

impl Room {
    /// What is left beside everything that runs, whoever started it.
    pub fn new(seen: &Observed, limits: Limits) -> Self {
        let mut room = Self { limits, in_cluster: 0, at_broker: BTreeMap::new() };
        for running in seen.running.values() {
            room.count(seen, &running.adding, &running.removing);
        }
        room
    }

    /// Takes room for one more move, if there is. A change that is larger than the limit goes alone.
    pub fn take(&mut self, seen: &Observed, at: &TopicPartition, goal: &[BrokerId]) -> Result<(), Hold> {
        let here = seen.partition(at).map(|partition| partition.replicas.as_slice()).unwrap_or_default();
        let minus = |a: &[BrokerId], b: &[BrokerId]| -> Vec<BrokerId> {
            a.iter().copied().filter(|broker| !b.contains(broker)).collect()
        };
        let (adding, removing) = (minus(goal, here), minus(here, goal));
        if self.in_cluster > 0 && self.in_cluster + adding.len() > self.limits.moves_per_cluster {
            let message =
                format!("{} of {} moves are running", self.in_cluster, self.limits.moves_per_cluster);
            return Err(Hold::new(Rule::MovesPerCluster, message));
        }
        let busy =
            adding.iter().chain(removing.iter().filter(|broker| seen.is_up(**broker))).find(|broker| {
                self.at_broker.get(broker).copied().unwrap_or_default() >= self.limits.moves_per_broker.max(1)
            });
        if let Some(broker) = busy {
            let message =
                format!("{} moves are running at broker {broker}", self.limits.moves_per_broker.max(1));
            return Err(Hold::new(Rule::MovesPerBroker, message));
        }
        self.count(seen, &adding, &removing);
        Ok(())
    }

    /// A broker that is down has no work with what goes from it.
    fn count(&mut self, seen: &Observed, adding: &[BrokerId], removing: &[BrokerId]) {
        self.in_cluster += adding.len();
        for broker in adding.iter().chain(removing.iter().filter(|broker| seen.is_up(**broker))) {
            *self.at_broker.entry(*broker).or_default() += 1;
        }
    }
}

/// What would give a partition a leader again, of whose replicas these would lose nothing (KIP-966).
fn who_has_to_come_back(awaited: &[BrokerId]) -> String {
    match awaited {
        [] => "no replica is known to have every record, so that only an unclean election could give it one"
            .to_owned(),
        [one] => format!("broker {one} can lead it without any loss: bring it back"),
        several => {
            let several: Vec<String> = several.iter().map(ToString::to_string).collect();
            format!("brokers {} can lead it without any loss: bring one of them back", several.join(", "))
        }
    }
}
