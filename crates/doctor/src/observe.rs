//! Looking at the cluster: who is there, how far its reports have come, and whether the silent ones can be reached.

mod loads;

use std::{collections::BTreeMap, time::Duration};

use doctorkafka_diagnosis::{DirectProbe, Moment, PathMark};
use doctorkafka_kafka::{
    Admin, AdminError, ClusterDescription, ProbeError, QuorumLeader, TopicInfo, TopicSpec,
};
use doctorkafka_wire::BrokerId;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};
use tracing::{error, info, warn};

use crate::{load::LoadSnapshot, policy::Topics};

const LOOK_EVERY: Duration = Duration::from_secs(1);
const MARK_EVERY: Duration = Duration::from_millis(200);
const MARK_TIMEOUT: Duration = Duration::from_secs(1);
const PROBE_EVERY: Duration = Duration::from_secs(1);
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// A quorum without a leader takes its time to say so, and the brokers are worth knowing without it.
const QUORUM_TIMEOUT: Duration = Duration::from_secs(2);

/// How often all topics are read, at the most and at the least.
const TOPICS_EVERY: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));

/// So many partitions may be read in five seconds. The answer about them is some 2 MB.
const PARTITIONS_AT_ONCE: usize = 20_000;

/// How often the doctor's own topics are looked after, and how soon again after they were created or could not be.
const KEEP_EVERY: Duration = Duration::from_secs(2);
const CREATED_LOOK: Duration = Duration::from_millis(200);
const CREATE_AGAIN: Duration = Duration::from_secs(1);

/// So many looks in a row must miss a topic that was there before it is created again: whoever deleted it may be about to
/// create it with other settings.
const MISSED_LOOKS: u32 = 5;

/// Direct probes of one round, at the most: in a cluster with more silent brokers the fault is elsewhere.
const PROBES: usize = 32;

/// What was seen.
#[derive(Debug)]
pub(crate) enum Sight {
    /// A look at the cluster.
    Cluster { at: Moment, description: Result<ClusterDescription, String>, controller: Option<QuorumLeader> },
    /// Whether the doctor's own topics exist, or why they can be neither found nor created.
    OwnTopics(Result<(), String>),
    /// All topics of the cluster, asked for `at`.
    Topics { at: Moment, topics: Vec<TopicInfo> },
    /// The loads of all partitions.
    Loads(Box<LoadSnapshot>),
    /// The end of a partition of the metrics topic.
    Mark { partition: i32, mark: PathMark },
    /// The outcome of a direct probe.
    Probed { broker: BrokerId, outcome: DirectProbe },
}

/// Turns instants of the runtime's monotonic clock into moments.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub fn start() -> Self {
        Self(Instant::now())
    }

    pub fn now(&self) -> Moment {
        Moment(u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX))
    }
}

/// Everything that looks at the cluster on its own schedule.
#[derive(Clone)]
pub(crate) struct Observer {
    pub admin: Admin,
    pub clock: Clock,
    pub topics: Topics,
    pub sights: mpsc::Sender<Sight>,
}

impl Observer {
    /// Looks until the engine goes away, or until a part of it fails. `silent` names brokers, with their addresses, that
    /// are worth a direct probe, and `loads_wanted` after which moment the loads of the partitions have to be read, if a
    /// plan is wanted that needs them.
    pub async fn run(
        self,
        silent: watch::Receiver<BTreeMap<BrokerId, String>>,
        loads_wanted: watch::Receiver<Option<Moment>>,
    ) {
        let mut tasks = JoinSet::new();
        tasks.spawn(self.clone().look());
        tasks.spawn(self.clone().read_topics());
        tasks.spawn(self.clone().keep_own_topics());
        tasks.spawn(self.clone().read_loads(loads_wanted));
        tasks.spawn(self.probe(silent));
        // Half an observer is worse than none: the engine notices that the sights have ended, and ends as well.
        if let Some(Err(error)) = tasks.join_next().await {
            error!(%error, "a part of the observation of Kafka has failed");
        }
    }

    async fn look(self) {
        let mut tick = every(LOOK_EVERY);
        while !self.sights.is_closed() {
            tick.tick().await;
            let at = self.clock.now();
            let quorum = timeout(QUORUM_TIMEOUT, self.admin.quorum_leader());
            let (description, controller) = tokio::join!(self.admin.describe_cluster(), quorum);
            let description = description.map_err(|error| error.to_string());
            let controller = controller.ok().and_then(Result::ok);
            self.tell(Sight::Cluster { at, description, controller }).await;
        }
    }

    async fn read_topics(self) {
        let mut partitions = 0;
        while !self.sights.is_closed() {
            let at = self.clock.now();
            if let Ok(topics) = self.admin.topics(None).await {
                partitions = topics.iter().map(|topic| topic.partitions.len()).sum();
                self.tell(Sight::Topics { at, topics }).await;
            }
            sleep(topics_every(partitions)).await;
        }
    }

