//! The rules that nothing may break, each by itself: the very same world without the breach is treated.

use doctorkafka_diagnosis::{NodeFacts, PlatformFacts, Workload};
use doctorkafka_wire::Network;

use super::{
    moves::{CALM, WITHOUT_5, acting, due, lose_5, refusals, round, see, world},
    platform::{pods, told},
    *,
};
use crate::{
    execute::{Ended, ExecutionRule, Hold, Task},
    load::tests::cluster::Cluster,
};

/// Broker 5 of five is lost for good, and its replicas could go to any of the others that do not hold them.
fn losing(prepare: impl FnOnce(&mut World, &mut Cluster)) -> (World, Cluster) {
    let (mut world, mut cluster) = world(20, round);
    prepare(&mut world, &mut cluster);
    lose_5(&mut world, &mut cluster);
    (world, cluster)
}

/// Brokers that are given anything by what is due.
fn targets(world: &World) -> Vec<i32> {
    let due = due(world).unwrap_or_else(|| panic!("nothing is due: {:?}", world.state.refusals));
    let added = due.moves().flat_map(|change| change.to.iter().filter(|id| !change.from.contains(id)));
    let mut targets: Vec<i32> = added.map(|id| id.0).collect();
    targets.sort_unstable();
    targets.dedup();
    targets
}

#[test]
fn each_remedy_goes_as_far_as_its_own_mode() {
    use crate::remedy::Remedy;
    let auto = EffectiveMode::Auto;
    let with = |change: fn(&mut Policy)| {
        let mut policy = policy(EffectiveMode::Observe);
        change(&mut policy);
        let acts = |remedy: &Remedy| remedy.mode(&policy) == EffectiveMode::Auto;
        Remedy::ALL.into_iter().filter(acts).map(Remedy::as_str).collect::<Vec<_>>()
    };
    assert_eq!(with(|_| {}), [""; 0]);
    assert_eq!(with(|it| it.broker_failure = EffectiveMode::Auto), ["BrokerFailure"]);
    assert_eq!(with(|it| it.replicas = EffectiveMode::Auto), ["Drain", "ReplicaRelief", "Refill"]);
    let leadership = ["Demotion", "LeadershipRelief", "LeadershipReturn"];
    assert_eq!(with(|it| it.leadership = EffectiveMode::Auto), leadership);
    // The same loss, and healing alone is not asked for.
    let (mut world, _) = losing(|world, _| {
        let policy = Policy { leadership: auto, replicas: auto, ..policy(auto) };
        world.state.set_policy(Arc::new(policy));
    });
    assert_eq!((due(&world), world.shown().proposals), (None, vec![]));
}

#[test]
fn what_kafka_alone_does_not_hear_of_is_not_gone() {
    let (mut world, mut cluster) = world(20, round);
    world.fenced = vec![5];
    cluster.kill(5);
    for _ in 0..3 {
        see(&mut world, &cluster);
        world.seconds(40, CALM);
    }
    assert_eq!(world.shown().brokers[4].state, BrokerState::Unhealthy);
    assert_eq!(due(&world), None, "its reports come: it lives, and has its data");
}

#[test]
fn what_may_come_back_is_waited_for() {
    let (mut world, mut cluster) = world(20, round);
    told(&mut world, &pods(5), 5, CALM);
    cluster.kill(5);
    world.fenced = vec![5];
    see(&mut world, &cluster);
    let lose = |world: &mut World, facts: &PlatformFacts| {
        for _ in 0..5 {
            see(world, &cluster);
            told(world, facts, 30, WITHOUT_5);
        }
    };
    // Its pod is there, on a node that works.
    lose(&mut world, &pods(5));
    assert_eq!((due(&world), refusals(&mut world)), (None, vec!["MayReturn"]));
    let mut gone = pods(5);
    gone.nodes.insert("node-5".into(), NodeFacts::Gone);
    lose(&mut world, &gone);
    assert_eq!(due(&world).unwrap().cause().reason, "BrokerFailure");
}

