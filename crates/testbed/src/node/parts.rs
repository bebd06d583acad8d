//! The programs of a node.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use super::images;
use crate::cache::{self, Tool};
use crate::golang::{GoPrograms, KUBERNETES, build_kubernetes};
use crate::helm::Helm;
use crate::kubernetes;
use crate::process::find_program;

const CONTAINERD: &str = "2.4.2";
const COREDNS: &str = "1.15.0";

/// CoreDNS with the two plug-ins that a cluster without the outside world needs. Its own `main` links some fifty,
/// with the libraries of three clouds, and takes four times as long to build.
const DNS: &str = r#"// Serves the names of a cluster's services and pods.
package main

import (
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/kubernetes"
)

func main() {
	dnsserver.Directives = []string{"errors", "kubernetes"}
	coremain.Run()
}
"#;

/// What comes from the distribution. `crates/testbed` names them; nothing is installed behind anybody's back.
const TOOLS: [Tool; 8] = [
    Tool { program: "ip", purpose: "make the node's network", install: "apt-get install iproute2" },
    Tool { program: "unshare", purpose: "keep the node apart", install: "apt-get install util-linux" },
    Tool { program: "runc", purpose: "run containers", install: "apt-get install runc" },
    Tool {
        program: "/usr/lib/cni/bridge",
        purpose: "connect pods",
        install: "apt-get install containernetworking-plugins",
    },
    Tool { program: "nft", purpose: "route services to pods", install: "apt-get install nftables" },
    Tool {
        program: "iptables",
        purpose: "let pods reach beyond their subnet",
        install: "apt-get install iptables",
    },
    Tool {
        program: "conntrack",
        purpose: "forget connections to pods that ended",
        install: "apt-get install conntrack",
    },
    Tool {
        program: "cc",
        purpose: "compile the program that holds a pod's namespaces",
        install: "apt-get install gcc libc6-dev",
    },
];

/// Where the programs are.
#[derive(Debug, Clone)]
pub(crate) struct Parts {
    pub control_plane: kubernetes::Installation,
    /// kube-controller-manager, kube-scheduler, kubelet, kube-proxy.
    pub kubernetes: PathBuf,
    /// containerd, containerd-shim-runc-v2, ctr.
    pub containerd: PathBuf,
    /// The DNS server.
    pub dns: PathBuf,
    pub helm: Helm,
    /// The archive of the image that holds a pod's namespaces.
    pub pause: PathBuf,
}

impl Parts {
    /// Whether everything has been built.
    pub(crate) fn are_cached() -> bool {
        kubernetes::Installation::is_cached()
            && Helm::is_prepared()
            && [kubernetes_part(), containerd_part(), dns_part(), images::pause_part()]
                .iter()
                .all(|part| cache::has(part))
    }

    /// Builds what is not there yet, one after the other: each build takes all processors by itself.
    pub(crate) async fn ready() -> Result<Self> {
        demand_tools()?;
        let control_plane = kubernetes::Installation::ready().await?;
        let kubernetes = cache::ensure(&kubernetes_part(), |partial| async move {
            let programs = ["kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy"];
            build_kubernetes(&partial, &programs).await
        })
        .await?;
        let containerd =
            cache::ensure(&containerd_part(), |partial| async move { build_containerd(&partial).await })
                .await?;
        let dns = cache::ensure(&dns_part(), |partial| async move { build_dns(&partial).await }).await?;
        let helm = Helm::prepare().await?;
        let pause = images::pause().await?;
        Ok(Self { control_plane, kubernetes, containerd, dns: dns.join("coredns"), helm, pause })
    }
}

/// Fails with one line for each program of the distribution that is not there.
fn demand_tools() -> Result<()> {
    let missing: Vec<String> = TOOLS
        .iter()
        .filter(|tool| find_program(&tool.program.into()).is_none())
        .filter_map(|tool| tool.find().err())
        .map(|error| error.to_string())
        .collect();
    if missing.is_empty() { Ok(()) } else { bail!("{}", missing.join("\n")) }
}

async fn build_containerd(folder: &Path) -> Result<()> {
    let programs = GoPrograms {
        module: "github.com/containerd/containerd/v2",
        version: CONTAINERD,
        packages: &[
            "github.com/containerd/containerd/v2/cmd/containerd",
            "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
            "github.com/containerd/containerd/v2/cmd/ctr",
        ],
        version_variable: Some("github.com/containerd/containerd/v2/version.Version"),
        own_main: None,
    };
    programs.build(folder).await
}

async fn build_dns(folder: &Path) -> Result<()> {
    let programs = GoPrograms {
        module: "github.com/coredns/coredns",
        version: COREDNS,
        packages: &[],
        version_variable: None,
        own_main: Some(("coredns", DNS)),
    };
    programs.build(folder).await
}

fn kubernetes_part() -> String {
    format!("node-{KUBERNETES}")
}

fn containerd_part() -> String {
    format!("containerd-{CONTAINERD}")
}

fn dns_part() -> String {
    format!("coredns-{COREDNS}")
}
