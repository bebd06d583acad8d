//! Tests of the model, on clusters made by hand.

#![allow(clippy::unwrap_used)]

pub(crate) mod cluster;
mod refusals;
mod taking;

use std::time::Duration;

use doctorkafka_diagnosis::Moment;
use doctorkafka_planner::{NodeState, Remedy, propose};
use doctorkafka_wire::BrokerId;
use proptest::prelude::*;
use serde_json::Value;

use super::{BrokerFacts, LoadLimits, LoadModel, Measured, Modelled};
use cluster::{Cluster, facts};

const AT: Moment = Moment(1_000);
const LATER: Moment = Moment(11_000);

/// The lines of an instance, by type.
fn lines(modelled: &Modelled, kind: &str) -> Vec<Value> {
    let lines = modelled.instance.lines().map(|line| serde_json::from_str::<Value>(&line).unwrap());
    lines.filter(|line| line["type"] == kind).collect()
}

fn close(value: &Value, expected: f64) -> bool {
    let value = value.as_f64().unwrap();
    (value - expected).abs() <= 1e-6 * expected.abs().max(1.0)
}

#[test]
fn growth_is_the_rate_and_followers_make_the_traffic_out() {
    let mut cluster = Cluster::of(3);
    cluster.partition("orders", 0, &[2, 1, 3], 5_000_000).offsets(0, 100);
    let mut model = LoadModel::default();
    model.see(cluster.snapshot(AT));
    assert_eq!((model.bytes("orders", 0), model.bytes_in("orders", 0)), (Some(5_000_000), None));
    cluster.find("orders", 0).grow(1_000_000).offsets(0, 120);
    model.see(cluster.snapshot(LATER));
    assert_eq!(model.bytes_in("orders", 0), Some(100_000.0));

    let modelled = model.instance(LATER, &facts(3), &LoadLimits::default()).unwrap();
    assert!(!modelled.complete, "nothing was measured");
    assert_eq!(modelled.oldest, LATER);
    let [line] = &lines(&modelled, "partition")[..] else { panic!() };
    assert_eq!(line["r"], serde_json::json!([2, 1, 3]));
    for replica in 0..3 {
        assert!(close(&line["load"][replica][1], 100.0), "KB/s in: {line}");
        assert!(close(&line["load"][replica][3], 6.0), "MB: {line}");
    }
    assert!(close(&line["lead"][2], 200.0) && close(&line["load"][0][2], 200.0), "KB/s out: {line}");
    assert!(close(&line["load"][1][2], 0.0), "followers send nothing: {line}");
}

#[test]
fn retention_and_compaction_do_not_hide_what_comes_in() {
    let mut cluster = Cluster::of(1);
    cluster.partition("old", 0, &[1], 10_000).offsets(0, 100);
    cluster.partition("compacted", 0, &[1], 10_000).offsets(0, 100);
    cluster.partition("idle", 0, &[1], 10_000).offsets(0, 100);
    let mut model = LoadModel::default();
    model.see(cluster.snapshot(AT));
    // 50 records of 100 bytes came, and 80 were deleted.
    cluster.find("old", 0).grow(-3_000).offsets(80, 150);
    // 100 came, and the cleaner left half of everything: 50 bytes for an offset.
    cluster.find("compacted", 0).grow(0).offsets(0, 200);
    cluster.find("idle", 0).grow(-5_000).offsets(50, 100);
    model.see(cluster.snapshot(LATER));
    assert_eq!(model.bytes_in("old", 0), Some(500.0));
    assert_eq!(model.bytes_in("compacted", 0), Some(500.0));
    assert_eq!(model.bytes_in("idle", 0), Some(0.0));
}

#[test]
fn a_rate_is_smoothed_and_one_of_a_topic_made_anew_forgotten() {
    let mut cluster = Cluster::of(1);
    cluster.partition("orders", 0, &[1], 0).offsets(0, 0);
    let mut model = LoadModel::default();
    model.see(cluster.snapshot(AT));
    cluster.find("orders", 0).grow(10_000).offsets(0, 100);
    model.see(cluster.snapshot(LATER));
    cluster.find("orders", 0).grow(0);
    model.see(cluster.snapshot(Moment(LATER.0 + 60_000)));
    let rate = model.bytes_in("orders", 0).unwrap();
    assert!((300.0..400.0).contains(&rate), "two thirds down from 1000 after a minute: {rate}");

    cluster.find("orders", 0).offsets(0, 1).remake();
    model.see(cluster.snapshot(Moment(LATER.0 + 70_000)));
    assert_eq!(model.bytes_in("orders", 0), None);
}

