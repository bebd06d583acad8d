//! A live cluster as an instance: two looks at it, and whatever the sidecars tell meanwhile. Everything that is asked here
//! only reads.

use crate::cli::UsageError;
use anyhow::{Context, anyhow};
use clap::Args;
use doctorkafka_diagnosis::Moment;
use doctorkafka_doctor::load::{
    self, BrokerFacts, Gaps, LoadLimits, LoadModel, LoadSnapshot, Measured, Registered,
};
use doctorkafka_kafka::{Admin, Connection, MetricsEvent, ReportReader, SecurityFlags};
use doctorkafka_planner::{Instance, NodeState};
use doctorkafka_wire::{ACTIONS_LOG_TOPIC, BrokerId, METRICS_TOPIC};
use std::{
    collections::BTreeMap,
    fmt::Write,
    path::PathBuf,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// Longest wait for one answer of one broker.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);

/// The age of what was just read does not matter.
const ANY_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// Brokers that are listed, at the most.
const LISTED: usize = 30;

/// Which cluster to look at, and how.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Live cluster")]
pub struct LiveArguments {
    /// Plan for this running cluster instead of a file, host:port[,host:port...]. Nothing is done to it: it is only read,
    /// for which DESCRIBE on the cluster and on all topics is needed (and READ on the metrics topic for CPU).
    #[arg(long, value_name = "SERVERS")]
    pub bootstrap: Option<String>,

    /// Time between the two looks that rates are made from, 1s to 10m.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = sample, conflicts_with = "instance")]
    pub sample: Duration,

    /// The share of its disk that a broker may use, percent.
    #[arg(long, value_name = "PERCENT", default_value_t = 80, conflicts_with = "instance",
        value_parser = clap::value_parser!(u8).range(1..=100))]
    pub max_disk: u8,

    /// Also write what was seen, as an instance from which --instance repeats the plan; `-` is standard output.
    #[arg(long, value_name = "FILE", conflicts_with = "instance")]
    pub save_instance: Option<PathBuf>,

    /// How to connect.
    #[command(flatten)]
    pub security: SecurityFlags,
}

fn sample(text: &str) -> Result<Duration, String> {
    let expected = "expected a duration from 1s to 10m, for example 10s";
    let duration: jiff::SignedDuration = text.trim().parse().map_err(|_| expected)?;
    Duration::try_from(duration)
        .ok()
        .filter(|duration| (Duration::from_secs(1)..=Duration::from_secs(600)).contains(duration))
        .ok_or_else(|| expected.to_owned())
}

/// Looks at the cluster twice, tells on standard error what is seen, and gives the instance.
///
/// # Errors
/// The cluster cannot be reached or read, or too little of it can be read; the message says what would lift that.
pub(super) fn look(bootstrap: &str, arguments: &LiveArguments) -> anyhow::Result<Instance> {
    let connection =
        Connection::new(bootstrap, "doctorkafka-plan").map_err(|wrong| UsageError(wrong.to_string()))?;
    let connection = arguments.security.secure(connection)?;
    let runtime = tokio::runtime::Runtime::new().context("cannot start the async runtime")?;
    let looked = runtime.block_on(observe(&connection, arguments.sample));
    // A native client may still be closing its connections; nothing waits for it.
    runtime.shutdown_background();
    let seen = looked.with_context(|| format!("cannot read the cluster at {bootstrap}"))?;
    eprint!("{}", seen.text());
    let limits = LoadLimits {
        max_age: Some(ANY_AGE),
        pinned: vec![METRICS_TOPIC.to_owned(), ACTIONS_LOG_TOPIC.to_owned()],
        ..LoadLimits::default()
    };
    let modelled = seen
        .model
        .instance(seen.at, &seen.facts(f64::from(arguments.max_disk)), &limits)
        .map_err(|refused| anyhow!("no plan: {}: {}", refused.rule.as_str(), refused.message))?;
    eprint!("{}", gaps(&modelled.gaps));
    let mut instance = modelled.instance;
    instance.name = format!("cluster {}", seen.cluster_id);
    Ok(instance)
}

/// What was seen of a cluster.
struct Seen {
    cluster_id: String,
    at: Moment,
    model: LoadModel,
    reports: BTreeMap<BrokerId, Measured>,
}

async fn observe(connection: &Connection, between: Duration) -> anyhow::Result<Seen> {
    let admin = Admin::new(connection.clone()).with_timeout(ANSWER_WITHIN);
    let begin = Instant::now();
    let now = || Moment(u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX));
    let first = load::take(&admin, now).await?;
    let next = tokio::time::Instant::now() + between;
    let reports = match first.has_topic(METRICS_TOPIC) {
        true => reports(connection, &first, next).await,
        false => BTreeMap::new(),
    };
    tokio::time::sleep_until(next).await;
    let second = load::take(&admin, now).await?;
    let cluster_id = second.cluster_id().to_owned();
    let mut model = LoadModel::default();
    model.see(first);
    model.see(second);
    Ok(Seen { cluster_id, at: now(), model, reports })
}

