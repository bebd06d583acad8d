//! What is downloaded and built once: a folder per part and version, outside any checkout.
//!
//! A part is made in a folder of another name and renamed when it is whole, under a lock file, so that a part
//! that exists is complete, whatever was interrupted, and two processes never build the same one at the same
//! time.

use std::fs::{self, File};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::process::Command;

use crate::process::{Process, find_program, log_tail};

/// How often a long step says that it goes on.
const PROGRESS_EVERY: Duration = Duration::from_secs(10);
/// How often a waiting process looks whether the other one has finished building.
const LOCK_POLL: Duration = Duration::from_millis(200);

/// A program that must be on the machine.
pub(crate) struct Tool {
    /// Its name on `PATH`.
    pub program: &'static str,
    /// What it is needed for, as the end of "It is needed to …".
    pub purpose: &'static str,
    /// How to get it.
    pub install: &'static str,
}

pub(crate) const JAVA: Tool = Tool {
    program: "java",
    purpose: "run Apache Kafka",
    install: "apt-get install openjdk-17-jre-headless, or any Java 17 or newer",
};
pub(crate) const MAVEN: Tool = Tool {
    program: "mvn",
    purpose: "download Apache Kafka, once",
    install: "apt-get install maven, or https://maven.apache.org/install.html",
};
pub(crate) const GO: Tool = Tool {
    program: "go",
    purpose: "build etcd and kube-apiserver, once",
    install: "https://go.dev/doc/install (1.26 or newer; older ones fetch it by themselves)",
};

impl Tool {
    /// The program's path.
    pub(crate) fn find(&self) -> Result<PathBuf> {
        match find_program(&self.program.into()) {
            Some(path) => Ok(path),
            None => bail!(
                "{} is missing. It is needed to {}. To install: {}",
                self.program,
                self.purpose,
                self.install
            ),
        }
    }
}

/// Where parts are kept: `$XDG_CACHE_HOME/doctorkafka/testbed`, else `~/.cache/doctorkafka/testbed`.
pub(crate) fn root() -> Result<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    match absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache"))) {
        Some(cache) => Ok(cache.join("doctorkafka").join("testbed")),
        None => {
            bail!("neither XDG_CACHE_HOME nor HOME is set: there is no place to keep Kafka and Kubernetes")
        }
    }
}

/// Whether a part is there already.
pub(crate) fn has(part: &str) -> bool {
    root().is_ok_and(|root| root.join(part).is_dir())
}

/// The folder of a part; `build` fills it if it is not there yet.
pub(crate) async fn ensure<B, F>(part: &str, build: B) -> Result<PathBuf>
where
    B: FnOnce(PathBuf) -> F,
    F: Future<Output = Result<()>>,
{
    let root = root()?;
    let folder = root.join(part);
    if folder.is_dir() {
        return Ok(folder);
    }
    fs::create_dir_all(&root).with_context(|| format!("{} cannot be made", root.display()))?;
    let _lock = lock(&root.join(format!("{part}.lock")), part).await?;
    if folder.is_dir() {
        return Ok(folder);
    }
    let partial = root.join(format!("{part}.partial"));
    if partial.exists() {
        fs::remove_dir_all(&partial).with_context(|| format!("{} cannot be removed", partial.display()))?;
    }
    fs::create_dir(&partial).with_context(|| format!("{} cannot be made", partial.display()))?;
    build(partial.clone()).await?;
    fs::rename(&partial, &folder).with_context(|| format!("{} cannot be put in place", folder.display()))?;
    Ok(folder)
}

/// Holds the lock file until dropped.
async fn lock(path: &Path, part: &str) -> Result<File> {
    let file = File::create(path).with_context(|| format!("{} cannot be written", path.display()))?;
    let started = Instant::now();
    let mut told = Duration::ZERO;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(fs::TryLockError::WouldBlock) => {
                if started.elapsed() >= told {
                    eprintln!(
                        "testbed: {part} is being made by another process, waiting ({} s)",
                        started.elapsed().as_secs()
                    );
                    told = started.elapsed() + PROGRESS_EVERY;
                }
                tokio::time::sleep(LOCK_POLL).await;
            }
            Err(fs::TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("{} cannot be locked", path.display()));
            }
        }
    }
}

/// Runs one step of a build, telling on standard error that it goes on; its output is in `log`.
pub(crate) async fn step(what: &str, command: Command, log: &Path, within: Duration) -> Result<()> {
    let started = Instant::now();
    eprintln!("testbed: {what} (once) ...");
    let process = Process::spawn(what, command, log)?;
    loop {
        if let Ok(status) = process.wait(PROGRESS_EVERY).await {
            if status.success() {
                eprintln!("testbed: {what}: done in {} s", started.elapsed().as_secs());
                return Ok(());
            }
            bail!("{what} failed ({status}):\n{}", log_tail(log));
        }
        if started.elapsed() > within {
            bail!("{what} was given up after {} s:\n{}", started.elapsed().as_secs(), log_tail(log));
        }
        eprintln!("testbed: {what}: {} s", started.elapsed().as_secs());
    }
}
