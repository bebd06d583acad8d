//! What people ask for while a treatment runs: pause, cancel, cancel and restore.

use super::{
    simulation::{Fault, Point},
    *,
};
use crate::execute::Cancel;
use doctorkafka_wire::Outcome;

fn cancel(restore: bool) -> Control {
    Control { cancel: Some(Cancel { restore, reason: "told to".to_owned() }), ..Control::default() }
}

/// Starts [`moves`] and asks for something as soon as `when` says so. Gives what came of it.
fn asked(
    before: &World,
    treatment: &Treatment,
    when: impl Fn(&World) -> bool,
    control: Control,
) -> (SimCluster, SimLog, Ended) {
    let (cluster, log) = (SimCluster::new(before.clone()), SimLog::new(Faults::default()));
    let (tell, told) = watch::channel(Control::default());
    let mut doctor = pin!(lead(cluster.clone(), log.clone(), Task::New(treatment.clone()), told));
    let mut tell = Some((tell, control));
    for _ in 0..TURNS {
        if let Some(ended) = poll(doctor.as_mut()) {
            return (cluster, log, ended);
        }
        let due = when(&cluster.world());
        if let Some((sender, control)) = tell.take_if(|_| due) {
            sender.send(control).unwrap();
        }
    }
    panic!("a doctor that never ends");
}

fn done(world: &World, treatment: &Treatment) -> usize {
    let assignment = world.assignment();
    let is_done = |change: &&PartitionChange| {
        let at =
            doctorkafka_kafka::TopicPartition { topic: change.topic.clone(), partition: change.partition };
        let to: Vec<i32> = change.to.iter().map(|broker| broker.0).collect();
        assignment[&at].0 == to
    };
    treatment.changes().iter().filter(is_done).count()
}

/// Some are complete, and some are being copied.
fn half_way(treatment: &Treatment) -> impl Fn(&World) -> bool {
    move |world| {
        let moving = world.partitions().filter(|(_, partition)| !partition.adding.is_empty()).count();
        done(world, treatment) >= 8 && moving >= 2
    }
}

#[test]
fn cancelled_what_is_complete_stays_and_the_rest_is_as_before() {
    let before = cluster();
    let treatment = moves(&before);
    let (cluster, log, ended) = asked(&before, &treatment, half_way(&treatment), cancel(false));
    assert!(
        matches!(&ended, Ended::GivenUp { outcome: Outcome::Aborted, why, .. } if why == "Cancelled: told to")
    );
    let (world, planned) = (cluster.world(), planned(&before, &treatment));
    let count = done(&world, &treatment);
    assert!((8..treatment.changes().len()).contains(&count), "{count}");
    for (at, (replicas, _, moving)) in world.assignment() {
        assert_eq!(moving, 0, "{at}");
        let ends = [&before.assignment()[&at].0, &planned[&at].0].map(|end| *end == replicas);
        assert!(ends.contains(&true), "{at}: {replicas:?} is neither end");
    }
    assert_eq!(world.throttles(), before.throttles());
    drop(world);
    assert_in_order(&cluster, "cancelled");
    assert_eq!(log.without_end(), []);
}

#[test]
fn cancelled_and_restored_all_is_as_before() {
    let before = cluster();
    let treatment = moves(&before);
    let (cluster, log, ended) = asked(&before, &treatment, half_way(&treatment), cancel(true));
    assert!(matches!(ended, Ended::GivenUp { outcome: Outcome::Aborted, .. }));
    assert_restored(&cluster, &log, &before, "restored");
    assert!(!cluster.world().unthrottled, "moved back without a throttle");
}

fn assert_restored(cluster: &SimCluster, log: &SimLog, before: &World, what: &str) {
    assert_eq!(cluster.world().assignment(), before.assignment(), "{what}");
    assert_eq!(cluster.world().throttles(), before.throttles(), "{what}");
    assert_in_order(cluster, what);
    assert_eq!(log.without_end(), [], "{what}");
}

/// Whoever takes over knows from the log that it was cancelled, although nobody tells it.
#[test]
fn a_cancellation_survives_a_crash_at_every_point() {
    let before = cluster();
    let treatment = moves(&before);
    let restore = |faults: Faults| {
        let (cluster, log) = (SimCluster::new(before.clone()), SimLog::new(faults));
        let (tell, told) = watch::channel(Control::default());
        let mut doctor = pin!(lead(cluster.clone(), log.clone(), Task::New(treatment.clone()), told));
        let mut ended = None;
        for turn in 0.. {
            assert!(turn < TURNS, "a doctor that never ends");
            ended = poll(doctor.as_mut());
            if ended.is_some() || log.faults().is_stopped() {
                break;
            }
            if half_way(&treatment)(&cluster.world()) && tell.borrow().cancel.is_none() {
                tell.send(cancel(true)).unwrap();
            }
        }
        (cluster, log, ended)
    };
    let (_, undisturbed, _) = restore(Faults::default());
    let decided = |log: &SimLog| {
        let records = log.records();
        let stop = |record: &doctorkafka_wire::ActionRecord| {
            record.treatment.as_deref().is_some_and(|detail| detail.stop.is_some())
        };
        records.iter().any(stop)
    };
    assert!(decided(&undisturbed));
    let mut crashes = 0;
    for point in (0..undisturbed.faults().changes()).flat_map(|n| [Point::Before(n), Point::After(n)]) {
        let (cluster, log, ended) = restore(Faults::at(point, Fault::Stop));
        assert_eq!(ended, None);
        if !decided(&log) {
            continue; // the next doctor would go forward, as the other tests show
        }
        crashes += 1;
        let second = log.take_over(Faults::default());
        if let Some(task) = task(&second, &treatment) {
            let doctor = lead(cluster.clone(), second.clone(), task, super::told(Control::default()));
            let ended = work(doctor, second.faults());
            assert!(
                matches!(ended, Some(Ended::GivenUp { outcome: Outcome::Aborted, .. })),
                "{point:?}: {ended:?}"
            );
        }
        assert_restored(&cluster, &second, &before, &format!("{point:?}"));
    }
    assert!(crashes > 20, "{crashes}");
}

