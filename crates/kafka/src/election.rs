//! Election of one leader among standalone doctors, by Kafka itself.
//!
//! The doctors are members of one consumer group (classic protocol) on the actions log, which has one partition: the
//! member that is assigned the partition leads. Nothing is read. The assignor is cooperative-sticky, so that a member
//! that joins takes nothing from the one that leads.
//!
//! What this cannot do is prevent two leaders at one moment. A member that was stopped (SIGSTOP, a paused virtual machine)
//! for longer than its session wakes up believing that it leads. It notices by its own clock before it asks Kafka, but
//! other threads may run before the one that notices. The fence is the transactional actions log.

use crate::{
    Connection,
    client::{self, Tokens},
};
use rdkafka::{
    ClientConfig, ClientContext, TopicPartitionList,
    client::OAuthToken,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer, ConsumerContext, Rebalance},
    error::{KafkaError, KafkaResult, RDKafkaErrorCode},
};
use std::{
    error::Error,
    time::{Duration, Instant},
};
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

/// What the election says of one member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Another member is assigned the partition, or none yet.
    Standby,
    /// This member is assigned the partition.
    Leading,
    /// This member was assigned the partition, and the group cannot confirm it at present: its coordinator is away, as
    /// for some seconds after a broker's death, or this process did not run for a while. Another may lead by now.
    Unconfirmed,
}

/// A member of a consumer group on the single partition of the actions log. Who is assigned the partition leads.
#[derive(Debug)]
pub struct GroupElection;

impl GroupElection {
    /// Joins the group. The value follows the partition's assignment.
    ///
    /// When `cancel` is cancelled, the value turns to [`Standing::Standby`], the group is left at once, and then the channel is closed,
    /// which takes a few seconds at worst, when the group's coordinator does not answer. The channel is also closed when
    /// membership has failed for good; one may then start anew.
    pub fn start(
        connection: Connection,
        group: String,
        topic: &str,
        cancel: CancellationToken,
    ) -> watch::Receiver<Standing> {
        let (standing, receiver) = watch::channel(Standing::Standby);
        let topic = topic.to_owned();
        // A thread of its own: membership must not depend on how busy the runtime is.
        let member = move || {
            if let Err(error) = take_part(&connection, &group, &topic, standing, &cancel) {
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
    standing: watch::Sender<Standing>,
    cancel: &CancellationToken,
) -> KafkaResult<()> {
    let context = Member { topic: topic.to_owned(), standing, tokens: connection.tokens() };
    let consumer: BaseConsumer<Member> = client::create(&config(connection, group), context)?;
    consumer.subscribe(&[topic])?;
    let mut last = Instant::now();
    while !cancel.is_cancelled() {
        // Messages do not matter, and rebalances have been dealt with when this returns.
        let polled = consumer.poll(POLL);
        let stalled = last.elapsed();
        last = Instant::now();
        if stalled > STALL {
            consumer.context().doubt();
            tracing::warn!(group, "did not run for {stalled:.1?}: joining the group anew");
            consumer.unsubscribe();
            consumer.subscribe(&[topic])?;
        }
        match polled {
            Some(Err(error @ KafkaError::MessageConsumptionFatal(_))) => {
                consumer.context().turn(Standing::Standby);
                return Err(error);
            }
            // Said once by librdkafka, which goes on trying.
            Some(Err(error)) if is_forbidden(&error) => tracing::warn!(
                group,
                topic,
                %error,
                "this client may not take part in the election; allow it Read of the group, and Describe of the topic"
            ),
            Some(Err(error)) => tracing::debug!(group, %error, "election"),
            Some(Ok(_)) | None => {}
        }
    }
    consumer.context().turn(Standing::Standby);
    // Dropping the consumer leaves the group.
    Ok(())
}

fn is_forbidden(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{GroupAuthorizationFailed, TopicAuthorizationFailed};
    matches!(error.rdkafka_error_code(), Some(GroupAuthorizationFailed | TopicAuthorizationFailed))
}

/// Turns assignments into leadership.
struct Member {
    topic: String,
    standing: watch::Sender<Standing>,
    tokens: Tokens,
}

impl Member {
    fn turn(&self, to: Standing) {
        self.standing.send_if_modified(|standing| std::mem::replace(standing, to) != to);
    }

    /// A leader may have been replaced; nobody else becomes anything by that.
    fn doubt(&self) {
        if *self.standing.borrow() == Standing::Leading {
            self.turn(Standing::Unconfirmed);
        }
    }

    fn is_the_log(&self, partitions: &TopicPartitionList) -> bool {
        partitions.find_partition(&self.topic, 0).is_some()
    }
}

impl ClientContext for Member {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        self.tokens.current()
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        client::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::trace!(%error, reason, "librdkafka");
    }
}

impl ConsumerContext for Member {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Revoke(partitions) if !self.is_the_log(partitions) => {}
            // Lost: the session ended without a word of the coordinator.
            Rebalance::Revoke(_) if consumer.assignment_lost() => self.doubt(),
            Rebalance::Revoke(_) => self.turn(Standing::Standby),
            Rebalance::Error(_) => self.doubt(),
            Rebalance::Assign(_) => {}
        }
    }

    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let Rebalance::Assign(partitions) = rebalance else { return };
        if let Err(error) = consumer.pause(partitions) {
            tracing::debug!(%error, "cannot pause");
        }
        if self.is_the_log(partitions) {
            self.turn(Standing::Leading);
        } else if *self.standing.borrow() == Standing::Unconfirmed {
            // The group is whole again, and the partition is another's.
            self.turn(Standing::Standby);
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
