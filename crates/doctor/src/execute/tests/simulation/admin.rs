//! The cluster as one doctor reaches it.

use std::collections::BTreeMap;

use doctorkafka_kafka::{
    AdminError, Attempt, BrokerInfo, ClusterAdmin, ClusterDescription, ConfigChange, ConfigResource,
    DynamicConfigs, LogDir, PartitionError, PartitionInfo, PartitionOutcome, ReassignmentChange, ReplicaSize,
    RunningReassignment, TopicInfo, TopicPartition,
};
use doctorkafka_wire::BrokerId;

use super::{Fault, Faults, Point, SimCluster, world::Refusal};

/// One doctor's way to the cluster.
#[derive(Clone)]
pub struct SimAdmin {
    pub cluster: SimCluster,
    pub faults: Faults,
}

pub fn ids(brokers: &[i32]) -> Vec<BrokerId> {
    brokers.iter().copied().map(BrokerId).collect()
}

fn numbers(brokers: &[BrokerId]) -> Vec<i32> {
    brokers.iter().map(|broker| broker.0).collect()
}

fn lost(request: &'static str) -> AdminError {
    let attempt = Attempt { address: "controller:9093".to_owned(), error: "no answer within 5s".to_owned() };
    AdminError::Unreachable { request, attempts: vec![attempt] }
}

fn refused(request: &'static str, code: &str) -> AdminError {
    AdminError::Refused {
        request,
        subject: "cluster".to_owned(),
        address: "controller:9093".to_owned(),
        code: code.to_owned(),
        message: None,
    }
}

impl SimAdmin {
    /// Changes something, with the faults of this doctor before and after.
    async fn change<T>(
        &self,
        request: &'static str,
        refuse: impl FnOnce(bool) -> Result<T, AdminError>,
        effect: impl FnOnce() -> Result<T, AdminError>,
    ) -> Result<T, AdminError> {
        let number = self.faults.change();
        match self.faults.pass(Point::Before(number)).await {
            Some(Fault::Lost) => return Err(lost(request)),
            Some(Fault::Refused(retriable)) => return refuse(retriable),
            Some(Fault::Stop) | None => {}
        }
        self.faults.count_call();
        let answer = effect();
        match self.faults.pass(Point::After(number)).await {
            Some(Fault::Lost) => Err(lost(request)),
            _ => answer,
        }
    }
}

fn outcome(at: TopicPartition, result: Result<(), Refusal>) -> PartitionOutcome {
    let error =
        |(code, retriable): Refusal| PartitionError { code: code.to_owned(), message: None, retriable };
    PartitionOutcome { at, result: result.map_err(error) }
}

impl ClusterAdmin for SimAdmin {
    async fn cluster(&self) -> Result<ClusterDescription, AdminError> {
        let world = self.cluster.world();
        let brokers = world.brokers.iter().map(|(id, broker)| BrokerInfo {
            id: BrokerId(*id),
            host: format!("broker-{id}"),
            port: 9092,
            rack: None,
            fenced: broker.fenced,
        });
        let brokers = brokers.collect();
        Ok(ClusterDescription { cluster_id: "simulated".to_owned(), brokers, shows_fenced: true })
    }

    async fn partitions(&self, topics: Option<&[&str]>) -> Result<Vec<TopicInfo>, AdminError> {
        let world = self.cluster.world();
        let wanted = world
            .topics
            .iter()
            .filter(|(name, _)| topics.is_none_or(|topics| topics.contains(&name.as_str())));
        let info = wanted.map(|(name, topic)| TopicInfo {
            name: name.clone(),
            id: topic.id,
            internal: false,
            partitions: topic
                .partitions
                .iter()
                .map(|(number, partition)| PartitionInfo {
                    partition: *number,
                    leader: partition.leader.map(BrokerId),
                    replicas: ids(&partition.replicas),
                    isr: partition.isr.iter().copied().map(BrokerId).collect(),
                    eligible: None,
                })
                .collect(),
        });
        Ok(info.collect())
    }

