//! The executor on a simulated cluster: every rule by itself, every crash, and what people ask for.

mod control;
mod crashes;
mod cruise_control;
mod differential;
mod disturbed;
mod random;
mod rules;
mod simulation;
mod throttles;

use std::{collections::BTreeMap, pin::pin};

use doctorkafka_kafka::ConfigResource;
use doctorkafka_wire::{BrokerId, PartitionChange, TreatmentCause};
use simulation::{Faults, SimAdmin, SimCluster, SimLog, World, poll};
use tokio::sync::watch;

use super::{Author, Control, Ended, Executor, Limits, OpenTreatment, Progress, Recovery, Task, Treatment};

/// Turns of one doctor, each with a look, until a test gives up.
const TURNS: usize = 20_000;

pub fn ids(brokers: &[i32]) -> Vec<BrokerId> {
    brokers.iter().copied().map(BrokerId).collect()
}

pub fn change(topic: &str, partition: i32, from: &[i32], to: &[i32]) -> PartitionChange {
    PartitionChange { topic: topic.to_owned(), partition, from: ids(from), to: ids(to), bytes: 8_000_000 }
}

pub fn treatment(changes: Vec<PartitionChange>, throttle: Option<u64>) -> Treatment {
    let cause = TreatmentCause {
        broker: Some(BrokerId(1)),
        reason: "CpuAbove".to_owned(),
        message: "CPU usage 95% > 80%".to_owned(),
    };
    Treatment::new(cause, changes, throttle).unwrap()
}

/// Six brokers, 27 partitions. One broker and one topic have throttle settings of somebody else.
pub fn cluster() -> World {
    let mut world = World::new(6);
    let three = |first: i32| [first, first % 6 + 1, (first + 1) % 6 + 1];
    let lists: Vec<[i32; 3]> = (0..24).map(|n| three(n % 6 + 1)).collect();
    let partitions = |lists: &[[i32; 3]]| {
        let with_size = |list: &[i32; 3]| (list.to_vec(), 8e6);
        lists.iter().map(with_size).collect::<Vec<_>>()
    };
    for (name, id, lists) in [("orders", 7, &lists[..12]), ("clicks", 8, &lists[12..])] {
        let owned = partitions(lists);
        let slices: Vec<(&[i32], f64)> =
            owned.iter().map(|(list, bytes)| (list.as_slice(), *bytes)).collect();
        world.topic(name, id, 2, &slices);
    }
    world.topic("single", 9, 1, &[(&[1], 5e6), (&[2], 5e6), (&[3], 5e6)]);
    set(&mut world, simulation::broker_config(2), "leader.replication.throttled.rate", "77000000");
    set(
        &mut world,
        ConfigResource::Topic("clicks".into()),
        "follower.replication.throttled.replicas",
        "0:1,9:9",
    );
    world
}

pub fn set(world: &mut World, resource: ConfigResource, name: &str, value: &str) {
    world.configs.entry(resource).or_default().insert(name.to_owned(), value.to_owned());
}

/// 22 moves and 3 changes of leadership over [`cluster`], throttled.
pub fn moves(world: &World) -> Treatment {
    let mut changes = Vec::new();
    for (at, partition) in world.partitions().filter(|(at, _)| at.topic != "single") {
        let mut to = partition.replicas.clone();
        let n = changes.len();
        if n >= 22 {
            to.rotate_left(1);
        } else {
            // The fourth broker round the ring takes the place of the last replica, or of the leader.
            let newcomer = (partition.replicas[0] + 2) % 6 + 1;
            let place = if n % 3 == 0 { 0 } else { 2 };
            to[place] = newcomer;
        }
        changes.push(change(&at.topic, at.partition, &partition.replicas, &to));
    }
    changes.push(change("single", 0, &[1], &[4]));
    treatment(changes, Some(20_000_000))
}

/// Leaderships only.
pub fn leaderships(world: &World) -> Treatment {
    let changes = world.partitions().filter(|(at, _)| at.topic != "single").map(|(at, partition)| {
        let mut to = partition.replicas.clone();
        to.rotate_left(1);
        change(&at.topic, at.partition, &partition.replicas, &to)
    });
    treatment(changes.collect(), None)
}

