//! Log directories.

use super::{Patient, at};
use crate::support::{EVENTUALLY, Writer};
use anyhow::{Context, Result, ensure};
use doctorkafka_kafka::{AdminError, ClusterAdmin, LogDir, LogSpan, TopicPartition, TopicPartitions};
use doctorkafka_testbed::wait_until;
use doctorkafka_wire::BrokerId;
use std::path::Path;

const RECORDS: u64 = 100;
const RECORD: usize = 10_000;

async fn bytes(patient: &Patient, broker: i32, at: &TopicPartition) -> Result<u64> {
    let dirs = patient.admin.log_dirs(BrokerId(broker)).await?;
    let found = dirs.iter().flat_map(|dir| &dir.replicas).find(|replica| replica.at == *at);
    let found = found.with_context(|| format!("broker {broker} has no {at}"))?;
    ensure!(!found.future, "{at} is not moving between directories");
    Ok(found.bytes)
}

/// The size of the volume of a folder, bytes, by the system's own word.
async fn volume(folder: &Path) -> Result<u64> {
    let output =
        tokio::process::Command::new("stat").args(["-f", "-c", "%b %S"]).arg(folder).output().await?;
    let text = String::from_utf8(output.stdout)?;
    let (blocks, size) = text.trim().split_once(' ').context("two numbers")?;
    Ok(blocks.parse::<u64>()? * size.parse::<u64>()?)
}

pub async fn directories_weigh_what_was_written(patient: &Patient) -> Result<()> {
    let last = i32::try_from(patient.kafka.brokers().len())?;
    let weighed = patient.topic("weighed", &[last, 1]).await?;
    let writer = Writer::new(&patient.kafka)?;
    for _ in 0..RECORDS {
        writer.write(&weighed.topic, weighed.partition, b"", Some(&[7; RECORD])).await?;
    }
    // The overhead of a batch is less than 100 bytes.
    let expected = RECORDS * RECORD as u64..RECORDS * (RECORD as u64 + 100);
    for broker in [last, 1] {
        wait_until(&format!("broker {broker} to have all records"), EVENTUALLY, || async {
            bytes(patient, broker, &weighed).await.is_ok_and(|bytes| expected.contains(&bytes))
        })
        .await?;
        let dirs = patient.admin.log_dirs(BrokerId(broker)).await?;
        let [LogDir { path, error: None, total_bytes: Some(total), usable_bytes: Some(usable), .. }] =
            dirs.as_slice()
        else {
            panic!("{dirs:?}");
        };
        let folder = patient.kafka.broker(broker).log_dir();
        assert_eq!(Path::new(path), folder);
        assert_eq!(*total, volume(&folder).await?);
        assert!(*usable > 0 && usable < total, "{usable} of {total}");
    }
    assert!(bytes(patient, 2, &weighed).await.is_err());
    its_log_spans_what_was_written(patient, &weighed, last).await
}

/// Many partitions are asked about at once; what the broker does not hold or know is left open.
async fn its_log_spans_what_was_written(patient: &Patient, at: &TopicPartition, holder: i32) -> Result<()> {
    let cluster = patient.admin.cluster().await?;
    let broker = |id: i32| cluster.brokers.iter().find(|broker| broker.id.0 == id).context("it is there");
    let topics = [
        TopicPartitions { topic: "no-such-topic", partitions: vec![0] },
        TopicPartitions { topic: &at.topic, partitions: vec![at.partition, 7_000] },
    ];
    let spans = patient.admin.log_spans(broker(holder)?, &topics).await?;
    let end = i64::try_from(RECORDS)?;
    assert_eq!(spans, [None, Some(LogSpan { start: 0, end }), None]);
    let elsewhere = patient.admin.apart().log_spans(broker(2)?, &topics).await?;
    assert_eq!(elsewhere, [None, None, None], "broker 2 does not hold it");
    let dirs = patient.admin.log_dirs_of(broker(holder)?).await?;
    assert!(dirs.iter().flat_map(|dir| &dir.replicas).any(|replica| replica.at == *at));
    Ok(())
}

pub async fn a_broker_that_is_down_is_unreachable_and_harms_no_other(
    patient: &Patient,
    dead: i32,
) -> Result<()> {
    let error = patient.admin.log_dirs(BrokerId(dead)).await.expect_err("it is down");
    let AdminError::Unreachable { attempts, .. } = &error else { panic!("{error}") };
    // Before 4.0 a fenced broker is not even named.
    let (address, reason) = if patient.admin.cluster().await?.shows_fenced {
        (patient.kafka.broker(dead).address().to_owned(), "connection refused")
    } else {
        (format!("broker {dead}"), "is fenced")
    };
    assert_eq!((attempts.len(), &attempts[0].address), (1, &address));
    assert!(attempts[0].error.contains(reason), "{error}");
    assert!(bytes(patient, 1, &at("weighed", 0)).await? > 0);

    let error = patient.admin.log_dirs(BrokerId(99)).await.expect_err("it never was");
    assert!(error.to_string().contains("broker 99: the cluster does not name it"), "{error}");
    Ok(())
}
