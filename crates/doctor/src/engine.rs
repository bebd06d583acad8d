//! The engine's tasks and how they are wired.

use crate::{Authority, DoctorReport, Policy};
use doctorkafka_kafka::Connection;
use std::sync::Arc;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// What an engine needs to start. A change of anything but the policy needs a new engine.
pub struct DoctorSettings {
    /// How to reach the cluster.
    pub connection: Connection,
    /// Name of this instance, for logs.
    pub identity: String,
    /// The policy; a new value takes effect at once. Its connection and topics must stay the same.
    pub policy: watch::Receiver<Arc<Policy>>,
    /// Whether this instance leads.
    pub authority: watch::Receiver<Authority>,
    /// Set when another policy already watches the same Kafka cluster: says who. The engine then writes nothing.
    pub conflict: watch::Receiver<Option<String>>,
}

/// A running engine.
pub struct Doctor {
    /// What it knows; always holds the newest.
    pub reports: watch::Receiver<Arc<DoctorReport>>,
    /// Its main task; ends after `cancel` was cancelled and the log is closed.
    pub task: tokio::task::JoinHandle<()>,
}

impl Doctor {
    /// Starts the engine's tasks. They end when `cancel` is cancelled.
    pub fn start(_settings: DoctorSettings, _cancel: CancellationToken) -> Self {
        unreachable!("the engine follows")
    }
}
