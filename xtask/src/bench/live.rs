//! A whole cluster treated: a hot broker and a lost one, beside what was seen of a peer.

use super::{
    doctor::Doctor,
    page::{Section, load_average, machine},
    programs::Programs,
    reporter::report,
    usage::watch,
};
use anyhow::{Context, ensure};
use doctorkafka_kafka::{Admin, Connection, ReportPublisher, TopicInfo};
use doctorkafka_testbed::{KafkaCluster, wait_until};
use doctorkafka_wire::{ActionKind, ActionRecord, BrokerId, Outcome, TreatmentPlan};
use rdkafka::{
    ClientConfig, ClientContext,
    error::{KafkaError, RDKafkaErrorCode},
    message::DeliveryResult,
    producer::{BaseProducer, BaseRecord, Producer, ProducerContext},
};
use serde_json::Value;
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::task::JoinHandle;

/// Three of them combined with controllers, one broker only; each in a rack of its own.
const BROKERS: i32 = 4;
const TOPICS: i32 = 60;
const PARTITIONS: i32 = 6;
/// Bytes in each partition at first, bytes of a record, and records a second from then on: 2 MB/s.
const SIZE: usize = 2_800_000;
const RECORD: usize = 20_000;
const A_SECOND: usize = 100;
/// The broker that becomes hot, and the one that is killed.
const HOT: i32 = 1;
const LOST: i32 = 4;
/// CPU of the hot broker while it leads what it led at first, of the others, and of all before, percent.
const HEAT: f64 = 95.0;
const MILD: f64 = 30.0;
const IDLE: Duration = Duration::from_secs(60);
/// Every treatment has to have ended by then.
const WITHIN: Duration = Duration::from_secs(300);

/// Makes the cluster, and treats it.
///
/// # Errors
/// The cluster does not start, or something that is waited for does not happen within five minutes.
pub async fn measure(programs: &Programs, settled: Duration) -> anyhow::Result<Section> {
    let load_before = load_average();
    let kafka = KafkaCluster::builder().brokers(BROKERS).start().await?;
    let folder = tempfile::tempdir()?;
    let bootstrap = kafka.bootstrap();
    eprintln!("creating {TOPICS} topics, and filling them");
    for topic in 0..TOPICS {
        let copies = if topic % 3 == 0 { 2 } else { 3 };
        kafka.create_topic(&name(topic), PARTITIONS, copies).await?;
    }
    let stop = Arc::new(AtomicBool::new(false));
    let (full, filled) = tokio::sync::oneshot::channel();
    let (to, stopped) = (bootstrap.clone(), Arc::clone(&stop));
    let producing = tokio::task::spawn_blocking(move || produce(&to, full, &stopped));
    filled.await.context("the producer ended before all was written")?;
    let measured = treat(programs, &kafka, folder.path(), settled).await;
    stop.store(true, Ordering::Relaxed);
    let produced = producing.await?;
    let mut rows = measured?;
    let confirmed = produced?;
    rows.push(row("records confirmed meanwhile, all in all", &confirmed.to_string(), "–"));
    Ok(Section {
        title: "A cluster treated, beside Cruise Control",
        how: format!(
            "{}, which also ran the brokers; {load_before} at the start, {} at the end. Four Kafka {} brokers in four racks, {TOPICS} \
             topics of {PARTITIONS} partitions, a third with two replicas and the rest with three, {:.1} MB in each partition; a producer \
             with acks=all, 2 MB/s. One standalone doctor with `healAfter: 1s`, `cooldown: 1s`, `replicationThrottle: none`, ten moves \
             for each broker; brokers' reports are published as sidecars would. A broker is made hot by reports of a CPU \
             that goes with the number of partitions it leads, and stays so: were these given back, it would be hot again. Then it cools down, and \
             another broker is killed, with all that runs beside it. A single run. \
             Cruise Control's figures are of its own run at the fastest settings that it accepts, on a cluster of the same shape on an equal \
             machine, Kafka 4.3.1 and commit dadba67, beforehand: orders of magnitude. The two solve different problems: it moves \
             replicas to balance by many goals, the doctor does the least that helps.",
            machine(),
            load_average(),
            kafka.version(),
            SIZE as f64 / 1e6,
        ),
        columns: vec!["what", "doctor", "Cruise Control"],
        rows,
    })
}

