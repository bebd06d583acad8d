//! Sidecars beside real brokers that die, hang, come back and go away altogether.

mod support;

use anyhow::{Context, Result, ensure};
use doctorkafka_kafka::{Admin, Connection, TopicSpec};
use doctorkafka_testbed::{KafkaCluster, Listener, Process, free_port, wait_until};
use doctorkafka_wire::{BrokerId, Goodbye, METRICS_TOPIC, ProcessState};
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};
use support::{PARTITIONS, Reader, sidecar_command, start_sidecar};
use tokio::sync::Mutex;

/// One cluster at a time: what is measured here is time.
static ALONE: Mutex<()> = Mutex::const_new(());

const SOON: Duration = Duration::from_secs(30);

async fn get(url: String) -> Result<String> {
    let body =
        tokio::task::spawn_blocking(move || ureq::get(url).call()?.body_mut().read_to_string()).await?;
    Ok(body?)
}

/// Creates the topic as the doctor does.
async fn create_topic(kafka: &KafkaCluster, brokers: usize) -> Result<()> {
    let admin = Admin::new(Connection::new(&kafka.bootstrap(), "test")?);
    admin.ensure_topic(&TopicSpec::metrics(METRICS_TOPIC, brokers)).await?;
    Ok(())
}

/// The value of a line without labels.
fn figure(page: &str, name: &str) -> Result<f64> {
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.with_context(|| format!("{name} is not in\n{page}"))?.parse().context("not a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_dies_hangs_and_returns() -> Result<()> {
    let _alone = ALONE.lock().await;
    let kafka = KafkaCluster::builder().brokers(3).start().await?;
    create_topic(&kafka, 3).await?;
    let logs = tempfile::tempdir()?;
    let mut reader = Reader::start(&kafka)?;
    // Three brokers on one machine, and nothing but the id says which is ours.
    let sidecar = start_sidecar(&kafka, 2, logs.path(), &["--listen", "off"])?;
    let told = dies_hangs_and_returns(&kafka, &sidecar, &mut reader).await;
    told.with_context(|| format!("the sidecar's log ends with\n{}", sidecar.log_tail()))
}

async fn dies_hangs_and_returns(kafka: &KafkaCluster, sidecar: &Process, reader: &mut Reader) -> Result<()> {
    let pid = kafka.broker(2).pid().context("broker 2 runs")?;
    let well = reader
        .find("a full report", SOON, |arrived| {
            arrived.report.cpu.is_some()
                && arrived.report.probe.as_ref().is_some_and(|probe| probe.ok)
                && arrived.report.cluster_id.is_some()
                && !arrived.report.log_dirs.is_empty()
        })
        .await?
        .report;
    assert_eq!(well.broker_id, BrokerId(2));
    assert_eq!(well.cluster_id.as_deref(), Some(kafka.cluster_id()));
    assert_eq!(
        (well.process.state, well.process.pid, well.process.restarts),
        (ProcessState::Running, Some(pid), 0)
    );
    assert!(well.memory.context("memory")?.rss_bytes > 50_000_000, "a JVM takes more");
    assert!(well.cpu.context("cpu")?.limit_cores > 0.0);
    assert!(well.log_dirs[0].total_bytes > 0);

    // One a second, none left out.
    let first = reader.find("the next report", SOON, |_| true).await?;
    let tenth = first.report.sequence + 9;
    let mut seen = BTreeSet::from([first.report.sequence]);
    let last = reader
        .find("nine more", SOON, |arrived| {
            seen.insert(arrived.report.sequence);
            arrived.report.sequence >= tenth
        })
        .await?;
    assert_eq!(seen.len(), 10, "{seen:?}");
    let took = last.at.duration_since(first.at);
    assert!((8.0..10.5).contains(&took.as_secs_f64()), "ten reports took {took:?}");

    let killed = Instant::now();
    kafka.kill(2).await?;
    let gone = reader
        .find("the news of its death", SOON, |arrived| arrived.report.process.state == ProcessState::Absent)
        .await?;
    let took = gone.at.duration_since(killed);
    assert!(took < Duration::from_millis(1_500), "the news took {took:?}");
    assert_eq!((gone.report.cpu, gone.report.memory), (None, None));
    assert!(!gone.report.log_dirs.is_empty(), "what is known of its disks is not forgotten");
    // They keep coming while it is down.
    let later = gone.report.sequence + 5;
    let still = reader.find("further reports", SOON, |arrived| arrived.report.sequence >= later).await?;
    assert_eq!(still.report.process.state, ProcessState::Absent);

    kafka.start(2).await?;
    let back = reader
        .find("its return", SOON, |arrived| {
            arrived.report.sequence > still.report.sequence
                && arrived.report.process.state == ProcessState::Running
                && arrived.report.probe.as_ref().is_some_and(|probe| probe.ok)
        })
        .await?;
    assert_eq!(back.report.process.restarts, 1);
    assert_eq!(back.report.process.pid, kafka.broker(2).pid());

    let paused = Instant::now();
    kafka.pause(2)?;
    let hung = reader
        .find("the news that it hangs", SOON, |arrived| {
            // The copies of older reports on the partition that it leads arrive only now.
            arrived.report.sequence > back.report.sequence
                && arrived.report.probe.as_ref().is_some_and(|probe| !probe.ok)
        })
        .await?;
    let took = hung.at.duration_since(paused);
    assert!(took < Duration::from_secs(4), "the news took {took:?}");
    assert_eq!(hung.report.process.state, ProcessState::Stopped);
    kafka.resume(2)?;
    reader
        .find("that it goes on", SOON, |arrived| {
            arrived.report.sequence > hung.report.sequence
                && arrived.report.process.state == ProcessState::Running
                && arrived.report.probe.as_ref().is_some_and(|probe| probe.ok)
        })
        .await?;

    let ended = sidecar.terminate().await?;
    assert_eq!(ended.code(), Some(0));
    let mut on = BTreeSet::new();
    reader
        .find("a goodbye on every partition", SOON, |arrived| {
            if arrived.report.goodbye == Some(Goodbye::Terminated) {
                on.insert(arrived.partition);
            }
            on.len() == usize::try_from(PARTITIONS).unwrap_or_default()
        })
        .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_goes_away_and_comes_back() -> Result<()> {
    let _alone = ALONE.lock().await;
    let kafka = KafkaCluster::builder().brokers(1).start().await?;
    let logs = tempfile::tempdir()?;
    let listen = format!("127.0.0.1:{}", free_port()?);
    let sidecar = start_sidecar(
        &kafka,
        1,
        logs.path(),
        &["--listen", &listen, "--interval", "200ms", "--simulate", "--seed", "7"],
    )?;
    let told = goes_away_and_comes_back(&kafka, &sidecar, &listen).await;
    told.with_context(|| format!("the sidecar's log ends with\n{}", sidecar.log_tail()))
}

async fn goes_away_and_comes_back(kafka: &KafkaCluster, sidecar: &Process, listen: &str) -> Result<()> {
    let page = format!("http://{listen}/metrics");
    // There is no topic yet.
    wait_until("reports to wait for the topic", SOON, || async {
        let page = get(page.clone()).await.ok()?;
        figure(&page, "doctorkafka_sidecar_buffered_reports").ok().filter(|waiting| *waiting >= 10.0)
    })
    .await?;
    create_topic(kafka, 1).await?;
    let mut reader = Reader::start(kafka)?;
    let first = reader.find("the first report", SOON, |_| true).await?;
    assert_eq!(first.report.sequence, 1, "what waited was kept");
    assert!(first.report.simulated);

    let spike = ureq::post(format!("http://{listen}/simulate/spike?seconds=5")).send_empty()?;
    ensure!(spike.status() == 200);
    let spiked = reader
        .find("the spike", SOON, |arrived| arrived.report.cpu.as_ref().is_some_and(|cpu| cpu.percent >= 95.0))
        .await?;
    let cpu = spiked.report.cpu.context("cpu")?;
    assert!((cpu.used_cores / cpu.limit_cores * 100.0 - cpu.percent).abs() < 0.01, "{cpu:?}");
    assert!(ureq::post(format!("http://{listen}/simulate/spike?seconds=0")).send_empty().is_err());

    kafka.kill(1).await?;
    // At five reports a second the buffer is full soon, and stays as it is.
    let lost = wait_until("old reports to give way", SOON, || async {
        let page = get(page.clone()).await.ok()?;
        let buffered = figure(&page, "doctorkafka_sidecar_buffered_reports").ok()?;
        assert!(buffered <= 68.0, "{buffered} reports are kept");
        let name = "doctorkafka_sidecar_records_lost_total{reason=\"overflow\"}";
        figure(&page, name).ok().filter(|lost| *lost >= 20.0)
    })
    .await?;
    assert!(lost >= 20.0);
    let health = get(format!("http://{listen}/healthz")).await?;
    assert!(
        health.starts_with("ok, but no report was acknowledged for"),
        "the sidecar itself is well: {health}"
    );
    let published = figure(&get(page.clone()).await?, "doctorkafka_sidecar_reports_total")? as u64;

    kafka.start(1).await?;
    let fresh = reader
        .find("a report made after the return", SOON, |arrived| {
            arrived.report.sequence > published && arrived.report.process.state == ProcessState::Running
        })
        .await?;
    assert_eq!(fresh.report.process.restarts, 1);
    wait_until("the buffer to empty", SOON, || async {
        let page = get(page.clone()).await.ok()?;
        figure(&page, "doctorkafka_sidecar_buffered_reports").ok().filter(|waiting| *waiting < 10.0)
    })
    .await?;
    assert_eq!(sidecar.terminate().await?.code(), Some(0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_corrected_password_opens_the_way() -> Result<()> {
    let _alone = ALONE.lock().await;
    let listener = Listener::new("BOTH").tls().sasl(&["SCRAM-SHA-512"]);
    let kafka = KafkaCluster::builder().brokers(1).user("sidecar", "rightpassword").listener(listener);
    let kafka = kafka.start().await?;
    create_topic(&kafka, 1).await?;
    let folder = tempfile::tempdir()?;
    let (authorities, password) = (folder.path().join("ca.crt"), folder.path().join("password"));
    std::fs::write(&authorities, &kafka.certificates().authority)?;
    std::fs::write(&password, "wrongpassword\n")?;
    let mut reader = Reader::start(&kafka)?;
    // The system's authorities, of which there is one for this process.
    let mut command = sidecar_command(&kafka, 1)?;
    command.env("KAFKA_BROKERS", kafka.bootstrap_of("BOTH")).env("SSL_CERT_FILE", &authorities);
    command.args([
        "--listen",
        "off",
        "--tls",
        "--sasl-mechanism",
        "SCRAM-SHA-512",
        "--sasl-username",
        "sidecar",
    ]);
    command.arg("--sasl-password-file").arg(&password);
    let sidecar = Process::spawn("sidecar", command, folder.path().join("sidecar.log"))?;
    let log = || std::fs::read_to_string(sidecar.log()).unwrap_or_default();
    wait_until("the refusal to be told", SOON, || async {
        log().contains("due to invalid credentials with SASL mechanism SCRAM-SHA-512")
    })
    .await
    .with_context(log)?;

    std::fs::write(&password, "rightpassword\n")?;
    let report = reader.find("a report", SOON, |_| true).await.with_context(log)?.report;
    assert_eq!(report.broker_id, BrokerId(1));
    let log = log();
    assert!(!log.contains("wrongpassword") && !log.contains("rightpassword"), "{log}");
    assert_eq!(sidecar.terminate().await?.code(), Some(0));
    Ok(())
}
