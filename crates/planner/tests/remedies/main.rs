//! Plans on random clusters, judged by a referee that trusts nothing of the planner.

#![allow(clippy::unwrap_used)]

mod cluster;
mod counts;
mod flow;
mod oracle;
mod referee;
mod single;

use cluster::{Cluster, any_cluster, tiny_cluster};
use doctorkafka_planner::{Remedy, propose};
use proptest::{prelude::*, strategy::ValueTree};
use referee::{Assignment, judge};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn hard_rules_hold_and_nothing_gets_worse(cluster in any_cluster(), balance in any::<bool>()) {
        let instance = cluster.instance();
        let remedy = if balance { Remedy::Balance } else { Remedy::Repair };
        let proposal = propose(&instance, &remedy).unwrap();
        let after = Assignment::of(&cluster, &proposal);
        let verdict = judge(&cluster, &after);
        prop_assert!(verdict.broken.is_empty(), "{:?}", verdict.broken);
        if proposal.shortfalls.is_empty() {
            prop_assert!(verdict.illegal.is_empty(), "no shortfall is told, yet: {:?}", verdict.illegal);
        } else {
            prop_assert!(!verdict.illegal.is_empty(), "shortfalls of a legal plan: {:?}", proposal.shortfalls);
        }
        prop_assert_eq!(&after, &Assignment::of(&cluster, &propose(&instance, &remedy).unwrap()), "deterministic");
    }

    #[test]
    fn evenness_is_not_at_the_price_of_a_limit(cluster in any_cluster()) {
        let instance = cluster.instance();
        let repaired = propose(&instance, &Remedy::Repair).unwrap().shortfalls;
        let balanced = propose(&instance, &Remedy::Balance).unwrap().shortfalls;
        prop_assert!(balanced.len() <= repaired.len(), "{:?} and not {:?}", balanced, repaired);
    }

    #[test]
    fn a_legal_cluster_is_left_alone(cluster in any_cluster()) {
        let instance = cluster.instance();
        if judge(&cluster, &Assignment::now(&cluster)).illegal.is_empty() {
            let proposal = propose(&instance, &Remedy::Repair).unwrap();
            prop_assert_eq!(proposal.changes().count(), 0);
        }
    }

    #[test]
    fn a_drained_broker_is_empty_and_a_demoted_one_leads_nothing(cluster in any_cluster()) {
        let instance = cluster.instance();
        let broker = cluster.brokers[0].id;
        let drained = propose(&instance, &Remedy::Drain([broker].into())).unwrap();
        let after = Assignment::of(&cluster, &drained);
        let broken = judge(&cluster, &after).broken;
        prop_assert!(broken.is_empty(), "{:?}", broken);
        if drained.shortfalls.is_empty() {
            prop_assert!(after.0.iter().flatten().all(|held| held.0 != broker));
        }
        let demoted = propose(&instance, &Remedy::Demote([broker].into())).unwrap();
        let after = Assignment::of(&cluster, &demoted);
        prop_assert!(judge(&cluster, &after).broken.is_empty());
        if demoted.shortfalls.is_empty() {
            prop_assert!(after.0.iter().all(|replicas| replicas[0].0 != broker));
        }
    }
}

#[test]
fn tiny_clusters_are_repaired_as_cheaply_as_by_trying_everything() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut repaired = 0;
    for _ in 0..CLUSTERS {
        let cluster = tiny_cluster().new_tree(&mut runner).unwrap().current();
        let instance = cluster.instance();
        let proposal = propose(&instance, &Remedy::Repair).unwrap();
        let Some(least) = oracle::cheapest(&cluster) else {
            assert!(!proposal.shortfalls.is_empty(), "{cluster:?}");
            continue;
        };
        assert_eq!(proposal.shortfalls, [], "it can be repaired: {cluster:?}");
        let (moves, megabytes) = proposal.copied();
        let price = if cluster.has_dead_brokers() { moves as f64 } else { megabytes };
        assert!(price <= least * 1.000_01, "{price} instead of {least}: {cluster:?}");
        let after = judge(&cluster, &Assignment::of(&cluster, &proposal));
        assert_eq!((after.broken, after.illegal), (vec![], vec![]), "{cluster:?}");
        repaired += 1;
    }
    assert!(repaired * 10 > CLUSTERS * 9, "{repaired} of {CLUSTERS} can be repaired");
}

const CLUSTERS: usize = 4_000;

