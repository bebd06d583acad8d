//! What brokers and sidecars use.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::processes;
use super::tools::tool;
use super::world::{KAFKA, World};

const LIMIT_SHOWS_WITHIN: Duration = Duration::from_secs(150);
const TOPIC_WITHIN: Duration = Duration::from_secs(120);
/// Figures of which an average is made, one a second.
const FIGURES: u32 = 15;
/// What broker 1's container is limited to. So little that also a busy machine has it to give; the sidecar must notice.
const LIMIT: &str = "250m";
const LIMIT_CORES: f64 = 0.25;
/// What is little for a neighbour, percent of its limit.
const NEIGHBOUR: f64 = 60.0;
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
    for id in ids {
        for process in processes::of_pod(id)? {
            let program = process.arguments.first().map(String::as_str).unwrap_or_default();
            if program.ends_with("doctorkafka-sidecar") {
                let status =
                    fs::read_to_string(format!("/proc/{}/status", process.pid)).context("a sidecar ended")?;
                measured.push(resident(&status).context("a process without a size")?);
            }
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
    world.apply(&topic().to_string()).await?;
    let created = world.until("the topic of the load", TOPIC_WITHIN, || async {
        let phase = ["get", "pod", "topic", "--namespace", KAFKA, "--output=jsonpath={.status.phase}"];
        let phase = world.kubectl(&phase).await?;
        Ok(if phase == "Succeeded" { Ok(()) } else { Err(phase) })
    });
    created.await?;
    limit(world, LIMIT).await?;
    world.apply(&producer().to_string()).await?;
    let seen = world.until("the status to call broker 1 overloaded", LIMIT_SHOWS_WITHIN, || async {
        let brokers = world.brokers().await?;
        let shown = brokers.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n  ");
        let hot = brokers.iter().any(|b| b.id == 1 && b.reason == "CpuAbove");
        Ok(if hot { Ok(shown) } else { Err(shown) })
    });
    println!("  {}", seen.await?);
    // One figure is of one second, in which a quota may begin a tenth more or less often than in the next.
    let within = world.until("broker 1 to report 100 ± 5 % on average", LIMIT_SHOWS_WITHIN, || async {
        let (begun, before) = (Instant::now(), used(world).await?);
        let average = averages(world).await?;
        let true_percent =
            (used(world).await? - before) * 100.0 / (begun.elapsed().as_secs_f64() * LIMIT_CORES);
        let shown = average.map(|percent| format!("{percent:.1} %")).join(", ");
        let shown = format!("{shown}; by the kernel's count broker 1 used {true_percent:.1} %");
        let [first, loaded, last] = average;
        let right = (95.0..=105.0).contains(&loaded) && first < NEIGHBOUR && last < NEIGHBOUR;
        let true_too = (loaded - true_percent).abs() < 5.0;
        Ok(if right && true_too { Ok(shown) } else { Err(shown) })
    });
    println!("  over {FIGURES} s brokers 0, 1, 2 report {}", within.await?);
    for pod in ["producer", "topic"] {
        world.kubectl(&["delete", "pod", pod, "--namespace", KAFKA, "--now"]).await?;
    }
    limit(world, super::install::CPU_LIMIT).await?;
    super::watch::all_healthy(world).await.map(|_brokers| ())
}

/// Seconds of processor that broker 1's process has used, by proc_pid_stat(5): the 14th and 15th field, in hundredths.
async fn used(world: &World) -> Result<f64> {
    let pid = processes::broker(&processes::pod_uid(world, "kafka-1").await?)?;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).context("broker 1 ended")?;
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    // The first field after the name is the third.
    let ticks = fields.skip(11).take(2).map(str::parse::<f64>).sum::<std::result::Result<f64, _>>();
    Ok(ticks.context("no times in /proc/pid/stat")? / 100.0)
}

/// The average of what each sidecar reports in the next seconds, of brokers 0, 1 and 2.
async fn averages(world: &World) -> Result<[f64; 3]> {
    let mut sums = [0.0; 3];
    let mut second = tokio::time::interval(Duration::from_secs(1));
    let pods =
        world.json(&["get", "pods", "--namespace", KAFKA, "--selector=app.kubernetes.io/name=kafka"]).await?;
    for _ in 0..FIGURES {
        second.tick().await;
        for (sum, broker) in sums.iter_mut().zip(0..) {
            let name = format!("kafka-{broker}");
            let pod =
                pods["items"].as_array().into_iter().flatten().find(|pod| pod["metadata"]["name"] == name);
            let address =
                pod.and_then(|pod| pod["status"]["podIP"].as_str()).context("a pod without an address")?;
            let page = world.get(address, 7070, "/metrics").await?;
            let figure = page
                .lines()
                .find_map(|line| line.strip_prefix("doctorkafka_sidecar_cpu_percent")?.rsplit(' ').next());
            *sum += figure.and_then(|f| f.parse::<f64>().ok()).context("a sidecar without a CPU figure")?;
        }
    }
    Ok(sums.map(|sum| sum / f64::from(FIGURES)))
}

/// Resizes broker 1's container while it runs (KEP-1287).
async fn limit(world: &World, cpu: &str) -> Result<()> {
    let kafka = json!({ "name": "kafka", "resources": { "limits": { "cpu": cpu } } });
    let patch = json!({ "spec": { "containers": [kafka] } }).to_string();
    let resize = ["patch", "pod", "kafka-1", "--namespace", KAFKA, "--subresource=resize", "--patch", &patch];
    world.kubectl(&resize).await.map(|_output| ())
}

/// Four partitions of one replica each, on broker 1.
fn topic() -> Value {
    let create = [
        "--create",
        "--topic=load",
        "--replica-assignment=1,1,1,1",
        "--bootstrap-server=kafka.kafka.svc:9092",
    ];
    tool("topic", &[["org.apache.kafka.tools.TopicCommand"].as_slice(), &create].concat())
}

fn producer() -> Value {
    tool(
        "producer",
        &[
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
        ],
    )
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_kernels_kilobytes_are_1024_bytes() {
        assert_eq!(super::resident("Name:\tx\nVmRSS:\t   10240 kB\nRssAnon:\t1 kB\n"), Some(10_485_760));
        assert_eq!(super::resident("Name:\tkthreadd\n"), None);
    }
}
