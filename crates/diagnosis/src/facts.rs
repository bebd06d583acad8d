//! What Kafka itself says of its brokers.

use std::collections::BTreeMap;

use doctorkafka_wire::BrokerId;

use crate::Moment;

/// One look at the cluster, taken by the doctor's own connection.
#[derive(Debug, Clone, PartialEq)]
pub struct ClusterFacts {
    /// When the question was asked.
    pub at: Moment,
    /// Every broker the cluster knows.
    pub brokers: BTreeMap<BrokerId, BrokerFacts>,
    /// Whether the answer would name brokers that are fenced (DescribeCluster v2, Kafka 4). Where it would not, a broker
    /// that is missing from the answer is taken to be fenced.
    pub names_fenced: bool,
    /// Leader of the KRaft quorum and its epoch; `None` when the quorum did not answer.
    pub controller: Option<(BrokerId, i32)>,
}

/// What Kafka says of one broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BrokerFacts {
    /// Whether the controller counts it in.
    pub registration: Registration,
    /// The partition of the metrics topic that its reports come by.
    pub home: i32,
}

/// Whether the controller counts a broker in. A broker is fenced when it has not sent its heartbeat to the controller
/// for `broker.session.timeout.ms` (9 s by default), and from its start until it has caught up (KIP-631).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registration {
    /// It may lead partitions.
    Active,
    /// It may not.
    Fenced,
}

/// The doctor's own attempt to speak to a broker that it has not heard of for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DirectProbe {
    /// It answered an ApiVersions request.
    Answered,
    /// Nothing listens there: the connection was refused.
    Refused,
    /// No answer in time, or no way there.
    Silent,
}

impl DirectProbe {
    /// The name in evidence.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Refused => "refused",
            Self::Silent => "silent",
        }
    }
}
