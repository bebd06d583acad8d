//! The actions log, read as anybody can: by Kafka's own console consumer, committed records only.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use doctorkafka_wire::ActionRecord;
use serde_json::Value;

use super::tools::tool;
use super::world::{KAFKA, World};

const READ_WITHIN: Duration = Duration::from_secs(120);

/// Every record, in the log's order.
pub async fn all(world: &World) -> Result<Vec<ActionRecord>> {
    world.kubectl(&["delete", "pod", "reader", "--namespace", KAFKA, "--ignore-not-found", "--now"]).await?;
    world.apply(&reader().to_string()).await?;
    let read = world.until("the log to be read", READ_WITHIN, || async {
        let phase = ["get", "pod", "reader", "--namespace", KAFKA, "--output=jsonpath={.status.phase}"];
        let phase = world.kubectl(&phase).await?;
        Ok(if ["Succeeded", "Failed"].contains(&phase.as_str()) { Ok(()) } else { Err(phase) })
    });
    read.await?;
    let text = world.kubectl(&["logs", "reader", "--namespace", KAFKA]).await?;
    world.kubectl(&["delete", "pod", "reader", "--namespace", KAFKA, "--now"]).await?;
    ensure!(text.contains("Processed a total of"), "the log cannot be read: {text}");
    let records = text.lines().filter(|line| line.starts_with('{'));
    records.map(|line| ActionRecord::decode(line.as_bytes()).with_context(|| line.to_owned())).collect()
}

fn reader() -> Value {
    tool(
        "reader",
        &[
            "org.apache.kafka.tools.consumer.ConsoleConsumer",
            "--bootstrap-server=kafka.kafka.svc:9092",
            "--topic=_doctor_actions_log",
            "--from-beginning",
            "--isolation-level=read_committed",
            "--timeout-ms=8000",
        ],
    )
}
