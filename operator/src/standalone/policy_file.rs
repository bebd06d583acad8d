//! A policy file's content, checked.

use super::secrets_dir;
use crate::credentials;
use doctorkafka_api::{Kafka, from_yaml, is_paused};
use doctorkafka_doctor::Policy;
use doctorkafka_kafka::Connection;
use std::path::Path;

/// Name by which brokers know this client in their logs and quotas.
const CLIENT_ID: &str = "doctorkafka-operator";

/// A policy that can be, and the connection it asks for.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct PolicyFile {
    pub(super) connection: Connection,
    pub(super) policy: Policy,
}

impl PolicyFile {
    /// Checks a file's content. `bootstrap` stands in for the file's own bootstrap servers; the Secrets that the policy
    /// names are read from `secrets`.
    ///
    /// # Errors
    /// What cannot be, one entry for each field, with its path and where known its line.
    pub(super) fn check(
        text: &str,
        bootstrap: Option<&str>,
        secrets: Option<&Path>,
    ) -> Result<Self, Vec<String>> {
        let resource = from_yaml(text)
            .map_err(|error| error.problems.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        let mut spec = resource.spec;
        if let Some(servers) = bootstrap {
            spec.kafka.bootstrap_servers = servers.to_owned();
        }
        let connection = Connection::new(&spec.kafka.bootstrap_servers, CLIENT_ID).map_err(|error| {
            let given_by = if bootstrap.is_some() {
                "--bootstrap (KAFKA_BROKERS)"
            } else {
                "spec.kafka.bootstrapServers"
            };
            vec![format!("{given_by}: {error}")]
        })?;
        let paused = is_paused(resource.metadata.annotations.as_ref());
        // A policy without a name has not come this far.
        let policy = Policy::new(&resource.metadata.name.unwrap_or_default(), &spec)
            .map_err(|violations| violations.iter().map(ToString::to_string).collect::<Vec<_>>());
        match (secured(connection, &spec.kafka, secrets), policy) {
            (Ok(connection), Ok(policy)) => {
                Ok(Self { connection, policy: if paused { policy.paused() } else { policy } })
            }
            (connection, policy) => {
                Err([connection.err(), policy.err()].into_iter().flatten().flatten().collect())
            }
        }
    }
}

/// The connection as the policy wants it, or every reason why not.
fn secured(connection: Connection, kafka: &Kafka, secrets: Option<&Path>) -> Result<Connection, Vec<String>> {
    let one = |error: credentials::CredentialError| vec![error.to_string()];
    let references = credentials::references(kafka);
    let values = secrets_dir::read(secrets, &references)?;
    credentials::secure(connection, kafka, &values).map_err(one)
}

#[cfg(test)]
mod tests {
    use super::*;
    use doctorkafka_testbed::Certificates;

    fn yaml(spec: &str) -> String {
        format!(
            "apiVersion: doctorkafka.dev/v1alpha1\nkind: KafkaHealthPolicy\nmetadata:\n  name: demo\nspec:\n{spec}"
        )
    }

    #[test]
    fn a_good_file_gives_connection_topics_and_policy() {
        let text = yaml("  kafka: {bootstrapServers: 'a:1,b:2'}\n  topics: {metrics: m, actionsLog: l}\n");
        let file = PolicyFile::check(&text, None, None).unwrap();
        assert_eq!(file.connection.bootstrap(), ["a:1", "b:2"]);
        assert_eq!(file.policy.name, "demo");
        assert_eq!(
            (file.policy.topics.metrics.as_str(), file.policy.topics.actions_log.as_str()),
            ("m", "l")
        );
    }

    #[test]
    fn bootstrap_stands_in_for_the_files() {
        let text = yaml("  kafka: {bootstrapServers: 'a:1'}\n");
        let file = PolicyFile::check(&text, Some("c:3"), None).unwrap();
        assert_eq!(file.connection.bootstrap(), ["c:3"]);
        let errors = PolicyFile::check(&text, Some("nonsense"), None).unwrap_err();
        assert!(errors[0].starts_with("--bootstrap (KAFKA_BROKERS)"), "{errors:?}");
    }

    #[test]
    fn secrets_come_from_their_directory() {
        let certificates = Certificates::generate("prod-ca").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let put = |secret: &str, key: &str, value: &str| {
            let secret = folder.path().join(secret);
            std::fs::create_dir_all(&secret).unwrap();
            std::fs::write(secret.join(key), value).unwrap();
        };
        let text = yaml(concat!(
            "  kafka:\n    bootstrapServers: 'a:1'\n",
            "    tls: {trustedCertificates: [{secretName: prod-ca, certificate: ca.crt}]}\n",
            "    authentication: {plain: {username: u, passwordSecret: {secretName: s, password: p}}}\n",
        ));
        let check = || PolicyFile::check(&text, None, Some(folder.path()));
        put("prod-ca", "ca.crt", &certificates.authority);
        let errors = check().unwrap_err();
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(
            errors[0].starts_with("spec.kafka.authentication.plain.passwordSecret: cannot read "),
            "{errors:?}"
        );
        put("s", "p", "hunter2\n");
        let first = check().unwrap();
        assert!(!format!("{first:?}").contains("hunter2"));
        assert_eq!(first, check().unwrap());
        put("s", "p", "hunter3\n");
        assert_ne!(first, check().unwrap());
        put("prod-ca", "ca.crt", "hunter4");
        let errors = check().unwrap_err();
        let expected = format!(
            "spec.kafka.tls.trustedCertificates: {}/prod-ca/ca.crt: there is no certificate in PEM in it",
            folder.path().display()
        );
        assert_eq!(errors, [expected]);
        let errors = PolicyFile::check(&text, None, None).unwrap_err();
        assert_eq!(errors.len(), 2, "{errors:?}");
        assert!(errors.iter().all(|error| error.contains("--secrets-dir")), "{errors:?}");
    }

    #[test]
    fn every_field_that_cannot_be_is_named() {
        let text = yaml(concat!(
            "  kafka: {bootstrapServers: 'a:1'}\n  topics: {metrics: same, actionsLog: same}\n",
            "  detection: {cpu: {overloadedAbove: 80, recoveredBelow: 85}}\n",
        ));
        let errors = PolicyFile::check(&text, None, None).unwrap_err();
        for field in ["spec.topics.actionsLog: ", "spec.detection.cpu.recoveredBelow: "] {
            assert!(errors.iter().any(|error| error.contains(field)), "{field} is not in {errors:?}");
        }
    }

    #[test]
    fn the_annotation_pauses() {
        let text = yaml("  kafka: {bootstrapServers: 'a:1'}\n");
        let paused =
            text.replace("name: demo", "name: demo\n  annotations: {doctorkafka.dev/paused: 'True'}");
        let (file, paused) =
            (PolicyFile::check(&text, None, None).unwrap(), PolicyFile::check(&paused, None, None).unwrap());
        assert_eq!(paused.policy, file.policy.clone().paused());
        assert_ne!(paused, file);
    }

    #[test]
    fn text_that_is_no_policy_is_refused() {
        for text in ["", "{", "kind: Pod", "spec: 3", "\u{0}"] {
            assert!(PolicyFile::check(text, None, None).is_err(), "{text:?}");
        }
    }
}
