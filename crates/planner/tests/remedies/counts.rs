//! Where only the number of replicas counts, plans are held against the cheapest there are.

use std::collections::BTreeSet;

use crate::{
    cluster::{Cluster, weightless_cluster},
    flow::{fewest_moves, most_placed},
};
use doctorkafka_planner::{Remedy, propose};
use proptest::strategy::{Strategy, ValueTree};

const CLUSTERS: usize = 1_000;

/// Always the same clusters.
fn clusters(racks: u8) -> impl Iterator<Item = Cluster> {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let any = weightless_cluster(racks);
    std::iter::repeat_with(move || any.new_tree(&mut runner).unwrap().current()).take(CLUSTERS)
}

/// How many plans are as cheap as can be, dearer, and not made although there is one.
#[derive(Debug, Default)]
struct Score {
    equal: usize,
    dearer: usize,
    refused: usize,
}

fn repairs(clusters: impl Iterator<Item = Cluster>, apart: bool) -> Score {
    let mut score = Score::default();
    for cluster in clusters {
        let least = fewest_moves(&cluster, |id| !cluster.lives(id), cluster.max_replicas, apart);
        let instance = cluster.instance();
        let plan = propose(&instance, &Remedy::Repair).unwrap();
        match (least, plan.shortfalls.is_empty()) {
            (None, told) => assert!(!told, "no shortfall is told where there is no plan: {cluster:?}"),
            (Some(_), false) => score.refused += 1,
            (Some(least), true) => {
                let moves = plan.copied().0;
                assert!(moves >= least, "{moves} moves where {least} are the fewest: {cluster:?}");
                if moves == least { score.equal += 1 } else { score.dearer += 1 }
            }
        }
    }
    score
}

#[test]
fn without_racks_no_repair_moves_more_than_the_cheapest_flow() {
    let score = repairs(clusters(1), false);
    assert!(score.equal > CLUSTERS / 2 && score.dearer == 0 && score.refused == 0, "{score:?}");
}

/// To mend racks and limits at once takes long chains of moves in a few clusters that are nearly full. Planning makes none that are
/// longer than an exchange.
#[test]
fn with_racks_few_repairs_move_more_than_the_cheapest_flow() {
    let fits = |cluster: &Cluster| {
        let alive = cluster.brokers.iter().filter(|broker| broker.alive);
        let racks = alive.map(|broker| broker.rack).collect::<BTreeSet<_>>().len();
        cluster.partitions.iter().all(|partition| partition.replicas.len() <= racks)
    };
    let score = repairs(clusters(3).filter(fits), true);
    let all = score.equal + score.dearer + score.refused;
    assert!(all > CLUSTERS / 4, "{score:?}");
    assert!(score.dearer * 50 <= all && score.refused * 25 <= all, "{score:?}");
}

/// Every replica that leaves moves once, so the count of moves is the count of replicas that found a place.
#[test]
fn healing_and_evacuation_place_what_the_largest_flow_places() {
    let (mut all, mut full) = (0, 0);
    for cluster in clusters(1) {
        for remedy in [Remedy::Heal, Remedy::Evacuate([0].into())] {
            let leaves = |id: i32| if remedy == Remedy::Heal { !cluster.lives(id) } else { id == 0 };
            let most = most_placed(&cluster, leaves);
            let instance = cluster.instance();
            let plan = propose(&instance, &remedy).unwrap();
            let placed = plan.copied().0;
            assert_eq!(
                placed, most,
                "{placed} placed where there is room for {most}: {remedy:?} of {cluster:?}"
            );
            all += 1;
            full += usize::from(!plan.shortfalls.is_empty());
        }
    }
    assert!(full * 20 > all, "too few clusters are short of room to tell: {full} of {all}");
}
