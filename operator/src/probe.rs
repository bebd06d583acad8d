//! `doctorkafka-operator probe URL`: asks an HTTP address whether it is well, for images that have no other program for it.
//! The chart's `helm test` and health checks of containers use it.

use anyhow::{Context, bail};
use clap::Args;
use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

/// Longest wait for the whole answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Between two questions.
const PAUSE: Duration = Duration::from_secs(1);
/// More of an answer than this is not shown.
const SHOWN_BYTES: u64 = 4096;

/// What to ask.
#[derive(Debug, Args)]
pub struct ProbeArguments {
    /// Address to ask by GET, such as http://localhost:3001/readyz.
    #[arg(value_name = "URL")]
    url: String,
    /// Ask again, once a second, for so many seconds until it is well.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    within: u64,
}

/// Prints the answer and succeeds if its status is 2xx.
///
/// # Errors
/// No answer within five seconds, or another status, the last time that it was asked.
pub fn run(ProbeArguments { url, within }: &ProbeArguments) -> anyhow::Result<ExitCode> {
    let end = Instant::now() + Duration::from_secs(*within);
    loop {
        match ask(url) {
            Err(error) if Instant::now() < end => {
                eprintln!("{error:#}; asking again");
                std::thread::sleep(PAUSE);
            }
            asked => return asked,
        }
    }
}

fn ask(url: &str) -> anyhow::Result<ExitCode> {
    let config =
        ureq::Agent::config_builder().timeout_global(Some(TIMEOUT)).http_status_as_error(false).build();
    let mut answer =
        ureq::Agent::new_with_config(config).get(url).call().with_context(|| format!("asking {url}"))?;
    let limited = answer.body_mut().with_config().limit(SHOWN_BYTES);
    let text = limited.read_to_string().unwrap_or_else(|error| format!("(not to be shown: {error})"));
    let status = answer.status();
    if !status.is_success() {
        bail!("{url} answers {status}: {}", text.trim_end());
    }
    eprintln!("{url} answers {status}: {}", text.trim_end());
    Ok(ExitCode::SUCCESS)
}
