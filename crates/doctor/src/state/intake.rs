//! Taking in what was seen of the cluster and read from the doctor's topics.

use std::{collections::BTreeMap, time::Duration};

use doctorkafka_diagnosis::{BrokerFacts, ClusterFacts, Intake, Moment, Registration};
use doctorkafka_kafka::{ClusterDescription, LogEvent, MetricsEvent, QuorumLeader, partition_for};
use doctorkafka_planner::Rule;
use doctorkafka_wire::{ActionRecord, BrokerId};

use super::EngineState;
use crate::{
    DoctorReport,
    alerts::Alerts,
    observe::{Sight, topics_every},
    report::{KafkaView, SkipReason},
    topics::TopicTable,
    view::Tally,
};

/// One failed look is no outage.
const UNREACHABLE_AFTER: Duration = Duration::from_secs(3);

/// After so long, the cluster that answers under the policy's addresses is another one for good.
const REPLACED_AFTER: Duration = Duration::from_secs(10);

/// Partitions of the metrics topic until they have been read.
const METRICS_PARTITIONS: i32 = 3;

/// Topics are out of date when so many readings of them have not come.
const MISSED_READINGS: u32 = 3;

/// The topics of the cluster when they were last read.
pub(super) struct SeenTopics {
    /// When they were asked for.
    pub at: Moment,
    pub topics: TopicTable,
    pub tally: Tally,
}

impl SeenTopics {
    /// Whether they may be taken for what is there now.
    pub fn are_fresh(&self, now: Moment) -> bool {
        now.since(self.at) <= topics_every(self.tally.partitions) * MISSED_READINGS
    }
}

impl EngineState {
    /// The topics, if they were read since anything was changed that is known of: what was read before a treatment ended
    /// would have it begun again.
    pub(super) fn sure_topics(&self, now: Moment) -> Option<&SeenTopics> {
        self.topics.as_ref().filter(|seen| seen.are_fresh(now) && seen.at > self.changed_until)
    }

    /// What was asked of the topics before this moment may not be what they are.
    pub fn distrust_topics(&mut self, until: Moment) {
        self.changed_until = until;
    }

    /// Takes in a look at the cluster.
    pub fn see(&mut self, sight: Sight, now: Moment) {
        match sight {
            Sight::Cluster { at, description: Ok(description), controller } => {
                self.see_cluster(at, description, controller, now);
            }
            Sight::Cluster { description: Err(error), .. } => self.see_no_cluster(error, now),
            Sight::OwnTopics(outcome) => {
                self.topics_error = outcome.err();
                self.changed = true;
            }
            Sight::Topics { at, topics } => {
                let topics = TopicTable::from(topics);
                if self.are_outdated(&topics, now) {
                    return;
                }
                // Figures that were unknown are worth to be published; others can wait for their turn.
                self.changed |= self.topics.is_none();
                self.topics = Some(SeenTopics { at, tally: Tally::of(&topics), topics });
            }
            Sight::Loads(snapshot) => {
                // Another cluster may answer under the policy's addresses.
                if self.cluster_id().is_none_or(|ours| ours == snapshot.cluster_id()) {
                    self.loads.see(*snapshot);
                    // What could not be planned for want of them can be now, if anything can.
                    let for_want = |rule| matches!(rule, Rule::StaleData | Rule::UnknownLoad);
                    let busy = self.treatment.is_some() || self.recovery.open().is_some();
                    self.unplanned.retain(|_, (_, refused)| busy || !for_want(refused.rule));
                    self.advised = None;
                }
            }
            Sight::Mark { partition, mark } => self.diagnostician.mark(partition, mark),
            Sight::Probed { broker, outcome } => self.diagnostician.probed(broker, Some(outcome)),
        }
    }

    /// After which moment the loads of the partitions have to be read, if a plan is wanted that needs them.
    pub fn loads_wanted(&self) -> Option<Moment> {
        self.wants_loads.then_some(self.changed_until)
    }

    /// The id of the cluster that is watched.
    pub fn cluster_id(&self) -> Option<String> {
        self.kafka.cluster_id.clone()
    }

    /// Whether another cluster has taken the place of the one that is watched. What is known is of no use then.
    pub fn is_replaced(&self, now: Moment) -> bool {
        self.other_cluster.is_some_and(|since| now.since(since) >= REPLACED_AFTER)
    }

    fn see_cluster(
        &mut self,
        at: Moment,
        description: ClusterDescription,
        controller: Option<QuorumLeader>,
        now: Moment,
    ) {
        if let Some(ours) = self.kafka.cluster_id.clone().filter(|ours| *ours != description.cluster_id) {
            self.other_cluster.get_or_insert(now);
            let theirs = &description.cluster_id;
            let error = format!(
                "{} leads to Kafka cluster {theirs} and led to {ours} before: nothing is concluded from what it says",
                self.policy.bootstrap_servers
            );
            return self.see_no_cluster(error, now);
        }
        self.other_cluster = None;
        self.diagnostician.look(self.facts(at, &description, controller));
        let view = KafkaView {
            reachable: Some(true),
            cluster_id: Some(description.cluster_id),
            controller_id: controller.map(|leader| leader.id),
            ..KafkaView::default()
        };
        self.changed |= view != self.kafka;
        self.kafka = view;
        self.kafka_seen = Some(now);
        let in_service = description.brokers.iter().filter(|broker| !broker.fenced);
        self.in_service = in_service.map(|broker| broker.id).collect();
        if description.shows_fenced {
            self.brokers.clear();
        }
        self.brokers.extend(description.brokers.into_iter().map(|broker| (broker.id, broker)));
    }

