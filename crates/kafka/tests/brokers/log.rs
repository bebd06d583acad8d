//! The actions log: every record once, and one writer.

use crate::support::{EVENTUALLY, Of, connection, coordinator, leader_of, tool, transaction, within};
use anyhow::{Context, Result, ensure};
use doctorkafka_kafka::{
    ActionLogReader, ActionLogWriter, Admin, AppendError, Connection, LogEvent, TopicOutcome, TopicSpec,
};
use doctorkafka_testbed::{KafkaCluster, Proxy, wait_until};
use doctorkafka_wire::{ActionKind, ActionRecord, BrokerId, Evidence, Severity};
use jiff::Timestamp;
use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

const LOG: &str = "_doctor_actions_log";

fn record(id: &str) -> ActionRecord {
    ActionRecord {
        version: ActionRecord::VERSION,
        id: id.to_owned(),
        time: Timestamp::UNIX_EPOCH,
        policy: "kafka/prod".to_owned(),
        cluster: "test".to_owned(),
        epoch: 1,
        kind: ActionKind::AlertOverload,
        severity: Severity::Warning,
        broker: Some(BrokerId(2)),
        message: "CPU usage 95% > 80%".to_owned(),
        outcome: None,
        leadership: Vec::new(),
        digest: None,
        step: None,
        treatment: None,
        evidence: Evidence::new(),
    }
}

fn records(ids: impl IntoIterator<Item = String>) -> Vec<ActionRecord> {
    ids.into_iter().map(|id| record(&id)).collect()
}

async fn open(kafka: &KafkaCluster) -> Result<ActionLogWriter> {
    Ok(ActionLogWriter::open(connection(kafka)?, LOG, kafka.cluster_id()).await?)
}

/// What Kafka's own consumer reads of committed records: their ids, in order.
async fn committed_ids(kafka: &KafkaCluster) -> Result<Vec<String>> {
    let arguments = ["--topic", LOG, "--from-beginning", "--timeout-ms", "5000", "--command-property"];
    let arguments = arguments.iter().copied().chain(["isolation.level=read_committed"]);
    let text = tool(kafka, "org.apache.kafka.tools.consumer.ConsoleConsumer", &arguments.collect::<Vec<_>>())
        .await?;
    let decode = |line: &str| ActionRecord::decode(line.as_bytes()).map(|record| record.id);
    // The tool writes its own log lines in between.
    text.lines()
        .filter(|line| line.starts_with('{'))
        .map(decode)
        .collect::<Result<_, _>>()
        .context("a record of the log")
}

/// Reads the log until its end is reached.
async fn read(connection: Connection, tail: i64) -> Result<Vec<String>> {
    let cancel = CancellationToken::new();
    let mut events = ActionLogReader::start(connection, LOG, tail, cancel.clone());
    let ids = until_caught_up(&mut events).await;
    cancel.cancel();
    ids
}

async fn until_caught_up(events: &mut mpsc::Receiver<LogEvent>) -> Result<Vec<String>> {
    let mut ids = Vec::new();
    let work = async {
        loop {
            match events.recv().await.context("the reader has ended")? {
                LogEvent::Record { record, .. } => ids.push(record.id),
                LogEvent::CaughtUp => return Ok(()),
                LogEvent::Restarted | LogEvent::Lost { .. } => {}
                LogEvent::Skipped { offset, reason } => ensure!(false, "{offset}: {reason:?}"),
            }
        }
    };
    within("the end of the log", EVENTUALLY, work).await??;
    Ok(ids)
}

