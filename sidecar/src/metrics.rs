//! The sidecar's own Prometheus page, made from the last report and the publisher's counts.
//!
//! One table drives the page and the reference in `docs/reference/sidecar-metrics.md`.

use doctorkafka_kafka::PublisherStats;
use doctorkafka_wire::{BrokerId, BrokerReport, ProcessState};
use prometheus::{CounterVec, GaugeVec, Opts, Registry, TextEncoder};

/// What a page is made from.
pub struct View<'a> {
    /// The broker beside which this sidecar stands.
    pub broker: BrokerId,
    /// What was measured last.
    pub last: Option<&'a BrokerReport>,
    /// What became of the reports.
    pub stats: &'a PublisherStats,
}

/// One metric: what it is, and how its series are read.
struct Metric {
    /// After `doctorkafka_sidecar_`.
    name: &'static str,
    help: &'static str,
    kind: Kind,
    labels: &'static [&'static str],
    read: fn(&View<'_>) -> Vec<Series>,
}

enum Kind {
    Gauge,
    Counter,
}

/// Values of a metric's labels, in their order, and the figure.
type Series = (Vec<String>, f64);

const METRICS: &[Metric] = &[
    Metric {
        name: "info",
        help: "Always 1; the broker that this sidecar measures and the sidecar's release are in the labels.",
        kind: Kind::Gauge,
        labels: &["broker", "version"],
        read: |view| vec![(vec![view.broker.to_string(), env!("CARGO_PKG_VERSION").to_owned()], 1.0)],
    },
    Metric {
        name: "reports_total",
        help: "Reports handed to the publisher.",
        kind: Kind::Counter,
        labels: &[],
        read: |view| one(view.stats.published as f64),
    },
    Metric {
        name: "records_acknowledged_total",
        help: "Records that Kafka acknowledged.",
        kind: Kind::Counter,
        labels: &[],
        read: |view| one(view.stats.acknowledged as f64),
    },
    Metric {
        name: "records_lost_total",
        help: "Records that gave way to newer ones (overflow), that could not be delivered in time (delivery), or that a \
               broker answered with an error (refused).",
        kind: Kind::Counter,
        labels: &["reason"],
        read: |view| {
            let lost = |reason: &str, number: u64| (vec![reason.to_owned()], number as f64);
            vec![
                lost("overflow", view.stats.overflowed),
                lost("delivery", view.stats.failed),
                lost("refused", view.stats.refused),
            ]
        },
    },
    Metric {
        name: "buffered_reports",
        help: "Reports waiting or in flight.",
        kind: Kind::Gauge,
        labels: &[],
        read: |view| one(view.stats.buffered as f64),
    },
    Metric {
        name: "topic_partitions",
        help: "Partitions of the metrics topic, 0 while it is unknown.",
        kind: Kind::Gauge,
        labels: &[],
        read: |view| one(view.stats.partitions as f64),
    },
    Metric {
        name: "last_acknowledgement_age_seconds",
        help: "Time since Kafka acknowledged a record; absent before the first.",
        kind: Kind::Gauge,
        labels: &[],
        read: |view| known(view.stats.since_acknowledged.map(|age| age.as_secs_f64())),
    },
    Metric {
        name: "broker_running",
        help: "Whether the broker's process runs (1) or not (0).",
        kind: Kind::Gauge,
        labels: &[],
        read: |view| measured(view, |report| Some(yes(report.process.state == ProcessState::Running))),
    },
    Metric {
        name: "broker_restarts",
        help: "How often the broker's process was seen replaced.",
        kind: Kind::Gauge,
        labels: &[],
        read: |view| measured(view, |report| Some(f64::from(report.process.restarts))),
    },
    Metric {
        name: "probe_ok",
        help: "Whether the broker's listener answered.",
        kind: Kind::Gauge,
        labels: &[],
        read: |view| measured(view, |report| report.probe.as_ref().map(|probe| yes(probe.ok))),
    },
    Metric {
        name: "probe_round_trip_seconds",
        help: "How long the broker's listener took to answer.",
        kind: Kind::Gauge,
        labels: &[],
        read: |view| measured(view, |report| Some(report.probe.as_ref()?.round_trip_ms? / 1_000.0)),
    },
    Metric {
        name: "cpu_percent",
        help: "CPU in use, percent of the broker's limit.",
        kind: Kind::Gauge,
        labels: &[],
        read: |view| measured(view, |report| Some(report.cpu.as_ref()?.percent)),
    },
    Metric {
        name: "cpu_limit_cores",
        help: "The broker's CPU limit.",
        kind: Kind::Gauge,
        labels: &[],
        read: |view| measured(view, |report| Some(report.cpu.as_ref()?.limit_cores)),
    },
    Metric {
        name: "memory_rss_bytes",
        help: "Memory of the broker.",
        kind: Kind::Gauge,
        labels: &[],
        read: |view| measured(view, |report| Some(report.memory.as_ref()?.rss_bytes as f64)),
    },
    Metric {
        name: "memory_limit_bytes",
        help: "The broker's memory limit.",
        kind: Kind::Gauge,
        labels: &[],
        read: |view| measured(view, |report| Some(report.memory.as_ref()?.limit_bytes? as f64)),
    },
    Metric {
        name: "network_in_bytes_per_second",
        help: "Bytes received a second.",
        kind: Kind::Gauge,
        labels: &[],
        read: |view| measured(view, |report| Some(report.network.as_ref()?.in_bytes_per_sec)),
    },
    Metric {
        name: "network_out_bytes_per_second",
        help: "Bytes sent a second.",
        kind: Kind::Gauge,
        labels: &[],
        read: |view| measured(view, |report| Some(report.network.as_ref()?.out_bytes_per_sec)),
    },
    Metric {
        name: "disk_percent",
        help: "Use of the fullest log directory.",
        kind: Kind::Gauge,
        labels: &[],
        read: |view| measured(view, BrokerReport::disk_percent),
    },
    Metric {
        name: "simulated",
        help: "Whether the figures have simulated load laid over.",
        kind: Kind::Gauge,
        labels: &[],
        read: |view| measured(view, |report| Some(yes(report.simulated))),
    },
];

