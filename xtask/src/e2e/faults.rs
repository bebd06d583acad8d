//! What befalls pods: each time the state, its cause and an Event.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;

use super::install::rolled_out;
use super::watch::all_healthy;
use super::world::{KAFKA, POLICY, World};

const SEEN_WITHIN: Duration = Duration::from_secs(60);

/// Every state and reason that the status has had of one broker, in order.
struct Sequence {
    broker: i32,
    seen: Arc<Mutex<Vec<String>>>,
    _watch: Child,
}

impl Sequence {
    /// Watches, so that what lasts a second is not missed.
    fn of(world: &World, broker: i32) -> Result<Self> {
        let mut kubectl = world.kubectl_command();
        kubectl.args(["get", "kafkahealth", POLICY, "--namespace", KAFKA, "--watch"]);
        kubectl.arg(
            "--output=jsonpath={range .status.brokers[*]}{.id}{\" \"}{.state}{\" \"}{.reason}{\"\\n\"}{end}",
        );
        let mut watch = kubectl.stdout(Stdio::piped()).spawn().context("kubectl cannot be run")?;
        let output = watch.stdout.take().context("kubectl without output")?;
        let seen = Arc::new(Mutex::new(Vec::<String>::new()));
        let list = Arc::clone(&seen);
        tokio::spawn(async move {
            let mut lines = BufReader::new(output).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let Some(state) = line.strip_prefix(&format!("{broker} ")) else { continue };
                let mut list = list.lock().unwrap_or_else(PoisonError::into_inner);
                if list.last().is_none_or(|last| last != state) {
                    list.push(state.to_owned());
                }
            }
        });
        Ok(Self { broker, seen, _watch: watch })
    }

    fn now(&self) -> Vec<String> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until one of `wanted` (`state reason`) has been seen.
    async fn shows(&self, world: &World, wanted: &[&str]) -> Result<()> {
        let what = format!("broker {} to be {}", self.broker, wanted.join(" or "));
        world
            .until(&what, SEEN_WITHIN, || async {
                let seen = self.now();
                let found = seen.iter().any(|state| wanted.contains(&state.as_str()));
                Ok(if found { Ok(()) } else { Err(seen.join(", ")) })
            })
            .await
    }

    /// Waits until all is well again; prints what happened and the Events about it.
    async fn ends_well(&self, world: &World, before: &BTreeSet<String>) -> Result<()> {
        rolled_out(world).await?;
        all_healthy(world).await?;
        println!("  broker {}: {}", self.broker, self.now().join(", "));
        let about = format!("roker {}", self.broker);
        let new: Vec<String> = events(world).await?.difference(before).cloned().collect();
        let new: Vec<&String> = new.iter().filter(|event| event.contains(&about)).collect();
        for event in &new {
            println!("  Event: {event}");
        }
        ensure!(!new.is_empty(), "no Event tells of broker {}", self.broker);
        Ok(())
    }
}

/// The Events about the policy, each with its time, reason and text.
async fn events(world: &World) -> Result<BTreeSet<String>> {
    let selector = format!("--field-selector=involvedObject.name={POLICY}");
    let format = "--output=jsonpath={range .items[*]}{.metadata.name} {.count}{.series.count} {.type} {.reason} {.message}{\"\\n\"}{end}";
    let text = world.kubectl(&["get", "events", "--namespace", KAFKA, &selector, format]).await?;
    Ok(text.lines().map(str::to_owned).collect())
}

/// Runs a script in the container of a broker.
async fn inside(world: &World, pod: &str, script: &str) -> Result<String> {
    world.kubectl(&["exec", pod, "--namespace", KAFKA, "--container=kafka", "--", "sh", "-c", script]).await
}

/// How often, and how for the last time, a pod's Kafka has ended.
async fn ends(world: &World, pod: &str) -> Result<(i64, String)> {
    let pod = world.json(&["get", "pod", pod, "--namespace", KAFKA]).await?;
    let statuses = pod["status"]["containerStatuses"].as_array().context("a pod's containers")?;
    let kafka = statuses.iter().find(|status| status["name"] == "kafka").context("Kafka's container")?;
    let last = kafka["lastState"]["terminated"]["reason"].as_str().unwrap_or("none");
    Ok((kafka["restartCount"].as_i64().unwrap_or(0), last.to_owned()))
}

/// SIGKILL to the JVM: the kubelet starts the container anew.
pub async fn killed(world: &World) -> Result<()> {
    let (restarts, _) = ends(world, "kafka-0").await?;
    let (before, sequence) = (events(world).await?, Sequence::of(world, 0)?);
    inside(world, "kafka-0", "kill -9 $(ps -C java -o pid=)").await.ok();
    sequence.shows(world, &["Unhealthy ProcessDown", "Recovering Starting"]).await?;
    sequence.ends_well(world, &before).await?;
    let (after, last) = ends(world, "kafka-0").await?;
    ensure!(after == restarts + 1, "{after} restarts after {restarts}");
    ensure!(
        !sequence.now().iter().any(|state| state.contains("OOMKilled")),
        "that was not for its memory ({last})"
    );
    Ok(())
}

/// A neighbour in the container takes its memory, and the kernel is told to choose the JVM.
pub async fn out_of_memory(world: &World) -> Result<()> {
    let (before, sequence) = (events(world).await?, Sequence::of(world, 1)?);
    let hungry = "echo 1000 > /proc/$(ps -C java -o pid= | tr -d ' ')/oom_score_adj; \
        head -c 2000000000 /dev/zero | tail -c 2000000000 > /dev/null";
    inside(world, "kafka-1", hungry).await.ok();
    sequence.shows(world, &["Unhealthy OOMKilled"]).await?;
    sequence.ends_well(world, &before).await?;
    let (_, last) = ends(world, "kafka-1").await?;
    ensure!(last == "OOMKilled", "the kubelet says {last}");
    Ok(())
}

/// The StatefulSet makes the pod anew, under the same name and with the same volume.
pub async fn pod_deleted(world: &World) -> Result<()> {
    let (before, sequence) = (events(world).await?, Sequence::of(world, 2)?);
    world.kubectl(&["delete", "pod", "kafka-2", "--namespace", KAFKA, "--wait=false"]).await?;
    sequence.shows(world, &["Unhealthy PodDeleted", "Unhealthy PodPending"]).await?;
    sequence.ends_well(world, &before).await
}
