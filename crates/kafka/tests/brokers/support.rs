//! What several of these tests need.

use anyhow::{Context, Result, anyhow, ensure};
use bytes::{Bytes, BytesMut};
use doctorkafka_kafka::{Admin, Connection};
use doctorkafka_testbed::{KafkaCluster, wait_until};
use doctorkafka_wire::BrokerId;
use kafka_protocol::{
    messages::{
        DescribeGroupsRequest, DescribeGroupsResponse, DescribeTransactionsRequest,
        DescribeTransactionsResponse, FindCoordinatorRequest, FindCoordinatorResponse, GroupId,
        RequestHeader, ResponseHeader, TransactionalId,
    },
    protocol::{Decodable, Encodable, HeaderVersion, StrBytes, encode_request_header_into_buffer},
};
use rdkafka::{
    ClientConfig,
    error::{KafkaError, RDKafkaErrorCode},
    producer::{FutureProducer, FutureRecord},
};
use std::{future::Future, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

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

    /// Writes one record and returns its offset. Waits for a partition of which not every broker has heard.
    pub async fn write(&self, topic: &str, partition: i32, key: &[u8], value: Option<&[u8]>) -> Result<i64> {
        let unheard_of =
            |error: &KafkaError| error.rdkafka_error_code() == Some(RDKafkaErrorCode::UnknownPartition);
        let written = wait_until("the partition to be known", EVENTUALLY, || async {
            let mut record = FutureRecord::to(topic).partition(partition).key(key);
            record.payload = value;
            match self.0.send(record, EVENTUALLY).await {
                Err((error, _)) if unheard_of(&error) => None,
                sent => Some(sent.map(|delivery| delivery.offset).map_err(|(error, _)| error)),
            }
        });
        Ok(written.await??)
    }
}

/// One request to one broker, by its API key and version. Kafka's own tools would do, but each is a JVM that takes seconds.
async fn ask<A: Decodable + HeaderVersion>(
    address: &str,
    (key, version): (i16, i16),
    request: &impl Encodable,
) -> Result<A> {
    let header = RequestHeader::default().with_request_api_key(key).with_request_api_version(version);
    let mut frame = BytesMut::new();
    let encoded = encode_request_header_into_buffer(&mut frame, &header);
    encoded.and_then(|()| request.encode(&mut frame, version)).map_err(|error| anyhow!("{error:#}"))?;
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_u32(frame.len().try_into()?).await?;
        stream.write_all(&frame).await?;
        let mut answer = vec![0; stream.read_u32().await?.try_into()?];
        stream.read_exact(&mut answer).await?;
        anyhow::Ok(Bytes::from(answer))
    };
    let mut answer = within("an answer", Duration::from_secs(10), exchange).await??;
    let decoded = ResponseHeader::decode(&mut answer, A::header_version(version))
        .and_then(|_| A::decode(&mut answer, version));
    decoded.map_err(|error| anyhow!("{error:#}"))
}

/// What a coordinator is of.
#[derive(Clone, Copy)]
pub enum Of<'a> {
    Group(&'a str),
    Transactions(&'a str),
}

/// The broker that coordinates a group or the transactions of an id. FindCoordinator, API key 10.
pub async fn coordinator(kafka: &KafkaCluster, of: Of<'_>) -> Result<i32> {
    let (kind, name) = match of {
        Of::Group(name) => (0, name),
        Of::Transactions(name) => (1, name),
    };
    let request = FindCoordinatorRequest::default().with_key(text(name)).with_key_type(kind);
    let running = kafka.brokers().iter().find(|broker| broker.pid().is_some()).context("no broker runs")?;
    let found: FindCoordinatorResponse = ask(running.address(), (10, 3), &request).await?;
    ensure!(found.error_code == 0, "error code {}", found.error_code);
    Ok(found.node_id.0)
}

/// A group's state and how many members it has, as its coordinator says. DescribeGroups, API key 15.
pub async fn group(kafka: &KafkaCluster, name: &str) -> Result<(String, usize)> {
    let coordinator = coordinator(kafka, Of::Group(name)).await?;
    let request = DescribeGroupsRequest::default().with_groups(vec![GroupId(text(name))]);
    let address = kafka.broker(coordinator).address();
    let described: DescribeGroupsResponse = ask(address, (15, 4), &request).await?;
    let group = described.groups.first().context("no group")?;
    ensure!(group.error_code == 0, "error code {}", group.error_code);
    Ok((group.group_state.to_string(), group.members.len()))
}

/// The state of the newest transaction of an id, such as `CompleteCommit`. DescribeTransactions, API key 65.
pub async fn transaction(kafka: &KafkaCluster, id: &str) -> Result<String> {
    let coordinator = coordinator(kafka, Of::Transactions(id)).await?;
    let request =
        DescribeTransactionsRequest::default().with_transactional_ids(vec![TransactionalId(text(id))]);
    let address = kafka.broker(coordinator).address();
    let described: DescribeTransactionsResponse = ask(address, (65, 0), &request).await?;
    let transaction = described.transaction_states.first().context("no transaction")?;
    ensure!(transaction.error_code == 0, "error code {}", transaction.error_code);
    Ok(transaction.transaction_state.to_string())
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}
