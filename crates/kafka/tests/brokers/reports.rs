//! The reader of reports, through everything that can happen to its topic.

use crate::support::{EVENTUALLY, Writer, connection, leader_of, tool, within};
use anyhow::{Context, Result, bail};
use doctorkafka_kafka::{Admin, MetricsEvent, ReportReader, Skip, TopicOutcome, TopicSpec};
use doctorkafka_testbed::{KafkaCluster, wait_until};
use doctorkafka_wire::{BrokerId, BrokerReport, DecodeError};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

const TOPIC: &str = "_doctor_metrics";

fn report(broker: i32, sequence: u64) -> Vec<u8> {
    format!(
        r#"{{"version":1,"brokerId":{broker},"incarnation":1,"sequence":{sequence},"sampledAt":"2026-11-22T14:02:11Z",
            "uptimeMs":1,"intervalMs":1000,"process":{{"state":"running"}}}}"#
    )
    .into_bytes()
}

/// Everything that was read, checked as it comes: offsets rise by one, none twice, none left out.
#[derive(Default)]
struct Seen {
    next: BTreeMap<i32, i64>,
    positions: BTreeMap<i32, i64>,
    /// Sequence numbers of reports, by partition.
    sequences: BTreeMap<i32, Vec<u64>>,
    skipped: BTreeMap<String, usize>,
    assigned: Vec<(Vec<i32>, bool)>,
    lost: Vec<String>,
    reports: Vec<BrokerReport>,
}

impl Seen {
    fn take(&mut self, event: MetricsEvent) -> Result<()> {
        match event {
            MetricsEvent::Record { partition, offset, report, appended_at } => {
                assert!(appended_at.is_some(), "the topic has append times");
                self.follows(partition, offset)?;
                self.sequences.entry(partition).or_default().push(report.sequence);
                self.reports.push(*report);
            }
            MetricsEvent::Skipped { partition, offset, reason } => {
                self.follows(partition, offset)?;
                let kind = match reason {
                    Skip::NoValue => "no value",
                    Skip::Forged { .. } => "forged",
                    Skip::Decode(DecodeError::TooLarge { .. }) => "too large",
                    Skip::Decode(DecodeError::NewerVersion { .. }) => "newer version",
                    Skip::Decode(DecodeError::Malformed { .. }) => "malformed",
                    Skip::Decode(DecodeError::Absurd { .. }) => "absurd",
                };
                *self.skipped.entry(kind.to_owned()).or_default() += 1;
            }
            MetricsEvent::Position { partition, next_offset } => {
                if let Some(next) = self.next.get(&partition) {
                    assert_eq!(*next, next_offset, "partition {partition}");
                }
                self.positions.insert(partition, next_offset);
            }
            MetricsEvent::Assigned { partitions, restarted } => {
                if restarted {
                    self.next.clear();
                    self.positions.clear();
                    self.sequences.clear();
                }
                self.assigned.push((partitions, restarted));
            }
            MetricsEvent::Lost { error } => self.lost.push(error),
        }
        Ok(())
    }

    fn follows(&mut self, partition: i32, offset: i64) -> Result<()> {
        if let Some(next) = self.next.insert(partition, offset + 1)
            && next != offset
        {
            bail!("partition {partition}: offset {offset} came where {next} was expected");
        }
        Ok(())
    }

