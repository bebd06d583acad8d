//! Step two of reconciling, validate: from what was read to what the engine gets. No client, no I/O.

use super::{address, object::PolicyObject, secrets::SecretError};
use crate::credentials::{self, CredentialError, SecretReference, Values};
use doctorkafka_api::{Kafka, Topics};
use doctorkafka_doctor::{Policy, PolicyError};
use doctorkafka_kafka::{Connection, ConnectionError};
use std::sync::Arc;

/// How brokers name this client in their logs and quotas.
const CLIENT_ID: &str = "doctorkafka-operator";

/// A policy that can be carried out.
#[derive(Debug, Clone)]
pub(super) struct ValidPolicy {
    /// What the engine is asked to do.
    pub policy: Arc<Policy>,
    /// What a running engine cannot take in: a change of these needs a new one.
    pub fixed: Fixed,
    /// Keys of Secrets that the connection was made from.
    pub references: Vec<SecretReference>,
}

/// What an engine keeps for its life.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fixed {
    /// What the policy says of the connection.
    pub kafka: Kafka,
    /// The doctor's topics.
    pub topics: Topics,
    /// How to reach the cluster, with what the Secrets hold.
    pub connection: Connection,
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
    /// A Secret whose content is of no use.
    #[error("{0}")]
    Credentials(#[from] CredentialError),
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
            Self::Credentials(_) => "SecretInvalid",
            Self::EngineEnded(_) => "EngineEnded",
        }
    }

    /// Whether an engine that runs by an earlier version of the policy may go on. A typing error does not make the
    /// doctor blind; a connection that must not be made the old way does.
    pub fn keeps_the_last_valid(&self) -> bool {
        matches!(self, Self::Unreadable(_) | Self::Invalid(_) | Self::Connection(_))
    }

    /// Whether it is in what the policy refers to and not in the policy. An engine that was started from the same
    /// references goes on with what it got then.
    pub fn is_outside_the_policy(&self) -> bool {
        matches!(self, Self::Secret(_) | Self::Credentials(_))
    }

    /// Whether it may go away without any change of the policy.
    pub fn may_pass(&self) -> bool {
        self.is_outside_the_policy() || matches!(self, Self::EngineEnded(_))
    }
}

/// Checks all that the policy itself says. The connection is still without what the Secrets hold.
pub(super) fn validate(object: &PolicyObject) -> Result<ValidPolicy, Problem> {
    let spec = object.spec.as_ref().map_err(|error| Problem::Unreadable(error.clone()))?;
    let policy = Policy::new(&object.key.to_string(), spec).map_err(Problem::Invalid)?;
    let policy = if object.paused { policy.paused() } else { policy };
    let servers = address::qualified(&spec.kafka.bootstrap_servers, &object.key.namespace);
    let connection = Connection::new(&servers, CLIENT_ID)?;
    let references = credentials::references(&spec.kafka);
    let fixed = Fixed { kafka: spec.kafka.clone(), topics: spec.topics.clone(), connection };
    Ok(ValidPolicy { policy: Arc::new(policy), fixed, references })
}

impl ValidPolicy {
    /// The same with a connection as the policy wants it. Never leaves out what was asked for.
    pub fn secure(mut self, values: &Values) -> Result<Self, Problem> {
        let Fixed { kafka, connection, .. } = self.fixed.clone();
        self.fixed.connection = credentials::secure(connection, &kafka, values)?;
        Ok(self)
    }
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
        assert_eq!(valid.fixed.connection.bootstrap(), ["a.kafka.svc:9092", "b.kafka.svc:9092"]);
        assert_eq!(valid.fixed.topics, Topics::default());
        assert_eq!(valid.clone().secure(&Values::default()).unwrap().fixed, valid.fixed);
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
    fn nothing_connects_without_what_was_asked_for() {
        let password =
            json!({"username": "doctor", "passwordSecret": {"secretName": "s", "password": "password"}});
        let token = json!({"secretName": "sso", "key": "token"});
        let trusted = json!({"trustedCertificates": [{"secretName": "ca", "certificate": "ca.crt"}]});
        for kafka in [
            json!({"bootstrapServers": "a:9093", "tls": trusted}),
            json!({"bootstrapServers": "a:9093", "authentication": {"plain": password}}),
            json!({"bootstrapServers": "a:9093", "authentication": {"oauthbearer": {"accessToken": token}}}),
        ] {
            let valid = validate(&object(json!({ "kafka": kafka }))).unwrap();
            assert_eq!(valid.references.len(), 1);
            // A value that got lost on the way.
            let problem = valid.secure(&Values::default()).unwrap_err();
            assert_eq!(problem.reason(), "SecretInvalid");
            assert!(problem.may_pass() && problem.is_outside_the_policy() && !problem.keeps_the_last_valid());
        }
    }
}
