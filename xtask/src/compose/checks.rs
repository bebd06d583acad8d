//! What the README and the proof of concept promise of the stack.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use doctorkafka_testbed::wait_until;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use serde_json::Value;

use super::stack::{DOCTORS, Doctor, Stack};

/// From `docker compose up` until every service is well; the images are there.
const UP_WITHIN: Duration = Duration::from_secs(60);
/// The simulated spikes come every half a minute or so, and the first may come before there is anything to advise.
const SPIKE_WITHIN: Duration = Duration::from_secs(240);
/// From the end of a broker's process until its doctor says so. The collector of broker 3 falls silent at times.
const DOWN_WITHIN: Duration = Duration::from_secs(60);
const BACK_WITHIN: Duration = Duration::from_secs(120);
/// An election of Kafka's: a killed member is missed after its session's time.
const HAND_OVER_WITHIN: Duration = Duration::from_secs(90);
const READ_WITHIN: Duration = Duration::from_secs(60);

const BROKERS: [i64; 3] = [1, 2, 3];

/// All of it, in the order of a first look. Each check prints what it saw.
pub async fn all(stack: &Stack<'_>) -> Result<()> {
    step("docker compose up: every service is well within a minute", up(stack)).await?;
    step("the dashboard shows three brokers, and Kafka UI's port answers", pages(stack)).await?;
    step("a spike of CPU is an alert, advice and a recovery", spike(stack)).await?;
    step("a client of this machine reads the actions log", actions_log(stack)).await?;
    step("docker compose kill kafka-3, and start", broker_killed(stack)).await?;
    step("docker compose kill of the leading doctor: the other leads", leader_killed(stack)).await?;
    step("docker compose down --volumes leaves nothing", down(stack)).await
}

async fn step(name: &str, check: impl Future<Output = Result<()>>) -> Result<()> {
    println!("\n=== {name}");
    let begun = Instant::now();
    check.await.with_context(|| format!("{name}, after {} s", begun.elapsed().as_secs()))?;
    println!("  ok, {} s", begun.elapsed().as_secs());
    Ok(())
}

async fn up(stack: &Stack<'_>) -> Result<()> {
    let begun = Instant::now();
    stack.compose(&["up", "--detach", "--no-build", "--pull", "never"]).await?;
    let well = wait_until("every service to be well", UP_WITHIN, || async {
        stack.not_well().await.is_ok_and(|not_well| not_well.is_empty())
    });
    if well.await.is_err() {
        bail!(
            "not well {} s after docker compose up: {:?}",
            begun.elapsed().as_secs(),
            stack.not_well().await?
        );
    }
    ensure!(begun.elapsed() <= UP_WITHIN, "up after {} s only", begun.elapsed().as_secs());
    println!("  up after {} s", begun.elapsed().as_secs());
    Ok(())
}

async fn pages(stack: &Stack<'_>) -> Result<()> {
    for doctor in DOCTORS {
        wait_until("three brokers to be known", UP_WITHIN, || async {
            let report = stack.report(doctor).await.ok()?;
            let known = BROKERS.iter().all(|id| state(&report, *id).is_some_and(|state| state != "Unknown"));
            (known && brokers(&report).len() == BROKERS.len()).then_some(())
        })
        .await?;
        let (status, page) = stack.get(doctor.dashboard, "/").await?;
        ensure!(status == 200, "the dashboard answers with status {status}");
        for host in ["kafka-1", "kafka-2", "kafka-3"] {
            ensure!(page.contains(host), "the dashboard on {} does not show {host}", doctor.dashboard);
        }
    }
    let leader = leader(stack, UP_WITHIN).await?;
    println!("  dashboards on 3000 and 3002; {} leads, the other stands by", leader.service);
    let (status, page) = stack.get(8080, "/").await?;
    ensure!(status == 200, "port 8080 answers with status {status}");
    println!("  8080: {}", page.trim());
    Ok(())
}

