//! How often loads are read: the more partitions, the less often, because the cost of looking grows with them.

use std::time::Duration;

/// The shortest time between two readings while a plan is wanted. Two make a rate.
const SHORTEST: Duration = Duration::from_secs(15);
const LONGEST: Duration = Duration::from_secs(90);

/// So many partitions may be read in the shortest time: some 3 MB of answers.
const PARTITIONS_AT_ONCE: usize = 20_000;

/// While no plan is wanted, readings come so many times more seldom. They keep a rate at hand for when one is.
const PATIENCE: u32 = 12;

/// Loads are out of date when so many readings have not come.
const MISSED_READINGS: u32 = 3;

/// Time between two readings of the loads of so many partitions while a plan is wanted.
pub fn often(partitions: usize) -> Duration {
    let times = u32::try_from(partitions.div_ceil(PARTITIONS_AT_ONCE).max(1)).unwrap_or(u32::MAX);
    SHORTEST.saturating_mul(times).min(LONGEST)
}

/// The same while no plan is wanted.
pub fn seldom(partitions: usize) -> Duration {
    often(partitions) * PATIENCE
}

/// How old the loads of so many partitions may be for a plan.
pub fn fresh_for(partitions: usize) -> Duration {
    often(partitions) * MISSED_READINGS
}
