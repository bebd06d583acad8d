//! Moves of data: when they are planned, and what forbids them.

use super::*;
use crate::{
    execute::{Task, Treatment},
    load::{LoadSource, tests::cluster::Cluster},
};

pub const CALM: &[f64] = &[30.0; 5];
pub const WITHOUT_5: &[f64] = &[30.0, 30.0, 30.0, 30.0, f64::NAN];

/// Five brokers that may hold the replicas of these partitions, each of 1 MB, under a policy that lets the doctor act.
pub fn world(partitions: i32, replicas: impl Fn(i32) -> [i32; 3]) -> (World, Cluster) {
    let mut cluster = Cluster::of(5);
    for partition in 0..partitions {
        cluster.partition("orders", partition, &replicas(partition), 1_000_000).offsets(0, 10);
    }
    let mut world = World::new();
    world.brokers = 5;
    see(&mut world, &cluster);
    world.seconds(5, CALM);
    world.open(&[]);
    world.state.set_policy(Arc::new(acting()));
    (world, cluster)
}

pub fn acting() -> Policy {
    let auto = EffectiveMode::Auto;
    Policy { replicas: auto, broker_failure: auto, ..policy(EffectiveMode::Observe) }
}

/// The cluster is as it is now, and its loads have been read.
pub fn see(world: &mut World, cluster: &Cluster) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    world.topics = Some(runtime.block_on(cluster.topics()).unwrap());
    world.state.see(Sight::Loads(Box::new(cluster.snapshot(world.now))), world.now);
}

/// One after the other, evenly.
pub fn round(partition: i32) -> [i32; 3] {
    [0, 1, 2].map(|i| (partition + i) % 5 + 1)
}

pub fn due(world: &World) -> Option<Treatment> {
    match world.state.due_treatment(world.now, wall(world.now))?.0 {
        Task::New(treatment) => Some(treatment),
        other => panic!("nothing was begun: {other:?}"),
    }
}

pub fn refusals(world: &mut World) -> Vec<&'static str> {
    world.shown().refusals.iter().map(|refusal| refusal.rule).collect()
}

/// Broker 5 dies, and has been dead for longer than the grace period.
pub fn lose_5(world: &mut World, cluster: &mut Cluster) {
    world.fenced = vec![5];
    cluster.kill(5);
    for partition in (0..20).filter(|partition| round(*partition).contains(&5)) {
        let rest: Vec<i32> = round(partition).into_iter().filter(|id| *id != 5).collect();
        cluster.find("orders", partition).in_sync(&rest).leader(rest[0]);
    }
    see(world, cluster);
    world.seconds(80, WITHOUT_5);
    see(world, cluster);
    world.seconds(15, WITHOUT_5);
}

#[test]
fn loads_are_read_only_for_what_the_policy_wants() {
    let (mut world, _) = world(20, round);
    let wanted = [
        (EffectiveMode::Observe, false),
        (EffectiveMode::Recommend, true),
        (EffectiveMode::Paused, false),
        (EffectiveMode::Auto, true),
    ];
    for (replicas, wanted) in wanted {
        let drain = [BrokerId(2)].into();
        world.state.set_policy(Arc::new(Policy { replicas, drain, ..policy(EffectiveMode::Observe) }));
        world.seconds(2, CALM);
        assert_eq!(world.state.loads_wanted().is_some(), wanted, "{replicas:?}");
    }
}

