//! What pods, nodes and Strimzi's resources say, on a real API server with a real Kafka: causes, gates, and what happens
//! without the permission to see them.
//!
//! There is no kubelet and no Strimzi: the test says what they would say.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use doctorkafka_api::{BrokerStatus, KafkaHealthPolicyStatus};
use doctorkafka_kafka::{Admin, Connection};
use doctorkafka_testbed::wait_until;
use doctorkafka_wire::BrokerId;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::{
    diagnosis::Reporter,
    kubernetes::{Ward, kubectl},
};

/// Reports for one broker, once a second, until it is silenced.
struct Voice {
    cpu: Arc<Mutex<f64>>,
    task: JoinHandle<()>,
}

impl Voice {
    fn of(ward: &Ward, id: i32) -> Self {
        let mut reporter = Reporter::new(&ward.kafka, id);
        let cpu = Arc::new(Mutex::new(30.0));
        let now = cpu.clone();
        let task = tokio::spawn(async move {
            loop {
                let cpu = *now.lock().unwrap();
                reporter.report(cpu, 1).await;
            }
        });
        Self { cpu, task }
    }

    fn says(&self, cpu: f64) {
        *self.cpu.lock().unwrap() = cpu;
    }
}

impl Drop for Voice {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The resources of this test, by kubectl.
struct Cluster<'a>(&'a Ward);

impl Cluster<'_> {
    async fn kubectl(&self, arguments: &[&str]) -> String {
        kubectl(&self.0.plane, arguments).await
    }

    async fn apply(&self, objects: &[Value]) {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
        let file = self.0.kafka.folder.path().join("objects.json");
        std::fs::write(&file, list.to_string()).unwrap();
        self.kubectl(&["apply", "-f", file.to_str().unwrap()]).await;
    }

    async fn set_status(&self, kind: &str, name: &str, status: Value) {
        let patch = json!({ "status": status }).to_string();
        self.kubectl(&[
            "patch",
            kind,
            name,
            "-n",
            "kafka",
            "--subresource=status",
            "--type=merge",
            "-p",
            &patch,
        ])
        .await;
    }

    async fn delete(&self, kind: &str, name: &str) {
        self.kubectl(&["delete", kind, name, "-n", "kafka", "--grace-period=0", "--force"]).await;
    }

    /// Stand-ins for Strimzi's definitions: any content, with a status.
    async fn define_strimzi(&self) {
        let define = |group: &str, plural: &str, kind: &str| {
            let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
            json!({
                "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
                "metadata": {"name": format!("{plural}.{group}")},
                "spec": {
                    "group": group, "scope": "Namespaced", "names": {"plural": plural, "kind": kind},
                    "versions": [{"name": "v1", "served": true, "storage": true,
                        "subresources": {"status": {}}, "schema": {"openAPIV3Schema": schema}}],
                },
            })
        };
        self.apply(&[
            define("core.strimzi.io", "strimzipodsets", "StrimziPodSet"),
            define("kafka.strimzi.io", "kafkas", "Kafka"),
            define("kafka.strimzi.io", "kafkarebalances", "KafkaRebalance"),
        ])
        .await;
        self.kubectl(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=30s"]).await;
    }

    /// Three broker pods of Strimzi's, each on a node of its own.
    async fn populate(&self) {
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {"name": "default", "namespace": "kafka"}});
        let pod_set = json!({"apiVersion": "core.strimzi.io/v1", "kind": "StrimziPodSet",
            "metadata": {"name": "prod-broker", "namespace": "kafka",
                "labels": {"strimzi.io/cluster": "prod", "strimzi.io/kind": "Kafka"}}, "spec": {}});
        self.apply(&[account, pod_set]).await;
        self.roll(3).await;
        for id in 1..=3 {
            self.apply(&[json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": node(id)}})]).await;
            self.set_ready(id, "True").await;
            self.make_pod(id).await;
        }
    }

    async fn make_pod(&self, id: i32) {
        let claim = format!("data-{}", pod(id));
        self.apply(&[
            json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
                "metadata": {"name": claim, "namespace": "kafka"},
                "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "none",
                    "resources": {"requests": {"storage": "1Gi"}}}}),
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": pod(id), "namespace": "kafka", "labels": {
                    "strimzi.io/cluster": "prod", "strimzi.io/kind": "Kafka", "strimzi.io/name": "prod-kafka",
                    "strimzi.io/pool-name": "broker", "strimzi.io/broker-role": "true"}},
                "spec": {"nodeName": node(id), "automountServiceAccountToken": false,
                    "containers": [{"name": "kafka", "image": "kafka"}],
                    "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": claim}}]}}),
        ])
        .await;
        self.set_status("pvc", &claim, json!({"phase": "Bound"})).await;
        self.set_ended(id, Value::Null).await;
    }

    /// How the broker's container last ended; the pod is ready.
    async fn set_ended(&self, id: i32, ended: Value) {
        let last = if ended.is_null() { json!({}) } else { json!({ "terminated": ended }) };
        let status = json!({
            "phase": "Running", "podIP": format!("10.0.0.{id}"),
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{"name": "kafka", "image": "kafka", "imageID": "", "ready": true,
                "restartCount": i32::from(!ended.is_null()), "state": {"running": {}}, "lastState": last}],
        });
        self.set_status("pod", &pod(id), status).await;
    }

    async fn set_ready(&self, id: i32, ready: &str) {
        self.set_status("node", &node(id), json!({"conditions": [{"type": "Ready", "status": ready}]})).await;
    }

    /// So many of three pods are of the newest revision.
    async fn roll(&self, current: i32) {
        let status = json!({"pods": 3, "readyPods": 3, "currentPods": current});
        self.set_status("strimzipodset", "prod-broker", status).await;
    }
}

