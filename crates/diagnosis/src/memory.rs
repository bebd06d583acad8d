//! What is remembered of one broker between two diagnoses.

use std::time::Duration;

use doctorkafka_wire::{BrokerReport, ProcessState};

use crate::{
    Detection, Moment, Resource,
    process::SeenProcess,
    punctuality::Punctuality,
    resources::Gauge,
    runs::{Runs, Standing},
};

/// What is this old tells of the past: a report that comes so much later than usual counts as a heartbeat of then, and no
/// state turns worse because of it.
pub(crate) const LATE: Duration = Duration::from_millis(2_500);

/// A broker counts as fresh while it was heard of within this many of its report intervals.
const FRESH_INTERVALS: u32 = 3;

/// A report that says more than so many intervals after the one before broke the row.
const UNBROKEN_INTERVALS: u32 = 5;

/// Everything remembered of one broker.
#[derive(Debug, Clone)]
pub(crate) struct Memory {
    /// When the doctor first knew of the broker.
    pub known_since: Moment,
    /// When it was last heard of.
    pub heard: Option<Moment>,
    /// Newest report.
    pub report: Option<BrokerReport>,
    /// Whether the newest report tells of the past, or may do so.
    pub late: bool,
    /// For how long the local probe has failed without a break, and in how many reports.
    pub probe_failing: Option<(Duration, u32)>,
    /// Reports in good order without a break.
    pub good_reports: u32,
    /// Reports without a figure of the process, without a break.
    pub unmeasured_reports: u32,
    /// The process that was last seen, until it is seen to be gone.
    pub process: Option<SeenProcess>,
    /// Whether this run of the sidecar has seen a process.
    pub process_seen: bool,
    /// One gauge for each of [`Resource::ALL`].
    gauges: [Gauge; 4],
    runs: Runs,
    punctuality: Punctuality,
}

impl Memory {
    pub fn new(known_since: Moment) -> Self {
        Self {
            known_since,
            heard: None,
            report: None,
            late: false,
            probe_failing: None,
            good_reports: 0,
            unmeasured_reports: 0,
            process: None,
            process_seen: false,
            gauges: [Gauge::default(); 4],
            runs: Runs::default(),
            punctuality: Punctuality::default(),
        }
    }

    /// Takes in a report; false when it adds nothing: it was seen before, is older than what was seen, or comes from a
    /// sidecar that another one has replaced.
    ///
    /// `appended` is when Kafka got it at the latest; `None` if before the doctor looked.
    pub fn observe(
        &mut self,
        report: BrokerReport,
        appended: Option<Moment>,
        now: Moment,
        detection: &Detection,
    ) -> bool {
        let interval = Duration::from_millis(u64::from(report.interval_ms));
        let Some(appended) = appended else {
            // From before the doctor looked: its figures may be shown, and say nothing about now.
            let shown = self.heard.is_none() && self.runs.notice(&report) != Standing::Known;
            if shown {
                self.report = Some(report);
            }
            return shown;
        };
        let followed_is_silent = self.heard.is_none_or(|heard| now.since(heard) > self.fresh_for());
        let new_run = match self.runs.follow(&report, followed_is_silent) {
            Standing::Known => return false,
            Standing::Followed => false,
            Standing::TakenUp => true,
        };
        let last = self.report.as_ref().filter(|last| !new_run && last.incarnation == report.incarnation);
        let after = last.map(|last| Duration::from_millis(report.uptime_ms.saturating_sub(last.uptime_ms)));
        if new_run {
            self.punctuality = Punctuality::default();
            self.process_seen = false;
            self.probe_failing = None;
        }
        if after.is_none_or(|after| after > interval * UNBROKEN_INTERVALS) {
            self.good_reports = 0;
        }

        let delay = self.punctuality.observe(report.uptime_ms, now, interval);
        self.late = delay.is_none_or(|delay| delay > LATE);
        let taken = now.back(delay.unwrap_or_default()).min(appended);
        self.heard = Some(self.heard.map_or(taken, |heard| heard.max(taken)));

        self.observe_process(&report, new_run);
        for (gauge, resource) in self.gauges.iter_mut().zip(Resource::ALL) {
            gauge.observe(resource.percent(&report), interval, after, resource.threshold(detection));
        }
        self.observe_probe(&report, after.unwrap_or(interval));
        let measured = report.cpu.is_some() || report.memory.is_some();
        self.unmeasured_reports = if measured { 0 } else { self.unmeasured_reports.saturating_add(1) };
        self.report = Some(report);
        true
    }

