//! Where partitions begin and end.

use super::{
    Admin, AdminError, Attempt,
    describe::{Topics, addresses, broker_address},
    link::Request,
    pool::{Ask, Limits, lock},
};
use kafka_protocol::{
    ResponseError,
    messages::{
        ListOffsetsRequest, TopicName,
        list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic},
    },
    protocol::StrBytes,
};
use std::{collections::HashMap, time::Duration};

/// A leader that cannot say in one second where its log ends is not a path that reports come by.
pub(super) const LIMITS: Limits = Limits {
    connect: Duration::from_secs(1),
    call: Duration::from_secs(1),
    patience: Duration::from_millis(250),
};

/// Timestamps with a meaning of their own in ListOffsets.
pub(super) const LATEST: i64 = -1;
const EARLIEST: i64 = -2;

/// The replica id of an ordinary client. Asked by it, the leader tells how far the log can be read: the high watermark,
/// which stands still while a dead broker is still counted among the in-sync replicas.
pub(super) const CLIENT: i32 = -1;

/// A replica id that stands for no replica and no ordinary client (`ListOffsetsRequest.DEBUGGING_REPLICA_ID`). Asked by
/// it, the leader tells where its log ends.
pub(super) const LOG_END_READER: i32 = -2;

/// A point of a partition's log.
#[derive(Debug, Clone, Copy)]
enum Point {
    Start,
    HighWatermark,
    End,
}

impl Point {
    fn timestamp(self) -> i64 {
        match self {
            Self::Start => EARLIEST,
            Self::HighWatermark | Self::End => LATEST,
        }
    }

    fn replica(self) -> i32 {
        match self {
            Self::Start | Self::HighWatermark => CLIENT,
            Self::End => LOG_END_READER,
        }
    }
}

/// Partitions whose leaders are remembered. The doctor asks about its own topics only, which have four.
const MAX_LEADERS: usize = 10_000;

/// Leaders by topic and partition.
pub(super) type Leaders = HashMap<(String, i32), Leader>;

#[derive(Debug, Clone)]
pub(super) struct Leader {
    address: String,
    /// Sent along, so that a broker that does not know yet that it has lost the leadership refuses (KIP-320).
    epoch: i32,
}

impl Admin {
    /// The offset that the partition's next record will get, asked of its leader. ListOffsets, API key 2.
    ///
    /// This is the end of the leader's log. A consumer can read so far only when the in-sync replicas have it, too.
    ///
    /// Made for being called several times a second for each partition: leaders are cached, calls for partitions of
    /// different leaders do not wait for each other, and a leader that does not answer costs at most one second.
    ///
    /// # Errors
    /// Every [`AdminError`].
    pub async fn end_offset(&self, topic: &str, partition: i32) -> Result<i64, AdminError> {
        self.offset_at(topic, partition, Point::End).await
    }

    /// The offset of the partition's first record.
    pub(crate) async fn start_offset(&self, topic: &str, partition: i32) -> Result<i64, AdminError> {
        self.offset_at(topic, partition, Point::Start).await
    }

    /// How far a consumer can read at present. A leader that was elected just now refuses until it knows (KIP-207).
    pub(crate) async fn high_watermark(&self, topic: &str, partition: i32) -> Result<i64, AdminError> {
        self.offset_at(topic, partition, Point::HighWatermark).await
    }

    async fn offset_at(&self, topic: &str, partition: i32, point: Point) -> Result<i64, AdminError> {
        let work = async {
            match self.ask_leader(topic, partition, point).await {
                // The cached leader was the wrong one, and said so at once: there is time to look again.
                Err(AdminError::Refused { code, .. }) if is_stale(&code) => {
                    self.ask_leader(topic, partition, point).await
                }
                result => result,
            }
        };
        match tokio::time::timeout(LIMITS.call, work).await {
            Ok(result) => result,
            Err(_) => {
                let leader = self.forget_leader(topic, partition);
                let address =
                    leader.map_or_else(|| self.connection.bootstrap().join(","), |leader| leader.address);
                let error = format!("no answer within {:?}", LIMITS.call);
                Err(AdminError::Unreachable {
                    request: ListOffsetsRequest::NAME,
                    attempts: vec![Attempt { address, error }],
                })
            }
        }
    }

