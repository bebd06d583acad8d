//! What goes wrong when Cruise Control executes, and must not here. That a treatment is finished or undone by whoever takes
//! over, with its throttles (1), is shown in `crashes`.

use std::time::Duration;

use doctorkafka_kafka::TopicPartition;

use super::{
    simulation::{Fault, Point, broker_config},
    *,
};
use crate::execute::{
    ExecutionRule as Rule,
    throttle::{FOLLOWER_RATE, FOLLOWER_REPLICAS, LEADER_RATE, LEADER_REPLICAS},
};

fn at(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition { topic: topic.to_owned(), partition }
}

/// 1: killed in mid-execution it forgets the rest of its moves, and all throttles stay, also after its restart.
#[test]
fn killed_in_the_middle_the_rest_is_done_and_no_throttle_stays() {
    let before = cluster();
    let treatment = moves(&before);
    let cluster = SimCluster::new(before.clone());
    let first = SimLog::new(Faults::at(Point::After(11), Fault::Stop));
    let doctor = lead(cluster.clone(), first.clone(), Task::New(treatment.clone()), told(Control::default()));
    assert_eq!(work(doctor, first.faults()), None);
    assert_ne!(cluster.world().throttles(), before.throttles(), "killed while its throttle stood");
    let second = first.take_over(Faults::default());
    let task = task(&second, &treatment).unwrap();
    let doctor = lead(cluster.clone(), second.clone(), task, told(Control::default()));
    assert_eq!(work(doctor, second.faults()), Some(Ended::Done { owed: vec![] }));
    assert_done(&cluster, &second, &before, &treatment, "killed in the middle");
}

/// 2: it cancels what others have started, and takes what is in flight for the replicas: one too many, for ever.
#[test]
fn what_others_reassign_is_left_to_end() {
    let mut before = cluster();
    let theirs = at("single", 2);
    before.reassign(&theirs, Some(&[5])).unwrap();
    before.topics.get_mut("single").unwrap().partitions.get_mut(&2).unwrap().bytes = 1e9;
    let treatment = moves(&before);
    let (cluster, log) = (SimCluster::new(before.clone()), SimLog::new(Faults::default()));
    let (progress, shown) = watch::channel(Progress::default());
    let doctor = lead_showing(
        cluster.clone(),
        log.clone(),
        Task::New(treatment.clone()),
        told(Control::default()),
        &progress,
    );
    let mut doctor = pin!(doctor);
    while cluster.world().now < Duration::from_secs(9) {
        assert_eq!(poll(doctor.as_mut()), None);
        assert_eq!(log.faults().calls(), 0, "a call while somebody else's reassignment runs");
    }
    assert_eq!(shown.borrow().hold.as_ref().unwrap().rule, Rule::ForeignReassignment, "and says so");
    assert_eq!(work(doctor, log.faults()), Some(Ended::Done { owed: vec![] }));
    assert_eq!(cluster.world().assignment()[&theirs].0, [5], "theirs is as they wanted it");
    assert_in_order(&cluster, "somebody else's reassignment");
}

/// 3: two who write at the same time wedge each other, with partitions that are adding and removing the same broker.
#[test]
fn two_who_write_at_the_same_time_do_not_wedge_each_other() {
    let before = cluster();
    let treatment = moves(&before);
    let (cluster, log) = (SimCluster::new(before.clone()), SimLog::new(Faults::default()));
    let mut doctor =
        pin!(lead(cluster.clone(), log.clone(), Task::New(treatment.clone()), told(Control::default())));
    let (mut ended, mut interfered) = (None, Vec::new());
    for turn in 0..TURNS {
        ended = poll(doctor.as_mut());
        if ended.is_some() {
            break;
        }
        if turn % 20 == 10 && interfered.len() < 3 {
            // Somebody sends whatever moves at this moment back to where it was.
            let moving = cluster
                .world()
                .partitions()
                .find(|(_, partition)| !partition.adding.is_empty())
                .map(|it| it.0);
            if let Some(at) = moving {
                let home = before.partition(&at).unwrap().replicas.clone();
                cluster.world().reassign(&at, Some(&home)).unwrap();
                interfered.push(at);
            }
        }
    }
    assert!(!interfered.is_empty());
    assert!(matches!(ended, Some(Ended::Done { .. } | Ended::GivenUp { .. })), "{ended:?}");
    cluster.world().advance(Duration::from_secs(100));
    let planned = planned(&before, &treatment);
    for (at, (replicas, _, moving)) in cluster.world().assignment() {
        assert_eq!(moving, 0, "{at} moves for ever");
        let mut ends = [&before.assignment()[&at].0, &planned[&at].0]
            .map(|end| {
                let mut end = end.clone();
                end.sort_unstable();
                end
            })
            .into_iter();
        let mut now = replicas.clone();
        now.sort_unstable();
        assert!(ends.any(|end| end == now), "{at}: {replicas:?}");
    }
    assert_eq!(cluster.world().throttles(), before.throttles());
    assert_in_order(&cluster, "two writers");
    assert_eq!(log.without_end(), []);
}

/// 4: a throttle that somebody has left behind slows its moves to a crawl, and nothing tells so.
#[test]
fn a_throttle_that_somebody_left_does_not_slow_a_move_and_is_there_afterwards() {
    let mut before = World::new(4);
    before.topic("t", 1, 1, &[(&[1, 2], 50e6)]);
    let topic = ConfigResource::Topic("t".to_owned());
    for list in [LEADER_REPLICAS, FOLLOWER_REPLICAS] {
        set(&mut before, topic.clone(), list, "*");
    }
    for (id, rate) in (1..=4).flat_map(|id| [(id, LEADER_RATE), (id, FOLLOWER_RATE)]) {
        set(&mut before, broker_config(id), rate, "1000");
    }
    let treatment = treatment(vec![change("t", 0, &[1, 2], &[1, 3])], Some(10_000_000));
    let (cluster, log) = (SimCluster::new(before.clone()), SimLog::new(Faults::default()));
    let doctor = lead(cluster.clone(), log.clone(), Task::New(treatment), told(Control::default()));
    assert_eq!(work(doctor, log.faults()), Some(Ended::Done { owed: vec![] }));
    let taken = cluster.world().now.as_secs_f64();
    assert!((5.0..6.0).contains(&taken), "50 MB at 10 MB/s took {taken} s");
    assert_eq!(cluster.world().throttles(), before.throttles());
}

/// 6: it takes some ten seconds to set throttles, broker after broker, before anything moves.
#[test]
fn the_first_replica_moves_within_a_second() {
    let before = cluster();
    let treatment = moves(&before);
    let (cluster, log) = (SimCluster::new(before.clone()), SimLog::new(Faults::default()));
    let mut doctor =
        pin!(lead(cluster.clone(), log.clone(), Task::New(treatment.clone()), told(Control::default())));
    while cluster.world().partitions().all(|(_, partition)| partition.adding.is_empty()) {
        assert_eq!(poll(doctor.as_mut()), None);
        assert!(cluster.world().now < Duration::from_secs(1), "nothing moves yet");
    }
    assert!(!cluster.world().throttles().is_empty());
}
