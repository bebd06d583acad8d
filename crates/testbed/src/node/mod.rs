//! A whole Kubernetes of one node, with pods, in a network namespace of its own. It needs root.

mod files;
mod images;
mod network;
mod parts;
pub(crate) mod remains;
mod slot;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tokio::process::Command;

use self::files::{Folder, IMAGES_OF_PODS, NODE_NAME};
use self::parts::Parts;
use self::remains::Remains;
use self::slot::{Claim, Slot};
use crate::golang::KUBERNETES;
use crate::process::{Process, Scratch, log_tail};
use crate::wait::wait_until;

pub use self::images::{KAFKA_IMAGE, kafka_image, kafka_image_of_users};
pub use self::slot::NodeRecord;

/// How long the API server may take until it is ready; some 6 s on an idle machine.
const API_SERVER_WITHIN: Duration = Duration::from_secs(180);
/// How long the node may take from then on; some 5 s on an idle machine.
const NODE_WITHIN: Duration = Duration::from_secs(180);
/// How long a file of some hundred megabytes may take to be loaded.
const LOAD_WITHIN: Duration = Duration::from_secs(300);
/// How long a mount may take.
const MOUNT_WITHIN: Duration = Duration::from_secs(10);

/// A running node: API server, controllers, scheduler, kubelet, containerd, kube-proxy and DNS, all real, at versions
/// of our own. Up to four run beside each other on one machine; each has its own subnets, reachable from the machine.
///
/// Dropping it takes everything away: processes, containers, mounts, network namespace, cgroups and data. So does the
/// end of this process in any other way, `kill -9` included.
#[derive(Debug)]
pub struct Node {
    parts: Parts,
    slot: Slot,
    // Dropped in this order: the pods, what serves them, the control plane, what is left in the kernel, the data, the mark.
    pods: Process,
    helpers: Vec<Process>,
    control_plane: Vec<Process>,
    _remains: Remains,
    data: Scratch,
    claim: Claim,
}

impl Node {
    /// Starts a node, on first use building its programs (20 minutes and more), and waits until pods can run on it.
    ///
    /// # Errors
    /// This user is not root, a program of the distribution is missing (the error names all of them), a build fails,
    /// or the node does not come up; the error then ends with the last lines of the logs.
    pub async fn start() -> Result<Self> {
        Self::possible().await?;
        let parts = Parts::ready().await?;
        let mut claim = Claim::new()?;
        let slot = claim.slot;
        let data = Scratch::new()?;
        let folder = Folder { path: data.path(), slot };
        claim.write(&folder.kubeconfig("admin"), &folder.containerd_socket(), false)?;
        folder.write_all()?;
        let remains = Remains::of(slot)?;
        network::make(slot).await?;
        network::make_cgroups(slot)?;

        let begun = Instant::now();
        let launcher = Launcher { parts: &parts, folder: &folder };
        let control_plane = launcher.control_plane().await?;
        tracing::debug!(after = ?begun.elapsed(), "the API server is ready");
        let helpers = launcher.helpers()?;
        let pods = launcher.pods()?;
        let mut node = Self { parts, slot, pods, helpers, control_plane, _remains: remains, data, claim };
        if let Err(error) = node.becomes_ready().await {
            return Err(error.context(node.logs()));
        }
        let (kubeconfig, containerd) = (node.kubeconfig(), node.containerd_socket());
        node.claim.write(&kubeconfig, &containerd, true)?;
        Ok(node)
    }

    /// Whether all programs have been built already, so that a start takes seconds.
    pub fn is_prepared() -> bool {
        Parts::are_cached()
    }

    /// Builds everything now, unless that was done before.
    ///
    /// # Errors
    /// Those of [`start`](Self::start) that concern programs.
    pub async fn prepare() -> Result<()> {
        Parts::ready().await.map(|_parts| ())
    }

    /// Whether this machine lets this user start a node: network namespaces, mounts and cgroups. Builds nothing.
    ///
    /// # Errors
    /// It does not; the error says what is missing, and how to get it.
    pub async fn possible() -> Result<()> {
        ensure!(
            rustix::process::geteuid().is_root(),
            "a node makes network namespaces, mounts and cgroups: run this as root"
        );
        network::possible().await
    }

