//! `cargo xtask`: DoctorKafka's own tasks.
#![allow(clippy::print_stdout)] // a command-line tool speaks on standard output

mod r#gen;
mod testbed;

use clap::{Parser, Subcommand};

/// DoctorKafka's own tasks.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Start real Kafka, and if asked a real Kubernetes API server, on this machine; stop them; say what runs
    Testbed(testbed::Arguments),
    /// Write the generated files (CRDs, schemas, reference), or check that they are up to date
    Gen(r#gen::Arguments),
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().task {
        Task::Testbed(arguments) => testbed::run(arguments),
        Task::Gen(arguments) => r#gen::run(arguments),
    }
}
