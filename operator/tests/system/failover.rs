//! Two standalone doctors: one leads, one stands by, and never do both write.

use std::time::{Duration, Instant};

use crate::world::{Doctor, World};
use doctorkafka_wire::ActionKind;

/// The consumer group's session timeout: how long a leader may be silent before another is elected.
const SESSION: Duration = Duration::from_secs(6);

async fn two_doctors(world: &World) -> (Doctor, Doctor) {
    let first = world.start_doctor("first");
    first.until_leading().await;
    let second = world.start_doctor("second");
    second.until_all_healthy().await;
    assert_eq!((first.role().as_str(), second.role().as_str()), ("leading", "standby"));
    (first, second)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_leader_hands_over_and_a_killed_one_is_replaced() {
    let world = World::start(&[1, 2, 3]).await;
    let (first, second) = two_doctors(&world).await;
    let asked = Instant::now();
    first.process.terminate().await.unwrap();
    second.until_leading().await;
    eprintln!("hand-over after {:.1?}", asked.elapsed());
    // In practice about a second; the limit is for machines that do much else.
    assert!(asked.elapsed() < Duration::from_secs(10), "hand-over took {:?}", asked.elapsed());

    let third = world.start_doctor("third");
    third.until_all_healthy().await;
    let killed = Instant::now();
    second.process.kill().await.unwrap();
    third.until_leading().await;
    eprintln!("take-over after {:.1?}", killed.elapsed());
    assert!(killed.elapsed() < SESSION + Duration::from_secs(10), "take-over took {:?}", killed.elapsed());

    let actions = world
        .actions_until("three leaders", |a| {
            a.iter().filter(|a| a.kind == ActionKind::LeaderStarted).count() == 3
        })
        .await;
    let epochs: Vec<u64> = actions.iter().map(|action| action.epoch).collect();
    assert!(epochs.is_sorted(), "epochs rise: {epochs:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_was_paused_never_writes_as_leader_again() {
    let mut world = World::start(&[1, 2, 3]).await;
    let (first, second) = two_doctors(&world).await;
    first.process.pause().unwrap();
    second.until_leading().await;

    // What happens now is for the new leader to tell; the old one wakes up in the middle of it.
    world.kill_sidecar(2).await;
    second.until_state(2, "Unhealthy", 30).await;
    first.process.resume().unwrap();
    first.watch.until("the old leader stands by", 40, |report| report["role"]["state"] == "standby").await;
    first.until_state(2, "Unhealthy", 40).await;
    world.start_sidecar(2);
    second.until_state(2, "Healthy", 30).await;

    let actions = world
        .actions_until("the recovery", |actions| actions.iter().any(|a| a.kind == ActionKind::Recovered))
        .await;
    let started: Vec<u64> =
        actions.iter().filter(|a| a.kind == ActionKind::LeaderStarted).map(|a| a.epoch).collect();
    assert_eq!(started, [1, 2], "{actions:#?}");
    assert!(actions.iter().map(|a| a.epoch).is_sorted(), "nothing of epoch 1 after epoch 2: {actions:#?}");
    assert_eq!(actions.iter().filter(|a| a.kind == ActionKind::AlertUnhealthy).count(), 1, "{actions:#?}");
}
