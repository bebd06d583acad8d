//! Election of one leader among standalone doctors, by Kafka itself.
//!
//! The doctors are members of one consumer group (classic protocol) on the actions log, which has one partition: the
//! member that is assigned the partition leads. Nothing is read. The assignor is cooperative-sticky, so that a member
//! that joins takes nothing from the one that leads.
//!
//! What this cannot do is prevent two leaders at one moment. A member that was stopped (SIGSTOP, a paused virtual machine)
//! for longer than its session wakes up believing that it leads. It notices by its own clock before it asks Kafka, but
//! other threads may run before the one that notices. The fence is the transactional actions log.

use crate::{Connection, client};
use rdkafka::{
    ClientConfig, ClientContext, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer, ConsumerContext, Rebalance},
    error::{KafkaError, KafkaResult},
};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How long a leader may be silent before another member is assigned the partition. No less is allowed by brokers
/// (`group.min.session.timeout.ms`).
const SESSION: Duration = Duration::from_secs(6);

/// How often a member tells that it lives, and learns that the group has changed.
const HEARTBEAT: Duration = Duration::from_millis(500);

/// How long one wait for news lasts, and so how late a cancellation can be noticed.
const POLL: Duration = Duration::from_millis(100);

/// A member that did not run for so long may have been replaced.
const STALL: Duration = Duration::from_secs(4);

/// A member of a consumer group on the single partition of the actions log. Who is assigned the partition leads.
#[derive(Debug)]
pub struct GroupElection;

impl GroupElection {
    /// Joins the group. The value is true while this member is assigned the partition.
    ///
    /// When `cancel` is cancelled, the value turns false, the group is left at once, and then the channel is closed,
    /// which takes a few seconds at worst, when the group's coordinator does not answer. The channel is also closed when
    /// membership has failed for good; one may then start anew.
    pub fn start(
        connection: Connection,
        group: String,
        topic: &str,
        cancel: CancellationToken,
    ) -> watch::Receiver<bool> {
        let (leading, receiver) = watch::channel(false);
        let topic = topic.to_owned();
        // A thread of its own: membership must not depend on how busy the runtime is.
        let member = move || {
            if let Err(error) = take_part(&connection, &group, &topic, leading, &cancel) {
                tracing::warn!(group, topic, %error, "the membership in the election has ended");
            }
        };
        if let Err(error) = std::thread::Builder::new().name("election".to_owned()).spawn(member) {
            tracing::error!(%error, "cannot start a thread for the election");
        }
        receiver
    }
}

fn take_part(
    connection: &Connection,
    group: &str,
    topic: &str,
    leading: watch::Sender<bool>,
    cancel: &CancellationToken,
) -> KafkaResult<()> {
    let context = Member { topic: topic.to_owned(), leading };
    let consumer: BaseConsumer<Member> = config(connection, group).create_with_context(context)?;
    consumer.subscribe(&[topic])?;
    let mut last = Instant::now();
    while !cancel.is_cancelled() {
        // Messages do not matter, and rebalances have been dealt with when this returns.
        let polled = consumer.poll(POLL);
        let stalled = last.elapsed();
        last = Instant::now();
        if stalled > STALL {
            consumer.context().lead(false);
            tracing::warn!(group, "did not run for {stalled:.1?}: joining the group anew");
            consumer.unsubscribe();
            consumer.subscribe(&[topic])?;
        }
        match polled {
            Some(Err(error @ KafkaError::MessageConsumptionFatal(_))) => {
                consumer.context().lead(false);
                return Err(error);
            }
            Some(Err(error)) => tracing::debug!(group, %error, "election"),
            Some(Ok(_)) | None => {}
        }
    }
    consumer.context().lead(false);
    // Dropping the consumer leaves the group.
    Ok(())
}

/// Turns assignments into leadership.
struct Member {
    topic: String,
    leading: watch::Sender<bool>,
}

impl Member {
    fn lead(&self, leads: bool) {
        self.leading.send_if_modified(|leading| std::mem::replace(leading, leads) != leads);
    }

    fn is_the_log(&self, partitions: &TopicPartitionList) -> bool {
        partitions.find_partition(&self.topic, 0).is_some()
    }
}

impl ClientContext for Member {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        client::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::trace!(%error, reason, "librdkafka");
    }
}

impl ConsumerContext for Member {
    fn pre_rebalance(&self, _consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Revoke(partitions) if !self.is_the_log(partitions) => {}
            Rebalance::Revoke(_) | Rebalance::Error(_) => self.lead(false),
            Rebalance::Assign(_) => {}
        }
    }

    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let Rebalance::Assign(partitions) = rebalance else { return };
        if let Err(error) = consumer.pause(partitions) {
            tracing::debug!(%error, "cannot pause");
        }
        if self.is_the_log(partitions) {
            self.lead(true);
        }
    }
}

fn config(connection: &Connection, group: &str) -> ClientConfig {
    let mut config = connection.rdkafka();
    config
        .set("group.id", group)
        .set("group.protocol", "classic")
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("session.timeout.ms", SESSION.as_millis().to_string())
        .set("heartbeat.interval.ms", HEARTBEAT.as_millis().to_string())
        .set("max.poll.interval.ms", (2 * SESSION).as_millis().to_string())
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("allow.auto.create.topics", "false")
        // The partition is paused as soon as it is assigned; until then there is nothing to fetch.
        .set("auto.offset.reset", "latest")
        .set("queued.min.messages", "1")
        .set("socket.timeout.ms", "6000")
        .set("socket.connection.setup.timeout.ms", "3000")
        .set("reconnect.backoff.ms", "50")
        .set("reconnect.backoff.max.ms", "500")
        .set("topic.metadata.refresh.interval.ms", "5000")
        .set("topic.metadata.refresh.fast.interval.ms", "100")
        .set("log.connection.close", "false");
    config
}
