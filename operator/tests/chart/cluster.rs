//! A real API server, Helm, and the chart's manifests as data.

use doctorkafka_testbed::{ControlPlane, Helm};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use tokio::process::Command;

/// The namespace of the release.
pub const NAMESPACE: &str = "doctorkafka";

pub fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/doctorkafka")
}

pub fn deploy(path: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(path).to_str().unwrap().to_owned()
}

/// Runs Helm; its standard output, or its standard error.
pub async fn helm(kubeconfig: Option<&Path>, arguments: &[&str]) -> Result<String, String> {
    let mut command = Helm::prepare().await.unwrap().command();
    command.args(arguments);
    match kubeconfig {
        Some(path) => command.env("KUBECONFIG", path),
        None => command.env_remove("KUBECONFIG"),
    };
    outcome(command).await
}

async fn outcome(mut command: Command) -> Result<String, String> {
    let output = command.output().await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

/// What Helm renders of a release in a namespace with these settings (`key=value`), without hooks.
pub async fn template(release: &str, namespace: &str, settings: &[&str]) -> Result<Vec<Value>, String> {
    let chart = chart();
    let mut arguments =
        vec!["template", release, chart.to_str().unwrap(), "-n", namespace, "--kube-version=1.37.0"];
    settings.iter().for_each(|setting| arguments.extend(["--set", setting]));
    let text = helm(None, &arguments).await?;
    Ok(documents(&text))
}

/// The documents of a YAML stream that are objects.
pub fn documents(text: &str) -> Vec<Value> {
    let documents = format!("\n{text}");
    let read = documents.split("\n---").map(|document| {
        serde_saphyr::from_str::<Value>(document).unwrap_or_else(|error| panic!("{error}\n{document}"))
    });
    read.filter(Value::is_object).collect()
}

/// Helm's `test` hooks are objects, but not parts of the release.
pub fn is_hook(object: &Value) -> bool {
    object["metadata"]["annotations"]["helm.sh/hook"].is_string()
}

/// `ClusterRole doctorkafka-operator`.
pub fn name(object: &Value) -> String {
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
    let (kind, name) = (object["kind"].as_str().unwrap(), object["metadata"]["name"].as_str().unwrap());
    if namespace.is_empty() { format!("{kind} {name}") } else { format!("{kind} {namespace}/{name}") }
}

/// A real API server.
pub struct Cluster {
    pub plane: ControlPlane,
    pub folder: tempfile::TempDir,
}

impl Cluster {
    /// With the release's namespace, which enforces Pod Security `restricted`, and a namespace `kafka`.
    pub async fn start() -> Self {
        let cluster =
            Self { plane: ControlPlane::start().await.unwrap(), folder: tempfile::tempdir().unwrap() };
        cluster.kubectl(&["apply", "-f", &deploy("rbac/00-namespace.yaml")]).await;
        cluster.kubectl(&["create", "namespace", "kafka"]).await;
        cluster
    }

    /// Runs kubectl, which has to succeed.
    pub async fn kubectl(&self, arguments: &[&str]) -> String {
        self.try_kubectl(arguments).await.unwrap_or_else(|error| panic!("kubectl {arguments:?}: {error}"))
    }

    pub async fn try_kubectl(&self, arguments: &[&str]) -> Result<String, String> {
        let mut command = self.plane.kubectl();
        command.args(arguments);
        outcome(command).await
    }

    pub async fn helm(&self, arguments: &[&str]) -> Result<String, String> {
        let in_namespace = [arguments, &["-n", NAMESPACE]].concat();
        helm(Some(self.plane.kubeconfig()), &in_namespace).await
    }

    /// Objects as a file.
    pub fn file(&self, name: &str, objects: &[Value]) -> String {
        let path = self.folder.path().join(name);
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
        std::fs::write(&path, list.to_string()).unwrap();
        path.to_str().unwrap().to_owned()
    }

    pub async fn apply(&self, name: &str, objects: &[Value]) {
        let file = self.file(name, objects);
        self.kubectl(&["apply", "-f", &file]).await;
    }

    /// CRDs that take any object, in place of those that other operators bring.
    pub async fn stand_ins(&self, kinds: &[(&str, &str, &str, &str)]) {
        let crds: Vec<_> = kinds.iter().map(|kind| stand_in(*kind)).collect();
        self.apply("stand-ins.json", &crds).await;
        self.kubectl(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=30s"]).await;
    }

    pub async fn apply_crds(&self) {
        self.kubectl(&["apply", "--server-side", "-f", &deploy("crds")]).await;
        self.kubectl(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=30s"]).await;
    }
}

fn stand_in((group, version, plural, kind): (&str, &str, &str, &str)) -> Value {
    let any = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}")},
        "spec": {
            "group": group, "scope": "Namespaced",
            "names": {"plural": plural, "singular": kind.to_lowercase(), "kind": kind, "listKind": format!("{kind}List")},
            "versions": [{"name": version, "served": true, "storage": true, "schema": {"openAPIV3Schema": any}}],
        },
    })
}
