//! `cargo xtask check`: everything that can be said of the code without running it.

use crate::{
    licences,
    steps::{Steps, cargo, succeed},
};
use anyhow::Context;
use doctorkafka_testbed::find_program;
use std::process::Command;

/// Nothing to choose.
#[derive(clap::Args)]
pub struct Arguments {}

/// Runs all checks.
///
/// # Errors
/// One of them failed.
pub fn run(_arguments: Arguments) -> anyhow::Result<()> {
    let mut steps = Steps::default();
    all(&mut steps);
    steps.print();
    steps.verdict()
}

/// Runs all checks as steps.
pub fn all(steps: &mut Steps) {
    steps.run("licences", || Ok(format!("{} crates", licences::check()?)));
    if find_program(&"cargo-deny".into()).is_some() {
        steps.run("deny", || quietly(&["deny", "check", "bans", "licenses", "sources"]));
    } else {
        steps.skip("deny", "cargo-deny is not installed; licences were checked all the same");
    }
    steps.run("format", || quietly(&["fmt", "--all", "--check"]));
    steps.run("clippy", || {
        quietly(&["clippy", "--locked", "--workspace", "--all-targets", "--", "--deny", "warnings"])
    });
    steps.run("generated", || {
        let this = std::env::current_exe().context("the path of this program is not known")?;
        succeed(Command::new(this).args(["gen", "--check"]))?;
        Ok(String::new())
    });
    steps.run("documents", || {
        let mut doc = cargo(&["doc", "--locked", "--workspace", "--no-deps", "--document-private-items"]);
        succeed(doc.env("RUSTDOCFLAGS", "--deny warnings"))?;
        Ok(String::new())
    });
}

fn quietly(arguments: &[&str]) -> anyhow::Result<String> {
    succeed(&mut cargo(arguments))?;
    Ok(String::new())
}
