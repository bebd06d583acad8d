//! What a process uses, by the kernel's own accounting.

use anyhow::Context;
use std::time::{Duration, Instant};

/// Processor time and memory of a process over a while.
pub struct Usage {
    /// Share of one core, percent.
    pub cpu_percent: f64,
    /// Median resident set, MB.
    pub resident_mb: f64,
    /// Largest resident set seen, MB.
    pub resident_max_mb: f64,
}

/// Watches processes for a while, looking once a second.
///
/// # Errors
/// One of them ends.
pub async fn watch(pids: &[i32], time: Duration) -> anyhow::Result<Vec<Usage>> {
    let begin = Instant::now();
    let before: Vec<f64> = pids.iter().map(|pid| cpu_seconds(*pid)).collect::<Result<_, _>>()?;
    let mut resident: Vec<Vec<f64>> = vec![Vec::new(); pids.len()];
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    while begin.elapsed() < time {
        tick.tick().await;
        for (pid, seen) in pids.iter().zip(&mut resident) {
            seen.push(resident_mb(*pid)?);
        }
    }
    let elapsed = begin.elapsed().as_secs_f64();
    pids.iter()
        .zip(before)
        .zip(&mut resident)
        .map(|((pid, before), resident)| {
            let (resident_mb, resident_max_mb) = super::page::median_and_max(resident);
            let cpu_percent = 100.0 * (cpu_seconds(*pid)? - before) / elapsed;
            Ok(Usage { cpu_percent, resident_mb, resident_max_mb })
        })
        .collect()
}

/// Heap in use of a JVM after a collection, MB, by `jcmd`.
///
/// # Errors
/// `jcmd` is missing or cannot attach.
pub async fn heap_mb(pid: i32) -> anyhow::Result<f64> {
    let jcmd =
        |what: &'static str| tokio::process::Command::new("jcmd").args([&pid.to_string(), what]).output();
    jcmd("GC.run").await.context("jcmd comes with the JDK")?;
    let output = jcmd("GC.heap_info").await?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let used: f64 = text
        .split("used ")
        .skip(1)
        .take_while(|part| !part.contains("committed") || part.contains('K'))
        .filter_map(|part| part.split('K').next()?.trim().parse::<f64>().ok())
        .take(2)
        .sum();
    Ok(used / 1024.0)
}

fn cpu_seconds(pid: i32) -> anyhow::Result<f64> {
    let stat =
        std::fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("process {pid}"))?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    Ok((ticks(11) + ticks(12)) / rustix::param::clock_ticks_per_second() as f64)
}

fn resident_mb(pid: i32) -> anyhow::Result<f64> {
    let status =
        std::fs::read_to_string(format!("/proc/{pid}/status")).with_context(|| format!("process {pid}"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
}
