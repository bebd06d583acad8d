//! Bills of materials: which crates and shared libraries are in an image, as CycloneDX 1.5
//! (<https://cyclonedx.org/docs/1.5/json>). There is no time and no serial number in them, so the same input gives the
//! same bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use doctorkafka_testbed::image::digest_of;
use serde_json::{Value, json};

use crate::steps::cargo;

/// What cargo knows of this workspace and all it depends on, for this machine's platform.
pub fn metadata() -> Result<Value> {
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let arguments = ["metadata", "--format-version", "1", "--locked", "--filter-platform", &platform];
    let output = cargo(&arguments).output().context("cargo cannot be run")?;
    ensure!(
        output.status.success(),
        "cargo metadata failed: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    serde_json::from_slice(&output.stdout).context("cargo metadata cannot be understood")
}

/// A package of the workspace.
pub fn package<'a>(metadata: &'a Value, name: &str) -> Result<&'a Value> {
    let members: BTreeSet<&str> = texts(&metadata["workspace_members"]).collect();
    let mut packages = metadata["packages"].as_array().into_iter().flatten();
    packages
        .find(|package| {
            package["name"] == name && members.contains(package["id"].as_str().unwrap_or_default())
        })
        .with_context(|| format!("there is no package {name} in this workspace"))
}

/// The bill of a program and the shared libraries that come with it.
///
/// # Errors
/// The package is unknown, or a library cannot be read.
pub fn of(metadata: &Value, name: &str, libraries: &[PathBuf]) -> Result<Vec<u8>> {
    let this = package(metadata, name)?;
    let packages: BTreeMap<&str, &Value> = metadata["packages"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|package| Some((package["id"].as_str()?, package)))
        .collect();
    let edges = edges(metadata);
    let start = this["id"].as_str().unwrap_or_default();
    let reached = reachable(&edges, start);

    let mut components: Vec<Value> = reached
        .iter()
        .filter(|id| **id != start)
        .filter_map(|id| packages.get(id))
        .map(|package| component(package, "library"))
        .collect();
    for library in libraries {
        let path = library.display().to_string();
        let digest = digest_of(library)?;
        components.push(json!({
            "type": "file", "bom-ref": format!("file:{path}"), "name": path,
            "hashes": [{ "alg": "SHA-256", "content": digest }],
        }));
    }
    let dependencies: Vec<Value> = reached
        .iter()
        .map(|id| {
            let on: BTreeSet<String> = edges
                .get(id)
                .into_iter()
                .flatten()
                .filter_map(|to| packages.get(to))
                .map(|p| purl(p))
                .collect();
            json!({ "ref": packages.get(id).map(|package| purl(package)), "dependsOn": on })
        })
        .collect();
    let bill = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": { "component": component(this, "application") },
        "components": components,
        "dependencies": dependencies,
    });
    Ok(format!("{bill:#}\n").into_bytes())
}

/// Who is linked with whom: without tests' and build scripts' dependencies.
fn edges(metadata: &Value) -> BTreeMap<&str, BTreeSet<&str>> {
    let nodes = metadata["resolve"]["nodes"].as_array().into_iter().flatten();
    let linked = |dependency: &&Value| {
        dependency["dep_kinds"].as_array().into_iter().flatten().any(|kind| kind["kind"].is_null())
    };
    nodes
        .filter_map(|node| {
            let dependencies = node["deps"].as_array().into_iter().flatten().filter(linked);
            Some((
                node["id"].as_str()?,
                dependencies.filter_map(|dependency| dependency["pkg"].as_str()).collect(),
            ))
        })
        .collect()
}

fn reachable<'a>(edges: &BTreeMap<&'a str, BTreeSet<&'a str>>, start: &'a str) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::from([start]);
    let mut next = vec![start];
    while let Some(id) = next.pop() {
        next.extend(edges.get(id).into_iter().flatten().filter(|to| reached.insert(to)));
    }
    reached
}

fn component(package: &Value, kind: &str) -> Value {
    let mut component = json!({
        "type": kind,
        "bom-ref": purl(package),
        "name": package["name"],
        "version": package["version"],
        "purl": purl(package),
    });
    if let Some(license) = package["license"].as_str() {
        // Cargo still takes the slash of old for OR; the standard does not.
        component["licenses"] = json!([{ "expression": license.replace('/', " OR ") }]);
    }
    component
}

fn purl(package: &Value) -> String {
    let text = |key: &str| package[key].as_str().unwrap_or_default().to_owned();
    format!("pkg:cargo/{}@{}", text("name"), text("version"))
}

fn texts(value: &Value) -> impl Iterator<Item = &str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_linked_is_listed_and_what_only_builds_or_tests_is_not() {
        let metadata = metadata().unwrap();
        let bill: Value =
            serde_json::from_slice(&of(&metadata, "doctorkafka-sidecar", &[]).unwrap()).unwrap();
        let names: BTreeSet<&str> =
            bill["components"].as_array().unwrap().iter().filter_map(|c| c["name"].as_str()).collect();
        assert_eq!(bill["metadata"]["component"]["name"], "doctorkafka-sidecar");
        assert!(names.contains("rdkafka"), "{names:?}");
        assert!(names.contains("tokio"), "{names:?}");
        for absent in ["doctorkafka-testbed", "xtask", "cmake", "cc"] {
            assert!(!names.contains(absent), "{absent} is not linked");
        }
        let references: BTreeSet<&str> =
            bill["components"].as_array().unwrap().iter().filter_map(|c| c["bom-ref"].as_str()).collect();
        for dependency in bill["dependencies"].as_array().unwrap() {
            for on in texts(&dependency["dependsOn"]) {
                assert!(references.contains(on), "{on} is depended on and not listed");
            }
        }
    }
}
