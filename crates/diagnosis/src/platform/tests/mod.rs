//! Every cause, link and gate by example.

mod causes;
mod gates;
mod links;

use super::*;
use crate::{BrokerState, Reason};
use doctorkafka_wire::Evidence;
use jiff::{SignedDuration, Timestamp};

const FOUR: BrokerId = BrokerId(4);

fn wall() -> Timestamp {
    "2026-11-22T14:00:00Z".parse().unwrap()
}

fn ago(seconds: i64) -> Timestamp {
    wall() - SignedDuration::from_secs(seconds)
}

/// A pod in good order, as Strimzi would make it.
fn pod(id: i32) -> PodFacts {
    PodFacts {
        broker: Some(BrokerId(id)),
        uid: format!("uid-{id}"),
        ips: vec![format!("10.0.0.{id}")],
        phase: PodPhase::Running,
        ready: true,
        node: Some(format!("node-{id}")),
        claims: vec![format!("data-prod-broker-{id}")],
        ..Link::absent(&format!("prod-broker-{id}")).pod
    }
}

/// Brokers 4, 5 and 6 in good order.
fn facts() -> PlatformFacts {
    let ids = 4..=6;
    let node = NodeFacts::There { ready: Some(true), cordoned: false };
    PlatformFacts {
        asked: true,
        at: wall(),
        pods: Some(ids.clone().map(|id| (format!("prod-broker-{id}"), pod(id))).collect()),
        nodes: ids.clone().map(|id| (format!("node-{id}"), node)).collect(),
        claims: Some(ids.map(|id| (format!("data-prod-broker-{id}"), ClaimPhase::Bound)).collect()),
        workloads: vec![stateful_set(3, false)],
        unknown: Vec::new(),
    }
}

fn stateful_set(updated: i32, revisions_differ: bool) -> Workload {
    Workload::StatefulSet {
        name: "prod-broker".into(),
        unobserved: false,
        to_update: 3,
        updated,
        revisions_differ,
        rolls: true,
    }
}

fn identities() -> [Identity<'static>; 3] {
    let host = |id, advertised| Identity { id: BrokerId(id), advertised: Some(advertised), hostname: None };
    [
        host(4, "prod-broker-4.prod-kafka-brokers.kafka.svc"),
        host(5, "prod-broker-5.prod-kafka-brokers.kafka.svc"),
        host(6, "prod-broker-6.prod-kafka-brokers.kafka.svc"),
    ]
}

/// A platform that was in good order at moment 0 and is by these facts at `now`.
fn platform(facts: PlatformFacts, now: Moment) -> Platform {
    let mut platform = Platform::default();
    platform.look(Arc::new(self::facts()), &identities(), Moment(0));
    platform.look(Arc::new(facts), &identities(), now);
    platform
}

fn diagnosis(state: BrokerState, reason: Reason) -> Diagnosis {
    Diagnosis {
        state,
        reason,
        since: Moment(0),
        message: "no heartbeat for more than 10s".into(),
        evidence: Evidence::new(),
        resource: None,
    }
}

/// The facts with broker 4's pod changed.
fn changed(change: impl FnOnce(&mut PodFacts)) -> PlatformFacts {
    let mut facts = facts();
    change(facts.pods.as_mut().unwrap().get_mut("prod-broker-4").unwrap());
    facts
}

/// The facts without broker 4's pod.
fn without_pod() -> PlatformFacts {
    let mut facts = facts();
    facts.pods.as_mut().unwrap().remove("prod-broker-4");
    facts
}

fn with_node(node: NodeFacts) -> PlatformFacts {
    let mut facts = facts();
    facts.nodes.insert("node-4".into(), node);
    facts
}

const NOT_READY: NodeFacts = NodeFacts::There { ready: Some(false), cordoned: false };
