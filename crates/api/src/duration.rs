//! Durations as people write them.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{borrow::Cow, fmt, str::FromStr};

/// A span of time, written `500ms`, `10s`, `30m` or `1h30m`, as Go and Kubernetes write it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Duration(std::time::Duration);

impl Duration {
    /// What a duration must look like, as a regular expression that CEL, JSON Schema and Rust agree on.
    ///
    /// It leaves out what Go also reads and nobody writes here: fractions, signs, micro- and nanoseconds.
    pub const PATTERN: &'static str = "^([0-9]{1,5}(h|m|s|ms))+$";

    /// The longest text that is read, characters.
    pub const MAX_LENGTH: usize = 24;

    /// A duration of so many milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(std::time::Duration::from_millis(millis))
    }

    /// A duration of so many seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(std::time::Duration::from_secs(seconds))
    }

    /// A duration of so many minutes.
    pub const fn from_mins(minutes: u64) -> Self {
        Self::from_secs(minutes * 60)
    }

    /// A duration of so many hours.
    pub const fn from_hours(hours: u64) -> Self {
        Self::from_mins(hours * 60)
    }

    /// The same as the standard library's type.
    pub const fn to_std(self) -> std::time::Duration {
        self.0
    }

    /// Whole milliseconds.
    pub const fn as_millis(self) -> u64 {
        self.0.as_secs() * 1_000 + self.0.subsec_millis() as u64
    }
}

impl From<Duration> for std::time::Duration {
    fn from(duration: Duration) -> Self {
        duration.0
    }
}

/// A text that is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is not a duration such as 500ms, 10s, 30m or 1h30m")]
pub struct ParseDurationError {
    given: String,
}

impl FromStr for Duration {
    type Err = ParseDurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || ParseDurationError { given: text.chars().take(64).collect() };
        if text.is_empty() || text.len() > Self::MAX_LENGTH {
            return Err(invalid());
        }
        let mut rest = text;
        let mut millis = 0_u64;
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            // At most five digits, four parts and hours: no sum of them overflows.
            let number: u64 = rest
                .get(..digits)
                .filter(|_| (1..=5).contains(&digits))
                .ok_or_else(invalid)?
                .parse()
                .map_err(|_| invalid())?;
            rest = &rest[digits..];
            let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
            millis += number
                * match &rest[..letters] {
                    "h" => 3_600_000,
                    "m" => 60_000,
                    "s" => 1_000,
                    "ms" => 1,
                    _ => return Err(invalid()),
                };
            rest = &rest[letters..];
        }
        Ok(Self::from_millis(millis))
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.as_millis();
        if millis == 0 {
            return f.write_str("0s");
        }
        for (unit, size) in [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)] {
            let count = match unit {
                "h" => millis / size,
                "ms" => millis % 1_000,
                "s" => millis / size % 60,
                _ => millis / size % 60,
            };
            if count > 0 {
                write!(f, "{count}{unit}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Duration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        // The pattern is in the CEL rule of each field, whose message says what would be right.
        json_schema!({"type": "string", "maxLength": Self::MAX_LENGTH})
    }
}

/// The shortest and the longest duration a field may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Shortest, inclusive.
    pub min: Duration,
    /// Longest, inclusive.
    pub max: Duration,
}

impl Bounds {
    /// Whether a duration is within.
    pub fn contain(&self, duration: Duration) -> bool {
        (self.min..=self.max).contains(&duration)
    }
}

impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "must be a duration from {} to {}, such as 10s or 1h30m", self.min, self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        for (text, millis) in [
            ("500ms", 500),
            ("10s", 10_000),
            ("30m", 1_800_000),
            ("1h30m", 5_400_000),
            ("1m500ms", 60_500),
            ("90m", 5_400_000),
        ] {
            assert_eq!(text.parse(), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn refuses_the_rest() {
        for text in [
            "",
            "10",
            "s",
            "10 s",
            "-1s",
            "1.5s",
            "1d",
            "10S",
            "100000s",
            "1s1s1s1s1s1s1s1s1s1s1s1s1s",
            "1µs",
            "٣s",
        ] {
            assert!(text.parse::<Duration>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn prints_what_it_reads() {
        for text in ["0s", "1ms", "10s", "30m", "1h30m", "2h1s5ms", "99999h"] {
            assert_eq!(text.parse::<Duration>().unwrap().to_string(), text);
        }
        assert_eq!("60s".parse::<Duration>().unwrap().to_string(), "1m");
    }
}
