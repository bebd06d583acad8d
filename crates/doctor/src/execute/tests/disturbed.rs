//! Brokers that die, calls that are lost or refused, a log that cannot be written, an authority that runs out.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use doctorkafka_wire::Outcome;

use super::{
    simulation::{Fault, Point},
    *,
};
use crate::execute::{ExecutionRule as Rule, Hold};

fn run(world: World, treatment: &Treatment, faults: Faults) -> (SimCluster, SimLog, Ended) {
    let (cluster, log) = (SimCluster::new(world), SimLog::new(faults));
    let doctor = lead(cluster.clone(), log.clone(), Task::New(treatment.clone()), told(Control::default()));
    let ended = work(doctor, log.faults()).unwrap();
    (cluster, log, ended)
}

fn done() -> Ended {
    Ended::Done { owed: vec![] }
}

#[test]
fn every_call_and_every_commit_may_get_lost_before_and_after() {
    let before = cluster();
    let treatment = moves(&before);
    let (_, log, _) = run(before.clone(), &treatment, Faults::default());
    for point in (0..log.faults().changes()).flat_map(|n| [Point::Before(n), Point::After(n)]) {
        let (cluster, log, ended) = run(before.clone(), &treatment, Faults::at(point, Fault::Lost));
        assert_eq!(ended, done(), "{point:?}");
        assert_done(&cluster, &log, &before, &treatment, &format!("{point:?}"));
    }
}

#[test]
fn every_call_may_be_refused_once() {
    let before = cluster();
    let treatment = moves(&before);
    let (_, log, _) = run(before.clone(), &treatment, Faults::default());
    for n in 0..log.faults().changes() {
        for retriable in [true, false] {
            let faults = Faults::at(Point::Before(n), Fault::Refused(retriable));
            let (cluster, log, ended) = run(before.clone(), &treatment, faults);
            assert_eq!(ended, done(), "{n}");
            assert_done(&cluster, &log, &before, &treatment, &format!("{n} refused"));
        }
    }
}

#[test]
fn what_is_refused_again_and_again_ends_it() {
    let before = cluster();
    // Begin, then three times intent, call, outcome.
    let refusals = [2, 5, 8].map(|n| (Point::Before(n), Fault::Refused(false))).to_vec();
    let (cluster, log, ended) = run(before.clone(), &leaderships(&before), Faults::all(refusals));
    let Ended::GivenUp { outcome: Outcome::Failed, why, .. } = ended else { panic!("{ended:?}") };
    assert!(why.starts_with("RefusedByKafka: 24 of 24 partitions refused"), "{why}");
    assert_eq!(cluster.world().assignment(), before.assignment());
    assert_eq!(log.without_end(), []);
}

#[test]
fn no_call_without_a_committed_intent() {
    let before = cluster();
    // The log takes the beginning, and nothing more for a while.
    let faults: Vec<_> = (1..60).map(|n| (Point::Before(n), Fault::Lost)).collect();
    let (cluster, log) = (SimCluster::new(before.clone()), SimLog::new(Faults::all(faults)));
    let treatment = moves(&before);
    let mut doctor =
        pin!(lead(cluster.clone(), log.clone(), Task::New(treatment.clone()), told(Control::default())));
    while log.faults().changes() < 59 {
        assert_eq!(poll(doctor.as_mut()), None);
        assert_eq!(log.faults().calls(), 0, "a call without a committed intent");
    }
    assert_eq!(work(doctor, log.faults()), Some(done()));
    assert_done(&cluster, &log, &before, &treatment, "the log was away");
    // What was decided before the log was away for so long was not done, but decided anew.
    assert!(log.records().iter().any(|record| record.message.contains("too old")));
}

/// The authority runs out at the n-th time it is asked.
fn with_authority_for(before: &World, treatment: &Treatment, times: usize) -> (SimCluster, SimLog, Ended) {
    let (cluster, log) = (SimCluster::new(before.clone()), SimLog::new(Faults::default()));
    let admin = SimAdmin { cluster: cluster.clone(), faults: log.faults().clone() };
    let asked = AtomicUsize::new(0);
    let (mandate, author) = (|| asked.fetch_add(1, Ordering::Relaxed) < times, author(&log));
    let executor = Executor { admin: &admin, log: &log, clock: &cluster, mandate: &mandate, author: &author };
    let (progress, _) = watch::channel(Progress::default());
    let doctor = executor.run(Task::New(treatment.clone()), told(Control::default()), &progress);
    let ended = work(doctor, log.faults()).unwrap();
    (cluster, log, ended)
}

