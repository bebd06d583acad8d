//! The sidecars of the demo: one beside each broker.

use super::reading;
use anyhow::{Context, bail};
use doctorkafka_testbed::{Broker, KafkaCluster, Process, free_port};
use std::path::Path;
use tokio::process::Command;

/// One sidecar.
#[derive(Debug)]
pub struct Sidecar {
    broker: i32,
    port: u16,
    process: Process,
}

impl Sidecar {
    /// Starts the sidecar of a broker. It finds the broker's process by its properties file, so that it finds it again
    /// after a restart, and never another cluster's broker of the same id.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(
        program: &Path,
        kafka: &KafkaCluster,
        broker: &Broker,
        seed: u64,
        folder: &Path,
    ) -> anyhow::Result<Self> {
        let port = free_port()?;
        let mut command = Command::new(program);
        command
            .args(["--broker-id", &broker.id().to_string(), "--kafka-brokers", &kafka.bootstrap()])
            .arg("--broker-match")
            .arg(broker.config())
            .args(["--probe", broker.address(), "--log-dir"])
            .arg(broker.log_dir())
            .args(["--simulate", "--seed", &seed.to_string(), "--listen", &format!("127.0.0.1:{port}")]);
        let name = format!("sidecar {}", broker.id());
        let log = folder.join(format!("sidecar-{}.log", broker.id()));
        Ok(Self { broker: broker.id(), port, process: Process::spawn(name, command, log)? })
    }

    /// The broker that it measures.
    pub fn broker(&self) -> i32 {
        self.broker
    }

    /// Its process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Whether Kafka has acknowledged a report of it.
    pub async fn publishes(&self) -> bool {
        match reading::get(self.port, "/metrics").await {
            Ok((200, page)) => acknowledged(&page) > 0.0,
            _ => false,
        }
    }

    /// Lays a spike over what it measures.
    ///
    /// # Errors
    /// It does not answer, or refuses.
    pub async fn spike(&self) -> anyhow::Result<()> {
        let asked = reading::post(self.port, "/simulate/spike").await;
        let (status, text) =
            asked.with_context(|| format!("the sidecar of broker {} does not answer", self.broker))?;
        if !(200..300).contains(&status) {
            bail!("the sidecar of broker {} refused ({status}): {}", self.broker, text.trim());
        }
        Ok(())
    }
}

/// Records that Kafka has acknowledged, by the sidecar's metrics.
fn acknowledged(page: &str) -> f64 {
    let count =
        |line: &str| line.strip_prefix("doctorkafka_sidecar_records_acknowledged_total ")?.parse().ok();
    page.lines().find_map(count).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acknowledged_records_are_read_from_the_metrics() {
        let page = "# HELP doctorkafka_sidecar_records_acknowledged_total Records that Kafka acknowledged.\n\
                    doctorkafka_sidecar_reports_total 9\ndoctorkafka_sidecar_records_acknowledged_total 8\n";
        assert_eq!(acknowledged(page), 8.0);
        assert_eq!(acknowledged("doctorkafka_sidecar_reports_total 9"), 0.0);
    }
}
