//! What the doctor decided and did.

use crate::{BrokerId, DecodeError, TreatmentDetail, decode};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One decision or step of the doctor: a record of the actions log.
///
/// The log has one partition, so its order is total; records are written in transactions and are to be read with
/// `isolation.level=read_committed`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ActionRecord {
    /// Format version of this record, [`ActionRecord::VERSION`] when written by this code.
    pub version: u32,
    /// Unique name of this record (a ULID), the same however often its write was tried.
    pub id: String,
    /// When it was decided, by the doctor's wall clock.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub time: Timestamp,
    /// The policy it was decided under: `namespace/name`, or the file's `metadata.name` in standalone mode.
    pub policy: String,
    /// Kafka cluster id.
    pub cluster: String,
    /// Leader epoch: rises by one with every doctor that takes the log over.
    pub epoch: u64,
    /// What kind of decision or step.
    pub kind: ActionKind,
    /// How much it should worry a person.
    pub severity: Severity,
    /// The broker it is about; absent for what concerns the whole cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broker: Option<BrokerId>,
    /// The plain message: `CPU usage 95% > 80%`.
    pub message: String,
    /// How far it went.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// Proposed or done leadership changes, for [`ActionKind::ReassignPartitions`] and [`ActionKind::ElectLeaders`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leadership: Vec<LeadershipMove>,
    /// Digest of the plan this step belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Number of the step within its plan, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<u32>,
    /// The treatment it begins, or what exactly its step asks of Kafka.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub treatment: Option<Box<TreatmentDetail>>,
    /// The figures it rests on.
    #[serde(default, skip_serializing_if = "Evidence::is_empty")]
    pub evidence: Evidence,
}

/// Named figures and facts; names are camelCase and carry their unit (`cpuPercent`, `sustainedForMs`).
pub type Evidence = serde_json::Map<String, serde_json::Value>;

impl ActionRecord {
    /// The version this code writes and the newest it understands.
    pub const VERSION: u32 = 1;

    /// Reads a record of the actions log.
    ///
    /// # Errors
    /// Any input that is not an action record of a known version.
    pub fn decode(value: &[u8]) -> Result<Self, DecodeError> {
        decode::json(value, |record: &Self| record.version, Self::VERSION)
    }

    /// The record's value. Serializing these types cannot fail.
    pub fn encode(&self) -> Vec<u8> {
        decode::to_json(self)
    }

    /// A new unique id.
    pub fn new_id() -> String {
        ulid::Ulid::generate().to_string()
    }
}

/// Kinds of decisions and steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ActionKind {
    /// A broker became overloaded.
    AlertOverload,
    /// A broker became unhealthy.
    AlertUnhealthy,
    /// The doctor no longer knows: all reports stopped at once, or their way is cut.
    AlertUnknown,
    /// A broker, or the doctor's sight, came back.
    Recovered,
    /// Leadership or replicas of partitions are, or should be, moved.
    ReassignPartitions,
    /// A preferred leader election.
    ElectLeaders,
    /// A replication throttle was set or removed.
    Throttle,
    /// A running reassignment was cancelled.
    Cancel,
    /// A treatment was considered and refused; the message says by which rule.
    Refused,
    /// A person approved the treatment of the digest. Written by `doctorkafka-operator approve`, not by a doctor.
    Approved,
    /// A person does not want the treatment of the digest. Written by `doctorkafka-operator reject`, not by a doctor.
    Rejected,
    /// A doctor took over the log. Its epoch is in the record.
    LeaderStarted,
    /// A kind written by a newer doctor.
    #[serde(other)]
    Other,
}

impl ActionKind {
    /// The name as it stands in records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AlertOverload => "ALERT_OVERLOAD",
            Self::AlertUnhealthy => "ALERT_UNHEALTHY",
            Self::AlertUnknown => "ALERT_UNKNOWN",
            Self::Recovered => "RECOVERED",
            Self::ReassignPartitions => "REASSIGN_PARTITIONS",
            Self::ElectLeaders => "ELECT_LEADERS",
            Self::Throttle => "THROTTLE",
            Self::Cancel => "CANCEL",
            Self::Refused => "REFUSED",
            Self::Approved => "APPROVED",
            Self::Rejected => "REJECTED",
            Self::LeaderStarted => "LEADER_STARTED",
            Self::Other => "OTHER",
        }
    }
}

/// How much a record should worry a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Severity {
    /// For the record.
    Info,
    /// Someone should look.
    Warning,
    /// Something is broken.
    Critical,
}

/// How far a step went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// Recommended; nothing was done.
    Proposed,
    /// About to be done.
    Intended,
    /// Done.
    Done,
    /// Tried and failed.
    Failed,
    /// Given up before it was complete.
    Aborted,
}

/// One partition's leadership handed from a broker to another that already holds an in-sync replica.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LeadershipMove {
    /// Topic name.
    pub topic: String,
    /// Partition number.
    pub partition: i32,
    /// The leader now.
    pub from: BrokerId,
    /// The leader to be.
    pub to: BrokerId,
}
