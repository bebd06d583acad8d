//! `doctorkafka-operator plan --bootstrap` on real brokers: what it sees, what it plans, and that it can only read.

#![allow(clippy::unwrap_used)]

use std::{collections::BTreeMap, fs, path::Path, process::Output, time::Duration};

use anyhow::{Context, Result, ensure};
use doctorkafka_kafka::{Admin, Connection, TopicInfo};
use doctorkafka_testbed::{KafkaCluster, Listener, wait_until};
use rdkafka::{
    ClientConfig,
    producer::{FutureProducer, FutureRecord},
};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(60);
const PASSWORD: &str = "correcthorsebatterystaple";

/// Records of this size; the overhead of each, written alone, is less than 100 bytes.
const RECORD: usize = 10_000;
const OVERHEAD: usize = 100;

async fn plan(folder: &Path, bootstrap: &str, more: &[&str]) -> Result<Output> {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_doctorkafka-operator"));
    // The disks of a test machine may be as full as they like.
    command.args(["plan", "--bootstrap", bootstrap, "--sample", "1s", "--max-disk", "100"]).args(more);
    command.current_dir(folder).env_remove("RUST_LOG").kill_on_drop(true);
    Ok(tokio::time::timeout(LIMIT, command.output()).await.context("the plan takes too long")??)
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

async fn allow(kafka: &KafkaCluster, user: &str, resource: &[&str]) -> Result<()> {
    let principal = format!("User:{user}");
    let mut tool = kafka.tool("org.apache.kafka.tools.AclCommand");
    tool.args(["--bootstrap-server", &kafka.bootstrap(), "--add", "--allow-principal", &principal]);
    let output = tokio::time::timeout(LIMIT, tool.args(["--operation", "Describe"]).args(resource).output());
    let output = output.await.context("the tool takes too long")??;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

async fn write(kafka: &KafkaCluster, topic: &str, partition: i32, records: usize) -> Result<()> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", kafka.bootstrap()).set("linger.ms", "0").set("acks", "all");
    let producer: FutureProducer = config.create()?;
    let value = [7_u8; RECORD];
    for _ in 0..records {
        let record = FutureRecord::<(), [u8]>::to(topic).partition(partition).payload(&value);
        producer.send(record, LIMIT).await.map_err(|(error, _)| error)?;
    }
    Ok(())
}

/// All topics, once every partition has its replicas in sync and its leader is the first of them; `dead` excepted.
async fn settled(admin: &Admin, dead: Option<i32>) -> Result<Vec<TopicInfo>> {
    wait_until("all partitions to settle", LIMIT, || async {
        let topics = admin.topics(None).await.ok()?;
        let in_order = topics.iter().flat_map(|topic| &topic.partitions).all(|partition| {
            let alive = partition.replicas.iter().filter(|id| Some(id.0) != dead);
            partition.leader.is_some_and(|leader| Some(leader.0) != dead)
                && partition.isr.len() == alive.count()
        });
        in_order.then_some(topics)
    })
    .await
}

#[tokio::test]
async fn a_dead_brokers_replicas_are_planned_away_by_who_may_only_read() -> Result<()> {
    let kafka = KafkaCluster::builder()
        .brokers(4)
        .user("reader", PASSWORD)
        .user("stranger", PASSWORD)
        .listener(Listener::new("SASL").sasl(&["PLAIN"]))
        .property("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer")
        .property("super.users", "User:ANONYMOUS")
        .start()
        .await?;
    let admin = Admin::new(Connection::new(&kafka.bootstrap(), "test")?);
    kafka.create_topic("orders", 12, 3).await?;
    kafka.create_topic("audit", 4, 2).await?;
    // DESCRIBE is the one right of this user. What it does can change nothing.
    allow(&kafka, "reader", &["--cluster"]).await?;
    allow(&kafka, "reader", &["--topic", "*"]).await?;
    let records: BTreeMap<i32, usize> = [(0, 100), (5, 30)].into();
    for (partition, records) in &records {
        write(&kafka, "orders", *partition, *records).await?;
    }
    kafka.kill(4).await?;
    wait_until("broker 4 to be fenced", LIMIT, || async {
        let cluster = admin.describe_cluster().await.ok()?;
        cluster.brokers.iter().any(|broker| broker.id.0 == 4 && broker.fenced).then_some(())
    })
    .await?;
    let before = settled(&admin, Some(4)).await?;

    let folder = tempfile::tempdir()?;
    let (password, bootstrap) = (folder.path().join("password"), kafka.bootstrap_of("SASL"));
    fs::write(&password, PASSWORD)?;
    let as_user = |user: &'static str| {
        ["--sasl-mechanism", "PLAIN", "--sasl-password-file", "password", "--sasl-username", user]
    };
    let more = ["--out", "plan.jsonl", "--save-instance", "seen.jsonl"];
    let output = plan(folder.path(), &bootstrap, &[&as_user("reader")[..], &more].concat()).await?;
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    assert!(told(&output).contains("broker 4 in rack rack-4: dead, "), "{}", told(&output));
    assert!(told(&output).contains("not known: the CPU of brokers 1, 2, 3, "), "{}", told(&output));

    // What was written is what is seen.
    let seen = lines(&fs::read_to_string(folder.path().join("seen.jsonl"))?);
    for (partition, records) in &records {
        let line = seen.iter().find(|line| line["t"] == "orders" && line["p"] == *partition).unwrap();
        let expected = (records * RECORD) as f64 / 1e6..(records * (RECORD + OVERHEAD)) as f64 / 1e6;
        for load in line["load"].as_array().unwrap() {
            assert!(expected.contains(&load[3].as_f64().unwrap()), "{expected:?} MB: {line}");
        }
    }

    // Every partition of the dead broker gets a broker of another rack than those that it has, and no other is touched.
    let plan_text = fs::read_to_string(folder.path().join("plan.jsonl"))?;
    let changes: BTreeMap<(String, i64), Vec<i64>> = lines(&plan_text)
        .iter()
        .map(|line| {
            let replicas = line["r"].as_array().unwrap().iter().map(|id| id.as_i64().unwrap()).collect();
            ((line["t"].as_str().unwrap().to_owned(), line["p"].as_i64().unwrap()), replicas)
        })
        .collect();
    let mut on_the_dead = 0;
    for (topic, partition) in
        before.iter().flat_map(|topic| topic.partitions.iter().map(move |partition| (topic, partition)))
    {
        let held: Vec<i64> = partition.replicas.iter().map(|id| i64::from(id.0)).collect();
        let change = changes.get(&(topic.name.clone(), i64::from(partition.partition)));
        if !held.contains(&4) {
            continue;
        }
        on_the_dead += 1;
        let to = change.with_context(|| format!("{}-{} stays", topic.name, partition.partition))?;
        let mut brokers = to.clone();
        brokers.sort_unstable();
        brokers.dedup();
        assert_eq!(brokers.len(), held.len(), "as many replicas, each in a rack of its own: {to:?}");
        assert!(!to.contains(&4), "{to:?}");
        assert!(held.iter().filter(|id| **id != 4).all(|id| to.contains(id)), "{held:?} -> {to:?}");
    }
    assert!(on_the_dead >= 5, "{on_the_dead} partitions are a poor test");

    // The same plan from the file, byte for byte, without the cluster.
    let again = tokio::process::Command::new(env!("CARGO_BIN_EXE_doctorkafka-operator"))
        .args(["plan", "--instance", "seen.jsonl", "--out", "-"])
        .current_dir(folder.path())
        .output()
        .await?;
    assert_eq!(again.status.code(), Some(0), "{}", told(&again));
    assert_eq!(String::from_utf8(again.stdout)?, plan_text);

    // Nothing was done: no topic came, nothing moves, and everything is where it was.
    assert_eq!(admin.topics(None).await?, before);

    // Who may not even read is told which right is missing, and no plan is made.
    let output = plan(folder.path(), &bootstrap, &as_user("stranger")).await?;
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    assert!(output.stdout.is_empty());
    let message = told(&output);
    assert!(message.contains("UnknownLoad") && message.contains("ClusterAuthorizationFailed"), "{message}");
    assert!(message.contains("DESCRIBE on the cluster"), "{message}");
    Ok(())
}

