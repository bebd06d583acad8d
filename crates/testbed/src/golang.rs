//! Programs built from Go modules, at pinned versions, without a checkout of their sources.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::process::Command;

use crate::cache::{self, GO};

/// The Kubernetes that the testbed runs; its libraries have the same number with a leading 0.
pub(crate) const KUBERNETES: &str = "1.37.2";
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

/// Programs of one module, built together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GoPrograms<'a> {
    /// The module's path.
    pub module: &'a str,
    /// Its version, without the `v`.
    pub version: &'a str,
    /// The packages of the programs; each program is called as the last part of its package.
    pub packages: &'a [&'a str],
    /// A variable, `package.name`, that tells the program its version; nothing when it needs none.
    pub version_variable: Option<&'a str>,
    /// The source of a program of our own that is linked from the module's packages, with its name.
    pub own_main: Option<(&'a str, &'a str)>,
}

impl GoPrograms<'_> {
    /// Builds the programs into `folder`. Says on standard error that it goes on; a cold build of a large
    /// module takes minutes.
    ///
    /// # Errors
    /// Go is missing, the modules cannot be downloaded, or they do not compile.
    pub(crate) async fn build(&self, folder: &Path) -> Result<()> {
        let go = GO.find()?;
        let name = self.name();
        let source = folder.join(format!("{name}-source"));
        fs::create_dir(&source).with_context(|| format!("{} cannot be made", source.display()))?;
        let write = |file: &str, text: &str| {
            fs::write(source.join(file), text)
                .with_context(|| format!("{} cannot be written to", source.display()))
        };
        write("go.mod", &self.go_mod())?;
        if let Some((_, main)) = self.own_main {
            write("main.go", main)?;
        }
        let command = |arguments: &[&str]| {
            let mut command = Command::new(&go);
            command.args(arguments).current_dir(&source).env("GOFLAGS", "-mod=mod").env("GOWORK", "off");
            command
        };
        let what = format!("{name} {}", self.version);
        let log = folder.join(format!("{name}.log"));
        cache::step(&format!("{what}: download"), command(&["mod", "tidy"]), &log, TIDY_WITHIN).await?;
        let mut compile = command(&["build", "-trimpath", "-ldflags", &self.linker_flags(), "-o"]);
        match self.own_main {
            Some((program, _)) => compile.arg(folder.join(program)).arg("."),
            // With a slash at the end it is a folder, whatever the number of programs.
            None => compile.arg(folder.join("")).args(self.packages),
        };
        cache::step(&format!("{what}: build"), compile, &log, BUILD_WITHIN).await
    }

    /// What the build is called in messages.
    fn name(&self) -> &str {
        match (self.own_main, self.packages) {
            (Some((program, _)), _) => program,
            (None, [package]) if program_of(package) != "cmd" => program_of(package),
            (None, _) => program_of(self.module),
        }
    }

    fn linker_flags(&self) -> String {
        match self.version_variable {
            Some(variable) => format!("-s -w -X {variable}=v{}", self.version),
            None => "-s -w".to_owned(),
        }
    }

    fn go_mod(&self) -> String {
        let Self { module, version, .. } = self;
        let mut text = format!("module testbed\n\ngo {GO_LANGUAGE}\n\nrequire {module} v{version}\n");
        if *module == "k8s.io/kubernetes" {
            let libraries =
                STAGING.map(|name| format!("\tk8s.io/{name} => k8s.io/{name} v0{}\n", &version[1..]));
            text.push_str(&format!("\nreplace (\n{})\n", libraries.concat()));
        }
        if self.own_main.is_none() {
            // Without it `go mod tidy` would drop a module that no source here imports.
            let tools: String = self.packages.iter().map(|package| format!("\t{package}\n")).collect();
            text.push_str(&format!("\ntool (\n{tools})\n"));
        }
        text
    }
}

/// What Go calls the program of a package: the last part of the path that is not a major version, so `helm` of
/// `helm.sh/helm/v3/cmd/helm` and `server` of `go.etcd.io/etcd/server/v3`.
fn program_of(package: &str) -> &str {
    let is_version = |part: &str| {
        part.strip_prefix('v').is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
    };
    package.rsplit('/').find(|part| !is_version(part)).unwrap_or(package)
}

/// Programs of Kubernetes itself.
pub(crate) async fn build_kubernetes(folder: &Path, programs: &[&str]) -> Result<()> {
    let packages: Vec<String> =
        programs.iter().map(|program| format!("k8s.io/kubernetes/cmd/{program}")).collect();
    let packages: Vec<&str> = packages.iter().map(String::as_str).collect();
    GoPrograms {
        module: "k8s.io/kubernetes",
        version: KUBERNETES,
        packages: &packages,
        version_variable: Some("k8s.io/component-base/version.gitVersion"),
        own_main: None,
    }
    .build(folder)
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELM: GoPrograms<'_> = GoPrograms {
        module: "helm.sh/helm/v3",
        version: "3.22.0",
        packages: &["helm.sh/helm/v3/cmd/helm"],
        version_variable: Some("helm.sh/helm/v3/internal/version.version"),
        own_main: None,
    };

    #[test]
    fn a_module_names_its_programs_and_its_version() {
        assert_eq!(HELM.name(), "helm");
        assert_eq!(HELM.linker_flags(), "-s -w -X helm.sh/helm/v3/internal/version.version=v3.22.0");
        let go_mod = HELM.go_mod();
        assert!(go_mod.contains("require helm.sh/helm/v3 v3.22.0\n"), "{go_mod}");
        assert!(go_mod.contains("tool (\n\thelm.sh/helm/v3/cmd/helm\n)"), "{go_mod}");
        assert!(!go_mod.contains("replace"), "{go_mod}");
    }

    #[test]
    fn programs_are_called_as_go_calls_them() {
        assert_eq!(program_of("helm.sh/helm/v3/cmd/helm"), "helm");
        assert_eq!(program_of("go.etcd.io/etcd/server/v3"), "server");
        assert_eq!(program_of("github.com/containerd/containerd/v2"), "containerd");
    }

    #[test]
    fn kubernetes_gets_the_releases_of_its_libraries() {
        let packages = ["k8s.io/kubernetes/cmd/kubelet", "k8s.io/kubernetes/cmd/kube-proxy"];
        let kubernetes =
            GoPrograms { module: "k8s.io/kubernetes", version: "1.37.2", packages: &packages, ..HELM };
        assert_eq!(kubernetes.name(), "kubernetes");
        assert!(kubernetes.go_mod().contains("\tk8s.io/kubelet => k8s.io/kubelet v0.37.2\n"));
    }

    #[test]
    fn a_program_of_our_own_imports_what_it_needs() {
        let own = GoPrograms { own_main: Some(("dns", "package main")), packages: &[], ..HELM };
        assert_eq!(own.name(), "dns");
        assert!(!own.go_mod().contains("tool"));
    }
}
