//! Operators on a real API server, with the permissions of `deploy/rbac`, watching a real Kafka.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use doctorkafka_api::{KafkaHealthPolicy, KafkaHealthPolicyStatus};
use doctorkafka_testbed::{ControlPlane, Process, wait_until};
use doctorkafka_wire::ActionKind;
use kube::{
    Api, Client, Config,
    api::{DeleteParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::world::{World, alerts};

/// The lease's times, as operators are started here: 15 s are for clusters, not for tests.
const LEASE: Duration = Duration::from_secs(6);

/// A Kafka and an API server, with the operator's permissions.
pub struct Ward {
    pub kafka: World,
    pub plane: ControlPlane,
    kubeconfig: PathBuf,
    pub policies: Api<KafkaHealthPolicy>,
}

impl Ward {
    async fn start() -> Self {
        Self::start_with(&[1, 2, 3]).await
    }

    /// With a sidecar beside each of the named brokers.
    pub async fn start_with(sidecars: &[i32]) -> Self {
        let (kafka, plane) = tokio::join!(World::start(sidecars), ControlPlane::start());
        let plane = plane.unwrap();
        let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy");
        for what in ["crds", "rbac"] {
            kubectl(&plane, &["apply", "--server-side", "-f", deploy.join(what).to_str().unwrap()]).await;
        }
        kubectl(&plane, &["wait", "--for=condition=Established", "crd", "--all", "--timeout=30s"]).await;
        kubectl(&plane, &["create", "namespace", "kafka"]).await;
        let operator = "system:serviceaccount:doctorkafka:doctorkafka-operator";
        let groups = ["system:serviceaccounts", "system:authenticated"];
        let kubeconfig = plane.kubeconfig_for(operator, &groups).unwrap();
        let admin = Kubeconfig::read_from(plane.kubeconfig()).unwrap();
        let config = Config::from_custom_kubeconfig(admin, &KubeConfigOptions::default()).await.unwrap();
        let policies = Api::namespaced(Client::try_from(config).unwrap(), "kafka");
        Self { kafka, plane, kubeconfig, policies }
    }

    pub fn operator(&self, name: &str) -> Process {
        let mut command = Command::new(env!("CARGO_BIN_EXE_doctorkafka-operator"));
        command
            .args(["run", "--lease-namespace", "doctorkafka", "--identity", name])
            .args(["--lease-duration", "6s", "--lease-renew-deadline", "4s", "--lease-retry-period", "1s"])
            .args(["--dashboard-listen", "off", "--api-listen", "off"])
            .env("KUBECONFIG", &self.kubeconfig);
        Process::spawn(name, command, self.kafka.folder.path().join(format!("{name}.log"))).unwrap()
    }

    async fn create(&self, name: &str) {
        self.create_with(name, json!({})).await;
    }

    /// A policy of this spec, to which the cluster's address is added.
    pub async fn create_with(&self, name: &str, mut spec: Value) {
        spec["kafka"] = json!({"bootstrapServers": self.kafka.kafka.bootstrap()});
        let policy: KafkaHealthPolicy = serde_json::from_value(json!({
            "apiVersion": "doctorkafka.dev/v1alpha1", "kind": "KafkaHealthPolicy",
            "metadata": {"name": name}, "spec": spec,
        }))
        .unwrap();
        self.policies.create(&PostParams::default(), &policy).await.unwrap();
    }

    pub async fn status(&self, name: &str) -> Option<KafkaHealthPolicyStatus> {
        self.policies.get(name).await.ok()?.status
    }

    pub async fn until(&self, what: &str, seconds: u64, enough: impl Fn(&KafkaHealthPolicyStatus) -> bool) {
        let waited = wait_until(what, Duration::from_secs(seconds), || async {
            self.status("prod").await.is_some_and(|status| enough(&status))
        });
        if let Err(error) = waited.await {
            panic!("{error}\n{:#?}", self.status("prod").await);
        }
    }

    async fn until_state(&self, id: i32, state: &str, seconds: u64) {
        self.until(&format!("broker {id} is {state}"), seconds, |status| {
            status.brokers.iter().any(|broker| broker.id == id && broker.state == state)
        })
        .await;
    }

    pub async fn until_all_healthy(&self) {
        for id in 1..=3 {
            self.until_state(id, "Healthy", 60).await;
        }
    }

    /// Waits until `epoch` leads: its first record is in the log.
    async fn until_epoch(&self, epoch: u64) {
        self.kafka
            .actions_until(&format!("epoch {epoch} in the log"), |actions| {
                actions.iter().any(|a| a.kind == ActionKind::LeaderStarted && a.epoch == epoch)
            })
            .await;
    }
}

/// Waits until an operator's engine has heard of the brokers.
async fn stands_by(operator: &Process) {
    wait_until("the stand-by to be warm", Duration::from_secs(30), || async {
        std::fs::read_to_string(operator.log()).unwrap().contains("state=\"Healthy\"")
    })
    .await
    .unwrap();
}

/// Runs kubectl as the administrator; gives what it printed.
pub async fn kubectl(plane: &ControlPlane, arguments: &[&str]) -> String {
    let output = plane.kubectl().args(arguments).output().await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "kubectl {arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_tells_the_truth_and_an_idle_policy_is_quiet() {
    let mut ward = Ward::start().await;
    let _operator = ward.operator("one");
    ward.create("prod").await;
    ward.until_all_healthy().await;

    let table = kubectl(&ward.plane, &["get", "kafkahealth", "-A"]).await;
    eprintln!("{table}");
    for column in ["BROKERS", "HEALTHY", "OVERLOADED", "UNHEALTHY", "MODE", "AGE"] {
        assert!(table.contains(column), "{table}");
    }
    let row: Vec<&str> = table.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(&row[..7], ["kafka", "prod", "3", "3", "0", "0", "Recommend"], "{table}");

    // Idle: at most four writes a minute.
    let version = async || ward.policies.get("prod").await.unwrap().metadata.resource_version.unwrap();
    let mut writes = 0;
    let mut last = version().await;
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(60) {
        tokio::time::sleep(Duration::from_millis(250)).await;
        let now = version().await;
        writes += u32::from(now != last);
        last = now;
    }
    eprintln!("{writes} writes in a minute");
    assert!(writes <= 5, "{writes} writes in a minute of idleness");

    ward.kafka.kill_sidecar(2).await;
    ward.until_state(2, "Unhealthy", 30).await;
    let described = kubectl(&ward.plane, &["describe", "kafkahealth", "prod", "-n", "kafka"]).await;
    eprintln!("{described}");
    assert!(described.contains("HeartbeatLost"), "{described}");
    wait_until("an Event", Duration::from_secs(20), || async {
        kubectl(&ward.plane, &["get", "events", "-n", "kafka"]).await.contains("Unhealthy").then_some(())
    })
    .await
    .unwrap();

    // A second policy for the same cluster does nothing and says why.
    ward.create("second").await;
    wait_until("the conflict", Duration::from_secs(30), || async {
        let status = ward.status("second").await?;
        status.conditions.iter().any(|c| c.type_ == "Conflict" && c.status == "True").then_some(())
    })
    .await
    .unwrap();
    ward.policies.delete("second", &DeleteParams::default()).await.unwrap();

    // Nothing of this leaves the policy undeletable.
    ward.policies.delete("prod", &DeleteParams::default()).await.unwrap();
    wait_until("the policy to be gone", Duration::from_secs(10), || async {
        ward.policies.get_opt("prod").await.unwrap().is_none()
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_operators_one_acts_whatever_happens_to_it() {
    let mut ward = Ward::start().await;
    let first = ward.operator("first");
    ward.create("prod").await;
    ward.until_all_healthy().await;
    ward.until_epoch(1).await;
    let second = ward.operator("second");

    // Hand-over: a leader that is stopped gives its lease back, and the stand-by takes it at once.
    stands_by(&second).await;
    first.terminate().await.unwrap();
    ward.until_epoch(2).await;

    // Kill: the stand-by waits for the lease to run out.
    let third = ward.operator("third");
    stands_by(&third).await;
    let killed = Instant::now();
    second.kill().await.unwrap();
    ward.kafka.kill_sidecar(1).await;
    ward.until_state(1, "Unhealthy", 40).await;
    assert!(killed.elapsed() < LEASE + Duration::from_secs(20));
    ward.until_epoch(3).await;

    // Pause past the lease: the old leader wakes up and stands by.
    let fourth = ward.operator("fourth");
    stands_by(&fourth).await;
    third.pause().unwrap();
    ward.until_epoch(4).await;
    third.resume().unwrap();
    ward.kafka.start_sidecar(1);
    ward.until_all_healthy().await;

    let actions = ward
        .kafka
        .actions_until("the recovery", |actions| actions.iter().any(|a| a.kind == ActionKind::Recovered))
        .await;
    assert!(actions.iter().map(|a| a.epoch).is_sorted(), "no leader writes after the next: {actions:#?}");
    let started = actions.iter().filter(|a| a.kind == ActionKind::LeaderStarted).count();
    assert_eq!((started, alerts(&actions).len()), (4, 1), "{actions:#?}");
    assert!(third.is_running() && fourth.is_running());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_api_server_diagnosis_and_the_log_go_on() {
    let mut ward = Ward::start().await;
    let operator = ward.operator("one");
    ward.create("prod").await;
    ward.until_all_healthy().await;

    ward.plane.stop_api_server().await.unwrap();
    let down = Instant::now();
    ward.kafka.kill_sidecar(3).await;
    let told = ward.kafka.actions_until("the alert in the log", |actions| alerts(actions).len() == 1).await;
    assert_eq!(told.iter().find(|a| a.kind == ActionKind::AlertUnhealthy).unwrap().broker.unwrap().0, 3);
    tokio::time::sleep(Duration::from_secs(60).saturating_sub(down.elapsed())).await;

    ward.plane.start_api_server().await.unwrap();
    ward.until_state(3, "Unhealthy", 60).await;
    ward.kafka.start_sidecar(3);
    ward.until_all_healthy().await;
    assert!(operator.is_running());
    let after = ward
        .kafka
        .actions_until("the recovery", |actions| actions.iter().any(|a| a.kind == ActionKind::Recovered))
        .await;
    assert_eq!(alerts(&after).len(), 1, "{after:#?}");
}
