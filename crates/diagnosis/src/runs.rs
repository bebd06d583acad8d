//! Which run of which sidecar a broker's reports are taken from.
//!
//! A report may arrive several times and by several partitions, a restarted sidecar begins to count anew, and by mistake two
//! sidecars may report for one broker. Only one run is followed at a time: the one that appeared last, until it falls
//! silent while another still reports.

use std::collections::VecDeque;

use doctorkafka_wire::BrokerReport;

/// Runs of which the newest sequence number is remembered.
const KEPT: usize = 8;

/// What a report is to those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Seen before, older than what was seen, or of a run that is not followed.
    Known,
    /// The next of the run that is followed.
    Followed,
    /// The first of a run that is followed from now on.
    TakenUp,
}

/// The runs that were seen.
#[derive(Debug, Clone, Default)]
pub(crate) struct Runs {
    /// Incarnation and newest sequence number, the ones that were seen first in front.
    seen: VecDeque<(u64, u64)>,
    followed: Option<u64>,
}

impl Runs {
    /// Takes note of a report from before the doctor looked. No run is followed because of it.
    pub fn notice(&mut self, report: &BrokerReport) -> Standing {
        if self.remember(report).is_none() { Standing::Known } else { Standing::Followed }
    }

    /// Takes in a report. `followed_is_silent`: the run that is followed has not been heard of for a while.
    pub fn follow(&mut self, report: &BrokerReport, followed_is_silent: bool) -> Standing {
        let Some(appeared) = self.remember(report) else { return Standing::Known };
        if self.followed == Some(report.incarnation) {
            return Standing::Followed;
        }
        if self.followed.is_some() && !appeared && !followed_is_silent {
            return Standing::Known;
        }
        self.followed = Some(report.incarnation);
        Standing::TakenUp
    }

    /// Whether the report's run was unknown; `None` when the report is not new.
    fn remember(&mut self, report: &BrokerReport) -> Option<bool> {
        if let Some((_, sequence)) = self.seen.iter_mut().find(|(known, _)| *known == report.incarnation) {
            let new = report.sequence > *sequence;
            *sequence = report.sequence.max(*sequence);
            return new.then_some(false);
        }
        if self.seen.len() == KEPT {
            // Never the one that is followed.
            let oldest = self.seen.iter().position(|(known, _)| Some(*known) != self.followed);
            self.seen.remove(oldest.unwrap_or_default());
        }
        self.seen.push_back((report.incarnation, report.sequence));
        Some(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    fn report(incarnation: u64, sequence: u64) -> BrokerReport {
        BrokerReport { incarnation, sequence, ..sample::report(0) }
    }

    #[test]
    fn repeats_and_older_reports_are_known() {
        let mut runs = Runs::default();
        assert_eq!(runs.follow(&report(1, 5), false), Standing::TakenUp);
        assert_eq!(runs.follow(&report(1, 5), false), Standing::Known);
        assert_eq!(runs.follow(&report(1, 4), false), Standing::Known);
        assert_eq!(runs.follow(&report(1, 7), false), Standing::Followed);
    }

    #[test]
    fn a_restarted_sidecar_is_followed_at_once_and_its_predecessor_no_more() {
        let mut runs = Runs::default();
        runs.follow(&report(1, 100), false);
        assert_eq!(runs.follow(&report(2, 1), false), Standing::TakenUp);
        assert_eq!(runs.follow(&report(1, 101), false), Standing::Known, "it was still under way");
        assert_eq!(runs.follow(&report(2, 2), false), Standing::Followed);
    }

    #[test]
    fn the_other_of_two_is_followed_when_the_followed_one_falls_silent() {
        let mut runs = Runs::default();
        runs.follow(&report(1, 1), false);
        runs.follow(&report(2, 1), false);
        assert_eq!(runs.follow(&report(1, 2), false), Standing::Known);
        assert_eq!(runs.follow(&report(1, 3), true), Standing::TakenUp);
        assert_eq!(runs.follow(&report(2, 2), false), Standing::Known);
    }

    #[test]
    fn what_was_there_before_the_doctor_looked_is_not_followed_and_not_new_again() {
        let mut runs = Runs::default();
        assert_eq!(runs.notice(&report(1, 5)), Standing::Followed);
        assert_eq!(runs.notice(&report(1, 5)), Standing::Known);
        assert_eq!(runs.follow(&report(1, 5), true), Standing::Known);
        assert_eq!(runs.follow(&report(1, 6), true), Standing::TakenUp);
    }

    #[test]
    fn memory_is_bounded_and_keeps_the_run_that_is_followed() {
        let mut runs = Runs::default();
        runs.follow(&report(1, 50), false);
        for incarnation in 2..100 {
            runs.notice(&report(incarnation, 1));
        }
        assert!(runs.seen.len() <= KEPT);
        assert_eq!(runs.follow(&report(1, 50), false), Standing::Known);
        assert_eq!(runs.follow(&report(1, 51), false), Standing::Followed);
    }
}