async fn treat(
    programs: &Programs,
    kafka: &KafkaCluster,
    folder: &Path,
    settled: Duration,
) -> anyhow::Result<Vec<Vec<String>>> {
    let admin = Admin::new(Connection::new(&kafka.bootstrap(), "bench")?);
    let heat = Arc::new(AtomicBool::new(false));
    let reporting = Reporting::start(kafka, &admin, Arc::clone(&heat))?;
    let mut rows = Vec::new();

    let doctor = Doctor::start_with(
        programs,
        &policy(kafka, "Recommend", &format!("\n  drain: {{brokers: [{LOST}]}}")),
        folder,
    )?;
    let begin = Instant::now();
    proposed(&doctor).await?;
    rows.push(row(
        "start to first plan",
        &format!("{:.1} s", begin.elapsed().as_secs_f64()),
        "13 s with stored samples, 24 s without",
    ));
    std::fs::write(folder.join("policy.yaml"), policy(kafka, "Auto", ""))?;
    let healthy = |report: &Value| report.pointer("/summary/healthy") == Some(&Value::from(BROKERS));
    doctor.until("all brokers to be healthy", healthy).await?;

    eprintln!("watching the doctor with nothing to do");
    let idle = watch(&[doctor.pid()], IDLE).await?;
    let idle = idle.first().context("one process")?;
    rows.push(row(
        "idle CPU; resident memory",
        &format!("{:.1} % of a core; {:.1} MB", idle.cpu_percent, idle.resident_mb),
        "4–12 % of a core; 262 MB, 483 MB after 12 min",
    ));

    eprintln!("making broker {HOT} hot, and watching for {settled:?}");
    let earlier = begun(&actions(&doctor).await).len();
    heat.store(true, Ordering::Relaxed);
    let hot = Instant::now();
    wait_until("the hot broker's treatment", WITHIN, || async {
        (begun(&actions(&doctor).await).len() > earlier).then_some(())
    })
    .await?;
    let treated = hot.elapsed();
    tokio::time::sleep(settled).await;
    let all = begun(&actions(&doctor).await);
    let treatments = all.get(earlier..).unwrap_or_default();
    let (moves, leaderships, bytes) = sums(treatments);
    rows.push(row("hot broker to treatment", &format!("{:.1} s", treated.as_secs_f64()), "3.1 s to see it"));
    rows.push(row(
        &format!("treatments of it in {:.0} min", settled.as_secs_f64() / 60.0),
        &treatments.len().to_string(),
        "again after 13 s, and again",
    ));
    rows.push(row(
        "replicas moved, leaderships, MB",
        &format!("{moves}, {leaderships}, {:.0}", bytes as f64 / 1e6),
        "178–240 replicas, 488–686 MB",
    ));

    eprintln!("letting broker {HOT} cool down");
    heat.store(false, Ordering::Relaxed);
    let cool = Instant::now();
    wait_until("leaderships to be given back", WITHIN, || async {
        let gives_back = |plan: &TreatmentPlan| plan.cause.reason == "LeadershipReturn";
        begun(&actions(&doctor).await).last().is_some_and(gives_back).then_some(())
    })
    .await?;
    rows.push(row(
        "cooled down to leaderships given back",
        &format!("{:.1} s", cool.elapsed().as_secs_f64()),
        "never: what it moved stays",
    ));
    doctor
        .until("the treatment to end", |report| report.get("treatment").is_some_and(Value::is_null))
        .await?;
    let all = begun(&actions(&doctor).await);

    let lost = held(&admin.topics(None).await?, LOST);
    eprintln!("killing broker {LOST}, which holds {lost} replicas");
    let earlier = all.len();
    reporting.forget(LOST);
    kafka.kill(LOST).await?;
    let kill = Instant::now();
    wait_until("healing to begin", WITHIN, || async {
        begun(&actions(&doctor).await)
            .iter()
            .skip(earlier)
            .any(|plan| plan.cause.reason == "BrokerFailure")
            .then_some(())
    })
    .await?;
    let began = kill.elapsed();
    wait_until("full replication", WITHIN, || async {
        let topics = admin.topics(None).await.ok()?;
        whole(&topics).then_some(())
    })
    .await?;
    let healed = kill.elapsed();
    let all = begun(&actions(&doctor).await);
    let (moves, _, bytes) = sums(all.get(earlier..).unwrap_or_default());
    let replicated = format!("{:.1} s", healed.as_secs_f64());
    rows.push(row(
        "broker killed to the beginning of moves",
        &format!("{:.1} s", began.as_secs_f64()),
        "9.4–11.5 s",
    ));
    rows.push(row("broker killed to full replication", &replicated, "29.8–35.8 s"));
    rows.push(row(
        "replicas moved, MB",
        &format!("{moves} for {lost} lost, {:.0}", bytes as f64 / 1e6),
        "231–257, about 700",
    ));
    let after = watch(&[doctor.pid()], Duration::from_secs(5)).await?;
    let after = after.first().context("one process")?;
    rows.push(row("resident memory after all of it", &format!("{:.1} MB", after.resident_mb), "483 MB"));
    Ok(rows)
}