#[test]
fn a_roll_that_never_brings_its_broker_back_does_not_forbid_to_heal_it() {
    let (mut world, mut cluster) = world(20, round);
    told(&mut world, &pods(5), 5, CALM);
    cluster.kill(5);
    world.fenced = vec![5];
    let set = Workload::StrimziPodSet { name: "kafka".into(), pods: 5, current: 4, restart_asked: false };
    let mut stuck = PlatformFacts { workloads: vec![set], ..pods(5) };
    stuck.pods.as_mut().unwrap().remove("kafka-5");
    let minutes = |world: &mut World, facts: &PlatformFacts, minutes: u32| {
        for _ in 0..2 * minutes {
            see(world, &cluster);
            told(world, facts, 30, WITHOUT_5);
        }
    };
    minutes(&mut world, &stuck, 9);
    assert_eq!((due(&world), world.shown().brokers[4].reason.as_str()), (None, "RollingUpdate"));
    // It counts as gone from then on, and the grace period of a roll is not over.
    minutes(&mut world, &stuck, 30);
    assert_eq!((due(&world), refusals(&mut world)), (None, vec!["RollingUpdate"]));
    minutes(&mut world, &stuck, 3);
    let heal = due(&world).unwrap_or_else(|| panic!("{:?}", world.shown().refusals));
    assert_eq!(heal.cause().reason, "BrokerFailure");
    assert_eq!(world.state.orders(&heal, world.now, wall(world.now)).others, None, "nor to go on");
    // Whoever else works on the cluster is heeded all the same.
    let rebalance = Workload::KafkaRebalance { name: "all".into(), state: "Rebalancing".into() };
    stuck.workloads.push(rebalance);
    minutes(&mut world, &stuck, 1);
    assert_eq!((due(&world), refusals(&mut world)), (None, vec!["KafkaRebalance"]));
    let others = world.state.orders(&heal, world.now, wall(world.now)).others.unwrap();
    assert!(others.starts_with("KafkaRebalance"), "{others}");
}

#[test]
fn a_fifth_of_the_brokers_may_be_down_and_no_more() {
    let lost = |count: usize| {
        let (mut world, mut cluster) = world(20, round);
        // All in one rack with each other, and with nobody else.
        world.rack = |id| if id > 3 { 0 } else { id };
        let ids = [4, 5];
        let down = &ids[2 - count..];
        world.fenced = down.to_vec();
        down.iter().for_each(|id| cluster.kill(*id));
        let cpus: Vec<f64> = (1..=5).map(|id| if down.contains(&id) { f64::NAN } else { 30.0 }).collect();
        for _ in 0..3 {
            see(&mut world, &cluster);
            world.seconds(31, &cpus);
        }
        (due(&world).is_some(), refusals(&mut world))
    };
    assert_eq!(lost(1), (true, vec![]));
    assert_eq!(lost(2), (false, vec!["TooManyUnhealthy"; 2]));
}

/// Ten brokers, two of them down.
fn two_of_ten(rack: fn(i32) -> i32) -> (bool, Vec<&'static str>) {
    let mut cluster = Cluster::of(10);
    for partition in 0..20 {
        let replicas = [0, 1, 2].map(|i| (partition + i) % 10 + 1);
        cluster.partition("orders", partition, &replicas, 1_000_000).offsets(0, 10);
    }
    let mut world = World::new();
    (world.brokers, world.rack) = (10, rack);
    see(&mut world, &cluster);
    world.seconds(5, &[30.0; 10]);
    world.open(&[]);
    world.state.set_policy(Arc::new(acting()));
    world.fenced = vec![9, 10];
    [9, 10].into_iter().for_each(|id| cluster.kill(id));
    let mut cpus = [30.0; 10];
    cpus[8..].fill(f64::NAN);
    for _ in 0..3 {
        see(&mut world, &cluster);
        world.seconds(31, &cpus);
    }
    (due(&world).is_some(), refusals(&mut world))
}

#[test]
fn what_is_down_in_two_racks_is_no_broker_that_is_ill() {
    assert!(two_of_ten(|id| if id > 8 { 0 } else { id }).0);
    assert_eq!(two_of_ten(|id| id), (false, vec!["TooManyUnhealthy"; 2]));
}

#[test]
fn a_treatment_that_runs_waits_when_too_many_are_down() {
    let (mut world, _) = losing(|_, _| {});
    let heal = due(&world).unwrap();
    assert_eq!(world.state.orders(&heal, world.now, wall(world.now)).others, None);
    world.fenced = vec![4, 5];
    world.seconds(20, &[30.0, 30.0, 30.0, f64::NAN, f64::NAN]);
    let others = world.state.orders(&heal, world.now, wall(world.now)).others.unwrap();
    assert!(others.starts_with("TooManyUnhealthy"), "{others}");
}

/// The disks of so many brokers are too full.
fn full(count: i32) -> World {
    let (mut world, mut cluster) = world(20, round);
    world.disks = (1..=5).map(|id| (id, if id <= count { 85 } else { 12 })).collect();
    (1..=count).for_each(|id| cluster.use_otherwise(id, 60_000_000));
    for (partition, id) in (0..20).flat_map(|partition| round(partition).map(|id| (partition, id))) {
        if id <= count {
            cluster.find("orders", partition).on(id, 2_000_000);
        }
    }
    see(&mut world, &cluster);
    world.seconds(15, CALM);
    world
}

