//! One broker of a cluster.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Result, bail};

use super::disk;
use super::install::Installation;
use super::wire;
use crate::process::Process;
use crate::wait::wait_until;

/// How to start the broker's process, the first time and again.
#[derive(Debug)]
pub(super) struct Launch {
    pub installation: Installation,
    pub jvm_args: Vec<String>,
    pub config: PathBuf,
    /// Size of a disk of its own, bytes.
    pub disk: Option<u64>,
}

/// One broker: where it is, and its process while it runs.
#[derive(Debug)]
pub struct Broker {
    id: i32,
    address: String,
    folder: PathBuf,
    launch: Launch,
    /// The latest process, running or ended.
    process: Mutex<Option<Arc<Process>>>,
}

impl Broker {
    pub(super) fn new(id: i32, port: u16, folder: PathBuf, launch: Launch) -> Self {
        Self { id, address: format!("127.0.0.1:{port}"), folder, launch, process: Mutex::new(None) }
    }

    /// The broker id.
    pub fn id(&self) -> i32 {
        self.id
    }

    /// Where the broker itself listens for clients, also when a proxy stands before it: `127.0.0.1:<port>`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The process id while it runs, paused or not.
    pub fn pid(&self) -> Option<i32> {
        self.running().ok().map(|process| process.pid())
    }

    /// The broker's folder: configuration, log directory and what it printed.
    pub fn data_dir(&self) -> PathBuf {
        self.folder.clone()
    }

    /// Kafka's `log.dirs`, where the partitions are.
    pub fn log_dir(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// What the broker printed, over all its starts.
    pub fn log(&self) -> PathBuf {
        self.folder.join("broker.log")
    }

    /// The `server.properties` it was started with.
    pub fn config(&self) -> &Path {
        &self.launch.config
    }

    pub(super) fn spawn(&self) -> Result<()> {
        let mut process = self.lock();
        if process.as_ref().is_some_and(|process| process.is_running()) {
            bail!("broker {} runs already", self.id);
        }
        let mut java = self.launch.installation.java();
        java.arg("-Xmx256m")
            .args(&self.launch.jvm_args)
            .arg("kafka.Kafka")
            .arg(&self.launch.config)
            .current_dir(&self.folder);
        if let Some(bytes) = self.launch.disk {
            java = disk::with_disk(&java, &self.log_dir(), bytes);
        }
        *process = Some(Arc::new(Process::spawn(format!("broker {}", self.id), java, self.log())?));
        Ok(())
    }

    /// Waits until the broker serves clients and knows `others` as live; ends early if its process does.
    pub(super) async fn serves(&self, others: &[i32], within: Duration) -> Result<()> {
        let what = format!("broker {} to serve clients and see brokers {others:?}", self.id);
        let served = wait_until(&what, within, || async {
            if self.pid().is_none() {
                return Some(false);
            }
            let live = wire::live_brokers(&self.address).await.unwrap_or_default();
            others.iter().all(|id| live.contains(id)).then_some(true)
        })
        .await;
        match served {
            Ok(true) => Ok(()),
            Ok(false) => bail!("broker {} ended while it started:\n{}", self.id, self.log_tail()),
            Err(error) => {
                Err(error.context(format!("the end of broker {}'s log:\n{}", self.id, self.log_tail())))
            }
        }
    }

    /// The process, if it runs.
    pub(super) fn running(&self) -> Result<Arc<Process>> {
        match self.lock().as_ref().filter(|process| process.is_running()) {
            Some(process) => Ok(Arc::clone(process)),
            None => bail!("broker {} is not running", self.id),
        }
    }

    fn log_tail(&self) -> String {
        crate::process::log_tail(&self.log())
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<Process>>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
