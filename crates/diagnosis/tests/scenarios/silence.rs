//! A broker that is not heard of any more.

use doctorkafka_diagnosis::{BrokerState, Reason};
use doctorkafka_wire::BrokerId;
use serde_json::json;

use crate::world::{STEP, Setup, World};

/// A sidecar's report is on its way for at most one poll of the reader.
const PHASES: [u64; 10] = [0, 100, 200, 300, 400, 500, 600, 700, 800, 980];

#[test]
fn a_dead_sidecar_is_noticed_after_ten_seconds_and_within_eleven_and_a_half() {
    for shift in 0..3 {
        for phase in PHASES {
            let mut world = World::new(Setup { shift, seed: 7 + phase, ..Setup::default() });
            let next_report = world.sidecar(2).last_report() + 1_000 + phase;
            let wait = next_report.saturating_sub(world.now);
            world.run(wait);
            world.kill_sidecar(2);
            let took = world.run_until(20_000, |world| world.state(2) == BrokerState::Unhealthy);
            assert!(took > 10_000 && took <= 11_500, "phase {phase}: {took} ms");
            assert_eq!(world.reason(2), Reason::HeartbeatLost);
            world.run(30_000);
            world.assert_unhealthy_only(&[2]);
            assert_eq!(world.doctor.changes.len(), 1, "the others are untouched");
        }
    }
}

#[test]
fn what_is_known_of_a_lost_broker_is_said() {
    let mut world = World::new(Setup::default());
    world.kill_sidecar(2);
    world.run(12_000);
    let diagnosis = world.diagnosis(2);
    assert_eq!(
        diagnosis.message,
        "no heartbeat for more than 10s; the broker answers the doctor, so its collector is at fault"
    );
    assert_eq!(diagnosis.evidence["heartbeatTimeoutMs"], json!(10_000));
    assert_eq!(diagnosis.evidence["fenced"], json!(false));
    assert_eq!(diagnosis.evidence["directProbe"], json!("answered"));
    // New facts are told, and the state keeps its time.
    let since = diagnosis.since;
    world.kill_broker(2);
    world.run(12_000);
    let diagnosis = world.diagnosis(2);
    assert_eq!(diagnosis.message, "no heartbeat for more than 10s; fenced by the controller");
    assert_eq!(diagnosis.evidence["fenced"], json!(true));
    assert_eq!(diagnosis.since, since);
}

#[test]
fn a_sidecar_that_ended_in_good_order_is_said_to_have() {
    let mut world = World::new(Setup::default());
    world.stop_sidecar(3);
    let took = world.run_until(20_000, |world| world.state(3) == BrokerState::Unhealthy);
    assert!(took > 10_000 && took <= 11_500, "{took} ms");
    assert!(world.diagnosis(3).message.ends_with("; the collector had said goodbye"));
    assert_eq!(world.diagnosis(3).evidence["goodbye"], json!(true));
}

#[test]
fn a_sidecar_that_returns_makes_the_broker_healthy_after_three_reports() {
    let mut world = World::new(Setup::default());
    world.kill_sidecar(2);
    world.run(15_000);
    world.start_sidecar(2);
    let took = world.run_until(10_000, |world| world.state(2) == BrokerState::Healthy);
    assert!((2_000..=3_500).contains(&took), "{took} ms");
    assert_eq!(world.diagnosis(2).message, "the broker is back in service");
}

#[test]
fn a_restarted_sidecar_is_no_event() {
    let mut world = World::new(Setup::default());
    for _ in 0..5 {
        world.kill_sidecar(2);
        world.run(4_000);
        world.start_sidecar(2);
        world.run(7_000);
    }
    assert_eq!(world.doctor.changes, []);
}

/// The acceptance test of the whole: each broker in turn, the leaders of every partition and the active controller among
/// them, dies with its sidecar; with two copies of each partition and with three.
#[test]
fn a_dead_broker_is_unhealthy_within_twelve_seconds_and_no_other_ever_is() {
    let mut slowest = 0;
    for (brokers, copies) in [(3, 2), (3, 3), (5, 2), (5, 3)] {
        for shift in 0..3 {
            for round in 0..4 {
                for victim in 1..=brokers {
                    let seed = round * 1_000 + victim as u64;
                    let mut world = World::new(Setup { brokers, copies, shift, seed, ..Setup::default() });
                    world.run(seed % 37 * STEP);
                    world.kill_both(victim);
                    let took = world.run_until(20_000, |world| world.state(victim) == BrokerState::Unhealthy);
                    assert!(took > 9_900 && took <= 12_000, "{:?} {took} ms", world.doctor.changes);
                    slowest = slowest.max(took);
                    world.run(20_000);
                    world.assert_unhealthy_only(&[victim]);
                    assert_eq!(world.doctor.changes.len(), 1, "{:?}", world.doctor.changes);
                    assert!(world.diagnosis(victim).message.contains("fenced by the controller"));
                }
            }
        }
    }
    assert!(slowest > 10_000);
}

