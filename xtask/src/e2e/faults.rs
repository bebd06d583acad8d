//! What befalls brokers: each time the state, its cause and an Event, of this broker and of no other.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use doctorkafka_testbed::wait_until;
use serde_json::json;

use super::history::History;
use super::install::rolled_out;
use super::processes;
use super::watch::all_healthy;
use super::world::{Broker, KAFKA, POLICY, World};

const SEEN_WITHIN: Duration = Duration::from_secs(90);
/// An eviction waits for the pod's end: up to 60 s that a broker has to stop.
const EVICTED_WITHIN: &str = "--timeout=150s";

/// What should be said of a broker.
struct Expected {
    broker: i32,
    /// States with their reasons; each has to be seen.
    states: &'static [&'static str],
    /// What the Event that warns, and a state's message, has to say.
    words: &'static [&'static str],
    /// What only the state's message has to say: it is found out after the Event.
    later: &'static [&'static str],
}

/// A fault under observation, from before it is made until all is well again.
struct Case<'a> {
    world: &'a World,
    history: &'a History,
    expected: Expected,
    mark: usize,
    events: BTreeSet<String>,
    begun: Instant,
}

impl<'a> Case<'a> {
    /// To be called just before the fault is made.
    async fn begin(world: &'a World, history: &'a History, expected: Expected) -> Result<Self> {
        let events = events(world).await?;
        Ok(Self { world, history, expected, mark: history.mark(), events, begun: Instant::now() })
    }

