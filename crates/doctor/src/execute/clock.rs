//! Time, as an argument: the executor's tests have a clock of their own.

use std::time::Duration;

/// A monotonic clock.
pub trait Clock: Send + Sync {
    /// Time since some fixed moment.
    fn now(&self) -> Duration;

    /// Waits.
    fn sleep(&self, time: Duration) -> impl Future<Output = ()> + Send;
}

/// The machine's monotonic clock.
#[derive(Debug, Clone, Copy)]
pub struct MachineClock(tokio::time::Instant);

impl MachineClock {
    /// Starts at zero.
    pub fn start() -> Self {
        Self(tokio::time::Instant::now())
    }
}

impl Clock for MachineClock {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }

    async fn sleep(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}
