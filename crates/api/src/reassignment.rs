//! `KafkaReassignment`.

use crate::cel;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The treatment. It never changes: another treatment is another object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, CustomResource)]
#[allow(clippy::duplicated_attributes)] // several columns have the same type and the same priority
#[kube(
    group = "doctorkafka.dev",
    version = "v1alpha1",
    kind = "KafkaReassignment",
    plural = "kafkareassignments",
    singular = "kafkareassignment",
    shortname = "kreassign",
    category = "kafka",
    category = "doctorkafka",
    namespaced,
    status = "KafkaReassignmentStatus",
    derive = "PartialEq",
    doc = "One proposed or running treatment of a Kafka cluster, owned by its KafkaHealthPolicy.",
    printcolumn(
        name = "Policy",
        type_ = "string",
        json_path = ".spec.policyRef.name",
        description = "The policy it belongs to"
    ),
    printcolumn(
        name = "Cause",
        type_ = "string",
        json_path = ".spec.cause.reason",
        description = "What it is for"
    ),
    printcolumn(
        name = "Broker",
        type_ = "integer",
        json_path = ".spec.cause.broker",
        description = "The broker it treats"
    ),
    printcolumn(
        name = "Leaderships",
        type_ = "integer",
        json_path = ".spec.estimate.leadershipChanges",
        description = "Leaderships that change"
    ),
    printcolumn(
        name = "Moves",
        type_ = "integer",
        json_path = ".spec.estimate.moves",
        description = "Partitions whose replicas move"
    ),
    printcolumn(
        name = "Phase",
        type_ = "string",
        json_path = ".status.phase",
        description = "How far it is"
    ),
    printcolumn(
        name = "Done",
        type_ = "string",
        json_path = ".status.progress.percent",
        description = "Share that is done, percent"
    ),
    printcolumn(
        name = "Digest",
        type_ = "string",
        json_path = ".spec.digest",
        description = "What an approval names",
        priority = 1
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp",
        description = "Time since it was proposed"
    )
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = cel::rules([
    cel::Rule::new("self == oldSelf", "is immutable: another treatment is another KafkaReassignment"),
    cel::Rule::new("size(self.moves) + size(self.leadershipChanges) > 0", "must have moves or leadershipChanges"),
])))]
pub struct KafkaReassignmentSpec {
    /// The policy it was planned under, in the same namespace.
    pub policy_ref: PolicyRef,
    /// What it is for.
    pub cause: Cause,
    /// Replicas that move, in the order in which they do.
    #[schemars(length(max = Self::MAX_MOVES), extend("x-kubernetes-list-type" = "atomic"))]
    #[serde(default)]
    pub moves: Vec<ReplicaMove>,
    /// Leaderships that change hands. No data moves for them.
    #[schemars(length(max = Self::MAX_MOVES), extend("x-kubernetes-list-type" = "atomic"))]
    #[serde(default)]
    pub leadership_changes: Vec<LeadershipChange>,
    /// What it will cost.
    pub estimate: Estimate,
    /// Replication throttle at each broker while it runs, bytes a second; absent when no data moves.
    #[schemars(range(min = 1))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttle: Option<i64>,
    /// Names of the rules that it was checked against.
    #[schemars(length(max = 64), inner(length(max = 64)))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<String>,
    /// SHA-256 of the treatment in its canonical form, hexadecimal. Whoever approves names it.
    #[schemars(extend(
        "maxLength" = 64,
        "x-kubernetes-validations" = cel::matching("^[0-9a-f]{64}$", "must be a SHA-256 in 64 hexadecimal digits")
    ))]
    pub digest: String,
}

impl KafkaReassignment {
    /// Annotation: rejects the digest it names, and nothing else.
    pub const REJECT_ANNOTATION: &str = "doctorkafka.dev/reject";

    /// Annotation: who approved or rejected, by the name that the API server knows. The admission policies of
    /// `deploy/admission` see to that.
    pub const APPROVED_BY_ANNOTATION: &str = "doctorkafka.dev/approved-by";
}

impl KafkaReassignmentSpec {
    /// The most moves, and the most leadership changes, of one treatment. Larger work comes in waves.
    pub const MAX_MOVES: usize = 2_000;
}

