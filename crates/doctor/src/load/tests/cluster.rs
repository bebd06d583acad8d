//! A cluster made by hand, as its brokers would tell of it.

use std::collections::BTreeMap;

use doctorkafka_diagnosis::Moment;
use doctorkafka_kafka::{
    AdminError, BrokerInfo, ClusterDescription, LogDir, LogSpan, PartitionInfo, ReplicaSize,
    RunningReassignment, TopicInfo, TopicPartition, TopicPartitions,
};
use doctorkafka_planner::NodeState;
use doctorkafka_wire::BrokerId;

use crate::load::{BrokerFacts, LoadSnapshot, LoadSource, take};

/// Size of every volume, bytes.
const VOLUME: u64 = 100_000_000;

#[derive(Debug, Clone)]
pub struct Cluster {
    pub brokers: Vec<BrokerInfo>,
    partitions: BTreeMap<(String, i32), Held>,
    /// Bytes on a broker's volume that are not of replicas.
    otherwise: BTreeMap<i32, u64>,
    /// What some brokers answer when they are asked for their directories.
    pub failing: BTreeMap<i32, AdminError>,
    pub reassignments_denied: bool,
    /// Topics that are in the directories and not in the metadata.
    pub hidden: Vec<String>,
}

#[derive(Debug, Clone, Default)]
pub struct Held {
    replicas: Vec<i32>,
    in_sync: Vec<i32>,
    leader: i32,
    sizes: BTreeMap<i32, u64>,
    span: (i64, i64),
    adding: Vec<i32>,
    removing: Vec<i32>,
    made: u128,
}

impl Held {
    pub fn offsets(&mut self, start: i64, end: i64) -> &mut Self {
        self.span = (start, end);
        self
    }

    pub fn leader(&mut self, broker: i32) -> &mut Self {
        self.leader = broker;
        self
    }

    pub fn in_sync(&mut self, brokers: &[i32]) -> &mut Self {
        self.in_sync = brokers.to_vec();
        self
    }

    pub fn moving(&mut self, adding: &[i32], removing: &[i32]) -> &mut Self {
        (self.adding, self.removing) = (adding.to_vec(), removing.to_vec());
        self
    }

    /// On these brokers and no other.
    pub fn place(&mut self, replicas: &[i32], bytes: u64) -> &mut Self {
        (self.replicas, self.in_sync, self.leader) = (replicas.to_vec(), replicas.to_vec(), replicas[0]);
        self.sizes = replicas.iter().map(|broker| (*broker, bytes)).collect();
        self
    }

    pub fn on(&mut self, broker: i32, bytes: u64) -> &mut Self {
        self.sizes.insert(broker, bytes);
        self
    }

    pub fn grow(&mut self, by: i64) -> &mut Self {
        self.sizes.values_mut().for_each(|bytes| *bytes = bytes.saturating_add_signed(by));
        self
    }

    pub fn remake(&mut self) -> &mut Self {
        self.made += 1;
        self
    }
}

impl Cluster {
    /// Brokers 1 to `brokers`, each in a rack of its own.
    pub fn of(brokers: i32) -> Self {
        let broker = |id| BrokerInfo {
            id: BrokerId(id),
            host: format!("broker-{id}"),
            port: 9092,
            rack: Some(format!("rack-{id}")),
            fenced: false,
        };
        Self {
            brokers: (1..=brokers).map(broker).collect(),
            partitions: BTreeMap::new(),
            otherwise: BTreeMap::new(),
            failing: BTreeMap::new(),
            reassignments_denied: false,
            hidden: Vec::new(),
        }
    }

    /// Adds a partition, all in sync, led by its first replica.
    pub fn partition(&mut self, topic: &str, number: i32, replicas: &[i32], bytes: u64) -> &mut Held {
        let held = Held {
            replicas: replicas.to_vec(),
            in_sync: replicas.to_vec(),
            leader: replicas[0],
            sizes: replicas.iter().map(|broker| (*broker, bytes)).collect(),
            ..Held::default()
        };
        self.partitions.entry((topic.to_owned(), number)).or_insert(held)
    }

    pub fn find(&mut self, topic: &str, number: i32) -> &mut Held {
        self.partitions.get_mut(&(topic.to_owned(), number)).unwrap()
    }

    pub fn kill(&mut self, broker: i32) {
        self.brokers.iter_mut().filter(|it| it.id.0 == broker).for_each(|it| it.fenced = true);
    }

    /// As Kafka before 4.0 names no broker that is fenced.
    pub fn forget(&mut self, broker: i32) {
        self.brokers.retain(|it| it.id.0 != broker);
    }

