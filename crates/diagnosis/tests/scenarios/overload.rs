//! A broker that has too much to do.

use std::time::Duration;

use doctorkafka_diagnosis::{BrokerState, Detection, Moment, Reason, Resource, Threshold};
use doctorkafka_wire::BrokerId;
use serde_json::json;

use crate::world::{Setup, World};

#[test]
fn three_seconds_above_the_limit_are_an_overload_with_its_figures() {
    let mut world = World::new(Setup::default());
    world.sidecar(2).load.cpu = 95.2;
    let took = world.run_until(10_000, |world| world.state(2) == BrokerState::Overloaded);
    assert!((2_000..=3_500).contains(&took), "{took}");
    let diagnosis = world.diagnosis(2);
    assert_eq!(diagnosis.reason, Reason::CpuAbove);
    assert_eq!(diagnosis.resource, Some(Resource::Cpu));
    assert_eq!(diagnosis.message, "CPU usage 95% > 80%");
    assert_eq!(diagnosis.evidence["cpuPercent"], json!(95.2));
    let sustained = diagnosis.evidence["sustainedForMs"].as_u64().unwrap();
    assert!((2_980..=3_020).contains(&sustained), "{sustained}");
    assert_eq!(diagnosis.evidence["reports"], json!(3));
    assert_eq!(world.doctor.changes.len(), 1, "nothing is said of the others");
}

#[test]
fn an_overload_ends_only_below_the_lower_limit() {
    let mut world = World::new(Setup::default());
    world.sidecar(2).load.cpu = 95.0;
    world.run(5_000);
    let since = world.diagnosis(2).since;
    world.sidecar(2).load.cpu = 75.0;
    world.run(20_000);
    assert_eq!(world.state(2), BrokerState::Overloaded);
    world.sidecar(2).load.cpu = 69.0;
    world.run(2_000);
    let diagnosis = world.diagnosis(2);
    assert_eq!(diagnosis.state, BrokerState::Healthy);
    let after = diagnosis.since.since(since).as_secs();
    assert_eq!(diagnosis.message, format!("CPU usage 69% < 70%, after {after} s"));
    assert!((20..=25).contains(&after));
}

#[test]
fn a_spike_of_two_seconds_is_none() {
    let mut world = World::new(Setup::default());
    for _ in 0..10 {
        world.sidecar(2).load.cpu = 100.0;
        world.run(2_000);
        world.sidecar(2).load.cpu = 50.0;
        world.run(2_000);
    }
    assert!(!world.was_ever(2, BrokerState::Overloaded));
}

#[test]
fn every_resource_has_its_own_limit_time_and_sentence() {
    for (resource, percent, sentence, seconds) in [
        (Resource::Memory, 97.0, "Memory usage 97% > 95%", 60),
        (Resource::Disk, 90.0, "Disk usage 90% > 85%", 30),
        (Resource::Network, 88.0, "Network usage 88% > 80%", 10),
    ] {
        let mut world = World::new(Setup::default());
        let load = &mut world.sidecar(1).load;
        match resource {
            Resource::Memory => load.memory = percent,
            Resource::Disk => load.disk = percent,
            Resource::Network => load.network = percent,
            Resource::Cpu => unreachable!(),
        }
        let took = world.run_until(100_000, |world| world.state(1) == BrokerState::Overloaded);
        assert!((seconds - 1..=seconds + 1).contains(&(took / 1_000)), "{resource:?} took {took} ms");
        let diagnosis = world.diagnosis(1);
        assert_eq!((diagnosis.resource, diagnosis.reason), (Some(resource), resource.reason()));
        assert_eq!(diagnosis.message, sentence);
    }
}

#[test]
fn another_resource_in_trouble_is_the_same_overload_and_keeps_its_time() {
    let mut world = World::new(Setup::default());
    world.sidecar(1).load.cpu = 95.0;
    world.run(10_000);
    world.sidecar(1).load.disk = 90.0;
    world.run(40_000);
    let first = world.diagnosis(1).clone();
    assert_eq!(first.reason, Reason::CpuAbove, "what was named first is named as long as it lasts");
    world.sidecar(1).load.cpu = 30.0;
    world.run(2_000);
    let second = world.diagnosis(1).clone();
    assert_eq!((second.state, second.reason), (BrokerState::Overloaded, Reason::DiskAbove));
    assert_eq!(second.since, first.since);
    assert_eq!(second.message, "Disk usage 90% > 85%");
    // The disk stays full while the processor comes and goes: one reason, not a new one each time.
    for cpu in [95.0, 30.0, 95.0] {
        world.sidecar(1).load.cpu = cpu;
        world.run(6_000);
        assert_eq!(world.reason(1), Reason::DiskAbove);
    }
}

