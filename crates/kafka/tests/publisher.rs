//! The publisher against librdkafka's mock cluster, whose brokers can be taken down one by one. What only real brokers
//! show is tested with the sidecar.

#![expect(clippy::unwrap_used, reason = "helpers of tests, too, may fail loudly")]

use doctorkafka_kafka::{Connection, ReportPublisher, partition_for};
use doctorkafka_wire::{BrokerId, BrokerReport};
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    mocking::MockCluster,
    producer::DefaultProducerContext,
};
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

const TOPIC: &str = "_doctor_metrics";
const BROKER: BrokerId = BrokerId(2);
const SOON: Duration = Duration::from_secs(30);

type Cluster = MockCluster<'static, DefaultProducerContext>;

fn cluster() -> Cluster {
    MockCluster::new(3).unwrap()
}

/// Each partition is led by the broker of its number plus one.
fn create_topic(cluster: &Cluster) {
    cluster.create_topic(TOPIC, 3, 3).unwrap();
    for partition in 0..3 {
        cluster.partition_leader(TOPIC, partition, Some(partition + 1)).unwrap();
    }
}

fn home_leader() -> i32 {
    partition_for(BROKER, 3) + 1
}

fn publisher(cluster: &Cluster) -> ReportPublisher {
    let connection = Connection::new(&cluster.bootstrap_servers(), "test").unwrap();
    ReportPublisher::start(&connection, TOPIC, BROKER).unwrap()
}

