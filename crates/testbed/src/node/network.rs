//! The network namespace of a node, its cable to this machine, and its cgroups.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::process::Command;

use super::slot::Slot;

const WITHIN: Duration = Duration::from_secs(30);
const CGROUPS: &str = "/sys/fs/cgroup";
/// Below [`CGROUPS`], in version 2 only.
const CONTROLLERS: &str = "cgroup.controllers";
/// All pods together would count as one process of this machine's where others compile beside them: they count as six
/// (files of version 1 and of version 2).
const SHARES: [(&str, &str); 2] = [("cpu.shares", "6144"), ("cpu.weight", "600")];

/// Makes what a node needs, under a name of its own, and takes it away.
const TRIAL: &str = "ip netns add $0 || exit 1
ip -n $0 link add name cable type veth peer name end && unshare --mount mount -t tmpfs none /mnt
outcome=$?
ip netns delete $0
exit $outcome";

/// Makes the namespace and the cable, so that this machine reaches node, pods and services.
pub(crate) async fn make(slot: Slot) -> Result<()> {
    let (namespace, cable) = (slot.namespace(), slot.cable());
    let (gateway, address) = (slot.gateway().to_string(), slot.address().to_string());
    let inside = ["-n", &namespace];
    ip(&["netns", "add", &namespace]).await?;
    ip(&["link", "add", &cable, "type", "veth", "peer", "name", "eth0", "netns", &namespace]).await?;
    ip(&["address", "add", &format!("{gateway}/24"), "dev", &cable]).await?;
    ip(&["link", "set", &cable, "up"]).await?;
    for arguments in [
        ["address", "add", &format!("{address}/24"), "dev", "eth0"].as_slice(),
        &["link", "set", "eth0", "up"],
        &["link", "set", "lo", "up"],
        &["route", "add", "default", "via", &gateway],
    ] {
        ip(&[&inside, arguments].concat()).await?;
    }
    for subnet in [slot.pods(), slot.services()] {
        let added = ip(&["route", "add", &subnet, "via", &address]).await;
        added.with_context(|| format!("something else on this machine uses {subnet}"))?;
    }
    for setting in ["net.ipv4.ip_forward=1", "net.ipv4.conf.all.route_localnet=1"] {
        ip(&["netns", "exec", &namespace, "sysctl", "--quiet", "--write", setting]).await?;
    }
    Ok(())
}

/// Whether the kernel lets this user have what a node needs; tried, and taken away again.
pub(crate) async fn possible() -> Result<()> {
    let advice = "inside a container that takes a privileged one; a virtual machine of one's own has it";
    let name = format!("doctorkafka-trial-{}", std::process::id());
    run("sh", &["-c", TRIAL, &name]).await.with_context(|| {
        format!("this machine does not let us make network namespaces, veth devices and mounts; {advice}")
    })?;
    let hierarchies = hierarchies()?;
    ensure!(
        !hierarchies.is_empty(),
        "no cgroups are mounted at {CGROUPS}: mount them there, as systemd does"
    );
    for hierarchy in hierarchies {
        let folder = hierarchy.join(&name);
        let made = fs::create_dir(&folder).and_then(|()| fs::remove_dir(&folder));
        made.with_context(|| format!("{} cannot be made; {advice}", folder.display()))?;
    }
    Ok(())
}

async fn ip(arguments: &[&str]) -> Result<()> {
    run("ip", arguments).await
}

async fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let shown = || format!("{program} {}", arguments.join(" "));
    let mut command = Command::new(program);
    command.args(arguments).kill_on_drop(true);
    let output =
        tokio::time::timeout(WITHIN, command.output()).await.with_context(shown)?.with_context(shown)?;
    if !output.status.success() {
        bail!("{} failed: {}", shown(), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// Makes the cgroup above all pods, in every hierarchy of version 1 or in the one of version 2.
pub(crate) fn make_cgroups(slot: Slot) -> Result<()> {
    let root = Path::new(CGROUPS);
    // What a kubelet needs must be handed down from the root; systemd does so by itself.
    let controllers = fs::read_to_string(root.join(CONTROLLERS)).unwrap_or_default();
    for controller in controllers.split_whitespace() {
        let handed = fs::write(root.join("cgroup.subtree_control"), format!("+{controller}"));
        if let Err(error) = handed {
            tracing::debug!(controller, %error, "a cgroup controller is not handed down");
        }
    }
    for hierarchy in hierarchies()? {
        let folder = hierarchy.join(slot.cgroup());
        fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        for (file, share) in SHARES {
            let file = folder.join(file);
            if file.exists() {
                fs::write(&file, share).with_context(|| format!("{} cannot be written", file.display()))?;
            }
        }
    }
    Ok(())
}

/// The one hierarchy of cgroups of version 2, or all those of version 1.
fn hierarchies() -> Result<Vec<PathBuf>> {
    let root = Path::new(CGROUPS);
    if root.join(CONTROLLERS).exists() {
        return Ok(vec![root.to_path_buf()]);
    }
    let entries = fs::read_dir(root).with_context(|| format!("{CGROUPS} cannot be read"))?;
    let is_hierarchy = |path: &PathBuf| path.join("cgroup.procs").is_file() && !path.is_symlink();
    Ok(entries.flatten().map(|entry| entry.path()).filter(is_hierarchy).collect())
}
