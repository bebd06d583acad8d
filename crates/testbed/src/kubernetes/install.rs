//! etcd and kube-apiserver, built from their Go modules.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::cache;
use crate::golang::{GoPrograms, KUBERNETES, build_kubernetes};
use crate::process::find_program;

const ETCD: &str = "3.6.7";

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
            build_kubernetes(&partial, &["kube-apiserver"]).await?;
            build_etcd(&partial).await
        })
        .await?;
        let kubectl = match find_program(&"kubectl".into()) {
            Some(path) => path,
            None => cache::ensure(&kubectl_part(), |partial| async move {
                build_kubernetes(&partial, &["kubectl"]).await
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

async fn build_etcd(folder: &Path) -> Result<()> {
    let package = "go.etcd.io/etcd/server/v3";
    let programs = GoPrograms {
        module: package,
        version: ETCD,
        packages: &[package],
        version_variable: None,
        own_main: None,
    };
    programs.build(folder).await?;
    // Go calls it by the last part of the package's path that is not a version.
    let built = folder.join("server");
    std::fs::rename(&built, folder.join("etcd"))
        .with_context(|| format!("{} cannot be renamed", built.display()))
}