    /// Creates the doctor's topics where they are missing, also later on, and follows where the metrics topic ends.
    async fn keep_own_topics(self) {
        let mut tick = every(KEEP_EVERY);
        let (mut ready, mut missed) = (false, 0);
        let mut told = None;
        let mut paths = JoinSet::new();
        while !self.sights.is_closed() {
            tokio::select! {
                _ = tick.tick() => {}
                Some(ended) = paths.join_next() => {
                    if let Err(failed) = ended && failed.is_panic() {
                        std::panic::resume_unwind(failed.into_panic());
                    }
                    continue;
                }
            }
            let own = [self.topics.metrics.as_str(), self.topics.actions_log.as_str()];
            let topics = match self.admin.topics(Some(&own)).await {
                Ok(topics) => topics,
                Err(_) if ready => continue,
                Err(error) => {
                    // That no broker answers is told by the look at the cluster.
                    if !matches!(error, AdminError::Unreachable { .. }) {
                        self.tell_of_own_topics(&mut told, Err(("look for", error))).await;
                    }
                    tick.reset_after(CREATE_AGAIN);
                    continue;
                }
            };
            let metrics = topics.iter().find(|topic| topic.name == self.topics.metrics);
            // Each partition is asked on its own, so that a leader that hangs delays no other.
            for partition in paths.len()..metrics.map_or(0, |topic| topic.partitions.len()) {
                paths.spawn(self.clone().mark_path(i32::try_from(partition).unwrap_or(i32::MAX)));
            }
            missed = if topics.len() < own.len() { missed + 1 } else { 0 };
            if missed > 0 && ready && missed < MISSED_LOOKS {
                continue;
            }
            if missed > 0 {
                if let Err(error) = self.create_own_topics().await {
                    self.tell_of_own_topics(&mut told, Err(("create", error))).await;
                    tick.reset_after(CREATE_AGAIN);
                    continue;
                }
                missed = 0;
                tick.reset_after(CREATED_LOOK);
            }
            ready = true;
            self.tell_of_own_topics(&mut told, Ok(())).await;
        }
    }

    /// Tells the engine, and the log, what came of looking for the topics or creating them, unless it is what came of it
    /// the last time.
    async fn tell_of_own_topics(
        &self,
        told: &mut Option<Result<(), String>>,
        outcome: Result<(), (&str, AdminError)>,
    ) {
        let outcome = outcome.map_err(|(what, error)| own_topics_error(&self.topics, what, &error));
        if told.as_ref() == Some(&outcome) {
            return;
        }
        if let Err(error) = &outcome {
            warn!("{error}; trying again");
        }
        *told = Some(outcome.clone());
        self.tell(Sight::OwnTopics(outcome)).await;
    }

    async fn create_own_topics(&self) -> Result<(), AdminError> {
        let brokers = self.admin.describe_cluster().await?.brokers.len();
        let metrics = TopicSpec::metrics(&self.topics.metrics, brokers);
        let log = TopicSpec::actions_log(&self.topics.actions_log, brokers);
        for spec in [metrics, log] {
            let outcome = self.admin.ensure_topic(&spec).await?;
            info!(topic = spec.name, ?outcome, "topic is there");
        }
        Ok(())
    }

    async fn mark_path(self, partition: i32) {
        let mut tick = every(MARK_EVERY);
        while !self.sights.is_closed() {
            tick.tick().await;
            let at = self.clock.now();
            let asked = timeout(MARK_TIMEOUT, self.admin.end_offset(&self.topics.metrics, partition)).await;
            if let Ok(Ok(end)) = asked {
                self.tell(Sight::Mark { partition, mark: PathMark { at, end } }).await;
            }
        }
    }

    async fn probe(self, silent: watch::Receiver<BTreeMap<BrokerId, String>>) {
        let mut tick = every(PROBE_EVERY);
        while !self.sights.is_closed() {
            tick.tick().await;
            let silent = silent.borrow().clone();
            let mut probes = JoinSet::new();
            for (broker, address) in silent.into_iter().take(PROBES) {
                let admin = self.admin.clone();
                probes.spawn(async move { (broker, admin.probe(&address, PROBE_TIMEOUT).await) });
            }
            while let Some(probed) = probes.join_next().await {
                let (broker, outcome) = match probed {
                    Ok(probed) => probed,
                    Err(failed) if failed.is_panic() => std::panic::resume_unwind(failed.into_panic()),
                    Err(_) => continue,
                };
                let outcome = match outcome {
                    Ok(_) => DirectProbe::Answered,
                    Err(ProbeError::Refused) => DirectProbe::Refused,
                    Err(_) => DirectProbe::Silent,
                };
                self.tell(Sight::Probed { broker, outcome }).await;
            }
        }
    }

    async fn tell(&self, sight: Sight) {
        // The engine has gone: so will this task.
        let _ = self.sights.send(sight).await;
    }
}

/// How often a cluster of so many partitions has all of them read.
pub(crate) fn topics_every(partitions: usize) -> Duration {
    let times = partitions.div_ceil(PARTITIONS_AT_ONCE).max(1);
    let (shortest, longest) = TOPICS_EVERY;
    shortest.saturating_mul(u32::try_from(times).unwrap_or(u32::MAX)).min(longest)
}

/// What is wrong with the doctor's own topics, and what to do where Kafka has refused.
fn own_topics_error(topics: &Topics, what: &str, error: &AdminError) -> String {
    let Topics { metrics, actions_log } = topics;
    let remedy = match error {
        AdminError::Refused { .. } => "; allow it to the doctor, or create them by hand",
        _ => "",
    };
    format!("cannot {what} the doctor's topics {metrics} and {actions_log}: {error}{remedy}")
}

fn every(period: Duration) -> tokio::time::Interval {
    let mut interval = interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}
