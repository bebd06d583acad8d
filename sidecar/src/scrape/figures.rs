//! Kafka's figures under the names that exporters give them.
//!
//! The same MBean attribute appears as `kafka_server_brokertopicmetrics_messagesin_total` (the JMX exporter's example
//! configuration, Strimzi's too, and the Strimzi Metrics Reporter), `..._messagesinpersec_count` (rules written by
//! hand), or `kafka_server_BrokerTopicMetrics_Count{name="MessagesInPerSec"}` (the JMX exporter without rules). All of
//! them are brought to one form first.

use super::line;
use doctorkafka_wire::ExporterMetrics;
use std::{collections::HashMap, time::Instant};

/// What a page said.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scraped {
    pub metrics: ExporterMetrics,
    pub heap_used_bytes: Option<u64>,
    pub heap_max_bytes: Option<u64>,
}

/// Reads pages one after the other; keeps the counters of the last for rates.
#[derive(Debug, Default)]
pub struct Meter {
    before: Option<(Instant, HashMap<Subject, f64>)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Subject {
    HandlerIdle,
    UnderReplicated,
    MessagesIn,
    BytesIn,
    BytesOut,
    HeapUsed,
    HeapMax,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Only ever rises; its growth per second is the figure.
    Counter,
    /// Is the figure.
    Gauge,
}

/// Whether a line can be one of ours, told cheaply. Figures of single topics are many and not ours.
pub fn may_matter(line: &str) -> bool {
    let starts =
        |prefix: &str| line.get(..prefix.len()).is_some_and(|head| head.eq_ignore_ascii_case(prefix));
    let ours = [
        "jvm_memory_",
        "kafka_server_brokertopicmetrics_",
        "kafka_server_kafkarequesthandlerpool_",
        "kafka_server_replicamanager_",
    ];
    ours.into_iter().any(starts) && !line.contains("topic=\"")
}

impl Meter {
    /// Takes in the lines of a page read at `now`.
    pub fn read(&mut self, lines: &[String], now: Instant) -> Scraped {
        let mut gauges: HashMap<Subject, f64> = HashMap::new();
        let mut counters: HashMap<Subject, f64> = HashMap::new();
        for sample in lines.iter().filter_map(|line| line::parse(line)) {
            match recognise(sample.name, sample.label("name"), sample.label("area")) {
                Some((subject, Kind::Gauge)) => gauges.insert(subject, sample.value),
                Some((subject, Kind::Counter)) => counters.insert(subject, sample.value),
                None => None,
            };
        }
        let before = self.before.replace((now, counters.clone()));
        let rate = |subject: Subject| {
            let (then, earlier) = before.as_ref()?;
            let seconds = now.saturating_duration_since(*then).as_secs_f64();
            // Less than before: the broker was restarted, and its counters with it.
            let grown = counters.get(&subject)? - earlier.get(&subject)?;
            Some(grown / seconds).filter(|rate| rate.is_finite() && *rate >= 0.0)
        };
        // A counter's own growth is newer than any average over minutes that the broker keeps.
        let figure = |subject: Subject| {
            rate(subject)
                .or_else(|| gauges.get(&subject).copied())
                .filter(|value| value.is_finite() && *value >= 0.0)
        };
        let whole = |subject: Subject| figure(subject).map(|value| value as u64);
        Scraped {
            metrics: ExporterMetrics {
                request_handler_idle_percent: idle_percent(
                    rate(Subject::HandlerIdle),
                    gauges.get(&Subject::HandlerIdle).copied(),
                ),
                under_replicated_partitions: whole(Subject::UnderReplicated),
                messages_in_per_sec: figure(Subject::MessagesIn),
                bytes_in_per_sec: figure(Subject::BytesIn),
                bytes_out_per_sec: figure(Subject::BytesOut),
            },
            heap_used_bytes: whole(Subject::HeapUsed).filter(|bytes| *bytes > 0),
            heap_max_bytes: whole(Subject::HeapMax).filter(|bytes| *bytes > 0),
        }
    }
}

/// The meter behind `RequestHandlerAvgIdlePercent` counts idle nanoseconds; its rates are shares from 0 to 1. Exporters
/// show either under the same name, and a count is larger than any share.
fn idle_percent(nanos_per_sec: Option<f64>, gauge: Option<f64>) -> Option<f64> {
    let share = nanos_per_sec.map(|nanos| nanos / 1e9).or(gauge)?;
    // A little over 1 is rounding; a combined node's two pools can make it up to 2.
    (0.0..=2.0).contains(&share).then_some(100.0 * share.min(1.0))
}

/// What a metric of this name, and these labels, is.
fn recognise(metric: &str, name: &str, area: &str) -> Option<(Subject, Kind)> {
    let metric = metric.to_ascii_lowercase();
    match metric.as_str() {
        "jvm_memory_used_bytes" | "jvm_memory_bytes_used" if area == "heap" => {
            return Some((Subject::HeapUsed, Kind::Gauge));
        }
        "jvm_memory_max_bytes" | "jvm_memory_bytes_max" if area == "heap" => {
            return Some((Subject::HeapMax, Kind::Gauge));
        }
        _ => {}
    }
    let (bean, rest) = metric.strip_prefix("kafka_server_")?.split_once('_')?;
    let attribute =
        if name.is_empty() { rest.to_owned() } else { format!("{}_{rest}", name.to_ascii_lowercase()) };
    let attribute = attribute.replace("persec", "").replace("_percent", "percent");
    let (attribute, kind) = match attribute.rsplit_once('_') {
        Some((attribute, "total" | "count")) => (attribute, Kind::Counter),
        Some((attribute, "oneminuterate" | "value")) => (attribute, Kind::Gauge),
        _ => (attribute.as_str(), Kind::Gauge),
    };
    let subject = match (bean, attribute) {
        ("kafkarequesthandlerpool", "requesthandleravgidlepercent") => Subject::HandlerIdle,
        ("replicamanager", "underreplicatedpartitions") => Subject::UnderReplicated,
        ("brokertopicmetrics", "messagesin") => Subject::MessagesIn,
        ("brokertopicmetrics", "bytesin") => Subject::BytesIn,
        ("brokertopicmetrics", "bytesout") => Subject::BytesOut,
        _ => return None,
    };
    Some((subject, kind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn lines(page: &str) -> Vec<String> {
        page.lines().filter(|line| may_matter(line)).map(str::to_owned).collect()
    }

    #[test]
    fn the_jmx_exporters_example_rules_and_strimzis() {
        let page = |messages: u64| {
            lines(&format!(
                "# TYPE kafka_server_brokertopicmetrics_messagesin_total counter\n\
                 kafka_server_brokertopicmetrics_messagesin_total {messages}.0\n\
                 kafka_server_brokertopicmetrics_messagesin_total{{topic=\"orders\",}} 999999.0\n\
                 kafka_server_brokertopicmetrics_bytesin_total {}\n\
                 kafka_server_brokertopicmetrics_bytesout_total 0.0\n\
                 kafka_server_kafkarequesthandlerpool_requesthandleravgidle_percent 0.909\n\
                 kafka_server_replicamanager_underreplicatedpartitions 2.0\n\
                 jvm_memory_bytes_used{{area=\"heap\",}} 3.5E8\njvm_memory_bytes_used{{area=\"nonheap\",}} 1E8\n\
                 jvm_memory_bytes_max{{area=\"heap\",}} 1.073741824E9\n",
                messages * 1_000
            ))
        };
        let start = Instant::now();
        let mut meter = Meter::default();
        let first = meter.read(&page(100), start);
        assert_eq!(first.metrics.messages_in_per_sec, None, "a rate needs two readings");
        assert_eq!(first.metrics.request_handler_idle_percent, Some(90.9));
        assert_eq!(first.metrics.under_replicated_partitions, Some(2));
        assert_eq!((first.heap_used_bytes, first.heap_max_bytes), (Some(350_000_000), Some(1 << 30)));
        let second = meter.read(&page(150), start + Duration::from_secs(10));
        assert_eq!(second.metrics.messages_in_per_sec, Some(5.0));
        assert_eq!(second.metrics.bytes_in_per_sec, Some(5_000.0));
        assert_eq!(second.metrics.bytes_out_per_sec, Some(0.0));
        let restarted = meter.read(&page(1), start + Duration::from_secs(20));
        assert_eq!(restarted.metrics.messages_in_per_sec, None);
    }

    #[test]
    fn the_jmx_exporter_without_rules() {
        let page = lines(
            "kafka_server_BrokerTopicMetrics_OneMinuteRate{name=\"MessagesInPerSec\",} 12.5\n\
             kafka_server_BrokerTopicMetrics_OneMinuteRate{name=\"MessagesInPerSec\",topic=\"orders\",} 7.0\n\
             kafka_server_BrokerTopicMetrics_Count{name=\"BytesInPerSec\",} 100\n\
             kafka_server_BrokerTopicMetrics_FifteenMinuteRate{name=\"BytesOutPerSec\",} 3.0\n\
             kafka_server_KafkaRequestHandlerPool_OneMinuteRate{name=\"RequestHandlerAvgIdlePercent\",} 0.5\n\
             kafka_server_ReplicaManager_Value{name=\"UnderReplicatedPartitions\",} 0.0\n\
             jvm_memory_used_bytes{area=\"heap\"} 5\njvm_memory_max_bytes{area=\"heap\"} -1.0\n",
        );
        let scraped = Meter::default().read(&page, Instant::now());
        assert_eq!(scraped.metrics.messages_in_per_sec, Some(12.5));
        assert_eq!(scraped.metrics.bytes_in_per_sec, None);
        assert_eq!(scraped.metrics.bytes_out_per_sec, None);
        assert_eq!(scraped.metrics.request_handler_idle_percent, Some(50.0));
        assert_eq!(scraped.metrics.under_replicated_partitions, Some(0));
        assert_eq!((scraped.heap_used_bytes, scraped.heap_max_bytes), (Some(5), None));
    }

    #[test]
    fn idleness_counted_in_nanoseconds() {
        let page = |n: u64| {
            vec![format!("kafka_server_kafkarequesthandlerpool_requesthandleravgidlepercent_total {n}")]
        };
        let start = Instant::now();
        let mut meter = Meter::default();
        assert_eq!(meter.read(&page(1_000_000_000), start).metrics.request_handler_idle_percent, None);
        let second = meter.read(&page(8_000_000_000), start + Duration::from_secs(10));
        assert_eq!(second.metrics.request_handler_idle_percent, Some(70.0));
        // A count under the name of a share is not taken for one.
        let count = ["kafka_server_kafkarequesthandlerpool_requesthandleravgidlepercent 6.12E12".to_owned()];
        assert_eq!(Meter::default().read(&count, start).metrics.request_handler_idle_percent, None);
    }

    #[test]
    fn nonsense_says_nothing() {
        let nonsense = [
            "kafka_server_replicamanager_underreplicatedpartitions NaN",
            "kafka_server_replicamanager_underreplicatedpartitions -1",
            "kafka_server_brokertopicmetrics_messagesin{ 5",
            "jvm_memory_",
            "kafka_server_replicamanager_",
        ];
        let page = nonsense.map(str::to_owned);
        assert_eq!(Meter::default().read(&page, Instant::now()), Scraped::default());
        assert!(!may_matter("kafka_serveü"));
        assert!(!may_matter(""));
    }
}
