//! The sidecar's way out: reports to the metrics topic, never in the way of the measuring.
//!
//! * A report normally goes to the broker's *home* partition ([`partition_for`]). Bad news, and every report while the
//!   home partition does not answer, goes to every partition: the broker that is down may lead the very partition its
//!   news would travel by. Readers drop repeats by incarnation and sequence.
//! * Nothing blocks the caller. While Kafka is away the newest reports are kept and the oldest give way.
//! * The topic is not created here: the doctor does that with the right settings. Until it exists, reports wait.
//! * What goes wrong is told once, in the log and by [`PublisherStats::trouble`], and again only after a while.

mod client;
mod lanes;
mod partitioner;
mod refusals;

pub use partitioner::partition_for;

use crate::Connection;
use client::{Client, Link, SetUpError};
use doctorkafka_wire::{BrokerId, BrokerReport};
use rdkafka::{error::KafkaError, types::RDKafkaErrorCode};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// Longest wait for an answer about the topic. It runs beside everything else.
const METADATA_TIMEOUT: Duration = Duration::from_secs(5);
/// How often the number of partitions is looked up while it is known.
const METADATA_INTERVAL: Duration = Duration::from_secs(30);
/// How often it is looked up while it is not.
const METADATA_RETRY: Duration = Duration::from_millis(500);
/// How long nothing may be acknowledged before the log says so.
const QUIET_BEFORE_WARNING: Duration = Duration::from_secs(5);
/// How long after that before it says so again: logs are rotated, and the reason may be another one by then.
const WARN_AGAIN: Duration = Duration::from_secs(600);

/// The publisher could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up a Kafka producer for topic {topic}")]
pub struct PublisherError {
    topic: String,
    source: SetUpError,
}

/// What became of the reports so far.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PublisherStats {
    /// Partitions of the topic; 0 while it is not known or does not exist.
    pub partitions: usize,
    /// Reports given to [`ReportPublisher::publish`].
    pub published: u64,
    /// Records acknowledged by Kafka. A report that went to several partitions is several records.
    pub acknowledged: u64,
    /// Records that gave way to newer ones in the full buffer.
    pub overflowed: u64,
    /// Records that could not be delivered in time.
    pub failed: u64,
    /// Records that a broker answered with an error.
    pub refused: u64,
    /// Reports waiting or in flight.
    pub buffered: usize,
    /// Time since the last acknowledgement; `None` before the first.
    pub since_acknowledged: Option<Duration>,
    /// What is wrong, for people: why nothing has been acknowledged for a while, else why a broker refused records within
    /// the last minute; `None` when reports flow.
    pub trouble: Option<String>,
}

/// Publishes one broker's reports. Dropping it ends it without waiting for what is under way.
pub struct ReportPublisher {
    link: Arc<Link>,
    tasks: CancellationToken,
}

impl ReportPublisher {
    /// Starts publishing the reports of `broker` to `topic`; connects in the background. Needs a tokio runtime.
    ///
    /// # Errors
    /// [`PublisherError`] when the Kafka client refuses its configuration or has no thread. A cluster that cannot be
    /// reached is no error: it may come.
    pub fn start(connection: &Connection, topic: &str, broker: BrokerId) -> Result<Self, PublisherError> {
        let link = Arc::new(Link::new(topic, broker));
        let client = Client::new(connection, Arc::clone(&link))
            .map(Arc::new)
            .map_err(|source| PublisherError { topic: topic.to_owned(), source })?;
        let tasks = CancellationToken::new();
        let scout = tasks.clone().run_until_cancelled_owned(scout(Arc::clone(&client), Arc::clone(&link)));
        tokio::spawn(scout);
        let sender = tasks.clone().run_until_cancelled_owned(send(client, Arc::clone(&link)));
        tokio::spawn(sender);
        Ok(Self { link, tasks })
    }

