//! The processes of pods, seen from this machine.

use std::fs;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

use super::world::{KAFKA, World};

/// The uid of a pod of the namespace of Kafka.
pub async fn pod_uid(world: &World, pod: &str) -> Result<String> {
    world.kubectl(&["get", "pod", pod, "--namespace", KAFKA, "--output=jsonpath={.metadata.uid}"]).await
}

/// A process with its command line, each argument in turn.
pub struct Running {
    pub pid: i32,
    pub arguments: Vec<String>,
}

/// The processes of a pod, by its uid: every container runs in a cgroup below the pod's.
pub fn of_pod(uid: &str) -> Result<Vec<Running>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").context("/proc cannot be read")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // Whoever ends meanwhile has no files any more.
        let read = |file: &str| fs::read(entry.path().join(file)).unwrap_or_default();
        if String::from_utf8_lossy(&read("cgroup")).contains(uid) {
            let command = read("cmdline");
            let arguments = command.split(|byte| *byte == 0).map(|a| String::from_utf8_lossy(a).into_owned());
            found.push(Running { pid, arguments: arguments.collect() });
        }
    }
    Ok(found)
}

/// The process of the broker in a pod.
pub fn broker(uid: &str) -> Result<i32> {
    let is_broker = |process: &Running| process.arguments.iter().any(|argument| argument == "kafka.Kafka");
    let found = of_pod(uid)?.into_iter().find(is_broker);
    found.map(|process| process.pid).context("no broker runs in the pod")
}

/// `kill -9`.
pub fn kill(pid: i32) -> Result<()> {
    let pid = Pid::from_raw(pid).context("no process id")?;
    kill_process(pid, Signal::KILL).with_context(|| format!("process {pid:?} cannot be killed"))
}
