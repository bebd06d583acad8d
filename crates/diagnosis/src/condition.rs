//! What a broker's newest report means, when it is heard of.

use std::time::Duration;

use doctorkafka_wire::{BrokerReport, Evidence, ProcessState};
use serde_json::json;

use crate::{
    BrokerState, Detection, Diagnosis, Moment, Reason, Resource, Threshold, memory::Memory, resources::Gauge,
};

/// A probe must fail for this long to count; shorter is a pause for garbage collection.
const UNRESPONSIVE_AFTER: Duration = Duration::from_secs(3);

/// So many reports in good order end an `Unhealthy`.
const GOOD_REPORTS_TO_RECOVER: u32 = 3;

/// So many reports without a figure of the process mean that it is not measured; a single look may fail.
const REPORTS_UNMEASURED: u32 = 3;

/// A broker that has started, answers, and is still fenced after so many reports is not starting any more.
const GOOD_REPORTS_TO_BE_COUNTED_IN: u32 = 60;

/// A sidecar that has run for less than this, ms, and has not seen the broker yet, waits for it to start.
const STARTUP_GRACE_MS: u64 = 30_000;

/// From here on a file system is full for a broker, percent.
const DISK_IS_FULL: f64 = 95.0;

/// A state with its reason and the evidence it rests on.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Finding {
    pub state: BrokerState,
    pub reason: Reason,
    pub message: String,
    pub evidence: Evidence,
    /// What an overload is of.
    pub resource: Option<Resource>,
}

impl Finding {
    pub fn new(state: BrokerState, reason: Reason, message: impl Into<String>) -> Self {
        Self { state, reason, message: message.into(), evidence: Evidence::new(), resource: None }
    }

    pub fn with(mut self, key: &str, value: impl Into<serde_json::Value>) -> Self {
        self.evidence.insert(key.to_owned(), value.into());
        self
    }
}

/// Judges a broker that is heard of. `fenced`: when the controller was asked, if it said that the broker is fenced.
/// `None`: nothing new can be said, what was held to be true still is.
pub(crate) fn judge(
    memory: &Memory,
    before: Option<&Diagnosis>,
    fenced: Option<Moment>,
    detection: &Detection,
) -> Option<Finding> {
    let heard = Heard {
        memory,
        report: memory.report.as_ref()?,
        state: before.map_or(BrokerState::Unknown, |before| before.state),
        reason: before.map_or(Reason::NotSeenYet, |before| before.reason),
        fenced,
    };
    let finding = match heard.trouble() {
        Trouble::Found(finding) => finding,
        Trouble::Suspected => return None,
        Trouble::None => {
            let down = matches!(heard.state, BrokerState::Unhealthy | BrokerState::Recovering);
            if down && memory.good_reports < GOOD_REPORTS_TO_RECOVER {
                return None;
            }
            load(memory, heard.report, detection, before.and_then(|before| before.resource))
        }
    };
    // News from a while ago makes nothing worse: the report behind it is already on its way.
    let worse = badness(finding.state) > badness(heard.state);
    (!(worse && memory.late)).then_some(finding)
}

/// States in the order in which things get worse.
fn badness(state: BrokerState) -> u8 {
    match state {
        BrokerState::Healthy | BrokerState::Maintenance | BrokerState::Unknown => 0,
        BrokerState::Overloaded => 1,
        BrokerState::Recovering => 2,
        BrokerState::Unhealthy => 3,
    }
}

/// What the newest report says beyond load.
enum Trouble {
    /// The broker is up and in service.
    None,
    /// Too early to say.
    Suspected,
    /// This.
    Found(Finding),
}

/// A broker that is heard of, and what it was held to be.
struct Heard<'a> {
    memory: &'a Memory,
    report: &'a BrokerReport,
    state: BrokerState,
    reason: Reason,
    fenced: Option<Moment>,
}