#[test]
fn what_a_broker_was_measured_to_use_is_shared_out_without_rest() {
    let mut cluster = Cluster::of(2);
    cluster.partition("a", 0, &[1, 2], 1_000).offsets(0, 10);
    cluster.partition("b", 0, &[1, 2], 1_000).offsets(0, 10);
    cluster.partition("c", 0, &[2, 1], 1_000).offsets(0, 10);
    let mut model = LoadModel::default();
    model.see(cluster.snapshot(AT));
    for (topic, bytes) in [("a", 10_000_000), ("b", 30_000_000), ("c", 20_000_000)] {
        cluster.find(topic, 0).grow(bytes).offsets(0, 20);
    }
    model.see(cluster.snapshot(LATER));
    // Broker 1 takes 4 MB/s in as a leader, of which its follower fetches as much; 8 MB/s more goes to consumers.
    let measured = |cores, limit, out| {
        Some(Measured {
            cpu_cores: Some((cores, limit)),
            out: Some(out),
            out_to_clients: None,
            network_capacity: Some(125e6),
        })
    };
    let mut brokers = facts(2);
    brokers[0].report = measured(3.0, 4.0, 12e6);
    brokers[1].report = measured(1.0, 4.0, 2e6);
    let modelled = model.instance(LATER, &brokers, &LoadLimits::default()).unwrap();
    assert!(modelled.complete, "{:?}", modelled.gaps);
    let partitions = lines(&modelled, "partition");
    let of_broker = |broker: i64, resource: usize| -> f64 {
        let held = |line: &Value| {
            let at = line["r"].as_array().unwrap().iter().position(|id| *id == broker).unwrap();
            line["load"][at][resource].as_f64().unwrap()
        };
        partitions.iter().map(held).sum()
    };
    // Percent of the average broker's four cores, and KB/s.
    for (broker, cpu, out) in [(1, 75.0, 12_000.0), (2, 25.0, 2_000.0)] {
        assert!((of_broker(broker, 0) - cpu).abs() < 1e-3, "CPU of {broker}: {}", of_broker(broker, 0));
        assert!((of_broker(broker, 2) - out).abs() < 1e-1, "out of {broker}: {}", of_broker(broker, 2));
        assert!((of_broker(broker, 1) - 6_000.0).abs() < 1e-1, "in of {broker}");
    }
    // Three times the traffic is three times the CPU.
    let lead = |line: usize| partitions[line]["lead"][0].as_f64().unwrap();
    assert!((lead(1) / lead(0) - 3.0).abs() < 1e-3);
    assert!(lines(&modelled, "broker").iter().all(|line| close(&line["cap"][1], 125_000.0)));
}

#[test]
fn brokers_of_unlike_size_are_compared_by_cores() {
    let mut cluster = Cluster::of(2);
    cluster.partition("a", 0, &[1, 2], 1_000).offsets(0, 10);
    let mut model = LoadModel::default();
    model.see(cluster.snapshot(AT));
    let mut brokers = facts(2);
    for (broker, limit) in brokers.iter_mut().zip([6.0, 2.0]) {
        broker.report = Some(Measured { cpu_cores: Some((1.0, limit)), ..Measured::default() });
    }
    let modelled = model.instance(AT, &brokers, &LoadLimits::default()).unwrap();
    let brokers = lines(&modelled, "broker");
    assert!(close(&brokers[0]["cap"][0], 150.0) && close(&brokers[1]["cap"][0], 50.0), "{brokers:?}");
}

#[test]
fn a_dead_brokers_replicas_weigh_what_the_others_have() {
    let mut cluster = Cluster::of(4);
    cluster.partition("orders", 0, &[4, 1, 2], 7_000_000).leader(1).in_sync(&[1, 2]);
    cluster.kill(4);
    let mut model = LoadModel::default();
    model.see(cluster.snapshot(AT));
    let mut brokers = facts(4);
    (brokers[3].state, brokers[3].takes) = (NodeState::Dead, false);
    let modelled = model.instance(AT, &brokers, &LoadLimits::default()).unwrap();
    let [line] = &lines(&modelled, "partition")[..] else { panic!() };
    assert_eq!(line["r"], serde_json::json!([1, 4, 2]), "the leader first");
    assert!(close(&line["load"][1][3], 7.0));
    let proposal = propose(&modelled.instance, &Remedy::Heal).unwrap();
    let changes: Vec<_> = proposal.changes().collect();
    assert_eq!(changes.len(), 1);
    assert_eq!(changes[0].r, [1, 3, 2]);
    assert_eq!(proposal.copied(), (1, 7.0));
}

