//! Bytes that are no records, or nearly.

use crate::made::{json_value, record, report};
use doctorkafka_wire::{ActionRecord, BrokerReport, DecodeError, MAX_RECORD_BYTES};
use proptest::{collection::vec, prelude::*};
use serde_json::Value;

/// Decodes as both kinds. Whatever was understood must be fit to reckon with.
fn decode_both(bytes: &[u8]) -> (Result<BrokerReport, DecodeError>, Result<ActionRecord, DecodeError>) {
    let (report, record) = (BrokerReport::decode(bytes), ActionRecord::decode(bytes));
    if let Ok(report) = &report {
        assert_true(report);
    }
    (report, record)
}

/// Every figure of a report is finite and not negative, and so is what is reckoned from it.
fn assert_true(report: &BrokerReport) {
    fn walk(path: &str, value: &Value) {
        match value {
            Value::Number(number) => assert!(
                path.ends_with(".pid")
                    || number.as_f64().is_some_and(|float| float.is_finite() && float >= 0.0),
                "{path} is {number}"
            ),
            Value::Array(items) => items.iter().for_each(|item| walk(path, item)),
            Value::Object(fields) => {
                fields.iter().for_each(|(name, field)| walk(&format!("{path}.{name}"), field))
            }
            _ => {}
        }
    }
    walk("", &serde_json::to_value(report).expect("a report has a JSON form"));
    for percent in
        [report.memory_percent(), report.disk_percent(), report.network_percent()].into_iter().flatten()
    {
        assert!(percent.is_finite() && percent >= 0.0, "{percent}");
    }
}

/// One way to spoil a record's bytes.
#[derive(Debug, Clone)]
enum Damage {
    Flip(usize, u8),
    Truncate(usize),
    Remove(usize, usize),
    Insert(usize, Vec<u8>),
    Repeat(usize, usize),
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = any::<u16>().prop_map(usize::from);
    let length = 0..64_usize;
    prop_oneof![
        (at.clone(), any::<u8>()).prop_map(|(at, bits)| Damage::Flip(at, bits)),
        at.clone().prop_map(Damage::Truncate),
        (at.clone(), length.clone()).prop_map(|(at, length)| Damage::Remove(at, length)),
        (at.clone(), vec(any::<u8>(), 0..16)).prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
        (at, length).prop_map(|(at, length)| Damage::Repeat(at, length)),
    ]
}

fn spoil(bytes: &mut Vec<u8>, damage: &Damage) {
    let within = |at: usize, bytes: &[u8]| at % (bytes.len() + 1);
    match damage {
        Damage::Flip(at, bits) => {
            let at = within(*at, bytes);
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= bits;
            }
        }
        Damage::Truncate(at) => bytes.truncate(within(*at, bytes)),
        Damage::Remove(at, length) => {
            let at = within(*at, bytes);
            bytes.drain(at..bytes.len().min(at + length));
        }
        Damage::Insert(at, more) => {
            let at = within(*at, bytes);
            bytes.splice(at..at, more.iter().copied());
        }
        Damage::Repeat(at, length) => {
            let at = within(*at, bytes);
            let again = bytes[at..bytes.len().min(at + length)].to_vec();
            bytes.splice(at..at, again);
        }
    }
}

/// Pointers to every value within a value.
fn pointers(value: &Value) -> Vec<String> {
    let mut found = vec![String::new()];
    let below: Vec<(String, &Value)> = match value {
        Value::Object(fields) => fields.iter().map(|(name, field)| (escape(name), field)).collect(),
        Value::Array(items) => items.iter().enumerate().map(|(n, item)| (n.to_string(), item)).collect(),
        _ => Vec::new(),
    };
    for (name, value) in below {
        found.extend(pointers(value).into_iter().map(|pointer| format!("/{name}{pointer}")));
    }
    found
}

/// RFC 6901.
fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn random_bytes(bytes in vec(any::<u8>(), 0..2_048)) {
        let (report, record) = decode_both(&bytes);
        prop_assert!(report.is_err() && record.is_err());
    }

    #[test]
    fn random_json(value in json_value()) {
        let (report, record) = decode_both(&serde_json::to_vec(&value).unwrap());
        prop_assert!(report.is_err() && record.is_err());
    }

    #[test]
    fn damaged_reports(report in report(), damages in vec(damage(), 1..4)) {
        let mut bytes = report.encode();
        damages.iter().for_each(|damage| spoil(&mut bytes, damage));
        drop(decode_both(&bytes));
    }

    #[test]
    fn damaged_action_records(record in record(), damages in vec(damage(), 1..4)) {
        let mut bytes = record.encode();
        damages.iter().for_each(|damage| spoil(&mut bytes, damage));
        drop(decode_both(&bytes));
    }

    /// Truncation alone never leaves a record: what is cut off is missed.
    #[test]
    fn truncated_records(report in report(), record in record(), cut in any::<prop::sample::Index>()) {
        for bytes in [report.encode(), record.encode()] {
            let (report, record) = decode_both(&bytes[..cut.index(bytes.len())]);
            prop_assert!(report.is_err() && record.is_err());
        }
    }

    /// Any value in the place of any other.
    #[test]
    fn reports_with_a_value_replaced(report in report(), at in any::<prop::sample::Index>(), value in json_value()) {
        let mut json: Value = serde_json::from_slice(&report.encode()).unwrap();
        let pointers = pointers(&json);
        if let Some(place) = json.pointer_mut(&pointers[at.index(pointers.len())]) {
            *place = value;
        }
        drop(decode_both(&serde_json::to_vec(&json).unwrap()));
    }

    /// Numbers that JSON knows and no machine does, or the other way round, in the place of any number.
    #[test]
    fn reports_with_impossible_numbers(
        report in report(),
        at in any::<prop::sample::Index>(),
        number in prop::sample::select(&["NaN", "Infinity", "-Infinity", "1e400", "-1e400", "-1", "-0.001",
            "99999999999999999999999999", "1e-400", "0x10", "1.", ".5", "01", "--1"]),
    ) {
        let mut json: Value = serde_json::from_slice(&report.encode()).unwrap();
        let numbers: Vec<String> =
            pointers(&json).into_iter().filter(|at| json.pointer(at).is_some_and(Value::is_number)).collect();
        let marked = &numbers[at.index(numbers.len())];
        if let Some(place) = json.pointer_mut(marked) {
            *place = "THE-NUMBER".into();
        }
        let text = serde_json::to_string(&json).unwrap().replace("\"THE-NUMBER\"", number);
        let (decoded, _) = decode_both(text.as_bytes());
        // A process id says nothing; a figure too small for a float is zero.
        prop_assert!(decoded.is_err() || number == "1e-400" || marked.ends_with("/pid"), "{} at {}", number, marked);
    }
}