fn row(what: &str, ours: &str, peer: &str) -> Vec<String> {
    vec![what.to_owned(), ours.to_owned(), peer.to_owned()]
}

fn name(topic: i32) -> String {
    format!("data-{topic}")
}

fn policy(kafka: &KafkaCluster, mode: &str, more: &str) -> String {
    format!(
        "apiVersion: doctorkafka.dev/v1alpha1\nkind: KafkaHealthPolicy\nmetadata: {{name: bench}}\nspec:\n  kafka: \
         {{bootstrapServers: '{}'}}\n  mode: {mode}\n  remedies: {{brokerFailure: {{healAfter: 1s}}}}\n  limits: {{cooldown: 1s, \
         replicationThrottle: none, movesPerBroker: 10, movesPerCluster: 40, maxDisk: 98}}{more}\n",
        kafka.bootstrap()
    )
}

async fn actions(doctor: &Doctor) -> Vec<ActionRecord> {
    let url = doctor.clusters();
    let asked = tokio::task::spawn_blocking(move || {
        let text = ureq::get(&url).call().ok()?.body_mut().read_to_string().ok()?;
        let clusters: Value = serde_json::from_str(&text).ok()?;
        serde_json::from_value(clusters.get(0)?.get("actions")?.clone()).ok()
    });
    asked.await.ok().flatten().unwrap_or_default()
}

async fn proposed(doctor: &Doctor) -> anyhow::Result<()> {
    wait_until("a plan", WITHIN, || async {
        let stands =
            |action: &ActionRecord| action.outcome == Some(Outcome::Proposed) && action.digest.is_some();
        actions(doctor).await.iter().any(stands).then_some(())
    })
    .await
}

/// The plans that were begun, in the order of the log.
fn begun(actions: &[ActionRecord]) -> Vec<TreatmentPlan> {
    let begins = |action: &&ActionRecord| action.step.is_none() && action.outcome == Some(Outcome::Intended);
    let whole = actions
        .iter()
        .filter(begins)
        .filter(|action| matches!(action.kind, ActionKind::ReassignPartitions | ActionKind::ElectLeaders));
    whole.filter_map(|action| action.treatment.as_ref()?.plan.clone()).collect()
}

/// Replicas that brokers get, partitions whose first replica changes, and bytes copied.
fn sums(plans: &[TreatmentPlan]) -> (usize, usize, u64) {
    let changes = plans.iter().flat_map(|plan| &plan.changes);
    changes.fold((0, 0, 0), |(moves, leaderships, bytes), change| {
        let new = change.to.iter().filter(|id| !change.from.contains(id)).count();
        let led = usize::from(change.from.first() != change.to.first());
        (moves + new, leaderships + led, bytes + change.bytes * new as u64)
    })
}

fn held(topics: &[TopicInfo], id: i32) -> usize {
    let partitions = topics.iter().flat_map(|topic| &topic.partitions);
    partitions.filter(|partition| partition.replicas.contains(&BrokerId(id))).count()
}

/// Whether every partition has all its replicas in sync, and none on the lost broker.
fn whole(topics: &[TopicInfo]) -> bool {
    let copies = |topic: &TopicInfo| match topic.name.strip_prefix("data-").map(str::parse::<i32>) {
        Some(Ok(number)) => Some(if number % 3 == 0 { 2 } else { 3 }),
        _ => None,
    };
    let data = topics.iter().filter(|topic| copies(topic).is_some()).count();
    data == TOPICS as usize
        && held(topics, LOST) == 0
        && topics.iter().all(|topic| {
            let right = |count: usize| copies(topic).is_none_or(|copies| copies == count);
            topic.partitions.iter().all(|it| right(it.replicas.len()) && it.isr.len() == it.replicas.len())
        })
}