    /// Takes other thresholds into use.
    pub fn set_detection(&mut self, before: &Detection, detection: &Detection) {
        for (gauge, resource) in self.gauges.iter_mut().zip(Resource::ALL) {
            if resource.threshold(before) != resource.threshold(detection) {
                gauge.set_threshold(resource.threshold(detection));
            }
        }
    }

    /// Whether it was heard of just now.
    pub fn is_fresh(&self, now: Moment) -> bool {
        self.heard.is_some_and(|heard| now.since(heard) <= self.fresh_for())
    }

    fn fresh_for(&self) -> Duration {
        self.interval() * FRESH_INTERVALS
    }

    /// The gauge of one resource.
    pub fn gauge(&self, resource: Resource) -> &Gauge {
        let [cpu, memory, disk, network] = &self.gauges;
        match resource {
            Resource::Cpu => cpu,
            Resource::Memory => memory,
            Resource::Disk => disk,
            Resource::Network => network,
        }
    }

    /// How long a report is expected to take to be followed by the next.
    pub fn interval(&self) -> Duration {
        let millis = self.report.as_ref().map_or(1_000, |report| u64::from(report.interval_ms));
        Duration::from_millis(millis.min(10_000))
    }

    fn observe_process(&mut self, report: &BrokerReport, new_run: bool) {
        let Some(mut seen) = SeenProcess::of(report) else {
            // A single look that missed a process which answers is no end of it.
            let answers = report.probe.as_ref().is_some_and(|probe| probe.ok);
            if !answers {
                self.process = None;
            }
            return;
        };
        self.process_seen = true;
        match &self.process {
            Some(known) if !new_run && known.is(&seen) => return,
            Some(known) if new_run && known.is_across_runs(&seen) => seen.served = known.served,
            // Another process: what the one before used says nothing about it.
            _ => self.gauges = [Gauge::default(); 4],
        }
        self.process = Some(seen);
    }

