//! What the chart has of other files, and what is made from its `values.yaml`: the schema of the values and the README.
//!
//! In `values.yaml` the comment above a key describes it, and a line `# @schema` in that comment holds what the default
//! does not say. So each key has one place where it is described.

use super::{Generated, crd, root};
use anyhow::{Context, bail, ensure};
use serde_json::{Map, Value, json};
use std::fs;

const VALUES: &str = "charts/doctorkafka/values.yaml";
const README: &str = include_str!("chart/readme.md");

/// Everything of the chart that is generated without Helm.
pub(super) fn files() -> anyhow::Result<Vec<Generated>> {
    let keys = keys(&read(VALUES)?).context(VALUES)?;
    let mut schema = serde_json::to_string_pretty(&schema(&keys)).context("the schema of the values")?;
    schema.push('\n');
    let [policy, reassignment] = doctorkafka_api::crds();
    let file = |path, content| Generated { path, content };
    Ok(vec![
        file("charts/doctorkafka/values.schema.json", schema),
        file("charts/doctorkafka/README.md", README.replace("{values}\n", &table(&keys))),
        file(
            "charts/doctorkafka/files/crds/doctorkafka.dev_kafkahealthpolicies.yaml",
            crd::kept_by_helm(&policy)?,
        ),
        file(
            "charts/doctorkafka/files/crds/doctorkafka.dev_kafkareassignments.yaml",
            crd::kept_by_helm(&reassignment)?,
        ),
        file(
            "charts/doctorkafka/files/admission/10-approval.yaml",
            read("deploy/admission/10-approval.yaml")?,
        ),
        file(
            "charts/doctorkafka/files/admission/20-approved-by.yaml",
            read("deploy/admission/20-approved-by.yaml")?,
        ),
    ])
}

/// The text of a file of the checkout.
fn read(path: &str) -> anyhow::Result<String> {
    fs::read_to_string(root().join(path)).with_context(|| format!("reading {path}"))
}

/// A key of `values.yaml`.
#[derive(Debug, PartialEq)]
struct Key {
    path: Vec<String>,
    description: String,
    default: Value,
    /// Its JSON schema; none for a map that has keys of its own.
    schema: Option<Map<String, Value>>,
}

/// The keys in their order. The file keeps to a narrow form: two spaces a level, a comment above every key, no key in
/// quotes.
fn keys(text: &str) -> anyhow::Result<Vec<Key>> {
    let defaults: Value = serde_saphyr::from_str(text).context("not YAML")?;
    let mut keys = Vec::new();
    let mut path: Vec<String> = Vec::new();
    let mut comment: Vec<&str> = Vec::new();
    // Deeper lines than this belong to the default of the key above.
    let mut within = usize::MAX;
    for (n, line) in text.lines().enumerate() {
        let content = line.trim_start();
        let indent = line.len() - content.len();
        if content.is_empty() {
            comment.clear();
        } else if indent > within {
        } else if let Some(text) = content.strip_prefix('#') {
            comment.push(text.trim());
        } else {
            let (name, _) = content.split_once(':').with_context(|| format!("line {}: no key", n + 1))?;
            path.truncate(indent / 2);
            path.push(name.to_owned());
            let key = key(&path, &std::mem::take(&mut comment), &defaults)
                .with_context(|| format!("line {}, {}", n + 1, path.join(".")))?;
            within = if key.schema.is_some() { indent } else { usize::MAX };
            keys.push(key);
        }
    }
    Ok(keys)
}

