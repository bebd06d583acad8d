//! Step one of reconciling, dereference: the Secrets that a policy names.
//!
//! Only whether they are there is looked at; no value leaves this module.

use super::object::PolicyKey;
use doctorkafka_api::Kafka;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use std::time::Duration;

/// How long one read may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A key of a Secret that a policy needs, and where the policy names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SecretReference {
    /// Path of the field that names it.
    pub field: String,
    /// The Secret's name; its namespace is the policy's.
    pub secret: String,
    /// The key within it.
    pub key: String,
}

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
        "Secret {namespace}/{}, named by {}, may not be read by the operator; bind ClusterRole \
         doctorkafka-secret-reader to its service account in namespace {namespace}", .reference.secret, .reference.field
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

/// Every key of a Secret that a connection needs.
pub(super) fn references(kafka: &Kafka) -> Vec<SecretReference> {
    let mut found = Vec::new();
    let mut add = |field: String, secret: &str, key: &str| {
        found.push(SecretReference { field, secret: secret.to_owned(), key: key.to_owned() });
    };
    for (n, trusted) in kafka.tls.iter().flat_map(|tls| &tls.trusted_certificates).enumerate() {
        let field = format!("spec.kafka.tls.trustedCertificates[{n}]");
        add(field, &trusted.secret_name, &trusted.certificate);
    }
    if let Some(authentication) = &kafka.authentication {
        let root = "spec.kafka.authentication";
        let passwords = [
            ("scramSha512", &authentication.scram_sha512),
            ("scramSha256", &authentication.scram_sha256),
            ("plain", &authentication.plain),
        ];
        for (name, user) in passwords {
            if let Some(user) = user {
                let secret = &user.password_secret;
                add(format!("{root}.{name}.passwordSecret"), &secret.secret_name, &secret.password);
            }
        }
        if let Some(tls) = &authentication.tls {
            let pair = &tls.certificate_and_key;
            for key in [&pair.certificate, &pair.key] {
                add(format!("{root}.tls.certificateAndKey"), &pair.secret_name, key);
            }
        }
        if let Some(oauth) = &authentication.oauthbearer {
            let secret = &oauth.client_secret;
            add(format!("{root}.oauthbearer.clientSecret"), &secret.secret_name, &secret.key);
        }
    }
    found
}

/// Looks whether every Secret and key is there, in the order of the policy.
///
/// # Errors
/// The first that is not.
pub(super) async fn check(
    client: &Client,
    policy: &PolicyKey,
    references: Vec<SecretReference>,
) -> Result<(), SecretError> {
    let namespace = policy.namespace.clone();
    let api: Api<Secret> = Api::namespaced(client.clone(), &namespace);
    for reference in references {
        let found = match tokio::time::timeout(TIMEOUT, api.get_opt(&reference.secret)).await {
            Ok(Ok(found)) => found,
            Ok(Err(kube::Error::Api(status))) if status.code == 403 => {
                return Err(SecretError::Forbidden { namespace, reference });
            }
            Ok(Err(error)) => {
                return Err(SecretError::Unreadable { namespace, reference, error: error.to_string() });
            }
            Err(_) => {
                let error = format!("no answer within {TIMEOUT:?}");
                return Err(SecretError::Unreadable { namespace, reference, error });
            }
        };
        let Some(secret) = found else {
            return Err(SecretError::NotFound { namespace, reference });
        };
        let data = secret.data.unwrap_or_default();
        if data.get(&reference.key).is_none_or(|value| value.0.is_empty()) {
            let present = if data.is_empty() {
                "nothing".to_owned()
            } else {
                data.keys().take(20).cloned().collect::<Vec<_>>().join(", ")
            };
            return Err(SecretError::KeyNotFound { namespace, reference, present });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn names(kafka: serde_json::Value) -> Vec<String> {
        let kafka: Kafka = serde_json::from_value(kafka).unwrap();
        references(&kafka).into_iter().map(|r| format!("{} {}/{}", r.field, r.secret, r.key)).collect()
    }

    #[test]
    fn every_reference_is_found() {
        let plain = names(json!({"bootstrapServers": "a:9092"}));
        assert!(plain.is_empty());
        let scram = names(json!({
            "bootstrapServers": "a:9092",
            "tls": {"trustedCertificates": [
                {"secretName": "ca", "certificate": "ca.crt"}, {"secretName": "old-ca", "certificate": "ca.crt"},
            ]},
            "authentication": {"scramSha512": {
                "username": "doctor", "passwordSecret": {"secretName": "doctor", "password": "password"},
            }},
        }));
        assert_eq!(
            scram,
            [
                "spec.kafka.tls.trustedCertificates[0] ca/ca.crt",
                "spec.kafka.tls.trustedCertificates[1] old-ca/ca.crt",
                "spec.kafka.authentication.scramSha512.passwordSecret doctor/password",
            ]
        );
        let mutual = names(json!({
            "bootstrapServers": "a:9092",
            "tls": {},
            "authentication": {"tls": {"certificateAndKey": {
                "secretName": "doctor", "certificate": "user.crt", "key": "user.key",
            }}},
        }));
        assert_eq!(mutual.len(), 2);
        let oauth = names(json!({
            "bootstrapServers": "a:9092",
            "authentication": {"oauthbearer": {
                "clientId": "doctor", "clientSecret": {"secretName": "sso", "key": "secret"},
                "tokenEndpointUri": "https://sso/token",
            }},
        }));
        assert_eq!(oauth, ["spec.kafka.authentication.oauthbearer.clientSecret sso/secret"]);
    }

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
