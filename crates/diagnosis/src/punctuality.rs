//! How late a report is.
//!
//! The sidecar's monotonic clock and the doctor's run at the same rate, so arrival minus the sidecar's uptime is the same for
//! every report that comes as fast as usual, whatever the wall clocks say. A report that waited somewhere shows a larger
//! difference.

use std::{collections::VecDeque, time::Duration};

use crate::Moment;

/// So many reports that come in step are the usual, whatever was usual before: a machine that was suspended has lost
/// time on its clock for good, and clocks drift. Reports that waited together come at once, not in step.
const IN_STEP: usize = 5;

/// Follows one run of one sidecar.
#[derive(Debug, Clone, Default)]
pub(crate) struct Punctuality {
    /// Arrival minus uptime of the last few reports, milliseconds.
    recent: VecDeque<i64>,
    usual: Option<i64>,
    /// Whether two reports ever came in step, so that what is usual is known.
    established: bool,
}

impl Punctuality {
    /// Takes in a report that was sent every `interval`; gives how much later than usual it came.
    ///
    /// `None`: there is nothing yet to compare it with.
    pub fn observe(&mut self, uptime_ms: u64, now: Moment, interval: Duration) -> Option<Duration> {
        let millis = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let interval = millis(u64::try_from(interval.as_millis()).unwrap_or(u64::MAX));
        let offset = millis(now.0).saturating_sub(millis(uptime_ms));
        // Reports that waited together come at once: each is an interval less late than the one before.
        let half = interval.unsigned_abs() / 2;
        self.established |= self.recent.back().is_some_and(|last| last.abs_diff(offset) < half);
        if self.recent.len() == IN_STEP {
            self.recent.pop_front();
        }
        self.recent.push_back(offset);

        let known = self.established || self.usual.is_some_and(|usual| offset > usual);
        let mut usual = self.usual.map_or(offset, |usual| usual.min(offset));
        if let (Some(least), Some(most)) = (self.recent.iter().min(), self.recent.iter().max())
            && self.recent.len() == IN_STEP
            && most.saturating_sub(*least) < interval.saturating_mul(2)
        {
            usual = *least;
        }
        self.usual = Some(usual);
        known.then(|| Duration::from_millis(offset.saturating_sub(usual).unsigned_abs()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Delays, in milliseconds, of reports that were taken at `uptime` and read at `now`.
    fn delays(reports: impl IntoIterator<Item = (u64, u64)>) -> Vec<Option<u64>> {
        let mut punctuality = Punctuality::default();
        let delay = |(uptime, now)| punctuality.observe(uptime, Moment(now), SECOND);
        reports.into_iter().map(delay).map(|delay| delay.map(|d| d.as_millis() as u64)).collect()
    }

    #[test]
    fn the_first_report_has_nothing_to_be_compared_with() {
        assert_eq!(delays([(500, 7_000), (1_500, 8_020), (2_500, 9_000)]), [None, Some(20), Some(0)]);
    }

    #[test]
    fn reports_that_waited_together_are_as_late_as_they_waited() {
        let on_time = (0..5).map(|i| (i * 1_000, i * 1_000 + 100));
        let waited = (5..65).map(|i| (i * 1_000, 64_100));
        let delays = delays(on_time.chain(waited));
        assert_eq!(delays[5], Some(59_000));
        assert_eq!(delays[34], Some(30_000), "a long row of them does not become the usual");
        assert_eq!(delays[64], Some(0));
    }

    #[test]
    fn after_a_suspension_of_the_machine_the_new_step_becomes_the_usual() {
        let before = (0..10).map(|i| (i * 1_000, i * 1_000));
        let after = (10..20).map(|i| (i * 1_000, i * 1_000 + 60_000));
        let delays = delays(before.chain(after));
        assert_eq!(delays[10], Some(60_000));
        assert_eq!(delays[13], Some(60_000));
        assert_eq!(delays[14], Some(0));
    }

    #[test]
    fn a_backlog_without_a_past_is_not_taken_for_news() {
        let delays = delays((0..10).map(|i| (i * 1_000, 10_000)).chain([(10_000, 11_000)]));
        assert!(delays[..9].iter().all(Option::is_none));
        assert_eq!(delays[10], Some(0));
    }

    #[test]
    fn drift_between_the_clocks_is_followed() {
        // One part in a thousand is twenty times more than clocks drift.
        let delays = delays((0..5_000).map(|i| (i * 1_000, i * 1_001)));
        assert!(delays.iter().skip(1).all(|delay| delay.is_some_and(|delay| delay < 10)));
    }
}
