//! The standalone adapter: one policy file, one engine, election through Kafka itself.

use crate::fleet::Fleet;
use clap::Args;
use std::path::PathBuf;
use tokio_util::sync::CancellationToken;

/// Settings of the standalone adapter.
#[derive(Debug, Clone, Args)]
pub struct StandaloneArguments {
    /// The policy: a KafkaHealthPolicy in YAML. Watched; an edit takes effect at once.
    #[arg(long, value_name = "FILE")]
    pub policy: PathBuf,
    /// Bootstrap servers in place of the file's spec.kafka.bootstrapServers, host:port[,host:port...].
    #[arg(long, value_name = "SERVERS", env = "KAFKA_BROKERS")]
    pub bootstrap: Option<String>,
}

/// Watches one cluster until `cancel` is cancelled.
///
/// # Errors
/// A policy that cannot be.
pub async fn run(
    _arguments: StandaloneArguments,
    _fleet: Fleet,
    cancel: CancellationToken,
) -> anyhow::Result<()> {
    cancel.cancelled().await;
    Ok(())
}
