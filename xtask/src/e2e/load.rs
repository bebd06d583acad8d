//! What brokers and sidecars use.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use doctorkafka_testbed::KAFKA_IMAGE;
use serde_json::{Value, json};

use super::world::{KAFKA, World};

const LIMIT_SHOWS_WITHIN: Duration = Duration::from_secs(120);
/// Resident memory, all of it: also pages of files that others share.
const SIDECAR_LIMIT: u64 = 15_000_000;

/// Resident memory as the kernel counts it, of the processes on the node.
pub async fn sidecars_are_small(world: &World) -> Result<()> {
    let pods = world.json(&["get", "pods", "--namespace", KAFKA]).await?;
    let ids: Vec<&str> = pods["items"]
        .as_array()
        .context("a list of pods")?
        .iter()
        .filter_map(|pod| pod["metadata"]["uid"].as_str())
        .collect();
    let mut measured = Vec::new();
    for process in fs::read_dir("/proc").context("/proc cannot be read")?.flatten() {
        let read = |file: &str| fs::read_to_string(process.path().join(file)).unwrap_or_default();
        let cgroup = read("cgroup");
        // The kernel keeps 15 bytes of a process's name.
        if read("comm").trim() == "doctorkafka-sid" && ids.iter().any(|id| cgroup.contains(id)) {
            measured.push(resident(&read("status")).context("a process without a size")?);
        }
    }
    println!(
        "  {}",
        measured.iter().map(|bytes| format!("{:.1} MB", *bytes as f64 / 1e6)).collect::<Vec<_>>().join(", ")
    );
    ensure!(measured.len() == 3, "{} sidecars run instead of 3", measured.len());
    ensure!(measured.iter().all(|bytes| *bytes < SIDECAR_LIMIT), "a sidecar takes more than 15 MB");
    Ok(())
}

/// `VmRSS:      1234 kB` of proc_pid_status(5), in bytes.
fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

/// Producers that send as fast as they are answered, each record by itself, to partitions that only broker 1 has: its
/// process takes all that its container's limit leaves it.
pub async fn cpu(world: &World) -> Result<()> {
    let create = "exec java -Xmx64m -cp '/opt/kafka/libs/*' org.apache.kafka.tools.TopicCommand --create --topic load \
        --bootstrap-server kafka.kafka.svc:9092 --replica-assignment 1,1,1,1";
    let inside = ["exec", "kafka-0", "--namespace", KAFKA, "--container=kafka", "--", "sh", "-c", create];
    world.kubectl(&inside).await?;
    // So little that also a busy machine has it to give; the sidecar must notice.
    limit(world, "250m").await?;
    world.apply(&producer().to_string()).await?;
    let seen = world.until("broker 1 to report 100 ± 5 %", LIMIT_SHOWS_WITHIN, || async {
        let brokers = world.brokers().await?;
        let percent = |id: i32| brokers.iter().find(|b| b.id == id).and_then(|b| b.cpu_percent);
        let shown = brokers.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n  ");
        let right = percent(1).is_some_and(|percent| (95..=105).contains(&percent))
            && [percent(0), percent(2)]
                .into_iter()
                .all(|percent| percent.is_some_and(|percent| percent < 60));
        Ok(if right { Ok(shown) } else { Err(shown) })
    });
    println!("  {}", seen.await?);
    world.kubectl(&["delete", "pod", "producer", "--namespace", KAFKA, "--now"]).await?;
    limit(world, super::install::CPU_LIMIT).await?;
    super::watch::all_healthy(world).await
}

/// Resizes broker 1's container while it runs (KEP-1287).
async fn limit(world: &World, cpu: &str) -> Result<()> {
    let kafka = json!({ "name": "kafka", "resources": { "limits": { "cpu": cpu } } });
    let patch = json!({ "spec": { "containers": [kafka] } }).to_string();
    let resize = ["patch", "pod", "kafka-1", "--namespace", KAFKA, "--subresource=resize", "--patch", &patch];
    world.kubectl(&resize).await.map(|_output| ())
}

fn producer() -> Value {
    let command = [
        "java",
        "-Xmx400m",
        "-cp",
        "/opt/kafka/libs/*",
        "org.apache.kafka.tools.ProducerPerformance",
        "--topic=load",
        "--num-records=1000000000",
        "--record-size=10",
        "--throughput=-1",
        "--producer-props",
        "bootstrap.servers=kafka.kafka.svc:9092",
        "batch.size=0",
        "buffer.memory=2000000",
        "enable.idempotence=false",
        "max.in.flight.requests.per.connection=50",
        "acks=1",
    ];
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "producer", "namespace": KAFKA },
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": false,
            "securityContext": { "runAsNonRoot": true, "seccompProfile": { "type": "RuntimeDefault" } },
            "containers": [{
                "name": "producer", "image": KAFKA_IMAGE, "imagePullPolicy": "Never", "command": command,
                "securityContext": { "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } },
            }],
        },
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_kernels_kilobytes_are_1024_bytes() {
        assert_eq!(super::resident("Name:\tx\nVmRSS:\t   10240 kB\nRssAnon:\t1 kB\n"), Some(10_485_760));
        assert_eq!(super::resident("Name:\tkthreadd\n"), None);
    }
}
