//! Rules for the API server, in CEL (`x-kubernetes-validations`).
//!
//! Every text that a rule looks at has a `maxLength` and every list a `maxItems`: the API server estimates the cost of
//! each rule from them and refuses a CRD whose rules could become expensive. For the same reason numbers get into messages
//! by `format`: the text that `string(number)` gives counts as unbounded there.

use crate::{Bounds, Duration};
use serde::Serialize;
use serde_json::Value;

/// One rule. kube's own type has a message or an expression for it; the API server takes both, and falls back to the
/// message where the expression fails.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Rule {
    rule: String,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_expression: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    field_path: Option<&'static str>,
}

impl Rule {
    /// A rule and what is said when it is broken: what must be, without the field's name, which the API server says.
    pub(crate) fn new(rule: impl Into<String>, message: impl Into<String>) -> Self {
        Self { rule: rule.into(), message: message.into(), message_expression: None, field_path: None }
    }

    /// The same message, as a CEL expression that can say what was given.
    pub(crate) fn message_expression(self, expression: impl Into<String>) -> Self {
        Self { message_expression: Some(expression.into()), ..self }
    }

    /// The field to blame, relative to where the rule stands: `.recoveredBelow`.
    pub(crate) fn field_path(self, path: &'static str) -> Self {
        Self { field_path: Some(path), ..self }
    }
}

/// The value of `x-kubernetes-validations`.
pub(crate) fn rules<const N: usize>(rules: [Rule; N]) -> Value {
    // A rule is texts, which always have a JSON form.
    rules.iter().map(|rule| serde_json::to_value(rule).unwrap_or_default()).collect()
}

/// Rule for one text: when it is broken, the message ends with what was given.
pub(crate) fn text(rule: impl Into<String>, message: &str) -> Value {
    rules([Rule::new(rule, message).message_expression(format!("'{message}; got ' + self"))])
}

/// Rule for one text: it matches a pattern.
pub(crate) fn matching(pattern: &str, message: &str) -> Value {
    text(format!("self.matches(r'{pattern}')"), message)
}

/// Rule for a [`Duration`]: well formed and within bounds.
pub(crate) fn within(bounds: Bounds) -> Value {
    let (pattern, Bounds { min, max }) = (Duration::PATTERN, bounds);
    text(
        format!(
            "self.matches('{pattern}') && duration(self) >= duration('{min}') && duration(self) <= duration('{max}')"
        ),
        &bounds.to_string(),
    )
}

/// Rule for an object of optional fields: it has exactly one of them.
pub(crate) fn exactly_one(fields: &[&str]) -> Value {
    let present: Vec<String> = fields.iter().map(|field| format!("has(self.{field})")).collect();
    rules([Rule::new(
        format!("[{}].filter(present, present).size() == 1", present.join(", ")),
        exactly_one_message(fields),
    )])
}

/// What [`exactly_one`] says.
pub(crate) fn exactly_one_message(fields: &[&str]) -> String {
    format!("must have exactly one of {}", fields.join(", "))
}
