//! From what a policy says of TLS and authentication, and the values that it refers to, to a connection.
//!
//! Where the values come from is up to the adapter: Secrets of the API server, or files that look like mounted ones. No
//! value is shown by anything here.

use doctorkafka_api::{Authentication, Kafka, UsernamePassword};
use doctorkafka_kafka::{
    BearerToken, CertificatePem, Connection, ConnectionError, KeyPem, Sasl, SaslMechanism, Secret, Tls,
};
use std::collections::BTreeMap;

/// A key of a Secret that a policy needs, and where the policy names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SecretReference {
    /// Path of the field that names it.
    pub field: String,
    /// The Secret's name; its namespace is the policy's.
    pub secret: String,
    /// The key within it.
    pub key: String,
}

/// What was found under the keys.
#[derive(Default)]
pub(crate) struct Values(BTreeMap<(String, String), Found>);

struct Found {
    origin: String,
    value: Vec<u8>,
}

impl Values {
    /// Adds a value, and where it was found, for messages.
    pub fn add(&mut self, reference: &SecretReference, origin: String, value: Vec<u8>) {
        self.0.insert((reference.secret.clone(), reference.key.clone()), Found { origin, value });
    }
}

/// A connection that the policy asks for and that cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CredentialError {
    /// A certificate, key or password is of no use.
    #[error("{field}: {error}")]
    Unusable {
        /// Path of the field.
        field: String,
        /// What is wrong; says where the value was found.
        error: ConnectionError,
    },
}

const TOKEN: &str = "spec.kafka.authentication.oauthbearer.accessToken";
const TRUSTED: &str = "spec.kafka.tls.trustedCertificates";
const CLIENT: &str = "spec.kafka.authentication.tls.certificateAndKey";

/// Every key of a Secret that a connection needs.
pub(crate) fn references(kafka: &Kafka) -> Vec<SecretReference> {
    let mut found = Vec::new();
    let mut add = |field: String, secret: &str, key: &str| {
        found.push(SecretReference { field, secret: secret.to_owned(), key: key.to_owned() });
    };
    for (n, trusted) in kafka.tls.iter().flat_map(|tls| &tls.trusted_certificates).enumerate() {
        add(format!("{TRUSTED}[{n}]"), &trusted.secret_name, &trusted.certificate);
    }
    if let Some(authentication) = &kafka.authentication {
        if let Some(oauth) = &authentication.oauthbearer {
            add(TOKEN.to_owned(), &oauth.access_token.secret_name, &oauth.access_token.key);
        }
        if let Some((_, name, user)) = password_user(authentication) {
            let secret = &user.password_secret;
            add(password_field(name), &secret.secret_name, &secret.password);
        }
        if let Some(tls) = &authentication.tls {
            let pair = &tls.certificate_and_key;
            for key in [&pair.certificate, &pair.key] {
                add(CLIENT.to_owned(), &pair.secret_name, key);
            }
        }
    }
    found
}

/// The connection as the policy wants it, with the values of all [`references`].
///
/// # Errors
/// See [`CredentialError`].
pub(crate) fn secure(
    connection: Connection,
    kafka: &Kafka,
    values: &Values,
) -> Result<Connection, CredentialError> {
    let unusable = |field: &str| {
        let field = field.to_owned();
        move |error| CredentialError::Unusable { field, error }
    };
    let mut connection = connection;
    if let Some(tls) = &kafka.tls {
        let trusted = &tls.trusted_certificates;
        let mut secured = if trusted.is_empty() {
            Tls::trusting_the_system().map_err(unusable("spec.kafka.tls"))?
        } else {
            let given: Result<Vec<_>, _> = trusted
                .iter()
                .map(|trusted| certificate(values, &trusted.secret_name, &trusted.certificate))
                .collect();
            given.and_then(|given| Tls::trusting(&given)).map_err(unusable(TRUSTED))?
        };
        if let Some(client) = kafka.authentication.as_ref().and_then(|given| given.tls.as_ref()) {
            let pair = &client.certificate_and_key;
            secured = certificate(values, &pair.secret_name, &pair.certificate)
                .and_then(|certificate| {
                    let key = key(values, &pair.secret_name, &pair.key)?;
                    secured.with_client_certificate(&certificate, &key)
                })
                .map_err(unusable(CLIENT))?;
        }
        connection = connection.with_tls(secured);
    }
    if let Some((mechanism, name, user)) = kafka.authentication.as_ref().and_then(password_user) {
        let secret = &user.password_secret;
        let sasl = password(values, &secret.secret_name, &secret.password)
            .and_then(|password| Sasl::new(mechanism, &user.username, password))
            .map_err(unusable(&password_field(name)))?;
        connection = connection.with_sasl(sasl);
    }
    if let Some(oauth) = kafka.authentication.as_ref().and_then(|given| given.oauthbearer.as_ref()) {
        let secret = &oauth.access_token;
        let token = token(values, &secret.secret_name, &secret.key).map_err(unusable(TOKEN))?;
        connection = connection.with_sasl(Sasl::bearer(token));
    }
    Ok(connection)
}

