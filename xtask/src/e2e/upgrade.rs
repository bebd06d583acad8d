//! The chart goes to another version and back, while brokers are under load.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use doctorkafka_wire::ActionKind;

use super::actions;
use super::chaos::one_leader_at_a_time;
use super::install::indented;
use super::tools::tool;
use super::watch::all_healthy;
use super::world::{Broker, DOCTOR, KAFKA, POLICY, World};
use crate::images::VERSION;
use crate::steps::root;

/// A version before this one, in which the operators had another annotation.
const PREVIOUS: &str = "0.0.9";
const LOADED_WITHIN: Duration = Duration::from_secs(60);

/// This chart as if it were of the previous version: other values, so that an upgrade replaces every operator.
pub fn previous(folder: &Path) -> Result<PathBuf> {
    let chart = folder.join("previous-chart");
    copy(&root().join("charts/doctorkafka"), &chart)?;
    change(
        &chart.join("Chart.yaml"),
        &format!("\nversion: {VERSION}\n"),
        &format!("\nversion: {PREVIOUS}\n"),
    )?;
    change(
        &chart.join("values.yaml"),
        "\npodAnnotations: {}",
        "\npodAnnotations: { example.com/chart: previous }",
    )?;
    Ok(chart)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("{} cannot be made", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("{} cannot be read", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)
                .with_context(|| format!("{} cannot be copied", entry.path().display()))?;
        }
    }
    Ok(())
}

fn change(file: &Path, from: &str, to: &str) -> Result<()> {
    let text = fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
    ensure!(text.contains(from), "{} has no {from:?} any more", file.display());
    fs::write(file, text.replacen(from, to, 1))
        .with_context(|| format!("{} cannot be written", file.display()))
}

/// `helm upgrade` to this chart, `helm rollback`, and `helm upgrade` again, while a producer writes: no alert, and no broker ill.
pub async fn forth_and_back(world: &World) -> Result<()> {
    let before = actions::all(world).await?.len();
    let history = world.watch(KAFKA, POLICY)?;
    world.apply(&producer().to_string()).await?;
    let loaded = world.until("the load to be there", LOADED_WITHIN, || async {
        let phase = ["get", "pod", "steady", "--namespace", KAFKA, "--output=jsonpath={.status.phase}"];
        let phase = world.kubectl(&phase).await?;
        Ok(if phase == "Running" { Ok(()) } else { Err(phase) })
    });
    loaded.await?;
    let chart = root().join("charts/doctorkafka").display().to_string();
    let upgrade = ["upgrade", DOCTOR, &chart, "--namespace", DOCTOR, "--wait", "--timeout=240s"];
    let rollback = ["rollback", DOCTOR, "1", "--namespace", DOCTOR, "--wait", "--timeout=240s"];
    for (step, version) in [(upgrade.as_slice(), VERSION), (&rollback, PREVIOUS), (&upgrade, VERSION)] {
        world.helm(step).await?;
        let deployment = "deployment/doctorkafka-operator";
        world.kubectl(&["rollout", "status", deployment, "--namespace", DOCTOR, "--timeout=240s"]).await?;
        let pods = world.json(&["get", "pods", "--namespace", DOCTOR]).await?;
        let living = pods["items"].as_array().into_iter().flatten();
        for pod in living.filter(|pod| pod["metadata"]["deletionTimestamp"].is_null()) {
            let is_previous = pod["metadata"]["annotations"]["example.com/chart"] == "previous";
            ensure!(
                is_previous == (version == PREVIOUS),
                "after helm {} an operator is of another chart",
                step[0]
            );
        }
        all_healthy(world).await?;
        world.kubectl(&["get", "--raw", "/apis/doctorkafka.dev/v1alpha1"]).await?;
        println!("  helm {}: operators of chart {version}", step[0]);
    }
    println!("{}", indented(&world.helm(&["history", DOCTOR, "--namespace", DOCTOR]).await?));
    let steady = world.json(&["get", "pod", "steady", "--namespace", KAFKA]).await?;
    let restarts = &steady["status"]["containerStatuses"][0]["restartCount"];
    ensure!(steady["status"]["phase"] == "Running" && *restarts == 0, "the load ended: {}", steady["status"]);
    world.kubectl(&["delete", "pod", "steady", "--namespace", KAFKA, "--now"]).await?;
    let log = actions::all(world).await?;
    let new = log.get(before..).unwrap_or_default();
    let alert = new.iter().find(|r| matches!(r.kind, ActionKind::AlertUnhealthy | ActionKind::AlertUnknown));
    ensure!(alert.is_none(), "an alert for nothing: {alert:?}");
    one_leader_at_a_time(&log)?;
    let leaders = new.iter().filter(|record| record.kind == ActionKind::LeaderStarted).count();
    ensure!(leaders >= 3, "only {leaders} leaders began while every operator was replaced three times");
    let ill: Vec<String> = history
        .since(0)
        .iter()
        .filter(|broker| ["Unhealthy", "Unknown"].contains(&broker.state.as_str()))
        .map(Broker::to_string)
        .collect();
    ensure!(ill.is_empty(), "brokers were called ill: {}", ill.join("; "));
    println!("  {leaders} leaders one after the other, {} records, no broker called ill", new.len());
    Ok(())
}

/// A load that a broker bears: the doctor is to be replaced, not Kafka to be hurried.
fn producer() -> serde_json::Value {
    tool(
        "steady",
        &[
            "org.apache.kafka.tools.ProducerPerformance",
            "--topic=load",
            "--num-records=1000000000",
            "--record-size=100",
            "--throughput=200",
            "--producer-props",
            "bootstrap.servers=kafka.kafka.svc:9092",
        ],
    )
}
