//! What the doctors' API and the sidecars' pages say, as far as the demo shows it.

use anyhow::Context;
use jiff::Timestamp;
use serde::Deserialize;
use std::time::Duration;

/// One answer of a process on this machine takes no longer.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// An entry of `GET /api/v1/clusters`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// What the instance that answered is.
    pub role: Role,
    /// The cluster.
    pub kafka: Kafka,
    /// Its brokers.
    pub brokers: Vec<Broker>,
    /// What would help.
    pub advice: Vec<Advice>,
    /// Why nothing is advised.
    pub refusals: Vec<Refusal>,
    /// Newest records of the actions log.
    pub actions: Vec<Action>,
}

/// Whether an instance leads.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Role {
    /// `leading`, `standby`, …
    pub state: String,
    /// The epoch of a leader.
    pub epoch: Option<u64>,
}

impl Role {
    /// Whether the instance leads and writes the actions log.
    pub fn leads(&self) -> bool {
        self.state == "leading"
    }

    /// Whether it watches and waits.
    pub fn stands_by(&self) -> bool {
        self.state == "standby"
    }
}

/// The cluster as a whole.
#[derive(Debug, Clone, Deserialize)]
pub struct Kafka {
    /// Whether any broker answers.
    pub reachable: Option<bool>,
    /// Why none does.
    pub error: Option<String>,
}

/// One broker.
#[derive(Debug, Clone, Deserialize)]
pub struct Broker {
    /// Its id.
    pub id: i32,
    /// Its state, in `PascalCase`.
    pub state: String,
    /// Why, in `PascalCase`.
    pub reason: String,
    /// Since when it is in this state.
    pub since: Timestamp,
    /// Why, as a sentence.
    pub message: String,
}

/// A recommendation.
#[derive(Debug, Clone, Deserialize)]
pub struct Advice {
    /// The broker to relieve.
    pub broker: i32,
    /// What to do.
    pub message: String,
}

/// A recommendation that is withheld.
#[derive(Debug, Clone, Deserialize)]
pub struct Refusal {
    /// The broker it is about, if any.
    pub broker: Option<i32>,
    /// The rule that forbids it.
    pub rule: String,
    /// Why.
    pub message: String,
}

/// A record of the actions log.
#[derive(Debug, Clone, Deserialize)]
pub struct Action {
    /// Its id.
    pub id: String,
    /// What kind of decision, as in `ALERT_OVERLOAD`.
    pub kind: String,
}

/// What the doctor whose API is at `port` says of the first cluster it watches; `None` while it watches none.
///
/// # Errors
/// It does not answer, or not as expected.
pub async fn report(port: u16) -> anyhow::Result<Option<Report>> {
    let (status, body) = get(port, "/api/v1/clusters").await?;
    anyhow::ensure!(status == 200, "status {status}");
    let reports: Vec<Report> = serde_json::from_str(&body).context("not the JSON expected")?;
    Ok(reports.into_iter().next())
}

/// GET of a page on this machine: its status and its text.
///
/// # Errors
/// No answer.
pub async fn get(port: u16, path: &str) -> anyhow::Result<(u16, String)> {
    let url = url(port, path);
    answer(move |agent| agent.get(&url).call()).await
}

/// POST without content.
///
/// # Errors
/// No answer.
pub async fn post(port: u16, path: &str) -> anyhow::Result<(u16, String)> {
    let url = url(port, path);
    answer(move |agent| agent.post(&url).send_empty()).await
}

fn url(port: u16, path: &str) -> String {
    format!("http://127.0.0.1:{port}{path}")
}

type Response = ureq::http::Response<ureq::Body>;

async fn answer(
    ask: impl FnOnce(ureq::Agent) -> Result<Response, ureq::Error> + Send + 'static,
) -> anyhow::Result<(u16, String)> {
    let answer = tokio::task::spawn_blocking(move || {
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(ANSWER_WITHIN))
            .http_status_as_error(false)
            .build()
            .new_agent();
        let mut response = ask(agent)?;
        Ok::<_, ureq::Error>((response.status().as_u16(), response.body_mut().read_to_string()?))
    });
    Ok(answer.await.context("the request was given up")??)
}
