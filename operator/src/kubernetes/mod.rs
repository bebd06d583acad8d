//! The Kubernetes adapter.

use crate::fleet::Fleet;
use clap::Args;
use tokio_util::sync::CancellationToken;

/// Settings of the Kubernetes adapter.
#[derive(Debug, Clone, Args)]
pub struct RunArguments {}

/// Reconciles policies until `cancel` is cancelled.
///
/// # Errors
/// Never yet.
pub async fn run(_arguments: RunArguments, _fleet: Fleet, cancel: CancellationToken) -> anyhow::Result<()> {
    cancel.cancelled().await;
    Ok(())
}
