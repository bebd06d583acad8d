//! What the doctor may do about what it finds.

use crate::{Bounds, Duration, Mode, cel};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Treatments, cheapest first. Each follows the policy's mode unless it has its own.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Remedies {
    /// Move leadership of partitions off an overloaded broker to in-sync replicas that exist already. No data moves.
    pub leadership: Remedy,
    /// Move a few replicas off an overloaded or full broker.
    pub replicas: Remedy,
    /// Replicate anew what a lost broker held.
    pub broker_failure: BrokerFailure,
}

/// One treatment.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Remedy {
    /// How far the doctor may go with this treatment; the policy's mode when it is not set.
    // kube gives an optional enum the description of its type; this keeps the field's own.
    #[schemars(with = "Mode")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
}

/// Treatment of a broker that is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct BrokerFailure {
    /// How far the doctor may go with this treatment; the policy's mode when it is not set.
    // kube gives an optional enum the description of its type; this keeps the field's own.
    #[schemars(with = "Mode")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// How long a broker must be gone before its data is replicated anew. From 1s to 168h.
    #[schemars(extend("x-kubernetes-validations" = cel::within(Self::HEAL_AFTER)))]
    pub heal_after: Duration,
}

impl BrokerFailure {
    /// Bounds of [`Self::heal_after`].
    pub const HEAL_AFTER: Bounds = Bounds { min: Duration::from_secs(1), max: Duration::from_hours(168) };
}

impl Default for BrokerFailure {
    fn default() -> Self {
        Self { mode: None, heal_after: Duration::from_mins(30) }
    }
}