fn key(path: &[String], comment: &[&str], defaults: &Value) -> anyhow::Result<Key> {
    let default = defaults.pointer(&format!("/{}", path.join("/"))).context("is not where it seems to be")?;
    let mut description = Vec::new();
    let mut given = None;
    for line in comment {
        match line.strip_prefix("@schema ") {
            Some(json) => given = Some(serde_json::from_str(json).context("@schema")?),
            None => description.push(*line),
        }
    }
    ensure!(!description.is_empty(), "has no comment above it");
    let schema = match (given, default) {
        (Some(schema), _) => Some(schema),
        (None, Value::Object(fields)) if !fields.is_empty() => None,
        (None, Value::Bool(_)) => Some(of_type("boolean")),
        (None, Value::String(_)) => Some(of_type("string")),
        (None, other) => bail!("the default {other} does not say what it may be: add a line # @schema"),
    };
    Ok(Key { path: path.to_vec(), description: description.join(" "), default: default.clone(), schema })
}

fn of_type(name: &str) -> Map<String, Value> {
    Map::from_iter([("type".to_owned(), name.into())])
}

/// The schema of all values. No key is taken that is not described.
fn schema(keys: &[Key]) -> Value {
    let map = || json!({"type": "object", "additionalProperties": false, "properties": {}});
    let mut root = map();
    root["$schema"] = "http://json-schema.org/draft-07/schema#".into();
    root["title"] = "Values of the chart doctorkafka".into();
    for key in keys {
        let mut node = key.schema.clone().map_or_else(map, Value::Object);
        node["description"] = key.description.clone().into();
        let place = key.path.iter().fold(&mut root, |node, name| &mut node["properties"][name.as_str()]);
        *place = node;
    }
    // Helm adds this key to the values of every chart that another one depends on.
    let global =
        json!({"type": "object", "description": "Values of the chart that depends on this one; not used."});
    root["properties"]["global"] = global;
    root
}

/// The keys as a table in Markdown.
fn table(keys: &[Key]) -> String {
    let mut table = "| Key | Default | |\n| --- | --- | --- |\n".to_owned();
    for key in keys.iter().filter(|key| key.schema.is_some()) {
        let Key { path, description, default, .. } = key;
        let description = description.replace('|', "\\|");
        table.push_str(&format!("| `{}` | `{default}` | {description} |\n", path.join(".")));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = "\
# Not of a key.

# How many.
# @schema {\"type\": \"integer\"}
replicas: 2

# A map.
map:
  # One | two,
  # or three.
  name: a
  # Free.
  # @schema {\"type\": \"object\"}
  labels:
    # Part of the default.
    b: c
  # On or off.
  on: true
";

    #[test]
    fn keys_have_description_default_and_schema() {
        let keys = keys(SMALL).unwrap();
        let names: Vec<_> = keys.iter().map(|key| key.path.join(".")).collect();
        assert_eq!(names, ["replicas", "map", "map.name", "map.labels", "map.on"]);
        assert_eq!(keys[2].description, "One | two, or three.");
        assert_eq!(keys[3].default, json!({"b": "c"}));
        let rows = table(&keys);
        assert!(rows.contains("| `map.labels` | `{\"b\":\"c\"}` | Free. |\n"), "{rows}");
        assert!(rows.contains("One \\| two") && !rows.contains("`map`"), "{rows}");
        let map = &schema(&keys)["properties"]["map"];
        assert_eq!(map["additionalProperties"], json!(false));
        assert_eq!(map["properties"]["on"], json!({"type": "boolean", "description": "On or off."}));
    }

    #[test]
    fn a_key_that_is_not_described_is_refused() {
        for (text, error) in [
            ("a: 1\n", "line 1, a: has no comment above it"),
            ("# A.\n\na: x\n", "line 3, a: has no comment above it"),
            ("# A.\na: []\n", "the default [] does not say what it may be"),
            ("# A.\n# @schema {\na: 1\n", "@schema"),
        ] {
            let found = format!("{:#}", keys(text).unwrap_err());
            assert!(found.contains(error), "{found}");
        }
    }

    #[test]
    fn chart_and_program_have_one_version() {
        let chart: Value = serde_saphyr::from_str(&read("charts/doctorkafka/Chart.yaml").unwrap()).unwrap();
        assert_eq!(chart["version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
    }
}
