//! Reports as a sidecar would write them, with the figures that a measurement needs.

use doctorkafka_wire::{BrokerId, BrokerReport, Cpu, LogDir, Memory, Network, Probe, Process, ProcessState};
use jiff::Timestamp;

/// A full report of a broker in good order.
pub fn report(broker: BrokerId, sequence: u64, cpu: f64) -> BrokerReport {
    BrokerReport {
        version: BrokerReport::VERSION,
        broker_id: broker,
        cluster_id: None,
        host: format!("broker-{broker}.kafka.svc"),
        incarnation: 1,
        sequence,
        sampled_at: Timestamp::now(),
        uptime_ms: sequence * 1_000,
        interval_ms: 1_000,
        process: Process {
            state: ProcessState::Running,
            pid: Some(17),
            started_at: Timestamp::from_second(1_700_000_000).ok(),
            restarts: 0,
        },
        probe: Some(Probe { ok: true, round_trip_ms: Some(0.42), error: None }),
        cpu: Some(Cpu { percent: cpu, used_cores: cpu / 25.0, limit_cores: 4.0 }),
        memory: Some(Memory {
            rss_bytes: 6 << 30,
            limit_bytes: Some(8 << 30),
            heap_used_bytes: None,
            heap_max_bytes: None,
        }),
        network: Some(Network {
            in_bytes_per_sec: 31_250_000.0,
            out_bytes_per_sec: 93_750_000.0,
            capacity_bytes_per_sec: Some(1_250_000_000),
        }),
        log_dirs: vec![LogDir {
            path: "/var/lib/kafka/data-0".into(),
            used_bytes: 500 << 30,
            total_bytes: 1 << 40,
        }],
        pressure: None,
        exporter: None,
        simulated: true,
        goodbye: None,
    }
}
