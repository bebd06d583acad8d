//! What the cluster says of itself.

use doctorkafka_wire::BrokerId;

/// A cluster and its brokers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterDescription {
    /// The cluster's id.
    pub cluster_id: String,
    /// Registered brokers, by id.
    pub brokers: Vec<BrokerInfo>,
    /// Whether fenced brokers are listed. When false (before Kafka 4.0), a fenced broker is missing from `brokers`.
    pub shows_fenced: bool,
}

/// One broker as the cluster registers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerInfo {
    /// Its `node.id`.
    pub id: BrokerId,
    /// Host it advertises.
    pub host: String,
    /// Port it advertises.
    pub port: u16,
    /// Its `broker.rack`.
    pub rack: Option<String>,
    /// Fenced: registered, and out of service because the controller gets no heartbeats, or still starting (KIP-631,
    /// KIP-1073).
    pub fenced: bool,
}

impl BrokerInfo {
    /// `host:port`, with brackets around an IPv6 address.
    pub fn address(&self) -> String {
        address(&self.host, self.port)
    }
}

pub(crate) fn address(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// The leader of the KRaft quorum, which is the active controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuorumLeader {
    /// Its `node.id`. A broker's as well only where nodes combine both roles.
    pub id: BrokerId,
    /// The quorum's epoch: rises with every election.
    pub epoch: i32,
}

/// One topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicInfo {
    /// Its name.
    pub name: String,
    /// Its id, which changes when it is deleted and created again; zero when the broker is too old to tell (KIP-516).
    pub id: u128,
    /// Whether it is internal to Kafka, as `__consumer_offsets`.
    pub internal: bool,
    /// Its partitions, by number.
    pub partitions: Vec<PartitionInfo>,
}

/// One partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionInfo {
    /// Its number.
    pub partition: i32,
    /// Its leader, if it has one.
    pub leader: Option<BrokerId>,
    /// Brokers that hold a replica, the preferred leader first.
    pub replicas: Vec<BrokerId>,
    /// Brokers whose replica is in sync.
    pub isr: Vec<BrokerId>,
}
