//! CRDs as YAML.

use anyhow::Context;
use serde::Serialize;
use serde_json::Value;

/// A CRD as a YAML file.
pub(super) fn yaml(crd: &impl Serialize) -> anyhow::Result<String> {
    let mut crd = serde_json::to_value(crd).context("the CRD as JSON")?;
    tidy(&mut crd);
    let yaml = serde_saphyr::to_string(&crd).context("the CRD as YAML")?;
    Ok(format!("# Generated from crates/api by `cargo xtask gen`. Do not edit.\n---\n{}\n", yaml.trim_end()))
}

/// A CRD as a YAML file of the chart: Helm never deletes it, as all policies would go with it.
pub(super) fn kept_by_helm(crd: &impl Serialize) -> anyhow::Result<String> {
    let mut crd = serde_json::to_value(crd).context("the CRD as JSON")?;
    crd["metadata"]["annotations"]["helm.sh/resource-policy"] = "keep".into();
    yaml(&crd)
}

/// Makes of `100.0` a `100`, as the API server prints it, and of a description that is wrapped in the source one line
/// per paragraph, which `kubectl explain` wraps to the terminal.
pub(super) fn tidy(value: &mut Value) {
    match value {
        Value::Number(number) => {
            let whole = number.as_f64().filter(|float| float.fract() == 0.0 && float.abs() < 1e15);
            if let Some(whole) = whole.filter(|_| number.is_f64()) {
                *value = Value::from(whole as i64);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(text) if name == "description" => *text = unwrap(text),
                    _ => tidy(value),
                }
            }
        }
        _ => {}
    }
}

fn unwrap(text: &str) -> String {
    let paragraphs: Vec<String> = text
        .split("\n\n")
        .map(|paragraph| paragraph.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    paragraphs.join("\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn tidies_numbers_and_descriptions() {
        let mut value = json!({
            "maximum": 100.0, "half": 0.5, "n": 7,
            "description": "one\ntwo\n\nthree", "default": "a\nb",
            "properties": {"description": {"description": "x\ny"}},
        });
        tidy(&mut value);
        assert_eq!(
            value,
            json!({
                "maximum": 100, "half": 0.5, "n": 7,
                "description": "one two\n\nthree", "default": "a\nb",
                "properties": {"description": {"description": "x y"}},
            })
        );
    }

    #[test]
    fn the_yaml_reads_back_as_the_crd() {
        for crd in doctorkafka_api::crds() {
            let mut expected = serde_json::to_value(&crd).unwrap();
            tidy(&mut expected);
            let read: Value = serde_saphyr::from_str(&yaml(&crd).unwrap()).unwrap();
            assert_eq!(read, expected);
        }
    }
}
