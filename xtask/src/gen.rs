//! `cargo xtask gen`: the files that are made from the code and committed beside it.
//!
//! [`files`] lists them all. `gen` writes them, `gen --check` and a test compare them with what is committed.

mod alerts;
mod chart;
mod crd;
mod grafana;
mod manifests;
mod policy_reference;
mod wire_schema;

use anyhow::{Context, bail};
use doctorkafka_testbed::Helm;
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Arguments of `cargo xtask gen`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Write nothing; say which files differ from what is generated, and fail if there are any
    #[arg(long)]
    check: bool,
}

/// A generated file.
struct Generated {
    /// Path from the root of the checkout.
    path: &'static str,
    /// The whole content, with a newline at its end.
    content: String,
}

/// Folders of which every file is generated: one that is not generated any more is left over.
const WHOLLY_GENERATED: [&str; 2] = ["deploy/crds", "charts/doctorkafka/files/crds"];

/// Every generated file.
fn files() -> anyhow::Result<Vec<Generated>> {
    let file = |path, content| Generated { path, content };
    let [policy, reassignment] = doctorkafka_api::crds();
    let mut files = vec![
        file("deploy/crds/doctorkafka.dev_kafkahealthpolicies.yaml", crd::yaml(&policy)?),
        file("deploy/crds/doctorkafka.dev_kafkareassignments.yaml", crd::yaml(&reassignment)?),
        file("docs/reference/policy.md", policy_reference::markdown(&policy)?),
        file("docs/reference/reassignment.md", policy_reference::markdown(&reassignment)?),
        file("deploy/monitoring/prometheus-rules.yaml", alerts::yaml()),
        file("charts/doctorkafka/files/prometheus-rules.yaml", alerts::yaml()),
        file("deploy/monitoring/grafana-dashboard.json", grafana::json()?),
        file("charts/doctorkafka/files/grafana-dashboard.json", grafana::json()?),
        file("docs/reference/broker-report.schema.json", wire_schema::broker_report()?),
        file("docs/reference/action-record.schema.json", wire_schema::action_record()?),
    ];
    files.extend(chart::files()?);
    Ok(files)
}

/// Writes the generated files, or checks them.
///
/// # Errors
/// A file that cannot be generated, read or written; with `--check`, a file that differs.
pub fn run(arguments: Arguments) -> anyhow::Result<()> {
    let root = root();
    if arguments.check {
        let mut differences = differences(&root)?;
        if Helm::is_prepared() {
            differences.extend(manifests::differences(&root)?);
        } else {
            println!(
                "deploy/ is not compared with the chart: that needs Helm, which the tests and `gen` build"
            );
        }
        if !differences.is_empty() {
            bail!("{}\nrun `cargo xtask gen` and commit what it writes", differences.join("\n"));
        }
        println!("{} generated files are up to date", files()?.len());
        return Ok(());
    }
    for file in files()? {
        let path = root.join(file.path);
        if fs::read_to_string(&path).ok().as_deref() == Some(&file.content) {
            continue;
        }
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
        }
        fs::write(&path, &file.content).with_context(|| format!("writing {}", path.display()))?;
        println!("wrote {}", file.path);
    }
    for path in left_over(&root)? {
        fs::remove_file(root.join(&path)).with_context(|| format!("removing {path}"))?;
        println!("removed {path}");
    }
    // Last, because the chart holds some of the files above.
    manifests::write(&root)
}

/// The root of the checkout.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// What differs between the files and what is generated, one line each.
fn differences(root: &Path) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    for Generated { path, content } in files()? {
        match fs::read_to_string(root.join(path)) {
            Ok(committed) if committed == content => {}
            Ok(committed) => found.push(format!("{path}: {}", first_difference(&committed, &content))),
            Err(error) => found.push(format!("{path}: {error}")),
        }
    }
    found.extend(left_over(root)?.into_iter().map(|path| format!("{path}: is not generated any more")));
    Ok(found)
}

fn first_difference(committed: &str, generated: &str) -> String {
    let mut generated = generated.lines();
    for (n, committed) in committed.lines().enumerate() {
        match generated.next() {
            Some(line) if line == committed => {}
            Some(line) => return format!("line {}: is {committed:?}, should be {line:?}", n + 1),
            None => return format!("line {}: {committed:?} is too much", n + 1),
        }
    }
    match generated.next() {
        Some(line) => format!("{line:?} is missing at the end"),
        None => "line ends differ".to_owned(),
    }
}

fn left_over(root: &Path) -> anyhow::Result<Vec<String>> {
    let generated: BTreeSet<&str> = files()?.iter().map(|file| file.path).collect();
    let mut found = Vec::new();
    for folder in WHOLLY_GENERATED {
        let Ok(entries) = fs::read_dir(root.join(folder)) else { continue };
        for entry in entries {
            let name = entry.with_context(|| format!("listing {folder}"))?.file_name();
            let path = format!("{folder}/{}", name.to_string_lossy());
            if !generated.contains(path.as_str()) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_files_are_up_to_date() {
        let differences = differences(&root()).unwrap();
        assert!(
            differences.is_empty(),
            "run `cargo xtask gen` and commit what it writes:\n{}",
            differences.join("\n")
        );
    }

    #[test]
    fn generating_twice_gives_the_same() {
        for (first, second) in files().unwrap().iter().zip(files().unwrap()) {
            assert!(first.content == second.content, "{}", first.path);
            assert!(first.content.ends_with('\n') && !first.content.ends_with("\n\n"), "{}", first.path);
        }
    }

    #[test]
    fn a_difference_is_found() {
        for (committed, generated, expected) in [
            ("a\nb\n", "a\nc\n", "line 2: is \"b\", should be \"c\""),
            ("a\nb\n", "a\n", "line 2: \"b\" is too much"),
            ("a\n", "a\nb\n", "\"b\" is missing at the end"),
            ("a\r\n", "a\n", "line ends differ"),
        ] {
            assert_eq!(first_difference(committed, generated), expected);
        }
    }
}
