//! What matters of the resources that look after brokers' pods or data. Pure.

use doctorkafka_diagnosis::{ClaimPhase, Workload};
use k8s_openapi::api::{
    apps::v1::{StatefulSet, StatefulSetSpec, StatefulSetStatus},
    core::v1::PersistentVolumeClaim,
};
use kube::{ResourceExt, api::DynamicObject};
use serde_json::Value;

/// Koperator's word for a cluster in a rolling upgrade (`KafkaClusterRollingUpgrading`).
const KOPERATOR_ROLLS: &str = "ClusterRollingUpgrading";

/// States of a KafkaRebalance in which it moves nothing yet, and will as soon as its proposal is there and approved.
const BEFORE_APPROVAL: [&str; 3] = ["New", "PendingProposal", "ProposalReady"];

/// A workload, and whose it is.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SeenWorkload {
    /// What diagnosis gets.
    pub workload: Workload,
    /// Name of Strimzi's Kafka that it belongs to, by its label.
    pub strimzi: Option<String>,
}

/// What matters of a StatefulSet.
pub(super) fn stateful_set(set: &StatefulSet) -> Option<SeenWorkload> {
    let StatefulSetSpec { replicas, update_strategy, .. } = set.spec.clone();
    let StatefulSetStatus {
        observed_generation, current_revision, update_revision, updated_replicas, ..
    } = set.status.clone().unwrap_or_default();
    let strategy = update_strategy.unwrap_or_default();
    let partition = strategy.rolling_update.and_then(|rolling| rolling.partition).unwrap_or_default();
    let workload = Workload::StatefulSet {
        name: set.name_any(),
        unobserved: observed_generation < set.metadata.generation,
        to_update: replicas.unwrap_or(1).saturating_sub(partition).max(0),
        updated: updated_replicas.unwrap_or_default(),
        revisions_differ: current_revision != update_revision,
        rolls: strategy.type_.is_none_or(|kind| kind == "RollingUpdate"),
    };
    Some(SeenWorkload { workload, strimzi: None })
}

/// What matters of a StrimziPodSet (`StrimziPodSetStatus`).
pub(super) fn strimzi_pod_set(set: &DynamicObject) -> Option<SeenWorkload> {
    let status = &set.data["status"];
    let pods = status["pods"].as_i64().unwrap_or_default();
    let workload = Workload::StrimziPodSet {
        name: set.name_any(),
        pods,
        current: status["currentPods"].as_i64().unwrap_or(pods),
        restart_asked: is_true(set, "strimzi.io/manual-rolling-update"),
    };
    // Kafka Connect and others have sets of their own in the same namespace.
    let of_kafka = set.labels().get("strimzi.io/kind").is_some_and(|kind| kind == "Kafka");
    of_kafka.then(|| SeenWorkload { workload, strimzi: cluster(set) })
}

/// What matters of Strimzi's Kafka.
pub(super) fn kafka(kafka: &DynamicObject) -> Option<SeenWorkload> {
    let status = &kafka.data["status"];
    let paused = is_true(kafka, "strimzi.io/pause-reconciliation")
        || conditions(status)
            .any(|condition| condition["type"] == "ReconciliationPaused" && condition["status"] == "True");
    let state = status["autoRebalance"]["state"].as_str().filter(|state| *state != "Idle");
    let workload = Workload::Kafka {
        name: kafka.name_any(),
        paused,
        unobserved: status["observedGeneration"].as_i64() < kafka.metadata.generation,
        cruise_control: !kafka.data["spec"]["cruiseControl"].is_null(),
        auto_rebalance: state.map(str::to_owned),
    };
    Some(SeenWorkload { workload, strimzi: Some(kafka.name_any()) })
}

/// What matters of a KafkaRebalance; `None` when it moves nothing and will not by itself. Its state is the type of its one
/// condition (`KafkaRebalanceState`).
pub(super) fn kafka_rebalance(rebalance: &DynamicObject) -> Option<SeenWorkload> {
    let state = conditions(&rebalance.data["status"])
        .filter(|condition| condition["status"] == "True")
        .find_map(|condition| condition["type"].as_str())
        .unwrap_or("New");
    let annotation = |name: &str| rebalance.annotations().get(name).map(String::as_str);
    let approved = is_true(rebalance, "strimzi.io/rebalance-auto-approval")
        || annotation("strimzi.io/rebalance") == Some("approve");
    let moves = state == "Rebalancing" || (approved && BEFORE_APPROVAL.contains(&state));
    let template = is_true(rebalance, "strimzi.io/rebalance-template");
    (moves && !template).then(|| SeenWorkload {
        workload: Workload::KafkaRebalance { name: rebalance.name_any(), state: state.to_owned() },
        strimzi: cluster(rebalance),
    })
}

/// What matters of Koperator's KafkaCluster; `None` when it is not in a rolling upgrade.
pub(super) fn kafka_cluster(cluster: &DynamicObject) -> Option<SeenWorkload> {
    (cluster.data["status"]["state"] == KOPERATOR_ROLLS).then(|| SeenWorkload {
        workload: Workload::KafkaClusterRolling { name: cluster.name_any() },
        strimzi: None,
    })
}

/// What matters of a volume claim.
pub(super) fn claim(claim: &PersistentVolumeClaim) -> Option<ClaimPhase> {
    Some(match claim.status.as_ref().and_then(|status| status.phase.as_deref()) {
        Some("Bound") => ClaimPhase::Bound,
        Some("Lost") => ClaimPhase::Lost,
        _ => ClaimPhase::Pending,
    })
}

