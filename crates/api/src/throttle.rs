//! Replication throttles.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{borrow::Cow, fmt, str::FromStr};

/// How fast replicas are copied: chosen by the doctor, a rate, or as fast as it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Throttle {
    /// Chosen from what the brokers have left.
    #[default]
    Auto,
    /// So many bytes a second at each broker, never 0.
    BytesPerSecond(u64),
    /// Not throttled.
    Unlimited,
}

impl Throttle {
    /// What a throttle must look like, as a regular expression.
    pub const PATTERN: &'static str = "^(auto|none|[1-9][0-9]{0,5}(kB|MB|GB)/s)$";

    pub(crate) const EXPECTED: &'static str = "must be auto, none or a rate such as 50MB/s";
}

/// A text that is not a throttle.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} {expected}", expected = Throttle::EXPECTED)]
pub struct ParseThrottleError {
    given: String,
}

impl FromStr for Throttle {
    type Err = ParseThrottleError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rate = || {
            let digits = text.bytes().take_while(u8::is_ascii_digit).count();
            let (number, unit) = text.split_at(digits);
            let unit = match unit {
                "kB/s" => 1_000,
                "MB/s" => 1_000_000,
                "GB/s" => 1_000_000_000,
                _ => return None,
            };
            let number: u64 = number.parse().ok().filter(|_| digits <= 6 && !number.starts_with('0'))?;
            Some(Self::BytesPerSecond(number * unit))
        };
        match text {
            "auto" => Ok(Self::Auto),
            "none" => Ok(Self::Unlimited),
            _ => rate().ok_or_else(|| ParseThrottleError { given: text.chars().take(64).collect() }),
        }
    }
}

impl fmt::Display for Throttle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Auto => f.write_str("auto"),
            Self::Unlimited => f.write_str("none"),
            Self::BytesPerSecond(rate) if rate.is_multiple_of(1_000_000_000) => {
                write!(f, "{}GB/s", rate / 1_000_000_000)
            }
            Self::BytesPerSecond(rate) if rate.is_multiple_of(1_000_000) => {
                write!(f, "{}MB/s", rate / 1_000_000)
            }
            Self::BytesPerSecond(rate) => write!(f, "{}kB/s", rate.div_ceil(1_000)),
        }
    }
}

impl Serialize for Throttle {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Throttle {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Throttle {
    fn schema_name() -> Cow<'static, str> {
        "Throttle".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "maxLength": 16})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_prints() {
        for (text, throttle) in [
            ("auto", Throttle::Auto),
            ("none", Throttle::Unlimited),
            ("50MB/s", Throttle::BytesPerSecond(50_000_000)),
            ("1GB/s", Throttle::BytesPerSecond(1_000_000_000)),
            ("1500kB/s", Throttle::BytesPerSecond(1_500_000)),
        ] {
            assert_eq!(text.parse(), Ok(throttle));
            assert_eq!(throttle.to_string(), text);
        }
        for text in ["", "50", "0MB/s", "50mb/s", "50 MB/s", "-1MB/s", "Auto", "9999999GB/s", "MB/s"] {
            assert!(text.parse::<Throttle>().is_err(), "{text:?}");
        }
    }
}