    pub fn use_otherwise(&mut self, broker: i32, bytes: u64) {
        self.otherwise.insert(broker, bytes);
    }

    /// What would be seen at that time.
    pub fn snapshot(&self, at: Moment) -> LoadSnapshot {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(take(self, || at)).unwrap()
    }
}

impl LoadSource for Cluster {
    async fn cluster(&self) -> Result<ClusterDescription, AdminError> {
        let (cluster_id, brokers) = ("c1".to_owned(), self.brokers.clone());
        Ok(ClusterDescription { cluster_id, brokers, shows_fenced: true })
    }

    async fn topics(&self) -> Result<Vec<TopicInfo>, AdminError> {
        let mut topics: BTreeMap<&str, TopicInfo> = BTreeMap::new();
        let ids = |ids: &[i32]| ids.iter().copied().map(BrokerId).collect::<Vec<_>>();
        for ((name, partition), held) in
            self.partitions.iter().filter(|((name, _), _)| !self.hidden.contains(name))
        {
            let topic = topics.entry(name).or_insert_with(|| TopicInfo {
                name: name.clone(),
                id: held.made,
                internal: name.starts_with("__"),
                partitions: Vec::new(),
            });
            topic.partitions.push(PartitionInfo {
                partition: *partition,
                leader: Some(BrokerId(held.leader)),
                replicas: ids(&held.replicas),
                isr: ids(&held.in_sync),
                eligible: None,
            });
        }
        // In no order.
        Ok(topics.into_values().rev().collect())
    }

    async fn reassignments(&self) -> Result<Vec<RunningReassignment>, AdminError> {
        if self.reassignments_denied {
            return Err(denied("ListPartitionReassignments"));
        }
        let ids = |ids: &[i32]| ids.iter().copied().map(BrokerId).collect::<Vec<_>>();
        let moving = self.partitions.iter().filter(|(_, held)| !held.adding.is_empty());
        Ok(moving
            .map(|((topic, partition), held)| RunningReassignment {
                at: TopicPartition { topic: topic.clone(), partition: *partition },
                replicas: ids(&held.replicas),
                adding: ids(&held.adding),
                removing: ids(&held.removing),
            })
            .collect())
    }

    async fn log_dirs(&self, broker: &BrokerInfo) -> Result<Vec<LogDir>, AdminError> {
        if let Some(error) = self.failing.get(&broker.id.0) {
            return Err(error.clone());
        }
        let size = |((topic, partition), held): (&(String, i32), &Held)| {
            let at = TopicPartition { topic: topic.clone(), partition: *partition };
            Some(ReplicaSize { at, bytes: *held.sizes.get(&broker.id.0)?, future: false })
        };
        let replicas: Vec<ReplicaSize> = self.partitions.iter().filter_map(size).collect();
        let used: u64 = replicas.iter().map(|replica| replica.bytes).sum();
        let used = used + self.otherwise.get(&broker.id.0).copied().unwrap_or(0);
        Ok(vec![LogDir {
            path: "/data".to_owned(),
            error: None,
            total_bytes: Some(VOLUME),
            usable_bytes: Some(VOLUME.saturating_sub(used)),
            replicas,
        }])
    }

    async fn log_spans(
        &self,
        broker: &BrokerInfo,
        topics: &[TopicPartitions<'_>],
    ) -> Result<Vec<Option<LogSpan>>, AdminError> {
        let mut spans = Vec::new();
        for topic in topics {
            for partition in &topic.partitions {
                let held = &self.partitions[&(topic.topic.to_owned(), *partition)];
                assert_eq!(held.leader, broker.id.0, "the leader is asked");
                spans.push(Some(LogSpan { start: held.span.0, end: held.span.1 }));
            }
        }
        Ok(spans)
    }
}

pub fn denied(request: &'static str) -> AdminError {
    AdminError::Refused {
        request,
        subject: "broker 1".to_owned(),
        address: "broker-1:9092".to_owned(),
        code: "ClusterAuthorizationFailed".to_owned(),
        message: None,
    }
}

/// Brokers 1 to `brokers`, all in order, which may use 80 % of their volumes.
pub fn facts(brokers: i32) -> Vec<BrokerFacts> {
    let facts = |id| BrokerFacts {
        id: BrokerId(id),
        rack: Some(format!("rack-{id}")),
        state: NodeState::Alive,
        takes: true,
        leads: true,
        report: None,
        disk_limit_percent: 80.0,
    };
    (1..=brokers).map(facts).collect()
}
