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

/// Cargo, in the checkout.
pub fn cargo(arguments: &[&str]) -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(arguments).current_dir(root());
    cargo
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
