//! The doctor's own topics.

use crate::cel;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Names of the doctor's own topics. They are created when they are missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = cel::rules([cel::Rule::new(
    "self.metrics != self.actionsLog",
    "must be another topic than metrics",
).message_expression(
    "'must be another topic than metrics (' + self.metrics + ')'",
).field_path(".actionsLog")])))]
pub struct Topics {
    /// The topic that the brokers' sidecars publish reports to.
    #[schemars(length(min = 1, max = Self::MAX_LENGTH), extend("x-kubernetes-validations" = Self::rule()))]
    pub metrics: String,
    /// The topic that every decision and every step is written to.
    #[schemars(length(min = 1, max = Self::MAX_LENGTH), extend("x-kubernetes-validations" = Self::rule()))]
    pub actions_log: String,
}

impl Topics {
    /// What Kafka takes as a topic's name, together with [`Self::EXPECTED`].
    /// Source: `org.apache.kafka.common.internals.Topic`.
    pub(crate) const PATTERN: &'static str = "^[a-zA-Z0-9._-]+$";

    /// Kafka's limit, characters.
    pub(crate) const MAX_LENGTH: usize = 249;

    pub(crate) const EXPECTED: &'static str =
        "must be a topic name: letters, digits, ., _ and -, and neither . nor ..";

    fn rule() -> serde_json::Value {
        cel::text(format!("self.matches('{}') && self != '.' && self != '..'", Self::PATTERN), Self::EXPECTED)
    }
}

impl Default for Topics {
    fn default() -> Self {
        Self { metrics: "_doctor_metrics".to_owned(), actions_log: "_doctor_actions_log".to_owned() }
    }
}