/// A doctor that leads for one term of the log.
pub async fn lead(cluster: SimCluster, log: SimLog, task: Task, control: watch::Receiver<Control>) -> Ended {
    let (progress, _) = watch::channel(Progress::default());
    lead_showing(cluster, log, task, control, &progress).await
}

pub async fn lead_showing(
    cluster: SimCluster,
    log: SimLog,
    task: Task,
    control: watch::Receiver<Control>,
    progress: &watch::Sender<Progress>,
) -> Ended {
    let admin = SimAdmin { cluster: cluster.clone(), faults: log.faults().clone() };
    let (mandate, author) = (|| true, author(&log));
    let executor = Executor { admin: &admin, log: &log, clock: &cluster, mandate: &mandate, author: &author };
    executor.run(task, control, progress).await
}

pub fn author(log: &SimLog) -> Author {
    Author {
        policy: "kafka/prod".to_owned(),
        cluster: "simulated".to_owned(),
        epoch: log.epoch(),
        approved_by: None,
    }
}

/// Lets a doctor work until it ends, or a fault holds it.
pub fn work(doctor: impl Future<Output = Ended>, faults: &Faults) -> Option<Ended> {
    let mut doctor = pin!(doctor);
    for _ in 0..TURNS {
        if let Some(ended) = poll(doctor.as_mut()) {
            return Some(ended);
        }
        if faults.is_stopped() {
            return None;
        }
    }
    panic!("a doctor that never ends");
}

/// What a new leader of the log has to do, if anything.
pub fn task(log: &SimLog, treatment: &Treatment) -> Option<Task> {
    let recovery = recovery(log);
    let ended = log.records().iter().any(|record| {
        record.step.is_none()
            && record.kind == doctorkafka_wire::ActionKind::ReassignPartitions
            && record.outcome != Some(doctorkafka_wire::Outcome::Intended)
    });
    match recovery.open() {
        Some(open) => Some(Task::Resume(open.clone())),
        None if ended => None,
        None => Some(Task::New(treatment.clone())),
    }
}

pub fn recovery(log: &SimLog) -> Recovery {
    let mut recovery = Recovery::default();
    log.records().iter().for_each(|record| recovery.apply(record));
    recovery
}

pub fn told(control: Control) -> watch::Receiver<Control> {
    watch::channel(control).1
}

/// The end that is wanted: what was there before, with the treatment's changes made.
pub fn planned(
    before: &World,
    treatment: &Treatment,
) -> BTreeMap<doctorkafka_kafka::TopicPartition, (Vec<i32>, Option<i32>, usize)> {
    let mut planned = before.assignment();
    for change in treatment.changes() {
        let at =
            doctorkafka_kafka::TopicPartition { topic: change.topic.clone(), partition: change.partition };
        let to: Vec<i32> = change.to.iter().map(|broker| broker.0).collect();
        let leader = to.first().copied();
        planned.insert(at, (to, leader, 0));
    }
    planned
}

/// The cluster is as planned, as somebody else's throttles were, and has been in order all the time.
pub fn assert_done(cluster: &SimCluster, log: &SimLog, before: &World, treatment: &Treatment, what: &str) {
    let world = cluster.world();
    assert_eq!(world.assignment(), planned(before, treatment), "{what}");
    assert_eq!(world.throttles(), before.throttles(), "{what}");
    drop(world);
    assert_in_order(cluster, what);
    assert_eq!(log.without_end(), [], "{what}");
}

/// Replication factors never changed and the limits were kept.
pub fn assert_in_order(cluster: &SimCluster, what: &str) {
    let world = cluster.world();
    let limits = Limits::default();
    assert_eq!(world.violations, Vec::<String>::new(), "{what}");
    assert!(world.most_moves.0 <= limits.moves_per_cluster, "{what}: {:?} at once", world.most_moves);
    assert!(world.most_moves.1 <= limits.moves_per_broker, "{what}: {:?} at once", world.most_moves);
}
