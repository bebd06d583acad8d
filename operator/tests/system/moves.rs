//! Data moves: a broker that is lost for good is healed, returns empty and is refilled, is drained, and another is demoted,
//! while a producer that checks everything goes on.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use doctorkafka_kafka::{Admin, ClusterAdmin, ConfigResource, Connection, TopicInfo};
use doctorkafka_testbed::wait_until;
use doctorkafka_wire::{ActionKind, ActionRecord, BrokerId, Outcome};

use crate::{
    treatment::{PARTITIONS, check, ends, produce},
    world::{Doctor, World},
};

/// Every treatment has to have ended by then, on a machine however busy.
const LIMIT: Duration = Duration::from_secs(150);

fn admin(world: &World) -> Admin {
    Admin::new(Connection::new(&world.kafka.bootstrap(), "test").unwrap())
}

pub async fn topics(world: &World) -> Vec<TopicInfo> {
    admin(world).topics(None).await.unwrap_or_default()
}

/// How many replicas a broker holds, and how many partitions it leads; `None` unless all partitions were told and every one
/// of them has all its replicas, on as many brokers, in sync and led.
pub async fn whole(world: &World, id: i32) -> Option<(usize, usize)> {
    let topics = topics(world).await;
    let partitions: Vec<_> = topics.iter().flat_map(|topic| &topic.partitions).collect();
    let sound = |p: &&doctorkafka_kafka::PartitionInfo| {
        let brokers: BTreeSet<_> = p.replicas.iter().collect();
        brokers.len() == p.replicas.len() && p.isr.len() == p.replicas.len() && p.leader.is_some()
    };
    let orders = topics.iter().find(|topic| topic.name == "orders")?;
    // Every broker has a rack of its own, so that as many brokers are as many racks.
    let complete = orders.partitions.iter().all(|partition| partition.replicas.len() == 3);
    if !complete || !partitions.iter().all(sound) {
        return None;
    }
    let id = BrokerId(id);
    let holds = partitions.iter().filter(|partition| partition.replicas.contains(&id)).count();
    Some((holds, partitions.iter().filter(|partition| partition.leader == Some(id)).count()))
}

/// Waits until the cluster is whole and what the broker holds and leads is as it should be; gives how long that took.
pub async fn until(world: &World, what: &str, id: i32, right: impl Fn(usize, usize) -> bool) -> Duration {
    let begin = Instant::now();
    wait_until(what, LIMIT, || async {
        whole(world, id).await.is_some_and(|(holds, leads)| right(holds, leads))
    })
    .await
    .unwrap();
    eprintln!("{what}: after {:?}", begin.elapsed());
    begin.elapsed()
}

/// Waits until no broker and no topic has a throttle.
pub async fn until_unthrottled(world: &World, brokers: &[i32]) {
    let what = "throttles to be gone";
    wait_until(what, Duration::from_secs(30), || is_unthrottled(world, brokers)).await.unwrap();
}

async fn is_unthrottled(world: &World, brokers: &[i32]) -> bool {
    let topics = topics(world).await.into_iter().map(|topic| ConfigResource::Topic(topic.name));
    let brokers = brokers.iter().map(|id| ConfigResource::Broker(BrokerId(*id)));
    let resources: Vec<ConfigResource> = topics.chain(brokers).collect();
    let configs = ClusterAdmin::configs(&admin(world), &resources).await.unwrap();
    configs.len() == resources.len()
        && configs.values().flat_map(|values| values.keys()).all(|name| !name.contains("throttled"))
}

/// Waits until the last treatment of this remedy has ended: what people ask for next would cancel it.
pub async fn until_ended(world: &World, remedy: &str) {
    let what = format!("the treatment {remedy} to end");
    let has_ended = |actions: &[ActionRecord]| {
        let whole =
            || actions.iter().filter(|a| a.kind == ActionKind::ReassignPartitions && a.step.is_none());
        let is_of = |a: &&ActionRecord| {
            let plan = a.treatment.as_ref().and_then(|detail| detail.plan.as_ref());
            a.outcome == Some(Outcome::Intended) && plan.is_some_and(|plan| plan.cause.reason == remedy)
        };
        let ends = |begun: &ActionRecord| whole().rfind(|a| a.digest == begun.digest) != Some(begun);
        whole().rfind(is_of).is_some_and(ends)
    };
    world.actions_until(&what, has_ended).await;
}

