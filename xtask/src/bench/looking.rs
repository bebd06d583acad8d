//! The cost of looking: reading the loads of all partitions of a cluster, and planning for a large one.

use super::page::{Section, load_average, machine, median_and_max};
use anyhow::{Context, ensure};
use doctorkafka_diagnosis::Moment;
use doctorkafka_doctor::load::{
    BrokerFacts, LoadLimits, LoadModel, LoadSnapshot, LoadSource, Measured, take,
};
use doctorkafka_kafka::{
    Admin, AdminError, BrokerInfo, ClusterDescription, Connection, LogDir, LogSpan, PartitionInfo,
    ReplicaSize, RunningReassignment, TopicInfo, TopicPartition, TopicPartitions,
};
use doctorkafka_planner::{NodeState, Remedy, propose};
use doctorkafka_testbed::{KafkaCluster, wait_until};
use doctorkafka_wire::BrokerId;
use std::time::{Duration, Instant};

/// The real cluster: three small brokers.
const TOPICS: usize = 100;
const PARTITIONS: i32 = 100;
const COPIES: i16 = 2;

/// The generated one.
const BROKERS: i32 = 1_000;
const MANY_TOPICS: i32 = 10_000;
const OF_EACH: i32 = 20;

const RUNS: usize = 9;
const CREATED_WITHIN: Duration = Duration::from_secs(600);

/// Reads a real cluster several times, and models and plans for a large one that is generated.
///
/// # Errors
/// The cluster does not come up, or a look or a plan fails.
pub async fn measure() -> anyhow::Result<Section> {
    let mut rows = real().await?;
    rows.extend(large().await?);
    Ok(Section {
        title: "Cost of looking",
        how: format!(
            "{}, which also ran the brokers; {}. Three Kafka brokers (-Xmx512m) with {} partitions of {COPIES} replicas, all \
             empty: {RUNS} snapshots of placement, sizes and offsets one after the other, through a proxy before each broker \
             that counts the bytes in both directions. Then a generated cluster of {BROKERS} brokers \
             and {} partitions of three replicas, whose answers are made in the same process: its model, and a plan that heals \
             one dead broker, {RUNS} runs. Memory is what the process has resident beyond what it had before.",
            machine(),
            load_average(),
            TOPICS * PARTITIONS as usize,
            MANY_TOPICS * OF_EACH,
        ),
        columns: vec!["what", "median", "largest"],
        rows,
    })
}

fn row(what: &str, figures: &mut [f64], unit: &str) -> Vec<String> {
    let (median, largest) = median_and_max(figures);
    vec![what.to_owned(), format!("{median:.1} {unit}"), format!("{largest:.1} {unit}")]
}

fn since(begin: Instant) -> f64 {
    begin.elapsed().as_secs_f64() * 1_000.0
}

async fn real() -> anyhow::Result<Vec<Vec<String>>> {
    let kafka = KafkaCluster::builder().brokers(3).proxied(true).jvm_arg("-Xmx512m").start().await?;
    let admin =
        Admin::new(Connection::new(&kafka.bootstrap(), "bench")?).with_timeout(Duration::from_secs(30));
    eprintln!("creating {TOPICS} topics of {PARTITIONS} partitions");
    for topic in 0..TOPICS {
        kafka.create_topic(&format!("bench-{topic}"), PARTITIONS, COPIES).await?;
    }
    let wanted = TOPICS * PARTITIONS as usize;
    wait_until("all partitions to be led", CREATED_WITHIN, || async {
        let topics = admin.topics(None).await.ok()?;
        let led = topics.iter().flat_map(|topic| &topic.partitions).filter(|it| it.leader.is_some()).count();
        (led >= wanted).then_some(())
    })
    .await?;
    let begin = Instant::now();
    let now = || Moment(u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX));
    let carried = || kafka.brokers().iter().map(|broker| kafka.proxy(broker.id()).carried()).sum::<u64>();
    // Connections are open and the brokers' code is warm.
    take(&admin, now).await?;
    let resident = resident_mb()?;
    let (mut times, mut bytes) = (Vec::new(), Vec::new());
    let mut model = LoadModel::default();
    for _ in 0..RUNS {
        let (from, start) = (carried(), Instant::now());
        let snapshot = take(&admin, now).await?;
        times.push(since(start));
        bytes.push((carried() - from) as f64 / 1e6);
        model.see(snapshot);
        ensure!(model.partitions() >= wanted, "a snapshot has {} partitions", model.partitions());
    }
    let grown = resident_mb()? - resident;
    Ok(vec![
        row("snapshot of 3 real brokers, 10,000 partitions", &mut times, "ms"),
        row("bytes on the wire for it", &mut bytes, "MB"),
        row("memory after nine of them", &mut [grown.max(0.0)], "MB"),
    ])
}