    /// Takes in a report and returns at once. `everywhere` sends it to every partition: for a broker that is not in
    /// order, and for a goodbye.
    pub fn publish(&self, report: &BrokerReport, everywhere: bool) {
        self.link.push(report.encode().into(), everywhere);
    }

    /// Kafka's cluster id, once it has been learned.
    pub fn cluster_id(&self) -> Option<String> {
        self.link.cluster_id()
    }

    /// What became of the reports so far.
    pub fn stats(&self) -> PublisherStats {
        self.link.stats()
    }

    /// Waits until nothing waits and nothing is in flight, at most for `limit`. Says whether it came to that.
    pub async fn flush(&self, limit: Duration) -> bool {
        tokio::time::timeout(limit, self.link.emptied()).await.is_ok()
    }
}

impl Drop for ReportPublisher {
    fn drop(&mut self) {
        self.tasks.cancel();
    }
}

/// Hands waiting records to the client whenever there is room, and logs when reports stop, resume or are refused.
async fn send(client: Arc<Client>, link: Arc<Link>) {
    let mut stalled: Option<Instant> = None;
    let mut warned = Instant::now();
    loop {
        // Time passes without a sign when nothing is acknowledged, so look once a second at least.
        let _ = tokio::time::timeout(Duration::from_secs(1), link.changed()).await;
        client.send_waiting();
        if let Some((refused, reason)) = link.refusals_to_tell() {
            tracing::warn!(
                topic = link.topic(),
                refused,
                reason,
                "Kafka refuses reports, which are lost; other partitions may still take them"
            );
        }
        let quiet = link.quiet_since().filter(|since| since.elapsed() >= QUIET_BEFORE_WARNING);
        match (stalled, quiet) {
            (before, Some(since)) if before.is_none() || warned.elapsed() >= WARN_AGAIN => {
                stalled = Some(before.unwrap_or(since));
                warned = Instant::now();
                tracing::warn!(
                    topic = link.topic(),
                    reason = link.trouble(),
                    "no report was acknowledged for {} s; keeping the newest {} until Kafka takes them",
                    since.elapsed().as_secs(),
                    lanes::KEPT
                );
            }
            (Some(since), None) => {
                stalled = None;
                let stats = link.stats();
                tracing::info!(
                    topic = link.topic(),
                    lost = stats.overflowed + stats.failed + stats.refused,
                    "reports flow again after {} s",
                    since.elapsed().as_secs()
                );
            }
            _ => {}
        }
    }
}

/// Keeps the number of partitions and the cluster id up to date.
async fn scout(client: Arc<Client>, link: Arc<Link>) {
    let mut said_missing = false;
    loop {
        let asking = Arc::clone(&client);
        let answer = tokio::task::spawn_blocking(move || asking.look_up_topic(METADATA_TIMEOUT)).await;
        match answer {
            Ok(Ok(topic)) => {
                if topic.partitions == 0 && !said_missing {
                    tracing::info!(
                        topic = link.topic(),
                        "the topic does not exist yet; reports wait until the doctor has created it"
                    );
                }
                said_missing = topic.partitions == 0;
                link.learn(topic.partitions, topic.cluster_id);
            }
            Ok(Err(error)) => {
                tracing::debug!(topic = link.topic(), %error, "could not look up the topic");
                link.note_trouble(&error.to_string());
            }
            Err(error) => tracing::error!(%error, "looking up the topic ended unexpectedly"),
        }
        let pause = if link.stats().partitions == 0 { METADATA_RETRY } else { METADATA_INTERVAL };
        if tokio::time::timeout(pause, link.doubted()).await.is_ok() {
            // A partition or the topic is gone: look again, but not in a tight loop.
            tokio::time::sleep(METADATA_RETRY).await;
        }
    }
}

/// Whether a failed delivery means that the topic is no longer what it was.
fn casts_doubt(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::UnknownPartition
                | RDKafkaErrorCode::UnknownTopicOrPartition
        )
    )
}
