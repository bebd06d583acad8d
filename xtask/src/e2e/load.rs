//! What brokers and sidecars use.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::world::{KAFKA, World};

const LIMIT_SHOWS_WITHIN: Duration = Duration::from_secs(60);
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

/// A loop without an end beside Kafka in its container uses what the limit leaves.
pub async fn cpu(world: &World) -> Result<()> {
    let mut kubectl = world.kubectl_command();
    kubectl.args(["exec", "kafka-1", "--namespace", KAFKA, "--container=kafka", "--"]);
    kubectl
        .args(["timeout", "90", "sh", "-c", "while :; do :; done"])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut busy = kubectl.spawn().context("kubectl cannot be run")?;
    let seen = world.until("three looks in a row at 100 ± 5 %", LIMIT_SHOWS_WITHIN, {
        let mut row = 0;
        move || {
            row += 1;
            let number = row;
            async move {
                let brokers = world.brokers().await?;
                let percent = |id: i32| brokers.iter().find(|b| b.id == id).and_then(|b| b.cpu_percent);
                let (Some(loaded), Some(one), Some(two)) = (percent(1), percent(0), percent(2)) else {
                    return Ok(Err(format!("{brokers:?}")));
                };
                let right = (95..=105).contains(&loaded) && one.max(two) < 60;
                let shown = format!("{loaded} % beside {one} % and {two} % (look {number})");
                Ok(if right { Ok(shown) } else { Err(shown) })
            }
        }
    });
    let seen = seen.await;
    // What runs in the container ends with its `timeout` at the latest; better at once.
    busy.start_kill().ok();
    let ended = ["exec", "kafka-1", "--namespace", KAFKA, "--container=kafka", "--", "sh", "-c"];
    let end = "kill $(ps -C timeout -o pid=)";
    world.kubectl(&[ended.as_slice(), &[end]].concat()).await.ok();
    println!("  {}", seen?);
    super::watch::all_healthy(world).await
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_kernels_kilobytes_are_1024_bytes() {
        assert_eq!(super::resident("Name:\tx\nVmRSS:\t   10240 kB\nRssAnon:\t1 kB\n"), Some(10_485_760));
        assert_eq!(super::resident("Name:\tkthreadd\n"), None);
    }
}