    /// Waits until the states have been said of the broker.
    async fn seen(&self) -> Result<()> {
        let Expected { broker, states, words, later } = &self.expected;
        for wanted in *states {
            let what = format!("broker {broker} to be {wanted}");
            let seen = self.world.until(&what, SEEN_WITHIN, || async {
                let told = self.told();
                let fits = |b: &&Broker| {
                    let message = b.message.as_deref().unwrap_or_default();
                    format!("{} {}", b.state, b.reason) == *wanted
                        && (b.state == "Recovering"
                            || words.iter().chain(*later).all(|word| message.contains(word)))
                };
                let found = told.iter().find(fits).map(ToString::to_string);
                Ok(found.ok_or_else(|| told.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")))
            });
            println!("  {}", seen.await?);
        }
        println!("  told within {} s", self.begun.elapsed().as_secs());
        Ok(())
    }

    /// All that has been said of the broker since.
    fn told(&self) -> Vec<Broker> {
        self.history.since(self.mark).into_iter().filter(|b| b.id == self.expected.broker).collect()
    }

    /// Waits until all is well, and looks at what has been told on the way.
    async fn over(self) -> Result<()> {
        rolled_out(self.world).await?;
        all_healthy(self.world).await?;
        let Expected { broker, words, .. } = self.expected;
        let about = format!("broker {broker}: ");
        let told = |events: &BTreeSet<String>| -> std::result::Result<Vec<String>, String> {
            let new: Vec<String> =
                events.difference(&self.events).filter(|event| event.contains(&about)).cloned().collect();
            let warns = |e: &&String| e.starts_with("Warning") && words.iter().all(|word| e.contains(word));
            let complete = new.iter().any(|e| warns(&e)) && new.iter().any(|e| e.contains(" Recovered "));
            if complete { Ok(new) } else { Err(format!("{new:?}")) }
        };
        let what =
            format!("Events that warn of broker {broker} ({}) and tell of its return", words.join(", "));
        let new = self.world.until(&what, SEEN_WITHIN, || async { Ok(told(&events(self.world).await?)) });
        for event in new.await? {
            println!("  Event {event}");
        }
        let seen = self.history.since(self.mark);
        let others: Vec<String> =
            seen.iter().filter(|b| b.id != broker && b.state == "Unhealthy").map(Broker::to_string).collect();
        ensure!(others.is_empty(), "others were blamed: {}", others.join("; "));
        Ok(())
    }
}

/// The Events about the policy, each with its type, reason and text.
async fn events(world: &World) -> Result<BTreeSet<String>> {
    let selector = format!("--field-selector=involvedObject.name={POLICY}");
    let format =
        "--output=jsonpath={range .items[*]}{.type} {.reason} {.message} ({.metadata.name}){\"\\n\"}{end}";
    let text = world.kubectl(&["get", "events", "--namespace", KAFKA, &selector, format]).await?;
    Ok(text.lines().map(str::to_owned).collect())
}

/// The StatefulSet makes the pod anew, under the same name and with the same volume. A finalizer keeps the old one until it was
/// told: so small a broker stops, and the next one starts, within two seconds.
pub async fn pod_deleted(world: &World, history: &History) -> Result<()> {
    let finalizers = async |finalizers: serde_json::Value| {
        let patch = json!({"metadata": {"finalizers": finalizers}}).to_string();
        world
            .kubectl(&["patch", "pod", "kafka-2", "--namespace", KAFKA, "--type=merge", "--patch", &patch])
            .await
    };
    let expected = Expected {
        broker: 2,
        states: &["Unhealthy PodDeleted"],
        words: &["pod kafka-2 is being deleted"],
        later: &[],
    };
    let case = Case::begin(world, history, expected).await?;
    finalizers(json!(["e2e.doctorkafka.dev/until-told"])).await?;
    world.kubectl(&["delete", "pod", "kafka-2", "--namespace", KAFKA, "--wait=false"]).await?;
    case.seen().await?;
    finalizers(json!(null)).await?;
    case.over().await
}

/// `kill -9` from the node. The kubelet starts the container anew, in the same pod.
pub async fn process_killed(world: &World, history: &History) -> Result<()> {
    let expected = Expected {
        broker: 0,
        states: &["Unhealthy ProcessDown", "Recovering Starting"],
        words: &["process"],
        later: &[],
    };
    let pod = processes::pod_uid(world, "kafka-0").await?;
    let case = Case::begin(world, history, expected).await?;
    processes::kill(processes::broker(&pod)?)?;
    case.seen().await?;
    case.over().await?;
    let pod_after = processes::pod_uid(world, "kafka-0").await?;
    ensure!(pod == pod_after, "the pod was replaced, not its container restarted");
    Ok(())
}

/// More memory is taken in the broker's container than its limit allows, by processes that each are smaller than the
/// broker: the kernel ends the largest.
pub async fn out_of_memory(world: &World, history: &History) -> Result<()> {
    let expected = Expected {
        broker: 1,
        states: &["Unhealthy OOMKilled"],
        words: &["kafka-1 was OOMKilled", "exit code 137"],
        later: &[],
    };
    let case = Case::begin(world, history, expected).await?;
    let pod = processes::pod_uid(world, "kafka-1").await?;
    let before = processes::broker(&pod)?;
    // Each holds what it has read for as long as nobody reads on.
    let eat =
        "for part in 1 2 3 4 5 6; do dd if=/dev/zero bs=120M count=1 status=none | sleep 20 & done; wait";
    let inside = ["exec", "kafka-1", "--namespace", KAFKA, "--container=kafka", "--", "sh", "-c", eat];
    // Ends with the container, or else when it has slept.
    world.kubectl(&inside).await.ok();
    let restarted = wait_until("another broker process", SEEN_WITHIN, || async {
        processes::broker(&pod).is_ok_and(|now| now != before)
    });
    restarted.await.context("the kernel spared the broker")?;
    case.seen().await?;
    case.over().await
}

/// `kubectl drain`: the node takes no more pods, and a broker's pod is evicted by the Eviction API. Its successor has no
/// place until the node does take pods.
pub async fn drained(world: &World, history: &History) -> Result<()> {
    let expected = Expected {
        broker: 1,
        states: &["Unhealthy Evicted", "Unhealthy Unschedulable"],
        words: &["kafka-1", "evicted"],
        later: &[],
    };
    let node = world.node_name();
    let case = Case::begin(world, history, expected).await?;
    let drain = |pod: &str, timeout: &'static str| {
        let selector = format!("--pod-selector=statefulset.kubernetes.io/pod-name={pod}");
        async move { world.kubectl(&["drain", node, &selector, "--ignore-daemonsets", timeout]).await }
    };
    let outcome = async {
        drain("kafka-1", EVICTED_WITHIN).await?;
        // One is away already: the disruption budget protects the others, as without the doctor.
        match drain("kafka-2", "--timeout=3s").await {
            Ok(_) => bail!("a second broker was evicted against the disruption budget"),
            Err(error) if format!("{error:#}").contains("disruption budget") => {}
            Err(error) => return Err(error),
        }
        case.seen().await
    }
    .await;
    world.kubectl(&["uncordon", node]).await?;
    outcome?;
    case.over().await
}

/// A file fills the broker's volume: first the warning, then, with the last byte, the broker's end.
pub async fn volume_full(world: &World, history: &History) -> Result<()> {
    let within = |script: String| async move {
        let exec = ["exec", "kafka-2", "--namespace", KAFKA, "--container=kafka", "--", "sh", "-c", &script];
        world.kubectl(&exec).await
    };
    let expected = Expected {
        broker: 2,
        states: &["Overloaded DiskAbove"],
        words: &["Disk usage", "> 85%"],
        later: &[],
    };
    let case = Case::begin(world, history, expected).await?;
    let size = super::install::SMALL_VOLUME_MEGABYTES * 92 / 100;
    within(format!("dd if=/dev/zero of={FILLER} bs=1M count={size} status=none")).await?;
    case.seen().await?;
    within(format!("rm {FILLER}")).await?;
    case.over().await?;

    let expected = Expected {
        broker: 2,
        states: &["Unhealthy ProcessDown"],
        words: &["the disk of its logs is 100% full"],
        later: &[],
    };
    let case = Case::begin(world, history, expected).await?;
    // Ends when nothing more goes in, or with the broker.
    within(format!("dd if=/dev/zero of={FILLER} bs=1M status=none")).await.ok();
    case.seen().await?;
    world.apply(&cleaner().to_string()).await?;
    let cleaned = world.until("the file to be gone", SEEN_WITHIN, || async {
        let phase = ["get", "pod", "cleaner", "--namespace", KAFKA, "--output=jsonpath={.status.phase}"];
        let phase = world.kubectl(&phase).await?;
        Ok(if phase == "Succeeded" { Ok(()) } else { Err(phase) })
    });
    cleaned.await?;
    world.kubectl(&["delete", "pod", "cleaner", "--namespace", KAFKA, "--now"]).await?;
    // The kubelet would let a container that ended again and again wait for minutes.
    world.kubectl(&["delete", "pod", "kafka-2", "--namespace", KAFKA]).await?;
    case.over().await
}

/// Removes the file while the broker's own container does not run.
fn cleaner() -> serde_json::Value {
    let mut pod = super::tools::tool("cleaner", &[]);
    pod["spec"]["containers"][0]["command"] = json!(["rm", "-f", "/data/filler"]);
    pod["spec"]["containers"][0]["volumeMounts"] = json!([{ "name": "data", "mountPath": "/data" }]);
    pod["spec"]["volumes"] =
        json!([{ "name": "data", "persistentVolumeClaim": { "claimName": "data-kafka-2" } }]);
    pod["spec"]["securityContext"]["runAsUser"] = json!(1000);
    pod
}

/// Beside the broker's own data.
const FILLER: &str = "/var/lib/kafka/data/filler";
