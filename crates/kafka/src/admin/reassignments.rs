//! Reassignments of partitions: started, cancelled, listed.

use super::{
    Admin, AdminError, PartitionError, PartitionOutcome, ReassignmentChange, RunningReassignment,
    TopicPartition,
    command::{Answers, CHUNK, Command, Outcomes, Refusal, counted, text, unreachable},
    describe::RETRIES,
    link::Request,
    pool::Ask,
};
use doctorkafka_wire::BrokerId;
use kafka_protocol::{
    ResponseError,
    messages::{
        self, AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse,
        ListPartitionReassignmentsRequest, TopicName,
        alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic},
    },
};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use tokio::time::Instant;

/// From this version of AlterPartitionReassignments on (Kafka 4.1), the controller refuses another replication factor when
/// asked to (KIP-860).
const KEEPS_REPLICATION_FACTOR: i16 = 1;

impl Admin {
    /// Starts and cancels reassignments. Needs ALTER on the cluster.
    pub(super) async fn alter_reassignments(
        &self,
        changes: &[ReassignmentChange],
    ) -> Result<Vec<PartitionOutcome>, AdminError> {
        let refused = self.replication_factor_changes(changes).await?;
        let sent: Vec<&ReassignmentChange> =
            changes.iter().filter(|change| !refused.contains_key(&change.at)).collect();
        let mut outcomes = self.alter_in_chunks(&sent).await?;
        outcomes.extend(refused.into_iter().map(|(at, error)| PartitionOutcome { at, result: Err(error) }));
        let places: HashMap<&TopicPartition, usize> =
            changes.iter().enumerate().map(|(place, change)| (&change.at, place)).collect();
        outcomes.sort_by_key(|outcome| places.get(&outcome.at));
        Ok(outcomes)
    }

    async fn alter_in_chunks(
        &self,
        changes: &[&ReassignmentChange],
    ) -> Result<Vec<PartitionOutcome>, AdminError> {
        let mut outcomes = Outcomes::default();
        let mut rest = changes;
        while !rest.is_empty() {
            let (chunk, later) = rest.split_at(rest.len().min(CHUNK));
            let at = || chunk.iter().map(|change| &change.at);
            match self.command(&Alter { changes: chunk, timeout_ms: self.server_timeout_ms() }).await {
                Ok(answer) => outcomes.answered(at(), &answers(&answer.body)),
                Err(error) => {
                    return outcomes.failed(at(), later.iter().map(|change| &change.at), error);
                }
            }
            rest = later;
        }
        Ok(outcomes.finish())
    }

    /// Changes that Kafka would let change a replication factor, with the error that newer ones give: before 4.1 it does
    /// so without a word. The reassignments under way are asked for as well, because to Metadata a partition has for
    /// their time more replicas than its replication factor.
    async fn replication_factor_changes(
        &self,
        changes: &[ReassignmentChange],
    ) -> Result<BTreeMap<TopicPartition, PartitionError>, AdminError> {
        let mut refused = BTreeMap::new();
        let topics: BTreeSet<&str> = changes
            .iter()
            .filter(|change| change.replicas.is_some())
            .map(|change| change.at.topic.as_str())
            .collect();
        if topics.is_empty() || self.keeps_replication_factors().await? {
            return Ok(refused);
        }
        let topics: Vec<&str> = topics.into_iter().collect();
        let (running, known) = (self.list_reassignments().await?, self.topics(Some(&topics)).await?);
        let mut factors: HashMap<TopicPartition, usize> = HashMap::new();
        for topic in known {
            factors.extend(topic.partitions.iter().map(|partition| {
                let at = TopicPartition { topic: topic.name.clone(), partition: partition.partition };
                (at, partition.replicas.len())
            }));
        }
        factors.extend(running.into_iter().map(|running| {
            let factor = running.replicas.len().saturating_sub(running.removing.len());
            (running.at, factor)
        }));
        for change in changes {
            // What is not known is for Kafka to refuse.
            if let (Some(replicas), Some(factor)) = (&change.replicas, factors.get(&change.at))
                && replicas.len() != *factor
            {
                let error = PartitionError {
                    code: ResponseError::InvalidReplicationFactor.to_string(),
                    message: Some(format!(
                        "the replication factor would change from {factor} to {}; not sent, because this Kafka \
                         would do it",
                        replicas.len()
                    )),
                    retriable: false,
                };
                refused.insert(change.at.clone(), error);
            }
        }
        Ok(refused)
    }

    async fn keeps_replication_factors(&self) -> Result<bool, AdminError> {
        let line = self.general.line::<AlterPartitionReassignmentsRequest>(self.limits).await?;
        let version = line.version::<AlterPartitionReassignmentsRequest>().map_err(|error| {
            unreachable(AlterPartitionReassignmentsRequest::NAME, line.address().to_owned(), error)
        })?;
        Ok(version >= KEEPS_REPLICATION_FACTOR)
    }