#[test]
fn what_a_lost_broker_held_is_made_anew() {
    let (mut world, mut cluster) = world(20, round);
    lose_5(&mut world, &mut cluster);
    let heal = due(&world).unwrap_or_else(|| panic!("{:?}", world.shown().refusals));
    assert_eq!((heal.cause().reason.as_str(), heal.cause().broker), ("BrokerFailure", Some(BrokerId(5))));
    assert_eq!(heal.changes().len(), 12, "every partition of it, and no other");
    assert_eq!(heal.throttle(), Some(50_000_000));
    for change in heal.changes() {
        assert!(change.from.contains(&BrokerId(5)) && !change.to.contains(&BrokerId(5)), "{change:?}");
        assert_eq!(change.bytes, 1_000_000);
        let kept = change.from.iter().filter(|id| change.to.contains(id)).count();
        assert_eq!(kept, 2, "{change:?}");
    }
    // It comes back while that is being done.
    assert_eq!(world.state.control(&heal, world.now, wall(world.now)).cancel, None);
    world.fenced.clear();
    world.seconds(5, CALM);
    assert_eq!(
        world.state.control(&heal, world.now, wall(world.now)).cancel.unwrap().reason,
        "broker 5 is back"
    );
    assert_eq!(due(&world), None);
}

#[test]
fn when_too_many_are_lost_it_is_no_broker_that_is_ill() {
    let (mut world, mut cluster) = world(20, round);
    cluster.kill(4);
    world.fenced = vec![4, 5];
    cluster.kill(5);
    world.seconds(80, &[30.0, 30.0, 30.0, f64::NAN, f64::NAN]);
    see(&mut world, &cluster);
    world.seconds(11, &[30.0, 30.0, 30.0, f64::NAN, f64::NAN]);
    assert_eq!(due(&world), None);
    assert_eq!(refusals(&mut world), ["TooManyUnhealthy", "TooManyUnhealthy"]);
}

#[test]
fn a_broker_is_drained_when_the_cluster_is_whole() {
    let (mut world, mut cluster) = world(20, round);
    world.state.set_policy(Arc::new(Policy { drain: [BrokerId(2)].into(), ..acting() }));
    cluster.find("orders", 0).in_sync(&[1, 2]);
    see(&mut world, &cluster);
    world.seconds(11, CALM);
    assert_eq!((due(&world), refusals(&mut world)), (None, vec!["UnderReplicated"]), "healing comes first");
    cluster.find("orders", 0).in_sync(&[1, 2, 3]);
    see(&mut world, &cluster);
    world.seconds(11, CALM);
    let drain = due(&world).unwrap();
    assert_eq!(drain.changes().len(), 12);
    assert!(drain.changes().iter().all(|change| !change.to.contains(&BrokerId(2))), "{drain:?}");
}

#[test]
fn a_broker_that_has_next_to_nothing_gets_its_share() {
    let (mut world, cluster) = world(30, |partition| [0, 1, 2].map(|i| (partition + i) % 4 + 1));
    see(&mut world, &cluster);
    world.seconds(11, CALM);
    let refill = due(&world).unwrap();
    assert_eq!((refill.cause().reason.as_str(), refill.cause().broker), ("Refill", Some(BrokerId(5))));
    let moved = refill.moves().count();
    assert!((10..=20).contains(&moved), "{moved} of 90 replicas");
    assert!(refill.moves().all(|change| change.to.contains(&BrokerId(5))));
}

#[test]
fn a_full_disk_gives_off_as_much_as_it_must() {
    let (mut world, mut cluster) = world(20, round);
    world.disks = [(1, 85), (2, 12), (3, 12), (4, 12), (5, 12)].into();
    cluster.use_otherwise(1, 60_000_000);
    for partition in (0..20).filter(|partition| round(*partition).contains(&1)) {
        cluster.find("orders", partition).on(1, 2_000_000);
    }
    see(&mut world, &cluster);
    world.seconds(15, CALM);
    let relief = due(&world).unwrap_or_else(|| panic!("{:?}", world.shown().refusals));
    assert_eq!(relief.cause().reason, "ReplicaRelief");
    // 84 MB are to be less than 70.
    let moved = relief.moves().count();
    assert!((8..=9).contains(&moved), "{moved}: {relief:?}");
    assert!(relief.moves().all(|change| !change.to.contains(&BrokerId(1))));
}