    fn observe_probe(&mut self, report: &BrokerReport, after: Duration) {
        let stopped = report.process.state == ProcessState::Stopped;
        let there = report.process.state != ProcessState::Absent;
        // A stopped process answers nobody, whether it is probed or not.
        let answers = report.probe.as_ref().map(|probe| probe.ok).or(stopped.then_some(false));
        match answers {
            Some(true) => {
                self.probe_failing = None;
                if let Some(process) = &mut self.process {
                    process.served = true;
                }
            }
            Some(false) => {
                let (failing, reports) = self.probe_failing.unwrap_or_default();
                // Saturating, for what a report says of time comes from outside.
                self.probe_failing = Some((failing.saturating_add(after), reports.saturating_add(1)));
            }
            None => self.probe_failing = None,
        }
        let good = answers.unwrap_or(there) && !stopped;
        self.good_reports = if good { self.good_reports.saturating_add(1) } else { 0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{absent, report};

    /// A broker of which a report came each second until the moment 10 s, with uptimes from 0.
    fn known() -> Memory {
        let mut memory = Memory::new(Moment(0));
        for second in 0..=10 {
            let now = Moment(second * 1_000);
            assert!(memory.observe(report(second * 1_000), Some(now), now, &Detection::default()));
        }
        memory
    }

    #[test]
    fn what_is_older_than_the_doctor_is_shown_and_proves_no_life() {
        let mut memory = Memory::new(Moment(0));
        assert!(memory.observe(report(5_000), None, Moment(100), &Detection::default()));
        assert_eq!(memory.heard, None);
        assert_eq!(memory.report.as_ref().map(|report| report.sequence), Some(6));
        assert_eq!(memory.good_reports, 0);
    }

    #[test]
    fn what_is_older_than_the_doctor_displaces_nothing_that_is_not() {
        let mut memory = known();
        let old = BrokerReport { incarnation: 9, ..absent(500) };
        assert!(!memory.observe(old, None, Moment(10_100), &Detection::default()));
        assert_eq!(memory.report.as_ref().map(|report| report.incarnation), Some(1));
    }

    #[test]
    fn a_report_that_waited_counts_as_of_when_it_was_taken() {
        let mut memory = known();
        memory.observe(report(11_000), Some(Moment(19_000)), Moment(19_000), &Detection::default());
        assert_eq!(memory.heard, Some(Moment(11_000)));
        assert!(memory.late);
        memory.observe(report(19_000), Some(Moment(19_000)), Moment(19_000), &Detection::default());
        assert_eq!(memory.heard, Some(Moment(19_000)));
        assert!(!memory.late);
    }

    #[test]
    fn a_report_was_taken_before_it_was_appended() {
        let mut memory = known();
        // The first report of another run: nothing is known of its delay but when Kafka got it.
        let other = BrokerReport { incarnation: 2, ..report(40_000) };
        memory.observe(other, Some(Moment(12_000)), Moment(50_000), &Detection::default());
        assert_eq!(memory.heard, Some(Moment(12_000)));
        assert!(memory.late, "and so it may be old");
    }

    #[test]
    fn good_reports_count_from_the_last_gap() {
        let mut memory = known();
        assert_eq!(memory.good_reports, 11);
        memory.observe(report(16_000), Some(Moment(16_000)), Moment(16_000), &Detection::default());
        assert_eq!(memory.good_reports, 1);
    }

    #[test]
    fn a_look_that_missed_a_process_which_answers_is_no_end_of_it() {
        let mut memory = known();
        let missed = BrokerReport { probe: report(0).probe, ..absent(11_000) };
        memory.observe(missed, Some(Moment(11_000)), Moment(11_000), &Detection::default());
        assert!(memory.process.as_ref().is_some_and(|process| process.served));
        memory.observe(absent(12_000), Some(Moment(12_000)), Moment(12_000), &Detection::default());
        assert_eq!(memory.process, None);
    }

    #[test]
    fn a_clock_that_jumps_with_every_report_is_survived() {
        let mut memory = known();
        for sequence in 100..3_000 {
            let uptime_ms = if sequence % 2 == 0 { 0 } else { u64::MAX };
            let forged = BrokerReport { sequence, uptime_ms, ..absent(0) };
            memory.observe(forged, Some(Moment(11_000)), Moment(11_000), &Detection::default());
        }
        assert_eq!(memory.probe_failing.map(|(failing, _)| failing), Some(Duration::MAX));
    }

    #[test]
    fn a_stopped_process_is_failing_where_nothing_is_probed() {
        let mut memory = known();
        let mut stopped = BrokerReport { probe: None, ..report(11_000) };
        stopped.process.state = ProcessState::Stopped;
        memory.observe(stopped, Some(Moment(11_000)), Moment(11_000), &Detection::default());
        assert_eq!(memory.probe_failing, Some((Duration::from_secs(1), 1)));
    }

    #[test]
    fn a_restarted_sidecar_recognises_the_process_that_has_served() {
        let mut memory = known();
        let mut hung = BrokerReport { incarnation: 2, ..report(1_000) };
        hung.probe = absent(0).probe;
        memory.observe(hung, Some(Moment(11_000)), Moment(11_000), &Detection::default());
        assert!(memory.process.as_ref().is_some_and(|process| process.served));
    }
}
