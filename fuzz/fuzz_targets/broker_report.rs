//! Any bytes as a record of the metrics topic.
#![no_main]

use doctorkafka_wire::BrokerReport;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(report) = BrokerReport::decode(bytes) else { return };
    for percent in
        [report.memory_percent(), report.disk_percent(), report.network_percent()].into_iter().flatten()
    {
        assert!(percent.is_finite() && percent >= 0.0);
    }
    // What was understood once is understood again.
    assert!(BrokerReport::decode(&report.encode()).is_ok());
});