/// The policy that a treatment belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicyRef {
    /// Name of the KafkaHealthPolicy.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Generation of the policy's spec that it was planned under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<i64>,
}

/// What a treatment is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Cause {
    /// The broker it treats; absent when it is for the whole cluster.
    #[schemars(range(min = 0))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broker: Option<i32>,
    /// What is wrong, in one word such as CpuAbove.
    #[schemars(length(min = 1, max = 64))]
    pub reason: String,
    /// What is wrong, in one sentence.
    #[schemars(length(max = 512))]
    pub message: String,
}

/// Replicas of one partition that move.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReplicaMove {
    /// Name of the topic.
    #[schemars(length(min = 1, max = 249))]
    pub topic: String,
    /// Number of the partition.
    #[schemars(range(min = 0))]
    pub partition: i32,
    /// The brokers that hold its replicas now, the preferred leader first.
    #[schemars(length(min = 1, max = 32), inner(range(min = 0)))]
    pub from: Vec<i32>,
    /// The brokers that will hold them, the preferred leader first.
    #[schemars(length(min = 1, max = 32), inner(range(min = 0)))]
    pub to: Vec<i32>,
    /// Bytes that are copied for it.
    #[schemars(range(min = 0))]
    pub bytes: i64,
    /// Why this one, such as: largest replica that fits broker 4.
    #[schemars(length(max = 128))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// A leadership that changes hands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LeadershipChange {
    /// Name of the topic.
    #[schemars(length(min = 1, max = 249))]
    pub topic: String,
    /// Number of the partition.
    #[schemars(range(min = 0))]
    pub partition: i32,
    /// The leader now.
    #[schemars(range(min = 0))]
    pub from: i32,
    /// The leader to be. It holds an in-sync replica already.
    #[schemars(range(min = 0))]
    pub to: i32,
    /// The brokers that hold its replicas, in their new order, the preferred leader first.
    #[schemars(length(max = 32), inner(range(min = 0)))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replicas: Vec<i32>,
}

/// What a treatment will cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Estimate {
    /// Partitions whose replicas move.
    #[schemars(range(min = 0))]
    pub moves: i32,
    /// Leaderships that change hands.
    #[schemars(range(min = 0))]
    pub leadership_changes: i32,
    /// Bytes that are copied.
    #[schemars(range(min = 0))]
    pub bytes: i64,
    /// How long it takes at the throttle, seconds; 0 without one.
    #[schemars(range(min = 0))]
    pub seconds: i64,
}

/// How far a treatment is.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct KafkaReassignmentStatus {
    /// Generation of the spec that this status speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Proposed, Approved, Executing, Completed, Aborted, Superseded, Expired or Failed.
    // kube gives an optional enum the description of its type; this keeps the field's own.
    #[schemars(with = "Phase")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// What happened last, in one sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Who approved it, as the API server knew them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approved_by: Option<String>,
    /// When the first step was taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// When it ended, well or not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Time>,
    /// What is done and what is left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// Conditions: Approved, Executing, Verified (the assignment was found to equal the plan).
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// Where a treatment stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    /// It waits for approval.
    Proposed,
    /// It waits for its turn.
    Approved,
    /// It is being carried out.
    Executing,
    /// It is done, and the assignment equals the plan.
    Completed,
    /// It was stopped before it was done.
    Aborted,
    /// A newer one takes its place.
    Superseded,
    /// Nobody approved it in time.
    Expired,
    /// It could not be carried out.
    Failed,
}

impl Phase {
    /// Whether nothing more will happen.
    pub const fn is_final(self) -> bool {
        !matches!(self, Self::Proposed | Self::Approved | Self::Executing)
    }
}

/// What is done and what is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Progress {
    /// Share that is done, percent.
    pub percent: i32,
    /// Moves that are done.
    pub moves: i32,
    /// Leadership changes that are done.
    pub leadership_changes: i32,
    /// Bytes that are copied.
    pub bytes: i64,
    /// Bytes that the slowest replica has yet to copy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slowest_replica_lag: Option<i64>,
    /// Bytes a second over the last half minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_per_second: Option<i64>,
    /// Time left at this rate, seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds_left: Option<i64>,
}
