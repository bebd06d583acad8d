//! Questions to real clusters.

use crate::support::{EVENTUALLY, connection, leader_of, tool};
use anyhow::{Context, Result};
use doctorkafka_kafka::{Admin, AdminError, Connection, ProbeError, TopicOutcome, TopicSpec, probe};
use doctorkafka_testbed::{KafkaCluster, KafkaVersion, free_port, wait_until};
use doctorkafka_wire::BrokerId;
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);

async fn described_settings(kafka: &KafkaCluster, topic: &str) -> Result<String> {
    tool(kafka, "org.apache.kafka.tools.TopicCommand", &["--describe", "--topic", topic]).await
}

/// What Kafka's own tool says of the active controller.
async fn leader_by_tool(kafka: &KafkaCluster) -> Result<BrokerId> {
    let text = tool(kafka, "org.apache.kafka.tools.MetadataQuorumCommand", &["describe", "--status"]).await?;
    let leader = text.lines().find_map(|line| line.strip_prefix("LeaderId:")).context("no leader")?;
    Ok(BrokerId(leader.trim().parse()?))
}

async fn check_what_every_version_offers(kafka: &KafkaCluster) -> Result<()> {
    let admin = Admin::new(connection(kafka)?);
    let cluster = admin.describe_cluster().await?;
    assert_eq!(cluster.cluster_id, kafka.cluster_id());
    for (broker, expected) in cluster.brokers.iter().zip(1..) {
        assert_eq!(broker.id, BrokerId(expected));
        assert_eq!(broker.rack.as_deref(), Some(format!("rack-{expected}").as_str()));
        assert_eq!(broker.address(), kafka.broker(expected).address());
        assert!(!broker.fenced);
    }
    assert_eq!(cluster.brokers.len(), kafka.brokers().len());
    assert_eq!(admin.quorum_leader().await?.id, leader_by_tool(kafka).await?);

    assert_eq!(admin.topics(Some(&["_doctor_metrics"])).await?, []);
    let metrics = TopicSpec::metrics("_doctor_metrics", 3);
    assert_eq!(admin.ensure_topic(&metrics).await?, TopicOutcome::Created);
    assert_eq!(admin.ensure_topic(&metrics).await?, TopicOutcome::Existed);
    let log = TopicSpec::actions_log("_doctor_actions_log", 3);
    assert_eq!(admin.ensure_topic(&log).await?, TopicOutcome::Created);
    for spec in [&metrics, &log] {
        leader_of(&admin, &spec.name, spec.partitions - 1).await?;
        let described = described_settings(kafka, &spec.name).await?;
        for (name, value) in &spec.settings {
            assert!(described.contains(&format!("{name}={value}")), "{name}={value} in {described}");
        }
        let copies =
            format!("PartitionCount: {}\tReplicationFactor: {}", spec.partitions, spec.replication_factor);
        assert!(described.contains(&copies), "{copies} in {described}");
    }

    let topics = admin.topics(None).await?;
    let names: Vec<&str> = topics.iter().map(|topic| topic.name.as_str()).collect();
    assert_eq!(names, ["_doctor_actions_log", "_doctor_metrics"]);
    for topic in &topics {
        assert_ne!(topic.id, 0);
        for partition in &topic.partitions {
            assert_eq!(partition.leader, partition.replicas.first().copied());
            assert_eq!(partition.isr.len(), partition.replicas.len());
        }
    }
    assert_eq!(admin.end_offset("_doctor_metrics", 2).await?, 0);

    let too_many = TopicSpec { replication_factor: 9, ..TopicSpec::metrics("too_many", 3) };
    let refused = admin.ensure_topic(&too_many).await.expect_err("there are no nine brokers");
    assert!(refused.to_string().starts_with("CreateTopics of topic too_many: 127.0.0.1:"), "{refused}");
    assert!(refused.to_string().contains("InvalidReplicationFactor"), "{refused}");
    a_request_that_makes_too_many_records_is_refused(&admin).await;
    let missing = admin.end_offset("_doctor_metrics", 3).await.expect_err("there are three partitions");
    assert!(matches!(missing, AdminError::NoSuchPartition { partition: 3, .. }), "{missing}");
    Ok(())
}

/// The controller takes no request whole that makes more than 10,000 records (`QuorumController.MAX_RECORDS_PER_USER_OP`),
/// here one for each partition and one for the topic. This is why changes go out in chunks.
async fn a_request_that_makes_too_many_records_is_refused(admin: &Admin) {
    let huge = TopicSpec { partitions: 10_000, replication_factor: 1, ..TopicSpec::metrics("huge", 1) };
    let refused = admin.ensure_topic(&huge).await.expect_err("10,001 records").to_string();
    assert!(refused.contains("excessively large batch operation"), "{refused}");
}

#[tokio::test]
async fn kafka_3_9_answers_what_it_can() -> Result<()> {
    let kafka = KafkaCluster::builder().version(KafkaVersion::V3_9_2).start().await?;
    check_what_every_version_offers(&kafka).await?;
    assert!(!Admin::new(connection(&kafka)?).describe_cluster().await?.shows_fenced);
    Ok(())
}

