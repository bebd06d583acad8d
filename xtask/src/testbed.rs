//! `cargo xtask testbed`.

/// placeholder
#[derive(clap::Args)]
pub struct Arguments {}

/// placeholder
pub fn run(_arguments: Arguments) -> anyhow::Result<()> {
    anyhow::bail!("follows")
}
