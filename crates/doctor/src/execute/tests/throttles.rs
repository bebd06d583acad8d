//! What is borrowed is given back, to the letter.

use super::{
    simulation::{Fault, Point, broker_config},
    *,
};
use crate::execute::throttle::{FOLLOWER_RATE, FOLLOWER_REPLICAS, LEADER_RATE, LEADER_REPLICAS};

fn small() -> (World, Treatment) {
    let mut world = World::new(4);
    world.topic("t", 1, 1, &[(&[1, 2], 50e6), (&[2, 3], 50e6)]);
    (world, treatment(vec![change("t", 0, &[1, 2], &[1, 3])], Some(10_000_000)))
}

fn run(world: World, treatment: Treatment, faults: Faults) -> (SimCluster, SimLog, Option<Ended>) {
    let (cluster, log) = (SimCluster::new(world), SimLog::new(faults));
    let doctor = lead(cluster.clone(), log.clone(), Task::New(treatment), told(Control::default()));
    let ended = work(doctor, log.faults());
    (cluster, log, ended)
}

/// Runs until the treatment's throttle is set and its move is under way.
fn under_way(world: World, treatment: Treatment) -> (SimCluster, SimLog) {
    // Begin, throttle, move: the seventh change is the commit after the move has started.
    let (cluster, log, ended) = run(world, treatment, Faults::at(Point::After(6), Fault::Stop));
    assert_eq!(ended, None);
    assert_eq!(cluster.world().assignment().values().filter(|(.., moving)| *moving > 0).count(), 1);
    (cluster, log)
}

fn resume(cluster: &SimCluster, log: &SimLog, treatment: &Treatment) -> Option<Ended> {
    let second = log.take_over(Faults::default());
    let task = task(&second, treatment).unwrap();
    work(lead(cluster.clone(), second.clone(), task, told(Control::default())), second.faults())
}

#[test]
fn every_setting_while_it_moves_and_none_after() {
    let (world, treatment) = small();
    let (cluster, log) = under_way(world, treatment.clone());
    let throttles: Vec<(String, String)> = cluster
        .world()
        .throttles()
        .into_iter()
        .map(|(resource, name, value)| (format!("{resource:?} {name}"), value))
        .collect();
    let mut expected = Vec::new();
    let replicas = "0:1,0:2,0:3".to_owned();
    expected.push((format!("Topic(\"t\") {FOLLOWER_REPLICAS}"), replicas.clone()));
    expected.push((format!("Topic(\"t\") {LEADER_REPLICAS}"), replicas));
    for id in 1..=3 {
        for rate in [FOLLOWER_RATE, LEADER_RATE] {
            expected.push((format!("Broker(BrokerId({id})) {rate}"), "10000000".to_owned()));
        }
    }
    assert_eq!(throttles, expected);
    assert_eq!(resume(&cluster, &log, &treatment), Some(Ended::Done { owed: vec![] }));
    assert_eq!(cluster.world().throttles(), []);
}

#[test]
fn somebody_elses_comes_back_as_it_was() {
    let (mut world, treatment) = small();
    let topic = ConfigResource::Topic("t".to_owned());
    set(&mut world, broker_config(1), LEADER_RATE, "123");
    set(&mut world, broker_config(4), LEADER_RATE, "4");
    set(&mut world, topic.clone(), LEADER_REPLICAS, "1:3, 0:1");
    set(&mut world, topic, FOLLOWER_REPLICAS, "*");
    let before = world.throttles();
    let (cluster, _, ended) = run(world, treatment, Faults::default());
    assert_eq!(ended, Some(Ended::Done { owed: vec![] }));
    assert!(!cluster.world().unthrottled);
    assert_eq!(cluster.world().throttles(), before);
}

#[test]
fn what_somebody_changes_meanwhile_stays() {
    let (world, treatment) = small();
    let (cluster, log) = under_way(world, treatment.clone());
    let topic = ConfigResource::Topic("t".to_owned());
    {
        let mut world = cluster.world();
        set(&mut world, broker_config(1), LEADER_RATE, "55000000");
        let list = world.configs[&topic][LEADER_REPLICAS].clone();
        set(&mut world, topic.clone(), LEADER_REPLICAS, &format!("1:2,{list}"));
    }
    assert_eq!(resume(&cluster, &log, &treatment), Some(Ended::Done { owed: vec![] }));
    let left = [
        (topic, LEADER_REPLICAS.to_owned(), "1:2".to_owned()),
        (broker_config(1), LEADER_RATE.to_owned(), "55000000".to_owned()),
    ];
    assert_eq!(cluster.world().throttles(), left);
}

