//! The objects: what the distributions' operators would be told, and the pods that they would make.

use doctorkafka_testbed::KAFKA_IMAGE;
use serde_json::{Value, json};

use super::MIXED;

/// The names of the brokers' pods, for each other and for clients.
const SERVICE: &str = "brokers";
/// The group and version of StrimziPodSets.
pub const STRIMZI: &str = "core.strimzi.io/v1";

/// Without enforced Pod Security: Koperator's pods say nothing of their user.
pub fn namespace() -> Value {
    json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": MIXED } })
}

/// The shape of Strimzi's own.
pub fn pod_set_crd() -> Value {
    let anything = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": "strimzipodsets.core.strimzi.io" },
        "spec": {
            "group": "core.strimzi.io", "scope": "Namespaced",
            "names": { "kind": "StrimziPodSet", "plural": "strimzipodsets", "singular": "strimzipodset", "shortNames": ["sps"] },
            "versions": [{
                "name": "v1", "served": true, "storage": true, "subresources": { "status": {} },
                "schema": { "openAPIV3Schema": { "type": "object", "properties": { "spec": anything, "status": anything } } },
            }],
        },
    })
}

/// What the pods need beside them.
pub fn around() -> Vec<Value> {
    let claim = |name: &str| {
        json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": { "name": name, "namespace": MIXED },
            "spec": claim_spec(),
        })
    };
    vec![
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": { "name": SERVICE, "namespace": MIXED },
            "spec": {
                "clusterIP": "None", "publishNotReadyAddresses": true, "selector": { "mixed": "kafka" },
                "ports": [{ "name": "kafka", "port": 9092 }, { "name": "controller", "port": 9093 }],
            },
        }),
        claim("data-prod-brokers-0"),
        claim("data-prod-brokers-1"),
        claim("events-102-storage-0-x7kqp"),
    ]
}

fn claim_spec() -> Value {
    json!({ "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } })
}

/// All four brokers are one cluster for the doctor.
pub fn policy() -> Value {
    json!({
        "apiVersion": "doctorkafka.dev/v1alpha1", "kind": "KafkaHealthPolicy",
        "metadata": { "name": MIXED, "namespace": MIXED },
        "spec": {
            "kafka": { "bootstrapServers": format!("{SERVICE}.{MIXED}.svc:9092") },
            "brokers": { "podSelector": { "matchLabels": { "mixed": "kafka" } } },
        },
    })
}

/// Strimzi's pods of node pool `brokers` of Kafka `prod`, wanted in a revision.
pub fn pod_set(revision: &str) -> Value {
    let pods: Vec<Value> = (0..2).map(|id| strimzi(id, revision)).collect();
    json!({
        "apiVersion": STRIMZI, "kind": "StrimziPodSet",
        "metadata": {
            "name": "prod-brokers", "namespace": MIXED,
            "labels": { "strimzi.io/cluster": "prod", "strimzi.io/kind": "Kafka", "strimzi.io/name": "prod-kafka" },
        },
        "spec": { "selector": { "matchLabels": { "strimzi.io/cluster": "prod" } }, "pods": pods },
    })
}

/// As `operator/tests/fixtures/pods/strimzi-broker.yaml`, with a Kafka that can be had here. The group of
/// Strimzi's image is root's, as the sidecar knows; of this image's, the annotation has to tell it.
fn strimzi(id: i32, revision: &str) -> Value {
    let name = format!("prod-brokers-{id}");
    let mut kafka =
        broker("export KAFKA_NODE_ID=${HOSTNAME##*-}", "broker,controller", "/var/lib/kafka/data/kafka-log");
    // Strimzi's kafka_liveness.sh: any program with java in its path is the broker.
    let alive = "for proc in /proc/*[0-9]; do case $(ls -l $proc/exe 2>/dev/null) in *java*) exit 0;; esac; done; exit 1";
    kafka["livenessProbe"] = json!({ "exec": { "command": ["bash", "-c", alive] }, "initialDelaySeconds": 15, "timeoutSeconds": 5 });
    kafka["volumeMounts"] = json!([
        { "name": "data", "mountPath": "/var/lib/kafka/data" },
        { "name": "strimzi-tmp", "mountPath": "/tmp" },
        { "name": "kube-api-access", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": true },
    ]);
    kafka["securityContext"] = json!({
        "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] }, "runAsNonRoot": true,
        "seccompProfile": { "type": "RuntimeDefault" },
    });
    let token = json!({ "serviceAccountToken": { "path": "token", "expirationSeconds": 3607 } });
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": name, "namespace": MIXED,
            "labels": {
                "app.kubernetes.io/instance": "prod", "app.kubernetes.io/managed-by": "strimzi-cluster-operator",
                "app.kubernetes.io/name": "kafka", "app.kubernetes.io/part-of": "strimzi-prod",
                "doctorkafka.dev/inject": "true", "mixed": "kafka",
                "strimzi.io/broker-role": "true", "strimzi.io/cluster": "prod", "strimzi.io/component-type": "kafka",
                "strimzi.io/controller": "strimzipodset", "strimzi.io/controller-name": "prod-brokers",
                "strimzi.io/controller-role": "true", "strimzi.io/kind": "Kafka", "strimzi.io/name": "prod-kafka",
                "strimzi.io/pod-name": name, "strimzi.io/pool-name": "brokers",
            },
            "annotations": {
                "strimzi.io/revision": revision, "strimzi.io/kafka-version": "4.3.1", "doctorkafka.dev/run-as": "1001:1001",
            },
        },
        "spec": {
            "hostname": name, "subdomain": SERVICE, "automountServiceAccountToken": false,
            "securityContext": { "fsGroup": 0 }, "terminationGracePeriodSeconds": 30,
            "containers": [kafka],
            "volumes": [
                { "name": "data", "persistentVolumeClaim": { "claimName": format!("data-{name}") } },
                { "name": "kube-api-access", "projected": { "sources": [token] } },
                { "name": "strimzi-tmp", "emptyDir": { "medium": "Memory", "sizeLimit": "5Mi" } },
            ],
        },
    })
}

