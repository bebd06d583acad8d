//! Each rule by itself: a look that breaks it, and what is done about it; the same look without the breach goes on.

use std::time::Duration;

use doctorkafka_kafka::{
    ConfigResource, DynamicConfigs, EligibleLeaders, RunningReassignment, TopicPartition,
};
use doctorkafka_wire::{ActionKind, Outcome, Severity, TopicSeen, TreatmentDetail};

use super::*;
use crate::execute::{
    Cancel, ExecutionRule as Rule, Hold, Observed, OpenTreatment, SeenTopic, Step, Whole, next, open,
    step_log::{Records, Request},
};

/// Brokers 1 to 6, topic `t` with partitions 0 to 4 on brokers 1, 2 and 3, topic `u` on 4, 5 and 6.
fn seen() -> Observed {
    let partition = |number, replicas: &[i32]| doctorkafka_kafka::PartitionInfo {
        partition: number,
        leader: Some(BrokerId(replicas[0])),
        replicas: ids(replicas),
        isr: ids(replicas),
        eligible: None,
    };
    let topic = |id, count, replicas: &[i32]| SeenTopic {
        id,
        partitions: (0..count).map(|number| (number, partition(number, replicas))).collect(),
    };
    let topics = [("t".to_owned(), topic(7, 5, &[1, 2, 3])), ("u".to_owned(), topic(8, 1, &[4, 5, 6]))];
    let names = ["t", "u"].map(|name| (name.to_owned(), 2));
    let brokers = (1..=6).map(|id| ConfigResource::Broker(BrokerId(id)));
    let resources = brokers.chain([ConfigResource::Topic("t".to_owned())]);
    let steady = (0..5).map(|number| (at(number), Duration::from_secs(60)));
    Observed {
        up: ids(&[1, 2, 3, 4, 5, 6]),
        topics: topics.into(),
        steady_for: steady.collect(),
        whole: Some(Whole {
            min_isr: names.into(),
            configs: resources.map(|resource| (resource, BTreeMap::new())).collect(),
        }),
        ..Observed::default()
    }
}

fn at(number: i32) -> TopicPartition {
    TopicPartition { topic: "t".to_owned(), partition: number }
}

fn partition(seen: &mut Observed, number: i32) -> &mut doctorkafka_kafka::PartitionInfo {
    seen.topics.get_mut("t").unwrap().partitions.get_mut(&number).unwrap()
}

fn running(seen: &mut Observed, number: i32, replicas: &[i32], adding: &[i32], removing: &[i32]) {
    let running = RunningReassignment {
        at: at(number),
        replicas: ids(replicas),
        adding: ids(adding),
        removing: ids(removing),
    };
    partition(seen, number).replicas = ids(replicas);
    seen.running.insert(at(number), running);
}

fn author() -> Author {
    Author { policy: "p".to_owned(), cluster: "c".to_owned(), epoch: 1, approved_by: None }
}

/// The treatment as begun on this look.
fn begun(treatment: &Treatment, seen: &Observed) -> OpenTreatment {
    let author = author();
    let topics = vec![TopicSeen { topic: "t".to_owned(), id: format!("{:032x}", 7) }];
    let configs = seen.whole.as_ref().unwrap().configs.clone();
    let detail =
        TreatmentDetail { plan: Some(open::plan(treatment, topics, &configs)), ..TreatmentDetail::default() };
    let record = Records::new(&author, treatment).about(
        ActionKind::ReassignPartitions,
        Severity::Info,
        Outcome::Intended,
        String::new(),
        detail,
    );
    OpenTreatment::begin(&record).unwrap()
}

/// The same after a step, which Kafka has taken.
fn after(mut open: OpenTreatment, step: &Step) -> OpenTreatment {
    let (author, treatment) = (author(), open.treatment().clone());
    let records = Records::new(&author, &treatment);
    let request = Request::of(step).unwrap();
    let number = open.next_step();
    open.apply(&records.intended(number, &request));
    open.apply(&records.outcome(number, request.kind, Outcome::Done, String::new()));
    open
}

fn stopped(mut open: OpenTreatment, step: &Step) -> OpenTreatment {
    let (author, treatment) = (author(), open.treatment().clone());
    let Step::Stop(stop) = step else { panic!("{step:?}") };
    let detail = TreatmentDetail { stop: Some(stop.clone()), ..TreatmentDetail::default() };
    let records = Records::new(&author, &treatment);
    open.apply(&records.about(
        ActionKind::Cancel,
        Severity::Warning,
        Outcome::Intended,
        String::new(),
        detail,
    ));
    open
}

