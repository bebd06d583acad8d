//! The DoctorKafka operator: two adapters, Kubernetes and standalone, over the engine of `doctorkafka-doctor`, and the
//! pages that show what the engines know.
//!
//! A library beside the binary so that tests and the reference documents can use its parts.

pub mod cli;
mod credentials;
pub mod decide;
pub mod fleet;
pub mod http;
pub mod injection;
pub mod kubernetes;
mod logging;
pub mod metrics;
pub mod plan;
pub mod probe;
mod shutdown;
pub mod standalone;

use anyhow::Context;
use cli::{Cli, Command, HttpArguments, UsageError};
use fleet::Fleet;
use http::Sockets;
use std::{process::ExitCode, time::Duration};
use tokio_util::sync::CancellationToken;

/// How long everything together may take to end in good order after the first signal.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(15);

/// Runs the program to its end.
///
/// Exit codes: 0 after a signal or a finished plan, 1 after an error, 2 when what the user gave cannot be, and 3 when a plan
/// cannot meet every rule.
pub fn launch(cli: Cli) -> ExitCode {
    logging::start(&cli.log);
    end_with_any_panic();
    let outcome = match cli.command {
        Command::Run { http, arguments, injection } => {
            serve(&http, |fleet, cancel| kubernetes::run(arguments, *injection, fleet, cancel))
        }
        Command::Standalone { http, arguments } => {
            serve(&http, |fleet, cancel| standalone::run(arguments, fleet, cancel))
        }
        Command::Plan(arguments) => plan::run(&arguments),
        Command::List(arguments) => decide::list(&arguments),
        Command::Approve(arguments) => decide::decide(true, &arguments),
        Command::Reject(arguments) => decide::decide(false, &arguments),
        Command::Probe(arguments) => probe::run(&arguments),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => match error.downcast::<UsageError>() {
            // Plainly and in lines, as clap says what is wrong with flags.
            Ok(usage) => {
                eprintln!("error: {usage}");
                ExitCode::from(2)
            }
            Err(error) => {
                tracing::error!("{error:#}");
                ExitCode::FAILURE
            }
        },
    }
}

/// Runs an adapter and the pages to their end.
fn serve<F: Future<Output = anyhow::Result<()>>>(
    http: &HttpArguments,
    adapter: impl FnOnce(Fleet, CancellationToken) -> F,
) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Runtime::new().context("cannot start the async runtime")?;
    let outcome = runtime.block_on(operate(http, adapter));
    // Blocking calls of native clients may still be under way; the process does not wait for them.
    runtime.shutdown_background();
    outcome.map(|()| ExitCode::SUCCESS)
}

/// A task that panicked would leave a process that looks alive and does half its work. It ends instead: whoever supervises
/// it starts it again, and a stand-by takes over meanwhile.
///
/// Answers to HTTP requests are no exception. They render what the engines know, as the status and the metrics do, and
/// next to nothing of them comes from the request, so a panic there is a fault that must be seen, not one that a client
/// can bring about at will.
fn end_with_any_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::abort();
    }));
}

async fn operate<F: Future<Output = anyhow::Result<()>>>(
    http: &HttpArguments,
    adapter: impl FnOnce(Fleet, CancellationToken) -> F,
) -> anyhow::Result<()> {
    let cancel = CancellationToken::new();
    shutdown::on_signal(cancel.clone())?;
    let sockets = Sockets::open(http).await?;
    let fleet = Fleet::new();
    let pages = sockets.serve(fleet.clone(), cancel.clone());
    let adapter = async {
        let outcome = adapter(fleet, cancel.clone()).await;
        cancel.cancel();
        outcome
    };
    tokio::select! {
        (outcome, ()) = async { tokio::join!(adapter, pages) } => outcome,
        () = overdue(&cancel) => {
            tracing::warn!("not everything ended within {} s, ending anyway", SHUTDOWN_LIMIT.as_secs());
            Ok(())
        }
    }
}

async fn overdue(cancel: &CancellationToken) {
    cancel.cancelled().await;
    tokio::time::sleep(SHUTDOWN_LIMIT).await;
}
