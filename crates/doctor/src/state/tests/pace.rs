//! How fast a treatment may copy while its brokers are strained or at ease.

use super::*;
use crate::execute::Treatment;
use doctorkafka_wire::{ConfigAsked, PartitionChange, TreatmentCause, TreatmentDetail};

const MOST: u64 = 100_000_000;

/// Moves one replica from broker 1 to 3 for the sake of a broker.
fn treatment(of: i32) -> Treatment {
    let cause =
        TreatmentCause { broker: Some(BrokerId(of)), reason: "Drain".into(), message: "asked".into() };
    let ids = |ids: [i32; 2]| ids.map(BrokerId).to_vec();
    let change = PartitionChange {
        topic: "t".into(),
        partition: 0,
        from: ids([1, 2]),
        to: ids([3, 2]),
        bytes: 1 << 40,
    };
    Treatment::new(cause, vec![change], Some(MOST)).unwrap()
}

/// So many seconds of a treatment; gives each new rate with the second in which it was decided.
fn copying(world: &mut World, treatment: &Treatment, seconds: u32, cpus: &[f64]) -> Vec<(u32, u64)> {
    let mut rates = Vec::new();
    for second in 1..=seconds {
        world.seconds(1, cpus);
        let before = world.state.pace_of(treatment);
        world.state.keep_pace(treatment, world.now);
        let rate = world.state.orders(treatment, world.now, wall(world.now)).rate;
        if rate != before {
            rates.push((second, rate.unwrap()));
        }
    }
    rates
}

#[test]
fn it_slows_down_for_strained_brokers_and_speeds_up_when_they_are_at_ease() {
    let (mut world, treatment) = (World::leading(), treatment(2));
    assert_eq!(copying(&mut world, &treatment, 30, CALM), [(1, MOST)]);
    let slower = copying(&mut world, &treatment, 120, HOT);
    let rates: Vec<u64> = slower.iter().map(|(_, rate)| *rate).collect();
    assert_eq!(rates, [50_000_000, 25_000_000, 12_500_000, 10_000_000], "{slower:?}");
    assert!(slower.windows(2).all(|two| two[1].0 - two[0].0 == 20), "{slower:?}");
    let faster = copying(&mut world, &treatment, 300, CALM);
    let rates: Vec<u64> = faster.iter().map(|(_, rate)| *rate).collect();
    assert_eq!(rates, [20_000_000, 40_000_000, 80_000_000, MOST], "{faster:?}");
    assert!(faster[0].0 > 60 && faster.windows(2).all(|two| two[1].0 - two[0].0 >= 60), "{faster:?}");
}

#[test]
fn the_broker_that_is_treated_may_be_hot_and_a_rate_that_is_named_is_kept() {
    let (mut world, of_the_hot) = (World::leading(), treatment(1));
    assert_eq!(copying(&mut world, &of_the_hot, 60, HOT), [(1, MOST)]);
    let throttle = doctorkafka_api::Throttle::BytesPerSecond(MOST);
    world.state.set_policy(Arc::new(Policy { throttle, ..policy(EffectiveMode::Auto) }));
    assert_eq!(copying(&mut world, &treatment(2), 60, HOT), []);
}

#[test]
fn a_full_network_is_strain_too() {
    // The network of the broker that is treated counts, whether or not it is said to be overloaded.
    let (mut world, treatment) = (World::leading(), treatment(1));
    world.seconds(1, CALM);
    for (share, rate) in [(0.95, 50_000_000), (0.8, 50_000_000), (0.6, MOST)] {
        for _ in 0..70 {
            world.seconds(1, &[f64::NAN, 30.0, 30.0]);
            world.sequence += 1;
            let network = doctorkafka_wire::Network {
                in_bytes_per_sec: 0.0,
                out_bytes_per_sec: share * 1e9,
                capacity_bytes_per_sec: Some(1_000_000_000),
            };
            let full = BrokerReport { network: Some(network), ..report(BrokerId(1), world.sequence, 30.0) };
            world.report(full);
            world.step();
            if share < 0.9 || world.state.pace_of(&treatment) != Some(50_000_000) {
                world.state.keep_pace(&treatment, world.now);
            }
        }
        assert_eq!(world.state.pace_of(&treatment), Some(rate), "{share}");
    }
}

#[test]
fn who_takes_over_goes_on_as_fast_as_the_one_before() {
    let (mut world, treatment) = (World::leading(), treatment(2));
    let told = |outcome, step, configs| {
        let whole = crate::loans::tests::told(&treatment, outcome, wall(Moment(1)));
        match step {
            None => whole,
            Some(_) => {
                let detail = TreatmentDetail { configs, ..TreatmentDetail::default() };
                ActionRecord { kind: ActionKind::Throttle, step, treatment: Some(Box::new(detail)), ..whole }
            }
        }
    };
    let rate = ConfigAsked {
        broker: Some(BrokerId(1)),
        topic: None,
        name: "leader.replication.throttled.rate".into(),
        value: Some("25000000".into()),
    };
    world.open(&[
        told(Outcome::Intended, None, vec![]),
        told(Outcome::Intended, Some(0), vec![rate]),
        told(Outcome::Done, Some(0), vec![]),
    ]);
    assert_eq!(copying(&mut world, &treatment, 10, CALM), [(1, 25_000_000)]);
}
