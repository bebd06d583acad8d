//! Stand-ins for the parts of Strimzi and Koperator that make, replace and delete brokers' pods.
//!
//! Strimzi's (StrimziPodSetController, KafkaRoller): makes missing pods; deletes those that ended; when a pod's annotation
//! `strimzi.io/revision` is not the wanted one, deletes it, one at a time, and only while every pod, as a whole, is Ready.
//! Koperator's (handleRollingUpgrade): makes the pod when it is not there, and deletes it when a container of it ended.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::super::world::World;
use super::pods::{STRIMZI, koperator};
use super::{MIXED, owned_by};

const EVERY: Duration = Duration::from_secs(1);
const ROUNDS_WITHIN: Duration = Duration::from_secs(180);

/// Both of them.
pub struct StandIn<'a> {
    world: &'a World,
    rounds: AtomicU64,
    rolled: AtomicU64,
    content: AtomicBool,
}

impl<'a> StandIn<'a> {
    pub fn new(world: &'a World) -> Self {
        let (rounds, rolled, content) = Default::default();
        Self { world, rounds, rolled, content }
    }

    /// How many pods were replaced for their revision.
    pub fn rolled(&self) -> u64 {
        self.rolled.load(Ordering::Relaxed)
    }

    /// Whether at the last look all pods were there, Ready and of the wanted revision.
    pub fn is_content(&self) -> bool {
        self.content.load(Ordering::Relaxed)
    }

    /// Waits for so many more looks.
    pub async fn rounds(&self, number: u64) -> Result<()> {
        let until = self.rounds.load(Ordering::Relaxed) + number;
        let passed = || async {
            let now = self.rounds.load(Ordering::Relaxed);
            Ok(if now >= until { Ok(()) } else { Err(format!("round {now}")) })
        };
        self.world.until("the stand-ins' rounds", ROUNDS_WITHIN, passed).await
    }

    /// Works until it is dropped.
    pub async fn work(&self) -> Result<()> {
        let mut every = tokio::time::interval(EVERY);
        loop {
            every.tick().await;
            let objects = self.world.json(&["get", "pods,strimzipodsets", "--namespace", MIXED]).await?;
            let objects = objects["items"].as_array().context("a list of objects")?;
            let pods: Vec<&Value> = objects.iter().filter(|object| object["kind"] == "Pod").collect();
            for set in objects.iter().filter(|object| object["kind"] == "StrimziPodSet") {
                self.strimzi(set, &pods).await?;
            }
            self.koperator(&pods).await?;
            self.rounds.fetch_add(1, Ordering::Relaxed);
        }
    }

    async fn strimzi(&self, set: &Value, pods: &[&Value]) -> Result<()> {
        let wanted = set["spec"]["pods"].as_array().context("a StrimziPodSet without pods")?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (mut ready, mut current, mut old) = (0, 0, None);
        for pod in wanted {
            let found = pods.iter().find(|there| there["metadata"]["name"] == pod["metadata"]["name"]);
            let Some(there) = found else {
                let mut pod = pod.clone();
                let (name, uid) = (text(&set["metadata"]["name"]), text(&set["metadata"]["uid"]));
                owned_by(&mut pod, "StrimziPodSet", STRIMZI, &name, &uid);
                self.world.apply(&pod.to_string()).await?;
                continue;
            };
            if has_ended(there) {
                self.delete(there).await?;
                continue;
            }
            ready += u64::from(is_ready(there));
            let revision = |pod: &Value| text(&pod["metadata"]["annotations"]["strimzi.io/revision"]);
            if revision(there) == revision(pod) {
                current += 1;
            } else {
                old = Some(there);
            }
        }
        let all = u64::try_from(wanted.len()).unwrap_or_default();
        if let Some(old) = old.filter(|_| ready == all) {
            self.delete(old).await?;
            self.rolled.fetch_add(1, Ordering::Relaxed);
        }
        self.content.store(ready == all && current == all, Ordering::Relaxed);
        let status = json!({ "status": {
            "observedGeneration": set["metadata"]["generation"], "pods": all, "readyPods": ready, "currentPods": current,
        } });
        if ["pods", "readyPods", "currentPods"].iter().any(|key| set["status"][key] != status["status"][key])
        {
            let (name, status) = (text(&set["metadata"]["name"]), status.to_string());
            let patch = [
                "patch",
                "strimzipodset",
                &name,
                "--namespace",
                MIXED,
                "--subresource=status",
                "--type=merge",
            ];
            self.world.kubectl(&[patch.as_slice(), &["--patch", &status]].concat()).await?;
        }
        Ok(())
    }

    async fn koperator(&self, pods: &[&Value]) -> Result<()> {
        let mine = pods.iter().find(|pod| pod["metadata"]["labels"]["kafka_cr"] == "events");
        match mine {
            None => self.world.create(&koperator().to_string()).await,
            Some(pod) if has_ended(pod) || a_container_ended(pod) => self.delete(pod).await,
            Some(_) => Ok(()),
        }
    }

    async fn delete(&self, pod: &Value) -> Result<()> {
        if !pod["metadata"]["deletionTimestamp"].is_null() {
            return Ok(());
        }
        let name = pod["metadata"]["name"].as_str().context("a pod without a name")?;
        let delete = ["delete", "pod", name, "--namespace", MIXED, "--wait=false", "--ignore-not-found"];
        self.world.kubectl(&delete).await.map(|_output| ())
    }
}

fn has_ended(pod: &Value) -> bool {
    ["Succeeded", "Failed"].iter().any(|phase| pod["status"]["phase"] == *phase)
}

/// Koperator's `IsPodContainsTerminatedContainer`: any container, and a native sidecar that ended with an error.
fn a_container_ended(pod: &Value) -> bool {
    let ended = |kind: &str| {
        let statuses = pod["status"][kind].as_array().into_iter().flatten();
        statuses.map(|container| &container["state"]["terminated"]).filter(|it| !it.is_null())
    };
    let failed = |it: &Value| it["reason"].as_str().is_some_and(|reason| reason.contains("Error"));
    ended("containerStatuses").next().is_some() || ended("initContainerStatuses").any(failed)
}

/// The condition of the pod as a whole: also of sidecars.
fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    let ready = |condition: &Value| condition["type"] == "Ready" && condition["status"] == "True";
    pod["metadata"]["deletionTimestamp"].is_null() && conditions.into_iter().flatten().any(ready)
}
