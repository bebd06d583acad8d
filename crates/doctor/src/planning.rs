//! The task that plans beside the engine, which goes on diagnosing meanwhile.

use tokio::task::JoinHandle;

use crate::remedy::job::{PlanJob, Planned};

/// A plan that is being made.
pub(crate) struct Planning {
    number: u64,
    task: JoinHandle<Planned>,
}

impl Planning {
    /// Begins to plan. It cannot be stopped, and takes a second or so at the most.
    pub fn start(job: PlanJob) -> Self {
        Self { number: job.number, task: tokio::task::spawn_blocking(move || job.run()) }
    }

    /// Waits for the plan of this number; `None` when planning has failed in itself.
    pub async fn ended(&mut self) -> (u64, Option<Planned>) {
        let planned = (&mut self.task).await;
        (self.number, planned.inspect_err(|error| tracing::error!(%error, "planning has failed")).ok())
    }
}