/// One move of partition 0 from 3 to 4.
fn one_move() -> Treatment {
    treatment(vec![change("t", 0, &[1, 2, 3], &[1, 2, 4])], None)
}

/// The leadership of partition 0 from 1 to 2.
fn one_leadership() -> Treatment {
    treatment(vec![change("t", 0, &[1, 2, 3], &[2, 1, 3])], None)
}

fn reassign(changes: &[(i32, &[i32])]) -> Step {
    let change = |(number, replicas): &(i32, &[i32])| doctorkafka_kafka::ReassignmentChange {
        at: at(*number),
        replicas: Some(ids(replicas)),
    };
    Step::Reassign(changes.iter().map(change).collect())
}

fn step(treatment: &Treatment, seen: &Observed) -> Step {
    next(&begun(treatment, &super::rules::seen()), seen, &Control::default())
}

/// That `breach` is what holds the treatment up, and that without it it goes on.
fn holds(treatment: &Treatment, rule: Rule, named: &str, breach: impl FnOnce(&mut Observed)) {
    let mut seen = seen();
    assert!(matches!(step(treatment, &seen), Step::Reassign(_)), "{:?}", step(treatment, &seen));
    breach(&mut seen);
    match step(treatment, &seen) {
        Step::Wait(hold) => {
            assert_eq!(hold.rule, rule, "{hold}");
            assert!(hold.message.contains(named), "{hold}");
        }
        step => panic!("{step:?}"),
    }
}

/// That `breach` ends the treatment.
fn ends(treatment: &Treatment, rule: Rule, named: &str, breach: impl FnOnce(&mut Observed)) {
    let mut seen = seen();
    assert!(matches!(step(treatment, &seen), Step::Reassign(_)));
    breach(&mut seen);
    match step(treatment, &seen) {
        Step::Stop(stop) => {
            assert_eq!(stop.rule, rule.as_str(), "{stop:?}");
            assert!(stop.message.contains(named), "{stop:?}");
        }
        step => panic!("{step:?}"),
    }
}

#[test]
fn under_min_isr_anywhere_nothing_is_begun() {
    for treatment in [one_move(), one_leadership()] {
        holds(&treatment, Rule::UnderMinIsr, "u-0 has 1 replicas in sync and needs 2", |seen| {
            seen.topics.get_mut("u").unwrap().partitions.get_mut(&0).unwrap().isr = ids(&[4]);
        });
    }
}

#[test]
fn more_min_isr_than_replicas_is_no_breach() {
    let mut seen = seen();
    seen.whole.as_mut().unwrap().min_isr.insert("u".to_owned(), 5);
    assert!(matches!(step(&one_move(), &seen), Step::Reassign(_)));
}

#[test]
fn at_min_isr_of_a_touched_partition_nothing_is_begun() {
    for treatment in [one_move(), one_leadership()] {
        holds(&treatment, Rule::AtMinIsr, "broker 3 is out of sync", |seen| {
            partition(seen, 0).isr = ids(&[1, 2]);
        });
    }
}

#[test]
fn a_repair_is_begun_at_and_under_min_isr() {
    let mut seen = seen();
    seen.up = ids(&[1, 2, 4, 5, 6]);
    partition(&mut seen, 0).isr = ids(&[1, 2]);
    assert_eq!(step(&one_move(), &seen), reassign(&[(0, &[1, 2, 4])]));
    partition(&mut seen, 0).isr = ids(&[1]);
    assert_eq!(step(&one_move(), &seen), reassign(&[(0, &[1, 2, 4])]));
    // Broker 3 is back: from here on it is a move like any other.
    seen.up = ids(&[1, 2, 3, 4, 5, 6]);
    assert!(matches!(step(&one_move(), &seen), Step::Wait(Hold { rule: Rule::UnderMinIsr, .. })));
}

#[test]
fn what_is_unknown_allows_nothing() {
    holds(&one_move(), Rule::Unknown, "topic u", |seen| {
        seen.whole.as_mut().unwrap().min_isr.remove("u");
    });
    let mut seen = seen();
    seen.whole = None;
    assert_eq!(step(&one_move(), &seen), Step::LookAtAll);
}

#[test]
fn a_destination_has_to_be_up() {
    holds(&one_move(), Rule::DestinationDown, "broker 4", |seen| seen.up.retain(|id| id.0 != 4));
    holds(&one_leadership(), Rule::DestinationDown, "broker 2", |seen| seen.up.retain(|id| id.0 != 2));
}

