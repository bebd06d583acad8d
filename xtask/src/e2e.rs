//! `cargo xtask e2e`: the product as its users meet it, on a real Kubernetes node with three real Kafka pods.
//!
//! The scenarios follow one another on one node, as a user's day would: install, watch, load, faults, removal. Each
//! prints what it saw.

mod faults;
mod install;
mod load;
mod remove;
mod watch;
mod world;

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use doctorkafka_testbed::{Node, kafka_image};

use self::world::World;
use crate::steps::{cargo, root, succeed};
use crate::{images, requirements};

/// Arguments of `cargo xtask e2e`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Only make and build what the scenarios need
    #[arg(long)]
    prepare: bool,
    /// Build nothing: take operator and sidecar as cargo built them last, and leave out the tests of the node itself
    #[arg(long)]
    no_build: bool,
    /// When a scenario fails, keep the node until Ctrl-C, to look at it
    #[arg(long)]
    keep: bool,
}

/// Runs the scenarios.
///
/// # Errors
/// Something that they need is missing, or one failed; those after it are not run.
pub fn run(arguments: Arguments) -> Result<()> {
    let started = Instant::now();
    requirements::provide(&requirements::FOR_NODE)?;
    requirements::provide(&requirements::FOR_KAFKA_IMAGE)?;
    let runtime = tokio::runtime::Runtime::new().context("the asynchronous runtime cannot be started")?;
    let archives = root().join("target/images");
    let kafka = runtime.block_on(async {
        Node::prepare().await?;
        kafka_image().await
    })?;
    images::pack_all(&archives, images::Programs::from_flag(arguments.no_build))?;
    println!("\nprepared after {} s", started.elapsed().as_secs());
    if arguments.prepare {
        return Ok(());
    }
    if !arguments.no_build {
        node_tests()?;
    }
    let outcome = runtime.block_on(async {
        tokio::select! {
            outcome = scenarios(&kafka, &archives, arguments.keep) => outcome,
            _ = tokio::signal::ctrl_c() => bail!("ended by Ctrl-C; the node has gone"),
        }
    });
    println!("\nin {} s", started.elapsed().as_secs());
    outcome
}

/// The node itself: a pod runs, and nothing is left behind even when its holder is killed.
fn node_tests() -> Result<()> {
    let package = ["test", "--locked", "--package", "doctorkafka-testbed", "--test", "node"];
    let tests = ["--", "--ignored", "--test-threads", "1"];
    succeed(&mut cargo(&[package.as_slice(), &tests].concat()))
}

async fn scenarios(kafka: &Path, archives: &Path, keep: bool) -> Result<()> {
    let begun = Instant::now();
    println!("\n=== a node");
    let world = World::start().await?;
    world.load(kafka).await?;
    for program in images::PROGRAMS {
        world.load(&program.archive(archives)).await?;
    }
    println!("  ready with images after {} s", begun.elapsed().as_secs());
    let outcome = all(&world).await;
    if let Err(error) = &outcome {
        println!("\nFAILED: {error:#}\n{}", world.describe().await);
        if keep {
            println!("the node is kept; export KUBECONFIG={}; Ctrl-C ends it", world.kubeconfig().display());
            std::future::pending::<()>().await;
        }
    }
    outcome
}

/// In the order of a user's day.
async fn all(world: &World) -> Result<()> {
    step("the chart installs two operators under Pod Security restricted", install::chart(world)).await?;
    step("three Kafka pods without a sidecar are a cluster", install::kafka(world)).await?;
    step("pods that are labelled and restarted are three healthy brokers", watch::healthy(world)).await?;
    step("each sidecar takes less than 15 MB", load::sidecars_are_small(world)).await?;
    step("a broker at its CPU limit reports 100 % of it, its neighbours little", load::cpu(world)).await?;
    step("a broker whose pod is deleted", faults::pod_deleted(world)).await?;
    step("uninstalling leaves nothing behind, and the namespace can be deleted", remove::all(world)).await
}

async fn step(name: &str, scenario: impl Future<Output = Result<()>>) -> Result<()> {
    println!("\n=== {name}");
    let begun = Instant::now();
    scenario.await.with_context(|| format!("{name}, after {} s", begun.elapsed().as_secs()))?;
    println!("  ok, {} s", begun.elapsed().as_secs());
    Ok(())
}
