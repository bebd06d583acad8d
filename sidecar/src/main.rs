//! The DoctorKafka collector: sits beside one Kafka broker, measures it, and publishes one report a second.
//!
//! How the code reads: [`args`] says what was asked for, and [`security`] follows the connection's files; [`broker`] finds
//! the broker's process and watches over its life; [`measure`] turns `/proc` and cgroups into figures; [`probe`], [`scrape`]
//! and [`simulate`] add what they know; [`run`] puts it together once per interval and hands it to the publisher; [`http`]
//! and [`metrics`] show it locally.
//!
//! The measuring loop waits for nothing that can hang: whatever may block (the disk, the network, a scan of `/proc`)
//! runs beside it, one at a time, and the loop reports the newest result it has.

mod args;
mod broker;
mod http;
mod measure;
mod metrics;
mod probe;
mod run;
mod scrape;
mod security;
mod simulate;

use args::Args;
use clap::Parser;
use std::{process::ExitCode, time::Duration};
use tracing_subscriber::{filter::Targets, layer::SubscriberExt, util::SubscriberInitExt};

fn main() -> ExitCode {
    let args = Args::parse();
    start_logging();
    // Six kinds of work may block: the disks, the search for the process, the exporter, a name server, questions to Kafka,
    // the files of certificates and passwords.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(6)
        .thread_keep_alive(Duration::from_secs(5))
        .thread_stack_size(512 * 1024)
        .build();
    let outcome = match runtime {
        Ok(runtime) => {
            let outcome = runtime.block_on(run::run(args));
            // A disk that hangs must not keep the sidecar from ending.
            runtime.shutdown_background();
            outcome
        }
        Err(error) => Err(anyhow::Error::new(error).context("cannot start the async runtime")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Logs to standard error, filtered by `RUST_LOG` (`info` unless set).
fn start_logging() {
    let asked = std::env::var("RUST_LOG").ok();
    let parsed = asked.as_deref().map(str::parse::<Targets>);
    let filter = match &parsed {
        Some(Ok(filter)) => filter.clone(),
        _ => Targets::new().with_default(tracing::Level::INFO),
    };
    let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
    tracing_subscriber::registry()
        .with(tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(ansi))
        .with(filter)
        .init();
    if let Some(Err(error)) = parsed {
        tracing::warn!(%error, "RUST_LOG is not a list of target=level; logging at info");
    }
}
