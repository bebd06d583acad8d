//! What is read of a cluster: a trait that cannot change anything.

use doctorkafka_kafka::{
    Admin, AdminError, BrokerInfo, ClusterAdmin, ClusterDescription, LogDir, LogSpan, RunningReassignment,
    TopicInfo, TopicPartitions,
};

/// The questions that a [`super::LoadSnapshot`] is made of. [`Admin`] asks a real cluster. Every call ends within a
/// bounded time.
pub trait LoadSource: Sync {
    /// The cluster's brokers. DescribeCluster, API key 60.
    fn cluster(&self) -> impl Future<Output = Result<ClusterDescription, AdminError>> + Send;

    /// All topics. Metadata, API key 3; topics of which this user may not know (DESCRIBE) are not among them.
    fn topics(&self) -> impl Future<Output = Result<Vec<TopicInfo>, AdminError>> + Send;

    /// All reassignments under way. ListPartitionReassignments, API key 46; needs DESCRIBE on the cluster.
    fn reassignments(&self) -> impl Future<Output = Result<Vec<RunningReassignment>, AdminError>> + Send;

    /// A broker's directories. DescribeLogDirs, API key 35; needs DESCRIBE on the cluster.
    fn log_dirs(&self, broker: &BrokerInfo) -> impl Future<Output = Result<Vec<LogDir>, AdminError>> + Send;

    /// Where logs begin and end on the broker, in the order in which partitions are given. ListOffsets, API key 2; needs
    /// DESCRIBE on the topics.
    fn log_spans(
        &self,
        broker: &BrokerInfo,
        topics: &[TopicPartitions<'_>],
    ) -> impl Future<Output = Result<Vec<Option<LogSpan>>, AdminError>> + Send;
}

impl LoadSource for Admin {
    async fn cluster(&self) -> Result<ClusterDescription, AdminError> {
        self.describe_cluster().await
    }

    async fn topics(&self) -> Result<Vec<TopicInfo>, AdminError> {
        Admin::topics(self, None).await
    }

    async fn reassignments(&self) -> Result<Vec<RunningReassignment>, AdminError> {
        ClusterAdmin::reassignments(self).await
    }

    async fn log_dirs(&self, broker: &BrokerInfo) -> Result<Vec<LogDir>, AdminError> {
        self.log_dirs_of(broker).await
    }

    async fn log_spans(
        &self,
        broker: &BrokerInfo,
        topics: &[TopicPartitions<'_>],
    ) -> Result<Vec<Option<LogSpan>>, AdminError> {
        Admin::log_spans(self, broker, topics).await
    }
}
