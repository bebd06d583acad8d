//! One real cluster with its sidecars and doctors, and eyes on what the doctors say.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use doctorkafka_testbed::{KafkaCluster, Process, free_port, wait_until};
use doctorkafka_wire::{ActionKind, ActionRecord, BrokerId};
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
};
use serde_json::Value;
use tokio::process::Command;

const LOG: &str = "_doctor_actions_log";

/// Every test's own cluster. Everything in it ends when it is dropped.
pub struct World {
    pub kafka: KafkaCluster,
    pub folder: tempfile::TempDir,
    sidecars: BTreeMap<i32, Process>,
}

impl World {
    /// Three brokers, a topic with load to move, and a sidecar beside each of the named brokers.
    pub async fn start(with_sidecars: &[i32]) -> Self {
        Self::of(3, with_sidecars).await
    }

    /// As [`World::start`], with so many brokers.
    pub async fn of(brokers: i32, with_sidecars: &[i32]) -> Self {
        let kafka = KafkaCluster::builder().brokers(brokers).start().await.unwrap();
        Self::on(kafka, with_sidecars).await
    }

    /// As [`World::start`], on a cluster of the test's own making.
    pub async fn on(kafka: KafkaCluster, with_sidecars: &[i32]) -> Self {
        kafka.create_topic("orders", 12, 3).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut world = Self { kafka, folder, sidecars: BTreeMap::new() };
        for id in with_sidecars {
            world.start_sidecar(*id);
        }
        world
    }

    pub fn start_sidecar(&mut self, id: i32) {
        self.spawn_sidecar(id, "127.0.0.1:0", &[]);
    }

    /// Starts a sidecar that lays simulated load over what it measures; gives the address of its pages.
    pub fn start_simulated_sidecar(&mut self, id: i32) -> String {
        let listen = format!("127.0.0.1:{}", free_port().unwrap());
        self.spawn_sidecar(id, &listen, &["--simulate", "--seed", "7"]);
        listen
    }

    fn spawn_sidecar(&mut self, id: i32, listen: &str, more: &[&str]) {
        let broker = self.kafka.broker(id);
        let mut command = Command::new(binary("doctorkafka-sidecar"));
        command
            .env("BROKER_ID", id.to_string())
            .env("KAFKA_BROKERS", self.kafka.bootstrap())
            .arg("--broker-match")
            .arg(broker.config())
            .args(["--probe", broker.address(), "--listen", listen])
            .args(more);
        let log = self.folder.path().join(format!("sidecar-{id}-{}.log", self.sidecars.len()));
        let process = Process::spawn(format!("sidecar {id}"), command, &log).unwrap();
        self.sidecars.insert(id, process);
    }

    pub fn sidecar(&self, id: i32) -> &Process {
        &self.sidecars[&id]
    }

    pub async fn kill_sidecar(&mut self, id: i32) {
        self.sidecars.remove(&id).unwrap().kill().await.unwrap();
    }

    /// A policy file; `detection` is YAML for `spec.detection`, in flow style.
    pub fn policy(&self, detection: &str) -> PathBuf {
        let path = self.folder.path().join("policy.yaml");
        let text = format!(
            "apiVersion: doctorkafka.dev/v1alpha1\nkind: KafkaHealthPolicy\nmetadata: {{name: test}}\nspec:\n  \
             kafka: {{bootstrapServers: '{}'}}\n  detection: {detection}\n",
            self.kafka.bootstrap()
        );
        std::fs::write(&path, text).unwrap();
        path
    }

    pub fn start_doctor(&self, name: &str) -> Doctor {
        Doctor::start(name, &self.policy("{}"), self.folder.path())
    }

    /// Every committed record of the actions log.
    pub async fn actions(&self) -> Vec<ActionRecord> {
        let bootstrap = self.kafka.bootstrap();
        tokio::task::spawn_blocking(move || read_log(&bootstrap)).await.unwrap()
    }

    /// Every record of the actions log, by Kafka's own console consumer at isolation level read_committed.
    pub async fn actions_by_console(&self) -> Vec<ActionRecord> {
        let mut command = self.kafka.tool("org.apache.kafka.tools.consumer.ConsoleConsumer");
        command.args(["--bootstrap-server", &self.kafka.bootstrap(), "--topic", LOG]).args([
            "--from-beginning",
            "--isolation-level",
            "read_committed",
            "--timeout-ms",
            "8000",
        ]);
        let output = command.output().await.unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        // Kafka's logging goes to the same place.
        let records = text.lines().filter(|line| line.starts_with('{'));
        records.map(|line| ActionRecord::decode(line.as_bytes()).unwrap()).collect()
    }