    async fn reassignments(&self) -> Result<Vec<RunningReassignment>, AdminError> {
        let world = self.cluster.world();
        let moving = world
            .partitions()
            .filter(|(_, partition)| !partition.adding.is_empty() || !partition.removing.is_empty());
        let running = moving.map(|(at, partition)| RunningReassignment {
            at,
            replicas: ids(&partition.replicas),
            adding: ids(&partition.adding),
            removing: ids(&partition.removing),
        });
        Ok(running.collect())
    }

    async fn reassign(&self, changes: &[ReassignmentChange]) -> Result<Vec<PartitionOutcome>, AdminError> {
        let refuse = |retriable| {
            let all = changes.iter().map(|change| outcome(change.at.clone(), Err(("Refused", retriable))));
            Ok(all.collect())
        };
        let effect = || {
            let mut world = self.cluster.world();
            let done = changes.iter().map(|change| {
                let target = change.replicas.as_deref().map(numbers);
                outcome(change.at.clone(), world.reassign(&change.at, target.as_deref()))
            });
            Ok(done.collect())
        };
        self.change("AlterPartitionReassignments", refuse, effect).await
    }

    async fn elect_preferred(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<Vec<PartitionOutcome>, AdminError> {
        let refuse = |retriable| {
            Ok(partitions.iter().map(|at| outcome(at.clone(), Err(("Refused", retriable)))).collect())
        };
        let effect = || {
            let mut world = self.cluster.world();
            Ok(partitions.iter().map(|at| outcome(at.clone(), world.elect(at))).collect())
        };
        self.change("ElectLeaders", refuse, effect).await
    }

    async fn log_dirs(&self, broker: BrokerId) -> Result<Vec<LogDir>, AdminError> {
        let world = self.cluster.world();
        if !world.brokers.get(&broker.0).is_some_and(|broker| broker.alive) {
            return Err(lost("DescribeLogDirs"));
        }
        let held = world.partitions().filter(|(_, partition)| partition.replicas.contains(&broker.0));
        let replicas = held.map(|(at, partition)| {
            let bytes = partition.copied.get(&broker.0).copied().unwrap_or(partition.bytes);
            ReplicaSize { at, bytes: bytes as u64, future: false }
        });
        let replicas = replicas.collect();
        Ok(vec![LogDir {
            path: "/data".to_owned(),
            error: None,
            total_bytes: None,
            usable_bytes: None,
            replicas,
        }])
    }

    async fn configs(&self, resources: &[ConfigResource]) -> Result<DynamicConfigs, AdminError> {
        let world = self.cluster.world();
        let mut configs = DynamicConfigs::new();
        for resource in resources {
            if let ConfigResource::Broker(broker) = resource
                && !world.brokers.get(&broker.0).is_some_and(|broker| broker.alive)
            {
                return Err(lost("DescribeConfigs"));
            }
            if let Some(values) = world.configs.get(resource) {
                configs.insert(resource.clone(), values.clone());
            }
        }
        Ok(configs)
    }

    async fn min_insync_replicas(&self, topics: &[&str]) -> Result<BTreeMap<String, i32>, AdminError> {
        let world = self.cluster.world();
        let known =
            topics.iter().filter_map(|name| Some(((*name).to_owned(), world.topics.get(*name)?.min_isr)));
        Ok(known.collect())
    }

    async fn alter_configs(&self, changes: &[ConfigChange]) -> Result<(), AdminError> {
        let refuse = |_| Err(refused("IncrementalAlterConfigs", "ClusterAuthorizationFailed"));
        let effect = || {
            let mut world = self.cluster.world();
            for change in changes {
                if let ConfigResource::Broker(broker) = &change.resource
                    && !world.brokers.get(&broker.0).is_some_and(|broker| broker.alive)
                {
                    return Err(lost("IncrementalAlterConfigs"));
                }
                let Some(values) = world.configs.get_mut(&change.resource) else {
                    return Err(refused("IncrementalAlterConfigs", "UnknownTopicOrPartition"));
                };
                for (name, value) in &change.values {
                    match value {
                        Some(value) => values.insert(name.clone(), value.clone()),
                        None => values.remove(name),
                    };
                }
            }
            Ok(())
        };
        self.change("IncrementalAlterConfigs", refuse, effect).await
    }
}
