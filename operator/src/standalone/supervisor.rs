//! Keeps one engine running for one policy.
//!
//! An engine that was fenced (another doctor has opened the actions log) has lost the lead whatever the election says.
//! It gives way to a fresh one that stands by, which takes part in the election again after a pause. The pause doubles
//! each time, so that two doctors that cannot see each other's elections do not fence each other without end.

use super::{election, policy_file::PolicyFile};
use crate::fleet::Fleet;
use anyhow::anyhow;
use doctorkafka_doctor::{Authority, Doctor, DoctorReport, DoctorSettings, Policy, Role};
use doctorkafka_kafka::Connection;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    sync::watch,
    task::{JoinError, JoinHandle},
    time,
};
use tokio_util::sync::CancellationToken;

/// The first and the longest pause before a fenced doctor takes part in the election again.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(120));

/// After this time without being fenced the pause is short again.
const FORGET_FENCING_AFTER: Duration = Duration::from_secs(600);

/// How long an engine and the election may take to end in good order.
const STOP_LIMIT: Duration = Duration::from_secs(8);

/// A policy in force.
pub(super) struct Supervised {
    file: PolicyFile,
    fleet: Fleet,
    policy: watch::Sender<Arc<Policy>>,
    cancel: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Supervised {
    /// Starts an engine and takes part in the election.
    pub(super) fn start(file: PolicyFile, fleet: Fleet, cancel: &CancellationToken) -> Self {
        let cancel = cancel.child_token();
        let policy = watch::Sender::new(Arc::new(file.policy.clone()));
        let watched = Watched {
            name: file.policy.name.clone(),
            connection: file.connection.clone(),
            actions_log: file.policy.topics.actions_log.clone(),
            policy: policy.subscribe(),
            fleet: fleet.clone(),
        };
        let task = tokio::spawn(watched.supervise(cancel.clone()));
        Self { file, fleet, policy, cancel, task }
    }

    /// The policy's name.
    pub(super) fn name(&self) -> &str {
        &self.file.policy.name
    }

    /// Whether an edited policy can go into the running engine. It has a new bearer token then.
    pub(super) fn takes(&self, file: &PolicyFile) -> bool {
        self.file.connection.renew(&file.connection);
        let same = |file: &PolicyFile| {
            (file.policy.name.clone(), file.connection.clone(), file.policy.topics.clone())
        };
        same(&self.file) == same(file)
    }

    /// Hands an edited policy to the running engine.
    pub(super) fn set_policy(&self, policy: Arc<Policy>) {
        self.policy.send_replace(policy);
    }

    /// Resolves when the engine has ended by itself. Cancel safe.
    pub(super) async fn ended(&mut self) -> anyhow::Result<()> {
        (&mut self.task).await.unwrap_or_else(|error| Err(error.into()))
    }

    /// Ends the engine and leaves the election.
    pub(super) async fn stop(self) {
        self.cancel.cancel();
        match self.task.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!("{error:#}"),
            Err(error) => tracing::error!("the engine's supervisor has failed: {error}"),
        }
        self.fleet.remove(&self.file.policy.name);
    }
}

/// What an engine is started with, again and again.
struct Watched {
    name: String,
    connection: Connection,
    actions_log: String,
    policy: watch::Receiver<Arc<Policy>>,
    fleet: Fleet,
}

/// Why one engine's life is over.
enum End {
    Asked,
    Fenced,
    ByItself(Result<(), JoinError>),
}

impl Watched {
    async fn supervise(self, cancel: CancellationToken) -> anyhow::Result<()> {
        let mut pause = Duration::ZERO;
        loop {
            let started = Instant::now();
            match self.live(pause, &cancel).await {
                End::Asked => return Ok(()),
                End::ByItself(how) => {
                    let how = how.map_or_else(|error| error.to_string(), |()| "without an error".to_owned());
                    return Err(anyhow!("the engine of policy {} has ended by itself: {how}", self.name));
                }
                End::Fenced => {
                    pause = match started.elapsed() {
                        calm if calm >= FORGET_FENCING_AFTER => PAUSES.0,
                        _ => (pause * 2).clamp(PAUSES.0, PAUSES.1),
                    };
                    tracing::warn!(
                        policy = self.name,
                        "another doctor has taken over the actions log: standing by, in the election again in {} s",
                        pause.as_secs()
                    );
                }
            }
        }
    }

    /// One engine from start to end; it takes part in the election after `pause`.
    async fn live(&self, pause: Duration, cancel: &CancellationToken) -> End {
        let over = cancel.child_token();
        let authority = watch::Sender::new(Authority::Standby);
        let no_conflict = watch::Sender::new(None);
        let mut engine = Doctor::start(
            DoctorSettings {
                connection: self.connection.clone(),
                identity: identity(),
                policy: self.policy.clone(),
                authority: authority.subscribe(),
                // There is no deadline. A doctor that slept is fenced in the actions log, and no change is made without a
                // record of its intent.
                mandate: Arc::new(|| true),
                conflict: no_conflict.subscribe(),
                // People decide by records in the actions log, which the engine reads itself.
                decisions: watch::channel(Arc::default()).1,
                // No pods are known here.
                platform: watch::channel(Arc::default()).1,
            },
            over.clone(),
        );
        self.fleet.insert(&self.name, engine.reports.clone());
        let election = {
            let (connection, log) = (self.connection.clone(), self.actions_log.clone());
            let (authority, fleet, over) = (authority.clone(), self.fleet.clone(), over.clone());
            tokio::spawn(async move {
                if over.run_until_cancelled(time::sleep(pause)).await.is_some() {
                    election::take_part(connection, log, authority, fleet, over).await;
                }
            })
        };

        let end = tokio::select! {
            () = cancel.cancelled() => End::Asked,
            how = &mut engine.task => End::ByItself(how),
            () = fenced(engine.reports.clone()) => End::Fenced,
        };
        // First of all it no longer leads; leaving the group and closing the log may take a moment.
        authority.send_replace(Authority::Standby);
        self.fleet.set_leading(false);
        if !matches!(end, End::ByItself(_)) {
            self.fleet.retire(&self.name);
        }
        over.cancel();
        let stopping = async {
            let _left = election.await;
            if !matches!(end, End::ByItself(_)) {
                let _closed = engine.task.await;
            }
        };
        if time::timeout(STOP_LIMIT, stopping).await.is_err() {
            tracing::warn!(
                policy = self.name,
                "the engine did not end within {} s and is left behind",
                STOP_LIMIT.as_secs()
            );
        }
        end
    }
}

/// Resolves when the engine reports that it was fenced; never, when it ends before.
async fn fenced(mut reports: watch::Receiver<Arc<DoctorReport>>) {
    if reports.wait_for(|report| report.role == Role::Fenced).await.is_err() {
        std::future::pending().await
    }
}

/// Names this instance in logs: the host and the process.
fn identity() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = if host.trim().is_empty() { "doctor" } else { host.trim() };
    format!("{host}-{}", std::process::id())
}