#[test]
fn a_leader_to_be_has_to_be_in_sync() {
    let treatment = one_leadership();
    holds(&treatment, Rule::NotInSync, "broker 2", |seen| {
        partition(seen, 0).isr = ids(&[1, 3]);
        seen.whole.as_mut().unwrap().min_isr.insert("t".to_owned(), 1);
    });
}

#[test]
fn there_has_to_be_a_leader_to_copy_from() {
    let several = "t-0: has no leader to copy from; brokers 1, 2, 3 can lead it without any loss: bring one of them back";
    holds(&one_move(), Rule::NoLeader, several, |seen| partition(seen, 0).leader = None);
}

#[test]
fn who_can_lead_a_partition_that_nobody_leads_is_named() {
    for (eligible, said) in [
        (
            &[2][..],
            "needs 2; nothing is begun until it has them; broker 2 can lead it without any loss: bring it back",
        ),
        (&[2, 3], "brokers 2, 3 can lead it without any loss: bring one of them back"),
        (&[], "no replica is known to have every record"),
    ] {
        let eligible = EligibleLeaders { replicas: ids(eligible), last_known: Vec::new() };
        holds(&one_move(), Rule::UnderMinIsr, said, |seen| {
            let partition = partition(seen, 0);
            (partition.leader, partition.isr) = (None, Vec::new());
            partition.eligible = Some(Box::new(eligible));
        });
    }
}

#[test]
fn foreign_reassignments_are_waited_for() {
    for treatment in [one_move(), one_leadership()] {
        holds(&treatment, Rule::ForeignReassignment, "t-4", |seen| {
            running(seen, 4, &[1, 2, 6, 3], &[6], &[3]);
        });
    }
    // Also where it is of a partition of ours, which is never superseded.
    holds(&one_move(), Rule::ForeignReassignment, "t-0", |seen| {
        running(seen, 0, &[1, 2, 6, 3], &[6], &[3]);
    });
    // That needs no look at everything to be known.
    let mut seen = seen();
    running(&mut seen, 0, &[1, 2, 6, 3], &[6], &[3]);
    seen.whole = None;
    assert!(matches!(step(&one_move(), &seen), Step::Wait(Hold { rule: Rule::ForeignReassignment, .. })));
}

#[test]
fn a_running_reassignment_with_our_target_is_adopted() {
    holds(&one_move(), Rule::Copying, "t-0", |seen| running(seen, 0, &[1, 2, 4, 3], &[4], &[3]));
}

/// Five partitions, each to a broker of its own kind.
fn five_moves(to: [i32; 5]) -> Treatment {
    let changes = (0..5).zip(to).map(|(number, to)| change("t", number, &[1, 2, 3], &[to, 2, 3]));
    treatment(changes.collect(), None)
}

#[test]
fn no_more_moves_at_a_broker_than_allowed() {
    // All leave broker 1, of which two may.
    let step = step(&five_moves([4, 5, 6, 4, 5]), &seen());
    assert_eq!(step, reassign(&[(0, &[4, 2, 3]), (1, &[5, 2, 3])]));
    // One that runs already counts.
    let mut seen = seen();
    running(&mut seen, 2, &[6, 2, 3, 1], &[6], &[1]);
    let treatment = five_moves([4, 5, 6, 4, 5]);
    assert_eq!(super::rules::step(&treatment, &seen), reassign(&[(0, &[4, 2, 3])]));
    running(&mut seen, 3, &[4, 2, 3, 1], &[4], &[1]);
    assert!(matches!(super::rules::step(&treatment, &seen), Step::Wait(Hold { rule: Rule::Copying, .. })));
}

#[test]
fn no_more_moves_in_the_cluster_than_allowed() {
    let limits = Limits { moves_per_broker: 9, moves_per_cluster: 3, ..Limits::default() };
    let control = Control { limits, ..Control::default() };
    let treatment = five_moves([4, 5, 6, 4, 5]);
    let step = next(&begun(&treatment, &seen()), &seen(), &control);
    assert_eq!(step, reassign(&[(0, &[4, 2, 3]), (1, &[5, 2, 3]), (2, &[6, 2, 3])]));
    // A change of three replicas at once needs a limit of three, or to be alone.
    let large = treatment_of_all();
    let control = Control { limits: Limits { moves_per_cluster: 2, ..limits }, ..control };
    assert_eq!(next(&begun(&large, &seen()), &seen(), &control), reassign(&[(0, &[4, 5, 6])]));
}