/// As `koperator-broker.yaml`: never restarted in place, and with the service account's token.
pub fn koperator() -> Value {
    let mut kafka = broker("export KAFKA_NODE_ID=102", "broker", "/kafka-logs/kafka");
    kafka["lifecycle"] = json!({ "preStop": { "exec": { "command": ["bash", "-c", "for p in /proc/*[0-9]; do case $(ls -l $p/exe 2>/dev/null) in *java*) kill -s TERM ${p#/proc/};; esac; done"] } } });
    kafka["volumeMounts"] = json!([{ "name": "kafka-data-0", "mountPath": "/kafka-logs" }]);
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "generateName": "events-102-", "namespace": MIXED,
            "labels": {
                "app": "kafka", "brokerId": "102", "doctorkafka.dev/inject": "true", "kafka_cr": "events", "mixed": "kafka",
            },
            // Nobody can know from outside which user the image has: the sidecar has to be told.
            "annotations": { "doctorkafka.dev/run-as": "1001:1001" },
        },
        "spec": {
            "hostname": "events-102", "subdomain": SERVICE, "restartPolicy": "Never", "terminationGracePeriodSeconds": 30,
            "containers": [kafka],
            "volumes": [{ "name": "kafka-data-0", "persistentVolumeClaim": { "claimName": "events-102-storage-0-x7kqp" } }],
        },
    })
}