#[test]
fn two_dead_brokers_of_five_are_found_and_no_other() {
    for seed in 0..10 {
        let mut world = World::new(Setup { brokers: 5, seed, ..Setup::default() });
        let (first, second) = (1 + seed as i32 % 5, 1 + (seed as i32 + 1 + seed as i32 / 5) % 5);
        world.kill_both(first);
        world.run(seed * 700);
        world.kill_both(second);
        world.run(25_000);
        assert_eq!(world.state(first), BrokerState::Unhealthy);
        assert_eq!(world.state(second), BrokerState::Unhealthy);
        world.assert_unhealthy_only(&[first, second]);
    }
}

#[test]
fn clocks_that_jump_change_nothing() {
    const HOUR: i64 = 3_600_000;
    let mut world = World::new(Setup::default());
    for (step, error) in [HOUR, -HOUR, 0, -HOUR, HOUR].into_iter().enumerate() {
        world.sidecar(1 + step as i32 % 3).clock_error = error;
        world.run(5_000);
    }
    assert_eq!(world.doctor.changes, []);
    // A broker that hangs is no starting one because its sidecar's clock has just jumped.
    world.sidecar(2).clock_error = 3 * HOUR;
    world.freeze_broker(2);
    world.run(6_000);
    assert_eq!(world.reason(2), Reason::Unresponsive);
    world.thaw_broker(2);
    world.run(6_000);
    world.kill_both(1);
    let took = world.run_until(20_000, |world| world.state(1) == BrokerState::Unhealthy);
    assert!(took > 10_000 && took <= 12_000, "{took} ms");
}

#[test]
fn a_machine_that_stood_still_for_a_while_is_well_again_soon() {
    for seconds in [3, 8, 12, 60] {
        let mut world = World::new(Setup { seed: seconds, ..Setup::default() });
        world.suspend_machine(2);
        world.run(seconds * 1_000);
        world.resume_machine(2);
        world.run(12_000);
        assert_eq!(world.state(2), BrokerState::Healthy, "{:?}", world.doctor.changes);
        let alarms = world.path_of(2, 0).iter().filter(|state| **state == BrokerState::Unhealthy).count();
        assert_eq!(alarms, usize::from(seconds > 11), "{:?}", world.doctor.changes);
        // Later news of it counts as of now, although its clock will lag for ever.
        world.kill_broker(2);
        let took = world.run_until(5_000, |world| world.state(2) == BrokerState::Unhealthy);
        assert!(took <= 2_000, "{took} ms");
        world.assert_unhealthy_only(&[2]);
    }
}

#[test]
fn two_sidecars_of_one_broker_confuse_nobody() {
    let mut world = World::new(Setup::default());
    let second = 102;
    let mut twin = world.sidecar(2).clone();
    world.start_sidecar(2);
    std::mem::swap(&mut twin, world.sidecar(2));
    world.sidecars.insert(second, twin);
    world.run(20_000);
    assert_eq!(world.doctor.changes, []);
    for id in [2, second] {
        world.sidecars.get_mut(&id).unwrap().load.cpu = 95.0;
    }
    world.run(5_000);
    assert_eq!(world.state(2), BrokerState::Overloaded);
    world.kill_broker(2);
    world.run(2_000);
    assert_eq!(world.reason(2), Reason::ProcessDown);
    world.start_broker(2, 0);
    world.run(20_000);
    assert_ne!(world.state(2), BrokerState::Unhealthy, "{:?}", world.doctor.changes);
    // Either may end.
    world.sidecars.remove(&second);
    world.run(20_000);
    assert_ne!(world.state(2), BrokerState::Unhealthy, "{:?}", world.doctor.changes);
    assert_eq!(world.path_of(2, 0).iter().filter(|s| **s == BrokerState::Unhealthy).count(), 1);
}

#[test]
fn a_broker_that_was_unregistered_is_forgotten() {
    let mut world = World::new(Setup { brokers: 4, ..Setup::default() });
    world.kill_both(4);
    world.run(15_000);
    assert_eq!(world.state(4), BrokerState::Unhealthy);
    world.kafka.nodes.remove(&4);
    world.run(2_000);
    assert_eq!(world.doctor.diagnosis(4), None);
    assert!(world.doctor.diagnostician.newest_report(BrokerId(4)).is_none());
}

#[test]
fn where_fenced_brokers_are_not_named_a_missing_one_is_fenced_and_not_forgotten() {
    let mut world = World::without_doctor(Setup { shift: 0, ..Setup::default() });
    world.doctor.names_fenced = false;
    world.restart_doctor();
    world.run(15_000);
    world.kill_both(2);
    let took = world.run_until(20_000, |world| world.state(2) == BrokerState::Unhealthy);
    assert!(took > 10_000 && took <= 12_000, "{took} ms");
    world.run(60_000);
    assert_eq!(world.state(2), BrokerState::Unhealthy);
    world.assert_unhealthy_only(&[2]);
}
