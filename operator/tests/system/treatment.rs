//! A hot broker is relieved of leaderships, and gets them back, while a producer that checks everything goes on.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use doctorkafka_kafka::{Admin, Connection, TopicInfo};
use doctorkafka_testbed::wait_until;
use doctorkafka_wire::{ActionKind, ActionRecord, BrokerId, Outcome};
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    producer::{FutureProducer, FutureRecord},
};

use tokio::task::JoinHandle;

use crate::{
    diagnosis::Reporter,
    world::{Doctor, World, of_kind, state_of},
};

pub const PARTITIONS: i32 = 12;

async fn orders(world: &World) -> TopicInfo {
    let admin = Admin::new(Connection::new(&world.kafka.bootstrap(), "test").unwrap());
    admin.topics(Some(&["orders"])).await.unwrap().remove(0)
}

fn replicas(topic: &TopicInfo) -> Vec<Vec<BrokerId>> {
    topic.partitions.iter().map(|partition| partition.replicas.clone()).collect()
}

fn leads(topic: &TopicInfo, id: i32) -> usize {
    topic.partitions.iter().filter(|partition| partition.leader == Some(BrokerId(id))).count()
}

/// Writes numbered records to every partition, with acks=all, until it is told to stop; gives how many of each.
pub async fn produce(bootstrap: String, stop: Arc<AtomicBool>) -> BTreeMap<i32, u64> {
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("enable.idempotence", "true")
        .set("message.timeout.ms", "60000")
        .create()
        .unwrap();
    let mut written = BTreeMap::new();
    while !stop.load(Ordering::Relaxed) {
        for partition in 0..PARTITIONS {
            let number = written.entry(partition).or_insert(0_u64);
            let payload = number.to_string();
            let record = FutureRecord::<(), _>::to("orders").partition(partition).payload(&payload);
            producer.send(record, Duration::from_secs(60)).await.unwrap();
            *number += 1;
        }
    }
    written
}

/// Reads all of it: nothing lost, nothing twice, nothing out of order.
pub fn check(bootstrap: &str, written: &BTreeMap<i32, u64>) {
    let consumer: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", bootstrap).set("group.id", "check").create().unwrap();
    let mut all = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        all.add_partition_offset("orders", partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&all).unwrap();
    let mut read: BTreeMap<i32, u64> = BTreeMap::new();
    let begin = Instant::now();
    while read != *written {
        assert!(begin.elapsed() < Duration::from_secs(60), "read {read:?} of {written:?}");
        let Some(Ok(message)) = consumer.poll(Duration::from_millis(200)) else { continue };
        let number = read.entry(message.partition()).or_insert(0);
        assert_eq!(
            message.payload().unwrap(),
            number.to_string().as_bytes(),
            "partition {}",
            message.partition()
        );
        *number += 1;
    }
}

/// Reports a CPU that can be changed, once a second until it is aborted.
pub fn keep_reporting(mut reporter: Reporter, cpu: f64) -> (Arc<Mutex<f64>>, JoinHandle<()>) {
    let cpu = Arc::new(Mutex::new(cpu));
    let now = cpu.clone();
    let task = tokio::spawn(async move {
        loop {
            let cpu = *now.lock().unwrap();
            reporter.report(cpu, 1).await;
        }
    });
    (cpu, task)
}

/// Waits until broker 2 leads fewer partitions than it did.
async fn until_relieved(world: &World, before: &TopicInfo) {
    wait_until("leaderships to leave broker 2", Duration::from_secs(60), || async {
        leads(&orders(world).await, 2) < leads(before, 2)
    })
    .await
    .unwrap();
}

