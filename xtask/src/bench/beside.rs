//! The sidecar beside a broker, and the Prometheus JMX exporter inside an equal one, in one run.

use super::{
    page::{Section, machine},
    programs::Programs,
    usage::{heap_mb, watch},
};
use anyhow::{Context, ensure};
use doctorkafka_testbed::{KafkaCluster, Process, free_port};
use std::{path::Path, path::PathBuf, time::Duration};
use tokio::process::Command;

const EXPORTER: &str = "1.0.1";

/// Three equal one-broker clusters under the same load: one alone, one with a sidecar, one with the exporter.
///
/// # Errors
/// Something does not start.
pub async fn measure(programs: &Programs, time: Duration) -> anyhow::Result<Section> {
    let folder = tempfile::tempdir()?;
    let jar = exporter_jar(folder.path()).await?;
    let port = free_port()?;
    let rules = folder.path().join("exporter.yaml");
    std::fs::write(&rules, "rules: [{pattern: '.*'}]\n")?;
    let agent = format!("-javaagent:{}=127.0.0.1:{port}:{}", jar.display(), rules.display());

    eprintln!("starting three equal brokers");
    let alone = KafkaCluster::builder().brokers(1).start().await?;
    let with_sidecar = KafkaCluster::builder().brokers(1).start().await?;
    let with_exporter = KafkaCluster::builder().brokers(1).jvm_arg(agent).start().await?;
    let mut loads = Vec::new();
    for (name, kafka) in [("alone", &alone), ("sidecar", &with_sidecar), ("exporter", &with_exporter)] {
        kafka.create_topic("load", 12, 1).await?;
        kafka.create_topic("_doctor_metrics", 3, 1).await?;
        loads.push(load(kafka, name, folder.path())?);
    }
    let broker = with_sidecar.broker(1);
    let mut command = Command::new(&programs.sidecar);
    command
        .args(["--broker-id", "1", "--kafka-brokers", &with_sidecar.bootstrap(), "--broker-match"])
        .arg(broker.config())
        .args(["--probe", broker.address(), "--listen", "127.0.0.1:0", "--log-dir"])
        .arg(broker.log_dir());
    let sidecar = Process::spawn("sidecar", command, folder.path().join("sidecar.log"))?;
    let scraper = tokio::task::spawn_blocking(move || scrape(port, time + Duration::from_secs(60)));

    tokio::time::sleep(Duration::from_secs(30)).await; // class loading and compilation settle
    eprintln!("watching for {time:?}");
    let pid = |kafka: &KafkaCluster| kafka.broker(1).pid().context("the broker runs");
    let pids = [sidecar.pid(), pid(&alone)?, pid(&with_sidecar)?, pid(&with_exporter)?];
    let usage = watch(&pids, time).await?;
    let mut rows = Vec::new();
    let names =
        ["sidecar", "broker alone", "broker with a sidecar beside it", "broker with the JMX exporter in it"];
    for ((name, pid), usage) in names.iter().zip(pids).zip(&usage) {
        let heap = if *name == "sidecar" { "–".to_owned() } else { format!("{:.1}", heap_mb(pid).await?) };
        rows.push(vec![
            (*name).to_owned(),
            format!("{:.2} %", usage.cpu_percent),
            format!("{:.1} (max {:.1})", usage.resident_mb, usage.resident_max_mb),
            heap,
        ]);
    }
    scraper.abort();
    Ok(Section {
        title: "Sidecar beside a broker",
        how: format!(
            "{}. Three one-broker clusters (Kafka {}, -Xmx256m), each given 100 records of 200 bytes a second, watched at \
             the same time for {} s after 30 s of warm-up. One report a second by the sidecar; the Prometheus JMX exporter \
             {EXPORTER} scraped once a second with its default rules. CPU in percent of one core; resident memory as the \
             median of one look a second; heap after a full collection.",
            machine(),
            alone.version(),
            time.as_secs()
        ),
        columns: vec!["process", "CPU", "resident, MB", "heap, MB"],
        rows,
    })
}

async fn exporter_jar(folder: &Path) -> anyhow::Result<PathBuf> {
    let status = Command::new("mvn")
        .args(["-q", "-B", "org.apache.maven.plugins:maven-dependency-plugin:3.6.0:copy"])
        .arg(format!("-Dartifact=io.prometheus.jmx:jmx_prometheus_javaagent:{EXPORTER}"))
        .arg(format!("-DoutputDirectory={}", folder.display()))
        .current_dir(folder)
        .status()
        .await
        .context("mvn downloads the JMX exporter: install Maven")?;
    ensure!(status.success(), "Maven could not download the JMX exporter {EXPORTER}");
    Ok(folder.join(format!("jmx_prometheus_javaagent-{EXPORTER}.jar")))
}

fn load(kafka: &KafkaCluster, name: &str, folder: &Path) -> anyhow::Result<Process> {
    let mut producer = kafka.tool("org.apache.kafka.tools.ProducerPerformance");
    producer
        .args([
            "--topic",
            "load",
            "--num-records",
            "1000000000",
            "--record-size",
            "200",
            "--throughput",
            "100",
        ])
        .args(["--producer-props", &format!("bootstrap.servers={}", kafka.bootstrap()), "acks=all"]);
    Process::spawn(format!("load {name}"), producer, folder.join(format!("load-{name}.log")))
}

fn scrape(port: u16, time: Duration) {
    let begin = std::time::Instant::now();
    let url = format!("http://127.0.0.1:{port}/metrics");
    while begin.elapsed() < time {
        let next = std::time::Instant::now() + Duration::from_secs(1);
        if let Ok(mut answer) = ureq::get(&url).call() {
            let _ = answer.body_mut().read_to_vec();
        }
        std::thread::sleep(next.saturating_duration_since(std::time::Instant::now()));
    }
}
