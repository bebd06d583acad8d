//! Who moves replicas.

use crate::cel;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who carries out the moving of replicas: exactly one of the fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = cel::exactly_one(Self::FIELDS)))]
pub struct Executor {
    /// The doctor itself, with Kafka's own reassignment API. The default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub native: Option<Native>,
    /// A Cruise Control instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cruise_control: Option<CruiseControl>,
}

impl Executor {
    pub(crate) const FIELDS: &'static [&'static str] = &["native", "cruiseControl"];
}

impl Default for Executor {
    fn default() -> Self {
        Self { native: Some(Native {}), cruise_control: None }
    }
}

/// The doctor itself. It has no settings of its own.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Native {}

/// A Cruise Control instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CruiseControl {
    /// Address of its REST API, such as https://prod-cruise-control:9090/kafkacruisecontrol.
    #[schemars(length(max = 512), extend("x-kubernetes-validations" = cel::matching(Self::URL_PATTERN, Self::EXPECTED)))]
    pub url: String,
}

impl CruiseControl {
    pub(crate) const URL_PATTERN: &'static str = "^https?://[^/ ]+";

    pub(crate) const EXPECTED: &'static str = "must be a URL that starts with http:// or https://";
}
