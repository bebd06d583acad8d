//! The operator with many brokers that report once a second.

use super::{
    doctor::Doctor,
    page::{Section, machine},
    programs::Programs,
    registration::Controller,
    reporter::report,
    usage::watch,
};
use anyhow::Context;
use doctorkafka_kafka::partition_for;
use doctorkafka_testbed::KafkaCluster;
use doctorkafka_wire::BrokerId;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, ThreadedProducer};
use serde_json::Value;
use std::time::Duration;
use tokio::task::JoinHandle;

/// First id of the simulated brokers, far from the real ones.
const FIRST: i32 = 1_001;
const WATCHED: Duration = Duration::from_secs(60);

/// Registers the brokers with a real controller, reports for them, and watches a doctor.
///
/// # Errors
/// Something does not start or is refused.
pub async fn measure(programs: &Programs, brokers: u16) -> anyhow::Result<Section> {
    // A thousand brokers are more metadata than small heaps are made for, and their heartbeats come one after the other.
    let kafka = KafkaCluster::builder()
        .brokers(3)
        .jvm_arg("-Xmx1g")
        .property("broker.session.timeout.ms", "60000")
        .start()
        .await?;
    let folder = tempfile::tempdir()?;
    let doctor = Doctor::start(programs, &kafka.bootstrap(), folder.path())?;
    doctor.until("the doctor leads", |report| report["role"]["state"] == "leading").await?;
    let few = watch(&[doctor.pid()], Duration::from_secs(20)).await?;

    eprintln!("registering {brokers} brokers");
    let alive = keep_alive(&kafka, brokers).await?;
    let reporting = keep_reporting(&kafka.bootstrap(), brokers)?;
    let wanted = u64::from(brokers);
    let healthy = |report: &Value| report["summary"]["healthy"].as_u64().is_some_and(|count| count >= wanted);
    doctor.until("every broker is Healthy", healthy).await?;
    eprintln!("watching for {WATCHED:?}");
    let many = watch(&[doctor.pid()], WATCHED).await?;
    alive.abort();
    reporting.abort();
    let (few, many) = (few.first().context("one process")?, many.first().context("one process")?);
    let row = |what: String, usage: &super::usage::Usage| {
        vec![
            what,
            format!("{:.1} %", usage.cpu_percent),
            format!("{:.1} (max {:.1})", usage.resident_mb, usage.resident_max_mb),
        ]
    };
    Ok(Section {
        title: "Operator with many brokers",
        how: format!(
            "{}. Three Kafka {} brokers; {brokers} more registered with their controller and kept alive by heartbeats, each \
             reporting once a second. One standalone doctor that leads, watched for {} s. CPU in percent of one core.",
            machine(),
            kafka.version(),
            WATCHED.as_secs()
        ),
        columns: vec!["brokers", "CPU", "resident, MB"],
        rows: vec![
            row("3, none reporting".into(), few),
            row(format!("3 and {brokers}, all reporting"), many),
        ],
    })
}

async fn keep_alive(kafka: &KafkaCluster, brokers: u16) -> anyhow::Result<JoinHandle<()>> {
    let mut controller = Controller::connect(kafka).await?;
    let address = kafka.broker(1).address();
    let (host, port) = address.rsplit_once(':').context("host:port")?;
    let config = std::fs::read_to_string(kafka.broker(1).config())?;
    let listener = config
        .lines()
        .find_map(|line| line.strip_prefix("listeners=")?.split("://").next())
        .context("the name of the first listener")?;
    let mut epochs = Vec::new();
    for id in (FIRST..).take(brokers.into()) {
        epochs.push((id, controller.register(id, host, port.parse()?, listener).await?));
    }
    Ok(tokio::spawn(async move {
        let mut tick = tokio::time::interval(Duration::from_secs(2));
        loop {
            tick.tick().await;
            for (id, epoch) in &epochs {
                if let Err(error) = controller.heartbeat(*id, *epoch).await {
                    eprintln!("heartbeat of broker {id}: {error:#}; connecting anew");
                    if let Err(error) = controller.reconnect().await {
                        eprintln!("{error:#}");
                        return;
                    }
                }
            }
        }
    }))
}

fn keep_reporting(bootstrap: &str, brokers: u16) -> anyhow::Result<JoinHandle<()>> {
    let producer: ThreadedProducer<DefaultProducerContext> = rdkafka::ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("acks", "1")
        .set("compression.type", "zstd")
        .set("linger.ms", "5")
        .create()?;
    Ok(tokio::spawn(async move {
        let mut tick = tokio::time::interval(Duration::from_millis(100));
        for sequence in 1_u64.. {
            for tenth in 0..10 {
                tick.tick().await;
                for id in (FIRST..).take(brokers.into()).filter(|id| id % 10 == tenth) {
                    let key = id.to_string();
                    let value = report(BrokerId(id), sequence, f64::from(id % 60)).encode();
                    let record = BaseRecord::to("_doctor_metrics")
                        .partition(partition_for(BrokerId(id), 3))
                        .key(&key)
                        .payload(&value);
                    if let Err((error, _)) = producer.send(record) {
                        eprintln!("{error}");
                    }
                }
            }
        }
    }))
}
