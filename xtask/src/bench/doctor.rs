//! The standalone doctor that is measured.

use super::programs::Programs;
use crate::policy;
use doctorkafka_testbed::{Process, free_port, wait_until};
use serde_json::Value;
use std::{path::Path, time::Duration};
use tokio::process::Command;

/// A running doctor with its API and without a dashboard.
pub struct Doctor {
    process: Process,
    api: String,
}

impl Doctor {
    /// Starts it; policy and log go into `folder`.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(programs: &Programs, bootstrap: &str, folder: &Path) -> anyhow::Result<Self> {
        policy::write(&folder.join("policy.yaml"), "bench", None, bootstrap)?;
        Self::spawn(programs, folder)
    }

    /// Starts it with this policy, which goes into `policy.yaml` of `folder` and may be changed there.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start_with(programs: &Programs, policy: &str, folder: &Path) -> anyhow::Result<Self> {
        std::fs::write(folder.join("policy.yaml"), policy)?;
        Self::spawn(programs, folder)
    }

    fn spawn(programs: &Programs, folder: &Path) -> anyhow::Result<Self> {
        let api = format!("127.0.0.1:{}", free_port()?);
        let mut command = Command::new(&programs.operator);
        command.arg("standalone").arg("--policy").arg(folder.join("policy.yaml"));
        command.args(["--api-listen", &api, "--dashboard-listen", "off"]);
        // What is set for the terminal is not meant for it.
        command.env_remove("KAFKA_BROKERS");
        Ok(Self { process: Process::spawn("doctor", command, folder.join("doctor.log"))?, api })
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        self.process.pid()
    }

    /// Where its API tells of the clusters.
    pub fn clusters(&self) -> String {
        format!("http://{}/api/v1/clusters", self.api)
    }

    /// Waits until what it says of its cluster satisfies `enough`.
    ///
    /// # Errors
    /// It does not within two minutes.
    pub async fn until(&self, what: &str, enough: impl Fn(&Value) -> bool) -> anyhow::Result<()> {
        wait_until(what, Duration::from_secs(120), || async {
            let url = self.clusters();
            let asked = tokio::task::spawn_blocking(move || {
                let text = ureq::get(&url).call().ok()?.body_mut().read_to_string().ok()?;
                serde_json::from_str::<Value>(&text).ok()?.get(0).cloned()
            });
            asked.await.ok().flatten().is_some_and(|report| enough(&report))
        })
        .await
    }
}
