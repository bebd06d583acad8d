//! `cargo xtask cluster`: a real Kubernetes on this machine, for trying things by hand.
//!
//! Without `--kind` it is the testbed's node, held like a testbed by a copy of this program in a session of its own.

mod kind;

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use doctorkafka_testbed::{Node, NodeRecord, runtime_dir, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use crate::requirements;

/// How long a node may take to end; everything in it is killed, not asked.
const DOWN_WITHIN: Duration = Duration::from_secs(60);

/// Arguments of `cargo xtask cluster`.
#[derive(Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Start a Kubernetes with one node and leave it running; prints a line for a shell: eval "$(cargo xtask cluster up)"
    Up(Up),
    /// Stop it and take everything away, also what a killed one left behind
    Down {
        /// The kind cluster instead of the node
        #[arg(long)]
        kind: bool,
    },
    /// Load images for its pods from an archive (cargo xtask images makes some); "kafka" is a Kafka for tests
    Load {
        /// An OCI or Docker archive, or kafka
        image: PathBuf,
        /// Into the kind cluster instead of the node
        #[arg(long)]
        kind: bool,
    },
    /// Say what runs
    Status,
    /// Run kubectl on the node
    Kubectl {
        /// What kubectl is told
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Run Helm on the node
    Helm {
        /// What Helm is told
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

/// What to start.
#[derive(Args)]
pub struct Up {
    /// Use kind and Docker, with kind-config.yaml
    #[arg(long)]
    kind: bool,
    /// Stay in the foreground until Ctrl-C
    #[arg(long, conflicts_with = "kind")]
    foreground: bool,
    /// Be the holder
    #[arg(long, hide = true)]
    hold: bool,
}

/// Runs `cargo xtask cluster`.
///
/// # Errors
/// What was asked for could not be done.
pub fn run(arguments: Arguments) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the asynchronous runtime cannot be started")?;
    match arguments.action {
        Action::Up(up) if up.kind => kind::up(),
        Action::Up(up) if up.hold => runtime.block_on(hold(Holding::Detached)),
        Action::Up(up) => {
            requirements::provide(&requirements::FOR_NODE)?;
            if up.foreground { runtime.block_on(hold(Holding::Foreground)) } else { start_holder() }
        }
        Action::Down { kind: true } => kind::down(),
        Action::Down { kind: false } => runtime.block_on(down()),
        Action::Load { image, kind: true } => kind::load(&image),
        Action::Load { image, kind: false } => runtime.block_on(load(&image)),
        Action::Status => runtime.block_on(status()),
        Action::Kubectl { arguments } => runtime.block_on(kubectl(&arguments)),
        Action::Helm { arguments } => runtime.block_on(helm(&arguments)),
    }
}

/// Starts the holder and passes on what it says. It writes its lines and closes standard output when the node is
/// ready; its standard input tells it that this process, and with it the user, has not given up.
fn start_holder() -> Result<()> {
    let program = std::env::current_exe().context("this program's own path is unknown")?;
    let mut holder = Command::new(program)
        .args(["cluster", "up", "--hold"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("the process that holds the node cannot be started")?;
    let mut lines = String::new();
    if let Some(mut output) = holder.stdout.take() {
        output.read_to_string(&mut lines).context("the process that holds the node cannot be read from")?;
    }
    if lines.is_empty() {
        let status = holder.wait().context("the process that holds the node cannot be waited for")?;
        bail!("the node did not start ({status}); the reason is above");
    }
    print!("{lines}");
    Ok(())
}

/// How a node is held.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Holding {
    /// On the terminal it was started on.
    Foreground,
    /// In a session of its own.
    Detached,
}

/// Starts a node, says so, holds it, ends it.
async fn hold(holding: Holding) -> Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut hang_up = signal(SignalKind::hangup())?;
    let asked_to_end = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hang_up.recv() => {}
        }
    };
    tokio::pin!(asked_to_end);
    let (gave_up, given_up) = oneshot::channel::<()>();
    if holding == Holding::Detached {
        rustix::process::setsid().context("no session of its own can be started")?;
        // While it starts, its starter holds the other end of standard input: the end of that is a Ctrl-C.
        std::thread::spawn(move || {
            std::io::stdin().read_to_end(&mut Vec::new()).ok();
            gave_up.send(()).ok();
        });
    } else {
        std::mem::forget(gave_up); // nobody gives up but by a signal
    }

    let begun = Instant::now();
    eprintln!("cluster: starting a Kubernetes node ...");
    let node = tokio::select! {
        started = Node::start() => started?,
        _ = given_up => bail!("given up while starting; all of it has ended"),
        () = &mut asked_to_end => bail!("ended while starting; nothing is left"),
    };
    eprintln!("cluster: Kubernetes {} is ready after {} s", node.version(), begun.elapsed().as_secs());
    println!("export KUBECONFIG={}", node.kubeconfig().display());
    eprint!("{NEXT}");
    if holding == Holding::Detached {
        std::io::Write::flush(&mut std::io::stdout()).ok();
        // From here on nobody listens. Closing standard output tells the starter that all is said.
        let path = runtime_dir()?.join(format!("node-{}.log", node.number()));
        let log = File::create(&path).with_context(|| format!("{} cannot be written", path.display()))?;
        rustix::stdio::dup2_stderr(&log).context("standard error cannot be redirected")?;
        rustix::stdio::dup2_stdout(&log).context("standard output cannot be redirected")?;
    } else {
        eprintln!("cluster: Ctrl-C ends it");
    }
    asked_to_end.await;
    drop(node);
    Ok(())
}

