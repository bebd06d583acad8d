//! What treatment asks of a cluster, as a trait: [`crate::Admin`] asks a real one, and a simulated one stands in where
//! faults have to be injected between any two calls.

use super::{Admin, AdminError, ClusterDescription, TopicInfo};
use doctorkafka_wire::BrokerId;
use std::{collections::BTreeMap, fmt};

/// One partition of one topic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// Topic name.
    pub topic: String,
    /// Partition number.
    pub partition: i32,
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// The replica set that a partition is to get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReassignmentChange {
    /// Which partition.
    pub at: TopicPartition,
    /// The new replicas, the preferred leader first; `None` cancels the partition's running reassignment.
    pub replicas: Option<Vec<BrokerId>>,
}

/// A reassignment that is under way (KIP-455).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningReassignment {
    /// Which partition.
    pub at: TopicPartition,
    /// All its replicas at present: those that stay, come and go.
    pub replicas: Vec<BrokerId>,
    /// Replicas that are being added.
    pub adding: Vec<BrokerId>,
    /// Replicas that go once the added ones are in sync.
    pub removing: Vec<BrokerId>,
}

/// What became of one partition in a request. Errors come per partition, so that a part of a request may have succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionOutcome {
    /// Which partition.
    pub at: TopicPartition,
    /// Kafka's answer. What asks for nothing new (no reassignment to cancel, no election needed) is a success.
    pub result: Result<(), PartitionError>,
}

/// Kafka's refusal of one partition's part of a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}{}", .message.as_ref().map(|message| format!(": {message}")).unwrap_or_default())]
pub struct PartitionError {
    /// Kafka's name of the error, `InvalidReplicaAssignment`; or [`PartitionError::UNANSWERED`] or
    /// [`PartitionError::NOT_SENT`], which are ours.
    pub code: String,
    /// Kafka's text, when it sent one.
    pub message: Option<String>,
    /// Whether the same request may succeed later without any change.
    pub retriable: bool,
}

impl PartitionError {
    /// The `code` of a partition whose request was sent and not answered: it may have been done, or may yet be.
    pub const UNANSWERED: &str = "Unanswered";
    /// The `code` of a partition whose request was not sent, because one before it failed: it was not done.
    pub const NOT_SENT: &str = "NotSent";
}

/// A directory of a broker that holds replicas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogDir {
    /// Its path on the broker.
    pub path: String,
    /// Kafka's name of the error when it is offline.
    pub error: Option<String>,
    /// Size of its volume, bytes, where the broker tells (Kafka 3.3 and newer, KIP-827).
    pub total_bytes: Option<u64>,
    /// Room left on its volume, bytes, where the broker tells.
    pub usable_bytes: Option<u64>,
    /// The replicas in it.
    pub replicas: Vec<ReplicaSize>,
}

/// One replica's size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaSize {
    /// Which partition.
    pub at: TopicPartition,
    /// Bytes of its log segments.
    pub bytes: u64,
    /// Whether it is the copy that will replace the current one once it has caught up (a move between directories).
    pub future: bool,
}

/// What a configuration belongs to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConfigResource {
    /// A topic.
    Topic(String),
    /// A broker's dynamic configuration.
    Broker(BrokerId),
}

/// Settings to change on one resource; others stay as they are (IncrementalAlterConfigs, KIP-339).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigChange {
    /// On what.
    pub resource: ConfigResource,
    /// New values by name; `None` deletes the setting.
    pub values: BTreeMap<String, Option<String>>,
}

/// The dynamic settings of one resource, by name: what was set on it, without defaults and what its file says.
pub type DynamicConfigs = BTreeMap<ConfigResource, BTreeMap<String, String>>;

/// What treatment asks of a cluster. Every call ends within a bounded time.
///
/// Admin calls carry no fencing token, so callers check that they still lead before each one, and say absolutely what
/// they want: a call that arrives late or twice asks for the same thing.
pub trait ClusterAdmin: Send + Sync {
    /// The cluster's id and brokers. DescribeCluster, API key 60.
    fn cluster(&self) -> impl Future<Output = Result<ClusterDescription, AdminError>> + Send;

    /// Topics with their partitions; all of them for `None`. Metadata, API key 3; for topics with a partition that nobody
    /// leads also DescribeTopicPartitions, API key 75, where the brokers offer it.
    fn partitions(
        &self,
        topics: Option<&[&str]>,
    ) -> impl Future<Output = Result<Vec<TopicInfo>, AdminError>> + Send;

    /// All reassignments under way. ListPartitionReassignments, API key 46.
    fn reassignments(&self) -> impl Future<Output = Result<Vec<RunningReassignment>, AdminError>> + Send;

