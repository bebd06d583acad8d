//! A treatment of a real cluster: begun by one doctor, finished or undone by another.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use doctorkafka_doctor::execute::{
    Author, Cancel, Control, Ended, Executor, MachineClock, Progress, StepLog, StepLogError, Task, Treatment,
    recover,
};
use doctorkafka_kafka::{
    Admin, ClusterAdmin, ConfigChange, ConfigResource, Connection, PartitionInfo, ReassignmentChange,
    TopicPartition,
};
use doctorkafka_testbed::{KafkaCluster, KafkaVersion, wait_until};
use doctorkafka_wire::{ActionKind, ActionRecord, BrokerId, Outcome, PartitionChange, TreatmentCause};
use tokio::sync::watch;

/// Long enough for everything that Kafka does by itself.
const EVENTUALLY: Duration = Duration::from_secs(60);

const TOPIC: &str = "treated";
const PARTITIONS: i32 = 6;

/// Bytes a second at each broker: a partition of 3 MB takes seconds.
const THROTTLE: u64 = 1_500_000;

const RATES: [&str; 2] = ["leader.replication.throttled.rate", "follower.replication.throttled.rate"];

/// Somebody else's rate on broker 1.
const THEIRS: &str = "123456789";

#[derive(Default)]
struct Log(Mutex<Vec<ActionRecord>>);

impl Log {
    fn records(&self) -> Vec<ActionRecord> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl StepLog for Log {
    async fn append(&self, records: Vec<ActionRecord>) -> Result<(), StepLogError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(records);
        Ok(())
    }
}

struct Patient {
    kafka: KafkaCluster,
    admin: Admin,
    log: Log,
}

fn ids(ids: impl IntoIterator<Item = i32>) -> Vec<BrokerId> {
    ids.into_iter().map(BrokerId).collect()
}

fn at(partition: i32) -> TopicPartition {
    TopicPartition { topic: TOPIC.to_owned(), partition }
}

/// Where a partition is at first: round the ring of four brokers.
fn before(partition: i32) -> Vec<BrokerId> {
    ids([partition % 4 + 1, (partition + 1) % 4 + 1])
}

impl Patient {
    /// A cluster with a topic in known order, and 3 MB in each partition.
    async fn new() -> Result<Self> {
        let kafka = KafkaCluster::builder().version(KafkaVersion::V4_3_1).brokers(4);
        // Leaders move only when the doctor moves them.
        let kafka = kafka.property("auto.leader.rebalance.enable", "false").start().await?;
        let admin =
            Admin::new(Connection::new(&kafka.bootstrap(), "test")?).with_timeout(Duration::from_secs(30));
        let patient = Self { kafka, admin, log: Log::default() };
        patient.kafka.create_topic(TOPIC, PARTITIONS, 2).await?;
        let changes: Vec<ReassignmentChange> = (0..PARTITIONS)
            .map(|partition| ReassignmentChange { at: at(partition), replicas: Some(before(partition)) })
            .collect();
        let outcomes = patient.admin.reassign(&changes).await?;
        ensure!(outcomes.iter().all(|outcome| outcome.result.is_ok()), "{outcomes:?}");
        patient.settled(before).await?;
        let all: Vec<TopicPartition> = (0..PARTITIONS).map(at).collect();
        patient.admin.elect_preferred(&all).await?;
        let mut producer = patient.kafka.tool("org.apache.kafka.tools.ProducerPerformance");
        producer.args([
            "--topic",
            TOPIC,
            "--num-records",
            "1800",
            "--record-size",
            "10000",
            "--throughput",
            "-1",
        ]);
        let server = format!("bootstrap.servers={}", patient.kafka.bootstrap());
        // In turn, so that every partition gets its share.
        producer.args(["--producer-props", &server, "acks=all"]);
        producer.arg("partitioner.class=org.apache.kafka.clients.producer.RoundRobinPartitioner");
        let output = tokio::time::timeout(EVENTUALLY, producer.output()).await??;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let theirs = BTreeMap::from([(RATES[0].to_owned(), Some(THEIRS.to_owned()))]);
        let change = ConfigChange { resource: ConfigResource::Broker(BrokerId(1)), values: theirs };
        patient.admin.alter_configs(&[change]).await?;
        Ok(patient)
    }

    async fn partitions(&self) -> Result<Vec<PartitionInfo>> {
        let topics = self.admin.partitions(Some(&[TOPIC])).await?;
        Ok(topics.into_iter().next().context("there is no topic")?.partitions)
    }

    /// Waits until each partition has exactly these replicas, in order and in sync, and none is moving.
    async fn settled(&self, replicas: impl Fn(i32) -> Vec<BrokerId>) -> Result<()> {
        wait_until("the assignment", EVENTUALLY, || async {
            let partitions = self.partitions().await.ok()?;
            let as_planned = |partition: &PartitionInfo| {
                let expected = replicas(partition.partition);
                partition.replicas == expected && partition.isr.len() == expected.len()
            };
            let moving = self.admin.reassignments().await.ok()?;
            (partitions.len() == PARTITIONS as usize
                && partitions.iter().all(as_planned)
                && moving.is_empty())
            .then_some(())
        })
        .await
    }

