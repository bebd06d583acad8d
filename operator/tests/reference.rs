//! The committed reference is what the code says. `UPDATE_REFERENCE=1` writes it anew.

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