#[test]
fn deep_nesting_ends_early() {
    for depth in [127, 128, 129, 1_000, 500_000] {
        for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("{\"version\":1,\"evidence\":", "}")] {
            if (open.len() + close.len()) * depth > MAX_RECORD_BYTES {
                continue;
            }
            for text in [open.repeat(depth), open.repeat(depth) + "1" + &close.repeat(depth)] {
                let (report, record) = decode_both(text.as_bytes());
                assert!(report.is_err() && record.is_err(), "{depth} times {open}");
            }
        }
    }
}

#[test]
fn what_is_too_large_is_not_looked_at() {
    let too_large = |bytes: &[u8]| {
        let (report, record) = decode_both(bytes);
        let expected = DecodeError::TooLarge { bytes: bytes.len() };
        report.err() == Some(expected.clone()) && record.err() == Some(expected)
    };
    assert!(too_large(&vec![b' '; MAX_RECORD_BYTES + 1]));
    assert!(!too_large(&vec![b' '; MAX_RECORD_BYTES]));
}

const REPORT: &str = r#"{"version":1,"brokerId":7,"incarnation":1,"sequence":1,"sampledAt":"2026-11-22T14:02:11Z",
    "uptimeMs":1,"intervalMs":1000,"process":{"state":"running"},"logDirs":[{"path":"/d","usedBytes":1,"totalBytes":2}]}"#;

const RECORD: &str = r#"{"version":1,"id":"x","time":"2026-11-22T14:02:11Z","policy":"p","cluster":"c","epoch":1,
    "kind":"RECOVERED","severity":"info","message":"m"}"#;

#[test]
fn what_is_no_version_is_malformed() {
    assert!(
        BrokerReport::decode(REPORT.as_bytes()).is_ok() && ActionRecord::decode(RECORD.as_bytes()).is_ok()
    );
    for version in ["0", "-1", "1.5", "\"1\"", "null", "true", "{}", "18446744073709551616"] {
        let with = |text: &str| text.replace(r#""version":1"#, &format!(r#""version":{version}"#));
        let report = BrokerReport::decode(with(REPORT).as_bytes());
        assert!(matches!(report, Err(DecodeError::Malformed { .. })), "{version}: {report:?}");
        let record = ActionRecord::decode(with(RECORD).as_bytes());
        assert!(matches!(record, Err(DecodeError::Malformed { .. })), "{version}: {record:?}");
    }
}

#[test]
fn what_cannot_be_true_is_named() {
    for (from, to, field) in [
        (r#""brokerId":7"#, r#""brokerId":-1"#, "brokerId"),
        (r#""intervalMs":1000"#, r#""intervalMs":0"#, "intervalMs"),
        (r#""usedBytes":1"#, r#""usedBytes":3"#, "logDirs.usedBytes"),
        ("\"logDirs\"", r#""cpu":{"percent":-0.1,"usedCores":1,"limitCores":1},"logDirs""#, "cpu.percent"),
        ("\"logDirs\"", r#""cpu":{"percent":1e5,"usedCores":1,"limitCores":1},"logDirs""#, "cpu.percent"),
        ("\"logDirs\"", r#""cpu":{"percent":1,"usedCores":1,"limitCores":0},"logDirs""#, "cpu.limitCores"),
        ("\"logDirs\"", r#""memory":{"rssBytes":1,"limitBytes":0},"logDirs""#, "memory.limitBytes"),
        (
            "\"logDirs\"",
            r#""network":{"inBytesPerSec":1e300,"outBytesPerSec":0},"logDirs""#,
            "network.inBytesPerSec",
        ),
        ("\"logDirs\"", r#""probe":{"ok":true,"roundTripMs":-1},"logDirs""#, "probe.roundTripMs"),
        ("\"logDirs\"", r#""pressure":{"ioSomeAvg10":-1},"logDirs""#, "pressure.ioSomeAvg10"),
        ("\"logDirs\"", r#""exporter":{"bytesInPerSec":-1},"logDirs""#, "exporter.bytesInPerSec"),
    ] {
        let text = REPORT.replace(from, to);
        assert_eq!(BrokerReport::decode(text.as_bytes()), Err(DecodeError::Absurd { field }), "{text}");
    }
}
