//! `doctorkafka-operator plan`: a plan from a file, for people and for comparison. It touches no cluster.

mod input;
mod summary;

pub use input::read_instance;

use crate::cli::UsageError;
use anyhow::Context;
use clap::{Args, ValueEnum};
use doctorkafka_planner::{Proposal, Remedy, propose};
use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

/// What to plan, from what.
#[derive(Debug, Clone, Args)]
pub struct PlanArguments {
    /// The cluster: one JSON object a line (meta, brokers, partitions), plain or gzip; `-` reads standard input.
    #[arg(long, value_name = "FILE")]
    pub instance: PathBuf,
    /// What to do to it.
    #[arg(long, value_enum, default_value_t = RemedyName::Repair)]
    pub remedy: RemedyName,
    /// The broker to drain or to demote; may be repeated.
    #[arg(long = "broker", value_name = "ID")]
    pub brokers: Vec<i32>,
    /// Where to write the plan, one JSON object a line for each partition that changes; `-` is standard output.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

/// Names of the remedies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RemedyName {
    /// What the hard rules ask for: replicas off dead brokers, as many racks as can be, every broker within its limits.
    Repair,
    /// Repair, and then use every broker about as much as the others.
    Balance,
    /// Repair, and take everything off the brokers given by --broker.
    Drain,
    /// Repair, and take all leaderships off the brokers given by --broker; no data moves for it.
    Demote,
}

/// The plan is written, and does not meet every rule.
const INCOMPLETE: u8 = 3;

/// Plans, writes the plan, and tells about it on standard error.
///
/// # Errors
/// A file that cannot be read or written, an instance that cannot be, and [`UsageError`].
pub fn run(arguments: &PlanArguments) -> anyhow::Result<ExitCode> {
    let remedy = remedy(arguments)?;
    let instance = read_instance(&arguments.instance)?;
    let begin = Instant::now();
    let proposal = propose(&instance, &remedy).map_err(|refused| UsageError(refused.message))?;
    let took = begin.elapsed();
    write(&proposal, &arguments.out)?;
    eprint!("{}", summary::text(&instance, &proposal, took));
    Ok(if proposal.shortfalls.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(INCOMPLETE) })
}

fn remedy(arguments: &PlanArguments) -> Result<Remedy, UsageError> {
    let brokers: BTreeSet<i32> = arguments.brokers.iter().copied().collect();
    match (arguments.remedy, brokers.is_empty()) {
        (RemedyName::Repair, true) => Ok(Remedy::Repair),
        (RemedyName::Balance, true) => Ok(Remedy::Balance),
        (RemedyName::Repair | RemedyName::Balance, false) => {
            Err(UsageError("--broker goes with --remedy drain or demote only".to_owned()))
        }
        (RemedyName::Drain | RemedyName::Demote, true) => {
            Err(UsageError("--remedy drain and demote need --broker ID, at least one".to_owned()))
        }
        (RemedyName::Drain, false) => Ok(Remedy::Drain(brokers)),
        (RemedyName::Demote, false) => Ok(Remedy::Demote(brokers)),
    }
}

/// Writes a whole plan or none: what is at `path` stays what it is until the plan is complete.
fn write(proposal: &Proposal<'_>, path: &Path) -> anyhow::Result<()> {
    let lines = |out: &mut dyn Write| -> io::Result<()> {
        for change in proposal.changes() {
            serde_json::to_writer(&mut *out, &change)?;
            out.write_all(b"\n")?;
        }
        out.flush()
    };
    if path == Path::new("-") {
        return lines(&mut BufWriter::new(io::stdout().lock()))
            .context("cannot write the plan to standard output");
    }
    let cannot = || format!("cannot write the plan to {}", path.display());
    // A device or a pipe is written to as it is.
    if path.exists() && !path.is_file() {
        let file = File::options().write(true).open(path).with_context(cannot)?;
        return lines(&mut BufWriter::new(file)).with_context(cannot);
    }
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let file = File::create(&partial).with_context(cannot)?;
    let written = lines(&mut BufWriter::new(file)).and_then(|()| std::fs::rename(&partial, path));
    if written.is_err() {
        // The error that matters is the one that is given back.
        let _ = std::fs::remove_file(&partial);
    }
    written.with_context(cannot)
}
