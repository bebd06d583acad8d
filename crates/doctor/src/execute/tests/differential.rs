//! The simulated cluster is held against a real one: the same calls in the same order, and after each the same answer, and
//! the same replicas, in-sync replicas, leaders and reassignments under way.

use std::time::Duration;

use doctorkafka_kafka::{
    Admin, ClusterAdmin, ConfigChange, Connection, PartitionOutcome, ReassignmentChange, TopicPartition,
};
use doctorkafka_testbed::{KafkaCluster, KafkaVersion, wait_until};

use super::*;
use crate::execute::throttle::FOLLOWER_REPLICAS;

const TOPIC: &str = "compared";
const BROKERS: i32 = 4;

/// Replicas of each partition at the beginning.
const BEFORE: [&[i32]; 5] = [&[1, 2], &[2, 3, 4], &[3, 1, 2], &[4], &[1, 3]];

/// Kafka has so long to become what the simulation says it will.
const EVENTUALLY: Duration = Duration::from_secs(45);

/// Virtual time after each call: enough for everything that a cluster does by itself.
const SETTLED: Duration = Duration::from_secs(20);

const SEED: u64 = 7;
const CALLS: usize = 60;

/// Something that is done to both.
#[derive(Debug, Clone)]
enum Call {
    Reassign(i32, Option<Vec<i32>>),
    Elect(i32),
    /// Names a replica of partition 0 in the topic's list of throttled ones, or takes the list away.
    Throttle(Option<i32>),
    Kill(i32),
    Start(i32),
}

/// The calls of a seed. A broker is down for two stretches, in which reassignments to it stay under way, to be cancelled,
/// superseded or completed when it is back.
fn calls(seed: u64) -> Vec<Call> {
    let mut chance = fastrand::Rng::with_seed(seed);
    let down = [chance.i32(1..=BROKERS), chance.i32(1..=BROKERS)];
    let call = |n: usize| match n {
        15 => Call::Kill(down[0]),
        32 => Call::Start(down[0]),
        38 => Call::Kill(down[1]),
        55 => Call::Start(down[1]),
        _ => {
            // One more than there are.
            let partition = chance.i32(0..=BEFORE.len() as i32);
            match chance.u8(0..10) {
                0..=4 => {
                    let mut ring: Vec<i32> = (1..=BROKERS).collect();
                    chance.shuffle(&mut ring);
                    let factor = BEFORE.get(usize::try_from(partition).unwrap()).map_or(2, |it| it.len());
                    // Now and then one that Kafka refuses.
                    ring.truncate(if chance.u8(0..12) == 0 { factor + 1 } else { factor });
                    if chance.u8(0..12) == 0 {
                        ring[0] = 9;
                    }
                    Call::Reassign(partition, Some(ring))
                }
                5 | 6 => Call::Reassign(partition, None),
                7 | 8 => Call::Elect(partition),
                _ => Call::Throttle(chance.choice([None, Some(1), Some(2)]).flatten()),
            }
        }
    };
    (0..CALLS).map(call).collect()
}

fn at(partition: i32) -> TopicPartition {
    TopicPartition { topic: TOPIC.to_owned(), partition }
}

/// What is compared of a partition: replicas, in-sync replicas, leader, and what is being added and removed.
type Shape = (Vec<i32>, Vec<i32>, Option<i32>, Vec<i32>, Vec<i32>);

/// The partitions, and the topic's list of throttled replicas.
type Sight = (BTreeMap<i32, Shape>, Option<String>);

async fn sight(admin: &impl ClusterAdmin) -> Option<Sight> {
    let topic = ConfigResource::Topic(TOPIC.to_owned());
    let configs = admin.configs(std::slice::from_ref(&topic)).await.ok()?;
    Some((shapes(admin).await?, configs.get(&topic)?.get(FOLLOWER_REPLICAS).cloned()))
}

async fn shapes(admin: &impl ClusterAdmin) -> Option<BTreeMap<i32, Shape>> {
    let numbers = |ids: &[BrokerId]| ids.iter().map(|id| id.0).collect::<Vec<_>>();
    let running = admin.reassignments().await.ok()?;
    let topic = admin.partitions(Some(&[TOPIC])).await.ok()?.into_iter().next()?;
    let shape = |partition: doctorkafka_kafka::PartitionInfo| {
        let running = running.iter().find(|running| running.at == at(partition.partition));
        let mut isr = numbers(&partition.isr);
        isr.sort_unstable();
        if partition.leader.is_none() {
            // With eligible leader replicas (KIP-966) the last one is not kept in the ISR, as the simulation still does.
            isr.clear();
        }
        let adding = running.map(|running| numbers(&running.adding)).unwrap_or_default();
        let removing = running.map(|running| numbers(&running.removing)).unwrap_or_default();
        let leader = partition.leader.map(|leader| leader.0);
        (partition.partition, (numbers(&partition.replicas), isr, leader, adding, removing))
    };
    Some(topic.partitions.into_iter().map(shape).collect())
}

