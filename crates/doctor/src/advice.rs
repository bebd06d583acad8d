//! What treatment would help, by the planner's rules.

use std::collections::BTreeMap;

use doctorkafka_diagnosis::{BrokerState, Diagnosis, Resource};
use doctorkafka_kafka::TopicInfo;
use doctorkafka_planner::{Broker, Cluster, LeadershipPlan, Partition, Refused, Rule, relieve};
use doctorkafka_wire::BrokerId;

use crate::policy::Policy;

/// For each overloaded broker, the leaderships to hand over, or why not.
pub(crate) fn advise(
    policy: &Policy,
    diagnoses: &BTreeMap<BrokerId, Diagnosis>,
    cpu_percent: impl Fn(BrokerId) -> Option<f64>,
    topics: &[TopicInfo],
) -> Vec<(BrokerId, Result<LeadershipPlan, Refused>)> {
    let hot: Vec<(BrokerId, Option<Resource>)> = diagnoses
        .iter()
        .filter(|(_, diagnosis)| diagnosis.state == BrokerState::Overloaded)
        .map(|(id, diagnosis)| (*id, diagnosis.resource))
        .collect();
    if hot.is_empty() {
        return Vec::new();
    }
    let cluster = Cluster {
        brokers: diagnoses
            .iter()
            .map(|(id, diagnosis)| {
                let broker = Broker {
                    healthy: diagnosis.state == BrokerState::Healthy,
                    overloaded: diagnosis.state == BrokerState::Overloaded,
                    cpu_percent: cpu_percent(*id),
                };
                (*id, broker)
            })
            .collect(),
        partitions: topics.iter().flat_map(|topic| partitions(policy, topic)).collect(),
    };
    let target = policy.detection.cpu.recovered_below;
    hot.into_iter()
        .map(|(id, resource)| {
            let plan = match resource {
                Some(Resource::Cpu | Resource::Network) => relieve(&cluster, id, target),
                _ => Err(leadership_does_not_help(id, resource)),
            };
            (id, plan)
        })
        .collect()
}

fn partitions<'a>(policy: &'a Policy, topic: &'a TopicInfo) -> impl Iterator<Item = Partition> + 'a {
    let own = topic.name == policy.topics.metrics || topic.name == policy.topics.actions_log;
    topic.partitions.iter().map(move |partition| Partition {
        topic: topic.name.clone(),
        number: partition.partition,
        leader: partition.leader,
        replicas: partition.replicas.clone(),
        isr: partition.isr.clone(),
        movable: !own && !topic.internal,
    })
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
