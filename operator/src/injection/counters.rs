//! What the webhook has done, for metrics.

use super::refusal::Outcome;
use jiff::Timestamp;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

/// Counts since the start. Shared; cheap to read.
#[derive(Debug)]
pub struct Counters {
    on: AtomicBool,
    outcomes: [AtomicU64; Outcome::ALL.len()],
    /// Unix seconds; the least value when nothing is shown.
    expiry: AtomicI64,
}

impl Default for Counters {
    fn default() -> Self {
        Self { on: AtomicBool::new(false), outcomes: Default::default(), expiry: AtomicI64::new(i64::MIN) }
    }
}

impl Counters {
    /// Notes that the webhook is served.
    pub fn turn_on(&self) {
        self.on.store(true, Ordering::Relaxed);
    }

    /// Whether the webhook is served.
    pub fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
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
