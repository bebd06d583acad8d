//! A policy file's content, checked.

use doctorkafka_api::{KafkaHealthPolicySpec, from_yaml, is_paused};
use doctorkafka_doctor::Policy;
use doctorkafka_kafka::Connection;

/// Name by which brokers know this client in their logs and quotas.
const CLIENT_ID: &str = "doctorkafka-operator";

/// A policy that can be, and the connection it asks for.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct PolicyFile {
    pub(super) connection: Connection,
    pub(super) policy: Policy,
}

impl PolicyFile {
    /// Checks a file's content. `bootstrap` stands in for the file's own bootstrap servers.
    ///
    /// # Errors
    /// What cannot be, one entry for each field, with its path and where known its line.
    pub(super) fn check(text: &str, bootstrap: Option<&str>) -> Result<Self, Vec<String>> {
        let resource = from_yaml(text)
            .map_err(|error| error.problems.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        let mut spec = resource.spec;
        let mut errors = plain_only(&spec);
        if let Some(servers) = bootstrap {
            spec.kafka.bootstrap_servers = servers.to_owned();
        }
        let connection = Connection::new(&spec.kafka.bootstrap_servers, CLIENT_ID);
        if let Err(error) = &connection {
            let given_by = if bootstrap.is_some() {
                "--bootstrap (KAFKA_BROKERS)"
            } else {
                "spec.kafka.bootstrapServers"
            };
            return Err(vec![format!("{given_by}: {error}")]);
        }
        let paused = is_paused(resource.metadata.annotations.as_ref());
        // A policy without a name has not come this far.
        let policy = Policy::new(&resource.metadata.name.unwrap_or_default(), &spec);
        if let Err(violations) = &policy {
            errors.extend(violations.iter().map(ToString::to_string));
        }
        match (connection, policy) {
            (Ok(connection), Ok(policy)) if errors.is_empty() => {
                Ok(Self { connection, policy: if paused { policy.paused() } else { policy } })
            }
            _ => Err(errors),
        }
    }
}

/// This release speaks plain connections only. It refuses rather than connect without what was asked for.
fn plain_only(spec: &KafkaHealthPolicySpec) -> Vec<String> {
    let mut errors = Vec::new();
    if spec.kafka.tls.is_some() {
        errors.push(
            "spec.kafka.tls: this release connects without TLS only, and does not do so when TLS is asked for; \
             name a plain listener and remove the field"
                .to_owned(),
        );
    }
    if spec.kafka.authentication.is_some() {
        errors.push(
            "spec.kafka.authentication: this release connects without authentication only; name a listener that \
             needs none and remove the field"
                .to_owned(),
        );
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    fn yaml(spec: &str) -> String {
        format!(
            "apiVersion: doctorkafka.dev/v1alpha1\nkind: KafkaHealthPolicy\nmetadata:\n  name: demo\nspec:\n{spec}"
        )
    }

    #[test]
    fn a_good_file_gives_connection_topics_and_policy() {
        let text = yaml("  kafka: {bootstrapServers: 'a:1,b:2'}\n  topics: {metrics: m, actionsLog: l}\n");
        let file = PolicyFile::check(&text, None).unwrap();
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
        let file = PolicyFile::check(&text, Some("c:3")).unwrap();
        assert_eq!(file.connection.bootstrap(), ["c:3"]);
        let errors = PolicyFile::check(&text, Some("nonsense")).unwrap_err();
        assert!(errors[0].starts_with("--bootstrap (KAFKA_BROKERS)"), "{errors:?}");
    }

    #[test]
    fn connections_that_this_release_does_not_speak_are_refused() {
        let text = yaml(concat!(
            "  kafka:\n    bootstrapServers: 'a:1'\n    tls: {trustedCertificates: []}\n",
            "    authentication: {plain: {username: u, passwordSecret: {secretName: s, password: p}}}\n",
        ));
        let errors = PolicyFile::check(&text, None).unwrap_err();
        assert_eq!(errors.len(), 2, "{errors:?}");
        assert!(errors[0].starts_with("spec.kafka.tls: "), "{errors:?}");
        assert!(errors[1].starts_with("spec.kafka.authentication: "), "{errors:?}");
    }

    #[test]
    fn every_field_that_cannot_be_is_named() {
        let text = yaml(concat!(
            "  kafka: {bootstrapServers: 'a:1'}\n  topics: {metrics: same, actionsLog: same}\n",
            "  detection: {cpu: {overloadedAbove: 80, recoveredBelow: 85}}\n",
        ));
        let errors = PolicyFile::check(&text, None).unwrap_err();
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
            (PolicyFile::check(&text, None).unwrap(), PolicyFile::check(&paused, None).unwrap());
        assert_eq!(paused.policy, file.policy.clone().paused());
        assert_ne!(paused, file);
    }

    #[test]
    fn text_that_is_no_policy_is_refused() {
        for text in ["", "{", "kind: Pod", "spec: 3", "\u{0}"] {
            assert!(PolicyFile::check(text, None).is_err(), "{text:?}");
        }
    }
}