/// As `bitnami-broker.yaml`: its ids begin at KAFKA_MIN_ID, here 2, and nothing in the pod is writable but its volumes.
pub fn stateful_set() -> Value {
    let mut kafka =
        broker("export KAFKA_NODE_ID=$((${HOSTNAME##*-} + 2))", "broker,controller", "/bitnami/kafka/data");
    kafka["volumeMounts"] =
        json!([{ "name": "data", "mountPath": "/bitnami/kafka" }, { "name": "tmp", "mountPath": "/tmp" }]);
    kafka["securityContext"] = json!({
        "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] }, "readOnlyRootFilesystem": true,
        "runAsGroup": 1001, "runAsNonRoot": true, "runAsUser": 1001, "seccompProfile": { "type": "RuntimeDefault" },
    });
    let labels = json!({
        "app.kubernetes.io/component": "controller-eligible", "app.kubernetes.io/instance": "queue",
        "app.kubernetes.io/managed-by": "Helm", "app.kubernetes.io/name": "kafka", "app.kubernetes.io/part-of": "kafka",
        "doctorkafka.dev/inject": "true", "mixed": "kafka",
    });
    json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet",
        "metadata": { "name": "queue-kafka-controller", "namespace": MIXED },
        "spec": {
            "serviceName": SERVICE, "replicas": 1,
            "selector": { "matchLabels": { "app.kubernetes.io/instance": "queue", "mixed": "kafka" } },
            "template": {
                "metadata": { "labels": labels },
                "spec": {
                    "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 30,
                    "securityContext": { "fsGroup": 1001, "seccompProfile": { "type": "RuntimeDefault" } },
                    "containers": [kafka],
                    "volumes": [{ "name": "tmp", "emptyDir": {} }],
                },
            },
            "volumeClaimTemplates": [{ "metadata": { "name": "data" }, "spec": claim_spec() }],
        },
    })
}

/// A container with a node of the cluster.
fn broker(id: &str, roles: &str, logs: &str) -> Value {
    let advertised =
        format!("export KAFKA_ADVERTISED_LISTENERS=PLAINTEXT://$HOSTNAME.{SERVICE}.{MIXED}.svc:9092");
    let command = format!("{id}; {advertised}; exec /etc/kafka/docker/run");
    let voters = [(0, "prod-brokers-0"), (1, "prod-brokers-1"), (2, "queue-kafka-controller-0")]
        .map(|(id, name)| format!("{id}@{name}.{SERVICE}.{MIXED}.svc:9093"));
    let listeners =
        if roles == "broker" { "PLAINTEXT://:9092" } else { "PLAINTEXT://:9092,CONTROLLER://:9093" };
    let settings = [
        ("CLUSTER_ID", "6L6g3nShT-eMCtK--X86sw"),
        ("KAFKA_PROCESS_ROLES", roles),
        ("KAFKA_LISTENERS", listeners),
        ("KAFKA_LISTENER_SECURITY_PROTOCOL_MAP", "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT"),
        ("KAFKA_CONTROLLER_LISTENER_NAMES", "CONTROLLER"),
        ("KAFKA_INTER_BROKER_LISTENER_NAME", "PLAINTEXT"),
        ("KAFKA_CONTROLLER_QUORUM_VOTERS", &voters.join(",")),
        ("KAFKA_LOG_DIRS", logs),
        ("KAFKA_DEFAULT_REPLICATION_FACTOR", "3"),
        ("KAFKA_MIN_INSYNC_REPLICAS", "2"),
        ("KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR", "3"),
        ("KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR", "3"),
        ("KAFKA_TRANSACTION_STATE_LOG_MIN_ISR", "2"),
        // 128 MiB by default, more than such a heap has.
        ("KAFKA_LOG_CLEANER_DEDUPE_BUFFER_SIZE", "16777216"),
        ("KAFKA_HEAP_OPTS", "-Xms192m -Xmx192m"),
    ]
    .map(|(name, value)| json!({ "name": name, "value": value }));
    json!({
        "name": "kafka", "image": KAFKA_IMAGE, "imagePullPolicy": "Never",
        "command": ["bash", "-c", command], "env": settings,
        "ports": [{ "name": "client", "containerPort": 9092 }, { "name": "controller", "containerPort": 9093 }],
        "readinessProbe": { "tcpSocket": { "port": "client" }, "periodSeconds": 3 },
        "resources": { "requests": { "cpu": "50m", "memory": "384Mi" }, "limits": { "cpu": "600m", "memory": "640Mi" } },
    })
}
