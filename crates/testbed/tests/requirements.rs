//! What a machine lacks is named, with what it is for and how to get it; what is downloaded is downloaded
//! once.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use doctorkafka_testbed::{ControlPlane, KafkaCluster, KafkaVersion, Process, Scratch, find_program};
use tokio::process::Command;

/// Says in a copy of this test program what it shall try to start.
const START: &str = "DOCTORKAFKA_TESTBED_START";
const SOON: Duration = Duration::from_secs(60);

/// Not a test of its own: what the copy runs.
#[tokio::test]
#[ignore = "started by other tests as a process of its own"]
async fn starter() {
    let error = match std::env::var(START).as_deref() {
        Ok("kafka") => KafkaCluster::builder().brokers(1).start().await.unwrap_err(),
        Ok("kubernetes") => ControlPlane::start().await.unwrap_err(),
        _ => return,
    };
    println!("{error:#}");
}

/// A machine that has a few programs only, and nothing in the cache.
struct Machine {
    scratch: Scratch,
}

impl Machine {
    fn with(programs: &[&str]) -> Result<Self> {
        let machine = Self { scratch: Scratch::new()? };
        fs::create_dir(machine.path("bin"))?;
        for program in programs {
            let real = find_program(&program.into()).context("a program of this machine")?;
            symlink(real, machine.path("bin").join(program))?;
        }
        Ok(machine)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    fn script(&self, program: &str, text: &str) -> Result<()> {
        let path = self.path("bin").join(program);
        fs::write(&path, format!("#!/bin/sh\n{text}\n"))?;
        Ok(fs::set_permissions(&path, Permissions::from_mode(0o755))?)
    }

    fn start(&self, what: &str) -> Result<Process> {
        let mut copy = Command::new(std::env::current_exe()?);
        copy.args(["--ignored", "--exact", "--nocapture", "starter"])
            .env(START, what)
            .env("PATH", self.path("bin"))
            .env("XDG_CACHE_HOME", self.path("cache"));
        let number = fs::read_dir(self.scratch.path())?.count();
        Process::spawn("copy", copy, self.path(&format!("log-{number}")))
    }

    /// What is said when it is tried to start something.
    async fn says(&self, what: &str) -> Result<String> {
        let copy = self.start(what)?;
        copy.wait(SOON).await?;
        Ok(copy.log_tail())
    }

    fn has(&self, part: &str) -> bool {
        self.path("cache").join("doctorkafka/testbed").join(part).is_dir()
    }
}

#[tokio::test]
async fn missing_programs_are_named() -> Result<()> {
    let java = Machine::with(&["sh"])?.says("kafka").await?;
    assert!(
        java.contains("java is missing. It is needed to run Apache Kafka. To install: apt-get"),
        "{java}"
    );
    let maven = Machine::with(&["sh", "java"])?.says("kafka").await?;
    assert!(maven.contains("mvn is missing. It is needed to download Apache Kafka"), "{maven}");
    let go = Machine::with(&["sh"])?.says("kubernetes").await?;
    assert!(go.contains("go is missing. It is needed to build etcd and kube-apiserver"), "{go}");
    Ok(())
}

#[tokio::test]
async fn a_failed_download_says_why_and_is_tried_again() -> Result<()> {
    let part = format!("kafka-{}", KafkaVersion::default());
    let machine = Machine::with(&["sh", "java"])?;
    machine.script("mvn", "echo the repository is away; exit 1")?;
    for _ in 0..2 {
        let said = machine.says("kafka").await?;
        assert!(said.contains("download failed") && said.contains("the repository is away"), "{said}");
        assert!(!machine.has(&part), "a part that failed is not taken for a whole one");
    }
    Ok(())
}

#[tokio::test]
async fn two_processes_download_once() -> Result<()> {
    let machine = Machine::with(&["sh", "sed", "mkdir", "rm", "sleep", "touch"])?;
    let count = machine.path("count");
    machine.script("mvn", &format!("echo once >> {}; mkdir libs; sleep 0.5", count.display()))?;
    // Stands in for the formatting tool, and ends at once when it shall be a broker.
    machine.script(
        "java",
        r#"for last; do :; done
case "$*" in *StorageTool*) ;; *) echo "no broker here"; exit 1 ;; esac
folder=$(sed -n 's/^log.dirs=//p' "$last"); mkdir -p "$folder"; touch "$folder/bootstrap.checkpoint""#,
    )?;
    let (one, two) = (machine.start("kafka")?, machine.start("kafka")?);
    for copy in [one, two] {
        copy.wait(SOON).await?;
        assert!(copy.log_tail().contains("no broker here"), "{}", copy.log_tail());
    }
    assert_eq!(fs::read_to_string(count)?.lines().count(), 1);
    assert!(machine.has(&format!("kafka-{}", KafkaVersion::default())));
    Ok(())
}