/// The records that end treatments, with their outcome.
pub fn ends(actions: &[ActionRecord]) -> Vec<Outcome> {
    let whole = actions.iter().filter(|a| a.kind == ActionKind::ReassignPartitions && a.step.is_none());
    whole.filter_map(|a| a.outcome).filter(|o| !matches!(o, Outcome::Proposed | Outcome::Intended)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hot_broker_hands_leaderships_over_and_gets_them_back() {
    let world = World::start(&[1, 3]).await;
    let policy = world.policy("{}\n  remedies: {leadership: {mode: Auto}}\n  limits: {cooldown: 5s}");
    let doctor = Doctor::start("doctor", &policy, world.folder.path());
    doctor.until_leading().await;
    let mut reporter = Reporter::new(&world, 2);
    reporter.report(40.0, 4).await;
    doctor.until_all_healthy().await;
    let before = orders(&world).await;
    assert!(leads(&before, 2) > 0);

    let stop = Arc::new(AtomicBool::new(false));
    let writing = tokio::spawn(produce(world.kafka.bootstrap(), stop.clone()));
    let (cpu, reporting) = keep_reporting(reporter, 95.2);
    let overloaded = doctor.until_state(2, "Overloaded", 20).await;
    until_relieved(&world, &before).await;
    let took = overloaded.elapsed();
    assert!(took < Duration::from_secs(20), "relieved {took:?} after the diagnosis");
    eprintln!("relieved {took:?} after the diagnosis");

    *cpu.lock().unwrap() = 41.0;
    doctor.until_state(2, "Healthy", 20).await;
    wait_until("the leaderships to be back", Duration::from_secs(60), || async {
        let topic = orders(&world).await;
        replicas(&topic) == replicas(&before) && leads(&topic, 2) == leads(&before, 2)
    })
    .await
    .unwrap();
    let actions = world.actions_until("two treatments to end", |a| ends(a).len() >= 2).await;
    assert_eq!(ends(&actions), [Outcome::Done, Outcome::Done], "{actions:#?}");
    // Each step was intended before it was done, and each intent has its outcome.
    let steps = |outcome| actions.iter().filter(|a| a.step.is_some() && a.outcome == Some(outcome)).count();
    assert_eq!(steps(Outcome::Intended), steps(Outcome::Done), "{actions:#?}");
    assert!(!of_kind(&actions, ActionKind::ElectLeaders, Some(2)).is_empty());
    assert_eq!(state_of(&doctor.watch.newest(), 2).0, "Healthy");

    stop.store(true, Ordering::Relaxed);
    let written = writing.await.unwrap();
    reporting.abort();
    tokio::task::spawn_blocking({
        let bootstrap = world.kafka.bootstrap();
        move || check(&bootstrap, &written)
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_doctor_killed_in_the_middle_is_succeeded_and_nothing_is_done_twice() {
    let world = World::start(&[1, 3]).await;
    // No second treatment while this one is looked at.
    let policy = world.policy("{}\n  remedies: {leadership: {mode: Auto}}\n  limits: {cooldown: 10m}");
    let first = Doctor::start("first", &policy, world.folder.path());
    first.until_leading().await;
    let mut reporter = Reporter::new(&world, 2);
    reporter.report(40.0, 4).await;
    first.until_all_healthy().await;
    let (cpu, reporting) = keep_reporting(reporter, 40.0);
    let second = Doctor::start("second", &policy, world.folder.path());
    second.until_all_healthy().await;
    let before = orders(&world).await;

    *cpu.lock().unwrap() = 95.2;
    first.until_state(2, "Overloaded", 20).await;
    // The relief takes some 800 ms from here.
    first.watch.until("the treatment to be under way", 10, |report| !report["treatment"].is_null()).await;
    first.process.kill().await.unwrap();

    second.until_leading().await;
    until_relieved(&world, &before).await;
    let actions = world.actions_until("the treatment to end", |actions| !ends(actions).is_empty()).await;
    reporting.abort();
    assert_eq!(ends(&actions), [Outcome::Done], "{actions:#?}");
    let begun = |a: &&ActionRecord| {
        a.kind == ActionKind::ReassignPartitions && a.step.is_none() && a.digest.is_some()
    };
    let begun: Vec<_> =
        actions.iter().filter(begun).filter(|a| a.outcome == Some(Outcome::Intended)).collect();
    assert_eq!(begun.len(), 1, "begun once, by whichever doctor: {actions:#?}");
    assert!(actions.iter().map(|a| a.epoch).is_sorted(), "nothing of an older leader after a newer one");
    let done = orders(&world).await;
    for change in &begun[0].treatment.as_ref().unwrap().plan.as_ref().unwrap().changes {
        let partition = &done.partitions[usize::try_from(change.partition).unwrap()];
        assert_eq!((&partition.replicas, partition.leader), (&change.to, Some(change.to[0])), "as recorded");
    }
}
