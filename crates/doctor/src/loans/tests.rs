#![allow(clippy::unwrap_used)]

use super::*;
use doctorkafka_kafka::{PartitionInfo, TopicInfo};
use doctorkafka_wire::{Evidence, Severity, TreatmentDetail, TreatmentPlan};

const COOLDOWN: Duration = Duration::from_secs(60);

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + seconds).unwrap()
}

fn topics(replicas: &[i32]) -> TopicTable {
    let ids: Vec<BrokerId> = replicas.iter().copied().map(BrokerId).collect();
    let partition = |partition| PartitionInfo {
        partition,
        leader: ids.first().copied(),
        replicas: ids.clone(),
        isr: ids.clone(),
        eligible: None,
    };
    TopicTable::from(vec![TopicInfo {
        name: "orders".into(),
        id: 7,
        internal: false,
        partitions: vec![partition(0), partition(1)],
    }])
}

fn moves(to: i32) -> Vec<LeadershipMove> {
    let change =
        |partition| LeadershipMove { topic: "orders".into(), partition, from: BrokerId(1), to: BrokerId(to) };
    vec![change(0), change(1)]
}

fn record(treatment: &Treatment, outcome: Outcome, seconds: i64) -> ActionRecord {
    told(treatment, outcome, at(seconds))
}

/// The record that begins or ends a treatment.
pub(crate) fn told(treatment: &Treatment, outcome: Outcome, time: Timestamp) -> ActionRecord {
    let plan = (outcome == Outcome::Intended).then(|| TreatmentPlan {
        cause: treatment.cause().clone(),
        changes: treatment.changes().to_vec(),
        throttle: treatment.throttle(),
        topics: vec![],
        throttles_before: vec![],
        unread: vec![],
    });
    ActionRecord {
        version: 1,
        id: ActionRecord::new_id(),
        time,
        policy: "test".into(),
        cluster: "c".into(),
        epoch: 1,
        kind: ActionKind::ReassignPartitions,
        severity: Severity::Info,
        broker: treatment.cause().broker,
        message: String::new(),
        outcome: Some(outcome),
        leadership: vec![],
        digest: Some(treatment.digest().to_owned()),
        step: None,
        treatment: plan.is_some().then(|| Box::new(TreatmentDetail { plan, ..TreatmentDetail::default() })),
        evidence: Evidence::new(),
    }
}

fn carried_out(loans: &mut Loans, treatment: &Treatment, outcome: Outcome, seconds: i64) {
    loans.apply(&record(treatment, Outcome::Intended, seconds));
    loans.apply(&record(treatment, outcome, seconds));
}

#[test]
fn what_was_taken_is_given_back_in_the_order_that_was() {
    let taken = relief(BrokerId(1), &moves(3), &topics(&[1, 2, 3]), "CPU").unwrap();
    let ids = |ids: [i32; 3]| ids.map(BrokerId).to_vec();
    assert!(
        taken.changes().iter().all(|change| change.from == ids([1, 2, 3]) && change.to == ids([3, 1, 2]))
    );
    let mut loans = Loans::default();
    carried_out(&mut loans, &taken, Outcome::Done, 0);
    assert_eq!(loans.creditors().collect::<Vec<_>>(), [BrokerId(1)]);
    let back = loans.give_back(BrokerId(1), &topics(&[3, 1, 2])).unwrap();
    assert!(back.changes().iter().all(|change| change.from == ids([3, 1, 2]) && change.to == ids([1, 2, 3])));
    assert!(loans.give_back(BrokerId(1), &topics(&[2, 3, 1])).is_none(), "somebody else has changed it");
    carried_out(&mut loans, &back, Outcome::Aborted, 10);
    assert_eq!(loans.creditors().count(), 1, "still owed");
    carried_out(&mut loans, &back, Outcome::Done, 20);
    assert_eq!(loans.creditors().count(), 0);
}

#[test]
fn what_is_not_there_or_led_so_already_is_left_out() {
    assert!(relief(BrokerId(1), &moves(3), &TopicTable::default(), "CPU").is_none());
    assert!(
        relief(BrokerId(1), &moves(3), &topics(&[3, 1, 2]), "CPU").is_none(),
        "only an election would be needed"
    );
    assert!(relief(BrokerId(1), &moves(9), &topics(&[1, 2, 3]), "CPU").is_none(), "9 holds no replica");
}

#[test]
fn a_relief_that_did_not_help_makes_the_rest_longer() {
    let mut loans = Loans::default();
    assert_eq!(loans.rest(COOLDOWN, at(0)), None);
    let taken = relief(BrokerId(1), &moves(3), &topics(&[1, 2, 3]), "CPU").unwrap();
    carried_out(&mut loans, &taken, Outcome::Done, 0);
    assert_eq!(loans.rest(COOLDOWN, at(20)), Some(Duration::from_secs(40)));
    assert_eq!(loans.rest(COOLDOWN, at(60)), None);
    carried_out(&mut loans, &taken, Outcome::Done, 100);
    assert_eq!(loans.rest(COOLDOWN, at(100)), Some(Duration::from_secs(120)), "again so soon");
    assert_eq!(loans.rest(COOLDOWN, at(50)), Some(Duration::from_secs(120)), "the clock was set back");
    carried_out(&mut loans, &taken, Outcome::Done, 10_000);
    assert_eq!(loans.rest(COOLDOWN, at(10_000)), Some(COOLDOWN), "long after");
}

#[test]
fn the_end_of_another_treatment_is_no_end_of_ours() {
    let taken = relief(BrokerId(1), &moves(3), &topics(&[1, 2, 3]), "CPU").unwrap();
    let other = relief(BrokerId(1), &moves(2), &topics(&[1, 2, 3]), "CPU").unwrap();
    let mut loans = Loans::default();
    loans.apply(&record(&taken, Outcome::Intended, 0));
    loans.apply(&record(&other, Outcome::Done, 1));
    assert_eq!(loans.creditors().count(), 0);
    loans.apply(&record(&taken, Outcome::Done, 2));
    assert_eq!(loans.creditors().count(), 1);
}
