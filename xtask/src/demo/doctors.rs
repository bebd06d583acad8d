//! The doctors of the demo: two instances of the operator.

use super::reading::{self, Report};
use anyhow::{Context, bail};
use doctorkafka_testbed::{Process, free_port};
use std::{
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::process::Command;

/// Where a doctor serves.
#[derive(Debug, Clone, Copy)]
pub struct Ports {
    /// Dashboard.
    pub dashboard: u16,
    /// API.
    pub api: u16,
}

impl Ports {
    /// The ports the user wants (0: any), if they are free.
    ///
    /// # Errors
    /// One is in use.
    pub fn wanted(dashboard: u16, api: u16) -> anyhow::Result<Self> {
        Ok(Self { dashboard: free(dashboard, "--dashboard-port")?, api: free(api, "--api-port")? })
    }

    /// Any two.
    ///
    /// # Errors
    /// None is free.
    pub fn any() -> anyhow::Result<Self> {
        Ok(Self { dashboard: free_port()?, api: free_port()? })
    }
}

fn free(port: u16, flag: &str) -> anyhow::Result<u16> {
    if port == 0 {
        return free_port();
    }
    if let Err(error) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
        bail!("port {port} cannot be used ({error}): stop what listens there, or choose another with {flag}");
    }
    Ok(port)
}

/// How a doctor is started.
#[derive(Debug, Clone)]
pub enum Mode {
    /// With a policy file.
    Standalone {
        /// The file.
        policy: PathBuf,
    },
    /// On Kubernetes.
    Kubernetes {
        /// The operator's own kubeconfig.
        kubeconfig: PathBuf,
        /// Namespace of its Lease.
        namespace: &'static str,
    },
}

/// One doctor.
#[derive(Debug)]
pub struct Doctor {
    number: usize,
    ports: Ports,
    program: PathBuf,
    mode: Mode,
    log: PathBuf,
    process: Mutex<Option<Arc<Process>>>,
}

impl Doctor {
    /// Starts one.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(
        number: usize,
        ports: Ports,
        program: &Path,
        mode: Mode,
        folder: &Path,
    ) -> anyhow::Result<Self> {
        let log = folder.join(format!("doctor-{number}.log"));
        let doctor =
            Self { number, ports, program: program.to_owned(), mode, log, process: Mutex::default() };
        doctor.start_again()?;
        Ok(doctor)
    }

    /// Its number, from 1.
    pub fn number(&self) -> usize {
        self.number
    }

    /// Where it serves.
    pub fn ports(&self) -> Ports {
        self.ports
    }

    /// Starts it after [`stop`](Self::stop).
    ///
    /// # Errors
    /// It runs, or cannot be started.
    pub fn start_again(&self) -> anyhow::Result<()> {
        let mut process = self.process();
        if process.is_some() {
            bail!("doctor {} runs already", self.number);
        }
        let mut command = Command::new(&self.program);
        match &self.mode {
            Mode::Standalone { policy } => {
                command.arg("standalone").arg("--policy").arg(policy);
            }
            Mode::Kubernetes { kubeconfig, namespace } => {
                command.env("KUBECONFIG", kubeconfig).arg("run").args(["--lease-namespace", namespace]);
                command.args(["--identity", &format!("doctor-{}", self.number)]);
            }
        }
        command
            .args(["--dashboard-listen", &format!("127.0.0.1:{}", self.ports.dashboard)])
            .args(["--api-listen", &format!("127.0.0.1:{}", self.ports.api)])
            // What is set for the terminal is not meant for these.
            .env_remove("KAFKA_BROKERS");
        let name = format!("doctor {}", self.number);
        *process = Some(Arc::new(Process::spawn(name, command, &self.log)?));
        Ok(())
    }

    /// Ends it with SIGTERM.
    ///
    /// # Errors
    /// It cannot be ended.
    pub async fn stop(&self) -> anyhow::Result<()> {
        let process = self.process().take();
        if let Some(process) = process {
            process.terminate().await?;
        }
        Ok(())
    }

    /// Whether it is meant to run.
    pub fn is_on(&self) -> bool {
        self.process().is_some()
    }

    /// Whether it has ended without being asked to.
    pub fn has_ended(&self) -> bool {
        self.process().as_ref().is_some_and(|process| !process.is_running())
    }

    /// The end of its log, if it has ended without being asked to. Said once; afterwards it is off.
    pub fn ended_by_itself(&self) -> Option<String> {
        let mut process = self.process();
        if process.as_ref().is_none_or(|process| process.is_running()) {
            return None;
        }
        process.take().map(|process| process.log_tail())
    }

    /// The end of its log; empty while it is off.
    pub fn log_tail(&self) -> String {
        self.process().as_ref().map(|process| process.log_tail()).unwrap_or_default()
    }

    /// What it says, while it is on.
    ///
    /// # Errors
    /// It is off, or does not answer.
    pub async fn report(&self) -> anyhow::Result<Report> {
        if !self.is_on() {
            bail!("doctor {} is off", self.number);
        }
        let report = reading::report(self.ports.api).await?;
        report.with_context(|| format!("doctor {} watches no cluster yet", self.number))
    }

    fn process(&self) -> MutexGuard<'_, Option<Arc<Process>>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The doctor that leads, and what it says.
pub async fn leading(doctors: &[Doctor]) -> Option<(&Doctor, Report)> {
    for doctor in doctors {
        if let Ok(report) = doctor.report().await
            && report.role.leads()
        {
            return Some((doctor, report));
        }
    }
    None
}

/// Whether one leads and all others stand by.
pub async fn settled(doctors: &[Doctor]) -> bool {
    let mut leaders = 0;
    for doctor in doctors {
        match doctor.report().await {
            Ok(report) if report.role.leads() => leaders += 1,
            Ok(report) if report.role.stands_by() => {}
            _ => return false,
        }
    }
    leaders == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_port_is_named_with_the_flag_that_chooses_another() {
        let busy = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = busy.local_addr().unwrap().port();
        let error = Ports::wanted(port, 0).unwrap_err().to_string();
        assert!(error.contains(&port.to_string()) && error.contains("--dashboard-port"), "{error}");
        assert!(Ports::wanted(0, 0).is_ok());
    }
}
