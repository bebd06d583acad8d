//! The command line.

use crate::{
    decide::{ClusterArguments, DecisionArguments},
    injection::InjectionArguments,
    kubernetes::RunArguments,
    plan::PlanArguments,
    probe::ProbeArguments,
    standalone::StandaloneArguments,
};
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::{fmt, str::FromStr};

/// A cluster physician for Apache Kafka: watches the brokers, says which is in which state and why, and advises the
/// smallest treatment that helps.
#[derive(Debug, Parser)]
#[command(name = "doctorkafka-operator", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// How to log.
    #[command(flatten)]
    pub log: LogArguments,
}

/// The operator's two modes, the same engine under two adapters, and its tools.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Reconcile KafkaHealthPolicy resources on Kubernetes.
    Run {
        /// Where to serve the dashboard and the API.
        #[command(flatten)]
        http: HttpArguments,
        /// Settings of the Kubernetes adapter.
        #[command(flatten)]
        arguments: RunArguments,
        /// The sidecar injection webhook.
        #[command(flatten)]
        injection: Box<InjectionArguments>,
    },
    /// Watch one Kafka cluster by a policy file, without Kubernetes.
    Standalone {
        /// Where to serve the dashboard and the API.
        #[command(flatten)]
        http: HttpArguments,
        /// Settings of the standalone adapter.
        #[command(flatten)]
        arguments: StandaloneArguments,
    },
    /// Plan which replicas and leaderships to move, from a file or for a running cluster; nothing is done to any cluster.
    ///
    /// The plan goes to --out, a line for each partition that changes: {"t": topic, "p": partition, "r": brokers, leader
    /// first, "o": where each of these replicas comes from, "why": the reason}. What it means is told on standard error.
    /// Exit codes: 0 when the plan meets every rule, 3 when it is written and some rule cannot be met, 1 after an error, 2
    /// for wrong usage.
    Plan(PlanArguments),
    /// Show the treatments in a cluster's actions log, proposed, running and ended, the newest news first.
    List(ClusterArguments),
    /// Approve a treatment that waits for it, by its digest, and wait until the doctor begins it.
    ///
    /// For doctors without Kubernetes: there, kubectl annotates the KafkaReassignment. It is written to the actions log, for
    /// which READ and WRITE on that topic are needed: whoever has those may approve. Exit codes: 0 when the doctor has begun,
    /// 1 after an error and when the doctor refuses, 2 for a digest that means no waiting treatment, 3 when it is written
    /// and no doctor has answered yet.
    Approve(DecisionArguments),
    /// Reject a treatment by its digest: one that waits is not proposed again while its cause lasts, one that runs is stopped.
    ///
    /// Exit codes as those of approve.
    Reject(DecisionArguments),
    /// Ask an HTTP address once; exit code 0 when it answers with a status of 2xx, else 1.
    Probe(ProbeArguments),
}

/// Where to serve HTTP.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "HTTP")]
pub struct HttpArguments {
    /// Address of the dashboard, host:port, or `off`.
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:3000")]
    pub dashboard_listen: Listen,
    /// Address of the API, /metrics, /healthz and /readyz, host:port, or `off`.
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:3001")]
    pub api_listen: Listen,
}

/// An address to listen on, or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// Do not serve this.
    Off,
    /// `host:port`; port 0 takes any free one.
    At(String),
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "off" {
            return Ok(Self::Off);
        }
        match text.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
                Ok(Self::At(text.to_owned()))
            }
            _ => Err("expected host:port, such as 127.0.0.1:3000 or [::]:3000, or off".to_owned()),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::At(address) => f.write_str(address),
        }
    }
}

/// How to log. The levels come from `RUST_LOG` in the form of `tracing`'s `EnvFilter`; default is `info`.
#[derive(Debug, Clone, Args)]
pub struct LogArguments {
    /// Shape of the log lines on standard error; RUST_LOG sets the levels.
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

/// Shape of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What the user gave cannot be: ends the program with exit code 2, as an unknown flag does, instead of 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn listen_takes_addresses_and_off() {
        assert_eq!("off".parse(), Ok(Listen::Off));
        for good in ["0.0.0.0:3000", "localhost:0", "[::]:3001"] {
            assert_eq!(good.parse(), Ok(Listen::At(good.to_owned())));
        }
        for bad in ["", "3000", ":3000", "host:", "host:99999", "host:http"] {
            assert!(bad.parse::<Listen>().is_err(), "{bad:?}");
        }
    }
}
