//! `cargo xtask bench`: the figures of `docs/reference/benchmarks.md`.

mod beside;
mod doctor;
mod engine;
mod execution;
mod fleet;
mod latency;
mod live;
mod looking;
mod page;
mod planner;
mod programs;
mod registration;
mod reporter;
mod usage;

use crate::steps::cargo;
use clap::ValueEnum;
use std::time::Duration;

/// What to measure, and for how long.
#[derive(clap::Args)]
pub struct Arguments {
    /// Measure only this; may be repeated
    #[arg(long, value_enum)]
    only: Vec<Part>,
    /// Minutes beside the brokers
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=60))]
    minutes: u64,
    /// Runs of each kind of fault
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=200))]
    runs: u32,
    /// Minutes in which a hot broker must not be treated again
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=60))]
    settled: u64,
    /// Simulated brokers for the operator
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u16).range(1..=2_000))]
    brokers: u16,
    /// Folder of planner instances (*.jsonl, *.jsonl.gz) to plan for besides the generated ones
    #[arg(long, value_name = "DIR")]
    instances: Option<std::path::PathBuf>,
    /// Write what was measured into docs/reference/benchmarks.md; other parts of it stay
    #[arg(long)]
    write: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// The sidecar beside a broker, and the JMX exporter inside an equal one
    Sidecar,
    /// From a fault to the state that tells it
    Detection,
    /// Reports a second through the diagnosis
    Engine,
    /// The operator with many brokers
    Fleet,
    /// Plans for replica moves, in time, memory and quality
    Planner,
    /// Moves carried out, beside Kafka's own tool
    Execution,
    /// Reading the loads of all partitions, and planning for a large cluster
    Looking,
    /// A hot and a lost broker of a real cluster, beside a peer's figures; only when named, for it takes long
    Live,
}

/// Measures and prints.
///
/// # Errors
/// Something is missing, or a part did not come to its end.
pub fn run(arguments: Arguments) -> anyhow::Result<()> {
    if cfg!(debug_assertions) {
        return again_optimized();
    }
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(measure(arguments))
}

/// The diagnosis engine is a part of this program, so that this program has to be a release build, too.
fn again_optimized() -> anyhow::Result<()> {
    eprintln!("building cargo xtask itself for release");
    let status = cargo(&["run", "--locked", "--quiet", "--release", "--package", "xtask", "--"])
        .args(std::env::args_os().skip(1))
        .status()?;
    anyhow::ensure!(status.success(), "the benchmark ended with {status}");
    Ok(())
}

async fn measure(arguments: Arguments) -> anyhow::Result<()> {
    let wanted = |part| arguments.only.is_empty() || arguments.only.contains(&part);
    let mut sections = Vec::new();
    if wanted(Part::Engine) {
        sections.push(engine::measure()?);
    }
    if wanted(Part::Looking) {
        sections.push(looking::measure().await?);
    }
    let programs = programs::Programs::build().await?;
    if wanted(Part::Planner) {
        sections.push(planner::measure(&programs, arguments.instances.as_deref()).await?);
    }
    if wanted(Part::Sidecar) {
        sections.push(beside::measure(&programs, Duration::from_secs(60 * arguments.minutes)).await?);
    }
    if wanted(Part::Fleet) {
        sections.push(fleet::measure(&programs, arguments.brokers).await?);
    }
    if wanted(Part::Detection) {
        sections.push(latency::measure(&programs, arguments.runs).await?);
    }
    if wanted(Part::Execution) {
        sections.push(execution::measure(&programs).await?);
    }
    // A quarter of an hour for one run: only when it is asked for.
    if arguments.only.contains(&Part::Live) {
        sections.push(live::measure(&programs, Duration::from_secs(60 * arguments.settled)).await?);
    }
    for section in &sections {
        println!("{}", section.markdown());
    }
    if arguments.write {
        page::write(&sections)?;
    }
    Ok(())
}
