//! When it is the doctor that is at fault: cut off or suspended.

use doctorkafka_diagnosis::{BrokerState, DirectProbe, Reason};

use crate::world::{Setup, World};

use BrokerState::{Healthy, Unhealthy, Unknown};

#[test]
fn a_doctor_that_cannot_reach_one_broker_never_calls_it_or_another_unhealthy() {
    for probe in [DirectProbe::Silent, DirectProbe::Refused] {
        for shift in 0..3 {
            let mut world = World::new(Setup { shift, ..Setup::default() });
            world.cut_doctor_from(2, probe);
            world.run(20_000);
            assert!(world.all_are(Healthy), "the controller counts them all in: {:?}", world.doctor.changes);
            world.run(40_000);
            // Partition 1 is led by the broker that is out of reach.
            let unheard = world.ids().into_iter().find(|id| world.home(*id) == 1).expect("one of three");
            assert_eq!((world.state(unheard), world.reason(unheard)), (Unknown, Reason::PathUnavailable));
            world.doctor.cut.clear();
            world.run(5_000);
            assert!(world.all_are(Healthy), "{:?}", world.doctor.changes);
            world.assert_unhealthy_only(&[]);
        }
    }
}

#[test]
fn a_doctor_that_starts_without_reaching_one_broker_does_not_call_it_dead() {
    for probe in [DirectProbe::Silent, DirectProbe::Refused] {
        for victim in 1..=3 {
            let mut world = World::without_doctor(Setup::default());
            world.cut_doctor_from(victim, probe);
            world.restart_doctor();
            world.run(90_000);
            world.assert_unhealthy_only(&[]);
        }
    }
}

#[test]
fn a_broker_that_dies_where_the_doctor_cannot_reach_it_is_found_by_what_the_controller_says() {
    let mut world = World::new(Setup::default());
    world.cut_doctor_from(2, DirectProbe::Silent);
    world.run(5_000);
    world.kill_both(2);
    let took = world.run_until(30_000, |world| world.state(2) == Unhealthy);
    assert!(took <= 13_000, "{took} ms");
    world.assert_unhealthy_only(&[2]);
}

#[test]
fn a_doctor_that_is_cut_off_from_all_knows_nothing_and_says_so() {
    for probe in [DirectProbe::Silent, DirectProbe::Refused] {
        let mut world = World::new(Setup::default());
        for id in world.ids() {
            world.cut_doctor_from(id, probe);
        }
        world.run(8_000);
        assert!(world.all_are(Healthy));
        world.run(30_000);
        assert!(world.all_are(Unknown));
        assert!(world.ids().iter().all(|id| world.reason(*id) == Reason::KafkaUnreachable));
        world.doctor.cut.clear();
        world.run(4_000);
        assert!(world.all_are(Healthy), "{:?}", world.doctor.changes);
        world.assert_unhealthy_only(&[]);
    }
}

#[test]
fn what_happened_while_the_doctor_was_cut_off_is_found_when_it_is_back() {
    let mut world = World::new(Setup::default());
    for id in world.ids() {
        world.cut_doctor_from(id, DirectProbe::Silent);
    }
    world.run(20_000);
    world.kill_both(3);
    world.run(20_000);
    world.doctor.cut.clear();
    let took = world.run_until(30_000, |world| world.state(3) == Unhealthy);
    assert!(took <= 14_000, "{took} ms");
    world.run(10_000);
    assert_eq!((world.state(1), world.state(2)), (Healthy, Healthy));
    world.assert_unhealthy_only(&[3]);
}

#[test]
fn a_suspended_doctor_raises_no_alarm_when_it_goes_on() {
    for seconds in [2, 6, 30, 70, 200] {
        let mut world = World::new(Setup { seed: seconds, ..Setup::default() });
        world.doctor.suspended = true;
        world.run(seconds * 1_000);
        world.doctor.suspended = false;
        world.run(30_000);
        assert_eq!(world.doctor.changes, []);
    }
}

#[test]
fn what_happened_while_the_doctor_was_suspended_is_found_when_it_goes_on() {
    for died in [2_000, 15_000, 28_000] {
        let mut world = World::new(Setup { seed: died, ..Setup::default() });
        world.doctor.suspended = true;
        world.run(died);
        world.kill_both(1);
        world.kill_broker(2);
        world.run(30_000 - died);
        world.start_broker(2, 60_000);
        world.doctor.suspended = false;
        world.run(14_000);
        assert_eq!(world.state(1), Unhealthy, "{:?}", world.doctor.changes);
        // That it was down is no news any more.
        assert_ne!(world.state(2), Unhealthy, "{:?}", world.doctor.changes);
        assert_eq!(world.state(3), Healthy);
    }
}
