//! What is missing on a machine is named, with what it is for and how to get it.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use doctorkafka_testbed::{ControlPlane, KafkaCluster, Process, Scratch, find_program};
use tokio::process::Command;

/// Says in a copy of this test program what it shall try to start.
const START: &str = "DOCTORKAFKA_TESTBED_START";

/// Not a test of its own: what the copy runs.
#[tokio::test]
#[ignore = "started by other tests as a process of its own"]
async fn starter() {
    let error = match std::env::var(START).as_deref() {
        Ok("kafka") => KafkaCluster::builder().start().await.unwrap_err(),
        Ok("kubernetes") => ControlPlane::start().await.unwrap_err(),
        _ => return,
    };
    println!("{error:#}");
}

/// What a machine says that has only `programs`, and nothing in the cache, when asked to start `what`.
async fn error(what: &str, programs: &[&str]) -> Result<String> {
    let scratch = Scratch::new()?;
    let path = scratch.path().join("bin");
    std::fs::create_dir(&path)?;
    for program in programs {
        symlink(find_program(&program.into()).context("a program of this machine")?, path.join(program))?;
    }
    let mut copy = Command::new(std::env::current_exe()?);
    copy.args(["--ignored", "--exact", "--nocapture", "starter"])
        .env(START, what)
        .env("PATH", &path)
        .env("XDG_CACHE_HOME", scratch.path().join("cache"));
    let copy = Process::spawn("copy", copy, scratch.path().join("log"))?;
    copy.wait(Duration::from_secs(60)).await?;
    Ok(copy.log_tail())
}

#[tokio::test]
async fn missing_programs_are_named() -> Result<()> {
    let java = error("kafka", &["sh"]).await?;
    assert!(
        java.contains("java is missing. It is needed to run Apache Kafka. To install: apt-get"),
        "{java}"
    );
    let maven = error("kafka", &["sh", "java"]).await?;
    assert!(maven.contains("mvn is missing. It is needed to download Apache Kafka"), "{maven}");
    let go = error("kubernetes", &["sh"]).await?;
    assert!(go.contains("go is missing. It is needed to build etcd and kube-apiserver"), "{go}");
    Ok(())
}

#[tokio::test]
async fn a_failed_step_says_what_the_program_said() -> Result<()> {
    let scratch = Scratch::new()?;
    let bin = scratch.path().join("bin");
    std::fs::create_dir(&bin)?;
    for program in ["sh", "java"] {
        symlink(find_program(&program.into()).context("a program of this machine")?, bin.join(program))?;
    }
    let maven = bin.join("mvn");
    std::fs::write(&maven, "#!/bin/sh\necho the repository is away\nexit 1\n")?;
    std::fs::set_permissions(&maven, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let cache = scratch.path().join("cache");
    let mut copy = Command::new(std::env::current_exe()?);
    copy.args(["--ignored", "--exact", "--nocapture", "starter"]);
    copy.env(START, "kafka").env("PATH", &bin).env("XDG_CACHE_HOME", &cache);
    let copy = Process::spawn("copy", copy, scratch.path().join("log"))?;
    copy.wait(Duration::from_secs(60)).await?;
    let said = copy.log_tail();
    assert!(said.contains("download failed") && said.contains("the repository is away"), "{said}");
    let kept = |name: &str| Path::new(&cache).join("doctorkafka/testbed").join(name).exists();
    assert!(!kept("kafka-4.3.1"), "a part that failed is not taken for a whole one");
    Ok(())
}
