//! etcd and kube-apiserver, built from their Go modules.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::process::Command;

use crate::cache::{self, GO};
use crate::process::find_program;

/// The Kubernetes that the API server is; its libraries have the same number with a leading 0.
pub(crate) const KUBERNETES: &str = "1.37.2";
const ETCD: &str = "3.6.7";
/// The language version that `k8s.io/kubernetes` asks for.
const GO_LANGUAGE: &str = "1.26.0";

const TIDY_WITHIN: Duration = Duration::from_secs(15 * 60);
const BUILD_WITHIN: Duration = Duration::from_secs(60 * 60);

/// The libraries that live inside the Kubernetes repository. Its own `go.mod` points them at folders beside
/// it, which a module of the proxy does not have, so whoever builds `k8s.io/kubernetes` names their releases.
const STAGING: [&str; 33] = [
    "api",
    "apiextensions-apiserver",
    "apimachinery",
    "apiserver",
    "cli-runtime",
    "client-go",
    "cloud-provider",
    "cluster-bootstrap",
    "code-generator",
    "component-base",
    "component-helpers",
    "controller-manager",
    "cri-api",
    "cri-client",
    "cri-streaming",
    "csi-translation-lib",
    "dynamic-resource-allocation",
    "endpointslice",
    "externaljwt",
    "kms",
    "kube-aggregator",
    "kube-controller-manager",
    "kube-proxy",
    "kube-scheduler",
    "kubectl",
    "kubelet",
    "metrics",
    "mount-utils",
    "pod-security-admission",
    "sample-apiserver",
    "sample-cli-plugin",
    "sample-controller",
    "streaming",
];

/// The programs of a control plane.
#[derive(Debug, Clone)]
pub(crate) struct Installation {
    pub etcd: PathBuf,
    pub api_server: PathBuf,
    /// The machine's own, or one built from the same source.
    pub kubectl: PathBuf,
}

impl Installation {
    /// Whether everything has been built.
    pub(crate) fn is_cached() -> bool {
        cache::has(&server_part())
            && (find_program(&"kubectl".into()).is_some() || cache::has(&kubectl_part()))
    }

    /// Builds what is not there yet.
    pub(crate) async fn ready() -> Result<Self> {
        let server = cache::ensure(&server_part(), |partial| async move {
            build_kubernetes(&partial, "kube-apiserver").await?;
            build_etcd(&partial).await
        })
        .await?;
        let kubectl = match find_program(&"kubectl".into()) {
            Some(path) => path,
            None => cache::ensure(&kubectl_part(), |partial| async move {
                build_kubernetes(&partial, "kubectl").await
            })
            .await?
            .join("kubectl"),
        };
        Ok(Self { etcd: server.join("etcd"), api_server: server.join("kube-apiserver"), kubectl })
    }
}

/// The name of etcd and API server in the cache.
fn server_part() -> String {
    format!("kubernetes-{KUBERNETES}")
}

/// The name of kubectl in the cache.
fn kubectl_part() -> String {
    format!("kubectl-{KUBERNETES}")
}

async fn build_kubernetes(folder: &Path, program: &str) -> Result<()> {
    let package = format!("k8s.io/kubernetes/cmd/{program}");
    let replacements: String = STAGING
        .iter()
        .map(|name| format!("\tk8s.io/{name} => k8s.io/{name} v0{}\n", &KUBERNETES[1..]))
        .collect();
    let module = format!(
        "module testbed\n\ngo {GO_LANGUAGE}\n\nrequire k8s.io/kubernetes v{KUBERNETES}\n\n\
         replace (\n{replacements})\n\ntool {package}\n"
    );
    let ldflags = format!("-s -w -X k8s.io/component-base/version.gitVersion=v{KUBERNETES}");
    build(folder, &format!("{program} {KUBERNETES}"), &module, program, &["-ldflags", &ldflags], &package)
        .await
}

async fn build_etcd(folder: &Path) -> Result<()> {
    let package = "go.etcd.io/etcd/server/v3";
    let module =
        format!("module testbed\n\ngo {GO_LANGUAGE}\n\nrequire {package} v{ETCD}\n\ntool {package}\n");
    build(folder, &format!("etcd {ETCD}"), &module, "etcd", &[], package).await
}

/// Builds `package` into `folder/program`, from a module in a folder of its own beside it.
async fn build(
    folder: &Path,
    what: &str,
    module: &str,
    program: &str,
    flags: &[&str],
    package: &str,
) -> Result<()> {
    let go = GO.find()?;
    let source = folder.join(format!("{program}-source"));
    fs::create_dir(&source).with_context(|| format!("{} cannot be made", source.display()))?;
    fs::write(source.join("go.mod"), module)
        .with_context(|| format!("{} cannot be written to", source.display()))?;
    let command = |arguments: &[&str]| {
        let mut command = Command::new(&go);
        command.args(arguments).current_dir(&source).env("GOFLAGS", "-mod=mod").env("GOWORK", "off");
        command
    };
    let log = folder.join(format!("{program}.log"));
    cache::step(&format!("{what}: download"), command(&["mod", "tidy"]), &log, TIDY_WITHIN).await?;
    let mut compile = command(&["build", "-o"]);
    compile.arg(folder.join(program)).args(flags).arg(package);
    cache::step(&format!("{what}: build"), compile, &log, BUILD_WITHIN).await
}
