//! The standalone mode beyond its engine: the policy file is edited, the log is taken over by a stranger, signals come.

#![allow(clippy::unwrap_used)]

use doctorkafka_kafka::{ActionLogWriter, Connection};
use doctorkafka_testbed::{KafkaCluster, Process, free_port, wait_until};
use serde_json::Value;
use std::{fs, path::PathBuf, time::Duration};
use tokio::process::Command;

const LIMIT: Duration = Duration::from_secs(60);

/// A doctor in standalone mode with its policy file.
struct Doctor {
    process: Process,
    policy: PathBuf,
    api: String,
    agent: ureq::Agent,
    bootstrap: String,
    _folder: tempfile::TempDir,
}

impl Doctor {
    fn start(bootstrap: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let policy = folder.path().join("policy.yaml");
        fs::write(&policy, policy_of(bootstrap, "{}", "_doctor_metrics")).unwrap();
        let api = format!("127.0.0.1:{}", free_port().unwrap());
        let mut command = Command::new(env!("CARGO_BIN_EXE_doctorkafka-operator"));
        command.arg("standalone").arg("--policy").arg(&policy).args([
            "--dashboard-listen",
            "off",
            "--api-listen",
            &api,
        ]);
        let process = Process::spawn("doctor", command, folder.path().join("doctor.log")).unwrap();
        let config = ureq::Agent::config_builder().http_status_as_error(false);
        let agent = config.timeout_global(Some(Duration::from_secs(5))).build().into();
        Self { process, policy, api, agent, bootstrap: bootstrap.to_owned(), _folder: folder }
    }

    fn edit(&self, detection: &str, metrics_topic: &str) {
        fs::write(&self.policy, policy_of(&self.bootstrap, detection, metrics_topic)).unwrap();
    }

    /// Status and body; status 0 when it does not answer.
    fn get(&self, path: &str) -> (u16, String) {
        match self.agent.get(format!("http://{}{path}", self.api)).call() {
            Ok(mut answer) => {
                (answer.status().as_u16(), answer.body_mut().read_to_string().unwrap_or_default())
            }
            Err(_) => (0, String::new()),
        }
    }

    fn report(&self) -> Value {
        let clusters: Value = serde_json::from_str(&self.get("/api/v1/clusters").1).unwrap_or_default();
        clusters[0].clone()
    }

    fn epoch(&self) -> Option<u64> {
        self.report()["role"]["epoch"].as_u64()
    }

    /// Whether a metric's line is in a scrape.
    fn has_metric(&self, line: &str) -> bool {
        self.get("/metrics").1.lines().any(|found| found == line)
    }

    fn has_logged(&self, text: &str) -> bool {
        fs::read_to_string(self.process.log()).unwrap_or_default().contains(text)
    }

    async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        if let Err(error) = wait_until(what, LIMIT, || async { holds(self) }).await {
            panic!("{error}\nreport: {:#}\nlog: {}", self.report(), self.process.log_tail());
        }
    }

    fn interrupt(&self) {
        let sent =
            std::process::Command::new("kill").args(["-INT", &self.process.pid().to_string()]).status();
        assert!(sent.unwrap().success());
    }
}

fn policy_of(bootstrap: &str, detection: &str, metrics_topic: &str) -> String {
    format!(
        "apiVersion: doctorkafka.dev/v1alpha1\nkind: KafkaHealthPolicy\nmetadata: {{name: prod}}\nspec:\n  \
         kafka: {{bootstrapServers: '{bootstrap}'}}\n  detection: {detection}\n  topics: {{metrics: {metrics_topic}}}\n"
    )
}

const REFUSED: &str = "doctorkafka_policy_refused{policy=\"prod\"} 1";
const IN_FORCE: &str = "doctorkafka_policy_refused{policy=\"prod\"} 0";

#[tokio::test(flavor = "multi_thread")]
async fn edits_take_effect_or_are_refused() {
    let kafka = KafkaCluster::builder().brokers(1).start().await.unwrap();
    let doctor = Doctor::start(&kafka.bootstrap());
    doctor.until("it leads", |doctor| doctor.epoch() == Some(1)).await;
    assert!(doctor.has_metric("doctorkafka_leader 1"));
    assert!(doctor.has_metric(IN_FORCE));

    doctor.edit("{cpu: {overloadedAbove: 80, recoveredBelow: 85}}", "_doctor_metrics");
    doctor.until("the edit is refused", |doctor| doctor.has_metric(REFUSED)).await;
    assert!(
        doctor.has_logged("spec.detection.cpu.recoveredBelow: must be below overloadedAbove (80), got 85")
    );
    assert_eq!(doctor.epoch(), Some(1), "the last good policy stays in force");

    doctor.edit("{cpu: {overloadedAbove: 90, recoveredBelow: 85}}", "_doctor_metrics");
    doctor.until("the next one is in force", |doctor| doctor.has_metric(IN_FORCE)).await;
    assert_eq!(doctor.epoch(), Some(1), "the same engine goes on");

    doctor.edit("{}", "other_metrics");
    doctor.until("a new engine leads", |doctor| doctor.epoch() == Some(2)).await;
    kafka_has_topic(&kafka, "other_metrics").await;
    assert_eq!(doctor.get("/healthz").0, 200);
    assert!(doctor.process.terminate().await.unwrap().success());
}

