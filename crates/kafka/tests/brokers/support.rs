//! What several of these tests need.

use anyhow::{Context, Result, ensure};
use doctorkafka_kafka::{Admin, Connection};
use doctorkafka_testbed::{KafkaCluster, wait_until};
use doctorkafka_wire::BrokerId;
use rdkafka::{
    ClientConfig,
    producer::{FutureProducer, FutureRecord},
};
use std::{future::Future, time::Duration};

/// Long enough for everything that Kafka does by itself.
pub const EVENTUALLY: Duration = Duration::from_secs(60);

pub fn connection(kafka: &KafkaCluster) -> Result<Connection> {
    Ok(Connection::new(&kafka.bootstrap(), "test")?)
}

/// The output of one of Kafka's own tools, which has to succeed.
pub async fn tool(kafka: &KafkaCluster, class: &str, arguments: &[&str]) -> Result<String> {
    let mut tool = kafka.tool(class);
    tool.args(["--bootstrap-server", &kafka.bootstrap()]).args(arguments);
    let output = within("a tool of Kafka's", EVENTUALLY, tool.output()).await??;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "{class}: {text}{}", String::from_utf8_lossy(&output.stderr));
    Ok(text)
}

pub async fn within<T>(what: &str, time: Duration, work: impl Future<Output = T>) -> Result<T> {
    tokio::time::timeout(time, work).await.with_context(|| format!("waited {time:?} for: {what}"))
}

/// The leader of a partition, once there is one.
pub async fn leader_of(admin: &Admin, topic: &str, partition: i32) -> Result<BrokerId> {
    wait_until("a leader", EVENTUALLY, || async {
        let topics = admin.topics(Some(&[topic])).await.ok()?;
        let partitions = &topics.first()?.partitions;
        partitions.iter().find(|found| found.partition == partition)?.leader
    })
    .await
}

/// Writes records to chosen partitions.
pub struct Writer(FutureProducer);

impl Writer {
    pub fn new(kafka: &KafkaCluster) -> Result<Self> {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", kafka.bootstrap())
            .set("enable.idempotence", "true")
            .set("linger.ms", "0")
            .set("message.max.bytes", "2000000")
            .set("socket.timeout.ms", "6000")
            .set("message.timeout.ms", "60000");
        Ok(Self(config.create()?))
    }

    /// Writes one record and returns its offset.
    pub async fn write(&self, topic: &str, partition: i32, key: &[u8], value: Option<&[u8]>) -> Result<i64> {
        let mut record = FutureRecord::to(topic).partition(partition).key(key);
        record.payload = value;
        let delivery = self.0.send(record, EVENTUALLY).await.map_err(|(error, _)| error)?;
        Ok(delivery.offset)
    }
}
