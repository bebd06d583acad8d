//! `KafkaHealthPolicy`.

use crate::{
    BrokerList, Brokers, Detection, Executor, Kafka, KafkaHealthPolicyStatus, Limits, Maintenance, Mode,
    Remedies, Topics,
};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What to watch, and what to do about it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, CustomResource)]
#[allow(clippy::duplicated_attributes)] // several columns have the same type and the same priority
#[kube(
    group = "doctorkafka.dev",
    version = "v1alpha1",
    kind = "KafkaHealthPolicy",
    plural = "kafkahealthpolicies",
    singular = "kafkahealthpolicy",
    shortname = "kafkahealth",
    shortname = "khp",
    category = "kafka",
    category = "doctorkafka",
    namespaced,
    status = "KafkaHealthPolicyStatus",
    derive = "PartialEq",
    doc = "Watches one Kafka cluster, says which broker is in which state and why, and treats it as far as it may.",
    printcolumn(
        name = "Brokers",
        type_ = "integer",
        json_path = ".status.summary.brokers",
        description = "Brokers of the cluster"
    ),
    printcolumn(
        name = "Healthy",
        type_ = "integer",
        json_path = ".status.summary.healthy",
        description = "Brokers that work and have room"
    ),
    printcolumn(
        name = "Overloaded",
        type_ = "integer",
        json_path = ".status.summary.overloaded",
        description = "Brokers that work with a resource over its threshold"
    ),
    printcolumn(
        name = "Unhealthy",
        type_ = "integer",
        json_path = ".status.summary.unhealthy",
        description = "Brokers that do not do their work"
    ),
    printcolumn(
        name = "Mode",
        type_ = "string",
        json_path = ".status.mode",
        description = "How far the doctor may go, as it is in effect"
    ),
    printcolumn(
        name = "Acting",
        type_ = "string",
        json_path = ".status.acting",
        description = "The treatment that is being carried out"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].status",
        description = "Whether the doctor is at work for this policy",
        priority = 1
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].reason",
        description = "Why it is ready or not",
        priority = 1
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp",
        description = "Time since the policy was created"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct KafkaHealthPolicySpec {
    /// The Kafka cluster to watch and how to reach it.
    pub kafka: Kafka,
    /// How brokers are found among the things of Kubernetes.
    #[serde(default)]
    pub brokers: Brokers,
    /// Names of the doctor's own topics.
    #[serde(default)]
    pub topics: Topics,
    /// When a broker counts as overloaded or silent.
    #[serde(default)]
    pub detection: Detection,
    /// How far the doctor may go by itself: Observe (diagnose and alert), Recommend (also say what would help), Approve
    /// (also carry out what a person has approved) or Auto (carry out treatment without asking).
    #[serde(default)]
    pub mode: Mode,
    /// What the doctor may do about what it finds; each treatment may have a mode of its own.
    #[serde(default)]
    pub remedies: Remedies,
    /// How much treatment the cluster gets at once.
    #[serde(default)]
    pub limits: Limits,
    /// What the doctor is to leave alone, and when.
    #[serde(default)]
    pub maintenance: Maintenance,
    /// Brokers that are to hold no replicas, as before they are taken away: everything on them is moved to others, as far as
    /// the mode of `remedies.replicas` allows.
    #[serde(default)]
    pub drain: BrokerList,
    /// Brokers that are to lead no partitions, as before they are restarted: leaderships are handed to in-sync replicas, as
    /// far as the mode of `remedies.leadership` allows, and given back when the broker is no longer named here.
    #[serde(default)]
    pub demote: BrokerList,
    /// Who carries out the moving of replicas.
    #[serde(default)]
    pub executor: Executor,
}

impl KafkaHealthPolicySpec {
    /// A policy with the defaults for everything but the cluster's address.
    pub fn new(bootstrap_servers: impl Into<String>) -> Self {
        Self {
            kafka: Kafka { bootstrap_servers: bootstrap_servers.into(), tls: None, authentication: None },
            brokers: Brokers::default(),
            topics: Topics::default(),
            detection: Detection::default(),
            mode: Mode::default(),
            remedies: Remedies::default(),
            limits: Limits::default(),
            maintenance: Maintenance::default(),
            drain: BrokerList::default(),
            demote: BrokerList::default(),
            executor: Executor::default(),
        }
    }
}