/// Kafka's names of what it refused.
fn codes(outcomes: Vec<PartitionOutcome>) -> Vec<Option<String>> {
    outcomes.into_iter().map(|outcome| outcome.result.err().map(|error| error.code)).collect()
}

/// Makes a call of the admin interface. Gives what was refused.
async fn make(admin: &impl ClusterAdmin, call: &Call) -> Vec<Option<String>> {
    match call {
        Call::Reassign(partition, replicas) => {
            let replicas = replicas.as_deref().map(ids);
            codes(admin.reassign(&[ReassignmentChange { at: at(*partition), replicas }]).await.unwrap())
        }
        Call::Elect(partition) => codes(admin.elect_preferred(&[at(*partition)]).await.unwrap()),
        Call::Throttle(broker) => {
            let resource = ConfigResource::Topic(TOPIC.to_owned());
            let value = broker.map(|broker| format!("0:{broker}"));
            let change = ConfigChange { resource, values: [(FOLLOWER_REPLICAS.to_owned(), value)].into() };
            admin.alter_configs(&[change]).await.unwrap();
            Vec::new()
        }
        Call::Kill(_) | Call::Start(_) => Vec::new(),
    }
}

#[tokio::test]
async fn the_simulation_does_what_kafka_does() {
    let seed = std::env::var("DOCTORKAFKA_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(SEED);
    println!("seed {seed}; another with DOCTORKAFKA_SEED");
    let kafka = KafkaCluster::builder().version(KafkaVersion::V4_3_1).brokers(BROKERS);
    let kafka = kafka.property("auto.leader.rebalance.enable", "false");
    let kafka = kafka.property("broker.session.timeout.ms", "3000").start().await.unwrap();
    let connection = Connection::new(&kafka.bootstrap(), "test").unwrap();
    let real = Admin::new(connection).with_timeout(Duration::from_secs(30));
    kafka.create_topic(TOPIC, BEFORE.len() as i32, 1).await.unwrap();
    let mut world = World::new(BROKERS);
    world.topic(TOPIC, 1, 1, &BEFORE.map(|replicas| (replicas, 0.0)));
    let cluster = SimCluster::new(world);
    let simulated = SimAdmin { cluster: cluster.clone(), faults: Faults::default() };
    place(&kafka, &real).await;

    for (number, call) in calls(seed).into_iter().enumerate() {
        match call {
            Call::Kill(id) => {
                kafka.kill(id).await.unwrap();
                cluster.world().kill(id);
            }
            Call::Start(id) => {
                kafka.start(id).await.unwrap();
                cluster.world().revive(id);
            }
            _ => {
                let (theirs, ours) = (make(&real, &call).await, make(&simulated, &call).await);
                assert_eq!(ours, theirs, "seed {seed}, {number}: {call:?} is answered otherwise");
            }
        }
        cluster.world().advance(SETTLED);
        let ours = sight(&simulated).await.unwrap();
        let same = wait_until("the same", EVENTUALLY, || async {
            (sight(&real).await.as_ref() == Some(&ours)).then_some(())
        });
        if same.await.is_err() {
            let theirs = sight(&real).await;
            panic!("seed {seed}, {number}: after {call:?}\nsimulated {ours:?}\nreal      {theirs:?}");
        }
    }
    assert_eq!(cluster.world().violations, Vec::<String>::new());
}

/// Brings the partitions of the real topic to where those of the simulation are. A topic is made with one replica of each,
/// and only Kafka's own tool changes that: our calls keep replication factors.
async fn place(kafka: &KafkaCluster, real: &Admin) {
    let partition = |(number, replicas): (usize, &&[i32])| serde_json::json!({"topic": TOPIC, "partition": number, "replicas": replicas});
    let partitions: Vec<_> = BEFORE.iter().enumerate().map(partition).collect();
    let plan = serde_json::json!({"version": 1, "partitions": partitions});
    let file = std::env::temp_dir().join(format!("doctorkafka-{}.json", kafka.cluster_id()));
    std::fs::write(&file, plan.to_string()).unwrap();
    let mut tool = kafka.tool("org.apache.kafka.tools.reassign.ReassignPartitionsCommand");
    let arguments = ["--bootstrap-server", &kafka.bootstrap(), "--execute", "--reassignment-json-file"];
    let output = tool.args(arguments).arg(&file).output().await.unwrap();
    std::fs::remove_file(&file).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let placed = |shape: &BTreeMap<i32, Shape>| {
        (0..).zip(BEFORE).all(|(number, replicas)| {
            let (now, isr, ..) = &shape[&number];
            now == replicas && isr.len() == replicas.len()
        })
    };
    wait_until("the topic", EVENTUALLY, || async { shapes(real).await.filter(placed) }).await.unwrap();
    let all: Vec<TopicPartition> = (0..BEFORE.len() as i32).map(at).collect();
    real.elect_preferred(&all).await.unwrap();
    let led = |shape: &BTreeMap<i32, Shape>| {
        shape.values().all(|(now, _, leader, ..)| now.first().copied() == *leader)
    };
    wait_until("the leaders", EVENTUALLY, || async { shapes(real).await.filter(led) }).await.unwrap();
}
