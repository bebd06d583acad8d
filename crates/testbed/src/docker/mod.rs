//! A Docker engine of one's own, from the distribution's packages, with Docker Compose built from its Go module. It
//! needs root.

mod compose;

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::process::Command;
use tokio::sync::oneshot;

use crate::cache::Tool;
use crate::node::remains::{Names, Remains};
use crate::process::{Process, Scratch};
use crate::wait::wait_until;

/// How long the engine may take until it answers; some 3 s on an idle machine.
const UP_WITHIN: Duration = Duration::from_secs(90);
/// How long a file of some hundred megabytes may take to be loaded.
const LOAD_WITHIN: Duration = Duration::from_secs(300);

/// Below it are the cgroups of version 2, and a folder for each hierarchy of version 1.
const CGROUPS: &str = "/sys/fs/cgroup";

/// Programs of the distribution.
const TOOLS: [Tool; 5] = [
    tool("dockerd", "run containers", "docker.io"),
    tool("docker", "speak to Docker's engine", "docker.io"),
    tool("unshare", "keep Docker's engine apart from this machine", "util-linux"),
    tool("ip", "give Docker's engine a network", "iproute2"),
    tool("iptables", "connect containers with each other", "iptables"),
];

const fn tool(program: &'static str, purpose: &'static str, install: &'static str) -> Tool {
    Tool { program, purpose, install }
}

/// A running engine without any image, container or volume, in namespaces of its own: ports that its containers publish
/// are open there only, so that it takes none of this machine's; [`inside`](Self::inside) reaches them. It pulls nothing.
///
/// Dropping it takes everything away: containers, images, volumes, networks, mounts and cgroups. So does the end of
/// this process in any other way, `kill -9` included. Any number may run beside each other.
#[derive(Debug)]
pub struct Docker {
    // Dropped in this order: the engine with every container, what is left in the kernel, the data.
    engine: Process,
    _remains: Remains,
    data: Scratch,
}

impl Docker {
    /// Builds Docker Compose now, unless that was done before; some minutes.
    ///
    /// # Errors
    /// Go is missing, or the build fails.
    pub async fn prepare() -> Result<()> {
        compose::plugin().await.map(|_path| ())
    }

    /// Starts an engine and waits until it answers.
    ///
    /// # Errors
    /// This user is not root, a program of the distribution is missing, Docker Compose cannot be built, or the engine
    /// does not come up; the error then ends with the last lines of its log.
    pub async fn start() -> Result<Self> {
        ensure!(
            rustix::process::geteuid().is_root(),
            "a Docker engine makes networks, mounts and cgroups: run this as root"
        );
        for tool in &TOOLS {
            tool.find()?;
        }
        let plugin = compose::plugin().await?;
        let data = Scratch::new()?;
        let plugins = data.path().join("config/cli-plugins");
        let context = || format!("{} cannot be written", plugins.display());
        fs::create_dir_all(&plugins).with_context(context)?;
        std::os::unix::fs::symlink(plugin, plugins.join("docker-compose")).with_context(context)?;
        let start = data.path().join("start.sh");
        fs::write(&start, include_str!("start.sh")).with_context(context)?;

        // The folder's name is nobody else's.
        let name = data.path().file_name().and_then(|name| name.to_str()).context("a folder has no name")?;
        let remains = Remains::of(Names::of_cgroup(name))?;
        let mut command = Command::new("unshare");
        command.args(["--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child", "sh"]);
        command.arg(&start).arg(data.path().join("written")).arg("dockerd");
        for (option, folder) in [
            ("--data-root", "data"),
            ("--exec-root", "exec"),
            ("--pidfile", "pid"),
            ("--config-file", "daemon.json"),
        ] {
            command.arg(option).arg(data.path().join(folder));
        }
        fs::write(data.path().join("daemon.json"), "{}").with_context(context)?;
        command.arg("--host").arg(host(data.path()));
        command
            .args(["--exec-opt", "native.cgroupdriver=cgroupfs", "--cgroup-parent"])
            .arg(format!("/{name}"));
        // The administrator's folders are not on everybody's path.
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
        let engine = Process::spawn("docker", command, data.path().join("engine.log"))?;
        let docker = Self { engine, _remains: remains, data };
        if let Err(error) = docker.answers().await {
            return Err(error.context(format!("the end of the engine's log:\n{}", docker.engine.log_tail())));
        }
        Ok(docker)
    }

