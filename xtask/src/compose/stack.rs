//! The stack of `docker-compose.yml` on an engine.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use doctorkafka_testbed::Docker;
use serde::Deserialize;
use serde_json::Value;

use crate::steps::root;

/// How long one command may take; the longest ends three brokers, each of which gets 10 s.
const COMMAND_WITHIN: Duration = Duration::from_secs(180);
/// How long one answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// How many bytes of an answer are read.
const ANSWER_BYTES: u64 = 4_000_000;

/// Commands to the stack and its answers.
pub struct Stack<'a> {
    docker: &'a Docker,
}

/// A doctor of the stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Doctor {
    /// Its service.
    pub service: &'static str,
    /// The port of its dashboard on this machine.
    pub dashboard: u16,
    /// That of its API.
    pub api: u16,
}

/// Both.
pub const DOCTORS: [Doctor; 2] = [
    Doctor { service: "doctor-1", dashboard: 3000, api: 3001 },
    Doctor { service: "doctor-2", dashboard: 3002, api: 3003 },
];

/// A line of `docker compose ps`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Container {
    service: String,
    state: String,
    /// Empty without a health check.
    health: String,
}

impl<'a> Stack<'a> {
    /// The stack, which need not be up.
    pub fn of(docker: &'a Docker) -> Self {
        Self { docker }
    }

    /// `docker compose …` in the checkout; what it writes on standard output.
    ///
    /// # Errors
    /// It fails, or takes longer than 3 minutes.
    pub async fn compose(&self, arguments: &[&str]) -> Result<String> {
        self.run(&[&["compose"], arguments].concat()).await
    }

    /// `docker …`.
    ///
    /// # Errors
    /// It fails, or takes longer than 3 minutes.
    pub async fn run(&self, arguments: &[&str]) -> Result<String> {
        let shown = || format!("docker {}", arguments.join(" "));
        let mut command = self.docker.command();
        command.args(arguments).current_dir(root()).env_remove("DOCTORKAFKA_VERSION");
        let output = tokio::time::timeout(COMMAND_WITHIN, command.output()).await;
        let output = output.with_context(shown)?.with_context(shown)?;
        if !output.status.success() {
            bail!("{} ended with {}: {}", shown(), output.status, text(&output.stderr));
        }
        Ok(text(&output.stdout))
    }

    /// Services that do not run, or not in good health, and how they are.
    ///
    /// # Errors
    /// Docker does not say.
    pub async fn not_well(&self) -> Result<BTreeMap<String, String>> {
        let listed = self.compose(&["ps", "--all", "--format", "json"]).await?;
        let services = self.compose(&["config", "--services"]).await?;
        let mut not_well: BTreeMap<String, String> =
            services.lines().map(|service| (service.to_owned(), "not there".to_owned())).collect();
        ensure!(not_well.len() > 1, "docker-compose.yml has no services");
        for line in listed.lines() {
            let container: Container =
                serde_json::from_str(line).with_context(|| format!("docker compose ps says {line}"))?;
            let Container { service, state, health } = container;
            if state == "running" && ["", "healthy"].contains(&health.as_str()) {
                not_well.remove(&service);
            } else {
                not_well.insert(service, format!("{state} {health}").trim_end().to_owned());
            }
        }
        Ok(not_well)
    }

    /// What a port of this machine serves: status and text. Only the engine's own network has that port.
    ///
    /// # Errors
    /// No answer within 3 s.
    pub async fn get(&self, port: u16, path: &str) -> Result<(u16, String)> {
        let url = format!("http://127.0.0.1:{port}{path}");
        let asked = url.clone();
        let answer = self.docker.inside(move || {
            let agent = ureq::Agent::config_builder()
                .timeout_global(Some(ANSWER_WITHIN))
                .http_status_as_error(false)
                .build()
                .new_agent();
            let mut response = agent.get(&asked).call()?;
            let status = response.status().as_u16();
            let text = response.body_mut().with_config().limit(ANSWER_BYTES).read_to_string()?;
            Ok::<_, ureq::Error>((status, text))
        });
        answer.await?.with_context(|| url)
    }

    /// What a doctor's API says of the one cluster that it watches.
    ///
    /// # Errors
    /// It does not answer, or watches another number of clusters.
    pub async fn report(&self, doctor: Doctor) -> Result<Value> {
        let (status, text) = self.get(doctor.api, "/api/v1/clusters").await?;
        ensure!(status == 200, "{} answers with status {status}", doctor.service);
        let clusters: Value = serde_json::from_str(&text).context("a doctor's API gives no JSON")?;
        match clusters.as_array().map(Vec::as_slice) {
            Some([cluster]) => Ok(cluster.clone()),
            _ => bail!("{} does not watch one cluster: {text}", doctor.service),
        }
    }

    /// Runs `ask` where the ports are.
    ///
    /// # Errors
    /// The engine has ended.
    pub async fn inside<T: Send + 'static>(&self, ask: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        self.docker.inside(ask).await
    }

    /// How all containers are, and the ends of their logs.
    pub async fn describe(&self) -> String {
        let mut description = String::new();
        for arguments in [["ps", "--all"].as_slice(), &["logs", "--no-color", "--tail", "15"]] {
            match self.compose(arguments).await {
                Ok(output) => description.push_str(&output),
                Err(error) => description.push_str(&format!("{error:#}\n")),
            }
        }
        description
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end().to_owned()
}
