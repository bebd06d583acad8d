//! Unknown data means no plan, and the refusal says what is missing.

use std::time::Duration;

use doctorkafka_diagnosis::Moment;
use doctorkafka_kafka::{AdminError, Attempt};
use doctorkafka_planner::{NodeState, Rule};

use super::{
    AT, LATER,
    cluster::{Cluster, denied, facts},
};
use crate::load::{LoadLimits, LoadModel, fresh_for};

fn small() -> Cluster {
    let mut cluster = Cluster::of(3);
    cluster.partition("orders", 0, &[1, 2], 1_000).offsets(0, 10);
    cluster.partition("orders", 1, &[2, 3], 1_000).offsets(0, 10);
    cluster
}

fn model_of(snapshots: &[(&Cluster, Moment)]) -> LoadModel {
    let mut model = LoadModel::default();
    snapshots.iter().for_each(|(cluster, at)| model.see(cluster.snapshot(*at)));
    model
}

fn refused(model: &LoadModel, now: Moment, limits: &LoadLimits) -> (Rule, String) {
    let refused = model.instance(now, &facts(3), limits).unwrap_err();
    (refused.rule, refused.message)
}

fn unreachable() -> AdminError {
    let attempt = Attempt { address: "broker-2:9092".to_owned(), error: "no answer within 10s".to_owned() };
    AdminError::Unreachable { request: "DescribeLogDirs", attempts: vec![attempt] }
}

#[test]
fn nothing_read_yet_or_too_long_ago_is_stale() {
    let limits = LoadLimits::default();
    let (rule, told) = refused(&LoadModel::default(), AT, &limits);
    assert_eq!(rule, Rule::StaleData);
    assert!(told.contains("have not been read yet"), "{told}");

    let model = model_of(&[(&small(), AT)]);
    let limit = fresh_for(2);
    assert!(model.instance(AT + limit, &facts(3), &limits).is_ok());
    let (rule, told) = refused(&model, AT + limit + Duration::from_secs(1), &limits);
    assert_eq!(rule, Rule::StaleData);
    assert!(told.contains("brokers 1, 2, 3 were read more than 45s ago"), "{told}");
    let limits = LoadLimits { max_age: Some(Duration::from_secs(5)), ..limits };
    assert_eq!(refused(&model, AT + Duration::from_secs(6), &limits).0, Rule::StaleData);
}

#[test]
fn a_missing_right_is_named() {
    let mut cluster = small();
    cluster.failing.insert(1, denied("DescribeLogDirs"));
    let (rule, told) = refused(&model_of(&[(&cluster, AT)]), AT, &LoadLimits::default());
    assert_eq!(rule, Rule::UnknownLoad);
    assert!(told.contains("the replicas on broker 1") && told.contains("DESCRIBE on the cluster"), "{told}");

    let mut cluster = small();
    cluster.reassignments_denied = true;
    let (rule, told) = refused(&model_of(&[(&cluster, AT)]), AT, &LoadLimits::default());
    assert_eq!(rule, Rule::UnknownLoad);
    assert!(
        told.contains("ListPartitionReassignments") && told.contains("DESCRIBE on the cluster"),
        "{told}"
    );
}

#[test]
fn hidden_topics_are_noticed_when_they_are_there_twice() {
    let mut cluster = small();
    cluster.partition("secret", 0, &[1, 2], 1_000);
    cluster.hidden.push("secret".to_owned());
    let limits = LoadLimits::default();
    // Once is a topic that was created between the questions.
    assert!(model_of(&[(&cluster, AT)]).instance(AT, &facts(3), &limits).is_ok());
    let (rule, told) = refused(&model_of(&[(&cluster, AT), (&cluster, LATER)]), LATER, &limits);
    assert_eq!(rule, Rule::UnknownLoad);
    assert!(told.contains("secret") && told.contains("DESCRIBE on all topics"), "{told}");
}

#[test]
fn a_broker_that_once_does_not_answer_is_known_by_its_last_answer() {
    let mut silent = small();
    silent.failing.insert(2, unreachable());
    let limits = LoadLimits::default();
    let (rule, told) = refused(&model_of(&[(&silent, AT)]), AT, &limits);
    assert_eq!(rule, Rule::UnknownLoad, "never read");
    assert!(told.contains("broker 2") && told.contains("no answer within 10s"), "{told}");

    let model = model_of(&[(&small(), AT), (&silent, LATER)]);
    let modelled = model.instance(LATER, &facts(3), &limits).unwrap();
    assert_eq!(modelled.oldest, AT);
    assert_eq!(modelled.gaps.unsized_partitions, 0);
    let late = AT + fresh_for(2) + Duration::from_secs(1);
    let (rule, told) = refused(&model, late, &limits);
    assert_eq!(rule, Rule::StaleData);
    assert!(told.contains("broker 2 were read") && told.contains("no answer within 10s"), "{told}");
}

#[test]
fn brokers_that_have_changed_since_are_looked_at_again_first() {
    let limits = LoadLimits::default();
    let changed = |model: &LoadModel, edit: fn(&mut Vec<crate::load::BrokerFacts>), told: &str| {
        let mut brokers = facts(3);
        edit(&mut brokers);
        let refused = model.instance(AT, &brokers, &limits).unwrap_err();
        assert_eq!(refused.rule, Rule::StaleData);
        assert!(refused.message.contains(told), "{}", refused.message);
    };
    let all = model_of(&[(&small(), AT)]);
    changed(&all, |brokers| brokers[1].state = NodeState::Dead, "broker 2 has gone");
    changed(&all, |brokers| brokers.push(facts(4).remove(3)), "broker 4 has come since");
    changed(&all, |brokers| _ = brokers.remove(2), "broker 3 has come or gone");
    let mut cluster = small();
    cluster.kill(3);
    let without = model_of(&[(&cluster, AT)]);
    changed(&without, |_| {}, "broker 3 has come back");
    // One that is out of service and not given up keeps what it has.
    let mut brokers = facts(3);
    brokers[2].takes = false;
    assert!(without.instance(AT, &brokers, &limits).is_ok());
}

#[test]
fn rates_take_two_readings() {
    let limits = LoadLimits { needs_rates: true, ..LoadLimits::default() };
    let (rule, told) = refused(&model_of(&[(&small(), AT)]), AT, &limits);
    assert_eq!(rule, Rule::UnknownLoad);
    assert!(told.contains("two readings") && told.contains("15s"), "{told}");
    let twice = model_of(&[(&small(), AT), (&small(), LATER)]);
    assert!(twice.instance(LATER, &facts(3), &limits).is_ok());
}