fn report(sequence: u64) -> BrokerReport {
    let text = format!(
        r#"{{"version":1,"brokerId":{BROKER},"incarnation":1,"sequence":{sequence},"sampledAt":"2026-11-22T14:02:11Z",
            "uptimeMs":1,"intervalMs":1000,"process":{{"state":"running"}}}}"#
    );
    BrokerReport::decode(text.as_bytes()).unwrap()
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !holds() {
        assert!(Instant::now() < deadline, "waited {SOON:?} for: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Reads the topic from its beginning until `enough` says so of the (partition, key, sequence) seen.
fn read(cluster: &Cluster, mut enough: impl FnMut(&[(i32, String, u64)]) -> bool) -> Vec<(i32, String, u64)> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", cluster.bootstrap_servers())
        .set("group.id", "reader")
        .create()
        .unwrap();
    let mut all = TopicPartitionList::new();
    for partition in 0..3 {
        all.add_partition_offset(TOPIC, partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&all).unwrap();
    let deadline = Instant::now() + SOON;
    let mut seen = Vec::new();
    while !enough(&seen) {
        assert!(Instant::now() < deadline, "still waiting after {seen:?}");
        if let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) {
            let key = String::from_utf8(message.key().unwrap().to_vec()).unwrap();
            let sequence = BrokerReport::decode(message.payload().unwrap()).unwrap().sequence;
            seen.push((message.partition(), key, sequence));
        }
    }
    seen
}

fn sequences_on(partition: i32, seen: &[(i32, String, u64)]) -> Vec<u64> {
    seen.iter().filter(|(on, _, _)| *on == partition).map(|(_, _, sequence)| *sequence).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_go_home_in_order_and_bad_news_goes_everywhere() {
    let cluster = cluster();
    create_topic(&cluster);
    let publisher = publisher(&cluster);
    for sequence in 1..=3 {
        publisher.publish(&report(sequence), false);
    }
    publisher.publish(&report(4), true);
    assert!(publisher.flush(SOON).await);
    until("the cluster id", || publisher.cluster_id().is_some()).await;

    let seen = read(&cluster, |seen| seen.len() == 6);
    let home = partition_for(BROKER, 3);
    assert_eq!(sequences_on(home, &seen), [1, 2, 3, 4]);
    for other in (0..3).filter(|partition| *partition != home) {
        assert_eq!(sequences_on(other, &seen), [4]);
    }
    assert!(seen.iter().all(|(_, key, _)| key == "2"));
    let stats = publisher.stats();
    assert_eq!((stats.partitions, stats.published, stats.acknowledged, stats.buffered), (3, 4, 6, 0));
    assert!(stats.since_acknowledged.unwrap() < SOON);
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_wait_for_the_topic() {
    let cluster = cluster();
    let publisher = publisher(&cluster);
    publisher.publish(&report(1), false);
    publisher.publish(&report(2), false);
    // It has asked and heard that there is no such topic.
    until("the cluster id", || publisher.cluster_id().is_some()).await;
    assert_eq!(publisher.stats().partitions, 0, "the publisher must not create the topic");
    assert_eq!(publisher.stats().buffered, 2);

    create_topic(&cluster);
    assert!(publisher.flush(SOON).await);
    let seen = read(&cluster, |seen| seen.len() == 2);
    assert_eq!(sequences_on(partition_for(BROKER, 3), &seen), [1, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_leader_of_the_home_partition_does_not_silence_the_broker() {
    let cluster = cluster();
    create_topic(&cluster);
    let publisher = publisher(&cluster);
    publisher.publish(&report(1), false);
    assert!(publisher.flush(SOON).await);
    let acknowledged = publisher.stats().acknowledged;

    cluster.broker_down(home_leader()).unwrap();
    let mut sequence = 1;
    let down = Instant::now();
    until("a report on another partition", || {
        // Reports come ten times as fast as in life; patience is measured in time, not in reports.
        sequence += 1;
        publisher.publish(&report(sequence), false);
        std::thread::sleep(Duration::from_millis(80));
        publisher.stats().acknowledged > acknowledged
    })
    .await;
    assert!(down.elapsed() < Duration::from_secs(5), "{:?}", down.elapsed());

    cluster.broker_up(home_leader()).unwrap();
    assert!(publisher.flush(SOON).await);
    let seen = read(&cluster, |seen| {
        let on: BTreeSet<i32> = seen.iter().map(|(partition, _, _)| *partition).collect();
        on.len() == 3
    });
    assert!(seen.iter().all(|(_, key, _)| key == "2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn while_kafka_is_away_the_newest_are_kept() {
    let cluster = cluster();
    create_topic(&cluster);
    let publisher = publisher(&cluster);
    publisher.publish(&report(1), false);
    assert!(publisher.flush(SOON).await);
    for id in 1..=3 {
        cluster.broker_down(id).unwrap();
    }
    let published = Instant::now();
    for sequence in 2..=500 {
        publisher.publish(&report(sequence), false);
    }
    assert!(published.elapsed() < Duration::from_secs(1), "publishing must not wait for Kafka");
    assert!(publisher.stats().buffered < 100, "{:?}", publisher.stats());
    assert!(publisher.stats().overflowed > 0);

    for id in 1..=3 {
        cluster.broker_up(id).unwrap();
    }
    assert!(publisher.flush(SOON).await);
    let home = partition_for(BROKER, 3);
    let seen = read(&cluster, |seen| sequences_on(home, seen).contains(&500));
    let kept = sequences_on(home, &seen);
    assert!((441..=500).all(|sequence| kept.contains(&sequence)), "{kept:?}");
    assert!(kept.is_sorted(), "{kept:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_brokers_refuse_is_counted_and_told() {
    use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
    let cluster = cluster();
    create_topic(&cluster);
    let publisher = publisher(&cluster);
    publisher.publish(&report(1), false);
    assert!(publisher.flush(SOON).await);
    assert_eq!(publisher.stats().trouble, None);

    for (n, error) in [
        (1, RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN),
        (2, RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_RECORD),
    ] {
        cluster.request_errors(RDKafkaApiKey::Produce, &[error]);
        publisher.publish(&report(n + 1), false);
        until("the refusal", || publisher.stats().refused == n).await;
    }
    let stats = publisher.stats();
    assert_eq!((stats.failed, stats.buffered), (0, 0));
    let trouble = stats.trouble.unwrap();
    assert!(trouble.starts_with("Kafka refuses reports: "), "{trouble}");

    // The next is taken; that some were refused is said for a while.
    publisher.publish(&report(4), false);
    assert!(publisher.flush(SOON).await);
    assert_eq!((publisher.stats().acknowledged, publisher.stats().refused), (2, 2));
}