fn pod(id: i32) -> String {
    format!("prod-broker-{id}")
}

fn node(id: i32) -> String {
    format!("node-{id}")
}

/// `OOMKilled`, just now.
fn out_of_memory() -> Value {
    json!({"reason": "OOMKilled", "exitCode": 137, "finishedAt": jiff::Timestamp::now().to_string()})
}

fn broker(status: &KafkaHealthPolicyStatus, id: i32) -> Option<&BrokerStatus> {
    status.brokers.iter().find(|broker| broker.id == id)
}

/// Status and reason of a condition, with its message.
fn condition<'a>(status: &'a KafkaHealthPolicyStatus, kind: &str) -> (&'a str, &'a str, &'a str) {
    let found = status.conditions.iter().find(|condition| condition.type_ == kind);
    found.map_or(("", "", ""), |it| (&it.status, &it.reason, &it.message))
}

async fn until_reason(ward: &Ward, id: i32, reason: &str, words: &str) {
    ward.until(&format!("broker {id}: {reason}, {words}"), 60, |status| {
        broker(status, id).is_some_and(|broker| {
            let message = broker.message.as_deref().unwrap_or_default();
            broker.reason == reason && message.contains(words)
        })
    })
    .await;
}

async fn until_refused(ward: &Ward, rule: &str, words: &str) {
    ward.until(&format!("treatment refused: {rule}"), 60, |status| {
        let (is, reason, message) = condition(status, "Refused");
        (is, reason) == ("True", rule) && message.contains(words) && message.contains("lifted")
    })
    .await;
}

/// How many partitions of `orders` each broker is to lead: is the first replica of. Only treatment changes that.
async fn leads(ward: &Ward) -> [usize; 3] {
    let admin = Admin::new(Connection::new(&ward.kafka.kafka.bootstrap(), "test").unwrap());
    let topic = admin.topics(Some(&["orders"])).await.unwrap().remove(0);
    [1, 2, 3].map(|id| topic.partitions.iter().filter(|p| p.replicas.first() == Some(&BrokerId(id))).count())
}

/// A policy that selects pods, whose three brokers are linked to theirs and healthy.
async fn linked() -> (Ward, [Voice; 3]) {
    let ward = Ward::start_with(&[]).await;
    let cluster = Cluster(&ward);
    cluster.define_strimzi().await;
    cluster.populate().await;
    let selector = json!({"matchLabels": {"strimzi.io/name": "prod-kafka"}});
    let spec = json!({"brokers": {"podSelector": selector}, "remedies": {"leadership": {"mode": "Auto"}}});
    ward.create_with("prod", spec).await;
    let voices = [1, 2, 3].map(|id| Voice::of(&ward, id));
    (ward, voices)
}

