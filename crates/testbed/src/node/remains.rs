//! What of a node or an engine does not end with its processes: a network namespace, a cable and cgroups.

use std::io::PipeWriter;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::slot::Slot;

/// Arguments: network namespace, cable, cgroup. Processes that are still there are killed by their ids; cgroups can
/// be removed only when the kernel has let go of the last process, so it is tried for some seconds.
const REMOVE: &str = r#"
for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30; do
  left=
  if [ -e "/run/netns/$1" ]; then
    for pid in $(ip netns pids "$1" 2>/dev/null); do kill -s KILL "$pid" 2>/dev/null; done
    ip netns delete "$1" 2>/dev/null
    [ -e "/run/netns/$1" ] && left="$left /run/netns/$1"
  fi
  if [ -e "/sys/class/net/$2" ]; then ip link delete "$2" 2>/dev/null; fi
  for folder in "/sys/fs/cgroup/$3" /sys/fs/cgroup/*/"$3"; do
    [ -d "$folder" ] || continue
    for pid in $(find "$folder" -name cgroup.procs -exec cat {} + 2>/dev/null); do
      kill -s KILL "$pid" 2>/dev/null
    done
    find "$folder" -depth -type d -exec rmdir {} + 2>/dev/null
    [ -d "$folder" ] && left="$left $folder"
  done
  [ -e "/sys/class/net/$2" ] && left="$left $2"
  [ -z "$left" ] && exit 0
  sleep 0.5
done
echo "still there:$left" >&2
exit 1
"#;

/// What it is all called. Nothing is called `-`.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    namespace: String,
    cable: String,
    cgroup: String,
}

impl Names {
    /// Only a cgroup, in every hierarchy.
    pub(crate) fn of_cgroup(name: &str) -> Self {
        Self { namespace: "-".to_owned(), cable: "-".to_owned(), cgroup: name.to_owned() }
    }
}

impl From<Slot> for Names {
    fn from(slot: Slot) -> Self {
        Self { namespace: slot.namespace(), cable: slot.cable(), cgroup: slot.cgroup() }
    }
}

/// Takes the remains away when dropped, or when this process ends in any other way: by the same kind of watcher as
/// ends the processes.
#[derive(Debug)]
pub(crate) struct Remains {
    lifeline: Option<PipeWriter>,
    remover: Child,
}

impl Remains {
    /// To be called before the first of them is made.
    pub(crate) fn of(names: impl Into<Names>) -> Result<Self> {
        let (reader, lifeline) = std::io::pipe().context("no pipe can be made")?;
        let remover = remover(&names.into(), &format!("read -r _\n{REMOVE}"))
            .stdin(reader)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("sh does not run")?;
        Ok(Self { lifeline: Some(lifeline), remover })
    }
}

impl Drop for Remains {
    fn drop(&mut self) {
        drop(self.lifeline.take());
        match self.remover.wait() {
            Ok(status) if status.success() => {}
            outcome => tracing::warn!(?outcome, "a network namespace or cgroups may be left behind"),
        }
    }
}

/// Takes them away now.
///
/// # Errors
/// Something is still there after 15 s; the error names it.
pub(crate) fn remove(slot: Slot) -> Result<()> {
    let output = remover(&slot.into(), REMOVE).stdin(Stdio::null()).output().context("sh does not run")?;
    ensure!(
        output.status.success(),
        "what a node left behind cannot be removed; {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

fn remover(names: &Names, script: &str) -> Command {
    use std::os::unix::process::CommandExt;
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh", &names.namespace, &names.cable, &names.cgroup]).process_group(0);
    command
}
