//! Building the two programs that the demo shows.

use super::screen::Screen;
use crate::steps;
use anyhow::{Context, bail};
use std::{path::PathBuf, process::Stdio};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
};

/// The programs.
#[derive(Debug, Clone)]
pub struct Programs {
    /// `doctorkafka-operator`.
    pub operator: PathBuf,
    /// `doctorkafka-sidecar`.
    pub sidecar: PathBuf,
}

const OPERATOR: &str = "doctorkafka-operator";
const SIDECAR: &str = "doctorkafka-sidecar";

impl Programs {
    /// Builds them with cargo, whose progress is shown.
    ///
    /// # Errors
    /// They do not build.
    pub async fn build(screen: &Screen) -> anyhow::Result<Self> {
        let step = screen.step("build", "operator and sidecar");
        step.give_way();
        // Together with xtask, as which it was built already: other features would be another build of everything.
        let cargo = steps::cargo(
            &[
                ["build", "--locked", "--bins", "--message-format", "json-render-diagnostics"].as_slice(),
                &["--package", OPERATOR, "--package", SIDECAR, "--package", "xtask"],
            ]
            .concat(),
        );
        let mut cargo = Command::from(cargo)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("cargo cannot be run")?;
        let output = cargo.stdout.take().context("cargo without output")?;
        let mut lines = BufReader::new(output).lines();
        let (mut operator, mut sidecar) = (None, None);
        while let Some(line) = lines.next_line().await.context("cargo's output cannot be read")? {
            match executable(&line) {
                Some((name, path)) if name == OPERATOR => operator = Some(path),
                Some((name, path)) if name == SIDECAR => sidecar = Some(path),
                _ => {}
            }
        }
        let status = cargo.wait().await.context("cargo's end cannot be seen")?;
        if !status.success() {
            bail!("operator and sidecar do not build ({status}): see above");
        }
        let operator = operator.context("cargo built no doctorkafka-operator")?;
        let sidecar = sidecar.context("cargo built no doctorkafka-sidecar")?;
        step.done("ready");
        Ok(Self { operator, sidecar })
    }
}

/// Name and path of a program, from cargo's message about it.
fn executable(message: &str) -> Option<(String, PathBuf)> {
    let message: serde_json::Value = serde_json::from_str(message).ok()?;
    let path = message.get("executable")?.as_str()?;
    let name = message.get("target")?.get("name")?.as_str()?;
    Some((name.to_owned(), path.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_in_cargos_messages() {
        let message =
            r#"{"reason":"compiler-artifact","target":{"name":"a"},"executable":"/t/a","fresh":true}"#;
        assert_eq!(executable(message), Some(("a".to_owned(), PathBuf::from("/t/a"))));
        for other in
            ["", "warning", r#"{"reason":"build-finished"}"#, r#"{"target":{"name":"a"},"executable":null}"#]
        {
            assert_eq!(executable(other), None);
        }
    }
}