#[tokio::test]
async fn kafka_4_3_is_described_in_health_and_in_sickness() -> Result<()> {
    let kafka = KafkaCluster::builder().start().await?;
    check_what_every_version_offers(&kafka).await?;
    let admin = Admin::new(connection(&kafka)?);
    assert!(admin.describe_cluster().await?.shows_fenced);

    a_hung_leader_delays_only_its_own_partitions(&kafka, &admin).await?;
    a_dead_controller_is_replaced_and_shown_fenced(&kafka, &admin).await
}

async fn a_hung_leader_delays_only_its_own_partitions(kafka: &KafkaCluster, admin: &Admin) -> Result<()> {
    let mut leaders = Vec::new();
    for partition in 0..3 {
        leaders.push(leader_of(admin, "_doctor_metrics", partition).await?);
        admin.end_offset("_doctor_metrics", partition).await?;
    }
    // The first in the list of bootstrap servers, and by preference not the controller, whose replacement is a test
    // of its own.
    let hung = leaders[0];
    let (address, healthy) =
        (kafka.broker(hung.0).address(), leaders.iter().position(|leader| *leader != hung));
    let healthy = i32::try_from(healthy.context("all partitions have one leader")?)?;
    kafka.pause(hung.0)?;
    assert_eq!(probe(address, SECOND / 2).await, Err(ProbeError::TimedOut(SECOND / 2)));
    for _ in 0..5 {
        let (slow, fast) = tokio::join!(
            timed(admin.end_offset("_doctor_metrics", 0)),
            timed(admin.end_offset("_doctor_metrics", healthy)),
        );
        let error = slow.0.expect_err("the leader hangs").to_string();
        assert!(error.contains(&format!("{address}: no answer within 1s")), "{error}");
        assert!(slow.1 < SECOND * 3 / 2, "the hung leader took {:?}", slow.1);
        assert!(fast.0.is_ok() && fast.1 < SECOND / 2, "the healthy leader took {:?}: {:?}", fast.1, fast.0);
    }
    let (described, took) = timed(admin.describe_cluster()).await;
    assert!(described.is_ok() && took < 3 * SECOND, "{took:?}: {described:?}");

    // Once the hung broker is fenced, another replica leads and answers.
    wait_until("a new leader to answer", EVENTUALLY, || async {
        admin.end_offset("_doctor_metrics", 0).await.is_ok()
    })
    .await?;
    assert_ne!(leader_of(admin, "_doctor_metrics", 0).await?, hung);
    kafka.resume(hung.0)?;
    wait_until("the broker to be back", EVENTUALLY, || async {
        let brokers = admin.describe_cluster().await.map(|cluster| cluster.brokers).unwrap_or_default();
        brokers.len() == 3 && brokers.iter().all(|broker| !broker.fenced)
    })
    .await
}

async fn a_dead_controller_is_replaced_and_shown_fenced(kafka: &KafkaCluster, admin: &Admin) -> Result<()> {
    let before = admin.quorum_leader().await?;
    let address = kafka.broker(before.id.0).address().to_owned();
    assert!(probe(&address, SECOND).await.is_ok());
    kafka.kill(before.id.0).await?;
    assert_eq!(probe(&address, SECOND).await, Err(ProbeError::Refused));

    let after = wait_until("another controller", EVENTUALLY, || async {
        admin.quorum_leader().await.ok().filter(|leader| leader.id != before.id)
    })
    .await?;
    assert!(after.epoch > before.epoch);
    wait_until("the dead broker to be shown as fenced", EVENTUALLY, || async {
        let brokers = admin.describe_cluster().await.map(|cluster| cluster.brokers).unwrap_or_default();
        brokers.len() == 3 && brokers.iter().all(|broker| broker.fenced == (broker.id == before.id))
    })
    .await
}

async fn timed<T>(work: impl Future<Output = T>) -> (T, Duration) {
    let start = Instant::now();
    let result = work.await;
    (result, start.elapsed())
}

#[tokio::test]
async fn an_unreachable_cluster_is_reported_address_by_address() -> Result<()> {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let (closed, silent) = (format!("127.0.0.1:{}", free_port()?), silent.local_addr()?);
    let connection = Connection::new(&format!("{closed},{silent}"), "test")?;
    let admin = Admin::new(connection).with_timeout(SECOND);
    let (result, took) = timed(admin.describe_cluster()).await;
    let error = result.unwrap_err().to_string();
    assert_eq!(
        error,
        format!(
            "DescribeCluster: no broker answered: {closed}: connection refused; {silent}: no answer within 1s"
        )
    );
    assert!(took < 3 * SECOND, "took {took:?}");
    Ok(())
}

#[tokio::test]
async fn what_is_not_kafka_is_called_so() -> Result<()> {
    use tokio::io::AsyncWriteExt;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    let server = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let error = probe(&address, SECOND).await.unwrap_err();
    assert!(matches!(&error, ProbeError::Other(text) if text.contains("not Kafka's")), "{error}");
    server.abort();
    Ok(())
}