impl Heard<'_> {
    fn trouble(&self) -> Trouble {
        let answers = self.report.probe.as_ref().is_some_and(|probe| probe.ok);
        if self.report.process.state == ProcessState::Absent && !answers {
            return Trouble::Found(self.absent());
        }
        if let Some((failing, reports)) = self.memory.probe_failing {
            return self.not_answering(failing, reports).map_or(Trouble::Suspected, Trouble::Found);
        }
        match self.fenced {
            // It has been heard since: it is there and fenced.
            Some(asked) if self.memory.heard >= Some(asked) => Trouble::Found(self.fenced_but_there()),
            // Was it heard before it was fenced, or is it gone?
            Some(_) => Trouble::Suspected,
            None => Trouble::None,
        }
    }

    fn absent(&self) -> Finding {
        // A sidecar starts before its broker. One that was down before is still down until its process is seen.
        let waits = !self.memory.process_seen
            && self.report.uptime_ms < STARTUP_GRACE_MS
            && self.state != BrokerState::Unhealthy;
        if waits {
            return Finding::new(
                BrokerState::Recovering,
                Reason::Starting,
                "the collector has just started and sees no broker process yet",
            );
        }
        let (disk, fenced) = (self.full_disk_clause(), self.fenced_clause());
        Finding::new(
            BrokerState::Unhealthy,
            Reason::ProcessDown,
            format!("the broker process is gone and its collector still reports{disk}{fenced}"),
        )
        .with("processState", "absent")
        .with("fenced", self.fenced.is_some())
        .with("restarts", self.report.process.restarts)
    }

    fn not_answering(&self, failing: Duration, reports: u32) -> Option<Finding> {
        let probe = self.report.probe.as_ref();
        let error = probe.map_or("it is not probed", |probe| probe.error.as_deref().unwrap_or("no answer"));
        let clause = self.fenced_clause();
        let starting = self.report.process.state == ProcessState::Running
            && self.memory.process.as_ref().is_some_and(|it| !it.served && it.may_be_starting(self.report));
        if starting {
            // A process that has never answered: after a restart that is log recovery, which may take long and must be
            // left alone.
            let was_in_service = matches!(self.state, BrokerState::Healthy | BrokerState::Overloaded);
            return (!was_in_service || failing >= UNRESPONSIVE_AFTER).then(|| {
                Finding::new(
                    BrokerState::Recovering,
                    Reason::Starting,
                    format!("the process has started and does not serve yet: {error}{clause}"),
                )
                .with("processState", "running")
                .with("fenced", self.fenced.is_some())
            });
        }
        if failing < UNRESPONSIVE_AFTER {
            return None;
        }
        let what = match self.report.process.state {
            ProcessState::Stopped => "the process is stopped by a signal",
            _ => "the process runs",
        };
        Some(
            Finding::new(
                BrokerState::Unhealthy,
                Reason::Unresponsive,
                format!("{what} and does not answer: {error}{clause}"),
            )
            .with("processState", json!(self.report.process.state))
            .with("probeFailedReports", reports)
            .with("fenced", self.fenced.is_some()),
        )
    }

    fn fenced_but_there(&self) -> Finding {
        let in_service = matches!(self.state, BrokerState::Healthy | BrokerState::Overloaded);
        let young = self.memory.process.as_ref().is_some_and(|it| it.may_be_starting(self.report));
        let starting = !in_service
            && self.reason != Reason::Fenced
            && young
            && self.memory.good_reports < GOOD_REPORTS_TO_BE_COUNTED_IN;
        if starting {
            return Finding::new(
                BrokerState::Recovering,
                Reason::Starting,
                format!("{} and the controller has not counted it in yet", sign_of_life(self.report)),
            )
            .with("fenced", true);
        }
        Finding::new(
            BrokerState::Unhealthy,
            Reason::Fenced,
            format!(
                "{}, but the controller has fenced the broker: its heartbeats do not reach the controller",
                sign_of_life(self.report)
            ),
        )
        .with("fenced", true)
    }

    /// A broker ends when it cannot write to any log directory, and does not start again on a full one. File systems that
    /// keep a share for root are full before 100 %.
    fn full_disk_clause(&self) -> String {
        let full = self.report.disk_percent().filter(|percent| *percent >= DISK_IS_FULL);
        full.map_or(String::new(), |percent| format!("; the disk of its logs is {percent:.0}% full"))
    }

    fn fenced_clause(&self) -> &'static str {
        if self.fenced.is_some() { "; fenced by the controller" } else { "" }
    }
}

