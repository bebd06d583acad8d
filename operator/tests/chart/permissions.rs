//! Each permission that the chart gives the operator is needed, and none is missing: the real operator runs under the
//! chart's service account, once with all of them and once without each.
//!
//! Every run has namespaces and a release of its own, so that several go on beside each other.

use crate::cluster::{Cluster, name, template};
use doctorkafka_testbed::{Certificates, Process, wait_until};
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use std::{fmt, time::Duration};
use tokio::process::Command;

const AT_ONCE: usize = 6;
const WITHIN: Duration = Duration::from_secs(90);

/// Permissions that only a Kafka cluster with something to tell or to treat makes use of (the system tests have one), or
/// that are used after a write has met another one.
const NOT_BY_STANDING_ALONE: [(&str, &str); 6] = [
    ("create", "events"),
    ("get", "kafkahealthpolicies"),
    ("get", "kafkareassignments"),
    ("create", "kafkareassignments"),
    ("delete", "kafkareassignments"),
    ("update", "kafkareassignments/status"),
];

/// One verb of one rule.
#[derive(Clone, PartialEq)]
struct Permission {
    role: String,
    rule: usize,
    verb: String,
    resources: Vec<String>,
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} of {}", self.verb, self.resources.join(", "), self.role)
    }
}

/// A release, rendered for run `n`: RBAC and what the operator finds of its own.
async fn release(n: usize) -> Vec<Value> {
    let settings = [
        format!(
            "watchNamespaces={{kafka-{n}}},secretAccess[0].namespace=kafka-{n},secretAccess[0].names={{prod-ca}}"
        ),
        "crds.install=false,admissionPolicies.create=false,rbac.people=false".to_owned(),
    ];
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    template(&format!("case-{n}"), &format!("operator-{n}"), &settings).await.unwrap()
}

fn is_role(object: &Value) -> bool {
    matches!(object["kind"].as_str(), Some("Role" | "ClusterRole"))
}

fn permissions(objects: &[Value]) -> Vec<Permission> {
    let mut found = Vec::new();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let texts = |value: &Value| value.as_array().unwrap().iter().map(text).collect::<Vec<_>>();
    for role in objects.iter().filter(|object| is_role(object)) {
        for (rule, content) in role["rules"].as_array().unwrap().iter().enumerate() {
            for verb in texts(&content["verbs"]) {
                found.push(Permission {
                    role: name(role),
                    rule,
                    verb,
                    resources: texts(&content["resources"]),
                });
            }
        }
    }
    found
}

fn without(objects: &mut [Value], missing: &Permission) {
    let role = objects.iter_mut().find(|object| is_role(object) && name(object) == missing.role).unwrap();
    let rules = role["rules"].as_array_mut().unwrap();
    let verbs = rules[missing.rule]["verbs"].as_array_mut().unwrap();
    verbs.retain(|verb| *verb != json!(missing.verb));
    if verbs.is_empty() {
        rules.remove(missing.rule);
    }
}

/// What is in the namespace that run `n` watches: a policy that uses everything, and brokers' pods of several operators.
fn ward(n: usize, authority: &str) -> Vec<Value> {
    let namespace = format!("kafka-{n}");
    let meta = |name: &str| json!({"name": name, "namespace": namespace, "labels": {"app": "kafka"}});
    let pod = |name: &str, owner: &str, labels: Value| {
        let mut pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": meta(name),
            "spec": {
                "nodeName": "node-of-brokers", "automountServiceAccountToken": false,
                "containers": [{"name": "kafka", "image": "kafka"}],
                "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
            },
        });
        let owner =
            json!({"apiVersion": "v1", "kind": owner, "name": "prod", "uid": "1", "controller": true});
        pod["metadata"]["ownerReferences"] = json!([owner]);
        for (name, value) in labels.as_object().unwrap() {
            pod["metadata"]["labels"][name] = value.clone();
        }
        pod
    };
    vec![
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta("default")}),
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": meta("prod-ca"), "stringData": {"ca.crt": authority}}),
        pod("koperated-1", "StatefulSet", json!({"kafka_cr": "prod", "brokerId": "1"})),
        pod("strimzi-2", "StrimziPodSet", json!({"strimzi.io/cluster": "prod", "strimzi.io/kind": "Kafka"})),
        json!({
            "apiVersion": "doctorkafka.dev/v1alpha1", "kind": "KafkaHealthPolicy", "metadata": meta("prod"),
            "spec": {
                // Nobody listens there.
                "kafka": {
                    "bootstrapServers": "127.0.0.1:1",
                    "tls": {"trustedCertificates": [{"secretName": "prod-ca", "certificate": "ca.crt"}]},
                },
                "brokers": {"podSelector": {"matchLabels": {"app": "kafka"}}},
            },
        }),
    ]
}

/// A run of the operator.
struct Run<'a> {
    cluster: &'a Cluster,
    operator: Process,
    n: usize,
}

