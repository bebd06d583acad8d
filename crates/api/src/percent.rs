//! Shares of a capacity.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, fmt};

/// A share of a capacity, from 1 to 100 percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "i64")]
pub struct Percent(u8);

impl Percent {
    /// A share that is known to be one: for constants.
    pub(crate) const fn constant(percent: u8) -> Self {
        assert!(percent >= 1 && percent <= 100);
        Self(percent)
    }

    /// The number, from 1 to 100.
    pub const fn get(self) -> u8 {
        self.0
    }

    /// The number for comparison with what was measured.
    pub fn as_f64(self) -> f64 {
        f64::from(self.0)
    }
}

/// A number that is no share of a capacity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a whole percentage from 1 to 100, got {given}")]
pub struct PercentError {
    given: i64,
}

impl TryFrom<i64> for Percent {
    type Error = PercentError;

    fn try_from(given: i64) -> Result<Self, Self::Error> {
        u8::try_from(given)
            .ok()
            .filter(|percent| (1..=100).contains(percent))
            .map(Self)
            .ok_or(PercentError { given })
    }
}

impl From<Percent> for i64 {
    fn from(percent: Percent) -> Self {
        percent.0.into()
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

impl JsonSchema for Percent {
    fn schema_name() -> Cow<'static, str> {
        "Percent".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "integer", "format": "int32", "minimum": 1, "maximum": 100})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_from_1_to_100() {
        for good in [1, 80, 100] {
            assert_eq!(i64::from(Percent::try_from(good).unwrap()), good);
        }
        for bad in [i64::MIN, -1, 0, 101, 256 + 50, i64::MAX] {
            assert_eq!(Percent::try_from(bad), Err(PercentError { given: bad }));
        }
    }
}