    /// Waits until the actions log has records that satisfy `enough`.
    pub async fn actions_until(
        &self,
        what: &str,
        enough: impl Fn(&[ActionRecord]) -> bool,
    ) -> Vec<ActionRecord> {
        let waited = wait_until(what, Duration::from_secs(60), || async {
            let actions = self.actions().await;
            enough(&actions).then_some(actions)
        });
        match waited.await {
            Ok(actions) => actions,
            Err(error) => panic!("{error}\n{:#?}", self.actions().await),
        }
    }

    /// The leader of a partition, by the cluster's metadata.
    pub async fn leader(&self, topic: &str, partition: i32) -> Option<i32> {
        let connection = doctorkafka_kafka::Connection::new(&self.kafka.bootstrap(), "test").unwrap();
        let topics = doctorkafka_kafka::Admin::new(connection).topics(Some(&[topic])).await.ok()?;
        let partition = topics.first()?.partitions.iter().find(|p| p.partition == partition)?.clone();
        partition.leader.map(|id| id.0)
    }

    pub async fn controller(&self) -> i32 {
        let connection = doctorkafka_kafka::Connection::new(&self.kafka.bootstrap(), "test").unwrap();
        let admin = doctorkafka_kafka::Admin::new(connection);
        wait_until("an active controller", Duration::from_secs(30), || async {
            admin.quorum_leader().await.ok().map(|leader| leader.id.0)
        })
        .await
        .unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // What the processes said is what one wants to read now.
            self.folder.disable_cleanup(true);
            eprintln!("logs: {}", self.folder.path().display());
        }
    }
}

/// A program of this workspace, from the target folder of this test.
pub fn binary(name: &str) -> PathBuf {
    let path = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join(name);
    assert!(path.exists(), "{} is missing: run `cargo build --workspace` first", path.display());
    path
}

/// A doctor in standalone mode.
pub struct Doctor {
    pub process: Process,
    /// Where its API and metrics are.
    pub api: String,
    pub watch: Watch,
}

impl Doctor {
    pub fn start(name: &str, policy: &Path, folder: &Path) -> Self {
        let api = format!("127.0.0.1:{}", free_port().unwrap());
        let mut command = Command::new(env!("CARGO_BIN_EXE_doctorkafka-operator"));
        command.arg("standalone").arg("--policy").arg(policy).args([
            "--api-listen",
            &api,
            "--dashboard-listen",
            "off",
        ]);
        let process = Process::spawn(name, command, folder.join(format!("{name}.log"))).unwrap();
        let watch = Watch::start(&api);
        Self { process, api, watch }
    }

    pub fn role(&self) -> String {
        self.watch.newest()["role"]["state"].as_str().unwrap_or("none").to_owned()
    }

    pub async fn until_leading(&self) {
        self.watch.until("this doctor leads", 40, |report| report["role"]["state"] == "leading").await;
    }

    pub async fn until_state(&self, id: i32, state: &str, seconds: u64) -> Instant {
        self.watch.until(&format!("broker {id} is {state}"), seconds, |r| state_of(r, id).0 == state).await
    }

    pub async fn until_all_healthy(&self) {
        self.until_healthy(3).await;
    }

    /// Waits until the first so many brokers are healthy.
    pub async fn until_healthy(&self, brokers: i32) {
        self.watch
            .until(&format!("all {brokers} brokers are Healthy"), 60, |report| {
                (1..=brokers).all(|id| state_of(report, id).0 == "Healthy")
            })
            .await;
    }
}

/// State and reason of a broker in a report.
pub fn state_of(report: &Value, id: i32) -> (String, String) {
    let brokers = report["brokers"].as_array().cloned().unwrap_or_default();
    let broker = brokers.into_iter().find(|broker| broker["id"] == id).unwrap_or_default();
    let text = |key: &str| broker[key].as_str().unwrap_or_default().to_owned();
    (text("state"), text("reason"))
}