/// Writes the page. A figure that is not known is left out: a zero would be a lie.
///
/// # Errors
/// Only when a name above is no metric name, which a test rules out.
pub fn render(view: &View<'_>) -> prometheus::Result<String> {
    let registry = Registry::new();
    for metric in METRICS {
        let series = (metric.read)(view);
        let options = Opts::new(format!("doctorkafka_sidecar_{}", metric.name), metric.help);
        match metric.kind {
            Kind::Gauge => {
                let family = GaugeVec::new(options, metric.labels)?;
                for (labels, value) in series {
                    family.get_metric_with_label_values(&labels)?.set(value);
                }
                registry.register(Box::new(family))?;
            }
            Kind::Counter => {
                let family = CounterVec::new(options, metric.labels)?;
                for (labels, value) in series {
                    family.get_metric_with_label_values(&labels)?.inc_by(value);
                }
                registry.register(Box::new(family))?;
            }
        }
    }
    TextEncoder::new().encode_to_string(&registry.gather())
}

fn one(value: f64) -> Vec<Series> {
    vec![(Vec::new(), value)]
}

fn known(value: Option<f64>) -> Vec<Series> {
    value.map(one).unwrap_or_default()
}

fn measured(view: &View<'_>, figure: impl Fn(&BrokerReport) -> Option<f64>) -> Vec<Series> {
    known(view.last.and_then(figure))
}

