//! Following a topic from near its end, through everything that can happen to it: leaders that die, partitions that are
//! added, old records that are deleted, and the topic itself deleted and created again.
//!
//! There is no consumer group behind this, and no offset is committed: positions live here. Where reading starts is
//! asked of the brokers ([`Admin`]) and given to librdkafka as plain numbers, so that a position is known from the start,
//! and a position that Kafka refuses comes back as an error instead of being moved in silence.

mod reading;
mod scout;

use crate::{Admin, Connection};
use rdkafka::message::BorrowedMessage;
use reading::{Ended, Positions};
use scout::{Scout, Sighting};
use std::{ops::ControlFlow, time::Duration};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// What to follow.
#[derive(Debug, Clone)]
pub(crate) struct Follow {
    pub(crate) connection: Connection,
    pub(crate) topic: String,
    /// Where to begin: so many offsets before the end of each partition.
    pub(crate) tail: i64,
    /// Leave out records of transactions that are open or were aborted.
    pub(crate) committed_only: bool,
    /// Follow this partition alone.
    pub(crate) only: Option<i32>,
}

/// What happens to a topic that is followed.
pub(crate) enum Followed<'a> {
    Assigned { partitions: Vec<i32>, restarted: bool },
    Message(&'a BorrowedMessage<'a>),
    End { partition: i32, next_offset: i64 },
    Lost { error: String },
}

/// Events that may wait for the receiver. A report is about 1 KB.
const WAITING: usize = 256;

/// Between a consumer that broke and the next.
const START_AGAIN: Duration = Duration::from_secs(1);

/// Starts following. Ends, and closes the channel, when `cancel` is cancelled or the receiver is dropped.
pub(crate) fn follow<E: Send + 'static>(
    follow: Follow,
    translate: fn(Followed<'_>) -> Option<E>,
    cancel: CancellationToken,
) -> mpsc::Receiver<E> {
    let (sender, receiver) = mpsc::channel(WAITING);
    let outlet = Outlet { sender, translate, cancel };
    tokio::spawn(async move {
        // Cancelled as well as finished: everything that `run` has open ends by being dropped, in order.
        let _ = run(follow, outlet).await;
    });
    receiver
}

async fn run<E: Send>(follow: Follow, outlet: Outlet<E>) -> ControlFlow<()> {
    let mut scout = Scout::start(Admin::new(follow.connection.clone()), follow.topic.clone());
    let mut positions: Option<Positions> = None;
    let mut from_start = false;
    loop {
        let topic = match outlet.while_open(scout.next()).await? {
            Sighting::Present(topic) => topic,
            Sighting::Missing => {
                // What is created from now on is read from its first record.
                from_start = true;
                let error = format!("topic {} does not exist", follow.topic);
                outlet.send(Followed::Lost { error }).await?;
                continue;
            }
            Sighting::Unreachable(error) => {
                outlet.send(Followed::Lost { error }).await?;
                continue;
            }
        };
        let restarted = positions.as_ref().is_some_and(|positions| positions.topic_id != topic.id);
        from_start |= restarted;
        if restarted {
            positions = None;
        }
        let mut at = positions.take().unwrap_or_else(|| Positions::new(topic.id, from_start));
        match reading::read(&follow, &topic, &mut at, restarted, &mut scout, &outlet).await? {
            Ended::TopicChanged => {}
            Ended::Broken(error) => {
                outlet.send(Followed::Lost { error }).await?;
                outlet.while_open(tokio::time::sleep(START_AGAIN)).await?;
                scout.again();
            }
        }
        positions = Some(at);
    }
}

/// Where events go, and when to stop.
struct Outlet<E> {
    sender: mpsc::Sender<E>,
    translate: fn(Followed<'_>) -> Option<E>,
    cancel: CancellationToken,
}

impl<E> Outlet<E> {
    async fn send(&self, event: Followed<'_>) -> ControlFlow<()> {
        // Translated before anything is awaited: a message borrows from its consumer.
        match (self.translate)(event) {
            Some(event) => self.deliver(event).await,
            None => ControlFlow::Continue(()),
        }
    }

    async fn deliver(&self, event: E) -> ControlFlow<()> {
        match self.while_open(self.sender.send(event)).await? {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    }

    /// The outcome of `work`, unless nobody waits for it any more.
    async fn while_open<T>(&self, work: impl Future<Output = T>) -> ControlFlow<(), T> {
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => ControlFlow::Break(()),
            () = self.sender.closed() => ControlFlow::Break(()),
            result = work => ControlFlow::Continue(result),
        }
    }
}