/// Appends as the doctor does: the same records again until it succeeds. Returns how many attempts failed.
async fn append(
    kafka: &KafkaCluster,
    writer: &mut ActionLogWriter,
    records: &[ActionRecord],
) -> Result<usize> {
    let mut records = records.to_vec();
    let mut failed = 0;
    loop {
        let error = match writer.append(records.clone()).await {
            Ok(()) => return Ok(failed),
            Err(error) => error,
        };
        eprintln!("{error:?}");
        failed += 1;
        ensure!(failed < 20, "{error}");
        match error {
            AppendError::Failed { .. } => {}
            AppendError::Broken { .. } => {
                *writer = open(kafka).await?;
                let known = read(connection(kafka)?, 100_000).await?;
                records.retain(|record| !known.contains(&record.id));
            }
            error => return Err(error.into()),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_record_is_written_once_by_one_writer() -> Result<()> {
    let kafka = KafkaCluster::builder().start().await?;
    let admin = Admin::new(connection(&kafka)?);
    assert_eq!(admin.ensure_topic(&TopicSpec::actions_log(LOG, 3)).await?, TopicOutcome::Created);
    leader_of(&admin, LOG, 0).await?;

    let mut expected = a_newer_writer_fences_the_older(&kafka).await?;
    a_batch_is_checked_before_it_is_written(&kafka).await?;
    expected.extend(records_survive_the_death_of_leaders(&kafka, &admin).await?);

    assert_eq!(committed_ids(&kafka).await?, expected, "Kafka's own consumer, read_committed");
    assert_eq!(read(connection(&kafka)?, 100_000).await?, expected, "our own reader");
    a_reader_starts_at_the_tail(&kafka, &expected).await?;
    a_new_log_of_the_same_name_is_read_from_its_start(&kafka, &admin).await
}

/// A transaction asks to have its partition registered, its records taken, and to be ended. With each answer a second
/// late, the wire can be cut in the middle of each.
#[tokio::test(flavor = "multi_thread")]
async fn a_cut_wire_leaves_no_doubt_and_no_repetition() -> Result<()> {
    // A cluster that does not allow the transaction timeout that is asked for first.
    let kafka = KafkaCluster::builder()
        .proxied(true)
        .property("transaction.max.timeout.ms", "120000")
        .start()
        .await?;
    let admin = Admin::new(connection(&kafka)?);
    admin.ensure_topic(&TopicSpec::actions_log(LOG, 3)).await?;
    leader_of(&admin, LOG, 0).await?;
    let mut writer = open(&kafka).await?;
    writer.append(records(["first".into()])).await?;
    let (late, early, halfway) =
        (Proxy::delay_to_client, Duration::from_millis(500), Duration::from_millis(2_500));

    // The broker has the partition registered, and nobody here knows it.
    let error = append_cut_off(&kafka, &mut writer, "registered", late, early).await?;
    assert!(matches!(error, AppendError::Failed { undecided: false, .. }), "{error:?}");
    append(&kafka, &mut writer, &records(["registered".into(), "after registered".into()])).await?;

    // The coordinator has committed, and nobody here knows it.
    let error = append_cut_off(&kafka, &mut writer, "committed", late, halfway).await?;
    assert!(matches!(error, AppendError::Failed { undecided: true, .. }), "{error:?}");
    append(&kafka, &mut writer, &records(["committed".into(), "after committed".into()])).await?;

    // The request to register the partition was sent and has not arrived: there is nothing to abort, which librdkafka
    // does not expect. The writer says that it is out, and the next one finds none of it.
    let error = append_cut_off(&kafka, &mut writer, "unsent", Proxy::delay_to_target, early).await?;
    assert!(matches!(error, AppendError::Failed { undecided: false, .. }), "{error:?}");
    let error = writer.append(records(["unsent".into()])).await.unwrap_err();
    assert!(matches!(error, AppendError::Broken { .. }), "{error:?}");
    let mut writer = open(&kafka).await?;
    assert!(!read(connection(&kafka)?, 100).await?.contains(&"unsent".to_owned()));
    writer.append(records(["unsent".into(), "after unsent".into()])).await?;

    // The coordinator has committed, and another doctor takes over before this one knows.
    let error = append_cut_off(&kafka, &mut writer, "taken over", late, halfway).await?;
    assert!(matches!(error, AppendError::Failed { undecided: true, .. }), "{error:?}");
    let mut next = open(&kafka).await?;
    let known = read(connection(&kafka)?, 100).await?;
    let error = writer.append(records(["taken over".into(), "too late".into()])).await;
    assert_eq!(error, Err(AppendError::Fenced));
    next.append(records(["next".into()])).await?;

    let before =
        ["first", "registered", "after registered", "committed", "after committed", "unsent", "after unsent"];
    let expected: Vec<&str> = before.into_iter().chain(["taken over"]).collect();
    assert_eq!(
        known, expected,
        "what the next doctor finds is all that there will ever be of the one before"
    );
    let expected: Vec<&str> = expected.into_iter().chain(["next"]).collect();
    assert_eq!(committed_ids(&kafka).await?, expected);
    Ok(())
}

fn transactional_id(kafka: &KafkaCluster) -> String {
    format!("doctorkafka-{}", kafka.cluster_id())
}

/// Appends a record over a slow wire, and cuts the wire after some time until the append has failed.
async fn append_cut_off(
    kafka: &KafkaCluster,
    writer: &mut ActionLogWriter,
    id: &str,
    slow_down: fn(&Proxy, Duration),
    cut_after: Duration,
) -> Result<AppendError> {
    // A transaction is complete some time after its writer was told that it is committed. Until then the next is
    // put off, which would upset the timing.
    wait_until("the transaction before to be complete", EVENTUALLY, || async {
        transaction(kafka, &transactional_id(kafka)).await.is_ok_and(|state| state.starts_with("Complete"))
    })
    .await?;
    let proxies: Vec<_> = kafka.brokers().iter().map(|broker| kafka.proxy(broker.id())).collect();
    proxies.iter().for_each(|proxy| slow_down(proxy, Duration::from_secs(1)));
    let appending = writer.append(records([id.into()]));
    let cutting = async {
        tokio::time::sleep(cut_after).await;
        proxies.iter().for_each(|proxy| proxy.cut());
    };
    let (result, ()) = tokio::join!(appending, cutting);
    for proxy in proxies {
        proxy.delay(Duration::ZERO);
        proxy.restore()?;
    }
    let error = result.err().with_context(|| format!("{id} was written"))?;
    eprintln!("{id}: {error:?}");
    Ok(error)
}

async fn a_newer_writer_fences_the_older(kafka: &KafkaCluster) -> Result<Vec<String>> {
    let mut first = open(kafka).await?;
    first.append(records(["a1".into(), "a2".into()])).await?;
    // The same again, as after a call whose answer was lost: nothing is written twice.
    first.append(records(["a1".into(), "a2".into(), "a3".into()])).await?;
    let mut second = open(kafka).await?;
    assert_eq!(first.append(records(["late".into()])).await, Err(AppendError::Fenced));
    second.append(records(["b1".into()])).await?;
    // A fenced writer stays fenced, and does not fence the one that fenced it.
    assert_eq!(first.append(records(["late".into()])).await, Err(AppendError::Fenced));
    second.append(records(["b2".into()])).await?;
    let expected = ["a1", "a2", "a3", "b1", "b2"].map(str::to_owned).to_vec();
    assert_eq!(read(connection(kafka)?, 100).await?, expected);
    Ok(expected)
}

async fn a_batch_is_checked_before_it_is_written(kafka: &KafkaCluster) -> Result<()> {
    let mut writer = open(kafka).await?;
    let mut large = record("large");
    large.message = "x".repeat(1_000_000);
    let error = writer.append(vec![record("small"), large]).await.expect_err("one is too large");
    assert!(matches!(&error, AppendError::TooLarge { id, .. } if id == "large"), "{error}");
    writer.append(Vec::new()).await?;
    Ok(())
}

/// The log's leader dies, then the coordinator of its transactions, then that hangs, in the middle of appends.
async fn records_survive_the_death_of_leaders(kafka: &KafkaCluster, admin: &Admin) -> Result<Vec<String>> {
    let mut writer = open(kafka).await?;
    let mut expected = Vec::new();
    for round in ["leader", "coordinator", "hung coordinator"] {
        let victim = match round {
            "leader" => leader_of(admin, LOG, 0).await?.0,
            _ => coordinator(kafka, Of::Transactions(&transactional_id(kafka))).await?,
        };
        let killed = AtomicBool::new(false);
        let (some, enough) = (Notify::new(), 20);
        let appending = async {
            let (mut failed, mut after, mut longest) = (0, 0, Duration::ZERO);
            for batch in 0.. {
                let ids: Vec<String> = (0..3).map(|i| format!("{round}-{batch}-{i}")).collect();
                let start = Instant::now();
                failed += append(kafka, &mut writer, &records(ids.clone())).await?;
                longest = longest.max(start.elapsed());
                expected.extend(ids);
                if batch == enough {
                    some.notify_one();
                }
                after += usize::from(killed.load(Ordering::Relaxed));
                if after == enough {
                    break;
                }
            }
            eprintln!("{round} {victim}: {failed} attempts failed, the longest append took {longest:.1?}");
            anyhow::Ok(())
        };
        let killing = async {
            some.notified().await;
            match round {
                "hung coordinator" => kafka.pause(victim)?,
                _ => kafka.kill(victim).await?,
            }
            killed.store(true, Ordering::Relaxed);
            Ok(())
        };
        tokio::try_join!(appending, killing)?;
        match round {
            "hung coordinator" => kafka.resume(victim)?,
            _ => kafka.start(victim).await?,
        }
        wait_until("all replicas of the log in sync", EVENTUALLY, || async {
            let topics = admin.topics(Some(&[LOG, "__transaction_state"])).await.unwrap_or_default();
            topics.len() == 2
                && topics.iter().flat_map(|topic| &topic.partitions).all(|p| p.isr.len() == p.replicas.len())
        })
        .await?;
    }
    Ok(expected)
}

async fn a_reader_starts_at_the_tail(kafka: &KafkaCluster, all: &[String]) -> Result<()> {
    // Each batch of three takes four offsets, the last of them for the end of its transaction.
    let tail = read(connection(kafka)?, 8).await?;
    assert_eq!(tail, all[all.len() - 6..]);
    Ok(())
}

async fn a_new_log_of_the_same_name_is_read_from_its_start(
    kafka: &KafkaCluster,
    admin: &Admin,
) -> Result<()> {
    let mut events = ActionLogReader::start(connection(kafka)?, LOG, 1, CancellationToken::new());
    until_caught_up(&mut events).await?;
    tool(kafka, "org.apache.kafka.tools.TopicCommand", &["--delete", "--topic", LOG]).await?;
    wait_until("the topic", EVENTUALLY, || async {
        matches!(admin.ensure_topic(&TopicSpec::actions_log(LOG, 3)).await, Ok(TopicOutcome::Created))
    })
    .await?;
    let mut writer = open(kafka).await?;
    append(kafka, &mut writer, &records(["new".into()])).await?;
    let work = async {
        let mut restarted = false;
        loop {
            match events.recv().await.context("the reader has ended")? {
                LogEvent::Restarted => restarted = true,
                LogEvent::Record { record, .. } => {
                    assert!(restarted, "{} before the news", record.id);
                    assert_eq!(record.id, "new");
                    return Ok(());
                }
                LogEvent::CaughtUp | LogEvent::Lost { .. } => {}
                LogEvent::Skipped { offset, reason } => ensure!(false, "{offset}: {reason:?}"),
            }
        }
    };
    within("the record of the new log", EVENTUALLY, work).await?
}
