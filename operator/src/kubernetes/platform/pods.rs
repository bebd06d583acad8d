//! What matters of a pod. Pure.

use doctorkafka_diagnosis::{Ending, PodFacts, PodPhase, Waiting};
use doctorkafka_wire::BrokerId;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodCondition, PodStatus};
use std::collections::BTreeMap;

/// Name of the broker's container with Strimzi, Koperator and Bitnami.
const CONTAINER: &str = "kafka";

/// Most addresses and claims of one pod that are looked at.
const MOST: usize = 32;

/// A pod with what looks after it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SeenPod {
    /// What diagnosis gets.
    pub facts: PodFacts,
    /// Kind and name of the resource that owns it.
    pub owner: Option<(String, String)>,
    /// Name of Strimzi's Kafka, when it is one of its pods.
    pub strimzi: Option<String>,
    /// Name of Koperator's KafkaCluster, when it is one of its pods.
    pub koperator: Option<String>,
}

/// What matters of a pod.
pub(super) fn read(pod: &Pod) -> Option<SeenPod> {
    let name = pod.metadata.name.clone()?;
    let nothing = BTreeMap::new();
    let labels = pod.metadata.labels.as_ref().unwrap_or(&nothing);
    let annotations = pod.metadata.annotations.as_ref().unwrap_or(&nothing);
    let spec = pod.spec.as_ref()?;
    let status = pod.status.clone().unwrap_or_default();
    let container = spec.containers.iter().find(|container| container.name == CONTAINER);
    let container = container.or(spec.containers.first()).map(|container| container.name.as_str());
    let broker =
        status.container_statuses.iter().flatten().find(|status| Some(status.name.as_str()) == container);
    // Pods in the node's network share its addresses.
    let ips = if spec.host_network == Some(true) { Vec::new() } else { ips(&status) };
    let claims =
        spec.volumes.iter().flatten().filter_map(|volume| {
            volume.persistent_volume_claim.as_ref().map(|claim| claim.claim_name.clone())
        });
    let owner = pod.metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true));
    let facts = PodFacts {
        uid: pod.metadata.uid.clone().unwrap_or_default(),
        hostname: spec.hostname.clone().unwrap_or_else(|| name.clone()),
        ips,
        broker: broker_id(&name, labels),
        phase: phase(&status),
        ready: condition(&status, "Ready").is_some_and(|ready| ready.status == "True"),
        node: spec.node_name.clone(),
        claims: claims.take(MOST).collect(),
        deleting: pod.metadata.deletion_timestamp.as_ref().map(|time| time.0),
        evicted: evicted(&status),
        unschedulable: unschedulable(&status),
        restart_asked: annotations.get("strimzi.io/manual-rolling-update").is_some_and(|it| it == "true"),
        restarts: broker.map_or(0, |status| status.restart_count),
        waiting: waiting(broker, &status),
        ended: broker.and_then(ended),
        name,
    };
    let label = |name: &str| labels.get(name).cloned();
    Some(SeenPod {
        facts,
        owner: owner.map(|owner| (owner.kind.clone(), owner.name.clone())),
        strimzi: label("strimzi.io/cluster"),
        koperator: label("kafka_cr"),
    })
}

/// The broker's id, where an operator has put it into the pod's labels or name.
fn broker_id(name: &str, labels: &BTreeMap<String, String>) -> Option<BrokerId> {
    let is_strimzis =
        labels.contains_key("strimzi.io/cluster") && labels.contains_key("strimzi.io/pool-name");
    let id = if labels.contains_key("kafka_cr") {
        labels.get("brokerId")?.as_str()
    } else if is_strimzis && labels.get("strimzi.io/broker-role").is_none_or(|role| role == "true") {
        // `<cluster>-<pool>-<node id>`.
        name.rsplit_once('-')?.1
    } else {
        return None;
    };
    id.parse().ok().filter(|id| *id >= 0).map(BrokerId)
}

fn ips(status: &PodStatus) -> Vec<String> {
    let all = status.pod_ips.iter().flatten().map(|ip| ip.ip.clone()).chain(status.pod_ip.clone());
    let mut all: Vec<_> = all.filter(|ip| !ip.is_empty()).take(MOST).collect();
    all.sort();
    all.dedup();
    all
}

