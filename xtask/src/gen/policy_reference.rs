//! Reference pages of the custom resources, from their CRDs.

use super::crd::tidy;
use anyhow::Context;
use serde::Serialize;
use serde_json::Value;
use std::fmt::Write;

/// A page with a table of every field of a resource.
pub(super) fn markdown(crd: &impl Serialize) -> anyhow::Result<String> {
    let mut crd = serde_json::to_value(crd).context("the CRD as JSON")?;
    tidy(&mut crd);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (spec, version) = (&crd["spec"], &crd["spec"]["versions"][0]);
    let (names, schema) = (&spec["names"], &version["schema"]["openAPIV3Schema"]);
    let short: Vec<String> = strings(&names["shortNames"]).iter().map(|name| format!("`{name}`")).collect();
    let mut page = String::new();
    writeln!(page, "<!-- Generated from crates/api by `cargo xtask gen`. Do not edit. -->\n")?;
    writeln!(page, "# {}\n", text(&names["kind"]))?;
    writeln!(page, "{}\n", text(&schema["description"]))?;
    writeln!(
        page,
        "`apiVersion: {}/{}`, plural `{}`, short {}. The same is on the command line: `kubectl explain {} --recursive`.\n",
        text(&spec["group"]),
        text(&version["name"]),
        text(&names["plural"]),
        short.join(", "),
        text(&names["singular"]),
    )?;
    for part in ["spec", "status"] {
        let schema = &schema["properties"][part];
        writeln!(page, "## {part}\n\n{}\n", text(&schema["description"]))?;
        let mut table = Table::default();
        table.fields(part, schema);
        page.push_str(&table.markdown());
        if !table.rules.is_empty() {
            writeln!(page, "Rules across fields:\n")?;
            for rule in &table.rules {
                writeln!(page, "- {rule}")?;
            }
            writeln!(page)?;
        }
    }
    Ok(page.trim_end().to_owned() + "\n")
}

/// The fields of a schema, one row each, and its rules across fields, one line each.
#[derive(Default)]
struct Table {
    rows: Vec<[String; 4]>,
    rules: Vec<String>,
}

impl Table {
    fn fields(&mut self, path: &str, schema: &Value) {
        let required = strings(&schema["required"]);
        self.object_rules(path, schema);
        let mut fields: Vec<_> = schema["properties"].as_object().into_iter().flatten().collect();
        fields.sort_by_key(|(name, _)| (!required.contains(&name.as_str()), name.as_str()));
        for (name, field) in fields {
            let path = format!("{path}.{name}");
            let default = match &field["default"] {
                _ if required.contains(&name.as_str()) => "required".to_owned(),
                // What an object is made of has defaults of its own.
                Value::Null | Value::Object(_) => String::new(),
                Value::String(text) => format!("`{text}`"),
                other => format!("`{other}`"),
            };
            let meaning = field["description"].as_str().unwrap_or_default();
            self.rows.push([format!("`{path}`"), kind(field), default, cell(meaning)]);
            self.fields(&path, field);
            if field["items"]["type"] == "object" {
                self.fields(&format!("{path}[]"), &field["items"]);
            }
        }
    }

    /// Rules of an object speak of several fields. That of a single field is in its description.
    fn object_rules(&mut self, path: &str, schema: &Value) {
        let rules = schema["x-kubernetes-validations"].as_array().filter(|_| schema["type"] == "object");
        for rule in rules.into_iter().flatten() {
            let [message, field] =
                ["message", "fieldPath"].map(|name| rule[name].as_str().unwrap_or_default());
            self.rules.push(format!("`{path}{field}` {message}"));
        }
    }

    fn markdown(&self) -> String {
        let mut table = String::from("| Field | Type | Default | Meaning |\n| --- | --- | --- | --- |\n");
        for row in &self.rows {
            table.push_str(&format!("| {} |\n", row.join(" | ")));
        }
        table + "\n"
    }
}

/// What a value of a field looks like, in a word or two.
fn kind(field: &Value) -> String {
    if let Some(options) = field["enum"].as_array() {
        let options: Vec<String> =
            options.iter().filter_map(Value::as_str).map(|option| format!("`{option}`")).collect();
        return options.join(", ");
    }
    match field["type"].as_str() {
        Some("array") => format!("list of {}", kind(&field["items"])),
        Some("integer") => match (&field["minimum"], &field["maximum"]) {
            (Value::Number(min), Value::Number(max)) => format!("integer, {min} to {max}"),
            (Value::Number(min), _) => format!("integer, {min} or more"),
            _ => "integer".to_owned(),
        },
        Some("object") if field["additionalProperties"].is_object() => {
            format!("map to {}", kind(&field["additionalProperties"]))
        }
        Some("string") if field["format"] == "date-time" => "time".to_owned(),
        Some(other) => other.to_owned(),
        None => "any".to_owned(),
    }
}

/// A text that fits a cell of a table.
fn cell(text: &str) -> String {
    text.replace("\n\n", "<br>").replace('\n', " ").replace('|', "\\|")
}

fn strings(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_field_is_a_row() {
        let schema = json!({
            "type": "object",
            "required": ["mode"],
            "x-kubernetes-validations": [{"rule": "self.a < self.b", "message": "must be below b", "fieldPath": ".a"}],
            "properties": {
                "address": {"type": "string", "description": "Where | how."},
                "limits": {"type": "object", "description": "Limits.", "default": {"n": 3}, "properties": {
                    "n": {"type": "integer", "minimum": 1, "maximum": 9, "default": 3, "description": "How many."},
                }},
                "mode": {"type": "string", "enum": ["A", "B"], "default": "A", "description": "Mode."},
                "pods": {"type": "array", "items": {"type": "object", "properties": {
                    "name": {"type": "string", "description": "Name."},
                }}, "description": "Pods."},
            },
        });
        let mut table = Table::default();
        table.fields("spec", &schema);
        assert_eq!(
            table.markdown().lines().skip(2).collect::<Vec<_>>(),
            [
                "| `spec.mode` | `A`, `B` | required | Mode. |",
                "| `spec.address` | string |  | Where \\| how. |",
                "| `spec.limits` | object |  | Limits. |",
                "| `spec.limits.n` | integer, 1 to 9 | `3` | How many. |",
                "| `spec.pods` | list of object |  | Pods. |",
                "| `spec.pods[].name` | string |  | Name. |",
                "",
            ]
        );
        assert_eq!(table.rules, ["`spec.a` must be below b"]);
    }
}