    fn facts(
        &self,
        at: Moment,
        description: &ClusterDescription,
        controller: Option<QuorumLeader>,
    ) -> ClusterFacts {
        let seen = self.topics.as_ref();
        let metrics =
            seen.and_then(|seen| seen.topics.iter().find(|topic| topic.name == self.policy.topics.metrics));
        let partitions = metrics
            .and_then(|topic| i32::try_from(topic.partitions.len()).ok())
            .filter(|partitions| *partitions > 0)
            .unwrap_or(METRICS_PARTITIONS);
        let facts_of = |id: BrokerId, fenced: bool| {
            let registration = if fenced { Registration::Fenced } else { Registration::Active };
            (id, BrokerFacts { registration, home: partition_for(id, partitions) })
        };
        // Where fenced brokers are not named, those that hold replicas are known all the same.
        let holders = seen.filter(|_| !description.shows_fenced).map(|seen| seen.tally.replicas.keys());
        let brokers: BTreeMap<_, _> = holders
            .into_iter()
            .flatten()
            .map(|id| facts_of(*id, true))
            .chain(description.brokers.iter().map(|broker| facts_of(broker.id, broker.fenced)))
            .collect();
        ClusterFacts {
            at,
            brokers,
            names_fenced: description.shows_fenced,
            controller: controller.map(|leader| (leader.id, leader.epoch)),
        }
    }

    fn see_no_cluster(&mut self, error: String, now: Moment) {
        if self.kafka_seen.is_some_and(|seen| now.since(seen) < UNREACHABLE_AFTER) {
            return;
        }
        if self.kafka.reachable != Some(false) {
            tracing::warn!(
                policy = self.policy.name,
                error,
                "Kafka cannot be reached, trying again every second"
            );
            self.changed = true;
        }
        self.kafka.reachable = Some(false);
        self.kafka.error = Some(error);
        self.kafka.controller_id = None;
    }

    /// Takes in what the reader of the metrics topic tells.
    pub fn metrics(&mut self, event: MetricsEvent, now: Moment) {
        match event {
            MetricsEvent::Record { partition, offset, report, .. } => {
                let of_other_cluster = match (&report.cluster_id, &self.kafka.cluster_id) {
                    (Some(theirs), Some(ours)) => theirs != ours,
                    _ => false,
                };
                if of_other_cluster {
                    self.diagnostician.read_to(partition, offset.saturating_add(1));
                    return self.skip(SkipReason::Forged);
                }
                match self.diagnostician.report(partition, offset, *report, now) {
                    Intake::Used => self.counters.reports += 1,
                    Intake::Repeated => self.skip(SkipReason::Repeated),
                    Intake::UnknownBroker => self.skip(SkipReason::UnknownBroker),
                }
            }
            MetricsEvent::Skipped { partition, offset, reason } => {
                tracing::debug!(policy = self.policy.name, partition, offset, %reason, "record passed over");
                self.diagnostician.read_to(partition, offset.saturating_add(1));
                self.skip((&reason).into());
            }
            MetricsEvent::Position { partition, next_offset } => {
                self.diagnostician.read_to(partition, next_offset);
            }
            MetricsEvent::Assigned { restarted, .. } => {
                if restarted {
                    self.diagnostician.reset_paths();
                }
            }
            MetricsEvent::Lost { error } => {
                tracing::warn!(
                    policy = self.policy.name,
                    error,
                    "cannot read the metrics topic, trying again"
                );
            }
        }
    }

    fn skip(&mut self, reason: SkipReason) {
        *self.counters.skipped.entry(reason).or_default() += 1;
    }

    /// Takes in what the reader of the actions log tells.
    pub fn log(&mut self, event: LogEvent) {
        match event {
            LogEvent::Record { offset, record } => {
                self.hear_vote(offset, &record);
                self.remember(*record);
            }
            LogEvent::Restarted => {
                self.actions.clear();
                self.alerts = Alerts::default();
                self.votes = Default::default();
                self.shown_actions = None;
                self.changed = true;
            }
            LogEvent::Skipped { offset, reason } => {
                let reason = reason.map_or("it has no value".to_owned(), |reason| reason.to_string());
                tracing::debug!(
                    policy = self.policy.name,
                    offset,
                    reason,
                    "record of the actions log passed over"
                );
            }
            LogEvent::CaughtUp => {}
            LogEvent::Lost { error } => {
                tracing::warn!(policy = self.policy.name, error, "cannot read the actions log, trying again");
            }
        }
    }

    fn remember(&mut self, record: ActionRecord) {
        if self.actions.len() == DoctorReport::RECENT_ACTIONS {
            self.actions.pop_front();
        }
        // A leader knows what stands open, and hears here of what it wrote itself.
        if !self.leads() {
            self.alerts.apply(&record);
        }
        self.actions.push_back(record);
        self.shown_actions = None;
        self.changed = true;
    }
}