async fn until_linked(ward: &Ward) {
    ward.until_all_healthy().await;
    ward.until("pods and nodes to be known", 60, |status| {
        let names = |id| broker(status, id).map(|broker| (broker.pod.clone(), broker.node.clone()));
        condition(status, "PlatformKnown").0 == "True"
            && (1..=3).all(|id| names(id) == Some((Some(pod(id)), Some(node(id)))))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn causes_follow_pods_and_nodes_and_health_goes_on_without_them() {
    let (ward, voices) = linked().await;
    let cluster = Cluster(&ward);
    let _operator = ward.operator("one");
    until_linked(&ward).await;

    // A healthy broker stays healthy, and says what happened to it.
    cluster.set_ended(1, out_of_memory()).await;
    until_reason(&ward, 1, "WithinLimits", "its container was OOMKilled at").await;

    // A broker dies with its node.
    let [one, two, three] = voices;
    drop(three);
    ward.kafka.kafka.kill(3).await.unwrap();
    cluster.set_ready(3, "Unknown").await;
    until_reason(&ward, 3, "NodeNotReady", "pod prod-broker-3 on node node-3, which is NotReady").await;
    let status = ward.status("prod").await.unwrap();
    let dead = broker(&status, 3).unwrap();
    assert_eq!((dead.state.as_str(), &dead.evidence["nodeReady"]), ("Unhealthy", &json!(false)));
    // The node comes back, and it was the memory; then somebody deletes the pod.
    cluster.set_ready(3, "True").await;
    cluster.set_ended(3, out_of_memory()).await;
    until_reason(&ward, 3, "OOMKilled", "(exit code 137), 1 restart").await;
    cluster.delete("pod", &pod(3)).await;
    until_reason(&ward, 3, "PodDeleted", "pod prod-broker-3 does not exist").await;
    wait_until("an Event for each cause", Duration::from_secs(30), || async {
        let events = cluster.kubectl(&["get", "events", "-n", "kafka", "-o", "wide"]).await;
        ["which is NotReady", "was OOMKilled at", "does not exist"].iter().all(|cause| events.contains(cause))
    })
    .await
    .unwrap();

    // Back again.
    cluster.make_pod(3).await;
    ward.kafka.kafka.start(3).await.unwrap();
    let three = Voice::of(&ward, 3);
    until_linked(&ward).await;

    // Without the permission to see pods and all that belongs to them.
    let role: Value = serde_json::from_str(
        &cluster.kubectl(&["get", "clusterrole", "doctorkafka-operator", "-o", "json"]).await,
    )
    .unwrap();
    let rules = role["rules"].as_array().unwrap();
    let ours = |rule: &&Value| rule["apiGroups"][0].as_str().unwrap().ends_with("doctorkafka.dev");
    let kept: Vec<_> = rules.iter().filter(ours).collect();
    let patch = json!({ "rules": kept }).to_string();
    cluster.kubectl(&["patch", "clusterrole", "doctorkafka-operator", "--type=merge", "-p", &patch]).await;
    ward.until("the missing permission to be told", 90, |status| {
        let (is, _, message) = condition(status, "PlatformKnown");
        let told = message.contains("cannot list pods in namespace kafka") && message.contains("grant");
        is == "False" && told && status.brokers.iter().all(|broker| broker.state == "Healthy")
    })
    .await;
    drop(two);
    until_reason(&ward, 2, "HeartbeatLost", "no heartbeat for more than 10s").await;
    drop((one, three));
}

#[tokio::test(flavor = "multi_thread")]
async fn treatment_waits_for_others_and_gives_nothing_to_a_cordoned_node() {
    let (ward, voices) = linked().await;
    let cluster = Cluster(&ward);
    cluster.kubectl(&["cordon", "node-3"]).await;
    cluster
        .apply(&[json!({"apiVersion": "kafka.strimzi.io/v1", "kind": "KafkaRebalance",
            "metadata": {"name": "full", "namespace": "kafka", "labels": {"strimzi.io/cluster": "prod"}},
            "spec": {}})])
        .await;
    let rebalancing = json!({"conditions": [{"type": "Rebalancing", "status": "True"}]});
    cluster.set_status("kafkarebalance", "full", rebalancing).await;
    let _operator = ward.operator("one");
    until_linked(&ward).await;
    let before = leads(&ward).await;
    assert!(before[1] > 0, "{before:?}");

    voices[1].says(95.0);
    until_refused(&ward, "KafkaRebalance", "KafkaRebalance full is Rebalancing").await;
    cluster.roll(1).await;
    until_refused(&ward, "RollingUpdate", "1 of 3 pods are of the new revision").await;
    cluster.delete("kafkarebalance", "full").await;
    cluster
        .apply(&[json!({"apiVersion": "kafka.strimzi.io/v1", "kind": "Kafka",
        "metadata": {"name": "prod", "namespace": "kafka",
            "annotations": {"strimzi.io/pause-reconciliation": "true"}}, "spec": {}})])
        .await;
    cluster.roll(3).await;
    until_refused(&ward, "StrimziPaused", "pause-reconciliation").await;
    assert_eq!(leads(&ward).await, before, "nothing was done until now");

    cluster.delete("kafkas.kafka.strimzi.io", "prod").await;
    wait_until("broker 2 to be relieved", Duration::from_secs(90), || async {
        leads(&ward).await[1] < before[1]
    })
    .await
    .unwrap();
    ward.until("the treatment to end", 60, |status| status.acting.is_none()).await;
    let after = leads(&ward).await;
    assert_eq!(after[2], before[2], "the cordoned node was given nothing: {before:?}, {after:?}");
    assert!(after[0] > before[0], "{before:?}, {after:?}");
}
