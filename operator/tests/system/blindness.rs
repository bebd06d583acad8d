//! When nothing is heard of anyone, the doctor says that it does not know, and says it once.

use std::time::Instant;

use crate::world::{World, alerts};
use doctorkafka_wire::ActionKind;

#[tokio::test(flavor = "multi_thread")]
async fn all_collectors_stopped_is_one_alert_and_no_brokers_fault() {
    let mut world = World::start(&[1, 2, 3]).await;
    let doctor = world.start_doctor("doctor");
    doctor.until_leading().await;
    doctor.until_all_healthy().await;
    let begin = Instant::now();

    for id in 1..=3 {
        world.kill_sidecar(id).await;
    }
    for id in 1..=3 {
        doctor.until_state(id, "Unknown", 40).await;
    }
    let blind = world.actions_until("the alert", |actions| !alerts(actions).is_empty()).await;
    assert_eq!(alerts(&blind), [(ActionKind::AlertUnknown, None)], "{blind:#?}");

    for id in 1..=3 {
        world.start_sidecar(id);
        doctor.until_state(id, "Healthy", 30).await;
    }
    assert!(doctor.watch.unhealthy_since(begin).is_empty(), "{:#?}", doctor.watch.seen());
    let after = world
        .actions_until("the recovery", |actions| actions.iter().any(|a| a.kind == ActionKind::Recovered))
        .await;
    assert_eq!(alerts(&after).len(), 1, "{after:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_doctor_repeats_no_alert_and_raises_none() {
    let mut world = World::start(&[1, 2, 3]).await;
    let doctor = world.start_doctor("first");
    doctor.until_leading().await;
    doctor.until_all_healthy().await;
    world.kill_sidecar(2).await;
    doctor.until_state(2, "Unhealthy", 30).await;
    let before = world.actions_until("the alert", |actions| alerts(actions).len() == 1).await;

    doctor.process.kill().await.unwrap();
    let begin = Instant::now();
    let second = world.start_doctor("second");
    second.until_leading().await;
    second.until_state(1, "Healthy", 30).await;
    second.until_state(2, "Unhealthy", 30).await;
    let strangers: Vec<_> =
        second.watch.unhealthy_since(begin).into_iter().filter(|seen| seen.broker != 2).collect();
    assert!(strangers.is_empty(), "{strangers:#?}");

    world.start_sidecar(2);
    second.until_state(2, "Healthy", 30).await;
    let after = world
        .actions_until("the recovery", |actions| actions.iter().any(|a| a.kind == ActionKind::Recovered))
        .await;
    assert_eq!(alerts(&after), alerts(&before), "{after:#?}");
}
