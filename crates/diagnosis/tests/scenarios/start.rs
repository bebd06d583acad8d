//! A doctor that has just started or taken over.

use doctorkafka_diagnosis::{BrokerState, Reason};

use crate::world::{Setup, World};

use BrokerState::{Healthy, Unhealthy, Unknown};

#[test]
fn a_cluster_in_good_order_is_known_within_three_seconds() {
    let mut world = World::without_doctor(Setup::default());
    world.restart_doctor();
    world.run(40);
    assert!(world.ids().iter().all(|id| world.reason(*id) == Reason::NotSeenYet));
    let took = world.run_until(10_000, |world| world.all_are(Healthy));
    assert!(took <= 3_000, "{took} ms");
}

#[test]
fn a_dead_broker_is_unknown_for_a_full_timeout_and_then_named() {
    for victim in 1..=3 {
        let mut world = World::without_doctor(Setup { seed: victim as u64, ..Setup::default() });
        world.kill_both(victim);
        world.run(40_000);
        world.restart_doctor();
        world.run(11_000);
        assert_eq!((world.state(victim), world.reason(victim)), (Unknown, Reason::NotSeenYet));
        world.run(2_000);
        assert_eq!((world.state(victim), world.reason(victim)), (Unhealthy, Reason::HeartbeatLost));
        world.assert_unhealthy_only(&[victim]);
    }
}

#[test]
fn a_failover_in_the_middle_of_a_death_calls_nobody_else_dead() {
    for later in [0, 3_000, 6_000, 9_000, 10_500] {
        for victim in 1..=3 {
            for copies in [2, 3] {
                let seed = later + victim as u64;
                let mut world = World::without_doctor(Setup { seed, copies, ..Setup::default() });
                world.kill_both(victim);
                world.run(later);
                world.restart_doctor();
                world.run(30_000);
                assert_eq!(world.state(victim), Unhealthy);
                world.assert_unhealthy_only(&[victim]);
            }
        }
    }
}

#[test]
fn old_records_at_the_end_of_the_topic_are_no_news() {
    // A broker that died and came back: its last words are still there to be read.
    let mut world = World::without_doctor(Setup::default());
    world.sidecar(1).load.cpu = 99.0;
    world.kill_broker(2);
    world.run(8_000);
    world.start_broker(2, 0);
    world.sidecar(1).load.cpu = 20.0;
    world.run(5_000);
    world.restart_doctor();
    world.run(30_000);
    assert!(world.all_are(Healthy));
    assert!(!world.was_ever(1, BrokerState::Overloaded));
    world.assert_unhealthy_only(&[]);
}

#[test]
fn a_doctor_that_starts_before_the_sidecars_alarms_nobody() {
    let mut world = World::without_doctor(Setup::default());
    for id in world.ids() {
        world.kill_sidecar(id);
    }
    world.run(5_000);
    world.restart_doctor();
    world.run(40_000);
    assert!(world.all_are(Unknown));
    for id in world.ids() {
        world.start_sidecar(id);
        world.run(4_000);
    }
    world.run(10_000);
    assert!(world.all_are(Healthy), "{:?}", world.doctor.changes);
    world.assert_unhealthy_only(&[]);
}

#[test]
fn a_doctor_that_starts_while_kafka_is_down_knows_the_brokers_when_they_are_back() {
    let mut world = World::without_doctor(Setup::default());
    for id in world.ids() {
        world.kill_broker(id);
    }
    world.run(5_000);
    world.restart_doctor();
    world.run(50_000);
    assert!(world.doctor.changes.is_empty(), "nobody has told it which brokers there are");
    for id in world.ids() {
        world.start_broker(id, 5_000);
    }
    world.run(40_000);
    assert!(world.all_are(Healthy), "{:?}", world.doctor.changes);
    world.assert_unhealthy_only(&[]);
}

#[test]
fn a_broker_found_in_log_recovery_is_left_alone() {
    let mut world = World::without_doctor(Setup::default());
    world.kill_broker(2);
    world.run(10_000);
    world.start_broker(2, 120_000);
    world.run(20_000);
    world.restart_doctor();
    world.run(20_000);
    assert_eq!((world.state(2), world.reason(2)), (BrokerState::Recovering, Reason::Starting));
    world.assert_unhealthy_only(&[]);
}
