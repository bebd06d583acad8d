//! The configuration of a node's programs.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::json;

use super::slot::Slot;
use crate::ids::new_uuid;

/// What the node is called inside its cluster.
pub(crate) const NODE_NAME: &str = "node1";
/// Where pods' images are kept: the namespace of the kubelet.
pub(crate) const IMAGES_OF_PODS: &str = "k8s.io";
/// The image that holds a pod's namespaces.
pub(crate) const PAUSE_IMAGE: &str = "docker.io/doctorkafka/pause:1";

/// The users that sign in with a token, and their groups.
const USERS: [(&str, &str, &str); 6] = [
    ("admin", "admin", "system:masters"),
    ("kubelet", "system:node:node1", "system:nodes"),
    ("controllers", "system:kube-controller-manager", ""),
    ("scheduler", "system:kube-scheduler", ""),
    ("proxy", "system:kube-proxy", ""),
    // Its customary role is shipped by those who ship CoreDNS, not by Kubernetes; it only reads.
    ("dns", "dns", "system:masters"),
];

/// A node's folder. All files are written before the first program starts.
#[derive(Debug)]
pub(crate) struct Folder<'a> {
    pub path: &'a Path,
    pub slot: Slot,
}

impl Folder<'_> {
    /// A file or folder in it.
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub(crate) fn kubeconfig(&self, user: &str) -> PathBuf {
        self.join(&format!("{user}.kubeconfig"))
    }

    pub(crate) fn containerd_socket(&self) -> PathBuf {
        self.join("containerd.sock")
    }

    /// The certificate that the API server makes itself, with the authority that it made for that.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.join("pki/apiserver.crt")
    }

    /// Its key, which also signs the tokens of service accounts.
    pub(crate) fn key(&self) -> PathBuf {
        self.join("pki/apiserver.key")
    }

    pub(crate) fn write_all(&self) -> Result<()> {
        for folder in ["pki", "cni", "sysctl", "var/upper", "var/work", "log"] {
            let path = self.join(folder);
            fs::create_dir_all(&path).with_context(|| format!("{} cannot be made", path.display()))?;
        }
        let mut tokens = String::new();
        for (user, name, group) in USERS {
            let token = new_uuid()?;
            tokens.push_str(&format!("{token},{name},{user},\"{group}\"\n"));
            self.write(&format!("{user}.kubeconfig"), &self.kubeconfig_text(&token))?;
        }
        self.write("tokens.csv", &tokens)?;
        self.write("containerd.toml", &self.containerd())?;
        self.write("cni/10-bridge.conflist", &self.network())?;
        self.write("kubelet.json", &self.kubelet())?;
        self.write("proxy.json", &self.proxy())?;
        self.write("Corefile", &self.corefile())?;
        self.write("resolv.conf", "")?;
        self.write("pods.sh", POD_SIDE)
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.join(name);
        fs::write(&path, text).with_context(|| format!("{} cannot be written", path.display()))
    }

    fn kubeconfig_text(&self, token: &str) -> String {
        let server = format!("https://{}:6443", self.slot.address());
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{ "name": "node", "cluster": { "server": server, "certificate-authority": self.certificate() } }],
            "users": [{ "name": "user", "user": { "token": token } }],
            "contexts": [{ "name": "node", "context": { "cluster": "node", "user": "user" } }],
            "current-context": "node",
        });
        format!("{config:#}\n")
    }

    /// containerd may not lower its own OOM score where CAP_SYS_RESOURCE is missing, as in most containers.
    fn containerd(&self) -> String {
        let path = |name: &str| json!(self.join(name)).to_string();
        format!(
            r#"version = 3
root = {root}
state = {state}
[grpc]
  address = {socket}
[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
  [plugins.'io.containerd.cri.v1.runtime'.containerd]
    default_runtime_name = 'runc'
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
      runtime_type = 'io.containerd.runc.v2'
      [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
        SystemdCgroup = false
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = ['/usr/lib/cni']
    conf_dir = {cni}
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = '{PAUSE_IMAGE}'
[plugins.'io.containerd.internal.v1.opt']
  path = {opt}
[plugins.'io.containerd.nri.v1.nri']
  disable = true
"#,
            root = path("containerd"),
            state = path("containerd-state"),
            socket = json!(self.containerd_socket()),
            cni = path("cni"),
            opt = path("containerd-opt"),
        )
    }

    fn network(&self) -> String {
        let ipam = json!({
            "type": "host-local",
            "ranges": [[{ "subnet": self.slot.pods() }]],
            "routes": [{ "dst": "0.0.0.0/0" }],
            "dataDir": self.join("cni-addresses"),
        });
        let bridge = json!({
            "type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true, "hairpinMode": true, "ipam": ipam,
        });
        let ports = json!({ "type": "portmap", "capabilities": { "portMappings": true } });
        json!({ "cniVersion": "0.4.0", "name": "pods", "plugins": [bridge, ports] }).to_string()
    }

    /// All pods stay below one cgroup of the slot's. Fewer files may be open than the kubelet's million where the
    /// limit of this process forbids more.
    fn kubelet(&self) -> String {
        let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
        json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": { "anonymous": { "enabled": true }, "webhook": { "enabled": false } },
            "authorization": { "mode": "AlwaysAllow" },
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": format!("/{}", self.slot.cgroup()),
            "failCgroupV1": false,
            "oomScoreAdj": 0,
            "maxOpenFiles": files.unwrap_or(1_000_000).min(1_000_000),
            "containerRuntimeEndpoint": format!("unix://{}", self.containerd_socket().display()),
            "clusterDNS": [self.slot.address()],
            "clusterDomain": "cluster.local",
            "failSwapOn": false,
            "resolvConf": self.join("resolv.conf"),
            "evictionHard": { "nodefs.available": "1%", "imagefs.available": "1%", "memory.available": "200Mi" },
            "podLogsDir": self.join("log"),
            "nodeStatusUpdateFrequency": "5s",
        })
        .to_string()
    }

    fn proxy(&self) -> String {
        json!({
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "nftables",
            "clientConnection": { "kubeconfig": self.kubeconfig("proxy") },
            "clusterCIDR": self.slot.pods(),
            // The size of the kernel's table belongs to the machine, not to a network namespace.
            "conntrack": { "maxPerCore": 0 },
            "hostnameOverride": NODE_NAME,
        })
        .to_string()
    }

    fn corefile(&self) -> String {
        format!(
            "cluster.local:53 in-addr.arpa:53 {{\n    errors\n    kubernetes cluster.local in-addr.arpa {{\n        \
             kubeconfig {} node\n        ttl 2\n    }}\n}}\n",
            self.kubeconfig("dns").display()
        )
    }
}

