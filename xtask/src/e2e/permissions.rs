//! The operators may do what they do: the API server has refused them nothing.

use anyhow::{Result, ensure};

use super::world::{DOCTOR, World};

/// Looks through what the operators' pods have logged until now; after each scenario, and before a pod goes.
///
/// # Errors
/// The API server refused an operator something, other than objects in a namespace that is being deleted.
pub async fn none_missing(world: &World) -> Result<()> {
    let operators = "--selector=app.kubernetes.io/component=operator";
    let namespace = ["--namespace", DOCTOR, "--tail=-1", "--ignore-errors"];
    let logs = world.kubectl(&[["logs", operators].as_slice(), &namespace].concat()).await?;
    let refused = logs.lines().find(|line| line.contains("orbidden") && !line.contains("being terminated"));
    ensure!(refused.is_none(), "a permission is missing: {}", refused.unwrap_or_default());
    Ok(())
}
