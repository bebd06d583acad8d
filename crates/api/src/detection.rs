//! When a broker counts as overloaded or silent.

use crate::{Bounds, Duration, Percent, cel};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize};

/// When a broker counts as overloaded or silent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Detection {
    /// A broker is unhealthy when nothing was heard of it for longer than this, although it could have been heard. From 2s to 10m.
    #[schemars(extend("x-kubernetes-validations" = cel::within(Self::HEARTBEAT_TIMEOUT)))]
    pub heartbeat_timeout: Duration,
    /// CPU use of the broker's process, as a share of the broker's own limit.
    #[serde(deserialize_with = "cpu")]
    #[schemars(schema_with = "cpu_schema")]
    pub cpu: Thresholds,
    /// Resident memory of the broker's process, as a share of the broker's own limit.
    #[serde(deserialize_with = "memory")]
    #[schemars(schema_with = "memory_schema")]
    pub memory: Thresholds,
    /// Use of the fullest log directory's file system.
    #[serde(deserialize_with = "disk")]
    #[schemars(schema_with = "disk_schema")]
    pub disk: Thresholds,
    /// The busier direction of the broker's network, as a share of what its link can carry.
    #[serde(deserialize_with = "network")]
    #[schemars(schema_with = "network_schema")]
    pub network: Thresholds,
}

impl Detection {
    /// Bounds of [`Self::heartbeat_timeout`]. Below two report intervals one late report would be a lost broker.
    pub const HEARTBEAT_TIMEOUT: Bounds =
        Bounds { min: Duration::from_secs(2), max: Duration::from_mins(10) };
}

impl Default for Detection {
    fn default() -> Self {
        Self {
            heartbeat_timeout: Duration::from_secs(10),
            cpu: Thresholds::CPU,
            memory: Thresholds::MEMORY,
            disk: Thresholds::DISK,
            network: Thresholds::NETWORK,
        }
    }
}

/// When one resource of a broker counts as overloaded, and when no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = cel::rules([cel::Rule::new(
    "self.recoveredBelow < self.overloadedAbove",
    "must be below overloadedAbove",
).message_expression(
    "'must be below overloadedAbove (%d), got %d'.format([self.overloadedAbove, self.recoveredBelow])",
).field_path(".recoveredBelow")])))]
pub struct Thresholds {
    /// Overloaded when use stays above this, percent of capacity.
    pub overloaded_above: Percent,
    /// No longer overloaded when use falls below this, percent of capacity. Must be below overloadedAbove.
    pub recovered_below: Percent,
    /// How long use must stay above overloadedAbove. From 1s to 1h.
    #[schemars(extend("x-kubernetes-validations" = cel::within(Self::SUSTAINED_FOR)))]
    pub sustained_for: Duration,
}

impl Thresholds {
    /// Bounds of [`Self::sustained_for`].
    pub const SUSTAINED_FOR: Bounds = Bounds { min: Duration::from_secs(1), max: Duration::from_hours(1) };

    /// Defaults for CPU.
    pub const CPU: Self = Self::constant(80, 70, 3);
    /// Defaults for memory.
    pub const MEMORY: Self = Self::constant(95, 90, 60);
    /// Defaults for disks.
    pub const DISK: Self = Self::constant(85, 80, 30);
    /// Defaults for the network.
    pub const NETWORK: Self = Self::constant(80, 70, 10);

    const fn constant(overloaded_above: u8, recovered_below: u8, seconds: u64) -> Self {
        Self {
            overloaded_above: Percent::constant(overloaded_above),
            recovered_below: Percent::constant(recovered_below),
            sustained_for: Duration::from_secs(seconds),
        }
    }

    /// Reads thresholds of which any part may be missing. The parts' defaults differ by resource, so they cannot be
    /// those of the type.
    fn or_default<'de, D: Deserializer<'de>>(deserializer: D, default: Self) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Partial {
            overloaded_above: Option<Percent>,
            recovered_below: Option<Percent>,
            sustained_for: Option<Duration>,
        }
        let partial = Partial::deserialize(deserializer)?;
        Ok(Self {
            overloaded_above: partial.overloaded_above.unwrap_or(default.overloaded_above),
            recovered_below: partial.recovered_below.unwrap_or(default.recovered_below),
            sustained_for: partial.sustained_for.unwrap_or(default.sustained_for),
        })
    }

    /// The schema with these defaults in it, from the same constants as [`Self::or_default`].
    fn schema(generator: &mut SchemaGenerator, defaults: Self) -> Schema {
        let mut schema = Self::json_schema(generator);
        let object = schema.ensure_object();
        object.remove("required");
        let defaults = serde_json::to_value(defaults).unwrap_or_default();
        if let Some(properties) =
            object.get_mut("properties").and_then(|properties| properties.as_object_mut())
        {
            for (name, property) in properties {
                property["default"] = defaults[name].clone();
            }
        }
        schema
    }
}

macro_rules! resource {
    ($read:ident, $schema:ident, $default:ident) => {
        fn $read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Thresholds, D::Error> {
            Thresholds::or_default(deserializer, Thresholds::$default)
        }

        fn $schema(generator: &mut SchemaGenerator) -> Schema {
            Thresholds::schema(generator, Thresholds::$default)
        }
    };
}

resource!(cpu, cpu_schema, CPU);
resource!(memory, memory_schema, MEMORY);
resource!(disk, disk_schema, DISK);
resource!(network, network_schema, NETWORK);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_is_missing_is_the_default_of_its_resource() {
        let detection: Detection =
            serde_json::from_str(r#"{"memory": {"overloadedAbove": 97}, "disk": {"sustainedFor": "5s"}}"#)
                .unwrap();
        assert_eq!(detection.memory, Thresholds::constant(97, 90, 60));
        assert_eq!(detection.disk, Thresholds::constant(85, 80, 5));
        assert_eq!(detection.cpu, Thresholds::CPU);
        assert_eq!(detection.heartbeat_timeout, Duration::from_secs(10));
    }
}
