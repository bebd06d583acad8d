//! What the executor keeps to, and what it is told while it runs.

use std::time::Duration;

use super::Treatment;

/// How much at once, and how long to put up with what does not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Replicas that come to or go from one broker at the same time.
    pub moves_per_broker: usize,
    /// Replicas that are added in the whole cluster at the same time.
    pub moves_per_cluster: usize,
    /// So long a broker that is to get a replica may be down, or a change be impossible, until the treatment is given up.
    pub patience: Duration,
    /// So long what looks like a change by somebody else must last to be believed. Brokers learn of changes one after
    /// the other, and an answer may come from one that lags.
    pub settle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            moves_per_broker: 2,
            moves_per_cluster: 10,
            patience: Duration::from_secs(300),
            settle: Duration::from_secs(3),
        }
    }
}

/// What people want of a running treatment. A new value takes effect before the next step.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Control {
    /// How much at once.
    pub limits: Limits,
    /// Replication at each broker, bytes a second, where that is to be less than the treatment says.
    pub rate: Option<u64>,
    /// No new step; what is being copied goes on.
    pub paused: bool,
    /// Somebody else works on the cluster, or might: who, and what would lift it. Nothing more is begun; what is being
    /// copied goes on, and what has been decided to be undone is undone.
    pub others: Option<String>,
    /// Give it up. This is done even while paused.
    pub cancel: Option<Cancel>,
}

impl Control {
    /// The rate of its throttle that is wanted now, if it has one.
    pub(super) fn rate_of(&self, treatment: &Treatment) -> Option<u64> {
        treatment.throttle().map(|most| self.rate.map_or(most, |rate| rate.clamp(1, most)))
    }
}

/// That a treatment is to be given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cancel {
    /// Move back what was moved; otherwise only what has not been completed is undone, and a treatment that is complete ends
    /// as done.
    pub restore: bool,
    /// Who wants it and why, for people.
    pub reason: String,
}

/// Whether this instance may act at this moment: a deadline by the monotonic clock, asked right before each call.
pub trait Mandate: Send + Sync {
    /// False from the deadline on, whatever may come later.
    fn may_act(&self) -> bool;
}

impl<F: Fn() -> bool + Send + Sync> Mandate for F {
    fn may_act(&self) -> bool {
        self()
    }
}
