//! What the doctor is to leave alone, and when.

use crate::{Bounds, Duration, cel};
use jiff::Timestamp;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{borrow::Cow, fmt, str::FromStr};

/// What the doctor is to leave alone, and when.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Maintenance {
    /// Times of planned work on the cluster. In them the doctor goes on diagnosing and starts no treatment.
    #[schemars(length(max = Self::MAX_WINDOWS))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub windows: Vec<MaintenanceWindow>,
    /// Ids of brokers that are being worked on. They are in state Maintenance and get neither alerts nor treatment.
    #[schemars(
        length(max = Self::MAX_BROKERS),
        inner(range(min = 0)),
        extend("x-kubernetes-list-type" = "set")
    )]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub brokers: Vec<i32>,
}

impl Maintenance {
    pub(crate) const MAX_WINDOWS: usize = 32;
    pub(crate) const MAX_BROKERS: usize = 1_000;

    /// Whether planned work is under way.
    pub fn is_open(&self, at: Timestamp) -> bool {
        self.windows.iter().any(|window| window.contains(at))
    }
}

/// A time of planned work that comes again every week or every day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MaintenanceWindow {
    /// Days on which it starts; every day when empty.
    #[schemars(length(max = 7), extend("x-kubernetes-list-type" = "set"))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub days: Vec<Day>,
    /// When it starts, UTC, such as 02:00.
    #[schemars(extend("x-kubernetes-validations" = cel::matching(TimeOfDay::PATTERN, TimeOfDay::EXPECTED)))]
    pub start: TimeOfDay,
    /// How long it lasts, such as 4h. From 1m to 24h.
    #[schemars(extend("x-kubernetes-validations" = cel::within(Self::DURATION)))]
    pub duration: Duration,
}

const SECONDS_A_DAY: i64 = 86_400;

impl MaintenanceWindow {
    /// Bounds of [`Self::duration`].
    pub const DURATION: Bounds = Bounds { min: Duration::from_mins(1), max: Duration::from_hours(24) };

    /// Whether a moment lies in it; the end does not.
    pub fn contains(&self, at: Timestamp) -> bool {
        let now = at.as_second();
        let today = now.div_euclid(SECONDS_A_DAY);
        // It lasts a day at most: one that is open started today or yesterday.
        [today, today - 1].into_iter().any(|day| {
            let start = day * SECONDS_A_DAY + i64::from(self.start.minutes) * 60;
            let end = start.saturating_add_unsigned(self.duration.as_millis() / 1_000);
            (self.days.is_empty() || self.days.contains(&Day::of(day))) && (start..end).contains(&now)
        })
    }
}

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs)] // each is the day of its name
pub enum Day {
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}

impl Day {
    /// Day of the week of a day counted from 1970-01-01, a Thursday.
    fn of(day: i64) -> Self {
        match day.rem_euclid(7) {
            0 => Self::Thursday,
            1 => Self::Friday,
            2 => Self::Saturday,
            3 => Self::Sunday,
            4 => Self::Monday,
            5 => Self::Tuesday,
            _ => Self::Wednesday,
        }
    }
}

/// A time of day, written `02:00`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimeOfDay {
    minutes: u16,
}

impl TimeOfDay {
    pub(crate) const PATTERN: &'static str = "^([01][0-9]|2[0-3]):[0-5][0-9]$";

    pub(crate) const EXPECTED: &'static str = "must be a time of day from 00:00 to 23:59";

    /// A time of day, if there is one.
    pub fn new(hour: u8, minute: u8) -> Option<Self> {
        (hour < 24 && minute < 60).then(|| Self { minutes: u16::from(hour) * 60 + u16::from(minute) })
    }
}

impl FromStr for TimeOfDay {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let two = |digits: &str| {
            digits.parse::<u8>().ok().filter(|_| digits.len() == 2 && !digits.starts_with('+'))
        };
        text.split_once(':')
            .and_then(|(hour, minute)| Self::new(two(hour)?, two(minute)?))
            .ok_or_else(|| format!("{}; got {:.16}", Self::EXPECTED, text))
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.minutes / 60, self.minutes % 60)
    }
}

impl Serialize for TimeOfDay {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TimeOfDay {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for TimeOfDay {
    fn schema_name() -> Cow<'static, str> {
        "TimeOfDay".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "maxLength": 5})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(days: &[Day], start: &str, duration: &str) -> MaintenanceWindow {
        MaintenanceWindow {
            days: days.to_vec(),
            start: start.parse().unwrap(),
            duration: duration.parse().unwrap(),
        }
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_daily_window_is_open_from_its_start_to_before_its_end() {
        let window = window(&[], "02:00", "1h30m");
        assert!(!window.contains(at("2026-11-22T01:59:59Z")));
        assert!(window.contains(at("2026-11-22T02:00:00Z")));
        assert!(window.contains(at("2026-11-22T03:29:59Z")));
        assert!(!window.contains(at("2026-11-22T03:30:00Z")));
    }

    #[test]
    fn a_window_belongs_to_the_day_it_starts_on() {
        // 2026-11-21 is a Saturday
        let window = window(&[Day::Saturday], "22:00", "4h");
        assert!(!window.contains(at("2026-11-21T01:00:00Z")));
        assert!(window.contains(at("2026-11-21T23:00:00Z")));
        assert!(window.contains(at("2026-11-22T01:59:59Z")));
        assert!(!window.contains(at("2026-11-22T02:00:00Z")));
        assert!(!window.contains(at("2026-11-22T22:30:00Z")));
    }

    #[test]
    fn times_of_day() {
        for text in ["00:00", "09:30", "23:59"] {
            assert_eq!(text.parse::<TimeOfDay>().unwrap().to_string(), text);
        }
        for text in ["", "24:00", "12:60", "1:00", "01:0", "+1:00", "01:+1", "0100", "01:00:00", "aa:bb"] {
            assert!(text.parse::<TimeOfDay>().is_err(), "{text:?}");
        }
    }
}
