//! Prometheus metrics, made from the fleet at the time of the scrape.
//!
//! One table drives the scrape and the reference in `docs/reference/metrics.md`. Labels come from closed sets, plus the
//! names of the policies in force: nothing here grows with brokers, topics or error texts.

use crate::{
    fleet::{FleetView, PolicyView},
    injection,
};
use doctorkafka_diagnosis::{BrokerState, Reason};
use doctorkafka_doctor::{DoctorReport, Role, SkipReason, TreatmentEnd, TreatmentView};
use doctorkafka_wire::ActionKind;
use jiff::Timestamp;
use prometheus::{CounterVec, Encoder, GaugeVec, Opts, Registry, TextEncoder};
use std::{collections::BTreeMap, fmt::Write};

/// Content type of [`render`]'s text.
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// Kinds that are shown with 0 before the first record, so that a rate sees the first one too.
const ACTION_KINDS: [ActionKind; 12] = [
    ActionKind::AlertOverload,
    ActionKind::AlertUnhealthy,
    ActionKind::AlertUnknown,
    ActionKind::Recovered,
    ActionKind::ReassignPartitions,
    ActionKind::ElectLeaders,
    ActionKind::Throttle,
    ActionKind::Cancel,
    ActionKind::Refused,
    ActionKind::Approved,
    ActionKind::Rejected,
    ActionKind::LeaderStarted,
];

/// One metric: what it is, and how its series are read from the fleet.
struct Metric {
    name: &'static str,
    help: &'static str,
    kind: Kind,
    labels: &'static [&'static str],
    read: fn(&Scrape<'_>) -> Vec<Series>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Gauge,
    Counter,
}

/// Values of a metric's labels, in their order, and the figure.
type Series = (Vec<String>, f64);

struct Scrape<'a> {
    fleet: &'a FleetView,
    now: Timestamp,
}

