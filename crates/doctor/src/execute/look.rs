//! Looking at the cluster, and remembering how long what is seen has been so.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use doctorkafka_kafka::{
    AdminError, ClusterAdmin, ConfigResource, DynamicConfigs, PartitionInfo, RunningReassignment, TopicInfo,
    TopicPartition,
};
use doctorkafka_wire::BrokerId;

use super::{Observed, SeenTopic, Treatment, Whole, observed::at, throttle};

/// How long `min.insync.replicas` is believed. It changes when people edit it.
const BELIEVED: Duration = Duration::from_secs(30);

/// What the looks at one treatment remember.
pub(super) struct Looks {
    topics: Vec<String>,
    partitions: Vec<TopicPartition>,
    brokers: BTreeSet<BrokerId>,
    configs: Vec<ConfigResource>,
    steady: BTreeMap<TopicPartition, (Appearance, Duration)>,
    down_since: BTreeMap<BrokerId, Duration>,
    min_isr: BTreeMap<String, i32>,
    min_isr_at: Option<Duration>,
}

/// A partition's topic id, replicas and reassignment, as far as they tell progress.
type Appearance = Option<(u128, PartitionInfo, Option<RunningReassignment>)>;

impl Looks {
    pub fn new(treatment: &Treatment) -> Self {
        let topics: BTreeSet<&String> = treatment.changes().iter().map(|change| &change.topic).collect();
        let brokers = treatment.changes().iter().flat_map(|change| change.from.iter().chain(&change.to));
        Self {
            topics: topics.into_iter().cloned().collect(),
            partitions: treatment.changes().iter().map(at).collect(),
            brokers: brokers.copied().collect(),
            configs: throttle::resources(treatment),
            steady: BTreeMap::new(),
            down_since: BTreeMap::new(),
            min_isr: BTreeMap::new(),
            min_isr_at: None,
        }
    }

    /// Looks at the treatment's topics, or at everything.
    ///
    /// Reassignments are asked for before the partitions: what ends in between is seen as complete afterwards, never as
    /// replicas that nobody accounts for.
    pub async fn look(
        &mut self,
        admin: &impl ClusterAdmin,
        now: Duration,
        whole: bool,
    ) -> Result<Observed, AdminError> {
        let cluster = admin.cluster().await?;
        let running: BTreeMap<TopicPartition, RunningReassignment> =
            admin.reassignments().await?.into_iter().map(|running| (running.at.clone(), running)).collect();
        let own: Vec<&str> = self.topics.iter().map(String::as_str).collect();
        let topics = admin.partitions(if whole { None } else { Some(&own) }).await?;
        let topics: BTreeMap<String, SeenTopic> = topics.into_iter().map(seen).collect();
        let up: Vec<BrokerId> =
            cluster.brokers.iter().filter(|broker| !broker.fenced).map(|broker| broker.id).collect();
        let rest = if whole { Some(self.rest(admin, now, &topics, &up).await?) } else { None };
        self.remember(&topics, &running, &up, now);
        let since = |since: &Duration| now.saturating_sub(*since);
        Ok(Observed {
            up,
            down_for: self.down_since.iter().map(|(broker, down)| (*broker, since(down))).collect(),
            topics,
            running,
            steady_for: self.steady.iter().map(|(at, (_, steady))| (at.clone(), since(steady))).collect(),
            whole: rest,
        })
    }

    async fn rest(
        &mut self,
        admin: &impl ClusterAdmin,
        now: Duration,
        topics: &BTreeMap<String, SeenTopic>,
        up: &[BrokerId],
    ) -> Result<Whole, AdminError> {
        let old = self.min_isr_at.is_none_or(|at| now.saturating_sub(at) >= BELIEVED);
        let missing: Vec<&str> = topics
            .keys()
            .filter(|topic| old || !self.min_isr.contains_key(*topic))
            .map(String::as_str)
            .collect();
        if !missing.is_empty() {
            self.min_isr.extend(admin.min_insync_replicas(&missing).await?);
            self.min_isr.retain(|topic, _| topics.contains_key(topic));
        }
        if old {
            self.min_isr_at = Some(now);
        }
        let mut configs = DynamicConfigs::new();
        let mut of_topics = Vec::new();
        for resource in &self.configs {
            match resource {
                ConfigResource::Topic(_) => of_topics.push(resource.clone()),
                // One that cannot be asked is left out, and must not hide the others.
                ConfigResource::Broker(broker) if up.contains(broker) => {
                    match admin.configs(std::slice::from_ref(resource)).await {
                        Ok(known) => configs.extend(known),
                        Err(error) => tracing::debug!(%broker, %error, "a broker does not tell its settings"),
                    }
                }
                ConfigResource::Broker(_) => {}
            }
        }
        if !of_topics.is_empty() {
            configs.extend(admin.configs(&of_topics).await?);
        }
        Ok(Whole { min_isr: self.min_isr.clone(), configs })
    }

    fn remember(
        &mut self,
        topics: &BTreeMap<String, SeenTopic>,
        running: &BTreeMap<TopicPartition, RunningReassignment>,
        up: &[BrokerId],
        now: Duration,
    ) {
        for at in &self.partitions {
            let topic = topics.get(&at.topic);
            let partition = topic.and_then(|topic| topic.partitions.get(&at.partition));
            let appearance = topic.zip(partition).map(|(topic, partition)| {
                let mut partition = partition.clone();
                partition.isr.sort_unstable(); // brokers list it in any order
                (topic.id, partition, running.get(at).cloned())
            });
            match self.steady.get_mut(at) {
                Some((before, _)) if *before == appearance => {}
                Some(entry) => *entry = (appearance, now),
                None => {
                    self.steady.insert(at.clone(), (appearance, now));
                }
            }
        }
        for broker in &self.brokers {
            if up.contains(broker) {
                self.down_since.remove(broker);
            } else {
                self.down_since.entry(*broker).or_insert(now);
            }
        }
    }
}

fn seen(topic: TopicInfo) -> (String, SeenTopic) {
    let partitions = topic.partitions.into_iter().map(|partition| (partition.partition, partition)).collect();
    (topic.name, SeenTopic { id: topic.id, partitions })
}