/// A state that a broker was said to be in, from this moment on.
#[derive(Debug, Clone)]
// The reason is for people: it is in what a failed test prints.
#[allow(dead_code)]
pub struct Seen {
    pub at: Instant,
    pub broker: i32,
    pub state: String,
    pub reason: String,
}

/// Reads a doctor's API many times a second and remembers every change of state it was told.
pub struct Watch {
    newest: Arc<Mutex<Value>>,
    seen: Arc<Mutex<Vec<Seen>>>,
    stop: Arc<AtomicBool>,
}

impl Watch {
    pub fn start(api: &str) -> Self {
        let watch = Self { newest: Arc::default(), seen: Arc::default(), stop: Arc::default() };
        let (newest, seen, stop) = (watch.newest.clone(), watch.seen.clone(), watch.stop.clone());
        let url = format!("http://{api}/api/v1/clusters");
        std::thread::spawn(move || {
            let agent: ureq::Agent =
                ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(2))).build().into();
            let mut states = BTreeMap::new();
            while !stop.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(40));
                let Ok(mut answer) = agent.get(&url).call() else { continue };
                let Ok(text) = answer.body_mut().read_to_string() else { continue };
                let Ok(Value::Array(clusters)) = serde_json::from_str(&text) else { continue };
                let Some(report) = clusters.into_iter().next() else { continue };
                for broker in report["brokers"].as_array().into_iter().flatten() {
                    let id = i32::try_from(broker["id"].as_i64().unwrap()).unwrap();
                    let (state, reason) = state_of(&report, id);
                    if states.insert(id, (state.clone(), reason.clone()))
                        != Some((state.clone(), reason.clone()))
                    {
                        seen.lock().unwrap().push(Seen { at: Instant::now(), broker: id, state, reason });
                    }
                }
                *newest.lock().unwrap() = report;
            }
        });
        watch
    }

    pub fn newest(&self) -> Value {
        self.newest.lock().unwrap().clone()
    }

    /// Every change that was told, in order.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Brokers that were said to be Unhealthy since `since`.
    pub fn unhealthy_since(&self, since: Instant) -> Vec<Seen> {
        self.seen().into_iter().filter(|seen| seen.at >= since && seen.state == "Unhealthy").collect()
    }

    /// Waits until the newest report satisfies `enough`; gives the moment.
    pub async fn until(&self, what: &str, seconds: u64, enough: impl Fn(&Value) -> bool) -> Instant {
        let result =
            wait_until(what, Duration::from_secs(seconds), || async { enough(&self.newest()) }).await;
        if let Err(error) = result {
            panic!("{error}\nnewest report: {:#}\nseen: {:#?}", self.newest(), self.seen());
        }
        Instant::now()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Reads the log to its end as it is now; nothing of it when there is no log, or Kafka does not answer for long.
fn read_log(bootstrap: &str) -> Vec<ActionRecord> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "reader")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        .set("enable.auto.commit", "false")
        .create()
        .unwrap();
    let mut all = TopicPartitionList::new();
    all.add_partition_offset(LOG, 0, Offset::Beginning).unwrap();
    consumer.assign(&all).unwrap();
    let (begin, mut records) = (Instant::now(), Vec::new());
    while begin.elapsed() < Duration::from_secs(20) {
        match consumer.poll(Duration::from_millis(200)) {
            Some(Ok(message)) => records.push(ActionRecord::decode(message.payload().unwrap()).unwrap()),
            Some(Err(KafkaError::PartitionEOF(_))) => return records,
            Some(Err(_)) | None => {}
        }
    }
    Vec::new()
}

/// Records about one broker, or about none, of one kind.
pub fn of_kind(actions: &[ActionRecord], kind: ActionKind, broker: Option<i32>) -> Vec<ActionRecord> {
    actions.iter().filter(|a| a.kind == kind && a.broker == broker.map(BrokerId)).cloned().collect()
}

/// All alerts: what must not be repeated.
pub fn alerts(actions: &[ActionRecord]) -> Vec<(ActionKind, Option<BrokerId>)> {
    use ActionKind::{AlertOverload, AlertUnhealthy, AlertUnknown};
    let is_alert = |a: &&ActionRecord| matches!(a.kind, AlertOverload | AlertUnhealthy | AlertUnknown);
    actions.iter().filter(is_alert).map(|a| (a.kind, a.broker)).collect()
}
