//! Remedies for live clusters do one thing, and leave everything else as it is.

use crate::{
    cluster::{Cluster, any_cluster},
    referee::{Assignment, judge},
};
use doctorkafka_planner::{Instance, Remedy, propose};
use proptest::prelude::*;
use std::collections::BTreeSet;

/// The assignment before and after the remedy.
fn treat(cluster: &Cluster, instance: &Instance, remedy: &Remedy) -> (Assignment, Assignment) {
    (Assignment::now(cluster), Assignment::of(cluster, &propose(instance, remedy).unwrap()))
}

fn racks(cluster: &Cluster, replicas: &[(i32, usize)]) -> usize {
    replicas.iter().map(|(id, _)| cluster.broker(*id).rack).collect::<BTreeSet<_>>().len()
}

fn ids(replicas: &[(i32, usize)]) -> BTreeSet<i32> {
    replicas.iter().map(|(id, _)| *id).collect()
}

/// Nobody gets worse, and no partition spans fewer racks than before, the racks of dead brokers included.
fn is_harmless(cluster: &Cluster, before: &Assignment, after: &Assignment) -> Result<(), TestCaseError> {
    let verdict = judge(cluster, after);
    prop_assert!(verdict.broken.is_empty(), "{:?}", verdict.broken);
    for (before, after) in before.0.iter().zip(&after.0) {
        prop_assert!(racks(cluster, after) >= racks(cluster, before), "{before:?} -> {after:?}");
    }
    Ok(())
}

/// Every partition that changed had a replica on one of these, and only those replicas went. Where none could go, its
/// leadership may have.
fn only_leaves(from: &BTreeSet<i32>, before: &Assignment, after: &Assignment) -> Result<(), TestCaseError> {
    for (before, after) in before.0.iter().zip(&after.0).filter(|(before, after)| before != after) {
        let gone: BTreeSet<i32> = ids(before).difference(&ids(after)).copied().collect();
        prop_assert!(
            !ids(before).is_disjoint(from) && gone.is_subset(from),
            "{before:?} -> {after:?} for {from:?}"
        );
        prop_assert!(ids(after).is_disjoint(&gone));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn healing_makes_anew_what_the_dead_held(cluster in any_cluster()) {
        let dead: BTreeSet<i32> = cluster.brokers.iter().filter(|b| !b.alive).map(|b| b.id).collect();
        let (before, after) = treat(&cluster, &cluster.instance(), &Remedy::Heal);
        is_harmless(&cluster, &before, &after)?;
        only_leaves(&dead, &before, &after)?;
        let shortfalls = propose(&cluster.instance(), &Remedy::Heal).unwrap().shortfalls;
        let left = after.0.iter().any(|replicas| !ids(replicas).is_disjoint(&dead));
        prop_assert_eq!(left, !shortfalls.is_empty(), "{:?}", shortfalls);
    }

    #[test]
    fn evacuation_empties_a_broker_and_nothing_else(cluster in any_cluster()) {
        let broker = cluster.brokers[0].id;
        let remedy = Remedy::Evacuate([broker].into());
        let (before, after) = treat(&cluster, &cluster.instance(), &remedy);
        is_harmless(&cluster, &before, &after)?;
        only_leaves(&[broker].into(), &before, &after)?;
        let stays = after.0.iter().any(|replicas| ids(replicas).contains(&broker));
        prop_assert_eq!(stays, !propose(&cluster.instance(), &remedy).unwrap().shortfalls.is_empty());
    }

    #[test]
    fn relief_takes_from_the_named_alone(cluster in any_cluster()) {
        let broker = cluster.brokers[0].id;
        let (before, after) = treat(&cluster, &cluster.instance(), &Remedy::Relieve([broker].into()));
        is_harmless(&cluster, &before, &after)?;
        for (before, after) in before.0.iter().zip(&after.0).filter(|(before, after)| before != after) {
            let gone: BTreeSet<i32> = ids(before).difference(&ids(after)).copied().collect();
            prop_assert!(gone.is_subset(&[broker].into()), "{before:?} -> {after:?}");
            prop_assert!(!gone.is_empty() || before[0].0 == broker, "{before:?} -> {after:?}");
        }
    }

    #[test]
    fn refilling_gives_to_the_named_alone(cluster in any_cluster(), empty in any::<bool>()) {
        let mut cluster = cluster;
        cluster.brokers[0].alive = true;
        let broker = cluster.brokers[0].id;
        if empty {
            cluster.partitions.retain(|partition| partition.replicas.iter().all(|(id, _)| *id != broker));
        }
        let (before, after) = treat(&cluster, &cluster.instance(), &Remedy::Refill([broker].into()));
        is_harmless(&cluster, &before, &after)?;
        for (before, after) in before.0.iter().zip(&after.0) {
            let came: BTreeSet<i32> = ids(after).difference(&ids(before)).copied().collect();
            prop_assert!(came.is_subset(&[broker].into()), "{before:?} -> {after:?}");
        }
    }

    #[test]
    fn nothing_is_given_to_brokers_that_take_nothing_and_pinned_topics_stay(cluster in any_cluster()) {
        let mut instance = cluster.instance();
        let closed = cluster.brokers[0].id;
        instance.brokers[0].takes = false;
        for remedy in [Remedy::Heal, Remedy::Balance, Remedy::Evacuate([cluster.brokers[1].id].into())] {
            let (before, after) = treat(&cluster, &instance, &remedy);
            for (before, after) in before.0.iter().zip(&after.0) {
                prop_assert!(ids(before).contains(&closed) || !ids(after).contains(&closed), "{remedy:?}");
            }
        }
        instance.pin(|topic| topic == "t");
        let all: BTreeSet<i32> = cluster.brokers.iter().map(|broker| broker.id).collect();
        for remedy in [Remedy::Relieve(all), Remedy::Refill([cluster.brokers[1].id].into())] {
            let (before, after) = treat(&cluster, &instance, &remedy);
            prop_assert_eq!(before, after, "{:?}", remedy);
        }
    }
}

#[test]
fn an_empty_broker_is_filled_to_about_the_average() {
    let mut cluster = Cluster::even(3, 60);
    cluster.brokers.push(crate::cluster::Broker { id: 3, rack: 3, alive: true, capacity: [100.0; 4] });
    let (_, after) = treat(&cluster, &cluster.instance(), &Remedy::Refill([3].into()));
    let held = after.0.iter().filter(|replicas| ids(replicas).contains(&3)).count();
    // 120 replicas on four brokers.
    assert!((24..=33).contains(&held), "{held}");
    let led = after.0.iter().filter(|replicas| replicas[0].0 == 3).count();
    assert!((10..=18).contains(&led), "{led}");
}
