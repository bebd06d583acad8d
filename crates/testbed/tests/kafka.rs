//! A cluster starts, serves, and each broker can be killed, stopped, paused and started again.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use doctorkafka_testbed::{Broker, KafkaCluster, KafkaVersion, live_brokers, wait_until};

async fn lists(kafka: &KafkaCluster, server: &str) -> Result<Vec<String>> {
    let mut tool = kafka.tool("org.apache.kafka.tools.TopicCommand");
    tool.args(["--bootstrap-server", server, "--list"]);
    let output = tokio::time::timeout(Duration::from_secs(60), tool.output()).await??;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect())
}

async fn sees(broker: &Broker, wanted: &[i32]) -> bool {
    let mut live = live_brokers(broker.address()).await.unwrap_or_default();
    live.sort_unstable();
    live == wanted
}

#[tokio::test]
async fn three_brokers_live_through_everything() -> Result<()> {
    let kafka = KafkaCluster::builder().start().await?;
    assert_eq!(kafka.bootstrap().split(',').count(), 3);
    kafka.create_topic("orders", 6, 3).await?;
    assert_eq!(lists(&kafka, &kafka.bootstrap()).await?, ["orders"]);
    kafka.create_topic("orders", 6, 3).await.context("it is there as it should be")?;
    let refused = kafka.create_topic("orders", 5, 3).await.unwrap_err();
    assert!(refused.to_string().contains("already exists"), "{refused}");

    // kill -9: fenced by the controller after its session of 9 s; back with the same port and data
    let (port, pid) = (kafka.broker(2).address().to_owned(), kafka.broker(2).pid());
    kafka.kill(2).await?;
    assert_eq!(kafka.broker(2).pid(), None);
    assert!(live_brokers(&port).await.is_err());
    kafka.kill(2).await.unwrap_err();
    kafka.pause(2).unwrap_err();
    wait_until("broker 2 to be fenced", Duration::from_secs(30), || sees(kafka.broker(1), &[1, 3])).await?;
    kafka.start(2).await?;
    assert_eq!(kafka.broker(2).address(), port);
    assert_ne!(kafka.broker(2).pid(), pid);
    assert!(lists(&kafka, &port).await?.contains(&"orders".to_owned()));
    kafka.start(2).await.unwrap_err();

    // SIGSTOP: alive for the operating system, dead for everyone else
    kafka.pause(3)?;
    assert!(kafka.broker(3).pid().is_some());
    assert!(live_brokers(kafka.broker(3).address()).await.is_err());
    wait_until("broker 3 to be fenced", Duration::from_secs(30), || sees(kafka.broker(1), &[1, 2])).await?;
    kafka.resume(3)?;
    wait_until("broker 3 to be back", Duration::from_secs(60), || sees(kafka.broker(3), &[1, 2, 3])).await?;

    // SIGTERM: leaves in order, so that no session has to time out
    kafka.stop(1).await?;
    assert!(sees(kafka.broker(2), &[2, 3]).await, "a stopped broker says goodbye");
    kafka.start(1).await?;
    wait_until("all brokers", Duration::from_secs(30), || sees(kafka.broker(1), &[1, 2, 3])).await
}

#[tokio::test]
async fn properties_and_jvm_arguments_reach_the_brokers() -> Result<()> {
    let kafka = KafkaCluster::builder()
        .brokers(1)
        .property("auto.create.topics.enable", "false")
        .jvm_arg("-Ddoctorkafka.test=all")
        .jvm_arg_of(1, "-Ddoctorkafka.own=one")
        .start()
        .await?;
    let config = std::fs::read_to_string(kafka.broker(1).config())?;
    assert!(config.contains("auto.create.topics.enable=false"), "{config}");
    let pid = kafka.broker(1).pid().context("broker 1 runs")?;
    let command_line = std::fs::read_to_string(format!("/proc/{pid}/cmdline"))?;
    assert!(
        command_line.contains("-Ddoctorkafka.test=all") && command_line.contains("-Ddoctorkafka.own=one")
    );

    let data = kafka.broker(1).data_dir();
    drop(kafka);
    assert!(!data.exists(), "{} is left behind", data.display());
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists(), "process {pid} is left behind");
    Ok(())
}

#[tokio::test]
async fn the_other_versions_serve_too() -> Result<()> {
    for version in KafkaVersion::ALL.into_iter().filter(|version| *version != KafkaVersion::default()) {
        let kafka = KafkaCluster::builder().brokers(1).version(version).start().await?;
        kafka.create_topic("orders", 1, 1).await?;
        assert_eq!(lists(&kafka, &kafka.bootstrap()).await?, ["orders"], "Kafka {version}");
    }
    Ok(())
}

#[tokio::test]
async fn brokers_after_the_third_are_no_controllers() -> Result<()> {
    let kafka = KafkaCluster::builder().brokers(4).start().await?;
    let config = std::fs::read_to_string(kafka.broker(4).config())?;
    assert!(config.contains("process.roles=broker\n"), "{config}");
    kafka.create_topic("orders", 4, 3).await
}

#[tokio::test]
async fn a_broker_that_cannot_start_says_why() {
    let start = KafkaCluster::builder().brokers(1).property("log.retention.ms", "soon").start();
    let error = format!("{:#}", start.await.unwrap_err());
    assert!(error.contains("broker 1") && error.contains("log.retention.ms"), "{error}");
    let absurd = KafkaCluster::builder().brokers(0).start().await.unwrap_err();
    assert!(absurd.to_string().contains("1 to 30"), "{absurd}");
}
