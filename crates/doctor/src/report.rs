//! What the engine says, for the CR status, the dashboard, the API and the metrics alike.

use doctorkafka_diagnosis::{BrokerState, Reason};
use doctorkafka_kafka::Skip;
use doctorkafka_wire::{ActionKind, ActionRecord, BrokerId, DecodeError, Evidence, LeadershipMove};
use jiff::Timestamp;
use serde::Serialize;
use std::{collections::BTreeMap, sync::Arc};

use crate::{
    Proposed,
    execute::{Treatment, in_words},
};

/// The whole of what one engine knows, immutable; a new one is published whenever something changed.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DoctorReport {
    /// When it was put together.
    pub at: Timestamp,
    /// The policy's name, as in the actions log.
    pub policy: String,
    /// What this instance is.
    pub role: Role,
    /// The Kafka cluster.
    pub kafka: KafkaView,
    /// What the brokers run on.
    pub platform: PlatformView,
    /// Brokers by state.
    pub summary: Summary,
    /// Every broker of the cluster, by id.
    pub brokers: Vec<BrokerView>,
    /// Treatment that would help, recommended and not done.
    pub advice: Vec<Advice>,
    /// Why nothing is recommended for a broker that needs it.
    pub refusals: Vec<Refusal>,
    /// Treatments that would be carried out as they stand: which of them are, and when, is for the mode and for people.
    pub proposals: Vec<Arc<Proposed>>,
    /// The treatment that is being carried out.
    pub treatment: Option<TreatmentView>,
    /// Newest records of the actions log, oldest first, at most [`DoctorReport::RECENT_ACTIONS`].
    pub actions: Arc<[ActionRecord]>,
    /// Counted since the engine started.
    pub counters: Counters,
}

impl DoctorReport {
    /// How many records of the actions log a report carries.
    pub const RECENT_ACTIONS: usize = 200;
}

/// What this instance is with regard to the actions log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "state")]
pub enum Role {
    /// It watches and writes nothing.
    Standby,
    /// It leads and is opening the actions log.
    TakingOver,
    /// It leads and writes the actions log.
    Leading {
        /// Leader epoch, as in the records.
        epoch: u64,
    },
    /// Another doctor has taken the actions log over. This engine writes nothing more.
    Fenced,
    /// Another policy already watches this Kafka cluster, so this engine does nothing.
    Conflict {
        /// Who, since when, and what to do, for people.
        message: String,
    },
}

/// The Kafka cluster as seen from here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KafkaView {
    /// Whether any broker answers. `None` until the first attempt has ended.
    pub reachable: Option<bool>,
    /// What was tried on which address and what came of it, when it is not reachable.
    pub error: Option<String>,
    /// Why the doctor's own topics can be neither found nor created; `None` when they are there. Without them nothing is
    /// heard of any broker.
    pub topics_error: Option<String>,
    /// Why the actions log can be neither opened nor written by this instance, which leads; `None` when it can.
    pub actions_log_error: Option<String>,
    /// The cluster's id.
    pub cluster_id: Option<String>,
    /// The active controller (leader of the KRaft quorum).
    pub controller_id: Option<BrokerId>,
    /// Partitions whose ISR is smaller than their replica set; `None` until the topics have been read, and while the last
    /// reading is out of date.
    pub under_replicated: Option<usize>,
}

/// Pods, nodes and volumes: whether they are known. What they say of a broker is in its reason, message and evidence.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlatformView {
    /// Whether the policy links brokers to pods.
    pub asked: bool,
    /// What is asked for and not known: what was tried, and what to do.
    pub unknown: Vec<String>,
    /// Brokers that are linked to no pod, and why.
    pub unlinked: BTreeMap<BrokerId, String>,
}

/// How many brokers are in which state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)] // each field counts the state of its name
pub struct Summary {
    pub brokers: usize,
    pub healthy: usize,
    pub overloaded: usize,
    pub unhealthy: usize,
    pub recovering: usize,
    pub maintenance: usize,
    pub unknown: usize,
}

impl Summary {
    /// How many brokers are in a state.
    pub fn of(&self, state: BrokerState) -> usize {
        match state {
            BrokerState::Healthy => self.healthy,
            BrokerState::Overloaded => self.overloaded,
            BrokerState::Unhealthy => self.unhealthy,
            BrokerState::Recovering => self.recovering,
            BrokerState::Maintenance => self.maintenance,
            BrokerState::Unknown => self.unknown,
        }
    }
}

/// One broker.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BrokerView {
    /// Its `node.id`.
    pub id: BrokerId,
    /// Host it advertises.
    pub host: String,
    /// Its rack, when it has one.
    pub rack: Option<String>,
    /// Its pod, where it is linked to one.
    pub pod: Option<String>,
    /// The node of its pod.
    pub node: Option<String>,
    /// Its state.
    pub state: BrokerState,
    /// Why.
    pub reason: Reason,
    /// Since when it has been in this state, by the wall clock.
    pub since: Timestamp,
    /// One sentence for people: what is wrong and how it is known.
    pub message: String,
    /// The figures the state rests on.
    pub evidence: Evidence,
    /// Newest figures, absent ones unknown.
    pub figures: Figures,
    /// Partitions it leads, when known.
    pub leaders: Option<usize>,
    /// Replicas it holds, when known.
    pub replicas: Option<usize>,
}

/// A broker's newest figures.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Figures {
    /// CPU as a share of the broker's own limit, percent.
    pub cpu_percent: Option<f64>,
    /// Memory as a share of its limit, percent.
    pub memory_percent: Option<f64>,
    /// The fullest log directory, percent.
    pub disk_percent: Option<f64>,
    /// Bytes received a second.
    pub network_in: Option<f64>,
    /// Bytes sent a second.
    pub network_out: Option<f64>,
    /// When the newest report was taken, by the sidecar's clock.
    pub last_heartbeat: Option<Timestamp>,
    /// Whether simulated load is laid over the measured figures.
    pub simulated: bool,
}