#[test]
fn cancelled_before_it_was_begun_nothing_is_done() {
    let before = cluster();
    let (cluster, log) = (SimCluster::new(before.clone()), SimLog::new(Faults::default()));
    let doctor = lead(cluster.clone(), log.clone(), Task::New(moves(&before)), told(cancel(true)));
    assert!(matches!(work(doctor, log.faults()), Some(Ended::Refused(_))));
    assert_eq!(log.faults().calls(), 0);
    assert_eq!(recovery(&log).open(), None);
    assert_eq!(log.records().len(), 1, "the refusal");
}

#[test]
fn paused_nothing_new_is_begun_and_resumed_it_is_finished() {
    let before = cluster();
    let treatment = moves(&before);
    let (cluster, log) = (SimCluster::new(before.clone()), SimLog::new(Faults::default()));
    let (tell, told) = watch::channel(Control::default());
    let mut doctor = pin!(lead(cluster.clone(), log.clone(), Task::New(treatment.clone()), told));
    while !half_way(&treatment)(&cluster.world()) {
        assert_eq!(poll(doctor.as_mut()), None);
    }
    tell.send(Control { paused: true, ..Control::default() }).unwrap();
    let calls = log.faults().calls();
    for _ in 0..200 {
        assert_eq!(poll(doctor.as_mut()), None);
    }
    assert_eq!(log.faults().calls(), calls, "a step while paused");
    assert!(
        cluster.world().assignment().values().all(|(.., moving)| *moving == 0),
        "what was copied goes on"
    );
    tell.send(Control::default()).unwrap();
    assert_eq!(work(doctor, log.faults()), Some(Ended::Done { owed: vec![] }));
    assert_done(&cluster, &log, &before, &treatment, "resumed");
}

#[test]
fn what_is_asked_for_during_the_commit_of_an_intent_comes_first() {
    let before = cluster();
    let treatment = leaderships(&before);
    let cluster = SimCluster::new(before.clone());
    let log = SimLog::new(Faults::at(Point::After(1), Fault::Stop));
    let (tell, told) = watch::channel(Control::default());
    let mut doctor = pin!(lead(cluster.clone(), log.clone(), Task::New(treatment.clone()), told));
    while !log.faults().is_stopped() {
        assert_eq!(poll(doctor.as_mut()), None);
    }
    tell.send(Control { paused: true, ..Control::default() }).unwrap();
    log.faults().release();
    for _ in 0..20 {
        assert_eq!(poll(doctor.as_mut()), None);
    }
    assert_eq!(log.faults().calls(), 0, "a call while paused");
    tell.send(Control::default()).unwrap();
    assert_eq!(work(doctor, log.faults()), Some(Ended::Done { owed: vec![] }));
    assert_done(&cluster, &log, &before, &treatment, "paused during a commit");
}

#[test]
fn tells_how_far_it_is() {
    let mut before = World::new(4);
    before.topic("t", 1, 1, &[(&[1, 2], 40e6), (&[1, 2], 40e6)]);
    let changes =
        (0..2).map(|n| PartitionChange { bytes: 40_000_000, ..change("t", n, &[1, 2], &[1, 3]) }).collect();
    let treatment = treatment(changes, Some(4_000_000));
    let (cluster, log) = (SimCluster::new(before), SimLog::new(Faults::default()));
    let (progress, shown) = watch::channel(Progress::default());
    let doctor = super::lead_showing(
        cluster.clone(),
        log.clone(),
        Task::New(treatment),
        told(Control::default()),
        &progress,
    );
    let mut doctor = pin!(doctor);
    while cluster.world().now.as_secs_f64() < 10.0 {
        assert_eq!(poll(doctor.as_mut()), None);
    }
    let half = shown.borrow().clone();
    assert_eq!(
        (half.partitions_done, half.partitions_moving, half.partitions, half.bytes),
        (0, 2, 2, 80_000_000)
    );
    // 4 MB/s for ten seconds, seen once a second.
    assert!((34_000_000..=40_000_000).contains(&half.bytes_done), "{half:?}");
    let rate = half.bytes_per_second.unwrap();
    assert!((3.5e6..4.5e6).contains(&rate), "{rate}");
    let left = half.left.unwrap().as_secs_f64();
    assert!((9.0..13.0).contains(&left), "{left}");
    assert_eq!(half.hold.unwrap().rule, super::super::ExecutionRule::Copying);
    assert_eq!(work(doctor, log.faults()), Some(Ended::Done { owed: vec![] }));
    let end = shown.borrow().clone();
    assert_eq!((end.partitions_done, end.bytes_done, end.hold), (2, 80_000_000, None));
}
