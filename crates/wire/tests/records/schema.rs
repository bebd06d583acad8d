//! The published JSON Schemas describe what is really written.

use crate::made::{record, report};
use proptest::prelude::*;
use schemars::schema_for;
use serde_json::Value;

/// What of a value its schema does not allow: the few keywords that our schemas use.
fn complaint(schema: &Value, root: &Value, value: &Value) -> Option<String> {
    if let Some(reference) = schema["$ref"].as_str() {
        let definition = root.pointer(reference.trim_start_matches('#')).expect(reference);
        return complaint(definition, root, value);
    }
    for choice in ["anyOf", "oneOf"] {
        if let Some(options) = schema[choice].as_array() {
            let complaints: Vec<_> = options.iter().map(|option| complaint(option, root, value)).collect();
            return complaints.iter().all(Option::is_some).then(|| format!("{value}: {complaints:?}"));
        }
    }
    if schema["const"] != Value::Null && schema["const"] != *value {
        return Some(format!("{value} is not {}", schema["const"]));
    }
    if let Some(options) = schema["enum"].as_array().filter(|options| !options.contains(value)) {
        return Some(format!("{value} is not one of {options:?}"));
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let allowed: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        _ => vec![kind],
    };
    if !allowed.contains(&kind) {
        return Some(format!("{value} is not of type {allowed:?}"));
    }
    match value {
        Value::Array(items) => items.iter().find_map(|item| complaint(&schema["items"], root, item)),
        Value::Object(fields) => {
            let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
            if let Some(missing) = required.into_iter().find(|name| !fields.contains_key(*name)) {
                return Some(format!("{missing} is missing"));
            }
            let known = schema["properties"].as_object()?;
            fields.iter().find_map(|(name, field)| match known.get(name) {
                Some(schema) => complaint(schema, root, field).map(|why| format!("{name}: {why}")),
                None => Some(format!("{name} is not described")),
            })
        }
        _ => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn of_reports(report in report()) {
        let schema = schema_for!(doctorkafka_wire::BrokerReport).to_value();
        prop_assert_eq!(complaint(&schema, &schema, &serde_json::to_value(&report).unwrap()), None);
    }

    #[test]
    fn of_action_records(record in record()) {
        let schema = schema_for!(doctorkafka_wire::ActionRecord).to_value();
        prop_assert_eq!(complaint(&schema, &schema, &serde_json::to_value(&record).unwrap()), None);
    }
}
