//! The broker's process, followed from report to report.

use std::time::Duration;

use doctorkafka_wire::{BrokerReport, ProcessState};

/// A process younger than this that has not answered yet may still be recovering its log.
const RECOVERY: Duration = Duration::from_secs(30 * 60);

/// Two runs of the sidecar may read the start of the same process so far apart.
const SAME_START_SECS: i64 = 5;

/// One process of the broker.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SeenProcess {
    pid: Option<i32>,
    started_at: Option<jiff::Timestamp>,
    restarts: u32,
    /// Its age and the sidecar's uptime in the first report of this run that shows it. Both times of an age are of the same
    /// wall clock and the same report; from then on the sidecar's monotonic clock counts, because the wall clock may jump.
    age_then: Option<Duration>,
    uptime_then: u64,
    /// Whether it has answered its probe.
    pub served: bool,
}

impl SeenProcess {
    /// The process that a report shows, if it shows one.
    pub fn of(report: &BrokerReport) -> Option<Self> {
        if report.process.state == ProcessState::Absent {
            return None;
        }
        let age = report.process.started_at.map(|started| report.sampled_at.duration_since(started));
        Some(Self {
            pid: report.process.pid,
            started_at: report.process.started_at,
            restarts: report.process.restarts,
            age_then: age.map(|age| Duration::try_from(age).unwrap_or(Duration::ZERO)),
            uptime_then: report.uptime_ms,
            served: false,
        })
    }

    /// Whether `later`, seen by the same run of the sidecar, is this process.
    pub fn is(&self, later: &Self) -> bool {
        self.pid == later.pid && self.restarts == later.restarts
    }

    /// Whether `later`, seen by another run of the sidecar, is this process.
    pub fn is_across_runs(&self, later: &Self) -> bool {
        let same_start = match (self.started_at, later.started_at) {
            (Some(this), Some(later)) => (this.as_second() - later.as_second()).abs() <= SAME_START_SECS,
            _ => false,
        };
        self.pid == later.pid && same_start
    }

    /// Whether it is young enough, at this report, to be still on its way up.
    pub fn may_be_starting(&self, report: &BrokerReport) -> bool {
        let since = Duration::from_millis(report.uptime_ms.saturating_sub(self.uptime_then));
        self.age_then.is_some_and(|age| age + since < RECOVERY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use jiff::SignedDuration;

    const HOUR: SignedDuration = SignedDuration::from_hours(1);

    #[test]
    fn an_absent_process_is_none() {
        assert_eq!(SeenProcess::of(&sample::absent(0)), None);
    }

    #[test]
    fn another_pid_or_one_more_restart_is_another_process() {
        let seen = |edit: fn(&mut BrokerReport)| {
            let mut report = sample::report(1_000);
            edit(&mut report);
            SeenProcess::of(&report).unwrap()
        };
        let first = seen(|_| ());
        assert!(first.is(&seen(|report| report.process.started_at = None)), "its start is read inexactly");
        assert!(!first.is(&seen(|report| report.process.pid = Some(8))));
        assert!(
            !first.is(&seen(|report| report.process.restarts = 1)),
            "a container gives the same pid again"
        );
    }

    #[test]
    fn across_runs_the_start_tells() {
        let seen = |moved: SignedDuration| {
            let mut report = sample::report(0);
            report.process.started_at = report.process.started_at.map(|started| started + moved);
            SeenProcess::of(&report).unwrap()
        };
        let first = seen(SignedDuration::ZERO);
        assert!(first.is_across_runs(&seen(SignedDuration::from_millis(900))));
        assert!(!first.is_across_runs(&seen(SignedDuration::from_secs(20))));
    }

    #[test]
    fn the_age_goes_on_by_the_monotonic_clock_whatever_the_wall_clock_does() {
        // Two minutes old in the first report.
        let process = SeenProcess::of(&sample::report(0)).unwrap();
        let mut later = sample::report(27 * 60_000);
        later.sampled_at += HOUR;
        assert!(process.may_be_starting(&later));
        later.sampled_at -= HOUR * 2;
        assert!(process.may_be_starting(&later));
        assert!(!process.may_be_starting(&sample::report(28 * 60_000)));
    }

    #[test]
    fn a_process_of_unknown_age_is_not_taken_to_be_starting() {
        let mut report = sample::report(0);
        report.process.started_at = None;
        assert!(!SeenProcess::of(&report).unwrap().may_be_starting(&report));
    }

    #[test]
    fn a_start_in_the_future_is_a_start_just_now() {
        let mut report = sample::report(0);
        report.process.started_at = Some(report.sampled_at + HOUR);
        assert!(SeenProcess::of(&report).unwrap().may_be_starting(&report));
    }
}