/// Reports of all brokers, once a second.
struct Reporting {
    lost: Arc<std::sync::Mutex<Vec<i32>>>,
    task: JoinHandle<()>,
}

impl Reporting {
    fn start(kafka: &KafkaCluster, admin: &Admin, heat: Arc<AtomicBool>) -> anyhow::Result<Self> {
        let connection = Connection::new(&kafka.bootstrap(), "bench")?;
        let publishers = (1..=BROKERS)
            .map(|id| Ok((id, ReportPublisher::start(&connection, "_doctor_metrics", BrokerId(id))?)))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let (admin, lost) = (admin.clone(), Arc::<std::sync::Mutex<Vec<i32>>>::default());
        let silent = Arc::clone(&lost);
        let task = tokio::spawn(async move {
            let mut tick = tokio::time::interval(Duration::from_secs(1));
            let (mut first, mut cpu) = (None, MILD);
            for sequence in 1.. {
                tick.tick().await;
                if !heat.load(Ordering::Relaxed) {
                    cpu = MILD;
                } else if let Ok(topics) = admin.topics(None).await {
                    let partitions = topics.iter().flat_map(|topic| &topic.partitions);
                    let led = partitions.filter(|it| it.leader == Some(BrokerId(HOT))).count() as f64;
                    cpu = HEAT * led / *first.get_or_insert(led.max(1.0));
                }
                let silent = silent.lock().map(|ids| ids.clone()).unwrap_or_default();
                for (id, publisher) in publishers.iter().filter(|(id, _)| !silent.contains(id)) {
                    let percent = if *id == HOT { cpu.min(100.0) } else { MILD };
                    publisher.publish(&report(BrokerId(*id), sequence, percent), false);
                }
            }
        });
        Ok(Self { lost, task })
    }

    /// No more reports of this broker.
    fn forget(&self, id: i32) {
        if let Ok(mut lost) = self.lost.lock() {
            lost.push(id);
        }
    }
}

impl Drop for Reporting {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Counts what Kafka has confirmed.
#[derive(Default)]
struct Confirmed(AtomicU64);

impl ClientContext for Confirmed {}

impl ProducerContext for Confirmed {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if result.is_ok() {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Fills every partition, tells so, and goes on with 2 MB/s until it is stopped. Gives how many records were sent; all of them
/// have been confirmed.
fn produce(
    bootstrap: &str,
    full: tokio::sync::oneshot::Sender<()>,
    stop: &AtomicBool,
) -> anyhow::Result<u64> {
    let producer: BaseProducer<Confirmed> = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("message.timeout.ms", "120000")
        .set("linger.ms", "20")
        .create_with_context(Confirmed::default())?;
    let payload = vec![b'x'; RECORD];
    let names: Vec<String> = (0..TOPICS).map(name).collect();
    let mut places =
        (0..PARTITIONS).flat_map(|partition| names.iter().map(move |name| (name, partition))).cycle();
    let mut sent = 0_u64;
    let mut send = || -> anyhow::Result<()> {
        let (topic, partition) = places.next().context("a partition")?;
        loop {
            let record = BaseRecord::<(), _>::to(topic).partition(partition).payload(&payload);
            match producer.send(record) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                    producer.poll(Duration::from_millis(100));
                }
                Err((error, _)) => return Err(error.into()),
            }
        }
        sent += 1;
        producer.poll(Duration::ZERO);
        Ok(())
    };
    for _ in 0..(TOPICS * PARTITIONS) as usize * SIZE / RECORD {
        send()?;
    }
    producer.flush(WITHIN)?;
    let _ = full.send(());
    let begin = Instant::now();
    let mut rounds = 0_u32;
    while !stop.load(Ordering::Relaxed) {
        for _ in 0..A_SECOND / 10 {
            send()?;
        }
        rounds += 1;
        std::thread::sleep(
            (begin + rounds * Duration::from_millis(100)).saturating_duration_since(Instant::now()),
        );
    }
    producer.flush(WITHIN)?;
    let confirmed = producer.context().0.load(Ordering::Relaxed);
    ensure!(confirmed == sent, "of {sent} records {confirmed} were confirmed");
    Ok(sent)
}
