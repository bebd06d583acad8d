//! `cargo xtask demo`: the whole system on this machine, with real brokers.
//!
//! Three brokers under a light real load, a sidecar beside each that measures it and lays simulated spikes over what
//! it measured, and two doctors. This process owns all of them and prints what the doctors say as it happens; a second
//! terminal speaks to it through a control socket ([`control`]).

mod build;
mod cluster;
mod control;
mod doctors;
mod follow;
mod kubernetes;
mod reading;
mod requests;
mod screen;
pub mod screenshots;
mod sidecars;
mod stage;
mod summary;

use self::{control::Request, screen::Screen, stage::Stage};
use crate::requirements;
use anyhow::{Context, bail};
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What to show, or what to do in a demo that runs already.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Arguments {
    #[command(flatten)]
    settings: Settings,
    #[command(subcommand)]
    request: Option<Request>,
    /// Process id of the demo to speak to, when several run
    #[arg(long, global = true, value_name = "PID")]
    pid: Option<u32>,
}

/// How to start the demo.
#[derive(clap::Args)]
struct Settings {
    /// End by itself after this time, with a summary; fails unless every broker was seen and diagnosed
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    lasting: Option<Duration>,
    /// Run on a real Kubernetes API server, with two operators, instead of two standalone doctors
    #[arg(long)]
    kubernetes: bool,
    /// Number of brokers
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(i32).range(1..=9))]
    brokers: i32,
    /// Seed of the simulated load
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// Port of the first doctor's dashboard; 0 takes a free one
    #[arg(long, value_name = "PORT", default_value_t = 3000)]
    dashboard_port: u16,
    /// Port of the first doctor's API; 0 takes a free one
    #[arg(long, value_name = "PORT", default_value_t = 3001)]
    api_port: u16,
}

/// Runs the demo, or tells a running one what to do.
///
/// # Errors
/// It cannot be started, or (with `--for`) did not show what it should.
pub fn run(arguments: Arguments) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Runtime::new().context("cannot start the async runtime")?;
    let outcome = match arguments.request {
        Some(request) => runtime.block_on(control::ask(&request, arguments.pid)),
        None if arguments.pid.is_some() => {
            Err(anyhow::anyhow!("--pid is for what a running demo shall do: stop-broker, …"))
        }
        None => runtime.block_on(show(arguments.settings)),
    };
    // A blocking request may still be on its way; nothing waits for it.
    runtime.shutdown_background();
    outcome
}

async fn show(settings: Settings) -> anyhow::Result<()> {
    let mut wanted = vec![requirements::JAVA];
    if settings.kubernetes {
        wanted.push(requirements::GO);
    }
    requirements::demand(&wanted)?;

    let screen = Screen::new();
    let mut ended = Ended::listen()?;
    // Whatever a future had started when it is dropped here ends with it.
    let stage = tokio::select! {
        stage = Stage::set(&settings, &screen) => stage?,
        signal = ended.next() => bail!("{signal} received while starting; everything that ran has been ended"),
    };
    stage.introduce(settings.lasting, &screen);
    let control = control::Server::start()?;
    screen.blank();
    let shown = {
        let play = follow::play(&stage, &screen, &control);
        tokio::select! {
            never = play => match never {},
            _ = over(settings.lasting) => Ok(()),
            _ = ended.next() => Err(()),
        }
    };
    drop(control);
    screen.blank();
    let summary = stage.summary();
    stage.strike(&screen).await;
    match (shown, settings.lasting) {
        (Ok(()), Some(lasting)) => {
            summary.print(lasting);
            summary.verdict()
        }
        _ => Ok(()),
    }
}

async fn over(lasting: Option<Duration>) {
    match lasting {
        Some(lasting) => tokio::time::sleep(lasting).await,
        None => std::future::pending().await,
    }
}

/// The signals that end the demo.
struct Ended {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Ended {
    fn listen() -> anyhow::Result<Self> {
        let on = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self {
            interrupt: on(SignalKind::interrupt())?,
            terminate: on(SignalKind::terminate())?,
            hangup: on(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "Ctrl-C",
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.hangup.recv() => "SIGHUP",
        }
    }
}

/// `60s`, `5m`, `1m 30s`.
fn duration(text: &str) -> Result<Duration, String> {
    let expected = "expected a time such as 60s or 5m";
    let signed: jiff::SignedDuration = text.parse().map_err(|_| expected.to_owned())?;
    Duration::try_from(signed).ok().filter(|duration| !duration.is_zero()).ok_or_else(|| expected.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn parse(words: &[&str]) -> Result<Arguments, clap::Error> {
        Line::try_parse_from([&["demo"], words].concat()).map(|line| line.arguments)
    }

    #[test]
    fn the_defaults_are_the_documented_ones() {
        let Settings { lasting, kubernetes, brokers, seed, dashboard_port, api_port } =
            parse(&[]).unwrap().settings;
        assert_eq!((lasting, kubernetes, brokers, seed), (None, false, 3, 7));
        assert_eq!((dashboard_port, api_port), (3000, 3001));
    }

    #[test]
    fn times_are_read_and_nonsense_is_refused() {
        assert_eq!(parse(&["--for", "60s"]).unwrap().settings.lasting, Some(Duration::from_secs(60)));
        assert_eq!(parse(&["--for", "1m30s"]).unwrap().settings.lasting, Some(Duration::from_secs(90)));
        for bad in
            [["--for", "0s"], ["--for", "-5s"], ["--for", "soon"], ["--brokers", "0"], ["--brokers", "x"]]
        {
            assert!(parse(&bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn requests_name_their_broker_and_may_name_their_demo() {
        let arguments = parse(&["stop-broker", "3", "--pid", "77"]).unwrap();
        assert_eq!(arguments.request, Some(Request::StopBroker { broker: 3 }));
        assert_eq!(arguments.pid, Some(77));
        for typed in ["stop-broker 3", "start-broker 1", "spike-broker 2", "stop-doctor", "start-doctor"] {
            let words: Vec<&str> = typed.split(' ').collect();
            assert_eq!(
                parse(&words).unwrap().request.map(|request| request.to_string()).as_deref(),
                Some(typed)
            );
        }
        assert!(parse(&["stop-broker"]).is_err());
        assert!(parse(&["--seed", "9", "stop-doctor"]).is_err(), "a demo that runs has its seed already");
    }
}
