//! A broker whose process ends, hangs or starts while its sidecar lives.

use doctorkafka_diagnosis::{BrokerState, Reason};
use serde_json::json;

use crate::world::{Setup, World};

use BrokerState::{Healthy, Recovering, Unhealthy};

#[test]
fn a_killed_broker_is_down_within_two_seconds_even_where_it_leads_its_own_partition() {
    for brokers in [3, 5] {
        for shift in 0..3 {
            for victim in 1..=brokers {
                let seed = victim as u64 * 11;
                let mut world = World::new(Setup { brokers, shift, seed, ..Setup::default() });
                world.run(seed * 20);
                world.kill_broker(victim);
                let took = world.run_until(15_000, |world| world.state(victim) == Unhealthy);
                assert!(took <= 2_000, "broker {victim} of {brokers}, shift {shift}: {took} ms");
                let diagnosis = world.diagnosis(victim);
                assert_eq!(diagnosis.reason, Reason::ProcessDown);
                assert_eq!(diagnosis.message, "the broker process is gone and its collector still reports");
                assert_eq!(diagnosis.evidence["processState"], json!("absent"));
                world.run(15_000);
                assert!(world.diagnosis(victim).message.ends_with("; fenced by the controller"));
                world.assert_unhealthy_only(&[victim]);
            }
        }
    }
}

/// With as many copies as brokers no consumer reads anything until the dead one is fenced. That is late, and no false alarm.
#[test]
fn where_every_partition_waits_for_the_dead_broker_it_is_down_once_it_is_fenced() {
    for victim in 1..=3 {
        let mut world = World::new(Setup { copies: 3, seed: victim as u64, ..Setup::default() });
        world.kill_broker(victim);
        let took = world.run_until(15_000, |world| world.state(victim) == Unhealthy);
        assert!((7_000..=14_500).contains(&took), "{took} ms");
        world.run(20_000);
        assert_eq!(world.state(victim), Unhealthy);
        world.assert_unhealthy_only(&[victim]);
    }
}

#[test]
fn a_frozen_broker_is_unresponsive_and_well_after_it_goes_on() {
    for victim in 1..=3 {
        let mut world = World::new(Setup { seed: victim as u64, ..Setup::default() });
        let before = world.now;
        world.freeze_broker(victim);
        let took = world.run_until(15_000, |world| world.state(victim) == Unhealthy);
        assert!((2_000..=4_500).contains(&took), "{took} ms");
        let diagnosis = world.diagnosis(victim);
        assert_eq!(diagnosis.reason, Reason::Unresponsive);
        assert_eq!(
            diagnosis.message,
            "the process is stopped by a signal and does not answer: no answer within 1s"
        );
        world.run(20_000);
        assert_eq!(world.reason(victim), Reason::Unresponsive);
        world.thaw_broker(victim);
        world.run(10_000);
        let path = world.path_of(victim, before);
        assert!(path == [Unhealthy, Healthy] || path == [Unhealthy, Recovering, Healthy], "{path:?}");
        world.assert_unhealthy_only(&[victim]);
    }
}

#[test]
fn a_pause_for_garbage_collection_is_none() {
    let mut world = World::new(Setup::default());
    for _ in 0..10 {
        world.freeze_broker(1);
        world.run(1_900);
        world.thaw_broker(1);
        world.run(3_000);
    }
    assert_eq!(world.doctor.changes, []);
}

#[test]
fn a_dead_broker_that_is_started_again_recovers_and_is_well() {
    for victim in 1..=3 {
        let mut world = World::new(Setup { seed: victim as u64, ..Setup::default() });
        let before = world.now;
        world.kill_broker(victim);
        world.run(20_000);
        world.start_broker(victim, 3_000);
        world.run(20_000);
        assert_eq!(world.path_of(victim, before), [Unhealthy, Recovering, Healthy]);
        assert_eq!(world.diagnosis(victim).message, "the broker is back in service");
        world.assert_unhealthy_only(&[victim]);
    }
}

