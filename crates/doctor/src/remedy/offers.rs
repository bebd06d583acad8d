//! Treatments that are proposed and not begun.
//!
//! What the log says of them is folded, so that a doctor that takes over proposes the very same, under the digest that
//! somebody may just be approving, and does not come back with what was rejected.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use doctorkafka_wire::{ActionKind, ActionRecord, BrokerId, Outcome, TreatmentDetail, TreatmentPlan};
use jiff::Timestamp;

use super::Remedy;
use crate::{execute::Treatment, proposals::Proposed};

/// What a proposal is for. There is one proposal for each at a time.
pub(crate) type Key = (Remedy, BrokerId);

/// Proposals that are remembered from the log at the most: each may name thousands of partitions.
const MOST: usize = 16;

/// Name in the evidence of a record that ends a proposal, and its value when a person has rejected it.
pub(crate) const END: &str = "end";
pub(crate) const REJECTED: &str = "rejected";

/// How the message of a treatment that a person has stopped begins.
pub(crate) const REJECTED_BY: &str = "rejected by ";

/// A proposal of this doctor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Offer {
    pub proposed: Arc<Proposed>,
    /// The log says so.
    pub told: bool,
}

/// What the log says of proposals.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Proposals {
    open: BTreeMap<Key, (Treatment, Timestamp)>,
    rejected: BTreeSet<Key>,
    /// The treatment that was begun last.
    running: Option<(String, Key)>,
}

impl Proposals {
    /// Takes in the next record of the log.
    pub fn apply(&mut self, record: &ActionRecord) {
        if record.step.is_some() {
            return;
        }
        let plan = record.treatment.as_ref().and_then(|detail| detail.plan.as_ref());
        match (record.kind, record.outcome, plan) {
            (ActionKind::ReassignPartitions, Some(Outcome::Proposed), Some(plan)) => {
                self.propose(plan, record);
            }
            (ActionKind::ReassignPartitions, Some(Outcome::Intended), Some(plan)) => {
                self.end(record);
                let key = Remedy::named(&plan.cause.reason).zip(plan.cause.broker);
                self.running = record.digest.clone().zip(key);
            }
            (ActionKind::Cancel, Some(Outcome::Intended), _) => self.stop(record),
            (ActionKind::ReassignPartitions | ActionKind::Cancel, Some(_), _) => self.end(record),
            (ActionKind::Recovered, ..) => {
                // The cause may have gone: what was rejected then is a new question when it comes back.
                self.rejected.retain(|(_, broker)| Some(*broker) != record.broker);
            }
            _ => {}
        }
    }

    fn propose(&mut self, plan: &TreatmentPlan, record: &ActionRecord) {
        let TreatmentPlan { cause, changes, throttle, .. } = plan.clone();
        let (Some(remedy), Some(broker)) = (Remedy::named(&cause.reason), cause.broker) else { return };
        let key = (remedy, broker);
        let Ok(treatment) = Treatment::new(cause, changes, throttle) else { return };
        if record.digest.as_deref() == Some(treatment.digest())
            && (self.open.len() < MOST || self.open.contains_key(&key))
        {
            self.rejected.remove(&key);
            self.open.insert(key, (treatment, record.time));
        }
    }

    fn end(&mut self, record: &ActionRecord) {
        let Some(digest) = record.digest.as_deref() else { return };
        let ended: Option<Key> =
            self.open.iter().find(|(_, (open, _))| open.digest() == digest).map(|(key, _)| *key);
        let Some(key) = ended else { return };
        self.open.remove(&key);
        if record.evidence.get(END).and_then(|end| end.as_str()) == Some(REJECTED) {
            self.rejected.insert(key);
        }
    }

    /// What another doctor proposed, and this one has not considered yet, and since when.
    pub fn inherited(&self) -> impl Iterator<Item = (&Key, &Treatment, Timestamp)> {
        self.open.iter().map(|(key, (treatment, since))| (key, treatment, *since))
    }

    /// A treatment that runs is given up. When a person wants that, it is not to be begun again.
    fn stop(&mut self, record: &ActionRecord) {
        let stop = record.treatment.as_ref().and_then(|detail| detail.stop.as_ref());
        if let (Some(stop), Some((digest, key))) = (stop, &self.running)
            && record.digest.as_ref() == Some(digest)
            && stop.message.starts_with(REJECTED_BY)
        {
            self.rejected.insert(*key);
        }
    }

    /// What stands proposed for this, and since when.
    pub fn take(&mut self, key: Key) -> Option<(Treatment, Timestamp)> {
        self.open.remove(&key)
    }

    /// The digests of what stands proposed for what is not needed any more.
    pub fn take_others(&mut self, needed: impl Fn(&Key) -> bool) -> Vec<(Key, Treatment)> {
        let gone: Vec<Key> = self.open.keys().filter(|key| !needed(key)).copied().collect();
        gone.into_iter().filter_map(|key| Some((key, self.open.remove(&key)?.0))).collect()
    }

    /// Whether the log says that a treatment stands proposed, and it has not been taken up.
    pub fn is_open(&self, digest: &str) -> bool {
        self.open.values().any(|(open, _)| open.digest() == digest)
    }

    /// Notes that people do not want it.
    pub fn reject(&mut self, key: Key) {
        self.rejected.insert(key);
    }

    /// Whether people do not want what would be proposed for this.
    pub fn is_rejected(&self, key: &Key) -> bool {
        self.rejected.contains(key)
    }

    /// Forgets rejections whose cause has gone.
    pub fn forget_rejections(&mut self, needed: impl Fn(&Key) -> bool) {
        self.rejected.retain(needed);
    }
}

/// The whole of a treatment, for the record that proposes it.
pub(crate) fn detail(treatment: &Treatment) -> Box<TreatmentDetail> {
    let plan = TreatmentPlan {
        cause: treatment.cause().clone(),
        changes: treatment.changes().to_vec(),
        throttle: treatment.throttle(),
        topics: Vec::new(),
        throttles_before: Vec::new(),
        unread: Vec::new(),
    };
    Box::new(TreatmentDetail { plan: Some(plan), ..TreatmentDetail::default() })
}
