//! Kafka's brokers die in the middle of moves: the treatment waits for them, or goes on, and ends as planned.

use std::time::Duration;

use doctorkafka_kafka::{Admin, ClusterAdmin, Connection, RunningReassignment};
use doctorkafka_testbed::{KafkaCluster, wait_until};
use doctorkafka_wire::{ActionKind, BrokerId, Outcome};
use rdkafka::{
    ClientConfig,
    producer::{BaseProducer, BaseRecord, Producer},
};

use crate::{
    approval::assignment,
    moves::{until, until_unthrottled},
    traffic::{InSync, Traffic},
    treatment::ends,
    world::{Doctor, World},
};

const PARTITIONS: i32 = 20;

/// Bytes in each partition: seconds of work at [`THROTTLE`], so that a broker can be killed in the middle.
const SIZE: usize = 2_000_000;
const THROTTLE: &str = "700kB/s";

fn admin(world: &World) -> Admin {
    Admin::new(Connection::new(&world.kafka.bootstrap(), "test").unwrap())
}

/// Fills every partition of a topic.
pub fn fill(bootstrap: &str, topic: &str, partitions: i32, bytes: usize) {
    const RECORD: usize = 50_000;
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("acks", "all")
        .set("linger.ms", "20")
        .create()
        .unwrap();
    let payload = vec![b'x'; RECORD];
    for _ in 0..bytes / RECORD {
        for partition in 0..partitions {
            let record = BaseRecord::<(), _>::to(topic).partition(partition).payload(&payload);
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        producer.poll(Duration::ZERO);
    }
    producer.flush(Duration::from_secs(60)).unwrap();
}

/// Waits until a partition with data is being copied.
pub async fn until_copying(world: &World, topic: &str) -> RunningReassignment {
    wait_until("data to be copied", Duration::from_secs(90), || async {
        let running = admin(world).reassignments().await.ok()?;
        running.into_iter().find(|it| it.at.topic == topic && !it.adding.is_empty())
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn brokers_that_die_in_the_middle_of_moves_delay_them_and_nothing_is_lost() {
    let kafka = KafkaCluster::builder().brokers(4).property("min.insync.replicas", "2");
    // A throttle may be exceeded for as long as its window, which is 11 s unless said otherwise.
    let kafka = kafka.property("replication.quota.window.num", "2").start().await.unwrap();
    let world = World::on(kafka, &[1, 2, 3, 4]).await;
    world.kafka.create_topic("payments", PARTITIONS, 3).await.unwrap();
    let bootstrap = world.kafka.bootstrap();
    tokio::task::spawn_blocking(move || fill(&bootstrap, "payments", PARTITIONS, SIZE)).await.unwrap();
    let policy = |more: &str| {
        world.policy(&format!(
            "{{}}\n  mode: Auto\n  limits: {{replicationThrottle: {THROTTLE}, movesPerBroker: 3, maxDisk: 98}}{more}"
        ))
    };
    let doctor = Doctor::start("doctor", &policy(""), world.folder.path());
    doctor.until_leading().await;
    doctor.until_healthy(4).await;
    let topics = [("orders".to_owned(), 12)];
    let traffic = Traffic::start(&world, &topics);
    let in_sync = InSync::watch(&world, &[("orders".to_owned(), 12), ("payments".to_owned(), PARTITIONS)]);
    until(&world, "everything to be in place", 4, |holds, _| holds > 0).await;
    let before = assignment(&world).await;

    policy("\n  drain: {brokers: [4]}");
    for role in ["destination", "controller", "source"] {
        let running = until_copying(&world, "payments").await;
        let victim = match role {
            "destination" => running.adding[0].0,
            "controller" => world.controller().await,
            _ => 4,
        };
        eprintln!(
            "killing broker {victim}, the {role}, while {:?} is copied to {:?}",
            running.at, running.adding
        );
        world.kafka.kill(victim).await.unwrap();
        doctor.until_state(victim, "Unhealthy", 30).await;
        let treatment = doctor.watch.newest()["treatment"].clone();
        assert!(
            !treatment.is_null(),
            "nothing is given up because a broker died: {:#?}",
            world.actions().await
        );
        eprintln!("meanwhile: {}", treatment["hold"]);
        world.kafka.start(victim).await.unwrap();
        doctor.until_state(victim, "Healthy", 60).await;
    }
    until(&world, "the broker to be drained", 4, |holds, _| holds == 0).await;
    let actions = world.actions_until("the treatment to end", |actions| !ends(actions).is_empty()).await;
    assert_eq!(ends(&actions), [Outcome::Done], "{actions:#?}");
    let begun = actions.iter().find(|a| {
        a.kind == ActionKind::ReassignPartitions && a.step.is_none() && a.outcome == Some(Outcome::Intended)
    });
    let plan = begun.unwrap().treatment.as_ref().unwrap().plan.as_ref().unwrap();
    let ids = |brokers: &[BrokerId]| brokers.iter().map(|id| id.0).collect::<Vec<_>>();
    let mut planned = before;
    for change in &plan.changes {
        planned.insert((change.topic.clone(), change.partition), ids(&change.to)).unwrap();
    }
    assert_eq!(assignment(&world).await, planned);
    until_unthrottled(&world, &[1, 2, 3, 4]).await;
    in_sync.never_less_than(2);
    assert!(traffic.stop().await > 100);
}
