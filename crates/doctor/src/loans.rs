//! Leaderships that were taken off a hot or demoted broker, and are given back when it is well, or demoted no more.
//!
//! A fold over the actions log, so that a doctor that takes over owes what the one before owed. Pure.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use doctorkafka_wire::{
    ActionKind, ActionRecord, BrokerId, LeadershipMove, Outcome, PartitionChange, TreatmentCause,
};
use jiff::Timestamp;

use crate::{
    execute::Treatment,
    remedy::{Remedy, treatment},
    topics::TopicTable,
};

/// Ends of reliefs that are remembered of each broker: enough for the longest rest.
const REMEMBERED: usize = 8;

/// A broker that is hot again before so many rests are over was not helped.
const AGAIN: u32 = 4;

/// The longest rest, as a power of two of the shortest.
const MOST_DOUBLINGS: u32 = 5;

type Changes = BTreeMap<(String, i32), PartitionChange>;

/// What is owed to whom, and when each broker was treated.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Loans {
    owed: BTreeMap<BrokerId, Changes>,
    /// The treatment that is under way: its digest, and what it is about.
    begun: Option<(String, TreatmentCause, Vec<PartitionChange>)>,
    reliefs: BTreeMap<BrokerId, VecDeque<Timestamp>>,
    last_end: Option<(BrokerId, Timestamp)>,
}

impl Loans {
    /// Takes in the next record of the log.
    pub fn apply(&mut self, record: &ActionRecord) {
        if record.kind != ActionKind::ReassignPartitions || record.step.is_some() {
            return;
        }
        let plan = record.treatment.as_ref().and_then(|detail| detail.plan.as_ref());
        match (record.outcome, plan, &record.digest) {
            (Some(Outcome::Intended), Some(plan), Some(digest)) => {
                self.begun = Some((digest.clone(), plan.cause.clone(), plan.changes.clone()));
            }
            (Some(Outcome::Done | Outcome::Failed | Outcome::Aborted), None, Some(digest)) => {
                if let Some((_, cause, changes)) = self.begun.take_if(|begun| begun.0 == *digest) {
                    self.end(&cause, changes, record);
                }
            }
            _ => {}
        }
    }

    fn end(&mut self, cause: &TreatmentCause, changes: Vec<PartitionChange>, record: &ActionRecord) {
        let Some(broker) = cause.broker else { return };
        let remedy = Remedy::named(&cause.reason);
        // What people asked for is no sign that the cluster needs rest.
        if !matches!(remedy, Some(Remedy::Demotion | Remedy::Drain)) {
            self.last_end = Some((broker, record.time));
        }
        if let Some(Remedy::LeadershipRelief | Remedy::ReplicaRelief) = remedy {
            let reliefs = self.reliefs.entry(broker).or_default();
            reliefs.push_back(record.time);
            if reliefs.len() > REMEMBERED {
                reliefs.pop_front();
            }
        }
        match remedy {
            // Given up half-way, some may have changed hands all the same: the cluster tells which, when they are given back.
            Some(Remedy::LeadershipRelief | Remedy::Demotion) => {
                let owed = self.owed.entry(broker).or_default();
                for change in changes {
                    // What was lent twice goes back to where it was first.
                    let first = owed.remove(&(change.topic.clone(), change.partition));
                    let from = first.filter(|first| first.to == change.from).map(|first| first.from);
                    let change = PartitionChange { from: from.unwrap_or(change.from), ..change };
                    owed.insert((change.topic.clone(), change.partition), change);
                }
            }
            Some(Remedy::LeadershipReturn) if record.outcome == Some(Outcome::Done) => {
                // Larger debts are paid in several treatments.
                if let Some(owed) = self.owed.get_mut(&broker) {
                    for paid in changes {
                        owed.remove(&(paid.topic, paid.partition));
                    }
                    if owed.is_empty() {
                        self.owed.remove(&broker);
                    }
                }
            }
            _ => {}
        }
    }

    /// Brokers that leaderships are owed to.
    pub fn creditors(&self) -> impl Iterator<Item = BrokerId> + '_ {
        self.owed.keys().copied()
    }

    /// How long the cluster is still to be left alone after its last treatment: `cooldown`, doubled for every relief that
    /// did not help, which is one that the same broker needed again soon.
    pub fn rest(&self, cooldown: Duration, now: Timestamp) -> Option<Duration> {
        let (broker, ended) = self.last_end?;
        let mut doublings = 0;
        let reliefs = self.reliefs.get(&broker);
        let times = reliefs.into_iter().flatten();
        for (earlier, later) in times.clone().zip(times.skip(1)) {
            let soon = cooldown * AGAIN * (1 << doublings);
            doublings =
                if between(*earlier, *later) < soon { (doublings + 1).min(MOST_DOUBLINGS) } else { 0 };
        }
        let rest = cooldown * (1 << doublings);
        // A clock that was set back must not make the rest longer than it is.
        rest.checked_sub(between(ended, now)).filter(|left| !left.is_zero())
    }

    /// Gives back what is owed to a broker, as far as nobody has changed it since. `None` when nothing is left to give.
    pub fn give_back(&self, broker: BrokerId, topics: &TopicTable) -> Option<Treatment> {
        let still_lent = |change: &&PartitionChange| {
            let partition = topics.partition(&change.topic, change.partition);
            partition.is_some_and(|partition| partition.replicas == change.to)
        };
        let back = |change: &PartitionChange| PartitionChange {
            from: change.to.clone(),
            to: change.from.clone(),
            bytes: 0,
            ..change.clone()
        };
        let changes: Vec<_> = self.owed.get(&broker)?.values().filter(still_lent).map(back).collect();
        let message = format!("broker {broker} is fit to lead again and gets back what it led");
        treatment(broker, Remedy::LeadershipReturn, message, changes, None)
    }
}

/// Carries out what was planned for a hot broker. `None` when no partition is left to change.
pub(crate) fn relief(
    broker: BrokerId,
    moves: &[LeadershipMove],
    topics: &TopicTable,
    why: &str,
) -> Option<Treatment> {
    let change = |planned: &LeadershipMove| {
        let partition = topics.partition(&planned.topic, planned.partition)?;
        let others = partition.replicas.iter().copied().filter(|id| *id != planned.to);
        let to: Vec<BrokerId> = [planned.to].into_iter().chain(others).collect();
        let fits = to.len() == partition.replicas.len() && to != partition.replicas;
        fits.then(|| PartitionChange {
            topic: planned.topic.clone(),
            partition: planned.partition,
            from: partition.replicas.clone(),
            to,
            bytes: 0,
        })
    };
    treatment(
        broker,
        Remedy::LeadershipRelief,
        why.to_owned(),
        moves.iter().filter_map(change).collect(),
        None,
    )
}

fn between(earlier: Timestamp, later: Timestamp) -> Duration {
    Duration::try_from(later.duration_since(earlier)).unwrap_or_default()
}

#[cfg(test)]
pub(crate) mod tests;
