//! A full disk is relieved by moving replicas, under a throttle.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use doctorkafka_kafka::{Admin, ClusterAdmin, ConfigResource, Connection};
use doctorkafka_testbed::KafkaCluster;
use doctorkafka_wire::{ActionKind, ActionRecord, BrokerId, Outcome};
use tokio::task::JoinHandle;

use crate::{
    approval::assignment,
    casualties::fill,
    moves::{until_ended, until_unthrottled},
    treatment::ends,
    world::{Doctor, World, state_of},
};

const BROKERS: i32 = 4;
/// No controller: its log of metadata could not be written any more.
const FULL: i32 = 4;
const PARTITIONS: i32 = 32;
/// Bytes in each partition; every broker has as many of them.
const SIZE: usize = 2_000_000;
/// Bytes of disks: with 16 of the partitions, a little under nine tenths are used, and a third.
const SMALL: u64 = 37_000_000;
const LARGE: u64 = 100_000_000;
/// Bytes a second, and the same as policies have it.
const THROTTLE: (u64, &str) = (1_000_000, "1MB/s");

/// Names of settings and their values.
type Settings = BTreeSet<(String, String)>;

/// What is seen of throttles while data moves.
fn watch_throttles(world: &World) -> (Arc<Mutex<Settings>>, JoinHandle<()>) {
    let admin = Admin::new(Connection::new(&world.kafka.bootstrap(), "test").unwrap());
    let seen = Arc::<Mutex<Settings>>::default();
    let noted = Arc::clone(&seen);
    let task = tokio::spawn(async move {
        let resources = [ConfigResource::Broker(BrokerId(FULL)), ConfigResource::Topic("archive".into())];
        loop {
            if let Ok(running) = admin.reassignments().await
                && running.iter().any(|it| it.at.topic == "archive")
                && let Ok(configs) = ClusterAdmin::configs(&admin, &resources).await
            {
                let values = configs.into_values().flatten();
                noted.lock().unwrap().extend(values.filter(|(name, _)| name.contains("throttled")));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    (seen, task)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_relieved_by_moving_replicas_under_a_throttle() {
    if !KafkaCluster::has_disks().await {
        eprintln!("not tried: no file system may be mounted here, not even in a namespace");
        return;
    }
    let kafka = KafkaCluster::builder()
        .brokers(BROKERS)
        // A throttle may be exceeded for as long as its window, which is 11 s unless said otherwise.
        .property("replication.quota.window.num", "2")
        // What was moved is there for a minute longer, unless said otherwise.
        .property("log.segment.delete.delay.ms", "500");
    let disk = |id| if id == FULL { SMALL } else { LARGE };
    let kafka = (1..=BROKERS).fold(kafka, |kafka, id| kafka.disk_of(id, disk(id)));
    let world = World::on(kafka.start().await.unwrap(), &[1, 2, 3, 4]).await;
    // A ring: every broker leads as many as it follows.
    let ring = |partition| vec![partition % BROKERS + 1, (partition + 1) % BROKERS + 1];
    world.kafka.place_topic("archive", &(0..PARTITIONS).map(ring).collect::<Vec<_>>()).await.unwrap();
    let bootstrap = world.kafka.bootstrap();
    tokio::task::spawn_blocking(move || fill(&bootstrap, "archive", PARTITIONS, SIZE)).await.unwrap();
    let before = assignment(&world).await;

    let policy = world.policy(&format!(
        "{{disk: {{overloadedAbove: 85, recoveredBelow: 75, sustainedFor: 2s}}}}\n  mode: Auto\n  \
         limits: {{cooldown: 5s, replicationThrottle: {}, movesPerBroker: 10, maxDisk: 80}}",
        THROTTLE.1
    ));
    let doctor = Doctor::start("doctor", &policy, world.folder.path());
    let (throttles, watching) = watch_throttles(&world);
    doctor.until_leading().await;
    doctor.until_state(FULL, "Overloaded", 60).await;
    assert_eq!(state_of(&doctor.watch.newest(), FULL).1, "DiskAbove");
    let begin = Instant::now();
    doctor.until_state(FULL, "Healthy", 120).await;
    eprintln!("relieved after {:.1?}", begin.elapsed());
    until_ended(&world, "ReplicaRelief").await;
    watching.abort();

    let actions = world.actions().await;
    assert_eq!(ends(&actions), [Outcome::Done], "one treatment is enough: {actions:#?}");
    let whole = || actions.iter().filter(|a| a.kind == ActionKind::ReassignPartitions && a.step.is_none());
    let about = |outcome| whole().find(|a: &&ActionRecord| a.outcome == Some(outcome)).unwrap();
    let (begun, ended) = (about(Outcome::Intended), about(Outcome::Done));
    let plan = begun.treatment.as_ref().unwrap().plan.as_ref().unwrap();
    // Data went from the full broker to others, and nothing else was touched.
    let ids = |brokers: &[BrokerId]| brokers.iter().map(|id| id.0).collect::<Vec<_>>();
    let mut planned = before;
    let mut bytes = 0;
    for change in &plan.changes {
        assert!(change.from.contains(&BrokerId(FULL)) && !change.to.contains(&BrokerId(FULL)), "{change:?}");
        assert_eq!((change.topic.as_str(), change.from.len()), ("archive", change.to.len()));
        planned.insert((change.topic.clone(), change.partition), ids(&change.to)).unwrap();
        bytes += change.bytes;
    }
    // The doctor's own topics came later.
    let mut after = assignment(&world).await;
    after.retain(|at, _| planned.contains_key(at));
    assert_eq!(after, planned);
    eprintln!("{} replicas, {bytes} bytes", plan.changes.len());
    // It was throttled while data moved, at both ends, and is not any more.
    let rate = THROTTLE.0.to_string();
    let seen = throttles.lock().unwrap().clone();
    for side in ["leader", "follower"] {
        let setting = (format!("{side}.replication.throttled.rate"), rate.clone());
        assert!(seen.contains(&setting), "{seen:?}");
        let replicas = format!("{side}.replication.throttled.replicas");
        assert!(seen.iter().any(|(name, value)| *name == replicas && value.contains(":4")), "{seen:?}");
    }
    until_unthrottled(&world, &[1, 2, 3, 4]).await;
    // Kafka lets through what fits into two seconds at once; after that the busiest destination is the slowest.
    let to = |id: i32| {
        let comes = plan
            .changes
            .iter()
            .filter(|it| it.to.contains(&BrokerId(id)) && !it.from.contains(&BrokerId(id)));
        comes.map(|it| it.bytes).sum::<u64>()
    };
    let most = (1..=BROKERS).map(to).max().unwrap();
    let took = ended.time.duration_since(begun.time).as_secs_f64();
    let least = most as f64 / THROTTLE.0 as f64 - 4.0;
    eprintln!("{most} bytes into one broker in {took:.1} s");
    assert!(took > least, "{most} bytes came to one broker in {took:.1} s");
}
