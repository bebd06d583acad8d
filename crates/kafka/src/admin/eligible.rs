//! Who could lead a partition that nobody leads (KIP-966).

use super::{
    Admin, AdminError, EligibleLeaders, TopicInfo,
    command::text,
    pool::{AnswerTo, Ask},
};
use doctorkafka_wire::BrokerId;
use kafka_protocol::messages::{
    BrokerId as KafkaBrokerId, DescribeTopicPartitionsRequest, TopicName,
    describe_topic_partitions_request::{Cursor, TopicRequest},
};
use std::collections::BTreeMap;

/// Most partitions in one answer. Brokers give no more than 2,000 by default (`max.request.partition.size.limit`), and
/// say where to go on.
const PAGE: i32 = 2_000;

/// Most answers in one look. When so many partitions are without a leader, the rest is no news.
const PAGES: usize = 20;

/// Most topics in one question.
const TOPICS: usize = 500;

type Found = BTreeMap<(String, i32), EligibleLeaders>;

impl Admin {
    /// Adds to partitions without a leader who could lead them again. DescribeTopicPartitions, API key 75: Kafka 4.0 and
    /// newer know. Where brokers do not, nothing is added, and a partition's in-sync replicas are all that is known.
    pub(super) async fn add_eligible_leaders(&self, topics: &mut [TopicInfo]) {
        let leaderless = |topic: &&mut TopicInfo| topic.partitions.iter().any(|one| one.leader.is_none());
        let mut leaderless: Vec<&mut TopicInfo> = topics.iter_mut().filter(leaderless).take(TOPICS).collect();
        if leaderless.is_empty() {
            return;
        }
        let names: Vec<String> = leaderless.iter().map(|topic| topic.name.clone()).collect();
        let mut found = match self.eligible_leaders(&names).await {
            Ok(found) => found,
            Err(error) => {
                tracing::debug!(%error, "it is not known who could lead the partitions without a leader");
                return;
            }
        };
        for topic in &mut leaderless {
            for partition in topic.partitions.iter_mut().filter(|one| one.leader.is_none()) {
                partition.eligible = found.remove(&(topic.name.clone(), partition.partition)).map(Box::new);
            }
        }
    }

    async fn eligible_leaders(&self, topics: &[String]) -> Result<Found, AdminError> {
        let (mut found, mut cursor) = (Found::new(), None);
        for _ in 0..PAGES {
            let answer = self.general.ask_any(self.limits, &Partitions { topics, cursor }).await?;
            cursor = take(answer, &mut found);
            if cursor.is_none() {
                break;
            }
        }
        Ok(found)
    }
}

/// Takes in one answer, and tells where the next begins.
fn take(answer: AnswerTo<Partitions<'_>>, found: &mut Found) -> Option<(TopicName, i32)> {
    for topic in answer.body.topics {
        let Some(name) = topic.name.map(|name| name.to_string()) else { continue };
        for partition in topic.partitions {
            // Kafka 4.1.2 goes on naming brokers whose replica a reassignment has taken away.
            let holders = partition.replica_nodes;
            let ids = |ids: Option<Vec<KafkaBrokerId>>| -> Vec<BrokerId> {
                let held = ids.unwrap_or_default().into_iter().filter(|id| holders.contains(id));
                held.map(|id| BrokerId(id.0)).collect()
            };
            let eligible = EligibleLeaders {
                replicas: ids(partition.eligible_leader_replicas),
                last_known: ids(partition.last_known_elr),
            };
            if eligible != EligibleLeaders::default() {
                found.insert((name.clone(), partition.partition_index), eligible);
            }
        }
    }
    answer.body.next_cursor.map(|next| (next.topic_name, next.partition_index))
}

struct Partitions<'a> {
    topics: &'a [String],
    cursor: Option<(TopicName, i32)>,
}

impl Ask for Partitions<'_> {
    type Request = DescribeTopicPartitionsRequest;

    fn request(&self, _version: i16) -> DescribeTopicPartitionsRequest {
        let topic = |name: &String| TopicRequest::default().with_name(TopicName(text(name)));
        let cursor = self.cursor.clone().map(|(topic, partition)| {
            Cursor::default().with_topic_name(topic).with_partition_index(partition)
        });
        DescribeTopicPartitionsRequest::default()
            .with_topics(self.topics.iter().map(topic).collect())
            .with_response_partition_limit(PAGE)
            .with_cursor(cursor)
    }
}
