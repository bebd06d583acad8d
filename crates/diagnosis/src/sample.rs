//! Reports for the unit tests.

use doctorkafka_wire::{BrokerReport, ProcessState};

/// The report that a sidecar's run 1 takes of a broker in good order at `uptime_ms`, one each second.
pub(crate) fn report(uptime_ms: u64) -> BrokerReport {
    let json = serde_json::json!({
        "version": 1,
        "brokerId": 1,
        "incarnation": 1,
        "sequence": uptime_ms / 1_000 + 1,
        "sampledAt": "2026-11-22T14:02:11Z",
        "uptimeMs": uptime_ms,
        "intervalMs": 1_000,
        "process": {"state": "running", "pid": 7, "startedAt": "2026-11-22T14:00:11Z"},
        "probe": {"ok": true},
        "cpu": {"percent": 40.0, "usedCores": 1.6, "limitCores": 4.0},
    });
    BrokerReport::decode(json.to_string().as_bytes()).unwrap()
}

/// The same when the process is gone.
pub(crate) fn absent(uptime_ms: u64) -> BrokerReport {
    let mut report = report(uptime_ms);
    report.process.state = ProcessState::Absent;
    report.process.pid = None;
    report.process.started_at = None;
    report.cpu = None;
    report.probe = Some(doctorkafka_wire::Probe {
        ok: false,
        round_trip_ms: None,
        error: Some("connection refused".into()),
    });
    report
}
