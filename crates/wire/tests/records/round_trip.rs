//! What is written is read, by this release and by those that come after it.

use crate::made::{json_value, record, report};
use doctorkafka_wire::{ActionKind, ActionRecord, BrokerReport, DecodeError};
use proptest::prelude::*;
use serde_json::{Value, json};

/// Lays fields that no release knows into every object of a record.
fn with_unknown_fields(value: &mut Value, unknown: &Value) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields.iter_mut() {
                // Evidence is a map of the writer's own: there is no unknown name in it.
                if name != "evidence" {
                    with_unknown_fields(field, unknown);
                }
            }
            fields.insert("fieldOfTheFuture".to_owned(), unknown.clone());
        }
        Value::Array(items) => items.iter_mut().for_each(|item| with_unknown_fields(item, unknown)),
        _ => {}
    }
}

proptest! {
    #[test]
    fn a_report_is_read_as_it_was_written(report in report()) {
        prop_assert_eq!(BrokerReport::decode(&report.encode()), Ok(report));
    }

    #[test]
    fn an_action_record_is_read_as_it_was_written(record in record()) {
        // Evidence may hold floats that JSON text carries only almost exactly, so texts are compared.
        let text = record.encode();
        let read = ActionRecord::decode(&text).map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!((&read.id, read.time, &read.message), (&record.id, record.time, &record.message));
        prop_assert_eq!(&read.leadership, &record.leadership);
        prop_assert_eq!(&read.treatment, &record.treatment);
        prop_assert_eq!(read.evidence.keys().collect::<Vec<_>>(), record.evidence.keys().collect::<Vec<_>>());
    }

    #[test]
    fn unknown_fields_are_ignored(report in report(), record in record(), unknown in json_value()) {
        let mut later: Value = serde_json::from_slice(&report.encode()).unwrap();
        with_unknown_fields(&mut later, &unknown);
        prop_assert_eq!(BrokerReport::decode(&serde_json::to_vec(&later).unwrap()), Ok(report));
        let mut later: Value = serde_json::from_slice(&record.encode()).unwrap();
        with_unknown_fields(&mut later, &unknown);
        let read = ActionRecord::decode(&serde_json::to_vec(&later).unwrap());
        prop_assert_eq!(read.map(|read| read.id), Ok(record.id));
    }

    #[test]
    fn a_newer_version_is_named_whatever_else_it_says(version in 2..=u64::MAX, rest in json_value(), report in report()) {
        let newer = Err(DecodeError::NewerVersion { version });
        let other = serde_json::to_vec(&json!({"version": version, "rest": rest})).unwrap();
        prop_assert_eq!(BrokerReport::decode(&other).map(drop), newer.clone());
        prop_assert_eq!(ActionRecord::decode(&other).map(drop), newer.clone());
        let mut same: Value = serde_json::from_slice(&report.encode()).unwrap();
        same["version"] = version.into();
        prop_assert_eq!(BrokerReport::decode(&serde_json::to_vec(&same).unwrap()).map(drop), newer);
    }
}

#[test]
fn a_kind_of_a_newer_doctor_is_read_as_other() {
    let text = br#"{"version":1,"id":"x","time":"2026-11-22T14:02:11.204Z","policy":"kafka/prod","cluster":"c","epoch":12,
        "kind":"TELEPORT","severity":"info","message":"m"}"#;
    assert_eq!(ActionRecord::decode(text).unwrap().kind, ActionKind::Other);
}

#[test]
fn the_record_of_the_manual_is_understood() {
    let text = br#"{"version":1,"id":"01K","time":"2026-11-22T14:02:11.204Z","policy":"kafka/prod","cluster":"4L6g3","epoch":12,
        "kind":"ALERT_OVERLOAD","severity":"warning","broker":2,"message":"CPU usage 95% > 80%",
        "evidence":{"cpuPercent":95.2,"sustainedForMs":3000,"reports":3}}"#;
    let record = ActionRecord::decode(text).unwrap();
    assert_eq!(record.kind, ActionKind::AlertOverload);
    assert_eq!(record.evidence["cpuPercent"], 95.2);
    // Written again it is the same, field by field, in the order in which people read it.
    let again = String::from_utf8(record.encode()).unwrap();
    assert!(
        again.starts_with(
            r#"{"version":1,"id":"01K","time":"2026-11-22T14:02:11.204Z","policy":"kafka/prod","#
        ),
        "{again}"
    );
}
