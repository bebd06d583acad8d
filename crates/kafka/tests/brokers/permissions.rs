//! What a client is told that may not do what it has to.

use crate::support::{EVENTUALLY, tool, within};
use anyhow::{Context, Result};
use doctorkafka_kafka::{Connection, MetricsEvent, ReportReader, Sasl, SaslMechanism, Secret};
use doctorkafka_testbed::{KafkaCluster, Listener};
use doctorkafka_wire::METRICS_TOPIC;
use tokio_util::sync::CancellationToken;

const USER: &str = "doctor";
const PASSWORD: &str = "correcthorsebatterystaple";

async fn allow(kafka: &KafkaCluster, operation: &str) -> Result<()> {
    let principal = format!("User:{USER}");
    let arguments =
        ["--add", "--allow-principal", &principal, "--operation", operation, "--topic", METRICS_TOPIC];
    tool(kafka, "org.apache.kafka.tools.AclCommand", &arguments).await.map(|_output| ())
}

#[tokio::test]
async fn a_reader_that_may_not_read_says_so_and_reads_when_it_may() -> Result<()> {
    let kafka = KafkaCluster::builder()
        .brokers(1)
        .user(USER, PASSWORD)
        .listener(Listener::new("SASL").sasl(&["PLAIN"]))
        .property("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer")
        .property("super.users", "User:ANONYMOUS")
        .start()
        .await?;
    kafka.create_topic(METRICS_TOPIC, 1, 1).await?;
    allow(&kafka, "Describe").await?;

    let sasl = Sasl::new(SaslMechanism::Plain, USER, Secret::new(PASSWORD))?;
    let connection = Connection::new(&kafka.bootstrap_of("SASL"), "test")?.with_sasl(sasl);
    let cancel = CancellationToken::new();
    let _end = cancel.clone().drop_guard();
    let mut events = ReportReader::start(connection, METRICS_TOPIC, cancel);
    let refused = async {
        loop {
            if let MetricsEvent::Lost { error } = events.recv().await.context("the reader has ended")?
                && error.contains("may not read topic _doctor_metrics")
            {
                return anyhow::Ok(());
            }
        }
    };
    within("the refusal", EVENTUALLY, refused).await??;

    allow(&kafka, "Read").await?;
    let read = async {
        while !matches!(events.recv().await.context("the reader has ended")?, MetricsEvent::Position { .. }) {
        }
        anyhow::Ok(())
    };
    within("the end of the topic", EVENTUALLY, read).await?
}
