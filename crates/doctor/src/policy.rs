//! The validated policy: what the engine is asked to do, with every value parsed once.

use doctorkafka_api::KafkaHealthPolicySpec;

/// A policy that has been checked. Placeholder fields follow with the engine.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// The policy's name, as it stands in the actions log.
    pub name: String,
}

/// A policy that cannot be: which field and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct PolicyError {
    /// The field, as a path from the root: `spec.detection.cpu.recoveredBelow`.
    pub field: String,
    /// What is wrong with it and what would be right.
    pub message: String,
}

impl Policy {
    /// Checks a policy.
    ///
    /// # Errors
    /// Every field that cannot be, at least one.
    pub fn new(name: &str, _spec: &KafkaHealthPolicySpec) -> Result<Self, Vec<PolicyError>> {
        Ok(Self { name: name.to_owned() })
    }
}
