//! Everything that runs in the demo.

use super::{
    Settings,
    build::Programs,
    cluster,
    doctors::{self, Doctor, Mode, Ports},
    kubernetes::{Kubernetes, OPERATOR_NAMESPACE, POLICY_NAMESPACE},
    reading::Report,
    screen::Screen,
    sidecars::Sidecar,
    summary::Summary,
};
use crate::policy;
use doctorkafka_testbed::{KafkaCluster, Process, Scratch, wait_until};
use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// The policy's name.
const POLICY: &str = "demo";

/// How long processes of ours may take to be at work.
const AT_WORK_WITHIN: Duration = Duration::from_secs(60);

/// The running parts, in the order in which they are dropped: what depends on others goes first.
#[derive(Debug)]
pub struct Stage {
    /// Two doctors.
    pub doctors: Vec<Doctor>,
    /// One sidecar for each broker.
    pub sidecars: Vec<Sidecar>,
    load: Process,
    kubernetes: Option<Kubernetes>,
    /// The brokers.
    pub kafka: KafkaCluster,
    summary: Mutex<Summary>,
    folder: Scratch,
}

impl Stage {
    /// Starts everything, telling what it does.
    ///
    /// # Errors
    /// A part cannot be started; those that were are ended again.
    pub async fn set(settings: &Settings, screen: &Screen) -> anyhow::Result<Self> {
        // What the user has to mend comes before anything that takes time.
        let ports = [Ports::wanted(settings.dashboard_port, settings.api_port)?, Ports::any()?];
        let folder = Scratch::new()?;
        let kafka = cluster::start(settings.brokers, screen).await?;
        let kubernetes = match settings.kubernetes {
            true => Some(Kubernetes::start(folder.path(), screen).await?),
            false => None,
        };
        let programs = Programs::build(screen).await?;
        let load = cluster::load(&kafka, folder.path(), screen).await?;

        let file = folder.path().join("policy.yaml");
        let (mode, kind) = match &kubernetes {
            None => {
                policy::write(&file, POLICY, None, &kafka.bootstrap())?;
                (Mode::Standalone { policy: file }, "standalone")
            }
            Some(kubernetes) => {
                policy::write(&file, POLICY, Some(POLICY_NAMESPACE), &kafka.bootstrap())?;
                kubernetes.apply(&file).await?;
                let kubeconfig = kubernetes.operator_kubeconfig().to_owned();
                (Mode::Kubernetes { kubeconfig, namespace: OPERATOR_NAMESPACE }, "on Kubernetes")
            }
        };
        // The doctors create the topic that the sidecars publish to, so both start at the same time.
        let doctors = (1..)
            .zip(ports)
            .map(|(number, ports)| {
                Doctor::start(number, ports, &programs.operator, mode.clone(), folder.path())
            })
            .collect::<Result<Vec<_>, _>>()?;
        let count = kafka.brokers().len();
        let step = screen.step("sidecars", format!("{count}, simulated load, seed {}", settings.seed));
        let sidecars = kafka
            .brokers()
            .iter()
            .map(|broker| Sidecar::start(&programs.sidecar, &kafka, broker, settings.seed, folder.path()))
            .collect::<Result<Vec<_>, _>>()?;
        for sidecar in &sidecars {
            let what = format!("reports of broker {} in _doctor_metrics", sidecar.broker());
            let process = sidecar.process();
            let publishes = wait_until(&what, AT_WORK_WITHIN, || async {
                let over = doctors.iter().any(Doctor::has_ended) || !process.is_running();
                if over { Some(false) } else { sidecar.publishes().await.then_some(true) }
            });
            explain(publishes.await, || format!("{}\n\n{}", process.log_tail(), tails(&doctors)))?;
        }
        step.done("publishing to _doctor_metrics");

        let step = screen.step("doctors", format!("{}, {kind}", doctors.len()));
        let settled = wait_until("one doctor to lead and the other to stand by", AT_WORK_WITHIN, || async {
            let over = doctors.iter().any(Doctor::has_ended);
            if over { Some(false) } else { doctors::settled(&doctors).await.then_some(true) }
        });
        explain(settled.await, || tails(&doctors))?;
        step.done("1 leads, 1 stands by");

        let summary = Mutex::new(Summary::new(settings.brokers));
        Ok(Self { doctors, sidecars, load, kubernetes, kafka, summary, folder })
    }

