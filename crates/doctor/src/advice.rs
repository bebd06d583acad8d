//! What treatment would help, by the planner's rules.

use std::collections::{BTreeMap, BTreeSet};

use doctorkafka_diagnosis::{BrokerState, Diagnosis, Resource};
use doctorkafka_kafka::{PartitionInfo, TopicInfo};
use doctorkafka_planner::{Broker, Cluster, Goal, Health, LeadershipPlan, Partition, Refused, Rule, relieve};
use doctorkafka_wire::{BrokerId, BrokerReport};

use crate::policy::Policy;

/// For each overloaded broker, the leaderships to hand over, or why not. The plans hold together: each counts with the
/// ones before.
///
/// `report` gives a broker's newest report if it is fresh, and `topics` are `None` while they are not known or out of
/// date: nothing is planned on either. What is `unfit` keeps what it has and is given nothing.
pub(crate) fn advise<'r>(
    policy: &Policy,
    diagnoses: &BTreeMap<BrokerId, Diagnosis>,
    unfit: &BTreeSet<BrokerId>,
    report: impl Fn(BrokerId) -> Option<&'r BrokerReport>,
    topics: Option<&[TopicInfo]>,
) -> Vec<(BrokerId, Result<LeadershipPlan, Refused>)> {
    // What one resource's plans change is what the next of the same resource begins with.
    let mut clusters: BTreeMap<Resource, Cluster> = BTreeMap::new();
    let overloaded = diagnoses.iter().filter(|(_, diagnosis)| diagnosis.state == BrokerState::Overloaded);
    overloaded
        .map(|(id, diagnosis)| {
            let resource = match diagnosis.resource {
                Some(resource @ (Resource::Cpu | Resource::Network)) => resource,
                other => return (*id, Err(leadership_does_not_help(*id, other))),
            };
            let Some(topics) = topics else { return (*id, Err(topics_unknown(*id))) };
            let cluster = clusters.entry(resource).or_insert_with(|| {
                cluster(policy, diagnoses, unfit, |id| resource.percent(report(id)?), topics)
            });
            let goal = Goal {
                resource: resource.title(),
                percent: resource.threshold(&policy.detection).recovered_below,
            };
            let plan = relieve(cluster, *id, &goal);
            if let Ok(plan) = &plan {
                cluster.apply(plan);
            }
            (*id, plan)
        })
        .collect()
}

fn cluster(
    policy: &Policy,
    diagnoses: &BTreeMap<BrokerId, Diagnosis>,
    unfit: &BTreeSet<BrokerId>,
    load_percent: impl Fn(BrokerId) -> Option<f64>,
    topics: &[TopicInfo],
) -> Cluster {
    let broker = |id, diagnosis: &Diagnosis| {
        let health = match diagnosis.state {
            BrokerState::Healthy if unfit.contains(&id) => Health::Unsettled,
            BrokerState::Healthy => Health::Healthy,
            BrokerState::Overloaded => Health::Overloaded,
            BrokerState::Unhealthy => Health::Unhealthy,
            BrokerState::Recovering | BrokerState::Maintenance | BrokerState::Unknown => Health::Unsettled,
        };
        Broker { health, load_percent: load_percent(id) }
    };
    // Only what an overloaded broker leads can be handed over, and what lacks a replica forbids it. All the others may be
    // hundreds of thousands, and are left out.
    let overloaded =
        |id: BrokerId| diagnoses.get(&id).is_some_and(|diagnosis| diagnosis.state == BrokerState::Overloaded);
    let matters = |partition: &&PartitionInfo| {
        partition.leader.is_some_and(overloaded) || partition.isr.len() < partition.replicas.len()
    };
    Cluster {
        brokers: diagnoses.iter().map(|(id, diagnosis)| (*id, broker(*id, diagnosis))).collect(),
        partitions: topics.iter().flat_map(|topic| partitions(policy, topic, matters)).collect(),
    }
}

fn partitions<'a>(
    policy: &'a Policy,
    topic: &'a TopicInfo,
    matters: impl Fn(&&'a PartitionInfo) -> bool + 'a,
) -> impl Iterator<Item = Partition> + 'a {
    let own = topic.name == policy.topics.metrics || topic.name == policy.topics.actions_log;
    topic.partitions.iter().filter(matters).map(move |partition| Partition {
        topic: topic.name.clone(),
        number: partition.partition,
        leader: partition.leader,
        replicas: partition.replicas.clone(),
        isr: partition.isr.clone(),
        movable: !own && !topic.internal,
    })
}

fn topics_unknown(id: BrokerId) -> Refused {
    Refused {
        rule: Rule::StaleData,
        message: format!(
            "broker {id}: the cluster's topics have not been read for too long, so nothing is moved; lifted when Kafka \
             tells them again"
        ),
    }
}

fn leadership_does_not_help(id: BrokerId, resource: Option<Resource>) -> Refused {
    let what = resource.map_or("the load", Resource::title);
    Refused {
        rule: Rule::LeadershipDoesNotHelp,
        message: format!(
            "broker {id}: {what} does not follow leadership, so handing leaderships over would not help; add room, or move \
             replicas by hand"
        ),
    }
}