/// Judges a broker that is up: is one of its resources over its limit? The one that was named `before` is named again as
/// long as it is.
fn load(memory: &Memory, report: &BrokerReport, detection: &Detection, before: Option<Resource>) -> Finding {
    let hot = |resource: &Resource| memory.gauge(*resource).hot;
    if let Some(resource) = before.filter(hot).or_else(|| Resource::ALL.into_iter().find(hot)) {
        return overloaded(resource, memory.gauge(resource), resource.threshold(detection));
    }
    let mut finding = if memory.unmeasured_reports < REPORTS_UNMEASURED {
        Finding::new(BrokerState::Healthy, Reason::WithinLimits, "all figures are within their limits")
    } else {
        not_measured(report)
    };
    for resource in Resource::ALL {
        if let Some(percent) = resource.percent(report) {
            finding = finding.with(resource.evidence_key(), round(percent));
        }
    }
    finding
}

/// A broker that is up and of whose process nothing is known: no overload of it would be seen.
fn not_measured(report: &BrokerReport) -> Finding {
    let why = match report.process.state {
        ProcessState::Absent => {
            "finds no process of it and measures none; check its --broker-match, --broker-pid or --broker-pid-file"
        }
        _ => "measures no process of it; the collector's log says why",
    };
    let message = format!("{}, but its collector {why}", sign_of_life(report));
    Finding::new(BrokerState::Healthy, Reason::NotMeasured, message)
        .with("processState", json!(report.process.state))
}

/// How it is known that a broker is up.
fn sign_of_life(report: &BrokerReport) -> &'static str {
    match report.probe {
        Some(_) => "the broker answers",
        None => "the process runs",
    }
}

fn overloaded(resource: Resource, gauge: &Gauge, threshold: Threshold) -> Finding {
    let Threshold { overloaded_above: limit, recovered_below, .. } = threshold;
    let title = resource.title();
    let message = match gauge.percent {
        Some(percent) if percent > limit => {
            format!("{title} {} > {limit:.0}%", percent_beside(percent, limit))
        }
        Some(percent) => {
            format!(
                "{title} {}, not yet below {recovered_below:.0}%",
                percent_beside(percent, recovered_below)
            )
        }
        None => format!("{title} was over {limit:.0}% and is not reported any more"),
    };
    let mut finding = Finding::new(BrokerState::Overloaded, resource.reason(), message)
        .with("sustainedForMs", u64::try_from(gauge.above_for.as_millis()).unwrap_or(u64::MAX))
        .with("reports", gauge.above_reports);
    if let Some(percent) = gauge.percent {
        finding = finding.with(resource.evidence_key(), round(percent));
    }
    finding.resource = Some(resource);
    finding
}

/// A percentage in whole numbers, with one decimal where it would otherwise look equal to the limit beside it.
pub(crate) fn percent_beside(percent: f64, limit: f64) -> String {
    if percent.round() == limit.round() { format!("{percent:.1}%") } else { format!("{percent:.0}%") }
}

