//! The parts of the webhook, put together.

use super::{
    SidecarSettings,
    certificates::{Keeper, KeeperSettings, Serving, follow},
    counters::Counters,
    review::Reviewer,
    server,
    watched::WatchedPolicies,
};
use anyhow::{Context, anyhow};
use kube::Client;
use std::{
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

/// The first minor version of Kubernetes 1 in which native sidecars are on (KEP-753, beta).
const NATIVE_SIDECARS: u32 = 29;

/// How long the API server may take to say its version, and the pause before it is asked again.
const VERSION_TIMEOUT: Duration = Duration::from_secs(5);

/// How often mounted certificates are read.
const REFRESH: Duration = Duration::from_secs(10);

/// How often readiness and metrics are told of the certificate.
const TELL: Duration = Duration::from_secs(1);

/// Where the certificate comes from.
#[derive(Debug, Clone)]
pub enum Source {
    /// The operator issues and renews it.
    Kept(KeeperSettings),
    /// Somebody else does, and it is mounted here.
    Folder(PathBuf),
}

/// What is served, and how.
#[derive(Debug, Clone)]
pub struct WebhookSettings {
    /// `host:port`.
    pub listen: String,
    /// The certificate.
    pub source: Source,
    /// What sidecars are like.
    pub sidecar: SidecarSettings,
}

/// The webhook, listening and not served yet.
#[derive(Debug)]
pub struct Webhook {
    listener: TcpListener,
    serving: Arc<Serving>,
    reviewer: Arc<Reviewer>,
    tasks: Vec<AbortOnDropHandle<()>>,
}

impl Webhook {
    /// Opens the port and begins to watch policies (`namespaces`; none means all) and to keep the certificate.
    ///
    /// # Errors
    /// An address that cannot be listened on.
    pub async fn start(
        client: &Client,
        namespaces: &[String],
        settings: WebhookSettings,
        counters: Arc<Counters>,
    ) -> anyhow::Result<Self> {
        let address = &settings.listen;
        let listener = TcpListener::bind(address).await.map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => {
                anyhow!("cannot listen on {address}: address in use; choose another with --injection-listen")
            }
            _ => anyhow!(error).context(format!("cannot listen on {address} (given by --injection-listen)")),
        })?;
        counters.turn_on();
        let serving = Arc::new(Serving::default());
        let certificate = match settings.source {
            Source::Kept(kept) => tokio::spawn(Keeper::new(client, kept, serving.clone()).run()),
            Source::Folder(folder) => tokio::spawn(follow(folder, serving.clone(), REFRESH)),
        };
        let native_sidecars = Arc::new(OnceLock::new());
        let version = tokio::spawn(ask_version(client.clone(), native_sidecars.clone()));
        let told = tokio::spawn(tell_of_certificate(serving.clone(), counters.clone()));
        let policies = WatchedPolicies::start(client, namespaces);
        let reviewer = Reviewer { settings: settings.sidecar, policies, native_sidecars, counters };
        Ok(Self {
            listener,
            serving,
            reviewer: Arc::new(reviewer),
            tasks: [certificate, version, told].map(AbortOnDropHandle::new).into(),
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The operating system does not say.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `cancel` is cancelled and answers under way are given.
    ///
    /// # Errors
    /// TLS cannot be set up.
    pub async fn serve(self, cancel: &CancellationToken) -> anyhow::Result<()> {
        if let Ok(address) = self.address() {
            tracing::info!("injection webhook on https://{address}/inject");
        }
        let served = server::serve(self.listener, self.serving, self.reviewer, cancel).await;
        drop(self.tasks);
        served.context("the injection webhook cannot serve TLS")
    }
}

/// Finds out whether the cluster knows native sidecars. An older one would drop the field that makes the container one.
async fn ask_version(client: Client, native_sidecars: Arc<OnceLock<bool>>) {
    let mut said = false;
    loop {
        let version = tokio::time::timeout(VERSION_TIMEOUT, client.apiserver_version()).await;
        if let Ok(Ok(version)) = version {
            let known = has_native_sidecars(&version.major, &version.minor);
            if !known {
                tracing::error!(
                    "Kubernetes {}.{} has no native sidecars, which came with 1.{NATIVE_SIDECARS}: nothing is injected",
                    version.major,
                    version.minor
                );
            }
            // Nobody else sets it.
            let _ = native_sidecars.set(known);
            return;
        }
        if !said {
            tracing::warn!("nothing is injected until the API server says its version");
            said = true;
        }
        tokio::time::sleep(VERSION_TIMEOUT).await;
    }
}

/// Versions as `/version` has them: `1` and `29`, with some providers `29+`.
fn has_native_sidecars(major: &str, minor: &str) -> bool {
    let number = |text: &str| text.trim_end_matches('+').parse::<u32>().ok();
    match (number(major), number(minor)) {
        (Some(1), Some(minor)) => minor >= NATIVE_SIDECARS,
        (Some(major), Some(_)) => major > 1,
        _ => false,
    }
}

async fn tell_of_certificate(serving: Arc<Serving>, counters: Arc<Counters>) {
    loop {
        counters.set_expiry(serving.expiry());
        if serving.was_trusted() {
            counters.set_prepared();
        }
        tokio::time::sleep(TELL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn native_sidecars_came_with_1_29() {
        for (major, minor, known) in
            [("1", "28", false), ("1", "29", true), ("1", "37+", true), ("2", "0", true), ("1", "", false)]
        {
            assert_eq!(has_native_sidecars(major, minor), known, "{major}.{minor}");
        }
    }
}
