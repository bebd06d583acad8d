//! Reading the partitions of one topic for as long as it is the same topic.

use super::{
    Follow, Followed, Outlet,
    scout::{Scout, Seen, Sighting},
};
use crate::{
    Admin, AdminError,
    client::{self, Quiet},
};
use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{Consumer, StreamConsumer},
    error::{KafkaError, KafkaResult, RDKafkaErrorCode},
    message::BorrowedMessage,
};
use std::{collections::BTreeMap, ops::ControlFlow, time::Duration};
use tokio::time::Instant;

/// Where reading is in one topic.
pub(super) struct Positions {
    pub(super) topic_id: u128,
    /// The offset that is read next, by partition, where it is known.
    next: BTreeMap<i32, i64>,
    /// Whether partitions are read from their first record.
    from_start: bool,
}

impl Positions {
    pub(super) fn new(topic_id: u128, from_start: bool) -> Self {
        Self { topic_id, next: BTreeMap::new(), from_start }
    }
}

/// Why reading ended.
pub(super) enum Ended {
    /// The topic is gone or is another one.
    TopicChanged,
    /// The consumer is of no further use.
    Broken(String),
}

/// How to find the offset to read next.
#[derive(Debug, Clone, Copy)]
enum Find {
    Start,
    Tail(i64),
    /// This one, or what is nearest to it in what the log still has.
    Nearest(i64),
}

type Finding = BoxFuture<'static, (i32, Find, Result<i64, AdminError>)>;

/// Between two tries to find a partition's position.
const FIND_AGAIN: Duration = Duration::from_millis(250);

/// Between two assignments of the same partition, and between one and the consumer's end. librdkafka stops a partition to
/// assign it anew; asked a second time before it has stopped, it ends the whole process by a failed assertion
/// (confluentinc/librdkafka#5573, up to 2.15.0). Stopping takes it milliseconds.
const REASSIGN_APART: Duration = Duration::from_millis(500);

pub(super) async fn read<E: Send>(
    follow: &Follow,
    topic: &Seen,
    positions: &mut Positions,
    restarted: bool,
    scout: &mut Scout,
    outlet: &Outlet<E>,
) -> ControlFlow<(), Ended> {
    let consumer: StreamConsumer<Quiet> =
        match client::create(&config(follow), Quiet(follow.connection.tokens())) {
            Ok(consumer) => consumer,
            Err(error) => {
                return ControlFlow::Continue(Ended::Broken(format!("starting a consumer: {error}")));
            }
        };
    let finding = FuturesUnordered::new();
    let mut reading = Reading { follow, consumer, positions, finding, reassigned: None, reassign_at: None };
    let result = reading.run(topic, restarted, scout, outlet).await;
    let Reading { consumer, reassigned, .. } = reading;
    let settled = reassigned.map(|at| REASSIGN_APART.saturating_sub(at.elapsed()));
    // Closing a consumer blocks for a moment.
    tokio::task::spawn_blocking(move || {
        std::thread::sleep(settled.unwrap_or_default());
        drop(consumer);
    });
    result
}

struct Reading<'a> {
    follow: &'a Follow,
    consumer: StreamConsumer<Quiet>,
    positions: &'a mut Positions,
    finding: FuturesUnordered<Finding>,
    /// When everything was assigned anew the last time, and when it is to be.
    reassigned: Option<Instant>,
    reassign_at: Option<Instant>,
}

/// What a position that was found asks for.
enum Found {
    /// Reading begins there.
    New,
    /// Reading goes on; the partition has to be assigned anew, as it stands still after an error.
    Again,
    /// The same, and the log has lost records that were read, so that offsets will be used a second time.
    Lost,
    Nothing,
}

/// What to do next.
enum Next<E> {
    Look(Sighting),
    Found(i32, Find, Result<i64, AdminError>),
    Deliver(E),
    /// Kafka refused the position of some partition; librdkafka does not say which.
    FindAgain,
    Reassign,
    Break(String),
    Nothing,
}