#[test]
fn nothing_is_done_once_the_authority_has_run_out() {
    let before = cluster();
    let treatment = leaderships(&before);
    let (mut interrupted, mut intents_without_call) = (0, 0);
    for times in 0.. {
        let (cluster, log, ended) = with_authority_for(&before, &treatment, times);
        if ended == done() {
            break;
        }
        assert!(matches!(ended, Ended::Interrupted(Hold { rule: Rule::AuthorityLost, .. })), "{ended:?}");
        interrupted += 1;
        // One asks before each commit and each call: after the last time, nothing was changed.
        let intended = log.records().iter().filter(|record| record.step.is_some()).count();
        intents_without_call += usize::from(intended % 2 == 1 && log.faults().calls() == intended / 2);
        let second = log.take_over(Faults::default());
        let task = task(&second, &treatment).unwrap();
        let doctor = lead(cluster.clone(), second.clone(), task, told(Control::default()));
        assert_eq!(work(doctor, second.faults()), Some(done()), "{times}");
        assert_done(&cluster, &second, &before, &treatment, &format!("{times}"));
    }
    assert!(interrupted > 5 && intents_without_call > 1, "{interrupted} {intents_without_call}");
}

#[test]
fn a_target_that_dies_for_good_ends_it_and_leaves_nothing() {
    let before = cluster();
    let treatment = moves(&before);
    let mut world = before.clone();
    // Killed while it is being copied to.
    world.brokers.get_mut(&4).unwrap().dies = Some(Duration::from_millis(500));
    let (cluster, log, ended) = run(world, &treatment, Faults::default());
    let Ended::GivenUp { outcome: Outcome::Failed, why, owed } = ended else { panic!("{ended:?}") };
    assert!(why.starts_with("DestinationDead") && why.contains("broker 4"), "{why}");
    assert_eq!(owed, ids(&[4]));
    let (from, planned) = (before.assignment(), planned(&before, &treatment));
    for (at, (replicas, _, moving)) in cluster.world().assignment() {
        assert!(moving == 0 && (replicas == from[&at].0 || replicas == planned[&at].0), "{at}: {replicas:?}");
    }
    assert_in_order(&cluster, "a dead target");
    // Rates of a broker that is down are for the sweep; no list is left that would make them matter.
    cluster.world().revive(4);
    let last = recovery(&log).ended().last().unwrap().clone();
    assert_eq!(super::crashes::sweep(&cluster, &log, &last), Ok(vec![]));
    assert_eq!(cluster.world().throttles(), before.throttles());
    assert_eq!(log.without_end(), []);
}

#[test]
fn a_target_that_comes_back_is_waited_for() {
    let before = cluster();
    let treatment = moves(&before);
    let mut world = before.clone();
    let broker = world.brokers.get_mut(&4).unwrap();
    (broker.dies, broker.returns) = (Some(Duration::from_millis(500)), Some(Duration::from_secs(120)));
    let (cluster, log, ended) = run(world, &treatment, Faults::default());
    assert_eq!(ended, done());
    assert_done(&cluster, &log, &before, &treatment, "a target came back");
}

#[test]
fn what_a_dead_broker_held_is_replaced() {
    let mut before = cluster();
    before.fence(3);
    let changes =
        before.partitions().filter(|(at, partition)| at.topic != "single" && partition.replicas.contains(&3));
    let replaced = changes.map(|(at, partition)| {
        let newcomer = (1..=6).find(|id| *id != 3 && !partition.replicas.contains(id)).unwrap();
        let to: Vec<i32> =
            partition.replicas.iter().map(|id| if *id == 3 { newcomer } else { *id }).collect();
        change(&at.topic, at.partition, &partition.replicas, &to)
    });
    let treatment = treatment(replaced.collect(), Some(20_000_000));
    let (cluster, log, ended) = run(before.clone(), &treatment, Faults::default());
    assert_eq!(ended, done());
    // Whoever came in the dead leader's place leads again, as planned; elsewhere leaders stay.
    let world = cluster.world();
    let planned = planned(&before, &treatment);
    assert!(world.assignment().into_iter().all(|(at, (replicas, ..))| replicas == planned[&at].0));
    for (at, partition) in world.partitions().filter(|(at, _)| at.topic != "single") {
        assert_eq!(partition.isr.len(), 3, "{at}");
    }
    assert_eq!(world.throttles(), before.throttles());
    drop(world);
    assert_in_order(&cluster, "repair");
    assert_eq!(log.without_end(), []);
}

