//! Shares of a capacity.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, Visitor},
};
use std::{borrow::Cow, fmt};

/// A share of a capacity, from 1 to 100 percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(into = "i64")]
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
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be a whole percentage from 1 to 100, got {given}")]
pub struct PercentError {
    given: String,
}

impl PercentError {
    fn new(given: impl fmt::Display) -> Self {
        Self { given: given.to_string() }
    }
}

impl TryFrom<i64> for Percent {
    type Error = PercentError;

    fn try_from(given: i64) -> Result<Self, Self::Error> {
        u8::try_from(given)
            .ok()
            .filter(|percent| (1..=100).contains(percent))
            .map(Self)
            .ok_or_else(|| PercentError::new(given))
    }
}

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Any kind of value, so that whoever writes 80% or 0.8 is told what would be right, and not that it is no i64.
        deserializer.deserialize_any(PercentVisitor)
    }
}

struct PercentVisitor;

impl Visitor<'_> for PercentVisitor {
    type Value = Percent;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole percentage from 1 to 100")
    }

    fn visit_i64<E: de::Error>(self, given: i64) -> Result<Percent, E> {
        Percent::try_from(given).map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, given: u64) -> Result<Percent, E> {
        i64::try_from(given)
            .map_or_else(|_| Err(E::custom(PercentError::new(given))), |given| self.visit_i64(given))
    }

    fn visit_f64<E: de::Error>(self, given: f64) -> Result<Percent, E> {
        Err(E::custom(PercentError::new(given)))
    }

    fn visit_str<E: de::Error>(self, given: &str) -> Result<Percent, E> {
        Err(E::custom(PercentError::new(format_args!("{given:.32}"))))
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
            assert_eq!(Percent::try_from(bad), Err(PercentError::new(bad)));
        }
    }
}
