//! The doctor leaves.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::world::{DOCTOR, KAFKA, POLICY, World};

const GONE_WITHIN: Duration = Duration::from_secs(120);

/// Uninstalls, looks through every kind of object, deletes the namespace of a policy that nobody watches any more.
pub async fn all(world: &World) -> Result<()> {
    world.helm(&["uninstall", DOCTOR, "--namespace", DOCTOR, "--wait", "--timeout=120s"]).await?;
    world
        .until("nothing of the doctor's to be left", GONE_WITHIN, || async {
            let left = left(world).await?;
            Ok(if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) })
        })
        .await?;
    let policy = world.json(&["get", "kafkahealth", POLICY, "--namespace", KAFKA]).await?;
    ensure!(policy["metadata"]["finalizers"].is_null(), "a finalizer is left on the policy");
    world.kubectl(&["delete", "namespace", KAFKA, "--wait=true", "--timeout=180s"]).await?;
    println!("  no object is left but the CRDs; namespace {KAFKA} with its policy is gone");
    Ok(())
}

/// Every object whose name speaks of the doctor. What people made stays by design: policies, with their CRDs; so does
/// the namespace, which Helm did not make. Events end by themselves.
async fn left(world: &World) -> Result<BTreeSet<String>> {
    let kinds = world.kubectl(&["api-resources", "--verbs=list", "--output=name"]).await?;
    let kinds: Vec<&str> = kinds.lines().filter(|kind| !kind.starts_with("events")).collect();
    let objects = world
        .kubectl(&["get", &kinds.join(","), "--all-namespaces", "--output=name", "--ignore-not-found"])
        .await?;
    let stays = [
        "namespace/doctorkafka",
        "customresourcedefinition.apiextensions.k8s.io/",
        "kafkahealthpolicy.doctorkafka.dev/",
        "kafkareassignment.doctorkafka.dev/",
        // The API server's own, of the two kinds.
        "apiservice.apiregistration.k8s.io/",
    ];
    let is_left = |name: &&str| {
        name.contains("doctorkafka")
            && !name.starts_with("pod/kafka-")
            && !stays.iter().any(|kind| name.starts_with(kind))
    };
    Ok(objects.lines().filter(is_left).map(str::to_owned).collect())
}
