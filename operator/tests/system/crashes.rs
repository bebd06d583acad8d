//! Broker and collector die together, whatever else the broker was: exactly that broker is Unhealthy.

use std::time::{Duration, Instant};

use crate::world::{World, alerts};
use doctorkafka_wire::{ActionKind, BrokerId};

const ROUNDS: usize = 10;

#[tokio::test(flavor = "multi_thread")]
async fn exactly_the_killed_broker_is_unhealthy_in_ten_rounds() {
    let mut world = World::start(&[1, 2, 3]).await;
    let doctor = world.start_doctor("doctor");
    doctor.until_leading().await;
    doctor.until_all_healthy().await;

    let mut victims = Vec::new();
    for round in 0..ROUNDS {
        // Each in turn, with the active controller and the leaders of all metrics partitions among them.
        let victim = match round {
            0 => world.controller().await,
            1..=3 => {
                let partition = i32::try_from(round - 1).unwrap();
                world.leader("_doctor_metrics", partition).await.expect("a leader")
            }
            4 => world.leader("_doctor_actions_log", 0).await.expect("a leader"),
            5 => world.controller().await,
            _ => i32::try_from(round % 3).unwrap() + 1,
        };
        victims.push(victim);
        let killed = Instant::now();
        let (kafka, _) = tokio::join!(world.kafka.kill(victim), world.sidecar(victim).kill());
        kafka.unwrap();
        let told = doctor.until_state(victim, "Unhealthy", 30).await - killed;
        eprintln!("round {round}: broker {victim} told after {told:.1?}");
        assert!(told < Duration::from_secs(14), "round {round}: broker {victim} told after {told:?}");

        world.kafka.start(victim).await.unwrap();
        world.kill_sidecar(victim).await;
        world.start_sidecar(victim);
        doctor.until_all_healthy().await;
        let wrong: Vec<_> =
            doctor.watch.unhealthy_since(killed).into_iter().filter(|seen| seen.broker != victim).collect();
        assert!(wrong.is_empty(), "round {round}: broker {victim} was killed, and {wrong:#?}");
    }

    let actions = world
        .actions_until("all recoveries", |actions| {
            actions.iter().filter(|a| a.kind == ActionKind::Recovered).count() >= ROUNDS
        })
        .await;
    let wanted: Vec<_> = victims.iter().map(|id| (ActionKind::AlertUnhealthy, Some(BrokerId(*id)))).collect();
    assert_eq!(alerts(&actions), wanted, "one alert for each kill, and no other");
}