const METRICS: &[Metric] = &[
    Metric {
        name: "doctorkafka_build_info",
        help: "Always 1; the release is in the label.",
        kind: Kind::Gauge,
        labels: &["version"],
        read: |_| vec![(vec![env!("CARGO_PKG_VERSION").to_owned()], 1.0)],
    },
    Metric {
        name: "doctorkafka_leader",
        help: "1 when this instance leads, 0 when it stands by; absent until the election has said so.",
        kind: Kind::Gauge,
        labels: &[],
        read: |scrape| scrape.fleet.leading.map(|leading| (vec![], flag(leading))).into_iter().collect(),
    },
    Metric {
        name: "doctorkafka_policy_refused",
        help: "1 when the policy as it is written now cannot be and the last good one, if any, is in force.",
        kind: Kind::Gauge,
        labels: &["policy"],
        read: |scrape| scrape.policies(|policy| Some(flag(policy.problem.is_some()))),
    },
    Metric {
        name: "doctorkafka_policy_conflict",
        help: "1 when another policy already watches the same Kafka cluster, so that this one does nothing.",
        kind: Kind::Gauge,
        labels: &["policy"],
        read: |scrape| scrape.reports(|report| Some(flag(matches!(report.role, Role::Conflict { .. })))),
    },
    Metric {
        name: "doctorkafka_kafka_reachable",
        help: "1 when any broker answers, 0 when none does; absent until the first attempt has ended.",
        kind: Kind::Gauge,
        labels: &["policy"],
        read: |scrape| scrape.reports(|report| report.kafka.reachable.map(flag)),
    },
    Metric {
        name: "doctorkafka_topics_failing",
        help: "1 while the doctor's own topics can be neither found nor created.",
        kind: Kind::Gauge,
        labels: &["policy"],
        read: |scrape| scrape.reports(|report| Some(flag(report.kafka.topics_error.is_some()))),
    },
    Metric {
        name: "doctorkafka_actions_log_failing",
        help: "1 while this instance leads and can neither open nor write the actions log.",
        kind: Kind::Gauge,
        labels: &["policy"],
        read: |scrape| scrape.reports(|report| Some(flag(report.kafka.actions_log_error.is_some()))),
    },
    Metric {
        name: "doctorkafka_brokers",
        help: "Brokers by state.",
        kind: Kind::Gauge,
        labels: &["policy", "state"],
        read: |scrape| {
            let number = |report: &DoctorReport, state| count(report.summary.of(state));
            scrape.each(|report| BrokerState::ALL.map(|s| (s.as_str(), number(report, s))).to_vec())
        },
    },
    Metric {
        name: "doctorkafka_brokers_rolling",
        help: "Unhealthy brokers whose pods are being replaced in a rolling update: somebody means it.",
        kind: Kind::Gauge,
        labels: &["policy"],
        read: |scrape| {
            let rolls = |report: &DoctorReport| {
                report.brokers.iter().filter(|broker| broker.reason == Reason::RollingUpdate).count()
            };
            scrape.reports(|report| Some(count(rolls(report))))
        },
    },
    Metric {
        name: "doctorkafka_under_replicated_partitions",
        help: "Partitions whose in-sync replicas are fewer than their replicas; absent while not known.",
        kind: Kind::Gauge,
        labels: &["policy"],
        read: |scrape| scrape.reports(|report| report.kafka.under_replicated.map(count)),
    },
    Metric {
        name: "doctorkafka_heartbeat_age_max_seconds",
        help: "Age of the oldest of the brokers' newest reports, by the sidecars' clocks; absent before the first.",
        kind: Kind::Gauge,
        labels: &["policy"],
        read: |scrape| scrape.reports(|report| oldest_heartbeat(report, scrape.now)),
    },
    Metric {
        name: "doctorkafka_reports_total",
        help: "Sidecar reports that were understood and used since the engine started.",
        kind: Kind::Counter,
        labels: &["policy"],
        read: |scrape| scrape.reports(|report| Some(report.counters.reports as f64)),
    },
    Metric {
        name: "doctorkafka_reports_skipped_total",
        help: "Records of the metrics topic that were not used since the engine started, by reason.",
        kind: Kind::Counter,
        labels: &["policy", "reason"],
        read: |scrape| {
            scrape.each(|report| SkipReason::ALL.map(|r| (r.as_str(), skipped(report, r))).to_vec())
        },
    },
    Metric {
        name: "doctorkafka_actions_total",
        help: "Records this instance has committed to the actions log since the engine started, by kind.",
        kind: Kind::Counter,
        labels: &["policy", "kind"],
        read: |scrape| scrape.each(actions),
    },
    Metric {
        name: "doctorkafka_advice",
        help: "Overloaded brokers for which a treatment is recommended now.",
        kind: Kind::Gauge,
        labels: &["policy"],
        read: |scrape| scrape.reports(|report| Some(count(report.advice.len()))),
    },
    Metric {
        name: "doctorkafka_refusals",
        help: "Treatments that are refused now, by the rule that refuses them.",
        kind: Kind::Gauge,
        labels: &["policy", "rule"],
        read: |scrape| scrape.each(refusals),
    },
    Metric {
        name: "doctorkafka_treatment_partitions",
        help: "Partitions of the treatment that is being carried out, by whether they are as planned; 0 without one.",
        kind: Kind::Gauge,
        labels: &["policy", "progress"],
        read: |scrape| scrape.each(|report| progress(report, |it| (count(it.done), count(it.partitions)))),
    },
    Metric {
        name: "doctorkafka_treatment_bytes",
        help: "Bytes that the treatment under way copies, by whether they are copied; 0 without one.",
        kind: Kind::Gauge,
        labels: &["policy", "progress"],
        read: |scrape| scrape.each(|report| progress(report, |it| (it.bytes_done as f64, it.bytes as f64))),
    },
    Metric {
        name: "doctorkafka_treatment_seconds_left",
        help: "Time that the treatment under way takes yet, at the rate of the last half minute; absent while not known.",
        kind: Kind::Gauge,
        labels: &["policy"],
        read: |scrape| {
            let left = |report: &DoctorReport| report.treatment.as_ref()?.seconds_left;
            scrape.reports(|report| left(report).map(|seconds| seconds as f64))
        },
    },
    Metric {
        name: "doctorkafka_treatment_held",
        help: "1 while a treatment is under way and a rule keeps its next step from being begun.",
        kind: Kind::Gauge,
        labels: &["policy"],
        read: |scrape| {
            let held = |report: &DoctorReport| report.treatment.as_ref().is_some_and(|t| t.hold.is_some());
            scrape.reports(|report| Some(flag(held(report))))
        },
    },
    Metric {
        name: "doctorkafka_treatments_total",
        help: "Treatments that have ended in this instance since the engine started, by how.",
        kind: Kind::Counter,
        labels: &["policy", "end"],
        read: |scrape| {
            let number = |report: &DoctorReport, end| report.counters.treatments.get(&end).copied();
            let series = |report: &DoctorReport, end: TreatmentEnd| {
                (end.as_str(), number(report, end).unwrap_or_default() as f64)
            };
            scrape.each(|report| TreatmentEnd::ALL.map(|end| series(report, end)).to_vec())
        },
    },
    Metric {
        name: "doctorkafka_throttles_left",
        help: "Brokers that were down when a treatment of this instance ended, and still have its replication throttle.",
        kind: Kind::Gauge,
        labels: &["policy"],
        read: |scrape| scrape.reports(|report| Some(count(report.counters.throttles_left))),
    },
    Metric {
        name: "doctorkafka_outbox_records",
        help: "Records that wait to be committed to the actions log.",
        kind: Kind::Gauge,
        labels: &["policy"],
        read: |scrape| scrape.reports(|report| Some(count(report.counters.outbox))),
    },
    Metric {
        name: "doctorkafka_outbox_dropped_total",
        help: "Records given up because they were too large for the actions log, since the engine started.",
        kind: Kind::Counter,
        labels: &["policy"],
        read: |scrape| scrape.reports(|report| Some(report.counters.outbox_dropped as f64)),
    },
    Metric {
        name: "doctorkafka_status_writes_total",
        help: "Writes of the policy's status to Kubernetes.",
        kind: Kind::Counter,
        labels: &["policy"],
        read: |scrape| scrape.policies(|policy| Some(policy.status_writes as f64)),
    },
    Metric {
        name: "doctorkafka_injection_reviews_total",
        help: "Pods that the injection webhook was asked about, by what became of them.",
        kind: Kind::Counter,
        labels: &["outcome"],
        read: |scrape| {
            let counters = &scrape.fleet.injection;
            let of = |outcome: injection::Outcome| {
                (vec![outcome.as_str().to_owned()], counters.outcome(outcome) as f64)
            };
            if counters.is_on() { injection::Outcome::ALL.map(of).to_vec() } else { Vec::new() }
        },
    },
    Metric {
        name: "doctorkafka_injection_certificate_expiry_timestamp_seconds",
        help: "When the certificate ends that the injection webhook shows; absent while it shows none.",
        kind: Kind::Gauge,
        labels: &[],
        read: |scrape| {
            let expiry = scrape.fleet.injection.expiry();
            expiry.map(|seconds| (vec![], seconds as f64)).into_iter().collect()
        },
    },
];

