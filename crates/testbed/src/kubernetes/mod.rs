//! A Kubernetes control plane without nodes: etcd and kube-apiserver.

mod install;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::json;
use tokio::process::Command;

pub(crate) use self::install::Installation;
use crate::golang::KUBERNETES;
use crate::ids::new_uuid;
use crate::ports::free_port;
use crate::process::{Process, Scratch};
use crate::proxy::Proxy;
use crate::wait::wait_until;

/// How long the API server may take until it is ready; some 6 s on an idle machine.
const START_WITHIN: Duration = Duration::from_secs(180);
/// The administrator that impersonates all others.
const ADMIN: &str = "admin";

/// A running API server with its etcd, on loopback. CRDs, CEL rules, status, RBAC, leases, events and
/// admission are the real ones. There are no nodes and no controllers: no pod runs, a deleted namespace stays
/// `Terminating`, and roles that a controller fills (`view`, `edit`, `admin`) are empty.
///
/// Dropping it ends both and removes their data.
#[derive(Debug)]
pub struct ControlPlane {
    installation: Installation,
    /// Where the API server itself listens.
    port: u16,
    etcd_url: String,
    token: String,
    /// For the testbed's own questions: never through the proxy.
    direct_kubeconfig: PathBuf,
    kubeconfig: PathBuf,
    kubeconfigs: AtomicU32,
    // Dropped in this order: the API server, what stands before it, etcd, their data.
    api_server: Mutex<Option<Arc<Process>>>,
    proxy: Option<Proxy>,
    etcd: Process,
    data: Scratch,
}

impl ControlPlane {
    /// Starts a control plane, on first use building it (minutes), and waits until the API server is ready.
    ///
    /// # Errors
    /// Go is missing the first time, the build fails, or the API server does not come up; the error then ends
    /// with the last lines of its log.
    pub async fn start() -> Result<Self> {
        Self::start_with(None).await
    }

    /// The same, with every kubeconfig pointing to a [`Proxy`] before the API server
    /// ([`proxy`](Self::proxy)).
    ///
    /// # Errors
    /// Those of [`start`](Self::start).
    pub async fn start_proxied() -> Result<Self> {
        let port = free_port()?;
        Self::start_with(Some((port, Proxy::start(format!("127.0.0.1:{port}")).await?))).await
    }

    /// Whether everything has been built already, so that a start takes seconds.
    pub fn is_prepared() -> bool {
        Installation::is_cached()
    }

    /// Builds everything now, unless that was done before.
    ///
    /// # Errors
    /// Go is missing, or the build fails.
    pub async fn prepare() -> Result<()> {
        Installation::ready().await.map(|_installation| ())
    }

    async fn start_with(proxied: Option<(u16, Proxy)>) -> Result<Self> {
        let installation = Installation::ready().await?;
        let data = Scratch::new()?;
        let (port, proxy) = match proxied {
            Some((port, proxy)) => (port, Some(proxy)),
            None => (free_port()?, None),
        };
        let etcd_url = format!("http://127.0.0.1:{}", free_port()?);
        let peer_url = format!("http://127.0.0.1:{}", free_port()?);
        let mut etcd = Command::new(&installation.etcd);
        etcd.args(["--name=testbed", "--unsafe-no-fsync", "--log-level=warn"])
            .arg(format!("--data-dir={}", data.path().join("etcd").display()))
            .args([format!("--listen-client-urls={etcd_url}"), format!("--advertise-client-urls={etcd_url}")])
            .args([
                format!("--listen-peer-urls={peer_url}"),
                format!("--initial-advertise-peer-urls={peer_url}"),
            ])
            .arg(format!("--initial-cluster=testbed={peer_url}"));
        let etcd = Process::spawn("etcd", etcd, data.path().join("etcd.log"))?;

        let token = new_uuid()?;
        let tokens = format!("{token},{ADMIN},{ADMIN},\"system:masters\"\n");
        fs::write(data.path().join("tokens.csv"), tokens).context("the token file cannot be written")?;
        let plane = Self {
            installation,
            port,
            etcd_url,
            token,
            direct_kubeconfig: data.path().join("direct.kubeconfig"),
            kubeconfig: data.path().join("admin.kubeconfig"),
            kubeconfigs: AtomicU32::new(0),
            api_server: Mutex::new(None),
            proxy,
            etcd,
            data,
        };
        plane.write_kubeconfig(&plane.direct_kubeconfig, plane.port, None)?;
        plane.write_kubeconfig(&plane.kubeconfig, plane.client_port(), None)?;
        plane.start_api_server().await?;
        Ok(plane)
    }

