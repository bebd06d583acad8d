//! `doctorkafka-operator run` against a real API server, with the permissions that `deploy/rbac` gives and no others.
//! Kafka is away except where Secrets are the matter: what needs a real one is in the system tests.

#![allow(clippy::unwrap_used)]

use doctorkafka_api::KafkaHealthPolicy;
use doctorkafka_testbed::{
    Certificates, ControlPlane, KafkaCluster, Listener, Process, free_port, wait_until,
};
use k8s_openapi::api::{coordination::v1::Lease, core::v1::Secret};
use kube::{
    Api, Client, Config,
    api::{DeleteParams, Patch, PatchParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::{Value, json};
use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tokio::process::Command;

const SECOND: Duration = Duration::from_secs(1);
const SERVICE_ACCOUNT: &str = "system:serviceaccount:doctorkafka:doctorkafka-operator";

struct World {
    plane: ControlPlane,
    folder: tempfile::TempDir,
    operators: PathBuf,
    policies: Api<KafkaHealthPolicy>,
    client: Client,
}

impl World {
    async fn start() -> Self {
        let plane = ControlPlane::start().await.unwrap();
        let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy");
        for what in ["crds", "rbac"] {
            kubectl(&plane, &["apply", "--server-side", "-f", deploy.join(what).to_str().unwrap()]).await;
        }
        for crd in ["kafkahealthpolicies", "kafkareassignments"] {
            let name = format!("crd/{crd}.doctorkafka.dev");
            kubectl(&plane, &["wait", "--for=condition=Established", &name, "--timeout=30s"]).await;
        }
        kubectl(&plane, &["create", "namespace", "kafka"]).await;
        let operators = plane
            .kubeconfig_for(SERVICE_ACCOUNT, &["system:serviceaccounts", "system:authenticated"])
            .unwrap();
        let kubeconfig = Kubeconfig::read_from(plane.kubeconfig()).unwrap();
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
        let client = Client::try_from(config).unwrap();
        let policies = Api::namespaced(client.clone(), "kafka");
        Self { plane, folder: tempfile::tempdir().unwrap(), operators, policies, client }
    }

    fn operator(&self, name: &str) -> Process {
        let mut command = Command::new(env!("CARGO_BIN_EXE_doctorkafka-operator"));
        command
            .args(["run", "--lease-namespace", "doctorkafka", "--identity", name])
            .args(["--lease-duration", "6s", "--lease-renew-deadline", "4s", "--lease-retry-period", "1s"])
            .args(["--dashboard-listen", "off", "--api-listen", "off"])
            .env("KUBECONFIG", &self.operators)
            .env("RUST_LOG", "info,kube=error,rdkafka=off,librdkafka=off");
        Process::spawn(name, command, self.folder.path().join(format!("{name}.log"))).unwrap()
    }

    async fn create(&self, name: &str, spec: Value) {
        let policy: KafkaHealthPolicy = serde_json::from_value(json!({
            "apiVersion": "doctorkafka.dev/v1alpha1", "kind": "KafkaHealthPolicy",
            "metadata": {"name": name}, "spec": spec,
        }))
        .unwrap();
        self.policies.create(&PostParams::default(), &policy).await.unwrap();
    }

    /// What an administrator does to let the operator read the Secrets of the namespace.
    async fn let_secrets_be_read(&self) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/secret-access.yaml");
        let text = std::fs::read_to_string(path).unwrap();
        let adapted = self.folder.path().join("secret-access.yaml");
        std::fs::write(&adapted, text.replace("[prod-cluster-ca-cert, doctor]", "[prod-ca, doctor]"))
            .unwrap();
        kubectl(&self.plane, &["apply", "-f", adapted.to_str().unwrap()]).await;
    }

    async fn put_secret(&self, name: &str, content: Value) {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), "kafka");
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": content,
        });
        let put = PatchParams::apply("test").force();
        secrets.patch(name, &put, &Patch::Apply(secret)).await.unwrap();
    }

    async fn patch(&self, name: &str, patch: Value) {
        self.policies.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    /// A condition as `False SecretNotFound: message`, of the spec as it stands.
    async fn condition(&self, name: &str, kind: &str) -> Option<String> {
        let policy = self.policies.get(name).await.unwrap();
        let status =
            policy.status.filter(|status| status.observed_generation == policy.metadata.generation)?;
        let condition = status.conditions.into_iter().find(|condition| condition.type_ == kind)?;
        Some(format!("{} {}: {}", condition.status, condition.reason, condition.message))
    }

    async fn wait_for(&self, name: &str, kind: &str, start: &str, within: Duration) -> String {
        let what = format!("{kind} of {name} to be {start:?}");
        wait_until(&what, within, || async {
            self.condition(name, kind).await.filter(|condition| condition.starts_with(start))
        })
        .await
        .unwrap_or_else(|error| panic!("{error:#}"))
    }

    /// The name of the instance that holds the lease, without its random part.
    async fn leader(&self) -> Option<String> {
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), "doctorkafka");
        let holder = leases.get_opt("doctorkafka").await.unwrap()?.spec?.holder_identity?;
        holder.split('_').next().map(str::to_owned)
    }

    async fn wait_for_leader(&self, name: &str, within: Duration) {
        wait_until(&format!("{name} to lead"), within, || async {
            self.leader().await.as_deref() == Some(name)
        })
        .await
        .unwrap();
    }

    async fn version(&self, name: &str) -> String {
        self.policies.get(name).await.unwrap().metadata.resource_version.unwrap()
    }
}

