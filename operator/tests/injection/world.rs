//! An API server with the operator's objects, and pods for it.

use doctorkafka_testbed::{ControlPlane, Process, free_port, wait_until};
use k8s_openapi::api::{
    admissionregistration::v1::MutatingWebhookConfiguration,
    core::v1::{Container, Pod},
};
use kube::{
    Api, Client, Config,
    api::PostParams,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::{Value, json};
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::process::Command;

pub const SECOND: Duration = Duration::from_secs(1);
pub const CONFIGURATION: &str = "doctorkafka-injection";
const SERVICE_ACCOUNT: &str = "system:serviceaccount:doctorkafka:doctorkafka-operator";
const SIDECAR: &str = "doctorkafka-sidecar";

pub struct World {
    pub plane: ControlPlane,
    pub folder: tempfile::TempDir,
    pub client: Client,
    pub operator_kubeconfig: PathBuf,
}

impl World {
    pub async fn start() -> Self {
        let plane = ControlPlane::start().await.unwrap();
        let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy");
        for what in ["crds", "rbac", "injection"] {
            let path = deploy.join(what);
            kubectl(&plane, &["apply", "--server-side", "-f", path.to_str().unwrap()]).await;
        }
        let crd = "crd/kafkahealthpolicies.doctorkafka.dev";
        kubectl(&plane, &["wait", "--for=condition=Established", crd, "--timeout=30s"]).await;
        let operator_kubeconfig = plane
            .kubeconfig_for(SERVICE_ACCOUNT, &["system:serviceaccounts", "system:authenticated"])
            .unwrap();
        let client = client(plane.kubeconfig()).await;
        Self { plane, folder: tempfile::tempdir().unwrap(), client, operator_kubeconfig }
    }

    /// A namespace with the service accounts that pods name: no controller creates any here.
    pub async fn namespace(&self, name: &str, labels: &[&str]) {
        kubectl(&self.plane, &["create", "namespace", name]).await;
        for label in labels {
            kubectl(&self.plane, &["label", "namespace", name, label]).await;
        }
        for account in ["default", "prod-kafka", "queue-kafka"] {
            kubectl(&self.plane, &["create", "serviceaccount", account, "-n", name]).await;
        }
    }

    pub async fn policy(&self, namespace: &str, name: &str, spec: Value) {
        let policy = json!({
            "apiVersion": "doctorkafka.dev/v1alpha1", "kind": "KafkaHealthPolicy",
            "metadata": {"name": name, "namespace": namespace}, "spec": spec,
        });
        let file = self.folder.path().join(format!("{namespace}-{name}.json"));
        std::fs::write(&file, policy.to_string()).unwrap();
        kubectl(&self.plane, &["create", "-f", file.to_str().unwrap()]).await;
    }

    /// Has the API server call webhook n at the n-th address, or each at the last one.
    pub async fn call(&self, addresses: &[SocketAddr], failure_policy: &str) {
        let api: Api<MutatingWebhookConfiguration> = Api::all(self.client.clone());
        let write = || async {
            let mut configuration = api.get(CONFIGURATION).await.unwrap();
            for (n, webhook) in configuration.webhooks.iter_mut().flatten().enumerate() {
                let address = addresses.get(n).or(addresses.last()).unwrap();
                webhook.client_config.service = None;
                webhook.client_config.url = Some(format!("https://{address}/inject"));
                webhook.failure_policy = Some(failure_policy.to_owned());
            }
            // The operator writes it, too: it may be of another version by now.
            api.replace(CONFIGURATION, &PostParams::default(), &configuration).await.is_ok()
        };
        wait_until("the configuration to be written", 60 * SECOND, write).await.unwrap();
    }

    pub async fn create(&self, namespace: &str, object: Value) -> Pod {
        let pod: Pod = serde_json::from_value(object).unwrap();
        let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        api.create(&PostParams::default(), &pod).await.unwrap()
    }

    /// Whether a pod would get a sidecar; the error of a call that failed.
    pub async fn would_inject(&self, namespace: &str, object: Value) -> Result<bool, String> {
        let pod: Pod = serde_json::from_value(object).unwrap();
        let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let dry = PostParams { dry_run: true, ..PostParams::default() };
        let created = api.create(&dry, &pod).await;
        created.map(|pod| sidecar(&pod).is_some()).map_err(|error| error.to_string())
    }

    pub fn operator(&self, listen: SocketAddr, api: SocketAddr) -> Process {
        let mut command = Command::new(env!("CARGO_BIN_EXE_doctorkafka-operator"));
        command
            .args(["run", "--lease-namespace", "doctorkafka", "--dashboard-listen", "off"])
            .args(["--api-listen", &api.to_string(), "--injection", "--injection-name", "127.0.0.1"])
            .args(["--injection-listen", &listen.to_string()])
            .env("KUBECONFIG", &self.operator_kubeconfig)
            .env("RUST_LOG", "info,kube=error,rdkafka=off,librdkafka=off");
        Process::spawn("operator", command, self.folder.path().join("operator.log")).unwrap()
    }
}

pub async fn client(kubeconfig: &Path) -> Client {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    Client::try_from(config).unwrap()
}

pub async fn kubectl(plane: &ControlPlane, arguments: &[&str]) -> String {
    let output = plane.kubectl().args(arguments).output().await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "kubectl {arguments:?}: {}", text(&output.stderr));
    text(&output.stdout) + &text(&output.stderr)
}

pub fn local() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], free_port().unwrap()))
}

pub fn fixture(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/pods/{name}.yaml"));
    serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// A fixture for another namespace, with or without the label.
pub fn pod(name: &str, namespace: &str, labelled: bool) -> Value {
    let mut object = fixture(name);
    object["metadata"]["namespace"] = json!(namespace);
    if !labelled {
        object["metadata"]["labels"].as_object_mut().unwrap().remove("doctorkafka.dev/inject");
    }
    object
}

pub fn sidecar(pod: &Pod) -> Option<&Container> {
    let containers = pod.spec.as_ref()?.init_containers.as_ref()?;
    containers.iter().find(|container| container.name == SIDECAR)
}

pub fn env(container: &Container, name: &str) -> Option<String> {
    container.env.iter().flatten().find(|variable| variable.name == name)?.value.clone()
}

/// A policy with TLS and a user, for a Kafka that is away.
pub fn secured() -> Value {
    json!({"kafka": {
        "bootstrapServers": "127.0.0.1:1",
        "tls": {"trustedCertificates": [{"secretName": "prod-cluster-ca-cert", "certificate": "ca.crt"}]},
        "authentication": {"scramSha512": {
            "username": "doctor", "passwordSecret": {"secretName": "doctor", "password": "password"},
        }},
    }})
}
