//! How much treatment at once.

use crate::{Bounds, Duration, Percent, Throttle, cel};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How much treatment a cluster gets at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = cel::rules([cel::Rule::new(
    "self.movesPerBroker <= self.movesPerCluster",
    "must be at most movesPerCluster",
).message_expression(
    "'must be at most movesPerCluster (%d), got %d'.format([self.movesPerCluster, self.movesPerBroker])",
).field_path(".movesPerBroker")])))]
pub struct Limits {
    /// Replicas that move to or from one broker at the same time.
    #[schemars(range(min = 1, max = Self::MAX_MOVES), extend("format" = "int32"))]
    pub moves_per_broker: u32,
    /// Replicas that move in the whole cluster at the same time.
    #[schemars(range(min = 1, max = Self::MAX_MOVES), extend("format" = "int32"))]
    pub moves_per_cluster: u32,
    /// How fast replicas are copied: auto, a rate at each broker such as 50MB/s, or none for as fast as it goes.
    #[schemars(extend("x-kubernetes-validations" = cel::matching(Throttle::PATTERN, Throttle::EXPECTED)))]
    pub replication_throttle: Throttle,
    /// No replica moves to a broker whose fullest log directory would then be fuller than this, percent.
    pub max_disk: Percent,
    /// Pause after a treatment before the next one starts. From 1s to 24h.
    #[schemars(extend("x-kubernetes-validations" = cel::within(Self::COOLDOWN)))]
    pub cooldown: Duration,
}

impl Limits {
    /// Bounds of [`Self::cooldown`].
    pub const COOLDOWN: Bounds = Bounds { min: Duration::from_secs(1), max: Duration::from_hours(24) };

    /// The most that [`Self::moves_per_broker`] and [`Self::moves_per_cluster`] may be.
    pub const MAX_MOVES: u32 = 1_000;
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            moves_per_broker: 2,
            moves_per_cluster: 10,
            replication_throttle: Throttle::Auto,
            max_disk: Percent::constant(80),
            cooldown: Duration::from_mins(30),
        }
    }
}