async fn kubectl(plane: &ControlPlane, arguments: &[&str]) -> String {
    let output = plane.kubectl().args(arguments).output().await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "kubectl {arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

fn log(process: &Process) -> String {
    std::fs::read_to_string(process.log()).unwrap()
}

/// Nobody listens there.
fn nowhere() -> String {
    format!("127.0.0.1:{}", free_port().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_get_the_status_they_deserve() {
    let world = World::start().await;
    let operator = world.operator("one");
    world.wait_for_leader("one", 10 * SECOND).await;

    kafka_that_is_away(&world).await;
    secrets_that_are_missing(&world).await;
    edits_of_a_policy(&world).await;
    a_policy_this_release_cannot_read(&world).await;
    deleting_leaves_nothing_behind(&world).await;

    assert!(operator.is_running());
    let log = log(&operator);
    assert!(!log.contains("forbidden"), "deploy/rbac does not suffice:\n{log}");
    assert!(!log.contains("panicked"), "{log}");
}

async fn kafka_that_is_away(world: &World) {
    let address = nowhere();
    world.create("away", json!({"kafka": {"bootstrapServers": address}, "mode": "Auto"})).await;
    let reachable = world.wait_for("away", "Reachable", "False Unreachable", 20 * SECOND).await;
    assert!(reachable.contains(&address), "{reachable}");
    world.wait_for("away", "Ready", "False KafkaUnreachable", SECOND).await;
    let acting = world.wait_for("away", "Acting", "False NothingToDo", SECOND).await;
    assert!(acting.contains("mode Auto: carries treatment out"), "{acting}");

    world.patch("away", json!({"metadata": {"annotations": {"doctorkafka.dev/paused": "true"}}})).await;
    world.wait_for("away", "Acting", "False Paused", 3 * SECOND).await;
    world.patch("away", json!({"metadata": {"annotations": {"doctorkafka.dev/paused": null}}})).await;
    world.wait_for("away", "Acting", "False NothingToDo", 3 * SECOND).await;
}

async fn secrets_that_are_missing(world: &World) {
    let tls = json!({"trustedCertificates": [{"secretName": "prod-ca", "certificate": "ca.crt"}]});
    world.create("secured", json!({"kafka": {"bootstrapServers": nowhere(), "tls": tls}})).await;
    let forbidden = world.wait_for("secured", "Ready", "False SecretForbidden", 5 * SECOND).await;
    assert!(forbidden.contains("deploy/secret-access.yaml"), "{forbidden}");

    world.let_secrets_be_read().await;
    let missing = world.wait_for("secured", "Ready", "False SecretNotFound", 20 * SECOND).await;
    assert_eq!(
        missing,
        "False SecretNotFound: Secret kafka/prod-ca, key ca.crt, named by spec.kafka.tls.trustedCertificates[0], \
         does not exist"
    );

    let secrets: Api<Secret> = Api::namespaced(world.client.clone(), "kafka");
    let secret: Secret =
        serde_json::from_value(json!({"metadata": {"name": "prod-ca"}, "stringData": {"ca.crt": "PEM"}}))
            .unwrap();
    secrets.create(&PostParams::default(), &secret).await.unwrap();
    let invalid = world.wait_for("secured", "Ready", "False SecretInvalid", 20 * SECOND).await;
    assert_eq!(
        invalid,
        "False SecretInvalid: spec.kafka.tls.trustedCertificates: Secret kafka/prod-ca, key ca.crt: there is no \
         certificate in PEM in it"
    );
    assert_eq!(
        world.condition("secured", "Reachable").await.unwrap(),
        "Unknown NotTried: no connection has been tried"
    );

    let certificates = Certificates::generate("prod-ca").unwrap();
    world.put_secret("prod-ca", json!({"ca.crt": certificates.authority})).await;
    world.wait_for("secured", "Reachable", "False Unreachable", 30 * SECOND).await;
}

/// The Secret alone changes, and nobody touches the policy or the operator.
#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_secret_takes_effect() {
    let kafka = KafkaCluster::builder()
        .brokers(1)
        .user("doctor", "firstpassword")
        .listener(Listener::new("BOTH").tls().sasl(&["SCRAM-SHA-512"]));
    let (kafka, world) = tokio::join!(kafka.start(), World::start());
    let kafka = kafka.unwrap();
    world.let_secrets_be_read().await;
    world.put_secret("prod-ca", json!({"ca.crt": kafka.certificates().authority})).await;
    world.put_secret("doctor", json!({"password": "notthepassword"})).await;
    let user =
        json!({"username": "doctor", "passwordSecret": {"secretName": "doctor", "password": "password"}});
    let tls = json!({"trustedCertificates": [{"secretName": "prod-ca", "certificate": "ca.crt"}]});
    let connection = json!({
        "bootstrapServers": kafka.bootstrap_of("BOTH"), "tls": tls, "authentication": {"scramSha512": user},
    });
    world.create("secured", json!({ "kafka": connection })).await;
    let operator = world.operator("one");
    let refused = world.wait_for("secured", "Reachable", "False Unreachable", 30 * SECOND).await;
    assert!(refused.contains("SASL SCRAM-SHA-512 as user doctor: SaslAuthenticationFailed"), "{refused}");

    world.put_secret("doctor", json!({"password": "firstpassword"})).await;
    world.wait_for("secured", "Ready", "True Watching", 60 * SECOND).await;

    // Losing a Secret is told, and blinds nobody.
    let secrets: Api<Secret> = Api::namespaced(world.client.clone(), "kafka");
    secrets.delete("doctor", &DeleteParams::default()).await.unwrap();
    let missing = world.wait_for("secured", "Ready", "False SecretNotFound", 45 * SECOND).await;
    assert!(missing.ends_with("; the last version that was valid stays in force"), "{missing}");
    assert!(world.condition("secured", "Reachable").await.unwrap().starts_with("True"));

    let log = log(&operator);
    for secret in ["firstpassword", "notthepassword", "BEGIN CERTIFICATE"] {
        assert!(!log.contains(secret), "{log}");
    }
    assert!(!log.contains("panicked"), "{log}");
}

async fn edits_of_a_policy(world: &World) {
    let nonsense = json!({"spec": {"detection": {"cpu": {"overloadedAbove": 60, "recoveredBelow": 85}}}});
    let refused =
        world.policies.patch("away", &PatchParams::default(), &Patch::Merge(&nonsense)).await.unwrap_err();
    assert!(refused.to_string().contains("spec.detection.cpu"), "{refused}");

    let other = nowhere();
    world.patch("away", json!({"spec": {"kafka": {"bootstrapServers": other}}})).await;
    wait_until("the new address to be tried", 20 * SECOND, || async {
        world.condition("away", "Reachable").await.filter(|reachable| reachable.contains(&other))
    })
    .await
    .unwrap();
}

/// A newer release's CRD lets through what this one does not know: that is a condition, and no reason to stop.
async fn a_policy_this_release_cannot_read(world: &World) {
    let crd = "kafkahealthpolicies.doctorkafka.dev";
    let mode = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/mode/enum/-";
    let wider = json!([{"op": "add", "path": mode, "value": "Eager"}]).to_string();
    kubectl(&world.plane, &["patch", "crd", crd, "--type=json", "-p", &wider]).await;
    wait_until("the wider CRD to be in force", 20 * SECOND, || async {
        let mut patch = world.plane.kubectl();
        patch.args([
            "patch",
            "khp",
            "away",
            "-n",
            "kafka",
            "--type=merge",
            "-p",
            r#"{"spec": {"mode": "Eager"}}"#,
        ]);
        patch.output().await.unwrap().status.success()
    })
    .await
    .unwrap();
    wait_until("the condition", 5 * SECOND, || async {
        let path = "jsonpath={.status.conditions[?(@.type=='Ready')].message}";
        let message = kubectl(&world.plane, &["get", "khp", "away", "-n", "kafka", "-o", path]).await;
        message.starts_with("spec.mode: ") && message.contains("Eager")
    })
    .await
    .unwrap();
    world.patch("away", json!({"spec": {"mode": "Observe"}})).await;
    world.wait_for("away", "Acting", "False ObserveOnly", 5 * SECOND).await;
}

async fn deleting_leaves_nothing_behind(world: &World) {
    for name in ["away", "secured"] {
        let policy = world.policies.get(name).await.unwrap();
        assert_eq!(policy.metadata.finalizers, None);
        world.policies.delete(name, &DeleteParams::default()).await.unwrap();
        wait_until("it to be gone", 2 * SECOND, || async {
            world.policies.get_opt(name).await.unwrap().is_none()
        })
        .await
        .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_operators_writes() {
    let world = World::start().await;
    let one = world.operator("one");
    world.wait_for_leader("one", 10 * SECOND).await;
    let two = world.operator("two");
    world.create("away", json!({"kafka": {"bootstrapServers": nowhere()}})).await;
    world.wait_for("away", "Reachable", "False Unreachable", 20 * SECOND).await;

    // SIGTERM: the other takes over within two seconds, and acts.
    wait_until("two to stand by", 10 * SECOND, || async { log(&two).contains("standing by") }).await.unwrap();
    let asked = Instant::now();
    one.terminate().await.unwrap();
    world.wait_for_leader("two", 2 * SECOND).await;
    assert!(asked.elapsed() < 2 * SECOND, "{:?}", asked.elapsed());
    assert!(!log(&one).contains("could not be given back"), "{}", log(&one));
    world.patch("away", json!({"spec": {"mode": "Observe"}})).await;
    world.wait_for("away", "Acting", "False ObserveOnly", 2 * SECOND).await;

    // An API server that is away for longer than the lease: the status catches up when it is back.
    world.plane.stop_api_server().await.unwrap();
    wait_until("two to be uncertain", 10 * SECOND, || async {
        log(&two).contains("uncertain whether this instance leads")
    })
    .await
    .unwrap();
    world.plane.start_api_server().await.unwrap();
    world.patch("away", json!({"spec": {"mode": "Approve"}})).await;
    world.wait_for("away", "Acting", "False NothingToDo", 45 * SECOND).await;

    // SIGSTOP past the lease, then SIGCONT: it finds another leading and writes no more.
    let three = world.operator("three");
    wait_until("three to stand by", 10 * SECOND, || async { log(&three).contains("standing by") })
        .await
        .unwrap();
    two.pause().unwrap();
    world.wait_for_leader("three", 6 * SECOND + 2 * SECOND).await;
    world.patch("away", json!({"spec": {"mode": "Observe"}})).await;
    world.wait_for("away", "Acting", "False ObserveOnly", 5 * SECOND).await;
    let version = world.version("away").await;
    two.resume().unwrap();
    wait_until("two to stand by", 5 * SECOND, || async {
        let log = log(&two);
        log.rfind("standing by: lease") > log.rfind("leading: lease")
    })
    .await
    .unwrap();
    world.wait_for_leader("three", SECOND).await;
    assert_eq!(
        world.version("away").await,
        version,
        "nothing was written, neither by the one nor by the other"
    );

    for operator in [two, three] {
        operator.terminate().await.unwrap();
    }
    assert_eq!(world.leader().await, None, "given back");
}
