//! What a broker's newest report means, when it is heard of.

use doctorkafka_wire::{BrokerReport, Evidence, ProcessState};
use serde_json::json;

use crate::{
    BrokerState, Detection, Reason, Registration, Resource,
    memory::{GOOD_REPORTS_TO_RECOVER, Memory, UNRESPONSIVE_AFTER},
};

/// A sidecar that has run for less than this, ms, and has not seen the broker yet, waits for it to start.
const STARTUP_GRACE_MS: u64 = 30_000;

/// A process younger than this, seconds, that has not answered yet may still be recovering its log.
const RECOVERY_SECS: i64 = 30 * 60;

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

/// Judges a broker that is heard of. `None`: nothing new can be said, what was held to be true still is.
pub(crate) fn judge(
    memory: &Memory,
    before: BrokerState,
    registration: Option<Registration>,
    detection: &Detection,
) -> Option<Finding> {
    let report = memory.report.as_ref()?;
    let answers = report.probe.as_ref().is_some_and(|probe| probe.ok);
    let fenced = registration == Some(Registration::Fenced);

    let trouble = if report.process.state == ProcessState::Absent && !answers {
        Some(absent(memory, report, before, fenced))
    } else if memory.probe_failing.is_some() {
        not_answering(memory, report, before, fenced)
    } else if fenced {
        Some(fenced_but_there(memory, report, before))
    } else {
        None
    };
    if let Some(finding) = trouble {
        // News from a while ago does not make a state worse: the report behind it is already on its way.
        let worse = finding.state == BrokerState::Unhealthy && before != BrokerState::Unhealthy;
        return (!(worse && memory.late)).then_some(finding);
    }
    if memory.probe_failing.is_some() {
        return None;
    }
    if matches!(before, BrokerState::Unhealthy | BrokerState::Recovering)
        && memory.good_reports < GOOD_REPORTS_TO_RECOVER
    {
        return None;
    }
    Some(load(memory, report, detection))
}

fn absent(memory: &Memory, report: &BrokerReport, before: BrokerState, fenced: bool) -> Finding {
    let waits =
        !memory.process_seen && report.uptime_ms < STARTUP_GRACE_MS && before != BrokerState::Unhealthy;
    if waits {
        return Finding::new(
            BrokerState::Recovering,
            Reason::Starting,
            "the collector has just started and sees no broker process yet",
        );
    }
    Finding::new(
        BrokerState::Unhealthy,
        Reason::ProcessDown,
        format!("the broker process is gone and its collector still reports{}", fenced_clause(fenced)),
    )
    .with("processState", "absent")
    .with("fenced", fenced)
    .with("restarts", report.process.restarts)
}

fn not_answering(
    memory: &Memory,
    report: &BrokerReport,
    before: BrokerState,
    fenced: bool,
) -> Option<Finding> {
    let (failing, reports) = memory.probe_failing?;
    let process = (report.process.pid, report.process.started_at);
    let has_served = memory.served == Some(process);
    let age = report.process.started_at.map(|started| report.sampled_at.as_second() - started.as_second());
    let young = age.is_some_and(|age| age < RECOVERY_SECS);
    let error =
        report.probe.as_ref().and_then(|probe| probe.error.clone()).unwrap_or_else(|| "no answer".into());
    if young && !has_served && report.process.state == ProcessState::Running {
        // A process that never answered the doctor's collector: after a restart that is log recovery, which may take
        // long and must be left alone.
        let restarted = before != BrokerState::Healthy && before != BrokerState::Overloaded;
        return (restarted || failing >= UNRESPONSIVE_AFTER).then(|| {
            Finding::new(
                BrokerState::Recovering,
                Reason::Starting,
                format!("the process has started and does not serve yet: {error}{}", fenced_clause(fenced)),
            )
            .with("processState", "running")
            .with("fenced", fenced)
        });
    }
    if failing < UNRESPONSIVE_AFTER {
        return None;
    }
    let what = match report.process.state {
        ProcessState::Stopped => "the process is stopped by a signal",
        _ => "the process runs",
    };
    Some(
        Finding::new(
            BrokerState::Unhealthy,
            Reason::Unresponsive,
            format!("{what} and does not answer: {error}{}", fenced_clause(fenced)),
        )
        .with("processState", json!(report.process.state))
        .with("probeFailedReports", reports)
        .with("fenced", fenced),
    )
}

fn fenced_but_there(memory: &Memory, report: &BrokerReport, before: BrokerState) -> Finding {
    let starting = matches!(before, BrokerState::Unhealthy | BrokerState::Recovering | BrokerState::Unknown)
        && report
            .process
            .started_at
            .is_some_and(|started| report.sampled_at.as_second() - started.as_second() < RECOVERY_SECS)
        && memory.good_reports < 60;
    if starting {
        return Finding::new(
            BrokerState::Recovering,
            Reason::Starting,
            "the process answers and the controller has not counted it in yet",
        )
        .with("fenced", true);
    }
    Finding::new(
        BrokerState::Unhealthy,
        Reason::Fenced,
        "the process answers and the controller has fenced the broker: it cannot reach the controller, or is too slow",
    )
    .with("fenced", true)
}

fn load(memory: &Memory, report: &BrokerReport, detection: &Detection) -> Finding {
    for resource in Resource::ALL {
        let gauge = memory.gauge(resource);
        if gauge.hot {
            let limit = resource.threshold(detection).overloaded_above;
            let percent = gauge.percent.unwrap_or(limit);
            let mut finding = Finding::new(
                BrokerState::Overloaded,
                resource.reason(),
                format!("{} {} > {limit:.0}%", resource.title(), percent_beside(percent, limit)),
            )
            .with(resource.evidence_key(), round(percent))
            .with("sustainedForMs", u64::try_from(gauge.above_for.as_millis()).unwrap_or(u64::MAX))
            .with("reports", gauge.above_reports);
            finding.resource = Some(resource);
            return finding;
        }
    }
    let mut finding =
        Finding::new(BrokerState::Healthy, Reason::WithinLimits, "all figures are within their limits");
    for resource in Resource::ALL {
        if let Some(percent) = resource.percent(report) {
            finding = finding.with(resource.evidence_key(), round(percent));
        }
    }
    finding
}

/// A percentage in whole numbers, with one decimal where it would otherwise look equal to the limit beside it.
pub(crate) fn percent_beside(percent: f64, limit: f64) -> String {
    if percent.round() == limit.round() { format!("{percent:.1}%") } else { format!("{percent:.0}%") }
}

fn round(percent: f64) -> f64 {
    (percent * 10.0).round() / 10.0
}

fn fenced_clause(fenced: bool) -> &'static str {
    if fenced { "; fenced by the controller" } else { "" }
}