    /// Every throttle setting of the brokers and the topic.
    async fn throttles(&self) -> Result<Vec<(ConfigResource, String, String)>> {
        let mut found = Vec::new();
        let brokers = (1..=4).map(|id| ConfigResource::Broker(BrokerId(id)));
        for resource in brokers.chain([ConfigResource::Topic(TOPIC.to_owned())]) {
            for (resource, values) in self.admin.configs(&[resource]).await? {
                let throttles = values.into_iter().filter(|(name, _)| name.contains("replication.throttled"));
                found.extend(throttles.map(|(name, value)| (resource.clone(), name, value)));
            }
        }
        Ok(found)
    }

    /// A doctor at work. It never ends by itself before the treatment does.
    async fn doctor(
        &self,
        task: Task,
        control: watch::Receiver<Control>,
        progress: &watch::Sender<Progress>,
    ) -> Ended {
        let (clock, mandate) = (MachineClock::start(), || true);
        let author = Author {
            policy: "test".to_owned(),
            cluster: self.kafka.cluster_id().to_owned(),
            epoch: 1,
            approved_by: None,
        };
        let executor = Executor {
            admin: &self.admin,
            log: &self.log,
            clock: &clock,
            mandate: &mandate,
            author: &author,
        };
        executor.run(task, control, progress).await
    }

    /// A doctor that dies while data is being copied.
    async fn dies_half_way(&self, treatment: &Treatment) -> Result<()> {
        let (_tell, told) = watch::channel(Control::default());
        let (progress, mut shown) = watch::channel(Progress::default());
        let moving = async { shown.wait_for(|progress| progress.partitions_moving > 0).await.map(drop) };
        tokio::select! {
            ended = self.doctor(Task::New(treatment.clone()), told, &progress) => {
                anyhow::bail!("it ended before anything moved: {ended:?}")
            }
            moving = tokio::time::timeout(EVENTUALLY, moving) => moving??,
        }
        let throttles = self.throttles().await?;
        ensure!(throttles.iter().any(|(_, _, value)| *value == THROTTLE.to_string()), "{throttles:?}");
        Ok(())
    }

    /// The doctor that finds in the log what the other began.
    async fn takes_over(&self, control: Control) -> Result<Ended> {
        let open = recover(&self.log.records()).context("nothing is open")?;
        let (_tell, told) = watch::channel(control);
        let (progress, _) = watch::channel(Progress::default());
        Ok(tokio::time::timeout(2 * EVENTUALLY, self.doctor(Task::Resume(open), told, &progress)).await?)
    }

    fn assert_every_intent_has_an_end(&self) {
        let mut open = Vec::new();
        for record in self.log.records().into_iter().filter(|record| record.step.is_some()) {
            match record.outcome {
                Some(Outcome::Intended) => open.push(record.step),
                _ => open.retain(|step| *step != record.step),
            }
        }
        assert_eq!(open, []);
    }
}

/// Four partitions move a replica, one of them its leader, and two change their leader only.
fn after(partition: i32) -> Vec<BrokerId> {
    let [first, second] = [partition % 4 + 1, (partition + 1) % 4 + 1];
    let newcomer = (partition + 2) % 4 + 1;
    match partition {
        0 => ids([newcomer, second]),
        1..=3 => ids([first, newcomer]),
        _ => ids([second, first]),
    }
}

fn treatment() -> Result<Treatment> {
    let changes = (0..PARTITIONS).map(|partition| PartitionChange {
        topic: TOPIC.to_owned(),
        partition,
        from: before(partition),
        to: after(partition),
        bytes: 3_000_000,
    });
    let cause = TreatmentCause {
        broker: Some(BrokerId(1)),
        reason: "CpuAbove".into(),
        message: "CPU usage 95% > 80%".into(),
    };
    Ok(Treatment::new(cause, changes.collect(), Some(THROTTLE))?)
}

fn theirs() -> Vec<(ConfigResource, String, String)> {
    vec![(ConfigResource::Broker(BrokerId(1)), RATES[0].to_owned(), THEIRS.to_owned())]
}

#[tokio::test]
async fn what_one_doctor_began_another_finishes_or_undoes() -> Result<()> {
    let patient = Patient::new().await?;
    let treatment = treatment()?;

    // Begun by one and undone by another, who was told to cancel it and to put everything back.
    patient.dies_half_way(&treatment).await?;
    let cancel = Some(Cancel { restore: true, reason: "told to".to_owned() });
    let ended = patient.takes_over(Control { cancel, ..Control::default() }).await?;
    assert!(matches!(ended, Ended::GivenUp { outcome: Outcome::Aborted, .. }), "{ended:?}");
    patient.settled(before).await?;
    assert_eq!(patient.throttles().await?, theirs());
    patient.assert_every_intent_has_an_end();
    assert!(
        patient.log.records().iter().any(|record| record.kind == ActionKind::Cancel && record.step.is_some())
    );

    // Begun by one and finished by another.
    patient.log.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    patient.dies_half_way(&treatment).await?;
    assert_eq!(patient.takes_over(Control::default()).await?, Ended::Done { owed: vec![] });
    patient.settled(after).await?;
    for partition in patient.partitions().await? {
        // Who leads changed where the treatment is about who leads.
        let expected = after(partition.partition)[0];
        assert!(
            !matches!(partition.partition, 0 | 4 | 5) || partition.leader == Some(expected),
            "{partition:?}"
        );
    }
    assert_eq!(patient.throttles().await?, theirs());
    patient.assert_every_intent_has_an_end();
    Ok(())
}