async fn kafka_has_topic(kafka: &KafkaCluster, topic: &str) {
    let admin = doctorkafka_kafka::Admin::new(Connection::new(&kafka.bootstrap(), "test").unwrap());
    let found = wait_until("the topic", LIMIT, || async {
        admin.topics(Some(&[topic])).await.is_ok_and(|topics| topics.len() == 1)
    });
    found.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_doctor_whose_log_was_taken_over_stands_by_and_may_be_elected_again() {
    let kafka = KafkaCluster::builder().brokers(1).start().await.unwrap();
    let doctor = Doctor::start(&kafka.bootstrap());
    doctor.until("it has written that it leads", |doctor| doctor.report()["actions"][0]["epoch"] == 1).await;

    // A doctor that takes no part in this election, such as one on Kubernetes.
    let connection = Connection::new(&kafka.bootstrap(), "stranger").unwrap();
    let cluster = doctor.report()["kafka"]["clusterId"].as_str().unwrap().to_owned();
    let stranger = ActionLogWriter::open(connection, "_doctor_actions_log", &cluster).await.unwrap();
    // It shows at the next write: the alert that no report comes, for this broker has no sidecar.
    doctor
        .until("it was fenced", |doctor| doctor.has_logged("another doctor has taken over the actions log"))
        .await;
    drop(stranger);
    doctor.until("it leads again", |doctor| doctor.epoch() == Some(2)).await;
    assert_eq!(doctor.get("/healthz").0, 200);
    assert!(doctor.process.terminate().await.unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_kafka_refuses_is_told_until_it_does_not() {
    let kafka = KafkaCluster::builder().brokers(1).start().await.unwrap();
    // Kafka takes no two topics whose names differ in dots and underscores alone: their metrics would be one.
    kafka.create_topic("_doctor.metrics", 1, 1).await.unwrap();
    let doctor = Doctor::start(&kafka.bootstrap());
    let error = |doctor: &Doctor| doctor.report()["kafka"]["topicsError"].as_str().map(str::to_owned);
    doctor.until("the refusal is told", |doctor| error(doctor).is_some()).await;
    let told = error(&doctor).unwrap();
    for part in ["cannot create", "topic _doctor_metrics", "collides", "create them by hand"] {
        assert!(told.contains(part), "{part:?} is not in {told}");
    }
    assert_eq!((doctor.epoch(), &doctor.report()["kafka"]["reachable"]), (None, &Value::Bool(true)));

    let mut delete = kafka.tool("org.apache.kafka.tools.TopicCommand");
    delete.args(["--bootstrap-server", &kafka.bootstrap(), "--delete", "--topic", "_doctor.metrics"]);
    assert!(delete.status().await.unwrap().success());
    doctor.until("it leads", |doctor| doctor.epoch() == Some(1)).await;
    assert_eq!(error(&doctor), None);
    assert!(doctor.process.terminate().await.unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_kafka_it_says_so_and_ends_when_asked() {
    // Nothing listens on a port that was just free.
    let doctor = Doctor::start(&format!("127.0.0.1:{}", free_port().unwrap()));
    doctor.until("it is ready", |doctor| doctor.get("/readyz").0 == 200).await;
    assert!(doctor.has_metric("doctorkafka_kafka_reachable{policy=\"prod\"} 0"));
    assert!(doctor.report()["kafka"]["error"].as_str().unwrap().contains("127.0.0.1"));
    assert_eq!(doctor.get("/healthz").0, 200);
    assert!(doctor.process.terminate().await.unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_interrupt_ends_it_at_once() {
    let kafka = KafkaCluster::builder().brokers(1).start().await.unwrap();
    let doctor = Doctor::start(&kafka.bootstrap());
    doctor.until("it leads", |doctor| doctor.epoch() == Some(1)).await;
    // Leaving the group takes a while when nobody answers.
    kafka.pause(1).unwrap();
    doctor.interrupt();
    doctor.until("the first is heard", |doctor| doctor.has_logged("SIGINT received, ending")).await;
    doctor.interrupt();
    let status = doctor.process.wait(Duration::from_secs(5)).await.unwrap();
    kafka.resume(1).unwrap();
    assert_eq!(status.code(), Some(130), "{}", doctor.process.log_tail());
}