async fn spike(stack: &Stack<'_>) -> Result<()> {
    let leader = leader(stack, UP_WITHIN).await?;
    let story = wait_until("a spike to be told from its alert to its end", SPIKE_WITHIN, || async {
        story(actions(&stack.report(leader).await.ok()?))
    });
    let story = story.await?;
    let (_, page) = stack.get(3000, "/").await?;
    for (kind, message) in &story {
        ensure!(page.contains(kind), "the dashboard does not show {kind}");
        println!("  {kind}: {message}");
    }
    Ok(())
}

/// The records, of one broker and in this order, that the proof of concept describes.
fn story(actions: &[Value]) -> Option<Vec<(String, String)>> {
    const TOLD: [(&str, &str); 3] = [
        ("ALERT_OVERLOAD", "CPU usage "),
        ("REASSIGN_PARTITIONS", "Moving leadership of "),
        ("RECOVERED", ""),
    ];
    BROKERS.iter().find_map(|broker| {
        let mut records = actions.iter().filter(|record| record["broker"] == *broker);
        TOLD.iter()
            .map(|(kind, message)| {
                let record = records.find(|record| {
                    record["kind"] == *kind
                        && record["message"].as_str().is_some_and(|text| text.starts_with(message))
                })?;
                Some(((*kind).to_owned(), record["message"].as_str()?.to_owned()))
            })
            .collect()
    })
}

/// By the addresses that the brokers give to clients outside of the containers.
async fn actions_log(stack: &Stack<'_>) -> Result<()> {
    let kinds = stack.inside(read_actions_log).await??;
    ensure!(kinds.contains("LEADER_STARTED") && kinds.contains("ALERT_OVERLOAD"), "only {kinds:?} are in it");
    println!("  in it: {}", kinds.into_iter().collect::<Vec<_>>().join(" "));
    Ok(())
}

fn read_actions_log() -> Result<BTreeSet<String>> {
    const TOPIC: &str = "_doctor_actions_log";
    let begun = Instant::now();
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", "localhost:9092,localhost:9093,localhost:9094")
        .set("broker.address.family", "v4")
        .set("group.id", "doctorkafka-compose")
        .set("enable.partition.eof", "true")
        .create()?;
    let metadata = consumer.fetch_metadata(Some(TOPIC), READ_WITHIN)?;
    let mut ports: Vec<i32> = metadata.brokers().iter().map(|broker| broker.port()).collect();
    ports.sort_unstable();
    ensure!(ports == [9092, 9093, 9094], "the brokers give the ports {ports:?}");
    let mut whole = TopicPartitionList::new();
    whole.add_partition_offset(TOPIC, 0, Offset::Beginning)?;
    consumer.assign(&whole)?;
    let mut kinds = BTreeSet::new();
    while begun.elapsed() < READ_WITHIN {
        match consumer.poll(Duration::from_secs(1)) {
            None => {}
            Some(Ok(message)) => {
                let record: Value = serde_json::from_slice(message.payload().unwrap_or_default())?;
                kinds.extend(record["kind"].as_str().map(str::to_owned));
            }
            Some(Err(rdkafka::error::KafkaError::PartitionEOF(_))) => return Ok(kinds),
            Some(Err(error)) => return Err(error).context("the actions log cannot be read"),
        }
    }
    bail!("the end of the actions log was not reached within {} s", READ_WITHIN.as_secs())
}

async fn broker_killed(stack: &Stack<'_>) -> Result<()> {
    let doctor = leader(stack, UP_WITHIN).await?;
    // Its collector's own silence is an illness too: wait until that is over.
    let serves = |report: &Value| matches!(state(report, 3), Some("Healthy" | "Overloaded"));
    wait_until("broker 3 to serve", BACK_WITHIN, || async {
        stack.report(doctor).await.is_ok_and(|r| serves(&r))
    })
    .await?;
    stack.compose(&["kill", "kafka-3"]).await?;
    let told = wait_until("broker 3 to be unhealthy, its process gone", DOWN_WITHIN, || async {
        let report = stack.report(doctor).await.ok()?;
        if let Some(other) = [1, 2].into_iter().find(|id| state(&report, *id) == Some("Unhealthy")) {
            return Some(Err(format!("broker {other} is called unhealthy, and broker 3 was killed")));
        }
        let broker = broker(&report, 3)?;
        let is_told = broker["state"] == "Unhealthy" && broker["reason"] == "ProcessDown";
        is_told.then(|| Ok(broker["message"].as_str().unwrap_or_default().to_owned()))
    });
    println!("  broker 3: {}", told.await?.map_err(anyhow::Error::msg)?);
    stack.compose(&["start", "kafka-3"]).await?;
    wait_until("broker 3 to serve again", BACK_WITHIN, || async {
        stack.report(doctor).await.is_ok_and(|r| serves(&r))
    })
    .await
}