fn phase(status: &PodStatus) -> PodPhase {
    match status.phase.as_deref() {
        Some("Pending") => PodPhase::Pending,
        Some("Running") => PodPhase::Running,
        Some("Succeeded") => PodPhase::Succeeded,
        Some("Failed") => PodPhase::Failed,
        _ => PodPhase::Unknown,
    }
}

fn condition<'a>(status: &'a PodStatus, kind: &str) -> Option<&'a PodCondition> {
    status.conditions.iter().flatten().find(|condition| condition.type_ == kind)
}

/// A pod that is evicted through the API has condition DisruptionTarget; one that its node threw out for want of memory,
/// disk or process ids ends with reason Evicted.
fn evicted(status: &PodStatus) -> Option<String> {
    let disrupted = condition(status, "DisruptionTarget").filter(|condition| condition.status == "True");
    let by_api = disrupted.map(|it| it.reason.clone().unwrap_or_else(|| "DisruptionTarget".to_owned()));
    by_api.or_else(|| {
        let by_node = status.reason.as_deref() == Some("Evicted");
        by_node.then(|| status.message.clone().unwrap_or_else(|| "Evicted".to_owned()))
    })
}

fn unschedulable(status: &PodStatus) -> Option<String> {
    let scheduled = condition(status, "PodScheduled")?;
    let refused = scheduled.status == "False" && scheduled.reason.as_deref() == Some("Unschedulable");
    refused.then(|| scheduled.message.clone().unwrap_or_else(|| "Unschedulable".to_owned()))
}

/// Why the broker's container does not run; where it waits for the pod's init containers, why these do not.
fn waiting(broker: Option<&ContainerStatus>, status: &PodStatus) -> Option<Waiting> {
    let waits = |status: &ContainerStatus| {
        let waiting = status.state.as_ref()?.waiting.as_ref()?;
        Some(Waiting {
            reason: waiting.reason.clone().unwrap_or_default(),
            message: waiting.message.clone().unwrap_or_default(),
        })
    };
    let for_others = |waiting: &Waiting| waiting.reason == "PodInitializing";
    let own = broker.and_then(waits)?;
    if !for_others(&own) {
        return Some(own);
    }
    let mut init = status.init_container_statuses.iter().flatten().filter_map(waits);
    init.find(|waiting| !for_others(waiting)).or(Some(own))
}

