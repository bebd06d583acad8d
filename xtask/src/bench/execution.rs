//! Carrying out moves, beside Kafka's own `kafka-reassign-partitions`.

use super::{
    doctor::Doctor,
    page::{Section, machine, median_and_max},
    programs::Programs,
    reporter::report,
};
use anyhow::{Context, bail, ensure};
use doctorkafka_kafka::{Admin, ClusterAdmin, Connection, ReportPublisher};
use doctorkafka_testbed::{KafkaCluster, wait_until};
use doctorkafka_wire::{ActionKind, ActionRecord, BrokerId, Outcome, PartitionChange};
use rdkafka::{
    ClientConfig,
    producer::{BaseProducer, BaseRecord, Producer},
};
use serde_json::{Value, json};
use std::{
    path::Path,
    process::Output,
    time::{Duration, Instant},
};
use tokio::task::JoinHandle;

const RUNS: u32 = 3;
const BROKERS: i32 = 4;
/// All of this broker's replicas are moved to the others.
const DRAINED: i32 = 4;
const TOPIC: &str = "data";
const PARTITIONS: i32 = 24;
/// Bytes in each partition, and in each record.
const SIZE: usize = 12_000_000;
const RECORD: usize = 100_000;
/// Bytes a second, and the same as policies have it.
const THROTTLE: (u32, &str) = (3_000_000, "3MB/s");
/// Every execution has to have ended by then.
const WITHIN: Duration = Duration::from_secs(300);

/// How many moves the doctor runs at once: all of them, as Kafka's tool does, and what a policy has by default.
const LIMITS: [(&str, &str); 2] = [
    ("doctor, all moves at once", ", movesPerBroker: 1000, movesPerCluster: 1000"),
    ("doctor, with the limits of a default policy", ""),
];

/// How long one execution took, seconds.
struct Took {
    /// From the first move that Kafka has begun until the last is in sync.
    copying: f64,
    /// From the beginning of the execution until the throttle is removed.
    whole: f64,
}

/// Executes the same moves on equal clusters, by the doctor and by Kafka's tool in turn.
///
/// # Errors
/// A cluster does not start, or an execution does not end within five minutes.
pub async fn measure(programs: &Programs) -> anyhow::Result<Section> {
    let mut all: Vec<(&str, Vec<Took>)> = vec![("kafka-reassign-partitions", Vec::new())];
    all.extend(LIMITS.iter().map(|(name, _)| (*name, Vec::new())));
    let mut moves = 0;
    for run in 1..=RUNS {
        for ((name, limits), (_, took)) in LIMITS.iter().zip(all.iter_mut().skip(1)) {
            let ward = Ward::start().await?;
            let new = ward.by_doctor(programs, limits).await?;
            eprintln!("run {run}: {name}: {:.1} s, in all {:.1} s", new.copying, new.whole);
            took.push(new);
        }
        let ward = Ward::start().await?;
        let plan = ward.planned_by_doctor(programs).await?;
        moves = plan.len();
        let new = ward.by_tool(&plan).await?;
        eprintln!("run {run}: Kafka's tool: {:.1} s, in all {:.1} s", new.copying, new.whole);
        if let Some((_, took)) = all.first_mut() {
            took.push(new);
        }
    }
    let figures =
        |took: &[Took], of: fn(&Took) -> f64| median_and_max(&mut took.iter().map(of).collect::<Vec<_>>());
    let base = all.first().map_or(f64::NAN, |(_, took)| figures(took, |took| took.copying).0);
    let row = |(name, took): &(&str, Vec<Took>)| {
        let (copying, slowest) = figures(took, |took| took.copying);
        let (whole, slowest_whole) = figures(took, |took| took.whole);
        vec![
            (*name).to_owned(),
            format!("{copying:.1} s"),
            format!("{slowest:.1} s"),
            format!("{:.2}", copying / base),
            format!("{whole:.1} s"),
            format!("{slowest_whole:.1} s"),
        ]
    };
    Ok(Section {
        title: "Execution of moves",
        how: format!(
            "{}, which also ran the four Kafka brokers. {moves} replicas, 12 of them of {} MB and the others of the doctor's own and \
             Kafka's internal topics, next to empty, are moved off one broker, throttled to {} MB/s at each: planned and executed by \
             the doctor, and, on an equal new cluster, planned by the doctor and executed by `kafka-reassign-partitions` with \
             `--throttle`, `--execute`, and `--verify` again and again until it says that all is complete. {RUNS} runs of each, in \
             turn. Copying lasts from the first move that Kafka has begun until the last one is in sync, looked at every 50 ms; \
             the whole from the record that begins the treatment, or the start of the tool, until the throttle is removed.",
            machine(),
            SIZE / 1_000_000,
            THROTTLE.0 / 1_000_000,
        ),
        columns: vec![
            "executed by",
            "copying, median",
            "slowest",
            "of the tool's",
            "whole, median",
            "slowest",
        ],
        rows: all.iter().map(row).collect(),
    })
}