#[test]
fn a_long_log_recovery_is_not_death() {
    for (victim, jump) in [(1, 0), (2, 3_600_000), (3, -3_600_000)] {
        let mut world = World::new(Setup { seed: victim as u64, ..Setup::default() });
        world.kill_broker(victim);
        world.run(5_000);
        world.start_broker(victim, 300_000);
        let started = world.now + 1_500;
        world.run(100_000);
        world.sidecar(victim).clock_error = jump;
        assert_eq!((world.state(victim), world.reason(victim)), (Recovering, Reason::Starting));
        assert_eq!(
            world.diagnosis(victim).message,
            "the process has started and does not serve yet: connection refused; fenced by the controller"
        );
        world.run(220_000);
        assert_eq!(world.path_of(victim, started), [Healthy], "{:?}", world.doctor.changes);
        world.assert_unhealthy_only(&[victim]);
    }
}

#[test]
fn a_restart_that_takes_the_sidecar_along_ends_well() {
    // Both containers of a pod: the sidecar starts first and sees no process for a while.
    let mut world = World::new(Setup::default());
    let before = world.now;
    world.kill_both(2);
    world.run(4_000);
    world.start_sidecar(2);
    world.run(3_000);
    assert_eq!((world.state(2), world.reason(2)), (Recovering, Reason::Starting));
    world.start_broker(2, 4_000);
    world.run(20_000);
    assert_eq!(world.path_of(2, before), [Recovering, Healthy]);
}

#[test]
fn a_sidecar_that_waits_in_vain_for_its_broker_says_so() {
    let mut world = World::new(Setup::default());
    world.kill_both(2);
    world.run(4_000);
    world.start_sidecar(2);
    let took = world.run_until(60_000, |world| world.state(2) == Unhealthy);
    assert!((29_000..=32_000).contains(&took), "{took} ms");
    assert_eq!(world.reason(2), Reason::ProcessDown);
}

#[test]
fn a_rolling_restart_leaves_every_broker_well() {
    let mut world = World::new(Setup::default());
    for id in world.ids() {
        let before = world.now;
        world.restart_broker(id);
        world.run(15_000);
        let path = world.path_of(id, before);
        assert_eq!(path.last(), Some(&Healthy), "{path:?}");
        assert_eq!(world.doctor.changes.iter().filter(|c| c.at > before && c.broker != id).count(), 0);
    }
}

#[test]
fn a_crash_loop_is_told_as_it_is() {
    let mut world = World::new(Setup::default());
    let before = world.now;
    for _ in 0..3 {
        world.kill_broker(2);
        world.run(10_000);
        world.start_broker(2, 60_000);
        world.run(10_000);
    }
    let round = [Unhealthy, Recovering];
    assert_eq!(world.path_of(2, before), round.repeat(3));
}

#[test]
fn a_broker_that_the_controller_has_fenced_is_unhealthy_though_it_answers() {
    let mut world = World::new(Setup::default());
    let before = world.now;
    world.kafka.node(3).controller_link = false;
    let took = world.run_until(30_000, |world| world.state(3) == Unhealthy);
    assert!((7_000..=11_500).contains(&took), "{took} ms");
    assert_eq!(world.reason(3), Reason::Fenced);
    assert_eq!(world.diagnosis(3).evidence["fenced"], json!(true));
    world.run(120_000);
    assert_eq!(world.path_of(3, before), [Unhealthy]);
    world.kafka.node(3).controller_link = true;
    world.run(6_000);
    assert_eq!(world.path_of(3, before), [Unhealthy, Healthy]);
    world.assert_unhealthy_only(&[3]);
}

#[test]
fn a_broker_that_starts_and_is_never_counted_in_does_not_start_for_ever() {
    let mut world = World::new(Setup::default());
    world.kill_broker(3);
    world.run(12_000);
    world.kafka.node(3).controller_link = false;
    world.start_broker(3, 0);
    world.run(30_000);
    assert_eq!((world.state(3), world.reason(3)), (Recovering, Reason::Starting));
    world.run(60_000);
    assert_eq!((world.state(3), world.reason(3)), (Unhealthy, Reason::Fenced));
    let changes = world.doctor.changes.len();
    world.run(60_000);
    assert_eq!(world.doctor.changes.len(), changes);
}

#[test]
fn without_a_listener_to_probe_a_process_that_is_there_counts_as_well() {
    let mut world = World::new(Setup::default());
    world.sidecar(2).probes = false;
    world.run(10_000);
    world.kill_broker(2);
    let took = world.run_until(5_000, |world| world.state(2) == Unhealthy);
    assert!(took <= 2_000, "{took} ms");
    world.run(10_000);
    world.start_broker(2, 0);
    world.run(10_000);
    assert_eq!(world.state(2), Healthy);
}
