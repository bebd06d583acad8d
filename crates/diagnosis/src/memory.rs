//! What is remembered of one broker between two diagnoses.

use std::{collections::VecDeque, time::Duration};

use doctorkafka_wire::{BrokerReport, ProcessState};

use crate::{Detection, Moment, Resource, resources::Gauge};

/// A report that comes this much later than usual tells of the past: it counts as a heartbeat of then, and no state
/// turns worse because of it.
pub(crate) const LATE: Duration = Duration::from_millis(2_500);

/// A probe must fail for this long to count; shorter is a pause for garbage collection.
pub(crate) const UNRESPONSIVE_AFTER: Duration = Duration::from_secs(3);

/// So many reports in good order end an `Unhealthy`.
pub(crate) const GOOD_REPORTS_TO_RECOVER: u32 = 3;

/// Arrivals by which the usual delay of a sidecar's reports is judged.
const ARRIVALS: usize = 30;

/// Sidecar runs of one broker whose sequence numbers are remembered.
const INCARNATIONS: usize = 8;

/// Everything remembered of one broker.
#[derive(Debug, Clone)]
pub(crate) struct Memory {
    /// When the doctor first knew of the broker.
    pub known_since: Moment,
    /// When it was last heard of.
    pub heard: Option<Moment>,
    /// Newest report.
    pub report: Option<BrokerReport>,
    /// How late the newest report was.
    pub late: bool,
    /// One gauge for each of [`Resource::ALL`].
    pub gauges: [Gauge; 4],
    /// For how long the local probe has failed without a break, and in how many reports.
    pub probe_failing: Option<(Duration, u32)>,
    /// Reports in good order without a break.
    pub good_reports: u32,
    /// Whether this run of the sidecar has seen the process.
    pub process_seen: bool,
    /// Pid and start, as reported, of the process that last answered its probe.
    pub served: Option<(Option<i32>, Option<jiff::Timestamp>)>,
    incarnations: VecDeque<(u64, u64)>,
    /// Arrival minus the sidecar's uptime, milliseconds: the smallest is the usual delay.
    arrivals: VecDeque<i64>,
}

impl Memory {
    pub fn new(known_since: Moment) -> Self {
        Self {
            known_since,
            heard: None,
            report: None,
            late: false,
            gauges: [Gauge::default(); 4],
            probe_failing: None,
            good_reports: 0,
            process_seen: false,
            served: None,
            incarnations: VecDeque::new(),
            arrivals: VecDeque::new(),
        }
    }

    /// Whether a report is newer than what is known of its sidecar's run.
    pub fn is_new(&self, report: &BrokerReport) -> bool {
        let known = self.incarnations.iter().find(|(incarnation, _)| *incarnation == report.incarnation);
        known.is_none_or(|(_, sequence)| report.sequence > *sequence)
    }

    /// Takes in a new report. `appended` is when Kafka got it at the latest; `None` if before the doctor looked.
    pub fn observe(
        &mut self,
        report: BrokerReport,
        appended: Option<Moment>,
        now: Moment,
        detection: &Detection,
    ) {
        let same_run = self.report.as_ref().filter(|last| last.incarnation == report.incarnation);
        let after =
            same_run.map(|last| Duration::from_millis(report.uptime_ms.saturating_sub(last.uptime_ms)));
        if same_run.is_none() {
            self.arrivals.clear();
            self.process_seen = false;
            self.probe_failing = None;
        }
        let interval = Duration::from_millis(u64::from(report.interval_ms));
        if after.is_none_or(|after| after > interval * 5) {
            self.good_reports = 0;
        }
        self.remember(report.incarnation, report.sequence);

        let delay = self.delay(&report, now);
        self.late = delay > LATE;
        let Some(appended) = appended else {
            // From before the doctor looked: its figures may be shown, and say nothing about now.
            self.report = Some(report);
            return;
        };
        let taken = now.back(delay).min(appended);
        self.heard = Some(self.heard.map_or(taken, |heard| heard.max(taken)));

        for (gauge, resource) in self.gauges.iter_mut().zip(Resource::ALL) {
            gauge.observe(resource.percent(&report), interval, after, resource.threshold(detection));
        }
        self.observe_probe(&report, after.unwrap_or(interval));
        self.report = Some(report);
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

    fn observe_probe(&mut self, report: &BrokerReport, after: Duration) {
        let there = report.process.state != ProcessState::Absent;
        self.process_seen |= there;
        let process = (report.process.pid, report.process.started_at);
        let answers = report.probe.as_ref().map(|probe| probe.ok);
        match answers {
            Some(true) => {
                self.probe_failing = None;
                self.served = Some(process);
            }
            Some(false) => {
                let (failing, reports) = self.probe_failing.unwrap_or_default();
                self.probe_failing = Some((failing + after, reports + 1));
            }
            None => self.probe_failing = None,
        }
        let good = answers.unwrap_or(there) && report.process.state != ProcessState::Stopped;
        self.good_reports = if good { self.good_reports.saturating_add(1) } else { 0 };
    }

    /// How much later than usual a report came. The sidecar's monotonic clock and the doctor's run at the same rate, so
    /// the smallest difference of late is the usual delay, whatever the wall clocks say.
    fn delay(&mut self, report: &BrokerReport, now: Moment) -> Duration {
        let millis = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let offset = millis(now.0).saturating_sub(millis(report.uptime_ms));
        if self.arrivals.len() == ARRIVALS {
            self.arrivals.pop_front();
        }
        self.arrivals.push_back(offset);
        let usual = self.arrivals.iter().copied().min().unwrap_or(offset);
        Duration::from_millis(offset.saturating_sub(usual).unsigned_abs())
    }

    fn remember(&mut self, incarnation: u64, sequence: u64) {
        if let Some(known) = self.incarnations.iter_mut().find(|(known, _)| *known == incarnation) {
            known.1 = sequence;
            return;
        }
        if self.incarnations.len() == INCARNATIONS {
            self.incarnations.pop_front();
        }
        self.incarnations.push_back((incarnation, sequence));
    }
}