#[test]
fn a_remedy_for_a_broker_that_is_not_there_is_refused() {
    let cluster = Cluster::even(3, 3);
    let refused = propose(&cluster.instance(), &Remedy::Drain([99].into())).unwrap_err();
    assert_eq!(refused.rule, "UnknownBroker");
    assert!(refused.message.contains("99"), "{}", refused.message);
}

/// Broker 8 is above its limit, and only broker 9 is in its rack: which has room, but is above the average. Elsewhere there is
/// something to even out.
#[test]
fn who_is_above_the_average_takes_what_has_to_go_all_the_same() {
    let broker = |id| cluster::Broker { id, rack: u8::from(id >= 8), alive: true, capacity: [100.0; 4] };
    let partition = |i: i32| cluster::Partition {
        replicas: vec![(i % 3, [0.0, 0.0, 0.0, 5.0]), (8 + i32::from(i < 6), [0.0, 0.0, 0.0, 5.0])],
        lead: [0.0; 4],
    };
    let cluster = Cluster {
        brokers: (0..10).map(broker).collect(),
        partitions: (0..24).map(partition).collect(),
        max_replicas: 100,
    };
    let instance = cluster.instance();
    let proposal = propose(&instance, &Remedy::Balance).unwrap();
    assert_eq!(proposal.shortfalls, []);
    assert_eq!(judge(&cluster, &Assignment::of(&cluster, &proposal)).illegal, Vec::<String>::new());
    let (before, after) = proposal.loads_of(0).unwrap();
    assert!(after[3] < before[3], "broker 0 still has the load of three");
}

/// One broker has too much data, the other too much traffic. Whatever either gave off would bring the other further above its
/// limit; only an exchange helps.
#[test]
fn two_brokers_that_are_above_different_limits_exchange_replicas() {
    let broker = |id| cluster::Broker { id, rack: 0, alive: true, capacity: [100.0; 4] };
    let partition = |i: i32| cluster::Partition {
        replicas: vec![(i % 2, if i % 2 == 0 { [0.0, 5.0, 0.0, 12.0] } else { [0.0, 12.0, 0.0, 5.0] })],
        lead: [0.0; 4],
    };
    let cluster = Cluster {
        brokers: (0..2).map(broker).collect(),
        partitions: (0..14).map(partition).collect(),
        max_replicas: 100,
    };
    for remedy in [Remedy::Repair, Remedy::Balance] {
        let instance = cluster.instance();
        let proposal = propose(&instance, &remedy).unwrap();
        assert_eq!(proposal.shortfalls, [], "{remedy:?}");
        let verdict = judge(&cluster, &Assignment::of(&cluster, &proposal));
        assert_eq!((verdict.broken, verdict.illegal), (vec![], vec![]), "{remedy:?}");
    }
}

/// Broker 5 is left with a larger replica of a partition in the place of a smaller one, and other partitions bring it above
/// its limit when what was to leave it stays.
#[test]
fn a_larger_replica_in_the_place_of_a_smaller_one_counts_against_a_broker() {
    const ALL: [&[(i32, f64)]; 10] = [
        &[(6, 17.0), (4, 1.0)],
        &[(1, 4.0), (5, 2.0)],
        &[(5, 11.0), (0, 1.0)],
        &[(2, 9.0), (6, 26.0), (3, 22.0), (0, 1.0)],
        &[(5, 14.0), (2, 5.0), (3, 1.0)],
        &[(1, 12.0), (5, 5.0), (2, 11.0)],
        &[(1, 1.0), (4, 5.0), (5, 27.0), (3, 21.0)],
        &[(1, 1.0), (4, 16.0)],
        &[(1, 1.0), (0, 1.0)],
        &[(0, 1.0)],
    ];
    let brokers = [(1, 105.0), (0, 129.0), (0, 68.0), (0, 60.0), (2, 60.0), (0, 81.0), (0, 60.0)];
    let broker = |((rack, capacity), id)| cluster::Broker { id, rack, alive: true, capacity: [capacity; 4] };
    let partition = |replicas: &&[(i32, f64)]| cluster::Partition {
        replicas: replicas.iter().map(|(id, disk)| (*id, [0.0, 0.0, 0.0, *disk])).collect(),
        lead: [0.0; 4],
    };
    let cluster = Cluster {
        brokers: brokers.into_iter().zip(0..).map(broker).collect(),
        partitions: ALL.iter().map(partition).collect(),
        max_replicas: 4,
    };
    let verdict =
        judge(&cluster, &Assignment::of(&cluster, &propose(&cluster.instance(), &Remedy::Repair).unwrap()));
    assert!(verdict.broken.is_empty(), "{:?}", verdict.broken);
}
