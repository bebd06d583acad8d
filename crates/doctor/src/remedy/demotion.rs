//! Taking all leaderships off brokers that are not to lead.

use std::collections::{BTreeMap, BTreeSet};

use doctorkafka_kafka::{PartitionInfo, TopicInfo};
use doctorkafka_wire::{BrokerId, PartitionChange};

/// The changes that take every leadership off a broker, and how many partitions it goes on leading because no in-sync
/// replica elsewhere may lead.
///
/// Topics of all kinds are changed: the broker is about to be worked on. `may_lead` says which brokers may be given a
/// leadership; of several, the one that leads least gets it.
pub(crate) fn demote(
    broker: BrokerId,
    topics: &[TopicInfo],
    may_lead: impl Fn(BrokerId) -> bool,
) -> (Vec<PartitionChange>, usize) {
    let partitions = || topics.iter().flat_map(|topic| topic.partitions.iter().map(move |p| (topic, p)));
    let mut led: BTreeMap<BrokerId, usize> = BTreeMap::new();
    for leader in partitions().filter_map(|(_, partition)| partition.leader) {
        *led.entry(leader).or_default() += 1;
    }
    let (mut changes, mut stuck) = (Vec::new(), 0);
    for (topic, partition) in partitions().filter(|(_, partition)| leads_or_would(broker, partition)) {
        let heirs = partition.replicas.iter().copied().filter(|id| {
            *id != broker
                && partition.replicas.first() != Some(id)
                && partition.isr.contains(id)
                && may_lead(*id)
        });
        // Who leads already goes on, where another leads than the preferred replica.
        let heir = heirs
            .min_by_key(|id| (partition.leader != Some(*id), led.get(id).copied().unwrap_or_default(), *id));
        let Some(heir) = heir else {
            stuck += usize::from(partition.leader == Some(broker));
            continue;
        };
        *led.entry(heir).or_default() += 1;
        let others = partition.replicas.iter().copied().filter(|id| *id != heir);
        changes.push(PartitionChange {
            topic: topic.name.clone(),
            partition: partition.partition,
            from: partition.replicas.clone(),
            to: [heir].into_iter().chain(others).collect(),
            bytes: 0,
        });
    }
    // A replica set that somebody else has left with two entries of one broker is none to be changed.
    changes.retain(|change| change.to.iter().collect::<BTreeSet<_>>().len() == change.from.len());
    (changes, stuck)
}

/// Whether the broker leads the partition, or would after the next preferred election.
fn leads_or_would(broker: BrokerId, partition: &PartitionInfo) -> bool {
    partition.replicas.first() == Some(&broker) || partition.leader == Some(broker)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(partitions: &[(i32, &[i32], &[i32])]) -> Vec<TopicInfo> {
        let ids = |ids: &[i32]| ids.iter().copied().map(BrokerId).collect::<Vec<_>>();
        let partition = |(number, (leader, replicas, isr)): (i32, &(i32, &[i32], &[i32]))| PartitionInfo {
            partition: number,
            leader: Some(BrokerId(*leader)),
            replicas: ids(replicas),
            isr: ids(isr),
            eligible: None,
        };
        let partitions = (0..).zip(partitions).map(partition).collect();
        vec![TopicInfo { name: "t".into(), id: 1, internal: false, partitions }]
    }

    fn heirs(changes: &[PartitionChange]) -> Vec<(i32, i32)> {
        changes.iter().map(|change| (change.partition, change.to[0].0)).collect()
    }

    #[test]
    fn leaderships_go_to_those_who_lead_least() {
        let topics = topic(&[
            (1, &[1, 2, 3], &[1, 2, 3]),
            (1, &[1, 2, 3], &[1, 2, 3]),
            (1, &[1, 3, 2], &[1, 2, 3]),
            (2, &[2, 1, 3], &[1, 2, 3]),
        ]);
        let (changes, stuck) = demote(BrokerId(1), &topics, |_| true);
        assert_eq!((heirs(&changes), stuck), (vec![(0, 3), (1, 2), (2, 3)], 0));
        assert_eq!(changes[0].to, [3, 1, 2].map(BrokerId));
    }

    #[test]
    fn only_in_sync_replicas_that_may_lead_are_heirs() {
        let topics = topic(&[(1, &[1, 2, 3], &[1, 3]), (1, &[1, 2], &[1]), (1, &[1], &[1])]);
        let (changes, stuck) = demote(BrokerId(1), &topics, |_| true);
        assert_eq!((heirs(&changes), stuck), (vec![(0, 3)], 2));
        let (changes, stuck) = demote(BrokerId(1), &topics, |id| id != BrokerId(3));
        assert_eq!((heirs(&changes), stuck), (vec![], 3));
    }

    #[test]
    fn who_leads_in_the_place_of_the_preferred_replica_stays_leader() {
        let topics = topic(&[(2, &[1, 2, 3], &[1, 2, 3]), (2, &[2, 3], &[2, 3])]);
        assert_eq!(heirs(&demote(BrokerId(1), &topics, |_| true).0), [(0, 2)]);
    }

    #[test]
    fn the_work_ends() {
        let mut topics = topic(&[(1, &[1, 2, 3], &[1, 2, 3]), (2, &[1, 2], &[1, 2])]);
        for change in demote(BrokerId(1), &topics, |_| true).0 {
            let partition = &mut topics[0].partitions[usize::try_from(change.partition).unwrap()];
            (partition.leader, partition.replicas) = (Some(change.to[0]), change.to);
        }
        assert_eq!(demote(BrokerId(1), &topics, |_| true), (vec![], 0));
    }
}
