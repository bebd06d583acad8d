//! A policy file's content, checked.

use doctorkafka_api::{KafkaHealthPolicySpec, from_yaml};
use doctorkafka_doctor::Policy;
use doctorkafka_kafka::Connection;

/// Name by which brokers know this client in their logs and quotas.
const CLIENT_ID: &str = "doctorkafka-operator";

/// A policy that can be, and what an engine needs besides it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct PolicyFile {
    pub(super) connection: Connection,
    pub(super) metrics_topic: String,
    pub(super) actions_log_topic: String,
    pub(super) policy: Policy,
}

impl PolicyFile {
    /// Checks a file's content. `bootstrap` stands in for the file's own bootstrap servers.
    ///
    /// Errors: every field that cannot be, each as `field: what is wrong`.
    pub(super) fn check(text: &str, bootstrap: Option<&str>) -> Result<Self, Vec<String>> {
        let resource = from_yaml(text).map_err(|error| vec![error.to_string()])?;
        let mut spec = resource.spec;
        let mut errors = plain_only(&spec);
        let connection = match bootstrap {
            Some(servers) => Connection::new(servers, CLIENT_ID)
                .map_err(|error| format!("--bootstrap (KAFKA_BROKERS): {error}")),
            None => Connection::new(&spec.kafka.bootstrap_servers, CLIENT_ID)
                .map_err(|error| format!("spec.kafka.bootstrapServers: {error}")),
        };
        if let (Some(servers), Ok(_)) = (bootstrap, &connection) {
            spec.kafka.bootstrap_servers = servers.to_owned();
        }
        let Some(name) = resource.metadata.name.filter(|name| !name.is_empty()) else {
            errors.push("metadata.name: must be set, it names the policy in the actions log".to_owned());
            return Err(errors);
        };
        let policy = Policy::new(&name, &spec);
        if let Err(wrong) = &policy {
            errors.extend(wrong.iter().map(ToString::to_string));
        }
        if let Err(error) = &connection
            && !errors.iter().any(|said| said.starts_with("spec.kafka.bootstrapServers"))
        {
            errors.push(error.clone());
        }
        match (policy, connection) {
            (Ok(policy), Ok(connection)) if errors.is_empty() => Ok(Self {
                connection,
                metrics_topic: spec.topics.metrics,
                actions_log_topic: spec.topics.actions_log,
                policy,
            }),
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
        assert_eq!((file.metrics_topic.as_str(), file.actions_log_topic.as_str()), ("m", "l"));
        assert_eq!(file.policy.name, "demo");
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
    fn what_cannot_be_is_named_field_by_field() {
        let text = yaml(concat!(
            "  kafka:\n    bootstrapServers: 'a:1'\n    tls: {trustedCertificates: []}\n",
            "    authentication: {plain: {username: u, passwordSecret: {secretName: s, password: p}}}\n",
            "  detection: {cpu: {overloadedAbove: 80, recoveredBelow: 85}}\n",
        ));
        let errors = PolicyFile::check(&text, None).unwrap_err();
        for field in ["spec.kafka.tls", "spec.kafka.authentication", "spec.detection.cpu.recoveredBelow"] {
            assert!(errors.iter().any(|error| error.starts_with(field)), "{field} is not in {errors:?}");
        }
    }

    #[test]
    fn text_that_is_no_policy_is_refused() {
        for text in ["", "{", "kind: Pod", "spec: 3", "\u{0}"] {
            assert!(PolicyFile::check(text, None).is_err(), "{text:?}");
        }
    }
}
