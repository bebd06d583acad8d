//! What the webhook has done, for metrics.

use super::refusal::Outcome;
use jiff::Timestamp;
use std::{
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// How long an operator without a certificate counts as not ready. After that it is ready without: a permission that is
/// missing for injection must not take the dashboard away.
const PATIENCE: Duration = Duration::from_secs(30);

/// Counts since the start. Shared; cheap to read.
#[derive(Debug)]
pub struct Counters {
    on: OnceLock<Instant>,
    prepared: AtomicBool,
    outcomes: [AtomicU64; Outcome::ALL.len()],
    /// Unix seconds; the least value when nothing is shown.
    expiry: AtomicI64,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            on: OnceLock::new(),
            prepared: AtomicBool::new(false),
            outcomes: Default::default(),
            expiry: AtomicI64::new(i64::MIN),
        }
    }
}

impl Counters {
    /// Notes that the webhook is served.
    pub fn turn_on(&self) {
        self.on.get_or_init(Instant::now);
    }

    /// Whether the webhook is served.
    pub fn is_on(&self) -> bool {
        self.on.get().is_some()
    }

    /// Notes that a certificate is shown, and that API servers have been told to trust it.
    pub fn set_prepared(&self) {
        self.prepared.store(true, Ordering::Relaxed);
    }

    /// Whether pods that are created now would miss their sidecar, because the webhook has only just been turned on.
    pub fn is_being_prepared(&self) -> bool {
        let just_on = self.on.get().is_some_and(|since| since.elapsed() < PATIENCE);
        just_on && !self.prepared.load(Ordering::Relaxed)
    }

    /// One more pod with this outcome.
    pub fn count(&self, outcome: Outcome) {
        if let Some(counter) =
            Outcome::ALL.iter().position(|o| *o == outcome).and_then(|n| self.outcomes.get(n))
        {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many pods had this outcome.
    pub fn outcome(&self, outcome: Outcome) -> u64 {
        let counter = Outcome::ALL.iter().position(|o| *o == outcome).and_then(|n| self.outcomes.get(n));
        counter.map_or(0, |counter| counter.load(Ordering::Relaxed))
    }

    /// Notes until when the certificate holds that is shown.
    pub fn set_expiry(&self, expiry: Option<Timestamp>) {
        self.expiry.store(expiry.map_or(i64::MIN, Timestamp::as_second), Ordering::Relaxed);
    }

    /// Until when it holds, Unix seconds; `None` when nothing is shown.
    pub fn expiry(&self) -> Option<i64> {
        Some(self.expiry.load(Ordering::Relaxed)).filter(|seconds| *seconds != i64::MIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_webhook_that_was_turned_on_is_prepared() {
        let counters = Counters::default();
        assert!(!counters.is_on() && !counters.is_being_prepared());
        counters.turn_on();
        assert!(counters.is_on() && counters.is_being_prepared());
        counters.set_prepared();
        assert!(counters.is_on() && !counters.is_being_prepared());
        let long_ago = Counters::default();
        long_ago.on.set(Instant::now().checked_sub(PATIENCE).unwrap()).unwrap();
        assert!(long_ago.is_on() && !long_ago.is_being_prepared());
    }
}
