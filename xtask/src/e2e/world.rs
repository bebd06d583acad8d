//! What scenarios act on and look at.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use doctorkafka_testbed::Node;
use serde::Deserialize;
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::history::History;

/// The namespace and release of the doctor.
pub const DOCTOR: &str = "doctorkafka";
/// The namespace of Kafka, as in the examples.
pub const KAFKA: &str = "kafka";
/// The policy of the examples.
pub const POLICY: &str = "demo";

const COMMAND_WITHIN: Duration = Duration::from_secs(240);
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Every look starts a kubectl, which takes a tenth of a second of the processor that the brokers share.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// A node, and how to speak with it.
pub struct World {
    node: Node,
}

/// A broker in a policy's status.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Broker {
    pub id: i32,
    #[serde(default)]
    pub pod: Option<String>,
    pub state: String,
    pub reason: String,
    #[serde(default)]
    pub message: Option<String>,
    #[serde(default)]
    pub cpu_percent: Option<i32>,
}

impl Broker {
    /// Whether both say the same of one broker, its figures left aside.
    pub fn says_the_same(&self, other: &Self) -> bool {
        let said = |b: &Self| (b.id, b.state.clone(), b.reason.clone(), b.message.clone());
        said(self) == said(other)
    }
}

impl std::fmt::Display for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { id, pod, state, reason, cpu_percent, .. } = self;
        let pod = pod.as_deref().unwrap_or("no pod");
        write!(f, "broker {id} ({pod}) {state} {reason}")?;
        if let Some(percent) = cpu_percent {
            write!(f, " CPU {percent} %")?;
        }
        if let Some(message) = self.message.as_ref().filter(|_| state != "Healthy") {
            write!(f, ": {message}")?;
        }
        Ok(())
    }
}

impl World {
    /// Starts a node.
    pub async fn start() -> Result<Self> {
        Ok(Self { node: Node::start().await? })
    }

    /// Loads an image's archive.
    pub async fn load(&self, archive: &Path) -> Result<()> {
        self.node.load_image(archive).await
    }

    /// The administrator's.
    pub fn kubeconfig(&self) -> PathBuf {
        self.node.kubeconfig()
    }

