//! `cargo xtask e2e`: the product as its users meet it, on a real Kubernetes node with three real Kafka pods.
//!
//! The scenarios follow one another on one node, as a user's day would: install, watch, load, faults, removal. Each
//! prints what it saw.

mod actions;
mod chaos;
mod distributions;
mod faults;
mod history;
mod install;
mod load;
mod permissions;
mod processes;
mod remove;
mod tools;
mod upgrade;
mod watch;
mod world;

use std::cell::RefCell;
use std::path::Path;
use std::time::{Duration, Instant};

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
    /// Where this machine cannot run a node, say so and succeed: for machines that are given, such as those of CI
    #[arg(long)]
    where_possible: bool,
    /// For how long operators are killed at random while brokers are broken
    #[arg(long, value_name = "MINUTES", default_value_t = 2)]
    chaos: u64,
    /// The seed of that chance; by default another one every time, and printed
    #[arg(long)]
    seed: Option<u64>,
    /// Of what follows the installation, only scenarios with this in their names; may be given several times
    #[arg(long, value_name = "WORDS")]
    only: Vec<String>,
}

/// Runs the scenarios.
///
/// # Errors
/// Something that they need is missing, or one failed; those after it are not run.
pub fn run(arguments: Arguments) -> Result<()> {
    let started = Instant::now();
    let runtime = tokio::runtime::Runtime::new().context("the asynchronous runtime cannot be started")?;
    // Only root may install what is missing, and without root nothing of it helps.
    if rustix::process::geteuid().is_root() {
        requirements::provide(&requirements::FOR_NODE)?;
    }
    if let Err(error) = runtime.block_on(Node::possible()) {
        let error = error.context("no Kubernetes node can run here");
        if arguments.where_possible {
            println!("\nNOT RUN: {error:#}");
            return Ok(());
        }
        return Err(error);
    }
    requirements::provide(&requirements::FOR_KAFKA_IMAGE)?;
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
    let day = Day {
        chaos: Duration::from_secs(60 * arguments.chaos),
        seed: arguments.seed.unwrap_or_else(|| fastrand::u64(..)),
        only: arguments.only,
        phases: RefCell::default(),
    };
    let outcome = runtime.block_on(async {
        tokio::select! {
            outcome = scenarios(&kafka, &archives, arguments.keep, &day) => outcome,
            _ = tokio::signal::ctrl_c() => bail!("ended by Ctrl-C; the node has gone"),
        }
    });
    println!("\n=== phases");
    for (name, took) in day.phases.borrow().iter() {
        println!("  {:>4} s  {name}", took.as_secs());
    }
    println!("\nin {} s", started.elapsed().as_secs());
    outcome
}

/// The node itself: a pod runs, and nothing is left behind even when its holder is killed.
fn node_tests() -> Result<()> {
    let package = ["test", "--locked", "--package", "doctorkafka-testbed", "--test", "node"];
    let tests = ["--", "--ignored", "--test-threads", "1"];
    succeed(&mut cargo(&[package.as_slice(), &tests].concat()))
}

async fn scenarios(kafka: &Path, archives: &Path, keep: bool, day: &Day) -> Result<()> {
    let begun = Instant::now();
    println!("\n=== a node");
    let world = World::start().await?;
    world.load(kafka).await?;
    for program in images::PROGRAMS {
        world.load(&program.archive(archives)).await?;
    }
    println!("  ready with images after {} s", begun.elapsed().as_secs());
    day.phases.borrow_mut().push(("a node with images", begun.elapsed()));
    let outcome = day.pass(&world).await;
    if let Err(error) = &outcome {
        println!("\nFAILED: {error:#}\n{}", world.describe().await);
        if keep {
            println!("the node is kept; export KUBECONFIG={}; Ctrl-C ends it", world.kubeconfig().display());
            std::future::pending::<()>().await;
        }
    }
    outcome
}

/// A user's day, and how long its parts took.
struct Day {
    chaos: Duration,
    seed: u64,
    only: Vec<String>,
    phases: RefCell<Vec<(&'static str, Duration)>>,
}

impl Day {
    async fn pass(&self, world: &World) -> Result<()> {
        self.always(
            world,
            "the chart installs two operators under Pod Security restricted",
            install::chart(world),
        )
        .await?;
        self.always(world, "three Kafka pods without a sidecar are a cluster", install::kafka(world)).await?;
        self.always(
            world,
            "pods that are labelled and restarted are three healthy brokers",
            watch::healthy(world),
        )
        .await?;
        let history = world.watch(world::KAFKA, world::POLICY)?;
        let seen = &history;
        self.step(world, "each sidecar takes less than 15 MB", load::sidecars_are_small(world)).await?;
        self.step(
            world,
            "a broker at its CPU limit reports 100 % of it, its neighbours little",
            load::cpu(world),
        )
        .await?;
        self.step(world, "a broker whose process is killed", faults::process_killed(world, seen)).await?;
        self.step(world, "a broker whose container runs out of memory", faults::out_of_memory(world, seen))
            .await?;
        self.step(world, "a broker whose pod is deleted", faults::pod_deleted(world, seen)).await?;
        self.step(world, "a broker whose pod is evicted from a cordoned node", faults::drained(world, seen))
            .await?;
        self.step(world, "a broker whose volume fills up", faults::volume_full(world, seen)).await?;
        drop(history);
        self.step(world, "the chart is upgraded and rolled back under load", upgrade::forth_and_back(world))
            .await?;
        let chaos = chaos::operators_killed(world, self.chaos, self.seed);
        self.step(world, "operators killed at random while brokers are broken", chaos).await?;
        self.step(world, "a namespace with a policy can always be deleted", remove::namespaces(world))
            .await?;
        self.step(world, "pods of Strimzi, Koperator and the Bitnami chart", distributions::all(world))
            .await?;
        self.always(world, "uninstalling leaves nothing behind", remove::all(world)).await
    }

    /// A scenario that others do without.
    async fn step(
        &self,
        world: &World,
        name: &'static str,
        scenario: impl Future<Output = Result<()>>,
    ) -> Result<()> {
        let wanted = self.only.is_empty() || self.only.iter().any(|words| name.contains(words.as_str()));
        if wanted { self.always(world, name, scenario).await } else { Ok(()) }
    }

    async fn always(
        &self,
        world: &World,
        name: &'static str,
        scenario: impl Future<Output = Result<()>>,
    ) -> Result<()> {
        println!("\n=== {name}");
        let begun = Instant::now();
        let outcome = match scenario.await {
            Ok(()) => permissions::none_missing(world).await,
            failed => failed,
        };
        self.phases.borrow_mut().push((name, begun.elapsed()));
        outcome.with_context(|| format!("{name}, after {} s", begun.elapsed().as_secs()))?;
        println!("  ok, {} s", begun.elapsed().as_secs());
        Ok(())
    }
}