fn password_user(given: &Authentication) -> Option<(SaslMechanism, &'static str, &UsernamePassword)> {
    [
        (SaslMechanism::ScramSha512, "scramSha512", &given.scram_sha512),
        (SaslMechanism::ScramSha256, "scramSha256", &given.scram_sha256),
        (SaslMechanism::Plain, "plain", &given.plain),
    ]
    .into_iter()
    .find_map(|(mechanism, name, user)| Some((mechanism, name, user.as_ref()?)))
}

fn password_field(name: &str) -> String {
    format!("spec.kafka.authentication.{name}.passwordSecret")
}

fn certificate(values: &Values, secret: &str, key: &str) -> Result<CertificatePem, ConnectionError> {
    let found = find(values, secret, key)?;
    let text = String::from_utf8(found.value.clone()).map_err(|_| not_text(found))?;
    Ok(CertificatePem { origin: found.origin.clone(), text })
}

fn key(values: &Values, secret: &str, key: &str) -> Result<KeyPem, ConnectionError> {
    let found = find(values, secret, key)?;
    let text = std::str::from_utf8(&found.value).map_err(|_| not_text(found))?;
    Ok(KeyPem { origin: found.origin.clone(), text: Secret::new(text) })
}

fn password(values: &Values, secret: &str, key: &str) -> Result<Secret, ConnectionError> {
    let found = find(values, secret, key)?;
    Secret::from_line(&found.value).ok_or_else(|| not_text(found))
}

fn token(values: &Values, secret: &str, key: &str) -> Result<BearerToken, ConnectionError> {
    let found = find(values, secret, key)?;
    let text = Secret::from_line(&found.value).ok_or_else(|| not_text(found))?;
    BearerToken::new(&found.origin, &text)
}

fn find<'a>(values: &'a Values, secret: &str, key: &str) -> Result<&'a Found, ConnectionError> {
    values.0.get(&(secret.to_owned(), key.to_owned())).ok_or_else(|| ConnectionError::Credential {
        what: format!("Secret {secret}, key {key}"),
        reason: "it was not read".to_owned(),
    })
}

