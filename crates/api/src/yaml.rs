//! Policies from files, for the standalone mode, where no API server has checked them.

mod source;

use crate::{KafkaHealthPolicy, Violation};
use kube::{CustomResourceExt, Resource};
use serde_json::Value;
use source::Source;
use std::fmt;

/// Why a file is no policy: one or more problems, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct YamlError {
    /// At least one.
    pub problems: Vec<Problem>,
}

impl fmt::Display for YamlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, problem) in self.problems.iter().enumerate() {
            write!(f, "{}{problem}", if n > 0 { "; " } else { "" })?;
        }
        Ok(())
    }
}

/// One thing that is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Line in the file, from 1, where it is known.
    pub line: Option<u64>,
    /// The field, as a path from the root such as `spec.kafka.bootstrapServers`; empty when it is about the whole file.
    pub field: String,
    /// What is wrong with it and what would be right.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.message)
    }
}

/// Reads a policy from YAML and holds it against every rule of the CRD. A field that the CRD does not know is an error
/// here: in a file nobody else would say that it was misspelled.
///
/// # Errors
/// [`YamlError`] with the line and the field of all that is wrong.
pub fn from_yaml(text: &str) -> Result<KafkaHealthPolicy, YamlError> {
    let source: Source =
        serde_saphyr::from_str(text).map_err(|error| one(problem_of(&error, String::new())))?;
    // In this order, so that nobody is told of a missing field of a file that is no policy, or that is there misspelled.
    some(wrong_kind(&source))?;
    some(unknown_fields(&source))?;
    let policy = typed(text)?;
    some(broken_rules(&policy, &source))?;
    Ok(policy)
}

fn wrong_kind(source: &Source) -> Vec<Problem> {
    [("apiVersion", KafkaHealthPolicy::api_version(&())), ("kind", KafkaHealthPolicy::kind(&()))]
        .into_iter()
        .filter(|(field, expected)| source.text(field) != Some(expected))
        .map(|(field, expected)| {
            let got = source.text(field).map(|given| format!(", got {given}")).unwrap_or_default();
            Problem {
                line: source.line_of(field),
                field: field.to_owned(),
                message: format!("must be {expected}{got}"),
            }
        })
        .collect()
}

fn broken_rules(policy: &KafkaHealthPolicy, source: &Source) -> Vec<Problem> {
    let nameless = policy.metadata.name.as_deref().is_none_or(str::is_empty).then(|| Violation {
        field: "metadata.name".to_owned(),
        message: "must be set: it names the policy in the actions log".to_owned(),
    });
    nameless
        .into_iter()
        .chain(policy.spec.check())
        .map(|Violation { field, message }| Problem { line: source.line_of(&field), field, message })
        .collect()
}

/// Reads the text into the types.
fn typed(text: &str) -> Result<KafkaHealthPolicy, YamlError> {
    let mut field = String::new();
    serde_saphyr::with_deserializer_from_str(text, |deserializer| {
        serde_path_to_error::deserialize(deserializer).map_err(|error| {
            let path = error.path().to_string();
            field = if path == "." { String::new() } else { path };
            error.into_inner()
        })
    })
    .map_err(|error| one(problem_of(&error, field)))
}

fn one(problem: Problem) -> YamlError {
    YamlError { problems: vec![problem] }
}

fn some(problems: Vec<Problem>) -> Result<(), YamlError> {
    if problems.is_empty() { Ok(()) } else { Err(YamlError { problems }) }
}

fn problem_of(error: &serde_saphyr::Error, field: String) -> Problem {
    let error = error.without_snippet();
    let line = error.location().map(|location| location.line()).filter(|line| *line > 0);
    let mut message = error.to_string();
    // The reader ends its messages with the place, which is said at their beginning here.
    if let Some(at) = message.rfind(" at line ").or_else(|| message.rfind("line ").filter(|at| *at == 0)) {
        message.truncate(at);
    }
    Problem { line, field, message }
}

/// Fields that the CRD does not know, with their lines.
fn unknown_fields(source: &Source) -> Vec<Problem> {
    let crd = KafkaHealthPolicy::crd();
    let schema = crd
        .spec
        .versions
        .first()
        .and_then(|version| version.schema.as_ref())
        .and_then(|schema| serde_json::to_value(&schema.open_api_v3_schema).ok())
        .unwrap_or_default();
    let mut unknown = Vec::new();
    if let Source::Map(fields) = source {
        for field in fields {
            match field.name.as_str() {
                "apiVersion" | "kind" | "metadata" | "status" => {}
                "spec" => compare("spec", &field.value, &schema["properties"]["spec"], &mut unknown),
                _ => unknown.push(Problem {
                    line: Some(field.line),
                    field: field.name.clone(),
                    message: "no such field; there are apiVersion, kind, metadata, spec".to_owned(),
                }),
            }
        }
    }
    unknown
}