/// The metrics in Prometheus' text format.
///
/// # Errors
/// None that the table above can cause; the library's errors are passed on.
pub fn render(fleet: &FleetView, now: Timestamp) -> Result<String, prometheus::Error> {
    let registry = Registry::new();
    let scrape = Scrape { fleet, now };
    for metric in METRICS {
        let options = Opts::new(metric.name, metric.help);
        match metric.kind {
            Kind::Gauge => {
                let family = GaugeVec::new(options, metric.labels)?;
                for (labels, value) in (metric.read)(&scrape) {
                    family.get_metric_with_label_values(&labels)?.set(value);
                }
                registry.register(Box::new(family))?;
            }
            Kind::Counter => {
                let family = CounterVec::new(options, metric.labels)?;
                for (labels, value) in (metric.read)(&scrape) {
                    family.get_metric_with_label_values(&labels)?.inc_by(value);
                }
                registry.register(Box::new(family))?;
            }
        }
    }
    let mut text = Vec::new();
    TextEncoder::new().encode(&registry.gather(), &mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// The reference document of all metrics, Markdown.
pub fn reference() -> String {
    let mut text = String::from(
        "# Metrics\n\n\
         Generated from the operator's table of metrics; `UPDATE_REFERENCE=1 cargo test -p doctorkafka-operator --test \
         reference` writes it anew.\n\n\
         The operator serves these at `/metrics` on its API port (3001). Labels come from closed sets, plus the name of \
         the policy: there are no labels per broker or topic, so the number of series does not grow with a cluster. What \
         is known of each broker is in [its sidecar's metrics](sidecar-metrics.md).\n\n\
         | Metric | Type | Labels | Meaning |\n| --- | --- | --- | --- |\n",
    );
    for metric in METRICS {
        let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let kind = if metric.kind == Kind::Gauge { "gauge" } else { "counter" };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "| `{}` | {kind} | {} | {} |", metric.name, labels.join(", "), metric.help);
    }
    let quoted =
        |names: Vec<&str>| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let _ = write!(
        text,
        "\n## Values of labels\n\n\
         - `policy`: the policies in force: `namespace/name`, or the file's `metadata.name` in standalone mode\n\
         - `state`: {}\n- `reason`: {}\n- `kind`: {}\n- `progress`: `done`, `waiting`\n- `end`: {}\n\
         - `rule`: names of the rules of treatment\n- `outcome`: {}\n- `version`: the release\n",
        quoted(BrokerState::ALL.map(BrokerState::as_str).to_vec()),
        quoted(SkipReason::ALL.map(SkipReason::as_str).to_vec()),
        quoted(ACTION_KINDS.map(ActionKind::as_str).to_vec()),
        quoted(TreatmentEnd::ALL.map(TreatmentEnd::as_str).to_vec()),
        quoted(injection::Outcome::ALL.map(injection::Outcome::as_str).to_vec()),
    );
    text
}

// === impl Scrape ===

impl Scrape<'_> {
    /// One series for each policy that has the figure.
    fn policies(&self, figure: impl Fn(&PolicyView) -> Option<f64>) -> Vec<Series> {
        self.fleet
            .policies
            .iter()
            .filter_map(|policy| Some((vec![policy.name.clone()], figure(policy)?)))
            .collect()
    }

    /// One series for each policy with an engine that knows the figure.
    fn reports(&self, figure: impl Fn(&DoctorReport) -> Option<f64>) -> Vec<Series> {
        self.policies(|policy| policy.report.as_deref().and_then(&figure))
    }

    /// Several series for each policy with an engine, told apart by a second label.
    fn each(&self, figures: impl Fn(&DoctorReport) -> Vec<(&'static str, f64)>) -> Vec<Series> {
        let of = |policy: &PolicyView| {
            let figures = policy.report.as_deref().map(&figures).unwrap_or_default();
            figures
                .into_iter()
                .map(|(label, value)| (vec![policy.name.clone(), label.to_owned()], value))
                .collect()
        };
        self.fleet.policies.iter().flat_map(|policy| -> Vec<Series> { of(policy) }).collect()
    }
}

fn flag(set: bool) -> f64 {
    f64::from(u8::from(set))
}

fn count(number: usize) -> f64 {
    number as f64
}

fn skipped(report: &DoctorReport, reason: SkipReason) -> f64 {
    report.counters.skipped.get(&reason).copied().unwrap_or_default() as f64
}

fn actions(report: &DoctorReport) -> Vec<(&'static str, f64)> {
    let mut kinds: BTreeMap<&'static str, f64> = ACTION_KINDS.map(|kind| (kind.as_str(), 0.0)).into();
    kinds.extend(report.counters.actions.iter().map(|(kind, number)| (kind.as_str(), *number as f64)));
    kinds.into_iter().collect()
}

fn refusals(report: &DoctorReport) -> Vec<(&'static str, f64)> {
    let mut rules: BTreeMap<&'static str, f64> = BTreeMap::new();
    for refusal in &report.refusals {
        *rules.entry(refusal.rule).or_default() += 1.0;
    }
    rules.into_iter().collect()
}

/// What is done of a treatment and of how much, as two series.
fn progress(report: &DoctorReport, of: impl Fn(&TreatmentView) -> (f64, f64)) -> Vec<(&'static str, f64)> {
    let (done, all) = report.treatment.as_ref().map_or((0.0, 0.0), of);
    vec![("done", done), ("waiting", (all - done).max(0.0))]
}

fn oldest_heartbeat(report: &DoctorReport, now: Timestamp) -> Option<f64> {
    let oldest = report.brokers.iter().filter_map(|broker| broker.figures.last_heartbeat).min()?;
    Some(now.duration_since(oldest).as_secs_f64().max(0.0))
}
