//! The doctor gets to know the brokers.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::install::{indented, manifests, rolled_out};
use super::world::{Broker, KAFKA, POLICY, World};
use crate::steps::root;

/// From the last restart to three known brokers.
const KNOWN_WITHIN: Duration = Duration::from_secs(150);

/// The policy, then the label, by which the pods are replaced one after the other.
pub async fn healthy(world: &World) -> Result<()> {
    let policy = root().join("deploy/examples/kafka-policy.yaml");
    let policy =
        std::fs::read_to_string(&policy).with_context(|| format!("{} cannot be read", policy.display()))?;
    world.apply(&policy).await?;
    world.apply(&manifests()?).await?;
    rolled_out(world).await?;
    let brokers = all_healthy(world).await?;
    let table = world.kubectl(&["get", "kafkahealth", "--namespace", KAFKA]).await?;
    println!("{}", indented(&table));
    for broker in brokers {
        println!("  {broker}");
        let id = broker.id;
        ensure!(broker.pod == Some(format!("kafka-{id}")), "broker {id} has the wrong pod: {broker}");
        ensure!(broker.cpu_percent.is_some(), "broker {id} has no CPU figure: {broker}");
    }
    ensure!(table.contains(POLICY), "kubectl get kafkahealth does not show the policy:\n{table}");
    Ok(())
}

/// Waits for three brokers, all healthy, measured and known by their pods.
pub async fn all_healthy(world: &World) -> Result<Vec<Broker>> {
    world
        .until("three healthy brokers", KNOWN_WITHIN, || async {
            let brokers = world.brokers().await?;
            let well = |b: &Broker| b.state == "Healthy" && b.cpu_percent.is_some() && b.pod.is_some();
            let shown = || brokers.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
            Ok(if brokers.len() == 3 && brokers.iter().all(well) { Ok(brokers) } else { Err(shown()) })
        })
        .await
}