    /// Says where to look and what to try.
    pub fn introduce(&self, lasting: Option<Duration>, screen: &Screen) {
        for (doctor, note) in self.doctors.iter().zip(["", "   (the other doctor's)"]) {
            screen.fact("dashboard", &format!("http://localhost:{}{note}", doctor.ports().dashboard));
        }
        screen.fact("logs", &format!("{} (as long as this runs)", self.folder.path().display()));
        screen.blank();
        let last = self.kafka.brokers().len();
        let tries = [
            (format!("stop-broker {last}"), "and watch it turn UNHEALTHY; start-broker brings it back"),
            ("spike-broker 1".to_owned(), "and watch it turn OVERLOADED, and what is advised"),
            ("stop-doctor".to_owned(), "and watch the other take over; start-doctor brings it back"),
        ];
        let mut label = "try:";
        for (request, effect) in tries {
            println!("  {label:<5} cargo xtask demo {request:<15} {effect}");
            label = "";
        }
        if let Some(kubernetes) = &self.kubernetes {
            println!("        export KUBECONFIG={}", kubernetes.kubeconfig().display());
            let kubectl = kubernetes.program();
            for line in [
                "get kafkahealth -A".to_owned(),
                format!("describe kafkahealth {POLICY} -n {POLICY_NAMESPACE}"),
                format!("get events -n {POLICY_NAMESPACE}"),
                "explain kafkahealthpolicy.spec.detection".to_owned(),
            ] {
                println!("        {kubectl} {line}");
            }
        }
        match lasting {
            Some(lasting) => {
                println!("        it ends by itself after {} s; Ctrl-C ends it now", lasting.as_secs())
            }
            None => println!("        Ctrl-C ends everything"),
        }
    }

    /// Keeps what a leading doctor said for the summary.
    pub fn note(&self, report: &Report) {
        self.lock().note(report);
    }

    /// What was seen so far.
    pub fn summary(&self) -> Summary {
        self.lock().clone()
    }

    /// Names of the parts that have ended without being asked to, each said once, with the end of its log.
    pub fn ended_by_themselves(&self) -> Vec<(String, String)> {
        let doctors = self
            .doctors
            .iter()
            .filter_map(|doctor| Some((format!("doctor {}", doctor.number()), doctor.ended_by_itself()?)));
        let others = self.sidecars.iter().map(Sidecar::process).chain([&self.load]);
        let others = others
            .filter(|process| !process.is_running())
            .map(|process| (process.name().to_owned(), process.log_tail()));
        let ended: Vec<_> = doctors.chain(others).collect();
        let mut summary = self.lock();
        ended.into_iter().filter(|(name, _)| summary.note_ended(name)).collect()
    }

    /// Ends everything, what depends on others first.
    pub async fn strike(self, screen: &Screen) {
        let step = screen.step("ending", "doctors, sidecars, brokers");
        for doctor in &self.doctors {
            if let Err(error) = doctor.stop().await {
                screen.now("doctor", &format!("{error:#}"));
            }
        }
        for process in self.sidecars.iter().map(Sidecar::process) {
            if let Err(error) = process.terminate().await {
                screen.now("sidecar", &format!("{error:#}"));
            }
        }
        // The brokers' data goes with them: nothing is gained by stopping them in good order.
        drop(self);
        step.done("nothing is left behind");
    }

    fn lock(&self) -> MutexGuard<'_, Summary> {
        self.summary.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds the end of the logs to what went wrong: not in time, or (`false`) a process has ended.
fn explain(outcome: anyhow::Result<bool>, log: impl FnOnce() -> String) -> anyhow::Result<()> {
    match outcome {
        Ok(true) => Ok(()),
        Ok(false) => anyhow::bail!("a part has ended by itself; the end of the logs:\n{}", log()),
        Err(error) => Err(error.context(format!("the end of the logs:\n{}", log()))),
    }
}

fn tails(doctors: &[Doctor]) -> String {
    doctors.iter().map(Doctor::log_tail).collect::<Vec<_>>().join("\n\n")
}