const NEXT: &str = "\
cluster: next, for example:
  cargo xtask images --out target/images         make the images of operator and sidecar
  cargo xtask cluster load target/images/operator.tar
  cargo xtask cluster load target/images/sidecar.tar
  cargo xtask cluster load kafka                 and a Kafka
  cargo xtask cluster kubectl get nodes
  cargo xtask cluster helm install doctorkafka charts/doctorkafka --namespace doctorkafka --create-namespace
  cargo xtask cluster down                       take it all away
";

async fn down() -> Result<()> {
    let running = Node::running()?;
    if running.is_empty() {
        println!("no node is running, and none has left anything behind");
    }
    for record in running {
        let number = record.number();
        let pid = Pid::from_raw(record.pid).context("a node without a process id")?;
        kill_process(pid, Signal::TERM)
            .with_context(|| format!("node {number} (process {pid:?}) cannot be asked to end"))?;
        let gone =
            || async { Node::running().is_ok_and(|nodes| nodes.iter().all(|node| node.number() != number)) };
        if wait_until("it to end", DOWN_WITHIN, gone).await.is_err() {
            // Whatever it started has a watcher of its own and ends with it.
            kill_process(pid, Signal::KILL).ok();
            bail!("node {number} did not end within {} s and was killed", DOWN_WITHIN.as_secs());
        }
        println!("node {number}: stopped");
    }
    Ok(())
}

/// The node that runs, or the first of several.
fn node() -> Result<NodeRecord> {
    let ready = Node::running()?.into_iter().find(|node| node.ready);
    ready.context("no node is running: start one with `cargo xtask cluster up`")
}

async fn load(image: &std::path::Path) -> Result<()> {
    let node = node()?;
    let archive = if image.as_os_str() == "kafka" {
        doctorkafka_testbed::kafka_image().await?
    } else {
        image.to_path_buf()
    };
    node.load_image(&archive).await?;
    println!("{}: loaded; pods that use it must not say imagePullPolicy: Always", archive.display());
    Ok(())
}

async fn status() -> Result<()> {
    let running = Node::running()?;
    if running.is_empty() {
        println!("no node is running");
    }
    for node in running {
        let age = node.started.elapsed().unwrap_or_default().as_secs();
        let state = if node.ready { "ready" } else { "starting" };
        println!("node {}: {state}, process {}, {age} s", node.number(), node.pid);
        if node.ready {
            println!("export KUBECONFIG={}", node.kubeconfig.display());
            let mut kubectl = node.kubectl().await?;
            kubectl.args(["get", "nodes,pods", "--all-namespaces", "--request-timeout=5s"]);
            kubectl.status().await.context("kubectl cannot be run")?;
        }
    }
    Ok(())
}

async fn kubectl(arguments: &[String]) -> Result<()> {
    let mut kubectl = node()?.kubectl().await?;
    let status = kubectl.args(arguments).status().await.context("kubectl cannot be run")?;
    if status.success() { Ok(()) } else { bail!("kubectl ended with {status}") }
}

async fn helm(arguments: &[String]) -> Result<()> {
    let mut helm = doctorkafka_testbed::Helm::prepare().await?.command();
    let status = helm.env("KUBECONFIG", node()?.kubeconfig).args(arguments).status().await;
    let status = status.context("helm cannot be run")?;
    if status.success() { Ok(()) } else { bail!("helm ended with {status}") }
}
