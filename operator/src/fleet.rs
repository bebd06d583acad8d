//! The engines that run in this process, one for each policy.
//!
//! Both adapters put running engines in, and the HTTP side reads. It is a registry and decides nothing: readers get
//! immutable snapshots, the lock is never held across an await, and what is kept for a policy goes with the policy.

use crate::injection::Counters;
use doctorkafka_doctor::DoctorReport;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

/// A shared handle; cheap to clone.
#[derive(Debug, Clone)]
pub struct Fleet {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    injection: Arc<Counters>,
    changes: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct State {
    leading: Option<bool>,
    policies: BTreeMap<String, Entry>,
}

#[derive(Debug, Default)]
struct Entry {
    engine: Option<Running>,
    problem: Option<String>,
    status_writes: u64,
}

#[derive(Debug)]
struct Running {
    reports: watch::Receiver<Arc<DoctorReport>>,
    retired: bool,
    _forward: AbortOnDropHandle<()>,
}

/// The fleet at one moment.
#[derive(Debug, Clone)]
pub struct FleetView {
    /// Whether this instance leads; `None` until the election has said so for the first time.
    pub leading: Option<bool>,
    /// Every known policy, by name.
    pub policies: Vec<PolicyView>,
    /// What the injection webhook has done.
    pub injection: Arc<Counters>,
}

/// One policy at one moment.
#[derive(Debug, Clone)]
pub struct PolicyView {
    /// Its name, as in the actions log.
    pub name: String,
    /// The engine's newest report; `None` when no engine runs for it.
    pub report: Option<Arc<DoctorReport>>,
    /// False when an engine was started for it and has ended by itself, which is a bug or a panic.
    pub alive: bool,
    /// Why the policy as it is written now is not the one in force, for people.
    pub problem: Option<String>,
    /// How often its status was written to Kubernetes.
    pub status_writes: u64,
}

impl Default for Fleet {
    fn default() -> Self {
        Self::new()
    }
}

impl Fleet {
    /// An empty fleet.
    pub fn new() -> Self {
        let shared =
            Shared { state: Mutex::default(), injection: Arc::default(), changes: watch::Sender::new(()) };
        Self { shared: Arc::new(shared) }
    }

    /// Adds a running engine, or puts it in the place of the policy's former one. Needs a tokio runtime.
    pub fn insert(&self, policy: &str, reports: watch::Receiver<Arc<DoctorReport>>) {
        let mut seen = reports.clone();
        let changes = self.shared.changes.clone();
        let forward = AbortOnDropHandle::new(tokio::spawn(async move {
            while seen.changed().await.is_ok() {
                changes.send_replace(());
            }
            changes.send_replace(());
        }));
        self.state().policies.entry(policy.to_owned()).or_default().engine =
            Some(Running { reports, retired: false, _forward: forward });
        self.announce();
    }

    /// Says that a policy's engine is about to be ended on purpose and that another follows. Its last report stays.
    pub fn retire(&self, policy: &str) {
        if let Some(engine) = self.state().policies.get_mut(policy).and_then(|entry| entry.engine.as_mut()) {
            engine.retired = true;
        }
    }

    /// Forgets a policy with everything kept for it. Call this, or [`Fleet::retire`], before its engine is ended on
    /// purpose.
    pub fn remove(&self, policy: &str) {
        if self.state().policies.remove(policy).is_some() {
            self.announce();
        }
    }

    /// Says what is wrong with a policy as it is written now, or that nothing is. It may have no engine.
    pub fn set_problem(&self, policy: &str, problem: Option<String>) {
        let mut state = self.state();
        if problem.is_none() && !state.policies.contains_key(policy) {
            return;
        }
        let entry = state.policies.entry(policy.to_owned()).or_default();
        if entry.problem != problem {
            entry.problem = problem;
            drop(state);
            self.announce();
        }
    }

    /// Notes what the election says of this instance.
    pub fn set_leading(&self, leading: bool) {
        if self.state().leading.replace(leading) != Some(leading) {
            self.announce();
        }
    }

    /// Counts one write of a policy's status to Kubernetes. The last one of a policy that is gone by now counts no more.
    pub fn count_status_write(&self, policy: &str) {
        if let Some(entry) = self.state().policies.get_mut(policy) {
            entry.status_writes += 1;
        }
    }

    /// The newest report of every engine, by policy name.
    pub fn snapshot(&self) -> Vec<Arc<DoctorReport>> {
        self.state().policies.values().filter_map(Entry::report).collect()
    }

    /// Everything at this moment.
    pub fn view(&self) -> FleetView {
        let state = self.state();
        FleetView {
            leading: state.leading,
            policies: state
                .policies
                .iter()
                .map(|(name, entry)| PolicyView {
                    name: name.clone(),
                    report: entry.report(),
                    alive: entry.alive(),
                    problem: entry.problem.clone(),
                    status_writes: entry.status_writes,
                })
                .collect(),
            injection: self.injection(),
        }
    }

    /// Where the injection webhook counts.
    pub fn injection(&self) -> Arc<Counters> {
        self.shared.injection.clone()
    }

    /// Is notified whenever a view would show something new, status writes aside.
    pub fn changed(&self) -> watch::Receiver<()> {
        self.shared.changes.subscribe()
    }

    fn announce(&self) {
        self.shared.changes.send_replace(());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code that can panic runs under the lock, so a poisoned one still holds a whole state.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl FleetView ===

impl FleetView {
    /// Whether the process does its work: no engine has ended behind its adapter's back.
    pub fn is_alive(&self) -> bool {
        self.policies.iter().all(|policy| policy.alive)
    }

    /// Whether it can be asked: an election has been decided, or an engine has finished its first try at Kafka.
    /// A Kafka that is away does not make it unready; its pages are needed most then. Where it serves the injection webhook,
    /// that has to be prepared first, or pods that are created right after an installation would have no sidecar.
    pub fn is_ready(&self) -> bool {
        let decided = self.leading.is_some() || self.reports().any(|report| report.kafka.reachable.is_some());
        decided && !self.injection.is_being_prepared()
    }

    /// The reports of the running engines.
    pub fn reports(&self) -> impl Iterator<Item = &Arc<DoctorReport>> {
        self.policies.iter().filter_map(|policy| policy.report.as_ref())
    }
}

// === impl Entry ===

impl Entry {
    fn report(&self) -> Option<Arc<DoctorReport>> {
        self.engine.as_ref().map(|engine| engine.reports.borrow().clone())
    }

    fn alive(&self) -> bool {
        // A watch channel whose sender is gone says so here, and only then.
        self.engine.as_ref().is_none_or(|engine| engine.retired || engine.reports.has_changed().is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_write_that_ends_late_brings_no_policy_back() {
        let fleet = Fleet::new();
        fleet.set_problem("kafka/prod", Some("spec.mode: unknown".to_owned()));
        fleet.count_status_write("kafka/prod");
        assert_eq!(fleet.view().policies[0].status_writes, 1);
        fleet.remove("kafka/prod");
        fleet.count_status_write("kafka/prod");
        assert!(fleet.view().policies.is_empty());
    }
}