impl Reading<'_> {
    async fn run<E: Send>(
        &mut self,
        topic: &Seen,
        restarted: bool,
        scout: &mut Scout,
        outlet: &Outlet<E>,
    ) -> ControlFlow<(), Ended> {
        let mut partitions = topic.partitions.clone();
        announce(self.follow, &partitions, restarted, outlet).await?;
        self.take_on(&partitions, scout.admin());
        // Where reading goes on after a consumer broke, positions are known already.
        let known: Vec<i32> = self.positions.next.keys().copied().collect();
        let mut assigned = if known.is_empty() { Ok(()) } else { self.begin(&known) };
        let mut lost = false;
        loop {
            if let Err(error) = assigned {
                return ControlFlow::Continue(Ended::Broken(format!("assigning partitions: {error}")));
            }
            assigned = Ok(());
            match outlet.while_open(self.next(scout, outlet)).await? {
                Next::Look(Sighting::Present(now)) if now.id == topic.id => {
                    // Assigned anew, librdkafka says again that it is at the end, even if nothing was written since.
                    if std::mem::take(&mut lost) {
                        self.reassign_soon();
                    }
                    if now.partitions != partitions {
                        partitions = now.partitions;
                        // An added partition is new: all of it is news.
                        self.positions.from_start = true;
                        announce(self.follow, &partitions, false, outlet).await?;
                        self.take_on(&partitions, scout.admin());
                    }
                }
                Next::Look(Sighting::Unreachable(error)) => {
                    lost = true;
                    outlet.send(Followed::Lost { error }).await?;
                }
                Next::Look(_) => {
                    scout.again();
                    return ControlFlow::Continue(Ended::TopicChanged);
                }
                Next::Found(partition, find, Ok(offset)) => match self.found(partition, find, offset) {
                    Found::New => assigned = self.begin(&[partition]),
                    Found::Again => self.reassign_soon(),
                    Found::Lost => {
                        announce(self.follow, &partitions, true, outlet).await?;
                        self.reassign_soon();
                    }
                    Found::Nothing => {}
                },
                Next::Found(partition, find, Err(error)) => {
                    tracing::debug!(topic = self.follow.topic, partition, %error, "cannot find where to read");
                    self.find(partition, find, FIND_AGAIN, scout.admin());
                }
                Next::Deliver(event) => outlet.deliver(event).await?,
                Next::FindAgain => self.find_again(scout.admin()),
                Next::Reassign => assigned = self.reassign(),
                Next::Break(error) => return ControlFlow::Continue(Ended::Broken(error)),
                Next::Nothing => {}
            }
        }
    }

    async fn next<E>(&mut self, scout: &mut Scout, outlet: &Outlet<E>) -> Next<E> {
        tokio::select! {
            sighting = scout.next() => Next::Look(sighting),
            Some((partition, find, found)) = self.finding.next() => Next::Found(partition, find, found),
            received = self.consumer.recv() => received_next(&self.follow.topic, received, self.positions, outlet),
            () = until(self.reassign_at) => Next::Reassign,
        }
    }

    /// Starts to look for the positions of partitions whose position is not known.
    fn take_on(&self, partitions: &[i32], admin: &Admin) {
        let find = if self.positions.from_start { Find::Start } else { Find::Tail(self.follow.tail) };
        for partition in followed(self.follow, partitions) {
            if !self.positions.next.contains_key(&partition) {
                self.find(partition, find, Duration::ZERO, admin);
            }
        }
    }

    fn find_again(&self, admin: &Admin) {
        for (partition, next) in &self.positions.next {
            self.find(*partition, Find::Nearest(*next), FIND_AGAIN, admin);
        }
    }

    fn find(&self, partition: i32, find: Find, delay: Duration, admin: &Admin) {
        let admin = admin.clone();
        let topic = self.follow.topic.clone();
        let finding = async move {
            tokio::time::sleep(delay).await;
            (partition, find, locate(&admin, &topic, partition, find).await)
        };
        self.finding.push(finding.boxed());
    }

    /// Notes a position.
    fn found(&mut self, partition: i32, find: Find, offset: i64) -> Found {
        let known = self.positions.next.get(&partition).copied();
        match (find, known) {
            // Read on in the meantime: the position was fine.
            (Find::Nearest(asked), Some(known)) if asked != known => Found::Nothing,
            (Find::Start | Find::Tail(_), Some(_)) => Found::Nothing,
            (_, known) => {
                self.positions.next.insert(partition, offset);
                match known {
                    None => Found::New,
                    Some(known) if offset < known => Found::Lost,
                    Some(_) => Found::Again,
                }
            }
        }
    }

    /// Has these partitions, which were not read so far, read from their positions.
    fn begin(&self, partitions: &[i32]) -> KafkaResult<()> {
        self.consumer.incremental_assign(&self.positions_of(|partition| partitions.contains(&partition))?)
    }

    /// Has all partitions read from their positions anew. What librdkafka had fetched ahead is fetched again.
    fn reassign(&mut self) -> KafkaResult<()> {
        self.reassign_at = None;
        self.reassigned = Some(Instant::now());
        self.consumer.assign(&self.positions_of(|_| true)?)
    }

    fn reassign_soon(&mut self) {
        let now = Instant::now();
        let next = self.reassigned.map_or(now, |at| now.max(at + REASSIGN_APART));
        self.reassign_at.get_or_insert(next);
    }

    fn positions_of(&self, wanted: impl Fn(i32) -> bool) -> KafkaResult<TopicPartitionList> {
        let mut list = TopicPartitionList::new();
        for (partition, next) in self.positions.next.iter().filter(|(partition, _)| wanted(**partition)) {
            list.add_partition_offset(&self.follow.topic, *partition, Offset::Offset(*next))?;
        }
        Ok(list)
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

async fn announce<E>(
    follow: &Follow,
    partitions: &[i32],
    restarted: bool,
    outlet: &Outlet<E>,
) -> ControlFlow<()> {
    outlet.send(Followed::Assigned { partitions: followed(follow, partitions), restarted }).await
}

fn followed(follow: &Follow, partitions: &[i32]) -> Vec<i32> {
    let wanted = |partition: &i32| follow.only.is_none_or(|only| only == *partition);
    partitions.iter().copied().filter(wanted).collect()
}

fn received_next<E>(
    topic: &str,
    received: KafkaResult<BorrowedMessage<'_>>,
    positions: &mut Positions,
    outlet: &Outlet<E>,
) -> Next<E> {
    let error = match received {
        Ok(message) => {
            let Some(next) = positions.next.get_mut(&message.partition()) else { return Next::Nothing };
            if message.offset() < *next {
                return Next::Nothing;
            }
            *next = message.offset() + 1;
            return (outlet.translate)(Followed::Message(&message)).map_or(Next::Nothing, Next::Deliver);
        }
        Err(KafkaError::PartitionEOF(partition)) => {
            let Some(next) = positions.next.get(&partition) else { return Next::Nothing };
            let end = Followed::End { partition, next_offset: *next };
            return (outlet.translate)(end).map_or(Next::Nothing, Next::Deliver);
        }
        Err(error) => error,
    };
    match error {
        KafkaError::MessageConsumptionFatal(_) => Next::Break(format!("reading: {error}")),
        _ => match error.rdkafka_error_code() {
            Some(
                RDKafkaErrorCode::AutoOffsetReset
                | RDKafkaErrorCode::OffsetOutOfRange
                | RDKafkaErrorCode::LogTruncation,
            ) => Next::FindAgain,
            // Said once by librdkafka, which goes on trying.
            Some(RDKafkaErrorCode::TopicAuthorizationFailed) => {
                let error = format!("this client may not read topic {topic}; allow it Read: {error}");
                (outlet.translate)(Followed::Lost { error }).map_or(Next::Nothing, Next::Deliver)
            }
            // librdkafka connects anew by itself, and the scout says when no broker is left or the topic is gone.
            _ => {
                tracing::debug!(%error, "reading");
                Next::Nothing
            }
        },
    }
}

async fn locate(admin: &Admin, topic: &str, partition: i32, find: Find) -> Result<i64, AdminError> {
    let start = admin.start_offset(topic, partition).await?;
    match find {
        Find::Start => Ok(start),
        Find::Tail(tail) => Ok((admin.high_watermark(topic, partition).await? - tail).max(start)),
        Find::Nearest(offset) => {
            let end = admin.end_offset(topic, partition).await?;
            Ok(offset.clamp(start, end.max(start)))
        }
    }
}

fn config(follow: &Follow) -> ClientConfig {
    let mut config = follow.connection.rdkafka();
    config
        // librdkafka asks for a name; nothing joins a group of it, and nothing is committed.
        .set("group.id", "doctorkafka-reader")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("allow.auto.create.topics", "false")
        .set("auto.offset.reset", "error")
        .set("enable.partition.eof", "true")
        .set("isolation.level", if follow.committed_only { "read_committed" } else { "read_uncommitted" })
        // Bounds on memory, whatever others write to the topic: what is fetched, unpacked and queued.
        .set("max.partition.fetch.bytes", "1048576")
        .set("fetch.max.bytes", "4194304")
        .set("receive.message.max.bytes", "16777216")
        .set("queued.min.messages", "1000")
        .set("queued.max.messages.kbytes", "8192")
        // Records are to arrive at once, and a new leader is to be found as soon as there is one.
        .set("fetch.wait.max.ms", "100")
        .set("fetch.error.backoff.ms", "100")
        .set("reconnect.backoff.ms", "50")
        .set("reconnect.backoff.max.ms", "500")
        .set("socket.timeout.ms", "6000")
        .set("socket.connection.setup.timeout.ms", "3000")
        .set("topic.metadata.refresh.interval.ms", "2000")
        .set("topic.metadata.refresh.fast.interval.ms", "100")
        .set("metadata.max.age.ms", "30000")
        .set("log.connection.close", "false");
    config
}
