//! Where many partitions begin and end, asked of one leader at once.

use super::{
    Admin, AdminError, BrokerInfo,
    command::unreachable,
    link::Request,
    offsets::{CLIENT, LATEST, LOG_END_READER},
    pool::Ask,
};
use kafka_protocol::{
    ResponseError,
    messages::{
        ListOffsetsRequest, ListOffsetsResponse, TopicName,
        list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic},
    },
    protocol::StrBytes,
};
use std::{collections::HashMap, ops::Range};

/// The first offset that the broker has on its own disks, where older segments are in remote storage (KIP-405).
const EARLIEST_LOCAL: i64 = -4;
const EARLIEST: i64 = -2;

/// From this version on, [`EARLIEST_LOCAL`] can be asked for.
const KNOWS_LOCAL: i16 = 8;

/// Partitions in one request: some 100 KB, so that a broker's other clients do not wait for long.
const CHUNK: usize = 2_000;

/// Partitions of one topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicPartitions<'a> {
    /// Topic name.
    pub topic: &'a str,
    /// Partition numbers.
    pub partitions: Vec<i32>,
}

/// Which part of a partition's log a broker has on its own disks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogSpan {
    /// Offset of the first record.
    pub start: i64,
    /// The offset that the next record will get.
    pub end: i64,
}

impl Admin {
    /// A client of the same cluster with connections of its own, so that its requests and those of this one do not wait for
    /// each other.
    #[must_use]
    pub fn apart(&self) -> Self {
        Self::new(self.connection.clone()).with_timeout(self.limits.call)
    }

    /// Where the logs of partitions begin and end on this broker, one entry for each partition in the order in which they
    /// are given; `None` for one that it does not hold, or of which this user may not know (DESCRIBE on the topic).
    /// ListOffsets, API key 2; two requests for every 2,000 partitions, one after the other.
    ///
    /// # Errors
    /// [`AdminError::Unreachable`] and [`AdminError::Unsupported`], when any of the requests fails.
    pub async fn log_spans(
        &self,
        broker: &BrokerInfo,
        topics: &[TopicPartitions<'_>],
    ) -> Result<Vec<Option<LogSpan>>, AdminError> {
        let address = broker.address();
        let mut spans = Vec::with_capacity(topics.iter().map(|topic| topic.partitions.len()).sum());
        for chunk in chunks(topics) {
            let starts = self.points(&address, &chunk, false).await?;
            let ends = self.points(&address, &chunk, true).await?;
            let (starts, ends) = (offsets(&starts), offsets(&ends));
            for topic in &chunk {
                spans.extend(topic.partitions.iter().map(|partition| {
                    let offset = |of: &Offsets| of.get(topic.topic)?.get(partition).copied();
                    Some(LogSpan { start: offset(&starts)?, end: offset(&ends)? })
                }));
            }
        }
        Ok(spans)
    }

    async fn points(
        &self,
        address: &str,
        topics: &[TopicPartitions<'_>],
        end: bool,
    ) -> Result<ListOffsetsResponse, AdminError> {
        let answer = self.general.ask(address, self.limits, &Points { topics, end }).await;
        let failed = |error| unreachable(ListOffsetsRequest::NAME, address.to_owned(), error);
        Ok(answer.map_err(failed)?.body)
    }
}

type Offsets<'a> = HashMap<&'a str, HashMap<i32, i64>>;

fn offsets(answer: &ListOffsetsResponse) -> Offsets<'_> {
    let known = |topic: &kafka_protocol::messages::list_offsets_response::ListOffsetsTopicResponse| {
        topic
            .partitions
            .iter()
            .filter(|found| ResponseError::try_from_code(found.error_code).is_none() && found.offset >= 0)
            .map(|found| (found.partition_index, found.offset))
            .collect()
    };
    answer.topics.iter().map(|topic| (topic.name.as_str(), known(topic))).collect()
}

/// The same partitions in parts of [`CHUNK`] at the most.
fn chunks<'a>(topics: &[TopicPartitions<'a>]) -> Vec<Vec<TopicPartitions<'a>>> {
    let mut chunks: Vec<Vec<TopicPartitions<'a>>> = Vec::new();
    let mut room = 0;
    for topic in topics {
        let mut rest: Range<usize> = 0..topic.partitions.len();
        while !rest.is_empty() {
            if room == 0 {
                chunks.push(Vec::new());
                room = CHUNK;
            }
            let taken = rest.start..rest.end.min(rest.start + room);
            room -= taken.len();
            rest.start = taken.end;
            if let Some(chunk) = chunks.last_mut() {
                let partitions = topic.partitions[taken].to_vec();
                chunk.push(TopicPartitions { topic: topic.topic, partitions });
            }
        }
    }
    chunks
}

struct Points<'a> {
    topics: &'a [TopicPartitions<'a>],
    end: bool,
}

impl Ask for Points<'_> {
    type Request = ListOffsetsRequest;

    fn request(&self, version: i16) -> ListOffsetsRequest {
        let timestamp = match self.end {
            true => LATEST,
            false if version >= KNOWS_LOCAL => EARLIEST_LOCAL,
            false => EARLIEST,
        };
        let partition = |partition: &i32| {
            ListOffsetsPartition::default().with_partition_index(*partition).with_timestamp(timestamp)
        };
        let topics = self.topics.iter().map(|topic| {
            ListOffsetsTopic::default()
                .with_name(TopicName(StrBytes::from_string(topic.topic.to_owned())))
                .with_partitions(topic.partitions.iter().map(partition).collect())
        });
        // The end of the log, and not how far a consumer can read: that stands still while a dead broker is in the ISR.
        let replica = if self.end { LOG_END_READER } else { CLIENT };
        ListOffsetsRequest::default().with_replica_id(replica.into()).with_topics(topics.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_hold_all_partitions_in_their_order() {
        let topics = [
            TopicPartitions { topic: "small", partitions: vec![4] },
            TopicPartitions { topic: "none", partitions: vec![] },
            TopicPartitions { topic: "large", partitions: (0..4_500).collect() },
            TopicPartitions { topic: "last", partitions: vec![0, 1] },
        ];
        let chunks = chunks(&topics);
        let sizes: Vec<usize> =
            chunks.iter().map(|chunk| chunk.iter().map(|topic| topic.partitions.len()).sum()).collect();
        assert_eq!(sizes, [2_000, 2_000, 503]);
        let flat = |topics: &[TopicPartitions<'_>]| {
            let each = |topic: &TopicPartitions<'_>| {
                let name = topic.topic.to_owned();
                topic.partitions.iter().map(|number| (name.clone(), *number)).collect::<Vec<_>>()
            };
            topics.iter().flat_map(each).collect::<Vec<_>>()
        };
        assert_eq!(flat(&chunks.concat()), flat(&topics));
    }
}
