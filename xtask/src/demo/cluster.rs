//! The Kafka cluster of the demo, its topics and the load on them.

use super::screen::Screen;
use anyhow::Context;
use doctorkafka_testbed::{KafkaCluster, KafkaVersion, Process};
use std::path::Path;

/// Topics to have something to lead and to move.
const TOPICS: [&str; 3] = ["orders", "payments", "clicks"];
const PARTITIONS: i32 = 12;

/// Records a second, 200 bytes each, into the first topic.
const RECORDS_PER_SEC: &str = "100";

/// Starts the brokers.
///
/// # Errors
/// Something is missing, or they do not come up.
pub async fn start(brokers: i32, screen: &Screen) -> anyhow::Result<KafkaCluster> {
    let version = KafkaVersion::default();
    let cached = KafkaCluster::is_prepared(version);
    let from = if cached { "from cache" } else { "downloaded" };
    let step = screen.step("kafka", format!("{version} {from}"));
    if !cached {
        step.give_way();
    }
    let kafka = KafkaCluster::builder().brokers(brokers).version(version).start().await?;
    let bootstrap = kafka.bootstrap();
    let ports: Vec<&str> = bootstrap.split(',').filter_map(|address| address.split(':').nth(1)).collect();
    step.done(&format!("ready   {brokers} brokers on 127.0.0.1:{}", ports.join(",")));
    Ok(kafka)
}

/// Creates the topics and puts a light load on them.
///
/// # Errors
/// Kafka refuses, or the load cannot be started.
pub async fn load(kafka: &KafkaCluster, folder: &Path, screen: &Screen) -> anyhow::Result<Process> {
    let step = screen.step("load", format!("{RECORDS_PER_SEC} records/s into {}", TOPICS[0]));
    let replicas = i16::try_from(kafka.brokers().len().min(3)).unwrap_or(3);
    for topic in TOPICS {
        kafka.create_topic(topic, PARTITIONS, replicas).await?;
    }
    let mut producer = kafka.tool("org.apache.kafka.tools.ProducerPerformance");
    producer
        .args(["--topic", TOPICS[0], "--num-records", "1000000000", "--record-size", "200"])
        .args(["--throughput", RECORDS_PER_SEC, "--producer-props"])
        .arg(format!("bootstrap.servers={}", kafka.bootstrap()))
        .args(["client.id=demo-load", "acks=all", "buffer.memory=1048576"]);
    let producer = Process::spawn("the load", producer, folder.join("load.log"))
        .context("the load cannot be started")?;
    step.done(&format!("{} with {PARTITIONS} partitions each", TOPICS.join(", ")));
    Ok(producer)
}
