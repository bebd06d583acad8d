//! `cargo xtask screenshots`: the pictures of the dashboard in `docs/images`, from a demo with real brokers.

use super::{Settings, control::Request, doctors, reading::Report, screen::Screen, stage::Stage};
use crate::{requirements, steps::root};
use anyhow::Context;
use doctorkafka_testbed::{Scratch, wait_until};
use std::{fs, path::Path, process::Stdio, time::Duration};
use tokio::{process::Command, time::timeout};

/// Nothing to choose: the pictures are the same story each time.
#[derive(clap::Args)]
pub struct Arguments {}

/// The pictures, below the root of the checkout.
const FOLDER: &str = "docs/images";
/// Width and height, so that a picture fits a README.
const SIZE: &str = "1280,1000";
/// The broker that is overloaded in both pictures, and the one that is dead in the second.
const HOT: i32 = 2;
const DEAD: i32 = 3;

/// How long the demo may take to show what is waited for.
const SHOWN_WITHIN: Duration = Duration::from_secs(90);
/// How long the browser may take.
const TAKEN_WITHIN: Duration = Duration::from_secs(60);

/// Takes the pictures.
///
/// # Errors
/// The demo does not start or does not show what it should, or the browser takes no picture.
pub fn run(_arguments: Arguments) -> anyhow::Result<()> {
    requirements::demand(&[requirements::JAVA, requirements::CHROMIUM])?;
    let runtime = tokio::runtime::Runtime::new().context("cannot start the async runtime")?;
    let outcome = runtime.block_on(take());
    // A blocking request may still be on its way; nothing waits for it.
    runtime.shutdown_background();
    outcome
}

async fn take() -> anyhow::Result<()> {
    let screen = Screen::new();
    let settings =
        Settings { lasting: None, kubernetes: false, brokers: 3, seed: 7, dashboard_port: 0, api_port: 0 };
    let stage = Stage::set(&settings, &screen).await?;
    let taken = story(&stage, &screen).await;
    stage.strike(&screen).await;
    taken
}

async fn story(stage: &Stage, screen: &Screen) -> anyhow::Result<()> {
    let state = |report: &Report, id| {
        report.brokers.iter().find(|broker| broker.id == id).map(|broker| broker.state.clone())
    };
    let is = |report: &Report, id, wanted: &str| state(report, id).as_deref() == Some(wanted);
    until(stage, "every broker to be known", |report| {
        report.brokers.len() == 3 && report.brokers.iter().all(|broker| broker.state != "Unknown")
    })
    .await?;
    stage.perform(&Request::SpikeBroker { broker: HOT }).await?;
    let hot =
        |report: &Report| is(report, HOT, "Overloaded") && report.advice.iter().any(|a| a.broker == HOT);
    let port = until(stage, "a broker to be overloaded, with advice", hot).await?;
    picture(port, "dashboard.png", screen).await?;

    stage.perform(&Request::StopBroker { broker: DEAD }).await?;
    let dead = |report: &Report| {
        let alerted = report.actions.iter().any(|action| action.kind == "ALERT_UNHEALTHY");
        is(report, DEAD, "Unhealthy") && alerted && report.kafka.reachable == Some(true)
    };
    until(stage, "a broker to be unhealthy", dead).await?;
    stage.perform(&Request::SpikeBroker { broker: HOT }).await?;
    let both = |report: &Report| dead(report) && is(report, HOT, "Overloaded") && !report.refusals.is_empty();
    let port = until(stage, "another to be overloaded, and not treated now", both).await?;
    picture(port, "dashboard-unhealthy.png", screen).await
}

/// Waits until the leading doctor says so; gives the port of its dashboard.
async fn until(stage: &Stage, what: &str, enough: impl Fn(&Report) -> bool) -> anyhow::Result<u16> {
    wait_until(what, SHOWN_WITHIN, || async {
        let (doctor, report) = doctors::leading(&stage.doctors).await?;
        enough(&report).then_some(doctor.ports().dashboard)
    })
    .await
}

/// Lets a browser take a picture of a dashboard.
async fn picture(port: u16, name: &str, screen: &Screen) -> anyhow::Result<()> {
    let folder = root().join(FOLDER);
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let file = folder.join(name);
    let profile = Scratch::new()?;
    let mut browser = Command::new(requirements::CHROMIUM.program);
    browser
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"])
        .args([
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
        ])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("--window-size={SIZE}"))
        .arg(format!("--screenshot={}", file.display()))
        .arg(format!("http://127.0.0.1:{port}/"))
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = timeout(TAKEN_WITHIN, browser.output());
    let output = output.await.context("the browser does not end")?.context("the browser cannot be run")?;
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "the browser failed ({}): {said}", output.status);
    let bytes =
        fs::read(&file).with_context(|| format!("the browser took no picture {}: {said}", file.display()))?;
    anyhow::ensure!(bytes.starts_with(b"\x89PNG"), "{} is no picture: {said}", file.display());
    screen.fact("picture", &format!("{}   {} kB", shown(&file), bytes.len() / 1_000));
    Ok(())
}

fn shown(file: &Path) -> String {
    file.strip_prefix(root()).unwrap_or(file).display().to_string()
}
