//! Kafka wholly away, and rubbish on the metrics topic.

use std::time::{Duration, Instant};

use crate::world::{World, alerts};
use doctorkafka_testbed::wait_until;
use doctorkafka_wire::ActionKind;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};

#[tokio::test(flavor = "multi_thread")]
async fn kafka_wholly_down_is_said_and_survived() {
    let world = World::start(&[1, 2, 3]).await;
    let doctor = world.start_doctor("doctor");
    doctor.until_leading().await;
    doctor.until_all_healthy().await;

    for id in 1..=3 {
        world.kafka.kill(id).await.unwrap();
    }
    doctor.watch.until("Kafka is not reachable", 30, |report| report["kafka"]["reachable"] == false).await;
    let error = doctor.watch.newest()["kafka"]["error"].as_str().unwrap().to_owned();
    assert!(error.contains(world.kafka.broker(1).address()), "{error}");
    assert!(error.to_lowercase().contains("refused"), "{error}");

    let (one, two, three) = tokio::join!(world.kafka.start(1), world.kafka.start(2), world.kafka.start(3));
    one.and(two).and(three).unwrap();
    doctor.watch.until("Kafka is reachable", 60, |report| report["kafka"]["reachable"] == true).await;
    doctor.until_all_healthy().await;
    assert!(doctor.process.is_running());
    let actions = world
        .actions_until("the log goes on", |actions| {
            let open = actions.iter().filter(|a| a.kind == ActionKind::Recovered).count();
            open >= alerts(actions).len()
        })
        .await;
    assert!(!actions.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_poison_records_a_second_change_nothing() {
    let world = World::start(&[1, 2, 3]).await;
    let doctor = world.start_doctor("doctor");
    doctor.until_leading().await;
    doctor.until_all_healthy().await;
    let begin = Instant::now();

    let bootstrap = world.kafka.bootstrap();
    let poisoning = tokio::task::spawn_blocking(move || poison(&bootstrap, Duration::from_secs(15)));
    let sent = poisoning.await.unwrap();
    wait_until("every poison record is counted", Duration::from_secs(60), || async {
        let skipped = doctor.watch.newest()["counters"]["skipped"].clone();
        let count: u64 = skipped.as_object().into_iter().flatten().filter_map(|(_, n)| n.as_u64()).sum();
        count >= sent
    })
    .await
    .unwrap();
    doctor.until_all_healthy().await;
    assert!(sent >= 10_000, "only {sent} sent");
    let changes: Vec<_> = doctor.watch.seen().into_iter().filter(|seen| seen.at > begin).collect();
    assert!(changes.is_empty(), "{changes:#?}");
    assert!(alerts(&world.actions().await).is_empty());
}

/// Sends rubbish of every kind, about a thousand a second; gives how many.
fn poison(bootstrap: &str, time: Duration) -> u64 {
    let producer: ThreadedProducer<DefaultProducerContext> =
        rdkafka::ClientConfig::new().set("bootstrap.servers", bootstrap).create().unwrap();
    let huge = vec![b'x'; 300_000];
    let deep = "[".repeat(50_000);
    let report = r#""incarnation":1,"sequence":1,"sampledAt":"2026-01-01T00:00:00Z","uptimeMs":1,"intervalMs":1000,"process":{"state":"absent"}"#;
    let newer = format!(r#"{{"version":99,"brokerId":1,{report}}}"#);
    let forged = format!(r#"{{"version":1,"brokerId":1,{report}}}"#);
    let stranger = format!(r#"{{"version":1,"brokerId":999999,{report}}}"#);
    let nan = r#"{"version":1,"brokerId":1,"cpu":{"percent":NaN}}"#;
    let kinds: [(&str, &[u8]); 9] = [
        ("1", &[0xff, 0x00, 0xfe, 0x80]),
        ("1", b""),
        ("1", b"{}"),
        ("1", nan.as_bytes()),
        ("1", deep.as_bytes()),
        ("1", newer.as_bytes()),
        ("2", forged.as_bytes()),
        ("999999", stranger.as_bytes()),
        ("1", b"null"),
    ];
    let begin = Instant::now();
    let mut sent = 0;
    while begin.elapsed() < time {
        for (key, value) in kinds {
            producer.send(BaseRecord::to("_doctor_metrics").key(key).payload(value)).unwrap();
            sent += 1;
        }
        if sent % 900 == 0 {
            producer.send(BaseRecord::to("_doctor_metrics").key("1").payload(&huge)).unwrap();
            sent += 1;
        }
        std::thread::sleep(Duration::from_millis(8));
    }
    producer.flush(Duration::from_secs(20)).unwrap();
    sent
}
