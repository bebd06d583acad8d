//! What records of the actions log say of a treatment: the whole of it before anything is done, and of each step exactly
//! what is asked of Kafka.
//!
//! This is what a doctor that takes over reads: with these records and a look at the cluster it finishes or undoes what
//! another began.

use crate::{BrokerId, Outcome};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A treatment, or a step of one; which fields are there goes with the record's kind and outcome.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TreatmentDetail {
    /// The whole treatment; on the record that begins it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<TreatmentPlan>,
    /// Partitions that are given these replicas (AlterPartitionReassignments).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reassign: Vec<ReplicasAsked>,
    /// Partitions whose running reassignment is cancelled.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cancel: Vec<PartitionName>,
    /// Partitions whose preferred replica is to lead (ElectLeaders).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub elect: Vec<PartitionName>,
    /// Settings that are changed (IncrementalAlterConfigs).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub configs: Vec<ConfigAsked>,
    /// Partitions that are left out from here on, because they are gone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<PartitionName>,
    /// The decision to give the treatment up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop: Option<StopDecision>,
    /// Brokers that keep a throttle rate of this treatment because they are down. It is removed when they are back; until
    /// then it throttles nothing, for the lists of throttled replicas are gone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub owed: Vec<BrokerId>,
}

/// A whole treatment, and what the cluster was like before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TreatmentPlan {
    /// What it is for.
    pub cause: TreatmentCause,
    /// What it changes, in the order in which it does.
    pub changes: Vec<PartitionChange>,
    /// Replication throttle at each broker while data moves, bytes a second; absent for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttle: Option<u64>,
    /// Ids of its topics.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub topics: Vec<TopicSeen>,
    /// The throttle settings that were in place before, by somebody else; what is not named here was not set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub throttles_before: Vec<ConfigAsked>,
    /// Brokers that were down, so that their settings are not known and are left alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unread: Vec<BrokerId>,
}

/// A topic as it was found. One that was deleted and created again has another id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TopicSeen {
    /// Topic name.
    pub topic: String,
    /// Its id, 32 hexadecimal digits.
    pub id: String,
}

/// What a treatment is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TreatmentCause {
    /// The broker it treats; absent when it is for the whole cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broker: Option<BrokerId>,
    /// What is wrong, in one word such as `CpuAbove`.
    pub reason: String,
    /// What is wrong, in one sentence.
    pub message: String,
}

/// A partition's change. The lists are complete, the preferred leader first. The same brokers in another order are a
/// change of leadership, for which no data moves.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PartitionChange {
    /// Topic name.
    pub topic: String,
    /// Partition number.
    pub partition: i32,
    /// Its replicas before.
    pub from: Vec<BrokerId>,
    /// Its replicas after.
    pub to: Vec<BrokerId>,
    /// Bytes that are copied, over all replicas that are added.
    #[serde(default)]
    pub bytes: u64,
}

/// A partition's name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PartitionName {
    /// Topic name.
    pub topic: String,
    /// Partition number.
    pub partition: i32,
}

/// Replicas that a partition is given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReplicasAsked {
    /// Topic name.
    pub topic: String,
    /// Partition number.
    pub partition: i32,
    /// All its replicas, the preferred leader first.
    pub replicas: Vec<BrokerId>,
}

/// A setting of a topic or of a broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigAsked {
    /// The broker whose setting it is; absent when it is a topic's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broker: Option<BrokerId>,
    /// The topic whose setting it is; absent when it is a broker's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// Its name, `follower.replication.throttled.rate`.
    pub name: String,
    /// Its value; absent when the setting is deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// The decision to give a treatment up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StopDecision {
    /// How it will have ended: aborted or failed.
    pub ending: Outcome,
    /// Name of the rule that ended it, `Drift`.
    pub rule: String,
    /// What happened, for people.
    pub message: String,
    /// Whether what was moved already is moved back.
    pub restore: bool,
}