#[test]
fn where_more_than_half_are_full_there_is_no_room_to_move_to() {
    assert!(due(&full(2)).is_some());
    let mut world = full(3);
    assert_eq!((due(&world), refusals(&mut world)), (None, vec!["TooManyOverloaded"; 3]));
}

#[test]
fn balance_waits_until_all_replicas_are_in_sync_also_what_was_planned_before() {
    let (mut world, mut cluster) = world(20, round);
    world.state.set_policy(Arc::new(Policy { drain: [BrokerId(2)].into(), ..acting() }));
    see(&mut world, &cluster);
    world.seconds(11, CALM);
    assert!(due(&world).is_some());
    cluster.find("orders", 4).in_sync(&[5, 1]);
    see(&mut world, &cluster);
    world.seconds(1, CALM);
    assert_eq!(due(&world), None);
}

#[test]
fn a_broker_that_is_hot_is_given_no_replicas() {
    let (world, _) = losing(|_, _| {});
    assert_eq!(targets(&world), [1, 2, 3, 4]);
    let (mut world, cluster) = losing(|_, _| {});
    world.seconds(10, &[95.0, 30.0, 30.0, 30.0, f64::NAN]);
    see(&mut world, &cluster);
    world.seconds(12, &[95.0, 30.0, 30.0, 30.0, f64::NAN]);
    assert_eq!(targets(&world), [2, 3, 4]);
}

#[test]
fn a_hot_broker_is_given_what_no_other_can_take() {
    const HOT_1: &[f64] = &[95.0, 30.0, 30.0, 30.0, f64::NAN];
    let (mut world, mut cluster) = losing(|_, cluster| {
        for full in [2, 3, 4] {
            cluster.use_otherwise(full, 78_000_000);
        }
    });
    assert_eq!(targets(&world), [1], "what a broker with room can take");
    // The others have it already, or no room.
    world.seconds(10, HOT_1);
    see(&mut world, &cluster);
    world.seconds(12, HOT_1);
    let heal = due(&world).unwrap_or_else(|| panic!("{:?}", world.state.refusals));
    assert_eq!(targets(&world), [1]);
    let cause = &heal.cause().message;
    assert!(cause.ends_with("; broker 1 would take it although overloaded: no other can"), "{cause}");
    // As soon as another can, it does.
    cluster.use_otherwise(2, 0);
    see(&mut world, &cluster);
    world.seconds(12, HOT_1);
    assert_eq!(targets(&world), [2]);
}

#[test]
fn a_broker_that_is_to_be_drained_is_given_no_replicas() {
    let drain = |world: &mut World, _: &mut Cluster| {
        world.state.set_policy(Arc::new(Policy { drain: [BrokerId(1)].into(), ..acting() }));
    };
    assert_eq!(targets(&losing(drain).0), [2, 3, 4]);
}

#[test]
fn a_broker_whose_reports_are_late_is_given_no_replicas() {
    let (mut world, cluster) = losing(|_, _| {});
    world.seconds(4, &[f64::NAN, 30.0, 30.0, 30.0, f64::NAN]);
    assert_eq!(world.shown().brokers[0].state, BrokerState::Healthy, "late, and not lost");
    // Planned anew, as what has waited for too long is.
    world.state.offers.clear();
    see(&mut world, &cluster);
    world.state.advised = None;
    world.step();
    assert_eq!(targets(&world), [2, 3, 4]);
}

#[test]
fn a_broker_on_a_cordoned_node_is_given_no_replicas() {
    let (mut world, mut cluster) = world(20, round);
    let mut facts = pods(5);
    told(&mut world, &facts, 5, CALM);
    facts.nodes.insert("node-1".into(), NodeFacts::There { ready: Some(true), cordoned: true });
    facts.pods.as_mut().unwrap().remove("kafka-5");
    cluster.kill(5);
    world.fenced = vec![5];
    for _ in 0..5 {
        see(&mut world, &cluster);
        told(&mut world, &facts, 30, WITHOUT_5);
    }
    assert_eq!(targets(&world), [2, 3, 4]);
}

#[test]
fn a_disk_is_filled_no_further_than_its_limit() {
    // Volumes of 100 MB: 78 MB beside its 12 replicas leave broker 1 no room under 80 %.
    let (world, _) = losing(|_, cluster| cluster.use_otherwise(1, 78_000_000));
    assert_eq!(targets(&world), [2, 3, 4]);
}

