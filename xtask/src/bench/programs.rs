//! The programs that are measured: release builds.

use crate::steps::cargo;
use anyhow::{Context, ensure};
use std::path::PathBuf;

/// The release builds of the operator and the sidecar.
pub struct Programs {
    pub operator: PathBuf,
    pub sidecar: PathBuf,
}

impl Programs {
    /// Builds them.
    ///
    /// # Errors
    /// The build fails.
    pub async fn build() -> anyhow::Result<Self> {
        eprintln!("building the release binaries");
        let packages = ["--package", "doctorkafka-operator", "--package", "doctorkafka-sidecar"];
        let build = cargo(&[["build", "--locked", "--release"].as_slice(), &packages].concat());
        let status = tokio::process::Command::from(build).status().await?;
        ensure!(status.success(), "the release build failed");
        // This program runs from TARGET/PROFILE/xtask.
        let own = std::env::current_exe()?;
        let target = own.ancestors().nth(2).context("the target folder of this program")?;
        let program = |name: &str| target.join("release").join(name);
        Ok(Self { operator: program("doctorkafka-operator"), sidecar: program("doctorkafka-sidecar") })
    }
}
