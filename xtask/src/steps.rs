//! A row of commands, each shown with its name, its outcome and its time.

use anyhow::Context;
use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// The checkout that this program was built from.
pub fn root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask).to_path_buf()
}

/// Cargo, in the checkout. What `cargo run` tells this program of itself is kept from it: build scripts that look at
/// it (ring's does) would otherwise run again each time, and everything after them.
pub fn cargo(arguments: &[&str]) -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(arguments).current_dir(root());
    for name in std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()) {
        if told_by_cargo_run(&name) {
            cargo.env_remove(name);
        }
    }
    cargo
}

/// Whether a variable is about the package that `cargo run` runs, and not a setting of the user's.
fn told_by_cargo_run(name: &str) -> bool {
    ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|prefix| name.starts_with(prefix))
        || ["CARGO_BIN_NAME", "CARGO_CRATE_NAME", "CARGO_PRIMARY_PACKAGE"].contains(&name)
}

/// What was run so far. A step that fails does not keep the next ones from running: one look shows everything that is
/// wrong.
#[derive(Debug, Default)]
pub struct Steps {
    done: Vec<Step>,
}

#[derive(Debug)]
struct Step {
    name: &'static str,
    outcome: Outcome,
    took: Duration,
}

#[derive(Debug)]
enum Outcome {
    Passed(String),
    Failed(String),
    Skipped(String),
}

impl Steps {
    /// Runs one step; what it gives is shown beside its name.
    pub fn run(&mut self, name: &'static str, step: impl FnOnce() -> anyhow::Result<String>) {
        println!("\n=== {name}");
        let started = Instant::now();
        let outcome = match step() {
            Ok(detail) => Outcome::Passed(detail),
            Err(error) => {
                println!("{error:#}");
                let first = format!("{error:#}").lines().next().unwrap_or_default().to_owned();
                Outcome::Failed(first)
            }
        };
        self.done.push(Step { name, outcome, took: started.elapsed() });
    }

    /// Notes a step that is left out, and why.
    pub fn skip(&mut self, name: &'static str, why: &str) {
        self.done.push(Step { name, outcome: Outcome::Skipped(why.to_owned()), took: Duration::ZERO });
    }

    /// Prints all steps with their times.
    pub fn print(&self) {
        println!("\n=== steps");
        for Step { name, outcome, took } in &self.done {
            let (word, detail) = match outcome {
                Outcome::Passed(detail) => ("ok", detail),
                Outcome::Failed(detail) => ("FAILED", detail),
                Outcome::Skipped(detail) => ("skipped", detail),
            };
            println!("  {name:<14} {word:<8} {:>6.1} s   {detail}", took.as_secs_f64());
        }
    }

    /// Fails when a step did, with the names of those that did.
    ///
    /// # Errors
    /// A step failed.
    pub fn verdict(&self) -> anyhow::Result<()> {
        let failed: Vec<_> =
            self.done.iter().filter(|s| matches!(s.outcome, Outcome::Failed(_))).map(|s| s.name).collect();
        if failed.is_empty() { Ok(()) } else { Err(anyhow::anyhow!("failed: {}", failed.join(", "))) }
    }
}

/// Runs a command to its end, its output on the terminal.
///
/// # Errors
/// It cannot be run, or fails.
pub fn succeed(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("{command:?} cannot be run"))?;
    anyhow::ensure!(status.success(), "{} ended with {status}", shown(command));
    Ok(())
}

/// Runs a command to its end, passing on its standard output and giving each line of it to `see` as well. Tells
/// whether it succeeded.
///
/// # Errors
/// It cannot be run.
pub fn watch(command: &mut Command, mut see: impl FnMut(&str)) -> anyhow::Result<bool> {
    let mut child =
        command.stdout(Stdio::piped()).spawn().with_context(|| format!("{command:?} cannot be run"))?;
    let output = child.stdout.take().context("a command without output")?;
    for line in BufReader::new(output).split(b'\n') {
        let line = line.context("a command's output cannot be read")?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        see(&line);
    }
    Ok(child.wait().context("a command's end cannot be seen")?.success())
}

fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    let words = std::iter::once(program).chain(command.get_args()).map(|word| word.to_string_lossy());
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_is_not_told_of_this_package_but_of_the_users_settings() {
        // `cargo test` sets it for this very test.
        assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
        let cargo = cargo(&["build"]);
        assert!(cargo.get_envs().any(|(name, value)| name == "CARGO_MANIFEST_DIR" && value.is_none()));
        for setting in ["CARGO_TARGET_DIR", "CARGO_HOME", "CARGO_TERM_COLOR", "CARGO_NET_OFFLINE"] {
            assert!(!told_by_cargo_run(setting), "{setting}");
        }
    }

    #[test]
    fn a_failed_step_fails_the_whole_and_stops_no_other() {
        let mut steps = Steps::default();
        let mut later = false;
        steps.run("first", || anyhow::bail!("broken"));
        steps.run("second", || {
            later = true;
            Ok(String::new())
        });
        assert!(later);
        assert_eq!(steps.verdict().unwrap_err().to_string(), "failed: first");
        let mut passed = Steps::default();
        passed.skip("optional", "not installed");
        assert!(passed.verdict().is_ok());
    }

    #[test]
    fn output_is_watched_line_by_line_to_the_end() {
        let mut lines = Vec::new();
        let mut command = Command::new("sh");
        command.args(["-c", "echo one; printf two; exit 3"]);
        let succeeded = watch(&mut command, |line| lines.push(line.to_owned())).unwrap();
        assert!(!succeeded);
        assert_eq!(lines, ["one", "two"]);
    }
}
