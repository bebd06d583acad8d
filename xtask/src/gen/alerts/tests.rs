//! What the rule file promises of other files: metrics that exist, runbooks that are there.

use super::{Alert, RUNBOOKS, table::GROUPS, yaml};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs")
}

fn alerts() -> impl Iterator<Item = &'static Alert> {
    GROUPS.iter().flat_map(|group| group.alerts)
}

/// Names of metrics in the references of operator and sidecar.
fn metrics() -> BTreeSet<String> {
    let lines = ["metrics.md", "sidecar-metrics.md"]
        .map(|file| fs::read_to_string(docs().join("reference").join(file)).unwrap());
    let named = |line: &str| Some(line.strip_prefix("| `")?.split_once('`')?.0.to_owned());
    lines.iter().flat_map(|text| text.lines()).filter_map(named).collect()
}

/// Names of our metrics in a query.
fn named(query: &str) -> impl Iterator<Item = &str> {
    query
        .split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
        .filter(|word| word.starts_with("doctorkafka_"))
}

#[test]
fn the_file_reads_back_as_the_table() {
    let file: Value = serde_saphyr::from_str(&yaml()).unwrap();
    let rules =
        file["groups"].as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap());
    let rules: Vec<_> = rules.collect();
    assert_eq!(rules.len(), alerts().count());
    for (rule, alert) in rules.into_iter().zip(alerts()) {
        assert_eq!(rule["alert"], alert.name);
        assert_eq!(rule["expr"], alert.expr);
        assert_eq!(rule["labels"]["severity"], alert.severity.as_str());
        assert_eq!(rule["annotations"]["summary"], alert.summary);
        assert_eq!(rule["annotations"]["runbook_url"], format!("{RUNBOOKS}{}.md", alert.name));
    }
}

#[test]
fn alerts_rest_on_metrics_that_exist() {
    let metrics = metrics();
    assert!(metrics.len() > 30, "{metrics:?}");
    for alert in alerts() {
        assert!(named(alert.expr).next().is_some(), "{}", alert.name);
        for metric in named(alert.expr) {
            assert!(metrics.contains(metric), "{}: there is no {metric}", alert.name);
        }
    }
}

#[test]
fn each_alert_has_its_runbook_and_each_runbook_its_alert() {
    let runbooks: BTreeSet<String> = fs::read_dir(docs().join("runbooks"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "README.md")
        .collect();
    let expected: BTreeSet<String> = alerts().map(|alert| format!("{}.md", alert.name)).collect();
    assert_eq!(runbooks, expected);
    let index = fs::read_to_string(docs().join("runbooks/README.md")).unwrap();
    for name in expected {
        let text = fs::read_to_string(docs().join("runbooks").join(&name)).unwrap();
        assert_eq!(text.lines().next(), Some(&*format!("# {}", name.trim_end_matches(".md"))));
        for part in ["## Meaning", "## How to see it", "## What to do", "## When to ignore it"] {
            let (_, after) =
                text.split_once(&format!("\n{part}\n")).unwrap_or_else(|| panic!("{name} lacks {part:?}"));
            let said = after.split("\n## ").next().unwrap().trim();
            assert!(said.len() > 20, "{name} says nothing under {part:?}");
        }
        assert!(index.contains(&format!("({name})")), "{name} is not in docs/runbooks/README.md");
    }
}