/// A new cluster with the same data in the same places.
struct Ward {
    kafka: KafkaCluster,
    folder: tempfile::TempDir,
    admin: Admin,
}

impl Ward {
    async fn start() -> anyhow::Result<Self> {
        let kafka = KafkaCluster::builder().brokers(BROKERS).start().await?;
        let folder = tempfile::tempdir()?;
        let admin = Admin::new(Connection::new(&kafka.bootstrap(), "bench")?);
        let assignment: Vec<String> = (0..PARTITIONS)
            .map(|partition| {
                let leader = partition % BROKERS;
                let follower = (leader + 1 + partition / BROKERS % (BROKERS - 1)) % BROKERS;
                format!("{}:{}", leader + 1, follower + 1)
            })
            .collect();
        let mut create = kafka.tool("org.apache.kafka.tools.TopicCommand");
        create.args(["--bootstrap-server", &kafka.bootstrap(), "--create", "--topic", TOPIC]);
        create.args(["--replica-assignment", &assignment.join(",")]);
        succeeded("kafka-topics", &create.output().await?)?;
        let bootstrap = kafka.bootstrap();
        tokio::task::spawn_blocking(move || fill(&bootstrap)).await??;
        Ok(Self { kafka, folder, admin })
    }

    /// A doctor that finds all brokers healthy, and the reports that tell it so.
    async fn doctor(&self, programs: &Programs) -> anyhow::Result<(Doctor, JoinHandle<()>)> {
        let bootstrap = self.kafka.bootstrap();
        let doctor = Doctor::start(programs, &bootstrap, self.folder.path())?;
        let reporting = keep_reporting(&bootstrap)?;
        let healthy = |report: &Value| report.pointer("/summary/healthy") == Some(&json!(BROKERS));
        doctor.until("all brokers to be healthy", healthy).await?;
        Ok((doctor, reporting))
    }

    /// Asks for the broker to be drained.
    fn ask(&self, mode: &str, limits: &str) -> std::io::Result<()> {
        let policy = format!(
            "apiVersion: doctorkafka.dev/v1alpha1\nkind: KafkaHealthPolicy\nmetadata: {{name: bench}}\nspec:\n  \
             kafka: {{bootstrapServers: '{}'}}\n  mode: {mode}\n  drain: {{brokers: [{DRAINED}]}}\n  \
             limits: {{maxDisk: 98, replicationThrottle: {}{limits}}}\n",
            self.kafka.bootstrap(),
            THROTTLE.1
        );
        std::fs::write(self.folder.path().join("policy.yaml"), policy)
    }

    async fn by_doctor(&self, programs: &Programs, limits: &str) -> anyhow::Result<Took> {
        let (doctor, reporting) = self.doctor(programs).await?;
        let eyes = Eyes::open(&self.admin);
        self.ask("Auto", limits)?;
        let about = |action: &ActionRecord| action.outcome != Some(Outcome::Proposed);
        let [begun, ended] = self.treatment(&doctor, about).await?;
        let copying = eyes.close();
        reporting.abort();
        ensure!(ended.outcome == Some(Outcome::Done), "the treatment was given up: {}", ended.message);
        let whole = ended.time.duration_since(begun.time).as_secs_f64();
        Ok(Took { copying: copying.await?, whole })
    }

    /// What a doctor, which is gone afterwards, proposes.
    async fn planned_by_doctor(&self, programs: &Programs) -> anyhow::Result<Vec<PartitionChange>> {
        let (doctor, reporting) = self.doctor(programs).await?;
        self.ask("Recommend", "")?;
        let [proposed] = self.treatment(&doctor, |action| action.outcome == Some(Outcome::Proposed)).await?;
        reporting.abort();
        Ok(proposed.treatment.and_then(|detail| detail.plan).context("the record of a plan")?.changes)
    }