fn conditions(status: &Value) -> impl Iterator<Item = &Value> {
    status["conditions"].as_array().into_iter().flatten()
}

fn cluster(object: &DynamicObject) -> Option<String> {
    object.labels().get("strimzi.io/cluster").cloned()
}

fn is_true(object: &DynamicObject, annotation: &str) -> bool {
    object.annotations().get(annotation).is_some_and(|value| value == "true")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(metadata: Value, rest: Value) -> DynamicObject {
        let mut all = rest;
        all["metadata"] = metadata;
        all["metadata"]["name"] = json!("prod");
        serde_json::from_value(all).unwrap()
    }

    #[test]
    fn a_stateful_set_s_roll_is_read_with_its_partition_and_strategy() {
        let set = |strategy: Value, status: Value| {
            let set = json!({"metadata": {"name": "prod", "generation": 2}, "status": status,
                "spec": {"replicas": 5, "selector": {}, "template": {}, "updateStrategy": strategy}});
            stateful_set(&serde_json::from_value(set).unwrap()).unwrap().workload
        };
        let rolling = json!({"observedGeneration": 2, "replicas": 5, "currentRevision": "a", "updateRevision": "b",
            "updatedReplicas": 1});
        let expected = |unobserved, to_update, rolls| Workload::StatefulSet {
            name: "prod".into(),
            unobserved,
            to_update,
            updated: 1,
            revisions_differ: true,
            rolls,
        };
        assert_eq!(set(json!({}), rolling.clone()), expected(false, 5, true));
        let part = json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 3}});
        assert_eq!(set(part, rolling.clone()), expected(false, 2, true));
        assert_eq!(set(json!({"type": "OnDelete"}), rolling.clone()), expected(false, 5, false));
        let mut before = rolling;
        before["observedGeneration"] = json!(1);
        assert_eq!(set(json!({}), before), expected(true, 5, true));
    }

    #[test]
    fn a_pod_set_of_kafka_is_read_and_of_no_other_kind() {
        let labels = |kind: &str| json!({"labels": {"strimzi.io/kind": kind, "strimzi.io/cluster": "prod"}});
        let status = json!({"status": {"pods": 3, "readyPods": 2, "currentPods": 1}});
        let seen = strimzi_pod_set(&object(labels("Kafka"), status.clone())).unwrap();
        let expected =
            Workload::StrimziPodSet { name: "prod".into(), pods: 3, current: 1, restart_asked: false };
        assert_eq!((seen.workload, seen.strimzi.as_deref()), (expected, Some("prod")));
        assert_eq!(strimzi_pod_set(&object(labels("KafkaConnect"), status)), None);
        let mut asked = labels("Kafka");
        asked["annotations"] = json!({"strimzi.io/manual-rolling-update": "true"});
        let asked = strimzi_pod_set(&object(asked, json!({}))).unwrap().workload;
        assert!(matches!(asked, Workload::StrimziPodSet { restart_asked: true, pods: 0, current: 0, .. }));
    }

    #[test]
    fn strimzi_s_kafka_is_read() {
        let read = |metadata: Value, rest: Value| {
            let Workload::Kafka { paused, unobserved, cruise_control, auto_rebalance, .. } =
                kafka(&object(metadata, rest)).unwrap().workload
            else {
                panic!("not a Kafka")
            };
            (paused, unobserved, cruise_control, auto_rebalance)
        };
        let generation = || json!({"generation": 4});
        let quiet =
            json!({"spec": {}, "status": {"observedGeneration": 4, "autoRebalance": {"state": "Idle"}}});
        assert_eq!(read(generation(), quiet), (false, false, false, None));
        let busy = json!({"spec": {"cruiseControl": {}},
            "status": {"observedGeneration": 3, "autoRebalance": {"state": "RebalanceOnScaleUp"}}});
        assert_eq!(read(generation(), busy), (false, true, true, Some("RebalanceOnScaleUp".into())));
        let told = json!({"status": {"observedGeneration": 4,
            "conditions": [{"type": "ReconciliationPaused", "status": "True"}]}});
        assert!(read(generation(), told).0);
        let asked = json!({"annotations": {"strimzi.io/pause-reconciliation": "true"}});
        assert!(read(asked, json!({})).0);
    }

    #[test]
    fn a_rebalance_counts_when_it_moves_or_will_by_itself() {
        let counts = |annotations: Value, state: &str| {
            let metadata = json!({"annotations": annotations, "labels": {"strimzi.io/cluster": "prod"}});
            let status = json!({"status": {"conditions": [{"type": state, "status": "True"}]}});
            kafka_rebalance(&object(metadata, status)).is_some()
        };
        assert!(counts(json!({}), "Rebalancing"));
        for state in ["New", "PendingProposal", "ProposalReady", "Ready", "Stopped", "NotReady"] {
            assert!(!counts(json!({}), state), "{state}");
        }
        let auto = json!({"strimzi.io/rebalance-auto-approval": "true"});
        let approved = json!({"strimzi.io/rebalance": "approve"});
        for state in BEFORE_APPROVAL {
            assert!(counts(auto.clone(), state) && counts(approved.clone(), state), "{state}");
        }
        assert!(!counts(auto.clone(), "Ready"));
        let mut template = auto;
        template["strimzi.io/rebalance-template"] = json!("true");
        assert!(!counts(template, "New"));
    }

    #[test]
    fn koperator_s_cluster_counts_while_it_is_rolled() {
        let rolls =
            |state: &str| kafka_cluster(&object(json!({}), json!({"status": {"state": state}}))).is_some();
        assert!(rolls("ClusterRollingUpgrading"));
        assert!(!rolls("ClusterRunning"));
    }
}
