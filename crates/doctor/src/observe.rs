//! Looking at the cluster: who is there, how far its reports have come, and whether the silent ones can be reached.

use std::{collections::BTreeMap, time::Duration};

use doctorkafka_diagnosis::{DirectProbe, Moment, PathMark};
use doctorkafka_kafka::{Admin, ClusterDescription, ProbeError, QuorumLeader, TopicInfo, TopicSpec, probe};
use doctorkafka_wire::BrokerId;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, timeout},
};
use tracing::{info, warn};

use crate::policy::Topics;

const LOOK_EVERY: Duration = Duration::from_secs(1);
const TOPICS_EVERY: Duration = Duration::from_secs(5);
const MARK_EVERY: Duration = Duration::from_millis(200);
const MARK_TIMEOUT: Duration = Duration::from_secs(1);
const PROBE_EVERY: Duration = Duration::from_secs(1);
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// Direct probes of one round, at the most: in a cluster with more silent brokers the fault is elsewhere.
const PROBES: usize = 32;

/// What was seen.
#[derive(Debug)]
pub(crate) enum Sight {
    /// A look at the cluster.
    Cluster { at: Moment, description: Result<ClusterDescription, String>, controller: Option<QuorumLeader> },
    /// The doctor's topics exist.
    TopicsReady,
    /// All topics of the cluster.
    Topics(Vec<TopicInfo>),
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
    /// Looks until the engine goes away. `silent` names brokers, with their addresses, that are worth a direct probe.
    pub async fn run(self, silent: watch::Receiver<BTreeMap<BrokerId, String>>) {
        let mut tasks = JoinSet::new();
        tasks.spawn(self.clone().look());
        tasks.spawn(self.clone().read_topics());
        tasks.spawn(self.clone().mark_paths());
        tasks.spawn(self.probe(silent));
        while tasks.join_next().await.is_some() {}
    }

    async fn look(self) {
        let mut tick = every(LOOK_EVERY);
        let mut ready = false;
        while !self.sights.is_closed() {
            tick.tick().await;
            let at = self.clock.now();
            let (description, controller) =
                tokio::join!(self.admin.describe_cluster(), self.admin.quorum_leader());
            if let (false, Ok(cluster)) = (ready, &description) {
                ready = self.ensure_topics(cluster.brokers.len()).await;
                if ready {
                    self.tell(Sight::TopicsReady).await;
                }
            }
            let description = description.map_err(|error| error.to_string());
            self.tell(Sight::Cluster { at, description, controller: controller.ok() }).await;
        }
    }

    async fn ensure_topics(&self, brokers: usize) -> bool {
        let metrics = TopicSpec::metrics(&self.topics.metrics, brokers);
        let log = TopicSpec::actions_log(&self.topics.actions_log, brokers);
        for spec in [metrics, log] {
            match self.admin.ensure_topic(&spec).await {
                Ok(outcome) => info!(topic = spec.name, ?outcome, "topic is there"),
                Err(error) => {
                    warn!(%error, "cannot create the doctor's topic {}, trying again", spec.name);
                    return false;
                }
            }
        }
        true
    }

    async fn read_topics(self) {
        let mut tick = every(TOPICS_EVERY);
        while !self.sights.is_closed() {
            tick.tick().await;
            if let Ok(topics) = self.admin.topics(None).await {
                self.tell(Sight::Topics(topics)).await;
            }
        }
    }

    /// Each partition is asked on its own, so that a leader that hangs delays no other.
    async fn mark_paths(self) {
        let mut tick = every(Duration::from_secs(2));
        let mut marked = 0;
        let mut tasks = JoinSet::new();
        while !self.sights.is_closed() {
            tick.tick().await;
            let Ok(topics) = self.admin.topics(Some(&[&self.topics.metrics])).await else { continue };
            let partitions = topics.first().map_or(0, |topic| topic.partitions.len());
            for partition in (marked..partitions).filter_map(|p| i32::try_from(p).ok()) {
                tasks.spawn(self.clone().mark_path(partition));
            }
            marked = marked.max(partitions);
        }
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
                probes.spawn(async move { (broker, probe(&address, PROBE_TIMEOUT).await) });
            }
            while let Some(probed) = probes.join_next().await {
                let Ok((broker, outcome)) = probed else { continue };
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

fn every(period: Duration) -> tokio::time::Interval {
    let mut interval = interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}