impl<'a> Run<'a> {
    /// The release is applied without its Lease, which the operator then has to make.
    async fn start(cluster: &'a Cluster, authority: &str, n: usize, missing: Option<&Permission>) -> Self {
        let mut objects = release(n).await;
        if let Some(missing) = missing {
            without(&mut objects, missing);
        }
        let deployment = objects.iter().find(|object| object["kind"] == "Deployment").unwrap().clone();
        objects.retain(|object| {
            let kind = object["kind"].as_str().unwrap();
            is_role(object)
                || kind.ends_with("Binding")
                || matches!(kind, "ServiceAccount" | "Secret" | "MutatingWebhookConfiguration")
        });
        let namespace =
            |name: String| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        let mut all = vec![namespace(format!("operator-{n}")), namespace(format!("kafka-{n}"))];
        all.extend(objects);
        all.extend(ward(n, authority));
        cluster.apply(&format!("run-{n}.json"), &all).await;

        let pod = &deployment["spec"]["template"]["spec"];
        let account = pod["serviceAccountName"].as_str().unwrap();
        let account = format!("system:serviceaccount:operator-{n}:{account}");
        let groups = ["system:serviceaccounts", "system:authenticated"];
        let kubeconfig = cluster.plane.kubeconfig_for(&account, &groups).unwrap();
        let arguments = pod["containers"][0]["args"].as_array().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_doctorkafka-operator"));
        command
            .args(arguments.iter().map(|argument| argument.as_str().unwrap()))
            .args(["--dashboard-listen", "off", "--api-listen", "off", "--injection-listen", "127.0.0.1:0"])
            .args(["--lease-duration", "6s", "--lease-renew-deadline", "4s", "--lease-retry-period", "1s"])
            .env("POD_NAMESPACE", format!("operator-{n}"))
            .env("KUBECONFIG", kubeconfig)
            .env("RUST_LOG", "info,kube=error,rdkafka=off,librdkafka=off");
        let log = cluster.folder.path().join(format!("operator-{n}.log"));
        Self { cluster, operator: Process::spawn(format!("operator {n}"), command, log).unwrap(), n }
    }

    /// What people can see of it: its log and the status of its policy.
    async fn visible(&self) -> String {
        let namespace = format!("kafka-{}", self.n);
        let policy = self.cluster.kubectl(&["get", "khp", "prod", "-n", &namespace, "-o", "json"]).await;
        let policy: Value = serde_json::from_str(&policy).unwrap();
        format!("{}\n{}", std::fs::read_to_string(self.operator.log()).unwrap(), policy["status"])
            .replace("\\\"", "\"")
    }
}

/// What is said to whoever does not have it: by the API server, or of Secrets by the operator.
fn refusals(permission: &Permission) -> Vec<String> {
    if permission.role.ends_with("-secrets") {
        return vec![
            "named by spec.kafka.tls.trustedCertificates[0], may not be read by the operator".to_owned(),
        ];
    }
    let refusal = |resource: &String| format!("cannot {} resource \"{resource}\"", permission.verb);
    permission.resources.iter().map(refusal).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_permission_is_needed_and_none_is_missing() {
    let cluster = Cluster::start().await;
    cluster.apply_crds().await;
    cluster
        .stand_ins(&[
            ("core.strimzi.io", "v1", "strimzipodsets", "StrimziPodSet"),
            ("kafka.strimzi.io", "v1", "kafkas", "Kafka"),
            ("kafka.strimzi.io", "v1", "kafkarebalances", "KafkaRebalance"),
            ("kafka.banzaicloud.io", "v1beta1", "kafkaclusters", "KafkaCluster"),
        ])
        .await;
    let authority = Certificates::generate("prod-ca").unwrap().authority;
    let complete = Run::start(&cluster, &authority, 0, None).await;

    let alone = |permission: &Permission| {
        let uses =
            |(verb, resource): &(&str, &str)| permission.verb == *verb && permission.resources == [*resource];
        !NOT_BY_STANDING_ALONE.iter().any(uses)
    };
    let all = permissions(&release(1).await);
    assert_eq!(
        all.len() - all.iter().filter(|permission| alone(permission)).count(),
        NOT_BY_STANDING_ALONE.len()
    );
    let count = all.len();
    let runs = (1..=count).map(|n| (n, &cluster, &authority)).map(|(n, cluster, authority)| async move {
        let missing = permissions(&release(n).await).swap_remove(n - 1);
        if !alone(&missing) {
            return None;
        }
        let run = Run::start(cluster, authority, n, Some(&missing)).await;
        let waited = wait_until(&format!("{missing} to be missed"), WITHIN, || async {
            let visible = run.visible().await;
            refusals(&missing).iter().all(|refusal| visible.contains(refusal)).then_some(())
        })
        .await;
        let problem = match waited {
            Ok(()) => None,
            Err(error) => Some(format!("{error}\n{}", run.visible().await)),
        };
        run.operator.kill().await.unwrap();
        problem
    });
    let problems: Vec<String> =
        stream::iter(runs).buffer_unordered(AT_ONCE).filter_map(|it| async { it }).collect().await;
    assert!(problems.is_empty(), "{} are not missed:\n{}", problems.len(), problems.join("\n\n"));

    // With everything it does all that it is for, and is never refused.
    let waited = wait_until("the complete release to be at work", WITHIN, || async {
        let visible = complete.visible().await;
        let at_work = [
            "leading: lease operator-0/case-0-doctorkafka",
            "the injection webhook has a new certificate",
            "\"Unreachable\"",
            "\"Linked\"",
        ];
        at_work.iter().all(|sign| visible.contains(sign)).then_some(())
    });
    if let Err(error) = waited.await {
        panic!("{error}\n{}", complete.visible().await);
    }
    let visible = complete.visible().await;
    assert!(complete.operator.is_running() && !visible.contains("panicked"), "{visible}");
    assert!(!visible.contains("forbidden") && !visible.contains("resource \""), "{visible}");
}
