//! `doctorkafka-operator plan`: a plan from a file or for a live cluster, for people and for comparison. It changes no
//! cluster.

mod input;
mod live;
mod output;
mod summary;

pub use input::read_instance;
pub use live::LiveArguments;

use crate::cli::UsageError;
use anyhow::bail;
use clap::{Args, ValueEnum};
use doctorkafka_planner::{Proposal, Remedy, propose};
use output::write_lines;
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

const EXAMPLES: &str = "\
Examples:
  What a cluster with a dead broker needs, seen by a user who may only read; nothing is done:
    doctorkafka-operator plan --bootstrap prod-kafka-bootstrap:9092

  Everything off broker 7, with rates over a minute, the plan and what it rests on kept in files:
    doctorkafka-operator plan --bootstrap prod-kafka-bootstrap:9093 --remedy drain --broker 7 --sample 1m \\
      --out drain-7.jsonl --save-instance prod.jsonl --tls-ca /etc/kafka-ca/ca.crt \\
      --sasl-mechanism SCRAM-SHA-512 --sasl-username doctor --sasl-password-file /etc/kafka-user/password

  The same plan again from what was seen then, without the cluster:
    doctorkafka-operator plan --instance prod.jsonl --remedy drain --broker 7 --out -

The files are described in docs/reference/instance.md.";

/// What to plan, from what.
#[derive(Debug, Clone, Args)]
#[command(after_long_help = EXAMPLES)]
pub struct PlanArguments {
    /// The cluster: one JSON object a line (meta, brokers, partitions), plain or gzip; `-` reads standard input.
    #[arg(long, value_name = "FILE", required_unless_present = "bootstrap", conflicts_with = "bootstrap")]
    pub instance: Option<PathBuf>,
    /// What to do to it.
    #[arg(long, value_enum, default_value_t = RemedyName::Repair)]
    pub remedy: RemedyName,
    /// The broker to drain or to demote; may be repeated.
    #[arg(long = "broker", value_name = "ID")]
    pub brokers: Vec<i32>,
    /// Where to write the plan, one JSON object a line for each partition that changes; `-` is standard output, which is
    /// also where the plan for a live cluster goes when this is absent.
    #[arg(long, value_name = "FILE", required_unless_present = "bootstrap")]
    pub out: Option<PathBuf>,
    /// The cluster, when it is a live one.
    #[command(flatten)]
    pub live: LiveArguments,
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
/// A file that cannot be read or written, an instance that cannot be, a live cluster of which too little can be read, and
/// [`UsageError`].
pub fn run(arguments: &PlanArguments) -> anyhow::Result<ExitCode> {
    let remedy = remedy(arguments)?;
    let live = &arguments.live;
    let instance = match (&arguments.instance, &live.bootstrap) {
        (Some(file), _) => read_instance(file)?,
        (None, Some(bootstrap)) => live::look(bootstrap, live)?,
        // Refused by the command line already.
        (None, None) => bail!("neither --instance nor --bootstrap is given"),
    };
    if let Some(file) = &live.save_instance {
        write_lines("the instance", file, instance.lines().map(Ok))?;
    }
    let begin = Instant::now();
    let proposal = propose(&instance, &remedy).map_err(|refused| UsageError(refused.message))?;
    let took = begin.elapsed();
    write(&proposal, arguments.out.as_deref().unwrap_or(Path::new("-")))?;
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

fn write(proposal: &Proposal<'_>, path: &Path) -> anyhow::Result<()> {
    let line = |change| Ok(serde_json::to_string(&change)?);
    write_lines("the plan", path, proposal.changes().map(line))
}