fn treatment_of_all() -> Treatment {
    treatment(vec![change("t", 0, &[1, 2, 3], &[4, 5, 6]), change("t", 1, &[1, 2, 3], &[4, 2, 3])], None)
}

#[test]
fn drift_ends_it_and_is_not_believed_at_once() {
    for replicas in [&[1, 2, 5][..], &[2, 1, 3], &[1, 2], &[1, 2, 3, 4]] {
        ends(&one_move(), Rule::Drift, "t-0", |seen| partition(seen, 0).replicas = ids(replicas));
    }
    ends(&one_leadership(), Rule::Drift, "t-0", |seen| partition(seen, 0).replicas = ids(&[3, 1, 2]));
    holds(&one_move(), Rule::Unsettled, "t-0", |seen| {
        partition(seen, 0).replicas = ids(&[1, 2, 5]);
        seen.steady_for.insert(at(0), Duration::from_secs(2));
    });
}

#[test]
fn a_topic_made_anew_ends_it() {
    ends(&one_move(), Rule::TopicRecreated, "topic t", |seen| seen.topics.get_mut("t").unwrap().id = 99);
}

#[test]
fn a_deleted_topic_is_left_out() {
    let mut seen = seen();
    seen.topics.remove("t");
    assert_eq!(step(&one_move(), &seen), Step::Skip(vec![at(0)]));
    seen.steady_for.insert(at(0), Duration::from_secs(2));
    assert!(matches!(step(&one_move(), &seen), Step::Wait(Hold { rule: Rule::Unsettled, .. })));
}

#[test]
fn a_dead_target_ends_it() {
    let dead = |broker| {
        move |seen: &mut Observed| {
            seen.up.retain(|id| id.0 != broker);
            seen.down_for.insert(BrokerId(broker), Duration::from_secs(300));
        }
    };
    ends(&one_move(), Rule::DestinationDead, "broker 4", dead(4));
    ends(&one_leadership(), Rule::DestinationDead, "broker 2", dead(2));
    ends(&one_move(), Rule::DestinationDead, "broker 4", |seen| {
        dead(4)(seen);
        running(seen, 0, &[1, 2, 4, 3], &[4], &[3]);
    });
    holds(&one_move(), Rule::DestinationDown, "broker 4", |seen| {
        dead(4)(seen);
        seen.down_for.insert(BrokerId(4), Duration::from_secs(299));
    });
    // One that takes nothing does no harm.
    let mut seen = seen();
    dead(6)(&mut seen);
    assert!(matches!(step(&one_move(), &seen), Step::Reassign(_)));
}

#[test]
fn what_has_been_impossible_for_too_long_ends_it() {
    ends(&one_move(), Rule::Stalled, "t-0", |seen| {
        partition(seen, 0).leader = None;
        seen.steady_for.insert(at(0), Duration::from_secs(300));
    });
    // A destination that has just gone down is no reason, however long the partition has waited for its turn.
    holds(&one_move(), Rule::DestinationDown, "broker 4", |seen| {
        seen.up.retain(|id| id.0 != 4);
        seen.steady_for.insert(at(0), Duration::from_secs(3_600));
    });
}

#[test]
fn a_pause_holds_everything_but_a_cancellation() {
    let open = begun(&one_move(), &seen());
    let others = Control { others: Some("a roll".into()), ..Control::default() };
    assert!(matches!(next(&open, &seen(), &others), Step::Wait(Hold { rule: Rule::OthersAtWork, .. })));
    let paused = Control { paused: true, ..Control::default() };
    assert!(matches!(next(&open, &seen(), &paused), Step::Wait(Hold { rule: Rule::Paused, .. })));
    let cancel = Some(Cancel { restore: false, reason: "told to".to_owned() });
    let step = next(&open, &seen(), &Control { cancel, ..paused });
    let Step::Stop(stop) = step else { panic!("{step:?}") };
    assert_eq!((stop.rule.as_str(), stop.ending, stop.restore), ("Cancelled", Outcome::Aborted, false));
}

