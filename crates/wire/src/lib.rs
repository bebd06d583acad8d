//! The records on DoctorKafka's two topics.
//!
//! * `_doctor_metrics` carries [`BrokerReport`]s, one a second from each broker's sidecar.
//! * `_doctor_actions_log` carries [`ActionRecord`]s, one per decision or step of the doctor.
//!
//! Both are JSON objects with a `version`. The rules of evolution: unknown fields are ignored, so a
//! minor addition needs no new version; a record with a newer version is not understood, and says so
//! ([`DecodeError::NewerVersion`]). Decoding never panics, whatever the bytes.
//!
//! Nothing here does I/O.

mod action;
mod decode;
mod report;
mod treatment;

pub use action::{ActionKind, ActionRecord, Evidence, LeadershipMove, Outcome, Severity};
pub use decode::{DecodeError, MAX_RECORD_BYTES};
pub use report::{
    BrokerReport, Cpu, ExporterMetrics, Goodbye, LogDir, Memory, Network, Pressure, Probe, Process,
    ProcessState,
};
pub use treatment::{
    ConfigAsked, PartitionChange, PartitionName, ReplicasAsked, StopDecision, TopicSeen, TreatmentCause,
    TreatmentDetail, TreatmentPlan,
};

/// Default name of the topic that sidecars publish reports to.
pub const METRICS_TOPIC: &str = "_doctor_metrics";

/// Default name of the topic that the doctor writes its decisions to.
pub const ACTIONS_LOG_TOPIC: &str = "_doctor_actions_log";

/// A Kafka broker's `node.id`.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(transparent)]
pub struct BrokerId(pub i32);

impl std::fmt::Display for BrokerId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