    /// The nodes of this user that run now. What killed ones may have left behind is taken away.
    ///
    /// # Errors
    /// The marks cannot be read, or something cannot be taken away.
    pub fn running() -> Result<Vec<NodeRecord>> {
        slot::running()
    }

    /// The Kubernetes version, like `1.37.2`.
    pub fn version(&self) -> &'static str {
        KUBERNETES
    }

    /// Its number among the nodes of this machine.
    pub fn number(&self) -> u8 {
        self.slot.number()
    }

    /// Its name in the cluster.
    pub fn name(&self) -> &'static str {
        NODE_NAME
    }

    /// Where this machine reaches the node.
    pub fn address(&self) -> std::net::Ipv4Addr {
        self.slot.address()
    }

    /// A kubeconfig of an administrator (`system:masters`). The path holds as long as the node does.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder().kubeconfig("admin")
    }

    /// `kubectl` as the administrator. Ends with its handle.
    pub fn kubectl(&self) -> Command {
        let mut kubectl = Command::new(&self.parts.control_plane.kubectl);
        kubectl.env("KUBECONFIG", self.kubeconfig()).kill_on_drop(true).stdin(std::process::Stdio::null());
        kubectl
    }

    /// `helm` as the administrator. Ends with its handle.
    pub fn helm(&self) -> Command {
        let mut helm = self.parts.helm.command();
        helm.env("KUBECONFIG", self.kubeconfig());
        helm
    }

    /// Loads the images of an archive (OCI or Docker) for pods, which must not ask to pull them always.
    ///
    /// # Errors
    /// The file is no such archive, or containerd does not take it within 5 minutes.
    pub async fn load_image(&self, archive: &Path) -> Result<()> {
        load_image(&self.parts.containerd, &self.containerd_socket(), archive).await
    }

    /// Mounts memory of this size as a volume for pods, on a folder that is there. Only the node sees it, and it goes with
    /// the node.
    ///
    /// # Errors
    /// The folder is not there, or the kernel refuses.
    pub async fn mount_memory(&self, folder: &Path, megabytes: u32) -> Result<()> {
        let mut mount = Command::new("nsenter");
        mount.arg(format!("--mount=/proc/{}/ns/mnt", self.pods.pid())).args(["mount", "-t", "tmpfs"]);
        mount.arg("-o").arg(format!("size={megabytes}m,mode=1777")).arg("doctorkafka").arg(folder);
        let context = || format!("memory cannot be mounted on {}", folder.display());
        let output = tokio::time::timeout(MOUNT_WITHIN, mount.kill_on_drop(true).output()).await;
        let output = output.with_context(context)?.with_context(context)?;
        if !output.status.success() {
            bail!("{}: {}", context(), String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }

    /// Whether all of its programs run.
    pub fn is_running(&self) -> bool {
        self.pods.is_running() && self.helpers.iter().chain(&self.control_plane).all(Process::is_running)
    }

    /// The last lines of every program's log.
    pub fn logs(&self) -> String {
        let names = [
            "kube-apiserver",
            "kube-controller-manager",
            "kube-scheduler",
            "kube-proxy",
            "coredns",
            "containerd",
            "pods",
        ];
        let tails = names.map(|name| {
            let tail = log_tail(&self.data.path().join(format!("{name}.log")));
            let lines: Vec<&str> = tail.lines().rev().take(6).collect();
            format!("--- {name}\n{}", lines.into_iter().rev().collect::<Vec<_>>().join("\n"))
        });
        tails.join("\n")
    }

    async fn becomes_ready(&self) -> Result<()> {
        let socket = self.containerd_socket();
        let up = wait_until("containerd to come up", NODE_WITHIN, || async {
            if self.pods.is_running() { socket.exists().then_some(true) } else { Some(false) }
        });
        ensure!(up.await?, "containerd did not come up");
        self.load_image(&self.parts.pause).await?;
        let kubectl = |arguments: &[&str]| {
            let mut kubectl = self.kubectl();
            kubectl.args(arguments).arg("--request-timeout=5s");
            async move { kubectl.output().await.ok().filter(|output| output.status.success()) }
        };
        let condition = "jsonpath={.status.conditions[?(@.type=='Ready')].status} {.spec.taints}";
        wait_until("the node to be ready", NODE_WITHIN, || async {
            if !self.is_running() {
                return Some(false);
            }
            let node = kubectl(&["get", "node", NODE_NAME, "-o", condition]).await?;
            let account = kubectl(&["get", "serviceaccount", "default", "-n", "default"]).await;
            // "True " and nothing more: also free of the taint that a new node has.
            (node.stdout.trim_ascii() == b"True" && account.is_some()).then_some(true)
        })
        .await
        .and_then(|alive| if alive { Ok(()) } else { bail!("a program of the node ended while it started") })
    }

    fn containerd_socket(&self) -> PathBuf {
        self.folder().containerd_socket()
    }

    fn folder(&self) -> Folder<'_> {
        Folder { path: self.data.path(), slot: self.slot }
    }
}

