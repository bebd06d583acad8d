//! A treatment: immutable data that is executed with no choices left.

use std::collections::BTreeSet;

use doctorkafka_wire::{BrokerId, PartitionChange, TreatmentCause};
use ring::digest::{SHA256, digest};
use serde::Serialize;

use super::{in_words, throttle::list};

/// What is to be changed and why, how fast, and the digest by which it is approved.
///
/// It can only be made of changes that keep every partition's replication factor and never put two of its replicas on
/// one broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Treatment {
    cause: TreatmentCause,
    changes: Vec<PartitionChange>,
    throttle: Option<u64>,
    digest: String,
}

/// A treatment that must not be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TreatmentError {
    /// It changes nothing.
    #[error("a treatment without changes")]
    Empty,
    /// It changes too much for one record of the actions log.
    #[error(
        "{changes} changes are more than the {} of one treatment: larger work comes in waves",
        Treatment::MAX_CHANGES
    )]
    TooMany {
        /// So many.
        changes: usize,
    },
    /// A partition is named twice.
    #[error("{partition}: is changed twice")]
    Twice {
        /// `topic-number`.
        partition: String,
    },
    /// A partition would stay as it is.
    #[error("{partition}: stays as it is")]
    Nothing {
        /// `topic-number`.
        partition: String,
    },
    /// The replication factor would change.
    #[error("{partition}: has {from} replicas and would have {to}: the replication factor must not change")]
    ReplicationFactor {
        /// `topic-number`.
        partition: String,
        /// Replicas before.
        from: usize,
        /// Replicas after.
        to: usize,
    },
    /// Two replicas of a partition on one broker.
    #[error("{partition}: two replicas on broker {broker}")]
    SameBroker {
        /// `topic-number`.
        partition: String,
        /// The broker.
        broker: BrokerId,
    },
    /// Kafka takes no such throttle.
    #[error("a throttle of 0 bytes a second would never end")]
    Throttle,
}

impl Treatment {
    /// The most changes of one treatment.
    pub const MAX_CHANGES: usize = 2_000;

    /// Makes a treatment. `throttle` is a rate at each broker, bytes a second; `None` for no throttle. The changes are
    /// done in their order, as far as the limits allow.
    ///
    /// # Errors
    /// When it breaks a rule that no treatment may break.
    pub fn new(
        cause: TreatmentCause,
        changes: Vec<PartitionChange>,
        throttle: Option<u64>,
    ) -> Result<Self, TreatmentError> {
        if changes.is_empty() {
            return Err(TreatmentError::Empty);
        }
        if changes.len() > Self::MAX_CHANGES {
            return Err(TreatmentError::TooMany { changes: changes.len() });
        }
        if throttle == Some(0) {
            return Err(TreatmentError::Throttle);
        }
        let mut named = BTreeSet::new();
        for change in &changes {
            check(change)?;
            if !named.insert((change.topic.as_str(), change.partition)) {
                return Err(TreatmentError::Twice { partition: name(change) });
            }
        }
        let digest = digest_of(&cause, &changes, throttle);
        Ok(Self { cause, changes, throttle, digest })
    }

    /// What it is for.
    pub fn cause(&self) -> &TreatmentCause {
        &self.cause
    }

    /// What it changes, in the order in which it does.
    pub fn changes(&self) -> &[PartitionChange] {
        &self.changes
    }

    /// Rate at each broker, bytes a second, while data moves.
    pub fn throttle(&self) -> Option<u64> {
        self.throttle
    }

    /// SHA-256 of its canonical form, 64 hexadecimal digits: the JSON of cause, changes sorted by partition, and throttle.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The changes for which data moves.
    pub fn moves(&self) -> impl Iterator<Item = &PartitionChange> {
        self.changes.iter().filter(|change| moves_data(change))
    }

    /// `moving 12 partitions (3.4 GB, at most 50 MB/s at each broker) and the leadership of 3 partitions`.
    pub fn sentence(&self) -> String {
        let moves = self.moves().count();
        let bytes = self.moves().map(|change| change.bytes).fold(0, u64::saturating_add);
        let throttle = self
            .throttle
            .map_or_else(String::new, |rate| format!(", at most {}/s at each broker", in_words::bytes(rate)));
        let data = (moves > 0)
            .then(|| format!("{} ({}{throttle})", in_words::partitions(moves), in_words::bytes(bytes)));
        let leaderships = self.changes.len() - moves;
        let leadership =
            (leaderships > 0).then(|| format!("the leadership of {}", in_words::partitions(leaderships)));
        let what: Vec<String> = [data, leadership].into_iter().flatten().collect();
        format!("moving {}", what.join(" and "))
    }
}

/// Whether a replica goes to a broker that has none; otherwise only the order changes.
pub(super) fn moves_data(change: &PartitionChange) -> bool {
    change.to.iter().any(|broker| !change.from.contains(broker))
}

/// `topic-number`.
pub(super) fn name(change: &PartitionChange) -> String {
    format!("{}-{}", change.topic, change.partition)
}

