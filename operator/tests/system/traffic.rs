//! Producers and consumers that go on while something is done to the cluster, and eyes on the in-sync replicas.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use doctorkafka_kafka::{Admin, Connection};
use futures::future::join_all;
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
    producer::{FutureProducer, FutureRecord},
};
use tokio::task::JoinHandle;

use crate::world::World;

/// Between two rounds of records.
const EVERY: Duration = Duration::from_millis(250);

/// How long a record may take until Kafka confirms it; brokers die meanwhile.
const WITHIN: Duration = Duration::from_secs(90);

/// How many records by topic and partition.
type Counts = BTreeMap<(String, i32), u64>;

/// One numbered record for each partition some times a second, with acks=all, and a consumer that reads them as they come.
pub struct Traffic {
    stop: Arc<AtomicBool>,
    writing: JoinHandle<(Counts, Duration)>,
    reading: JoinHandle<Counts>,
    /// What the reader has to come to, once that is known.
    wanted: Arc<std::sync::Mutex<Option<Counts>>>,
}

impl Traffic {
    /// Topics with their number of partitions. They have to be empty.
    pub fn start(world: &World, topics: &[(String, i32)]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let wanted = Arc::default();
        let partitions: Vec<(String, i32)> = topics
            .iter()
            .flat_map(|(topic, partitions)| (0..*partitions).map(|number| (topic.clone(), number)))
            .collect();
        let writing = tokio::spawn(write(world.kafka.bootstrap(), partitions.clone(), stop.clone()));
        let (bootstrap, until) = (world.kafka.bootstrap(), Arc::clone(&wanted));
        let reading = tokio::task::spawn_blocking(move || read(&bootstrap, &partitions, &until));
        Self { stop, writing, reading, wanted }
    }

    /// Stops; nothing was lost, nothing came twice, nothing out of order. Gives the number of records.
    pub async fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        let (written, slowest) = self.writing.await.unwrap();
        eprintln!(
            "{} records written, the slowest confirmed after {slowest:.1?}",
            written.values().sum::<u64>()
        );
        *self.wanted.lock().unwrap() = Some(written.clone());
        assert_eq!(self.reading.await.unwrap(), written);
        written.values().sum()
    }
}

async fn write(
    bootstrap: String,
    partitions: Vec<(String, i32)>,
    stop: Arc<AtomicBool>,
) -> (Counts, Duration) {
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("message.timeout.ms", WITHIN.as_millis().to_string())
        .create()
        .unwrap();
    let mut written = Counts::new();
    let mut slowest = Duration::ZERO;
    let mut tick = tokio::time::interval(EVERY);
    while !stop.load(Ordering::Relaxed) {
        tick.tick().await;
        let begin = Instant::now();
        let sends = partitions.iter().map(|(topic, partition)| {
            let number = written.get(&(topic.clone(), *partition)).copied().unwrap_or_default();
            let producer = &producer;
            async move {
                let payload = number.to_string();
                let record = FutureRecord::<(), _>::to(topic).partition(*partition).payload(&payload);
                producer.send(record, WITHIN).await.map(drop).map_err(|(error, _)| error)
            }
        });
        for (at, sent) in partitions.iter().zip(join_all(sends).await) {
            sent.unwrap_or_else(|error| panic!("{at:?}: {error}"));
            *written.entry(at.clone()).or_default() += 1;
        }
        slowest = slowest.max(begin.elapsed());
    }
    (written, slowest)
}

fn read(bootstrap: &str, partitions: &[(String, i32)], wanted: &std::sync::Mutex<Option<Counts>>) -> Counts {
    let consumer: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", bootstrap).set("group.id", "traffic").create().unwrap();
    let mut all = TopicPartitionList::new();
    for (topic, partition) in partitions {
        all.add_partition_offset(topic, *partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&all).unwrap();
    let mut read = Counts::new();
    let mut told = None;
    loop {
        if wanted.lock().unwrap().as_ref() == Some(&read) {
            return read;
        }
        if wanted.lock().unwrap().is_some() {
            let told = told.get_or_insert_with(Instant::now);
            assert!(told.elapsed() < WITHIN, "read {read:?} of {:?}", wanted.lock().unwrap());
        }
        let message = match consumer.poll(Duration::from_millis(200)) {
            Some(Ok(message)) => message,
            // Brokers come and go; librdkafka goes on.
            Some(Err(KafkaError::MessageConsumption(_))) | None => continue,
            Some(Err(error)) => panic!("{error}"),
        };
        let at = (message.topic().to_owned(), message.partition());
        let number = read.entry(at).or_default();
        let (topic, partition) = (message.topic(), message.partition());
        assert_eq!(message.payload().unwrap(), number.to_string().as_bytes(), "{topic}-{partition}");
        *number += 1;
    }
}

/// Looks at the in-sync replicas of some topics all the time.
pub struct InSync {
    looking: JoinHandle<()>,
    fewest: Arc<std::sync::Mutex<BTreeMap<(String, i32), usize>>>,
}

impl InSync {
    pub fn watch(world: &World, topics: &[(String, i32)]) -> Self {
        let fewest: Arc<std::sync::Mutex<BTreeMap<(String, i32), usize>>> = Arc::default();
        let admin = Admin::new(Connection::new(&world.kafka.bootstrap(), "test").unwrap());
        let (names, noted): (Vec<String>, _) =
            (topics.iter().map(|(name, _)| name.clone()).collect(), Arc::clone(&fewest));
        let looking = tokio::spawn(async move {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            loop {
                for topic in admin.topics(Some(&names)).await.unwrap_or_default() {
                    for partition in topic.partitions {
                        let mut noted = noted.lock().unwrap();
                        let fewest = noted
                            .entry((topic.name.clone(), partition.partition))
                            .or_insert(partition.isr.len());
                        *fewest = partition.isr.len().min(*fewest);
                    }
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        Self { looking, fewest }
    }

    /// No partition was ever seen with fewer in sync.
    pub fn never_less_than(self, least: usize) {
        self.looking.abort();
        let fewest = self.fewest.lock().unwrap();
        assert!(!fewest.is_empty());
        let under: Vec<_> = fewest.iter().filter(|(_, isr)| **isr < least).collect();
        assert!(under.is_empty(), "fewer than {least} in sync: {under:?}");
    }
}