/// The newest report of each broker of this cluster, of those that can be read until a point in time.
async fn reports(
    connection: &Connection,
    snapshot: &LoadSnapshot,
    until: tokio::time::Instant,
) -> BTreeMap<BrokerId, Measured> {
    let cancel = CancellationToken::new();
    let _end = cancel.clone().drop_guard();
    let mut events = ReportReader::start(connection.clone(), METRICS_TOPIC, cancel);
    let mut newest = BTreeMap::new();
    while let Ok(Some(event)) = tokio::time::timeout_at(until, events.recv()).await {
        match event {
            MetricsEvent::Record { report, .. }
                if report.cluster_id.as_deref().is_none_or(|id| id == snapshot.cluster_id()) =>
            {
                let (order, known) = ((report.sampled_at, report.sequence), newest.get(&report.broker_id));
                if known.is_none_or(|(known, _)| *known <= order) {
                    newest.insert(report.broker_id, (order, Measured::of(&report)));
                }
            }
            MetricsEvent::Lost { error } => eprintln!("not known: the brokers' reports: {error}"),
            _ => {}
        }
    }
    // What has not come within the time is an old figure, or none.
    newest.into_iter().map(|(broker, (_, measured))| (broker, measured)).collect()
}

impl Seen {
    fn facts(&self, disk_limit_percent: f64) -> Vec<BrokerFacts> {
        let facts = |broker: Registered| BrokerFacts {
            id: broker.id,
            rack: broker.rack,
            state: match (broker.in_service, broker.replicas) {
                (false, _) => NodeState::Dead,
                (true, 0) => NodeState::New,
                (true, _) => NodeState::Alive,
            },
            takes: broker.in_service,
            leads: broker.in_service,
            report: self.reports.get(&broker.id).copied(),
            disk_limit_percent,
        };
        self.model.registered().into_iter().map(facts).collect()
    }

    fn text(&self) -> String {
        let registered = self.model.registered();
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "cluster {}: {} brokers, {} partitions",
            self.cluster_id,
            registered.len(),
            self.model.partitions()
        );
        for broker in registered.iter().take(LISTED) {
            let _ = writeln!(
                text,
                "  broker {}{}: {}, {} replicas, {} led, {:.1} MB, {:.1} KB/s in",
                broker.id,
                broker.rack.as_ref().map(|rack| format!(" in rack {rack}")).unwrap_or_default(),
                if broker.in_service { "in service" } else { "dead" },
                broker.replicas,
                broker.led,
                broker.bytes as f64 / 1e6,
                broker.bytes_in / 1e3,
            );
        }
        if let Some(more) = registered.len().checked_sub(LISTED).filter(|more| *more > 0) {
            let _ = writeln!(text, "  and {more} more brokers");
        }
        text
    }
}

/// What is not known, for people.
fn gaps(gaps: &Gaps) -> String {
    let ids = |brokers: &[BrokerId]| {
        let ids: Vec<String> = brokers.iter().take(LISTED).map(ToString::to_string).collect();
        ids.join(", ")
    };
    let mut lines = Vec::new();
    if gaps.reassigning > 0 {
        lines.push(format!(
            "{} partitions are being reassigned; what is coming counts as held",
            gaps.reassigning
        ));
    }
    if gaps.unsized_partitions > 0 {
        lines.push(format!(
            "not known: the size of {} partitions, of which no broker in service has a copy",
            gaps.unsized_partitions
        ));
    }
    if gaps.unrated_partitions > 0 {
        lines.push(format!(
            "not known: the traffic of {} partitions, seen only once",
            gaps.unrated_partitions
        ));
    }
    if !gaps.without_cpu.is_empty() {
        lines.push(format!(
            "not known: the CPU of brokers {}, of which no report was read",
            ids(&gaps.without_cpu)
        ));
    }
    if !gaps.without_consumers.is_empty() {
        let brokers = ids(&gaps.without_consumers);
        lines.push(format!(
            "not known: what consumers read from brokers {brokers}; replication alone is counted"
        ));
    }
    if gaps.network_unlimited {
        lines.push("not known: what the network of every broker carries; it has no limit".to_owned());
    }
    lines.iter().map(|line| format!("  {line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_neither_too_short_nor_too_long() {
        assert_eq!(sample("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(sample("2m"), Ok(Duration::from_secs(120)));
        for wrong in ["0s", "500ms", "11m", "-3s", "ten"] {
            assert!(sample(wrong).is_err(), "{wrong}");
        }
    }
}