#[test]
fn what_is_coming_counts_as_held_and_what_is_going_does_not() {
    let mut cluster = Cluster::of(4);
    cluster.partition("orders", 0, &[1, 2, 3], 9_000_000).in_sync(&[1, 2]).moving(&[3], &[2]);
    cluster.find("orders", 0).on(3, 1_000_000);
    let mut model = LoadModel::default();
    model.see(cluster.snapshot(AT));
    let modelled = model.instance(AT, &facts(4), &LoadLimits::default()).unwrap();
    assert_eq!(modelled.gaps.reassigning, 1);
    let [line] = &lines(&modelled, "partition")[..] else { panic!() };
    assert_eq!(line["r"], serde_json::json!([1, 3]));
    assert!(close(&line["load"][1][3], 9.0), "whole, though a ninth is there: {line}");
    // 100 MB of volume, 80 % of it may be used; broker 2 has 9 MB on it that are on their way out.
    let brokers = lines(&modelled, "broker");
    for (broker, megabytes) in [(0, 80.0), (1, 71.0), (2, 80.0), (3, 80.0)] {
        assert!(close(&brokers[broker]["cap"][3], megabytes), "{}", brokers[broker]);
    }
}

#[test]
fn everything_else_on_a_volume_takes_room_from_replicas() {
    let mut cluster = Cluster::of(3);
    cluster.partition("orders", 0, &[1], 40_000_000);
    cluster.partition("orders", 1, &[2], 2_000_000);
    cluster.use_otherwise(3, 90_000_000);
    let mut model = LoadModel::default();
    model.see(cluster.snapshot(AT));
    let mut brokers = facts(3);
    brokers[0].disk_limit_percent = 30.0;
    let modelled = model.instance(AT, &brokers, &LoadLimits::default()).unwrap();
    let capacities = lines(&modelled, "broker");
    assert!(close(&capacities[0]["cap"][3], 30.0), "{}", capacities[0]);
    assert!(close(&capacities[2]["cap"][3], 1.0), "nothing is left: {}", capacities[2]);
    let proposal = propose(&modelled.instance, &Remedy::Repair).unwrap();
    let changes: Vec<_> = proposal.changes().collect();
    assert_eq!((changes.len(), changes[0].r.clone()), (1, vec![2]), "off the full one, and not to broker 3");
}

#[test]
fn what_was_moved_away_is_not_moved_again_while_kafka_deletes_it() {
    let mut cluster = Cluster::of(3);
    for partition in 0..4 {
        cluster.partition("orders", partition, &[1], 20_000_000);
    }
    let mut model = LoadModel::default();
    model.see(cluster.snapshot(AT));
    // It is copied for minutes, and then gone from the first broker, but not from its disk.
    cluster.find("orders", 3).on(2, 1_000_000).moving(&[2], &[1]);
    for minute in 0..5 {
        model.see(cluster.snapshot(Moment(AT.0 + 1_000 + minute * 60_000)));
        assert_eq!(model.going(BrokerId(1)), 20_000_000);
    }
    cluster.find("orders", 3).place(&[2], 20_000_000).moving(&[], &[]);
    cluster.use_otherwise(1, 20_000_000);
    let gone = Moment(AT.0 + 300_000);
    model.see(cluster.snapshot(gone));
    let capacity = |model: &LoadModel, at| {
        let mut brokers = facts(3);
        brokers[0].disk_limit_percent = 70.0;
        let modelled = model.instance(at, &brokers, &LoadLimits::default()).unwrap();
        lines(&modelled, "broker")[0]["cap"][3].as_f64().unwrap()
    };
    assert_eq!(model.going(BrokerId(1)), 20_000_000);
    assert_eq!(capacity(&model, gone), 60.0, "of the 70 that are free one day, it is given what it has");
    // Kafka has not deleted it for minutes, if it ever was to be deleted.
    let late = Moment(gone.0 + 200_000);
    model.see(cluster.snapshot(late));
    assert_eq!((model.going(BrokerId(1)), capacity(&model, late)), (0, 50.0));
}

#[test]
fn internal_and_own_topics_stay() {
    let mut cluster = Cluster::of(2);
    for topic in ["_doctor_metrics", "__consumer_offsets", "orders"] {
        cluster.partition(topic, 0, &[1], 30_000_000);
    }
    let mut model = LoadModel::default();
    model.see(cluster.snapshot(AT));
    let limits = LoadLimits { pinned: vec!["_doctor_metrics".to_owned()], ..LoadLimits::default() };
    let modelled = model.instance(AT, &facts(2), &limits).unwrap();
    let pinned: Vec<_> = lines(&modelled, "partition").iter().map(|line| line["pinned"] == true).collect();
    assert_eq!(pinned, [true, true, false], "__consumer_offsets, _doctor_metrics, orders");
}