#[test]
fn what_was_planned_is_not_begun_when_its_destination_is_not_fit_any_more() {
    let (mut world, _) = losing(|_, _| {});
    world.state.set_policy(Arc::new(Policy { broker_failure: EffectiveMode::Approve, ..acting() }));
    world.seconds(2, WITHOUT_5);
    let offered = world.shown().proposals[0].treatment.clone();
    assert!(
        offered
            .changes()
            .iter()
            .any(|change| !change.from.contains(&BrokerId(1)) && change.to.contains(&BrokerId(1)))
    );
    let ends = world.seconds(10, &[95.0, 30.0, 30.0, 30.0, f64::NAN]);
    let expired =
        ends.iter().find(|record| record.kind == ActionKind::Cancel).map(|record| record.message.clone());
    assert!(
        expired.as_ref().is_some_and(|why| why.ends_with("to broker 1, which is not fit to take it now")),
        "{expired:?}"
    );
}

#[test]
fn one_treatment_at_a_time_and_what_is_open_comes_first() {
    let (mut world, cluster) = losing(|_, _| {});
    let heal = due(&world).unwrap();
    let begun = crate::loans::tests::told(&heal, Outcome::Intended, wall(world.now));
    world.state.stepped(&[begun]);
    world.state.begun(&Task::New(heal.clone()));
    let (task, _) = world.state.due_treatment(world.now, wall(world.now)).unwrap();
    assert!(matches!(&task, Task::Resume(open) if open.treatment() == &heal), "{task:?}");
    world.state.set_policy(Arc::new(Policy { demote: [BrokerId(1)].into(), ..acting() }));
    see(&mut world, &cluster);
    world.seconds(15, WITHOUT_5);
    assert_eq!(world.shown().proposals, [], "what comes after is planned on what this one leaves");
}

#[test]
fn little_room_elsewhere_is_nothing_to_move_data_for() {
    // Volumes of 100 MB, of which 80 may be used, are full: broker 1 with 24 replicas of 2 MB, the others of 1 MB.
    let relief = |free: u64| {
        let (mut world, mut cluster) = world(40, round);
        world.disks = [(1, 85), (2, 12), (3, 12), (4, 12), (5, 12)].into();
        for partition in (0..40).filter(|partition| round(*partition).contains(&1)) {
            cluster.find("orders", partition).on(1, 2_000_000);
        }
        cluster.use_otherwise(1, 37_000_000);
        (2..=5)
            .for_each(|id| cluster.use_otherwise(id, if id == 2 { 56_000_000 - free } else { 56_000_000 }));
        see(&mut world, &cluster);
        world.seconds(15, CALM);
        (due(&world).map(|it| it.moves().count()), refusals(&mut world))
    };
    assert_eq!(relief(2_500_000), (None, vec!["TooLittleGain"]), "one of its replicas");
    assert_eq!(relief(4_500_000), (Some(2), vec![]));
}

#[test]
fn own_and_internal_topics_are_never_relieved() {
    for name in ["_doctor_metrics", "_doctor_actions_log", "__consumer_offsets"] {
        let mut world = World::leading();
        let internal = name.starts_with("__");
        world.topics = Some(vec![TopicInfo { name: name.into(), internal, ..orders() }]);
        world.set_mode(EffectiveMode::Auto);
        world.seconds(20, &[95.0, 30.0, 30.0]);
        assert_eq!(due(&world), None, "{name}");
    }
}

#[test]
fn loads_from_before_a_treatment_are_nothing_to_plan_on() {
    let (mut world, mut cluster) = world(20, round);
    lose_5(&mut world, &mut cluster);
    let heal = due(&world).unwrap();
    let hold = Hold { rule: ExecutionRule::Drift, message: String::new() };
    world.state.begun(&Task::New(heal.clone()));
    world.state.ended(&Task::New(heal), Some(&Ended::Interrupted(hold)), world.now, wall(world.now));
    world.seconds(12, WITHOUT_5);
    assert_eq!((due(&world), refusals(&mut world)), (None, vec!["StaleData"]));
    see(&mut world, &cluster);
    world.seconds(12, WITHOUT_5);
    assert!(due(&world).is_some());
}

#[test]
fn what_is_copied_leaves_the_network_half_of_what_is_free() {
    let (mut world, mut cluster) = world(20, round);
    lose_5(&mut world, &mut cluster);
    assert_eq!(due(&world).unwrap().throttle(), Some(50_000_000), "nobody knows the network");
    // Broker 2 has 60 MB/s left.
    let network = Network {
        in_bytes_per_sec: 40e6,
        out_bytes_per_sec: 10e6,
        capacity_bytes_per_sec: Some(100_000_000),
    };
    world.sequence += 1;
    let sequence = world.sequence;
    world.report(BrokerReport { network: Some(network), ..report(BrokerId(2), sequence, 30.0) });
    world.state.offers.clear();
    world.state.advised = None;
    world.step();
    assert_eq!(due(&world).unwrap().throttle(), Some(30_000_000));
}
