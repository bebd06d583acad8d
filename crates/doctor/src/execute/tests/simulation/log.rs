//! The actions log: one term at a time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use doctorkafka_wire::{ActionKind, ActionRecord, Outcome};

use super::{Fault, Faults, Point};
use crate::execute::{StepLog, StepLogError};

/// One doctor's term of the log.
#[derive(Clone)]
pub struct SimLog {
    shared: Arc<Mutex<Shared>>,
    epoch: u64,
    faults: Faults,
}

#[derive(Default)]
struct Shared {
    epoch: u64,
    records: Vec<ActionRecord>,
}

impl SimLog {
    /// A new log, and the first term.
    pub fn new(faults: Faults) -> Self {
        let shared = Arc::new(Mutex::new(Shared { epoch: 1, records: Vec::new() }));
        Self { shared, epoch: 1, faults }
    }

    /// A new term, which fences all before it.
    pub fn take_over(&self, faults: Faults) -> Self {
        let mut shared = self.shared();
        shared.epoch += 1;
        let epoch = shared.epoch;
        drop(shared);
        Self { shared: Arc::clone(&self.shared), epoch, faults }
    }

    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// What is in the log, read again from its bytes.
    pub fn records(&self) -> Vec<ActionRecord> {
        self.shared().records.iter().map(|record| ActionRecord::decode(&record.encode()).unwrap()).collect()
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Intents without an end, by digest and step.
    pub fn without_end(&self) -> Vec<(Option<String>, Option<u32>)> {
        let mut open = Vec::new();
        for record in self.records() {
            let key = (record.digest.clone(), record.step);
            match record.outcome {
                Some(Outcome::Intended) if record.kind != ActionKind::Cancel || record.step.is_some() => {
                    assert!(!open.contains(&key), "two intents for {key:?}");
                    open.push(key);
                }
                Some(Outcome::Done | Outcome::Failed | Outcome::Aborted)
                    if record.kind != ActionKind::Refused =>
                {
                    assert!(open.contains(&key), "an end without an intent: {record:?}");
                    open.retain(|other| *other != key);
                }
                _ => {}
            }
        }
        open
    }
}

impl StepLog for SimLog {
    async fn append(&self, records: Vec<ActionRecord>) -> Result<(), StepLogError> {
        let number = self.faults.change();
        let before = self.faults.pass(Point::Before(number)).await;
        if self.shared().epoch != self.epoch {
            return Err(StepLogError::Fenced);
        }
        if before.is_some() {
            return Err(StepLogError::Failed("not enough replicas".to_owned()));
        }
        {
            let mut shared = self.shared();
            for record in records {
                // What was written without the writer knowing is not written again.
                if !shared.records.iter().any(|written| written.id == record.id) {
                    shared.records.push(record);
                }
            }
        }
        match self.faults.pass(Point::After(number)).await {
            Some(Fault::Lost) => Err(StepLogError::Failed("the commit was not answered".to_owned())),
            _ => Ok(()),
        }
    }
}
