//! Helm, which installs charts, built from its Go module.

use std::path::{Path, PathBuf};

use anyhow::Result;
use tokio::process::Command;

use crate::cache;
use crate::golang::GoPrograms;

const VERSION: &str = "3.22.0";

/// Helm 3, of one pinned version whatever the machine has, so that tests of the chart say the same everywhere.
#[derive(Debug, Clone)]
pub struct Helm {
    program: PathBuf,
}

impl Helm {
    /// Whether it has been built already.
    pub fn is_prepared() -> bool {
        cache::has(&part())
    }

    /// Builds it on first use, in some two minutes.
    ///
    /// # Errors
    /// Go is missing, or the build fails.
    pub async fn prepare() -> Result<Self> {
        let folder = cache::ensure(&part(), |partial| async move {
            let helm = GoPrograms {
                module: "helm.sh/helm/v3",
                version: VERSION,
                packages: &["helm.sh/helm/v3/cmd/helm"],
                version_variable: Some("helm.sh/helm/v3/internal/version.version"),
                own_main: None,
            };
            helm.build(&partial).await
        })
        .await?;
        Ok(Self { program: folder.join("helm") })
    }

    /// Where the program is.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// `helm`, ending with its handle, without the settings, plug-ins and repositories of this machine's user.
    pub fn command(&self) -> Command {
        let mut helm = Command::new(&self.program);
        let folder = self.program.with_file_name("home");
        helm.env("HELM_CACHE_HOME", folder.join("cache"))
            .env("HELM_CONFIG_HOME", folder.join("config"))
            .env("HELM_DATA_HOME", folder.join("data"))
            .stdin(std::process::Stdio::null())
            .kill_on_drop(true);
        helm
    }
}

fn part() -> String {
    format!("helm-{VERSION}")
}