fn compare(path: &str, source: &Source, schema: &Value, unknown: &mut Vec<Problem>) {
    match source {
        Source::Map(fields) => {
            // Without named properties it is a map, and its keys are the user's.
            let Some(properties) = schema["properties"].as_object() else { return };
            for field in fields {
                let path = format!("{path}.{}", field.name);
                match properties.get(&field.name) {
                    Some(property) => compare(&path, &field.value, property, unknown),
                    None => {
                        let known: Vec<&str> = properties.keys().map(String::as_str).collect();
                        unknown.push(Problem {
                            line: Some(field.line),
                            field: path,
                            message: format!("no such field; there are {}", known.join(", ")),
                        });
                    }
                }
            }
        }
        Source::List(items) => {
            for (n, (_, item)) in items.iter().enumerate() {
                compare(&format!("{path}[{n}]"), item, &schema["items"], unknown);
            }
        }
        Source::Text(_) | Source::Other => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(spec: &str) -> Vec<String> {
        let text = format!(
            "apiVersion: doctorkafka.dev/v1alpha1\nkind: KafkaHealthPolicy\nmetadata:\n  name: demo\n{spec}"
        );
        match from_yaml(&text) {
            Ok(_) => Vec::new(),
            Err(error) => error.problems.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn reads_a_policy_and_fills_in_the_defaults() {
        let text = "apiVersion: doctorkafka.dev/v1alpha1\nkind: KafkaHealthPolicy\nmetadata: {name: demo}\nspec: {kafka: {bootstrapServers: 'a:1'}}\n";
        let policy = from_yaml(text).unwrap();
        assert_eq!(policy.spec, crate::KafkaHealthPolicySpec::new("a:1"));
    }

    #[test]
    fn names_line_and_field_of_a_misspelled_field() {
        let errors = errors(
            "spec:\n  kafka:\n    bootstrapServers: a:1\n  detection:\n    cpu:\n      recoverBelow: 70\n  limit: {}\n",
        );
        assert_eq!(
            errors,
            [
                "line 10: spec.detection.cpu.recoverBelow: no such field; there are overloadedAbove, recoveredBelow, sustainedFor",
                "line 11: spec.limit: no such field; there are brokers, demote, detection, drain, executor, kafka, limits, maintenance, mode, remedies, topics",
            ]
        );
    }

    #[test]
    fn names_line_and_field_within_lists() {
        let errors = errors(
            "spec:\n  kafka: {bootstrapServers: a:1}\n  maintenance:\n    windows:\n    - start: 02:00\n      duration: 1h\n      zone: UTC\n",
        );
        assert_eq!(
            errors,
            ["line 11: spec.maintenance.windows[0].zone: no such field; there are days, duration, start"]
        );
    }

    #[test]
    fn names_line_and_field_of_a_value_of_the_wrong_kind() {
        for (spec, expected) in [
            ("spec:\n  kafka:\n    bootstrapServers: a:1\n  mode: Brave\n", "line 8: spec.mode: "),
            (
                "spec:\n  kafka: {bootstrapServers: a:1}\n  detection:\n    cpu: {overloadedAbove: 300}\n",
                "line 8: spec.detection.cpu.overloadedAbove: must be a whole percentage from 1 to 100, got 300",
            ),
            (
                "spec:\n  kafka: {bootstrapServers: a:1}\n  detection:\n    cpu: {overloadedAbove: 80%}\n",
                "line 8: spec.detection.cpu.overloadedAbove: must be a whole percentage from 1 to 100, got 80%",
            ),
            (
                "spec:\n  kafka: {bootstrapServers: a:1}\n  detection:\n    cpu: {overloadedAbove: 0.8}\n",
                "line 8: spec.detection.cpu.overloadedAbove: must be a whole percentage from 1 to 100, got 0.8",
            ),
            (
                "spec:\n  kafka: {bootstrapServers: a:1}\n  detection:\n    heartbeatTimeout: soon\n",
                "line 8: spec.detection.heartbeatTimeout: \"soon\" is not a duration such as 500ms, 10s, 30m or 1h30m",
            ),
            ("spec:\n  kafka: {}\n", "line 6: spec.kafka: missing field `bootstrapServers`"),
            ("spec:\n  kafka: 7\n", "line 6: spec.kafka: "),
        ] {
            let errors = errors(spec);
            assert_eq!(errors.len(), 1, "{spec}: {errors:?}");
            assert!(errors[0].starts_with(expected), "{spec}: {errors:?}");
        }
    }

    #[test]
    fn names_line_and_field_of_a_value_that_breaks_a_rule() {
        let errors = errors(
            "spec:\n  kafka: {bootstrapServers: nowhere}\n  detection:\n    cpu:\n      recoveredBelow: 85\n",
        );
        assert_eq!(
            errors,
            [
                "line 6: spec.kafka.bootstrapServers: must be host:port[,host:port...]; got nowhere",
                "line 9: spec.detection.cpu.recoveredBelow: must be below overloadedAbove (80), got 85",
            ]
        );
    }

    #[test]
    fn refuses_what_is_no_policy_at_all() {
        for (text, expected) in [
            ("", ""),
            ("- a\n- b\n", ""),
            ("a: [", "line "),
            ("a: 1\na: 2\n", "line 2"),
            (
                "kind: Deployment\napiVersion: apps/v1\nmetadata: {name: a}\nspec: {kafka: {bootstrapServers: 'a:1'}}\n",
                "line 2: apiVersion: must be",
            ),
            (
                "apiVersion: doctorkafka.dev/v1alpha1\nkind: KafkaHealthPolicy\nmetadata: {}\nspec: {kafka: {bootstrapServers: 'a:1'}}\n",
                "line 3: metadata.name: must be set",
            ),
            ("a: 1\n---\nb: 2\n", ""),
        ] {
            let error = from_yaml(text).expect_err(text).to_string();
            assert!(!error.is_empty() && error.starts_with(expected), "{text:?}: {error}");
        }
    }

    #[test]
    fn a_bomb_of_aliases_ends_early() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for n in 1..12 {
            let before = format!("*a{}, ", n - 1).repeat(10);
            text.push_str(&format!("a{n}: &a{n} [{before}]\n"));
        }
        assert!(from_yaml(&text).is_err());
    }
}
