//! The actions log as the executor needs it, and the records that it writes.

use doctorkafka_kafka::{ConfigChange, TopicPartition};
use doctorkafka_wire::{
    ActionKind, ActionRecord, Evidence, Outcome, PartitionName, ReplicasAsked, Severity, TreatmentDetail,
};
use jiff::Timestamp;

use super::{Step, Treatment, in_words, throttle};

/// The write-ahead log. What it has not committed must not be done.
pub trait StepLog: Send + Sync {
    /// Commits the records in their order, all or none, and returns when they are committed.
    ///
    /// # Errors
    /// See [`StepLogError`].
    fn append(&self, records: Vec<ActionRecord>) -> impl Future<Output = Result<(), StepLogError>> + Send;
}

/// Records that were not, or perhaps not, committed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StepLogError {
    /// Another doctor has taken over. Nothing may be done any more.
    #[error("another doctor has taken the actions log over")]
    Fenced,
    /// The log has to be opened and read anew; the treatment goes on from there.
    #[error("the actions log has to be opened anew: {0}")]
    Broken(String),
    /// It did not work this time. The same records have to be appended again before any others; they may be in the log
    /// already, and will not appear twice.
    #[error("the actions log cannot be written: {0}")]
    Failed(String),
}

/// In whose name records are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Author {
    /// The policy: `namespace/name`.
    pub policy: String,
    /// Kafka cluster id.
    pub cluster: String,
    /// Leader epoch.
    pub epoch: u64,
    /// Who has approved the treatment, when somebody had to.
    pub approved_by: Option<String>,
}

/// Makes the records of one treatment.
pub(super) struct Records<'a> {
    author: &'a Author,
    treatment: &'a Treatment,
}

impl<'a> Records<'a> {
    pub fn new(author: &'a Author, treatment: &'a Treatment) -> Self {
        Self { author, treatment }
    }

    /// A record about the treatment as a whole.
    pub fn about(
        &self,
        kind: ActionKind,
        severity: Severity,
        outcome: Outcome,
        message: String,
        detail: TreatmentDetail,
    ) -> ActionRecord {
        let is_empty = detail == TreatmentDetail::default();
        let mut evidence = Evidence::new();
        if let (Some(by), Some(_)) = (&self.author.approved_by, &detail.plan) {
            evidence.insert("approvedBy".to_owned(), by.clone().into());
        }
        ActionRecord {
            version: ActionRecord::VERSION,
            id: ActionRecord::new_id(),
            time: Timestamp::now(),
            policy: self.author.policy.clone(),
            cluster: self.author.cluster.clone(),
            epoch: self.author.epoch,
            kind,
            severity,
            broker: self.treatment.cause().broker,
            message,
            outcome: Some(outcome),
            leadership: Vec::new(),
            digest: Some(self.treatment.digest().to_owned()),
            step: None,
            treatment: (!is_empty).then(|| Box::new(detail)),
            evidence,
        }
    }

    /// The record before a call.
    pub fn intended(&self, step: u32, request: &Request) -> ActionRecord {
        let record = self.about(
            request.kind,
            Severity::Info,
            Outcome::Intended,
            request.message.clone(),
            request.detail.clone(),
        );
        ActionRecord { step: Some(step), ..record }
    }

    /// The record after a call, or after it was found out what became of one.
    pub fn outcome(&self, step: u32, kind: ActionKind, outcome: Outcome, message: String) -> ActionRecord {
        let severity = if outcome == Outcome::Done { Severity::Info } else { Severity::Warning };
        let record = self.about(kind, severity, outcome, message, TreatmentDetail::default());
        ActionRecord { step: Some(step), ..record }
    }
}

/// A step that asks something of Kafka, as the log tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    pub kind: ActionKind,
    pub message: String,
    pub detail: TreatmentDetail,
}

impl Request {
    /// `None` for a step that asks nothing of Kafka.
    pub fn of(step: &Step) -> Option<Self> {
        let mut detail = TreatmentDetail::default();
        let (kind, message) = match step {
            Step::SetThrottle(changes) | Step::RemoveThrottle(changes) => {
                detail.configs = changes.iter().flat_map(settings).collect();
                let what = if matches!(step, Step::SetThrottle(_)) { "Setting" } else { "Removing" };
                let on = if changes.len() == 1 { "resource" } else { "resources" };
                let mut message = format!("{what} replication throttles of {} {on}", changes.len());
                if let (Step::SetThrottle(_), Some(rate)) = (step, throttle::rate(&detail.configs)) {
                    message.push_str(&format!(", {}/s at each broker", in_words::bytes(rate)));
                }
                (ActionKind::Throttle, message)
            }
            Step::Reassign(changes) => {
                let asked = |change: &doctorkafka_kafka::ReassignmentChange| ReplicasAsked {
                    topic: change.at.topic.clone(),
                    partition: change.at.partition,
                    replicas: change.replicas.clone().unwrap_or_default(),
                };
                detail.reassign = changes.iter().map(asked).collect();
                let message = format!("Reassigning {}", some(changes.iter().map(|change| &change.at)));
                (ActionKind::ReassignPartitions, message)
            }
            Step::Elect(partitions) => {
                detail.elect = partitions.iter().map(name).collect();
                let message = format!("Electing the preferred leaders of {}", some(partitions.iter()));
                (ActionKind::ElectLeaders, message)
            }
            Step::Cancel(partitions) => {
                detail.cancel = partitions.iter().map(name).collect();
                (ActionKind::Cancel, format!("Cancelling the reassignment of {}", some(partitions.iter())))
            }
            Step::Wait(_) | Step::LookAtAll | Step::Skip(_) | Step::Stop(_) | Step::Finish { .. } => {
                return None;
            }
        };
        Some(Self { kind, message, detail })
    }
}

fn settings(change: &ConfigChange) -> impl Iterator<Item = doctorkafka_wire::ConfigAsked> + '_ {
    change.values.iter().map(|(name, value)| throttle::asked(&change.resource, name, value.clone()))
}

pub(super) fn name(at: &TopicPartition) -> PartitionName {
    PartitionName { topic: at.topic.clone(), partition: at.partition }
}

/// `orders-0, orders-1, orders-2 and 7 more`.
pub(super) fn some<'a>(partitions: impl ExactSizeIterator<Item = &'a TopicPartition>) -> String {
    const NAMED: usize = 3;
    let count = partitions.len();
    let named: Vec<String> = partitions.take(NAMED).map(ToString::to_string).collect();
    let named = named.join(", ");
    if count > NAMED { format!("{named} and {} more", count - NAMED) } else { named }
}
