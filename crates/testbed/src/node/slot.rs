//! The place of a node on this machine: its number, and every name and address that follows from it.
//!
//! A node's mark is a file that its process keeps locked. So a mark that can be locked belongs to nobody any more:
//! what it tells of may be taken away.

use std::fs::{self, File, TryLockError};
use std::io::{Read, Seek, Write};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::remains;
use crate::ports::runtime_dir;

/// How many nodes may run beside each other. Each takes about 1.5 GB.
const SLOTS: u8 = 4;

/// One of a few places for a node, with names and subnets of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot(u8);

impl Slot {
    /// Any, without taking it.
    #[cfg(test)]
    pub(crate) fn for_tests(number: u8) -> Self {
        Self(number)
    }

    /// Its number, from 1.
    pub(crate) fn number(self) -> u8 {
        self.0
    }

    /// The network namespace.
    pub(crate) fn namespace(self) -> String {
        format!("doctorkafka-{}", self.0)
    }

    /// This machine's end of the cable into the namespace. The kernel allows 15 bytes.
    pub(crate) fn cable(self) -> String {
        format!("doctorkafka{}", self.0)
    }

    /// The cgroup above all pods, in every hierarchy.
    pub(crate) fn cgroup(self) -> String {
        format!("doctorkafka-node-{}", self.0)
    }

    /// This machine, as the node sees it.
    pub(crate) fn gateway(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 200, self.0, 1)
    }

    /// The node; its API server and its DNS too.
    pub(crate) fn address(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 200, self.0, 2)
    }

    /// The subnet of the pods.
    pub(crate) fn pods(self) -> String {
        format!("10.201.{}.0/24", self.0)
    }

    /// The subnet of the services.
    pub(crate) fn services(self) -> String {
        format!("10.202.{}.0/24", self.0)
    }
}

/// What is written down of a node.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NodeRecord {
    slot: u8,
    /// The process that holds it.
    pub pid: i32,
    /// When it was begun.
    pub started: SystemTime,
    /// The administrator's kubeconfig; it is there when the node is ready.
    pub kubeconfig: PathBuf,
    /// containerd's socket.
    pub containerd: PathBuf,
    /// Whether all of it has been started.
    pub ready: bool,
}

impl NodeRecord {
    /// Its number among the nodes of this machine.
    pub fn number(&self) -> u8 {
        self.slot
    }
}

/// A slot taken by this process, and its mark. Dropping it frees the slot.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(crate) slot: Slot,
    file: File,
    path: PathBuf,
}

impl Claim {
    /// Takes the first free slot, after taking away what a node that was killed may have left there.
    pub(crate) fn new() -> Result<Self> {
        let folder = folder()?;
        for number in 1..=SLOTS {
            let path = path(&folder, number);
            let file = open(&path)?;
            match file.try_lock() {
                Ok(()) => {
                    let slot = Slot(number);
                    remains::remove(slot)?;
                    return Ok(Self { slot, file, path });
                }
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => {
                    return Err(error).with_context(|| format!("{} cannot be locked", path.display()));
                }
            }
        }
        bail!("{SLOTS} nodes run on this machine already: stop one with `cargo xtask cluster down`")
    }

    /// Writes down how the node is now.
    pub(crate) fn write(&mut self, kubeconfig: &Path, containerd: &Path, ready: bool) -> Result<()> {
        let record = NodeRecord {
            slot: self.slot.0,
            pid: i32::try_from(std::process::id()).context("a process id")?,
            started: SystemTime::now(),
            kubeconfig: kubeconfig.to_path_buf(),
            containerd: containerd.to_path_buf(),
            ready,
        };
        let text = serde_json::to_vec_pretty(&record).context("a node cannot be written down")?;
        self.file.rewind()?;
        self.file.set_len(0)?;
        self.file.write_all(&text).with_context(|| format!("{} cannot be written", self.path.display()))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // The file stays, empty: were it removed, two processes could lock two files of one name.
        if let Err(error) = self.file.set_len(0) {
            tracing::debug!(path = %self.path.display(), %error, "a node's mark cannot be emptied");
        }
    }
}

/// The nodes of this user that run. What ones that were killed left behind is taken away.
pub(crate) fn running() -> Result<Vec<NodeRecord>> {
    let folder = folder()?;
    let mut nodes = Vec::new();
    for number in 1..=SLOTS {
        let path = path(&folder, number);
        let Ok(mut file) = File::options().read(true).write(true).open(&path) else { continue };
        match file.try_lock() {
            Ok(()) => {
                let left = file.metadata().is_ok_and(|mark| mark.len() > 0);
                if left {
                    remains::remove(Slot(number))?;
                    file.set_len(0).with_context(|| format!("{} cannot be emptied", path.display()))?;
                }
            }
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                file.read_to_string(&mut text)
                    .with_context(|| format!("{} cannot be read", path.display()))?;
                // Unreadable only in the moment in which it is written.
                if let Ok(record) = serde_json::from_str(&text) {
                    nodes.push(record);
                }
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("{} cannot be locked", path.display()));
            }
        }
    }
    Ok(nodes)
}

fn folder() -> Result<PathBuf> {
    let folder = runtime_dir()?.join("nodes");
    fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    Ok(folder)
}

fn path(folder: &Path, number: u8) -> PathBuf {
    folder.join(format!("{number}.json"))
}

fn open(path: &Path) -> Result<File> {
    let file = File::options().create(true).truncate(false).read(true).write(true).open(path);
    file.with_context(|| format!("{} cannot be opened", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_slots_share_a_name_or_an_address() {
        let of = |slot: Slot| {
            [
                slot.namespace(),
                slot.cable(),
                slot.cgroup(),
                slot.gateway().to_string(),
                slot.address().to_string(),
                slot.pods(),
                slot.services(),
            ]
        };
        let mut all: Vec<String> = (1..=SLOTS).flat_map(|number| of(Slot(number))).collect();
        let count = all.len();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), count);
    }

    #[test]
    fn the_kernel_takes_the_cables_names() {
        // IFNAMSIZ is 16 with the final zero.
        assert!((1..=SLOTS).all(|number| Slot(number).cable().len() + 1 < 16));
    }
}