#[test]
fn a_broker_that_comes_back_loaded_is_described_truthfully() {
    let mut world = World::new(Setup::default());
    world.sidecar(1).load.cpu = 95.0;
    world.run(6_000);
    world.sidecar(1).cut = true;
    world.run(15_000);
    assert_eq!(world.state(1), BrokerState::Unhealthy);
    world.sidecar(1).load.cpu = 75.0;
    // Its buffer, too, is gone.
    let load = world.sidecar(1).load;
    world.kill_sidecar(1);
    world.start_sidecar(1);
    world.sidecar(1).load = load;
    world.run(6_000);
    let diagnosis = world.diagnosis(1);
    assert_eq!(diagnosis.state, BrokerState::Overloaded);
    assert_eq!(diagnosis.message, "CPU usage 75%, not yet below 70%");
}

#[test]
fn a_new_process_is_not_charged_with_what_the_old_one_used() {
    let mut world = World::new(Setup::default());
    world.sidecar(1).load.cpu = 95.0;
    world.run(6_000);
    world.sidecar(1).load.cpu = 75.0;
    world.kill_broker(1);
    world.run(3_000);
    world.start_broker(1, 0);
    world.run(20_000);
    assert_eq!(world.state(1), BrokerState::Healthy);
}

#[test]
fn other_thresholds_take_effect_without_a_flap() {
    let cpu = |overloaded_above, recovered_below| Detection {
        cpu: Threshold { overloaded_above, recovered_below, sustained_for: Duration::from_secs(3) },
        ..Detection::default()
    };
    let mut world = World::new(Setup::default());
    world.sidecar(1).load.cpu = 85.0;
    world.run(6_000);
    let before = world.doctor.changes.len();
    world.doctor.diagnostician.set_detection(cpu(75.0, 60.0));
    world.run(6_000);
    assert_eq!(world.doctor.changes.len(), before, "it is too much by the new limit as well");
    world.doctor.diagnostician.set_detection(cpu(90.0, 80.0));
    world.run(2_000);
    let diagnosis = world.diagnosis(1);
    assert_eq!(diagnosis.state, BrokerState::Healthy);
    assert_eq!(diagnosis.message, "all figures are within their limits", "no figure that is not true");
}

#[test]
fn maintenance_takes_effect_at_once_and_what_is_wrong_is_said_when_it_ends() {
    let mut world = World::new(Setup::default());
    let maintenance = Detection { maintenance: [BrokerId(2)].into(), ..Detection::default() };
    world.doctor.diagnostician.set_detection(maintenance);
    world.run(200);
    assert_eq!((world.state(2), world.reason(2)), (BrokerState::Maintenance, Reason::InMaintenance));
    world.kill_both(2);
    world.run(60_000);
    assert_eq!(world.state(2), BrokerState::Maintenance);
    world.doctor.diagnostician.set_detection(Detection::default());
    world.run(1_500);
    assert_eq!((world.state(2), world.reason(2)), (BrokerState::Unhealthy, Reason::HeartbeatLost));
    world.assert_unhealthy_only(&[2]);
}

#[test]
fn after_maintenance_nothing_is_held_to_be_in_maintenance() {
    let mut world = World::new(Setup::default());
    let maintenance = Detection { maintenance: [BrokerId(2)].into(), ..Detection::default() };
    world.doctor.diagnostician.set_detection(maintenance);
    world.run(5_000);
    world.kill_sidecar(2);
    world.run(5_000);
    world.doctor.diagnostician.set_detection(Detection::default());
    let now = Moment(world.now);
    let diagnoses = world.doctor.diagnostician.diagnose(now);
    assert_ne!(diagnoses[&BrokerId(2)].state, BrokerState::Maintenance);
}
