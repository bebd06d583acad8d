//! What is known of one policy at one moment, on its way to the API server, and the board where it waits.
//!
//! The board holds one entry for each policy, the newest; whoever cannot be told now is told the newest later.

use super::{
    claims::Claim,
    object::{PolicyKey, PolicyObject},
    validate::Problem,
};
use doctorkafka_doctor::{DoctorReport, Role};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::watch;

/// All that a policy's status and Events are made from.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    /// The policy as it stands at the API server.
    pub object: Arc<PolicyObject>,
    /// What its engine says; `None` when none runs.
    pub report: Option<Arc<DoctorReport>>,
    /// Why the policy as it is written cannot be carried out.
    pub problem: Option<Problem>,
    /// Whether it may watch its cluster.
    pub claim: Claim,
    /// Another doctor, of another operator, has opened the actions log: until it is tried again, for people.
    pub fenced: Option<String>,
}

impl Facts {
    /// Why another policy or doctor has precedence, for people.
    pub fn conflict(&self) -> Option<&str> {
        match (&self.claim, self.report.as_ref().map(|report| &report.role)) {
            (Claim::Refused(message), _) | (_, Some(Role::Conflict { message })) => Some(message),
            _ => None,
        }
    }

    /// The engine's epoch, while it leads.
    pub fn epoch(&self) -> Option<u64> {
        match self.report.as_ref()?.role {
            Role::Leading { epoch } => Some(epoch),
            _ => None,
        }
    }
}

/// Facts by policy. Each version of an entry is immutable.
#[derive(Debug)]
pub(super) struct Board {
    entries: Mutex<BTreeMap<PolicyKey, Arc<Facts>>>,
    changes: watch::Sender<()>,
}

impl Default for Board {
    fn default() -> Self {
        Self { entries: Mutex::default(), changes: watch::Sender::new(()) }
    }
}

impl Board {
    /// Puts a policy's newest facts in the place of the former.
    pub fn put(&self, facts: Facts) {
        self.lock().insert(facts.object.key.clone(), Arc::new(facts));
        self.changes.send_replace(());
    }

    /// Forgets a policy.
    pub fn remove(&self, key: &PolicyKey) {
        self.lock().remove(key);
        self.changes.send_replace(());
    }

    /// Everything at this moment.
    pub fn all(&self) -> BTreeMap<PolicyKey, Arc<Facts>> {
        self.lock().clone()
    }

    /// Is notified of every change.
    pub fn changed(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<PolicyKey, Arc<Facts>>> {
        // No code that can panic runs under the lock, so a poisoned one still holds a whole map.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