    /// Starts and cancels reassignments. AlterPartitionReassignments, API key 45; replication factors never change.
    ///
    /// Gives one outcome for each change, in their order. An error means that no part of it is known to have been done;
    /// [`AdminError::may_have_been_done`] tells whether it may have been none the less. When a large request fails
    /// half-way, what is known is kept: the rest has the retriable outcomes [`PartitionError::UNANSWERED`] and
    /// [`PartitionError::NOT_SENT`].
    ///
    /// What Kafka makes of a change (KIP-455, and tried with 4.3, most of it with 3.9 and 4.1 too):
    /// * The same replicas in another order are in place when the answer comes. Who leads does not change by that.
    /// * A dead target is accepted, and the reassignment waits for it for ever.
    /// * Cancelling restores the *set* of replicas. Their order becomes that of [`RunningReassignment::replicas`] without
    ///   those that were being added, so that another one may be the preferred leader: set the original order then.
    /// * Cancelling is refused (`InvalidReplicaAssignment`) while only replicas that were added are in sync.
    /// * Superseding a reassignment by another target and then cancelling leaves the first target as an extra replica,
    ///   dead or not. Nothing here takes it away again, because that changes the replication factor. So cancel first.
    /// * Superseding one by a target that takes away what the first added, and adds nothing, never ends with 4.3: the replica
    ///   stays named as added, which it cannot become while it is removed. Cancelling ends it.
    fn reassign(
        &self,
        changes: &[ReassignmentChange],
    ) -> impl Future<Output = Result<Vec<PartitionOutcome>, AdminError>> + Send;

    /// Gives leadership to the preferred replicas. ElectLeaders, API key 43. Outcomes and errors as for
    /// [`ClusterAdmin::reassign`]. A preferred replica that is dead or not in sync is `PreferredLeaderNotAvailable`,
    /// which is retriable.
    fn elect_preferred(
        &self,
        partitions: &[TopicPartition],
    ) -> impl Future<Output = Result<Vec<PartitionOutcome>, AdminError>> + Send;

    /// A broker's directories and the sizes of the replicas in them. DescribeLogDirs, API key 35.
    fn log_dirs(&self, broker: BrokerId) -> impl Future<Output = Result<Vec<LogDir>, AdminError>> + Send;

    /// What was set dynamically on these resources, without what is secret; a topic that does not exist is left out.
    /// DescribeConfigs, API key 32.
    ///
    /// No broker knows the settings of another: each is asked itself, and one that is down fails the whole call. Ask for
    /// brokers one by one where that matters.
    fn configs(
        &self,
        resources: &[ConfigResource],
    ) -> impl Future<Output = Result<DynamicConfigs, AdminError>> + Send;

    /// What `min.insync.replicas` comes to for each of these topics, whether set on the topic, on the brokers or nowhere;
    /// a topic that does not exist is left out. DescribeConfigs, API key 32.
    fn min_insync_replicas(
        &self,
        topics: &[&str],
    ) -> impl Future<Output = Result<BTreeMap<String, i32>, AdminError>> + Send;

    /// Changes settings. IncrementalAlterConfigs, API key 44. Fails when any of them is refused; others of the same call
    /// may have been changed then. What is to be deleted of a topic that does not exist is gone already, a success.
    ///
    /// A broker takes changes of its own settings only: each is asked itself, and what was set on one that is down can
    /// be removed only once it is back.
    fn alter_configs(&self, changes: &[ConfigChange]) -> impl Future<Output = Result<(), AdminError>> + Send;
}

impl ClusterAdmin for Admin {
    async fn cluster(&self) -> Result<ClusterDescription, AdminError> {
        self.describe_cluster().await
    }

    async fn partitions(&self, topics: Option<&[&str]>) -> Result<Vec<TopicInfo>, AdminError> {
        let mut topics = self.topics(topics).await?;
        self.add_eligible_leaders(&mut topics).await;
        Ok(topics)
    }

    async fn reassignments(&self) -> Result<Vec<RunningReassignment>, AdminError> {
        self.list_reassignments().await
    }

    async fn reassign(&self, changes: &[ReassignmentChange]) -> Result<Vec<PartitionOutcome>, AdminError> {
        self.alter_reassignments(changes).await
    }

    async fn elect_preferred(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<Vec<PartitionOutcome>, AdminError> {
        self.elect_leaders(partitions).await
    }

    async fn log_dirs(&self, broker: BrokerId) -> Result<Vec<LogDir>, AdminError> {
        self.describe_log_dirs(broker).await
    }

    async fn configs(&self, resources: &[ConfigResource]) -> Result<DynamicConfigs, AdminError> {
        self.describe_configs(resources).await
    }

    async fn min_insync_replicas(&self, topics: &[&str]) -> Result<BTreeMap<String, i32>, AdminError> {
        self.effective_min_insync_replicas(topics).await
    }

    async fn alter_configs(&self, changes: &[ConfigChange]) -> Result<(), AdminError> {
        self.incremental_alter_configs(changes).await
    }
}
