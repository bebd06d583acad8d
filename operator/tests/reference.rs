//! The committed reference is what the code says (`UPDATE_REFERENCE=1` writes it anew), and documents are of this release.

#![allow(clippy::unwrap_used)]

use doctorkafka_operator::metrics;
use std::{fs, path::Path};

#[test]
fn metrics_reference_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/metrics.md");
    let expected = metrics::reference();
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &expected).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == expected,
        "docs/reference/metrics.md is out of date; run UPDATE_REFERENCE=1 cargo test -p doctorkafka-operator --test reference"
    );
}

/// What people copy names the images of this release, and no others.
#[test]
fn every_document_names_the_images_of_this_release() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut found = 0;
    for file in [
        "README.md",
        "docker-compose.yml",
        "deploy/docker/operator.Dockerfile",
        "deploy/docker/sidecar.Dockerfile",
        "deploy/examples/statefulset/sidecar-by-hand.yaml",
    ] {
        let text = fs::read_to_string(root.join(file)).unwrap();
        for before in
            ["doctorkafka/operator:", "doctorkafka/sidecar:", "ARG VERSION=", "${DOCTORKAFKA_VERSION:-"]
        {
            for (at, _) in text.match_indices(before) {
                let after = &text[at + before.len()..];
                let version = after.split(|c: char| !c.is_ascii_alphanumeric() && c != '.').next().unwrap();
                // Where it is a variable, that one's default is looked at.
                if !version.is_empty() {
                    assert_eq!(version, env!("CARGO_PKG_VERSION"), "{file}: {before}");
                    found += 1;
                }
            }
        }
    }
    assert!(found >= 9, "only {found} were found");
}
