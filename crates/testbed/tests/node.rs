//! The node runs pods, and takes itself away whatever becomes of its holder.
//!
//! It needs root and is built for minutes the first time, so these tests are not run with the others:
//! `cargo xtask e2e` runs them, as does `cargo test -p doctorkafka-testbed --test node -- --ignored --test-threads 1`.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use doctorkafka_testbed::{Node, Process, Scratch, wait_until};
use tokio::process::Command;

const SOON: Duration = Duration::from_secs(60);
const STARTS: Duration = Duration::from_secs(240);

/// Not a test of its own: what a copy of this program runs, to be killed.
#[tokio::test]
#[ignore = "started by another test as a process of its own"]
async fn holder() -> Result<()> {
    let Some(mark) = std::env::var_os("DOCTORKAFKA_HOLD_NODE") else { return Ok(()) };
    let node = Node::start().await?;
    std::fs::write(&mark, node.kubeconfig().display().to_string())?;
    std::future::pending::<()>().await;
    drop(node);
    Ok(())
}

/// What would be left of a node in the kernel: names begin alike on purpose.
fn remains() -> Vec<String> {
    let ours = |folder: &str| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let paths = entries.map(|entry| entry.path().display().to_string());
        paths
            .filter(|path| path.rsplit('/').next().is_some_and(|name| name.starts_with("doctorkafka")))
            .collect()
    };
    let mut found: Vec<Vec<String>> =
        vec![ours("/run/netns"), ours("/sys/class/net"), ours("/sys/fs/cgroup")];
    let hierarchies = std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
    found.extend(hierarchies.map(|hierarchy| ours(&hierarchy.path().display().to_string())));
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    found.push(
        mounts.lines().filter(|mount| mount.contains("doctorkafka-testbed-")).map(str::to_owned).collect(),
    );
    found.concat()
}

/// Processes whose command line names a folder.
fn processes_of(folder: &Path) -> Vec<String> {
    let name = folder.display().to_string();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let lines = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines.filter(|line| line.contains(&name) && !line.starts_with("sh -c")).collect()
}

async fn succeed(mut command: Command, arguments: &[&str]) -> Result<String> {
    let output = command.args(arguments).output().await.context("kubectl does not run")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(text)
}

#[tokio::test]
#[ignore = "run by cargo xtask e2e: it needs root, and minutes the first time"]
async fn a_pod_runs_and_nothing_is_left_behind() -> Result<()> {
    let node = Node::start().await?;
    let before: Vec<String> = remains();
    ensure!(!before.is_empty(), "this test does not see a node that runs");
    node.load_image(&doctorkafka_testbed::kafka_image().await?).await?;
    let image = format!("--image={}", doctorkafka_testbed::KAFKA_IMAGE);
    let sleep = ["--command", "--", "sleep", "600"];
    let run = ["run", "sleeper", &image, "--image-pull-policy=Never"];
    succeed(node.kubectl(), &[run.as_slice(), &sleep].concat()).await?;
    succeed(node.kubectl(), &["wait", "--for=condition=Ready", "pod/sleeper", "--timeout=60s"]).await?;
    // What a container prints comes back through API server and kubelet.
    let id = succeed(node.kubectl(), &["exec", "sleeper", "--", "id", "-u"]).await?;
    ensure!(id.trim() == "1001", "the container runs as {id}");
    let folder = node.kubeconfig().parent().map(Path::to_path_buf).context("a folder")?;
    drop(node);
    ensure!(remains().is_empty(), "left behind: {:?}", remains());
    ensure!(!folder.exists(), "{} is left behind", folder.display());
    ensure!(processes_of(&folder).is_empty(), "left behind: {:?}", processes_of(&folder));
    Ok(())
}

#[tokio::test]
#[ignore = "run by cargo xtask e2e: it needs root, and minutes the first time"]
async fn nothing_is_left_behind_when_the_holder_is_killed() -> Result<()> {
    let scratch = Scratch::new()?;
    let mark = scratch.path().join("ready");
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--exact", "holder", "--ignored", "--nocapture"]).env("DOCTORKAFKA_HOLD_NODE", &mark);
    let holder = Process::spawn("holder", command, scratch.path().join("holder.log"))?;
    let kubeconfig = wait_until("the node to be ready", STARTS, || async {
        if !holder.is_running() {
            return Some(None);
        }
        std::fs::read_to_string(&mark).ok().filter(|path| !path.is_empty()).map(Some)
    });
    let kubeconfig = kubeconfig.await?.with_context(|| format!("it ended: {}", holder.log_tail()))?;
    let folder = Path::new(&kubeconfig).parent().map(Path::to_path_buf).context("a folder")?;
    holder.kill().await?;
    wait_until("everything to be gone", SOON, || async {
        remains().is_empty() && !folder.exists() && processes_of(&folder).is_empty()
    })
    .await
    .with_context(|| format!("left behind: {:?} {:?}", remains(), processes_of(&folder)))?;
    ensure!(Node::running()?.is_empty(), "a node is still said to run");
    Ok(())
}