    /// The Kubernetes version, like `1.37.2`.
    pub fn version(&self) -> &'static str {
        KUBERNETES
    }

    /// Where clients connect to: `https://127.0.0.1:<port>`.
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.client_port())
    }

    /// A kubeconfig of an administrator (`system:masters`). The path holds as long as the control plane does.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// A kubeconfig of any other user, to try RBAC with: the API server sees `user` and `groups` (and
    /// `system:authenticated`) and nothing else. It works by impersonation, so that users need not be known
    /// at the start.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn kubeconfig_for(&self, user: &str, groups: &[&str]) -> Result<PathBuf> {
        let number = self.kubeconfigs.fetch_add(1, Ordering::Relaxed);
        let path = self.data.path().join(format!("user-{number}.kubeconfig"));
        self.write_kubeconfig(&path, self.client_port(), Some((user, groups)))?;
        Ok(path)
    }

    /// `kubectl` as the administrator. Ends with its handle.
    pub fn kubectl(&self) -> Command {
        self.kubectl_with(&self.kubeconfig)
    }

    /// The proxy before the API server.
    ///
    /// # Panics
    /// The control plane was not started by [`start_proxied`](Self::start_proxied).
    pub fn proxy(&self) -> &Proxy {
        match &self.proxy {
            Some(proxy) => proxy,
            None => panic!("there is no proxy before the API server: use ControlPlane::start_proxied"),
        }
    }

    /// The process id of the API server, while it runs.
    pub fn api_server_pid(&self) -> Option<i32> {
        self.running().ok().map(|process| process.pid())
    }

    /// Lets the API server hang (SIGSTOP).
    ///
    /// # Errors
    /// It is not running.
    pub fn pause_api_server(&self) -> Result<()> {
        self.running()?.pause()
    }

    /// Lets a hanging API server go on (SIGCONT).
    ///
    /// # Errors
    /// It is not running.
    pub fn resume_api_server(&self) -> Result<()> {
        self.running()?.resume()
    }

    /// Ends the API server with SIGTERM (SIGKILL after 30 s) and waits until it is gone. etcd goes on.
    ///
    /// # Errors
    /// It is not running.
    pub async fn stop_api_server(&self) -> Result<()> {
        self.running()?.terminate().await?;
        Ok(())
    }

    /// Ends the API server with SIGKILL and waits until it is gone. etcd goes on.
    ///
    /// # Errors
    /// It is not running.
    pub async fn kill_api_server(&self) -> Result<()> {
        self.running()?.kill().await?;
        Ok(())
    }

    /// Starts the API server again, on its port, with its certificate and etcd's data, and waits until it is
    /// ready.
    ///
    /// # Errors
    /// It runs already or does not come up.
    pub async fn start_api_server(&self) -> Result<()> {
        {
            let mut slot = self.lock();
            if slot.as_ref().is_some_and(|process| process.is_running()) {
                bail!("the API server runs already");
            }
            *slot = Some(Arc::new(Process::spawn(
                "kube-apiserver",
                self.api_server_command(),
                self.api_server_log(),
            )?));
        }
        let ready = wait_until("the API server to be ready", START_WITHIN, || async {
            if self.api_server_pid().is_none() || !self.etcd.is_running() {
                return Some(false);
            }
            let ready = self.answers(&["get", "--raw", "/readyz"]).await
                && self.answers(&["get", "namespaces", "default", "kube-system"]).await;
            ready.then_some(true)
        })
        .await;
        let logs = || {
            let api_server = crate::process::log_tail(&self.api_server_log());
            format!("the end of its log:\n{api_server}\nthe end of etcd's:\n{}", self.etcd.log_tail())
        };
        match ready {
            Ok(true) => Ok(()),
            Ok(false) => bail!("the API server ended while it started; {}", logs()),
            Err(error) => Err(error.context(logs())),
        }
    }

    /// What the API server printed, over all its starts.
    pub fn api_server_log(&self) -> PathBuf {
        self.data.path().join("kube-apiserver.log")
    }

    fn api_server_command(&self) -> Command {
        let pki = self.data.path().join("pki");
        // The API server makes itself a certificate in `pki` before it reads the keys of service account
        // tokens, so the certificate's key can be both.
        let key = pki.join("apiserver.key");
        let mut command = Command::new(&self.installation.api_server);
        command
            .args([
                "--bind-address=127.0.0.1",
                "--external-hostname=127.0.0.1",
                "--endpoint-reconciler-type=none",
            ])
            .args(["--service-cluster-ip-range=10.96.0.0/16", "--authorization-mode=RBAC"])
            .arg("--service-account-issuer=https://kubernetes.default.svc")
            .arg(format!("--service-account-signing-key-file={}", key.display()))
            .arg(format!("--service-account-key-file={}", key.display()))
            .arg(format!("--token-auth-file={}", self.data.path().join("tokens.csv").display()))
            .arg(format!("--cert-dir={}", pki.display()))
            .arg(format!("--etcd-servers={}", self.etcd_url))
            .arg(format!("--secure-port={}", self.port));
        command
    }

    async fn answers(&self, arguments: &[&str]) -> bool {
        let mut kubectl = self.kubectl_with(&self.direct_kubeconfig);
        kubectl.args(arguments).arg("--request-timeout=2s");
        kubectl.output().await.is_ok_and(|output| output.status.success())
    }

    fn kubectl_with(&self, kubeconfig: &Path) -> Command {
        let mut kubectl = Command::new(&self.installation.kubectl);
        kubectl.env("KUBECONFIG", kubeconfig).kill_on_drop(true).stdin(std::process::Stdio::null());
        kubectl
    }

    fn write_kubeconfig(&self, path: &Path, port: u16, user: Option<(&str, &[&str])>) -> Result<()> {
        let mut login = json!({ "token": self.token });
        if let Some((user, groups)) = user {
            login["as"] = json!(user);
            login["as-groups"] = json!(groups);
        }
        let certificate = self.data.path().join("pki").join("apiserver.crt");
        let server = format!("https://127.0.0.1:{port}");
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{ "name": "testbed", "cluster": { "server": server, "certificate-authority": certificate } }],
            "users": [{ "name": "user", "user": login }],
            "contexts": [{ "name": "testbed", "context": { "cluster": "testbed", "user": "user" } }],
            "current-context": "testbed",
        });
        fs::write(path, format!("{config:#}\n"))
            .with_context(|| format!("{} cannot be written", path.display()))
    }

    fn client_port(&self) -> u16 {
        self.proxy.as_ref().map_or(self.port, Proxy::port)
    }

    fn running(&self) -> Result<Arc<Process>> {
        match self.lock().as_ref().filter(|process| process.is_running()) {
            Some(process) => Ok(Arc::clone(process)),
            None => bail!("the API server is not running"),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<Process>>> {
        self.api_server.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