async fn large() -> anyhow::Result<Vec<Vec<String>>> {
    let cluster = Generated::new();
    let resident = resident_mb()?;
    let mut model = LoadModel::default();
    let (mut taken, mut seen) = (Vec::new(), Vec::new());
    for run in 0..RUNS {
        let start = Instant::now();
        let snapshot: LoadSnapshot = take(&cluster, || Moment(10_000 * run as u64)).await?;
        taken.push(since(start));
        let start = Instant::now();
        model.see(snapshot);
        seen.push(since(start));
    }
    let modelled_mb = resident_mb()? - resident;
    let facts: Vec<BrokerFacts> = (0..BROKERS).map(facts).collect();
    let now = Moment(10_000 * (RUNS as u64 - 1));
    let (mut built, mut planned) = (Vec::new(), Vec::new());
    let mut most = 0.0_f64;
    for _ in 0..RUNS {
        let start = Instant::now();
        let modelled = model.instance(now, &facts, &LoadLimits::default());
        let modelled = modelled.map_err(|refused| anyhow::anyhow!(refused.message))?;
        built.push(since(start));
        let start = Instant::now();
        let proposal = propose(&modelled.instance, &Remedy::Heal);
        let proposal = proposal.map_err(|refused| anyhow::anyhow!(refused.message))?;
        planned.push(since(start));
        ensure!(proposal.copied().0 > 0, "a dead broker is healed");
        most = most.max(resident_mb()? - resident);
    }
    Ok(vec![
        row("snapshot of 1,000 generated brokers, 200,000 partitions, without the network", &mut taken, "ms"),
        row("rates from two of them", &mut seen, "ms"),
        row("memory of the model and what taking it needed", &mut [modelled_mb.max(0.0)], "MB"),
        row("instance for the planner", &mut built, "ms"),
        row("plan that heals one dead broker", &mut planned, "ms"),
        row("memory of model, instance and plan", &mut [most], "MB"),
    ])
}

fn facts(id: i32) -> BrokerFacts {
    let dead = id == 0;
    BrokerFacts {
        id: BrokerId(id),
        rack: Some(format!("rack-{}", id % 3)),
        state: if dead { NodeState::Dead } else { NodeState::Alive },
        takes: !dead,
        leads: !dead,
        report: Some(Measured {
            cpu_cores: Some((2.0, 8.0)),
            out: Some(20e6),
            out_to_clients: None,
            network_capacity: Some(1.25e9),
        }),
        disk_limit_percent: 80.0,
    }
}

/// A cluster that answers at once.
struct Generated {
    /// By broker, the partitions that it holds.
    held: Vec<Vec<i32>>,
}

impl Generated {
    fn new() -> Self {
        let mut held = vec![Vec::new(); BROKERS as usize];
        for at in 0..MANY_TOPICS * OF_EACH {
            replicas(at).into_iter().for_each(|id| held[id as usize].push(at));
        }
        Self { held }
    }
}

/// The brokers of a partition, in three racks.
fn replicas(at: i32) -> [i32; 3] {
    let first = at.wrapping_mul(7_919).rem_euclid(BROKERS);
    [first, (first + 1) % BROKERS, (first + 2) % BROKERS]
}

impl LoadSource for Generated {
    async fn cluster(&self) -> Result<ClusterDescription, AdminError> {
        let broker = |id| BrokerInfo {
            id: BrokerId(id),
            host: format!("broker-{id}"),
            port: 9092,
            rack: Some(format!("rack-{}", id % 3)),
            fenced: id == 0,
        };
        let brokers = (0..BROKERS).map(broker).collect();
        Ok(ClusterDescription { cluster_id: "generated".to_owned(), brokers, shows_fenced: true })
    }

    async fn topics(&self) -> Result<Vec<TopicInfo>, AdminError> {
        let partition = |topic: i32, number: i32| {
            let held = replicas(topic * OF_EACH + number);
            let alive: Vec<BrokerId> = held.into_iter().filter(|id| *id != 0).map(BrokerId).collect();
            PartitionInfo {
                partition: number,
                leader: alive.first().copied(),
                replicas: held.map(BrokerId).to_vec(),
                isr: alive,
                eligible: None,
            }
        };
        Ok((0..MANY_TOPICS)
            .map(|topic| TopicInfo {
                name: format!("topic-{topic}"),
                id: 1,
                internal: false,
                partitions: (0..OF_EACH).map(|number| partition(topic, number)).collect(),
            })
            .collect())
    }

    async fn reassignments(&self) -> Result<Vec<RunningReassignment>, AdminError> {
        Ok(Vec::new())
    }

    async fn log_dirs(&self, broker: &BrokerInfo) -> Result<Vec<LogDir>, AdminError> {
        let held = self.held[broker.id.0 as usize].iter().map(|at| ReplicaSize {
            at: TopicPartition { topic: format!("topic-{}", at / OF_EACH), partition: at % OF_EACH },
            bytes: 1_000_000 * (1 + u64::from(at.unsigned_abs()) % 500),
            future: false,
        });
        Ok(vec![LogDir {
            path: "/data".to_owned(),
            error: None,
            total_bytes: Some(2_000_000_000_000),
            usable_bytes: Some(1_500_000_000_000),
            replicas: held.collect(),
        }])
    }

    async fn log_spans(
        &self,
        _broker: &BrokerInfo,
        topics: &[TopicPartitions<'_>],
    ) -> Result<Vec<Option<LogSpan>>, AdminError> {
        let count = topics.iter().map(|topic| topic.partitions.len()).sum();
        Ok(vec![Some(LogSpan { start: 0, end: 1_000_000 }); count])
    }
}

fn resident_mb() -> anyhow::Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status").context("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
}
