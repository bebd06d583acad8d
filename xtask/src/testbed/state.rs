//! The marks that running testbeds leave: one file each with what `status` shows and `down` needs.
//!
//! The process that holds a testbed keeps its file locked. So a file that can be locked belongs to nobody any
//! more, and the process id in one that cannot be is that of the right process.

use std::fmt;
use std::fs::{self, File, Metadata, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use doctorkafka_testbed::runtime_dir;
use serde::{Deserialize, Serialize};

/// More than that many at once is a mistake.
const MAX_TESTBEDS: usize = 100;

/// What a testbed is called: 1 to 32 lower-case letters, digits and dashes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name(String);

impl Name {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if text.is_empty() || text.len() > 32 || !text.chars().all(allowed) {
            return Err("a name has 1 to 32 lower-case letters, digits and dashes".to_owned());
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is written down of a testbed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// The process that holds it.
    pub pid: i32,
    pub started: SystemTime,
    /// Kafka's version.
    pub kafka: String,
    /// The brokers' addresses; empty until they serve.
    pub bootstrap: String,
    pub kubernetes: Option<Kubernetes>,
}

/// The control plane of a testbed that has one.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Kubernetes {
    pub version: String,
    pub kubeconfig: PathBuf,
    pub kubectl: PathBuf,
}

/// A testbed that runs, held by some process.
pub struct Testbed {
    pub name: Name,
    pub record: Record,
    path: PathBuf,
}

impl Testbed {
    /// Whether it still does.
    pub fn is_running(&self) -> bool {
        File::open(&self.path).is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
    }
}

/// The mark of the testbed that this process holds; removed when dropped.
pub struct Claim {
    pub name: Name,
    path: PathBuf,
    file: File,
}

impl Claim {
    /// Takes `name`, or the first free one.
    pub fn new(name: Option<&Name>, record: &Record) -> Result<Self> {
        let folder = folder()?;
        if let Some(name) = name {
            let claim = Self::try_new(&folder, name)?;
            return claim
                .with_context(|| format!("testbed {name} is running already: choose another name"))?
                .written(record);
        }
        for number in 1..=MAX_TESTBEDS {
            let name = if number == 1 { "testbed".to_owned() } else { format!("testbed-{number}") };
            if let Some(claim) = Self::try_new(&folder, &Name(name))? {
                return claim.written(record);
            }
        }
        bail!("{MAX_TESTBEDS} testbeds are running: stop some with `cargo xtask testbed down`");
    }

    fn try_new(folder: &Path, name: &Name) -> Result<Option<Self>> {
        let path = folder.join(format!("{name}.json"));
        let context = || format!("{} cannot be locked", path.display());
        loop {
            let file = File::options().create(true).truncate(false).read(true).write(true).open(&path);
            let file = file.with_context(context)?;
            match file.try_lock() {
                // Its last owner may have removed it between our opening and our locking it.
                Ok(()) if is_at(&file, &path) => return Ok(Some(Self { name: name.clone(), path, file })),
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(error).with_context(context),
            }
        }
    }

    fn written(mut self, record: &Record) -> Result<Self> {
        self.write(record)?;
        Ok(self)
    }

    /// Writes down how the testbed is now.
    pub fn write(&mut self, record: &Record) -> Result<()> {
        let text = serde_json::to_vec_pretty(record).context("a testbed cannot be written down")?;
        self.file.rewind()?;
        self.file.set_len(0)?;
        self.file.write_all(&text).with_context(|| format!("{} cannot be written", self.path.display()))
    }

    /// Where the holder writes what it has to say once nobody reads it on a terminal.
    pub fn log(&self) -> PathBuf {
        self.path.with_extension("log")
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        for path in [self.log(), self.path.clone()] {
            fs::remove_file(path).ok();
        }
    }
}

/// The testbeds of this user that run, by name. Marks of ones that ended without removing theirs are removed.
pub fn running() -> Result<Vec<Testbed>> {
    let folder = folder()?;
    let entries = fs::read_dir(&folder).with_context(|| format!("{} cannot be read", folder.display()))?;
    let mut testbeds = Vec::new();
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
        let (Some(name), true) = (name, path.extension().is_some_and(|extension| extension == "json")) else {
            continue;
        };
        let Ok(mut file) = File::open(&path) else {
            continue;
        };
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                file.read_to_string(&mut text)
                    .with_context(|| format!("{} cannot be read", path.display()))?;
                // Unreadable only in the moment in which it is written.
                if let Ok(record) = serde_json::from_str(&text) {
                    testbeds.push(Testbed { name, record, path });
                }
            }
            Ok(()) => {
                fs::remove_file(path.with_extension("log")).ok();
                fs::remove_file(&path).ok();
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("{} cannot be locked", path.display()));
            }
        }
    }
    testbeds.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(testbeds)
}

/// Whether `path` still names `file`.
fn is_at(file: &File, path: &Path) -> bool {
    let id = |metadata: Metadata| (metadata.dev(), metadata.ino());
    file.metadata().is_ok_and(|ours| fs::metadata(path).is_ok_and(|theirs| id(ours) == id(theirs)))
}

fn folder() -> Result<PathBuf> {
    let folder = runtime_dir()?.join("testbeds");
    fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    Ok(folder)
}