fn check(change: &PartitionChange) -> Result<(), TreatmentError> {
    let partition = || name(change);
    if change.from.len() != change.to.len() || change.to.is_empty() {
        let (from, to) = (change.from.len(), change.to.len());
        return Err(TreatmentError::ReplicationFactor { partition: partition(), from, to });
    }
    for replicas in [&change.from, &change.to] {
        let twice = replicas.iter().enumerate().find(|(n, broker)| replicas[..*n].contains(broker));
        if let Some((_, broker)) = twice {
            return Err(TreatmentError::SameBroker { partition: partition(), broker: *broker });
        }
    }
    if change.from == change.to {
        return Err(TreatmentError::Nothing { partition: partition() });
    }
    Ok(())
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Canonical<'a> {
    cause: &'a TreatmentCause,
    changes: Vec<&'a PartitionChange>,
    throttle: Option<u64>,
}

fn digest_of(cause: &TreatmentCause, changes: &[PartitionChange], throttle: Option<u64>) -> String {
    let mut changes: Vec<&PartitionChange> = changes.iter().collect();
    changes.sort_unstable();
    // Fails only for maps with keys that are not strings; there is no map in it.
    let json = serde_json::to_vec(&Canonical { cause, changes, throttle }).unwrap_or_default();
    digest(&SHA256, &json).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `1,2,3`.
pub(super) fn replicas(brokers: &[BrokerId]) -> String {
    format!("[{}]", list(brokers))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(partition: i32, from: &[i32], to: &[i32]) -> PartitionChange {
        let ids = |ids: &[i32]| ids.iter().copied().map(BrokerId).collect();
        PartitionChange { topic: "orders".into(), partition, from: ids(from), to: ids(to), bytes: 1_500_000 }
    }

    fn cause() -> TreatmentCause {
        TreatmentCause {
            broker: Some(BrokerId(1)),
            reason: "CpuAbove".into(),
            message: "CPU usage 95% > 80%".into(),
        }
    }

    fn treatment(changes: Vec<PartitionChange>) -> Result<Treatment, TreatmentError> {
        Treatment::new(cause(), changes, Some(50_000_000))
    }

    #[test]
    fn what_must_not_be_cannot_be_made() {
        let partition = || "orders-0".to_owned();
        let refused = |from: &[i32], to: &[i32]| treatment(vec![change(0, from, to)]).unwrap_err();
        let factor = |from, to| TreatmentError::ReplicationFactor { partition: partition(), from, to };
        assert_eq!(refused(&[1, 2, 3], &[1, 2]), factor(3, 2));
        assert_eq!(refused(&[1, 2], &[1, 2, 3]), factor(2, 3));
        assert_eq!(refused(&[], &[]), factor(0, 0));
        let same = |broker| TreatmentError::SameBroker { partition: partition(), broker: BrokerId(broker) };
        assert_eq!(refused(&[1, 2, 3], &[1, 4, 4]), same(4));
        assert_eq!(refused(&[1, 1], &[1, 2]), same(1));
        assert_eq!(refused(&[1, 2], &[1, 2]), TreatmentError::Nothing { partition: partition() });
        assert_eq!(treatment(vec![]).unwrap_err(), TreatmentError::Empty);
        let twice = treatment(vec![change(0, &[1], &[2]), change(0, &[1], &[3])]);
        assert_eq!(twice.unwrap_err(), TreatmentError::Twice { partition: partition() });
        let slow = Treatment::new(cause(), vec![change(0, &[1], &[2])], Some(0));
        assert_eq!(slow.unwrap_err(), TreatmentError::Throttle);
        let many = |count| treatment((0..count).map(|n| change(n, &[1], &[2])).collect());
        assert!(many(2_000).is_ok());
        assert_eq!(many(2_001).unwrap_err(), TreatmentError::TooMany { changes: 2_001 });
    }

    #[test]
    fn the_digest_names_everything_but_the_order() {
        let (a, b) = (change(0, &[1, 2], &[1, 3]), change(1, &[1, 2], &[2, 1]));
        let one = treatment(vec![a.clone(), b.clone()]).unwrap();
        // As `sha256sum` says of the canonical form; it must never change, for approvals name it.
        assert_eq!(one.digest(), "55b6b6c0f20e5f3c2943fc2b012d33bef4f57c3aa284d9d57278bd9315878852");
        assert_eq!(one.digest(), treatment(vec![b.clone(), a.clone()]).unwrap().digest());
        let others = [
            treatment(vec![a.clone()]),
            treatment(vec![a.clone(), change(1, &[1, 2], &[2, 3])]),
            treatment(vec![a.clone(), PartitionChange { bytes: 1, ..b.clone() }]),
            Treatment::new(cause(), vec![a.clone(), b.clone()], None),
            Treatment::new(TreatmentCause { broker: None, ..cause() }, vec![a, b], Some(50_000_000)),
        ];
        for other in others {
            assert_ne!(one.digest(), other.unwrap().digest());
        }
    }

    #[test]
    fn says_what_it_does() {
        let (a, b) = (change(0, &[1, 2], &[1, 3]), change(1, &[1, 2], &[2, 1]));
        let sentence = |changes| treatment(changes).unwrap().sentence();
        assert_eq!(
            sentence(vec![a.clone(), b.clone()]),
            "moving 1 partition (1.5 MB, at most 50.0 MB/s at each broker) and the leadership of 1 partition"
        );
        assert_eq!(sentence(vec![b]), "moving the leadership of 1 partition");
    }
}
