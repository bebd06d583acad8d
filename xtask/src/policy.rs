//! The policy that the demo and the benchmarks give to their doctors.

use anyhow::Context;
use std::{fs, path::Path};

/// Writes a policy with nothing but defaults; without a namespace for standalone doctors.
///
/// # Errors
/// The file cannot be written.
pub fn write(path: &Path, name: &str, namespace: Option<&str>, bootstrap: &str) -> anyhow::Result<()> {
    let namespace = namespace.map(|namespace| format!("\n  namespace: {namespace}")).unwrap_or_default();
    let text = format!(
        "apiVersion: doctorkafka.dev/v1alpha1\n\
         kind: KafkaHealthPolicy\n\
         metadata:\n  name: {name}{namespace}\n\
         spec:\n  kafka:\n    bootstrapServers: {bootstrap}\n"
    );
    fs::write(path, text).with_context(|| format!("{} cannot be written", path.display()))
}
