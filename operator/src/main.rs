//! The `doctorkafka-operator` binary.

use clap::Parser;
use doctorkafka_operator::{cli::Cli, launch};
use std::process::ExitCode;

fn main() -> ExitCode {
    launch(Cli::parse())
}
