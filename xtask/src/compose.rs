//! `cargo xtask compose`: `docker compose up` as a new user does it, on a Docker engine of its own that pulls nothing.
//!
//! Operator and sidecar are this checkout's. Kafka is real, in an image made here that has the name of the project's own
//! and what `docker-compose.yml` uses of it. Kafka UI is a stand-in: a page on its port, nothing more.

mod checks;
mod stack;
mod stand_in;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use doctorkafka_testbed::{Docker, kafka_image_of_users};

use self::stack::Stack;
use crate::images;
use crate::requirements::{self, Requirement};
use crate::steps::root;

/// What it needs beyond what Kafka's image does.
const NEEDED: [Requirement; 7] = [
    Requirement {
        program: "dockerd",
        purpose: "run containers",
        package: Some("docker.io"),
        elsewhere: "Docker from https://docs.docker.com/engine/install",
    },
    Requirement {
        program: "docker",
        purpose: "speak to Docker's engine",
        package: Some("docker.io"),
        elsewhere: "Docker from https://docs.docker.com/engine/install",
    },
    Requirement {
        program: "busybox",
        purpose: "stand in for Kafka UI",
        package: Some("busybox"),
        elsewhere: "https://busybox.net",
    },
    Requirement { purpose: "build Docker Compose from its Go module, once", ..requirements::GO },
    Requirement { purpose: "give Docker's engine a network", ..requirements::IP },
    Requirement { purpose: "keep Docker's engine apart from this machine", ..requirements::UNSHARE },
    Requirement { purpose: "connect containers with each other", ..requirements::IPTABLES },
];

/// Arguments of `cargo xtask compose`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Only make and build what is needed
    #[arg(long)]
    prepare: bool,
    /// Take operator and sidecar as cargo built them last
    #[arg(long)]
    no_build: bool,
}

/// Brings the stack up, looks at it, breaks it, takes it down.
///
/// # Errors
/// Something that it needs is missing, or it is not as the README says.
pub fn run(arguments: Arguments) -> Result<()> {
    let started = Instant::now();
    requirements::provide(&NEEDED)?;
    requirements::provide(&requirements::FOR_KAFKA_IMAGE)?;
    let runtime = tokio::runtime::Runtime::new().context("the asynchronous runtime cannot be started")?;
    let archives = root().join("target/images");
    let kafka = runtime.block_on(async {
        Docker::prepare().await?;
        kafka_image_of_users().await
    })?;
    images::pack_all(&archives, images::Programs::from_flag(arguments.no_build))?;
    let mut all = vec![kafka, stand_in::kafka_ui(&archives)?];
    all.extend(images::PROGRAMS.map(|program| program.archive(&archives)));
    println!("\nprepared after {} s", started.elapsed().as_secs());
    if arguments.prepare {
        return Ok(());
    }
    let outcome = runtime.block_on(async {
        tokio::select! {
            outcome = on_an_engine(&all) => outcome,
            _ = tokio::signal::ctrl_c() => bail!("ended by Ctrl-C; the stack has gone"),
        }
    });
    println!("\nin {} s", started.elapsed().as_secs());
    outcome
}

async fn on_an_engine(images: &[PathBuf]) -> Result<()> {
    println!("\n=== a Docker engine with images");
    let begun = Instant::now();
    let docker = Docker::start().await?;
    for image in images {
        docker.load_image(image).await?;
    }
    println!("  ok, {} s", begun.elapsed().as_secs());
    let stack = Stack::of(&docker);
    if let Err(error) = checks::all(&stack).await {
        println!("\nFAILED: {error:#}\n{}", stack.describe().await);
        return Err(error);
    }
    docker.end()
}
