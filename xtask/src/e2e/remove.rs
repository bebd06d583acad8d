//! The doctor leaves.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::json;

use super::distributions::MIXED;
use super::world::{DOCTOR, KAFKA, World};

/// The namespace of a policy without a Kafka.
const NOWHERE: &str = "nowhere";
const GONE_WITHIN: Duration = Duration::from_secs(120);
/// Three brokers that all go at once do not hand over, so that each may take the 60 s that its pod is given.
const NAMESPACE_WITHIN: Duration = Duration::from_secs(150);

/// A namespace with a policy is deleted while the doctor runs: with its brokers, and where there never was a Kafka.
pub async fn namespaces(world: &World) -> Result<()> {
    let nowhere = ["namespace", "policy"].map(|kind| match kind {
        "namespace" => json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": NOWHERE } }),
        _ => json!({
            "apiVersion": "doctorkafka.dev/v1alpha1", "kind": "KafkaHealthPolicy",
            "metadata": { "name": NOWHERE, "namespace": NOWHERE },
            "spec": { "kafka": { "bootstrapServers": "nowhere.invalid:9092" } },
        }),
    });
    for object in &nowhere {
        world.apply(&object.to_string()).await?;
    }
    let watched = world.until("the policy without a Kafka to have a status", GONE_WITHIN, || async {
        let policy = world.json(&["get", "kafkahealth", NOWHERE, "--namespace", NOWHERE]).await?;
        let conditions = policy["status"]["conditions"].as_array().is_some_and(|all| !all.is_empty());
        Ok(if conditions { Ok(()) } else { Err(policy["status"].to_string()) })
    });
    watched.await?;
    for (namespace, what) in [(NOWHERE, "no Kafka can be reached"), (KAFKA, "three brokers run")] {
        let begun = Instant::now();
        world.kubectl(&["delete", "namespace", namespace, "--wait=false"]).await?;
        world
            .until(&format!("namespace {namespace} to be gone"), NAMESPACE_WITHIN, || async {
                let found = ["get", "namespace", namespace, "--ignore-not-found", "--output=json"];
                let found = world.kubectl(&found).await?;
                Ok(if found.is_empty() { Ok(()) } else { Err(found) })
            })
            .await?;
        println!(
            "  namespace {namespace}, in which {what}, is gone with its policy after {} s",
            begun.elapsed().as_secs()
        );
    }
    Ok(())
}

/// Uninstalls, looks through every kind of object, deletes the namespace of a policy that nobody watches any more.
pub async fn all(world: &World) -> Result<()> {
    world.helm(&["uninstall", DOCTOR, "--namespace", DOCTOR, "--wait", "--timeout=120s"]).await?;
    world
        .until("nothing of the doctor's to be left", GONE_WITHIN, || async {
            let left = left(world).await?;
            Ok(if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) })
        })
        .await?;
    let policies = world.json(&["get", "kafkahealth", "--all-namespaces"]).await?;
    for policy in policies["items"].as_array().into_iter().flatten() {
        ensure!(policy["metadata"]["finalizers"].is_null(), "a finalizer is left on a policy: {policy}");
    }
    no_transaction_is_open(world).await?;
    let delete = ["delete", "namespace", KAFKA, MIXED, "--ignore-not-found", "--wait=true", "--timeout=180s"];
    world.kubectl(&delete).await?;
    println!("  no object is left but the CRDs; no policy has a finalizer");
    Ok(())
}

/// The leader's transaction is over: an open one would keep readers of the actions log from what comes after it.
async fn no_transaction_is_open(world: &World) -> Result<()> {
    let broker = "queue-kafka-controller-0";
    if world.kubectl(&["get", "pod", broker, "--namespace", MIXED, "--ignore-not-found"]).await?.is_empty() {
        return Ok(());
    }
    let list = ["org.apache.kafka.tools.TransactionsCommand", "--bootstrap-server=localhost:9092", "list"];
    let java = ["java", "-Xmx96m", "-XX:+UseSerialGC", "-cp", "/opt/kafka/libs/*"];
    let exec = ["exec", broker, "--namespace", MIXED, "--container=kafka", "--"];
    let listed = world.kubectl(&[exec.as_slice(), &java, &list].concat()).await?;
    let ours: Vec<&str> = listed.lines().filter(|line| line.starts_with("doctorkafka-")).collect();
    ensure!(!ours.is_empty(), "the doctor's transactional id is not known to Kafka: {listed}");
    let ended =
        |line: &&str| ["Empty", "CompleteCommit", "CompleteAbort"].iter().any(|state| line.contains(state));
    ensure!(ours.iter().all(ended), "a transaction is open: {listed}");
    println!("  no transaction of the doctor's is open");
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
    let is_left =
        |name: &&str| name.contains("doctorkafka") && !stays.iter().any(|kind| name.starts_with(kind));
    Ok(objects.lines().filter(is_left).map(str::to_owned).collect())
}