    /// All reassignments under way. Needs DESCRIBE on the cluster.
    pub(super) async fn list_reassignments(&self) -> Result<Vec<RunningReassignment>, AdminError> {
        let list = List { timeout_ms: self.server_timeout_ms() };
        let deadline = Instant::now() + 2 * self.limits.call;
        let mut retries = 0;
        let mut controller: Option<String> = None;
        let body = loop {
            let answer = match controller.take() {
                Some(address) => self.general.ask(&address, self.limits, &list).await.map_err(|error| {
                    unreachable(ListPartitionReassignmentsRequest::NAME, address.clone(), error)
                })?,
                None => self.general.ask_any(self.limits, &list).await?,
            };
            let Some(error) = ResponseError::try_from_code(answer.body.error_code) else {
                break answer.body;
            };
            if !error.is_retriable() || retries == RETRIES || Instant::now() >= deadline {
                return Err(AdminError::Refused {
                    request: ListPartitionReassignmentsRequest::NAME,
                    subject: "the cluster".to_owned(),
                    address: answer.address,
                    code: error.to_string(),
                    message: answer.body.error_message.map(|message| message.to_string()),
                });
            }
            retries += 1;
            self.pause().await;
            if error == ResponseError::NotController {
                controller = self.controller_address().await?;
            }
        };
        let mut running = Vec::new();
        for topic in body.topics {
            running.extend(topic.partitions.into_iter().map(|partition| RunningReassignment {
                at: TopicPartition { topic: topic.name.to_string(), partition: partition.partition_index },
                replicas: ids(partition.replicas),
                adding: ids(partition.adding_replicas),
                removing: ids(partition.removing_replicas),
            }));
        }
        running.sort_unstable_by(|a, b| a.at.cmp(&b.at));
        Ok(running)
    }
}

fn ids(ids: Vec<messages::BrokerId>) -> Vec<BrokerId> {
    ids.into_iter().map(|id| BrokerId(id.0)).collect()
}

fn answers(body: &AlterPartitionReassignmentsResponse) -> Answers {
    let mut answers = Answers::default();
    for topic in &body.responses {
        for partition in &topic.partitions {
            answers.note(
                &topic.name,
                partition.partition_index,
                partition.error_code,
                partition.error_message.as_ref(),
                ResponseError::NoReassignmentInProgress,
            );
        }
    }
    answers
}

struct Alter<'a> {
    changes: &'a [&'a ReassignmentChange],
    timeout_ms: i32,
}

impl Ask for Alter<'_> {
    type Request = AlterPartitionReassignmentsRequest;

    fn request(&self, version: i16) -> AlterPartitionReassignmentsRequest {
        let mut topics: BTreeMap<&str, Vec<ReassignablePartition>> = BTreeMap::new();
        for change in self.changes {
            let replicas = change
                .replicas
                .as_ref()
                .map(|replicas| replicas.iter().map(|broker| messages::BrokerId(broker.0)).collect());
            let partition = ReassignablePartition::default()
                .with_partition_index(change.at.partition)
                .with_replicas(replicas);
            topics.entry(&change.at.topic).or_default().push(partition);
        }
        let topics = topics.into_iter().map(|(name, partitions)| {
            ReassignableTopic::default().with_name(TopicName(text(name))).with_partitions(partitions)
        });
        AlterPartitionReassignmentsRequest::default()
            .with_timeout_ms(self.timeout_ms)
            // Version 0 does not have the field, which stands for true then.
            .with_allow_replication_factor_change(version < KEEPS_REPLICATION_FACTOR)
            .with_topics(topics.collect())
    }
}

impl Command for Alter<'_> {
    fn subject(&self) -> String {
        counted(self.changes.len(), "partition")
    }

    fn refusal(&self, response: &AlterPartitionReassignmentsResponse) -> Option<Refusal> {
        ResponseError::try_from_code(response.error_code).map(|error| (error, response.error_message.clone()))
    }
}

struct List {
    timeout_ms: i32,
}

impl Ask for List {
    type Request = ListPartitionReassignmentsRequest;

    fn request(&self, _version: i16) -> ListPartitionReassignmentsRequest {
        ListPartitionReassignmentsRequest::default().with_timeout_ms(self.timeout_ms).with_topics(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Connection;

    fn change(partition: i32, replicas: Option<&[i32]>) -> ReassignmentChange {
        ReassignmentChange {
            at: TopicPartition { topic: "orders".to_owned(), partition },
            replicas: replicas.map(|ids| ids.iter().copied().map(BrokerId).collect()),
        }
    }

    #[test]
    fn only_kafka_that_knows_the_field_is_told_to_keep_replication_factors() {
        use kafka_protocol::protocol::Encodable;
        let (move_it, cancel) = (change(0, Some(&[3, 1])), change(1, None));
        let alter = Alter { changes: &[&move_it, &cancel], timeout_ms: 4_000 };
        for version in [0, 1] {
            let request = alter.request(version);
            // Encoding fails when a field is set that the version does not have.
            request.encode(&mut bytes::BytesMut::new(), version).unwrap();
            assert_eq!(request.allow_replication_factor_change, version == 0);
            let partitions = &request.topics[0].partitions;
            assert_eq!(partitions[0].replicas.as_ref().unwrap(), &[messages::BrokerId(3), 1.into()]);
            assert_eq!(partitions[1].replicas, None);
        }
    }

    #[tokio::test]
    async fn nothing_to_do_asks_no_one() {
        let admin = Admin::new(Connection::new("127.0.0.1:1", "test").unwrap());
        assert_eq!(admin.alter_reassignments(&[]).await, Ok(vec![]));
    }
}