/// The side of the pods, with process ids and mounts of its own: process 1 of its namespace. When that is killed
/// the kernel kills every container, and every mount goes.
///
/// Argument: the node's folder; then the kubelet's command. `/run` and what is written below `/var/lib` and
/// `/var/log` are the node's own, and so are the kernel settings that a kubelet wants for the whole machine: it reads
/// and writes copies.
const POD_SIDE: &str = r#"set -eu
folder=$1
shift
mount -t tmpfs tmpfs /run
mkdir -p /run/netns
mount -t overlay overlay -o "lowerdir=/var,upperdir=$folder/var/upper,workdir=$folder/var/work" /var
for setting in vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops kernel/keys/root_maxkeys \
  kernel/keys/root_maxbytes; do
  [ -e "/proc/sys/$setting" ] || continue
  copy=$folder/sysctl/$(echo "$setting" | tr / .)
  cat "/proc/sys/$setting" > "$copy"
  mount --bind "$copy" "/proc/sys/$setting"
done
mount --make-rshared /
containerd --config "$folder/containerd.toml" > "$folder/containerd.log" 2>&1 &
tries=0
until [ -S "$folder/containerd.sock" ]; do
  tries=$((tries + 1))
  [ "$tries" -lt 300 ] || { echo "containerd does not come up; its log is beside this one"; exit 1; }
  sleep 0.1
done
"$@" &
# Also reaps what containers leave to process 1.
wait
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_program_gets_a_token_of_its_own() {
        let scratch = crate::Scratch::new().unwrap();
        let folder = Folder { path: scratch.path(), slot: Slot::for_tests(1) };
        folder.write_all().unwrap();
        let tokens = fs::read_to_string(folder.join("tokens.csv")).unwrap();
        let mut secrets: Vec<&str> = tokens.lines().filter_map(|line| line.split(',').next()).collect();
        secrets.sort_unstable();
        secrets.dedup();
        assert_eq!(secrets.len(), USERS.len());
        for (user, ..) in USERS {
            let text = fs::read_to_string(folder.kubeconfig(user)).unwrap();
            assert!(secrets.iter().any(|secret| text.contains(secret)), "{user}");
            assert!(text.contains("https://10.200.1.2:6443"), "{user}");
        }
    }
}