    /// The records about a whole treatment that count, as soon as there are so many.
    async fn treatment<const N: usize>(
        &self,
        doctor: &Doctor,
        counts: impl Fn(&ActionRecord) -> bool,
    ) -> anyhow::Result<[ActionRecord; N]> {
        let about = |report: &Value| -> Vec<ActionRecord> {
            let all: Vec<ActionRecord> = report
                .get("actions")
                .and_then(|all| serde_json::from_value(all.clone()).ok())
                .unwrap_or_default();
            let whole =
                |a: &ActionRecord| a.kind == ActionKind::ReassignPartitions && a.step.is_none() && counts(a);
            all.into_iter().filter(whole).collect()
        };
        let url = doctor.clusters();
        wait_until("the treatment to end", WITHIN, || {
            let url = url.clone();
            async move {
                let asked = tokio::task::spawn_blocking(move || {
                    let text = ureq::get(&url).call().ok()?.body_mut().read_to_string().ok()?;
                    serde_json::from_str::<Value>(&text).ok()?.get(0).cloned()
                });
                <[ActionRecord; N]>::try_from(about(&asked.await.ok()??)).ok()
            }
        })
        .await
    }

    async fn by_tool(&self, plan: &[PartitionChange]) -> anyhow::Result<Took> {
        let moves: Vec<Value> = plan
            .iter()
            .map(
                |change| json!({"topic": change.topic, "partition": change.partition, "replicas": change.to}),
            )
            .collect();
        let file = self.folder.path().join("moves.json");
        std::fs::write(&file, json!({"version": 1, "partitions": moves}).to_string())?;
        let eyes = Eyes::open(&self.admin);
        let begin = Instant::now();
        self.reassign(&file, &["--execute", "--throttle", &THROTTLE.0.to_string()]).await?;
        while !self.reassign(&file, &["--verify"]).await?.contains("Clearing") {
            if begin.elapsed() > WITHIN {
                bail!("kafka-reassign-partitions was not done within {} s", WITHIN.as_secs());
            }
        }
        let whole = begin.elapsed().as_secs_f64();
        Ok(Took { copying: eyes.close().await?, whole })
    }

    async fn reassign(&self, file: &Path, arguments: &[&str]) -> anyhow::Result<String> {
        let mut tool = self.kafka.tool("org.apache.kafka.tools.reassign.ReassignPartitionsCommand");
        tool.args(["--bootstrap-server", &self.kafka.bootstrap(), "--reassignment-json-file"]);
        succeeded("kafka-reassign-partitions", &tool.arg(file).args(arguments).output().await?)
    }
}

fn succeeded(what: &str, output: &Output) -> anyhow::Result<String> {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "{what}: {text}{}", String::from_utf8_lossy(&output.stderr));
    Ok(text)
}

/// Looks at Kafka's reassignments all the time.
struct Eyes {
    stop: tokio::sync::oneshot::Sender<()>,
    task: JoinHandle<Option<(Instant, Instant)>>,
}

impl Eyes {
    fn open(admin: &Admin) -> Self {
        let (stop, mut stopped) = tokio::sync::oneshot::channel();
        let admin = admin.clone();
        let task = tokio::spawn(async move {
            let mut seen: Option<(Instant, Instant)> = None;
            while stopped.try_recv().is_err() {
                if admin.reassignments().await.is_ok_and(|running| !running.is_empty()) {
                    let now = Instant::now();
                    seen = Some((seen.map_or(now, |(first, _)| first), now));
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            seen
        });
        Self { stop, task }
    }

    /// From the first reassignment to the last, seconds.
    async fn close(self) -> anyhow::Result<f64> {
        let _ = self.stop.send(());
        let (first, last) = self.task.await?.context("no reassignment was seen")?;
        Ok(last.duration_since(first).as_secs_f64())
    }
}

fn keep_reporting(bootstrap: &str) -> anyhow::Result<JoinHandle<()>> {
    let connection = Connection::new(bootstrap, "bench")?;
    let publishers = (1..=BROKERS)
        .map(|id| Ok((BrokerId(id), ReportPublisher::start(&connection, "_doctor_metrics", BrokerId(id))?)))
        .collect::<anyhow::Result<Vec<_>>>()?;
    Ok(tokio::spawn(async move {
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        for sequence in 1.. {
            tick.tick().await;
            for (id, publisher) in &publishers {
                publisher.publish(&report(*id, sequence, 20.0), false);
            }
        }
    }))
}

fn fill(bootstrap: &str) -> anyhow::Result<()> {
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", bootstrap).set("acks", "all").create()?;
    let payload = vec![b'x'; RECORD];
    for _ in 0..SIZE / RECORD {
        for partition in 0..PARTITIONS {
            let record = BaseRecord::<(), _>::to(TOPIC).partition(partition).payload(&payload);
            producer.send(record).map_err(|(error, _)| error)?;
        }
        producer.flush(Duration::from_secs(60))?;
    }
    Ok(())
}
