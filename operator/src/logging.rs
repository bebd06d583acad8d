//! Log lines on standard error.

use crate::cli::{LogArguments, LogFormat};
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// What is logged when `RUST_LOG` is not set.
const DEFAULT_LEVELS: &str = "info";

/// Starts logging; the first call in a process wins.
pub(crate) fn start(arguments: &LogArguments) {
    let asked = std::env::var(EnvFilter::DEFAULT_ENV).ok().filter(|levels| !levels.trim().is_empty());
    let parsed = asked.as_deref().map(EnvFilter::try_new);
    let filter = match &parsed {
        Some(Ok(filter)) => filter.clone(),
        _ => EnvFilter::new(DEFAULT_LEVELS),
    };
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second subscriber in one process (tests) is refused, and the first goes on.
    let _first_wins = match arguments.log_format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    if let Some(Err(error)) = parsed {
        tracing::warn!(%error, "RUST_LOG is not a list of target=level; logging at {DEFAULT_LEVELS}");
    }
}
