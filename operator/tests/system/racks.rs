//! Six brokers in three racks that they share, sixty topics, a steady producer and consumer: relief of a hot broker and its
//! undo, a broker lost for good, and its return.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use doctorkafka_kafka::{PartitionInfo, TopicInfo};
use doctorkafka_testbed::{KafkaCluster, wait_until};
use doctorkafka_wire::{BrokerId, Outcome};
use futures::{StreamExt, TryStreamExt, stream};

use crate::{
    approval::{Assignment, assignment},
    diagnosis::Reporter,
    moves::{topics, until_ended, until_unthrottled},
    traffic::{InSync, Traffic},
    treatment::{ends, keep_reporting},
    world::{Doctor, World},
};

const RACKS: [&str; 3] = ["a", "b", "c"];
const BROKERS: i32 = 6;

/// Beside `orders`, which every cluster of these tests has.
const TOPICS: usize = 59;
const PARTITIONS: i32 = 2;

const HOT: i32 = 2;
/// The other broker in the rack of [`HOT`]; no controller.
const LOST: i32 = 5;

/// The whole cluster, when every partition has all its replicas, in sync, in as many racks as there can be, and a leader.
async fn sound(world: &World) -> Option<Vec<PartitionInfo>> {
    let topics: Vec<TopicInfo> = topics(world).await;
    let partitions: Vec<_> = topics.into_iter().flat_map(|topic| topic.partitions).collect();
    let is_sound = |p: &PartitionInfo| {
        let rack = |id: &BrokerId| (id.0 - 1).rem_euclid(3);
        let racks: BTreeSet<i32> = p.replicas.iter().map(rack).collect();
        p.isr.len() == p.replicas.len() && racks.len() == p.replicas.len().min(3) && p.leader.is_some()
    };
    (!partitions.is_empty() && partitions.iter().all(is_sound)).then_some(partitions)
}

/// Waits until the cluster is sound and what the broker holds and leads is as it should be.
async fn until(world: &World, what: &str, id: i32, right: impl Fn(usize, usize) -> bool) -> (usize, usize) {
    let (begin, id) = (Instant::now(), BrokerId(id));
    let waited = wait_until(what, Duration::from_secs(180), || async {
        let partitions = sound(world).await?;
        let holds = partitions.iter().filter(|p| p.replicas.contains(&id)).count();
        let leads = partitions.iter().filter(|p| p.leader == Some(id)).count();
        right(holds, leads).then_some((holds, leads))
    });
    let (holds, leads) = match waited.await {
        Ok(found) => found,
        Err(error) => panic!("{error}\n{:#?}", world.actions().await),
    };
    eprintln!("{what}: after {:.1?}; broker {id} holds {holds} and leads {leads}", begin.elapsed());
    (holds, leads)
}

/// How many of its replicas a broker is the first of: what it leads when all is as preferred.
fn preferred(assignment: &Assignment, id: i32) -> usize {
    assignment.values().filter(|replicas| replicas.first() == Some(&id)).count()
}

async fn cluster() -> (World, Vec<(String, i32)>) {
    let kafka = KafkaCluster::builder().brokers(BROKERS).racks(&RACKS).property("min.insync.replicas", "2");
    let world = World::on(kafka.start().await.unwrap(), &[1, 3, 4, 5, 6]).await;
    let mut named: Vec<(String, i32)> =
        (0..TOPICS).map(|number| (format!("topic-{number}"), PARTITIONS)).collect();
    let create = |(name, partitions): &(String, i32)| {
        let (name, partitions, kafka) = (name.clone(), *partitions, &world.kafka);
        async move { kafka.create_topic(&name, partitions, 3).await }
    };
    stream::iter(&named).map(create).buffer_unordered(6).try_collect::<Vec<()>>().await.unwrap();
    named.push(("orders".to_owned(), 12));
    (world, named)
}

#[tokio::test(flavor = "multi_thread")]
async fn in_shared_racks_a_hot_broker_is_relieved_and_a_lost_one_healed_and_refilled() {
    let (mut world, named) = cluster().await;
    let policy = world.policy(
        "{}\n  mode: Auto\n  remedies: {brokerFailure: {healAfter: 5s}}\n  \
         limits: {cooldown: 5s, replicationThrottle: 100MB/s, movesPerBroker: 20, movesPerCluster: 60, maxDisk: 98}",
    );
    let doctor = Doctor::start("doctor", &policy, world.folder.path());
    doctor.until_leading().await;
    let (cpu, reporting) = keep_reporting(Reporter::new(&world, HOT), 40.0);
    doctor.until_healthy(BROKERS).await;
    let traffic = Traffic::start(&world, &named);
    let in_sync = InSync::watch(&world, &named);
    let (held, led) = until(&world, "everything to be in place", HOT, |_, leads| leads > 0).await;
    let before = assignment(&world).await;

    *cpu.lock().unwrap() = 95.2;
    let overloaded = doctor.until_state(HOT, "Overloaded", 30).await;
    until(&world, "the hot broker to be relieved", HOT, |holds, leads| holds == held && leads < led).await;
    let took = overloaded.elapsed();
    eprintln!("relieved {took:.1?} after the diagnosis");
    // Within 5 s when nobody else wants the machine.
    assert!(took < Duration::from_secs(20), "relieved {took:?} after the diagnosis");
    *cpu.lock().unwrap() = 41.0;
    doctor.until_state(HOT, "Healthy", 30).await;
    let all = preferred(&before, HOT);
    until(&world, "the leaderships to be back", HOT, |_, leads| leads >= all).await;
    until_ended(&world, "LeadershipReturn").await;
    assert_eq!(assignment(&world).await, before);
    reporting.abort();
    world.start_sidecar(HOT);
    doctor.until_healthy(BROKERS).await;

    world.kill_sidecar(LOST).await;
    world.kafka.kill(LOST).await.unwrap();
    until(&world, "the lost broker to be healed", LOST, |holds, _| holds == 0).await;
    until_ended(&world, "BrokerFailure").await;
    for entry in std::fs::read_dir(world.kafka.broker(LOST).log_dir()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            std::fs::remove_dir_all(path).unwrap();
        }
    }
    world.kafka.start(LOST).await.unwrap();
    world.start_sidecar(LOST);
    until(&world, "the returned broker to be refilled", LOST, |holds, leads| holds >= held / 2 && leads > 0)
        .await;
    until_ended(&world, "Refill").await;

    let actions = world.actions().await;
    assert!(ends(&actions).iter().all(|end| *end == Outcome::Done), "{actions:#?}");
    let factors = |of: &Assignment| of.iter().map(|(at, ids)| (at.clone(), ids.len())).collect::<Vec<_>>();
    assert_eq!(factors(&assignment(&world).await), factors(&before));
    until_unthrottled(&world, &[1, 2, 3, 4, 5, 6]).await;
    in_sync.never_less_than(2);
    assert!(traffic.stop().await > 1_000);
}