#[test]
fn a_topic_that_is_deleted_meanwhile_is_left_out() {
    let before = cluster();
    let treatment = moves(&before);
    let (cluster, log) = (SimCluster::new(before.clone()), SimLog::new(Faults::default()));
    let mut doctor =
        pin!(lead(cluster.clone(), log.clone(), Task::New(treatment.clone()), told(Control::default())));
    while cluster.world().now < Duration::from_secs(1) {
        assert_eq!(poll(doctor.as_mut()), None);
    }
    cluster.world().delete("clicks");
    assert_eq!(work(doctor, log.faults()), Some(done()));
    let skipped: usize =
        log.records().iter().filter_map(|record| Some(record.treatment.as_deref()?.skipped.len())).sum();
    assert_eq!(skipped, 12);
    let planned = planned(&before, &treatment);
    for (at, (replicas, ..)) in cluster.world().assignment() {
        assert_eq!(replicas, planned[&at].0, "{at}");
    }
    assert!(
        cluster.world().throttles().iter().all(|(resource, ..)| *resource == simulation::broker_config(2))
    );
    assert_eq!(log.without_end(), []);
}

#[test]
fn what_has_changed_since_it_was_planned_is_refused() {
    let before = cluster();
    let mut treatment = moves(&before);
    let (cluster, log) = (SimCluster::new(before.clone()), SimLog::new(Faults::default()));
    let first = treatment.changes()[0].clone();
    treatment = super::treatment(vec![PartitionChange { from: ids(&[6, 5, 4]), ..first }], None);
    let doctor = lead(cluster.clone(), log.clone(), Task::New(treatment), told(Control::default()));
    let ended = work(doctor, log.faults());
    assert!(matches!(&ended, Some(Ended::Refused(hold)) if hold.rule == Rule::Drift), "{ended:?}");
    assert_eq!((log.faults().calls(), recovery(&log).open()), (0, None));
    assert_eq!(cluster.world().assignment(), before.assignment());
}

#[test]
fn what_does_not_fit_into_one_record_is_refused() {
    let topic = "t".repeat(249);
    let mut world = World::new(6);
    let lists = vec![(&[1, 2, 3][..], 1.0); 2_000];
    world.topic(&topic, 1, 1, &lists);
    let all = |topic: &str| (0..2_000).map(|n| change(topic, n, &[1, 2, 3], &[2, 1, 3])).collect();
    let largest = treatment(all(&topic), None);
    let bytes = |world: World, treatment: &Treatment| {
        let (cluster, log) = (SimCluster::new(world), SimLog::new(Faults::at(Point::After(0), Fault::Stop)));
        let doctor = lead(cluster, log.clone(), Task::New(treatment.clone()), told(Control::default()));
        (work(doctor, log.faults()), log.records().first().map(|record| record.encode().len()))
    };
    // The largest that there can be without a throttle fits.
    let (ended, size) = bytes(world.clone(), &largest);
    assert_eq!(ended, None);
    assert!(size.is_some_and(|size| (600_000..900_000).contains(&size)), "{size:?}");
    // With what somebody else has set on its topics, it may not.
    let list: String = (0..60_000).map(|n| format!("{n}:1,")).collect();
    set(&mut world, ConfigResource::Topic(topic.clone()), "leader.replication.throttled.replicas", &list);
    let mut changes: Vec<PartitionChange> = all(&topic);
    changes[0].to = ids(&[4, 1, 2]);
    let doctor_and_log = (SimCluster::new(world), SimLog::new(Faults::default()));
    let throttled = treatment(changes, Some(1));
    let doctor =
        lead(doctor_and_log.0, doctor_and_log.1.clone(), Task::New(throttled), told(Control::default()));
    let ended = work(doctor, doctor_and_log.1.faults());
    assert!(matches!(&ended, Some(Ended::Refused(hold)) if hold.rule == Rule::TooLarge), "{ended:?}");
}
