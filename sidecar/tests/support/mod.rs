//! A sidecar beside a real broker, and a reader of what it publishes.

use anyhow::{Context, Result};
use doctorkafka_testbed::{KafkaCluster, Process};
use doctorkafka_wire::{BrokerReport, METRICS_TOPIC};
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
};
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::mpsc;

/// Partitions of the metrics topic.
pub const PARTITIONS: i32 = 3;

/// Starts a sidecar for a broker of the cluster. Other clusters with the same broker ids may run on this machine, so
/// the cluster's folder, which is in the command line, narrows the search to this one; the `node.id` does the rest.
pub fn start_sidecar(kafka: &KafkaCluster, broker: i32, logs: &Path, more: &[&str]) -> Result<Process> {
    let mut command = sidecar_command(kafka, broker)?;
    command.args(more);
    Process::spawn(format!("sidecar-{broker}"), command, logs.join(format!("sidecar-{broker}.log")))
}

/// What would start it.
pub fn sidecar_command(kafka: &KafkaCluster, broker: i32) -> Result<tokio::process::Command> {
    let folder =
        kafka.broker(broker).config().parent().and_then(Path::parent).context("a cluster's folder")?;
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_doctorkafka-sidecar"));
    command
        .env("BROKER_ID", broker.to_string())
        .env("KAFKA_BROKERS", kafka.bootstrap())
        .arg("--broker-match")
        .arg(folder);
    Ok(command)
}

/// A report as it was read.
#[derive(Debug)]
pub struct Arrived {
    pub at: Instant,
    pub partition: i32,
    pub report: BrokerReport,
}

/// Reads every partition of the metrics topic from its beginning.
pub struct Reader {
    arrivals: mpsc::UnboundedReceiver<Arrived>,
    stop: Arc<AtomicBool>,
}

impl Reader {
    pub fn start(kafka: &KafkaCluster) -> Result<Self> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", kafka.bootstrap())
            .set("group.id", "reader")
            .set("fetch.wait.max.ms", "50")
            .set("reconnect.backoff.max.ms", "500")
            .set("topic.metadata.refresh.fast.interval.ms", "100")
            .create()?;
        let mut all = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            all.add_partition_offset(METRICS_TOPIC, partition, Offset::Beginning)?;
        }
        consumer.assign(&all)?;
        let (sender, arrivals) = mpsc::unbounded_channel();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) else { continue };
                let report = BrokerReport::decode(message.payload().unwrap_or_default()).expect("a report");
                let arrived = Arrived { at: Instant::now(), partition: message.partition(), report };
                if sender.send(arrived).is_err() {
                    return;
                }
            }
        });
        Ok(Self { arrivals, stop })
    }

    /// The next report that is as described.
    pub async fn find(
        &mut self,
        what: &str,
        within: Duration,
        mut is: impl FnMut(&Arrived) -> bool,
    ) -> Result<Arrived> {
        let search = async {
            loop {
                let arrived = self.arrivals.recv().await.context("the reader has ended")?;
                if is(&arrived) {
                    return Ok(arrived);
                }
            }
        };
        tokio::time::timeout(within, search)
            .await
            .with_context(|| format!("waited {within:?} for: {what}"))?
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