#[test]
fn the_throttle_comes_before_the_first_move() {
    let treatment = treatment(vec![change("t", 0, &[1, 2, 3], &[1, 2, 4])], Some(5));
    let mut seen = seen();
    let open = begun(&treatment, &seen);
    let step = next(&open, &seen, &Control::default());
    let Step::SetThrottle(changes) = &step else { panic!("{step:?}") };
    let open = after(open, &step);
    let configs = &mut seen.whole.as_mut().unwrap().configs;
    apply(configs, changes);
    assert!(matches!(next(&open, &seen, &Control::default()), Step::Reassign(_)));
    // A broker that is up and does not tell what it has is not touched.
    seen.whole.as_mut().unwrap().configs.remove(&ConfigResource::Broker(BrokerId(4)));
    let step = next(&open, &seen, &Control::default());
    assert!(matches!(step, Step::Wait(Hold { rule: Rule::Unknown, .. })), "{step:?}");
}

pub fn apply(configs: &mut DynamicConfigs, changes: &[doctorkafka_kafka::ConfigChange]) {
    for change in changes {
        let values = configs.entry(change.resource.clone()).or_default();
        for (name, value) in &change.values {
            match value {
                Some(value) => values.insert(name.clone(), value.clone()),
                None => values.remove(name),
            };
        }
    }
}

#[test]
fn it_ends_when_all_is_as_planned_and_led_as_planned() {
    let (treatment, control) = (one_leadership(), Control::default());
    let mut seen = seen();
    let open = begun(&treatment, &seen);
    assert_eq!(next(&open, &seen, &control), reassign(&[(0, &[2, 1, 3])]));
    partition(&mut seen, 0).replicas = ids(&[2, 1, 3]);
    assert_eq!(next(&open, &seen, &control), Step::Elect(vec![at(0)]));
    partition(&mut seen, 0).leader = Some(BrokerId(2));
    assert_eq!(next(&open, &seen, &control), Step::Finish { outcome: Outcome::Done, owed: vec![] });
}

#[test]
fn what_was_begun_is_cancelled_and_put_in_order() {
    let (treatment, control) = (one_move(), Control::default());
    let mut seen = seen();
    let open = begun(&treatment, &seen);
    let step = next(&open, &seen, &control);
    let open = after(open, &step);
    running(&mut seen, 0, &[1, 2, 4, 3], &[4], &[3]);
    let cancel = Control { cancel: Some(Cancel { restore: false, reason: String::new() }), ..control };
    let stop = next(&open, &seen, &cancel);
    let open = stopped(open, &stop);
    assert_eq!(next(&open, &seen, &cancel), Step::Cancel(vec![at(0)]));
    // KRaft leaves another order behind; it is made the one from before.
    seen.running.clear();
    partition(&mut seen, 0).replicas = ids(&[2, 1, 3]);
    assert_eq!(next(&open, &seen, &cancel), reassign(&[(0, &[1, 2, 3])]));
    partition(&mut seen, 0).replicas = ids(&[1, 2, 3]);
    assert_eq!(next(&open, &seen, &cancel), Step::Finish { outcome: Outcome::Aborted, owed: vec![] });
}

#[test]
fn what_was_not_begun_is_not_cancelled() {
    let (treatment, control) = (one_move(), Control::default());
    let mut seen = seen();
    let open = begun(&treatment, &seen);
    running(&mut seen, 0, &[1, 2, 4, 3], &[4], &[3]);
    let cancel = Control { cancel: Some(Cancel { restore: true, reason: String::new() }), ..control };
    let open = stopped(open.clone(), &next(&open, &seen, &cancel));
    assert_eq!(next(&open, &seen, &cancel), Step::Finish { outcome: Outcome::Aborted, owed: vec![] });
}

#[test]
fn what_is_complete_when_it_is_cancelled_is_done() {
    let treatment = treatment(vec![change("t", 0, &[1, 2, 3], &[4, 2, 3])], None);
    let mut seen = seen();
    let open = begun(&treatment, &seen);
    let cancel = |restore| Control {
        cancel: Some(Cancel { restore, reason: "told to".to_owned() }),
        ..Control::default()
    };
    partition(&mut seen, 0).replicas = ids(&[4, 2, 3]);
    partition(&mut seen, 0).isr = ids(&[4, 2, 3]);
    // Who is to lead does not yet.
    assert!(matches!(next(&open, &seen, &cancel(false)), Step::Stop(_)));
    partition(&mut seen, 0).leader = Some(BrokerId(4));
    let done = Step::Finish { outcome: Outcome::Done, owed: vec![] };
    assert_eq!(next(&open, &seen, &cancel(false)), done);
    assert!(matches!(next(&open, &seen, &cancel(true)), Step::Stop(_)), "all is to be as before");
}
