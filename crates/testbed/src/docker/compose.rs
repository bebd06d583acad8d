//! Docker Compose, which Debian has no current release of.

use std::path::PathBuf;

use anyhow::Result;

use crate::cache;
use crate::golang::GoPrograms;

const VERSION: &str = "2.40.3";

/// The plug-in of the command line `docker`.
pub(super) async fn plugin() -> Result<PathBuf> {
    let folder = cache::ensure(&format!("compose-{VERSION}"), |partial| async move {
        let compose = GoPrograms {
            module: "github.com/docker/compose/v2",
            version: VERSION,
            packages: &["github.com/docker/compose/v2/cmd"],
            version_variable: Some("github.com/docker/compose/v2/internal.Version"),
            own_main: None,
        };
        compose.build(&partial).await
    })
    .await?;
    Ok(folder.join("cmd"))
}
