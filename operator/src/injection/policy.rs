//! What injection needs to know of policies, and which one a pod belongs to.

use super::{
    names::POLICY,
    refusal::{NotInjected, Outcome},
};
use doctorkafka_api::{Kafka, KafkaHealthPolicySpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::{
    api::DynamicObject,
    core::{Selector, SelectorExt},
};
use std::collections::BTreeMap;

/// A policy, as far as a sidecar depends on it.
#[derive(Debug, Clone, PartialEq)]
pub struct PolicyFacts {
    /// Its name.
    pub name: String,
    /// Which pods are its brokers; `None` when it does not say.
    pub selector: Option<LabelSelector>,
    /// Where reports go, or why the policy cannot be read.
    pub target: Result<Target, String>,
}

/// Where a sidecar's reports go.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// The cluster, and how to connect.
    pub kafka: Kafka,
    /// The topic.
    pub topic: String,
}

impl PolicyFacts {
    /// Reads an object; `None` for one without a name, or on its way out.
    pub fn read(object: &DynamicObject) -> Option<Self> {
        if object.metadata.deletion_timestamp.is_some() {
            return None;
        }
        let name = object.metadata.name.clone()?;
        let spec = object.data.get("spec").unwrap_or(&serde_json::Value::Null);
        let spec: Result<KafkaHealthPolicySpec, _> = serde_path_to_error::deserialize(spec);
        Some(match spec {
            Ok(spec) => Self {
                name,
                selector: spec.brokers.pod_selector,
                target: Ok(Target { kafka: spec.kafka, topic: spec.topics.metrics }),
            },
            Err(error) => Self {
                name,
                selector: None,
                target: Err(format!("spec.{}: {}", error.path(), error.inner())),
            },
        })
    }
}

/// The policy that a pod with these labels and annotations belongs to, among those of its namespace.
///
/// The one that the pod names; else the only one that selects it; else, when none selects it, the only one that has no
/// selector. Several that say the same of Kafka are as good as one.
///
/// # Errors
/// None, or several that differ.
pub fn choose<'a>(
    policies: &'a [PolicyFacts],
    namespace: &str,
    labels: &BTreeMap<String, String>,
    annotations: &BTreeMap<String, String>,
) -> Result<&'a PolicyFacts, NotInjected> {
    if let Some(name) = annotations.get(POLICY) {
        return policies.iter().find(|policy| policy.name == *name).ok_or_else(|| {
            let message =
                format!("annotation {POLICY} names KafkaHealthPolicy {name}, which is not in {namespace}");
            NotInjected::surprising(Outcome::NoPolicy, message)
        });
    }
    let selecting: Vec<_> = policies.iter().filter(|policy| selects(policy, labels)).collect();
    let candidates = if selecting.is_empty() {
        policies.iter().filter(|policy| policy.selector.is_none()).collect()
    } else {
        selecting
    };
    match candidates.as_slice() {
        [] => Err(NotInjected::surprising(
            Outcome::NoPolicy,
            format!(
                "no KafkaHealthPolicy in {namespace} selects this pod (spec.brokers.podSelector); apply one, then restart it"
            ),
        )),
        [first, others @ ..] if others.iter().all(|other| same_target(first, other)) => Ok(first),
        several => {
            let names: Vec<_> = several.iter().take(3).map(|policy| policy.name.as_str()).collect();
            let message = format!(
                "several policies select this pod ({}); name one by annotation {POLICY}",
                names.join(", ")
            );
            Err(NotInjected::surprising(Outcome::SeveralPolicies, message))
        }
    }
}

fn same_target(one: &PolicyFacts, other: &PolicyFacts) -> bool {
    matches!((&one.target, &other.target), (Ok(one), Ok(other)) if one == other)
}

/// Whether its selector fits. One that cannot be read selects nothing.
fn selects(policy: &PolicyFacts, labels: &BTreeMap<String, String>) -> bool {
    let selector = policy.selector.clone().and_then(|selector| Selector::try_from(selector).ok());
    selector.is_some_and(|selector| selector.matches(labels))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use serde_json::{Value, json};

    pub(crate) fn policy(name: &str, spec: Value) -> PolicyFacts {
        let resource = kube::api::ApiResource::erase::<doctorkafka_api::KafkaHealthPolicy>(&());
        let mut object = DynamicObject::new(name, &resource).within("kafka");
        object.data = json!({ "spec": spec });
        PolicyFacts::read(&object).unwrap()
    }

    fn selecting(name: &str, servers: &str, cluster: &str) -> PolicyFacts {
        let selector = json!({"matchLabels": {"strimzi.io/cluster": cluster}});
        policy(name, json!({"kafka": {"bootstrapServers": servers}, "brokers": {"podSelector": selector}}))
    }

    fn chosen(policies: &[PolicyFacts], annotation: Option<&str>) -> Result<String, Outcome> {
        let labels = [("strimzi.io/cluster".to_owned(), "prod".to_owned())].into();
        let annotations = annotation.map(|name| (POLICY.to_owned(), name.to_owned())).into_iter().collect();
        let choice = choose(policies, "kafka", &labels, &annotations);
        choice.map(|policy| policy.name.clone()).map_err(|refusal| refusal.outcome)
    }

    #[test]
    fn the_policy_that_selects_the_pod_is_taken() {
        let open = policy("open", json!({"kafka": {"bootstrapServers": "c:9092"}}));
        let all = [selecting("prod", "a:9092", "prod"), selecting("test", "b:9092", "test"), open.clone()];
        assert_eq!(chosen(&all, None), Ok("prod".into()));
        assert_eq!(chosen(&all, Some("test")), Ok("test".into()));
        assert_eq!(chosen(&all, Some("gone")), Err(Outcome::NoPolicy));
        assert_eq!(chosen(&all[1..], None), Ok("open".into()), "the only one without a selector");
        assert_eq!(chosen(&all[1..2], None), Err(Outcome::NoPolicy));
        assert_eq!(chosen(&[], None), Err(Outcome::NoPolicy));
    }

    #[test]
    fn several_policies_must_agree() {
        let one = selecting("one", "a:9092", "prod");
        let same = selecting("same", "a:9092", "prod");
        let other = selecting("other", "b:9092", "prod");
        assert_eq!(chosen(&[one.clone(), same], None), Ok("one".into()));
        assert_eq!(chosen(&[one, other], None), Err(Outcome::SeveralPolicies));
    }

    #[test]
    fn a_policy_that_cannot_be_read_is_known_by_name_only() {
        let broken = policy("broken", json!({"kafka": {"bootstrapServers": 7}}));
        assert!(broken.target.as_ref().unwrap_err().starts_with("spec.kafka.bootstrapServers: "));
        assert_eq!(chosen(&[broken.clone(), broken], None), Err(Outcome::SeveralPolicies));
    }
}
