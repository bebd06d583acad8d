//! The validated policy: what the engine is asked to do, with every value parsed once.

use doctorkafka_api::{EffectiveMode, KafkaHealthPolicySpec, Maintenance, Mode, Thresholds, Throttle};
use doctorkafka_diagnosis::{Detection, Threshold};
use doctorkafka_wire::BrokerId;
use std::{collections::BTreeSet, time::Duration};

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
    /// How far it may go in moving replicas.
    pub replicas: EffectiveMode,
    /// How far it may go in replicating anew what a broker held that is gone.
    pub broker_failure: EffectiveMode,
    /// How long a broker has to be gone before that.
    pub heal_after: Duration,
    /// Brokers that are to hold no replicas.
    pub drain: BTreeSet<BrokerId>,
    /// Brokers that are to lead no partitions.
    pub demote: BTreeSet<BrokerId>,
    /// How much treatment at once.
    pub limits: Limits,
    /// How fast replicas are copied.
    pub throttle: Throttle,
    /// No replica moves to a broker whose disk would then be fuller, percent.
    pub max_disk: f64,
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
        let ids = |ids: &[i32]| ids.iter().copied().map(BrokerId).collect();
        let mode = |own: Option<Mode>| own.unwrap_or(spec.mode).into();
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
                maintenance: ids(&spec.maintenance.brokers),
            },
            leadership: mode(spec.remedies.leadership.mode),
            replicas: mode(spec.remedies.replicas.mode),
            broker_failure: mode(spec.remedies.broker_failure.mode),
            heal_after: spec.remedies.broker_failure.heal_after.to_std(),
            drain: ids(&spec.drain.brokers),
            demote: ids(&spec.demote.brokers),
            limits: Limits {
                moves_per_broker: spec.limits.moves_per_broker as usize,
                moves_per_cluster: spec.limits.moves_per_cluster as usize,
                ..Limits::default()
            },
            throttle: spec.limits.replication_throttle,
            max_disk: spec.limits.max_disk.as_f64(),
            cooldown: spec.limits.cooldown.to_std(),
            maintenance: spec.maintenance.clone(),
        })
    }

    /// The same policy with every treatment stopped, as its annotation `doctorkafka.dev/paused` asks for.
    #[must_use]
    pub fn paused(self) -> Self {
        let paused = EffectiveMode::Paused;
        Self { leadership: paused, replicas: paused, broker_failure: paused, ..self }
    }
}

fn threshold(thresholds: &Thresholds) -> Threshold {
    Threshold {
        overloaded_above: thresholds.overloaded_above.as_f64(),
        recovered_below: thresholds.recovered_below.as_f64(),
        sustained_for: thresholds.sustained_for.to_std(),
    }
}
