//! Waiting for a condition, bounded.

use std::future::Future;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::{Instant, sleep, timeout_at};

const POLL_EVERY: Duration = Duration::from_millis(50);

/// What one look at a condition says: `bool`, or an `Option` that brings a value with it.
pub trait Outcome {
    /// What a condition that holds gives.
    type Value;
    /// The value if the condition holds.
    fn into_value(self) -> Option<Self::Value>;
}

impl Outcome for bool {
    type Value = ();
    fn into_value(self) -> Option<()> {
        self.then_some(())
    }
}

impl<T> Outcome for Option<T> {
    type Value = T;
    fn into_value(self) -> Option<T> {
        self
    }
}

/// Looks at a condition every 50 ms until it holds. A look that hangs counts against the time too.
///
/// # Errors
/// `within` has passed; the error names `what` was waited for.
pub async fn wait_until<C, F>(
    what: &str,
    within: Duration,
    mut condition: C,
) -> Result<<F::Output as Outcome>::Value>
where
    C: FnMut() -> F,
    F: Future,
    F::Output: Outcome,
{
    let deadline = Instant::now() + within;
    let poll = async {
        loop {
            if let Some(value) = condition().await.into_value() {
                return value;
            }
            sleep(POLL_EVERY).await;
        }
    };
    timeout_at(deadline, poll).await.with_context(|| format!("waited {} s for: {what}", within.as_secs_f32()))
}
