//! From a fault to the state that tells it.

use super::{
    doctor::Doctor,
    page::{Section, machine, median_and_max},
    programs::Programs,
    reporter::report,
};
use anyhow::{Context, ensure};
use doctorkafka_kafka::{Connection, ReportPublisher};
use doctorkafka_testbed::{KafkaCluster, Process};
use doctorkafka_wire::BrokerId;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};
use tokio::process::Command;

/// The broker that the benchmark itself reports for.
const REPORTED: i32 = 2;

struct Ward {
    kafka: KafkaCluster,
    folder: tempfile::TempDir,
    sidecars: BTreeMap<i32, Process>,
    doctor: Doctor,
}

/// Repeats each fault and times what the doctor's API tells of it.
///
/// # Errors
/// Something does not start, or a fault is not told within 40 s.
pub async fn measure(programs: &Programs, runs: u32) -> anyhow::Result<Section> {
    let mut ward = Ward::start(programs).await?;
    let mut rows = Vec::new();
    let mut row = |what: &str, mut seconds: Vec<f64>| {
        let (median, max) = median_and_max(&mut seconds);
        rows.push(vec![what.to_owned(), format!("{median:.2} s"), format!("{max:.2} s")]);
    };
    let mut crash = Vec::new();
    let mut silence = Vec::new();
    for run in 0..runs {
        let broker = i32::try_from(run % 3)? + 1;
        crash.push(ward.crash(broker).await?);
        silence.push(ward.silence(programs, broker).await?);
        eprintln!("run {}: crash {:.2?} s, silence {:.2?} s", run + 1, crash.last(), silence.last());
    }
    row("crash: kill -9 of a broker whose sidecar lives → Unhealthy/ProcessDown", crash);
    row("silence: kill -9 of a sidecar → Unhealthy/HeartbeatLost", silence);
    row("overload: last needed report of 95 % → Overloaded", ward.overload(runs).await?);
    Ok(Section {
        title: "Detection latency",
        how: format!(
            "{}, which also ran three Kafka {} brokers, their sidecars and the doctor. {runs} runs of each fault, the brokers \
             in turn; from the fault to the state in the doctor's API, asked every 10 ms.",
            machine(),
            ward.kafka.version()
        ),
        columns: vec!["fault", "median", "largest"],
        rows,
    })
}

impl Ward {
    async fn start(programs: &Programs) -> anyhow::Result<Self> {
        let kafka = KafkaCluster::builder().brokers(3).start().await?;
        kafka.create_topic("orders", 12, 3).await?;
        let folder = tempfile::tempdir()?;
        let doctor = Doctor::start(programs, &kafka.bootstrap(), folder.path())?;
        let mut ward = Self { kafka, folder, sidecars: BTreeMap::new(), doctor };
        for broker in 1..=3 {
            ward.start_sidecar(programs, broker)?;
            ward.until(broker, "Healthy").await?;
        }
        Ok(ward)
    }

    fn start_sidecar(&mut self, programs: &Programs, id: i32) -> anyhow::Result<()> {
        let broker = self.kafka.broker(id);
        let mut command = Command::new(&programs.sidecar);
        command
            .args([
                "--broker-id",
                &id.to_string(),
                "--kafka-brokers",
                &self.kafka.bootstrap(),
                "--broker-match",
            ])
            .arg(broker.config())
            .args(["--probe", broker.address(), "--listen", "127.0.0.1:0"]);
        let log = self.folder.path().join(format!("sidecar-{id}.log"));
        self.sidecars.insert(id, Process::spawn(format!("sidecar {id}"), command, log)?);
        Ok(())
    }

    async fn crash(&self, broker: i32) -> anyhow::Result<f64> {
        let begin = Instant::now();
        self.kafka.kill(broker).await?;
        self.until(broker, "Unhealthy").await?;
        let took = begin.elapsed().as_secs_f64();
        self.kafka.start(broker).await?;
        self.until(broker, "Healthy").await?;
        Ok(took)
    }

    async fn silence(&mut self, programs: &Programs, broker: i32) -> anyhow::Result<f64> {
        let sidecar = self.sidecars.remove(&broker).context("its sidecar")?;
        let begin = Instant::now();
        sidecar.kill().await?;
        self.until(broker, "Unhealthy").await?;
        let took = begin.elapsed().as_secs_f64();
        self.start_sidecar(programs, broker)?;
        self.until(broker, "Healthy").await?;
        Ok(took)
    }

    async fn overload(&mut self, runs: u32) -> anyhow::Result<Vec<f64>> {
        self.sidecars.remove(&REPORTED).context("its sidecar")?.kill().await?;
        let connection = Connection::new(&self.kafka.bootstrap(), "bench")?;
        let publisher = ReportPublisher::start(&connection, "_doctor_metrics", BrokerId(REPORTED))?;
        let mut sequence = 0;
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        let mut publish = async |cpu: f64, times: u32| {
            for _ in 0..times {
                tick.tick().await;
                sequence += 1;
                publisher.publish(&report(BrokerId(REPORTED), sequence, cpu), false);
            }
            Instant::now()
        };
        publish(30.0, 5).await;
        let mut took = Vec::new();
        for _ in 0..runs {
            self.until(REPORTED, "Healthy").await?;
            let needed = publish(95.0, 3).await;
            self.until(REPORTED, "Overloaded").await?;
            took.push(needed.elapsed().as_secs_f64());
            publish(30.0, 2).await;
        }
        Ok(took)
    }

    async fn until(&self, broker: i32, state: &str) -> anyhow::Result<()> {
        let url = self.doctor.clusters();
        let wanted = state.to_owned();
        let what = format!("broker {broker} to be {state}");
        let asking = tokio::task::spawn_blocking(move || {
            let begin = Instant::now();
            while begin.elapsed() < Duration::from_secs(60) {
                if state_of(&url, broker).as_ref() == Some(&wanted) {
                    return true;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            false
        });
        ensure!(asking.await?, "waited 60 s for {what}");
        Ok(())
    }
}

fn state_of(url: &str, broker: i32) -> Option<String> {
    let text = ureq::get(url).call().ok()?.body_mut().read_to_string().ok()?;
    let clusters: Value = serde_json::from_str(&text).ok()?;
    let brokers = clusters.get(0)?.get("brokers")?.as_array()?;
    let found =
        brokers.iter().find(|found| found.get("id").and_then(Value::as_i64) == Some(broker.into()))?;
    Some(found.get("state")?.as_str()?.to_owned())
}