fn ended(status: &ContainerStatus) -> Option<Ending> {
    let now = status.state.as_ref().and_then(|state| state.terminated.as_ref());
    let last = status.last_state.as_ref().and_then(|state| state.terminated.as_ref());
    let ended = now.or(last)?;
    Some(Ending {
        reason: ended.reason.clone().unwrap_or_default(),
        exit_code: ended.exit_code,
        at: ended.finished_at.as_ref().map(|time| time.0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(metadata: Value, status: Value) -> SeenPod {
        let spec = json!({
            "containers": [{"name": "jmx-exporter"}, {"name": "kafka"}],
            "nodeName": "node-1",
            "volumes": [
                {"name": "data", "persistentVolumeClaim": {"claimName": "data-prod-broker-4"}},
                {"name": "tmp", "emptyDir": {}},
            ],
        });
        let pod: Pod =
            serde_json::from_value(json!({"metadata": metadata, "spec": spec, "status": status})).unwrap();
        read(&pod).unwrap()
    }

    fn container(state: Value, last: Value) -> Value {
        json!({"phase": "Running", "containerStatuses": [
            {"name": "jmx-exporter", "image": "", "imageID": "", "ready": true, "restartCount": 9},
            {"name": "kafka", "image": "", "imageID": "", "ready": false, "restartCount": 2,
             "state": state, "lastState": last},
        ]})
    }

    #[test]
    fn each_operator_s_pods_name_their_broker() {
        let id = |name: &str, labels: Value| {
            pod(json!({"name": name, "labels": labels}), json!({})).facts.broker.map(|id| id.0)
        };
        let strimzi = |role| json!({"strimzi.io/cluster": "prod", "strimzi.io/pool-name": "broker", "strimzi.io/broker-role": role});
        assert_eq!(id("prod-broker-4", strimzi("true")), Some(4));
        assert_eq!(id("prod-controller-4", strimzi("false")), None);
        assert_eq!(id("prod-cruise-control-5d", json!({"strimzi.io/cluster": "prod"})), None);
        assert_eq!(id("prod-101-x7f2k", json!({"kafka_cr": "prod", "brokerId": "101"})), Some(101));
        assert_eq!(id("prod-101-x7f2k", json!({"kafka_cr": "prod", "brokerId": "-1"})), None);
        assert_eq!(
            id("kafka-broker-2", json!({"app.kubernetes.io/name": "kafka"})),
            None,
            "ids may have an offset"
        );
    }

    #[test]
    fn owners_nodes_and_claims_are_read() {
        let owner = json!([
            {"apiVersion": "v1", "kind": "Other", "name": "x", "uid": "1"},
            {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "kafka", "uid": "2", "controller": true},
        ]);
        let status = json!({"phase": "Running", "podIP": "10.1.2.3", "podIPs": [{"ip": "10.1.2.3"}, {"ip": "fd00::1"}],
            "conditions": [{"type": "Ready", "status": "True"}]});
        let seen = pod(json!({"name": "kafka-0", "uid": "u", "ownerReferences": owner}), status);
        assert_eq!(seen.owner, Some(("StatefulSet".to_owned(), "kafka".to_owned())));
        let PodFacts { ips, claims, node, ready, phase, .. } = seen.facts;
        assert_eq!(ips, ["10.1.2.3", "fd00::1"]);
        assert_eq!((claims, node), (vec!["data-prod-broker-4".to_owned()], Some("node-1".to_owned())));
        assert_eq!((ready, phase), (true, PodPhase::Running));
    }

    #[test]
    fn ends_and_waits_of_the_broker_s_container_are_read_and_of_no_other() {
        let oom = json!({"terminated": {"reason": "OOMKilled", "exitCode": 137, "finishedAt": "2026-11-22T14:00:00Z"}});
        let back_off = json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s"}});
        let facts = pod(json!({"name": "a"}), container(back_off, oom.clone())).facts;
        let ended = facts.ended.unwrap();
        assert!(ended.is_out_of_memory() && ended.exit_code == 137 && ended.at.is_some());
        assert_eq!((facts.restarts, facts.waiting.unwrap().reason.as_str()), (2, "CrashLoopBackOff"));
        let now = pod(json!({"name": "a"}), container(oom, Value::Null)).facts;
        assert!(now.ended.unwrap().is_out_of_memory());
        let runs = pod(json!({"name": "a"}), container(json!({"running": {}}), Value::Null)).facts;
        assert_eq!((runs.ended, runs.waiting), (None, None));
    }

    #[test]
    fn a_container_that_waits_for_init_containers_waits_for_what_these_wait_for() {
        let mut status = container(json!({"waiting": {"reason": "PodInitializing"}}), Value::Null);
        let waiting =
            |status: &Value| pod(json!({"name": "a"}), status.clone()).facts.waiting.unwrap().reason;
        assert_eq!(waiting(&status), "PodInitializing");
        status["initContainerStatuses"] = json!([
            {"name": "kafka-init", "image": "", "imageID": "", "ready": false, "restartCount": 0,
             "state": {"waiting": {"reason": "ImagePullBackOff"}}},
        ]);
        assert_eq!(waiting(&status), "ImagePullBackOff");
    }

    #[test]
    fn evictions_and_refused_schedulings_are_read() {
        let facts = |status| pod(json!({"name": "a"}), status).facts;
        let by_api = json!({"conditions": [
            {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}]});
        assert_eq!(facts(by_api).evicted.as_deref(), Some("EvictionByEvictionAPI"));
        let by_node = json!({"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."});
        assert_eq!(facts(by_node).evicted.as_deref(), Some("The node was low on resource: memory."));
        let unscheduled = json!({"phase": "Pending", "conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}]});
        assert_eq!(facts(unscheduled).unschedulable.as_deref(), Some("0/3 nodes"));
        assert_eq!(facts(json!({})).evicted, None);
    }
}
