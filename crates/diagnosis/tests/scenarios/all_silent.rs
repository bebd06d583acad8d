//! When it is not the brokers that are at fault.

use doctorkafka_diagnosis::{BrokerState, Reason};

use crate::world::{Setup, World};

use BrokerState::{Healthy, Unhealthy, Unknown};

#[test]
fn all_sidecars_stopped_at_once_or_one_after_the_other_is_no_brokers_fault() {
    for brokers in [1, 2, 3, 5] {
        for apart in [0, 500, 1_500] {
            let mut world =
                World::new(Setup { brokers, copies: brokers.min(2) as usize, ..Setup::default() });
            for id in world.ids() {
                world.kill_sidecar(id);
                world.run(apart);
            }
            world.run(25_000);
            assert!(world.all_are(Unknown), "{:?}", world.doctor.changes);
            assert!(world.ids().iter().all(|id| world.reason(*id) == Reason::AllSilent));
            world.run(60_000);
            world.assert_unhealthy_only(&[]);
        }
    }
}

#[test]
fn sidecars_that_come_back_one_by_one_alarm_nobody() {
    for apart in [200, 3_000, 10_000] {
        let mut world = World::new(Setup { brokers: 5, ..Setup::default() });
        for id in world.ids() {
            world.kill_sidecar(id);
        }
        world.run(40_000);
        for id in world.ids() {
            world.start_sidecar(id);
            world.run(apart);
        }
        world.run(10_000);
        assert!(world.all_are(Healthy), "{:?}", world.doctor.changes);
        world.assert_unhealthy_only(&[]);
    }
}

#[test]
fn the_one_sidecar_that_does_not_come_back_is_named() {
    let mut world = World::new(Setup::default());
    for id in world.ids() {
        world.kill_sidecar(id);
    }
    world.run(40_000);
    world.start_sidecar(1);
    world.start_sidecar(3);
    let took = world.run_until(30_000, |world| world.state(2) == Unhealthy);
    assert!((11_000..=13_500).contains(&took), "{took} ms");
    world.assert_unhealthy_only(&[2]);
}

#[test]
fn a_broker_that_was_down_before_all_fell_silent_is_still_down() {
    let mut world = World::new(Setup::default());
    world.kill_both(2);
    world.run(20_000);
    world.kill_sidecar(1);
    world.kill_sidecar(3);
    world.run(40_000);
    assert_eq!(world.state(2), Unhealthy);
    assert_eq!((world.state(1), world.state(3)), (Unknown, Unknown));
    world.start_sidecar(1);
    world.start_sidecar(3);
    world.run(30_000);
    assert_eq!((world.state(1), world.state(2), world.state(3)), (Healthy, Unhealthy, Healthy));
    world.assert_unhealthy_only(&[2]);
}

#[test]
fn a_kafka_that_is_wholly_down_is_unknown_and_well_when_it_returns() {
    for sidecars_die in [false, true] {
        for recovery in [0, 20_000] {
            let mut world = World::new(Setup { seed: 3 + recovery, ..Setup::default() });
            for id in world.ids() {
                world.kill_broker(id);
                if sidecars_die {
                    world.kill_sidecar(id);
                }
            }
            world.run(90_000);
            assert!(world.all_are(Unknown), "{:?}", world.doctor.changes);
            assert!(world.ids().iter().all(|id| world.reason(*id) == Reason::KafkaUnreachable));
            for id in world.ids() {
                world.start_broker(id, recovery);
                if sidecars_die {
                    world.start_sidecar(id);
                }
                world.run(2_000);
            }
            world.run(recovery + 30_000);
            assert!(world.all_are(Healthy), "{:#?}", world.doctor.changes);
            world.assert_unhealthy_only(&[]);
        }
    }
}

#[test]
fn the_broker_that_does_not_return_after_an_outage_is_named_after_a_full_timeout() {
    let mut world = World::new(Setup::default());
    for id in world.ids() {
        world.kill_both(id);
    }
    world.run(60_000);
    for id in [1, 3] {
        world.start_broker(id, 0);
        world.start_sidecar(id);
    }
    let took = world.run_until(60_000, |world| world.state(2) == Unhealthy);
    assert!((11_000..=30_000).contains(&took), "{took} ms");
    world.run(10_000);
    assert_eq!((world.state(1), world.state(3)), (Healthy, Healthy));
    world.assert_unhealthy_only(&[2]);
}

#[test]
fn a_cluster_without_a_quorum_alarms_for_the_dead_alone() {
    let mut world = World::new(Setup::default());
    world.kill_both(1);
    world.kill_both(2);
    world.run(90_000);
    world.assert_unhealthy_only(&[1, 2]);
    // Nothing can be read, nobody is fenced: the doctor says what it knows of each.
    for (id, probed) in [(2, "its listener refuses the doctor's connections"), (3, "it answers the doctor")] {
        assert_eq!((world.state(id), world.reason(id)), (Unknown, Reason::PathUnavailable));
        let message = &world.diagnosis(id).message;
        assert!(message.ends_with(&format!("the quorum has no leader; {probed}")), "{message}");
    }
}