fn yes(is: bool) -> f64 {
    f64::from(u8::from(is))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fmt::Write, fs, path::Path, time::Duration};

    #[test]
    fn a_full_page() {
        let report = BrokerReport::decode(
            br#"{"version":1,"brokerId":2,"incarnation":1,"sequence":9,"sampledAt":"2026-11-22T14:02:11Z",
                "uptimeMs":9000,"intervalMs":1000,"process":{"state":"running","pid":7,"restarts":1},
                "probe":{"ok":true,"roundTripMs":2.5},
                "cpu":{"percent":41.5,"usedCores":0.83,"limitCores":2.0},
                "memory":{"rssBytes":1000,"limitBytes":4000},
                "network":{"inBytesPerSec":5.0,"outBytesPerSec":6.0},
                "logDirs":[{"path":"/data","usedBytes":1,"totalBytes":4}]}"#,
        )
        .unwrap();
        let stats = PublisherStats {
            partitions: 3,
            published: 9,
            acknowledged: 8,
            failed: 1,
            refused: 2,
            since_acknowledged: Some(Duration::from_millis(500)),
            ..PublisherStats::default()
        };
        let page = render(&View { broker: BrokerId(2), last: Some(&report), stats: &stats }).unwrap();
        let version = env!("CARGO_PKG_VERSION");
        for line in [
            &format!("doctorkafka_sidecar_info{{broker=\"2\",version=\"{version}\"}} 1"),
            "doctorkafka_sidecar_reports_total 9",
            "doctorkafka_sidecar_records_acknowledged_total 8",
            "doctorkafka_sidecar_records_lost_total{reason=\"delivery\"} 1",
            "doctorkafka_sidecar_records_lost_total{reason=\"refused\"} 2",
            "doctorkafka_sidecar_last_acknowledgement_age_seconds 0.5",
            "doctorkafka_sidecar_broker_running 1",
            "doctorkafka_sidecar_probe_round_trip_seconds 0.0025",
            "doctorkafka_sidecar_cpu_percent 41.5",
            "doctorkafka_sidecar_memory_limit_bytes 4000",
            "doctorkafka_sidecar_disk_percent 25",
        ] {
            assert!(page.lines().any(|found| found == line), "{line} is not in\n{page}");
        }
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let stats = PublisherStats::default();
        let page = render(&View { broker: BrokerId(2), last: None, stats: &stats }).unwrap();
        assert!(page.contains("doctorkafka_sidecar_reports_total 0"));
        assert!(!page.contains("age_seconds") && !page.contains("cpu_percent"), "{page}");
    }

    /// The reference document of all metrics, Markdown.
    fn reference() -> String {
        let mut text = String::from(
            "# Metrics of the sidecar\n\n\
             Generated from the sidecar's table of metrics; `UPDATE_REFERENCE=1 cargo test -p doctorkafka-sidecar reference` \
             writes it anew.\n\n\
             Each sidecar serves these at `/metrics` on its port (7070), for the one broker that it measures. A figure that \
             is not known is absent. To tell brokers apart, join with `doctorkafka_sidecar_info`:\n\n\
             ```\n\
             doctorkafka_sidecar_cpu_percent * on (job, instance) group_left (broker) doctorkafka_sidecar_info\n\
             ```\n\n\
             | Metric | Type | Labels | Meaning |\n| --- | --- | --- | --- |\n",
        );
        for Metric { name, help, kind, labels, .. } in METRICS {
            let labels: Vec<_> = labels.iter().map(|label| format!("`{label}`")).collect();
            let kind = if matches!(kind, Kind::Gauge) { "gauge" } else { "counter" };
            writeln!(text, "| `doctorkafka_sidecar_{name}` | {kind} | {} | {help} |", labels.join(", "))
                .unwrap();
        }
        text
    }

    #[test]
    fn the_reference_is_up_to_date() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/sidecar-metrics.md");
        if std::env::var_os("UPDATE_REFERENCE").is_some() {
            fs::write(&path, reference()).unwrap();
        }
        let committed = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            committed == reference(),
            "out of date: run with UPDATE_REFERENCE=1 and commit what it writes"
        );
    }
}
