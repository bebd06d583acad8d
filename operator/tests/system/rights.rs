//! The rights that `deploy/examples` gives to the doctor and to sidecars are enough on a cluster that asks for them, and the
//! first list is not enough to change anything.

use std::path::Path;

use doctorkafka_testbed::{KafkaCluster, Listener, Process, free_port};
use doctorkafka_wire::{ActionKind, ActionRecord, Outcome};
use tokio::process::Command;

use crate::{
    moves::{until, until_unthrottled},
    world::{Doctor, Watch, World, binary},
};

const PASSWORD: &str = "correcthorsebatterystaple";
const DOCTOR: &str = "doctor";
const SIDECAR: &str = "doctor-sidecar";

/// What the documentation asks for besides, where no Kubernetes elects the leader.
const STANDALONE: &str =
    "--allow-principal $DOCTOR --operation Read --resource-pattern-type prefixed --group doctorkafka-";

/// Gives the rights that an example's script gives.
async fn allow(kafka: &KafkaCluster, example: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/examples/bitnami").join(example);
    let script = std::fs::read_to_string(path).unwrap();
    let lines: Vec<&str> = script.lines().filter_map(|line| line.trim().strip_prefix("$acl ")).collect();
    assert!(lines.len() >= 5, "{example} has changed: {lines:?}");
    for line in lines.into_iter().chain([STANDALONE]) {
        let line = line
            .replace("$DOCTOR", &format!("User:{DOCTOR}"))
            .replace("$SIDECAR", &format!("User:{SIDECAR}"));
        let mut tool = kafka.tool("org.apache.kafka.tools.AclCommand");
        tool.args(["--bootstrap-server", &kafka.bootstrap(), "--add"]);
        tool.args(line.split_whitespace().map(|word| word.trim_matches(['"', '\''])));
        let output = tool.output().await.unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

fn start_sidecar(world: &World, id: i32, password: &Path) -> Process {
    let broker = world.kafka.broker(id);
    let mut command = Command::new(binary("doctorkafka-sidecar"));
    command
        .env("BROKER_ID", id.to_string())
        .env("KAFKA_BROKERS", world.kafka.bootstrap_of("SASL"))
        .env("SASL_MECHANISM", "PLAIN")
        .env("SASL_USERNAME", SIDECAR)
        .env("SASL_PASSWORD_FILE", password)
        .args(["--broker-match".as_ref(), broker.config().as_os_str()])
        .args(["--probe", broker.address(), "--listen", "127.0.0.1:0"]);
    Process::spawn(format!("sidecar {id}"), command, world.folder.path().join(format!("sidecar-{id}.log")))
        .unwrap()
}

fn start_doctor(world: &World, secrets: &Path) -> Doctor {
    let api = format!("127.0.0.1:{}", free_port().unwrap());
    let mut command = Command::new(env!("CARGO_BIN_EXE_doctorkafka-operator"));
    command.arg("standalone").arg("--policy").arg(world.folder.path().join("policy.yaml"));
    command.arg("--secrets-dir").arg(secrets).args(["--api-listen", &api, "--dashboard-listen", "off"]);
    let process = Process::spawn("doctor", command, world.folder.path().join("doctor.log")).unwrap();
    Doctor { process, watch: Watch::start(&api), api }
}

/// The policy of the example, on this cluster, with broker 4 to be drained.
fn policy(world: &World, mode: &str) {
    let text = format!(
        "apiVersion: doctorkafka.dev/v1alpha1\nkind: KafkaHealthPolicy\nmetadata: {{name: test}}\nspec:\n  kafka:\n    \
         bootstrapServers: '{}'\n    \
         authentication: {{plain: {{username: {DOCTOR}, passwordSecret: {{secretName: doctor, password: password}}}}}}\n  \
         mode: {mode}\n  drain: {{brokers: [4]}}\n  \
         limits: {{cooldown: 5s, replicationThrottle: 100MB/s, maxDisk: 98}}\n",
        world.kafka.bootstrap_of("SASL")
    );
    std::fs::write(world.folder.path().join("policy.yaml"), text).unwrap();
}

fn ended(actions: &[ActionRecord], outcome: Outcome) -> Option<&ActionRecord> {
    actions.iter().find(|a| a.kind == ActionKind::ReassignPartitions && a.outcome == Some(outcome))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_give_rights_enough_to_watch_and_to_act_and_no_more() {
    let kafka = KafkaCluster::builder()
        .brokers(4)
        .user(DOCTOR, PASSWORD)
        .user(SIDECAR, PASSWORD)
        .listener(Listener::new("SASL").sasl(&["PLAIN"]))
        .property("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer")
        // The brokers themselves, and this test.
        .property("super.users", "User:ANONYMOUS");
    let world = World::on(kafka.start().await.unwrap(), &[]).await;
    let password = world.folder.path().join("secrets/doctor/password");
    std::fs::create_dir_all(password.parent().unwrap()).unwrap();
    std::fs::write(&password, PASSWORD).unwrap();
    allow(&world.kafka, "acls-observe.yaml").await;

    policy(&world, "Recommend");
    let _sidecars: Vec<Process> = (1..=4).map(|id| start_sidecar(&world, id, &password)).collect();
    let doctor = start_doctor(&world, &world.folder.path().join("secrets"));
    doctor.until_leading().await;
    doctor.until_healthy(4).await;
    world.actions_until("draining to be proposed", |all| ended(all, Outcome::Proposed).is_some()).await;
    let log = || std::fs::read_to_string(world.folder.path().join("doctor.log")).unwrap();
    assert!(!log().contains("AuthorizationFailed"), "a right is missing to watch and recommend: {}", log());

    // Let to act, it is held back by Kafka, and says so.
    policy(&world, "Auto");
    let denied = |all: &[ActionRecord]| all.iter().any(|a| a.message.contains("AuthorizationFailed"));
    world.actions_until("the missing right to be told", denied).await;
    until(&world, "broker 4 to be as it was", 4, |holds, _| holds > 0).await;

    allow(&world.kafka, "acls-act.yaml").await;
    until(&world, "broker 4 to be drained", 4, |holds, _| holds == 0).await;
    until_unthrottled(&world, &[1, 2, 3, 4]).await;
}