impl NodeRecord {
    /// `kubectl` as the administrator of the node.
    ///
    /// # Errors
    /// kubectl has to be built and cannot be.
    pub async fn kubectl(&self) -> Result<Command> {
        let mut kubectl = Command::new(crate::kubernetes::Installation::ready().await?.kubectl);
        kubectl.env("KUBECONFIG", &self.kubeconfig);
        Ok(kubectl)
    }

    /// The same as [`Node::load_image`], from any process.
    ///
    /// # Errors
    /// Those of [`Node::load_image`].
    pub async fn load_image(&self, archive: &Path) -> Result<()> {
        load_image(&Parts::ready().await?.containerd, &self.containerd, archive).await
    }
}

async fn load_image(programs: &Path, socket: &Path, archive: &Path) -> Result<()> {
    let mut ctr = Command::new(programs.join("ctr"));
    ctr.arg("--address").arg(socket).args(["--namespace", IMAGES_OF_PODS, "images", "import", "--local"]);
    ctr.arg(archive).kill_on_drop(true);
    let output = tokio::time::timeout(LOAD_WITHIN, ctr.output()).await;
    let context = || format!("{} cannot be loaded", archive.display());
    let output = output.with_context(context)?.with_context(context)?;
    if !output.status.success() {
        bail!("{}: {}", context(), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// Starts the programs.
struct Launcher<'a> {
    parts: &'a Parts,
    folder: &'a Folder<'a>,
}

impl Launcher<'_> {
    /// etcd and the API server; returns when that is ready.
    async fn control_plane(&self) -> Result<Vec<Process>> {
        let (parts, folder) = (&self.parts.control_plane, self.folder);
        let mut etcd = self.inside(&parts.etcd);
        etcd.args(["--name=node", "--unsafe-no-fsync", "--log-level=warn"])
            .arg(format!("--data-dir={}", folder.join("etcd").display()))
            .args([
                "--listen-client-urls=http://127.0.0.1:2379",
                "--advertise-client-urls=http://127.0.0.1:2379",
            ])
            .args([
                "--listen-peer-urls=http://127.0.0.1:2380",
                "--initial-advertise-peer-urls=http://127.0.0.1:2380",
            ])
            .arg("--initial-cluster=node=http://127.0.0.1:2380");
        let etcd = self.spawn("etcd", etcd)?;
        let mut api_server = self.inside(&parts.api_server);
        api_server
            .args(["--etcd-servers=http://127.0.0.1:2379", "--secure-port=6443", "--bind-address=0.0.0.0"])
            .args(["--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction"])
            // The node's name means nothing to a resolver.
            .args(["--allow-privileged=true", "--kubelet-preferred-address-types=InternalIP"])
            .arg("--service-account-issuer=https://kubernetes.default.svc.cluster.local")
            .arg(format!("--service-account-key-file={}", folder.key().display()))
            .arg(format!("--service-account-signing-key-file={}", folder.key().display()))
            .arg(format!("--cert-dir={}", folder.join("pki").display()))
            .arg(format!("--token-auth-file={}", folder.join("tokens.csv").display()))
            .arg(format!("--advertise-address={}", folder.slot.address()))
            .arg(format!("--service-cluster-ip-range={}", folder.slot.services()));
        let api_server = self.spawn("kube-apiserver", api_server)?;
        let ready = wait_until("the API server to be ready", API_SERVER_WITHIN, || async {
            if !etcd.is_running() || !api_server.is_running() {
                return Some(false);
            }
            let mut kubectl = Command::new(&parts.kubectl);
            kubectl.env("KUBECONFIG", folder.kubeconfig("admin")).kill_on_drop(true);
            kubectl.args(["get", "--raw", "/readyz", "--request-timeout=2s"]);
            kubectl.output().await.is_ok_and(|output| output.status.success()).then_some(true)
        })
        .await;
        let logs = || {
            format!("the end of its log:\n{}\nthe end of etcd's:\n{}", api_server.log_tail(), etcd.log_tail())
        };
        match ready {
            Ok(true) => Ok(vec![api_server, etcd]),
            Ok(false) => bail!("the API server ended while it started; {}", logs()),
            Err(error) => Err(error.context(logs())),
        }
    }

    /// Controllers, scheduler, service routing, DNS.
    fn helpers(&self) -> Result<Vec<Process>> {
        let folder = self.folder;
        let kubeconfig = |user: &str| format!("--kubeconfig={}", folder.kubeconfig(user).display());
        let mut controllers = self.inside(&self.parts.kubernetes.join("kube-controller-manager"));
        controllers
            .args([
                &kubeconfig("controllers"),
                "--leader-elect=false",
                "--use-service-account-credentials=true",
            ])
            .arg(format!("--service-account-private-key-file={}", folder.key().display()))
            .arg(format!("--root-ca-file={}", folder.certificate().display()));
        let mut scheduler = self.inside(&self.parts.kubernetes.join("kube-scheduler"));
        scheduler.args([&kubeconfig("scheduler"), "--leader-elect=false"]);
        let mut proxy = self.inside(&self.parts.kubernetes.join("kube-proxy"));
        proxy.arg(format!("--config={}", folder.join("proxy.json").display()));
        let mut dns = self.inside(&self.parts.dns);
        dns.arg("-conf").arg(folder.join("Corefile"));
        Ok(vec![
            self.spawn("kube-controller-manager", controllers)?,
            self.spawn("kube-scheduler", scheduler)?,
            self.spawn("kube-proxy", proxy)?,
            self.spawn("coredns", dns)?,
        ])
    }

    /// containerd and the kubelet, in namespaces of process ids and mounts that end with them.
    fn pods(&self) -> Result<Process> {
        let folder = self.folder;
        let mut command = self.inside(Path::new("unshare"));
        command
            .args(["--pid", "--fork", "--kill-child", "--mount", "--mount-proc", "sh"])
            .arg(folder.join("pods.sh"))
            .arg(folder.path)
            .arg(self.parts.kubernetes.join("kubelet"))
            .arg(format!("--config={}", folder.join("kubelet.json").display()))
            .arg(format!("--kubeconfig={}", folder.kubeconfig("kubelet").display()))
            .arg(format!("--hostname-override={NODE_NAME}"))
            .arg(format!("--node-ip={}", folder.slot.address()))
            .arg(format!("--root-dir={}", folder.join("kubelet").display()))
            .arg(format!("--cert-dir={}", folder.join("kubelet/pki").display()));
        // containerd starts its shim and runc by name; the administrator's folders are not on everybody's path.
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}:/usr/sbin:/sbin", self.parts.containerd.display()));
        self.spawn("pods", command)
    }

    /// A program inside the network namespace.
    fn inside(&self, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.folder.slot.namespace())).arg(program);
        command
    }

    fn spawn(&self, name: &str, command: Command) -> Result<Process> {
        Process::spawn(name, command, self.folder.join(&format!("{name}.log")))
    }
}
