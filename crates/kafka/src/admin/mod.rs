//! Questions to a cluster, changes of it, and the creation of the doctor's topics.
//!
//! A question may go to several brokers at once (`pool`). A change goes to one, and is made again only when that
//! one answered "not now" (`command`).

mod cluster_admin;
mod command;
mod configs;
mod describe;
mod elections;
mod eligible;
mod error;
mod link;
mod log_dirs;
mod model;
mod offsets;
mod pool;
mod probe;
mod reassignments;
mod secure;
mod spans;
mod topics;

pub use cluster_admin::{
    ClusterAdmin, ConfigChange, ConfigResource, DynamicConfigs, LogDir, PartitionError, PartitionOutcome,
    ReassignmentChange, ReplicaSize, RunningReassignment, TopicPartition,
};
pub use error::{AdminError, Attempt, ProbeError};
pub use model::{BrokerInfo, ClusterDescription, EligibleLeaders, PartitionInfo, QuorumLeader, TopicInfo};
pub use probe::probe;
pub use spans::{LogSpan, TopicPartitions};
pub use topics::{TopicOutcome, TopicSpec};

use crate::Connection;
use pool::{Limits, Pool};
use std::{
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

/// A client for admin requests. Cheap to clone; clones share connections.
///
/// Every call negotiates the version of its API with the broker that answers it. A question is put to another broker when
/// one does not answer, and ends within twice the limit for one request to one broker, which is 5 s by default; while the
/// answer is "not now" it is put up to three times more. What changes the cluster ([`ClusterAdmin`]) is sent to one broker
/// and not repeated when the answer fails to come, because it may have been done; each such request ends within four times
/// the limit, and a call makes one for every 500 partitions or topics.
///
/// Connections are opened when first needed and one per broker, except that questions for offsets, which are asked
/// several times a second and have to fail fast, have connections of their own and do not queue behind large answers, and
/// that each change has a new one: an old one may just have been closed.
#[derive(Clone)]
pub struct Admin {
    connection: Connection,
    limits: Limits,
    general: Arc<Pool>,
    offsets: Arc<Pool>,
    leaders: Arc<Mutex<offsets::Leaders>>,
}

impl Admin {
    /// A client for this cluster. Connects when first asked.
    pub fn new(connection: Connection) -> Self {
        Self {
            limits: Limits {
                connect: Duration::from_secs(3),
                call: Duration::from_secs(5),
                patience: Duration::from_secs(1),
            },
            general: Arc::new(Pool::new(connection.clone())),
            offsets: Arc::new(Pool::new(connection.clone())),
            leaders: Arc::default(),
            connection,
        }
    }

    /// The same client with another time limit for one request to one broker.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.limits.call = timeout;
        self
    }

    fn learn(&self, known: Vec<String>) {
        self.offsets.learn(known.clone());
        self.general.learn(known);
    }

    /// Between two tries of a request that was answered with "not now".
    async fn pause(&self) {
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").field("connection", &self.connection).finish_non_exhaustive()
    }
}