async fn leader_killed(stack: &Stack<'_>) -> Result<()> {
    let first = leader(stack, UP_WITHIN).await?;
    let epoch = |report: &Value| report["role"]["epoch"].as_u64();
    let before = epoch(&stack.report(first).await?).context("a leader without an epoch")?;
    let second = *DOCTORS.iter().find(|doctor| **doctor != first).context("one doctor only")?;
    stack.compose(&["kill", first.service]).await?;
    let begun = Instant::now();
    let after = wait_until("the other doctor to lead", HAND_OVER_WITHIN, || async {
        let report = stack.report(second).await.ok()?;
        if is(&report, "leading") { epoch(&report) } else { None }
    });
    let after = after.await?;
    ensure!(after > before, "epoch {after} follows epoch {before}");
    println!("  {} leads after {} s, epoch {after}", second.service, begun.elapsed().as_secs());
    stack.compose(&["start", first.service]).await?;
    leader(stack, HAND_OVER_WITHIN).await.map(|_leader| ())
}

async fn down(stack: &Stack<'_>) -> Result<()> {
    stack.compose(&["down", "--volumes"]).await?;
    for list in [
        ["ps", "--all", "--quiet"].as_slice(),
        &["volume", "ls", "--quiet"],
        &["network", "ls", "--quiet", "--filter", "type=custom"],
    ] {
        let left = stack.run(list).await?;
        ensure!(left.is_empty(), "docker {} still tells of {left}", list.join(" "));
    }
    Ok(())
}

/// The doctor that leads, as soon as one does and the other stands by.
async fn leader(stack: &Stack<'_>, within: Duration) -> Result<Doctor> {
    wait_until("one doctor to lead and the other to stand by", within, || async {
        let [one, other] = DOCTORS;
        let (first, second) = (stack.report(one).await.ok()?, stack.report(other).await.ok()?);
        if is(&first, "leading") && is(&second, "standby") {
            Some(one)
        } else {
            (is(&second, "leading") && is(&first, "standby")).then_some(other)
        }
    })
    .await
}

fn is(report: &Value, role: &str) -> bool {
    report["role"]["state"] == role
}

fn brokers(report: &Value) -> &[Value] {
    report["brokers"].as_array().map_or(&[], Vec::as_slice)
}

fn broker(report: &Value, id: i64) -> Option<&Value> {
    brokers(report).iter().find(|broker| broker["id"] == id)
}

fn state(report: &Value, id: i64) -> Option<&str> {
    broker(report, id)?["state"].as_str()
}

/// Oldest first.
fn actions(report: &Value) -> &[Value] {
    report["actions"].as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_a_whole_story_of_one_broker_counts() {
        let record = |broker: i64, kind: &str, message: &str| json!({"broker": broker, "kind": kind, "message": message});
        let alert = |broker| record(broker, "ALERT_OVERLOAD", "CPU usage 95% > 80%");
        let advice = |broker| record(broker, "REASSIGN_PARTITIONS", "Moving leadership of 8 partitions");
        let end = |broker| record(broker, "RECOVERED", "CPU usage 41% < 70%");
        assert!(story(&[alert(1), advice(2), end(1)]).is_none());
        assert!(story(&[advice(1), alert(1), end(1)]).is_none());
        assert!(story(&[record(1, "ALERT_OVERLOAD", "Disk usage 90%"), advice(1), end(1)]).is_none());
        let told = story(&[alert(2), alert(1), advice(2), end(1), end(2)]).unwrap();
        assert_eq!(told[1].1, "Moving leadership of 8 partitions");
    }
}
