//! Any bytes as a record of the actions log.
#![no_main]

use doctorkafka_wire::ActionRecord;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(record) = ActionRecord::decode(bytes) else { return };
    // What was understood once is understood again.
    assert!(ActionRecord::decode(&record.encode()).is_ok());
});
