//! `cargo xtask`: DoctorKafka's own tasks.
#![allow(clippy::print_stdout)] // a command-line tool speaks on standard output

mod bench;
mod check;
mod cluster;
mod compose;
mod demo;
mod e2e;
mod r#gen;
mod images;
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
    /// Run a real Kubernetes node with pods on this machine (root), or one with kind and Docker
    Cluster(cluster::Arguments),
    /// Make the images of operator and sidecar, with Docker, Podman, or neither
    Images(images::Arguments),
    /// Try docker-compose.yml: up, spikes, a broker killed, the leader killed, down, on a Docker engine of its own (root)
    Compose(compose::Arguments),
    /// Try the whole product on a real Kubernetes node with real Kafka pods (root)
    E2e(e2e::Arguments),
    /// Measure: the sidecar beside a broker, detection latency, the diagnosis engine, the operator with many brokers
    Bench(bench::Arguments),
    /// Take the pictures of the dashboard in docs/images anew, from a demo that runs for that
    Screenshots(demo::screenshots::Arguments),
    /// Write the generated files (CRDs, schemas, reference), or check that they are up to date
    Gen(r#gen::Arguments),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().task {
        Task::Demo(arguments) => demo::run(arguments),
        Task::Test(arguments) => test::run(arguments),
        Task::Check(arguments) => check::run(arguments),
        Task::Testbed(arguments) => testbed::run(arguments),
        Task::Cluster(arguments) => cluster::run(arguments),
        Task::Images(arguments) => images::run(arguments),
        Task::Compose(arguments) => compose::run(arguments),
        Task::E2e(arguments) => e2e::run(arguments),
        Task::Bench(arguments) => bench::run(arguments),
        Task::Screenshots(arguments) => demo::screenshots::run(arguments),
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
