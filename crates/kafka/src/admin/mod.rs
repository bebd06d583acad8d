//! Questions to a cluster and the creation of the doctor's topics.

mod error;
mod model;
mod topics;

pub use error::{AdminError, Attempt, ProbeError};
pub use model::{BrokerInfo, ClusterDescription, PartitionInfo, QuorumLeader, TopicInfo};
pub use topics::{TopicOutcome, TopicSpec};

use crate::Connection;
use std::time::Duration;

/// A client for admin requests. Cheap to clone; clones share connections.
///
/// Every call negotiates the version of its API with the broker that answers it, tries another broker when one does not
/// answer, and ends within a bounded time.
#[derive(Debug, Clone)]
pub struct Admin {}

impl Admin {
    /// A client for this cluster. Connects when first asked.
    pub fn new(_connection: Connection) -> Self {
        Self {}
    }

    /// The same client with another time limit for one request to one broker; the default is 5 s.
    #[must_use]
    pub fn with_timeout(self, _timeout: Duration) -> Self {
        self
    }

    /// The cluster's id and brokers, fenced ones included where the brokers can tell (Kafka 4.0 and newer).
    /// DescribeCluster, API key 60.
    ///
    /// # Errors
    /// [`AdminError::Unreachable`] and [`AdminError::Refused`].
    pub async fn describe_cluster(&self) -> Result<ClusterDescription, AdminError> {
        unreachable!("follows")
    }

    /// The active controller: the leader of the KRaft quorum. DescribeQuorum, API key 55.
    ///
    /// The controller id that Metadata and DescribeCluster give in KRaft is merely some live broker.
    ///
    /// # Errors
    /// Every [`AdminError`] but those about topics.
    pub async fn quorum_leader(&self) -> Result<QuorumLeader, AdminError> {
        unreachable!("follows")
    }

    /// Topics with their partitions; all of them for `None`. Topics that do not exist are left out of the answer.
    /// Metadata, API key 3.
    ///
    /// # Errors
    /// [`AdminError::Unreachable`] and [`AdminError::Refused`].
    pub async fn topics(&self, _names: Option<&[&str]>) -> Result<Vec<TopicInfo>, AdminError> {
        unreachable!("follows")
    }

    /// Creates the topic unless it exists. CreateTopics, API key 19.
    ///
    /// # Errors
    /// [`AdminError::Unreachable`] and [`AdminError::Refused`].
    pub async fn ensure_topic(&self, _spec: &TopicSpec) -> Result<TopicOutcome, AdminError> {
        unreachable!("follows")
    }

    /// The offset that the partition's next committed record will get, asked of its leader. ListOffsets, API key 2.
    ///
    /// Made for being called several times a second for each partition: leaders are cached, calls for partitions of
    /// different leaders do not wait for each other, and a leader that does not answer costs at most one second.
    ///
    /// # Errors
    /// Every [`AdminError`].
    pub async fn end_offset(&self, _topic: &str, _partition: i32) -> Result<i64, AdminError> {
        unreachable!("follows")
    }
}

/// Connects to one broker anew, asks it one ApiVersions request (API key 18), and says how long both took together.
///
/// # Errors
/// What kept it from answering within `timeout`.
pub async fn probe(_address: &str, _timeout: Duration) -> Result<Duration, ProbeError> {
    unreachable!("follows")
}