    async fn answers(&self) -> Result<()> {
        let up = wait_until("Docker's engine to answer", UP_WITHIN, || async {
            if !self.engine.is_running() {
                return Some(false);
            }
            let asked = self.command().args(["version", "--format", "{{.Server.Version}}"]).output().await;
            asked.is_ok_and(|output| output.status.success()).then_some(true)
        });
        ensure!(up.await?, "Docker's engine ended while it started");
        Ok(())
    }

    /// `docker`, with `docker compose`, speaking to this engine, without the settings of this machine's user. Ends with
    /// its handle.
    pub fn command(&self) -> Command {
        let mut docker = Command::new("docker");
        docker
            .env("DOCKER_HOST", host(self.data.path()))
            .env("DOCKER_CONFIG", self.data.path().join("config"))
            .env_remove("DOCKER_CONTEXT")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        for name in std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()) {
            if name.starts_with("COMPOSE_") {
                docker.env_remove(name);
            }
        }
        docker
    }

    /// Loads the images of an archive (OCI or Docker).
    ///
    /// # Errors
    /// The file is no such archive, or it takes longer than 5 minutes.
    pub async fn load_image(&self, archive: &Path) -> Result<()> {
        let mut load = self.command();
        load.args(["load", "--input"]).arg(archive);
        let context = || format!("{} cannot be loaded", archive.display());
        let output = tokio::time::timeout(LOAD_WITHIN, load.output()).await;
        let output = output.with_context(context)?.with_context(context)?;
        if !output.status.success() {
            bail!("{}: {}", context(), String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }

    /// Runs `ask` where the published ports are: on 127.0.0.1 of the engine's network. Threads that it starts are there
    /// too.
    ///
    /// # Errors
    /// The engine has ended.
    pub async fn inside<T: Send + 'static>(&self, ask: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let path = PathBuf::from(format!("/proc/{}/ns/net", self.engine.pid()));
        let network = File::open(&path).context("Docker's engine has ended")?;
        let (answer, answered) = oneshot::channel();
        // On a thread of its own, which stays there.
        std::thread::Builder::new()
            .name("inside-docker".to_owned())
            .spawn(move || {
                let moved = move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network));
                answer.send(moved.map(|()| ask())).ok()
            })
            .context("a thread cannot be started")?;
        answered
            .await
            .context("the thread in the network of Docker's engine ended")?
            .context("the network of Docker's engine cannot be entered")
    }

    /// Ends it, which dropping does too, and makes sure that nothing is left.
    ///
    /// # Errors
    /// Something is left; the error names it.
    pub fn end(self) -> Result<()> {
        let folder = self.data.path().to_path_buf();
        let mut places = vec![folder.clone()];
        if let Some(name) = folder.file_name() {
            let hierarchies = fs::read_dir(CGROUPS).into_iter().flatten().flatten().map(|entry| entry.path());
            places.extend(hierarchies.chain([PathBuf::from(CGROUPS)]).map(|hierarchy| hierarchy.join(name)));
        }
        drop(self);
        let left: Vec<String> =
            places.iter().filter(|path| path.exists()).map(|path| path.display().to_string()).collect();
        ensure!(left.is_empty(), "Docker's engine left behind: {}", left.join(", "));
        Ok(())
    }
}

fn host(data: &Path) -> String {
    format!("unix://{}", data.join("docker.sock").display())
}
