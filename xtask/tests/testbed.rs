//! `cargo xtask testbed` as a user runs it.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use doctorkafka_testbed::{Process, Scratch, live_brokers, wait_until};
use tokio::process::Command;

const START_WITHIN: Duration = Duration::from_secs(240);
const SOON: Duration = Duration::from_secs(30);

/// A name that no other run of this test takes.
fn name(suffix: &str) -> String {
    format!("test-{}-{suffix}", std::process::id())
}

fn xtask(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.arg("testbed").args(arguments).kill_on_drop(true).env_remove("RUST_BACKTRACE");
    command
}

async fn says(arguments: &[&str]) -> Result<String> {
    let output = tokio::time::timeout(START_WITHIN, xtask(arguments).output()).await??;
    ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// The line of one testbed in `status`.
async fn line(name: &str) -> Result<Option<String>> {
    Ok(says(&["status"]).await?.lines().find(|line| line.starts_with(&format!("{name} "))).map(str::to_owned))
}

fn variables(lines: &str) -> HashMap<&str, &str> {
    lines.lines().filter_map(|line| line.split_once('=')).collect()
}

/// Whether any process has `text` in its command line.
fn any_process_with(text: &str) -> bool {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .map(|entry| std::fs::read(entry.path().join("cmdline")).unwrap_or_default())
        .any(|command_line| String::from_utf8_lossy(&command_line).contains(text))
}

#[tokio::test]
async fn two_testbeds_run_beside_each_other_until_down() -> Result<()> {
    let (first, second) = (name("a"), name("b"));
    let first_up = ["up", "--name", &first, "--brokers", "1"];
    let second_up = ["up", "--name", &second, "--brokers", "2", "--kafka", "4.1.2", "--kubernetes"];
    let (first_lines, second_lines) = tokio::try_join!(says(&first_up), says(&second_up))?;
    let (one, two) = (variables(&first_lines), variables(&second_lines));
    assert_eq!((one["TESTBED"], two["TESTBED"]), (first.as_str(), second.as_str()));
    assert!(!one.contains_key("KUBECONFIG"));
    for address in [one["KAFKA_BROKERS"], two["KAFKA_BROKERS"]].iter().flat_map(|list| list.split(',')) {
        live_brokers(address).await?;
    }
    let data = Path::new(two["KUBECONFIG"]).parent().context("the control plane's folder")?;
    assert!(any_process_with(&data.display().to_string()));

    let (first_line, second_line) = (line(&first).await?.unwrap(), line(&second).await?.unwrap());
    assert!(first_line.contains("4.3.1") && first_line.contains("1 of 1 serving"), "{first_line}");
    assert!(second_line.contains("4.1.2") && second_line.contains("2 of 2 serving"), "{second_line}");
    assert!(second_line.ends_with("ready") && !second_line.contains("not ready"), "{second_line}");
    let again = says(&first_up).await.unwrap_err();
    assert!(again.to_string().contains("is running already"), "{again}");

    assert_eq!(says(&["down", "--name", &second]).await?, format!("testbed {second}: stopped\n"));
    assert_eq!(line(&second).await?, None);
    assert!(!data.exists() && !any_process_with(&data.display().to_string()));
    live_brokers(one["KAFKA_BROKERS"]).await.context("the other one is untouched")?;
    says(&["down", "--name", &first]).await?;
    live_brokers(one["KAFKA_BROKERS"]).await.unwrap_err();
    let unknown = says(&["down", "--name", &first]).await.unwrap_err();
    assert!(unknown.to_string().contains("no testbed"), "{unknown}");
    Ok(())
}

/// Starts a testbed, waits until it is listed as starting, and returns the process that was started.
async fn starting(name: &str, scratch: &Scratch, more: &[&str]) -> Result<Process> {
    let mut up = xtask(&["up", "--name", name]);
    up.args(more);
    let up = Process::spawn("up", up, scratch.path().join("up.log"))?;
    wait_until("the testbed to be starting", SOON, || async {
        line(name).await.is_ok_and(|line| line.is_some())
    })
    .await
    .with_context(|| up.log_tail())?;
    Ok(up)
}

async fn nothing_is_left(name: &str, holder: &str) -> Result<()> {
    wait_until("the testbed to be gone", SOON, || async {
        line(name).await.is_ok_and(|line| line.is_none()) && !Path::new(&format!("/proc/{holder}")).exists()
    })
    .await
}

#[tokio::test]
async fn ctrl_c_while_starting_ends_all() -> Result<()> {
    for more in [&[][..], &["--foreground"][..]] {
        let (scratch, name) = (Scratch::new()?, name(&format!("c{}", more.len())));
        let up = starting(&name, &scratch, more).await?;
        let holder = line(&name).await?.unwrap().split_whitespace().nth(1).unwrap().to_owned();
        let pid = rustix::process::Pid::from_raw(up.pid()).context("a process id")?;
        rustix::process::kill_process(pid, rustix::process::Signal::INT)?;
        assert!(!up.wait(SOON).await?.success());
        nothing_is_left(&name, &holder).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_foreground_testbed_ends_by_down() -> Result<()> {
    let (scratch, name) = (Scratch::new()?, name("f"));
    let up = starting(&name, &scratch, &["--foreground", "--brokers", "1"]).await?;
    let log = || std::fs::read_to_string(up.log()).unwrap_or_default();
    let brokers = wait_until("its lines", START_WITHIN, || async {
        variables(&log()).get("KAFKA_BROKERS").map(|brokers| (*brokers).to_owned())
    })
    .await?;
    live_brokers(&brokers).await?;
    says(&["down", "--name", &name]).await?;
    assert!(up.wait(SOON).await?.success(), "{}", log());
    live_brokers(&brokers).await.unwrap_err();
    Ok(())
}

#[tokio::test]
async fn bad_arguments_are_named() {
    for (arguments, reason) in [
        (&["up", "--brokers", "0"][..], "--brokers"),
        (&["up", "--kafka", "0.8.2"][..], "4.3.1, 4.1.2, 3.9.2"),
        (&["up", "--name", "Not A Name"][..], "lower-case"),
        (&["down", "--name", "no-such-testbed"][..], "no-such-testbed"),
        (&["up", "--zookeeper"][..], "--zookeeper"),
    ] {
        let error = says(arguments).await.unwrap_err().to_string();
        assert!(error.contains(reason), "{arguments:?}: {error}");
    }
}
