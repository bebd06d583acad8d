//! The validated policy: what the engine is asked to do, with every value parsed once.

use doctorkafka_api::{EffectiveMode, KafkaHealthPolicySpec, Maintenance, Mode, Thresholds};
use doctorkafka_diagnosis::{Detection, Threshold};
use doctorkafka_wire::BrokerId;
use std::time::Duration;

use crate::execute::Limits;

/// A field of a policy that cannot be, and why.
pub use doctorkafka_api::Violation as PolicyError;

/// A policy that has been checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// The policy's name, as it stands in the actions log: `namespace/name`, or only the name in standalone mode.
    pub name: String,
    /// Bootstrap servers, `host:port[,host:port...]`.
    pub bootstrap_servers: String,
    /// The doctor's own topics.
    pub topics: Topics,
    /// Thresholds, timeouts and brokers in maintenance.
    pub detection: Detection,
    /// How far the doctor may go in relieving a broker of leadership.
    pub leadership: EffectiveMode,
    /// How much treatment at once.
    pub limits: Limits,
    /// Pause after a treatment before the next one.
    pub cooldown: Duration,
    /// When no treatment is begun.
    pub maintenance: Maintenance,
}

/// Names of the doctor's own topics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topics {
    /// The topic that sidecars publish to.
    pub metrics: String,
    /// The actions log.
    pub actions_log: String,
}

impl Policy {
    /// Checks a policy.
    ///
    /// # Errors
    /// Every field that cannot be, at least one.
    pub fn new(name: &str, spec: &KafkaHealthPolicySpec) -> Result<Self, Vec<PolicyError>> {
        let violations = spec.check();
        if !violations.is_empty() {
            return Err(violations);
        }
        let detection = &spec.detection;
        let mode: Mode = spec.remedies.leadership.mode.unwrap_or(spec.mode);
        Ok(Self {
            name: name.to_owned(),
            bootstrap_servers: spec.kafka.bootstrap_servers.clone(),
            topics: Topics {
                metrics: spec.topics.metrics.clone(),
                actions_log: spec.topics.actions_log.clone(),
            },
            detection: Detection {
                heartbeat_timeout: detection.heartbeat_timeout.to_std(),
                cpu: threshold(&detection.cpu),
                memory: threshold(&detection.memory),
                disk: threshold(&detection.disk),
                network: threshold(&detection.network),
                maintenance: spec.maintenance.brokers.iter().copied().map(BrokerId).collect(),
            },
            leadership: mode.into(),
            limits: Limits {
                moves_per_broker: spec.limits.moves_per_broker as usize,
                moves_per_cluster: spec.limits.moves_per_cluster as usize,
                ..Limits::default()
            },
            cooldown: spec.limits.cooldown.to_std(),
            maintenance: spec.maintenance.clone(),
        })
    }

    /// The same policy with every treatment stopped, as its annotation `doctorkafka.dev/paused` asks for.
    #[must_use]
    pub fn paused(self) -> Self {
        Self { leadership: EffectiveMode::Paused, ..self }
    }
}

fn threshold(thresholds: &Thresholds) -> Threshold {
    Threshold {
        overloaded_above: thresholds.overloaded_above.as_f64(),
        recovered_below: thresholds.recovered_below.as_f64(),
        sustained_for: thresholds.sustained_for.to_std(),
    }
}
