//! Preferred leader elections.

use super::{
    Admin, AdminError, PartitionOutcome, TopicPartition,
    command::{Answers, CHUNK, Command, Outcomes, Refusal, counted, text},
    pool::Ask,
};
use kafka_protocol::{
    ResponseError,
    messages::{
        ElectLeadersRequest, ElectLeadersResponse, TopicName, elect_leaders_request::TopicPartitions,
    },
};
use std::collections::BTreeMap;

/// `ElectionType.PREFERRED` (KIP-460). Never the other type, which loses records.
const PREFERRED: i8 = 0;

impl Admin {
    /// Gives leadership to the preferred replicas. Needs ALTER on the cluster.
    pub(super) async fn elect_leaders(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<Vec<PartitionOutcome>, AdminError> {
        let mut outcomes = Outcomes::default();
        let mut rest = partitions;
        while !rest.is_empty() {
            let (chunk, later) = rest.split_at(rest.len().min(CHUNK));
            match self.command(&Elect { partitions: chunk, timeout_ms: self.server_timeout_ms() }).await {
                Ok(answer) => outcomes.answered(chunk.iter(), &answers(&answer.body)),
                Err(error) => return outcomes.failed(chunk.iter(), later.iter(), error),
            }
            rest = later;
        }
        Ok(outcomes.finish())
    }
}

fn answers(body: &ElectLeadersResponse) -> Answers {
    let mut answers = Answers::default();
    for topic in &body.replica_election_results {
        for partition in &topic.partition_result {
            answers.note(
                &topic.topic,
                partition.partition_id,
                partition.error_code,
                partition.error_message.as_ref(),
                ResponseError::ElectionNotNeeded,
            );
        }
    }
    answers
}

struct Elect<'a> {
    partitions: &'a [TopicPartition],
    timeout_ms: i32,
}

impl Ask for Elect<'_> {
    type Request = ElectLeadersRequest;

    fn request(&self, _version: i16) -> ElectLeadersRequest {
        let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
        for at in self.partitions {
            topics.entry(&at.topic).or_default().push(at.partition);
        }
        let topics = topics.into_iter().map(|(name, partitions)| {
            TopicPartitions::default().with_topic(TopicName(text(name))).with_partitions(partitions)
        });
        ElectLeadersRequest::default()
            .with_election_type(PREFERRED)
            .with_topic_partitions(Some(topics.collect()))
            .with_timeout_ms(self.timeout_ms)
    }
}

impl Command for Elect<'_> {
    fn subject(&self) -> String {
        counted(self.partitions.len(), "partition")
    }

    fn refusal(&self, response: &ElectLeadersResponse) -> Option<Refusal> {
        ResponseError::try_from_code(response.error_code).map(|error| (error, None))
    }
}
