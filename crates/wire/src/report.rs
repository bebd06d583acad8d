//! What a sidecar says about its broker.

use crate::{BrokerId, DecodeError, decode};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One measurement of one broker by the sidecar beside it.
///
/// Published once per `interval_ms` with the broker id as key. While the broker is not in order, or its usual
/// partition does not acknowledge, the same report goes to every partition of the topic, because the broker that is
/// down may lead the partition its own bad news would travel by; readers drop repeats by `incarnation` and `sequence`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BrokerReport {
    /// Format version of this record, [`BrokerReport::VERSION`] when written by this code.
    pub version: u32,
    /// The broker that was measured.
    pub broker_id: BrokerId,
    /// Kafka cluster id, once the sidecar has learned it. A reader ignores reports of another cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_id: Option<String>,
    /// Host name of the machine or pod.
    #[serde(default)]
    pub host: String,
    /// Names one run of one sidecar; another value means that the sidecar was restarted.
    pub incarnation: u64,
    /// Counts the reports of one incarnation from 1.
    pub sequence: u64,
    /// When the figures were taken, by the sidecar's wall clock. For people: no decision rests on it.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub sampled_at: Timestamp,
    /// Milliseconds of the sidecar's monotonic clock since its start, when the figures were taken.
    pub uptime_ms: u64,
    /// Time between two reports, milliseconds; rates in this report are averages over it.
    pub interval_ms: u32,
    /// The broker's process.
    pub process: Process,
    /// The local probe of the broker's listener; absent when no listener is configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<Probe>,
    /// Processor use; absent when it cannot be known, as for a process that is not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Cpu>,
    /// Memory use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
    /// Network traffic of the broker's network namespace, loopback left out unless it is all there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Network>,
    /// The broker's log directories.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log_dirs: Vec<LogDir>,
    /// Pressure stall information, where the kernel has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pressure: Option<Pressure>,
    /// Figures scraped from a Prometheus endpoint of the broker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exporter: Option<ExporterMetrics>,
    /// True when simulated load was laid over the measured figures (`--simulate`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub simulated: bool,
    /// Set in the last report of a sidecar that ends in good order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub goodbye: Option<Goodbye>,
}

impl BrokerReport {
    /// The version this code writes and the newest it understands.
    pub const VERSION: u32 = 1;

    /// Reads a report from a record's value.
    ///
    /// # Errors
    /// Any input that is not a report of a known version, or whose figures cannot be true
    /// (negative, beyond any machine, more used than there is, a broker id below 0).
    pub fn decode(value: &[u8]) -> Result<Self, DecodeError> {
        let report: Self = decode::json(value, |report: &Self| report.version, Self::VERSION)?;
        report.check()?;
        Ok(report)
    }

    /// The record's value. Serializing these types cannot fail.
    pub fn encode(&self) -> Vec<u8> {
        decode::to_json(self)
    }

    /// The first figure that cannot be true.
    fn check(&self) -> Result<(), DecodeError> {
        let wrong_shape = [
            ("brokerId", self.broker_id.0 < 0),
            ("intervalMs", !(1..=3_600_000).contains(&self.interval_ms)),
            ("memory.limitBytes", self.memory.as_ref().is_some_and(|memory| memory.limit_bytes == Some(0))),
            ("logDirs", self.log_dirs.len() > 1_000),
            ("logDirs.usedBytes", self.log_dirs.iter().any(|dir| dir.used_bytes > dir.total_bytes)),
            ("cpu.limitCores", self.cpu.as_ref().is_some_and(|cpu| cpu.limit_cores <= 0.0)),
        ];
        let out_of_range = self.floats().map(|(field, max, figure)| (field, !(0.0..=max).contains(&figure)));
        match wrong_shape.into_iter().chain(out_of_range).find(|(_, absurd)| *absurd) {
            Some((field, _)) => Err(DecodeError::Absurd { field }),
            None => Ok(()),
        }
    }

    /// Every floating-point figure that is there, with the most it can be.
    fn floats(&self) -> impl Iterator<Item = (&'static str, f64, f64)> {
        // A burst over a quota can read a little over 100 %; ten thousand is no processor.
        const PERCENT: f64 = 10_000.0;
        // Bytes a second, milliseconds, cores: a petabyte a second, or thirty thousand years, is none.
        const FIGURE: f64 = 1e15;
        let (cpu, network, probe) = (self.cpu.as_ref(), self.network.as_ref(), self.probe.as_ref());
        let (pressure, exporter) = (self.pressure.as_ref(), self.exporter.as_ref());
        [
            ("cpu.percent", PERCENT, cpu.map(|cpu| cpu.percent)),
            ("cpu.usedCores", FIGURE, cpu.map(|cpu| cpu.used_cores)),
            ("cpu.limitCores", FIGURE, cpu.map(|cpu| cpu.limit_cores)),
            ("network.inBytesPerSec", FIGURE, network.map(|network| network.in_bytes_per_sec)),
            ("network.outBytesPerSec", FIGURE, network.map(|network| network.out_bytes_per_sec)),
            ("probe.roundTripMs", FIGURE, probe.and_then(|probe| probe.round_trip_ms)),
            ("pressure.cpuSomeAvg10", PERCENT, pressure.and_then(|pressure| pressure.cpu_some_avg10)),
            ("pressure.memorySomeAvg10", PERCENT, pressure.and_then(|pressure| pressure.memory_some_avg10)),
            ("pressure.ioSomeAvg10", PERCENT, pressure.and_then(|pressure| pressure.io_some_avg10)),
            (
                "exporter.requestHandlerIdlePercent",
                PERCENT,
                exporter.and_then(|exporter| exporter.request_handler_idle_percent),
            ),
            ("exporter.messagesInPerSec", FIGURE, exporter.and_then(|exporter| exporter.messages_in_per_sec)),
            ("exporter.bytesInPerSec", FIGURE, exporter.and_then(|exporter| exporter.bytes_in_per_sec)),
            ("exporter.bytesOutPerSec", FIGURE, exporter.and_then(|exporter| exporter.bytes_out_per_sec)),
        ]
        .into_iter()
        .filter_map(|(field, max, figure)| Some((field, max, figure?)))
    }

