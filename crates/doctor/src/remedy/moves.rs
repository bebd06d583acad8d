//! From a plan on a model of the cluster to changes of the cluster itself.

use std::{cmp::Reverse, collections::BTreeSet};

use doctorkafka_api::Throttle;
use doctorkafka_kafka::PartitionInfo;
use doctorkafka_planner::{Change, Proposal};
use doctorkafka_wire::{BrokerId, Network, PartitionChange};

use crate::topics::TopicTable;

/// A change and why it is made.
pub(crate) type Explained = (PartitionChange, String);

/// What a plan asks of the cluster.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    /// The changes, those of the partitions that lack most replicas first.
    pub changes: Vec<Explained>,
    /// Partitions that have no leader, so that there is nothing to copy from.
    pub leaderless: usize,
}

/// The changes of a plan. `bytes` gives the size of one replica of a partition.
pub(crate) fn changes(plan: &Proposal<'_>, topics: &TopicTable, bytes: impl Fn(&str, i32) -> u64) -> Asked {
    let mut asked = Asked::default();
    let mut found = Vec::new();
    for change in plan.changes() {
        let Some(partition) = topics.partition(change.t, change.p) else { continue };
        // One that has changed since the loads were read is left to the next plan.
        let planned_from = |id: &BrokerId| change.o.contains(&id.0);
        if change.o.len() != partition.replicas.len() || !partition.replicas.iter().all(planned_from) {
            continue;
        }
        let from = partition.replicas.clone();
        let to = target(partition, &change);
        let added = to.iter().filter(|id| !from.contains(id)).count();
        if partition.leader.is_none() {
            asked.leaderless += 1;
        } else if to != from && to.len() == from.len() {
            let lacks = from.len().saturating_sub(partition.isr.len());
            let bytes = bytes(change.t, change.p).saturating_mul(added as u64);
            let (topic, partition) = (change.t.to_owned(), change.p);
            found.push((lacks, (PartitionChange { topic, partition, from, to, bytes }, change.why)));
        }
    }
    // Stable: what lacks as many stays in the order of the plan.
    found.sort_by_key(|(lacks, _)| Reverse(*lacks));
    asked.changes = found.into_iter().map(|(_, change)| change).collect();
    asked
}

/// The new replicas in an order that changes no more than it must: who stays keeps its place, who comes takes the place of
/// one who goes. Only where the preferred leader goes, or the plan hands the leadership over, another is put first.
fn target(partition: &PartitionInfo, change: &Change<'_>) -> Vec<BrokerId> {
    let planned: Vec<BrokerId> = change.r.iter().copied().map(BrokerId).collect();
    let mut came = planned.iter().filter(|id| !partition.replicas.contains(id));
    let here = partition.replicas.iter().copied();
    let mut to: Vec<BrokerId> =
        here.filter_map(|id| if planned.contains(&id) { Some(id) } else { came.next().copied() }).collect();
    let first = planned.first().copied();
    let handed_over = first != partition.leader;
    let preferred_goes = partition.replicas.first().is_some_and(|preferred| !planned.contains(preferred));
    if let Some(first) = first.filter(|_| handed_over || preferred_goes)
        && let Some(at) = to.iter().position(|id| *id == first)
    {
        to[..=at].rotate_right(1);
    }
    to
}

/// The lowest rate that is chosen by itself, bytes a second.
pub(crate) const FLOOR: u64 = 10_000_000;

/// Replication at each broker that takes part, bytes a second. `Throttle::Auto` gives half of what the one that has least
/// left of its network has left, and what is usual where no network's capacity is known.
pub(crate) fn throttle<'r>(
    wanted: Throttle,
    changes: &[PartitionChange],
    network: impl Fn(BrokerId) -> Option<&'r Network>,
) -> Option<u64> {
    const USUAL: u64 = 50_000_000;
    let brokers: BTreeSet<BrokerId> =
        changes.iter().flat_map(|change| change.from.iter().chain(&change.to).copied()).collect();
    let left = |broker: BrokerId| {
        let network = network(broker)?;
        let capacity = network.capacity_bytes_per_sec.filter(|capacity| *capacity > 0)?;
        let used = network.in_bytes_per_sec.max(network.out_bytes_per_sec);
        // Saturating: a used share above the capacity leaves nothing.
        Some(capacity.saturating_sub(used as u64))
    };
    match wanted {
        Throttle::Unlimited => None,
        Throttle::BytesPerSecond(rate) => Some(rate),
        Throttle::Auto => {
            let least = brokers.into_iter().filter_map(left).min();
            Some(least.map_or(USUAL, |left| (left / 2).max(FLOOR)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(ids: &[i32]) -> Vec<BrokerId> {
        ids.iter().copied().map(BrokerId).collect()
    }

    fn target_of(replicas: &[i32], leader: i32, planned: &[i32]) -> Vec<BrokerId> {
        let partition = PartitionInfo {
            partition: 0,
            leader: Some(BrokerId(leader)),
            replicas: ids(replicas),
            isr: ids(replicas),
            eligible: None,
        };
        let change = Change { t: "t", p: 0, r: planned.to_vec(), o: planned.to_vec(), why: String::new() };
        target(&partition, &change)
    }

    #[test]
    fn who_stays_keeps_its_place() {
        assert_eq!(target_of(&[1, 2, 3], 1, &[1, 4, 2]), ids(&[1, 2, 4]));
        assert_eq!(
            target_of(&[1, 2, 3], 2, &[2, 1, 4]),
            ids(&[1, 2, 4]),
            "the preferred leader will lead again"
        );
    }

    #[test]
    fn a_preferred_leader_that_goes_is_followed_by_who_leads_then() {
        assert_eq!(target_of(&[1, 2, 3], 2, &[2, 4, 3]), ids(&[2, 4, 3]));
        assert_eq!(target_of(&[1, 2, 3], 3, &[3, 4, 2]), ids(&[3, 4, 2]));
        assert_eq!(target_of(&[1, 2, 3], 1, &[3, 2, 4]), ids(&[3, 4, 2]));
    }

    #[test]
    fn the_plan_may_hand_leadership_over() {
        assert_eq!(target_of(&[1, 2, 3], 1, &[2, 1, 3]), ids(&[2, 1, 3]));
        assert_eq!(target_of(&[1, 2, 3], 1, &[4, 1, 3]), ids(&[4, 1, 3]));
    }

    #[test]
    fn auto_leaves_the_cluster_half_of_what_is_free() {
        let change =
            PartitionChange { topic: "t".into(), partition: 0, from: ids(&[1]), to: ids(&[2]), bytes: 1 };
        let changes = [change];
        let rate = |wanted, capacity, out| {
            let network =
                Network { in_bytes_per_sec: 1.0, out_bytes_per_sec: out, capacity_bytes_per_sec: capacity };
            throttle(wanted, &changes, |_| Some(&network))
        };
        assert_eq!(rate(Throttle::Auto, Some(1_000_000_000), 200e6), Some(400_000_000));
        assert_eq!(rate(Throttle::Auto, Some(100_000_000), 99e6), Some(10_000_000), "it has to end some day");
        assert_eq!(rate(Throttle::Auto, Some(100_000_000), 200e6), Some(10_000_000));
        assert_eq!(rate(Throttle::Auto, None, 99e6), Some(50_000_000));
        assert_eq!(rate(Throttle::BytesPerSecond(7), Some(1), 0.0), Some(7));
        assert_eq!(rate(Throttle::Unlimited, Some(1), 0.0), None);
    }
}