    async fn until(
        &mut self,
        what: &str,
        events: &mut mpsc::Receiver<MetricsEvent>,
        holds: impl Fn(&Self) -> bool,
    ) -> Result<()> {
        let work = async {
            while !holds(self) {
                self.take(events.recv().await.context("the reader has ended")?)?;
            }
            Ok(())
        };
        let result = within(what, EVENTUALLY, work).await;
        result.with_context(|| format!("at {:?}, lost {:?}", self.next, self.lost))?
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_goes_on_through_poison_dead_leaders_and_new_topics() -> Result<()> {
    // By default Kafka takes no record that is too large for us.
    let kafka = KafkaCluster::builder().property("message.max.bytes", "2097152").start().await?;
    let admin = Admin::new(connection(&kafka)?);
    let cancel = CancellationToken::new();
    let mut events = ReportReader::start(connection(&kafka)?, TOPIC, cancel.clone());
    let mut seen = Seen::default();

    seen.until("being told that the topic is missing", &mut events, |seen| !seen.lost.is_empty()).await?;
    assert_eq!(seen.lost, [format!("topic {TOPIC} does not exist")]);
    create(&admin).await?;
    seen.until("the empty topic", &mut events, |seen| seen.positions.len() == 3).await?;
    assert_eq!(seen.assigned, [(vec![0, 1, 2], false)]);
    assert!(seen.positions.values().all(|next| *next == 0), "{:?}", seen.positions);

    poison_is_passed_over(&kafka, &mut seen, &mut events).await?;
    a_dead_leader_costs_no_record(&kafka, &admin, &mut seen, &mut events).await?;
    a_fresh_reader_starts_near_the_end(&kafka, &seen).await?;
    added_partitions_are_read(&kafka, &mut seen, &mut events).await?;
    another_topic_of_the_same_name_is_read_from_its_start(&kafka, &admin, &mut seen, &mut events).await?;

    cancel.cancel();
    within("the channel to close", EVENTUALLY, async { while events.recv().await.is_some() {} }).await
}

async fn create(admin: &Admin) -> Result<()> {
    // Right after a deletion, the name may still be taken.
    wait_until("the topic", EVENTUALLY, || async {
        matches!(admin.ensure_topic(&TopicSpec::metrics(TOPIC, 3)).await, Ok(TopicOutcome::Created))
    })
    .await
}

/// 1,000 poison records a second for five seconds, of every kind, with good ones among them.
async fn poison_is_passed_over(
    kafka: &KafkaCluster,
    seen: &mut Seen,
    events: &mut mpsc::Receiver<MetricsEvent>,
) -> Result<()> {
    let writer = Arc::new(Writer::new(kafka)?);
    let noise: Vec<u8> = (0..700u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let newer = String::from_utf8(report(1, 1))?.replace("\"version\":1", "\"version\":2").into_bytes();
    let absurd =
        String::from_utf8(report(1, 1))?.replace("\"intervalMs\":1000", "\"intervalMs\":0").into_bytes();
    let huge = vec![b'['; 1_500_000];
    let kinds: [(&[u8], Option<&[u8]>); 6] = [
        (b"1", Some(&noise)),
        (b"1", None),
        (b"1", Some(&newer)),
        (b"1", Some(&absurd)),
        (b"\xff", Some(b"{\"version\":1}")),
        (b"1", Some(b"NaN")),
    ];
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    let writing = async {
        for round in 0..50u64 {
            ticks.tick().await;
            let (good, forged) = (report(1, round + 1), report(2, 1));
            let mut writes = Vec::new();
            for i in 0..100usize {
                let (key, value) = kinds[i % kinds.len()];
                writes.push(writer.write(TOPIC, (i % 3) as i32, key, value));
            }
            writes.push(writer.write(TOPIC, (round % 3) as i32, b"1", Some(&good)));
            writes.push(writer.write(TOPIC, 0, b"1", Some(&forged)));
            if round % 25 == 0 {
                writes.push(writer.write(TOPIC, 1, b"1", Some(&huge)));
            }
            futures::future::try_join_all(writes).await?;
        }
        anyhow::Ok(())
    };
    let reading = seen.until("50 good reports among 5,000 bad records", events, |seen| {
        seen.sequences.values().map(Vec::len).sum::<usize>() == 50
            && seen.skipped.values().sum::<usize>() == 5_052
    });
    tokio::try_join!(writing, reading)?;
    assert_eq!(seen.skipped.get("too large"), Some(&2), "{:?}", seen.skipped);
    for kind in ["no value", "newer version", "absurd", "malformed", "forged"] {
        assert!(seen.skipped.get(kind).is_some_and(|count| *count >= 50), "{kind}: {:?}", seen.skipped);
    }
    Ok(())
}

async fn a_dead_leader_costs_no_record(
    kafka: &KafkaCluster,
    admin: &Admin,
    seen: &mut Seen,
    events: &mut mpsc::Receiver<MetricsEvent>,
) -> Result<()> {
    let writer = Writer::new(kafka)?;
    let killed = leader_of(admin, TOPIC, 0).await?;
    seen.sequences.clear();
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    let writing = async {
        for sequence in 1..=60 {
            ticks.tick().await;
            writer.write(TOPIC, 0, b"1", Some(&report(1, sequence))).await?;
            if sequence == 20 {
                kafka.kill(killed.0).await?;
            }
        }
        anyhow::Ok(())
    };
    let reading = seen.until("60 reports across the death of their leader", events, |seen| {
        seen.sequences.get(&0).is_some_and(|sequences| sequences.len() >= 60)
    });
    tokio::try_join!(writing, reading)?;
    // An idempotent producer repeats nothing, so a repetition would be the reader's.
    assert_eq!(seen.sequences[&0], (1..=60).collect::<Vec<_>>());
    let end = admin.end_offset(TOPIC, 0).await?;
    seen.until("the end", events, |seen| seen.positions.get(&0) == Some(&end)).await?;
    kafka.start(killed.0).await?;
    Ok(())
}

async fn a_fresh_reader_starts_near_the_end(kafka: &KafkaCluster, seen: &Seen) -> Result<()> {
    let mut events = ReportReader::start(connection(kafka)?, TOPIC, CancellationToken::new());
    let mut fresh = Seen::default();
    fresh.until("all ends", &mut events, |fresh| fresh.positions.len() == 3).await?;
    assert_eq!(fresh.positions, seen.next);
    let read: usize =
        fresh.sequences.values().map(Vec::len).sum::<usize>() + fresh.skipped.values().sum::<usize>();
    assert_eq!(read, 3 * 50, "50 records of each partition");
    Ok(())
}

async fn added_partitions_are_read(
    kafka: &KafkaCluster,
    seen: &mut Seen,
    events: &mut mpsc::Receiver<MetricsEvent>,
) -> Result<()> {
    tool(kafka, "org.apache.kafka.tools.TopicCommand", &["--alter", "--topic", TOPIC, "--partitions", "4"])
        .await?;
    let writer = Writer::new(kafka)?;
    writer.write(TOPIC, 3, b"1", Some(&report(1, 77))).await?;
    seen.until("a report on the added partition", events, |seen| {
        seen.sequences.get(&3).is_some_and(|sequences| sequences == &[77])
    })
    .await?;
    assert_eq!(seen.assigned.last(), Some(&(vec![0, 1, 2, 3], false)));
    Ok(())
}

async fn another_topic_of_the_same_name_is_read_from_its_start(
    kafka: &KafkaCluster,
    admin: &Admin,
    seen: &mut Seen,
    events: &mut mpsc::Receiver<MetricsEvent>,
) -> Result<()> {
    tool(kafka, "org.apache.kafka.tools.TopicCommand", &["--delete", "--topic", TOPIC]).await?;
    create(admin).await?;
    let writer = Writer::new(kafka)?;
    for sequence in 1..=5 {
        let offset = writer.write(TOPIC, 2, b"3", Some(&report(3, sequence))).await?;
        assert_eq!(offset + 1, i64::try_from(sequence)?, "the new topic starts at 0");
    }
    seen.until("the reports of the new topic", events, |seen| {
        seen.sequences.get(&2).is_some_and(|sequences| sequences.starts_with(&[1, 2, 3, 4, 5]))
    })
    .await?;
    // A broker that lags behind may still show the old topic, whose partitions are read by name all the same.
    let is_new = |seen: &Seen| seen.assigned.last() == Some(&(vec![0, 1, 2], true));
    seen.until("the new topic to be known", events, is_new).await?;
    assert_eq!(seen.reports.last().context("a report")?.broker_id, BrokerId(3));
    Ok(())
}