    async fn ask_leader(&self, topic: &str, partition: i32, point: Point) -> Result<i64, AdminError> {
        let leader = self.leader(topic, partition).await?;
        let ask = Offset { topic, partition, point, epoch: leader.epoch };
        let answer = self.offsets.ask(&leader.address, LIMITS, &ask).await.map_err(|error| {
            self.forget_leader(topic, partition);
            let attempt = Attempt { address: leader.address.clone(), error: error.to_string() };
            AdminError::Unreachable { request: ListOffsetsRequest::NAME, attempts: vec![attempt] }
        })?;
        let found = answer.body.topics.first().and_then(|topic| topic.partitions.first());
        let error = match found {
            Some(found) => match ResponseError::try_from_code(found.error_code) {
                None => return Ok(found.offset),
                Some(error) => error,
            },
            None => ResponseError::UnknownTopicOrPartition,
        };
        self.forget_leader(topic, partition);
        Err(AdminError::Refused {
            request: ListOffsetsRequest::NAME,
            subject: format!("partition {topic}-{partition}"),
            address: leader.address,
            code: error.to_string(),
            message: None,
        })
    }

    async fn leader(&self, topic: &str, partition: i32) -> Result<Leader, AdminError> {
        let key = (topic.to_owned(), partition);
        if let Some(leader) = lock(&self.leaders).get(&key) {
            return Ok(leader.clone());
        }
        let answer = self.offsets.ask_any(LIMITS, &Topics(Some(&[topic]))).await?;
        self.offsets.learn(addresses(&answer.body));
        let found = answer
            .body
            .topics
            .iter()
            .flat_map(|topic| &topic.partitions)
            .find(|found| found.partition_index == partition)
            .ok_or_else(|| AdminError::NoSuchPartition { topic: topic.to_owned(), partition })?;
        let broker = answer
            .body
            .brokers
            .iter()
            .find(|broker| broker.node_id == found.leader_id)
            .ok_or_else(|| AdminError::NoLeader { topic: topic.to_owned(), partition })?;
        let leader = Leader { address: broker_address(broker), epoch: found.leader_epoch };
        let mut leaders = lock(&self.leaders);
        if leaders.len() >= MAX_LEADERS {
            leaders.clear();
        }
        leaders.insert(key, leader.clone());
        Ok(leader)
    }

    fn forget_leader(&self, topic: &str, partition: i32) -> Option<Leader> {
        lock(&self.leaders).remove(&(topic.to_owned(), partition))
    }
}

fn is_stale(code: &str) -> bool {
    use ResponseError::{FencedLeaderEpoch, NotLeaderOrFollower, UnknownTopicOrPartition};
    [FencedLeaderEpoch, NotLeaderOrFollower, UnknownTopicOrPartition]
        .iter()
        .any(|error| error.to_string() == code)
}

struct Offset<'a> {
    topic: &'a str,
    partition: i32,
    point: Point,
    epoch: i32,
}

impl Ask for Offset<'_> {
    type Request = ListOffsetsRequest;

    fn request(&self, version: i16) -> ListOffsetsRequest {
        let partition = ListOffsetsPartition::default()
            .with_partition_index(self.partition)
            .with_timestamp(self.point.timestamp())
            .with_current_leader_epoch(if version >= 4 { self.epoch } else { -1 });
        let topic = ListOffsetsTopic::default()
            .with_name(TopicName(StrBytes::from_string(self.topic.to_owned())))
            .with_partitions(vec![partition]);
        // For the end of its log any replica answers, not the leader alone; the epoch sent along makes sure that it leads.
        ListOffsetsRequest::default().with_replica_id(self.point.replica().into()).with_topics(vec![topic])
    }
}