fn policy(world: &World, more: &str) -> PathBuf {
    world.policy(&format!(
        "{{}}\n  mode: Auto\n  remedies: {{brokerFailure: {{healAfter: 5s}}}}\n  \
         limits: {{cooldown: 5s, replicationThrottle: 100MB/s, movesPerBroker: 10, movesPerCluster: 40, maxDisk: 98}}{more}"
    ))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_broker_is_healed_refilled_and_drained_and_another_demoted() {
    let mut world = World::of(4, &[1, 2, 3, 4]).await;
    world.kafka.create_topic("payments", 24, 2).await.unwrap();
    let doctor = Doctor::start("doctor", &policy(&world, ""), world.folder.path());
    doctor.until_leading().await;
    doctor.until_healthy(4).await;
    let stop = Arc::new(AtomicBool::new(false));
    let writing = tokio::spawn(produce(world.kafka.bootstrap(), stop.clone()));
    until(&world, "everything to be in place", 4, |holds, _| holds > 0).await;

    world.kill_sidecar(4).await;
    world.kafka.kill(4).await.unwrap();
    until(&world, "the lost broker to be healed", 4, |holds, _| holds == 0).await;
    until_ended(&world, "BrokerFailure").await;
    until_unthrottled(&world, &[1, 2, 3]).await;

    // It comes back with an empty disk.
    for entry in std::fs::read_dir(world.kafka.broker(4).log_dir()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            std::fs::remove_dir_all(path).unwrap();
        }
    }
    world.kafka.start(4).await.unwrap();
    world.start_sidecar(4);
    until(&world, "the returned broker to be refilled", 4, |holds, leads| holds >= 12 && leads > 0).await;
    until_ended(&world, "Refill").await;

    policy(&world, "\n  drain: {brokers: [4]}");
    until(&world, "the broker to be drained", 4, |holds, _| holds == 0).await;
    until_ended(&world, "Drain").await;
    policy(&world, "\n  drain: {brokers: [4]}\n  demote: {brokers: [1]}");
    until(&world, "the other to be demoted", 1, |holds, leads| holds > 0 && leads == 0).await;
    until_ended(&world, "Demotion").await;
    policy(&world, "\n  drain: {brokers: [4]}");
    until(&world, "it to lead again", 1, |_, leads| leads > 0).await;
    until_ended(&world, "LeadershipReturn").await;

    stop.store(true, Ordering::Relaxed);
    let written = writing.await.unwrap();
    assert_eq!(written.len(), usize::try_from(PARTITIONS).unwrap());
    let actions = world.actions().await;
    assert!(ends(&actions).len() >= 5, "{actions:#?}");
    assert!(ends(&actions).iter().all(|end| *end == Outcome::Done), "{:?}", ends(&actions));
    until_unthrottled(&world, &[1, 2, 3, 4]).await;
    // What was begun last was to make what is now.
    let begun = actions.iter().filter(|a| a.step.is_none() && a.outcome == Some(Outcome::Intended));
    let last = begun.filter_map(|a| a.treatment.as_ref()?.plan.as_ref()).next_back().unwrap();
    let now = topics(&world).await;
    for change in &last.changes {
        let topic = now.iter().find(|topic| topic.name == change.topic).unwrap();
        let partition = topic.partitions.iter().find(|p| p.partition == change.partition).unwrap();
        assert_eq!(partition.replicas, change.to, "{}-{}", change.topic, change.partition);
    }
    let bootstrap = world.kafka.bootstrap();
    tokio::task::spawn_blocking(move || check(&bootstrap, &written)).await.unwrap();
}
