//! From an empty node to a doctor and a Kafka that do not know each other yet.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::world::{DOCTOR, KAFKA, World};
use crate::steps::root;

/// The volume of broker 2: memory, of a size that a file fills in a second.
pub const SMALL_VOLUME_MEGABYTES: u32 = 400;
const SMALL_VOLUME_OF: &str = "data-kafka-2";

const KAFKA_STARTS_WITHIN: Duration = Duration::from_secs(420);
/// A share of a processor that three brokers and this machine's other work leave to each.
pub const CPU_LIMIT: &str = "600m";

/// `helm install`, as the README says; of the version before, so that there is something to upgrade from.
pub async fn chart(world: &World) -> Result<()> {
    let namespace = json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": { "name": DOCTOR, "labels": {
            "pod-security.kubernetes.io/enforce": "restricted",
            "pod-security.kubernetes.io/enforce-version": "latest",
        } },
    });
    world.apply(&namespace.to_string()).await?;
    let chart = super::upgrade::previous(&world.folder()?)?.display().to_string();
    world.helm(&["install", DOCTOR, &chart, "--namespace", DOCTOR, "--wait", "--timeout=180s"]).await?;
    // Helm is content when the disruption budget is.
    let deployment = "deployment/doctorkafka-operator";
    world.kubectl(&["rollout", "status", deployment, "--namespace", DOCTOR, "--timeout=120s"]).await?;
    let pods = world.json(&["get", "pods", "--namespace", DOCTOR]).await?;
    let pods = pods["items"].as_array().context("a list of pods")?;
    ensure!(pods.len() == 2, "{} operators instead of 2", pods.len());
    println!("{}", indented(&world.kubectl(&["get", "pods", "--namespace", DOCTOR]).await?));
    let tested = world.helm(&["test", DOCTOR, "--namespace", DOCTOR, "--timeout=90s"]).await;
    let logs = world.kubectl(&["logs", "doctorkafka-test", "--namespace", DOCTOR, "--ignore-errors"]).await;
    tested.with_context(|| logs.unwrap_or_default())?;
    println!("  helm test: an operator answers behind its Service");
    Ok(())
}

/// `deploy/examples/kafka.yaml`, on volumes of the node, at first without the label that asks for a sidecar.
pub async fn kafka(world: &World) -> Result<()> {
    volumes(world, KAFKA, 3).await?;
    let without_label: String =
        manifests()?.lines().filter(|line| !line.contains(INJECT)).map(|l| format!("{l}\n")).collect();
    world.apply(&without_label).await?;
    rolled_out(world).await?;
    let containers = world.kubectl(&["get", "pods", "--namespace", KAFKA, CONTAINERS]).await?;
    ensure!(!containers.contains("doctorkafka"), "a pod has a sidecar that was not asked for: {containers}");
    println!("{}", indented(&world.kubectl(&["get", "pods", "--namespace", KAFKA]).await?));
    Ok(())
}

const INJECT: &str = "doctorkafka.dev/inject";
const CONTAINERS: &str = "--output=jsonpath={.items[*].spec['initContainers','containers'][*].name}";

/// The example as it is printed, but for the share of a processor.
pub fn manifests() -> Result<String> {
    let path = root().join("deploy/examples/kafka.yaml");
    let text =
        std::fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))?;
    let limited = text.replacen("limits: { cpu: \"1\"", &format!("limits: {{ cpu: {CPU_LIMIT}"), 1);
    ensure!(limited != text, "{} does not limit the processor to 1 any more", path.display());
    ensure!(text.contains(INJECT), "{} does not ask for sidecars any more", path.display());
    Ok(limited)
}

/// All three brokers are ready.
pub async fn rolled_out(world: &World) -> Result<()> {
    world
        .until("three ready Kafka pods", KAFKA_STARTS_WITHIN, || async {
            let set = world.json(&["get", "statefulset", "kafka", "--namespace", KAFKA]).await?;
            let number = |key: &str| set["status"][key].as_i64().unwrap_or(0);
            let observed = set["status"]["observedGeneration"] == set["metadata"]["generation"];
            let done = observed && number("readyReplicas") == 3 && number("updatedReplicas") == 3;
            Ok(if done { Ok(()) } else { Err(set["status"].to_string()) })
        })
        .await
}

/// Folders of the node as volumes. There is nobody who would make them when they are asked for.
pub async fn volumes(world: &World, prefix: &str, number: usize) -> Result<()> {
    for number in 0..number {
        let name = format!("{prefix}-{number}");
        let folder = world.folder()?.join(&name);
        std::fs::create_dir(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        // The kubelet gives such volumes no group.
        std::fs::set_permissions(&folder, PermissionsExt::from_mode(0o777))?;
        let mut volume = json!({
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": { "name": name },
            "spec": {
                "capacity": { "storage": "2Gi" },
                "accessModes": ["ReadWriteOnce"],
                "hostPath": { "path": folder, "type": "Directory" },
            },
        });
        if prefix == KAFKA {
            let claim = format!("data-kafka-{number}");
            volume["spec"]["claimRef"] = json!({ "namespace": KAFKA, "name": claim });
            if claim == SMALL_VOLUME_OF {
                world.mount_memory(&folder, SMALL_VOLUME_MEGABYTES).await?;
            }
        }
        world.apply(&volume.to_string()).await?;
    }
    Ok(())
}

/// Below a heading.
pub fn indented(text: &str) -> String {
    text.trim_end().lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}