#[test]
fn what_was_removed_meanwhile_is_set_again_before_the_next_move() {
    let (mut world, _) = small();
    world.topic("u", 2, 1, &[(&[1, 2], 50e6), (&[1, 2], 50e6), (&[1, 2], 50e6)]);
    let changes = (0..3).map(|number| change("u", number, &[1, 2], &[1, 3])).collect();
    let treatment = treatment(changes, Some(10_000_000));
    let (cluster, log, _) = run(world, treatment.clone(), Faults::at(Point::After(6), Fault::Stop));
    cluster.world().configs.get_mut(&broker_config(3)).unwrap().clear();
    assert_eq!(resume(&cluster, &log, &treatment), Some(Ended::Done { owed: vec![] }));
    let set = |record: &doctorkafka_wire::ActionRecord| {
        let detail = record.treatment.as_deref();
        let again = |config: &doctorkafka_wire::ConfigAsked| {
            config.broker == Some(BrokerId(3)) && config.value.as_deref() == Some("10000000")
        };
        detail.is_some_and(|detail| detail.configs.iter().any(again))
    };
    assert_eq!(log.records().iter().filter(|record| set(record)).count(), 2);
    assert_eq!(cluster.world().throttles(), []);
}

#[test]
fn a_broker_that_is_down_at_the_end_is_swept_when_it_is_back() {
    let (world, treatment) = small();
    let (cluster, log) = under_way(world, treatment.clone());
    cluster.world().fence(2);
    let owed = vec![BrokerId(2)];
    assert_eq!(resume(&cluster, &log, &treatment), Some(Ended::Done { owed: owed.clone() }));
    let rate = |name: &str| (broker_config(2), name.to_owned(), "10000000".to_owned());
    assert_eq!(cluster.world().throttles(), [rate(FOLLOWER_RATE), rate(LEADER_RATE)]);
    let third = log.take_over(Faults::default()).take_over(Faults::default());
    let ended = recovery(&third).ended().next().unwrap().clone();
    assert_eq!(ended.owed().iter().copied().collect::<Vec<_>>(), owed);
    assert_eq!(super::crashes::sweep(&cluster, &third, &ended), Ok(owed));
    cluster.world().revive(2);
    assert_eq!(super::crashes::sweep(&cluster, &third, &ended), Ok(vec![]));
    assert_eq!(cluster.world().throttles(), []);
    assert_eq!(third.without_end(), []);
}

#[test]
fn a_move_is_as_fast_as_its_throttle_and_no_slower() {
    let (world, treatment) = small();
    let (cluster, log, ended) = run(world, treatment, Faults::default());
    assert_eq!(ended, Some(Ended::Done { owed: vec![] }));
    // 50 MB at 10 MB/s, and less than half a second beside it.
    let taken = cluster.world().now.as_secs_f64();
    assert!((5.0..5.5).contains(&taken), "{taken} s");
    assert_eq!(log.without_end(), []);
}

/// One doctor begins, the next is told to go slower and dies at every point in turn, and the last may go fast again.
#[test]
fn another_rate_while_it_copies_leaves_nothing_behind_wherever_a_doctor_dies() {
    let rates = |cluster: &SimCluster| -> Vec<String> {
        let throttles = cluster.world().throttles().into_iter();
        throttles.filter(|(_, name, _)| name.ends_with(".rate")).map(|(.., value)| value).collect()
    };
    let (mut slowed, mut ended) = (0, None);
    for point in (0..).flat_map(|n| [Point::Before(n), Point::After(n)]) {
        let (world, treatment) = small();
        let (cluster, log) = under_way(world, treatment.clone());
        let second = log.take_over(Faults::at(point, Fault::Stop));
        let slower = told(Control { rate: Some(4_000_000), ..Control::default() });
        let task = task(&second, &treatment).unwrap();
        ended = work(lead(cluster.clone(), second.clone(), task, slower), second.faults());
        let now = rates(&cluster);
        assert!(
            now.iter().all(|rate| ["4000000", "10000000"].contains(&rate.as_str())),
            "{point:?}: {now:?}"
        );
        slowed += usize::from(now.len() == 6 && now.iter().all(|rate| rate == "4000000"));
        if ended.is_none() {
            let third = second.take_over(Faults::default());
            if let Some(task) = super::task(&third, &treatment) {
                let doctor = lead(cluster.clone(), third.clone(), task, told(Control::default()));
                assert_eq!(work(doctor, third.faults()), Some(Ended::Done { owed: vec![] }), "{point:?}");
            }
        }
        assert_eq!(cluster.world().throttles(), [], "{point:?}");
        assert!(!cluster.world().unthrottled, "{point:?}");
        if ended.is_some() {
            break;
        }
    }
    assert_eq!(ended, Some(Ended::Done { owed: vec![] }));
    assert!(slowed >= 4, "{slowed}");
}
