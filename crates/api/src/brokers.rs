//! Which pods the brokers are.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How brokers are found among the things of Kubernetes.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Brokers {
    /// Selects the brokers' pods in the policy's namespace. It links each broker to its pod, node and volumes, which
    /// say why a broker is gone. Without it the doctor works from what Kafka and the sidecars say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_selector: Option<LabelSelector>,
}
