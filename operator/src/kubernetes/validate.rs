//! Step two of reconciling, validate: from what was read to what the engine gets. No client, no I/O.

use super::{object::PolicyObject, secrets::SecretError};
use doctorkafka_api::{Kafka, Topics};
use doctorkafka_doctor::{Policy, PolicyError};
use doctorkafka_kafka::{Connection, ConnectionError};
use std::sync::Arc;

/// How brokers name this client in their logs and quotas.
const CLIENT_ID: &str = "doctorkafka-operator";

/// A policy that can be carried out.
#[derive(Debug, Clone)]
pub(super) struct ValidPolicy {
    /// How to reach its cluster.
    pub connection: Connection,
    /// What the engine is asked to do.
    pub policy: Arc<Policy>,
    /// What a running engine cannot take in: a change of these needs a new one.
    pub fixed: (Kafka, Topics),
}

/// Why a policy cannot be carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Problem {
    /// The spec is not one.
    #[error("{0}")]
    Unreadable(String),
    /// Values that cannot be.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Invalid(Vec<PolicyError>),
    /// An address that cannot be.
    #[error("spec.kafka.bootstrapServers: {0}")]
    Connection(#[from] ConnectionError),
    /// A Secret that is not there.
    #[error("{0}")]
    Secret(Box<SecretError>),
    /// Something that this release does not do.
    #[error(
        "{field}: this release connects in plain text and without authentication only; it does not connect at all rather than leave out what was asked for"
    )]
    Unsupported {
        /// The field.
        field: &'static str,
    },
    /// The engine ended by itself, which is a fault of this program.
    #[error("the engine ended unexpectedly ({0}); it is started again")]
    EngineEnded(String),
}

impl From<SecretError> for Problem {
    fn from(error: SecretError) -> Self {
        Self::Secret(Box::new(error))
    }
}

impl Problem {
    /// Reason for the condition.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Unreadable(_) | Self::Invalid(_) | Self::Connection(_) => "Invalid",
            Self::Secret(error) => error.reason(),
            Self::Unsupported { .. } => "Unsupported",
            Self::EngineEnded(_) => "EngineEnded",
        }
    }

    /// Whether an engine that runs by an earlier version of the policy may go on. A typing error does not make the
    /// doctor blind; a connection that must not be made the old way does.
    pub fn keeps_the_last_valid(&self) -> bool {
        matches!(self, Self::Unreadable(_) | Self::Invalid(_) | Self::Connection(_))
    }

    /// Whether it may go away without any change of the policy.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Secret(_) | Self::EngineEnded(_))
    }
}

/// Checks all that the policy itself says.
pub(super) fn validate(object: &PolicyObject) -> Result<ValidPolicy, Problem> {
    let spec = object.spec.as_ref().map_err(|error| Problem::Unreadable(error.clone()))?;
    let policy = Policy::new(&object.key.to_string(), spec).map_err(Problem::Invalid)?;
    let policy = if object.paused { policy.paused() } else { policy };
    let connection = Connection::new(&spec.kafka.bootstrap_servers, CLIENT_ID)?;
    Ok(ValidPolicy { connection, policy: Arc::new(policy), fixed: (spec.kafka.clone(), spec.topics.clone()) })
}

/// Refuses what this release cannot do, so that nothing connects in plain text that was to be encrypted.
pub(super) fn supported(kafka: &Kafka) -> Result<(), Problem> {
    let Kafka { tls, authentication, .. } = kafka;
    if tls.is_some() {
        return Err(Problem::Unsupported { field: "spec.kafka.tls" });
    }
    if authentication.is_some() {
        return Err(Problem::Unsupported { field: "spec.kafka.authentication" });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::api::DynamicObject;
    use serde_json::json;

    fn object(spec: serde_json::Value) -> PolicyObject {
        let mut object = DynamicObject::new("prod", &PolicyObject::resource()).within("kafka");
        object.data = json!({ "spec": spec });
        PolicyObject::read(&object).unwrap()
    }

    #[test]
    fn a_good_policy_is_carried_out() {
        let object = object(json!({"kafka": {"bootstrapServers": "a:9092,b:9092"}}));
        let valid = validate(&object).unwrap();
        assert_eq!(valid.connection.bootstrap(), ["a:9092", "b:9092"]);
        assert_eq!(valid.fixed.1, Topics::default());
        supported(&valid.fixed.0).unwrap();
    }

    #[test]
    fn a_policy_that_cannot_be_says_why() {
        let problem = validate(&object(json!({"kafka": {"bootstrapServers": "a:http"}}))).unwrap_err();
        assert_eq!(problem.reason(), "Invalid");
        assert!(problem.to_string().starts_with("spec.kafka.bootstrapServers: "), "{problem}");
        let problem = validate(&object(json!({"kafka": {"bootstrapServers": 7}}))).unwrap_err();
        assert!(problem.to_string().starts_with("spec.kafka.bootstrapServers: "), "{problem}");
        assert!(problem.keeps_the_last_valid());
    }

    #[test]
    fn nothing_connects_in_plain_text_that_was_to_be_encrypted() {
        for (field, kafka) in [
            ("spec.kafka.tls", json!({"bootstrapServers": "a:9093", "tls": {}})),
            (
                "spec.kafka.authentication",
                json!({"bootstrapServers": "a:9093", "authentication": {"plain": {
                    "username": "doctor", "passwordSecret": {"secretName": "doctor", "password": "password"},
                }}}),
            ),
        ] {
            let problem = supported(&object(json!({ "kafka": kafka })).spec.unwrap().kafka).unwrap_err();
            assert_eq!(problem, Problem::Unsupported { field });
            assert!(!problem.keeps_the_last_valid() && problem.to_string().starts_with(field));
        }
    }
}