fn round(percent: f64) -> f64 {
    (percent * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{absent, report};
    use doctorkafka_wire::LogDir;

    fn diagnosis(state: BrokerState, reason: Reason) -> Diagnosis {
        Diagnosis {
            state,
            reason,
            since: Moment(0),
            message: String::new(),
            evidence: Evidence::new(),
            resource: None,
        }
    }

    fn memory(reports: impl IntoIterator<Item = (BrokerReport, u64)>) -> Memory {
        let mut memory = Memory::new(Moment(0));
        for (report, at) in reports {
            memory.observe(report, Some(Moment(at)), Moment(at), &Detection::default());
        }
        memory
    }

    fn state(memory: &Memory, before: &Diagnosis, fenced: Option<Moment>) -> Option<BrokerState> {
        judge(memory, Some(before), fenced, &Detection::default()).map(|finding| finding.state)
    }

    fn seconds(range: std::ops::RangeInclusive<u64>) -> impl Iterator<Item = (BrokerReport, u64)> {
        range.map(|second| (report(second * 1_000), second * 1_000))
    }

    #[test]
    fn news_from_a_while_ago_makes_nothing_worse_and_may_make_it_better() {
        let healthy = diagnosis(BrokerState::Healthy, Reason::WithinLimits);
        let down = diagnosis(BrokerState::Unhealthy, Reason::ProcessDown);
        let late = memory(seconds(0..=5).chain([(absent(6_000), 20_000)]));
        assert_eq!(state(&late, &healthy, None), None);
        assert_eq!(state(&late, &down, None), Some(BrokerState::Unhealthy));
        let late = memory(seconds(0..=5).chain([(report(6_000), 20_000)]));
        assert_eq!(state(&late, &down, None), Some(BrokerState::Healthy));
    }

    #[test]
    fn fenced_counts_for_a_broker_that_was_heard_after_the_controller_was_asked() {
        let healthy = diagnosis(BrokerState::Healthy, Reason::WithinLimits);
        let memory = memory(seconds(0..=10));
        assert_eq!(state(&memory, &healthy, Some(Moment(10_001))), None, "it may have died before that");
        assert_eq!(state(&memory, &healthy, Some(Moment(10_000))), Some(BrokerState::Unhealthy));
    }

    #[test]
    fn a_broker_that_ended_with_a_full_disk_says_so() {
        let message = |used_bytes| {
            let mut last = absent(6_000);
            last.log_dirs = vec![LogDir { path: "/data".into(), used_bytes, total_bytes: 1_000 }];
            let memory = memory(seconds(0..=5).chain([(last, 6_000)]));
            judge(&memory, None, None, &Detection::default()).unwrap().message
        };
        assert!(message(995).ends_with("reports; the disk of its logs is 100% full"), "{}", message(995));
        assert!(message(900).ends_with("still reports"), "{}", message(900));
    }

    #[test]
    fn three_good_reports_end_what_was_wrong() {
        let down = diagnosis(BrokerState::Unhealthy, Reason::ProcessDown);
        let reports = |good| memory([(absent(0), 0)].into_iter().chain(seconds(1..=good)));
        assert_eq!(state(&reports(2), &down, None), None);
        assert_eq!(state(&reports(3), &down, None), Some(BrokerState::Healthy));
    }

    #[test]
    fn a_broker_that_answers_and_is_not_found_is_told_as_that_and_not_as_within_limits() {
        let healthy = diagnosis(BrokerState::Healthy, Reason::WithinLimits);
        let not_found = |second: u64| BrokerReport { probe: report(0).probe, ..absent(second * 1_000) };
        let reports = |last| memory(seconds(0..=5).chain((6..=last).map(|at| (not_found(at), at * 1_000))));
        let found = |last| judge(&reports(last), Some(&healthy), None, &Detection::default()).unwrap();
        assert_eq!(found(7).reason, Reason::WithinLimits, "a look may miss it");
        let told = found(8);
        assert_eq!((told.state, told.reason), (BrokerState::Healthy, Reason::NotMeasured));
        assert!(told.message.contains("--broker-match"), "{}", told.message);
        let unclear = BrokerReport { cpu: None, ..report(1_000) };
        assert!(!not_measured(&unclear).message.contains("--broker-match"), "it was found, or several were");
    }

    #[test]
    fn a_stopped_process_that_nobody_probes_is_unresponsive() {
        let healthy = diagnosis(BrokerState::Healthy, Reason::WithinLimits);
        let stopped = |second: u64| {
            let mut report = BrokerReport { probe: None, ..report(second * 1_000) };
            report.process.state = ProcessState::Stopped;
            (report, second * 1_000)
        };
        let memory = memory(seconds(0..=5).chain((6..=8).map(stopped)));
        let told = judge(&memory, Some(&healthy), None, &Detection::default()).unwrap();
        assert_eq!(told.reason, Reason::Unresponsive);
        assert!(told.message.contains("stopped by a signal"), "{}", told.message);
    }

    #[test]
    fn an_overload_whose_figure_is_gone_is_told_as_that() {
        let gauge = Gauge { hot: true, ..Gauge::default() };
        let finding = overloaded(Resource::Cpu, &gauge, Detection::default().cpu);
        assert_eq!(finding.message, "CPU usage was over 80% and is not reported any more");
        assert!(!finding.evidence.contains_key("cpuPercent"));
    }

    #[test]
    fn a_percentage_never_looks_equal_to_the_limit_it_exceeds() {
        assert_eq!(percent_beside(95.2, 80.0), "95%");
        assert_eq!(percent_beside(80.3, 80.0), "80.3%");
    }
}
