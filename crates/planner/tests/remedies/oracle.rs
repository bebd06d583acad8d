//! The cheapest repair there is, by trying every one.

use crate::{
    cluster::Cluster,
    referee::{Assignment, judge},
};

/// The least that a legal assignment copies: MB, or replicas where brokers are dead; `None` when there is none.
pub fn cheapest(cluster: &Cluster) -> Option<f64> {
    let mut best = None;
    let mut assignment = Assignment::now(cluster);
    search(cluster, 0, 0.0, &mut assignment, &mut best);
    best
}

fn search(
    cluster: &Cluster,
    partition: usize,
    copied: f64,
    assignment: &mut Assignment,
    best: &mut Option<f64>,
) {
    if best.is_some_and(|best| copied >= best) {
        return;
    }
    if partition == cluster.partitions.len() {
        if judge(cluster, assignment).illegal.is_empty() {
            *best = Some(copied);
        }
        return;
    }
    let before = &cluster.partitions[partition].replicas;
    let alive: Vec<i32> = cluster.brokers.iter().filter(|b| b.alive).map(|b| b.id).collect();
    let mut choices: Vec<Vec<i32>> = vec![vec![]];
    for _ in before {
        choices = choices
            .iter()
            .flat_map(|chosen| {
                alive.iter().filter(|id| !chosen.contains(id)).map(|id| [chosen.as_slice(), &[*id]].concat())
            })
            .collect();
    }
    for chosen in choices {
        // Two replicas of a partition hold the same: to exchange them is no move.
        let exchanged =
            |i: &usize| before.iter().enumerate().any(|(j, (held, _))| *held == chosen[*i] && j != *i);
        if (0..chosen.len()).any(|i| exchanged(&i)) {
            continue;
        }
        let dead = cluster.has_dead_brokers();
        // A copy is made on a broker that held none of the partition.
        let fresh = |i: &usize| before.iter().all(|(held, _)| *held != chosen[*i]);
        let price: f64 =
            (0..chosen.len()).filter(fresh).map(|i| if dead { 1.0 } else { before[i].1[3] }).sum();
        for leader in 0..chosen.len() {
            let mut replicas: Vec<(i32, usize)> = chosen.iter().copied().zip(0..).collect();
            replicas.swap(0, leader);
            assignment.0[partition] = replicas;
            search(cluster, partition + 1, copied + price, assignment, best);
        }
    }
}
