//! Rules for the API server, in CEL (`x-kubernetes-validations`).
//!
//! Every text that a rule looks at has a `maxLength` and every list a `maxItems`: the API server estimates the cost of
//! each rule from them and refuses a CRD whose rules could become expensive.

use crate::Bounds;
use crate::Duration;
use kube::core::{Message, Rule};
use serde_json::Value;

/// The value of `x-kubernetes-validations`.
pub(crate) fn rules<const N: usize>(rules: [Rule; N]) -> Value {
    // A rule is texts and booleans, which always have a JSON form.
    rules.iter().map(|rule| serde_json::to_value(rule).unwrap_or_default()).collect()
}

/// A rule whose message is itself a CEL expression, so that it can say what was given.
pub(crate) fn rule(expression: impl Into<String>, message: impl Into<String>) -> Rule {
    Rule::new(expression).message(Message::Expression(message.into()))
}

/// Rule for a field of type [`Duration`]: well formed and within bounds.
pub(crate) fn within(bounds: Bounds) -> Value {
    rules([rule(
        format!(
            "self.matches('{}') && duration(self) >= duration('{}') && duration(self) <= duration('{}')",
            Duration::PATTERN,
            bounds.min,
            bounds.max
        ),
        format!("'{bounds}; got ' + self"),
    )])
}

/// Rule for a text: it matches a pattern, and the message says what would.
pub(crate) fn matching(pattern: &str, expected: &str) -> Value {
    rules([rule(format!("self.matches(r'{pattern}')"), format!("'{expected}; got ' + self"))])
}

/// Rule for an object of optional fields: it has exactly one of them.
pub(crate) fn exactly_one(fields: &[&str]) -> Rule {
    let present: Vec<String> = fields.iter().map(|field| format!("has(self.{field})")).collect();
    Rule::new(format!("[{}].filter(present, present).size() == 1", present.join(", ")))
        .message(exactly_one_message(fields).as_str())
}

/// What [`exactly_one`] says.
pub(crate) fn exactly_one_message(fields: &[&str]) -> String {
    format!("must have exactly one of {}", fields.join(", "))
}
