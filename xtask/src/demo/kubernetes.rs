//! The Kubernetes side of `cargo xtask demo --kubernetes`: a real API server, and what a user would apply to it.

use super::screen::Screen;
use crate::steps::root;
use anyhow::{Context, bail};
use doctorkafka_testbed::{ControlPlane, find_program};
use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::time::timeout;

/// Where the operators live.
pub const OPERATOR_NAMESPACE: &str = "doctorkafka";
/// Where the policy lives.
pub const POLICY_NAMESPACE: &str = "kafka";

/// The service account that `deploy/rbac` gives its permissions to.
const SERVICE_ACCOUNT: &str = "doctorkafka-operator";
const KUBECTL_WITHIN: Duration = Duration::from_secs(60);

/// A running API server with DoctorKafka's resources.
#[derive(Debug)]
pub struct Kubernetes {
    plane: ControlPlane,
    operator: PathBuf,
}

impl Kubernetes {
    /// Starts the API server and applies CRDs and permissions, as on a real cluster.
    ///
    /// # Errors
    /// Something is missing, or refused.
    pub async fn start(folder: &Path, screen: &Screen) -> anyhow::Result<Self> {
        let cached = ControlPlane::is_prepared();
        let step = screen.step("kubernetes", if cached { "from cache" } else { "built" });
        if !cached {
            step.give_way();
        }
        let plane = ControlPlane::start().await?;
        let account = format!("system:serviceaccount:{OPERATOR_NAMESPACE}:{SERVICE_ACCOUNT}");
        let groups = [
            "system:serviceaccounts",
            &format!("system:serviceaccounts:{OPERATOR_NAMESPACE}"),
            "system:authenticated",
        ];
        let operator = plane.kubeconfig_for(&account, &groups)?;
        let kubernetes = Self { plane, operator };

        let deploy = root().join("deploy");
        let crds = deploy.join("crds");
        kubernetes.kubectl(["apply".as_ref(), "-f".as_ref(), crds.as_os_str()]).await?;
        let established = ["wait", "--for=condition=Established", "crd", "--all", "--timeout=30s"];
        kubernetes.kubectl(established.map(OsStr::new)).await?;
        let namespaces = folder.join("namespaces.yaml");
        write(
            &namespaces,
            &format!("{}---\n{}", namespace(OPERATOR_NAMESPACE), namespace(POLICY_NAMESPACE)),
        )?;
        kubernetes.apply(&namespaces).await?;
        kubernetes.apply(&deploy.join("rbac")).await?;
        step.done(&format!("ready   API server, CRDs, and permissions of {SERVICE_ACCOUNT}"));
        Ok(kubernetes)
    }

    /// The kubeconfig of the operators: the service account's permissions and no more.
    pub fn operator_kubeconfig(&self) -> &Path {
        &self.operator
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> &Path {
        self.plane.kubeconfig()
    }

    /// The kubectl to use: the machine's own, if it has one.
    pub fn program(&self) -> String {
        let kubectl = self.plane.kubectl();
        let path = Path::new(kubectl.as_std().get_program());
        let own = find_program(&"kubectl".into()).is_some_and(|own| own == path);
        if own { "kubectl".to_owned() } else { path.display().to_string() }
    }

    /// Applies a file or a folder.
    ///
    /// # Errors
    /// The API server refuses it.
    pub async fn apply(&self, path: &Path) -> anyhow::Result<()> {
        self.kubectl(["apply".as_ref(), "-f".as_ref(), path.as_os_str()]).await
    }

    async fn kubectl<const N: usize>(&self, arguments: [&OsStr; N]) -> anyhow::Result<()> {
        let mut kubectl = self.plane.kubectl();
        kubectl.args(arguments);
        let words: Vec<_> = arguments.iter().map(|argument| argument.to_string_lossy()).collect();
        let what = format!("kubectl {}", words.join(" "));
        let ran = timeout(KUBECTL_WITHIN, kubectl.output()).await;
        let output =
            ran.with_context(|| format!("{what}: no answer within {} s", KUBECTL_WITHIN.as_secs()))?;
        let output = output.with_context(|| format!("{what} cannot be run"))?;
        if !output.status.success() {
            bail!("{what} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }
}

fn namespace(name: &str) -> String {
    format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}}}\n")
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(path, text).with_context(|| format!("{} cannot be written", path.display()))
}
