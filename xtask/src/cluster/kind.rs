//! The same with kind, where Docker runs: <https://kind.sigs.k8s.io>.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::requirements::{self, Requirement};
use crate::steps::{root, succeed};

const NAME: &str = "doctorkafka";
const CONFIG: &str = "kind-config.yaml";

const NEEDED: [Requirement; 2] = [
    Requirement {
        program: "kind",
        purpose: "run Kubernetes in Docker",
        package: None,
        elsewhere: "kind from https://kind.sigs.k8s.io/docs/user/quick-start, or leave out --kind",
    },
    Requirement {
        program: "docker",
        purpose: "run kind's nodes",
        package: None,
        elsewhere: "Docker from https://docs.docker.com/engine/install, or leave out --kind",
    },
];

/// Starts the cluster that `kind-config.yaml` describes.
pub fn up() -> Result<()> {
    demand()?;
    let config = root().join(CONFIG);
    ensure!(config.is_file(), "{} is missing", config.display());
    succeed(Command::new("kind").args(["create", "cluster", "--name", NAME, "--config"]).arg(config))?;
    println!("kubectl --context kind-{NAME} get nodes");
    Ok(())
}

/// Deletes it.
pub fn down() -> Result<()> {
    demand()?;
    succeed(Command::new("kind").args(["delete", "cluster", "--name", NAME]))
}

/// Loads an archive on its nodes.
pub fn load(archive: &Path) -> Result<()> {
    demand()?;
    succeed(Command::new("kind").args(["load", "image-archive", "--name", NAME]).arg(archive))
}

/// kind and an engine that answers: the program alone does not suffice.
fn demand() -> Result<()> {
    requirements::demand(&NEEDED)?;
    let output = Command::new("docker").args(["version", "--format", "{{.Server.Version}}"]).output();
    let output = output.context("docker cannot be run")?;
    ensure!(
        output.status.success(),
        "Docker's engine does not answer: {}; start it, or leave out --kind",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}
