//! Step one of reconciling, dereference: the Secrets that a policy names.

use super::object::PolicyKey;
use crate::credentials::{SecretReference, Values};
use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{Api, Client};
use std::{
    collections::{BTreeMap, btree_map::Entry},
    time::Duration,
};

/// How long one read may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A Secret that a policy needs and does not get.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum SecretError {
    /// There is none of that name.
    #[error("Secret {namespace}/{}, key {}, named by {}, does not exist", .reference.secret, .reference.key, .reference.field)]
    NotFound {
        /// Namespace looked in.
        namespace: String,
        /// What was looked for.
        reference: SecretReference,
    },
    /// It has no such key, or an empty one.
    #[error("Secret {namespace}/{} has no key {}, named by {}; it has: {present}", .reference.secret, .reference.key, .reference.field)]
    KeyNotFound {
        /// Namespace looked in.
        namespace: String,
        /// What was looked for.
        reference: SecretReference,
        /// Keys that are there.
        present: String,
    },
    /// The operator may not read it.
    #[error(
        "Secret {namespace}/{}, named by {}, may not be read by the operator: name it in the chart's \
         value secretAccess, or give the service account the verb get on it (deploy/secret-access.yaml)", .reference.secret, .reference.field
    )]
    Forbidden {
        /// Namespace looked in.
        namespace: String,
        /// What was looked for.
        reference: SecretReference,
    },
    /// The API server did not say.
    #[error("Secret {namespace}/{}, named by {}, could not be read: {error}", .reference.secret, .reference.field)]
    Unreadable {
        /// Namespace looked in.
        namespace: String,
        /// What was looked for.
        reference: SecretReference,
        /// What the API server said, or that it said nothing.
        error: String,
    },
}

impl SecretError {
    /// Reason for the condition.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NotFound { .. } | Self::KeyNotFound { .. } => "SecretNotFound",
            Self::Forbidden { .. } => "SecretForbidden",
            Self::Unreadable { .. } => "SecretUnreadable",
        }
    }
}

/// Reads the values of all references; each Secret once, so that what belongs together is of one version.
///
/// # Errors
/// The first, in the order of the policy, that is not there.
pub(super) async fn read(
    client: &Client,
    policy: &PolicyKey,
    references: Vec<SecretReference>,
) -> Result<Values, SecretError> {
    let namespace = policy.namespace.clone();
    let api: Api<Secret> = Api::namespaced(client.clone(), &namespace);
    let mut secrets = BTreeMap::new();
    let mut values = Values::default();
    for reference in references {
        let data = match secrets.entry(reference.secret.clone()) {
            Entry::Occupied(read) => read.into_mut(),
            Entry::Vacant(unread) => unread.insert(read_one(&api, &namespace, &reference).await?),
        };
        match data.get(&reference.key).filter(|value| !value.0.is_empty()) {
            Some(value) => {
                let origin = format!("Secret {namespace}/{}, key {}", reference.secret, reference.key);
                values.add(&reference, origin, value.0.clone());
            }
            None => {
                let present = if data.is_empty() {
                    "nothing".to_owned()
                } else {
                    data.keys().take(20).cloned().collect::<Vec<_>>().join(", ")
                };
                return Err(SecretError::KeyNotFound { namespace, reference, present });
            }
        }
    }
    Ok(values)
}

async fn read_one(
    api: &Api<Secret>,
    namespace: &str,
    reference: &SecretReference,
) -> Result<BTreeMap<String, ByteString>, SecretError> {
    let (namespace, reference) = (namespace.to_owned(), reference.clone());
    match tokio::time::timeout(TIMEOUT, api.get_opt(&reference.secret)).await {
        Ok(Ok(Some(secret))) => Ok(secret.data.unwrap_or_default()),
        Ok(Ok(None)) => Err(SecretError::NotFound { namespace, reference }),
        Ok(Err(kube::Error::Api(status))) if status.code == 403 => {
            Err(SecretError::Forbidden { namespace, reference })
        }
        Ok(Err(error)) => Err(SecretError::Unreadable { namespace, reference, error: error.to_string() }),
        Err(_) => {
            let error = format!("no answer within {TIMEOUT:?}");
            Err(SecretError::Unreadable { namespace, reference, error })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn messages_say_what_is_missing_and_where() {
        let reference = SecretReference {
            field: "spec.kafka.tls.trustedCertificates[0]".into(),
            secret: "prod-ca".into(),
            key: "ca.crt".into(),
        };
        let missing = SecretError::NotFound { namespace: "kafka".into(), reference };
        assert_eq!(
            missing.to_string(),
            "Secret kafka/prod-ca, key ca.crt, named by spec.kafka.tls.trustedCertificates[0], does not exist"
        );
        assert_eq!(missing.reason(), "SecretNotFound");
    }
}
