//! From a treatment to the object that shows it. Pure.

use super::super::object::PolicyObject;
use doctorkafka_api::{
    Cause, Estimate, KafkaHealthPolicy, KafkaReassignment, KafkaReassignmentSpec, LeadershipChange,
    PolicyRef, ReplicaMove,
};
use doctorkafka_doctor::execute::Treatment;
use doctorkafka_wire::{BrokerId, PartitionChange};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Resource, api::ObjectMeta};
use std::collections::BTreeMap;

/// So many digits of the digest make an object's name: enough that two treatments of one policy never have the same.
const DIGITS: usize = 12;

/// The longest part of a policy's name in it; an object's name has at most 253 characters.
const PREFIX: usize = 253 - 1 - DIGITS;

/// The name of a treatment's object. The same treatment has the same name, whichever instance leads.
pub(in super::super) fn name(policy: &str, digest: &str) -> String {
    let prefix: String = policy.chars().take(PREFIX).collect();
    let digits: String = digest.chars().take(DIGITS).collect();
    format!("{}-{digits}", prefix.trim_end_matches(['.', '-']))
}

/// The object for a treatment. `why` is one reason for each change, in their order, or empty.
pub(super) fn object(
    policy: &PolicyObject,
    treatment: &Treatment,
    why: &[String],
    rules: &[&str],
) -> KafkaReassignment {
    let (moves, leadership_changes) = changes(treatment, why);
    let count = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
    let cause = treatment.cause();
    let spec = KafkaReassignmentSpec {
        policy_ref: PolicyRef { name: policy.key.name.clone(), generation: policy.generation },
        cause: Cause {
            broker: cause.broker.map(|id| id.0),
            reason: clip(&cause.reason, 64),
            message: clip(&cause.message, 512),
        },
        estimate: Estimate {
            moves: count(moves.len()),
            leadership_changes: count(leadership_changes.len()),
            bytes: signed(treatment.moves().map(|change| change.bytes).fold(0, u64::saturating_add)),
            seconds: signed(seconds(treatment)),
        },
        moves,
        leadership_changes,
        throttle: treatment.throttle().map(signed),
        rules: rules.iter().take(64).map(|rule| clip(rule, 64)).collect(),
        digest: treatment.digest().to_owned(),
    };
    let owner = OwnerReference {
        api_version: KafkaHealthPolicy::api_version(&()).into_owned(),
        kind: KafkaHealthPolicy::kind(&()).into_owned(),
        name: policy.key.name.clone(),
        uid: policy.uid.clone(),
        controller: Some(true),
        // Nothing here may hinder the deletion of the policy.
        block_owner_deletion: None,
    };
    KafkaReassignment {
        metadata: ObjectMeta {
            name: Some(name(&policy.key.name, treatment.digest())),
            namespace: Some(policy.key.namespace.clone()),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        spec,
        status: None,
    }
}

/// Whether an object shows this treatment and no other: all that is done to the cluster, and why.
pub(super) fn shows(spec: &KafkaReassignmentSpec, treatment: &Treatment) -> bool {
    let (moves, leaderships) = changes(treatment, &[]);
    let without_why = |shown: &ReplicaMove| ReplicaMove { why: None, ..shown.clone() };
    let cause = treatment.cause();
    spec.digest == treatment.digest()
        && spec.throttle == treatment.throttle().map(signed)
        && spec.cause.broker == cause.broker.map(|id| id.0)
        && spec.cause.reason == clip(&cause.reason, 64)
        && spec.cause.message == clip(&cause.message, 512)
        && spec.leadership_changes == leaderships
        && spec.moves.len() == moves.len()
        && spec.moves.iter().map(without_why).eq(moves)
}

fn changes(treatment: &Treatment, why: &[String]) -> (Vec<ReplicaMove>, Vec<LeadershipChange>) {
    let ids = |ids: &[BrokerId]| ids.iter().map(|id| id.0).collect::<Vec<_>>();
    let (mut moves, mut leaderships) = (Vec::new(), Vec::new());
    for (number, change) in treatment.changes().iter().enumerate() {
        if adds(change).next().is_some() {
            moves.push(ReplicaMove {
                topic: change.topic.clone(),
                partition: change.partition,
                from: ids(&change.from),
                to: ids(&change.to),
                bytes: signed(change.bytes),
                why: why.get(number).filter(|why| !why.is_empty()).map(|why| clip(why, 128)),
            });
        } else if let (Some(from), Some(to)) = (change.from.first(), change.to.first()) {
            leaderships.push(LeadershipChange {
                topic: change.topic.clone(),
                partition: change.partition,
                from: from.0,
                to: to.0,
                replicas: ids(&change.to),
            });
        }
    }
    (moves, leaderships)
}

fn adds(change: &PartitionChange) -> impl Iterator<Item = BrokerId> {
    change.to.iter().copied().filter(|id| !change.from.contains(id))
}

/// Seconds that the busiest broker needs at the throttle, which counts what it sends and what it gets apart; 0 without one.
fn seconds(treatment: &Treatment) -> u64 {
    let Some(rate) = treatment.throttle() else { return 0 };
    let (mut sent, mut received) = (BTreeMap::<BrokerId, u64>::new(), BTreeMap::<BrokerId, u64>::new());
    let add = |to: &mut BTreeMap<BrokerId, u64>, broker, bytes| {
        let sum = to.entry(broker).or_default();
        *sum = sum.saturating_add(bytes);
    };
    for change in treatment.moves() {
        let share = change.bytes / adds(change).count().max(1) as u64;
        adds(change).for_each(|broker| add(&mut received, broker, share));
        if let Some(leader) = change.from.first() {
            add(&mut sent, *leader, change.bytes);
        }
    }
    sent.values().chain(received.values()).max().map_or(0, |bytes| bytes.div_ceil(rate.max(1)))
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// At most so many characters, which is what the API server counts.
pub(super) fn clip(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use doctorkafka_wire::TreatmentCause;
    use kube::api::DynamicObject;

    pub(in super::super) fn policy() -> PolicyObject {
        let mut object = DynamicObject::new("prod", &PolicyObject::resource()).within("kafka");
        object.metadata.uid = Some("uid-1".into());
        object.metadata.generation = Some(3);
        PolicyObject::read(&object).unwrap()
    }

    pub(in super::super) fn treatment(message: &str) -> Treatment {
        let change = |partition, from: &[i32], to: &[i32], bytes| PartitionChange {
            topic: "orders".into(),
            partition,
            from: from.iter().copied().map(BrokerId).collect(),
            to: to.iter().copied().map(BrokerId).collect(),
            bytes,
        };
        let changes = vec![
            change(0, &[1, 2, 3], &[4, 2, 3], 400),
            change(1, &[1, 2, 3], &[2, 1, 3], 0),
            change(2, &[1, 2, 3], &[2, 4, 5], 1_000),
        ];
        let cause =
            TreatmentCause { broker: Some(BrokerId(1)), reason: "CpuAbove".into(), message: message.into() };
        Treatment::new(cause, changes, Some(100)).unwrap()
    }

    #[test]
    fn the_object_says_all_that_is_done() {
        let why = ["a".to_owned(), String::new(), "c".repeat(200)];
        let treatment = treatment("hot");
        let made = object(&policy(), &treatment, &why, &["RackSpread"]);
        assert_eq!(made.metadata.name.as_deref().unwrap(), format!("prod-{}", &treatment.digest()[..12]));
        assert_eq!(made.metadata.owner_references.as_ref().unwrap()[0].uid, "uid-1");
        let spec = made.spec;
        assert_eq!((spec.moves.len(), spec.leadership_changes.len()), (2, 1));
        assert_eq!((spec.moves[0].to.as_slice(), spec.moves[0].why.as_deref()), (&[4, 2, 3][..], Some("a")));
        assert_eq!(spec.moves[1].why.as_ref().unwrap().chars().count(), 128);
        assert_eq!(spec.leadership_changes[0].replicas, [2, 1, 3]);
        assert_eq!((spec.leadership_changes[0].from, spec.leadership_changes[0].to), (1, 2));
        let Estimate { moves, leadership_changes, bytes, seconds } = spec.estimate;
        // Broker 1 leads all that is copied: 400 + 1,000 bytes at 100 a second.
        assert_eq!((moves, leadership_changes, bytes, seconds), (2, 1, 1_400, 14));
        assert!(shows(&spec, &treatment));
    }

    #[test]
    fn an_object_that_says_anything_else_does_not_show_it() {
        let treatment = treatment("hot");
        let spec = object(&policy(), &treatment, &[], &[]).spec;
        let edits: [fn(&mut KafkaReassignmentSpec); 7] = [
            |spec| spec.moves[0].to = vec![2, 4, 3],
            |spec| drop(spec.moves.pop()),
            |spec| spec.moves[1].bytes = 1,
            |spec| spec.leadership_changes[0].replicas = vec![2, 3, 1],
            |spec| spec.throttle = None,
            |spec| spec.cause.message = "harmless".into(),
            |spec| spec.digest = "0".repeat(64),
        ];
        for (number, edit) in edits.into_iter().enumerate() {
            let mut forged = spec.clone();
            edit(&mut forged);
            assert!(!shows(&forged, &treatment), "edit {number}");
        }
    }

    #[test]
    fn names_fit() {
        let digest = "0123456789abcdef".repeat(4);
        assert_eq!(name("prod", &digest), "prod-0123456789ab");
        assert_eq!(name(&"p".repeat(253), &digest).len(), 253);
        assert_eq!(name(&format!("{}-{}", "p".repeat(239), "q".repeat(13)), &digest).len(), 252);
    }
}
