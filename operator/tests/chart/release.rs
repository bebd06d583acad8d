//! A release from its installation to its end, on a real API server, with a real operator under its service account.

use crate::cluster::{Cluster, NAMESPACE, chart, deploy};
use doctorkafka_testbed::{Process, wait_until};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::process::Command;

const SECOND: Duration = Duration::from_secs(1);
const POLICIES: &str = "kafkahealthpolicies.doctorkafka.dev";

/// The chart as an older release could have been: another version, without what `spec.mode` says of itself.
fn older_chart(folder: &Path) -> PathBuf {
    let older = folder.join("doctorkafka");
    copy(&chart(), &older);
    let edit = |path: &str, from: &str, to: &str| {
        let path = older.join(path);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{} has no {from:?}", path.display());
        fs::write(&path, text.replace(from, to)).unwrap();
    };
    let version = env!("CARGO_PKG_VERSION");
    edit("Chart.yaml", &format!("ersion: {version}"), "ersion: 0.0.1");
    edit("files/crds/doctorkafka.dev_kafkahealthpolicies.yaml", "    - khp\n", "    - khpold\n");
    older
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

/// Every object of the cluster, but Events.
async fn everything(cluster: &Cluster) -> BTreeSet<String> {
    let kinds = cluster.kubectl(&["api-resources", "--verbs=list", "-o", "name"]).await;
    let kinds: Vec<&str> = kinds.lines().filter(|kind| !kind.starts_with("events")).collect();
    assert!(kinds.len() > 30, "{kinds:?}");
    let kinds = kinds.join(",");
    let template = "jsonpath={range .items[*]}{.kind} {.metadata.namespace}/{.metadata.name}{\"\\n\"}{end}";
    let listed = cluster.kubectl(&["get", &kinds, "-A", "-o", template]).await;
    listed.lines().map(str::to_owned).collect()
}

async fn short_names(cluster: &Cluster) -> String {
    cluster.kubectl(&["get", "crd", POLICIES, "-o", "jsonpath={.spec.names.shortNames}"]).await
}

async fn holder(cluster: &Cluster) -> String {
    cluster
        .kubectl(&["get", "lease", "doctorkafka", "-n", NAMESPACE, "-o", "jsonpath={.spec.holderIdentity}"])
        .await
}

fn operator(cluster: &Cluster) -> Process {
    let account = format!("system:serviceaccount:{NAMESPACE}:doctorkafka-operator");
    let groups = ["system:serviceaccounts", "system:authenticated"];
    let kubeconfig = cluster.plane.kubeconfig_for(&account, &groups).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_doctorkafka-operator"));
    command
        .args(["run", "--lease-namespace", NAMESPACE, "--dashboard-listen", "off", "--api-listen", "off"])
        .args(["--injection", "--injection-listen", "127.0.0.1:0"])
        .env("KUBECONFIG", kubeconfig)
        .env("RUST_LOG", "info,kube=error,rdkafka=off,librdkafka=off");
    Process::spawn("operator", command, cluster.folder.path().join("operator.log")).unwrap()
}

async fn authority(cluster: &Cluster) -> String {
    let path = "jsonpath={.webhooks[*].clientConfig.caBundle}";
    cluster.kubectl(&["get", "mutatingwebhookconfiguration", "doctorkafka-injection", "-o", path]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_comes_changes_and_goes_without_a_trace() {
    let cluster = Cluster::start().await;
    let before = everything(&cluster).await;
    let older = older_chart(cluster.folder.path());
    let (older, newer) = (older.to_str().unwrap().to_owned(), chart().to_str().unwrap().to_owned());

    // Installed, and a policy at once.
    let notes = cluster.helm(&["install", "doctorkafka", &older]).await.unwrap();
    assert!(notes.contains("kubectl get kafkahealth -A"), "{notes}");
    cluster.kubectl(&["wait", "--for=condition=Established", "crd", POLICIES, "--timeout=30s"]).await;
    cluster.kubectl(&["apply", "-f", &deploy("examples/minimal.yaml")]).await;
    let running = operator(&cluster);
    let leads = wait_until("the operator to lead", 20 * SECOND, || async {
        Some(holder(&cluster).await).filter(|holder| !holder.is_empty())
    })
    .await
    .unwrap();
    let trusted = wait_until("the webhook's authority", 20 * SECOND, || async {
        Some(authority(&cluster).await).filter(|bundle| !bundle.is_empty())
    })
    .await
    .unwrap();

    // Upgraded with its CRDs, and back. What the operator has written stays.
    assert!(short_names(&cluster).await.contains("khpold"));
    cluster.helm(&["upgrade", "doctorkafka", &newer, "--set", "replicas=3"]).await.unwrap();
    assert!(!short_names(&cluster).await.contains("khpold"), "helm upgrade has not upgraded the CRD");
    let replicas =
        ["get", "deployment", "doctorkafka-operator", "-n", NAMESPACE, "-o", "jsonpath={.spec.replicas}"];
    assert_eq!(cluster.kubectl(&replicas).await, "3");
    assert_eq!((holder(&cluster).await, authority(&cluster).await), (leads.clone(), trusted.clone()));
    cluster.helm(&["rollback", "doctorkafka", "1"]).await.unwrap();
    assert!(short_names(&cluster).await.contains("khpold"));
    assert_eq!(cluster.kubectl(&replicas).await, "2");
    assert_eq!((holder(&cluster).await, authority(&cluster).await), (leads, trusted));

    // CRDs and policies outlive both the switch and the release.
    cluster.helm(&["upgrade", "doctorkafka", &newer, "--set", "crds.install=false"]).await.unwrap();
    cluster.helm(&["upgrade", "doctorkafka", &newer, "--set", "crds.install=true"]).await.unwrap();
    cluster.helm(&["uninstall", "doctorkafka"]).await.unwrap();
    running.terminate().await.unwrap();
    let after = everything(&cluster).await;
    let left: Vec<_> = after.difference(&before).map(String::as_str).collect();
    let expected = [
        // The API server's own name for what the CRDs serve.
        "APIService /v1alpha1.doctorkafka.dev",
        "CustomResourceDefinition /kafkahealthpolicies.doctorkafka.dev",
        "CustomResourceDefinition /kafkareassignments.doctorkafka.dev",
        "KafkaHealthPolicy kafka/demo",
    ];
    assert_eq!(left, expected);
    let log = fs::read_to_string(running.log()).unwrap();
    assert!(!log.contains("panicked"), "{log}");

    // Nothing holds up a namespace with a policy: no finalizer, and nobody has to be there.
    let demo = cluster.kubectl(&["get", "khp", "demo", "-n", "kafka", "-o", "json"]).await;
    let demo: Value = serde_json::from_str(&demo).unwrap();
    assert_eq!(demo["metadata"]["finalizers"], Value::Null);
    cluster.kubectl(&["delete", "khp", "--all", "-n", "kafka", "--timeout=10s"]).await;

    // It comes back under the same name without further ado.
    cluster.helm(&["install", "doctorkafka", &newer]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn crds_that_are_there_already_are_adopted_or_left_alone() {
    let cluster = Cluster::start().await;
    let newer = chart().to_str().unwrap().to_owned();
    cluster.kubectl(&["apply", "-f", &deploy("crds")]).await;
    cluster.kubectl(&["wait", "--for=condition=Established", "crd", POLICIES, "--timeout=30s"]).await;
    cluster.kubectl(&["apply", "-f", &deploy("examples/minimal.yaml")]).await;

    let refused = cluster.helm(&["install", "doctorkafka", &newer]).await.unwrap_err();
    assert!(refused.contains("cannot be imported into the current release"), "{refused}");
    cluster.helm(&["install", "doctorkafka", &newer, "--set", "crds.install=false"]).await.unwrap();
    cluster.helm(&["uninstall", "doctorkafka"]).await.unwrap();
    cluster.helm(&["install", "doctorkafka", &newer, "--take-ownership"]).await.unwrap();
    cluster.helm(&["uninstall", "doctorkafka"]).await.unwrap();
    assert_eq!(
        cluster.kubectl(&["get", "khp", "-A", "-o", "name"]).await.trim(),
        format!("{}/demo", "kafkahealthpolicy.doctorkafka.dev")
    );

    // A release that goes wrong half way can be installed again.
    let wrong = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "doctorkafka", "namespace": NAMESPACE},
        "spec": {"ports": [{"port": 1}]}});
    cluster.apply("wrong.json", &[wrong]).await;
    let refused = cluster.helm(&["install", "doctorkafka", &newer]).await.unwrap_err();
    assert!(refused.contains("Service \"doctorkafka\""), "{refused}");
    cluster.kubectl(&["delete", "service", "doctorkafka", "-n", NAMESPACE]).await;
    cluster.helm(&["install", "doctorkafka", &newer]).await.unwrap();
}
