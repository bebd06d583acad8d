//! Policies from files.

use crate::KafkaHealthPolicy;

/// Placeholder.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct YamlError(String);

/// Placeholder.
pub fn from_yaml(text: &str) -> Result<KafkaHealthPolicy, YamlError> {
    serde_saphyr::from_str(text).map_err(|e| YamlError(e.to_string()))
}