#[tokio::test]
async fn traffic_is_measured_between_two_looks() -> Result<()> {
    let kafka = KafkaCluster::builder().brokers(1).start().await?;
    kafka.create_topic("busy", 2, 1).await?;
    let folder = tempfile::tempdir()?;
    let bootstrap = kafka.bootstrap();
    let (done, mut stop) = tokio::sync::oneshot::channel::<()>();
    let writing = async {
        let mut written = 0_usize;
        while stop.try_recv().is_err() {
            write(&kafka, "busy", 1, 5).await?;
            written += 5;
        }
        anyhow::Ok(written)
    };
    let looking = async {
        let more = ["--sample", "4s", "--out", "plan.jsonl", "--save-instance", "seen.jsonl"];
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_doctorkafka-operator"));
        command.args(["plan", "--bootstrap", &bootstrap, "--max-disk", "100"]).args(more);
        let begin = std::time::Instant::now();
        let output = tokio::time::timeout(LIMIT, command.current_dir(folder.path()).output()).await??;
        let _ = done.send(());
        anyhow::Ok((output, begin.elapsed()))
    };
    let (written, looked) = tokio::try_join!(writing, looking)?;
    let (output, took) = looked;
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    let seen = lines(&fs::read_to_string(folder.path().join("seen.jsonl"))?);
    let rate = |partition: i32| {
        let line = seen.iter().find(|line| line["t"] == "busy" && line["p"] == partition).unwrap();
        line["load"][0][1].as_f64().unwrap()
    };
    // As fast as on the average over the whole time, of which the four seconds are most; a machine that is busy may have
    // been faster at one time than at another.
    let average = (written * (RECORD + OVERHEAD / 2)) as f64 / 1e3 / took.as_secs_f64();
    assert!((0.3..3.0).contains(&(rate(1) / average)), "{} KB/s, and {average} on the average", rate(1));
    assert!(rate(0).abs() < f64::EPSILON, "nothing was written to the other: {}", rate(0));
    Ok(())
}

