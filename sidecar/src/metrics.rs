//! The sidecar's own Prometheus page, made from the last report and the publisher's counts.

use doctorkafka_kafka::PublisherStats;
use doctorkafka_wire::{BrokerReport, ProcessState};
use prometheus::{Gauge, IntCounter, IntCounterVec, Opts, Registry, TextEncoder};

/// Writes the page. A figure that is not known is left out: a zero would be a lie.
///
/// # Errors
/// Only when a name below is no metric name, which a test rules out.
pub fn render(last: Option<&BrokerReport>, stats: &PublisherStats) -> prometheus::Result<String> {
    let page = Page { registry: Registry::new() };
    page.publisher(stats)?;
    if let Some(report) = last {
        page.broker(report)?;
    }
    TextEncoder::new().encode_to_string(&page.registry.gather())
}

struct Page {
    registry: Registry,
}

impl Page {
    fn publisher(&self, stats: &PublisherStats) -> prometheus::Result<()> {
        self.counter("reports_total", "Reports handed to the publisher.", stats.published)?;
        self.counter("records_acknowledged_total", "Records that Kafka acknowledged.", stats.acknowledged)?;
        let lost = IntCounterVec::new(
            Opts::new(
                "doctorkafka_sidecar_records_lost_total",
                "Records that gave way to newer ones (overflow) or that Kafka did not take (delivery).",
            ),
            &["reason"],
        )?;
        lost.with_label_values(&["overflow"]).inc_by(stats.overflowed);
        lost.with_label_values(&["delivery"]).inc_by(stats.failed);
        self.registry.register(Box::new(lost))?;
        self.gauge("buffered_reports", "Reports waiting or in flight.", Some(stats.buffered as f64))?;
        self.gauge(
            "topic_partitions",
            "Partitions of the metrics topic, 0 while it is unknown.",
            Some(stats.partitions as f64),
        )?;
        let age = stats.since_acknowledged.map(|age| age.as_secs_f64());
        self.gauge("last_acknowledgement_age_seconds", "Time since Kafka acknowledged a record.", age)
    }

    fn broker(&self, report: &BrokerReport) -> prometheus::Result<()> {
        let yes = |is: bool| f64::from(u8::from(is));
        let running = report.process.state == ProcessState::Running;
        self.gauge(
            "broker_running",
            "Whether the broker's process runs (1) or not (0).",
            Some(yes(running)),
        )?;
        self.gauge(
            "broker_restarts",
            "How often the broker's process was seen replaced.",
            Some(f64::from(report.process.restarts)),
        )?;
        let probe = report.probe.as_ref();
        self.gauge("probe_ok", "Whether the broker's listener answered.", probe.map(|probe| yes(probe.ok)))?;
        let round_trip = probe.and_then(|probe| probe.round_trip_ms).map(|ms| ms / 1_000.0);
        self.gauge("probe_round_trip_seconds", "How long the broker's listener took to answer.", round_trip)?;
        let cpu = report.cpu.as_ref();
        self.gauge("cpu_percent", "CPU in use, percent of the broker's limit.", cpu.map(|cpu| cpu.percent))?;
        self.gauge("cpu_limit_cores", "The broker's CPU limit.", cpu.map(|cpu| cpu.limit_cores))?;
        let memory = report.memory.as_ref();
        self.gauge(
            "memory_rss_bytes",
            "Memory of the broker.",
            memory.map(|memory| memory.rss_bytes as f64),
        )?;
        let limit = memory.and_then(|memory| memory.limit_bytes).map(|bytes| bytes as f64);
        self.gauge("memory_limit_bytes", "The broker's memory limit.", limit)?;
        let network = report.network.as_ref();
        let received = network.map(|network| network.in_bytes_per_sec);
        self.gauge("network_in_bytes_per_second", "Bytes received a second.", received)?;
        let sent = network.map(|network| network.out_bytes_per_sec);
        self.gauge("network_out_bytes_per_second", "Bytes sent a second.", sent)?;
        self.gauge("disk_percent", "Use of the fullest log directory.", report.disk_percent())?;
        self.gauge(
            "simulated",
            "Whether the figures have simulated load laid over.",
            Some(yes(report.simulated)),
        )
    }

    fn gauge(&self, name: &str, help: &str, value: Option<f64>) -> prometheus::Result<()> {
        let Some(value) = value else { return Ok(()) };
        let gauge = Gauge::new(format!("doctorkafka_sidecar_{name}"), help)?;
        gauge.set(value);
        self.registry.register(Box::new(gauge))
    }

    fn counter(&self, name: &str, help: &str, value: u64) -> prometheus::Result<()> {
        let counter = IntCounter::new(format!("doctorkafka_sidecar_{name}"), help)?;
        counter.inc_by(value);
        self.registry.register(Box::new(counter))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

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
            since_acknowledged: Some(Duration::from_millis(500)),
            ..PublisherStats::default()
        };
        let page = render(Some(&report), &stats).unwrap();
        for line in [
            "doctorkafka_sidecar_reports_total 9",
            "doctorkafka_sidecar_records_acknowledged_total 8",
            "doctorkafka_sidecar_records_lost_total{reason=\"delivery\"} 1",
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
        let page = render(None, &PublisherStats::default()).unwrap();
        assert!(page.contains("doctorkafka_sidecar_reports_total 0"));
        assert!(!page.contains("age_seconds") && !page.contains("cpu_percent"), "{page}");
    }
}
