//! The hard rules, written down a second time.

use crate::cluster::{Cluster, THRESHOLD};
use doctorkafka_planner::{Load, Proposal};
use std::collections::{BTreeMap, BTreeSet};

/// Broker of each replica, the leader first, and which of the replicas of before it is, by partition.
#[derive(Debug, Clone, PartialEq)]
pub struct Assignment(pub Vec<Vec<(i32, usize)>>);

impl Assignment {
    pub fn now(cluster: &Cluster) -> Self {
        let replicas = |p: &crate::cluster::Partition| p.replicas.iter().map(|r| r.0).zip(0..).collect();
        Self(cluster.partitions.iter().map(replicas).collect())
    }

    pub fn of(cluster: &Cluster, proposal: &Proposal<'_>) -> Self {
        let mut assignment = Self::now(cluster);
        for change in proposal.changes() {
            let partition = usize::try_from(change.p).unwrap();
            let before = &cluster.partitions[partition].replicas;
            let origin = |id: &i32| before.iter().position(|(held, _)| held == id).unwrap();
            assignment.0[partition] = change.r.iter().copied().zip(change.o.iter().map(origin)).collect();
        }
        assignment
    }
}

#[derive(Debug, Default)]
pub struct Verdict {
    /// What no plan may ever do.
    pub broken: Vec<String>,
    /// What a whole repair leaves nowhere.
    pub illegal: Vec<String>,
}

fn held(cluster: &Cluster, assignment: &Assignment) -> BTreeMap<i32, (Load, u32)> {
    let mut held: BTreeMap<i32, (Load, u32)> =
        cluster.brokers.iter().map(|b| (b.id, Default::default())).collect();
    for (partition, replicas) in cluster.partitions.iter().zip(&assignment.0) {
        for (i, (id, origin)) in replicas.iter().enumerate() {
            let (load, count) = held.get_mut(id).unwrap();
            load.iter_mut().zip(partition.load(*origin, i == 0)).for_each(|(sum, more)| *sum += more);
            *count += 1;
        }
    }
    held
}

pub fn judge(cluster: &Cluster, after: &Assignment) -> Verdict {
    let mut verdict = Verdict::default();
    let racks = |ids: &mut dyn Iterator<Item = i32>| {
        ids.map(|id| cluster.broker(id).rack).collect::<BTreeSet<_>>().len()
    };
    let alive_racks = racks(&mut cluster.brokers.iter().filter(|b| b.alive).map(|b| b.id));
    for (number, (partition, replicas)) in cluster.partitions.iter().zip(&after.0).enumerate() {
        let before: Vec<i32> = partition.replicas.iter().map(|r| r.0).collect();
        let ids: BTreeSet<i32> = replicas.iter().map(|r| r.0).collect();
        let origins: BTreeSet<usize> = replicas.iter().map(|r| r.1).collect();
        if ids.len() != before.len() || replicas.len() != before.len() || origins.len() != before.len() {
            verdict.broken.push(format!("partition {number} had {before:?} and gets {replicas:?}"));
        }
        for (id, origin) in
            replicas.iter().filter(|(id, origin)| before[*origin] != *id && before.contains(id))
        {
            let from = before[*origin];
            verdict.broken.push(format!(
                "partition {number}: {id} has a replica, and gets that of {from} in its place"
            ));
        }
        let spans = racks(&mut ids.iter().copied());
        if spans < racks(&mut before.iter().copied()).min(alive_racks) {
            verdict.broken.push(format!("partition {number} loses a rack: {before:?} to {ids:?}"));
        }
        if spans < before.len().min(alive_racks) {
            verdict.illegal.push(format!("partition {number} in {spans} racks"));
        }
        for id in ids.iter().filter(|id| !cluster.lives(**id)) {
            verdict.illegal.push(format!("partition {number} on dead broker {id}"));
            if !before.contains(id) {
                verdict.broken.push(format!("partition {number} moves to dead broker {id}"));
            }
        }
    }
    let (was, is) = (held(cluster, &Assignment::now(cluster)), held(cluster, after));
    for broker in cluster.brokers.iter().filter(|broker| broker.alive) {
        let ((before, few), (load, count)) = (was[&broker.id], is[&broker.id]);
        let mut check = |what: &str, before: f64, now: f64, limit: f64| {
            if now > limit * (1.0 + 1e-5) {
                verdict.illegal.push(format!("broker {} has {what} {now} of {limit}", broker.id));
                if now > before * (1.0 + 1e-6) {
                    verdict
                        .broken
                        .push(format!("broker {} gets {what} {now} of {limit}, had {before}", broker.id));
                }
            }
        };
        for k in 0..4 {
            check("load", before[k], load[k], broker.capacity[k] * THRESHOLD[k]);
        }
        check("replicas", few.into(), count.into(), cluster.max_replicas.into());
    }
    verdict
}
