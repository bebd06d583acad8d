//! `cargo xtask testbed`: real Kafka, and if asked a real Kubernetes API server, for trying things by hand.
//!
//! `up` starts a copy of this program, the *holder*, in a session of its own. It owns everything that runs,
//! through the handles of `doctorkafka-testbed`, until `down` asks it to end.

mod holder;
mod state;

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use doctorkafka_testbed::{KafkaVersion, live_brokers, wait_until};
use rustix::process::{Pid, Signal, kill_process};

use self::state::{Name, Record, Testbed};

/// How long a testbed may take to end in order; JVMs are killed, not asked, so that is little.
const DOWN_WITHIN: Duration = Duration::from_secs(60);
const KUBECTL_WITHIN: Duration = Duration::from_secs(5);

/// Arguments of `cargo xtask testbed`.
#[derive(Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Start a testbed and leave it running; prints lines for a shell: eval "$(cargo xtask testbed up)"
    Up(Up),
    /// Stop testbeds and remove their data
    Down {
        /// Only this one; all of them if not given
        #[arg(long)]
        name: Option<Name>,
    },
    /// List the testbeds that run, and how they are
    Status,
}

/// What to start.
#[derive(Args, Clone)]
pub struct Up {
    /// What to call it; the first free one of "testbed", "testbed-2", … if not given
    #[arg(long)]
    name: Option<Name>,
    /// How many brokers
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(i32).range(1..=30))]
    brokers: i32,
    /// Which Kafka: 4.3.1, 4.1.2 or 3.9.2
    #[arg(long, default_value_t)]
    kafka: KafkaVersion,
    /// Start etcd and kube-apiserver too
    #[arg(long)]
    kubernetes: bool,
    /// Stay in the foreground until Ctrl-C
    #[arg(long)]
    foreground: bool,
    /// Be the holder
    #[arg(long, hide = true)]
    hold: bool,
}

/// Runs `cargo xtask testbed`.
///
/// # Errors
/// What was asked for could not be done.
pub fn run(arguments: Arguments) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the asynchronous runtime cannot be started")?;
    match arguments.action {
        Action::Up(up) if up.hold => runtime.block_on(holder::detached(&up)),
        Action::Up(up) if up.foreground => runtime.block_on(holder::foreground(&up)),
        Action::Up(up) => start_holder(&up),
        Action::Down { name } => runtime.block_on(down(name.as_ref())),
        Action::Status => runtime.block_on(status()),
    }
}

/// Starts the holder and passes on what it says. It writes its lines and closes standard output when all is
/// ready; its standard input tells it that this process, and with it the user, has not given up.
fn start_holder(up: &Up) -> Result<()> {
    let program = std::env::current_exe().context("this program's own path is unknown")?;
    let mut command = Command::new(program);
    command.args(["testbed", "up", "--hold", "--brokers", &up.brokers.to_string()]);
    command.args(["--kafka", up.kafka.as_str()]);
    if let Some(name) = &up.name {
        command.args(["--name", name.as_str()]);
    }
    if up.kubernetes {
        command.arg("--kubernetes");
    }
    let mut holder = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("the process that holds the testbed cannot be started")?;
    let mut lines = String::new();
    if let Some(mut output) = holder.stdout.take() {
        output
            .read_to_string(&mut lines)
            .context("the process that holds the testbed cannot be read from")?;
    }
    if lines.is_empty() {
        let status = holder.wait().context("the process that holds the testbed cannot be waited for")?;
        bail!("the testbed did not start ({status}); the reason is above");
    }
    print!("{lines}");
    Ok(())
}

async fn down(name: Option<&Name>) -> Result<()> {
    let mut running = state::running()?;
    if let Some(name) = name {
        running.retain(|testbed| testbed.name == *name);
        if running.is_empty() {
            bail!("no testbed {name} is running: `cargo xtask testbed status` lists those that are");
        }
    }
    if running.is_empty() {
        println!("no testbed is running");
    }
    for testbed in running {
        let pid = Pid::from_raw(testbed.record.pid).context("a testbed without a process id")?;
        kill_process(pid, Signal::TERM)
            .with_context(|| format!("testbed {} (process {pid:?}) cannot be asked to end", testbed.name))?;
        let ended = wait_until("it to end", DOWN_WITHIN, || async { !testbed.is_running() }).await;
        if ended.is_err() {
            // Whatever it started has a watcher of its own and ends with it.
            kill_process(pid, Signal::KILL).ok();
            bail!("testbed {} did not end within {} s and was killed", testbed.name, DOWN_WITHIN.as_secs());
        }
        println!("testbed {}: stopped", testbed.name);
    }
    Ok(())
}

async fn status() -> Result<()> {
    let running = state::running()?;
    if running.is_empty() {
        println!("no testbed is running");
        return Ok(());
    }
    let mut rows = vec![["NAME", "PROCESS", "AGE", "KAFKA", "BROKERS", "API SERVER"].map(str::to_owned)];
    for Testbed { name, record, .. } in &running {
        let age = format!("{} s", record.started.elapsed().unwrap_or_default().as_secs());
        rows.push([
            name.to_string(),
            record.pid.to_string(),
            age,
            record.kafka.clone(),
            brokers(record).await,
            api_server(record).await,
        ]);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or_default();
    let widths: [usize; 6] = std::array::from_fn(width);
    for row in &rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        println!("{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
    Ok(())
}

/// How many brokers serve clients.
async fn brokers(record: &Record) -> String {
    if record.bootstrap.is_empty() {
        return "starting".to_owned();
    }
    let (mut all, mut serving) = (0, 0);
    for address in record.bootstrap.split(',') {
        all += 1;
        serving += usize::from(live_brokers(address).await.is_ok());
    }
    format!("{serving} of {all} serving")
}

/// Whether the API server is ready.
async fn api_server(record: &Record) -> String {
    let Some(kubernetes) = &record.kubernetes else {
        return "-".to_owned();
    };
    let mut kubectl = tokio::process::Command::new(&kubernetes.kubectl);
    kubectl.args(["get", "--raw", "/readyz", "--kubeconfig"]).arg(&kubernetes.kubeconfig).kill_on_drop(true);
    match tokio::time::timeout(KUBECTL_WITHIN, kubectl.output()).await {
        Ok(Ok(output)) if output.status.success() => format!("{} ready", kubernetes.version),
        _ => format!("{} not ready", kubernetes.version),
    }
}
