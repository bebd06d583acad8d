//! What the schemas of the CRDs promise, without an API server.

use doctorkafka_api::crds;
use serde_json::Value;

/// Calls `visit` with every schema of every CRD and its path.
fn every_schema(visit: &mut impl FnMut(&str, &Value)) {
    fn walk(path: &str, schema: &Value, visit: &mut impl FnMut(&str, &Value)) {
        visit(path, schema);
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            walk(&format!("{path}.{name}"), property, visit);
        }
        for (below, name) in [("items", "[]"), ("additionalProperties", "{}")] {
            if schema[below].is_object() {
                walk(&format!("{path}{name}"), &schema[below], visit);
            }
        }
    }
    for crd in crds() {
        let crd = serde_json::to_value(crd).expect("a CRD has a JSON form");
        let kind = crd["spec"]["names"]["kind"].as_str().expect("a CRD has a kind");
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        assert!(schema["properties"]["spec"].is_object() && schema["properties"]["status"].is_object());
        walk(kind, schema, visit);
    }
}

#[test]
fn every_field_is_documented() {
    let mut fields = 0;
    every_schema(&mut |path, schema| {
        if path.ends_with("[]") || path.ends_with("{}") {
            return; // items are described by their list
        }
        fields += 1;
        let description = schema["description"].as_str().unwrap_or_default();
        assert!(description.len() > 8, "{path} says only {description:?}");
        assert!(description.ends_with(['.', ']', ')']), "{path} is not a sentence: {description:?}");
        // rustdoc's marks mean nothing to kubectl explain
        assert!(!description.contains("[`") && !description.contains("Self::"), "{path}: {description:?}");
    });
    assert!(fields > 100, "{fields}");
}

#[test]
fn every_schema_has_a_type_and_a_format_that_the_api_server_knows() {
    every_schema(&mut |path, schema| {
        assert!(schema["type"].is_string(), "{path}");
        if let Some(format) = schema["format"].as_str() {
            assert!(matches!(format, "int32" | "int64" | "date-time"), "{path}: {format}");
        }
    });
}

#[test]
fn whatever_a_rule_looks_at_is_bounded() {
    every_schema(&mut |path, schema| {
        if path.contains(".status") || path.contains("podSelector") {
            return; // no rules there
        }
        match schema["type"].as_str() {
            Some("string") if schema["enum"].is_null() => {
                assert!(schema["maxLength"].is_number(), "{path} has no maxLength")
            }
            Some("array") => assert!(schema["maxItems"].is_number(), "{path} has no maxItems"),
            _ => {}
        }
    });
}

#[test]
fn every_rule_has_a_message() {
    let mut rules = 0;
    every_schema(&mut |path, schema| {
        for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
            rules += 1;
            let message = rule["message"].as_str().unwrap_or_default();
            assert!(message.starts_with("must ") || message.starts_with("is "), "{path}: {rule}");
        }
    });
    assert!(rules > 10, "{rules}");
}

#[test]
fn names_are_those_that_users_type() {
    let names: Vec<String> = crds()
        .into_iter()
        .map(|crd| {
            let names = crd.spec.names;
            format!("{}.{} {}", names.plural, crd.spec.group, names.short_names.unwrap_or_default().join(" "))
        })
        .collect();
    assert_eq!(
        names,
        [
            "kafkahealthpolicies.doctorkafka.dev kafkahealth khp",
            "kafkareassignments.doctorkafka.dev kreassign"
        ]
    );
}