    /// Memory in use as a share of the limit, percent.
    pub fn memory_percent(&self) -> Option<f64> {
        let memory = self.memory.as_ref()?;
        Some(100.0 * memory.rss_bytes as f64 / memory.limit_bytes? as f64)
    }

    /// Use of the fullest log directory, percent.
    pub fn disk_percent(&self) -> Option<f64> {
        self.log_dirs
            .iter()
            .filter(|dir| dir.total_bytes > 0)
            .map(|dir| 100.0 * dir.used_bytes as f64 / dir.total_bytes as f64)
            .max_by(f64::total_cmp)
    }

    /// The busier direction of the network as a share of its capacity, percent; unknown without a capacity.
    pub fn network_percent(&self) -> Option<f64> {
        let network = self.network.as_ref()?;
        let capacity = network.capacity_bytes_per_sec.filter(|c| *c > 0)? as f64;
        Some(100.0 * network.in_bytes_per_sec.max(network.out_bytes_per_sec) / capacity)
    }
}

/// The broker's process as the operating system shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Process {
    /// Whether it is there.
    pub state: ProcessState,
    /// Process id in the sidecar's process namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// When the process started, by the sidecar's wall clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub started_at: Option<Timestamp>,
    /// How often the sidecar has seen the process replaced by a new one.
    #[serde(default)]
    pub restarts: u32,
}

/// State of the broker's process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ProcessState {
    /// It runs.
    Running,
    /// It exists and is stopped by a signal or a debugger (`T` in `/proc/PID/stat`).
    Stopped,
    /// It is not there.
    Absent,
}

/// Result of one ApiVersions request (API key 18) to the broker's own listener.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Probe {
    /// Whether the broker answered in time.
    pub ok: bool,
    /// Round trip, milliseconds, when it answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round_trip_ms: Option<f64>,
    /// What went wrong when it did not, for people: `connection refused`, `no answer within 1s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Processor use of the broker's process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Cpu {
    /// Use as a share of the broker's own limit, percent.
    pub percent: f64,
    /// Use in cores.
    pub used_cores: f64,
    /// The limit in cores: its cgroup's quota, or the cores of the machine.
    pub limit_cores: f64,
}

/// Memory of the broker's process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Memory {
    /// Resident set, bytes.
    pub rss_bytes: u64,
    /// Its cgroup's limit, or the machine's memory, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_bytes: Option<u64>,
    /// JVM heap in use, bytes, where an exporter tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heap_used_bytes: Option<u64>,
    /// Largest JVM heap, bytes, where an exporter tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heap_max_bytes: Option<u64>,
}

/// Network traffic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Network {
    /// Bytes received a second.
    pub in_bytes_per_sec: f64,
    /// Bytes sent a second.
    pub out_bytes_per_sec: f64,
    /// What the link can carry in one direction, bytes a second, when configured or told by the interface.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity_bytes_per_sec: Option<u64>,
}

/// One log directory (`log.dirs`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LogDir {
    /// Path as the broker sees it.
    pub path: String,
    /// Bytes in use on its file system.
    pub used_bytes: u64,
    /// Size of its file system, bytes.
    pub total_bytes: u64,
}

/// Pressure stall information: share of the last ten seconds in which some task waited, percent.
/// Source: the kernel's `Documentation/accounting/psi.rst`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Pressure {
    /// For processor time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_some_avg10: Option<f64>,
    /// For memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_some_avg10: Option<f64>,
    /// For input and output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub io_some_avg10: Option<f64>,
}

/// Broker figures from a Prometheus endpoint, each absent when the endpoint does not have it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExporterMetrics {
    /// Idle share of the request handler threads, percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_handler_idle_percent: Option<f64>,
    /// Partitions led here whose ISR is smaller than their replica set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub under_replicated_partitions: Option<u64>,
    /// Messages produced to this broker a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub messages_in_per_sec: Option<f64>,
    /// Bytes produced to this broker a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_in_per_sec: Option<f64>,
    /// Bytes fetched from this broker by clients a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_out_per_sec: Option<f64>,
}

/// Why a sidecar ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Goodbye {
    /// It was asked to (SIGTERM, SIGINT).
    Terminated,
}
