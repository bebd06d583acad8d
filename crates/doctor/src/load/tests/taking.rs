//! Taking a snapshot: bounded in time, and by many brokers at once.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use doctorkafka_kafka::{
    AdminError, BrokerInfo, ClusterDescription, LogDir, LogSpan, RunningReassignment, TopicInfo,
    TopicPartitions,
};
use doctorkafka_planner::Rule;
use tokio::sync::Barrier;

use super::{
    AT,
    cluster::{Cluster, facts},
};
use crate::load::{LoadLimits, LoadModel, LoadSource, take, take::take_within};

/// Brokers that are asked at once.
const AT_ONCE: usize = 8;

/// A cluster whose brokers answer only when so many of them are asked, or never.
struct Slow {
    cluster: Cluster,
    together: Option<Barrier>,
    asked: AtomicUsize,
    most: AtomicUsize,
}

impl Slow {
    fn new(brokers: i32, together: Option<usize>) -> Self {
        let mut cluster = Cluster::of(brokers);
        cluster.partition("orders", 0, &[1, 2], 1_000).offsets(0, 10);
        Self {
            cluster,
            together: together.map(Barrier::new),
            asked: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
        }
    }
}

impl LoadSource for Slow {
    async fn cluster(&self) -> Result<ClusterDescription, AdminError> {
        self.cluster.cluster().await
    }

    async fn topics(&self) -> Result<Vec<TopicInfo>, AdminError> {
        self.cluster.topics().await
    }

    async fn reassignments(&self) -> Result<Vec<RunningReassignment>, AdminError> {
        self.cluster.reassignments().await
    }

    async fn log_dirs(&self, broker: &BrokerInfo) -> Result<Vec<LogDir>, AdminError> {
        let now = self.asked.fetch_add(1, Ordering::Relaxed) + 1;
        self.most.fetch_max(now, Ordering::Relaxed);
        match &self.together {
            Some(together) => _ = together.wait().await,
            None => std::future::pending().await,
        }
        self.asked.fetch_sub(1, Ordering::Relaxed);
        self.cluster.log_dirs(broker).await
    }

    async fn log_spans(
        &self,
        broker: &BrokerInfo,
        topics: &[TopicPartitions<'_>],
    ) -> Result<Vec<Option<LogSpan>>, AdminError> {
        self.cluster.log_spans(broker, topics).await
    }
}

#[tokio::test]
async fn eight_brokers_are_asked_at_once_and_no_more() {
    let slow = Slow::new(16, Some(AT_ONCE));
    let snapshot = take(&slow, || AT).await.unwrap();
    assert_eq!(slow.most.load(Ordering::Relaxed), AT_ONCE);
    let mut model = LoadModel::default();
    model.see(snapshot);
    assert!(model.instance(AT, &facts(16), &LoadLimits::default()).is_ok());
}

#[tokio::test]
async fn a_cluster_that_hangs_does_not_hold_the_doctor_up() {
    let slow = Slow::new(40, None);
    let snapshot = take_within(Duration::from_millis(50), &slow, || AT).await.unwrap();
    let mut model = LoadModel::default();
    model.see(snapshot);
    let refused = model.instance(AT, &facts(40), &LoadLimits::default()).unwrap_err();
    assert_eq!(refused.rule, Rule::UnknownLoad);
    assert!(refused.message.contains("brokers 1, 2, 3, 4, 5 and 35 more"), "{}", refused.message);
    assert!(refused.message.contains("has not answered within 50ms"), "{}", refused.message);
}
