//! What people ask to be done to brokers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Brokers for which something is asked.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct BrokerList {
    /// Ids of the brokers.
    #[schemars(
        length(max = Self::MAX_BROKERS),
        inner(range(min = 0)),
        extend("x-kubernetes-list-type" = "set")
    )]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub brokers: Vec<i32>,
}

impl BrokerList {
    pub(crate) const MAX_BROKERS: usize = 1_000;
}
