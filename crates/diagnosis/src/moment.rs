//! Time as diagnosis knows it.

use std::time::Duration;

/// A point on the doctor's own monotonic clock: milliseconds since the engine started.
///
/// All rules compare moments; wall clocks, which jump and differ between machines, are only shown to people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Moment(pub u64);

impl Moment {
    /// Time from `earlier` to this moment; zero when it is not earlier.
    pub fn since(self, earlier: Moment) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// The moment `by` before this one, not before the start.
    pub fn back(self, by: Duration) -> Moment {
        Moment(self.0.saturating_sub(millis(by)))
    }
}

impl std::ops::Add<Duration> for Moment {
    type Output = Moment;
    fn add(self, by: Duration) -> Moment {
        Moment(self.0.saturating_add(millis(by)))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
