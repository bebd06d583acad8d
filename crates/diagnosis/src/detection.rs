//! The thresholds a policy sets.

use std::{collections::BTreeSet, time::Duration};

use doctorkafka_wire::BrokerId;

/// When a broker counts as overloaded or lost.
#[derive(Debug, Clone, PartialEq)]
pub struct Detection {
    /// A heartbeat missing for longer than this means that the broker is lost. A heartbeat is missing from the moment
    /// it was due, one report interval after the last.
    pub heartbeat_timeout: Duration,
    /// Limit for CPU, percent of the broker's own limit.
    pub cpu: Threshold,
    /// Limit for memory, percent of the broker's own limit.
    pub memory: Threshold,
    /// Limit for the fullest log directory, percent.
    pub disk: Threshold,
    /// Limit for the busier direction of the network, percent of its capacity.
    pub network: Threshold,
    /// Brokers to leave alone.
    pub maintenance: BTreeSet<BrokerId>,
}

/// A limit with hysteresis: over it at `overloaded_above` for `sustained_for`, back only under `recovered_below`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Threshold {
    /// Percent; a value above it is too much.
    pub overloaded_above: f64,
    /// Percent; only a value below it ends the overload. At most `overloaded_above`.
    pub recovered_below: f64,
    /// How long the value must stay above.
    pub sustained_for: Duration,
}

impl Default for Detection {
    /// The defaults of the `KafkaHealthPolicy` resource.
    fn default() -> Self {
        let threshold = |overloaded_above, recovered_below, seconds| Threshold {
            overloaded_above,
            recovered_below,
            sustained_for: Duration::from_secs(seconds),
        };
        Self {
            heartbeat_timeout: Duration::from_secs(10),
            cpu: threshold(80.0, 70.0, 3),
            memory: threshold(95.0, 90.0, 60),
            disk: threshold(85.0, 80.0, 30),
            network: threshold(80.0, 70.0, 10),
            maintenance: BTreeSet::new(),
        }
    }
}
