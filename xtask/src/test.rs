//! `cargo xtask test`: all tests and checks, with everything they need.

use crate::{
    check, requirements,
    steps::{Steps, cargo, watch},
};
use anyhow::Context;
use doctorkafka_testbed::{ControlPlane, Helm, KafkaCluster, KafkaVersion};
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

/// The integration test of `crates/kafka` on clusters of several versions, the longest of all.
const CLIENTS: &str = "brokers";

/// All tests, or some.
#[derive(clap::Args)]
pub struct Arguments {
    /// Run only tests whose name contains this, and none of the checks around them
    filter: Option<String>,
}

/// Passed and failed tests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counts {
    passed: usize,
    failed: usize,
}

/// Runs the tests.
///
/// # Errors
/// A test or a check failed, or something they need is missing.
pub fn run(arguments: Arguments) -> anyhow::Result<()> {
    let started = Instant::now();
    requirements::provide(&requirements::FOR_TESTS)?;
    let mut steps = Steps::default();
    let mut counts = Counts::default();
    if arguments.filter.is_none() {
        check::all(&mut steps);
    }
    steps.run("parts", prepare);
    steps.run("build", || {
        cargo_test(&["--lib", "--bins", "--examples", "--tests", "--no-run"], &[]).map(|_| String::new())
    });
    let filter: Vec<&str> = arguments.filter.as_deref().into_iter().collect();
    // Tests of one function at a time may share the machine.
    let units = ["--lib", "--bins", "--examples", "--no-fail-fast"];
    steps.run("unit tests", || counts.add(cargo_test(&units, &filter)?));
    // These mostly wait for Kafka's own time-outs, each with brokers of its own.
    let together = [filter.as_slice(), &["--test-threads", "3"]].concat();
    steps.run("Kafka's clients", || {
        counts.add(cargo_test(&["--test", CLIENTS, "--no-fail-fast"], &together)?)
    });
    // The others measure seconds and want the machine for themselves.
    let alone = [filter.as_slice(), &["--test-threads", "1"]].concat();
    steps.run("real parts", || {
        let tests = integration_tests()?;
        let others = tests.iter().filter(|name| *name != CLIENTS).flat_map(|name| ["--test", name.as_str()]);
        counts.add(cargo_test(&others.chain(["--no-fail-fast"]).collect::<Vec<_>>(), &alone)?)
    });
    steps.run("doc tests", || counts.add(cargo_test(&["--doc", "--no-fail-fast"], &filter)?));
    steps.print();
    println!("  in {} s\n\n{} passed, {} failed", started.elapsed().as_secs(), counts.passed, counts.failed);
    if counts == Counts::default() {
        anyhow::bail!("no test ran");
    }
    steps.verdict()
}

/// Downloads and builds Kafka, Kubernetes and Helm now, with progress, so that no test has to wait for it.
fn prepare() -> anyhow::Result<String> {
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        for version in KafkaVersion::ALL {
            KafkaCluster::prepare(version).await?;
        }
        Helm::prepare().await?;
        ControlPlane::prepare().await
    })?;
    runtime.shutdown_timeout(Duration::from_secs(5));
    Ok(String::new())
}

/// The names of all integration tests of the workspace.
fn integration_tests() -> anyhow::Result<BTreeSet<String>> {
    let output = cargo(&["metadata", "--format-version", "1", "--locked", "--no-deps"]).output()?;
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).context("cargo metadata")?;
    let packages = metadata["packages"].as_array().context("cargo metadata names no packages")?;
    let targets = packages.iter().filter_map(|package| package["targets"].as_array()).flatten();
    let tests = targets.filter(|target| target["kind"] == serde_json::json!(["test"]));
    Ok(tests.filter_map(|target| Some(target["name"].as_str()?.to_owned())).collect())
}

fn cargo_test(selection: &[&str], tests: &[&str]) -> anyhow::Result<(bool, Counts)> {
    let mut command = cargo(&["test", "--locked", "--workspace"]);
    command.args(selection).arg("--").args(tests);
    let mut counts = Counts::default();
    let succeeded = watch(&mut command, |line| counts.read(line))?;
    Ok((succeeded, counts))
}

impl Counts {
    /// Takes in `test result: ok. 12 passed; 0 failed; …`.
    fn read(&mut self, line: &str) {
        let Some(result) = line.strip_prefix("test result: ") else { return };
        let number_before = |word: &str| {
            result.split([';', '.']).find_map(|part| part.trim().strip_suffix(word)?.trim().parse().ok())
        };
        self.passed += number_before("passed").unwrap_or(0);
        self.failed += number_before("failed").unwrap_or(0);
    }

    /// Adds what one run counted; fails when it failed.
    fn add(&mut self, (succeeded, counts): (bool, Self)) -> anyhow::Result<String> {
        self.passed += counts.passed;
        self.failed += counts.failed;
        let detail = format!("{} passed, {} failed", counts.passed, counts.failed);
        anyhow::ensure!(succeeded, "{detail}");
        Ok(detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tests_that_run_together_are_among_all_tests() {
        let tests = integration_tests().unwrap();
        assert!(tests.contains(CLIENTS) && tests.len() > 5, "{tests:?}");
    }

    #[test]
    fn counts_are_summed_over_cargos_lines() {
        let mut counts = Counts::default();
        counts.read("running 3 tests");
        counts.read(
            "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.02s",
        );
        counts.read("test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out");
        counts.read("the test result: ok. 100 passed; 100 failed");
        assert_eq!(counts, Counts { passed: 15, failed: 2 });
    }

    #[test]
    fn a_run_that_failed_fails_whatever_it_counted() {
        let mut counts = Counts::default();
        assert!(counts.add((true, Counts { passed: 2, failed: 0 })).is_ok());
        assert!(counts.add((false, Counts { passed: 1, failed: 0 })).is_err());
        assert_eq!(counts, Counts { passed: 3, failed: 0 });
    }
}