fn not_text(found: &Found) -> ConnectionError {
    ConnectionError::Credential { what: found.origin.clone(), reason: "it is not text in UTF-8".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use doctorkafka_testbed::Certificates;
    use serde_json::json;

    fn kafka(kafka: serde_json::Value) -> Kafka {
        serde_json::from_value(kafka).unwrap()
    }

    fn names(given: serde_json::Value) -> Vec<String> {
        let references = references(&kafka(given));
        references.into_iter().map(|r| format!("{} {}/{}", r.field, r.secret, r.key)).collect()
    }

    /// What the policy asks for with a value for each reference, by key.
    fn secured(given: serde_json::Value, values: &[(&str, &str)]) -> Result<Connection, CredentialError> {
        let kafka = kafka(given);
        let mut found = Values::default();
        for reference in references(&kafka) {
            let value = values.iter().find(|(key, _)| *key == reference.key).unwrap().1;
            let origin = format!("Secret kafka/{}, key {}", reference.secret, reference.key);
            found.add(&reference, origin, value.as_bytes().to_vec());
        }
        secure(Connection::new(&kafka.bootstrap_servers, "test").unwrap(), &kafka, &found)
    }

    fn scram() -> serde_json::Value {
        json!({
            "bootstrapServers": "a:9092",
            "tls": {"trustedCertificates": [
                {"secretName": "ca", "certificate": "ca.crt"}, {"secretName": "old-ca", "certificate": "ca.crt"},
            ]},
            "authentication": {"scramSha512": {
                "username": "doctor", "passwordSecret": {"secretName": "doctor", "password": "password"},
            }},
        })
    }

    fn mutual() -> serde_json::Value {
        json!({
            "bootstrapServers": "a:9092",
            "tls": {"trustedCertificates": [{"secretName": "ca", "certificate": "ca.crt"}]},
            "authentication": {"tls": {"certificateAndKey": {
                "secretName": "doctor", "certificate": "user.crt", "key": "user.key",
            }}},
        })
    }

    fn bearer() -> serde_json::Value {
        let token = json!({"secretName": "sso", "key": "access-token"});
        json!({"bootstrapServers": "a:9092", "authentication": {"oauthbearer": {"accessToken": token}}})
    }

    #[test]
    fn every_reference_is_found() {
        let plain = names(json!({"bootstrapServers": "a:9092"}));
        assert!(plain.is_empty());
        assert_eq!(
            names(scram()),
            [
                "spec.kafka.tls.trustedCertificates[0] ca/ca.crt",
                "spec.kafka.tls.trustedCertificates[1] old-ca/ca.crt",
                "spec.kafka.authentication.scramSha512.passwordSecret doctor/password",
            ]
        );
        assert_eq!(
            names(mutual()),
            [
                "spec.kafka.tls.trustedCertificates[0] ca/ca.crt",
                "spec.kafka.authentication.tls.certificateAndKey doctor/user.crt",
                "spec.kafka.authentication.tls.certificateAndKey doctor/user.key",
            ]
        );
        assert_eq!(names(bearer()), ["spec.kafka.authentication.oauthbearer.accessToken sso/access-token"]);
    }

    #[test]
    fn a_policy_gets_the_connection_that_it_asks_for() {
        let certificates = Certificates::generate("prod-ca").unwrap();
        let client = &certificates.client;
        let (ca, password) = (("ca.crt", certificates.authority.as_str()), ("password", "hunter2\n"));
        let one = secured(scram(), &[ca, password]).unwrap();
        assert_eq!(one, secured(scram(), &[ca, ("password", "hunter2")]).unwrap(), "the line's end");
        assert_ne!(one, secured(scram(), &[ca, ("password", "hunter3")]).unwrap(), "a rotated password");
        assert!(!format!("{one:?}").contains("hunter2"));

        let pair = [ca, ("user.crt", client.certificate.as_str()), ("user.key", client.key.as_str())];
        let two = secured(mutual(), &pair).unwrap();
        assert!(!format!("{two:?}").contains(&client.key));
        let token = secured(bearer(), &[("access-token", "hunter2.token\n")]).unwrap();
        assert_eq!(token, secured(bearer(), &[("access-token", "hunter2.token")]).unwrap());
        assert_ne!(token, secured(bearer(), &[("access-token", "hunter3.token")]).unwrap());
        assert!(!format!("{token:?}").contains("hunter2"));
        let plain = secured(json!({"bootstrapServers": "a:9092"}), &[]).unwrap();
        assert_eq!(plain, Connection::new("a:9092", "test").unwrap());
        assert!(plain != one && one != two);
    }

    #[test]
    fn what_cannot_be_used_is_named_by_field_and_origin_and_not_shown() {
        let certificates = Certificates::generate("prod-ca").unwrap();
        let (ca, client) = (("ca.crt", certificates.authority.as_str()), &certificates.client);
        let other = Certificates::generate("other-ca").unwrap();
        let certificate = ("user.crt", client.certificate.as_str());
        let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n";
        for (policy, values, said) in [
            (
                scram(),
                vec![("ca.crt", "hunter2"), ("password", "x")],
                "spec.kafka.tls.trustedCertificates: Secret kafka/ca, key ca.crt: there is no certificate in PEM in it",
            ),
            (
                scram(),
                vec![
                    ("ca.crt", "-----BEGIN CERTIFICATE-----\nhunter2==\n-----END CERTIFICATE-----\n"),
                    ("password", "x"),
                ],
                "spec.kafka.tls.trustedCertificates: Secret kafka/ca, key ca.crt: ",
            ),
            (
                scram(),
                vec![("ca.crt", client.certificate.as_str()), ("password", "x")],
                "spec.kafka.tls.trustedCertificates: Secret kafka/ca, key ca.crt: CN=doctor is no root: it was issued by \
                 CN=prod-ca, whose certificate has to be among the trusted, too",
            ),
            (
                scram(),
                vec![ca, ("password", "hunter2\0")],
                "spec.kafka.authentication.scramSha512.passwordSecret: password: it contains a NUL character",
            ),
            (
                mutual(),
                vec![ca, certificate, ("user.key", "hunter2")],
                "spec.kafka.authentication.tls.certificateAndKey: Secret kafka/doctor, key user.key: there is no \
                 private key in PEM in it",
            ),
            (
                bearer(),
                vec![("access-token", "hunter2 hunter2")],
                "spec.kafka.authentication.oauthbearer.accessToken: Secret kafka/sso, key access-token: it is no bearer \
                 token",
            ),
            (mutual(), vec![ca, certificate, ("user.key", encrypted)], "store it without a passphrase"),
            (
                mutual(),
                vec![ca, certificate, ("user.key", other.client.key.as_str())],
                "the private key is not that of the certificate",
            ),
        ] {
            let error = secured(policy, &values).unwrap_err();
            let shown = format!("{error} {error:?}");
            assert!(shown.contains(said), "{shown}\n  instead of\n{said}");
            assert!(!shown.contains("hunter2") && !shown.contains("-----BEGIN"), "{shown}");
        }
    }
}