    /// The name of its one node.
    pub fn node_name(&self) -> &'static str {
        self.node.name()
    }

    /// Watches a policy's status from now on.
    pub fn watch(&self, namespace: &str, policy: &str) -> Result<History> {
        History::of(&self.node, namespace, policy)
    }

    /// Mounts memory on a folder of the node's.
    pub async fn mount_memory(&self, folder: &Path, megabytes: u32) -> Result<()> {
        self.node.mount_memory(folder, megabytes).await
    }

    /// What a pod answers to `GET` on a port; this machine reaches pods by their addresses.
    pub async fn get(&self, address: &str, port: u16, path: &str) -> Result<String> {
        let url = format!("http://{address}:{port}{path}");
        let asked = tokio::task::spawn_blocking(move || {
            let config = ureq::Agent::config_builder().timeout_global(Some(ANSWER_WITHIN)).build();
            let answer = ureq::Agent::from(config).get(&url).call();
            answer.and_then(|mut answer| answer.body_mut().read_to_string()).with_context(|| url)
        });
        asked.await.context("a task that asked a pod ended")?
    }

    /// A folder that goes with the node, for volumes.
    pub fn folder(&self) -> Result<PathBuf> {
        let kubeconfig = self.kubeconfig();
        kubeconfig.parent().map(Path::to_path_buf).context("the node has no folder")
    }

    /// Runs kubectl; gives what it prints.
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let mut kubectl = self.node.kubectl();
        kubectl.args(arguments);
        output(kubectl, &format!("kubectl {}", arguments.join(" "))).await
    }

    /// Runs kubectl with `-o json`.
    pub async fn json(&self, arguments: &[&str]) -> Result<Value> {
        let text = self.kubectl(&[arguments, &["--output=json"]].concat()).await?;
        serde_json::from_str(&text).with_context(|| format!("kubectl {} gave no JSON", arguments.join(" ")))
    }

    /// Applies manifests.
    pub async fn apply(&self, manifests: &str) -> Result<()> {
        self.send("apply", manifests).await
    }

    /// Creates objects; such as have their names made by the API server.
    pub async fn create(&self, manifests: &str) -> Result<()> {
        self.send("create", manifests).await
    }

    async fn send(&self, how: &str, manifests: &str) -> Result<()> {
        let mut kubectl = self.node.kubectl();
        kubectl
            .args([how, "--filename=-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = kubectl.spawn().context("kubectl cannot be run")?;
        let mut input = child.stdin.take().context("kubectl takes no input")?;
        input.write_all(manifests.as_bytes()).await.context("kubectl does not read")?;
        drop(input);
        let output = tokio::time::timeout(COMMAND_WITHIN, child.wait_with_output()).await;
        let output = output
            .with_context(|| format!("kubectl {how} takes too long"))?
            .context("kubectl cannot be run")?;
        if !output.status.success() {
            bail!("kubectl {how}: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }

    /// Runs Helm; gives what it prints.
    pub async fn helm(&self, arguments: &[&str]) -> Result<String> {
        let mut helm = self.node.helm();
        helm.args(arguments);
        output(helm, &format!("helm {}", arguments.join(" "))).await
    }

    /// The brokers in the example policy's status, by id; none while there is no status.
    pub async fn brokers(&self) -> Result<Vec<Broker>> {
        self.brokers_of(KAFKA, POLICY).await
    }

    /// The same of another policy.
    pub async fn brokers_of(&self, namespace: &str, policy: &str) -> Result<Vec<Broker>> {
        let policy = self.json(&["get", "kafkahealth", policy, "--namespace", namespace]).await?;
        match policy.pointer("/status/brokers") {
            Some(brokers) => Deserialize::deserialize(brokers).context("a status that is not understood"),
            None => Ok(Vec::new()),
        }
    }

    /// Looks until something holds, and says what was seen last when it does not.
    pub async fn until<T, F>(&self, what: &str, within: Duration, mut look: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = Result<std::result::Result<T, String>>>,
    {
        let deadline = Instant::now() + within;
        loop {
            let seen = match look().await {
                Ok(Ok(value)) => return Ok(value),
                Ok(Err(seen)) => seen,
                Err(error) => format!("{error:#}"),
            };
            if Instant::now() > deadline {
                bail!("waited {} s for {what}; seen last: {seen}", within.as_secs());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Everything that helps to understand a failure.
    pub async fn describe(&self) -> String {
        let mut text = String::new();
        let looks: [&[&str]; 6] = [
            &["get", "pods", "--all-namespaces", "--output=wide"],
            &["get", "kafkahealth", "--all-namespaces", "--output=yaml"],
            &["get", "events", "--all-namespaces", "--sort-by=.lastTimestamp"],
            &["logs", "--namespace", DOCTOR, "--selector=app.kubernetes.io/component=operator", "--tail=40"],
            &["logs", "--namespace", KAFKA, "kafka-0", "--container=doctorkafka-sidecar", "--tail=20"],
            &["logs", "--namespace", KAFKA, "kafka-0", "--container=kafka", "--tail=20"],
        ];
        for look in looks {
            let seen = self.kubectl(look).await.unwrap_or_else(|error| format!("{error:#}"));
            text.push_str(&format!("--- kubectl {}\n", look.join(" ")));
            // Kafka names all of its partitions in one line.
            for line in seen.lines() {
                text.extend(line.chars().take(400).chain(['\n']));
            }
        }
        text.push_str(&self.node.logs());
        text
    }
}

async fn output(mut command: Command, what: &str) -> Result<String> {
    let output = tokio::time::timeout(COMMAND_WITHIN, command.output()).await;
    let output = output.with_context(|| format!("{what} takes too long"))?;
    let output = output.with_context(|| format!("{what} cannot be run"))?;
    if !output.status.success() {
        bail!("{what}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
