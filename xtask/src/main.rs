//! `cargo xtask`: DoctorKafka's own tasks.
#![allow(clippy::print_stdout)] // a command-line tool speaks on standard output

mod bench;
mod check;
mod demo;
mod r#gen;
mod licences;
mod policy;
mod requirements;
mod steps;
mod test;
mod testbed;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// DoctorKafka's own tasks.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Show the whole system at work on this machine, with real brokers; a second terminal can break them
    Demo(demo::Arguments),
    /// Run all checks and all tests, with everything they need
    Test(test::Arguments),
    /// Check formatting, lints, licences, generated files and documents, without running anything
    Check(check::Arguments),
    /// Start real Kafka, and if asked a real Kubernetes API server, on this machine; stop them; say what runs
    Testbed(testbed::Arguments),
    /// Measure: the sidecar beside a broker, detection latency, the diagnosis engine, the operator with many brokers
    Bench(bench::Arguments),
    /// Write the generated files (CRDs, schemas, reference), or check that they are up to date
    Gen(r#gen::Arguments),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().task {
        Task::Demo(arguments) => demo::run(arguments),
        Task::Test(arguments) => test::run(arguments),
        Task::Check(arguments) => check::run(arguments),
        Task::Testbed(arguments) => testbed::run(arguments),
        Task::Bench(arguments) => bench::run(arguments),
        Task::Gen(arguments) => r#gen::run(arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