#[tokio::test]
async fn a_cluster_that_cannot_be_reached_is_named() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let nowhere = format!("127.0.0.1:{}", doctorkafka_testbed::free_port()?);
    let output = plan(folder.path(), &nowhere, &["--out", "plan.jsonl"]).await?;
    assert_eq!(output.status.code(), Some(1));
    let message = told(&output);
    assert!(message.contains(&format!("cannot read the cluster at {nowhere}")), "{message}");
    assert!(message.contains("connection refused"), "{message}");
    assert!(!folder.path().join("plan.jsonl").exists());
    for (arguments, code) in [
        (vec!["plan", "--out", "x"], 2),
        (vec!["plan", "--bootstrap", "localhost", "--remedy", "repair"], 2),
        (vec!["plan", "--bootstrap", "localhost:9092", "--tls-ca", "none.crt"], 1),
        (vec!["plan", "--bootstrap", "localhost:9092", "--sasl-mechanism", "PLAIN"], 2),
        (vec!["plan", "--bootstrap", "localhost:9092", "--sample", "0s"], 2),
        (vec!["plan", "--instance", "x", "--out", "y", "--sample", "5s"], 2),
        (vec!["plan", "--instance", "x", "--bootstrap", "localhost:9092"], 2),
    ] {
        let command = tokio::process::Command::new(env!("CARGO_BIN_EXE_doctorkafka-operator"))
            .args(&arguments)
            .output()
            .await?;
        assert_eq!(command.status.code(), Some(code), "{arguments:?}: {}", told(&command));
    }
    Ok(())
}