/// Recommended leadership changes for one overloaded broker.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Advice {
    /// The broker to relieve.
    pub broker: BrokerId,
    /// `move leadership of 12 partitions from broker 2 to 1 (7) and 3 (5); no data moves`.
    pub message: String,
    /// The changes.
    pub moves: Vec<LeadershipMove>,
}

/// A treatment that was considered and refused.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Refusal {
    /// The broker that would have been treated; absent when it concerns the whole cluster.
    pub broker: Option<BrokerId>,
    /// Name of the rule, `PascalCase`, from a closed set.
    pub rule: &'static str,
    /// Which rule, on what, with the number that broke it, and what would lift it.
    pub message: String,
}

/// A treatment that is being carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TreatmentView {
    /// SHA-256 that names it, as in the records of the actions log.
    pub digest: String,
    /// `moving the leadership of 12 partitions`.
    pub message: String,
    /// Partitions that are as planned.
    pub done: usize,
    /// Partitions in all.
    pub partitions: usize,
    /// Bytes to copy in all.
    pub bytes: u64,
    /// Bytes that are copied, as far as known.
    pub bytes_done: u64,
    /// Bytes a second over the last half minute, when anything was copied in it.
    pub bytes_per_second: Option<u64>,
    /// Time left at this rate, seconds.
    pub seconds_left: Option<u64>,
    /// Bytes that the replica which lacks most has yet to copy.
    pub slowest_bytes_left: Option<u64>,
    /// Why nothing is begun at the moment: rule and message.
    pub hold: Option<String>,
    /// The treatment itself.
    #[serde(skip)]
    pub treatment: Arc<Treatment>,
}

impl TreatmentView {
    /// `3 of 7 partitions done, 1.5 GB of 4.0 GB copied, 50.0 MB/s, 50s left; waits: ...`.
    pub fn progress(&self) -> String {
        let bytes = in_words::bytes;
        let mut text = format!("{} of {} partitions done", self.done, self.partitions);
        if self.bytes > 0 {
            text.push_str(&format!(", {} of {} copied", bytes(self.bytes_done), bytes(self.bytes)));
        }
        if let (Some(rate), Some(left)) = (self.bytes_per_second, self.seconds_left) {
            text.push_str(&format!(
                ", {}/s, {} left",
                bytes(rate),
                doctorkafka_api::Duration::from_secs(left)
            ));
        }
        if let Some(hold) = &self.hold {
            text.push_str(&format!("; waits: {hold}"));
        }
        text
    }
}

/// Counts since the engine started.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counters {
    /// Reports that were understood and used.
    pub reports: u64,
    /// Records of the metrics topic that were not.
    pub skipped: BTreeMap<SkipReason, u64>,
    /// Records committed to the actions log by this instance.
    pub actions: BTreeMap<ActionKind, u64>,
    /// Records that wait for the actions log.
    pub outbox: usize,
    /// Records given up because they were too large for the actions log. What the outbox has no room for is not given up:
    /// it is found lacking, and written, when there is.
    pub outbox_dropped: u64,
    /// Treatments that this instance has carried out or tried to, by how they ended.
    pub treatments: BTreeMap<TreatmentEnd, u64>,
    /// Brokers that were down when a treatment ended, and still have a replication throttle of it.
    pub throttles_left: usize,
}

/// How a treatment ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum TreatmentEnd {
    /// The cluster is as planned.
    Done,
    /// It was stopped before it was complete, and undone as far as was decided.
    GivenUp,
    /// A rule refused it right before its first step.
    NotBegun,
    /// This instance had to stop; whoever leads next goes on.
    Interrupted,
}

impl TreatmentEnd {
    /// Every end.
    pub const ALL: [Self; 4] = [Self::Done, Self::GivenUp, Self::NotBegun, Self::Interrupted];

    /// The label value in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::GivenUp => "given_up",
            Self::NotBegun => "not_begun",
            Self::Interrupted => "interrupted",
        }
    }
}

/// Why a record of the metrics topic was not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum SkipReason {
    /// Not a report: random bytes, another shape, figures that cannot be true.
    Malformed,
    /// Larger than a report can be.
    TooLarge,
    /// Written by a newer release.
    NewerVersion,
    /// Its key or its cluster id names another broker or cluster than its value.
    Forged,
    /// A broker that Kafka does not know.
    UnknownBroker,
    /// Seen before, or older than what was seen.
    Repeated,
}

impl SkipReason {
    /// Every reason.
    pub const ALL: [Self; 6] = [
        Self::Malformed,
        Self::TooLarge,
        Self::NewerVersion,
        Self::Forged,
        Self::UnknownBroker,
        Self::Repeated,
    ];

    /// The label value in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::TooLarge => "too_large",
            Self::NewerVersion => "newer_version",
            Self::Forged => "forged",
            Self::UnknownBroker => "unknown_broker",
            Self::Repeated => "repeated",
        }
    }
}

impl From<&Skip> for SkipReason {
    fn from(skip: &Skip) -> Self {
        match skip {
            Skip::Decode(DecodeError::TooLarge { .. }) => Self::TooLarge,
            Skip::Decode(DecodeError::NewerVersion { .. }) => Self::NewerVersion,
            Skip::Decode(DecodeError::Malformed { .. } | DecodeError::Absurd { .. }) | Skip::NoValue => {
                Self::Malformed
            }
            Skip::Forged { .. } => Self::Forged,
        }
    }
}