/// The first broker, the size on each, and by how much it grows.
type Written = (u32, Vec<u64>, i64);

/// Cores, bytes out, and what the network carries.
type Figures = (f64, f64, Option<f64>);

fn any_model() -> impl Strategy<Value = (LoadModel, Vec<BrokerFacts>)> {
    let partition = (0_u32..6, prop::collection::vec(0_u64..60_000_000, 1..4), 0_i64..1_000_000);
    let measured = prop::option::of((0.0..8.0, 0.0..1e9, prop::option::of(1e3..1e9)));
    (prop::collection::vec(partition, 0..20), prop::collection::vec(measured, 6), 0.0..100.0).prop_map(
        |(partitions, measured, limit): (Vec<Written>, Vec<Option<Figures>>, f64)| {
            let mut cluster = Cluster::of(6);
            for (number, (first, sizes, _)) in (0_i32..).zip(&partitions) {
                let replicas: Vec<i32> =
                    (0..sizes.len()).map(|i| 1 + ((*first as usize + i) % 6) as i32).collect();
                let added = cluster.partition("t", number, &replicas, sizes[0]).offsets(0, 10);
                replicas.iter().zip(sizes).for_each(|(broker, bytes)| _ = added.on(*broker, *bytes));
            }
            let mut model = LoadModel::default();
            model.see(cluster.snapshot(AT));
            for (number, (.., growth)) in (0_i32..).zip(&partitions) {
                cluster.find("t", number).grow(*growth).offsets(0, 10 + *growth);
            }
            model.see(cluster.snapshot(LATER));
            let mut brokers = facts(6);
            for (broker, measured) in brokers.iter_mut().zip(measured) {
                broker.disk_limit_percent = limit;
                broker.report = measured.map(|(cores, out, capacity)| Measured {
                    cpu_cores: Some((cores, 4.0)),
                    out: Some(out),
                    out_to_clients: None,
                    network_capacity: capacity,
                });
            }
            (model, brokers)
        },
    )
}

proptest! {
    /// Whatever is known and whatever is not: the planner's arithmetic stands, and what has no limit breaks none.
    #[test]
    fn every_model_can_be_planned_on((model, brokers) in any_model()) {
        let modelled = model.instance(LATER, &brokers, &LoadLimits::default()).unwrap();
        for remedy in [Remedy::Repair, Remedy::Balance, Remedy::Relieve([1].into())] {
            let proposal = propose(&modelled.instance, &remedy).unwrap();
            let (before, after) = proposal.balance();
            for balance in [before, after] {
                let figures = [
                    balance.cpu, balance.network_in, balance.network_out, balance.disk, balance.replicas, balance.leaders,
                ];
                prop_assert!(figures.iter().all(|figure| figure.is_finite() && *figure >= 0.0), "{:?}", balance);
            }
            prop_assert!(proposal.copied().1.is_finite());
        }
        let limited = brokers.iter().all(|broker| broker.report.is_some_and(|it| it.network_capacity.is_some()));
        prop_assert_eq!(modelled.gaps.network_unlimited, !limited);
        if !limited {
            let repair = propose(&modelled.instance, &Remedy::Repair).unwrap();
            prop_assert!(repair.shortfalls.iter().all(|not_met| !not_met.message.contains("network")));
        }
    }
}

#[test]
fn the_more_partitions_the_less_often() {
    use super::{fresh_for, often, seldom};
    assert_eq!(often(0), Duration::from_secs(15));
    assert_eq!(often(20_000), Duration::from_secs(15));
    assert_eq!(often(40_001), Duration::from_secs(45));
    assert_eq!(often(10_000_000), Duration::from_secs(90));
    assert!(seldom(10) > 5 * often(10) && fresh_for(10) > 2 * often(10));
}

#[test]
fn everybody_who_holds_a_replica_is_registered_or_named() {
    let mut cluster = Cluster::of(3);
    cluster.partition("orders", 0, &[1, 3, 9], 5).leader(1);
    cluster.forget(3);
    let mut model = LoadModel::default();
    model.see(cluster.snapshot(AT));
    let known: Vec<_> =
        model.registered().iter().map(|it| (it.id.0, it.in_service, it.replicas, it.led)).collect();
    assert_eq!(known, [(1, true, 1, 1), (2, true, 0, 0), (3, false, 1, 0), (9, false, 1, 0)]);
    assert_eq!(model.registered()[0].rack.as_deref(), Some("rack-1"));
    assert_eq!(model.registered()[3].id, BrokerId(9));
}
