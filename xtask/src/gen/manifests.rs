//! The plain manifests in `deploy/`: the chart, rendered with its default values.
//!
//! Helm renders them, and nothing else could say what the chart means. So writing them needs Helm, which the testbed
//! builds; checking them leaves them out, and says so, on a machine where it has not been built. A test always compares.

use super::first_difference;
use anyhow::{Context, bail};
use doctorkafka_testbed::Helm;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

const HEADER: &str = "# Generated from charts/doctorkafka by `cargo xtask gen`. Do not edit.\n";
/// What else belongs to an installation, written by hand or generated elsewhere.
const BESIDES: [&str; 4] = [
    "rbac/00-namespace.yaml",
    "crds/doctorkafka.dev_kafkahealthpolicies.yaml",
    "crds/doctorkafka.dev_kafkareassignments.yaml",
    "admission/10-approval.yaml",
];
/// Templates that only pass on files which are in `deploy/` already.
const PASSED_ON: [&str; 2] = ["crds/", "admission/"];

/// The files that the chart renders, by their path in `deploy/`, with the kustomization of all.
///
/// # Errors
/// Helm cannot be built, or finds a mistake in the chart.
pub(super) fn render(root: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    let runtime = tokio::runtime::Runtime::new().context("cannot start the async runtime")?;
    let output = runtime.block_on(async {
        let helm = Helm::prepare().await?;
        let mut template = helm.command();
        template
            .args([
                "template",
                "doctorkafka",
                "--namespace=doctorkafka",
                "--no-hooks",
                "--kube-version=1.30.0",
            ])
            .arg(root.join("charts/doctorkafka"));
        template.output().await.context("helm cannot be run")
    })?;
    if !output.status.success() {
        bail!("helm template: {}", String::from_utf8_lossy(&output.stderr));
    }
    let text = String::from_utf8(output.stdout).context("helm's output is not UTF-8")?;
    let mut files = split(&text)?;
    let kustomization = kustomization(files.keys());
    files.insert("kustomization.yaml".to_owned(), kustomization);
    Ok(files)
}

/// Helm's output, document after document with its source above, as one file for each template.
fn split(text: &str) -> anyhow::Result<BTreeMap<String, String>> {
    let mut files: BTreeMap<String, String> = BTreeMap::new();
    for document in text.split("---\n# Source: doctorkafka/templates/").skip(1) {
        let (path, content) = document.split_once('\n').context("a document without content")?;
        let content = content.trim_end();
        let is_empty = content.lines().all(|line| line.is_empty() || line.starts_with('#'));
        if is_empty || PASSED_ON.iter().any(|folder| path.starts_with(folder)) {
            continue;
        }
        let file = files.entry(path.to_owned()).or_insert_with(|| HEADER.to_owned());
        file.push_str(&format!("---\n{}\n", content.trim_start()));
    }
    Ok(files)
}

fn kustomization<'a>(rendered: impl Iterator<Item = &'a String>) -> String {
    let mut all: Vec<&str> = BESIDES.to_vec();
    all.extend(rendered.map(String::as_str));
    all.sort_unstable();
    let resources: String = all.iter().map(|path| format!("  - {path}\n")).collect();
    format!(
        "{HEADER}# kubectl apply -k deploy\napiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n{resources}"
    )
}

/// Writes the manifests, and removes those that the chart renders no more.
///
/// # Errors
/// The chart cannot be rendered, or a file cannot be written.
pub(super) fn write(root: &Path) -> anyhow::Result<()> {
    let deploy = root.join("deploy");
    let rendered = render(root)?;
    for (path, content) in &rendered {
        let file = deploy.join(path);
        if fs::read_to_string(&file).ok().as_deref() == Some(content) {
            continue;
        }
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
        }
        fs::write(&file, content).with_context(|| format!("writing {}", file.display()))?;
        println!("wrote deploy/{path}");
    }
    for file in left_over(&deploy, &rendered)? {
        fs::remove_file(&file).with_context(|| format!("removing {}", file.display()))?;
        println!("removed {}", file.display());
    }
    Ok(())
}

/// What differs between the manifests and what the chart renders, one line each.
///
/// # Errors
/// The chart cannot be rendered, or a folder cannot be read.
pub(super) fn differences(root: &Path) -> anyhow::Result<Vec<String>> {
    let deploy = root.join("deploy");
    let rendered = render(root)?;
    let mut found = Vec::new();
    for (path, content) in &rendered {
        match fs::read_to_string(deploy.join(path)) {
            Ok(committed) if committed == *content => {}
            Ok(committed) => found.push(format!("deploy/{path}: {}", first_difference(&committed, content))),
            Err(error) => found.push(format!("deploy/{path}: {error}")),
        }
    }
    let left_over = left_over(&deploy, &rendered)?;
    found.extend(left_over.iter().map(|file| format!("{}: the chart renders it no more", file.display())));
    Ok(found)
}

/// Files that say that they were rendered, and are not.
fn left_over(deploy: &Path, rendered: &BTreeMap<String, String>) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for folder in fs::read_dir(deploy).with_context(|| format!("listing {}", deploy.display()))? {
        let folder = folder.context("listing deploy")?.path();
        if !folder.is_dir() {
            continue;
        }
        for file in fs::read_dir(&folder).with_context(|| format!("listing {}", folder.display()))? {
            let file = file.with_context(|| format!("listing {}", folder.display()))?.path();
            let Ok(path) = file.strip_prefix(deploy) else { continue };
            let is_rendered = rendered.contains_key(path.to_string_lossy().as_ref());
            if !is_rendered && fs::read_to_string(&file).is_ok_and(|text| text.starts_with(HEADER)) {
                found.push(file);
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::{super::root, *};

    #[test]
    fn manifests_are_what_the_chart_renders() {
        let differences = differences(&root()).unwrap();
        assert!(
            differences.is_empty(),
            "run `cargo xtask gen` and commit what it writes:\n{}",
            differences.join("\n")
        );
    }

    #[test]
    fn documents_are_put_into_the_file_of_their_template() {
        let text = "---\n# Source: doctorkafka/templates/rbac/a.yaml\n# why\nkind: A\n\
                    ---\n# Source: doctorkafka/templates/crds/crds.yaml\nkind: C\n\
                    ---\n# Source: doctorkafka/templates/rbac/a.yaml\nkind: B\n\
                    ---\n# Source: doctorkafka/templates/empty.yaml\n# nothing\n";
        let files = split(text).unwrap();
        let expected = format!("{HEADER}---\n# why\nkind: A\n---\nkind: B\n");
        assert_eq!(files, BTreeMap::from([("rbac/a.yaml".to_owned(), expected)]));
    }
}
