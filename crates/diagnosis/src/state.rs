//! The states a broker can be in, and why.

use serde::{Deserialize, Serialize};

/// What the doctor holds a broker to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum BrokerState {
    /// It works and has room.
    Healthy,
    /// It works, and one of its resources is over its threshold.
    Overloaded,
    /// It does not do its work.
    Unhealthy,
    /// It has started again and is not yet back in service; log recovery is part of that.
    Recovering,
    /// A person said to leave it alone.
    Maintenance,
    /// The doctor cannot tell, and says so.
    Unknown,
}

impl BrokerState {
    /// Every state, in the order in which summaries show them.
    pub const ALL: [Self; 6] = [
        Self::Healthy,
        Self::Overloaded,
        Self::Unhealthy,
        Self::Recovering,
        Self::Maintenance,
        Self::Unknown,
    ];

    /// The name in `PascalCase`, as in the CR status and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "Healthy",
            Self::Overloaded => "Overloaded",
            Self::Unhealthy => "Unhealthy",
            Self::Recovering => "Recovering",
            Self::Maintenance => "Maintenance",
            Self::Unknown => "Unknown",
        }
    }
}

impl std::fmt::Display for BrokerState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a broker is in its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Reason {
    /// Healthy: every figure is within its threshold.
    WithinLimits,
    /// Healthy: it is in service, and its collector measures nothing of its process.
    NotMeasured,
    /// Overloaded: CPU over its threshold for long enough.
    CpuAbove,
    /// Overloaded: memory over its threshold for long enough.
    MemoryAbove,
    /// Overloaded: a log directory over its threshold for long enough.
    DiskAbove,
    /// Overloaded: network over its threshold for long enough.
    NetworkAbove,
    /// Unhealthy: no report for longer than the heartbeat timeout although reports could have come.
    HeartbeatLost,
    /// Unhealthy: the sidecar is there and sees no broker process.
    ProcessDown,
    /// Unhealthy: the process is there and does not answer.
    Unresponsive,
    /// Unhealthy: Kafka has fenced the broker although its process answers.
    Fenced,
    /// Recovering: the process has started and does not serve yet.
    Starting,
    /// Maintenance: named in the policy.
    InMaintenance,
    /// Unknown: nothing was seen of it since the doctor started, and the timeout has not passed yet.
    NotSeenYet,
    /// Unknown: every broker fell silent at once, which is a fault of the reports' way and not of the brokers.
    AllSilent,
    /// Unknown: the partition its reports come by cannot be read.
    PathUnavailable,
    /// Unknown: Kafka cannot be reached at all.
    KafkaUnreachable,
    /// Unhealthy: the node of its pod is NotReady.
    NodeNotReady,
    /// Unhealthy: the node of its pod does not exist any more.
    NodeGone,
    /// Unhealthy: its container needed more memory than its limit allows, and was killed for it.
    #[serde(rename = "OOMKilled")]
    OomKilled,
    /// Unhealthy: its container ends again and again.
    CrashLoopBackOff,
    /// Unhealthy: its container's image cannot be had.
    ImagePullBackOff,
    /// Unhealthy: no node takes its pod.
    Unschedulable,
    /// Unhealthy: its pod is not running yet.
    PodPending,
    /// Unhealthy: its pod is being deleted or does not exist.
    PodDeleted,
    /// Unhealthy: its pod was evicted.
    Evicted,
    /// Unhealthy: a volume of its pod is lost, with the data on it.
    VolumeLost,
    /// Unhealthy: its pod is being replaced in a rolling update.
    RollingUpdate,
}

impl Reason {
    /// The name in `PascalCase`, as in the CR status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::WithinLimits => "WithinLimits",
            Self::NotMeasured => "NotMeasured",
            Self::CpuAbove => "CpuAbove",
            Self::MemoryAbove => "MemoryAbove",
            Self::DiskAbove => "DiskAbove",
            Self::NetworkAbove => "NetworkAbove",
            Self::HeartbeatLost => "HeartbeatLost",
            Self::ProcessDown => "ProcessDown",
            Self::Unresponsive => "Unresponsive",
            Self::Fenced => "Fenced",
            Self::Starting => "Starting",
            Self::InMaintenance => "InMaintenance",
            Self::NotSeenYet => "NotSeenYet",
            Self::AllSilent => "AllSilent",
            Self::PathUnavailable => "PathUnavailable",
            Self::KafkaUnreachable => "KafkaUnreachable",
            Self::NodeNotReady => "NodeNotReady",
            Self::NodeGone => "NodeGone",
            Self::OomKilled => "OOMKilled",
            Self::CrashLoopBackOff => "CrashLoopBackOff",
            Self::ImagePullBackOff => "ImagePullBackOff",
            Self::Unschedulable => "Unschedulable",
            Self::PodPending => "PodPending",
            Self::PodDeleted => "PodDeleted",
            Self::Evicted => "Evicted",
            Self::VolumeLost => "VolumeLost",
            Self::RollingUpdate => "RollingUpdate",
        }
    }

    /// Whether it is a cause that the platform tells of a broker that is down for Kafka, too.
    pub fn is_of_the_platform(self) -> bool {
        matches!(
            self,
            Self::NodeNotReady
                | Self::NodeGone
                | Self::OomKilled
                | Self::CrashLoopBackOff
                | Self::ImagePullBackOff
                | Self::Unschedulable
                | Self::PodPending
                | Self::PodDeleted
                | Self::Evicted
                | Self::VolumeLost
                | Self::RollingUpdate
        )
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
